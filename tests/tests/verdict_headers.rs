//! Every length and shape of a header that the program reads, in the running kernel.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use xdp_common::abi::{NotIpKind, OTHER_ETHER_TYPES};
use xdp_common::reason::{Action, Reason};
use xdp_tests::kernel::{Kernel, MIN_FRAME};
use xdp_tests::oracle::Rules;
use xdp_tests::packet::{Extension, Flags, Packet, ether_type, protocol};
use xdp_tests::require_kernel;
use xdp_user::datapath::Datapath as _;

const ETHERNET: usize = 14;
const TAG: usize = 4;

/// Rules without limits and lists: what parses passes, but for impossible TCP flags, which show
/// that the flags were found.
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

/// Flags that the sanity stage drops, wherever the TCP header is found.
fn no_flags(packet: Packet) -> Packet {
    packet.tcp(1234, 443, Flags::NONE)
}

fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn a_frame_that_ends_inside_its_vlan_tags_is_ethernet_truncated() {
    require_kernel!("a_frame_that_ends_inside_its_vlan_tags_is_ethernet_truncated");
    let kernel = kernel();
    for tags in 1..=2 {
        for service in [false, true] {
            let mut packet = v4().udp(1, 2);
            for _ in 0..tags {
                packet = if service {
                    packet.service_vlan(7)
                } else {
                    packet.vlan(7)
                };
            }
            let frame = packet.build();
            let headers = ETHERNET + tags * TAG;
            for length in MIN_FRAME..headers {
                kernel.assert_drops(&frame[..length], Reason::EthernetTruncated);
            }
            kernel.assert_drops(&frame[..headers], Reason::Ipv4Truncated);
        }
    }
}

#[test]
fn vlan_tagged_packets_are_filtered() {
    require_kernel!("vlan_tagged_packets_are_filtered");
    let kernel = kernel();
    type Tag = fn(Packet) -> Packet;
    let customer: Tag = |packet| packet.vlan(4095);
    let service: Tag = |packet| packet.service_vlan(1);
    for network in [v4, v6] {
        for first in [customer, service] {
            kernel.assert_drops(&first(no_flags(network())).build(), Reason::TcpFlags);
            kernel.assert_passes(&first(network().udp(1, 2)).build(), Reason::Accepted);
            for second in [customer, service] {
                let double = second(first(no_flags(network())));
                kernel.assert_drops(&double.build(), Reason::TcpFlags);
                kernel.assert_passes(
                    &second(first(network().udp(1, 2))).build(),
                    Reason::Accepted,
                );
                for third in [customer, service] {
                    kernel.assert_drops(&third(double.clone()).build(), Reason::VlanTooDeep);
                }
            }
        }
    }
}

#[test]
fn what_is_not_ip_passes_and_is_counted() {
    require_kernel!("what_is_not_ip_passes_and_is_counted");
    let kernel = kernel();
    // ARP, LLDP, MPLS, loopback protocol, and a length as 802.3 frames have it.
    for kind in [ether_type::ARP, 0x88cc, 0x8847, 0x9000, 0x0026] {
        let packet = Packet::other(kind).payload([0; 46]);
        kernel.assert_passes(&packet.build(), Reason::NotIp);
        kernel.assert_passes(&packet.clone().vlan(1).build(), Reason::NotIp);
        kernel.assert_passes(&packet.service_vlan(1).vlan(2).build(), Reason::NotIp);
    }
    kernel.assert_passes(&Packet::other(ether_type::ARP).build(), Reason::NotIp);
}

#[test]
fn an_ipv4_packet_is_cut_at_every_length() {
    require_kernel!("an_ipv4_packet_is_cut_at_every_length");
    let kernel = kernel();
    let frame = v4().tcp(1, 2, Flags::ACK).payload([0; 8]).build();
    for length in MIN_FRAME..frame.len() {
        kernel.assert_drops(&frame[..length], Reason::Ipv4Truncated);
    }
    kernel.assert_passes(&frame, Reason::Accepted);
    // Ethernet pads short frames: what follows the packet is not read.
    for padding in 1..=46 {
        let padded = [frame.as_slice(), &vec![0xff; padding]].concat();
        kernel.assert_passes(&padded, Reason::Accepted);
    }
}

