//! The maps. Sizes given here are the smallest; the controller sets them before it loads.

use core::mem::offset_of;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array as BtfArray, ArrayOfMaps};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf};
use xdp_common::abi::{
    Ban, Class, ClassCounter, ClassState, Counter, EGRESS_PACKET_BYTES, EgressCounter, Fault, Hit,
    HitWriter, Limits, ListLine, NotIp, POLICY_SLOTS, Policy, SCRATCH_BYTES, SourceKey, SourceLine,
    WordLine, chunks, class_table, entries, hits,
};
use xdp_common::hit_sampler::HitSampler;
use xdp_common::lists::LINE_WORDS;
use xdp_common::packet::Packet;
use xdp_common::sampler::Sampler;
use xdp_common::sources::{BUCKET_LINES, Place, Shape};

use crate::again::Before;

/// Key: 0. Value: the active slot of [`POLICY`].
/// Writer: controller. Reader: program, once per packet. Lifetime: the program's.
/// Concurrency: one aligned 4-byte write; a packet sees the old slot or the new one.
#[map]
pub(crate) static ACTIVE: Array<u32> = Array::with_max_entries(1, 0);

/// Key: slot. Value: a policy. 5 KiB.
/// Writer: controller, only slots that are not active. Reader: program, once per packet.
/// Concurrency: see [`POLICY_SLOTS`].
#[map]
pub(crate) static POLICY: Array<Policy> = Array::with_max_entries(POLICY_SLOTS, 0);

/// Key: (interface slot * 64 + reason) * 2 + (1 if dropped). Value: packets and bytes.
/// 32 KiB per CPU. Writer: program. Reader: controller, at a scrape.
/// Concurrency: each CPU has its own words, a packet is counted on the CPU that judged it.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counter> =
    PerCpuArray::with_max_entries(entries::COUNTERS, 0);

/// Key: [`Fault`]. Value: how often. Writer: program. Reader: controller. Per CPU as above.
#[map]
pub(crate) static FAULTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Fault::SLOTS, 0);

/// Key: 0. Value: what wasn't judged because it is no IP packet, by kind and EtherType. 256 bytes per CPU.
/// Writer: program, for such packets only. Reader: controller, at a scrape. Lifetime: pinned, as the other
/// counters. Full: more EtherTypes without a kind of their own than there is room for are counted
/// together. Concurrency: each CPU has its own words.
#[map]
pub(crate) static NOT_IP: PerCpuArray<NotIp> = PerCpuArray::with_max_entries(1, 0);

/// Key: place of a chunk. Value: a chunk of a list table's lines, see [`chunks`] and
/// [`xdp_common::lists`]: allowlist, blocklist and the prefixes with limits of their own. Nothing is
/// there until the controller has something to list. About 16 bytes an IPv4 entry and 57 an IPv6
/// entry, with the ends, rounded up to whole chunks; the memory grows and shrinks with the list.
/// Writer: controller, through memory. Reader: program, a packet looks up one table once.
/// Full: how many entries a table takes is bounded by the controller's `[capacity]`, and it refuses an
/// entry before it acknowledges it.
/// Concurrency: an address changes by one aligned store, a list by the word in [`LIST_HEADS`]: see
/// there. A chunk stays until every packet that found it is done (RCU), and a packet whose table was
/// replaced meanwhile looks again.
#[btf_map]
pub(crate) static LISTS: ArrayOfMaps<ListChunk, { entries::LISTS as usize }> = ArrayOfMaps::new();

/// A chunk.
///
/// The value is a `ListLine` by its words: up to 6.2 the kernel takes an array whose value is a
/// struct for another kind of map than one without BTF, which is what the controller makes
/// (`timer_off` in `bpf_map_meta_equal`, kernel/bpf/map_in_map.c).
pub(crate) type ListChunk =
    BtfArray<[u64; LINE_WORDS], { chunks::LINES as usize }, { BPF_F_MMAPABLE as usize }>;

