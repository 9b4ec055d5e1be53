//! Entries: adding, removing, importing, listing, ending.

use super::*;
use crate::api::types::{FlushEntries, ImportQuery, RemoveEntries};
use crate::lists::{self, Bounds};
use xdp_common::reason::Reason;

const SMALL: &str = "[capacity]\nallow = 2\nblock = 3\n";

fn removing(prefixes: &[&str], list: Option<&str>) -> RemoveEntries {
    RemoveEntries {
        prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
        list: list.and_then(list_name),
    }
}

fn import(world: &mut World, query: ImportQuery, text: &str) -> ChangeReport {
    let parsed = lists::parse(text.as_bytes(), Bounds::default()).unwrap();
    world
        .control
        .import(ListKind::Block, query, parsed)
        .unwrap()
}

fn into_list(name: &str) -> ImportQuery {
    ImportQuery {
        list: list_name(name),
        ..ImportQuery::default()
    }
}

#[test]
fn a_blocked_source_is_dropped_until_it_is_removed() {
    let mut world = World::new("");
    assert!(!world.drops("192.0.2.1"));
    assert_eq!(world.block(&["192.0.2.0/24", "2001:db8::/32"]).added, 2);
    assert_eq!(world.judge("192.0.2.1").reason, Reason::Blocklisted);
    assert_eq!(world.judge("2001:db8::1").reason, Reason::Blocklisted);
    let gone = removing(&["192.0.2.0/24"], None);
    let report = world
        .control
        .remove_entries(ListKind::Block, &gone)
        .unwrap();
    assert_eq!(report.removed, 1);
    assert!(!world.drops("192.0.2.1"));
    assert!(world.drops("2001:db8::1"));
}

#[test]
fn the_allowlist_wins() {
    let mut world = World::new("[block]\nprefixes = [\"198.51.100.0/24\"]\n");
    world.block(&["192.0.2.7"]);
    world.add(ListKind::Allow, &["192.0.2.0/24", "198.51.100.9"]);
    for source in ["192.0.2.7", "198.51.100.9"] {
        assert_eq!(world.judge(source).reason, Reason::Allowlisted);
    }
    assert_eq!(world.judge("198.51.100.8").reason, Reason::Blocklisted);
}

#[test]
fn entries_are_listed_with_what_is_known_of_them() {
    let mut world = World::new("[block]\nprefixes = [\"203.0.113.0/24\"]\n");
    let request = AddEntries {
        list: list_name("scanners"),
        ttl: ttl("1h"),
        comment: Some("port scan".into()),
        ..adding(&["192.0.2.1", "203.0.113.5"])
    };
    let report = world
        .control
        .add_entries(ListKind::Block, request.clone())
        .unwrap();
    assert_eq!((report.added, report.merged), (2, 1));
    world.judge("192.0.2.1");
    world.judge("203.0.113.5");
    let entries = world.entries(ListKind::Block);
    let rows: Vec<_> = entries
        .iter()
        .map(|e| (e.prefix.to_string(), e.list.as_str(), e.packets, e.bytes))
        .collect();
    assert_eq!(
        rows,
        [
            ("192.0.2.1".to_owned(), "scanners", Some(1), Some(64)),
            ("203.0.113.0/24".to_owned(), "config", Some(1), Some(64)),
            ("203.0.113.5".to_owned(), "scanners", None, None),
        ]
    );
    let (first, config) = (&entries[0], &entries[1]);
    assert_eq!(first.comment.as_deref(), Some("port scan"));
    let left = first.expires.unwrap().duration_since(first.added.unwrap());
    assert!((3599..=3600).contains(&left.as_secs()), "{left}");
    assert_eq!((config.expires, config.added), (None, None));

    let forever = AddEntries {
        ttl: None,
        ..request.clone()
    };
    let report = world
        .control
        .add_entries(ListKind::Block, forever.clone())
        .unwrap();
    assert_eq!((report.updated, report.unchanged), (2, 0));
    let report = world.control.add_entries(ListKind::Block, forever).unwrap();
    assert_eq!((report.updated, report.unchanged), (0, 2));
    assert_eq!(
        world
            .kernel
            .entry(ListKind::Block, "192.0.2.1")
            .unwrap()
            .packets,
        1
    );
}

