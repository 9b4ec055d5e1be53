//! Sources and sanity in the running kernel.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use xdp_common::abi::Fault;
use xdp_common::reason::Reason;
use xdp_tests::kernel::Kernel;
use xdp_tests::oracle::{Limits, Rate, Rules};
use xdp_tests::packet::{Extension, Flags, Packet};
use xdp_tests::require_kernel;

fn from(source: &str) -> Packet {
    if source.contains(':') {
        Packet::v6(source, "2001:db8:1::1").udp(1, 2)
    } else {
        Packet::v4(source, "198.51.100.1").udp(1, 2)
    }
}

fn loaded(rules: &Rules) -> Kernel {
    let mut kernel = Kernel::load().unwrap();
    kernel.apply(rules).unwrap();
    kernel
}

/// A new source always takes the place of an old one, unless its bucket changes all the time.
#[test]
fn a_source_whose_bucket_is_held_passes_and_is_counted() {
    require_kernel!("a_source_whose_bucket_is_held_passes_and_is_counted");
    let mut kernel = Kernel::load().unwrap();
    let limits = Limits {
        packets: Some(Rate::hourly(1)),
        ..Limits::default()
    };
    kernel
        .apply(&Rules {
            limits,
            ..Rules::default()
        })
        .unwrap();
    kernel.assert_passes(&from("203.0.113.1").build(), Reason::Accepted);
    kernel.assert_drops(&from("203.0.113.1").build(), Reason::RatePackets);
    kernel.datapath().hold_sources();
    kernel.assert_drops(&from("203.0.113.1").build(), Reason::RatePackets);
    for number in 1..=3 {
        kernel.assert_passes(&from("203.0.113.2").build(), Reason::SourceUntracked);
        assert_eq!(kernel.faults(Fault::SourceTableFull).unwrap(), number);
    }
    kernel.datapath().hold_sources();
    kernel.assert_passes(&from("203.0.113.2").build(), Reason::Accepted);
}

#[test]
fn ipv6_sources_count_by_64_and_configurable() {
    require_kernel!("ipv6_sources_count_by_64_and_configurable");
    let limits = Limits {
        packets: Some(Rate::hourly(1)),
        ..Limits::default()
    };
    // Of two addresses that differ first in bit 64 (counted from 1), then in bit 65.
    let in_64 = ["2001:db8:0:2::1", "2001:db8:0:2:8000::1", "2001:db8:0:3::1"];
    for (bits, third_shares) in [(64, false), (63, true)] {
        let kernel = loaded(&Rules {
            source_bits_v6: bits,
            limits,
            ..Rules::default()
        });
        kernel.assert_passes(&from(in_64[0]).build(), Reason::Accepted);
        kernel.assert_drops(&from(in_64[1]).build(), Reason::RatePackets);
        if third_shares {
            kernel.assert_drops(&from(in_64[2]).build(), Reason::RatePackets);
        } else {
            kernel.assert_passes(&from(in_64[2]).build(), Reason::Accepted);
        }
    }
    let kernel = loaded(&Rules {
        source_bits_v6: 128,
        limits,
        ..Rules::default()
    });
    kernel.assert_passes(&from("2001:db8::1").build(), Reason::Accepted);
    kernel.assert_passes(&from("2001:db8::2").build(), Reason::Accepted);
    kernel.assert_drops(&from("2001:db8::1").build(), Reason::RatePackets);
}

#[test]
fn ipv4_sources_count_by_32_and_configurable() {
    require_kernel!("ipv4_sources_count_by_32_and_configurable");
    let limits = Limits {
        packets: Some(Rate::hourly(1)),
        ..Limits::default()
    };
    for (bits, shared) in [(32, false), (24, true), (8, true)] {
        let kernel = loaded(&Rules {
            source_bits_v4: bits,
            limits,
            ..Rules::default()
        });
        kernel.assert_passes(&from("203.0.113.7").build(), Reason::Accepted);
        kernel.assert_drops(&from("203.0.113.7").build(), Reason::RatePackets);
        let neighbour = from("203.0.113.8").build();
        if shared {
            kernel.assert_drops(&neighbour, Reason::RatePackets);
        } else {
            kernel.assert_passes(&neighbour, Reason::Accepted);
        }
        kernel.assert_passes(&from("204.0.113.7").build(), Reason::Accepted);
    }
}

