//! Service classes: the built-in ones, what a file makes of them, and its mistakes.

use super::*;
use crate::config::builtin::BUILT_IN;
use xdp_common::abi::MAX_CLASSES;

fn class<'c>(config: &'c Config, name: &str) -> &'c Class {
    let found = config.classes.iter().find(|one| one.name.as_str() == name);
    found.unwrap_or_else(|| panic!("no class {name}"))
}

fn text(places: &[Place]) -> String {
    let places: Vec<String> = places.iter().map(Place::to_string).collect();
    places.join(" ")
}

#[test]
fn an_empty_file_has_the_built_in_classes_as_their_table_says() {
    let config = accepted("");
    assert_eq!(config.classes.len(), BUILT_IN.len());
    assert!(config.classes[0].is_other());
    for (class, built_in) in config.classes.iter().zip(BUILT_IN) {
        assert_eq!(class.name.as_str(), built_in.name);
        assert!(class.built_in && class.enabled && !class.observe);
        let budget = class.budget.unwrap();
        assert_eq!(
            (budget.rate.packets_per_second(), budget.burst.get()),
            built_in.budget
        );
        let attack = class
            .attack_budget
            .map(|limit| (limit.rate.packets_per_second(), limit.burst.get()));
        assert_eq!(attack, built_in.attack_budget, "{}", built_in.name);
        assert!(built_in.why.ends_with('.'), "{}", built_in.name);
        assert_eq!((class.packets, class.bytes), (None, None));
        assert!(class.is_other() || !class.takes.is_empty());
    }
    assert_eq!(text(&class(&config, "udp").takes.udp_ports), "rest");
    assert_eq!(
        text(&class(&config, "dhcp").takes.udp_ports),
        "67-68 546-547"
    );
    let syn_ack = class(&config, "tcp-syn-ack");
    assert!(syn_ack.solicited && !syn_ack.known_first);
    assert_eq!(syn_ack.takes.tcp_flags, [TcpFlags::SynAck]);
    assert!(class(&config, "fragment").takes.fragments);
}

#[test]
fn what_a_class_takes_is_told_in_few_words() {
    let config = Config::default();
    let words = |number: usize| config.classes[number].takes_in_words().join(", ");
    assert_eq!(words(0), "all that no class takes");
    assert_eq!(words(1), "tcp rest");
    assert_eq!(words(2), "tcp syn-ack");
    assert_eq!(words(10), "udp 500 4500, protocol 50-51");
    assert_eq!(words(17), "fragments");
    assert_eq!(config.classes[1].flags(), ["syn_cookies", "known_first"]);
}

#[test]
fn a_built_in_class_is_changed_key_by_key() {
    let config = accepted(
        r#"
        [mitigation]
        enabled = false
        forwarding = "ignore"
        hold = "5s"
        attack_factor = 10
        attack_after = "2s"
        attack_hold = "1m"
        calm_after = "20s"
        retry_min = "50ms"
        retry_max = "7s"
        [[class]]
        name = "dns"
        enabled = false
        returning = "5kpps"
        returning_burst = 70
        attack_budget = "100pps"
        attack_budget_burst = 10
        proof = false
        observe = true
        [[class]]
        name = "tcp-new"
        budget = "10kpps"
        returning = "off"
        syn_cookies = false
        known_first = false
        "#,
    );
    let mitigation = &config.mitigation;
    assert!(!mitigation.enabled);
    assert_eq!(mitigation.forwarding, Forwarding::Ignore);
    assert_eq!(mitigation.attack_factor, 10);
    let dns = class(&config, "dns");
    let plain = Config::default();
    let before = class(&plain, "dns");
    assert!(!dns.enabled && dns.observe && !dns.proof);
    assert_eq!((dns.budget, &dns.takes), (before.budget, &before.takes));
    assert_eq!(dns.attack_budget.unwrap().burst.get(), 10);
    let returning = dns.returning.unwrap();
    assert_eq!(returning.rate.packets_per_second(), 5000);
    assert_eq!(returning.burst.get(), 70);
    assert_eq!(mitigation.retry_min.as_nanos(), 50_000_000);
    assert_eq!(mitigation.retry_max.as_nanos(), 7_000_000_000);
    let tcp_new = class(&config, "tcp-new");
    assert_eq!(tcp_new.budget.unwrap().burst.get(), 10_000, "from the rate");
    assert_eq!(tcp_new.attack_budget, None, "it went with the old budget");
    assert_eq!(tcp_new.returning, None);
    assert!(!tcp_new.syn_cookies && !tcp_new.known_first);
    assert_eq!(
        config.classes[1].name.as_str(),
        "tcp-new",
        "its number stays"
    );
}

