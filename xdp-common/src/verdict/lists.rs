//! Stages 2 and 3: allowlist and blocklist, from one look-up.

use core::ops::ControlFlow;

use super::{Tables, bytes_of};
use crate::lists::{ALLOW, BLOCK};
use crate::packet::Packet;
use crate::reason::Reason;

/// The allowlist wins over everything after it.
#[inline(always)]
pub(super) fn check_allow<T: Tables>(
    packet: &Packet,
    listed: u8,
    tables: &T,
) -> ControlFlow<Reason> {
    check(ALLOW, Reason::Allowlisted, packet, listed, tables)
}

/// Hosts and prefixes, whatever the protocol.
#[inline(always)]
pub(super) fn check_block<T: Tables>(
    packet: &Packet,
    listed: u8,
    tables: &T,
) -> ControlFlow<Reason> {
    check(BLOCK, Reason::Blocklisted, packet, listed, tables)
}

#[inline(always)]
fn check<T: Tables>(
    list: u8,
    reason: Reason,
    packet: &Packet,
    listed: u8,
    tables: &T,
) -> ControlFlow<Reason> {
    if listed & list == 0 {
        return ControlFlow::Continue(());
    }
    tables.hit(list, &packet.source, bytes_of(packet));
    ControlFlow::Break(reason)
}
