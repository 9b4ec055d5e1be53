//! The packets that nearly all traffic is: IP right behind Ethernet, its payload right behind IP's own
//! header, all in the frame's first buffer.

use core::ops::ControlFlow;

use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{Address, Fragment, Network, Packet, PacketView, ethernet, ipv6, transport};

/// The word of an Ethernet header that ends with the EtherType.
pub(super) const KIND: usize = EthHdr::LEN - 4;
/// Where IP begins.
pub(super) const START: usize = EthHdr::LEN;
/// Version 4, and a header of five words.
const FIRST_BYTE: u32 = 0x45;
/// "More fragments" and the offset of a fragment.
const IN_FRAGMENTS: u32 = 0x3fff;

/// Reads a usual packet as [`super::parse`] does, whose every offset is then a constant. Nothing for any
/// other, which may be sound as well.
pub fn parse_usual<V: PacketView + ?Sized>(view: &V) -> Option<Packet> {
    if is_v6(view)? {
        parse_v6(view)
    } else {
        parse_v4(view)
    }
}

/// Whether a frame is of IPv6, or of IPv4; nothing for any other.
#[inline(always)]
pub fn is_v6<V: PacketView + ?Sized>(view: &V) -> Option<bool> {
    let [kind]: [u32; 1] = view.read(KIND)?;
    is_kind_v6(kind)
}

/// The same by the word at [`KIND`].
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "half of a word")]
pub(super) fn is_kind_v6(kind: u32) -> Option<bool> {
    // In network order, as the constants.
    match (u32::from_be(kind) as u16).to_be() {
        ethernet::IPV4 => Some(false),
        ethernet::IPV6 => Some(true),
        _ => None,
    }
}

/// [`parse_usual`] of a frame of IPv4.
#[inline(always)]
pub fn parse_v4<V: PacketView + ?Sized>(view: &V) -> Option<Packet> {
    with_transport(view, ipv4(view)?)
}

/// [`parse_usual`] of a frame of IPv6.
#[inline(always)]
pub fn parse_v6<V: PacketView + ?Sized>(view: &V) -> Option<Packet> {
    with_transport(view, ipv6(view)?)
}

#[inline(always)]
fn with_transport<V: PacketView + ?Sized>(
    view: &V,
    (network, frame_len): (Network, usize),
) -> Option<Packet> {
    match transport::parse(view, &network) {
        ControlFlow::Continue(transport) => Some(network.packet(transport, START, frame_len)),
        ControlFlow::Break(_) => None,
    }
}

/// See `ipv4::parse`.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the parts of words")]
fn ipv4<V: PacketView + ?Sized>(view: &V) -> Option<(Network, usize)> {
    let [first, second, third, source, destination]: [u32; Ipv4Hdr::LEN / 4] = view.read(START)?;
    let [first, second, third] = [first, second, third].map(u32::from_be);
    let total_len = (first & 0xffff) as usize;
    if first >> 24 != FIRST_BYTE || second & IN_FRAGMENTS != 0 || total_len < Ipv4Hdr::LEN {
        return None;
    }
    let end = START.wrapping_add(total_len);
    let network = Network {
        source: Address::v4_word(source),
        destination: Address::v4_word(destination),
        protocol: (third >> 16) as u8,
        ..whole(START + Ipv4Hdr::LEN, end)
    };
    Some((network, view.len_at_sight(end)?))
}

/// See `ipv6::parse`.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the parts of words")]
fn ipv6<V: PacketView + ?Sized>(view: &V) -> Option<(Network, usize)> {
    let [first, second, s0, s1, s2, s3, d0, d1, d2, d3]: [u32; Ipv6Hdr::LEN / 4] =
        view.read(START)?;
    let [first, second] = [first, second].map(u32::from_be);
    let protocol = (second >> 8) as u8;
    if first >> 28 != 6 || ipv6::is_extension(protocol) {
        return None;
    }
    let offset = START + Ipv6Hdr::LEN;
    let end = offset.wrapping_add((second >> 16) as usize);
    let network = Network {
        source: Address::v6_words([s0, s1, s2, s3]),
        destination: Address::v6_words([d0, d1, d2, d3]),
        protocol,
        ..whole(offset, end)
    };
    Some((network, view.len_at_sight(end)?))
}

/// A packet that isn't fragmented, but for what its header says.
#[inline(always)]
const fn whole(offset: usize, end: usize) -> Network {
    Network {
        protocol: 0,
        fragment: Fragment::Whole,
        fragment_offset: 0,
        fragment_id: 0,
        source: Address::v4([0; 4]),
        destination: Address::v4([0; 4]),
        offset,
        end,
    }
}
