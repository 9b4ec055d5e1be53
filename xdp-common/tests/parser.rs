//! The parser over any bytes: it reads nothing that isn't there and never panics.

mod support;

use std::ops::ControlFlow;

use proptest::prelude::*;
use support::{HostTables, frames, policy};
use xdp_common::packet::{Address, Fragment, Packet, parse, parse_usual};
use xdp_common::reason::{Action, Class, Reason};

/// Bytes that get past the first checks: an EtherType, a version, and anything after.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![
        Just([0x08, 0x00]),
        Just([0x86, 0xdd]),
        Just([0x81, 0x00]),
        Just([0x88, 0xa8])
    ];
    let protocols = prop::sample::select(vec![0u8, 1, 6, 17, 43, 44, 51, 58, 60, 135, 253]);
    (kinds, protocols, prop::collection::vec(any::<u8>(), 0..700)).prop_map(
        |(kind, protocol, mut rest)| {
            if let Some(first) = rest.first_mut() {
                *first = if kind[0] == 0x86 { 0x60 } else { 0x45 };
            }
            let protocol_at = if kind[0] == 0x86 { 6 } else { 9 };
            if let Some(byte) = rest.get_mut(protocol_at) {
                *byte = protocol;
            }
            // A length that the frame has room for, most of the time.
            let stated = (rest.len() as u16).saturating_sub(60).to_be_bytes();
            let length_at = if kind[0] == 0x86 { 4 } else { 2 };
            if let Some(bytes) = rest.get_mut(length_at..length_at + 2) {
                bytes.copy_from_slice(&stated);
            }
            let mut frame = vec![2; 12];
            frame.extend(kind);
            frame.extend(rest);
            frame
        },
    )
}

