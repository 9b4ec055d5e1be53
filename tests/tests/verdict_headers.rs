//! Every length and shape of a header that the program reads, in the running kernel.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use xdp_common::reason::Reason;
use xdp_tests::kernel::{Kernel, MIN_FRAME};
use xdp_tests::oracle::Rules;
use xdp_tests::packet::{Extension, Flags, Packet, ether_type, protocol};
use xdp_tests::require_kernel;

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
fn an_ipv6_length_of_zero_means_a_jumbogram_only_before_hop_by_hop_options() {
    require_kernel!("an_ipv6_length_of_zero_means_a_jumbogram_only_before_hop_by_hop_options");
    let kernel = kernel();
    let zero = |frame| with(frame, ETHERNET + 4, &[0, 0]);
    let jumbo = v6().extension(Extension::HopByHop(8));
    kernel.assert_drops(&zero(no_flags(jumbo.clone()).build()), Reason::TcpFlags);
    kernel.assert_passes(&zero(jumbo.udp(1, 2).build()), Reason::Accepted);
    kernel.assert_drops(&zero(no_flags(v6()).build()), Reason::TcpTruncated);
    let destination = v6().extension(Extension::Destination(8)).udp(1, 2);
    kernel.assert_drops(&zero(destination.build()), Reason::Ipv6Truncated);
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
