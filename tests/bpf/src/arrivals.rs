//! Counts what comes to the network stack: a filter of a packet socket, behind XDP and before
//! everything else, that takes no packet.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::socket_filter;
use aya_ebpf::programs::SkBuffContext;

use crate::abi::{HONEST_V4, HONEST_V6, SLOT_NS, SLOTS};
use crate::maps::{ARRIVALS, ORIGIN};

const TYPE: usize = 12;
const SOURCE_V4: usize = 14 + 12;
const SOURCE_V6: usize = 14 + 8;

enum Sender {
    Forged,
    Honest,
    Other,
}

#[socket_filter]
pub(crate) fn bench_arrivals(ctx: SkBuffContext) -> i64 {
    let Some(arrived) = ARRIVALS.get_ptr_mut(slot()) else {
        return 0;
    };
    // SAFETY: the look-up gave this CPU's value, and softirqs don't interrupt each other.
    let arrived = unsafe { &mut *arrived };
    let packets = segments(&ctx);
    match sender(&ctx) {
        Sender::Forged => arrived.forged += packets,
        Sender::Honest => arrived.honest += packets,
        Sender::Other => arrived.other += packets,
    }
    0
}

/// Packets that GRO has put together count as what they were on the wire.
#[inline(always)]
fn segments(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the context is the program's own argument, and the verifier knows the field.
    let segments = unsafe { (*ctx.skb.skb).gso_segs };
    if segments > 1 { segments.into() } else { 1 }
}

#[inline(always)]
fn sender(ctx: &SkBuffContext) -> Sender {
    let honest = match ctx.load::<[u8; 2]>(TYPE) {
        Ok([0x08, 0x00]) => ctx
            .load::<[u8; 2]>(SOURCE_V4)
            .map(|source| source == HONEST_V4),
        // Who asks for groups before it has an address sends from `::` (RFC 3810, section 5.2.13).
        Ok([0x86, 0xdd]) => match ctx.load::<[u8; 2]>(SOURCE_V6) {
            Ok([0, 0]) => return Sender::Other,
            source => source.map(|source| source == HONEST_V6),
        },
        _ => return Sender::Other,
    };
    match honest {
        Ok(true) => Sender::Honest,
        Ok(false) => Sender::Forged,
        Err(_) => Sender::Other,
    }
}

#[inline(always)]
fn slot() -> u32 {
    let origin = ORIGIN.get(0).copied().unwrap_or(u64::MAX);
    // SAFETY: the helper has no arguments and no preconditions (kernel 4.1).
    let now = unsafe { bpf_ktime_get_ns() };
    let last = SLOTS - 1;
    if now < origin {
        return last;
    }
    let slot = (now - origin) / SLOT_NS;
    if slot < u64::from(last) {
        slot as u32
    } else {
        last
    }
}
