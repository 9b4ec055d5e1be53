//! Answers of a daemon, for the tests of what is printed.

use jiff::Timestamp;

use crate::api::types::{
    AsideStatus, BanList, BanView, ChangeReport, ClassCounts, ClassLimits, ClassList, ClassStatus,
    ClassView, ConfigStatus, EntryPage, EntryView, EventsStatus, Explanation, Family,
    FlowMemoryState, FlowMemoryStatus, FrameBytes, HostStatus, InterfaceReceived, InterfaceStatus,
    KeptListStatus, LimitFields, LimitList, LimitView, LinkState, ListKind, ListStatus, MapStatus,
    MitigationStatus, NamedCount, NotIpCount, PinStatus, PrivilegeStatus, ReachStatus, ReasonCount,
    Refusal, Sample, SampleView, SourceList, SourceView, StageView, StateChange, StateChanges,
    Status, TableStatus, WaitReason,
};
use crate::domain::{ClassState, Mode};
use crate::feeds::FeedCause;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    at("2026-11-22T12:00:00Z")
}

fn count(reason: &str, action: &str, packets: u64, bytes: u64) -> ReasonCount {
    ReasonCount {
        reason: reason.into(),
        action: action.into(),
        packets,
        bytes,
    }
}

fn interface(name: &str, index: u32, mode: Option<&str>) -> InterfaceStatus {
    InterfaceStatus {
        name: name.into(),
        configured: None,
        waiting: mode.is_none().then_some(WaitReason::Missing),
        waiting_why: None,
        index,
        attached: mode.is_some(),
        mode: mode.map(str::to_owned),
        egress: mode.map(|_mode| "tcx".to_owned()),
        egress_why: None,
        reasons: vec![
            count("accepted", "passed", 40, 4000),
            count("rate_bytes", "passed", 10, 1500),
            count("blocklisted", "dropped", 50, 3200),
        ],
    }
}

fn named(name: &str, count: u64) -> NamedCount {
    NamedCount {
        name: name.into(),
        count,
    }
}

pub(crate) fn host() -> HostStatus {
    let received = |name: &str, packets, lost: &[(&str, u64)]| InterfaceReceived {
        name: name.into(),
        packets,
        bytes: packets * 900,
        lost: lost.iter().map(|(name, n)| named(name, *n)).collect(),
        link: LinkState::Up,
    };
    let eth0 = [("missed", 1200), ("crc", 3), ("no_handler", 0)];
    HostStatus {
        interfaces: vec![
            received("eth0", 1_000_000, &eth0),
            received("eth1", 0, &[("missed", 0)]),
        ],
        lost: vec![named("listen_overflow", 7), named("udp_no_port", 0)],
        syn_cookies: vec![named("sent", 40), named("received", 2), named("failed", 0)],
        time_squeezes: Some(1),
    }
}

pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        pid: 4711,
        started: at("2026-11-22T08:48:00Z"),
        mode: Mode::Enforce,
        observe_reasons: vec!["rate_bytes".into()],
        config: ConfigStatus {
            path: "/etc/xdp-throttle/config.toml".into(),
            loaded: at("2026-11-22T09:00:00Z"),
            reloads: 2,
            refused: 1,
            last_error: Some("c.toml:3:1: mode: nonsense\n    help: enforce\n".into()),
        },
        kernel: "6.18.5".into(),
        verified_instructions: Some(1512),
        stages: vec!["bans".into(), "tcp_flags".into(), "classes".into()],
        interfaces: vec![
            interface("eth0", 2, Some("native")),
            interface("eth1", 3, Some("generic")),
            interface("eth9", 0, None),
        ],
        reasons: vec![
            count("land", "dropped", 0, 0),
            count("blocklisted", "dropped", 90_000, 5_760_000),
            count("accepted", "passed", 900_000, 900_000_000),
            count("rate_bytes", "passed", 10_000, 15_000_000),
        ],
        tables: vec![TableStatus {
            name: "sources".into(),
            entries: 65_536,
            capacity: 131_072,
            memory_bytes: 17_976_000,
            when_full: "a new source takes the place of one that has sent least".into(),
        }],
        maps: vec![MapStatus {
            name: "class_table".into(),
            memory_bytes: 790_016,
        }],
        memory_bytes: 38_200_000,
        protected_sources: 40_000,
        kept_lists: Vec::new(),
        lists: vec![ListStatus {
            name: "spamhaus-drop".parse().unwrap(),
            kind: ListKind::Block,
            entries: 1500,
        }],
        bans: 12,
        mitigation: mitigation(),
        flow_memory: FlowMemoryStatus {
            state: FlowMemoryState::Complete,
            packets: 700_000,
            noted: 1300,
            ..FlowMemoryStatus::default()
        },
        faults: vec![named("ban_table_full", 0), named("event_lost", 7)],
        reach: ReachStatus::default(),
        not_ip: vec![NotIpCount {
            kind: "arp".into(),
            ether_type: None,
            packets: 1200,
        }],
        events: EventsStatus::default(),
        host: host(),
        privileges: PrivilegeStatus {
            user: "xdp-throttle".into(),
            capabilities: vec!["CAP_BPF".into(), "CAP_NET_ADMIN".into()],
            no_new_privs: true,
            files: "partly restricted".into(),
            files_why: Some("this kernel's Landlock is an older one".into()),
        },
        pins: PinStatus::default(),
        pending: None,
        warnings: vec!["eth1 is attached in generic mode".into()],
    }
}

