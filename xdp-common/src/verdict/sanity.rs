//! Stage 5: packets that no honest stack sends.

use core::ops::ControlFlow;

use crate::abi::{FLAG_SANITY_LAND, FLAG_SANITY_MARTIAN, FLAG_SANITY_TCP_FLAGS};
use crate::packet::tcp_flags::{ACK, FIN, RST, SYN};
use crate::packet::{Address, Octets, Packet, PacketView, Transport, protocol};
use crate::reason::Reason;

#[inline(always)]
pub(super) fn check_sanity<V: PacketView + ?Sized>(
    view: &V,
    packet: &Packet,
    flags: u32,
) -> ControlFlow<Reason> {
    if flags & FLAG_SANITY_TCP_FLAGS != 0
        && let Transport::Tcp { flags: set, .. } = packet.transport
        && is_impossible(set)
    {
        return ControlFlow::Break(Reason::TcpFlags);
    }
    if flags & FLAG_SANITY_LAND != 0
        && packet.source == packet.destination
        && !is_from_loopback_device(view)
    {
        return ControlFlow::Break(Reason::Land);
    }
    if flags & FLAG_SANITY_MARTIAN != 0 && is_martian(packet) && !is_from_loopback_device(view) {
        return ControlFlow::Break(Reason::MartianSource);
    }
    ControlFlow::Continue(())
}

/// A host talks to itself from any of its addresses to any of them, over the one device whose
/// frames have no Ethernet addresses (drivers/net/loopback.c). On a wire such a frame is for
/// nobody, and no stack takes it. Read last: nearly no packet gets here.
#[inline(always)]
fn is_from_loopback_device<V: PacketView + ?Sized>(view: &V) -> bool {
    let addresses: Option<[u32; 3]> = view.read(0);
    addresses.is_some_and(|[a, b, c]| a | b | c == 0)
}

/// RFC 9293, section 3.10: every segment of a connection but the first SYN and an RST carries ACK,
/// and SYN goes with neither FIN nor RST.
#[inline(always)]
fn is_impossible(flags: u8) -> bool {
    let control = flags & (SYN | FIN | RST | ACK);
    control == 0
        || control & (SYN | FIN) == SYN | FIN
        || control & (SYN | RST) == SYN | RST
        || control & (FIN | ACK | RST) == FIN
}

/// RFC 1122, section 3.2.1.3 and RFC 6890: addresses that are never a source on the wire.
#[inline(always)]
fn is_martian(packet: &Packet) -> bool {
    match packet.source.octets() {
        Octets::V4([0, 0, 0, 0]) => !may_be_unspecified_v4(packet),
        Octets::V4([first, ..]) => {
            first == 0 || first == 127 || first >> 4 == 14 || packet.source == Address::v4([255; 4])
        }
        Octets::V6(a) => {
            let [first, ..] = a;
            let value = u128::from_be_bytes(a);
            match value {
                // Duplicate address detection and MLD (RFC 4862, RFC 3810).
                0 => packet.protocol != protocol::ICMPV6,
                1 => true,
                _ => first == 0xff || value >> 32 == 0xffff,
            }
        }
    }
}

/// A host without an address sends DHCP (RFC 2131, section 4.1) and IGMP (RFC 3376, section 4.2.13).
#[inline(always)]
fn may_be_unspecified_v4(packet: &Packet) -> bool {
    match packet.transport {
        Transport::Udp { destination, .. } => destination == 67,
        Transport::Opaque => packet.protocol == protocol::IGMP,
        Transport::Tcp { .. } | Transport::Icmp { .. } => false,
    }
}
