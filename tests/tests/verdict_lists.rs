//! Allowlist, blocklist and bans, and who wins.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use ipnet::IpNet;
use xdp_common::abi::{Ban, Plain};
use xdp_common::lists::END_SHIFT;
use xdp_common::reason::Reason;
use xdp_tests::kernel::{self, Kernel, Sizes, ban_from};
use xdp_tests::oracle::{Banned, Limits, Listed, Rate, Rules};
use xdp_tests::packet::{Extension, Flags, Packet, Transport, ether_type, protocol};
use xdp_tests::require_kernel;

const HOUR_NS: u64 = 3_600_000_000_000;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn v4() -> Packet {
    Packet::v4("203.0.113.7", "198.51.100.1")
}

fn v6() -> Packet {
    Packet::v6("2001:db8::7", "2001:db8:1::1")
}

/// Every protocol that the program knows and some that it doesn't.
fn transports() -> Vec<Transport> {
    vec![
        Transport::Tcp {
            source: 1,
            destination: 443,
            flags: Flags::SYN,
        },
        Transport::Udp {
            source: 1,
            destination: 53,
        },
        Transport::Icmp { kind: 8, code: 0 },
        Transport::Gre(ether_type::IPV4),
        Transport::Esp {
            index: 1,
            sequence: 1,
        },
        Transport::Sctp {
            source: 1,
            destination: 2,
        },
        Transport::Protocol(protocol::EXPERIMENT),
    ]
}

fn current(level: u32) -> Ban {
    let now = kernel::boot_ns().unwrap();
    ban_from(&Banned {
        since_ns: now,
        until_ns: now + HOUR_NS,
        level,
    })
}

#[test]
fn blocked_sources_gre_esp_and_sctp_are_dropped() {
    require_kernel!("blocked_sources_gre_esp_and_sctp_are_dropped");
    let mut kernel = Kernel::load().unwrap();
    kernel
        .apply(&Rules {
            block: vec![
                Listed::forever(net("203.0.113.0/24")),
                Listed::forever(net("2001:db8::/64")),
            ],
            ..Rules::default()
        })
        .unwrap();
    for transport in transports() {
        for packet in [
            v4(),
            v6(),
            v4().vlan(1),
            v6().extension(Extension::HopByHop(8)),
        ] {
            let packet = packet.transport(transport.clone());
            kernel.assert_drops(&packet.build(), Reason::Blocklisted);
        }
        let other = Packet::v4("203.0.114.7", "198.51.100.1").transport(transport.clone());
        kernel.assert_passes(&other.build(), Reason::Accepted);
        let other = Packet::v6("2001:db8:0:1::7", "2001:db8:1::1").transport(transport);
        kernel.assert_passes(&other.build(), Reason::Accepted);
    }
    let later = v4()
        .fragment(1, 1480, false)
        .protocol(protocol::GRE)
        .payload([1; 9]);
    kernel.assert_drops(&later.build(), Reason::Blocklisted);
    let entry = kernel.block_entry(net("203.0.113.0/24")).unwrap();
    let bytes: usize = transports()
        .into_iter()
        .map(|t| v4().transport(t.clone()).build().len() + v4().vlan(1).transport(t).build().len())
        .sum();
    assert_eq!(entry.packets, 2 * 7 + 1);
    assert_eq!(entry.bytes, (bytes + later.build().len()) as u64);
}

#[test]
fn icmpv6_goes_through_every_stage() {
    require_kernel!("icmpv6_goes_through_every_stage");
    let mut kernel = Kernel::load().unwrap();
    let echo = |source: &str| Packet::v6(source, "2001:db8:1::1").icmp(128, 0).build();
    kernel
        .apply(&Rules {
            allow: vec![Listed::forever(net("2001:db8:a::/64"))],
            block: vec![Listed::forever(net("2001:db8:b::/64"))],
            limits: Limits {
                packets: Some(Rate::hourly(2)),
                ..Limits::default()
            },
            ..Rules::default()
        })
        .unwrap();
    kernel.ban(net("2001:db8:c::/64"), current(0)).unwrap();

    let cut = Packet::v6("2001:db8:d::1", "2001:db8:1::1").protocol(protocol::ICMPV6);
    kernel.assert_drops(&cut.payload([128; 7]).build(), Reason::Icmpv6Truncated);
    kernel.assert_passes(&echo("2001:db8:a::1"), Reason::Allowlisted);
    kernel.assert_drops(&echo("2001:db8:b::1"), Reason::Blocklisted);
    kernel.assert_drops(&echo("2001:db8:c::1"), Reason::Banned);
    kernel.assert_drops(&echo("2001:db8:1::1"), Reason::Land);
    kernel.assert_drops(&echo("ff02::1"), Reason::MartianSource);
    kernel.assert_passes(&echo("2001:db8:d::1"), Reason::Accepted);
    kernel.assert_passes(&echo("2001:db8:d::2"), Reason::Accepted);
    kernel.assert_drops(&echo("2001:db8:d::1"), Reason::RatePackets);
    let source = kernel.source(net("2001:db8:d::/64")).unwrap().unwrap();
    assert_eq!((source.packets, source.dropped_packets), (3, 1));
}