fn class_status(name: &str, state: ClassState, counts: ClassCounts) -> ClassStatus {
    ClassStatus {
        name: name.into(),
        state,
        since: at("2026-11-22T11:58:00Z"),
        switched_on: Vec::new(),
        counts,
        state_changes: StateChanges::default(),
    }
}

fn attacked() -> ClassStatus {
    let counts = ClassCounts {
        packets: 5_000_000,
        bytes: 320_000_000,
        newcomers: 20_000,
        over: 4_900_000,
        proven: 3,
        unsolicited: 40,
        refused: 1_234_567,
        cookies: 3_600_000,
        first_packets: 654_321,
        too_soon: 21,
        returned: 777,
        over_returning: 31,
    };
    ClassStatus {
        switched_on: vec!["SYN cookies".into(), "budget 100pps burst 100".into()],
        state_changes: StateChanges {
            normal: 0,
            elevated: 1,
            attack: 1,
        },
        ..class_status("tcp-new", ClassState::Attack, counts)
    }
}

fn mitigation() -> MitigationStatus {
    let change = |second: &str, from, to, over_per_second| StateChange {
        at: at(&format!("2026-11-22T11:57:{second}Z")),
        class: "tcp-new".into(),
        from,
        to,
        over_per_second,
    };
    MitigationStatus {
        enabled: true,
        forwarding: "stand-aside".into(),
        classes: vec![
            attacked(),
            class_status("udp", ClassState::Normal, ClassCounts::default()),
        ],
        asides: vec![AsideStatus {
            interface: "eth1".into(),
            family: Family::Ipv6,
            reason: "eth1 forwards".into(),
            in_force: true,
            told_by_flows: false,
        }],
        changes: vec![
            change("58", ClassState::Normal, ClassState::Elevated, 900),
            change("59", ClassState::Elevated, ClassState::Attack, 91_000),
        ],
    }
}

pub(crate) fn classes() -> ClassList {
    let class = |number, status, takes: &str, flags: &[&str]| ClassView {
        status,
        number,
        built_in: number == 1,
        enabled: true,
        takes: vec![takes.into()],
        limits: ClassLimits {
            budget: "500pps".into(),
            budget_burst: Some("2k".into()),
            attack_budget: "100pps".into(),
            attack_budget_burst: Some("100".into()),
            returning: "1kpps".into(),
            returning_burst: Some("1k".into()),
            packets: "off".into(),
            packets_burst: None,
            bytes: "5Mbps".into(),
            bytes_burst: Some("1MB".into()),
        },
        flags: flags.iter().map(|flag| (*flag).into()).collect(),
    };
    let game = class_status("game", ClassState::Normal, ClassCounts::default());
    ClassList {
        enabled: true,
        classes: vec![
            class(1, attacked(), "tcp rest", &["syn_cookies", "known_first"]),
            ClassView {
                enabled: false,
                ..class(18, game, "udp 27000-27100", &[])
            },
        ],
    }
}

pub(crate) fn import_report() -> ChangeReport {
    ChangeReport {
        added: 120_430,
        unchanged: 12,
        merged: 5,
        duplicates: 3,
        private: 2,
        refused: 2000,
        refusals: vec![Refusal {
            line: Some(7),
            text: "0.0.0.0/0".into(),
            why: "IPv4 prefixes wider than /8 need --force".into(),
        }],
        took_ms: 1234,
        ..ChangeReport::default()
    }
}

