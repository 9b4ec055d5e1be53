//! Sets of ipset and nft.

use super::*;
use crate::domain::SetName;

fn of_sets(format: ListFormat, sets: &[&str], text: &str) -> Result<ParsedList, ListError> {
    with(text, |options| {
        options.format = format;
        options.sets = sets
            .iter()
            .map(|name| name.parse::<SetName>().unwrap())
            .collect();
    })
}

const SAVED: &str = "\
create bad hash:net family inet hashsize 1024 maxelem 65536 timeout 0 comment bucketsize 12
add bad 192.0.2.0/24 timeout 0 comment \"a nomatch b\"
add bad 192.0.2.128/25 timeout 0 nomatch comment \"our partner\"
add bad 198.51.100.7 timeout 299
create good hash:ip family inet
add good 203.0.113.5
create pairs hash:ip,port family inet
add pairs 203.0.113.6,tcp:22
create on hash:net,iface family inet
add on 203.0.113.64/26,eth1
create ports bitmap:port range 0-1024
add ports 22
create six hash:net family inet6
add six 2001:db8:1::/48 packets 3 bytes 9
";

#[test]
fn a_saved_set_is_read_with_ends_comments_and_exceptions() {
    for format in [ListFormat::Auto, ListFormat::Ipset] {
        let list = of_sets(format, &["bad"], SAVED).unwrap();
        assert_eq!(shown(&list), ["192.0.2.0/25", "198.51.100.7"]);
        assert_eq!(ends_in(&list, "198.51.100.7"), Some(300));
        assert_eq!(comment_of(&list, "192.0.2.0/25"), Some("a nomatch b"));
        assert_eq!((list.excepted, list.refused_count()), (1, 0));
        let both = of_sets(format, &["good", "six"], SAVED).unwrap();
        assert_eq!(shown(&both), ["203.0.113.5", "2001:db8:1::/48"]);
    }
}

#[test]
fn several_sets_without_a_name_are_refused_with_their_names() {
    for (sets, part) in [
        (&[][..], "bad, good, six"),
        (
            &["absent"],
            "no set named absent; sets of addresses in it: bad, good, six",
        ),
        (&["pairs"], "the set pairs holds hash:ip,port"),
        (&["ports"], "bitmap:port"),
        (&["on"], "hash:net,iface"),
    ] {
        let error = of_sets(ListFormat::Auto, sets, SAVED)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{sets:?}: {error}");
    }
    let only_ports = "create p hash:ip,port\nadd p 192.0.2.1,tcp:22\n";
    let error = read_as(ListFormat::Auto, only_ports).unwrap_err();
    assert!(matches!(error, ListError::NoSets { .. }), "{error}");
    let undeclared = read_as(ListFormat::Auto, "add p 192.0.2.1,tcp:22\n").unwrap_err();
    assert!(
        matches!(undeclared, ListError::NoSets { .. }),
        "{undeclared}"
    );
    // A set that isn't of addresses leaves nothing to choose.
    let one = format!("create x hash:ip\nadd x 192.0.2.1\n{only_ports}");
    is_read(ListFormat::Ipset, &one, &["192.0.2.1"]);
}

#[test]
fn every_spelling_of_a_command_of_ipset_is_known() {
    for text in [
        "-exist add x 192.0.2.1\nadd x 192.0.2.2 -exist\n",
        "ipset -N x iphash\nipset -A x 192.0.2.1\nipset -! -A x 192.0.2.2\n",
        "/usr/sbin/ipset create x hash:ip -exist\n/usr/sbin/ipset add x 192.0.2.1 -!\nipset a x 192.0.2.2\n",
        "add x 192.0.2.9\nflush x\nadd x 192.0.2.1\nadd x 192.0.2.2\nCOMMIT\n",
        "add x 192.0.2.9\nadd x 192.0.2.1\nadd x 192.0.2.2\ndel x 192.0.2.9\n",
        "create tmp hash:ip\nadd tmp 192.0.2.1\nadd tmp 192.0.2.2\nadd x 192.0.2.77\nswap tmp x\ndestroy tmp\n",
        "#!/sbin/ipset restore\ncreate x hash:ip\nadd x 192.0.2.1-192.0.2.1\nadd x 192.0.2.2\n",
        "add y 192.0.2.1\nadd y 192.0.2.2\nrename y x\n",
    ] {
        is_read(ListFormat::Ipset, text, &["192.0.2.1", "192.0.2.2"]);
    }
    is_refused(
        ListFormat::Ipset,
        "add x example.org\n",
        RefusalReason::NotAnAddress,
    );
}

