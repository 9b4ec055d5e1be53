//! The same source again, as in a flood from one: what became of a packet of its is kept whole, and the next
//! usual one meets it, while lists and policy are as they were.
//!
//! Kept is what a list decided at first sight, of a source that comes twice in a row: sources that take turns
//! don't pay for it. What else comes between leaves it as it is.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use xdp_common::packet::{Address, Sight};
use xdp_common::verdict::{Verdict, deciding_list};

use crate::lists;
use crate::map_pointer::count;
use crate::maps::{COUNTERS, SCRATCH, Scratch};
use crate::record::{counter, without_answer};
use crate::scratch::{before, changes, keep_before, packet, sampler, used};
use crate::tables::KernelTables;

/// What became of a packet, and all that it depends on. That of zeros is no packet's: no interface has that
/// number.
#[repr(C)]
pub(crate) struct Before {
    source: Address,
    /// How many changes there were before.
    changes: u64,
    interface: u32,
    action: u32,
    /// Which list decided it.
    list: u32,
    /// Of [`COUNTERS`].
    counter: u32,
    /// 1 if packets with its reason are sampled.
    sampled: u32,
    reserved: u32,
}

/// What becomes of a packet from the same source as the one before, and counts it.
#[inline(always)]
pub(crate) fn meet(
    ctx: &XdpContext,
    scratch: *mut Scratch,
    sight: &Sight,
    changes: u64,
) -> Option<u32> {
    let before = before(scratch);
    let is_same = before.source == sight.source
        && before.changes == changes
        && before.interface == ctx.ingress_ifindex() as u32;
    // One whose turn it is to be shown goes the usual way.
    if !is_same || before.sampled != 0 && !sampler(scratch).passes_over() {
        return None;
    }
    let bytes = u64::from(sight.frame_len);
    if !lists::passes_over(scratch) {
        let _told = hit_again(ctx.ctx, bytes);
    }
    count(&COUNTERS, before.counter, bytes);
    Some(before.action)
}

/// Counts a hit of what decided the packet before.
///
/// VERIFIER: 6.18: see [`crate::class::class_stage`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hit_again(ctx: *mut xdp_md, bytes: u64) -> u64 {
    let _ctx = used(ctx);
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    let Before { source, list, .. } = before(scratch);
    lists::hit(scratch, *list as u8, source, bytes);
    1
}

/// Keeps what became of the packet at hand, which a list decided.
///
/// VERIFIER: 6.18: see [`crate::class::class_stage`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn keep_outcome(ctx: *mut xdp_md, list: u64) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let (Some(tables), Some((list, reason))) =
        (KernelTables::again(&ctx), deciding_list(list as u8))
    else {
        return 0;
    };
    let (policy, scratch) = (tables.active_policy(), tables.scratch());
    let verdict = Verdict {
        reason,
        action: reason.action(policy),
    };
    let interface = ctx.ingress_ifindex() as u32;
    keep_before(
        scratch,
        Before {
            source: packet(scratch).source,
            changes: *changes(scratch),
            interface,
            action: without_answer(verdict),
            list: list.into(),
            counter: counter(tables.slot_of(interface), verdict),
            sampled: u32::from(policy.sample_mask & reason.bit() != 0),
            reserved: 0,
        },
    );
    1
}

/// See [`keep_outcome`].
#[inline(always)]
pub(crate) fn keep(ctx: &XdpContext, list: u8) {
    let _told = keep_outcome(ctx.ctx, list.into());
}
