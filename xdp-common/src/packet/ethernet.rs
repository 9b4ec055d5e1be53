//! Ethernet with up to two VLAN tags (IEEE 802.1Q).

use core::ops::ControlFlow;

use network_types::eth::{EthHdr, EtherType};
use network_types::vlan::VlanHdr;

use super::{PacketView, read_or};
use crate::reason::Reason;

pub(super) const IPV4: u16 = EtherType::Ipv4 as u16;
pub(super) const IPV6: u16 = EtherType::Ipv6 as u16;
const VLAN: u16 = EtherType::Ieee8021q as u16;
const VLAN_SERVICE: u16 = EtherType::Ieee8021ad as u16;

/// The EtherType behind the VLAN tags, in network order as network-types has it, and the offset
/// of what it names.
#[inline(always)]
pub(super) fn parse<V: PacketView + ?Sized>(view: &V) -> ControlFlow<Reason, (u16, usize)> {
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
