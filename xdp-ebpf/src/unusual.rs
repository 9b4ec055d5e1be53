//! Packets that aren't usual ones: with VLAN tags, in PPPoE, in fragments, with options, broken, no IP. And
//! those of interfaces without an Ethernet header, which a program of its own judges.

use core::ops::ControlFlow;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::NotIpKind;
use xdp_common::lists::Found;
use xdp_common::packet::{Packet, ether_type, frame_len, parse, parse_bare};
use xdp_common::reason::Reason;
use xdp_common::verdict::{decide_under, not_current};

use crate::map_pointer::modify;
use crate::maps::{NOT_IP, SCRATCH, Scratch};
use crate::program::{now, reckon};
use crate::scratch::{keep_changes, keep_found, keep_packet, packet as packet_in, reread, used};
use crate::tables::KernelTables;
use crate::told::Told;
use crate::view::XdpView;
use crate::{lists, record};

/// For interfaces whose frames begin with the IP header: tun, WireGuard, PPP, tunnels. A program of its
/// own, so that the one for Ethernet asks no packet which it is; loaded where there is such an interface.
/// No packet is a usual one here: what makes those fast is where Ethernet has its words.
///
/// `xdp.frags`: see [`crate::program::xdp_throttle`].
#[xdp(frags)]
pub(crate) fn xdp_throttle_ip(ctx: XdpContext) -> u32 {
    // Array look-ups below their size cannot fail; the verifier asks for the branch.
    let (Some(scratch), Some(changes)) = (SCRATCH.get_ptr_mut(0), lists::changes()) else {
        return XDP_PASS;
    };
    keep_changes(scratch, changes);
    let view = XdpView::new(&ctx);
    let Some(tables) = KernelTables::new(&ctx, scratch) else {
        return XDP_PASS;
    };
    let policy = tables.active_policy();
    if !policy.is_current() {
        return record::finish(&ctx, &tables, not_current(policy), frame_len(&view));
    }
    let told = noted(&ctx, read_bare(ctx.ctx), true);
    let parsed = || told.parsed().map_continue(|()| tables.packet());
    let verdict = decide_under(policy, parsed, &view, &tables, now);
    record::finish(&ctx, &tables, verdict, told.length())
}

/// Reads any packet behind an Ethernet header, or says why it can't. The lists are asked later: such
/// packets are few.
#[inline(always)]
pub(crate) fn read(ctx: &XdpContext) -> Told {
    noted(ctx, read_unusual(ctx.ctx), false)
}

/// Counts what isn't judged.
///
/// VERIFIER: 6.18: not in the functions that read: LLVM no longer takes the ways apart on which there is a
/// packet and on which there is none, and copies parts of a packet that isn't there ("R1 !read_ok").
#[inline(always)]
fn noted(ctx: &XdpContext, told: u64, is_bare: bool) -> Told {
    let told = Told::from_bits(told);
    if told.is_not_ip() {
        let _told = count_not_ip(ctx.ctx, is_bare.into());
    }
    told
}

/// VERIFIER: 6.18: see [`crate::program`], `ask_lists`.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn read_unusual(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Told::decided(Reason::NoPolicy, 0).to_bits();
    };
    let view = XdpView::new(&ctx);
    let told = match parse(&view) {
        ControlFlow::Break(reason) => Told::decided(reason, frame_len(&view)),
        ControlFlow::Continue(packet) => keep(&ctx, scratch, packet),
    };
    told.to_bits()
}

/// The same without an Ethernet header.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn read_bare(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Told::decided(Reason::NoPolicy, 0).to_bits();
    };
    let view = XdpView::new(&ctx);
    let told = match parse_bare(&view) {
        ControlFlow::Break(reason) => Told::decided(reason, frame_len(&view)),
        ControlFlow::Continue(packet) => keep(&ctx, scratch, packet),
    };
    told.to_bits()
}

#[inline(always)]
fn keep(ctx: &XdpContext, scratch: *mut Scratch, packet: Packet) -> Told {
    keep_packet(scratch, packet);
    keep_found(scratch, Found::UNASKED.to_bits());
    let scratch = reread(scratch);
    reckon(ctx, scratch, false);
    Told::packet(packet_in(scratch).frame_len)
}

/// The same by what it is.
///
/// VERIFIER: 6.18: see [`crate::class::class_stage`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn count_not_ip(ctx: *mut xdp_md, is_bare: u64) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let Some(counts) = NOT_IP.get_ptr_mut(0) else {
        return 0;
    };
    modify(counts, |counts| match ether_type(&XdpView::new(&ctx)) {
        Some(ether_type) if is_bare == 0 => counts.note(ether_type),
        Some(_) | None => counts.note_kind(NotIpKind::NoHeader),
    });
    1
}
