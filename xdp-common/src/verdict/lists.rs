//! Stages 2 and 3: allowlist and blocklist, from one look-up.

use core::ops::ControlFlow;

use super::{Tables, bytes_of};
use crate::lists::{ALLOW, BLOCK};
use crate::packet::Packet;
use crate::reason::Reason;

/// Which list decides a packet whose source the lists say this of, whatever its protocol, and what its
/// reason is. The allowlist wins over everything after it.
#[inline(always)]
pub const fn deciding_list(listed: u8) -> Option<(u8, Reason)> {
    if listed & ALLOW != 0 {
        Some((ALLOW, Reason::Allowlisted))
    } else if listed & BLOCK != 0 {
        Some((BLOCK, Reason::Blocklisted))
    } else {
        None
    }
}

#[inline(always)]
pub(super) fn check_lists<T: Tables>(
    packet: &Packet,
    listed: u8,
    tables: &T,
) -> ControlFlow<Reason> {
    match deciding_list(listed) {
        Some((list, reason)) => {
            tables.hit(list, &packet.source, bytes_of(packet));
            ControlFlow::Break(reason)
        }
        None => ControlFlow::Continue(()),
    }
}
