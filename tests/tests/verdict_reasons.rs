//! Every reason by name, modes, policies that can't be used, and interfaces.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use std::collections::BTreeSet;

use ipnet::IpNet;
use xdp_common::abi::{
    ABI_VERSION, CLASS_SOLICITED, Class as Service, FLAG_AGGREGATES, FLAG_CLASSES, Limit,
    MODE_ENFORCE, Plain, Policy, class_table,
};
use xdp_common::reason::{Action, Class, Reason};
use xdp_tests::kernel::{self, Kernel, LOOPBACK, UNNAMED_INTERFACE, counts, policy};
use xdp_tests::oracle::{Limits, Listed, Rate, Rules};
use xdp_tests::packet::{Extension, Flags, Packet, ether_type, protocol};
use xdp_tests::require_kernel;
use xdp_user::datapath::{ClassSet, Datapath as _};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn from(source: &str) -> Packet {
    if source.contains(':') {
        Packet::v6(source, "2001:db8:1::1").udp(1, 2)
    } else {
        Packet::v4(source, "198.51.100.1").udp(1, 2)
    }
}

/// A frame for each reason to drop, under [`all_reasons`].
fn offenders() -> Vec<(Reason, Vec<u8>)> {
    let v4 = || Packet::v4("203.0.113.7", "198.51.100.1");
    let v6 = || Packet::v6("2001:db8::7", "2001:db8:1::1");
    let bare = |number, bytes| v4().protocol(number).payload(vec![0; bytes]).build();
    let with = |mut frame: Vec<u8>, at: usize, byte: u8| {
        frame[at] = byte;
        frame
    };
    let nine = (0..9).fold(v6(), |p, _| p.extension(Extension::Destination(8)));
    vec![
        (
            Reason::EthernetTruncated,
            v4().vlan(1).build()[..17].to_vec(),
        ),
        (Reason::VlanTooDeep, v4().vlan(1).vlan(2).vlan(3).build()),
        (Reason::Ipv4Truncated, v4().build()[..33].to_vec()),
        (Reason::Ipv4Malformed, with(v4().build(), 14, 0x44)),
        (Reason::Ipv6Truncated, v6().build()[..53].to_vec()),
        (Reason::Ipv6Malformed, with(v6().build(), 14, 0x50)),
        (Reason::Ipv6ExtensionsTooDeep, nine.udp(1, 2).build()),
        (Reason::TcpTruncated, bare(protocol::TCP, 19)),
        (Reason::TcpMalformed, bare(protocol::TCP, 20)),
        (Reason::UdpTruncated, bare(17, 7)),
        (Reason::UdpMalformed, bare(17, 8)),
        (Reason::IcmpTruncated, bare(protocol::ICMP, 7)),
        (
            Reason::Icmpv6Truncated,
            v6().protocol(protocol::ICMPV6).payload([0; 7]).build(),
        ),
        (
            Reason::TinyFragment,
            v4().protocol(protocol::TCP)
                .payload([0; 16])
                .fragment(1, 0, true)
                .build(),
        ),
        (
            Reason::FragmentOverlap,
            v4().protocol(protocol::TCP)
                .payload([0; 16])
                .fragment(2, 8, true)
                .build(),
        ),
        (Reason::Blocklisted, from("203.0.113.32").build()),
        (Reason::Banned, from("203.0.113.33").build()),
        (Reason::TcpFlags, v4().tcp(1, 2, Flags::NONE).build()),
        (
            Reason::Land,
            Packet::v4("203.0.113.7", "203.0.113.7").udp(1, 2).build(),
        ),
        (Reason::MartianSource, from("127.0.0.1").build()),
        (Reason::RatePackets, from("203.0.113.37").build()),
        (Reason::RateBytes, from("203.0.113.38").build()),
        (
            Reason::RateTcpNew,
            Packet::v4("203.0.113.39", "198.51.100.1")
                .tcp(1, 2, Flags::SYN)
                .build(),
        ),
        (Reason::Unsolicited, v4().udp(40, 1).build()),
        (Reason::ClassBudget, v4().udp(1, 41).build()),
        (Reason::ClassPackets, v4().udp(1, 42).build()),
        (Reason::ClassBytes, v4().udp(1, 43).build()),
    ]
}

/// Reasons that one packet alone doesn't meet, or that every packet would meet: they have tests of
/// their own below.
const ELSEWHERE: [Reason; 6] = [
    // `verdict_retry` has these.
    Reason::FirstPacket,
    Reason::TooSoon,
    Reason::ReturningBudget,
    Reason::FragmentDropped,
    Reason::AggregatePackets,
    Reason::AggregateBytes,
];

