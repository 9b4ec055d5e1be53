//! The entry point.

use core::ops::ControlFlow;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::{FLAG_COARSE_CLOCK, FLAG_FIXED_CLOCK, Policy};
use xdp_common::lists::{ALLOW, BLOCK};
use xdp_common::packet::{self, Packet, frame_len};
use xdp_common::reason::Reason;
use xdp_common::sources::touch;
use xdp_common::verdict::{Tables as _, decide_parsed, source_key};

use crate::lists::first_look_v4;
use crate::maps::{SCRATCH, Scratch};
use crate::record;
use crate::scratch::{
    keep_found, keep_key, keep_packet, keep_place, packet as packet_in, reread, take_asked,
};
use crate::tables::KernelTables;
use crate::told::Told;
use crate::view::XdpView;

/// `xdp.frags` (kernel 5.18): also attaches where frames span several pages (jumbo MTU).
#[xdp(frags)]
pub(crate) fn xdp_throttle(ctx: XdpContext) -> u32 {
    let Some(tables) = KernelTables::new(&ctx) else {
        // Array look-ups below their size cannot fail; the verifier asks for the branch.
        return XDP_PASS;
    };
    let tables = tables.having_read(Told::from_bits(read_packet(ctx.ctx)));
    let view = XdpView::new(&ctx);
    let parsed = || tables.told().parsed().map_continue(|()| tables.packet());
    let verdict = decide_parsed(parsed, &view, &tables, now);
    record::finish(&ctx, &tables, verdict)
}

/// Reads the packet into [`SCRATCH`] and looks for its source in the lists, or says why it
/// can't: bits of [`Told`].
///
/// VERIFIER: 6.18: as part of the program, its stack is there while later stages call functions of
/// their own, and each of its paths is walked on to the end. A global function is verified once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn read_packet(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Told::broken(Reason::NoPolicy, 0).to_bits();
    };
    let view = XdpView::new(&ctx);
    let told = match packet::parse(&view) {
        ControlFlow::Break(reason) => Told::broken(reason, frame_len(&view)),
        ControlFlow::Continue(packet) => {
            keep_packet(scratch, packet);
            let scratch = reread(scratch);
            let listed = look_up(&ctx, scratch);
            Told::packet(listed, packet_in(reread(scratch)).frame_len)
        }
    };
    told.to_bits()
}

/// What the lists say of the packet's source, if that is all; else it is kept.
///
/// Before it looks it asks for the source's own memory, if the last packet's source was looked for there:
/// under a flood of sources that are listed, or that their class refuses, nobody's is.
#[inline(always)]
fn look_up(ctx: &XdpContext, scratch: *mut Scratch) -> Option<u8> {
    let packet = packet_in(scratch);
    let is_v4 = packet.source.is_v4();
    let ask = take_asked(scratch);
    if ask || !is_v4 {
        reckon(ctx, packet, ask);
    }
    if !is_v4 {
        return Some(0);
    }
    let found = first_look_v4(packet.source.v4_bits());
    let is_decided = found.is_all_v4() && found.flags & (ALLOW | BLOCK) != 0;
    if !ask && !is_decided {
        reckon(ctx, packet, false);
    }
    if found.is_all_v4() {
        return Some(found.flags);
    }
    keep_found(scratch, found.to_bits());
    None
}

/// Keeps who the source is, and where it is in the table; asks for the memory there, too.
#[inline(always)]
fn reckon(ctx: &XdpContext, packet: &Packet, ask: bool) {
    let Some(tables) = KernelTables::again(ctx) else {
        return;
    };
    let key = source_key(&packet.source, tables.active_policy());
    let place = tables.place(&key);
    keep_key(tables.scratch(), key);
    keep_place(tables.scratch(), place);
    if ask {
        touch(&tables.sources(), &place);
    }
}

/// `CLOCK_BOOTTIME`, which goes on through suspend: expiries mean wall-clock spans. Ticks don't; the
/// policy says how far they are behind.
#[inline(always)]
fn now(policy: &Policy) -> u64 {
    if policy.flags & FLAG_COARSE_CLOCK != 0 {
        // SAFETY: the helper has no arguments and no preconditions (kernel 5.5).
        let ticks = unsafe { bpf_jiffies64() };
        ticks * u64::from(policy.tick_ns) + policy.clock_offset_ns
    } else if policy.flags & FLAG_FIXED_CLOCK != 0 {
        policy.clock_offset_ns
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
