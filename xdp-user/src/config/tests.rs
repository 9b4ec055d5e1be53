//! What the config file accepts, refuses and says.

mod classes;
mod events;
mod lists;
mod page;
mod pins;
mod roles;

use proptest::prelude::*;

use super::*;
use crate::domain::{AttachMode, BitRate, Burst, ByteSize, ConnectionRate, PacketRate};

fn accepted(text: &str) -> Config {
    let loaded = Config::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}"));
    loaded.config
}

fn warnings(text: &str) -> Vec<(usize, String)> {
    let loaded = Config::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}"));
    let place = |warning: Problem| (warning.line, warning.key);
    loaded.warnings.into_iter().map(place).collect()
}

fn problems(text: &str) -> Vec<Problem> {
    Config::parse(text, "test.toml").unwrap_err().problems
}

/// Line, column and key of every mistake.
fn places(text: &str) -> Vec<(usize, usize, String)> {
    let place = |problem: Problem| (problem.line, problem.column, problem.key);
    problems(text).into_iter().map(place).collect()
}

fn only_problem(text: &str) -> Problem {
    let mut found = problems(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn an_empty_file_protects() {
    let config = accepted("");
    assert_eq!(config, Config::default());
    assert_eq!(config.mode, Mode::Enforce);
    assert!(config.interfaces.is_empty());
    assert!(config.ban.enabled);
    assert_eq!(config.ban.growth_shift, 1);
    assert_eq!(
        (config.source.ipv4_prefix, config.source.ipv6_prefix),
        (32, 64)
    );
    assert_eq!(
        config.limits,
        Limits {
            packets: Some(Limit {
                rate: PacketRate::new(100_000).unwrap(),
                burst: Burst::new(100_000).unwrap(),
            }),
            bytes: Some(Limit {
                rate: BitRate::new(1_000_000_000).unwrap(),
                burst: ByteSize::new(125_000_000).unwrap(),
            }),
            tcp_new: Some(Limit {
                rate: ConnectionRate::new(200).unwrap(),
                burst: Burst::new(1000).unwrap(),
            }),
        }
    );
    assert!(config.metrics.listen.ip().is_loopback());
    assert_eq!(config.control.socket_mode.bits(), 0o600);
}

#[test]
fn every_kind_of_key_is_read() {
    let config = accepted(
        r#"
        mode = "observe"
        observe_reasons = ["rate_packets", "land", "land"]
        [[interface]]
        name = "eth0"
        attach = "native"
        [[interface]]
        name = "eth1"
        [limits]
        packets = "20kpps"
        bytes = "off"
        tcp_new = "100/s"
        tcp_new_burst = 7
        [allow]
        prefixes = ["198.51.100.7", "2001:db8::/32"]
        [metrics]
        listen = "[::1]:1"
        page = "sources"
        [log]
        format = "json"
        datapath = "warn"
        "#,
    );
    assert_eq!(config.mode, Mode::Observe);
    assert_eq!(config.observe_reasons, [Reason::Land, Reason::RatePackets]);
    assert_eq!(config.interfaces[0].attach, AttachMode::Native);
    assert_eq!(config.interfaces[1].attach, AttachMode::Auto);
    assert_eq!(config.limits.packets.unwrap().burst.get(), 20_000);
    assert_eq!(config.limits.bytes, None);
    assert_eq!(config.limits.tcp_new.unwrap().burst.get(), 7);
    assert_eq!(config.allow.len(), 2);
    assert_eq!(config.metrics.page, StatusPage::Sources);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.datapath, DatapathLog::Warn);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let text = "\
mode = \"enforced\"
colour = 1
[limits]
packets = \"20kbps\"
packet_burst = 5
bytes = 7
[source]
ipv4_prefix = 33
[allow]
prefixes = [\"192.0.2.5/24\", \"192.0.2.0/24\", \"x\"]
[metrics]
enabled = \"yes\"
[[interface]]
attach = \"auto\"
";
    let found = places(text);
    let key = |line, column, key: &str| (line, column, key.to_owned());
    assert_eq!(
        found,
        [
            key(1, 8, "mode"),
            key(2, 1, "colour"),
            key(4, 11, "limits.packets"),
            key(5, 1, "limits.packet_burst"),
            key(6, 9, "limits.bytes"),
            key(8, 15, "source.ipv4_prefix"),
            key(10, 13, "allow.prefixes[0]"),
            key(10, 45, "allow.prefixes[2]"),
            key(12, 11, "metrics.enabled"),
            key(13, 1, "interface[0].name"),
        ]
    );
}

#[test]
fn answers_name_what_would_be_valid() {
    let help = |text: &str| only_problem(text).help.unwrap();
    let message = |text: &str| only_problem(text).message;
    assert_eq!(help("mode = \"enforced\""), "did you mean \"enforce\"?");
    assert_eq!(help("mod = \"enforce\""), "did you mean \"mode\"?");
    assert_eq!(help("[limit]"), "did you mean \"limits\"?");
    assert_eq!(help("[limits]\npacket = 1"), "did you mean \"packets\"?");
    assert!(help("[source]\nobserve_reasons = []").contains("top of the file"));
    assert!(help("[source]\nstrikes = 5").contains("[ban]"));
    assert!(help("observe_reasons = [\"rate_packet\"]").contains("rate_packets"));
    assert!(message("observe_reasons = [\"accepted\"]").contains("martian_source"));
    assert!(help("[limits]\npackets = 20").contains("\"20kpps\""));
    assert!(message("[allow]\nprefixes = [\"192.0.2.5/24\"]").contains("192.0.2.0/24"));
    assert!(help("[allow]\nprefixes = \"192.0.2.5\"").contains('['));
    assert!(help("[interface]\nname = \"eth0\"").contains("[[interface]]"));
    assert!(help("limits = 5").contains("[limits]"));
    assert!(message("[ban]\nstrikes = 0").contains("from 1 to 1000, found 0"));
    assert!(message("[ban]\nstrikes = -1").contains("found -1"));
    assert!(message("[control]\nsocket_mode = \"0400\"").contains("octal"));
    assert!(message("[control]\nsocket = \"run/x.sock\"").contains("starts with /"));
    assert!(message("[daemon]\nuser = \"0day\"").contains("a letter"));
    assert!(message("[daemon]\nreadable = [\"lists\"]").contains("starts with /"));
    let many = vec!["\"/x\""; 65].join(", ");
    assert!(message(&format!("[daemon]\nreadable = [{many}]")).contains("at most 64"));
    assert!(message("[state]\ndirectory = \"/var/../etc\"").contains(".."));
    assert!(message(&format!("[control]\nsocket = \"/{}\"", "x".repeat(107))).contains("107"));
}

#[test]
fn syntax_errors_have_a_place_and_do_not_hide_other_mistakes() {
    let found = places("mode = enforce\n[limits]\npackets = \"20\"\nbytes \"1Gbps\"\n");
    assert!(
        found
            .iter()
            .any(|(line, _, key)| *line == 1 && key.is_empty()),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|(line, _, key)| *line == 4 && key.is_empty()),
        "{found:?}"
    );
    assert!(
        found.contains(&(3, 11, "limits.packets".to_owned())),
        "{found:?}"
    );
    let twice = only_problem("mode = \"enforce\"\nmode = \"observe\"\n");
    assert_eq!(
        (twice.line, twice.message.contains("duplicate")),
        (2, true),
        "{twice:?}"
    );
}

#[test]
fn bursts_follow_their_rate() {
    let limits = accepted("[limits]\nbytes = \"64kbps\"\ntcp_new = \"10cps\"").limits;
    assert_eq!(limits.bytes.unwrap().burst.bytes(), 65_535);
    assert_eq!(limits.tcp_new.unwrap().burst.get(), 50);
    let small = only_problem("[limits]\nbytes_burst = 65534");
    assert_eq!(small.key, "limits.bytes_burst");
    accepted("[limits]\nbytes_burst = 65535");
    let endless = only_problem("[limits]\npackets = \"1pps\"\npackets_burst = 86401");
    assert_eq!(
        (endless.line, endless.key.as_str()),
        (3, "limits.packets_burst")
    );
    accepted("[limits]\npackets = \"1pps\"\npackets_burst = 86400");
    assert_eq!(
        warnings("[limits]\npackets = \"off\"\npackets_burst = 5"),
        [(3, "limits.packets_burst".to_owned())]
    );
}

#[test]
fn overrides_inherit_what_they_leave_out() {
    let config = accepted(
        r#"
        [limits]
        packets = "10kpps"
        packets_burst = 77
        [[override]]
        prefixes = ["192.0.2.0/24"]
        bytes = "off"
        [[override]]
        prefixes = ["192.0.2.1", "2001:db8::/32"]
        packets = "5pps"
        [[override]]
        prefixes = ["203.0.113.0/24"]
        packets_burst = 99
        "#,
    );
    let [first, second, third] = config.overrides.as_slice() else {
        panic!("three overrides");
    };
    assert_eq!(first.limits.bytes, None);
    assert_eq!(first.limits.packets, config.limits.packets);
    assert_eq!(second.prefixes.len(), 2);
    assert_eq!(
        second.limits.packets.unwrap().burst.get(),
        5,
        "from its own rate"
    );
    assert_eq!(second.limits.bytes, config.limits.bytes);
    let inherited = third.limits.packets.unwrap();
    assert_eq!(
        (inherited.rate.packets_per_second(), inherited.burst.get()),
        (10_000, 99)
    );
}

#[test]
fn overrides_that_contradict_or_do_nothing_are_noted() {
    let twice = "[[override]]\nprefixes = [\"192.0.2.1\"]\npackets = \"1pps\"\n\
                 [[override]]\nprefixes = [\"::1\", \"192.0.2.1/32\"]\npackets = \"2pps\"\n";
    let problem = only_problem(twice);
    assert_eq!(problem.key, "override[1].prefixes[1]");
    assert!(
        problem.message.contains("override[0].prefixes[0]"),
        "{}",
        problem.message
    );
    assert_eq!(
        only_problem("[[override]]\nprefixes = []\npackets = \"1pps\"").line,
        2
    );
    assert_eq!(
        only_problem("[[override]]\npackets = \"1pps\"").key,
        "override[0].prefixes"
    );
    assert_eq!(
        warnings("[[override]]\nprefixes = [\"192.0.2.1\"]"),
        [(1, "override[0]".to_owned())]
    );
}

#[test]
fn bans_are_consistent() {
    assert_eq!(only_problem("[ban]\nduration = \"2d\"").key, "ban.duration");
    let decay = only_problem("[ban]\nstrike_interval = \"30s\"");
    assert_eq!(decay.key, "ban.strike_decay");
    accepted("[ban]\nstrikes = 1\nstrike_interval = \"30s\"");
    assert_eq!(accepted("[ban]\ngrowth = 16").ban.growth_shift, 4);
    assert_eq!(accepted("[ban]\ngrowth = 1").ban.growth_shift, 0);
    assert_eq!(only_problem("[ban]\ngrowth = 3").key, "ban.growth");
    assert_eq!(
        only_problem("[ban]\nduration = \"10ms\"").key,
        "ban.duration"
    );
}

#[test]
fn interfaces_are_at_most_fifteen_and_named_once() {
    let some = |count: usize| -> String {
        (0..count)
            .map(|n| format!("[[interface]]\nname = \"eth{n}\"\n"))
            .collect()
    };
    assert_eq!(accepted(&some(15)).interfaces.len(), 15);
    let extra = only_problem(&some(16));
    assert_eq!(
        (extra.line, extra.message.contains("15")),
        (31, true),
        "{extra:?}"
    );
    let twice = only_problem("[[interface]]\nname = \"a\"\n[[interface]]\nname = \"a\"\n");
    assert_eq!((twice.line, twice.key.as_str()), (4, "interface[1].name"));
}

#[test]
fn lists_that_contradict_each_other_are_warned_about() {
    let text = "[allow]\nprefixes = [\"192.0.2.0/24\", \"192.0.2.0/24\"]\n\
                [block]\nprefixes = [\n\"192.0.2.9\",\n\"198.51.100.1\",\n\"10.0.0.0/7\",\n\"2000::/3\"]\n";
    assert_eq!(
        warnings(text),
        [
            (2, "allow.prefixes[1]".to_owned()),
            (5, "block.prefixes[0]".to_owned()),
            (7, "block.prefixes[2]".to_owned()),
            (8, "block.prefixes[3]".to_owned()),
        ]
    );
    assert_eq!(accepted(text).allow.len(), 1);
    assert_eq!(warnings("[allow]\nprefixes = [\"::/0\"]").len(), 1);
    assert_eq!(warnings("[metrics]\nlisten = \"0.0.0.0:9777\"").len(), 1);
    assert_eq!(
        warnings("[metrics]\nenabled = false\nlisten = \"0.0.0.0:9777\""),
        []
    );
    assert_eq!(warnings("[control]\nsocket_mode = \"0666\"").len(), 1);
}

#[test]
fn capacities_hold_what_the_file_names() {
    let text = "[block]\nprefixes = [\"192.0.2.1\", \"192.0.2.2\", \"::1\"]\n[capacity]\nblock = ";
    assert_eq!(only_problem(&format!("{text}1")).key, "capacity.block");
    accepted(&format!("{text}2"));
}

#[test]
fn files_that_are_too_large_or_no_text_are_refused() {
    let large = "#".repeat(MAX_BYTES as usize + 1);
    assert!(only_problem(&large).message.contains("block import"));
    let error = Config::parse_bytes(b"mode = \"enforce\"\n\xff", "x").unwrap_err();
    assert_eq!((error.problems[0].line, error.problems[0].column), (2, 1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.toml");
    assert!(matches!(Config::load(&path), Err(LoadError::Read { .. })));
    std::fs::write(&path, "mode = \"observe\"").unwrap();
    assert_eq!(Config::load(&path).unwrap().config.mode, Mode::Observe);
}

#[test]
fn sixty_thousand_mistakes_in_a_file_of_full_size_are_placed_in_one_pass() {
    let mistakes = 60_000;
    let text = format!(
        "[block]\nprefixes = [{}]",
        "\"1.2.3.400\", ".repeat(mistakes)
    );
    assert_eq!(problems(&text).len(), mistakes);
}

#[test]
fn deep_nesting_is_refused_without_a_crash() {
    let deep = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(!problems(&deep).is_empty());
}

/// Lines that are nearly right, so that mutations reach every section.
fn nearly_config() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[limits]".to_owned()),
        Just("[[interface]]".to_owned()),
        Just("[[override]]".to_owned()),
        Just("prefixes = [\"192.0.2.0/24\", 5]".to_owned()),
        "(packets|bytes|mode|name|strikes|growth) = (\"[0-9a-zA-Z./]{0,8}\"|[0-9]{1,20}|true)",
        Just("[[class]]".to_owned()),
        "(name|tcp_ports|icmp_types|budget|tcp_flags) = (\"[a-z0-9-]{0,6}\"|\\[[0-9, \"a-z-]{0,12}\\])",
        "\\PC{0,20}",
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        if let Err(error) = Config::parse_bytes(&bytes, "x") {
            prop_assert!(!error.problems.is_empty());
        }
    }

    #[test]
    fn any_nearly_right_file_is_answered_in_the_order_of_its_lines(text in nearly_config()) {
        if let Err(error) = Config::parse(&text, "x") {
            prop_assert!(!error.problems.is_empty());
            prop_assert!(error.problems.is_sorted_by_key(|found| (found.line, found.column)));
        }
    }
}