#[test]
fn an_ipv4_header_that_contradicts_itself_is_malformed() {
    require_kernel!("an_ipv4_header_that_contradicts_itself_is_malformed");
    let kernel = kernel();
    let frame = v4().payload([0; 64]).build();
    for version in (0..16u8).filter(|version| *version != 4) {
        let frame = with(frame.clone(), ETHERNET, &[version << 4 | 5]);
        kernel.assert_drops(&frame, Reason::Ipv4Malformed);
    }
    for words in 0..5u8 {
        let frame = with(frame.clone(), ETHERNET, &[0x40 | words]);
        kernel.assert_drops(&frame, Reason::Ipv4Malformed);
    }
    for words in 5..16u16 {
        let header = words * 4;
        let cut = |total: u16| {
            let frame = with(frame.clone(), ETHERNET, &[0x40 | words as u8]);
            with(frame, ETHERNET + 2, &total.to_be_bytes())
        };
        // Zero stands for the length of the frame, as segmentation offload leaves it.
        kernel.assert_passes(&cut(0), Reason::Accepted);
        kernel.assert_drops(&cut(header - 1), Reason::Ipv4Malformed);
        kernel.assert_passes(&cut(header), Reason::Accepted);
        kernel.assert_passes(&cut(84), Reason::Accepted);
        kernel.assert_drops(&cut(85), Reason::Ipv4Truncated);
        kernel.assert_drops(&cut(u16::MAX), Reason::Ipv4Truncated);
    }
}

#[test]
fn the_transport_header_is_found_behind_every_length_of_ipv4_options() {
    require_kernel!("the_transport_header_is_found_behind_every_length_of_ipv4_options");
    let kernel = kernel();
    for length in (0..=40).step_by(4) {
        let packet = v4().options(&vec![1; length]);
        kernel.assert_drops(&no_flags(packet.clone()).build(), Reason::TcpFlags);
        kernel.assert_passes(&packet.tcp(1, 2, Flags::SYN).build(), Reason::Accepted);
    }
}

#[test]
fn an_ipv6_packet_is_cut_at_every_length() {
    require_kernel!("an_ipv6_packet_is_cut_at_every_length");
    let kernel = kernel();
    let frame = v6()
        .extension(Extension::HopByHop(8))
        .tcp(1, 2, Flags::ACK)
        .payload([0; 8])
        .build();
    for length in MIN_FRAME..frame.len() {
        kernel.assert_drops(&frame[..length], Reason::Ipv6Truncated);
    }
    kernel.assert_passes(&frame, Reason::Accepted);
    let padded = [frame.as_slice(), &[0xff; 20]].concat();
    kernel.assert_passes(&padded, Reason::Accepted);
}

#[test]
fn an_ipv6_header_of_another_version_is_malformed() {
    require_kernel!("an_ipv6_header_of_another_version_is_malformed");
    let kernel = kernel();
    let frame = v6().udp(1, 2).build();
    for version in (0..16u8).filter(|version| *version != 6) {
        let frame = with(frame.clone(), ETHERNET, &[version << 4]);
        kernel.assert_drops(&frame, Reason::Ipv6Malformed);
    }
}

#[test]
fn an_ipv6_length_of_zero_stands_for_the_length_of_the_frame() {
    require_kernel!("an_ipv6_length_of_zero_stands_for_the_length_of_the_frame");
    let kernel = kernel();
    let zero = |frame| with(frame, ETHERNET + 4, &[0, 0]);
    for packet in [
        v6(),
        v6().extension(Extension::HopByHop(8)),
        v6().extension(Extension::Destination(8)),
    ] {
        kernel.assert_drops(&zero(no_flags(packet.clone()).build()), Reason::TcpFlags);
        kernel.assert_passes(&zero(packet.clone().udp(1, 2).build()), Reason::Accepted);
        // As segmentation offload hands it over.
        let large = packet.tcp(1, 2, Flags::ACK).padded_to(9014).build();
        kernel.assert_passes(&zero(large), Reason::Accepted);
    }
    let cut = zero(no_flags(v6()).build());
    kernel.assert_drops(&cut[..cut.len() - 1], Reason::TcpTruncated);
    // Nothing at all is a packet too.
    kernel.assert_passes(&v6().protocol(protocol::NO_NEXT).build(), Reason::Accepted);
}

