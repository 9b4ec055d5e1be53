//! Turns a SYN into its answer, in place.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_xdp_adjust_tail, bpf_xdp_load_bytes, bpf_xdp_store_bytes};
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::Policy;
use xdp_common::answer::{SynAck, TCP_LEN};
use xdp_common::packet::{Octets, Transport, pppoe};

use crate::maps::SCRATCH;
use crate::scratch::{cookie, headers, packet};

/// Words of both addresses.
const ADDRESSES: usize = 3;

/// Whether the frame is the answer now.
#[inline(always)]
pub(crate) fn write(ctx: &XdpContext, policy: &Policy) -> bool {
    write_answer(ctx.ctx, policy.mss_v4.into(), policy.mss_v6.into()) != 0
}

/// 1 if the frame is the answer now; else it may be damaged and goes nowhere.
///
/// VERIFIER: 6.18: see [`crate::class::class_stage`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn write_answer(ctx: *mut xdp_md, mss_v4: u64, mss_v6: u64) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    let packet = packet(scratch);
    let Transport::Tcp {
        source,
        destination,
        ..
    } = packet.transport
    else {
        return 0;
    };
    let (network, transport) = (packet.network_offset.into(), packet.transport_offset.into());
    let Some(pppoe) = pppoe_protocol_len(ctx, network) else {
        return 0;
    };
    let room = |mss: u64| match pppoe {
        0 => mss as u16,
        _ => (mss as u16).saturating_sub(pppoe::OVERHEAD),
    };
    let mut answer = SynAck {
        source: destination,
        destination: source,
        sequence: *cookie(scratch),
        peer_sequence: headers(scratch).sequence(),
        mss: room(mss_v4),
    };
    let written = match (&packet.source.octets(), &packet.destination.octets()) {
        (Octets::V4(from), Octets::V4(to)) => {
            let (mut ip, mut tcp) = answer.over_ipv4(*to, *from);
            store(ctx, network, &mut ip) && store(ctx, transport, &mut tcp)
        }
        (Octets::V6(from), Octets::V6(to)) => {
            answer.mss = room(mss_v6);
            let (mut ip, mut tcp) = answer.over_ipv6(to, from);
            store(ctx, network, &mut ip) && store(ctx, transport, &mut tcp)
        }
        _ => false,
    };
    let length = transport + TCP_LEN;
    if !written || !tell_pppoe(ctx, network, pppoe, length) || !exchange_addresses(ctx) {
        return 0;
    }
    let delta = length as i32 - packet.frame_len as i32;
    // SAFETY: the context is the program's; the frame ends behind the answer then (kernel 4.18, growing
    // 5.8).
    (unsafe { bpf_xdp_adjust_tail(ctx, delta) } == 0).into()
}

#[inline(always)]
fn store<const N: usize>(ctx: *mut xdp_md, offset: u32, words: &mut [u32; N]) -> bool {
    let from: *mut c_void = words.as_mut_ptr().cast();
    // SAFETY: the buffer has `N` words; the helper checks the frame's range (kernel 5.18).
    unsafe { bpf_xdp_store_bytes(ctx, offset, from, N as u32 * 4) == 0 }
}

#[inline(always)]
fn load(ctx: *mut xdp_md, offset: u32) -> Option<u32> {
    let mut word = 0_u32;
    let to: *mut c_void = (&raw mut word).cast();
    // SAFETY: the buffer has so many bytes; the helper checks the frame's range (kernel 5.18).
    let error = unsafe { bpf_xdp_load_bytes(ctx, offset, to, size_of::<u32>() as u32) };
    (error == 0).then_some(u32::from_be(word))
}

/// How long the protocol is before an IP header in a PPPoE session; 0 where there is none.
#[inline(always)]
fn pppoe_protocol_len(ctx: *mut xdp_md, network: u32) -> Option<u32> {
    let before = load(ctx, network.wrapping_sub(4))?;
    Some(pppoe::protocol_len(network, before))
}

/// Has the header of a PPPoE session say how long the answer is, that ends at `end`.
#[inline(always)]
fn tell_pppoe(ctx: *mut xdp_md, network: u32, protocol_len: u32, end: u32) -> bool {
    if protocol_len == 0 {
        return true;
    }
    // The number of the session and the length.
    let at = network.wrapping_sub(protocol_len).wrapping_sub(4);
    let length = end - network + protocol_len;
    match load(ctx, at) {
        Some(word) => store(ctx, at, &mut [(word & 0xffff_0000 | length).to_be()]),
        None => false,
    }
}

/// Exchanges the Ethernet addresses. VLAN tags and a session of PPPoE stay. Not for a frame to many: its address is nobody's.
#[inline(always)]
fn exchange_addresses(ctx: *mut xdp_md) -> bool {
    let mut addresses = [0_u32; ADDRESSES];
    let to: *mut c_void = addresses.as_mut_ptr().cast();
    // SAFETY: the buffer has so many bytes; the helper checks the frame's range (kernel 5.18).
    if unsafe { bpf_xdp_load_bytes(ctx, 0, to, ADDRESSES as u32 * 4) } != 0 {
        return false;
    }
    let [first, middle, last] = addresses.map(u32::from_be);
    let exchanged = [
        middle << 16 | last >> 16,
        last << 16 | first >> 16,
        first << 16 | middle >> 16,
    ];
    first >> 24 & 1 == 0 && store(ctx, 0, &mut exchanged.map(u32::to_be))
}
