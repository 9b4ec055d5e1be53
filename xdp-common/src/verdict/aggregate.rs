//! Limits of whole networks: a botnet in one /24 or /48 is one source where the operator wants it.

use core::ops::ControlFlow;

use super::{Tables, bytes_of};
use crate::abi::{FAMILY_IPV4, FAMILY_IPV6, FLAG_AGGREGATES, Plain, Policy, SourceKey};
use crate::packet::{Address, Octets, Packet};
use crate::reason::Reason;

/// Told apart from a source of the same address.
const NETWORK: u8 = 1;

#[inline(always)]
pub(super) fn check_aggregate<T: Tables>(
    packet: &Packet,
    tables: &T,
    policy: &Policy,
    now: u64,
) -> ControlFlow<Reason> {
    if tables.flags(policy) & FLAG_AGGREGATES == 0 {
        return ControlFlow::Continue(());
    }
    let hash = tables.hash(&network(&packet.source, policy));
    let (packets, bytes) = (&policy.aggregate_packets, &policy.aggregate_bytes);
    if !packets.is_off() && !tables.meter(hash, packets, 1, now) {
        return ControlFlow::Break(Reason::AggregatePackets);
    }
    if !bytes.is_off() && !tables.meter(!hash, bytes, bytes_of(packet), now) {
        return ControlFlow::Break(Reason::AggregateBytes);
    }
    ControlFlow::Continue(())
}

/// The network that an address is in under `policy`.
#[inline(always)]
pub fn network(address: &Address, policy: &Policy) -> SourceKey {
    let (addr, family) = match &address.octets() {
        Octets::V4(a) => {
            let masked = u32::from_ne_bytes(*a) & u32::from_ne_bytes(policy.aggregate_mask_v4);
            let [b0, b1, b2, b3] = masked.to_ne_bytes();
            let addr = [b0, b1, b2, b3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            (addr, FAMILY_IPV4)
        }
        Octets::V6(a) => {
            let masked = u128::from_ne_bytes(*a) & u128::from_ne_bytes(policy.aggregate_mask_v6);
            (masked.to_ne_bytes(), FAMILY_IPV6)
        }
    };
    SourceKey {
        addr,
        family,
        reserved: [NETWORK, 0, 0, 0, 0, 0],
        ..SourceKey::ZERO
    }
}
