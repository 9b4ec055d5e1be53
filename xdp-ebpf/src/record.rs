//! The one exit: counts the packet under its reason and returns the XDP action.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::{debug, error};
use xdp_common::abi::Fault;
use xdp_common::reason::{Action, Reason};
use xdp_common::verdict::Verdict;

use crate::answer;
use crate::map_pointer::{count, count_one};
use crate::maps::{COUNTERS, FAULTS};
use crate::sample;
use crate::tables::KernelTables;

#[inline(always)]
pub(crate) fn finish(
    ctx: &XdpContext,
    tables: &KernelTables,
    verdict: Verdict,
    length: u32,
) -> u32 {
    let slot = tables.interface_slot();
    count(&COUNTERS, counter(slot, verdict), u64::from(length));
    // Before an answer is written over the packet.
    sample::consider(ctx, tables, slot, length, verdict);
    diagnose(ctx, verdict);
    if verdict.action != Action::Answer {
        return without_answer(verdict);
    }
    if answer::write(ctx, tables.active_policy()) {
        XDP_TX
    } else {
        count_one(&FAULTS, Fault::AnswerLost.code());
        XDP_DROP
    }
}

/// The counter of a verdict, by the interface's slot.
#[inline(always)]
pub(crate) fn counter(slot: u32, verdict: Verdict) -> u32 {
    let dropped = match verdict.action {
        Action::Pass => 0,
        Action::Drop | Action::Answer => 1,
    };
    (slot * Reason::SLOTS + u32::from(verdict.reason.code())) * 2 + dropped
}

/// The XDP action of a verdict that isn't answered.
#[inline(always)]
pub(crate) fn without_answer(verdict: Verdict) -> u32 {
    match verdict.action {
        Action::Pass => XDP_PASS,
        Action::Drop | Action::Answer => XDP_DROP,
    }
}

/// Messages for somebody who debugs the program, not of packets that [`crate::again`] decides. The level is a
/// load-time constant, 0 unless asked for, so that the verifier removes this code.
#[inline(always)]
fn diagnose(ctx: &XdpContext, verdict: Verdict) {
    if verdict.reason == Reason::PolicyMismatch {
        error!(
            ctx,
            "the policy has another ABI version than the program: traffic passes unfiltered"
        );
    }
    if verdict.action == Action::Drop {
        debug!(ctx, "dropped: reason {}", verdict.reason.code());
    }
}