#[test]
fn pages_and_filters_count_the_whole() {
    let mut world = World::new("");
    world.block(&[
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.3",
        "192.0.2.1",
        "2001:db8::1",
    ]);
    let mut page = |query: EntryQuery| {
        let page = world.control.list_entries(ListKind::Block, &query).unwrap();
        let prefixes: Vec<String> = page.entries.iter().map(|e| e.prefix.to_string()).collect();
        (prefixes.join(" "), page.total)
    };
    let middle = EntryQuery {
        offset: 1,
        limit: Some(2),
        ..EntryQuery::default()
    };
    assert_eq!(page(middle), ("10.1.0.0/16 10.1.2.3".to_owned(), 5));
    let around = EntryQuery {
        matching: Some(prefix("10.1.0.0/16").into()),
        ..EntryQuery::default()
    };
    assert_eq!(
        page(around),
        ("10.0.0.0/8 10.1.0.0/16 10.1.2.3".to_owned(), 3)
    );
    let unknown = EntryQuery {
        list: list_name("nobody"),
        ..EntryQuery::default()
    };
    assert_eq!(page(unknown), (String::new(), 0));
    let past_the_end = EntryQuery {
        offset: 9,
        ..EntryQuery::default()
    };
    assert_eq!(page(past_the_end), (String::new(), 5));
}

#[test]
fn removing_says_what_was_not_there_and_why() {
    let mut world = World::new("[block]\nprefixes = [\"198.51.100.0/24\"]\n");
    world.block(&["192.0.2.0/24"]);
    let other = AddEntries {
        list: list_name("other"),
        ..adding(&["192.0.2.0/24"])
    };
    world.control.add_entries(ListKind::Block, other).unwrap();

    let asked = removing(&["198.51.100.0/24", "192.0.2.9", "203.0.113.1"], None);
    let report = world
        .control
        .remove_entries(ListKind::Block, &asked)
        .unwrap();
    assert_eq!(report.removed, 0);
    assert_eq!(report.refused, 1, "what the configuration has stays");
    let why = &report.refusals[0].why;
    assert!(why.contains("configuration"), "{report:?}");
    let missing = [
        "192.0.2.9: not by itself, but 192.0.2.0/24 covers it",
        "203.0.113.1",
    ];
    assert_eq!(report.missing, missing);
    let elsewhere = removing(&["192.0.2.0/24"], Some("third"));
    let report = world
        .control
        .remove_entries(ListKind::Block, &elsewhere)
        .unwrap();
    assert_eq!(report.refused, 0);
    assert_eq!(
        report.missing,
        ["192.0.2.0/24: not in the list third, but in manual, other"]
    );

    let from_one = removing(&["192.0.2.0/24"], Some("other"));
    let report = world
        .control
        .remove_entries(ListKind::Block, &from_one)
        .unwrap();
    assert_eq!((report.removed, report.missing.len()), (1, 0));
    assert!(world.drops("192.0.2.9"), "the list \"manual\" still has it");
    let from_all = removing(&["192.0.2.0/24"], None);
    assert_eq!(
        world
            .control
            .remove_entries(ListKind::Block, &from_all)
            .unwrap()
            .removed,
        1
    );
    assert!(!world.drops("192.0.2.9"));
    let config = removing(&["198.51.100.0/24"], Some("config"));
    let refused = words(world.control.remove_entries(ListKind::Block, &config));
    assert!(refused.contains("config file"), "{refused}");
}