/// RFC 9293: of the four flags that control a connection, which sets are never sent.
#[test]
fn every_set_of_tcp_flags() {
    require_kernel!("every_set_of_tcp_flags");
    let kernel = loaded(&Rules::default());
    for flags in 0..=255u8 {
        let has = |flag: Flags| flags & flag.0 != 0;
        let impossible =
            !(has(Flags::FIN) || has(Flags::SYN) || has(Flags::RST) || has(Flags::ACK))
                || has(Flags::SYN) && (has(Flags::FIN) || has(Flags::RST))
                || has(Flags::FIN) && !has(Flags::ACK) && !has(Flags::RST);
        let frame = Packet::v4("203.0.113.7", "198.51.100.1")
            .tcp(1, 2, Flags(flags))
            .build();
        if impossible {
            kernel.assert_drops(&frame, Reason::TcpFlags);
        } else {
            kernel.assert_passes(&frame, Reason::Accepted);
        }
    }
}

#[test]
fn addresses_that_cannot_be_a_source_and_their_neighbours() {
    require_kernel!("addresses_that_cannot_be_a_source_and_their_neighbours");
    let kernel = loaded(&Rules::default());
    for source in [
        "0.0.0.0",
        "0.0.0.1",
        "0.255.255.255",
        "127.0.0.0",
        "127.255.255.255",
        "224.0.0.0",
        "239.255.255.255",
        "255.255.255.255",
        "::",
        "::1",
        "ff00::",
        "ffff::1",
        "::ffff:192.0.2.1",
    ] {
        kernel.assert_drops(&from(source).build(), Reason::MartianSource);
    }
    for source in [
        "1.0.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "223.255.255.255",
        "10.0.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "255.255.255.254",
        "::2",
        "fe80::1",
        "fd00::1",
        "fec0::1",
        "64:ff9b::192.0.2.1",
    ] {
        kernel.assert_passes(&from(source).build(), Reason::Accepted);
    }
}

#[test]
fn a_host_without_an_address_may_ask_for_one() {
    require_kernel!("a_host_without_an_address_may_ask_for_one");
    let kernel = loaded(&Rules::default());
    let v4 = || Packet::v4("0.0.0.0", "255.255.255.255");
    kernel.assert_passes(&v4().udp(68, 67).build(), Reason::Accepted);
    kernel.assert_drops(&v4().udp(67, 68).build(), Reason::MartianSource);
    kernel.assert_passes(&v4().protocol(2).payload([0; 8]).build(), Reason::Accepted);
    kernel.assert_drops(&v4().icmp(8, 0).build(), Reason::MartianSource);
    let v6 = || Packet::v6("::", "ff02::1:ff00:1");
    kernel.assert_passes(&v6().icmp(135, 0).build(), Reason::Accepted);
    let report = v6().extension(Extension::HopByHop(8)).icmp(143, 0);
    kernel.assert_passes(&report.build(), Reason::Accepted);
    kernel.assert_drops(&v6().udp(546, 547).build(), Reason::MartianSource);
}

#[test]
fn a_host_may_talk_to_itself_over_its_loopback_device() {
    require_kernel!("a_host_may_talk_to_itself_over_its_loopback_device");
    let kernel = loaded(&Rules::default());
    let own = |address: &str| {
        Packet::v4(address, address)
            .tcp(40000, 80, Flags::SYN)
            .build()
    };
    let over_loopback = |mut frame: Vec<u8>| {
        frame[..12].fill(0);
        frame
    };
    for address in ["127.0.0.1", "198.51.100.1"] {
        kernel.assert_passes(&over_loopback(own(address)), Reason::Accepted);
        kernel.assert_drops(&own(address), Reason::Land);
    }
    let mut one_byte_is_not_enough = over_loopback(own("127.0.0.1"));
    one_byte_is_not_enough[11] = 1;
    kernel.assert_drops(&one_byte_is_not_enough, Reason::Land);
}

#[test]
fn checks_that_are_off_find_nothing() {
    require_kernel!("checks_that_are_off_find_nothing");
    let frames = [
        Packet::v4("203.0.113.7", "198.51.100.1")
            .tcp(1, 2, Flags::NONE)
            .build(),
        Packet::v4("203.0.113.7", "203.0.113.7").udp(1, 2).build(),
        from("127.0.0.1").build(),
    ];
    let reasons = [Reason::TcpFlags, Reason::Land, Reason::MartianSource];
    for on in 0..3 {
        let kernel = loaded(&Rules {
            check_tcp_flags: on == 0,
            check_land: on == 1,
            check_martians: on == 2,
            ..Rules::default()
        });
        for (number, frame) in frames.iter().enumerate() {
            if number == on {
                kernel.assert_drops(frame, reasons[number]);
            } else {
                kernel.assert_passes(frame, Reason::Accepted);
            }
        }
    }
}