#[test]
fn allowlisted_source_passes_even_when_blocklisted() {
    require_kernel!("allowlisted_source_passes_even_when_blocklisted");
    for (packet, source) in [(v4(), "203.0.113.7/32"), (v6(), "2001:db8::/64")] {
        let mut kernel = Kernel::load().unwrap();
        kernel
            .apply(&Rules {
                allow: vec![Listed::forever(net(source))],
                block: vec![Listed::forever(net(source))],
                limits: Limits {
                    packets: Some(Rate::new(1, 0)),
                    bytes: Some(Rate::new(1, 0)),
                    tcp_new: Some(Rate::new(1, 0)),
                },
                ..Rules::default()
            })
            .unwrap();
        kernel.ban(net(source), current(5)).unwrap();
        let impossible = Flags::SYN | Flags::FIN | Flags::RST;
        for flags in [Flags::SYN, Flags::ACK, Flags::NONE, impossible] {
            let frame = packet.clone().tcp(1, 2, flags).build();
            for _ in 0..3 {
                kernel.assert_passes(&frame, Reason::Allowlisted);
            }
        }
        assert_eq!(kernel.allow_entry(net(source)).unwrap().packets, 12);
        assert_eq!(kernel.block_entry(net(source)).unwrap().packets, 0);
        assert_eq!(kernel.ban_of(net(source)).unwrap().unwrap().packets, 0);
        assert_eq!(
            kernel.source(net(source)).unwrap(),
            None,
            "no limit looked at it"
        );
        // What can't be read has no source to be allowed.
        let cut = packet.protocol(protocol::TCP).payload([0; 19]).build();
        kernel.assert_drops(&cut, Reason::TcpTruncated);
    }
}

#[test]
fn an_entry_matches_until_it_expires() {
    require_kernel!("an_entry_matches_until_it_expires");
    let mut kernel = Kernel::load().unwrap();
    let now = kernel::boot_ns().unwrap();
    // Over for a unit of the table: an entry may act for as much longer.
    let over = now - (1 << END_SHIFT);
    kernel
        .apply(&Rules {
            allow: vec![
                Listed::until(net("203.0.113.1/32"), over),
                Listed::until(net("203.0.113.2/32"), now + HOUR_NS),
            ],
            block: vec![
                Listed::forever(net("203.0.113.1/32")),
                Listed::forever(net("203.0.113.2/32")),
                Listed::until(net("203.0.113.3/32"), over),
                Listed::until(net("203.0.113.4/32"), now + HOUR_NS),
                Listed::until(net("2001:db8::1/128"), 1),
            ],
            ..Rules::default()
        })
        .unwrap();
    let from = |source: &str| Packet::v4(source, "198.51.100.1").udp(1, 2).build();
    kernel.assert_drops(&from("203.0.113.1"), Reason::Blocklisted);
    kernel.assert_passes(&from("203.0.113.2"), Reason::Allowlisted);
    kernel.assert_passes(&from("203.0.113.3"), Reason::Accepted);
    kernel.assert_drops(&from("203.0.113.4"), Reason::Blocklisted);
    let v6 = Packet::v6("2001:db8::1", "2001:db8:1::1").udp(1, 2);
    kernel.assert_passes(&v6.build(), Reason::Accepted);
    assert_eq!(
        kernel.block_entry(net("203.0.113.3/32")).unwrap().packets,
        0
    );
}

