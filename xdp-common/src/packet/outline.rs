//! What the packets of a flood from one source have in common.

#![allow(clippy::cast_possible_truncation, reason = "lengths of frames")]

use network_types::ip::Ipv6Hdr;

use super::usual::{self, KIND, START};
use super::{Address, PacketView, protocol};

/// Who a usual packet is from, and what of its headers says that it is usual: all but the destination,
/// type of service, identification, "don't fragment", time to live, flow label, checksums, ports, sequence
/// numbers and flags. A frame with the same outline as a packet that [`super::parse_usual`] reads is read by
/// it too, has the same source and length, and differs in the rest at most.
///
/// The outline of any other frame says nothing. That of zeros is no frame's.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Outline {
    words: [u32; WORDS],
}

/// Words of the source as they lie in the packet; IPv4 in the first, the others any.
const SOURCE: usize = 0;
/// Version and, of IPv4, header length and total length.
const VERSION: usize = 4;
/// Protocol, and of IPv4 the fragment, of IPv6 the payload length.
const PROTOCOL: usize = 5;
/// Length of UDP, or of TCP's header.
const TRANSPORT: usize = 6;
const FRAME_LEN: usize = 7;
const WORDS: usize = 8;

impl Outline {
    /// Becomes that of a frame. Of one that has none it becomes no frame's: the length comes last.
    #[inline(always)]
    pub fn trace<V: PacketView + ?Sized>(&mut self, view: &V) -> bool {
        let [.., frame_len] = &mut self.words;
        *frame_len = 0;
        let draw = |number, word| {
            let place = self.words.get_mut(number)?;
            *place = word;
            Some(())
        };
        each(view, draw).is_some()
    }

    /// Whether it is that of a frame. Of one from another source no more than the source is read.
    #[inline(always)]
    pub fn is_of<V: PacketView + ?Sized>(&self, view: &V) -> bool {
        let is_same = |number, word| (self.words.get(number) == Some(&word)).then_some(());
        each(view, is_same).is_some()
    }

    /// The source.
    #[inline(always)]
    pub fn source(&self) -> Address {
        let [a, b, c, d, version, ..] = self.words;
        match version.to_ne_bytes() {
            [0x45, ..] => Address::v4_word(a),
            _ => Address::v6_words([a, b, c, d]),
        }
    }

    /// Bytes of the frame.
    #[inline(always)]
    pub const fn frame_len(&self) -> u32 {
        let [.., frame_len] = self.words;
        frame_len
    }
}

/// The words of a frame's outline, the source first, as long as they are taken.
#[inline(always)]
fn each<V: PacketView + ?Sized>(
    view: &V,
    mut take: impl FnMut(usize, u32) -> Option<()>,
) -> Option<()> {
    // As far as the length of a TCP header behind IPv4's: no frame that a wire carries is shorter.
    let [ethernet, first, second, third, fourth, _, _, udp, _, tcp]: [u32; 10] = view.read(KIND)?;
    if usual::is_kind_v6(ethernet)? {
        let source: [u32; 4] = view.read(START + 8)?;
        for (number, word) in (SOURCE..).zip(source) {
            take(number, word)?;
        }
        take(VERSION, first & bytes([0xf0, 0, 0, 0]))?;
        take(PROTOCOL, second & bytes([0xff, 0xff, 0xff, 0]))?;
        let [_, _, protocol, _] = second.to_ne_bytes();
        let [_, udp, _, tcp]: [u32; 4] = match protocol {
            protocol::TCP | protocol::UDP => view.read(START + Ipv6Hdr::LEN)?,
            _ => [0; 4],
        };
        take(TRANSPORT, transport(protocol, udp, tcp))?;
    } else {
        take(SOURCE, fourth)?;
        take(VERSION, first & bytes([0xff, 0, 0xff, 0xff]))?;
        // In bytes of their own.
        let fragment = second & bytes([0, 0, 0x3f, 0xff]);
        take(PROTOCOL, fragment | third & bytes([0, 0xff, 0, 0]))?;
        let [_, protocol, ..] = third.to_ne_bytes();
        take(TRANSPORT, transport(protocol, udp, tcp))?;
    }
    take(FRAME_LEN, view.len() as u32)
}

/// Of the second word of UDP and the fourth of TCP.
#[inline(always)]
const fn transport(protocol: u8, udp: u32, tcp: u32) -> u32 {
    match protocol {
        protocol::TCP => tcp & bytes([0xf0, 0, 0, 0]),
        protocol::UDP => udp & bytes([0xff, 0xff, 0, 0]),
        _ => 0,
    }
}

/// A word of these bytes as it lies in a packet.
#[inline(always)]
const fn bytes(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}
