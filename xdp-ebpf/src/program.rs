//! The entry point.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::{FLAG_COARSE_CLOCK, FLAG_FIXED_CLOCK, Policy};
use xdp_common::packet::{Address, Sight, frame_len, usual};
use xdp_common::reason::Reason;
use xdp_common::sources::touch;
use xdp_common::verdict::{decide_under, deciding_list, not_current, source_words};

use crate::lists::InForce;
use crate::maps::{SCRATCH, Scratch, constant};
use crate::scratch::{
    comes_again, keep_changes, keep_comes_again, keep_found, keep_key, keep_known, keep_packet,
    keep_place, keep_sight, packet as packet_in, reread, sight as sight_in, take_asked, used,
};
use crate::tables::KernelTables;
use crate::told::Told;
use crate::view::{FirstBuffer, XdpView};
use crate::{again, known, lists, record, unusual};

/// `xdp.frags` (kernel 5.18): also attaches where frames span several pages (jumbo MTU).
#[xdp(frags)]
pub(crate) fn xdp_throttle(ctx: XdpContext) -> u32 {
    // Array look-ups below their size cannot fail; the verifier asks for the branch.
    let (Some(scratch), Some(changes)) = (SCRATCH.get_ptr_mut(0), lists::changes()) else {
        return XDP_PASS;
    };
    let view = XdpView::new(&ctx);
    let is_usual = match usual::sight(&FirstBuffer(XdpView::new(&ctx))) {
        Some(sight) => {
            if let Some(action) = again::meet(&ctx, scratch, &sight, changes) {
                return action;
            }
            let comes_again = packet_in(scratch).source == sight.source;
            keep_comes_again(scratch, comes_again.into());
            keep_sight(scratch, &sight);
            true
        }
        None => false,
    };
    keep_changes(scratch, changes);
    let Some(tables) = KernelTables::new(&ctx, scratch) else {
        return XDP_PASS;
    };
    let policy = tables.active_policy();
    if !policy.is_current() {
        return record::finish(&ctx, &tables, not_current(policy), frame_len(&view));
    }
    let told = read(&ctx, is_usual);
    let parsed = || told.parsed().map_continue(|()| tables.packet());
    let verdict = decide_under(policy, parsed, &view, &tables, now);
    let action = record::finish(&ctx, &tables, verdict, told.length());
    if let Some(list) = told.list() {
        again::keep(&ctx, list);
    }
    action
}

/// What the lists say of a usual packet's source, and what such a packet is that they don't decide; any other
/// packet.
#[inline(always)]
fn read(ctx: &XdpContext, is_usual: bool) -> Told {
    let told = if is_usual {
        Told::from_bits(ask_lists(ctx.ctx))
    } else {
        Told::unread()
    };
    if told.is_unread() {
        unusual::read(ctx)
    } else {
        told
    }
}

/// Asks the lists at first sight about the source of a usual packet, of which is kept what a look told. One
/// that they don't decide is read to its end; it and where its source is are kept in [`SCRATCH`]. Bits of
/// [`Told`].
///
/// The source's own memory is asked for before the lists are looked at, if the last packet's source was
/// looked for there: under a flood of sources that are listed, or that their class refuses, nobody's is.
///
/// VERIFIER: 6.18: as part of the program, its stack is there while later stages call functions of
/// their own, and each of its paths is walked on to the end. A global function is verified once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ask_lists(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Told::decided(Reason::NoPolicy, 0).to_bits();
    };
    let sight = sight_in(scratch);
    // Two ways, so that neither asks again which family it is.
    let told = if sight.source.is_v4() {
        let source = Address::v4_word(sight.source.v4_bits().to_be());
        ask_about(&ctx, scratch, Sight { source, ..sight })
    } else {
        ask_about(&ctx, scratch, sight)
    };
    told.unwrap_or(Told::unread()).to_bits()
}

/// See [`ask_lists`].
#[inline(always)]
fn ask_about(ctx: &XdpContext, scratch: *mut Scratch, sight: Sight) -> Option<Told> {
    let Sight {
        source, frame_len, ..
    } = sight;
    let asks = take_asked(scratch);
    if asks {
        reckon(ctx, scratch, true);
    }
    let found = InForce::at_sight(&source)?;
    if let Some((list, reason)) = found.all_of(&source).and_then(deciding_list) {
        lists::hit(scratch, list, &source, frame_len.into());
        let told = Told::decided(reason, frame_len);
        let comes_again = *comes_again(scratch) != 0;
        return Some(if comes_again { told.by(list) } else { told });
    }
    keep_found(scratch, found.to_bits());
    if !asks {
        reckon(ctx, scratch, false);
    }
    let packet = usual::rest(&FirstBuffer(XdpView::new(ctx)), &sight)?;
    keep_packet(scratch, packet);
    Some(Told::packet(frame_len))
}

/// Keeps who the kept packet's source is, where it is in the table, and whether it may be known; asks for the
/// memory in the table, too. In that order: a look that waits for memory holds up what comes behind.
#[inline(always)]
pub(crate) fn reckon(ctx: &XdpContext, scratch: *mut Scratch, asks: bool) {
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
pub(crate) fn now(policy: &Policy) -> u64 {
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
