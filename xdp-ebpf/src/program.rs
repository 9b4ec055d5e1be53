//! The entry point.

use core::ops::ControlFlow;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::{FLAG_COARSE_CLOCK, Policy};
use xdp_common::packet::{self, Packet};
use xdp_common::reason::Reason;
use xdp_common::verdict::decide_parsed;

use crate::maps::SCRATCH;
use crate::record;
use crate::scratch::{keep_packet, packet as kept, reason};
use crate::tables::KernelTables;
use crate::view::XdpView;

/// `xdp.frags` (kernel 5.18): also attaches where frames span several pages (jumbo MTU).
#[xdp(frags)]
pub(crate) fn xdp_throttle(ctx: XdpContext) -> u32 {
    let Some(tables) = KernelTables::new(&ctx) else {
        // Array look-ups below their size cannot fail; the verifier asks for the branch.
        return XDP_PASS;
    };
    let view = XdpView::new(&ctx);
    let verdict = decide_parsed(|| parsed(&ctx), &view, &tables, now);
    record::finish(&ctx, &tables, &view, verdict)
}

/// The packet, read by a function of its own.
#[inline(always)]
fn parsed<'a>(ctx: &XdpContext) -> ControlFlow<Reason, &'a Packet> {
    let broken = parse_packet(ctx.ctx);
    if broken != PARSED {
        return ControlFlow::Break(reason(broken as u8));
    }
    match SCRATCH.get_ptr_mut(0) {
        Some(scratch) => ControlFlow::Continue(kept(scratch)),
        None => ControlFlow::Break(Reason::NoPolicy),
    }
}

const PARSED: u64 = 256;

/// Reads the packet into [`SCRATCH`]; the reason if it can't be.
///
/// VERIFIER: 6.18: as part of the program, its stack is there while later stages call functions of
/// their own, and each of its paths is walked on to the end. A global function is verified once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn parse_packet(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Reason::NoPolicy.code().into();
    };
    match packet::parse(&XdpView::new(&ctx)) {
        ControlFlow::Break(reason) => reason.code().into(),
        ControlFlow::Continue(packet) => {
            keep_packet(scratch, packet);
            PARSED
        }
    }
}

/// `CLOCK_BOOTTIME`, which goes on through suspend: expiries mean wall-clock spans. The kernel has a
/// coarse clock without suspend only; the policy says how long that was.
#[inline(always)]
fn now(policy: &Policy) -> u64 {
    if policy.flags & FLAG_COARSE_CLOCK != 0 {
        // SAFETY: the helper has no arguments and no preconditions (kernel 5.11).
        unsafe { bpf_ktime_get_coarse_ns() + policy.suspended_ns }
    } else {
        // SAFETY: the helper has no arguments and no preconditions (kernel 5.8).
        unsafe { bpf_ktime_get_boot_ns() }
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

// "Dual MIT/GPL": the helpers that the program calls are GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