#[test]
fn what_a_set_says_of_its_elements_counts() {
    let text =
        "create x hash:ip netmask 24 timeout 600\nadd x 192.0.2.0\nadd x 198.51.100.0 timeout 0\n";
    is_read(
        ListFormat::Ipset,
        text,
        &["192.0.2.0/24", "198.51.100.0/24"],
    );
    let list = read_as(ListFormat::Ipset, text).unwrap();
    assert_eq!(ends_in(&list, "192.0.2.0/24"), Some(600));
    assert_eq!(ends_in(&list, "198.51.100.0/24"), None);
    let huge =
        "add x 192.0.2.1 timeout 99999999999999999999\nadd x 192.0.2.2 timeout 9999999999999\n";
    assert_eq!(read_as(ListFormat::Ipset, huge).unwrap().entries.len(), 2);
}

#[test]
fn what_ipset_list_prints_is_read() {
    let text = "Name: x\nType: hash:net\nRevision: 7\nHeader: family inet timeout 600 comment\n\
        Size in memory: 5\nReferences: 1\nNumber of entries: 2\nMembers:\n\
        192.0.2.0/24 timeout 120 comment \"x y\"\n198.51.100.7 nomatch\n\n\
        Name: p\nType: hash:ip,port\nHeader: family inet\nMembers:\n192.0.2.1,tcp:80\n";
    is_read(ListFormat::Ipset, text, &["192.0.2.0/24"]);
    let list = read_as(ListFormat::Ipset, text).unwrap();
    assert_eq!(ends_in(&list, "192.0.2.0/24"), Some(120));
    assert_eq!(comment_of(&list, "192.0.2.0/24"), Some("x y"));
}

const RULESET: &str = "\
table inet fw {
\tset good {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 198.51.100.7, 203.0.113.0/28 }
\t}

\tset bad {
\t\ttype ipv4_addr
\t\tflags interval,timeout
\t\telements = { 192.0.2.0/25 comment \"a, } b\", 198.51.100.100-198.51.100.103 timeout 1h expires 49m59s992ms,
\t\t\t     203.0.113.9 counter packets 3 bytes 90 }
\t}

\tset ports {
\t\ttype inet_service
\t\telements = { 22, 80 }
\t}

\tset pairs {
\t\ttypeof ip saddr . tcp dport
\t\telements = { 203.0.113.99 . 443 }
\t}

\tmap verdicts {
\t\ttype ipv4_addr : verdict
\t\telements = { 203.0.113.77 : accept }
\t}

\tchain input {
\t\ttype filter hook input priority filter; policy accept;
\t\tip saddr @good accept
\t\tip saddr { 203.0.113.200, 203.0.113.201 } tcp dport { 22, 2222 } accept
\t\tip saddr vmap { 203.0.113.1 : drop }
\t}
}
";

#[test]
fn a_ruleset_of_nft_is_read_by_the_name_of_a_set() {
    for name in ["bad", "fw/bad", "inet/fw/bad"] {
        let list = of_sets(ListFormat::Auto, &[name], RULESET).unwrap();
        assert_eq!(
            shown(&list),
            ["192.0.2.0/25", "198.51.100.100/30", "203.0.113.9"]
        );
        assert_eq!(ends_in(&list, "198.51.100.100/30"), Some(3000));
        assert_eq!(comment_of(&list, "192.0.2.0/25"), Some("a, } b"));
        assert_eq!(list.refused_count(), 0);
    }
    for (sets, part) in [
        (&[][..], "inet/fw/bad, inet/fw/good"),
        (&["ports"], "inet_service"),
        (&["pairs"], "ip saddr . tcp dport"),
        (&["verdicts"], "a map"),
        (&["chain"], "no set named"),
    ] {
        let error = of_sets(ListFormat::Auto, sets, RULESET)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{sets:?}: {error}");
    }
    let twice = RULESET.replace("inet fw", "ip other") + RULESET;
    let error = of_sets(ListFormat::Auto, &["bad"], &twice)
        .unwrap_err()
        .to_string();
    assert!(error.contains("inet/fw/bad, ip/other/bad"), "{error}");
}

