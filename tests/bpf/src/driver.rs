//! The driver, and the two programs that show what it costs and what parsing costs.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::macros::xdp;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::XdpContext;

use crate::frame::{self, Address};
use crate::maps::{AIM, PLAIN_PROGRAMS, PROGRAMS};

/// Writes the next source into the frame and calls the program under test, which never returns
/// here.
///
/// A tail call wants both programs to be alike: the real one is `xdp.frags`, so all here are.
#[xdp(frags)]
pub(crate) fn bench_driver(ctx: XdpContext) -> u32 {
    drive(&ctx, &PROGRAMS)
}

/// The same for a program that isn't.
#[xdp]
pub(crate) fn bench_driver_plain(ctx: XdpContext) -> u32 {
    drive(&ctx, &PLAIN_PROGRAMS)
}

#[inline(always)]
fn drive(ctx: &XdpContext, programs: &ProgramArray) -> u32 {
    let Some(aim) = AIM.get_ptr_mut(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: the look-up gave this CPU's value, and nothing else runs on this CPU meanwhile.
    let aim = unsafe { &mut *aim };
    let source = aim.next();
    if !frame::write_source(ctx, aim.family, source) {
        return XDP_ABORTED;
    }
    // SAFETY: nothing here waits for a drop.
    unsafe { programs.tail_call(ctx, aim.target) };
    XDP_ABORTED
}

/// What everything is measured from.
#[xdp(frags)]
pub(crate) fn bench_bare(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// The least that a program must do that looks at addresses.
#[xdp(frags)]
pub(crate) fn bench_parse(ctx: XdpContext) -> u32 {
    match frame::parse(&ctx) {
        // A use of what was parsed, or the compiler would leave the parsing out.
        Some(packet) if packet.address != Address::V4([0; 4]) && packet.bytes != 0 => XDP_DROP,
        Some(_) | None => XDP_PASS,
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

// "Dual MIT/GPL": the helpers that the programs call are GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
