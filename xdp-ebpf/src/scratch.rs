//! Memory of this CPU's own for the packet that it judges. With [`crate::map_pointer`] the only file that
//! touches raw map pointers.
//!
//! A look-up gave the pointer; the program isn't preempted by another packet on its CPU, and what is read
//! has been written for this packet before.

use core::arch::asm;
use core::ffi::c_void;

use aya_ebpf::bindings::bpf_sock_tuple;
use xdp_common::abi::SourceKey;
use xdp_common::hit_sampler::HitSampler;
use xdp_common::packet::{Address, Packet, Sight};
use xdp_common::reason::Reason;
use xdp_common::sampler::Sampler;
use xdp_common::sources::Place;

use crate::again::Before;
use crate::maps::Scratch;

/// Which packet this CPU samples next.
#[inline(always)]
pub(crate) fn sampler<'a>(scratch: *mut Scratch) -> &'a mut Sampler {
    // SAFETY: see the module.
    unsafe { &mut (*scratch).sampler }
}

/// Which hit of a list entry this CPU writes next.
#[inline(always)]
pub(crate) fn hit_sampler<'a>(scratch: *mut Scratch) -> &'a mut HitSampler {
    // SAFETY: see the module.
    unsafe { &mut (*scratch).hit_sampler }
}

macro_rules! kept {
    ($($keep:ident, $field:ident: $type:ty, $what:literal;)+) => {$(
        #[doc = concat!("Keeps ", $what, ".")]
        #[inline(always)]
        pub(crate) fn $keep(scratch: *mut Scratch, $field: $type) {
            // SAFETY: see the module.
            unsafe { (&raw mut (*scratch).$field).write($field) };
        }

        #[doc = concat!("What was kept: ", $what, ".")]
        #[inline(always)]
        pub(crate) fn $field<'a>(scratch: *mut Scratch) -> &'a $type {
            // SAFETY: see the module.
            unsafe { &(*scratch).$field }
        }
    )+};
}
kept! {
    keep_slot, slot: u32, "which policy it is judged by";
    keep_found, found: u64, "what the lists say at first sight, see [`xdp_common::lists::Found::to_bits`]";
    keep_place, place: Place, "where its source is in the table";
    keep_known, known: u32, "whether its source may be known, 1 or 0";
    keep_cookie, cookie: u32, "a cookie";
    keep_changes, changes: u64, "how many changes there were when it began";
    keep_comes_again, comes_again: u32, "whether its source is that of the packet before, 1 or 0";
    keep_has_flow, has_flow: u32, "whether its flow is to be kept once it has passed, 1 or 0";
    keep_flow_keys, flow_keys: [u64; 2], "the hashes of its flow, see [`xdp_common::flows::Keys`]";
    keep_before, before: Before, "what became of a packet before";
}

/// Keeps the packet.
#[inline(always)]
pub(crate) fn keep_packet(scratch: *mut Scratch, packet: Packet) {
    // SAFETY: see the module.
    put_packet(unsafe { &raw mut (*scratch).packet }, packet);
}

/// Writes a packet to a place for one.
#[inline(always)]
pub(crate) fn put_packet(kept: *mut Packet, packet: Packet) {
    // SAFETY: the fields of a packet, each of its own type.
    unsafe {
        (&raw mut (*kept).protocol).write(packet.protocol);
        (&raw mut (*kept).fragment).write(packet.fragment);
        (&raw mut (*kept).network_offset).write(packet.network_offset);
        (&raw mut (*kept).transport_offset).write(packet.transport_offset);
        (&raw mut (*kept).transport).write(packet.transport);
        (&raw mut (*kept).fragment_id).write(packet.fragment_id);
        (&raw mut (*kept).frame_len).write(packet.frame_len);
        keep_address(&raw mut (*kept).source, &packet.source);
        keep_address(&raw mut (*kept).destination, &packet.destination);
    }
}

/// The packet at a place that one was written to.
#[inline(always)]
pub(crate) fn read_packet<'a>(kept: *mut Packet) -> &'a Packet {
    // SAFETY: see the module.
    unsafe { &*kept }
}

/// Keeps what a look at the packet tells.
#[inline(always)]
pub(crate) fn keep_sight(scratch: *mut Scratch, sight: &Sight) {
    // SAFETY: see the module.
    let kept = unsafe { &raw mut (*scratch).packet };
    // SAFETY: the fields of a packet, each of its own type.
    unsafe {
        (&raw mut (*kept).protocol).write(sight.protocol);
        (&raw mut (*kept).frame_len).write(sight.frame_len);
        keep_address(&raw mut (*kept).source, &sight.source);
    }
}

/// What was kept: what a look at the packet tells.
#[inline(always)]
pub(crate) fn sight(scratch: *mut Scratch) -> Sight {
    let Packet {
        source,
        protocol,
        frame_len,
        ..
    } = *packet(scratch);
    Sight {
        source,
        protocol,
        frame_len,
    }
}

