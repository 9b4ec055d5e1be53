//! TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792), ICMPv6 (RFC 4443); everything else by number.

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
    let header: TcpHdr = read(view, network, Reason::TcpTruncated)?;
    // Data offset and flags: bytes 12 and 13, which network-types keeps as private bit fields.
    let [offset_byte, flags]: [u8; 2] =
        super::read_or(view, network.offset.wrapping_add(12), Reason::TcpTruncated)?;
    let header_len = usize::from(offset_byte >> 4).wrapping_mul(4);
    if header_len < TcpHdr::LEN {
        return ControlFlow::Break(Reason::TcpMalformed);
    }
    // The options of a first fragment may go on in the next one.
    if network.fragment == Fragment::Whole && network.offset.wrapping_add(header_len) > network.end
    {
        return ControlFlow::Break(Reason::TcpTruncated);
    }
    ControlFlow::Continue(Transport::Tcp {
        source: u16::from_be_bytes(header.source),
        destination: u16::from_be_bytes(header.dest),
        flags,
    })
}

#[inline(always)]
fn parse_udp<V: PacketView + ?Sized>(
    view: &V,
    network: &Network,
) -> ControlFlow<Reason, Transport> {
    let header: UdpHdr = read(view, network, Reason::UdpTruncated)?;
    let length = usize::from(u16::from_be_bytes(header.len));
    // Zero stands for "to the end" in a jumbogram (RFC 2675, section 4), and Linux takes it so in
    // any IPv6 packet (net/ipv6/udp.c, __udp6_lib_rcv).
    let to_the_end = length == 0 && !network.source.is_v4();
    if length < UdpHdr::LEN && !to_the_end {
        return ControlFlow::Break(Reason::UdpMalformed);
    }
    if network.fragment == Fragment::Whole && network.offset.wrapping_add(length) > network.end {
        return ControlFlow::Break(Reason::UdpTruncated);
    }
    ControlFlow::Continue(Transport::Udp {
        source: u16::from_be_bytes(header.src),
        destination: u16::from_be_bytes(header.dst),
    })
}

#[inline(always)]
fn parse_icmp<V: PacketView + ?Sized>(
    view: &V,
    network: &Network,
    cut: Reason,
) -> ControlFlow<Reason, Transport> {
    // ICMPv6 has the same first eight bytes: type, code, checksum, and four of the body.
    let header: Icmpv4Hdr = read(view, network, cut)?;
    ControlFlow::Continue(Transport::Icmp {
        kind: header.type_,
        code: header.code,
    })
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
