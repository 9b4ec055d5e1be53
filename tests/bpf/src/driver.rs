//! The driver, and the two programs that show what it costs and what parsing costs.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::macros::xdp;
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::XdpContext;

use crate::abi::Verdict;
use crate::frame::{self, Address, Packet};
use crate::maps::{AIM, COUNTS, FLOOR, PLAIN_PROGRAMS, PROGRAMS, SMALLEST};
use crate::word;

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

/// The least that a look-up in a table of this size can cost: one read from a line of it that the
/// address alone chooses.
#[xdp(frags)]
pub(crate) fn bench_line(ctx: XdpContext) -> u32 {
    match frame::parse(&ctx) {
        Some(packet) if is_in_line(&packet, &FLOOR, &raw const FLOOR_LINES) => XDP_DROP,
        Some(_) | None => XDP_PASS,
    }
}

/// The same in the smallest table that can hold such a list.
#[xdp(frags)]
pub(crate) fn bench_smallest(ctx: XdpContext) -> u32 {
    match frame::parse(&ctx) {
        Some(packet) if is_in_line(&packet, &SMALLEST, &raw const SMALLEST_LINES) => XDP_DROP,
        Some(_) | None => XDP_PASS,
    }
}

/// The least that drops what is listed and says how much: the same with a counter of this CPU's own.
#[xdp(frags)]
pub(crate) fn bench_least(ctx: XdpContext) -> u32 {
    match frame::parse(&ctx) {
        Some(packet) if is_in_line(&packet, &FLOOR, &raw const FLOOR_LINES) => {
            word::count_here(&COUNTS, Verdict::Blocklisted as u32, packet.bytes);
            XDP_DROP
        }
        Some(_) | None => XDP_PASS,
    }
}

/// Always, after a look.
#[inline(always)]
fn is_in_line(packet: &Packet, table: &Array<[u64; 8]>, lines: *const [u32; 2]) -> bool {
    // SAFETY: a static of the program; volatile, because its value is known at load only.
    let [lines_v4, lines_v6] = unsafe { lines.read_volatile() };
    let (key, lines) = match packet.address {
        Address::V4(a) => (u64::from(u32::from_be_bytes(a)), lines_v4),
        Address::V6([a, b, c, d, e, f, g, h, ..]) => {
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]), lines_v6)
        }
    };
    let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let line = (hash * u64::from(lines)) >> 32;
    match table.get_ptr(line as u32) {
        // SAFETY: a word of the value that the look-up gave. Nothing in the table is 1.
        Some(value) => unsafe { value.cast::<u64>().read_volatile() != 1 },
        None => true,
    }
}

/// Lines of [`FLOOR`] for IPv4 and IPv6, set before the program is loaded.
#[unsafe(no_mangle)]
static FLOOR_LINES: [u32; 2] = [1; 2];
/// The same of [`SMALLEST`].
#[unsafe(no_mangle)]
static SMALLEST_LINES: [u32; 2] = [1; 2];

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

// "Dual MIT/GPL": the helpers that the programs call are GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