/// Classes that allow nothing, by the ports of [`offenders`].
fn strict_classes() -> ClassSet {
    let nothing = Limit::counts(1, 0);
    let spent = Service {
        budget: nothing,
        attack_budget: nothing,
        ..Service::ZERO
    };
    let mut classes = ClassSet::default();
    for (place, class) in [
        (
            class_table::reflection(40),
            Service {
                flags: CLASS_SOLICITED,
                ..spent
            },
        ),
        (class_table::udp(41), spent),
        (
            class_table::udp(42),
            Service {
                packets: nothing,
                ..Service::ZERO
            },
        ),
        (
            class_table::udp(43),
            Service {
                bytes: Limit::bytes(1, 0),
                ..Service::ZERO
            },
        ),
    ] {
        let number = classes.add(class).unwrap();
        classes.assign(place, number);
    }
    classes
}

/// The policy of the rules, with the classes.
fn with_classes(rules: &Rules) -> Policy {
    let policy = policy(rules);
    Policy {
        flags: policy.flags | FLAG_CLASSES,
        ..policy
    }
}

/// Rules under which each of [`offenders`] meets its reason with its first packet.
fn all_reasons() -> Rules {
    let nothing = Some(Rate::new(1, 0));
    Rules {
        block: vec![Listed::forever(net("203.0.113.32/32"))],
        overrides: vec![
            (
                net("203.0.113.37/32"),
                Limits {
                    packets: nothing,
                    ..Limits::default()
                },
            ),
            (
                net("203.0.113.38/32"),
                Limits {
                    bytes: nothing,
                    ..Limits::default()
                },
            ),
            (
                net("203.0.113.39/32"),
                Limits {
                    tcp_new: nothing,
                    ..Limits::default()
                },
            ),
        ],
        ..Rules::default()
    }
}

fn loaded(rules: &Rules) -> Kernel {
    let mut kernel = Kernel::load().unwrap();
    kernel.apply(rules).unwrap();
    kernel.datapath().set_classes(&strict_classes()).unwrap();
    kernel.set_policy(&with_classes(rules)).unwrap();
    let now = kernel::boot_ns().unwrap();
    let ban = xdp_common::abi::Ban {
        since_ns: now,
        until_ns: now + 3_600_000_000_000,
        ..xdp_common::abi::Ban::ZERO
    };
    kernel.ban(net("203.0.113.33/32"), ban).unwrap();
    kernel
}

#[test]
fn every_reason_to_drop_drops_and_is_counted() {
    require_kernel!("every_reason_to_drop_drops_and_is_counted");
    let kernel = loaded(&all_reasons());
    let offenders = offenders();
    for reason in Reason::ALL.iter().filter(|r| r.class() == Class::Drop) {
        assert!(
            ELSEWHERE.contains(reason) || offenders.iter().any(|(r, _)| r == reason),
            "no frame for {reason:?}"
        );
    }
    for (reason, frame) in offenders {
        kernel.assert_drops(&frame, reason);
    }
}

#[test]
fn observe_drops_nothing() {
    require_kernel!("observe_drops_nothing");
    let kernel = loaded(&Rules {
        enforce: false,
        ..all_reasons()
    });
    for (reason, frame) in offenders() {
        kernel.assert_passes(&frame, reason);
    }
    assert_eq!(kernel.counters().unwrap().packets_with_outcome(true), 0);
    // What would have been dropped is counted for the source all the same.
    let source = kernel.source(net("203.0.113.37/32")).unwrap().unwrap();
    assert_eq!((source.packets, source.dropped_packets), (1, 1));
}

#[test]
fn an_observed_reason_passes_and_the_others_drop() {
    require_kernel!("an_observed_reason_passes_and_the_others_drop");
    let observed = BTreeSet::from([
        "blocklisted",
        "rate_bytes",
        "tcp_malformed",
        "martian_source",
    ]);
    let kernel = loaded(&Rules {
        observed: observed.clone(),
        ..all_reasons()
    });
    for (reason, frame) in offenders() {
        if observed.contains(reason.name()) {
            kernel.assert_passes(&frame, reason);
        } else {
            kernel.assert_drops(&frame, reason);
        }
    }
}

#[test]
fn a_mode_that_is_neither_drops_nothing() {
    require_kernel!("a_mode_that_is_neither_drops_nothing");
    for mode in [0, 3, u32::MAX] {
        let mut kernel = loaded(&all_reasons());
        kernel
            .set_policy(&Policy {
                mode,
                ..with_classes(&all_reasons())
            })
            .unwrap();
        for (reason, frame) in offenders() {
            kernel.assert_passes(&frame, reason);
        }
    }
}

#[test]
fn no_policy_passes_and_is_counted() {
    require_kernel!("no_policy_passes_and_is_counted");
    let kernel = Kernel::load().unwrap();
    for (_, frame) in offenders() {
        kernel.assert_passes(&frame, Reason::NoPolicy);
    }
    kernel.assert_passes(&Packet::other(ether_type::ARP).build(), Reason::NoPolicy);
}

#[test]
fn policy_version_mismatch_passes_and_is_counted() {
    require_kernel!("policy_version_mismatch_passes_and_is_counted");
    let mut kernel = loaded(&all_reasons());
    for version in [ABI_VERSION + 1, u32::MAX] {
        let other = Policy {
            version,
            mode: MODE_ENFORCE,
            ..with_classes(&all_reasons())
        };
        kernel.set_policy(&other).unwrap();
        for (_, frame) in offenders() {
            kernel.assert_passes(&frame, Reason::PolicyMismatch);
        }
    }
    kernel.set_policy(&policy(&all_reasons())).unwrap();
    kernel.assert_drops(&from("203.0.113.32").build(), Reason::Blocklisted);
}

