//! The egress program: notes in the flow memory what leaves, and never stops or alters a packet.
//!
//! It runs at the egress hook of traffic control, once for each packet that the network stack hands to
//! the interface, before that is cut into segments: the host's own packets, and those that it forwards,
//! after their addresses were translated. What skips the hook isn't seen: answers that XDP itself sends
//! (`XDP_TX`, `XDP_REDIRECT`, AF_XDP), packet sockets with `PACKET_QDISC_BYPASS`, and kernel bypass such
//! as DPDK.
//!
//! Each program returns the number that lets the next one at the hook go on: `TCX_NEXT` of tcx and
//! `TC_ACT_UNSPEC` of clsact are the same.
//!
//! **Concurrency**: the hook runs with softirqs off (`__dev_queue_xmit`), so no packet that comes in, and
//! no other that leaves, interrupts it on its CPU. Where a transmission nests in another, as that of an
//! interface below a VLAN device, the outer packet's program has returned before. The packet is kept in
//! memory of this program's own all the same, and not in [`crate::maps::SCRATCH`].

use core::ops::ControlFlow;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use xdp_common::abi::{EgressCounter, FLAG_CLASSES, POLICY_SLOTS, Policy};
use xdp_common::flows::key::keys;
use xdp_common::flows::{Direction, Flow, Kind, Leaving, leaving};
use xdp_common::packet::{Packet, PacketView as _, parse, parse_bare, protocol};
use xdp_common::reason::Reason;

use crate::flows;
use crate::map_pointer::modify;
use crate::maps::{ACTIVE, EGRESS, EGRESS_PACKET, POLICY, constant};
use crate::program::now;
use crate::scratch::{put_packet, read_packet, used};
use crate::skb::SkbView;

/// `TCX_NEXT` and `TC_ACT_UNSPEC` (include/uapi/linux/bpf.h, include/uapi/linux/pkt_cls.h).
const NEXT: i32 = -1;

/// What [`read_leaving`] returns.
const NOT_IP: u64 = 0;
const UNREAD: u64 = 1;
const READ: u64 = 2;

/// For interfaces with an Ethernet header.
#[classifier]
pub(crate) fn xdp_egress(ctx: TcContext) -> i32 {
    if let Some(policy) = policy() {
        note(&ctx, policy, read_leaving(ctx.skb.skb));
    }
    NEXT
}

/// For interfaces whose packets begin with the IP header.
#[classifier]
pub(crate) fn xdp_egress_ip(ctx: TcContext) -> i32 {
    if let Some(policy) = policy() {
        note(&ctx, policy, read_leaving_bare(ctx.skb.skb));
    }
    NEXT
}

/// The policy in force, if classes look at the flow memory under it.
#[inline(always)]
fn policy() -> Option<&'static Policy> {
    let policy = POLICY.get(*ACTIVE.get(0)? % POLICY_SLOTS)?;
    (policy.is_current() && policy.flags & FLAG_CLASSES != 0).then_some(policy)
}

/// Notes what the packet that was read says of its flow.
#[inline(always)]
fn note(ctx: &TcContext, policy: &Policy, read: u64) {
    count(|counter| &mut counter.packets);
    if read != READ {
        if read == UNREAD {
            count(|counter| &mut counter.unread);
        }
        return;
    }
    let Some(packet) = EGRESS_PACKET.get_ptr_mut(0).map(read_packet) else {
        return;
    };
    let hash = hash_leaving(ctx.skb.skb);
    if hash == 0 {
        return;
    }
    let (is_tcp, now) = (packet.protocol == protocol::TCP, now(policy));
    let flow = match leaving(packet, flows::found(hash, is_tcp, now), now) {
        Leaving::Nothing => return,
        Leaving::Keep(flow) => flow,
        Leaving::HalfOpen => {
            let sequence = sequence_leaving(ctx.skb.skb);
            Flow::new(Kind::HalfOpen, false).with_sequence(sequence as u32)
        }
    };
    flows::keep(hash, flow, is_tcp, now);
    count(|counter| &mut counter.noted);
}

#[inline(always)]
fn count(which: impl FnOnce(&mut EgressCounter) -> &mut u64) {
    if let Some(counter) = EGRESS.get_ptr_mut(0) {
        modify(counter, |counter| *which(counter) += 1);
    }
}

/// Reads a packet behind an Ethernet header and keeps it.
///
/// VERIFIER: 6.18: a global function is verified once, and not on each path that leads to it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn read_leaving(ctx: *mut __sk_buff) -> u64 {
    let ctx = TcContext::new(used(ctx));
    let Some(kept) = EGRESS_PACKET.get_ptr_mut(0) else {
        return NOT_IP;
    };
    keep(kept, parse(&SkbView::new(&ctx)))
}

/// The same without an Ethernet header.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn read_leaving_bare(ctx: *mut __sk_buff) -> u64 {
    let ctx = TcContext::new(used(ctx));
    let Some(kept) = EGRESS_PACKET.get_ptr_mut(0) else {
        return NOT_IP;
    };
    keep(kept, parse_bare(&SkbView::new(&ctx)))
}

#[inline(always)]
fn keep(kept: *mut Packet, parsed: ControlFlow<Reason, Packet>) -> u64 {
    match parsed {
        ControlFlow::Continue(packet) => {
            put_packet(kept, packet);
            READ
        }
        ControlFlow::Break(Reason::NotIp) => NOT_IP,
        ControlFlow::Break(_) => UNREAD,
    }
}

/// The hash of the flow of the packet that is kept; 0 for one that belongs to none.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hash_leaving(ctx: *mut __sk_buff) -> u64 {
    let ctx = TcContext::new(used(ctx));
    let Some(packet) = EGRESS_PACKET.get_ptr_mut(0).map(read_packet) else {
        return 0;
    };
    let seeds = constant::source_seeds();
    keys(&SkbView::new(&ctx), packet, Direction::Out, seeds).map_or(0, |keys| keys.flow)
}

/// The sequence number of the segment that is kept.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn sequence_leaving(ctx: *mut __sk_buff) -> u64 {
    let ctx = TcContext::new(used(ctx));
    let Some(packet) = EGRESS_PACKET.get_ptr_mut(0).map(read_packet) else {
        return 0;
    };
    let word: Option<[u32; 1]> =
        SkbView::new(&ctx).read(usize::from(packet.transport_offset).wrapping_add(4));
    word.map_or(0, |[word]| u32::from_be(word).into())
}
