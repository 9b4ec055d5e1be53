//! What a source did beyond its limits, in a function of its own.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use xdp_common::verdict::{Offence, is_spared as spared, offended};

use crate::scratch::{key, place, reason, used};
use crate::sources::Known;
use crate::tables::KernelTables;
use crate::view::XdpView;

/// Above a reason: the source's way, and whether it is new.
const WAY_SHIFT: u32 = 8;
const NEW_SHIFT: u32 = 16;
const SPARED_SHIFT: u32 = 24;
const PACKETS_SHIFT: u32 = 32;

/// Tells of an offence of the source that is kept, unless the packet at hand is spared.
#[inline(always)]
pub(crate) fn tell(ctx: &XdpContext, known: &Known, offence: &Offence, now: u64) -> bool {
    let what = u64::from(offence.reason.code())
        | u64::from(known.way()) << WAY_SHIFT
        | u64::from(known.is_new()) << NEW_SHIFT
        | u64::from(offence.may_be_spared) << SPARED_SHIFT
        | offence.packets << PACKETS_SHIFT;
    if spare(ctx.ctx, what, now) != 0 {
        return false;
    }
    let _told = offend(ctx.ctx, what, offence.bytes, now);
    true
}

/// 1 if the packet at hand passes all the same.
///
/// VERIFIER: 6.1: asked of each, so that the program keeps nothing on its stack for the question.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn spare(ctx: *mut xdp_md, what: u64, now: u64) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let Some(tables) = KernelTables::again(&ctx) else {
        return 0;
    };
    if what >> SPARED_SHIFT & 1 == 0 {
        return 0;
    }
    let view = XdpView::new(&ctx);
    spared(tables.packet(), &view, reason(what as u8), &tables, now).into()
}

/// VERIFIER: 6.18: see [`crate::class::class_stage`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn offend(ctx: *mut xdp_md, what: u64, bytes: u64, now: u64) -> u64 {
    // Or LLVM passes nothing where the stages behind ask nothing of it, and the verifier minds.
    let ctx = XdpContext::new(used(ctx));
    let Some(tables) = KernelTables::again(&ctx) else {
        return 0;
    };
    let place = place(tables.scratch());
    let way = (what >> WAY_SHIFT) as u32 & 0xff;
    let is_new = what >> NEW_SHIFT & 1 != 0;
    let Some(known) = Known::at(&tables.sources(), place, way, is_new) else {
        return 0;
    };
    let offence = Offence {
        reason: reason(what as u8),
        packets: what >> PACKETS_SHIFT,
        bytes,
        may_be_spared: false,
    };
    offended(&known, key(tables.scratch()), place, &offence, &tables, now);
    1
}
