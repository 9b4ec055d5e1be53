//! The entry point.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::{FLAG_COARSE_CLOCK, Policy};
use xdp_common::verdict::decide;

use crate::record;
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
    let verdict = decide(&view, &tables, now);
    record::finish(&ctx, &tables, &view, verdict)
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