/// Key: line. Value: which tables are in force and how many changes there were, then the tables' heads,
/// see [`chunks`]. 320 bytes.
/// Writer: controller, through memory. Reader: program, two lines a packet.
/// Concurrency: a table comes in force by one aligned store, when its chunks and its head are there.
/// A look-up reads that word again behind all others.
#[map]
pub(crate) static LIST_HEADS: Array<ListLine> =
    Array::with_max_entries(entries::LIST_HEADS, BPF_F_MMAPABLE);

/// Key: CPU * [`hits::RING`] + place in its ring. Value: a hit of a list entry. 256 KiB per CPU.
/// Writer: program. Reader: controller, once a second, through memory.
/// Full: the oldest hit is written over; the controller notices and counts those that it missed.
/// Concurrency: each CPU has its own ring. The number of hits written moves after the hit, and a
/// reader looks at it before and after.
#[map]
pub(crate) static HITS: Array<Hit> = Array::with_max_entries(hits::RING, BPF_F_MMAPABLE);

/// Key: 0. Value: how far this CPU has written its hits. Per CPU. Writer: program. Reader: controller.
#[map]
pub(crate) static HIT_WRITERS: PerCpuArray<HitWriter> = PerCpuArray::with_max_entries(1, 0);

/// Key: IPv4 prefix. Value: limits in place of the policy's. Looked up only for sources that the
/// list table marks. Writer: controller. Full: the configuration is refused.
#[map]
pub(crate) static LIMITS_V4: LpmTrie<[u8; 4], Limits> =
    LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// As [`LIMITS_V4`], for IPv6.
#[map]
pub(crate) static LIMITS_V6: LpmTrie<[u8; 16], Limits> =
    LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Key: bucket * 8 + line, the cold lines behind. Value: a line of the source table, see
/// [`xdp_common::sources`]. 960 bytes for 7 sources, allocated at load.
/// Writer: program; the controller marks bans and ends the protection of sources that stay away.
/// Reader: controller, for `sources`, through memory.
/// Full: a new source takes the place of one that has sent least, never of a protected one; who was
/// displaced starts again with a full burst. Nobody is refused.
/// Concurrency: see there.
#[map]
pub(crate) static SOURCES: Array<SourceLine> =
    Array::with_max_entries(BUCKET_LINES, BPF_F_MMAPABLE);

/// Key: source. Value: ban. About 130 bytes a ban, allocated at load. Never evicted: a ban is not
/// lost because other sources arrive. Looked up only for sources whose bucket in [`SOURCES`] says
/// that they may be banned.
/// Writer: program (begin), controller (restore, lift, sweep). Reader: both.
/// Full: the ban is not stored, counted as a fault; the source's limits still hold.
/// Concurrency: a ban begins on the one CPU that won the strike; hits are atomic adds.
#[map]
pub(crate) static BANS: HashMap<SourceKey, Ban> = HashMap::with_max_entries(1024, 0);

/// Key: bank * [`class_table::LINES`] + line. Value: numbers of classes, see [`class_table`]. 771 KiB.
/// Writer: controller, through memory, only banks that no policy in use names. Reader: program, a byte
/// or two a packet. Lifetime: the program's. Concurrency: see [`CLASS_BANKS`].
#[map]
pub(crate) static CLASS_TABLE: Array<[u64; class_table::LINE / 8]> =
    Array::with_max_entries(entries::CLASS_TABLE, BPF_F_MMAPABLE);

/// Key: bank * [`MAX_CLASSES`] + number. Value: a class. 16 KiB. As [`CLASS_TABLE`].
#[map]
pub(crate) static CLASSES: Array<Class> = Array::with_max_entries(entries::CLASSES, BPF_F_MMAPABLE);

/// Key: number of a class. Value: what is going on in it. 2 KiB.
/// Writer: program (budget, pressure), controller (level). Reader: both.
/// Concurrency: the budget's time moves by compare-and-swap. Pressure is a plain store of a later time:
/// of two CPUs at once the one that loses was within a millisecond of the other.
#[map]
pub(crate) static CLASS_STATES: Array<ClassState> =
    Array::with_max_entries(entries::CLASS_STATES, BPF_F_MMAPABLE);

