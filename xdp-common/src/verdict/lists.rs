//! Stages 2 and 3: allowlist and blocklist.

use core::ops::ControlFlow;

use super::tables::in_force;
use super::{Clock, EntryState, Tables, bytes_of};
use crate::packet::Packet;
use crate::reason::Reason;

/// The allowlist wins over everything after it.
#[inline(always)]
pub(super) fn check_allow<T: Tables, C: Fn() -> u64>(
    packet: &Packet,
    tables: &T,
    clock: &Clock<C>,
) -> ControlFlow<Reason> {
    match tables.allowed(&packet.source) {
        Some(entry) if in_force(&entry, || clock.now()) => {
            entry.hit(bytes_of(packet));
            ControlFlow::Break(Reason::Allowlisted)
        }
        Some(_) | None => ControlFlow::Continue(()),
    }
}

/// Hosts and prefixes, whatever the protocol.
///
/// The trie gives the longest match only. The controller never stores an entry that a covering one
/// outlives, so an expired longest match means that every covering entry has expired too.
#[inline(always)]
pub(super) fn check_block<T: Tables, C: Fn() -> u64>(
    packet: &Packet,
    tables: &T,
    clock: &Clock<C>,
) -> ControlFlow<Reason> {
    match tables.blocked(&packet.source) {
        Some(entry) if in_force(&entry, || clock.now()) => {
            entry.hit(bytes_of(packet));
            ControlFlow::Break(Reason::Blocklisted)
        }
        Some(_) | None => ControlFlow::Continue(()),
    }
}