#[test]
fn eight_extension_headers_are_walked_and_a_ninth_is_too_deep() {
    require_kernel!("eight_extension_headers_are_walked_and_a_ninth_is_too_deep");
    let kernel = kernel();
    for kind in [
        Extension::HopByHop(8),
        Extension::Destination(8),
        Extension::Destination(64),
        Extension::Routing(0),
        Extension::Authentication(1),
    ] {
        let mut packet = no_flags(v6());
        for _ in 0..8 {
            packet = packet.extension(kind.clone());
            kernel.assert_drops(&packet.build(), Reason::TcpFlags);
        }
        packet = packet.extension(kind);
        kernel.assert_drops(&packet.build(), Reason::Ipv6ExtensionsTooDeep);
    }
}

#[test]
fn mobility_hip_and_shim6_headers_are_walked_too() {
    require_kernel!("mobility_hip_and_shim6_headers_are_walked_too");
    let kernel = kernel();
    let frame = no_flags(v6().extension(Extension::Destination(16))).build();
    for kind in [135, 139, 140] {
        kernel.assert_drops(
            &with(frame.clone(), ETHERNET + 6, &[kind]),
            Reason::TcpFlags,
        );
    }
    // ESP hides what follows it.
    let esp = with(frame, ETHERNET + 6, &[protocol::ESP]);
    kernel.assert_passes(&esp, Reason::Accepted);
}

#[test]
fn five_hundred_and_twelve_bytes_of_extensions_are_walked_and_more_are_too_deep() {
    require_kernel!("five_hundred_and_twelve_bytes_of_extensions_are_walked_and_more_are_too_deep");
    let kernel = kernel();
    for lengths in [&[512][..], &[504, 8], &[8, 504], &[256, 248, 8]] {
        let packet = lengths.iter().fold(no_flags(v6()), |packet, length| {
            packet.extension(Extension::Destination(*length))
        });
        kernel.assert_drops(&packet.build(), Reason::TcpFlags);
        let more = packet.extension(Extension::Destination(8));
        kernel.assert_drops(&more.build(), Reason::Ipv6ExtensionsTooDeep);
    }
    for length in [520, 1024, 2048] {
        let one = no_flags(v6().extension(Extension::Destination(length)));
        kernel.assert_drops(&one.build(), Reason::Ipv6ExtensionsTooDeep);
    }
}

#[test]
fn an_extension_header_past_the_stated_length_is_truncated_though_the_frame_has_the_bytes() {
    require_kernel!(
        "an_extension_header_past_the_stated_length_is_truncated_though_the_frame_has_the_bytes"
    );
    let kernel = kernel();
    let frame = v6().extension(Extension::Destination(64)).udp(1, 2).build();
    for stated in 1..64u16 {
        let frame = with(frame.clone(), ETHERNET + 4, &stated.to_be_bytes());
        kernel.assert_drops(&frame, Reason::Ipv6Truncated);
    }
}

#[test]
fn a_jumbo_frame_over_several_pages_is_judged_and_counted_whole() {
    require_kernel!("a_jumbo_frame_over_several_pages_is_judged_and_counted_whole");
    let kernel = kernel();
    for length in [1514, 3520, 4096, 9014] {
        kernel.assert_passes(&v4().udp(1, 2).padded_to(length).build(), Reason::Accepted);
        kernel.assert_drops(&no_flags(v6()).padded_to(length).build(), Reason::TcpFlags);
    }
    let frame = v4().udp(1, 2).padded_to(9014).build();
    kernel.assert_drops(&frame[..9013], Reason::Ipv4Truncated);
}