/// A usual packet: TCP with options and without, UDP, ICMP, and what has no header that is known.
fn usual_one() -> impl Strategy<Value = Vec<u8>> {
    let protocols = prop::sample::select(vec![1u8, 6, 17, 58, 253]);
    let payload = prop::collection::vec(any::<u8>(), 20..60);
    (any::<bool>(), protocols, any::<[u8; 60]>(), payload).prop_map(
        |(v6, protocol, head, mut payload)| {
            let length = payload.len() as u16;
            match protocol {
                6 => payload[12] = 0x50 | payload[12] & 0x1f,
                17 => {
                    payload[4..6].copy_from_slice(&(length - u16::from(head[0]) % 8).to_be_bytes())
                }
                _ => {}
            }
            let mut frame = head[..14].to_vec();
            if v6 {
                frame[12..].copy_from_slice(&[0x86, 0xdd]);
                frame.extend([0x60 | head[14] & 0xf, head[15], head[16], head[17]]);
                frame.extend(length.to_be_bytes());
                frame.extend([protocol, head[18]]);
                frame.extend(&head[19..51]);
            } else {
                frame[12..].copy_from_slice(&[0x08, 0x00]);
                frame.extend([0x45, head[14]]);
                frame.extend((length + 20).to_be_bytes());
                frame.extend([head[15], head[16], head[17] & 0x40, 0, head[18], protocol]);
                frame.extend(&head[19..29]);
            }
            frame.extend(payload);
            frame
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_end_in_one_reason(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        likely(),
    ]) {
        let verdict = HostTables::new(policy(), &[]).judge(&bytes, 1);
        prop_assert!(Reason::ALL.contains(&verdict.reason));
        let dropped = verdict.action == Action::Drop;
        prop_assert_eq!(dropped, verdict.reason.class() == Class::Drop);
    }

    /// Bytes behind what IP says is the packet make no difference but to the frame's length.
    #[test]
    fn nothing_behind_the_packet_is_read(bytes in likely(), behind in any::<[u8; 64]>()) {
        let longer = [bytes.as_slice(), &behind].concat();
        let told = (parse(&bytes.as_slice()), parse(&longer.as_slice()));
        if let (ControlFlow::Continue(packet), again) = told {
            let longer = Packet { frame_len: packet.frame_len + 64, ..packet };
            prop_assert_eq!(again, ControlFlow::Continue(longer));
        }
    }

    /// The two ways to read a packet agree wherever the shorter one reads any.
    #[test]
    fn a_usual_packet_is_read_as_any_other(bytes in likely(), cut in 0usize..200) {
        for frame in [bytes.as_slice(), &bytes[..cut.min(bytes.len())]] {
            if let Some(packet) = parse_usual(frame) {
                prop_assert_eq!(parse(&frame), ControlFlow::Continue(packet));
            }
        }
    }

    /// A packet that the shorter way doesn't take is none, or has what makes it longer (it is a fragment, has
    /// options, extensions, no stated length), or the frame is shorter than a UDP header needs.
    #[test]
    fn what_is_not_usual_has_a_cause(
        bytes in usual_one(),
        changes in prop::collection::vec((0usize..80, any::<u8>()), 0..4),
        cut in prop_oneof![3 => Just(usize::MAX), 1 => 0usize..120],
    ) {
        let mut frame = bytes;
        for (at, byte) in changes {
            if let Some(changed) = frame.get_mut(at) {
                *changed = byte;
            }
        }
        frame.truncate(cut);
        let frame = frame.as_slice();
        match (parse_usual(frame), parse(frame)) {
            (Some(packet), all) => prop_assert_eq!(all, ControlFlow::Continue(packet)),
            (None, ControlFlow::Break(_)) => {}
            (None, ControlFlow::Continue(packet)) => {
                let behind = if packet.source.is_v4() { 34 } else { 54 };
                let is_longer = packet.transport_offset != behind;
                // RFC 2675, section 4.
                let is_udp_v6 = packet.protocol == 17 && !packet.source.is_v4();
                let to_the_end = is_udp_v6 && frame.get(58..60) == Some(&[0, 0]);
                let is_whole = packet.fragment == Fragment::Whole;
                let is_short = frame.len() < behind as usize + 8;
                prop_assert!(is_longer || to_the_end || !is_whole || is_short, "{packet:?}");
            }
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_truncated_and_never_passes(
        v6 in any::<bool>(),
        cut in 0usize..80,
    ) {
        let source = if v6 { Address::v6([0x20; 16]) } else { Address::v4([203, 0, 113, 7]) };
        let frame = frames::udp(&source, 120);
        let reason = HostTables::new(policy(), &[source]).reason(&frame[..cut], 1);
        let expected = match (cut, v6) {
            (0..14, _) => Reason::EthernetTruncated,
            (_, false) => Reason::Ipv4Truncated,
            (_, true) => Reason::Ipv6Truncated,
        };
        prop_assert_eq!(reason, expected);
    }
}

#[test]
fn a_frame_is_usual_from_the_end_of_a_udp_header_on() {
    for source in [Address::v4([203, 0, 113, 7]), Address::v6([0x20; 16])] {
        for (length, is_usual) in [(7, false), (8, true)] {
            // A protocol whose header isn't read.
            let frame = frames::packet(&source, 253, &vec![0; length]);
            assert!(
                parse(&frame.as_slice()).is_continue(),
                "{source:?} {length}"
            );
            assert_eq!(parse_usual(frame.as_slice()).is_some(), is_usual);
        }
    }
}

#[test]
fn an_ipv6_packet_that_states_no_length_is_not_usual() {
    let mut frame = frames::packet(&Address::v6([0x20; 16]), 253, &[0; 40]);
    assert!(parse_usual(frame.as_slice()).is_some());
    frame[18..20].fill(0);
    assert!(parse_usual(frame.as_slice()).is_none());
    assert!(parse(&frame.as_slice()).is_continue());
}

/// Else the test above would compare nothing, and the program would read every packet the long way.
#[test]
fn what_traffic_mostly_is_counts_as_usual() {
    for source in [Address::v4([203, 0, 113, 7]), Address::v6([0x20; 16])] {
        let frame = frames::udp(&source, 120);
        let usual = parse_usual(frame.as_slice()).map(ControlFlow::Continue);
        assert_eq!(usual, Some(parse(&frame.as_slice())), "{source:?}");
        let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
        assert_eq!(parse_usual(tagged.as_slice()), None);
        assert!(parse(&tagged.as_slice()).is_continue());
    }
}

/// An IP header that goes on behind what PPPoE states is cut, whatever its bytes say: they are another's.
#[test]
fn an_ip_header_that_pppoe_cuts_is_truncated_before_it_is_malformed() {
    let frame = |protocol: u8, first: u8, stated: u16| {
        let mut frame = vec![2; 12];
        frame.extend([0x88, 0x64, 0x11, 0, 0, 1]);
        frame.extend(stated.to_be_bytes());
        frame.extend([0, protocol, first, 0, 0, 0, 0, 0, 17, 64]);
        frame.extend([0x20; 32]);
        frame.extend([0, 1, 0, 2, 0, 8, 0, 0]);
        frame
    };
    let reason = |frame: Vec<u8>| match parse(&frame[..]) {
        ControlFlow::Break(reason) => Some(reason),
        ControlFlow::Continue(_) => None,
    };
    // Behind PPP's two bytes: an IPv6 header has 40, one of IPv4 20.
    for stated in [3, 10, 41] {
        for first in [0x60, 0x10] {
            assert_eq!(
                reason(frame(0x57, first, stated)),
                Some(Reason::Ipv6Truncated)
            );
        }
    }
    assert_eq!(reason(frame(0x57, 0x10, 42)), Some(Reason::Ipv6Malformed));
    assert_eq!(reason(frame(0x57, 0x60, 42)), Some(Reason::UdpTruncated));
    assert_eq!(reason(frame(0x57, 0x60, 50)), None);
    for stated in [3, 18, 21] {
        for first in [0x45, 0x41, 0x60] {
            assert_eq!(
                reason(frame(0x21, first, stated)),
                Some(Reason::Ipv4Truncated)
            );
        }
    }
    assert_eq!(reason(frame(0x21, 0x41, 22)), Some(Reason::Ipv4Malformed));
}
