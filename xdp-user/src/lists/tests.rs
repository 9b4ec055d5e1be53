//! Whole lists.

use proptest::prelude::*;

use super::*;

fn read(text: &[u8]) -> ParsedList {
    parse(text, Bounds::default()).unwrap()
}

fn entries(text: &[u8]) -> Vec<String> {
    read(text).entries.iter().map(Prefix::to_string).collect()
}

const SPAMHAUS: &[u8] = b"; Spamhaus DROP List\r\n; Expires: never\r\n\
    1.10.16.0/20 ; SBL256894\r\n1.19.0.0/16 ; SBL434604\r\n";

#[test]
fn lists_are_read_as_they_are() {
    assert_eq!(entries(SPAMHAUS), ["1.10.16.0/20", "1.19.0.0/16"]);
    assert_eq!(read(SPAMHAUS).comments, 2);
    assert_eq!(read(SPAMHAUS).lines, 4);
    assert_eq!(entries(b"192.0.2.2\n192.0.2.1"), ["192.0.2.2", "192.0.2.1"]);
    assert_eq!(entries(b"\xef\xbb\xbf192.0.2.1\n"), ["192.0.2.1"]);
    assert_eq!(entries(b""), Vec::<String>::new());
    assert_eq!(read(b"\n\n").lines, 2);
}

#[test]
fn repeated_entries_are_counted_once() {
    let list = read(b"192.0.2.1\n192.0.2.1/32\n::ffff:192.0.2.1\n192.0.2.7/24\n192.0.2.9/24\n");
    assert_eq!(list.entries.len(), 2);
    assert_eq!(list.duplicates, 3);
    assert_eq!(list.host_bits_cleared, 1);
    assert_eq!(read(b"10.0.0.0/8\n192.0.2.1\n").private, 1);
}

#[test]
fn every_refused_line_is_counted_and_the_first_hundred_are_kept() {
    let list = read("1.2.3\n".repeat(150).as_bytes());
    assert_eq!(list.refused.len(), REFUSED_KEPT);
    assert_eq!(list.refused_count(), 150);
    assert_eq!(list.refused_by_reason[&RefusalReason::NotAnAddress], 150);
    assert_eq!(
        list.refused[1],
        Refused {
            line: 2,
            text: "1.2.3".into(),
            reason: RefusalReason::NotAnAddress,
        }
    );
}

#[test]
fn bounds_are_exact() {
    let two = Bounds {
        max_entries: 2,
        ..Bounds::default()
    };
    assert_eq!(
        parse(&b"192.0.2.1\n192.0.2.2\n192.0.2.1\n"[..], two)
            .unwrap()
            .duplicates,
        1
    );
    let error = parse(&b"192.0.2.1\n\n192.0.2.2\n192.0.2.3\n"[..], two).unwrap_err();
    assert!(
        matches!(error, ListError::TooManyEntries { line: 4, max: 2 }),
        "{error}"
    );
    let ten_bytes = Bounds {
        max_bytes: 10,
        ..Bounds::default()
    };
    parse(&b"192.0.2.1\n"[..], ten_bytes).unwrap();
    let error = parse(&b"192.0.2.10\n"[..], ten_bytes).unwrap_err();
    assert!(matches!(error, ListError::TooLarge { max: 10 }), "{error}");
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_next_one_read() {
    let mut text = vec![b'1'; MAX_LINE_BYTES + 1];
    text.extend_from_slice(b"\n192.0.2.1\n");
    let list = read(&text);
    assert_eq!(list.refused_by_reason[&RefusalReason::LineTooLong], 1);
    assert_eq!(list.entries.len(), 1);
}

#[test]
fn the_longest_line_fits_with_its_mark_and_carriage_return() {
    let line = format!("192.0.2.1{}", " ".repeat(MAX_LINE_BYTES - 9));
    let text = [&b"\xef\xbb\xbf"[..], line.as_bytes(), b"\r\n"].concat();
    assert_eq!(entries(&text), ["192.0.2.1"]);
    let longer = format!("{line} \n");
    assert_eq!(read(longer.as_bytes()).refused_count(), 1);
}

#[test]
fn prefixes_within_others_are_left_out() {
    let mut prefixes = read(
        b"192.0.2.128/25\n198.51.100.1\n192.0.2.0/24\n192.0.2.1\n2001:db8::1\n2001:db8::/32\n193.0.0.0/24\n",
    )
    .entries;
    assert_eq!(drop_covered(&mut prefixes), 3);
    let kept: Vec<String> = prefixes.iter().map(Prefix::to_string).collect();
    assert_eq!(
        kept,
        [
            "192.0.2.0/24",
            "193.0.0.0/24",
            "198.51.100.1",
            "2001:db8::/32"
        ]
    );
}

/// The lists that operators use, where the folder with copies of them is given.
#[test]
fn published_lists_are_read_without_a_refusal() {
    let Some(folder) = std::env::var_os("XDP_THROTTLE_CORPUS") else {
        eprintln!("skipped: XDP_THROTTLE_CORPUS does not name the folder of captures and lists");
        return;
    };
    let folder = std::path::Path::new(&folder).join("blocklists");
    for (name, count) in [
        ("ipsum-level1.txt", 120_430),
        ("ipsum-level3.txt", 14_217),
        ("spamhaus-drop.txt", 1_699),
        ("spamhaus-dropv6.txt", 91),
    ] {
        let file = std::fs::File::open(folder.join(name)).unwrap();
        let list = parse(file, Bounds::default()).unwrap();
        let read = list.entries.len() as u64 + list.duplicates;
        assert_eq!(
            (read, list.refused_count()),
            (count, 0),
            "{name}: {:?}",
            list.refused
        );
    }
}

/// Lines that are nearly addresses, and ends of every kind.
fn nearly_list() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(/[0-9]{1,3})?"
            .prop_map(String::into_bytes),
        "[0-9a-f:]{1,12}(/[0-9]{1,3})?".prop_map(String::into_bytes),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b" ; comment".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_line_is_accounted_for(text in nearly_list()) {
        let Ok(list) = parse(&text[..], Bounds::default()) else {
            return Ok(());
        };
        if list.format == ListFormat::Plain {
            let content = text.split(|byte| b"\r\n".contains(byte));
            let content = content.filter(|line| !line.trim_ascii().is_empty()).count() as u64;
            let taken = list.entries.len() as u64 + list.duplicates;
            prop_assert!(taken + list.comments + list.refused_count() >= content);
            prop_assert!(list.comments + list.refused_count() <= list.lines);
        }
        prop_assert_eq!(list.bytes, text.len() as u64);
    }

    #[test]
    fn what_is_left_out_was_covered(bits in proptest::collection::vec((any::<u8>(), 24u8..=32), 1..60)) {
        let all: Vec<Prefix> = bits
            .iter()
            .filter_map(|(low, len)| Prefix::new([192, 0, 2, *low].into(), *len))
            .collect();
        let mut kept = all.clone();
        drop_covered(&mut kept);
        for prefix in &all {
            let covers = kept.iter().filter(|wider| wider.covers(prefix)).count();
            prop_assert_eq!(covers, 1, "{} by exactly one of {:?}", prefix, kept);
        }
    }
}
