use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::config::Config;
use crate::domain::ListFormat;

fn list(more: &str) -> KeptList {
    let text = format!("[[list]]\nname = \"x\"\nsource = \"/x\"\n{more}\n");
    let mut loaded = Config::parse(&text, "test").unwrap();
    loaded.config.lists.remove(0)
}

fn entries(more: &str, text: &str) -> (Vec<String>, ListFormat) {
    let read = read(&list(more), text.as_bytes(), Timestamp::now()).unwrap();
    let entries = read.entries.iter().map(ToString::to_string);
    (entries.collect(), read.format)
}

fn cause(more: &str, text: &[u8]) -> FeedCause {
    read(&list(more), text, Timestamp::now())
        .err()
        .unwrap()
        .cause
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_format_is_found_out_and_read() {
    let wanted = ["192.0.2.1", "198.51.100.0/24", "2001:db8::/32"].map(String::from);
    for (format, text) in [
        (
            ListFormat::Plain,
            "# drop\n192.0.2.1\n198.51.100.0/24 ; SBL1\n2001:db8::/32\n",
        ),
        (
            ListFormat::SpamhausJson,
            "{\"cidr\":\"192.0.2.1\",\"sblid\":\"SBL1\"}\n{\"cidr\":\"198.51.100.0/24\"}\n\
             {\"cidr\":\"2001:db8::/32\"}\n{\"type\":\"metadata\",\"records\":3}\n",
        ),
        (
            ListFormat::Ipset,
            "create bad hash:net family inet hashsize 1024 maxelem 65536\nadd bad 192.0.2.1\n\
             add bad 198.51.100.0/24 timeout 300\nadd bad 203.0.113.0/24 nomatch\n\
             add bad 2001:db8::/32\n",
        ),
        (
            ListFormat::Nft,
            "table inet filter {\n\tset bad {\n\t\ttype ipv4_addr\n\t\tflags interval\n\
             \t\telements = { 192.0.2.1 timeout 1h expires 3m, 198.51.100.0-198.51.100.255,\n\
             \t\t\t     2001:db8::/32 }\n\t}\n}\n",
        ),
    ] {
        assert_eq!(entries("", text), (wanted.to_vec(), format), "{format}");
    }
}

#[test]
fn a_csv_column_is_read_past_quotes_and_header() {
    let text = "seen,\"who, where\",ip\n2026,\"a, b\",192.0.2.1\n2026,c,\"192.0.2.2\"\n";
    let (found, _) = entries("format = \"csv\"\ncolumn = 3", text);
    assert_eq!(found, ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn a_range_becomes_prefixes() {
    let (found, _) = entries("", "192.0.2.1-192.0.2.4\n");
    assert_eq!(found, ["192.0.2.1", "192.0.2.2/31", "192.0.2.4"]);
}

#[test]
fn gzip_is_unpacked_by_its_content_and_within_a_bound() {
    let text = packed(b"192.0.2.1\n");
    let found = read(&list(""), &text[..], Timestamp::now())
        .unwrap()
        .entries;
    assert_eq!(found.len(), 1);
    let bomb = packed(&vec![b'\n'; 4 << 20]);
    assert!(bomb.len() < 10_000);
    assert_eq!(cause("max_unpacked = \"1MiB\"", &bomb), FeedCause::TooLarge);
    let cut = &text[..text.len() - 6];
    assert_eq!(cause("", cut), FeedCause::Truncated);
}

#[test]
fn what_is_no_list_is_refused_as_a_whole() {
    let html = b"\n<!DOCTYPE html><html><body>192.0.2.1</body></html>\n";
    assert_eq!(cause("", html), FeedCause::NotAList);
    assert_eq!(cause("", b"one\ntwo\n192.0.2.1\n"), FeedCause::NotAList);
    assert_eq!(cause("", b"192.0.2.1\n0.0.0.0/0\n"), FeedCause::TooWide);
    let (found, _) = entries("accept_wide = true", "192.0.2.1\n12.0.0.0/7\n");
    assert_eq!(found, ["192.0.2.1", "12.0.0.0/7"]);
    assert_eq!(
        cause("max_entries = 1", b"192.0.2.1\n192.0.2.2\n"),
        FeedCause::TooManyEntries
    );
}

#[test]
fn a_text_without_line_ends_is_not_kept_in_memory() {
    let text = vec![b'1'; 3 << 20];
    assert_eq!(cause("max_unpacked = \"1MiB\"", &text), FeedCause::TooLarge);
    assert_eq!(cause("", &text), FeedCause::NotAList);
}

/// Lists as they are published, where a folder with them is named.
#[test]
fn published_lists_are_read_without_a_refused_line() {
    let Some(corpus) = std::env::var_os("XDP_THROTTLE_CORPUS") else {
        eprintln!("skipped: XDP_THROTTLE_CORPUS isn't set");
        return;
    };
    let folder = std::path::PathBuf::from(corpus).join("blocklists");
    let mut read_lists = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(str::trim);
        let addresses = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
        let found = read(&list(""), text.as_bytes(), Timestamp::now()).unwrap();
        assert_eq!(found.refused_count(), 0, "{}", path.display());
        let counted = found.entries.len() as u64 + found.duplicates;
        assert_eq!(counted, addresses.count() as u64, "{}", path.display());
        read_lists += 1;
    }
    assert!(read_lists > 0);
}
