//! The flow memory, over its map. Functions of their own: a verifier walks each once, not on each path of
//! the class stage.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::WordLine;
use xdp_common::flows::key::keys as keys_of;
use xdp_common::flows::{self, Direction, Flow, Keys, Retry, Window, line_of};
use xdp_common::packet::protocol;

use crate::map_pointer::Slot;
use crate::maps::{FLOWS, SCRATCH, Scratch, constant};
use crate::scratch::{flow_keys as kept_keys, keep_flow_keys, packet, used};
use crate::view::XdpView;

/// The hashes of the packet at hand.
#[inline(always)]
pub(crate) fn keys(ctx: &XdpContext, scratch: *mut Scratch) -> Option<Keys> {
    if reckon_keys(ctx.ctx) == 0 {
        return None;
    }
    let [flow, retry] = *kept_keys(scratch);
    Some(Keys { flow, retry })
}

/// 1 if the packet that is kept belongs to a flow; its hashes are kept then.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn reckon_keys(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    let (view, packet) = (XdpView::new(&ctx), packet(scratch));
    let Some(Keys { flow, retry }) =
        keys_of(&view, packet, Direction::In, constant::source_seeds())
    else {
        return 0;
    };
    keep_flow_keys(scratch, [flow, retry]);
    1
}

/// The flow of a hash.
#[inline(always)]
pub(crate) fn found(hash: u64, is_tcp: bool, now: u64) -> Option<Flow> {
    Flow::from_bits(find_flow(hash, is_tcp.into(), now))
}

/// The word of a flow; 0 for none.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn find_flow(hash: u64, is_tcp: u64, now: u64) -> u64 {
    let Some(line) = line(hash) else {
        return 0;
    };
    flows::find(line, hash, is_tcp != 0, now).map_or(0, Flow::to_bits)
}

/// The hash of the flow of the packet at hand, if it was asked for.
#[inline(always)]
pub(crate) fn asked_for(ctx: &XdpContext, scratch: *mut Scratch, now: u64) -> Option<u64> {
    if was_asked_for(ctx.ctx, now) == 0 {
        return None;
    }
    let [flow, _] = *kept_keys(scratch);
    Some(flow)
}

/// 1 if it was; its hashes are kept then.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn was_asked_for(ctx: *mut xdp_md, now: u64) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    let is_tcp = packet(scratch).protocol == protocol::TCP;
    let flow = keys(&ctx, scratch).and_then(|keys| found(keys.flow, is_tcp, now));
    flow.is_some_and(Flow::was_asked_for).into()
}

/// Keeps a flow under a hash.
#[inline(always)]
pub(crate) fn keep(hash: u64, flow: Flow, is_tcp: bool, now: u64) {
    let _kept = keep_flow(hash, flow.to_bits(), is_tcp.into(), now);
}

/// See [`keep`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn keep_flow(hash: u64, flow: u64, is_tcp: u64, now: u64) -> u64 {
    let (Some(line), Some(flow)) = (line(hash), Flow::from_bits(flow)) else {
        return 0;
    };
    flows::keep(line, hash, flow, is_tcp != 0, now);
    1
}

/// Whether a refused newcomer comes again.
#[inline(always)]
pub(crate) fn retried(hash: u64, window: Window, now: u64) -> Retry {
    match seek_retry(hash, window.min_ns, window.max_ns, now) {
        1 => Retry::TooSoon,
        2 => Retry::InTime,
        _ => Retry::First,
    }
}

/// The number of a [`Retry`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn seek_retry(hash: u64, min_ns: u64, max_ns: u64, now: u64) -> u64 {
    match line(hash) {
        Some(line) => flows::retried(line, hash, Window { min_ns, max_ns }, now) as u64,
        None => 0,
    }
}

/// The line of a hash.
#[inline(always)]
fn line(hash: u64) -> Option<Slot<'static, WordLine>> {
    FLOWS
        .get_ptr_mut(line_of(hash, constant::flow_mask()))
        .map(Slot::at)
}
