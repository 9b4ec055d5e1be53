//! What `explain` says of a packet is what happens to it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use xdp_common::abi::{Ban, Plain, Source, class_table};

use super::*;
use crate::api::types::{ExplainQuery, Explanation};
use crate::datapath::Counters;
use crate::datapath::Entry;
use crate::datapath::keys::{decode_source, source_to_abi};

const SECOND: u64 = 1_000_000_000;
const WORLDS: u64 = 40;
const PACKETS: usize = 50;
/// A machine that stops for so long between two looks at the clock may see two answers.
const PAUSE: u64 = SECOND / 2;

/// Few, so that sources, entries and overrides meet.
const ADDRESSES: [&str; 9] = [
    "192.0.2.1",
    "192.0.2.130",
    "198.51.100.7",
    "203.0.113.9",
    "127.0.0.1",
    "224.0.0.5",
    "2001:db8::1",
    "2001:db8:0:1::2",
    "ff02::1",
];
const PREFIXES: [&str; 8] = [
    "192.0.2.0/24",
    "192.0.2.128/25",
    "192.0.2.130",
    "198.51.100.0/24",
    "203.0.113.9",
    "2001:db8::/32",
    "2001:db8::/64",
    "2001:db8:0:1::2",
];
const FLAGS: [(&str, u8); 6] = [
    ("syn", 2),
    ("ack", 16),
    ("syn,ack", 18),
    ("none", 0),
    ("syn,fin", 3),
    ("rst", 4),
];

/// Everything that a packet could change.
type Snapshot = (
    Counters,
    BTreeMap<Prefix, Source>,
    BTreeMap<Prefix, Ban>,
    Vec<Option<Entry>>,
);

fn snapshot(world: &World) -> Snapshot {
    let mut memory = world.kernel.memory();
    let entries: Vec<Option<Entry>> = [ListKind::Allow, ListKind::Block]
        .into_iter()
        .flat_map(|kind| PREFIXES.map(|p| memory.entry(kind, &prefix(p)).unwrap()))
        .collect();
    let sources = memory.sources().unwrap().into_iter();
    let bans = memory.bans().unwrap().into_iter();
    (
        memory.counters().unwrap(),
        sources
            .map(|(key, source)| (decode_source(&key).unwrap(), source))
            .collect(),
        bans.map(|(key, ban)| (decode_source(&key).unwrap(), ban))
            .collect(),
        entries,
    )
}

fn random_config(dice: &mut StdRng) -> String {
    let mode = ["enforce", "enforce", "observe"].choose(dice).unwrap();
    let observed = ["", "\"blocklisted\"", "\"rate_packets\", \"banned\""]
        .choose(dice)
        .unwrap();
    // Slow limits: whether one holds doesn't change within the time of a test.
    let limits = [
        "packets = \"1pps\"\npackets_burst = 600",
        "packets = \"off\"\nbytes = \"off\"\ntcp_new = \"1cps\"\ntcp_new_burst = 600",
        "",
    ];
    let limits = limits.choose(dice).unwrap();
    let overrides: String = ["192.0.2.0/24", "192.0.2.130", "2001:db8::/48"]
        .iter()
        .filter(|_| dice.random_bool(0.4))
        .map(|p| {
            format!(
                "[[override]]\nprefixes = [\"{p}\"]\npackets = \"2pps\"\npackets_burst = 1200\n"
            )
        })
        .collect();
    let (bans, sanity) = (dice.random_bool(0.7), dice.random_bool(0.7));
    let length = [24, 32].choose(dice).unwrap();
    format!(
        "mode = \"{mode}\"\nobserve_reasons = [{observed}]\n[source]\nipv4_prefix = {length}\n\
         [limits]\n{limits}\n{overrides}[ban]\nenabled = {bans}\nstrikes = 2\n\
         [sanity]\ntcp_flags = {sanity}\nmartian_source = {sanity}\n"
    )
}