#[test]
fn a_class_of_ones_own_takes_its_places_from_the_built_in_ones() {
    let config = accepted(
        r#"
        [[class]]
        name = "game"
        tcp_ports = [25565, "25570-25580"]
        udp_ports = [53, "27000-27100", "27050-27200"]
        reflection_ports = [123]
        icmp_types = ["8"]
        icmpv6_types = ["128-129"]
        protocols = [50]
        tcp_flags = ["rst"]
        fragments = true
        budget = "2kpps"
        budget_burst = "10k"
        packets = "900kpps"
        packets_burst = 1000
        bytes = "5Mbps"
        bytes_burst = "1MB"
        solicited = true
        proof = true
        "#,
    );
    let game = class(&config, "game");
    assert!(!game.built_in && game.enabled && game.known_first && game.solicited);
    assert_eq!(text(&game.takes.tcp_ports), "25565 25570-25580");
    assert_eq!(text(&game.takes.udp_ports), "53 27000-27200");
    assert_eq!(game.bytes.unwrap().burst.bytes(), 1_000_000);
    assert_eq!(game.attack_budget, None);
    assert_eq!(class(&config, "dns").takes.udp_ports, []);
    let reflection = &class(&config, "udp-reflection").takes.reflection_ports;
    assert!(!reflection.contains(&Place::one(123)));
    assert!(reflection.contains(&Place::one(53)));
    assert_eq!(text(&class(&config, "icmp-echo").takes.icmpv6_types), "");
    assert_eq!(text(&class(&config, "ipsec").takes.protocols), "51");
    assert_eq!(class(&config, "tcp-rst").takes.tcp_flags, []);
    assert!(!class(&config, "fragment").takes.fragments);

    let config = accepted("[[class]]\nname = \"mine\"\nudp_ports = [\"rest\"]\n");
    assert_eq!(text(&class(&config, "mine").takes.udp_ports), "rest");
    assert_eq!(text(&class(&config, "udp").takes.udp_ports), "");
}

#[test]
fn every_mistake_in_classes_is_reported_at_once_with_its_place() {
    let found = places(
        r#"[[class]]
name = "Game"
[[class]]
name = "a"
tcp_ports = [80, "90-80", 65536, "http", "rest"]
tcp_flags = ["ack"]
icmp_types = [256]
reflection_ports = ["rest"]
protocols = [-1]
[[class]]
name = "b"
udp_ports = [1000, "2000-3000"]
packets = "900001pps"
bytes_burst = "1KiB"
bytes = "1Mbps"
[[class]]
name = "c"
udp_ports = ["2500-2600", 1000]
budget = "1pps"
budget_burst = 86401
[[class]]
name = "b"
[[class]]
name = "other"
udp_ports = [1]
[[class]]
name = "x"
fragments = true
[[class]]
name = "y"
fragments = true
[mitigation]
hold = "2h"
attack_factor = 0
forwarding = "maybe"
[aggregate]
bytes = "1Mbps"
bytes_burst = 5
"#,
    );
    let key = |line, key: &str| (line, key.to_owned());
    let found: Vec<_> = found
        .into_iter()
        .map(|(line, _, key)| (line, key))
        .collect();
    assert_eq!(
        found,
        [
            key(2, "class[0].name"),
            key(5, "class[1].tcp_ports[1]"),
            key(5, "class[1].tcp_ports[2]"),
            key(5, "class[1].tcp_ports[3]"),
            key(6, "class[1].tcp_flags[0]"),
            key(7, "class[1].icmp_types[0]"),
            key(8, "class[1].reflection_ports[0]"),
            key(9, "class[1].protocols[0]"),
            key(13, "class[2].packets"),
            key(14, "class[2].bytes_burst"),
            key(18, "class[3].udp_ports[0]"),
            key(18, "class[3].udp_ports[1]"),
            key(20, "class[3].budget_burst"),
            key(22, "class[4].name"),
            key(25, "class[5].udp_ports"),
            key(31, "class[7].fragments"),
            key(33, "mitigation.hold"),
            key(34, "mitigation.attack_factor"),
            key(35, "mitigation.forwarding"),
            key(38, "aggregate.bytes_burst"),
        ]
    );
}

