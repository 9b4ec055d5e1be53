//! Transport headers at their shortest and one byte less, and what fragments hide.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use xdp_common::reason::Reason;
use xdp_tests::kernel::Kernel;
use xdp_tests::oracle::{Limits, Rate, Rules};
use xdp_tests::packet::{Extension, Flags, Packet, ether_type, protocol};
use xdp_tests::require_kernel;

fn kernel() -> Kernel {
    let mut kernel = Kernel::load().unwrap();
    kernel.apply(&Rules::default()).unwrap();
    kernel
}

fn v4() -> Packet {
    Packet::v4("203.0.113.7", "198.51.100.1")
}

fn v6() -> Packet {
    Packet::v6("2001:db8::7", "2001:db8:1::1")
}

/// Both families, with and without what may stand before a transport header.
fn networks() -> Vec<Packet> {
    vec![
        v4(),
        v4().options(&[1; 40]),
        v4().vlan(5),
        v6(),
        v6().extension(Extension::HopByHop(16)),
        v6().service_vlan(1)
            .vlan(2)
            .extension(Extension::Routing(0)),
    ]
}

/// A TCP header that says its length in words, with so many bytes of it there.
fn tcp(words: u8, bytes: usize) -> Vec<u8> {
    let mut header = vec![0; bytes.max(14)];
    header[12] = words << 4;
    header[13] = Flags::ACK.0;
    header.truncate(bytes);
    header
}

fn udp(stated: u16, bytes: usize) -> Vec<u8> {
    let mut header = vec![0; bytes.max(8)];
    header[4..6].copy_from_slice(&stated.to_be_bytes());
    header.truncate(bytes);
    header
}

#[test]
fn a_tcp_header_takes_20_bytes_and_as_many_as_it_says() {
    require_kernel!("a_tcp_header_takes_20_bytes_and_as_many_as_it_says");
    let kernel = kernel();
    for network in networks() {
        let packet = network.protocol(protocol::TCP);
        let frame = |words, bytes| packet.clone().payload(tcp(words, bytes)).build();
        for bytes in 0..20 {
            kernel.assert_drops(&frame(5, bytes), Reason::TcpTruncated);
        }
        for words in 0..5 {
            kernel.assert_drops(&frame(words, 40), Reason::TcpMalformed);
        }
        for words in 5..16 {
            let stated = usize::from(words) * 4;
            kernel.assert_passes(&frame(words, stated), Reason::Accepted);
            kernel.assert_drops(&frame(words, stated - 1), Reason::TcpTruncated);
        }
    }
}

#[test]
fn a_udp_header_takes_8_bytes_and_as_many_as_it_says() {
    require_kernel!("a_udp_header_takes_8_bytes_and_as_many_as_it_says");
    let kernel = kernel();
    for network in networks() {
        let packet = network.protocol(protocol::UDP);
        let frame = |stated, bytes| packet.clone().payload(udp(stated, bytes)).build();
        for bytes in 0..8 {
            kernel.assert_drops(&frame(8, bytes), Reason::UdpTruncated);
        }
        for stated in 1..8 {
            kernel.assert_drops(&frame(stated, 20), Reason::UdpMalformed);
        }
        kernel.assert_passes(&frame(8, 8), Reason::Accepted);
        kernel.assert_passes(&frame(8, 20), Reason::Accepted);
        kernel.assert_passes(&frame(20, 20), Reason::Accepted);
        kernel.assert_drops(&frame(21, 20), Reason::UdpTruncated);
        kernel.assert_drops(&frame(u16::MAX, 20), Reason::UdpTruncated);
    }
    let unstated = |packet: Packet| packet.protocol(protocol::UDP).payload(udp(0, 20)).build();
    kernel.assert_drops(&unstated(v4()), Reason::UdpMalformed);
    kernel.assert_passes(&unstated(v6()), Reason::Accepted);
}

#[test]
fn an_icmp_header_takes_8_bytes() {
    require_kernel!("an_icmp_header_takes_8_bytes");
    let kernel = kernel();
    for network in networks() {
        for (number, reason) in [
            (protocol::ICMP, Reason::IcmpTruncated),
            (protocol::ICMPV6, Reason::Icmpv6Truncated),
        ] {
            let packet = network.clone().protocol(number);
            for bytes in 0..8 {
                kernel.assert_drops(&packet.clone().payload(vec![8; bytes]).build(), reason);
            }
            kernel.assert_passes(&packet.payload([8; 8]).build(), Reason::Accepted);
        }
    }
}