/// Word by word: of zeros one behind the other a compiler makes a call that writes them byte by byte.
///
/// # Safety
/// `kept` is a place for an address.
#[inline(always)]
unsafe fn keep_address(kept: *mut Address, address: &Address) {
    let kept: *mut u64 = kept.cast();
    for (index, word) in address.to_words().into_iter().enumerate() {
        // SAFETY: an address is these three words.
        unsafe { kept.add(index).write_volatile(word) };
    }
}

/// What was kept: the packet.
#[inline(always)]
pub(crate) fn packet<'a>(scratch: *mut Scratch) -> &'a Packet {
    // SAFETY: see the module.
    unsafe { &(*scratch).packet }
}

/// Keeps who the source is, by the words of its key.
#[inline(always)]
pub(crate) fn keep_key(scratch: *mut Scratch, words: [u64; 3]) {
    // SAFETY: see the module; the field has a word's alignment, and a key is these words.
    unsafe { (&raw mut (*scratch).key).cast::<[u64; 3]>().write(words) };
}

/// What was kept: who the source is.
#[inline(always)]
pub(crate) fn key<'a>(scratch: *mut Scratch) -> &'a SourceKey {
    // SAFETY: see the module.
    unsafe { &(*scratch).key }
}

/// Notes that the packet's source was asked for in the table.
#[inline(always)]
pub(crate) fn note_asked(scratch: *mut Scratch) {
    // SAFETY: see the module.
    unsafe { (&raw mut (*scratch).asked).write(1) };
}

/// Whether the last packet's source was, once for each.
#[inline(always)]
pub(crate) fn take_asked(scratch: *mut Scratch) -> bool {
    // SAFETY: see the module.
    unsafe {
        let asked = &raw mut (*scratch).asked;
        let taken = asked.read() != 0;
        asked.write(0);
        taken
    }
}

/// Room for an IP and a TCP header.
#[derive(Clone, Copy)]
pub(crate) struct Headers(*mut Scratch);

/// The room for headers.
#[inline(always)]
pub(crate) fn headers(scratch: *mut Scratch) -> Headers {
    Headers(scratch)
}

impl Headers {
    /// 40 bytes.
    #[inline(always)]
    pub(crate) fn ip(self) -> *mut c_void {
        // SAFETY: a field's address.
        unsafe { (&raw mut (*self.0).ip).cast() }
    }

    /// 64 bytes.
    #[inline(always)]
    pub(crate) fn tcp(self) -> *mut c_void {
        // SAFETY: a field's address.
        unsafe { (&raw mut (*self.0).tcp).cast() }
    }

    /// A byte of the TCP header, one below 20.
    #[inline(always)]
    pub(crate) fn tcp_byte(self, index: usize) -> u8 {
        // SAFETY: inside the header.
        unsafe { self.tcp().cast::<u8>().add(index).read_volatile() }
    }

    /// The sequence number of the TCP header.
    #[inline(always)]
    pub(crate) fn sequence(self) -> u32 {
        // SAFETY: the second word of the header, which is aligned.
        u32::from_be(unsafe { self.tcp().cast::<u32>().add(1).read_volatile() })
    }
}

/// Room for a `bpf_sock_tuple`.
#[derive(Clone, Copy)]
pub(crate) struct Tuple(*mut Scratch);

/// The room for a tuple.
#[inline(always)]
pub(crate) fn tuple(scratch: *mut Scratch) -> Tuple {
    Tuple(scratch)
}

impl Tuple {
    /// Sets a word, one below 9.
    #[inline(always)]
    pub(crate) fn set(self, index: usize, value: u32) {
        // SAFETY: inside the array; the verifier checks it.
        unsafe {
            (&raw mut (*self.0).tuple)
                .cast::<u32>()
                .add(index)
                .write_volatile(value)
        };
    }

    /// For the helper.
    #[inline(always)]
    pub(crate) fn as_ptr(self) -> *mut bpf_sock_tuple {
        // SAFETY: a field's address.
        unsafe { (&raw mut (*self.0).tuple).cast() }
    }
}

/// The same value, of which the compiler no longer knows what it may be: it leaves the checks in that the
/// verifier needs.
#[inline(always)]
pub(crate) fn opaque(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: moves a register onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}

/// The same memory, of which the compiler no longer knows what was written to it: so that it keeps nothing
/// of it on the stack.
#[inline(always)]
pub(crate) fn reread(scratch: *mut Scratch) -> *mut Scratch {
    let mut scratch = scratch;
    // SAFETY: moves a register onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) scratch, options(nostack, preserves_flags)) };
    scratch
}

/// The same context, which is used in any case.
#[inline(always)]
pub(crate) fn used<C>(ctx: *mut C) -> *mut C {
    let mut ctx = ctx;
    // SAFETY: moves a register onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) ctx, options(nomem, nostack, preserves_flags)) };
    ctx
}

/// The reason of a number that a function of this program gave.
#[inline(always)]
pub(crate) fn reason(code: u8) -> Reason {
    // SAFETY: the number comes from `Reason::code`.
    unsafe { core::mem::transmute::<u8, Reason>(code) }
}
