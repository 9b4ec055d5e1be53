//! The maps. Sizes given here are the smallest; the bench sets them before it loads.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray};

use crate::abi::{Aim, Arrived, Count, Flood, Known, Listed, Rules, SLOTS, VERDICTS};

/// Key: 0. Value: what this CPU's driver does next. Writer: bench between runs, driver in them.
#[map]
pub(crate) static AIM: PerCpuArray<Aim> = PerCpuArray::with_max_entries(1, 0);

/// Key: 0. Value: where the sender's frames go. Writer: bench between runs.
#[map]
pub(crate) static FLOOD: Array<Flood> = Array::with_max_entries(1, 0);

/// Key: slot of time. Value: packets that came to the stack in it. Writer: the counter of arrivals.
/// Per CPU.
#[map]
pub(crate) static ARRIVALS: PerCpuArray<Arrived> = PerCpuArray::with_max_entries(SLOTS, 0);

/// Key: 0. Value: when the first slot begins, by the monotonic clock. Writer: bench.
#[map]
pub(crate) static ORIGIN: Array<u64> = Array::with_max_entries(1, 0);

/// Key: 0. Value: packets that left. Per CPU. Writer: the program at the egress hook.
#[map]
pub(crate) static LEFT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Key: [`Aim::target`]. Value: the programs under test. Writer: bench, at the start.
#[map]
pub(crate) static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(16, 0);

/// As [`PROGRAMS`], for programs that aren't `xdp.frags`.
#[map]
pub(crate) static PLAIN_PROGRAMS: ProgramArray = ProgramArray::with_max_entries(16, 0);

/// Key: verdict. Value: the references' packets and bytes. Writer: references. Per CPU.
#[map]
pub(crate) static COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(VERDICTS, 0);

/// Key: 0. Value: the references' limits. Writer: bench.
#[map]
pub(crate) static RULES: Array<Rules> = Array::with_max_entries(1, 0);

/// The references' limits by prefix, a few. Writer: bench.
#[map]
pub(crate) static RULES_V4: LpmTrie<[u8; 4], Rules> =
    LpmTrie::with_max_entries(64, BPF_F_NO_PREALLOC);

/// As [`RULES_V4`], for IPv6.
#[map]
pub(crate) static RULES_V6: LpmTrie<[u8; 16], Rules> =
    LpmTrie::with_max_entries(64, BPF_F_NO_PREALLOC);

/// A table of as many lines as the real program's list has, all zero. Reader: the program that reads
/// one line and does nothing else.
#[map]
pub(crate) static FLOOR: Array<[u64; 8]> = Array::with_max_entries(1, 0);

/// The same with as few lines as can hold such a list.
#[map]
pub(crate) static SMALLEST: Array<[u64; 8]> = Array::with_max_entries(1, 0);

macro_rules! lists {
    ($($kind:ident $name:ident $address:ty, $flags:expr;)+) => {
        $(
            /// A list of a reference. Writer: bench at the start; the reference counts hits.
            #[map]
            pub(crate) static $name: $kind<$address, Listed> =
                $kind::with_max_entries(64, $flags);
        )+
    };
}
lists! {
    LpmTrie LPM_ALLOW_V4 [u8; 4], BPF_F_NO_PREALLOC;
    LpmTrie LPM_ALLOW_V6 [u8; 16], BPF_F_NO_PREALLOC;
    LpmTrie LPM_BLOCK_V4 [u8; 4], BPF_F_NO_PREALLOC;
    LpmTrie LPM_BLOCK_V6 [u8; 16], BPF_F_NO_PREALLOC;
    HashMap HASH_ALLOW_V4 [u8; 4], 0;
    HashMap HASH_ALLOW_V6 [u8; 16], 0;
    HashMap HASH_BLOCK_V4 [u8; 4], 0;
    HashMap HASH_BLOCK_V6 [u8; 16], 0;
}

/// Key: source. Value: when its ban ends. Writer: bench.
#[map]
pub(crate) static REF_BANS: HashMap<[u8; 16], u64> = HashMap::with_max_entries(64, 0);

/// Key: source. Value: its limiter state and counters, for both references. Writer: references.
#[map]
pub(crate) static REF_SOURCES: LruHashMap<[u8; 16], Known> = LruHashMap::with_max_entries(64, 0);
