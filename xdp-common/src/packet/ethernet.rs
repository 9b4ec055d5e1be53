//! Ethernet with up to two VLAN tags (IEEE 802.1Q), and PPPoE behind them.

use core::ops::ControlFlow;

use network_types::eth::{EthHdr, EtherType};
use network_types::vlan::VlanHdr;

use super::{PacketView, pppoe, read_or};
use crate::reason::Reason;

pub(super) const IPV4: u16 = EtherType::Ipv4 as u16;
pub(super) const IPV6: u16 = EtherType::Ipv6 as u16;
const VLAN: u16 = EtherType::Ieee8021q as u16;
const VLAN_SERVICE: u16 = EtherType::Ieee8021ad as u16;
pub(super) const PPPOE_SESSION: u16 = 0x8864_u16.to_be();

/// What a frame carries.
#[derive(Clone, Copy)]
pub(super) struct Carried {
    /// Its EtherType, in network order as network-types has it.
    pub(super) kind: u16,
    /// Where it begins in the frame.
    pub(super) start: usize,
    /// Where the frame has nothing more of it: behind a length that was stated, else nowhere. 0 if the
    /// frame ends before.
    pub(super) within: usize,
}

impl Carried {
    /// What goes on to the frame's end.
    #[inline(always)]
    pub(super) const fn to_the_end(kind: u16, start: usize) -> Self {
        Self {
            kind,
            start,
            within: usize::MAX,
        }
    }

    /// Whether a header of this length ends within what was stated, if that was; `reason` if it doesn't, and
    /// whatever stands in its place is no header.
    #[inline(always)]
    pub(super) const fn holds(&self, length: usize, reason: Reason) -> ControlFlow<Reason> {
        if self.start.wrapping_add(length) > self.within {
            return ControlFlow::Break(reason);
        }
        ControlFlow::Continue(())
    }

    /// What begins behind the frame's end.
    #[inline(always)]
    pub(super) const fn cut(start: usize) -> Self {
        Self {
            kind: PPPOE_SESSION,
            start,
            within: 0,
        }
    }
}

/// What is behind the VLAN tags, or in the PPPoE session there.
#[inline(always)]
pub(super) fn parse<V: PacketView + ?Sized>(view: &V) -> ControlFlow<Reason, Carried> {
    let (kind, start) = parse_tags(view)?;
    if kind == PPPOE_SESSION {
        return ControlFlow::Continue(pppoe::parse(view, start));
    }
    ControlFlow::Continue(Carried::to_the_end(kind, start))
}

/// The EtherType behind the VLAN tags, in network order, and the offset of what it names.
#[inline(always)]
pub(super) fn parse_tags<V: PacketView + ?Sized>(view: &V) -> ControlFlow<Reason, (u16, usize)> {
    let ethernet: EthHdr = read_or(view, 0, Reason::EthernetTruncated)?;
    if !is_vlan(ethernet.ether_type) {
        return ControlFlow::Continue((ethernet.ether_type, EthHdr::LEN));
    }
    let outer: VlanHdr = read_or(view, EthHdr::LEN, Reason::EthernetTruncated)?;
    if !is_vlan(outer.ether_type) {
        return ControlFlow::Continue((outer.ether_type, EthHdr::LEN + VlanHdr::LEN));
    }
    let inner: VlanHdr = read_or(view, EthHdr::LEN + VlanHdr::LEN, Reason::EthernetTruncated)?;
    if is_vlan(inner.ether_type) {
        return ControlFlow::Break(Reason::VlanTooDeep);
    }
    ControlFlow::Continue((inner.ether_type, EthHdr::LEN + 2 * VlanHdr::LEN))
}

#[inline(always)]
fn is_vlan(ether_type: u16) -> bool {
    ether_type == VLAN || ether_type == VLAN_SERVICE
}