#[test]
fn flushing_empties_one_list_or_all_but_the_configurations() {
    let mut world = World::new("[block]\nprefixes = [\"198.51.100.0/24\"]\n");
    world.block(&["192.0.2.1", "192.0.2.2"]);
    import(&mut world, into_list("feed"), "192.0.2.2\n192.0.2.3\n");
    let flush = |world: &mut World, list: Option<&str>| {
        let request = FlushEntries {
            list: list.and_then(list_name),
        };
        world.control.flush_entries(ListKind::Block, &request)
    };
    assert_eq!(flush(&mut world, Some("nobody")).unwrap().removed, 0);
    assert_eq!(flush(&mut world, Some("feed")).unwrap().removed, 2);
    assert!(world.drops("192.0.2.2") && !world.drops("192.0.2.3"));
    assert!(words(flush(&mut world, Some("config"))).contains("config file"));
    assert_eq!(flush(&mut world, None).unwrap().removed, 2);
    assert!(world.drops("198.51.100.1") && !world.drops("192.0.2.2"));
    assert_eq!(world.list_sizes(), [("config".to_owned(), 1)]);
}

#[test]
fn an_import_replaces_what_the_text_no_longer_has() {
    let mut world = World::new("");
    world.block(&["192.0.2.1"]);
    let text = "192.0.2.1\n192.0.2.2 # twice\n192.0.2.2\nnonsense\n0.0.0.0/1\n198.51.100.0/24\n";
    let report = import(&mut world, into_list("feed"), text);
    assert_eq!((report.added, report.duplicates, report.refused), (3, 1, 2));
    let lines: Vec<_> = report
        .refusals
        .iter()
        .map(|r| (r.line, r.text.as_str()))
        .collect();
    assert_eq!(lines, [(Some(4), "nonsense"), (Some(5), "0.0.0.0/1")]);

    let replacing = ImportQuery {
        replace: true,
        ..into_list("feed")
    };
    let report = import(
        &mut world,
        replacing,
        "192.0.2.2\n198.51.100.7\n198.51.100.0/25\n",
    );
    assert_eq!(
        (
            report.added,
            report.unchanged,
            report.removed,
            report.merged
        ),
        (2, 1, 2, 0)
    );
    assert_eq!(world.list(ListKind::Block, "manual"), ["192.0.2.1"]);
    let feed = ["192.0.2.2", "198.51.100.0/25", "198.51.100.7"];
    assert_eq!(world.list(ListKind::Block, "feed"), feed);
    assert!(world.drops("192.0.2.1"), "another list has it still");
    assert!(world.drops("198.51.100.7") && !world.drops("198.51.100.200"));

    let again = import(&mut world, into_list("feed"), "192.0.2.2\n");
    assert_eq!(
        (again.unchanged, again.removed),
        (1, 0),
        "without replace nothing goes"
    );
}

#[test]
fn what_does_not_fit_leaves_nothing_behind() {
    let mut world = World::new(SMALL);
    let report = world.block(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]);
    assert_eq!((report.added, report.refused), (3, 1));
    assert_eq!(report.refusals[0].text, "192.0.2.4");
    assert!(
        report.refusals[0].why.contains("capacity.block"),
        "{report:?}"
    );
    assert_eq!(world.block(&["192.0.2.5"]).refused, 1);
    assert!(!world.drops("192.0.2.4"));
    assert_eq!(world.list(ListKind::Block, "manual").len(), 3);
    // What needs no room is taken: another family, and what is there or covered already.
    assert_eq!(world.block(&["2001:db8::1"]).added, 1);
    let timed = AddEntries {
        list: list_name("other"),
        ttl: ttl("1h"),
        ..adding(&["192.0.2.1"])
    };
    assert_eq!(
        world
            .control
            .add_entries(ListKind::Block, timed)
            .unwrap()
            .added,
        1
    );

    let mut world = world.restarted(SMALL);
    assert_eq!(
        world.list(ListKind::Block, "manual").len(),
        4,
        "IPv6 among them"
    );
    assert!(!world.drops("192.0.2.4") && !world.drops("192.0.2.5"));
    let gone = removing(&["192.0.2.2"], None);
    world
        .control
        .remove_entries(ListKind::Block, &gone)
        .unwrap();
    assert_eq!(world.block(&["192.0.2.4"]).added, 1, "there is room again");
}