#[test]
fn every_policy_slot_can_be_active() {
    require_kernel!("every_policy_slot_can_be_active");
    let mut kernel = loaded(&all_reasons());
    let frame = from("203.0.113.32").build();
    for round in 0..40 {
        let rules = Rules {
            enforce: round % 2 == 0,
            ..all_reasons()
        };
        kernel.set_policy(&policy(&rules)).unwrap();
        if rules.enforce {
            kernel.assert_drops(&frame, Reason::Blocklisted);
        } else {
            kernel.assert_passes(&frame, Reason::Blocklisted);
        }
    }
}

#[test]
fn interfaces_are_counted_apart() {
    require_kernel!("interfaces_are_counted_apart");
    let mut kernel = loaded(&all_reasons());
    let frame = from("203.0.113.32").build();
    for slot in [0u32, 1, 7, 14] {
        let mut named = policy(&all_reasons());
        // The others are interfaces that no frame of a test run comes from.
        named.interfaces = std::array::from_fn(|n| 1000 + n as u32);
        named.interfaces[slot as usize] = LOOPBACK;
        kernel.set_policy(&named).unwrap();
        let judged = kernel.judge(&frame).unwrap();
        assert_eq!(
            (judged.action, judged.reason()),
            (Action::Drop, Reason::Blocklisted)
        );
        assert_eq!(judged.slot.interface, slot);
    }
    // The last slot is for those without a name, also when a policy writes one there.
    let mut named = policy(&all_reasons());
    named.interfaces = [0; 16];
    kernel.set_policy(&named).unwrap();
    assert_eq!(
        kernel.judge(&frame).unwrap().slot.interface,
        UNNAMED_INTERFACE
    );
}

#[test]
fn networks_are_limited_as_a_whole() {
    require_kernel!("networks_are_limited_as_a_whole");
    let nothing = Limit::counts(1, 0);
    let three = counts(Rate::hourly(3));
    for (reason, packets, bytes) in [
        (Reason::AggregatePackets, nothing, Limit::OFF),
        (Reason::AggregateBytes, Limit::OFF, Limit::bytes(1, 0)),
        // A few of a network, whoever sends them.
        (Reason::AggregatePackets, three, Limit::OFF),
    ] {
        let mut kernel = Kernel::load().unwrap();
        let policy = policy(&Rules::default());
        kernel
            .set_policy(&Policy {
                flags: policy.flags | FLAG_AGGREGATES,
                aggregate_mask_v4: [255, 255, 255, 0],
                aggregate_mask_v6: [255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                aggregate_packets: packets,
                aggregate_bytes: bytes,
                ..policy
            })
            .unwrap();
        let room = if packets == three { 3 } else { 0 };
        for network in ["203.0.113", "2001:db8:7:"] {
            let of = |host: u32| {
                let dot = if network.contains(':') { "" } else { "." };
                let tail = if network.contains(':') { "::1" } else { "" };
                from(&format!("{network}{dot}{host}{tail}")).build()
            };
            for host in 1..=room {
                kernel.assert_passes(&of(host), Reason::Accepted);
            }
            kernel.assert_drops(&of(9), reason);
        }
    }
}

#[test]
fn later_fragments_follow_the_first_one() {
    require_kernel!("later_fragments_follow_the_first_one");
    let mut kernel = Kernel::load().unwrap();
    let nothing = Limit::counts(1, 0);
    let spent = Service {
        budget: nothing,
        attack_budget: nothing,
        ..Service::ZERO
    };
    let mut classes = ClassSet::default();
    for place in [class_table::FRAGMENT, class_table::udp(41)] {
        let number = classes.add(spent).unwrap();
        classes.assign(place, number);
    }
    kernel.datapath().set_classes(&classes).unwrap();
    kernel.set_policy(&with_classes(&Rules::default())).unwrap();
    for source in ["203.0.113.7", "2001:db8::7"] {
        let fragments = |port, id| {
            let packet = if source.contains(':') {
                Packet::v6(source, "2001:db8:1::1")
            } else {
                Packet::v4(source, "198.51.100.1")
            };
            packet
                .udp(1, port)
                .payload([0; 600])
                .build_fragments(id, 400)
        };
        let (passing, dropped, orphans) = (fragments(2, 1), fragments(41, 2), fragments(2, 3));
        kernel.assert_passes(&passing[0], Reason::Accepted);
        kernel.assert_passes(&passing[1], Reason::Accepted);
        kernel.assert_drops(&dropped[0], Reason::ClassBudget);
        kernel.assert_drops(&dropped[1], Reason::FragmentDropped);
        kernel.assert_drops(&orphans[1], Reason::ClassBudget);
    }
}
