//! Imports and exports: what guards them, and that each gives back what the other took.

use super::*;
use crate::api::types::{ExportQuery, ImportQuery, TestQuery};
use crate::control::ImportRefused;
use crate::lists::{self, Bounds, export};

fn replacing(list: &str) -> ImportQuery {
    ImportQuery {
        list: list_name(list),
        replace: true,
        ..ImportQuery::default()
    }
}

fn import(
    world: &mut World,
    kind: ListKind,
    query: ImportQuery,
    text: &str,
) -> Result<ChangeReport> {
    if export::is_export(text.as_bytes()) {
        let export = export::read(text.as_bytes(), kind, 1_000_000, query.force)?;
        return world.control.import(kind, query, export);
    }
    let bounds = Bounds {
        accept_wide: query.force,
        ..Bounds::default()
    };
    let parsed = lists::parse(text.as_bytes(), bounds).map_err(ImportRefused::from)?;
    world.control.import(kind, query, parsed)
}

/// The word of a refusal, and its text.
fn refused(result: Result<ChangeReport>) -> (&'static str, String) {
    let error = result.unwrap_err();
    let refused = error.downcast_ref::<ImportRefused>().unwrap();
    (refused.name(), refused.to_string())
}

fn numbered(count: u32) -> String {
    let address = |n| std::net::Ipv4Addr::from(0x0b00_0000 + n * 7);
    (0..count).map(|n| format!("{}\n", address(n))).collect()
}

fn exported(world: &mut World, kind: ListKind, list: Option<&str>) -> String {
    let query = ExportQuery {
        list: list.and_then(list_name),
    };
    world.control.snapshot(kind, &query).unwrap().collect()
}

#[test]
fn a_source_that_failed_replaces_nothing() {
    for kind in [ListKind::Block, ListKind::Allow] {
        let mut world = World::new("");
        import(&mut world, kind, replacing("feed"), &numbered(40)).unwrap();
        let before = world.list(kind, "feed");
        let page = "<html>\n<body>\n192.0.2.1 is blocked\n</html>\n";
        for (text, name) in [
            ("", "too_few_entries"),
            ("# an empty list\n\n", "too_few_entries"),
            ("192.0.2.1\n", "large_change"),
            (&numbered(19), "large_change"),
            (&numbered(61), "large_change"),
        ] {
            let result = import(&mut world, kind, replacing("feed"), text);
            let (word, said) = refused(result);
            assert_eq!(word, name, "{text}: {said}");
            assert!(said.contains("feed") && said.contains("--force"), "{said}");
            assert_eq!(world.list(kind, "feed"), before, "{text}");
        }
        for text in ["{\"error\":\"x\"}", page, "<p>\n192.0.2.1\n"] {
            let forced = ImportQuery {
                force: true,
                ..replacing("feed")
            };
            let (word, said) = refused(import(&mut world, kind, forced, text));
            assert_eq!(word, "not_a_list", "{text}: {said}");
            assert!(said.contains("nothing was changed"), "{said}");
            assert_eq!(world.list(kind, "feed"), before, "{text}");
        }
        let report = import(&mut world, kind, replacing("feed"), &numbered(30)).unwrap();
        assert_eq!((report.removed, report.unchanged), (10, 30));
        let forced = ImportQuery {
            force: true,
            ..replacing("feed")
        };
        assert_eq!(import(&mut world, kind, forced, "").unwrap().removed, 30);
    }
}

#[test]
fn the_first_bad_line_is_named_with_its_number() {
    let mut world = World::new("");
    let text = "# list\n192.0.2.1\n<b>moved</b>\nsee there\n";
    let query = ImportQuery::default();
    let (name, said) = refused(import(&mut world, ListKind::Block, query, text));
    assert_eq!(name, "not_a_list");
    assert!(
        said.contains("2 lines are no addresses and 1 are"),
        "{said}"
    );
    assert!(
        said.contains("line 3 is the first of them: <b>moved</b>"),
        "{said}"
    );
    assert!(!world.drops("192.0.2.1"), "nothing of it was taken");
}

