//! `[[list]]`.

use super::*;
use crate::api::types::ListKind;
use crate::config::{Checksum, KeptList, ListSource};
use crate::domain::{ListFormat, SkipKind};

fn only(text: &str) -> KeptList {
    let mut lists = accepted(text).lists;
    assert_eq!(lists.len(), 1);
    lists.remove(0)
}

#[test]
fn a_list_needs_only_a_name_and_a_source() {
    let list = only("[[list]]\nname = \"drop\"\nsource = \"https://example.org/drop.txt\"\n");
    assert_eq!(
        (list.kind, list.format),
        (ListKind::Block, ListFormat::Auto)
    );
    assert!(matches!(list.source, ListSource::Url(_)));
    assert_eq!((list.min_entries, list.max_change), (1, 50));
    assert_eq!((list.sha256, list.ca_file), (None, None));
    assert!(!list.accept_wide);
    assert!(list.paths.is_empty() && list.sets.is_empty() && list.skip.is_empty());
}

#[test]
fn fields_sets_and_what_to_skip_are_read_alone_or_as_a_list() {
    let of = |keys: &str| {
        only(&format!(
            "[[list]]\nname = \"x\"\nsource = \"/x\"\n{keys}\n"
        ))
    };
    let list = of(
        "format = \"json\"\npath = \"prefixes[].ip_prefix\"\nskip = [\"private\", \"link_local\"]",
    );
    assert_eq!(list.paths, ["prefixes[].ip_prefix".parse().unwrap()]);
    assert_eq!(list.skip, [SkipKind::Private, SkipKind::LinkLocal]);
    let list = of("format = \"json\"\npath = [\"[].a\", \"[].b\"]");
    assert_eq!(list.paths.len(), 2);
    assert_eq!(of("set = \"bad\"").sets, ["bad".parse().unwrap()]);
    let list = of("format = \"nft\"\nset = [\"bad4\", \"inet/fw/bad6\"]");
    assert_eq!(list.sets.len(), 2);
}

#[test]
fn keys_that_the_format_has_no_use_for_are_refused_with_their_line() {
    for (keys, place) in [
        ("format = \"plain\"\npath = \"a[]\"", "path"),
        ("format = \"aws\"\npath = \"a[]\"", "path"),
        ("format = \"csv\"\nset = \"bad\"", "set"),
        ("column = 2", "column"),
        ("format = \"json\"\npath = []", "path"),
        ("format = \"json\"\npath = \"a[0]\"", "path"),
        ("skip = [\"everything\"]", "skip[0]"),
        ("format = \"yaml\"", "format"),
    ] {
        let text = format!("[[list]]\nname = \"x\"\nsource = \"/x\"\n{keys}\n");
        let error = Config::parse(&text, "test").unwrap_err();
        let problem = &error.problems[0];
        assert!(problem.key.ends_with(place), "{keys}: {error}");
        assert!(problem.line >= 4, "{keys}: {error}");
    }
}

#[test]
fn every_key_of_a_list_is_read() {
    let sum = "ab".repeat(32);
    let list = only(&format!(
        "[[list]]\nname = \"good\"\nkind = \"allow\"\nsource = \"/srv/good.csv\"\n\
         format = \"csv\"\ncolumn = 3\ninterval = \"5m\"\ntimeout = \"9s\"\n\
         max_size = \"1MB\"\nmax_unpacked = \"2MB\"\nmax_entries = 40\nmin_entries = 4\n\
         max_change = 20\naccept_wide = true\nsha256 = \"{sum}\"\n\
         ca_file = \"/etc/x.pem\"\nstale_after = \"2h\"\n"
    ));
    assert_eq!(list.kind, ListKind::Allow);
    assert_eq!(list.source, ListSource::File("/srv/good.csv".into()));
    assert_eq!((list.format, list.column), (ListFormat::Csv, 3));
    let seconds = |span: Span| span.as_duration().as_secs();
    assert_eq!((seconds(list.interval), seconds(list.timeout)), (300, 9));
    assert_eq!(seconds(list.stale_after), 7200);
    let sizes = (list.max_size.bytes(), list.max_unpacked.bytes());
    assert_eq!(sizes, (1_000_000, 2_000_000));
    assert_eq!(
        (list.max_entries, list.min_entries, list.max_change),
        (40, 4, 20)
    );
    assert!(list.accept_wide);
    assert_eq!(list.sha256, Some(Checksum::Fixed(sum)));
    assert_eq!(list.ca_file, Some("/etc/x.pem".into()));
}

#[test]
fn a_list_that_cannot_work_is_refused_with_its_place() {
    let source = "source = \"https://example.org/\"";
    for (keys, place) in [
        ("name = \"x\"\nsource = \"list.txt\"", "source"),
        ("name = \"x\"\nsource = \"ftp://example.org/x\"", "source"),
        (
            "name = \"x\"\nsource = \"https://me:secret@example.org/x\"",
            "source",
        ),
        ("name = \"x\"", "source"),
        (&format!("name = \"manual\"\n{source}"), "name"),
        (
            &format!("name = \"x\"\n{source}\nsha256 = \"abc\""),
            "sha256",
        ),
        (
            &format!("name = \"x\"\n{source}\nmax_entries = 1\nmin_entries = 2"),
            "min_entries",
        ),
        (
            &format!("name = \"x\"\n{source}\n[[list]]\nname = \"x\"\n{source}"),
            "name",
        ),
    ] {
        let error = Config::parse(&format!("[[list]]\n{keys}\n"), "test").unwrap_err();
        let at = error
            .problems
            .iter()
            .any(|problem| problem.key.ends_with(place));
        assert!(at, "{keys}: {error}");
        assert!(!error.to_string().contains("secret@"), "{error}");
    }
}
