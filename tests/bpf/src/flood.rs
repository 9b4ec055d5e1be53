//! The sender of the live half: run with `BPF_F_TEST_XDP_LIVE_FRAMES`, each frame leaves through a
//! veth pair with a source of its own. And the program for receivers that want packets as the
//! stack's buffers.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::frame;
use crate::maps::{AIM, FLOOD};

/// Writes the next source and the header checksum that goes with it, and sends the frame.
#[xdp]
pub(crate) fn bench_flood(ctx: XdpContext) -> u32 {
    let (Some(aim), Some(flood)) = (AIM.get_ptr_mut(0), FLOOD.get(0)) else {
        return XDP_ABORTED;
    };
    // SAFETY: the look-up gave this CPU's value, and nothing else runs on this CPU meanwhile.
    let source = unsafe { (*aim).next() };
    // Frames come back. One that has the source already is left alone, so that its header stays
    // readable in the receiver's cache: with one source nothing but the program is measured.
    if !frame::is_from(&ctx, source)
        && !(frame::write_source(&ctx, 4, source) && frame::write_checksum(&ctx, flood.sum, source))
    {
        return XDP_ABORTED;
    }
    // SAFETY: the helper takes numbers only.
    unsafe { bpf_redirect(flood.interface, 0) as u32 }
}

/// veth takes live frames on an end only where a program is attached; this one does nothing more.
#[xdp(frags)]
pub(crate) fn bench_pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Puts frames of packet sockets onto the receiver's wire as a network card hands them over: not as
/// the stack's buffers, which veth would copy before a program sees them, on the receiver's time.
#[xdp(frags)]
pub(crate) fn bench_relay(_ctx: XdpContext) -> u32 {
    let Some(flood) = FLOOD.get(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: the helper takes numbers only.
    unsafe { bpf_redirect(flood.interface, 0) as u32 }
}