#[test]
fn a_prefix_covers_its_first_and_last_address_and_no_other() {
    require_kernel!("a_prefix_covers_its_first_and_last_address_and_no_other");
    let mut kernel = Kernel::load().unwrap();
    let v4 = ["192.0.2.128/25", "198.18.0.0/15", "100.64.1.1/32"];
    let v6 = [
        "2001:db8:8000::/33",
        "2001:db8:1:2::/64",
        "2001:db8:2::5/128",
    ];
    let block = v4
        .iter()
        .chain(&v6)
        .map(|text| Listed::forever(net(text)))
        .collect();
    kernel
        .apply(&Rules {
            block,
            ..Rules::default()
        })
        .unwrap();
    for (first, last) in [
        ("192.0.2.128", "192.0.2.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("100.64.1.1", "100.64.1.1"),
    ] {
        let from = |a: u32| {
            Packet::v4(std::net::Ipv4Addr::from(a), "198.51.100.1")
                .udp(1, 2)
                .build()
        };
        let value = |text: &str| u32::from(text.parse::<std::net::Ipv4Addr>().unwrap());
        kernel.assert_drops(&from(value(first)), Reason::Blocklisted);
        kernel.assert_drops(&from(value(last)), Reason::Blocklisted);
        kernel.assert_passes(&from(value(first) - 1), Reason::Accepted);
        kernel.assert_passes(&from(value(last) + 1), Reason::Accepted);
    }
    for (first, last) in [
        ("2001:db8:8000::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:db8:1:2::", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
        ("2001:db8:2::5", "2001:db8:2::5"),
    ] {
        let from = |a: u128| {
            Packet::v6(std::net::Ipv6Addr::from(a), "2001:db8:1::1")
                .udp(1, 2)
                .build()
        };
        let value = |text: &str| u128::from(text.parse::<std::net::Ipv6Addr>().unwrap());
        kernel.assert_drops(&from(value(first)), Reason::Blocklisted);
        kernel.assert_drops(&from(value(last)), Reason::Blocklisted);
        kernel.assert_passes(&from(value(first) - 1), Reason::Accepted);
        kernel.assert_passes(&from(value(last) + 1), Reason::Accepted);
    }
}

#[test]
fn a_ban_holds_for_every_protocol_until_it_ends() {
    require_kernel!("a_ban_holds_for_every_protocol_until_it_ends");
    let mut kernel = Kernel::load().unwrap();
    kernel.apply(&Rules::default()).unwrap();
    kernel.ban(net("203.0.113.7/32"), current(0)).unwrap();
    kernel.ban(net("2001:db8::/64"), current(0)).unwrap();
    let ended = Ban {
        until_ns: kernel::boot_ns().unwrap(),
        ..Ban::ZERO
    };
    kernel.ban(net("203.0.113.8/32"), ended).unwrap();
    let mut bytes = 0;
    for transport in transports() {
        let frame = v4().transport(transport.clone()).build();
        bytes += frame.len() as u64;
        kernel.assert_drops(&frame, Reason::Banned);
        kernel.assert_drops(&v6().transport(transport.clone()).build(), Reason::Banned);
        let ended = Packet::v4("203.0.113.8", "198.51.100.1").transport(transport);
        kernel.assert_passes(&ended.build(), Reason::Accepted);
    }
    let ban = kernel.ban_of(net("203.0.113.7/32")).unwrap().unwrap();
    assert_eq!((ban.packets, ban.bytes), (7, bytes));
}

#[test]
fn a_ban_is_not_lost_because_other_sources_arrive() {
    require_kernel!("a_ban_is_not_lost_because_other_sources_arrive");
    let mut kernel = Kernel::load_with(&Sizes::default().sources(256).bans(256)).unwrap();
    kernel
        .apply(&Rules {
            limits: Limits {
                packets: Some(Rate::new(1, 1)),
                ..Limits::default()
            },
            ..Rules::default()
        })
        .unwrap();
    kernel.ban(net("203.0.113.7/32"), current(0)).unwrap();
    let banned = v4().udp(1, 2).build();
    kernel.assert_drops(&banned, Reason::Banned);
    for source in 0..20_000u32 {
        let [_, a, b, c] = source.to_be_bytes();
        let frame = Packet::v4(std::net::Ipv4Addr::new(10, a, b, c), "198.51.100.1").udp(1, 2);
        kernel.run(&frame.build()).unwrap();
    }
    kernel.assert_drops(&banned, Reason::Banned);
    assert_eq!(
        kernel
            .ban_of(net("203.0.113.7/32"))
            .unwrap()
            .unwrap()
            .packets,
        2
    );
}
