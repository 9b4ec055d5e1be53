//! The same source again, as in a flood from one: what became of a packet of its is kept whole, and the next
//! one with the same outline meets it, while lists and policy are as they were.
//!
//! Kept is what a list decided at first sight, of a source that comes twice in a row with packets of the same
//! length: sources that take turns don't pay for it. What else comes between leaves it as it is.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use xdp_common::packet::{Outline, Packet};
use xdp_common::verdict::{Verdict, deciding_list};

use crate::lists;
use crate::map_pointer::count;
use crate::maps::{COUNTERS, SCRATCH, Scratch};
use crate::record::{counter, without_answer};
use crate::scratch::{before, before_to_be, changes, sampler, used};
use crate::tables::KernelTables;
use crate::view::{FirstBuffer, XdpView};

/// What became of a packet, and all that it depends on. That of zeros is no packet's.
#[repr(C)]
pub(crate) struct Before {
    outline: Outline,
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
}

/// Whether the outcome of a packet is worth keeping, by the one before: the next one may have its outline.
#[inline(always)]
pub(crate) fn may_be_kept(last: &Packet, packet: &Packet) -> bool {
    last.frame_len == packet.frame_len
        && packet.frame_len >= Outline::SHORTEST
        && last.source == packet.source
}

/// What becomes of a packet that is like the one before, and counts it.
#[inline(always)]
pub(crate) fn meet(ctx: &XdpContext, scratch: *mut Scratch, changes: u64) -> Option<u32> {
    let before = before(scratch);
    let outline = &before.outline;
    let is_same = outline.is_of(&FirstBuffer(XdpView::new(ctx)))
        && before.changes == changes
        && before.interface == ctx.ingress_ifindex() as u32;
    // One whose turn it is to be shown goes the usual way.
    if !is_same || before.sampled != 0 && !sampler(scratch).passes_over() {
        return None;
    }
    if !lists::passes_over(scratch) {
        let _told = hit_again(ctx.ctx);
    }
    let bytes = u64::from(outline.frame_len());
    count(&COUNTERS, before.counter, bytes);
    Some(before.action)
}

/// Counts a hit of what decided the packet before.
///
/// VERIFIER: 6.18: see [`crate::class::class_stage`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hit_again(ctx: *mut xdp_md) -> u64 {
    let _ctx = used(ctx);
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    let Before { outline, list, .. } = before(scratch);
    let bytes = u64::from(outline.frame_len());
    lists::hit(scratch, *list as u8, &outline.source(), bytes);
    1
}

/// Keeps what became of the packet that is kept, which a list decided.
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
    let (changes, interface) = (*changes(scratch), ctx.ingress_ifindex() as u32);
    let before = before_to_be(scratch);
    before.changes = changes;
    before.interface = interface;
    before.action = without_answer(verdict);
    before.list = list.into();
    before.counter = counter(tables.slot_of(interface), verdict);
    before.sampled = u32::from(policy.sample_mask & reason.bit() != 0);
    // Last: without it nothing meets the rest.
    before
        .outline
        .trace(&FirstBuffer(XdpView::new(&ctx)))
        .into()
}

/// See [`keep_outcome`].
#[inline(always)]
pub(crate) fn keep(ctx: &XdpContext, list: u8) {
    let _told = keep_outcome(ctx.ctx, list.into());
}
