//! Every format: what it holds, what it refuses, and that a text of it is recognised.

use std::io::Read as _;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::super::{Bounds, ListError, Options, ParsedList, RefusalReason, read};
use crate::domain::{ListFormat, Prefix};

mod json;
mod sets;
mod texts;

/// Reads a text, and tells entries as texts.
fn read_as(format: ListFormat, text: &str) -> Result<ParsedList, ListError> {
    let options = Options {
        format,
        ..Options::default()
    };
    read(text.as_bytes(), &options, Bounds::default())
}

fn with(text: &str, change: impl FnOnce(&mut Options)) -> Result<ParsedList, ListError> {
    let mut options = Options::default();
    change(&mut options);
    read(text.as_bytes(), &options, Bounds::default())
}

fn shown(list: &ParsedList) -> Vec<String> {
    list.entries.iter().map(Prefix::to_string).collect()
}

/// The text is found to have the format, and has these entries and no refused line.
#[track_caller]
fn is_read(format: ListFormat, text: &str, wanted: &[&str]) {
    for named in [ListFormat::Auto, format] {
        let list = read_as(named, text).unwrap();
        assert_eq!(list.format, format, "{text}");
        assert_eq!(list.refused, [], "{text}");
        assert_eq!(shown(&list), wanted, "{text}");
    }
}

/// Every line is refused, each for this reason.
#[track_caller]
fn is_refused(format: ListFormat, text: &str, reason: RefusalReason) {
    let list = read_as(format, text).unwrap();
    assert_eq!(shown(&list), Vec::<String>::new(), "{text}");
    assert!(
        list.refused_by_reason.contains_key(&reason),
        "{text}: {list:?}"
    );
    assert_eq!(list.refused_by_reason.len(), 1, "{text}: {list:?}");
}

/// In how many seconds an entry ends.
#[track_caller]
fn ends_in(list: &ParsedList, prefix: &str) -> Option<i64> {
    let prefix = prefix.parse().unwrap();
    let end = list.details.get(&prefix)?.expires?;
    let left: SignedDuration = end.duration_since(Timestamp::now());
    Some((left.as_secs_f64() / 10.0).round() as i64 * 10)
}

fn comment_of<'a>(list: &'a ParsedList, prefix: &str) -> Option<&'a str> {
    let prefix = prefix.parse().unwrap();
    list.details.get(&prefix)?.comment.as_deref()
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_in_every_format(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        index in 0..ListFormat::ALL.len(),
    ) {
        let options = Options { format: ListFormat::ALL[index], ..Options::default() };
        read(&bytes[..], &options, Bounds::default()).ok();
    }

    #[test]
    fn nearly_right_texts_are_read_or_refused_in_every_format(
        pieces in proptest::collection::vec(prop_oneof![
            Just("add "), Just("create x hash:ip "), Just("element inet t s { "), Just("} "), Just("{"),
            Just("table inet t {\n"), Just("set s {\n"), Just("elements = { "), Just("\n"), Just(","),
            Just("timeout "), Just("9999999999999999999999 "), Just("nomatch "), Just("\""), Just("["),
            Just("]"), Just("192.0.2.1 "), Just("192.0.2.0/24"), Just("2001:db8::/33 "), Just(" - "),
            Just("$x "), Just("define x = "), Just("{\"nftables\":["), Just("\"elem\":"), Just(":"),
            Just("sshd: "), Just("EXCEPT "), Just(";"), Just("#"), Just("\\\n"), Just("é"), Just("Name: x\n"),
            Just("Members:\n"), Just("swap x y\n"), Just("del x 192.0.2.1\n"), Just("flush set t s\n"),
            Just("a:1.2.3.4-1.2.3.5\n"), Just("001.002.003.004 - 255.255.255.255 , 000 , x\n"),
        ], 0..40),
        index in 0..ListFormat::ALL.len(),
    ) {
        let text = pieces.concat();
        read_as(ListFormat::ALL[index], &text).ok();
    }
}

#[test]
fn deep_json_is_refused_and_not_followed() {
    for open in ["[", "{\"a\":", "{\"nftables\":["] {
        let deep = open.repeat(100_000);
        for format in [ListFormat::Auto, ListFormat::Json] {
            read_as(format, &deep).unwrap_err();
        }
    }
    read_as(ListFormat::Nft, &"{\"nftables\":".repeat(100_000)).unwrap_err();
    let braces = format!("table t {}", "{ x ".repeat(100_000));
    read_as(ListFormat::Nft, &braces).unwrap_err();
}

#[test]
fn variables_that_stand_for_more_and_more_are_refused() {
    let mut text = String::from("define a0 = { 192.0.2.1, 192.0.2.2 }\n");
    for step in 1..40 {
        let before = format!("$a{}", step - 1);
        text += &format!("define a{step} = {{ {before}, {before}, {before}, {before} }}\n");
    }
    let error = read_as(ListFormat::Nft, &text).unwrap_err();
    assert!(error.to_string().contains("variables"), "{error}");
}

#[test]
fn large_scripts_are_read_in_linear_time() {
    let mut text = String::from("create x hash:net\n");
    for number in 0..50_000u32 {
        let addr = std::net::Ipv4Addr::from(0x0b00_0000 | number);
        text += &format!("add x {addr}\nadd x {addr} nomatch\ndel x 192.0.2.1\n");
    }
    let began = std::time::Instant::now();
    let list = read_as(ListFormat::Ipset, &text).unwrap();
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    assert_eq!(list.entries.len(), 0);
}

#[test]
fn a_source_that_ends_early_is_no_list() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("gone"))
        }
    }
    let text = "{\"prefixes\": [".as_bytes().chain(Broken);
    let error = read(text, &Options::default(), Bounds::default()).unwrap_err();
    assert!(matches!(error, ListError::Read(_)), "{error}");
}