#[test]
fn mistakes_in_classes_say_what_would_be_right() {
    let class = |keys: &str| only_problem(&format!("[[class]]\nname = \"a\"\n{keys}"));
    let port = class("tcp_ports = [\"http\"]").message;
    assert!(
        port.contains("from 0 to 65535") && port.contains("\"http\""),
        "{port}"
    );
    assert!(port.contains("\"rest\""), "{port}");
    let reflection = class("reflection_ports = [\"rest\"]").message;
    assert!(!reflection.contains("names"), "{reflection}");
    assert!(
        class("tcp_flags = [\"syn-akc\"]")
            .help
            .unwrap()
            .contains("syn-ack")
    );
    let fast = class("packets = \"1Mpps\"").message;
    assert!(fast.contains("900kpps") && fast.contains("1.024"), "{fast}");
    let twice =
        "[[class]]\nname = \"a\"\nudp_ports = [7]\n[[class]]\nname = \"b\"\nudp_ports = [7]\n";
    let twice = only_problem(twice).message;
    assert!(twice.contains("7 is in class a, too"), "{twice}");
    let other = only_problem("[[class]]\nname = \"other\"\nprotocols = [1]\n").message;
    assert!(other.contains("no class names"), "{other}");
}

#[test]
fn there_are_at_most_thirty_two_classes() {
    let some = |count: usize| -> String {
        let class = |n: usize| format!("[[class]]\nname = \"c{n}\"\ntcp_ports = [{}]\n", n + 1);
        (0..count).map(class).collect()
    };
    let room = MAX_CLASSES - BUILT_IN.len();
    assert_eq!(accepted(&some(room)).classes.len(), MAX_CLASSES);
    let extra = only_problem(&some(room + 1));
    assert_eq!(extra.line, 3 * room + 1);
    assert!(
        extra.message.contains(&room.to_string()),
        "{}",
        extra.message
    );
    let names: Vec<String> = accepted(&some(room))
        .classes
        .iter()
        .skip(BUILT_IN.len())
        .map(|class| class.name.to_string())
        .collect();
    assert!(names.is_sorted_by_key(|name| name[1..].parse::<usize>().unwrap()));
}

#[test]
fn a_window_for_retries_that_nothing_falls_into_is_a_mistake() {
    let text = "[mitigation]\nretry_min = \"2s\"\nretry_max = \"2s\"\n";
    let problem = only_problem(text);
    assert_eq!(problem.line, 2);
    assert_eq!(problem.key, "mitigation.retry_min");
}

#[test]
fn classes_that_do_nothing_are_noted() {
    let class = |keys: &str| warnings(&format!("[[class]]\nname = \"a\"\n{keys}"));
    let at = |line, key: &str| vec![(line, key.to_owned())];
    assert_eq!(class("budget = \"1kpps\""), at(1, "class[0]"));
    assert_eq!(
        class("udp_ports = [9]\nattack_budget = \"1kpps\""),
        at(4, "class[0].attack_budget")
    );
    assert_eq!(
        class("udp_ports = [9]\nbudget = \"1kpps\"\nattack_budget = \"2kpps\""),
        at(5, "class[0].attack_budget")
    );
    assert_eq!(
        class("udp_ports = [9]\nsyn_cookies = true"),
        at(4, "class[0].syn_cookies")
    );
    assert_eq!(
        class("udp_ports = [9]\nbudget_burst = 5"),
        at(4, "class[0].budget_burst")
    );
    assert_eq!(
        warnings(
            "[aggregate]\nipv4_prefix = 32\nipv6_prefix = 48\npackets = \"1kpps\"\npackets_burst = 5"
        ),
        at(2, "aggregate.ipv4_prefix")
    );
    assert_eq!(warnings("[aggregate]\nipv4_prefix = 32"), []);
}

#[test]
fn networks_have_no_limit_until_one_is_set() {
    let plain = Config::default().aggregate;
    assert_eq!((plain.packets, plain.bytes), (None, None));
    assert_eq!((plain.ipv4_prefix, plain.ipv6_prefix), (24, 48));
    let set = accepted("[aggregate]\npackets = \"50kpps\"\nbytes = \"1Gbps\"").aggregate;
    assert_eq!(set.packets.unwrap().burst.get(), 50_000);
    assert_eq!(set.bytes.unwrap().burst.bytes(), 125_000_000);
}

#[test]
fn a_file_full_of_ports_is_shared_out_in_one_pass() {
    let ports: Vec<String> = (0..=u16::MAX).map(|port| port.to_string()).collect();
    let text_of = |name: &str| {
        let ports = ports.join(",");
        format!("[[class]]\nname = \"{name}\"\nudp_ports = [{ports}]\n")
    };
    let config = accepted(&text_of("all"));
    assert_eq!(text(&class(&config, "all").takes.udp_ports), "0-65535");
    let twice = problems(&(text_of("a") + &text_of("b")));
    assert_eq!(twice.len(), 65_536);
}
