//! The entry point.

use core::ops::ControlFlow;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::{FLAG_COARSE_CLOCK, FLAG_FIXED_CLOCK, Policy};
use xdp_common::lists::Found;
use xdp_common::packet::{self, Packet, frame_len, usual};
use xdp_common::reason::Reason;
use xdp_common::sources::touch;
use xdp_common::verdict::{decide_under, deciding_list, not_current, source_words};

use crate::lists::InForce;
use crate::maps::{SCRATCH, Scratch, constant};
use crate::scratch::{
    keep_changes, keep_found, keep_key, keep_known, keep_packet, keep_place, packet as packet_in,
    reread, take_asked, used,
};
use crate::tables::KernelTables;
use crate::told::Told;
use crate::view::{FirstBuffer, XdpView};
use crate::{again, known, lists, record};

/// `xdp.frags` (kernel 5.18): also attaches where frames span several pages (jumbo MTU).
#[xdp(frags)]
pub(crate) fn xdp_throttle(ctx: XdpContext) -> u32 {
    // Array look-ups below their size cannot fail; the verifier asks for the branch.
    let (Some(scratch), Some(changes)) = (SCRATCH.get_ptr_mut(0), lists::changes()) else {
        return XDP_PASS;
    };
    if let Some(action) = again::meet(&ctx, scratch, changes) {
        return action;
    }
    keep_changes(scratch, changes);
    let Some(tables) = KernelTables::new(&ctx, scratch) else {
        return XDP_PASS;
    };
    let view = XdpView::new(&ctx);
    let policy = tables.active_policy();
    if !policy.is_current() {
        return record::finish(&ctx, &tables, not_current(policy), frame_len(&view));
    }
    let told = read(&ctx);
    let parsed = || told.parsed().map_continue(|()| tables.packet());
    let verdict = decide_under(policy, parsed, &view, &tables, now);
    let action = record::finish(&ctx, &tables, verdict, told.length());
    if let Some(list) = told.list() {
        again::keep(&ctx, list);
    }
    action
}

/// Reads the packet, and what the lists say of its source.
#[inline(always)]
fn read(ctx: &XdpContext) -> Told {
    let told = Told::from_bits(read_usual(ctx.ctx));
    if told.is_unread() {
        Told::from_bits(read_unusual(ctx.ctx))
    } else {
        told
    }
}

/// Reads a usual packet, and asks the lists at first sight. One that they decide is read no further than
/// that takes; of any other it and where its source is are kept in [`SCRATCH`]. Bits of [`Told`].
///
/// The source's own memory is asked for before the lists are looked at, if the last packet's source was
/// looked for there: under a flood of sources that are listed, or that their class refuses, nobody's is.
///
/// VERIFIER: 6.18: as part of the program, its stack is there while later stages call functions of
/// their own, and each of its paths is walked on to the end. A global function is verified once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn read_usual(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Told::decided(Reason::NoPolicy, 0).to_bits();
    };
    let view = FirstBuffer(XdpView::new(&ctx));
    // Two ways, so that neither asks again which family it is.
    let told = match usual::is_v6(&view) {
        Some(false) => usual::parse_v4(&view).and_then(|packet| ask_lists(&ctx, scratch, packet)),
        Some(true) => usual::parse_v6(&view).and_then(|packet| ask_lists(&ctx, scratch, packet)),
        None => None,
    };
    told.unwrap_or(Told::unread()).to_bits()
}

/// See [`read_usual`].
#[inline(always)]
fn ask_lists(ctx: &XdpContext, scratch: *mut Scratch, packet: Packet) -> Option<Told> {
    let (source, length) = (packet.source, packet.frame_len);
    let comes_again = again::may_be_kept(packet_in(scratch), &packet);
    keep_packet(scratch, packet);
    let asks = take_asked(scratch);
    if asks {
        reckon(ctx, scratch, true);
    }
    let found = InForce::at_sight(&source)?;
    if let Some((list, reason)) = found.all_of(&source).and_then(deciding_list) {
        lists::hit(scratch, list, &source, length.into());
        let told = Told::decided(reason, length);
        return Some(if comes_again { told.by(list) } else { told });
    }
    keep_found(scratch, found.to_bits());
    if !asks {
        reckon(ctx, scratch, false);
    }
    Some(Told::packet(length))
}

/// Reads any packet, or says why it can't. The lists are asked later: such packets are few. As
/// [`read_usual`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn read_unusual(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Told::decided(Reason::NoPolicy, 0).to_bits();
    };
    let view = XdpView::new(&ctx);
    let told = match packet::parse(&view) {
        ControlFlow::Break(reason) => Told::decided(reason, frame_len(&view)),
        ControlFlow::Continue(packet) => {
            keep_packet(scratch, packet);
            keep_found(scratch, Found::UNASKED.to_bits());
            let scratch = reread(scratch);
            reckon(&ctx, scratch, false);
            Told::packet(packet_in(scratch).frame_len)
        }
    };
    told.to_bits()
}

/// Keeps who the kept packet's source is, where it is in the table, and whether it may be known; asks for the
/// memory in the table, too. In that order: a look that waits for memory holds up what comes behind.
#[inline(always)]
fn reckon(ctx: &XdpContext, scratch: *mut Scratch, asks: bool) {
    let Some(tables) = KernelTables::in_scratch(ctx, scratch) else {
        return;
    };
    let source = packet_in(reread(scratch)).source;
    let key = source_words(&source, tables.active_policy());
    let place = constant::source_shape().place_of(key);
    keep_key(scratch, key);
    keep_place(scratch, place);
    keep_known(scratch, known::may_be(place.tag).into());
    if asks {
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