#[test]
fn scripts_of_nft_are_read() {
    let wanted = ["192.0.2.0/24", "198.51.100.7"];
    for text in [
        "#!/usr/sbin/nft -f\nflush set inet t s\nadd element inet t s { 192.0.2.0/24, 198.51.100.7 }\n",
        "flush set inet t s\nadd element inet t s { 192.0.2.0/24 }\nadd element inet t s { 198.51.100.7 }\n",
        "add table inet t\nadd set inet t s { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 198.51.100.7 }; }\n",
        "create set inet t s { type ipv4_addr ; }\ncreate element inet t s {192.0.2.0/24,198.51.100.7}",
        "define bad = { 192.0.2.0/24,\n  198.51.100.7 } # x }\ntable t {\n set s { type ipv4_addr; elements = $bad; }\n}\n",
        "define one = 192.0.2.0/24\ndefine all = { $one, 198.51.100.7 }\nadd element t s { $all }\n",
        "define all = { 192.0.2.0/24, 198.51.100.7 }\nadd element t s $all\n",
        "add element t s { \\\n 192.0.2.0/24, \\\n 198.51.100.7, 203.0.113.1 }\ndelete element t s { 203.0.113.1 }\n",
        "add element t s { 203.0.113.1 }; flush set t s; add element t s { 192.0.2.0/24, 198.51.100.7 - 198.51.100.7 }\n",
        "table ip t { set s { type ipv4_addr; elements = { 192.0.2.0/24, 198.51.100.7 } } }\n",
        "table ip t {\nset s {\ntypeof ip saddr\ncounter\nelements = { 192.0.2.0/24 counter packets 0 bytes 0,\n198.51.100.7 }\n}\n\
         chain c {\nip saddr @s counter drop\n}\n}\nadd rule ip t c ip saddr { 203.0.113.1 } drop\n",
    ] {
        is_read(ListFormat::Nft, text, &wanted);
    }
}

#[test]
fn scripts_that_need_more_than_the_text_are_refused() {
    for (text, part) in [
        (
            "include \"/etc/x.nft\"\nadd element t s { 192.0.2.1 }\n",
            "line 1",
        ),
        ("add element t s { $bad }\n", "$bad"),
        ("add element t s { 192.0.2.1,\n192.0.2.2\n", "cut off"),
        ("add element t s { 192.0.2.1 }\n}\n", "line 2"),
    ] {
        let error = read_as(ListFormat::Auto, text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let list = read_as(
        ListFormat::Nft,
        "192.0.2.1\nadd element t s { host, 192.0.2.2 }\n",
    )
    .unwrap();
    assert_eq!(shown(&list), ["192.0.2.2"]);
    assert_eq!(list.refused_by_reason[&RefusalReason::NotAnAddress], 2);
}

#[test]
fn the_timeout_of_a_set_is_that_of_its_elements() {
    let text = "table t {\nset s {\ntype ipv4_addr\ntimeout 1h\nelements = { 192.0.2.1, 192.0.2.2 timeout 2h,\n\
        192.0.2.3 expires 10m }\n}\n}\n";
    let list = read_as(ListFormat::Auto, text).unwrap();
    for (address, seconds) in [("192.0.2.1", 3600), ("192.0.2.2", 7200), ("192.0.2.3", 600)] {
        assert_eq!(ends_in(&list, address), Some(seconds));
    }
}

#[test]
fn json_of_nft_is_read() {
    let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "t"}},
      {"set": {"family": "inet", "name": "s", "table": "t", "type": "ipv4_addr", "flags": ["interval", "timeout"],
       "elem": [{"elem": {"val": {"prefix": {"addr": "192.0.2.0", "len": 24}}, "timeout": 3600, "expires": 1200,
        "comment": "x"}}, {"range": ["198.51.100.4", "198.51.100.5"]}, "203.0.113.7"]}},
      {"set": {"family": "inet", "name": "p", "table": "t", "type": ["ipv4_addr", "inet_service"],
       "elem": [{"concat": ["192.0.2.1", 80]}]}},
      {"map": {"family": "inet", "name": "m", "table": "t", "type": "ipv4_addr", "map": "verdict",
       "elem": [["192.0.2.9", {"drop": null}]]}},
      {"add": {"element": {"family": "inet", "table": "t", "name": "s", "elem": ["203.0.113.8"]}}}]}"#;
    is_read(
        ListFormat::Nft,
        text,
        &[
            "192.0.2.0/24",
            "198.51.100.4/31",
            "203.0.113.7",
            "203.0.113.8",
        ],
    );
    let list = of_sets(ListFormat::Auto, &["s"], text).unwrap();
    assert_eq!(ends_in(&list, "192.0.2.0/24"), Some(1200));
    assert_eq!(comment_of(&list, "192.0.2.0/24"), Some("x"));
    let error = of_sets(ListFormat::Auto, &["p"], text).unwrap_err();
    assert!(matches!(error, ListError::NoAddressSet { .. }), "{error}");
    for text in [
        "{\"nftables\": 7}",
        "{\"nftables\": [",
        "{\"nftables\": [{\"set\": 7}]}",
    ] {
        read_as(ListFormat::Auto, text).err();
    }
}

#[test]
fn a_set_is_asked_for_only_where_there_are_sets() {
    let error = of_sets(ListFormat::Auto, &["x"], "192.0.2.1\n").unwrap_err();
    assert!(matches!(error, ListError::NoSuchSet { .. }), "{error}");
}