/// Key: number of a class. Value: what it decided. 4 KiB per CPU. Writer: program. Reader:
/// controller. Concurrency: each CPU has its own words.
#[map]
pub(crate) static CLASS_COUNTERS: PerCpuArray<ClassCounter> =
    PerCpuArray::with_max_entries(entries::CLASS_COUNTERS, 0);

/// Key: 0. Value: the packet that this CPU judges, what became of one before, and its samplers. Per
/// CPU. Writer and reader: program.
/// Concurrency: a program isn't interrupted by another packet on its CPU (softirq).
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// What a program keeps of its packet outside of its stack, and which packet it samples and which hit it
/// writes next.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) sampler: Sampler,
    pub(crate) hit_sampler: HitSampler,
    pub(crate) packet: Packet,
    /// Which policy it is judged by.
    pub(crate) slot: u32,
    /// 1 if its source was asked for in the table.
    pub(crate) asked: u32,
    /// See [`chunks::CHANGES`]: read before all else.
    pub(crate) changes: u64,
    /// What became of a packet before, see [`crate::again`].
    pub(crate) before: Before,
    pub(crate) found: u64,
    pub(crate) place: Place,
    pub(crate) key: SourceKey,
    /// See [`xdp_common::flows::Keys`].
    pub(crate) flow_keys: [u64; 2],
    /// IP and TCP header, where a helper wants them.
    pub(crate) ip: [u64; 5],
    pub(crate) tcp: [u64; 8],
    /// A `bpf_sock_tuple`.
    pub(crate) tuple: [u32; 9],
    /// The cookie that was made.
    pub(crate) cookie: u32,
    /// Whether the packet's source may be known, 1 or 0.
    pub(crate) known: u32,
    /// Whether it is that of the packet before, 1 or 0.
    pub(crate) comes_again: u32,
    /// Whether its flow is to be kept once it has passed, 1 or 0.
    pub(crate) has_flow: u32,
    pub(crate) reserved: u32,
}

const _: () = assert!(size_of::<Scratch>() == SCRATCH_BYTES);
const _: () = assert!(offset_of!(Scratch, key) % 8 == 0, "kept by words");

/// Key: line. Value: bits, see [`xdp_common::known`]. Two filters of 4 bits a place of the sources and
/// the bans, 128 KiB each at the default. Writer: program (sets bits), controller (makes a filter anew). Reader: program.
/// Full: never; a denser filter only says "perhaps" more often, and the source table is asked then.
/// Concurrency: bits are set by atomic operations, in both filters.
#[map]
pub(crate) static KNOWN: Array<WordLine> = Array::with_max_entries(3, BPF_F_MMAPABLE);

/// Key: line. Value: limits by hash, see [`xdp_common::meters`]. 1 MiB.
/// Writer and reader: program. Full and concurrency: see there.
#[map]
pub(crate) static METERS: Array<WordLine> = Array::with_max_entries(1, 0);

/// Key: line. Value: flows and refused newcomers, see [`xdp_common::flows`]. 16 MiB at the default.
/// Writer: both programs. Reader: both programs, controller through memory. Full and concurrency: see
/// there.
#[map]
pub(crate) static FLOWS: Array<WordLine> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Key: 0. Value: what the egress program saw. Per CPU. Writer: egress program. Reader: controller, at a
/// scrape. Lifetime: pinned, as the other counters. Concurrency: each CPU has its own words.
#[map]
pub(crate) static EGRESS: PerCpuArray<EgressCounter> = PerCpuArray::with_max_entries(1, 0);

/// Key: 0. Value: the packet that the egress program reads. Per CPU. Writer and reader: egress program.
/// Concurrency: see [`crate::egress`].
#[map]
pub(crate) static EGRESS_PACKET: PerCpuArray<Packet> = PerCpuArray::with_max_entries(1, 0);

