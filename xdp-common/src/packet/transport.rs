//! TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792), ICMPv6 (RFC 4443); everything else by number.

#![allow(clippy::cast_possible_truncation, reason = "the parts of words")]

use core::ops::ControlFlow;

use network_types::icmp::Icmpv4Hdr;
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use super::{Fragment, Header, Network, PacketView, Transport, protocol};
use crate::reason::Reason;

#[inline(always)]
pub(super) fn parse<V: PacketView + ?Sized>(
    view: &V,
    network: &Network,
) -> ControlFlow<Reason, Transport> {
    if network.fragment == Fragment::Later {
        // RFC 3128: what would be written over the header that was judged. The first fragment holds
        // all of it, else it is a tiny one.
        if network.protocol == protocol::TCP && usize::from(network.fragment_offset) < TcpHdr::LEN {
            return ControlFlow::Break(Reason::FragmentOverlap);
        }
        return ControlFlow::Continue(Transport::Opaque);
    }
    match network.protocol {
        protocol::TCP => parse_tcp(view, network),
        protocol::UDP => parse_udp(view, network),
        protocol::ICMP => parse_icmp(view, network, Reason::IcmpTruncated),
        protocol::ICMPV6 => parse_icmp(view, network, Reason::Icmpv6Truncated),
        _ => ControlFlow::Continue(Transport::Opaque),
    }
}

#[inline(always)]
fn parse_tcp<V: PacketView + ?Sized>(
    view: &V,
    network: &Network,
) -> ControlFlow<Reason, Transport> {
    // RFC 9293, section 3.1.
    let [ports, _, _, fourth, _]: [u32; TcpHdr::LEN / 4] =
        read(view, network, Reason::TcpTruncated)?;
    let fourth = u32::from_be(fourth);
    let header_len = ((fourth >> 28) as usize).wrapping_mul(4);
    if header_len < TcpHdr::LEN {
        return ControlFlow::Break(Reason::TcpMalformed);
    }
    // The options of a first fragment may go on in the next one.
    if network.fragment == Fragment::Whole && network.offset.wrapping_add(header_len) > network.end
    {
        return ControlFlow::Break(Reason::TcpTruncated);
    }
    ControlFlow::Continue(tcp(ports, fourth))
}

/// By the first word of the header in network order, and the fourth as a number.
#[inline(always)]
pub(super) fn tcp(ports: u32, fourth: u32) -> Transport {
    let (source, destination) = both(ports);
    Transport::Tcp {
        source,
        destination,
        flags: (fourth >> 16) as u8,
    }
}

#[inline(always)]
fn parse_udp<V: PacketView + ?Sized>(
    view: &V,
    network: &Network,
) -> ControlFlow<Reason, Transport> {
    // RFC 768: ports, length, checksum.
    let [ports, second]: [u32; UdpHdr::LEN / 4] = read(view, network, Reason::UdpTruncated)?;
    let length = (u32::from_be(second) >> 16) as usize;
    // Zero stands for "to the end" in a jumbogram (RFC 2675, section 4), and Linux takes it so in
    // any IPv6 packet (net/ipv6/udp.c, __udp6_lib_rcv).
    let to_the_end = length == 0 && !network.source.is_v4();
    if length < UdpHdr::LEN && !to_the_end {
        return ControlFlow::Break(Reason::UdpMalformed);
    }
    if network.fragment == Fragment::Whole && network.offset.wrapping_add(length) > network.end {
        return ControlFlow::Break(Reason::UdpTruncated);
    }
    ControlFlow::Continue(udp(ports))
}

/// By the first word of the header in network order.
#[inline(always)]
pub(super) fn udp(ports: u32) -> Transport {
    let (source, destination) = both(ports);
    Transport::Udp {
        source,
        destination,
    }
}

#[inline(always)]
fn parse_icmp<V: PacketView + ?Sized>(
    view: &V,
    network: &Network,
    cut: Reason,
) -> ControlFlow<Reason, Transport> {
    // ICMPv6 has the same first eight bytes: type, code, checksum, and four of the body.
    let [first, _]: [u32; Icmpv4Hdr::LEN / 4] = read(view, network, cut)?;
    ControlFlow::Continue(icmp(first))
}

/// By the first word of the header in network order.
#[inline(always)]
pub(super) fn icmp(first: u32) -> Transport {
    let first = u32::from_be(first);
    Transport::Icmp {
        kind: (first >> 24) as u8,
        code: (first >> 16) as u8,
    }
}

/// Source and destination port.
#[inline(always)]
fn both(ports: u32) -> (u16, u16) {
    let ports = u32::from_be(ports);
    ((ports >> 16) as u16, (ports & 0xffff) as u16)
}

/// The transport header, if both the frame and the packet's own length reach behind it.
#[inline(always)]
fn read<T: Header, V: PacketView + ?Sized>(
    view: &V,
    network: &Network,
    cut: Reason,
) -> ControlFlow<Reason, T> {
    let reason = match network.fragment {
        Fragment::First => Reason::TinyFragment,
        Fragment::Whole | Fragment::Later => cut,
    };
    if network.offset.wrapping_add(size_of::<T>()) > network.end {
        return ControlFlow::Break(reason);
    }
    super::read_or(view, network.offset, reason)
}
