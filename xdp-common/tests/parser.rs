//! The parser over any bytes: it reads nothing that isn't there and never panics.

mod support;

use std::ops::ControlFlow;

use proptest::prelude::*;
use support::{HostTables, frames, policy};
use xdp_common::packet::{Address, Packet, parse, parse_usual};
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
            if let Some(packet) = parse_usual(&frame) {
                prop_assert_eq!(parse(&frame), ControlFlow::Continue(packet));
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

/// Else the test above would compare nothing, and the program would read every packet the long way.
#[test]
fn what_traffic_mostly_is_counts_as_usual() {
    for source in [Address::v4([203, 0, 113, 7]), Address::v6([0x20; 16])] {
        let frame = frames::udp(&source, 120);
        let usual = parse_usual(&frame.as_slice()).map(ControlFlow::Continue);
        assert_eq!(usual, Some(parse(&frame.as_slice())), "{source:?}");
        let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
        assert_eq!(parse_usual(&tagged.as_slice()), None);
        assert!(parse(&tagged.as_slice()).is_continue());
    }
}