#[test]
fn a_replacement_that_has_no_room_leaves_the_list_as_it_was() {
    let mut world = World::new("[capacity]\nallow = 2\nblock = 20\n");
    import(
        &mut world,
        ListKind::Block,
        replacing("feed"),
        &numbered(18),
    )
    .unwrap();
    let before = world.list(ListKind::Block, "feed");
    let other = numbered(25);
    let (name, said) = refused(import(
        &mut world,
        ListKind::Block,
        replacing("feed"),
        &other,
    ));
    assert_eq!(name, "table_full");
    assert!(said.contains("capacity.block"), "{said}");
    assert_eq!(world.list(ListKind::Block, "feed"), before);
    assert!(world.drops("11.0.0.0"));
}

#[test]
fn a_replacement_of_which_nothing_can_be_taken_leaves_the_list_as_it_was() {
    let mut world = World::new("");
    import(&mut world, ListKind::Allow, replacing("feed"), &numbered(3)).unwrap();
    let before = world.list(ListKind::Allow, "feed");
    let wide = "198.48.0.0/13\n";
    let (name, said) = refused(import(&mut world, ListKind::Allow, replacing("feed"), wide));
    assert_eq!(name, "too_few_entries");
    assert!(said.contains("198.48.0.0/13: wider than /16"), "{said}");
    assert_eq!(world.list(ListKind::Allow, "feed"), before);
}

#[test]
fn wide_prefixes_of_a_text_are_not_allowed_without_force() {
    let mut world = World::new("");
    let text = "198.51.0.0/16\n198.48.0.0/13\n2001:db8::/32\n2001:c00::/24\n";
    let query = ImportQuery::default();
    let report = import(&mut world, ListKind::Allow, query, text).unwrap();
    assert_eq!((report.added, report.refused), (2, 2));
    assert!(report.refusals[0].why.contains("/16"), "{report:?}");
    let blocked = ImportQuery::default();
    let report = import(&mut world, ListKind::Block, blocked, text).unwrap();
    assert_eq!((report.added, report.refused), (4, 0));
    let forced = ImportQuery {
        force: true,
        ..ImportQuery::default()
    };
    let report = import(&mut world, ListKind::Allow, forced, text).unwrap();
    assert_eq!((report.added, report.unchanged), (2, 2));
}

#[test]
fn an_export_imported_again_is_the_same_with_lists_ends_and_comments() {
    for kind in [ListKind::Block, ListKind::Allow] {
        let mut world = World::new("[block]\nprefixes = [\"198.51.100.0/24\"]\n");
        for (list, span, comment, what) in [
            (None, None, None, "192.0.2.1"),
            (
                Some("one"),
                ttl("1h"),
                Some("a \"b\"\n#;\\ ü \u{202e}"),
                "192.0.2.0/24",
            ),
            (Some("two"), ttl("2d"), None, "192.0.2.0/24"),
            (None, None, Some(";xt list=x"), "2001:db8::/48"),
        ] {
            let request = AddEntries {
                list: list.and_then(list_name),
                ttl: span,
                comment: comment.map(str::to_owned),
                ..adding(&[what])
            };
            world.control.add_entries(kind, request).unwrap();
        }
        let text = exported(&mut world, kind, None);
        assert_eq!(
            text.contains("# 1 entries of the configuration"),
            kind == ListKind::Block
        );
        let mut other = World::new("");
        let report = import(&mut other, kind, ImportQuery::default(), &text).unwrap();
        assert_eq!((report.added, report.refused, report.ended), (4, 0, 0));
        let again = exported(&mut other, kind, None);
        let without_note = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with("# 1 entries"));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(without_note(&again), without_note(&text));
        let mut other = other.restarted("");
        assert_eq!(exported(&mut other, kind, None), again);
    }
}

