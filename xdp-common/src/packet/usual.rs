//! The packets that nearly all traffic is: IP right behind Ethernet, its payload right behind IP's own
//! header, all in the frame's first buffer.
//!
//! Read in two parts: what the lists have to know, with all that can be wrong with such a packet, and the
//! rest, for a packet that they don't decide. Words are read where they are asked for.

#![allow(clippy::cast_possible_truncation, reason = "the parts of words")]

use network_types::eth::EthHdr;
use network_types::icmp::Icmpv4Hdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use super::view::{Window, Words};
use super::{Address, Fragment, Packet, Transport, counted, ethernet, ipv6, protocol, transport};

/// The word of an Ethernet header that ends with the EtherType. Words are numbered from here.
const KIND: usize = EthHdr::LEN - 4;
/// Where IP begins: word 1.
const START: usize = EthHdr::LEN;
/// Where what IPv4 carries begins: word 6.
const BEHIND_V4: usize = START + Ipv4Hdr::LEN;
/// Where what IPv6 carries begins: word 11.
const BEHIND_V6: usize = START + Ipv6Hdr::LEN;
/// Words to the end of a UDP header, which is as long as ICMP's, and of TCP's.
const V4_UDP: usize = 8;
const V4_TCP: usize = 11;
const V6_UDP: usize = 13;
const V6_TCP: usize = 16;
/// Version 4, and a header of five words.
const FIRST_BYTE: u32 = 0x45;
/// "More fragments" and the offset of a fragment.
const IN_FRAGMENTS: u32 = 0x3fff;

/// What a look tells of a usual packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Source address.
    pub source: Address,
    /// See [`Packet::protocol`].
    pub protocol: u8,
    /// See [`Packet::frame_len`].
    pub frame_len: u32,
}

/// Reads a usual packet as [`super::parse`] does, whose every offset is then a constant. Nothing for any
/// other, which may be sound as well.
pub fn parse_usual<V: Window + ?Sized>(view: &V) -> Option<Packet> {
    rest(view, &sight(view)?)
}

/// A look at a packet: nothing if it isn't a usual one.
#[inline(always)]
pub fn sight<V: Window + ?Sized>(view: &V) -> Option<Sight> {
    let words = view.words::<V4_UDP>(KIND)?;
    // In network order, as the constants.
    match (u32::from_be(words.word::<0>()) as u16).to_be() {
        ethernet::IPV4 => sight_v4(view, words),
        ethernet::IPV6 => sight_v6(view, view.words::<V6_UDP>(KIND)?),
        _ => None,
    }
}

/// See `ipv4::parse` and [`transport::parse`].
#[inline(always)]
fn sight_v4<V: Window + ?Sized>(view: &V, words: impl Words) -> Option<Sight> {
    let first = u32::from_be(words.word::<1>());
    let total_len = (first & 0xffff) as usize;
    let in_fragments = u32::from_be(words.word::<2>()) & IN_FRAGMENTS != 0;
    if first >> 24 != FIRST_BYTE || in_fragments || total_len < Ipv4Hdr::LEN {
        return None;
    }
    let protocol = (u32::from_be(words.word::<3>()) >> 16) as u8;
    let frame_len = view.frame_len(START.wrapping_add(total_len))?;
    let room = total_len.wrapping_sub(Ipv4Hdr::LEN);
    let is_sound = match protocol {
        protocol::TCP => is_tcp(view.words::<V4_TCP>(KIND)?.word::<9>(), room),
        protocol::UDP => is_udp(words.word::<7>(), room),
        protocol::ICMP | protocol::ICMPV6 => room >= Icmpv4Hdr::LEN,
        _ => true,
    };
    is_sound.then(|| Sight {
        source: Address::v4_word(words.word::<4>()),
        protocol,
        frame_len: counted(frame_len),
    })
}

/// See `ipv6::parse` and [`transport::parse`].
#[inline(always)]
fn sight_v6<V: Window + ?Sized>(view: &V, words: impl Words) -> Option<Sight> {
    let second = u32::from_be(words.word::<2>());
    let protocol = (second >> 8) as u8;
    if u32::from_be(words.word::<1>()) >> 28 != 6 {
        return None;
    }
    let room = (second >> 16) as usize;
    // It ends where the frame does, which a look at its first buffer doesn't tell.
    if room == 0 {
        return None;
    }
    let frame_len = view.frame_len(BEHIND_V6.wrapping_add(room))?;
    let is_sound = match protocol {
        protocol::TCP => is_tcp(view.words::<V6_TCP>(KIND)?.word::<14>(), room),
        // See `transport::parse_udp` for the other.
        protocol::UDP => is_udp(words.word::<12>(), room),
        protocol::ICMP | protocol::ICMPV6 => room >= Icmpv4Hdr::LEN,
        _ => !ipv6::is_extension(protocol),
    };
    is_sound.then(|| Sight {
        source: Address::v6_words([
            words.word::<3>(),
            words.word::<4>(),
            words.word::<5>(),
            words.word::<6>(),
        ]),
        protocol,
        frame_len: counted(frame_len),
    })
}

/// Whether a TCP header with this fourth word is sound that has so much room.
#[inline(always)]
fn is_tcp(fourth: u32, room: usize) -> bool {
    let header_len = (u32::from_be(fourth) >> 28 << 2) as usize;
    (TcpHdr::LEN..=room).contains(&header_len)
}

/// Whether a UDP header with this second word is sound that has so much room, and says how long it is.
#[inline(always)]
fn is_udp(second: u32, room: usize) -> bool {
    let length = (u32::from_be(second) >> 16) as usize;
    (UdpHdr::LEN..=room).contains(&length)
}

/// The packet that a look was taken at.
#[inline(always)]
pub fn rest<V: Window + ?Sized>(view: &V, sight: &Sight) -> Option<Packet> {
    let words = view.words::<V4_UDP>(KIND)?;
    let (offset, destination, transport) = if sight.source.is_v4() {
        let transport = match sight.protocol {
            protocol::TCP => {
                let fourth = view.words::<V4_TCP>(KIND)?.word::<9>();
                transport::tcp(words.word::<6>(), u32::from_be(fourth))
            }
            protocol::UDP => transport::udp(words.word::<6>()),
            protocol::ICMP | protocol::ICMPV6 => transport::icmp(words.word::<6>()),
            _ => Transport::Opaque,
        };
        (BEHIND_V4, Address::v4_word(words.word::<5>()), transport)
    } else {
        let words = view.words::<V6_UDP>(KIND)?;
        let destination = [
            words.word::<7>(),
            words.word::<8>(),
            words.word::<9>(),
            words.word::<10>(),
        ];
        let transport = match sight.protocol {
            protocol::TCP => {
                let fourth = view.words::<V6_TCP>(KIND)?.word::<14>();
                transport::tcp(words.word::<11>(), u32::from_be(fourth))
            }
            protocol::UDP => transport::udp(words.word::<11>()),
            protocol::ICMP | protocol::ICMPV6 => transport::icmp(words.word::<11>()),
            _ => Transport::Opaque,
        };
        (BEHIND_V6, Address::v6_words(destination), transport)
    };
    Some(Packet {
        protocol: sight.protocol,
        fragment: Fragment::Whole,
        network_offset: START as u16,
        transport_offset: offset as u16,
        transport,
        fragment_id: 0,
        frame_len: sight.frame_len,
        source: sight.source,
        destination,
    })
}