/// Lists, some of whose entries are over already.
fn random_world(dice: &mut StdRng) -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut state = State::open(directory.path()).unwrap();
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for (kind, chance) in [(ListKind::Allow, 0.15), (ListKind::Block, 0.3)] {
        for text in PREFIXES {
            if !dice.random_bool(chance) {
                continue;
            }
            let ends = [None, Some(-3600), Some(3600), Some(7200)]
                .choose(dice)
                .unwrap();
            rows.push(crate::state::EntryChange::Put(crate::state::EntryRow {
                kind,
                prefix: prefix(text),
                list: ["manual", "feed"].choose(dice).unwrap().parse().unwrap(),
                expires: ends.map(|s| now + jiff::SignedDuration::from_secs(s)),
                comment: None,
                added: now,
            }));
        }
    }
    state.change_entries(&rows).unwrap();
    drop(state);
    World::in_directory(&random_config(dice), directory)
}

/// Whatever may be known of the source of an address.
fn randomise_source(world: &World, address: IpAddr, dice: &mut StdRng) {
    let now = Moment::now().boot_ns;
    let source = world.control.source_of(&Prefix::host(address));
    let key = source_to_abi(&source);
    let mut memory = world.kernel.memory();
    if dice.random_bool(0.6) {
        // Around a burst of 600 s: far under it, just over it, and left by a longer limit.
        let mut arrival = || {
            now.saturating_add_signed(
                [-100, 10, 300, 600, 5000].choose(dice).copied().unwrap() * 1_000_000_000,
            )
        };
        let known = Source {
            tat_packets: arrival(),
            tat_bytes: 0,
            tat_tcp_new: arrival(),
            strikes: ((now / 1_000_000 - 5000) << 16) | 1,
            packets: 7,
            first_seen_ns: now / 2,
            ..Source::ZERO
        };
        memory.put_source(&key, known);
    }
    if dice.random_bool(0.2) {
        let until_ns = now.saturating_add_signed([-60, 60].choose(dice).unwrap() * 1_000_000_000);
        let ban = Ban {
            until_ns,
            since_ns: now / 2,
            ..Ban::ZERO
        };
        memory.put_ban(&key, &ban).unwrap();
    } else {
        memory.remove_ban(&key).unwrap();
    }
}

fn random_packet(dice: &mut StdRng) -> (ExplainQuery, Vec<u8>) {
    let address: IpAddr = ADDRESSES.choose(dice).unwrap().parse().unwrap();
    let protocols = [("tcp", 6), ("udp", 17), ("47", 47)];
    let icmp = if address.is_ipv4() {
        ("icmp", 1)
    } else {
        ("icmpv6", 58)
    };
    let (name, protocol) = *[protocols[0], protocols[0], protocols[1], protocols[2], icmp]
        .choose(dice)
        .unwrap();
    let (words, flags) = *FLAGS.choose(dice).unwrap();
    let (port, length) = (
        dice.random(),
        *[1u32, 64, 999, 65_535].choose(dice).unwrap(),
    );
    let query = ExplainQuery {
        address,
        protocol: Some(name.into()),
        port: Some(port),
        flags: Some(words.into()),
        length: Some(length),
        interface: None,
        pppoe: None,
    };
    let frame = Frame {
        source: address,
        protocol,
        port,
        flags,
        length: length as usize,
    };
    (query, frame.bytes())
}

/// The stages end with the one that decided, and only with one that decides.
fn check_stages(explanation: &Explanation) {
    let decided: Vec<bool> = explanation
        .stages
        .iter()
        .map(|stage| stage.decided)
        .collect();
    let (last, before) = decided.split_last().unwrap();
    assert!(!before.contains(&true), "{explanation:?}");
    assert_eq!(*last, explanation.reason != "accepted", "{explanation:?}");
}

#[test]
fn explain_says_what_happens_and_touches_nothing() {
    let mut compared = 0;
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..WORLDS {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut world = random_world(&mut dice);
        for _ in 0..PACKETS {
            let (query, frame) = random_packet(&mut dice);
            randomise_source(&world, query.address, &mut dice);
            let before = snapshot(&world);
            world.kernel.take_changes();
            let asked_ns = Moment::now().boot_ns;
            let explanation = world.control.explain(&query).unwrap();
            assert_eq!(snapshot(&world), before, "seed {seed}: {query:?}");
            assert!(world.kernel.take_changes().is_empty());
            check_stages(&explanation);
            if Moment::now().boot_ns - asked_ns > PAUSE {
                continue;
            }
            let verdict = world.kernel.memory().judge(&frame, asked_ns);
            let action = match verdict.action {
                Action::Pass => "pass",
                Action::Drop => "drop",
                Action::Answer => "answer",
            };
            assert_eq!(
                (explanation.reason.as_str(), explanation.action.as_str()),
                (verdict.reason.name(), action),
                "seed {seed}: {query:?}: {explanation:#?}"
            );
            *seen.entry(explanation.reason).or_default() += 1;
            compared += 1;
        }
    }
    assert!(compared >= 1900, "{compared}: the machine stops too often");
    for reason in [
        "accepted",
        "allowlisted",
        "blocklisted",
        "banned",
        "tcp_flags",
        "martian_source",
        "rate_packets",
        "rate_tcp_new",
    ] {
        assert!(seen.contains_key(reason), "never {reason}: {seen:?}");
    }
}