const _: () = assert!(size_of::<Packet>() == EGRESS_PACKET_BYTES);

/// Key: hash. Value: what became of a first fragment, see [`xdp_common::fragments`]. 32 KiB.
/// Writer and reader: program. Full: the older one is written over. Concurrency: single words.
#[map]
pub(crate) static FRAGMENTS: Array<u64> = Array::with_max_entries(entries::FRAGMENTS, 0);

/// Key: hash of address and port. Value: since when that listener makes cookies, and the rest of the
/// hash. 8 KiB. Writer and reader: program. Full: as [`FRAGMENTS`]; a listener that was written over is
/// handed its SYNs until it makes a cookie again.
#[map]
pub(crate) static LISTENERS: Array<u64> = Array::with_max_entries(entries::LISTENERS, 0);

/// Bans for the controller. 256 KiB. Full: the event is lost and counted as a fault.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Sampled packets ([`xdp_common::abi::Sample`]) for the controller. 512 KiB, 1,724 of them.
/// A ring of its own: samples come as fast as they are asked for, a ban is told once, and whatever
/// becomes of samples must not cost one.
/// Writer: program, on each CPU no faster than the policy's limit ([`Sampler`]). Reader: controller,
/// woken by each. Lifetime: the program's.
/// Full: the sample is lost and counted as a fault; what is in the ring stays.
/// Concurrency: CPUs reserve their places one after the other under the ring's lock
/// (kernel/bpf/ringbuf.c), and fill them side by side.
#[map]
pub(crate) static SAMPLES: RingBuf = RingBuf::with_byte_size(512 * 1024, 0);

/// The source table's shape and what else the controller sets before it loads the program.
pub(crate) mod constant {
    /// Buckets.
    #[unsafe(no_mangle)]
    static SOURCE_BUCKETS: u32 = 1;
    /// Seeds of the hash.
    #[unsafe(no_mangle)]
    static SOURCE_SEEDS: [u64; 2] = [1, 1];
    /// Bits of a filter of known sources, less one.
    #[unsafe(no_mangle)]
    static KNOWN_MASK: u32 = 511;
    /// Lines of the meters, less one.
    #[unsafe(no_mangle)]
    static METER_MASK: u32 = 0;
    /// Lines of the flow memory, less one.
    #[unsafe(no_mangle)]
    static FLOW_MASK: u32 = 0;
    /// Timer ticks are shifted by this to periods of about a second.
    #[unsafe(no_mangle)]
    static PERIOD_SHIFT: u32 = 8;
    /// Flags of a policy that are looked at.
    #[unsafe(no_mangle)]
    static STAGES: u32 = u32::MAX;

    macro_rules! read {
        ($name:ident) => {
            // SAFETY: a static of the program; volatile, because its value is known at load only.
            unsafe { core::ptr::read_volatile(&raw const $name) }
        };
    }

    #[inline(always)]
    pub(crate) fn source_shape() -> super::Shape {
        super::Shape {
            buckets: read!(SOURCE_BUCKETS),
            seeds: read!(SOURCE_SEEDS),
        }
    }

    #[inline(always)]
    pub(crate) fn source_seeds() -> [u64; 2] {
        read!(SOURCE_SEEDS)
    }

    #[inline(always)]
    pub(crate) fn known_mask() -> u32 {
        read!(KNOWN_MASK)
    }

    #[inline(always)]
    pub(crate) fn meter_mask() -> u32 {
        read!(METER_MASK)
    }

    #[inline(always)]
    pub(crate) fn flow_mask() -> u32 {
        read!(FLOW_MASK)
    }

    #[inline(always)]
    pub(crate) fn period_shift() -> u32 {
        read!(PERIOD_SHIFT)
    }

    /// A stage whose flag isn't among these isn't in the program that runs: the verifier knows the value.
    #[inline(always)]
    pub(crate) fn stages() -> u32 {
        read!(STAGES)
    }
}
