//! Lists and tables.

use super::*;
use crate::domain::SkipKind;

#[test]
fn plain_lines_are_read_as_they_always_were() {
    is_read(
        ListFormat::Plain,
        "# comment\n192.0.2.1\n192.0.2.7\t9\n198.51.100.0/24 ; SBL1\n203.0.113.5#x\n2001:db8::1,100,\"a, b\"\n",
        &[
            "192.0.2.1",
            "192.0.2.7",
            "198.51.100.0/24",
            "203.0.113.5",
            "2001:db8::1",
        ],
    );
    let latin1 = read(
        &b"192.0.2.1 # M\xfcnchen\n"[..],
        &Options::default(),
        Bounds::default(),
    );
    assert_eq!(shown(&latin1.unwrap()), ["192.0.2.1"]);
}

#[test]
fn ranges_masks_and_wildcards_are_read_with_blanks_or_without() {
    is_read(
        ListFormat::Plain,
        "192.0.2.0-192.0.2.255\n198.51.100.0 - 198.51.100.127\n203.0.113.0\t-\t203.0.113.63\n\
         10.1.0.0/255.255.0.0\n10.2.0.0 255.255.0.0\n10.3.*.*\n10.4.0.0- 10.4.0.255 # x\n\
         10.5.0.0 0.0.255.255\n",
        &[
            "192.0.2.0/24",
            "198.51.100.0/25",
            "203.0.113.0/26",
            "10.1.0.0/16",
            "10.2.0.0/16",
            "10.3.0.0/16",
            "10.4.0.0/24",
            "10.5.0.0/16",
        ],
    );
}

#[test]
fn several_addresses_on_a_line_are_all_read() {
    let wanted = ["192.0.2.9", "192.0.2.7", "198.51.100.4"];
    for text in [
        "192.0.2.9 192.0.2.7 198.51.100.4\n",
        "192.0.2.9,192.0.2.7,198.51.100.4",
        "192.0.2.9, 192.0.2.7, 198.51.100.4\r",
        "['192.0.2.9', '192.0.2.7', '198.51.100.4']\n",
        "[\"192.0.2.9\", \"192.0.2.7\", \"198.51.100.4\"]\n",
        "192.0.2.9;192.0.2.7;198.51.100.4\n",
    ] {
        let list = read_as(ListFormat::Auto, text).unwrap();
        assert_eq!(
            (shown(&list), list.refused_count()),
            (wanted.map(String::from).to_vec(), 0),
            "{text}"
        );
    }
    // The only line is what a program prints of two; it holds no columns.
    is_read(
        ListFormat::Plain,
        "192.0.2.9 192.0.2.7\n",
        &["192.0.2.9", "192.0.2.7"],
    );
    is_read(
        ListFormat::Plain,
        "['192.0.2.9', '192.0.2.7']\n",
        &["192.0.2.9", "192.0.2.7"],
    );
    is_read(
        ListFormat::Plain,
        "192.0.2.0/25 198.51.100.7\n",
        &["192.0.2.0/25", "198.51.100.7"],
    );
    let line = vec!["192.0.2.9"; 100_000].join(" ");
    assert_eq!(read_as(ListFormat::Auto, &line).unwrap().duplicates, 99_999);
}

#[test]
fn a_line_whose_columns_may_mean_anything_is_refused_and_never_read_as_its_first() {
    use RefusalReason::SeveralAddresses;
    let text = "192.0.2.0 192.0.2.255\n198.51.100.9 7\n198.51.100.0 198.51.100.3\n\
                198.51.100.0\t198.51.100.255\t24\tx";
    let list = read_as(ListFormat::Auto, text).unwrap();
    assert_eq!(shown(&list), ["198.51.100.9"]);
    assert_eq!(list.refused_by_reason[&SeveralAddresses], 3);
    for text in [
        "192.0.2.1,192.0.2.9",
        "192.0.2.1\t192.0.2.9",
        "192.0.2.1 -> 192.0.2.9",
        "192.0.2.1 eth0 192.0.2.9",
        "192.0.2.1;192.0.2.9;x",
        "192.0.2.1 192.0.2.9\n192.0.2.11 192.0.2.19\n",
    ] {
        is_refused(ListFormat::Auto, text, SeveralAddresses);
    }
    is_refused(
        ListFormat::Plain,
        "192.0.2.1 - 192.0.2.9 , 200 , x",
        SeveralAddresses,
    );
    is_refused(
        ListFormat::Plain,
        "192.0.2.0 192.0.2.255 255.255.255.0",
        SeveralAddresses,
    );
    is_refused(
        ListFormat::Plain,
        "192.0.2.9 - 192.0.2.1",
        RefusalReason::BadRange,
    );
    is_refused(
        ListFormat::Plain,
        ", 192.0.2.1",
        RefusalReason::NotAnAddress,
    );
}

