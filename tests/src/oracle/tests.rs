use super::*;
use crate::packet::{Extension, Flags, Packet};

const SECOND: u64 = 1_000_000_000;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn reason(oracle: &mut Oracle, packet: &Packet, now_ns: u64) -> &'static str {
    oracle.judge(&packet.build(), now_ns).reason
}

fn v4() -> Packet {
    Packet::v4("203.0.113.7", "198.51.100.1").udp(1, 2)
}

#[test]
fn frames_too_short_for_any_header_are_told_apart() {
    let mut oracle = Oracle::new(Rules::default());
    let frame = v4().vlan(1).build();
    for length in 0..18 {
        assert_eq!(
            oracle.judge(&frame[..length], 1).reason,
            "ethernet_truncated"
        );
    }
    for length in 18..frame.len() {
        assert_eq!(oracle.judge(&frame[..length], 1).reason, "ipv4_truncated");
    }
    assert_eq!(oracle.judge(&frame, 1).reason, "accepted");
}

#[test]
fn the_transport_header_is_found_behind_extension_headers() {
    let mut oracle = Oracle::new(Rules::default());
    let mut packet = Packet::v6("2001:db8::7", "2001:db8:1::1").tcp(1, 2, Flags::NONE);
    for _ in 0..8 {
        packet = packet.extension(Extension::Destination(64));
        assert_eq!(reason(&mut oracle, &packet, 1), "tcp_flags");
    }
    packet = packet.extension(Extension::Destination(8));
    assert_eq!(reason(&mut oracle, &packet, 1), "ipv6_extensions_too_deep");
}

#[test]
fn lists_are_asked_in_order_and_only_while_they_last() {
    let mut oracle = Oracle::new(Rules {
        allow: vec![Listed::until(net("203.0.113.0/24"), 10)],
        block: vec![Listed::until(net("203.0.113.7/32"), 20)],
        ..Rules::default()
    });
    oracle.ban(
        net("203.0.113.7/32"),
        Banned {
            since_ns: 0,
            until_ns: 30,
            level: 0,
        },
    );
    let told = [9, 10, 19, 20, 29, 30].map(|now| reason(&mut oracle, &v4(), now));
    assert_eq!(
        told,
        [
            "allowlisted",
            "blocklisted",
            "blocklisted",
            "banned",
            "banned",
            "accepted"
        ]
    );
}

#[test]
fn a_burst_passes_at_once_and_then_one_for_each_interval() {
    let mut oracle = Oracle::new(Rules {
        limits: Limits {
            packets: Some(Rate::new(10, 3)),
            ..Limits::default()
        },
        ..Rules::default()
    });
    let start = 5 * SECOND;
    let passed = |oracle: &mut Oracle, now| {
        (0..10)
            .filter(|_| reason(oracle, &v4(), now) == "accepted")
            .count()
    };
    assert_eq!(passed(&mut oracle, start), 3);
    assert_eq!(passed(&mut oracle, start + SECOND / 10 - 1), 0);
    assert_eq!(passed(&mut oracle, start + SECOND / 10), 1);
    assert_eq!(passed(&mut oracle, start + SECOND), 3);
}

#[test]
fn strikes_become_bans_that_grow_and_are_forgotten() {
    let bans = Bans {
        strikes: 2,
        strike_interval_ns: SECOND,
        strike_decay_ns: 10 * SECOND,
        base_ns: 4 * SECOND,
        max_ns: 10 * SECOND,
        growth_shift: 1,
        level_decay_ns: 100 * SECOND,
    };
    let first = Banned::after(None, &bans, 0);
    assert_eq!((first.until_ns, first.level), (4 * SECOND, 0));
    let second = Banned::after(Some(first), &bans, 5 * SECOND);
    assert_eq!((second.until_ns, second.level), (13 * SECOND, 1));
    let third = Banned::after(Some(second), &bans, 20 * SECOND);
    assert_eq!(
        (third.until_ns, third.level),
        (30 * SECOND, 2),
        "the longest"
    );
    let later = Banned::after(Some(third), &bans, 230 * SECOND);
    assert_eq!(later.level, 1, "three up and two forgotten");

    let mut strikes = Strikes::default();
    assert!(!strikes.add(&bans, SECOND));
    assert!(
        !strikes.add(&bans, SECOND + SECOND / 2),
        "within the interval"
    );
    assert!(!strikes.add(&bans, 12 * SECOND), "one forgotten");
    assert!(strikes.add(&bans, 14 * SECOND));
    assert_eq!(strikes.count, 0);
}