#[test]
fn headers_across_and_behind_the_first_buffer_are_read() {
    require_kernel!("headers_across_and_behind_the_first_buffer_are_read");
    let kernel = kernel();
    let frame = no_flags(v6().vlan(1).extension(Extension::Destination(16))).build();
    let accepted = v6().vlan(1).tcp(1, 2, Flags::SYN).build();
    for linear in MIN_FRAME..frame.len() {
        let Some(action) = kernel.run_split(&frame, linear).unwrap() else {
            println!("skipped: this kernel lays out the buffers of a test run by itself");
            return;
        };
        assert_eq!(
            action,
            xdp_common::reason::Action::Drop,
            "{linear} bytes linear"
        );
    }
    for linear in MIN_FRAME..accepted.len() {
        let action = kernel.run_split(&accepted, linear).unwrap();
        assert_eq!(
            action,
            Some(xdp_common::reason::Action::Pass),
            "{linear} bytes linear"
        );
    }
}

/// Where a PPPoE header begins.
const PPPOE: usize = 6;

#[test]
fn packets_in_a_pppoe_session_are_filtered_behind_any_tags() {
    require_kernel!("packets_in_a_pppoe_session_are_filtered_behind_any_tags");
    let kernel = kernel();
    type Wrap = fn(Packet) -> Packet;
    let wraps: [Wrap; 5] = [
        |packet| packet,
        |packet| packet.vlan(7),
        |packet| packet.service_vlan(7),
        |packet| packet.service_vlan(7).vlan(8),
        |packet| packet.vlan(7).vlan(8),
    ];
    for network in [v4, v6] {
        for wrap in wraps {
            for session in [
                |packet: Packet| packet.pppoe(0x1234),
                |packet: Packet| packet.pppoe_compressed(0x1234),
            ] {
                let frame = |packet| wrap(session(packet)).build();
                kernel.assert_drops(&frame(no_flags(network())), Reason::TcpFlags);
                kernel.assert_passes(&frame(network().udp(1, 2)), Reason::Accepted);
                // Ethernet pads short frames.
                let padded = [frame(network().udp(1, 2)), vec![0; 20]].concat();
                kernel.assert_passes(&padded, Reason::Accepted);
            }
        }
        let deep = no_flags(network()).vlan(1).vlan(2).vlan(3).pppoe(1).build();
        kernel.assert_drops(&deep, Reason::VlanTooDeep);
    }
}

#[test]
fn what_a_pppoe_session_carries_besides_ip_passes() {
    require_kernel!("what_a_pppoe_session_carries_besides_ip_passes");
    let kernel = kernel();
    // LCP, PAP, IPCP, IPv6CP, MPLS.
    for kind in [0xc021, 0xc023, 0x8021, 0x8057, 0x0281] {
        let frame = Packet::other(kind).payload([1; 40]).pppoe(9).build();
        kernel.assert_passes(&frame, Reason::NotIp);
    }
    let discovery = Packet::other(0x8863).payload([0x11, 9, 0, 0, 0, 0]).build();
    kernel.assert_passes(&discovery, Reason::NotIp);
}

#[test]
fn a_pppoe_length_past_the_frame_is_truncated_and_one_before_the_packet_ends_cuts_it() {
    require_kernel!(
        "a_pppoe_length_past_the_frame_is_truncated_and_one_before_the_packet_ends_cuts_it"
    );
    let kernel = kernel();
    let at = ETHERNET + PPPOE - 2;
    for (packet, cut) in [
        (v4().udp(1, 2), Reason::Ipv4Truncated),
        (v6().udp(1, 2), Reason::Ipv6Truncated),
    ] {
        let inside = packet.build_bare().len() as u16 + 2;
        let frame = packet.pppoe(1).build();
        let with_length = |length: u16| with(frame.clone(), at, &length.to_be_bytes());
        kernel.assert_passes(&with_length(inside), Reason::Accepted);
        for length in [inside + 1, u16::MAX] {
            kernel.assert_drops(&with_length(length), Reason::EthernetTruncated);
        }
        for length in 2..inside {
            kernel.assert_drops(&with_length(length), cut);
        }
        for length in 0..2 {
            kernel.assert_drops(&with_length(length), Reason::EthernetTruncated);
        }
        for length in MIN_FRAME..frame.len() {
            kernel.assert_drops(&frame[..length], Reason::EthernetTruncated);
        }
        // Linux looks neither at the version nor at the code of what a session carries.
        for byte in [ETHERNET, ETHERNET + 1] {
            kernel.assert_passes(&with(frame.clone(), byte, &[0xff]), Reason::Accepted);
        }
    }
}

