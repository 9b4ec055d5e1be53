use std::time::Duration;

use etherparse::{InternetSlice, SlicedPacket};

use super::*;
use crate::packet::tests::{sliced, transport_checksum_is_right};
use crate::packet::{Extension, Flags, Packet};

const V4: (&str, &str) = ("203.0.113.7", "198.51.100.1");
const V6: (&str, &str) = ("2001:db8::7", "2001:db8:1::1");

fn target() -> Target {
    Target {
        from: [2, 0, 0, 0, 0, 3],
        to: [2, 0, 0, 0, 0, 1],
        v4: "10.0.0.9".parse().unwrap(),
        v6: "fd00::9".parse().unwrap(),
    }
}

fn captured(link: Linktype, bytes: &[u8]) -> Captured {
    Captured {
        at: Duration::ZERO,
        link,
        bytes: bytes.to_vec(),
        filled: false,
    }
}

fn rewritten(packet: &Packet) -> Vec<u8> {
    aimed(&captured(Linktype::ETHERNET, &packet.build()), &target()).unwrap()
}

fn goes_to_the_target(packet: &SlicedPacket<'_>) {
    match packet.net.as_ref().unwrap() {
        InternetSlice::Ipv4(ip) => {
            assert_eq!(ip.header().source_addr(), V4.0.parse::<Ipv4Addr>().unwrap());
            assert_eq!(ip.header().destination_addr(), target().v4);
        }
        InternetSlice::Ipv6(ip) => {
            assert_eq!(ip.header().source_addr(), V6.0.parse::<Ipv6Addr>().unwrap());
            assert_eq!(ip.header().destination_addr(), target().v6);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn checksums_are_right_for_the_new_destination() {
    for base in [
        Packet::v4(V4.0, V4.1).options(&[1, 1, 1, 0]),
        Packet::v4(V4.0, V4.1),
        Packet::v6(V6.0, V6.1),
        Packet::v6(V6.0, V6.1).extension(Extension::HopByHop(16)),
    ] {
        let icmp = if matches!(base.build()[12..14], [8, 0]) {
            8
        } else {
            128
        };
        for packet in [
            base.clone().tcp(1234, 443, Flags::SYN).ttl(77),
            base.clone().udp(161, 9999).payload([7; 301]),
            base.clone().icmp(icmp, 0).payload([1, 2, 3]),
        ] {
            let frame = rewritten(&packet);
            let seen = sliced(&frame);
            transport_checksum_is_right(&seen);
            goes_to_the_target(&seen);
            assert_eq!(frame[..12], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3]);
            assert_eq!(frame.len(), packet.build().len());
        }
    }
}

#[test]
fn a_wrong_checksum_is_made_right() {
    let mut bytes = Packet::v4(V4.0, V4.1).tcp(1, 2, Flags::ACK).build();
    // In the TCP header and in the IP header, as offloading leaves them.
    bytes[50] ^= 0x55;
    bytes[24] = 0;
    let frame = aimed(&captured(Linktype::ETHERNET, &bytes), &target()).unwrap();
    transport_checksum_is_right(&sliced(&frame));
}

#[test]
fn a_datagram_without_a_checksum_goes_on_without() {
    let mut bytes = Packet::v4(V4.0, V4.1).udp(1, 2).payload([1]).build();
    bytes[40..42].fill(0);
    let frame = aimed(&captured(Linktype::ETHERNET, &bytes), &target()).unwrap();
    assert_eq!(frame[40..42], [0, 0]);
}

/// The checksum of a first fragment is over bytes that are elsewhere.
#[test]
fn fragments_put_together_again_are_right_for_the_new_destination() {
    for (whole, header) in [(Packet::v4(V4.0, V4.1), 34), (Packet::v6(V6.0, V6.1), 62)] {
        let whole = whole.udp(5, 6).payload((0..200).collect::<Vec<u8>>());
        let fragments = whole.build_fragments(7, 64);
        assert!(fragments.len() > 2);
        let mut body = Vec::new();
        for fragment in &fragments {
            let frame = aimed(&captured(Linktype::ETHERNET, fragment), &target()).unwrap();
            body.extend_from_slice(&frame[header..]);
        }
        let straight = rewritten(&whole);
        assert_eq!(body, straight[straight.len() - body.len()..]);
    }
}

#[test]
fn what_is_around_the_packet_is_taken_off() {
    let packet = Packet::v4(V4.0, V4.1).udp(1, 2).payload([9; 10]);
    let straight = rewritten(&packet);
    let frame = packet.build();
    let tagged = packet.clone().service_vlan(5).vlan(6).build();
    let ip = &frame[14..];
    let cooked = [&[0; 14][..], &[8, 0], ip].concat();
    let cooked2 = [&[8, 0][..], &[0; 18], ip].concat();
    let loopback = [&[2, 0, 0, 0][..], ip].concat();
    let padded = [&frame[..], &[0; 10]].concat();
    for (link, bytes) in [
        (Linktype::ETHERNET, &tagged[..]),
        (Linktype::ETHERNET, &padded),
        (Linktype::RAW, ip),
        (Linktype::LINUX_SLL, &cooked),
        (Linktype::LINUX_SLL2, &cooked2),
        (Linktype::NULL, &loopback),
    ] {
        assert_eq!(
            aimed(&captured(link, bytes), &target()).unwrap(),
            straight,
            "{link}"
        );
        assert!(is_supported(link));
    }
    assert!(!is_supported(Linktype::NFLOG));
}

#[test]
fn what_cannot_be_sent_is_told() {
    let ethernet = |bytes: &[u8]| aimed(&captured(Linktype::ETHERNET, bytes), &target());
    assert_eq!(
        ethernet(&Packet::other(0x0806).payload([0; 46]).build()),
        Err(Unfit::NotIp)
    );
    assert_eq!(ethernet(&[0; 5]), Err(Unfit::NotIp));
    let long = Packet::v4(V4.0, V4.1)
        .udp(1, 2)
        .payload(vec![0; 1500])
        .build();
    assert_eq!(ethernet(&long), Err(Unfit::TooLong));
    let cut = &Packet::v4(V4.0, V4.1).udp(1, 2).build()[..30];
    assert_eq!(ethernet(cut), Err(Unfit::NotIp));
}
