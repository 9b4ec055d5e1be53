//! Shows some packets to the controller.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_boot_ns, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::{
    FAMILY_IPV4, FAMILY_IPV6, Fault, SAMPLE_ANSWERED, SAMPLE_BYTES, SAMPLE_DROPPED, SAMPLE_PASSED,
    Sample, SampleHead,
};
use xdp_common::packet::Octets;
use xdp_common::reason::{Action, Reason};
use xdp_common::verdict::Verdict;

use crate::map_pointer::{SamplePlace, count_one};
use crate::maps::{FAULTS, SAMPLES};
use crate::scratch::{opaque, reason, sampler, used};
use crate::tables::KernelTables;

/// Above a reason: the action, the interface's slot, and the frame's length.
const ACTION_SHIFT: u32 = 8;
const SLOT_SHIFT: u32 = 16;
const LENGTH_SHIFT: u32 = 32;

/// Shows the packet if it is its turn. Without sampling: a look at a word of the policy's first line,
/// which has been read for this packet. With it, for packets whose reason is sampled: a count in this
/// CPU's own memory as well, which has been written for this packet; the rest is rare.
#[inline(always)]
pub(crate) fn consider(
    ctx: &XdpContext,
    tables: &KernelTables,
    slot: u32,
    length: u32,
    verdict: Verdict,
) {
    let is_wanted = tables.active_policy().sample_mask & verdict.reason.bit() != 0;
    if !is_wanted || sampler(tables.scratch()).passes_over() {
        return;
    }
    let action = match verdict.action {
        Action::Pass => SAMPLE_PASSED,
        Action::Drop => SAMPLE_DROPPED,
        Action::Answer => SAMPLE_ANSWERED,
    };
    let what = u64::from(verdict.reason.code())
        | u64::from(action) << ACTION_SHIFT
        | u64::from(slot) << SLOT_SHIFT
        | u64::from(length) << LENGTH_SHIFT;
    let _told = look_closer(ctx.ctx, what);
}

/// VERIFIER: 6.18: see [`crate::class::class_stage`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn look_closer(ctx: *mut xdp_md, what: u64) -> u64 {
    // Or LLVM passes nothing, see [`crate::offence`].
    let ctx = XdpContext::new(used(ctx));
    let Some(tables) = KernelTables::again(&ctx) else {
        return 0;
    };
    let policy = tables.active_policy();
    // SAFETY: the helper has no arguments and no preconditions (kernel 5.8).
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: the helper has no arguments and no preconditions (kernel 4.1).
    let random = unsafe { bpf_get_prandom_u32() };
    let sampler = sampler(tables.scratch());
    let Some(stands_for) = sampler.look(&policy.sample_limit, policy.sample_every, now, random)
    else {
        return 0;
    };
    let Some(mut record) = SAMPLES.reserve::<Sample>(0) else {
        count_one(&FAULTS, Fault::SampleLost.code());
        return 0;
    };
    let place = SamplePlace::of(record.as_mut_ptr());
    let length = what >> LENGTH_SHIFT;
    let captured = load(&ctx, &place, length, policy.sample_bytes.into());
    let reason = reason(what as u8);
    let (addr, family) = source(&tables, reason);
    place.describe(SampleHead {
        time_ns: now,
        addr,
        length: length as u32,
        captured: captured as u32,
        stands_for,
        slot: (what >> SLOT_SHIFT) as u8,
        reason: reason.code(),
        action: (what >> ACTION_SHIFT) as u8,
        family,
    });
    record.submit(0);
    1
}

/// Copies the frame's first bytes; how many.
///
/// VERIFIER: 6.18: the bound must be seen on the very register that the helper gets. 6.1: and a lower
/// one, which it doesn't learn from a comparison with 0: so the last byte's number is compared.
#[inline(always)]
fn load(ctx: &XdpContext, place: &SamplePlace, length: u64, wanted: u64) -> u64 {
    let bytes = if length < wanted { length } else { wanted };
    let last = opaque(bytes.wrapping_sub(1));
    if last >= SAMPLE_BYTES as u64 {
        return 0;
    }
    let bytes = last + 1;
    // SAFETY: the place has [`SAMPLE_BYTES`] of room; the helper checks the range of the frame
    // (kernel 5.18).
    match unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, place.frame(), bytes as u32) } {
        0 => bytes,
        _ => 0,
    }
}

/// The packet's source, where it was read: what is kept is of an earlier packet else.
#[inline(always)]
fn source(tables: &KernelTables, reason: Reason) -> ([u8; 16], u8) {
    if reason.is_of_parser() || !tables.active_policy().is_current() {
        return ([0; 16], 0);
    }
    match tables.packet().source.octets() {
        Octets::V4([a, b, c, d]) => {
            let addr = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            (addr, FAMILY_IPV4)
        }
        Octets::V6(addr) => (addr, FAMILY_IPV6),
    }
}
