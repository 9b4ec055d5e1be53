//! The maps. Sizes given here are the smallest; the controller sets them before it loads.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use xdp_common::abi::{
    Ban, Counter, Entry, Fault, Limits, MAX_INTERFACES, POLICY_SLOTS, Policy, Source, SourceKey,
};
use xdp_common::reason::Reason;

/// Key: 0. Value: the active slot of [`POLICY`].
/// Writer: controller. Reader: program, once per packet. Lifetime: the program's.
/// Concurrency: one aligned 4-byte write; a packet sees the old slot or the new one.
#[map]
pub(crate) static ACTIVE: Array<u32> = Array::with_max_entries(1, 0);

/// Key: slot. Value: a policy. 4 KiB.
/// Writer: controller, only slots that are not active. Reader: program, once per packet.
/// Concurrency: see [`POLICY_SLOTS`].
#[map]
pub(crate) static POLICY: Array<Policy> = Array::with_max_entries(POLICY_SLOTS, 0);

/// Key: (interface slot * 64 + reason) * 2 + (1 if dropped). Value: packets and bytes.
/// 32 KiB per CPU. Writer: program. Reader: controller, at a scrape.
/// Concurrency: each CPU has its own words, a packet is counted on the CPU that judged it.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counter> =
    PerCpuArray::with_max_entries(MAX_INTERFACES as u32 * Reason::SLOTS * 2, 0);

/// Key: [`Fault`]. Value: how often. Writer: program. Reader: controller. Per CPU as above.
#[map]
pub(crate) static FAULTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Fault::SLOTS, 0);

/// Key: IPv4 prefix, network order. Value: entry with hits. About 100 bytes an entry, allocated
/// when it is added. Writer: controller; program counts hits. Lifetime: the program's, filled from
/// the controller's state.
/// Full: the controller refuses the entry before it acknowledges it.
/// Concurrency: look-ups under RCU; hits are atomic adds.
#[map]
pub(crate) static ALLOW_V4: LpmTrie<[u8; 4], Entry> =
    LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// As [`ALLOW_V4`], for IPv6.
#[map]
pub(crate) static ALLOW_V6: LpmTrie<[u8; 16], Entry> =
    LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// As [`ALLOW_V4`], for the blocklist. No entry ends before one that covers it, see
/// `check_block`.
#[map]
pub(crate) static BLOCK_V4: LpmTrie<[u8; 4], Entry> =
    LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// As [`BLOCK_V4`], for IPv6.
#[map]
pub(crate) static BLOCK_V6: LpmTrie<[u8; 16], Entry> =
    LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Key: IPv4 prefix. Value: limits in place of the policy's. Looked up only when the policy says
/// that there are any. Writer: controller. Full: the configuration is refused.
#[map]
pub(crate) static LIMITS_V4: LpmTrie<[u8; 4], Limits> =
    LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// As [`LIMITS_V4`], for IPv6.
#[map]
pub(crate) static LIMITS_V6: LpmTrie<[u8; 16], Limits> =
    LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Key: source. Value: limiter state and counters. About 160 bytes a source, allocated at load.
/// Writer: program. Reader: controller, for `sources`.
/// Full: the kernel evicts a source that was not used lately; that source starts again with a full
/// burst. When it finds none to evict, the packet passes as `source_untracked` and is counted.
/// Concurrency: two CPUs that meet a new source both try to add it without overwriting and both
/// take what is there then. Words move by atomic operations. An evicted source's slot may be
/// written once more by a packet that looked it up just before.
#[map]
pub(crate) static SOURCES: LruHashMap<SourceKey, Source> = LruHashMap::with_max_entries(1024, 0);

/// Key: source. Value: ban. About 130 bytes a ban, allocated at load. Never evicted: a ban is not
/// lost because other sources arrive.
/// Writer: program (begin), controller (restore, lift, sweep). Reader: both.
/// Full: the ban is not stored, counted as a fault; the source's limits still hold.
/// Concurrency: a ban begins on the one CPU that won the strike; hits are atomic adds.
#[map]
pub(crate) static BANS: HashMap<SourceKey, Ban> = HashMap::with_max_entries(1024, 0);

/// Events for the controller. 256 KiB. Full: the event is lost and counted as a fault.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);
