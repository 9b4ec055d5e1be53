//! JSON of clouds, by paths, and what is no list.

use super::*;
use crate::domain::JsonPath;

#[test]
fn json_of_clouds_is_read() {
    let aws = "{\"syncToken\": \"1\", \"prefixes\": [\n{\"ip_prefix\": \"192.0.2.0/24\", \"region\": \"x\"}],\n\
        \"ipv6_prefixes\": [{\"ipv6_prefix\": \"2001:db8::/32\"}]}";
    let google =
        "{\"prefixes\": [{\"ipv6Prefix\": \"2001:db8::/32\"}, {\"ipv4Prefix\": \"192.0.2.0/24\"}]}";
    let cloudflare = "{\"result\": {\"ipv4_cidrs\": [\"192.0.2.0/24\"], \"ipv6_cidrs\": [\"2001:db8::/32\"],\
        \"etag\": \"x\"}, \"success\": true}";
    let array = "[\"192.0.2.0/24\",\n \"2001:db8::/32\"]";
    for (format, text) in [
        (ListFormat::Aws, aws),
        (ListFormat::Google, google),
        (ListFormat::Cloudflare, cloudflare),
        (ListFormat::Json, array),
    ] {
        for named in [ListFormat::Auto, format] {
            let mut found = shown(&read_as(named, text).unwrap());
            found.sort();
            assert_eq!(found, ["192.0.2.0/24", "2001:db8::/32"], "{text}");
        }
    }
    let lines = "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\"}\n{\"type\":\"metadata\"}\n";
    is_read(ListFormat::SpamhausJson, lines, &["192.0.2.0/24"]);
}

#[test]
fn fields_of_json_are_named_by_paths() {
    let read = |paths: &[&str], text: &str| {
        with(text, |options| {
            options.format = ListFormat::Json;
            let parsed = paths.iter().map(|path| path.parse::<JsonPath>().unwrap());
            options.paths = parsed.collect();
        })
    };
    let text = "{\"a\": [{\"ip\": \"192.0.2.1\", \"own\": \"198.51.100.1\"}, {\"ip\": \"192.0.2.2\"}],\
        \"b\": {\"x\": {\"nets\": [\"192.0.2.64/26\"]}, \"y\": {\"nets\": []}}, \"c\": null}";
    assert_eq!(
        shown(&read(&["a[].ip"], text).unwrap()),
        ["192.0.2.1", "192.0.2.2"]
    );
    assert_eq!(
        shown(&read(&["b.*.nets[]"], text).unwrap()),
        ["192.0.2.64/26"]
    );
    assert_eq!(
        read(&["a[].ip", "b.x.nets[]"], text).unwrap().entries.len(),
        3
    );
    assert_eq!(
        read(&["b.y.nets[]"], "{\"b\":{\"y\":{\"nets\":[]}}}")
            .unwrap()
            .entries
            .len(),
        0
    );
    let lines = "{\"ip\":\"192.0.2.1\"}\n{\"ip\":\"192.0.2.2\"}\n\n";
    assert_eq!(read(&["ip"], lines).unwrap().entries.len(), 2);
    let error = read(&["a[].addr"], text).unwrap_err().to_string();
    assert!(error.contains("a[].ip, a[].own, b.x.nets[]"), "{error}");
    let list = read(
        &["a[].ip"],
        "{\"a\":[\n{\"ip\":\"192.0.2.1\"},\n{\"ip\":\"host\"}\n]}",
    )
    .unwrap();
    assert_eq!(
        (list.refused[0].line, list.refused[0].text.as_str()),
        (3, "host")
    );
}

#[test]
fn json_that_is_no_list_is_refused() {
    for (text, part) in [
        ("{\"error\":\"x\"}", "no address in any field"),
        (
            "{\"message\": \"your address\", \"ip\": \"192.0.2.1\"}",
            "addresses stand in ip",
        ),
        ("{\"data\":[{\"ip\":\"192.0.2.1\"}]}", "data[].ip"),
        (
            "{\"prefixes\": [{\"ip_prefix\": \"192.0.2.0/24\"}",
            "line 1",
        ),
        ("{\"prefixes\"", "line 1"),
    ] {
        let error = read_as(ListFormat::Auto, text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}