#[test]
fn options_outrank_what_an_export_says() {
    let mut world = World::new("");
    let request = AddEntries {
        list: list_name("one"),
        ttl: ttl("1h"),
        ..adding(&["192.0.2.1", "192.0.2.2"])
    };
    world.control.add_entries(ListKind::Block, request).unwrap();
    world.block(&["192.0.2.3"]);
    let text = exported(&mut world, ListKind::Block, None);
    let only = exported(&mut world, ListKind::Block, Some("one"));
    assert_eq!(only.lines().count(), 4, "{only}");
    let query = ImportQuery {
        list: list_name("all"),
        ttl: ttl("5d"),
        ..ImportQuery::default()
    };
    let mut other = World::new("");
    assert_eq!(
        import(&mut other, ListKind::Block, query, &text)
            .unwrap()
            .added,
        3
    );
    let entries = other.entries(ListKind::Block);
    assert!(entries.iter().all(|entry| entry.list.as_str() == "all"));
    let ends: std::collections::BTreeSet<_> = entries.iter().map(|entry| entry.expires).collect();
    assert_eq!(ends.len(), 1);
    let nobody = ExportQuery {
        list: list_name("nobody"),
    };
    assert!(words(world.control.snapshot(ListKind::Block, &nobody)).contains("nobody"));
}

#[test]
fn an_export_with_replace_replaces_each_of_its_lists_and_no_other() {
    let mut world = World::new("");
    let text =
        "# xdp-throttle export v1 block\n192.0.2.1 ;xt list=one\n192.0.2.2 ;xt list=two\n# end 2\n";
    for (list, prefix) in [
        ("one", "192.0.2.8"),
        ("two", "192.0.2.2"),
        ("three", "192.0.2.9"),
    ] {
        let request = AddEntries {
            list: list_name(list),
            ..adding(&[prefix])
        };
        world.control.add_entries(ListKind::Block, request).unwrap();
    }
    let query = ImportQuery {
        replace: true,
        ..ImportQuery::default()
    };
    let report = import(&mut world, ListKind::Block, query, text).unwrap();
    assert_eq!((report.added, report.removed, report.unchanged), (1, 1, 1));
    assert_eq!(world.list(ListKind::Block, "one"), ["192.0.2.1"]);
    assert_eq!(world.list(ListKind::Block, "two"), ["192.0.2.2"]);
    assert_eq!(world.list(ListKind::Block, "three"), ["192.0.2.9"]);
}

#[test]
fn what_has_ended_is_left_out_and_counted() {
    let mut world = World::new("");
    let text = "# xdp-throttle export v1 block\n192.0.2.1 ;xt end=2020-01-01T00:00:00Z\n192.0.2.2\n# end 2\n";
    let report = import(&mut world, ListKind::Block, ImportQuery::default(), text).unwrap();
    assert_eq!((report.added, report.ended), (1, 1));
    assert!(!world.drops("192.0.2.1") && world.drops("192.0.2.2"));
}

#[test]
fn host_bits_are_cut_and_told() {
    let mut world = World::new("");
    let report = world.block(&["2001:db8:5::1234/64", "192.0.2.1"]);
    assert_eq!((report.added, report.host_bits_cut.len()), (2, 1));
    assert_eq!(report.host_bits_cut[0].given, "2001:db8:5::1234/64");
    assert_eq!(report.host_bits_cut[0].prefix, prefix("2001:db8:5::/64"));
    assert!(world.drops("2001:db8:5::9"));
}

#[test]
fn a_test_names_the_entries_that_hold_an_address() {
    let mut world = World::new("");
    world.block(&["192.0.2.0/24", "192.0.2.7", "192.0.2.128/25"]);
    let query = TestQuery {
        addresses: "192.0.2.7,198.51.100.1, 192.0.2.0/25".into(),
    };
    let report = world.control.test_entries(ListKind::Block, &query).unwrap();
    let held: Vec<Vec<String>> = report
        .results
        .iter()
        .map(|one| one.matches.iter().map(|m| m.prefix.to_string()).collect())
        .collect();
    assert_eq!(
        held,
        [
            vec!["192.0.2.0/24", "192.0.2.7"],
            vec![],
            vec!["192.0.2.0/24"]
        ]
    );
    for (addresses, why) in [("nonsense", "nonsense"), (&"::1,".repeat(101), "100")] {
        let query = TestQuery {
            addresses: addresses.into(),
        };
        assert!(words(world.control.test_entries(ListKind::Block, &query)).contains(why));
    }
}