#[test]
fn explain_says_what_a_class_under_attack_makes_of_a_newcomer() {
    let mut world = World::new("");
    let explain = |world: &mut World| {
        let query = ExplainQuery {
            address: "192.0.2.1".parse().unwrap(),
            protocol: Some("udp".into()),
            port: Some(5300),
            flags: None,
            length: None,
            interface: None,
            pppoe: None,
        };
        world.control.explain(&query).unwrap()
    };
    let class = |explanation: &Explanation| {
        let mut stages = explanation.stages.iter();
        stages
            .find(|stage| stage.stage == "class")
            .unwrap()
            .finding
            .clone()
    };
    let quiet = explain(&mut world);
    assert_eq!(quiet.reason, "accepted");
    assert!(
        class(&quiet).starts_with("udp is normal, a newcomer"),
        "{}",
        class(&quiet)
    );
    let now = Moment::now();
    let number = usize::from(world.kernel.class_set().class_at(class_table::udp(5300)));
    world.kernel.count_class(number, |reading| {
        reading.tat_ns = now.boot_ns + 3_600_000_000_000
    });
    // The budget's time is further ahead than any tolerance: left over, so it starts anew.
    assert_eq!(explain(&mut world).reason, "accepted");
    world.kernel.count_class(number, |reading| {
        reading.tat_ns = now.boot_ns + 8_500_000_000;
    });
    let flooded = explain(&mut world);
    assert_eq!(
        (flooded.reason.as_str(), flooded.action.as_str()),
        ("first_packet", "drop")
    );
}

#[test]
fn explain_names_list_ban_limit_and_level() {
    let mut world = World::new("[limits]\npackets = \"1pps\"\npackets_burst = 100\n");
    let listed = AddEntries {
        list: list_name("feed"),
        comment: Some("scanner".into()),
        ..adding(&["198.51.100.0/24"])
    };
    world.control.add_entries(ListKind::Block, listed).unwrap();
    let mut explain = |address: &str| {
        let query = ExplainQuery {
            address: address.parse().unwrap(),
            protocol: None,
            port: None,
            flags: None,
            length: None,
            interface: None,
            pppoe: None,
        };
        world.control.explain(&query).unwrap()
    };
    let blocked = explain("198.51.100.7");
    let finding = &blocked.stages.last().unwrap().finding;
    for part in ["198.51.100.0/24", "feed", "scanner", "0 packets"] {
        assert!(finding.contains(part), "{part}: {finding}");
    }
    assert!(blocked.known.is_none() && blocked.ban.is_none());
    let mapped = explain("::ffff:198.51.100.7");
    assert_eq!(
        mapped.reason, "blocklisted",
        "a mapped address is the IPv4 one"
    );
    let free = explain("192.0.2.1");
    assert_eq!(free.source, prefix("192.0.2.1"));
    assert_eq!(free.limits.limits.packets.as_deref(), Some("1pps"));
    assert_eq!(free.stages.len(), 8);
    for (address, what) in [
        ("192.0.2.1", "protocol"),
        ("192.0.2.1", "flags"),
        ("192.0.2.1", "length"),
    ] {
        let query = ExplainQuery {
            address: address.parse().unwrap(),
            protocol: (what == "protocol").then(|| "tpc".into()),
            port: None,
            flags: (what == "flags").then(|| "sin".into()),
            length: (what == "length").then_some(65_536),
            interface: None,
            pppoe: None,
        };
        words(world.control.explain(&query));
    }
}