pub(crate) fn entry_page() -> EntryPage {
    let entry = |prefix: &str| EntryView {
        prefix: prefix.parse().unwrap(),
        list: "manual".parse().unwrap(),
        expires: None,
        comment: None,
        added: None,
        packets: None,
        bytes: None,
    };
    EntryPage {
        entries: vec![
            EntryView {
                expires: Some(at("2026-11-22T12:59:00Z")),
                comment: Some("scans\u{1b}[2J".into()),
                packets: Some(1_234_567),
                bytes: Some(1_200_000_000),
                ..entry("203.0.113.0/24")
            },
            entry("203.0.113.9"),
        ],
        total: 120_430,
    }
}

fn ban() -> BanView {
    BanView {
        source: "203.0.113.9".parse().unwrap(),
        since: at("2026-11-22T11:59:00Z"),
        until: at("2026-11-22T12:03:00Z"),
        level: 2,
        reason: "rate_packets".into(),
        packets: 5000,
        bytes: 320_000,
    }
}

pub(crate) fn bans() -> BanList {
    BanList { bans: vec![ban()] }
}

pub(crate) fn limits() -> LimitList {
    let given = |text: &str| Some(text.to_owned());
    let default = LimitView {
        prefix: None,
        limits: LimitFields {
            packets: given("20kpps"),
            packets_burst: given("20k"),
            bytes: given("200Mbps"),
            bytes_burst: given("4MB"),
            tcp_new: given("100cps"),
            tcp_new_burst: given("500"),
        },
        origin: "config".into(),
    };
    let single = LimitView {
        prefix: Some("198.51.100.0/24".parse().unwrap()),
        limits: LimitFields {
            packets: given("off"),
            ..LimitFields::default()
        },
        origin: "runtime".into(),
    };
    LimitList {
        limits: vec![default, single],
    }
}

fn source() -> SourceView {
    SourceView {
        source: "203.0.113.9".parse().unwrap(),
        packets: 20_000,
        bytes: 1_280_000,
        dropped_packets: 15_000,
        dropped_bytes: 960_000,
        first_seen: at("2026-11-22T11:00:00Z"),
        last_seen: at("2026-11-22T11:59:58Z"),
        strikes: 5,
        banned_until: Some(at("2026-11-22T12:03:00Z")),
        listed: None,
    }
}

pub(crate) fn sources() -> SourceList {
    SourceList {
        sources: vec![source()],
        total: 4242,
    }
}

fn sample() -> Sample {
    Sample {
        interface: Some("eth0".into()),
        reason: "banned".into(),
        action: "dropped".into(),
        source: "203.0.113.9".parse().ok(),
        list: None,
        class: None,
        stands_for: 1,
        length: 60,
        frame: FrameBytes::default(),
        bare_ip: false,
    }
}

pub(crate) fn explanation() -> Explanation {
    let stage = |stage: &str, finding: &str, decided| StageView {
        stage: stage.into(),
        finding: finding.into(),
        decided,
    };
    Explanation {
        address: "203.0.113.9".parse().unwrap(),
        source: "203.0.113.9".parse().unwrap(),
        packet: "TCP SYN to port 80, 64 bytes".into(),
        reason: "banned".into(),
        description: " The source is banned for a time after repeated strikes.".into(),
        action: "drop".into(),
        mode: Mode::Enforce,
        stages: vec![
            stage("allow", "no entry", false),
            stage("block", "no entry", false),
            stage("ban", "level 2, ends in 3m", true),
        ],
        known: Some(source()),
        ban: Some(ban()),
        limits: limits().limits.remove(0),
        samples: vec![SampleView {
            at: at("2026-11-22T11:59:58Z"),
            sample: sample(),
        }],
    }
}

/// A list that keeps itself, confirmed at `now`.
pub(crate) fn kept_list(now: Timestamp) -> KeptListStatus {
    KeptListStatus {
        name: "spamhaus-drop".parse().unwrap(),
        kind: ListKind::Block,
        source: "https://example.org/drop.txt".into(),
        format: Some("plain".into()),
        entries: 1_497,
        fetched: Some(now),
        confirmed: Some(now),
        tried: Some(now),
        next_try: now,
        running: false,
        stale: false,
        sha256: Some("0".repeat(64)),
        last_error: None,
        failures: FeedCause::ALL
            .map(|cause| NamedCount {
                name: cause.name().into(),
                count: 0,
            })
            .into(),
        refused: 0,
        refusals: Vec::new(),
        skipped: Vec::new(),
        left_out: 0,
    }
}
