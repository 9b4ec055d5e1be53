//! What the packets of a flood from one source have in common.

#![allow(clippy::cast_possible_truncation, reason = "lengths of frames")]

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::usual::{self, KIND, START};
use super::view::{Window, Words as _};
use super::{Address, protocol};

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
/// From [`KIND`] to the end of a UDP header behind IPv4's.
const V4_WORDS: usize = 8;

impl Outline {
    /// Bytes of the shortest frame that has one: UDP or ICMP without payload, over IPv4.
    pub const SHORTEST: u32 = (KIND + V4_WORDS * 4) as u32;

    /// Becomes that of a frame. Of one that has none it becomes no frame's: the length comes last.
    #[inline(always)]
    pub fn trace<V: Window + ?Sized>(&mut self, view: &V) -> bool {
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
    pub fn is_of<V: Window + ?Sized>(&self, view: &V) -> bool {
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
fn each<V: Window + ?Sized>(
    view: &V,
    mut take: impl FnMut(usize, u32) -> Option<()>,
) -> Option<()> {
    let v4 = view.words::<V4_WORDS>(KIND)?;
    if usual::is_kind_v6(v4.word::<0>())? {
        let v6 = view.words::<10>(START)?;
        // First what tells networks of a provider's apart, then hosts of a network.
        take(SOURCE + 1, v6.word::<3>())?;
        take(SOURCE + 3, v6.word::<5>())?;
        take(SOURCE, v6.word::<2>())?;
        take(SOURCE + 2, v6.word::<4>())?;
        take(VERSION, v6.word::<0>() & bytes([0xf0, 0, 0, 0]))?;
        let second = v6.word::<1>() & bytes([0xff, 0xff, 0xff, 0]);
        take(PROTOCOL, second)?;
        let protocol = second & bytes([0, 0, 0xff, 0]);
        let transport = if protocol == bytes([0, 0, protocol::UDP, 0]) {
            udp_length(view.words::<2>(START + Ipv6Hdr::LEN)?.word::<1>())
        } else if protocol == bytes([0, 0, protocol::TCP, 0]) {
            tcp_header(view.words::<4>(START + Ipv6Hdr::LEN)?.word::<3>())
        } else {
            0
        };
        take(TRANSPORT, transport)?;
    } else {
        take(SOURCE, v4.word::<4>())?;
        take(VERSION, v4.word::<1>() & bytes([0xff, 0, 0xff, 0xff]))?;
        // In bytes of their own.
        let fragment = v4.word::<2>() & bytes([0, 0, 0x3f, 0xff]);
        let protocol = v4.word::<3>() & bytes([0, 0xff, 0, 0]);
        take(PROTOCOL, fragment | protocol)?;
        let transport = if protocol == bytes([0, protocol::UDP, 0, 0]) {
            udp_length(v4.word::<7>())
        } else if protocol == bytes([0, protocol::TCP, 0, 0]) {
            tcp_header(view.words::<4>(START + Ipv4Hdr::LEN)?.word::<3>())
        } else {
            0
        };
        take(TRANSPORT, transport)?;
    }
    take(FRAME_LEN, view.len() as u32)
}

/// In the second word of its header.
#[inline(always)]
const fn udp_length(word: u32) -> u32 {
    word & bytes([0xff, 0xff, 0, 0])
}

/// The header's length, in its fourth word.
#[inline(always)]
const fn tcp_header(word: u32) -> u32 {
    word & bytes([0xf0, 0, 0, 0])
}

/// A word of these bytes as it lies in a packet.
#[inline(always)]
const fn bytes(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}