#[test]
fn other_protocols_pass_by_number_whatever_they_carry() {
    require_kernel!("other_protocols_pass_by_number_whatever_they_carry");
    let kernel = kernel();
    for packet in [v4(), v6()] {
        kernel.assert_passes(
            &packet.clone().gre(ether_type::IPV4).build(),
            Reason::Accepted,
        );
        kernel.assert_passes(&packet.clone().esp(1, 1).build(), Reason::Accepted);
        kernel.assert_passes(&packet.clone().sctp(1, 2).build(), Reason::Accepted);
        kernel.assert_passes(
            &packet.protocol(protocol::EXPERIMENT).build(),
            Reason::Accepted,
        );
    }
}

#[test]
fn a_first_fragment_without_its_transport_header_is_tiny() {
    require_kernel!("a_first_fragment_without_its_transport_header_is_tiny");
    let kernel = kernel();
    for network in networks() {
        let first = network.fragment(9, 0, true);
        for (number, needed) in [
            (protocol::TCP, 20),
            (protocol::UDP, 8),
            (protocol::ICMP, 8),
            (protocol::ICMPV6, 8),
        ] {
            let packet = first.clone().protocol(number);
            for bytes in (0..needed).step_by(4) {
                let frame = packet.clone().payload(vec![0; bytes]).build();
                kernel.assert_drops(&frame, Reason::TinyFragment);
            }
        }
        // The rest of the options and of the payload may follow in the next fragment.
        let tcp = first.clone().protocol(protocol::TCP).payload(tcp(15, 24));
        kernel.assert_passes(&tcp.build(), Reason::Accepted);
        let udp = first.protocol(protocol::UDP).payload(udp(3000, 1400));
        kernel.assert_passes(&udp.build(), Reason::Accepted);
    }
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    require_kernel!("an_atomic_fragment_is_a_whole_packet");
    let kernel = kernel();
    let atomic = v6().fragment(9, 0, false);
    let short = atomic.clone().protocol(protocol::TCP).payload(tcp(5, 19));
    kernel.assert_drops(&short.build(), Reason::TcpTruncated);
    kernel.assert_drops(&atomic.tcp(1, 2, Flags::NONE).build(), Reason::TcpFlags);
}

/// A later fragment's payload that looks like a TCP header with flags nobody sends, or like the
/// start of a connection, is neither: nothing of it is read.
#[test]
fn a_later_fragments_payload_is_never_read_as_ports() {
    require_kernel!("a_later_fragments_payload_is_never_read_as_ports");
    let mut kernel = Kernel::load().unwrap();
    kernel
        .apply(&Rules {
            limits: Limits {
                tcp_new: Some(Rate::hourly(1)),
                ..Limits::default()
            },
            ..Rules::default()
        })
        .unwrap();
    for (offset, more) in [(24, true), (24, false), (1480, true), (65_528, false)] {
        for network in networks() {
            let later = network.fragment(9, offset, more);
            let tcp = later.clone().protocol(protocol::TCP);
            let looks_impossible = tcp.clone().payload([0; 64]);
            kernel.assert_passes(&looks_impossible.build(), Reason::Accepted);
            kernel.assert_passes(&tcp.payload([]).build(), Reason::Accepted);
            let looks_like_syn = later.clone().tcp(1, 2, Flags::SYN).build();
            for _ in 0..3 {
                kernel.assert_passes(&looks_like_syn, Reason::Accepted);
            }
            let udp = later.protocol(protocol::UDP).payload([0; 3]);
            kernel.assert_passes(&udp.build(), Reason::Accepted);
        }
    }
}

/// RFC 3128: what would change the flags that were judged.
#[test]
fn a_later_fragment_over_a_tcp_header_is_dropped() {
    require_kernel!("a_later_fragment_over_a_tcp_header_is_dropped");
    let kernel = kernel();
    for offset in [8, 16] {
        for network in networks() {
            let later = network.fragment(9, offset, false).payload([0; 32]);
            let tcp = later.clone().protocol(protocol::TCP).build();
            kernel.assert_drops(&tcp, Reason::FragmentOverlap);
            let udp = later.protocol(protocol::UDP).build();
            kernel.assert_passes(&udp, Reason::Accepted);
        }
    }
}

#[test]
fn extension_headers_behind_a_later_fragments_header_are_payload() {
    require_kernel!("extension_headers_behind_a_later_fragments_header_are_payload");
    let kernel = kernel();
    let frame = v6()
        .fragment(9, 1480, false)
        .protocol(protocol::DESTINATION)
        .payload([0xff; 4])
        .build();
    kernel.assert_passes(&frame, Reason::Accepted);
}
