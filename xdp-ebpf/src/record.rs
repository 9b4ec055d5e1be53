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
    let dropped = match verdict.action {
        Action::Pass => 0,
        Action::Drop | Action::Answer => 1,
    };
    let index = (slot * Reason::SLOTS + u32::from(verdict.reason.code())) * 2 + dropped;
    count(&COUNTERS, index, u64::from(length));
    // Before an answer is written over the packet.
    sample::consider(ctx, tables, slot, length, verdict);
    diagnose(ctx, verdict);
    match verdict.action {
        Action::Pass => XDP_PASS,
        Action::Drop => XDP_DROP,
        Action::Answer if answer::write(ctx, tables.active_policy()) => XDP_TX,
        Action::Answer => {
            count_one(&FAULTS, Fault::AnswerLost.code());
            XDP_DROP
        }
    }
}

/// Messages for somebody who debugs the program. The level is a load-time constant, 0 unless asked
/// for, so that the verifier removes this code.
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