#[test]
fn bans_of_fail2ban_end_when_it_says() {
    let zone = jiff::tz::TimeZone::system();
    let now = Timestamp::now().to_zoned(zone).datetime();
    let text = |seconds: i64| {
        let end = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        format!(
            "{} {}",
            end.date(),
            end.time().round(jiff::Unit::Second).unwrap()
        )
    };
    let lines = format!(
        "192.0.2.1 \t{} + 600 = {}\n192.0.2.2 \t{} + -1 = 9999-12-31 23:59:59\n192.0.2.3 \t{} + 60 = {}\n",
        text(0),
        text(600),
        text(0),
        text(-120),
        text(-60),
    );
    let list = read_as(ListFormat::Auto, &lines).unwrap();
    assert_eq!(shown(&list), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(ends_in(&list, "192.0.2.1"), Some(600));
    assert_eq!(ends_in(&list, "192.0.2.2"), None);
    assert_eq!(list.ended, 1);
    let error = read_as(ListFormat::Auto, "[{'sshd': ['192.0.2.1']}]").unwrap_err();
    assert!(error.to_string().contains("banip"), "{error}");
}

#[test]
fn first_and_last_addresses_in_columns_are_ranges() {
    is_read(
        ListFormat::Range,
        "\"192.0.2.0\",\"192.0.2.255\",\"AU\"\n\"198.51.100.0\",\"198.51.103.255\",\"DE\"\n\
         \"2001:db8::\",\"2001:db8::ffff:ffff:ffff:ffff\",\"FR\"\n",
        &["192.0.2.0/24", "198.51.100.0/22", "2001:db8::/64"],
    );
    is_read(
        ListFormat::Range,
        "start,end\n192.0.2.0,192.0.2.255\n",
        &["192.0.2.0/24"],
    );
    let list = read_as(
        ListFormat::Range,
        "192.0.2.4;192.0.2.6;x\n192.0.2.9 192.0.2.9\n192.0.2.12 - 192.0.2.13\n",
    )
    .unwrap();
    assert_eq!(
        shown(&list),
        ["192.0.2.4/31", "192.0.2.6", "192.0.2.9", "192.0.2.12/31"]
    );
    let list = with("AU,192.0.2.0,192.0.2.3\n", |options| {
        options.format = ListFormat::Range;
        options.column = 2;
    });
    assert_eq!(shown(&list.unwrap()), ["192.0.2.0/30"]);
    is_refused(
        ListFormat::Range,
        "192.0.2.1,7\n",
        RefusalReason::NotAnAddress,
    );
    is_refused(
        ListFormat::Range,
        "192.0.2.9,192.0.2.1\n",
        RefusalReason::BadRange,
    );
}

#[test]
fn the_block_list_of_dshield_is_read() {
    is_read(
        ListFormat::Dshield,
        "#\n# Columns:\nStart\tEnd\tNetmask\tAttacks\tName\n192.0.2.0\t192.0.2.255\t24\t77\tX, Y\n\
         198.51.100.0\t198.51.100.255\t24\n",
        &["192.0.2.0/24", "198.51.100.0/24"],
    );
    is_read(
        ListFormat::Dshield,
        "192.0.2.0 192.0.2.255 24 77\n",
        &["192.0.2.0/24"],
    );
    is_refused(
        ListFormat::Dshield,
        "192.0.2.0\t192.0.2.255\t23\n",
        RefusalReason::BadPrefixLength,
    );
    is_refused(
        ListFormat::Dshield,
        "192.0.2.0\n",
        RefusalReason::NotAnAddress,
    );
}

#[test]
fn lists_of_file_sharing_are_read() {
    is_read(
        ListFormat::P2p,
        "# list\nSome: body, Ltd - EU:192.0.2.0-192.0.2.255\nx:2001:db8::-2001:db8::f\n:198.51.100.4-198.51.100.5\n",
        &["192.0.2.0/24", "2001:db8::/124", "198.51.100.4/31"],
    );
    is_read(
        ListFormat::Ipfilter,
        "# list\n192.000.002.000 - 192.000.002.255 , 000 , Some, body\n\
         198.051.100.008 - 198.051.100.009 , 127 , last\n203.000.113.000 - 203.000.113.255 , 128 , not blocked\n",
        &["192.0.2.0/24", "198.51.100.8/31"],
    );
    let list = read_as(ListFormat::Ipfilter, "192.0.2.0 - 192.0.2.7 , 200 , x\n").unwrap();
    assert_eq!((list.entries.len(), list.excepted), (0, 1));
    is_refused(
        ListFormat::Ipfilter,
        "192.0.2.1 , 0 , x\n",
        RefusalReason::NotAnAddress,
    );
    is_refused(
        ListFormat::Ipfilter,
        "192.0.2.1 - 192.0.2.2 , low , x\n",
        RefusalReason::Conditional,
    );
    is_refused(
        ListFormat::P2p,
        "192.0.2.1-192.0.2.2\n",
        RefusalReason::NotAnAddress,
    );
}

#[test]
fn hosts_deny_is_read_and_conditions_are_refused() {
    is_read(
        ListFormat::HostsDeny,
        "# hosts.deny\nsshd: 192.0.2.1\nALL: 198.51.100., [2001:db8::]/32\n\
         sshd, vsftpd : 203.0.113.0/255.255.255.0 : spawn (echo %a: %d)\nALL: \\\n10.7. \\\n  10.8.0.0/16\n",
        &[
            "192.0.2.1",
            "198.51.100.0/24",
            "2001:db8::/32",
            "203.0.113.0/24",
            "10.7.0.0/16",
            "10.8.0.0/16",
        ],
    );
    for text in [
        "ALL: 192.0.2. EXCEPT 192.0.2.7\n",
        "sshd: 192.0.2.7 : allow\n",
    ] {
        is_refused(ListFormat::HostsDeny, text, RefusalReason::Conditional);
    }
    for text in [
        "ALL: ALL\n",
        "sshd: .example.org\n",
        "sshd 192.0.2.1\n",
        "sshd: /etc/x\n",
        "sshd: 192.0.2.1.\n",
    ] {
        is_refused(ListFormat::HostsDeny, text, RefusalReason::NotAnAddress);
    }
}

#[test]
fn decisions_of_crowdsec_are_read_with_their_ends() {
    let text = "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id\n\
        1,crowdsec,Ip:192.0.2.1,crowdsecurity/ssh-bf,ban,ZZ,\"64500 X, Y\",6,3h59m12.5s,false,1\n\
        2,cscli,Range:198.51.100.0/24,manual,ban,,,1,1h,false,2\n\
        3,cscli,Ip:192.0.2.3,manual,captcha,,,1,3h,false,2\n\
        4,cscli,Ip:192.0.2.4,manual,ban,,,1,3h,true,2\n\
        5,cscli,Ip:192.0.2.5,manual,ban,,,1,-5m,false,2\n";
    is_read(ListFormat::Cscli, text, &["192.0.2.1", "198.51.100.0/24"]);
    let list = read_as(ListFormat::Cscli, text).unwrap();
    assert_eq!((list.excepted, list.ended), (2, 1));
    assert_eq!(ends_in(&list, "192.0.2.1"), Some(14_350));
    assert_eq!(ends_in(&list, "198.51.100.0/24"), Some(3600));
    assert_eq!(comment_of(&list, "192.0.2.1"), Some("crowdsecurity/ssh-bf"));
    let country = "1,x,Country:FR,x,ban,,,1,3h,false,1\n";
    is_refused(ListFormat::Cscli, country, RefusalReason::NotAnAddress);
    let list = with(text, |options| {
        options.format = ListFormat::Csv;
        options.column = 3;
    });
    assert_eq!(list.unwrap().entries.len(), 5);
}

#[test]
fn a_field_of_csv_may_go_over_lines() {
    let text = "ip,note\n192.0.2.1,\"one\n198.51.100.1,two\"\n192.0.2.2,x\n";
    let list = read_as(ListFormat::Csv, text).unwrap();
    assert_eq!(shown(&list), ["192.0.2.1", "192.0.2.2"]);
    is_refused(
        ListFormat::Csv,
        "192.0.2.1,\"one\n192.0.2.2,x\n",
        RefusalReason::NotAnAddress,
    );
}

#[test]
fn pages_and_other_markup_are_refused_by_name() {
    for (text, part) in [
        (
            "<!DOCTYPE html>\n<html><body>192.0.2.1</body></html>",
            "HTML",
        ),
        ("\n\n  <HTML>\n192.0.2.1\n", "HTML"),
        ("<?xml version=\"1.0\"?><a>192.0.2.1</a>", "XML"),
        ("<ipsets>\n<ipset name=\"x\">", "ipset save"),
    ] {
        for format in [ListFormat::Auto, ListFormat::Plain, ListFormat::Csv] {
            let error = read_as(format, text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

#[test]
fn what_is_to_be_skipped_is_left_out_and_counted() {
    let text = "0.0.0.0/8\n10.0.0.0/8\n127.0.0.0/8\n8.8.8.0/24\n192.168.0.0/16\n224.0.0.0/3\n";
    let all = [
        SkipKind::Private,
        SkipKind::Loopback,
        SkipKind::Multicast,
        SkipKind::Reserved,
    ];
    let list = with(text, |options| options.skip = all.to_vec()).unwrap();
    assert_eq!(
        (shown(&list), list.refused_count()),
        (vec!["8.8.8.0/24".into()], 0)
    );
    let counted: Vec<_> = list.skipped.into_iter().collect();
    assert_eq!(
        counted,
        [
            (SkipKind::Private, 2),
            (SkipKind::Loopback, 1),
            (SkipKind::Multicast, 1),
            (SkipKind::Reserved, 1)
        ]
    );
    let list = with(text, |options| options.skip = vec![SkipKind::Private]).unwrap();
    assert_eq!(list.refused_by_reason[&RefusalReason::TooWide], 1);
    assert_eq!(list.refused_by_reason[&RefusalReason::NotASource], 2);
}

#[test]
fn an_empty_text_says_that_it_is_empty() {
    for (text, why) in [
        ("", "the text is empty"),
        ("# nothing\n\n", "only comments"),
        ("nonsense\n", "no address that can be taken"),
    ] {
        let list = read_as(ListFormat::Auto, text).unwrap();
        assert!(list.why_empty().unwrap().contains(why), "{text}");
    }
    assert_eq!(
        read_as(ListFormat::Auto, "192.0.2.1").unwrap().why_empty(),
        None
    );
}

fn prefixes() -> impl Strategy<Value = Vec<Prefix>> {
    let prefix =
        (any::<u32>(), any::<u128>(), any::<bool>(), 0u8..=16).prop_map(|(v4, v6, is_v4, cut)| {
            match is_v4 {
                true => Prefix::new(
                    std::net::Ipv4Addr::from(v4 % 0x7000_0000 + 0x0b00_0000).into(),
                    32 - cut,
                ),
                false => Prefix::new(
                    std::net::Ipv6Addr::from(v6 >> 3 | 1 << 125).into(),
                    128 - cut,
                ),
            }
            .unwrap()
        });
    proptest::collection::btree_set(prefix, 1..20).prop_map(|set| set.into_iter().collect())
}

fn ends(prefix: &Prefix) -> (std::net::IpAddr, std::net::IpAddr) {
    let net = prefix.as_ipnet();
    (net.network(), net.broadcast())
}

proptest! {
    #[test]
    fn what_a_writer_of_a_format_writes_is_read_back(prefixes in prefixes()) {
        let is_mapped = |prefix: &Prefix| prefix.network().to_canonical() != prefix.network();
        prop_assume!(!prefixes.iter().any(is_mapped));
        let is_loopback = |prefix: &Prefix| {
            let (first, _) = ends(prefix);
            first.is_loopback() || first.is_multicast() || first.is_unspecified()
        };
        let prefixes: Vec<Prefix> = prefixes.into_iter().filter(|p| !is_loopback(p)).collect();
        prop_assume!(!prefixes.is_empty());
        let lines = |line: &dyn Fn(&Prefix) -> String| -> String { prefixes.iter().map(line).collect() };
        let json: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        let elements = json.join(", ");
        let texts = [
            (ListFormat::Plain, lines(&|p| format!("{p}\n"))),
            (ListFormat::Plain, lines(&|p| format!("{} - {}\n", ends(p).0, ends(p).1))),
            (ListFormat::Range, lines(&|p| format!("{},{},x\n", ends(p).0, ends(p).1))),
            (ListFormat::P2p, lines(&|p| format!("a: b:{}-{}\n", ends(p).0, ends(p).1))),
            (ListFormat::Csv, lines(&|p| format!("{p},\"x\"\n"))),
            (ListFormat::Ipset, lines(&|p| format!("add x {p}\n"))),
            (ListFormat::Json, serde_json::to_string(&json).unwrap()),
            (ListFormat::Nft, format!("add element inet t s {{ {elements} }}\n")),
            (ListFormat::Cscli, lines(&|p| format!("1,x,Ip:{p},x,ban,,,1,1h,false,1\n"))),
        ];
        for (format, text) in texts {
            let list = read_as(format, &text).unwrap();
            prop_assert_eq!(list.refused_count(), 0, "{} {:?}", text, list);
            prop_assert_eq!(&list.entries, &prefixes, "{}", text);
        }
    }
}