#[test]
fn a_packet_without_an_ethernet_header_is_judged_from_its_ip_header_on() {
    require_kernel!("a_packet_without_an_ethernet_header_is_judged_from_its_ip_header_on");
    let mut kernel = kernel();
    let mut judge = |packet: &[u8]| kernel.judge_bare(packet).unwrap().reason();
    // The first two bytes of the source lie where Ethernet has its type: IPv4, IPv6 and two tags.
    for source in ["8.0.1.2", "134.221.1.2", "129.0.1.2", "136.168.1.2"] {
        let packet = Packet::v4(source, "198.51.100.1");
        assert_eq!(
            judge(&packet.clone().udp(1, 2).build_bare()),
            Reason::Accepted
        );
        assert_eq!(judge(&no_flags(packet).build_bare()), Reason::TcpFlags);
    }
    assert_eq!(judge(&v6().udp(1, 2).build_bare()), Reason::Accepted);
    assert_eq!(judge(&no_flags(v6()).build_bare()), Reason::TcpFlags);
    let frame = v4().tcp(1, 2, Flags::ACK).build_bare();
    for length in MIN_FRAME..frame.len() {
        assert_eq!(judge(&frame[..length]), Reason::Ipv4Truncated, "{length}");
    }
    for version in (0..16_u8).filter(|version| ![4, 6].contains(version)) {
        assert_eq!(
            judge(&with(frame.clone(), 0, &[version << 4])),
            Reason::NotIp
        );
    }
}

#[test]
fn what_is_not_ip_is_counted_by_its_kind_and_other_ether_types_by_number() {
    require_kernel!("what_is_not_ip_is_counted_by_its_kind_and_other_ether_types_by_number");
    let mut kernel = kernel();
    let frames = [
        (ether_type::ARP, 5),
        (0x8847, 3),
        (0x8848, 1),
        (0x88cc, 2),
        (0x0026, 4),
        (0x9000, 6),
    ];
    for (kind, times) in frames {
        for _ in 0..times {
            let packet = Packet::other(kind).payload([0; 46]);
            kernel.assert_passes(&packet.vlan(3).build(), Reason::NotIp);
        }
    }
    for kind in 0xa000..0xa020 {
        let packet = Packet::other(kind).payload([0; 46]);
        kernel.assert_passes(&packet.build(), Reason::NotIp);
    }
    let lcp = Packet::other(0xc021).payload([0; 46]).pppoe(1).build();
    kernel.assert_passes(&lcp, Reason::NotIp);
    kernel.judge_bare(&[0; 40]).unwrap();
    let counters = kernel.datapath().counters().unwrap();
    for (kind, packets) in [
        (NotIpKind::Arp, 5),
        (NotIpKind::Mpls, 4),
        (NotIpKind::Lldp, 2),
        (NotIpKind::Llc, 4),
        (NotIpKind::PppoeControl, 1),
        (NotIpKind::NoHeader, 1),
        (NotIpKind::Other, 6 + 0x20),
    ] {
        assert_eq!(counters.not_ip(kind), packets, "{kind:?}");
    }
    let told: Vec<_> = counters.other_ether_types().collect();
    assert!(told.contains(&(0x9000, 6)), "{told:x?}");
    assert!(told.len() <= OTHER_ETHER_TYPES * 2, "{told:x?}");
    let all: u64 = NotIpKind::ALL
        .iter()
        .map(|kind| counters.not_ip(*kind))
        .sum();
    let counted = counters.total(Reason::NotIp, Action::Pass).packets;
    assert_eq!(all, counted);
}