#[test]
fn what_can_only_be_a_slip_is_refused() {
    let mut world = World::new("");
    let report = world.block(&["0.0.0.0/0", "::/8", "10.0.0.0/8"]);
    assert_eq!((report.added, report.refused), (1, 2));
    assert!(report.refusals.iter().all(|r| r.why.contains("--force")));
    let forced = AddEntries {
        force: true,
        ..adding(&["0.0.0.0/0"])
    };
    assert_eq!(
        world
            .control
            .add_entries(ListKind::Block, forced)
            .unwrap()
            .added,
        1
    );
    assert!(world.drops("203.0.113.200"));
    for slip in [
        AddEntries {
            list: list_name("config"),
            ..adding(&["192.0.2.1"])
        },
        AddEntries {
            ttl: ttl("0s"),
            ..adding(&["192.0.2.1"])
        },
        AddEntries {
            comment: Some("x".repeat(201)),
            ..adding(&["192.0.2.1"])
        },
    ] {
        words(world.control.add_entries(ListKind::Allow, slip));
    }
    assert!(world.entries(ListKind::Allow).is_empty());
}

#[test]
fn an_entry_ends_by_itself_and_is_swept_up() {
    let mut world = World::new("");
    let short = AddEntries {
        ttl: ttl("30ms"),
        ..adding(&["192.0.2.0/24"])
    };
    world.control.add_entries(ListKind::Block, short).unwrap();
    world.block(&["192.0.2.7", "198.51.100.1"]);
    let ends = world.entries(ListKind::Block)[0].expires.unwrap();
    world.control.tick();
    if Timestamp::now() < ends {
        assert!(
            world
                .kernel
                .entry(ListKind::Block, "192.0.2.0/24")
                .is_some()
        );
    }
    while Timestamp::now() < ends {
        std::thread::yield_now();
    }
    // The program looks at the end itself, in its units.
    let frame = Frame::syn("192.0.2.1").bytes();
    let later = Moment::now().boot_ns + (1 << xdp_common::lists::END_SHIFT);
    assert_eq!(
        world.kernel.memory().judge(&frame, later).reason,
        Reason::Accepted
    );
    world.control.tick();
    assert_eq!(world.kernel.entry(ListKind::Block, "192.0.2.0/24"), None);
    let left = ["192.0.2.7", "198.51.100.1"];
    assert_eq!(world.list(ListKind::Block, "manual"), left);
    assert_eq!(world.restarted("").list(ListKind::Block, "manual"), left);
}

#[test]
fn asking_for_an_unknown_list_makes_no_name() {
    let mut world = World::new("");
    let before = format!("{:?}", world.control.names);
    for name in ["one", "two"] {
        let removal = removing(&["192.0.2.1"], Some(name));
        let report = world
            .control
            .remove_entries(ListKind::Block, &removal)
            .unwrap();
        assert_eq!(report.missing.len(), 1);
        let flush = FlushEntries {
            list: list_name(name),
        };
        world
            .control
            .flush_entries(ListKind::Block, &flush)
            .unwrap();
    }
    assert_eq!(format!("{:?}", world.control.names), before);
    world.block(&["192.0.2.1"]);
    let entry = world.kernel.entry(ListKind::Block, "192.0.2.1").unwrap();
    let name = world.control.list_name(entry.list).unwrap();
    assert_eq!(
        name.as_str(),
        "manual",
        "the kernel's number stands for the list"
    );
}

#[test]
fn an_import_says_how_much_of_it_is_of_local_networks() {
    let mut world = World::new("");
    let report = import(
        &mut world,
        into_list("bogons"),
        "10.0.0.0/8\n192.0.2.1\nfe80::/16\n",
    );
    assert_eq!((report.added, report.private), (3, 2));
}
