//! The memory that tables take: of some capacity when they are full, and now.

use xdp_common::abi::{
    Ban, Class, ClassCounter, ClassState, Counter, EGRESS_PACKET_BYTES, EgressCounter, Event,
    Fault, Hit, HitWriter, ListLine, NotIp, POLICY_SLOTS, Policy, SCRATCH_BYTES, Sample, SourceKey,
    SourceLine, WordLine, class_table, entries, hits, map,
};
use xdp_common::known;
use xdp_common::sources::Shape;

use super::source_table::buckets;
use super::{Capacity, flow_lines, lists};

/// Size of the ring buffer of events.
pub(super) const EVENT_BYTES: u32 = 256 * 1024;

/// Size of the ring buffer of samples.
pub(super) const SAMPLE_RING_BYTES: u32 = 512 * 1024;

/// About what the kernel takes for limits of a prefix in an LPM trie (6.18): a node with key and
/// value, 96 bytes with the allocator's rounding, and nearly always an inner node of that size.
const LIMITS_BYTES: u64 = 2 * 96;

/// What the kernel adds to a slot of a hash (6.18).
const HASH_SLOT_BYTES: u64 = 48;
/// A bucket of a hash, of which there are as many as slots, rounded up to a power of two (6.18).
const HASH_BUCKET_BYTES: u64 = 16;

/// What the ring buffer adds to an event.
const EVENT_HEADER_BYTES: u64 = 8;

/// The ring buffer of the program's own diagnostics, of messages of very different lengths
/// (aya-log-ebpf 0.2).
const LOG_BYTES: u64 = 128 * 1024;

/// What an array of maps has of each.
const POINTER_BYTES: usize = 8;

/// A value of an array is rounded up to this, and an array with a value for each CPU has a pointer of
/// this size to each of its entries (6.18).
const WORD_BYTES: u64 = 8;

/// A map whose memory is taken at the start and stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Its name in the kernel ([`map`]).
    pub name: &'static str,
    /// Entries that fit, on each CPU if it has them there.
    pub entries: u64,
    /// Whether each CPU has its own entries.
    pub per_cpu: bool,
    /// Bytes, of all CPUs together.
    pub bytes: u64,
}

impl Fixed {
    /// Its name in output.
    #[must_use]
    pub fn shown(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    fn array<V>(name: &'static str, entries: u32) -> Self {
        Self::of_values(name, entries, size_of::<V>())
    }

    fn of_values(name: &'static str, entries: u32, value: usize) -> Self {
        Self {
            name,
            entries: entries.into(),
            per_cpu: false,
            bytes: u64::from(entries) * (value as u64).next_multiple_of(WORD_BYTES),
        }
    }

    /// An array with a value for each CPU.
    fn each_cpu(one: Self) -> Self {
        Self {
            per_cpu: true,
            bytes: one.bytes * cpus() + one.entries * WORD_BYTES,
            ..one
        }
    }

    /// In the order in which they are shown.
    fn all(capacity: &Capacity) -> Vec<Self> {
        let known_lines = known::all_lines(known::mask_for(capacity.sources, capacity.bans));
        vec![
            Self {
                name: map::HITS,
                entries: hits::RING.into(),
                per_cpu: true,
                bytes: cpus() * u64::from(hits::RING) * size_of::<Hit>() as u64,
            },
            Self::each_cpu(Self::array::<HitWriter>(map::HIT_WRITERS, 1)),
            Self {
                name: map::EVENTS,
                entries: u64::from(EVENT_BYTES) / (size_of::<Event>() as u64 + EVENT_HEADER_BYTES),
                per_cpu: false,
                bytes: EVENT_BYTES.into(),
            },
            Self {
                name: map::SAMPLES,
                entries: u64::from(SAMPLE_RING_BYTES)
                    / (size_of::<Sample>() as u64 + EVENT_HEADER_BYTES),
                per_cpu: false,
                bytes: SAMPLE_RING_BYTES.into(),
            },
            Self::array::<Policy>(map::POLICY, POLICY_SLOTS),
            Self::array::<u32>(map::ACTIVE, 1),
            Self::each_cpu(Self::array::<Counter>(map::COUNTERS, entries::COUNTERS)),
            Self::each_cpu(Self::array::<u64>(map::FAULTS, Fault::SLOTS)),
            Self::each_cpu(Self::array::<NotIp>(map::NOT_IP, 1)),
            Self::of_values(map::LISTS, entries::LISTS, POINTER_BYTES),
            Self::array::<ListLine>(map::LIST_HEADS, entries::LIST_HEADS),
            Self::of_values(map::CLASS_TABLE, entries::CLASS_TABLE, class_table::LINE),
            Self::array::<Class>(map::CLASSES, entries::CLASSES),
            Self::array::<ClassState>(map::CLASS_STATES, entries::CLASS_STATES),
            Self::each_cpu(Self::array::<ClassCounter>(
                map::CLASS_COUNTERS,
                entries::CLASS_COUNTERS,
            )),
            Self::array::<WordLine>(map::KNOWN, known_lines),
            Self::array::<WordLine>(map::METERS, entries::METERS),
            Self::array::<WordLine>(map::FLOWS, flow_lines(capacity.flows)),
            Self::array::<u64>(map::FRAGMENTS, entries::FRAGMENTS),
            Self::array::<u64>(map::LISTENERS, entries::LISTENERS),
            Self::each_cpu(Self::of_values(map::SCRATCH, 1, SCRATCH_BYTES)),
            Self::each_cpu(Self::array::<EgressCounter>(map::EGRESS, 1)),
            Self::each_cpu(Self::of_values(map::EGRESS_PACKET, 1, EGRESS_PACKET_BYTES)),
            Self {
                name: map::LOGS,
                entries: LOG_BYTES,
                per_cpu: false,
                bytes: LOG_BYTES,
            },
        ]
    }
}

/// Bytes of memory that the maps take. Allowlist, blocklist and the marks of overrides lie in tables
/// that they share, of which each has the part that its prefixes are of all.
///
/// The kernel adds its own record of each map, less than a thousand bytes, up to four pages for each
/// ring buffer, and rounds up to pages. That is not counted, nor are the program's code and constants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Allowlist.
    pub allow: u64,
    /// Blocklist.
    pub block: u64,
    /// Overrides: their limits, about, and their marks in the list tables.
    pub overrides: u64,
    /// Source table.
    pub sources: u64,
    /// Ban table.
    pub bans: u64,
    /// The other maps.
    pub fixed: Vec<Fixed>,
}

impl Memory {
    /// About what tables of this capacity take when all of them are full. Lists are taken to be of
    /// prefixes that lie far apart; many in the same networks can take more, in groups, or less.
    #[must_use]
    pub fn when_full(capacity: &Capacity) -> Self {
        let listed = |entries| [true, false].map(|ipv4| lists::bytes_for(entries, ipv4));
        let both = |entries| listed(entries).iter().sum::<u64>();
        Self {
            allow: both(capacity.allow),
            block: both(capacity.block),
            overrides: both(capacity.overrides) + of_limits(2 * u64::from(capacity.overrides)),
            sources: of_sources(capacity.sources),
            ..Self::at_start(capacity)
        }
    }

    /// What is taken at the start, without the sources, of whose memory the table knows itself.
    pub(super) fn at_start(capacity: &Capacity) -> Self {
        let bans = u64::from(capacity.bans);
        let ban = HASH_SLOT_BYTES + (size_of::<SourceKey>() + size_of::<Ban>()) as u64;
        Self {
            bans: bans * ban + bans.next_power_of_two() * HASH_BUCKET_BYTES,
            fixed: Fixed::all(capacity),
            ..Self::default()
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            allow,
            block,
            overrides,
            sources,
            bans,
            fixed,
        } = self;
        let fixed: u64 = fixed.iter().map(|map| map.bytes).sum();
        allow + block + overrides + sources + bans + fixed
    }
}

/// Limits of so many prefixes, without their marks.
pub(super) const fn of_limits(prefixes: u64) -> u64 {
    prefixes * LIMITS_BYTES
}

fn of_sources(sources: u32) -> u64 {
    let shape = Shape {
        buckets: buckets(sources),
        seeds: [1; 2],
    };
    u64::from(shape.lines()) * size_of::<SourceLine>() as u64
}

/// CPUs that the machine may have; 1 where it doesn't say.
fn cpus() -> u64 {
    aya::util::nr_cpus().map_or(1, |cpus| cpus as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity {
        allow: 10_000,
        block: 1_000_000,
        overrides: 10_000,
        sources: 131_072,
        bans: 65_536,
        flows: 1_048_576,
    };

    #[test]
    fn a_million_ipv4_entries_take_16_bytes_each_and_ipv6_entries_57() {
        let each = |ipv4| lists::bytes_for(1_000_000, ipv4) / 1_000_000;
        assert_eq!([true, false].map(each), [16, 57]);
    }

    #[test]
    fn a_source_takes_137_bytes() {
        let memory = Memory::when_full(&CAPACITY);
        assert_eq!(memory.sources.div_ceil(u64::from(CAPACITY.sources)), 138);
        assert_eq!(memory.sources / u64::from(CAPACITY.sources), 137);
    }

    /// The kernel's own figure for that map, without a thousand bytes of the map itself (6.18).
    #[test]
    fn bans_take_what_the_kernel_says() {
        let memory = Memory::when_full(&CAPACITY);
        assert_eq!(memory.bans, 8_388_608);
    }

    fn fixed<'a>(memory: &'a Memory, name: &str) -> &'a Fixed {
        memory.fixed.iter().find(|map| map.name == name).unwrap()
    }

    #[test]
    fn fixed_maps_do_not_depend_on_the_lists() {
        let small = Capacity {
            block: 1,
            bans: 16,
            ..CAPACITY
        };
        let [small, large] = [small, CAPACITY].map(|c| Memory::when_full(&c));
        assert_eq!(small.fixed, large.fixed);
        assert!(small.block < large.block && small.bans < large.bans);
        let hits = fixed(&large, map::HITS);
        assert_eq!(hits.bytes % (hits.entries * 32), 0);
        assert_eq!(fixed(&large, map::EVENTS).entries, 4096);
        assert_eq!(fixed(&large, map::SAMPLES).entries, 1724);
    }

    /// As their comments say.
    #[test]
    fn maps_of_classes_take_what_is_written_of_them() {
        let memory = Memory::when_full(&CAPACITY);
        for (name, kib) in [
            (map::CLASS_TABLE, 771),
            (map::CLASSES, 16),
            (map::CLASS_STATES, 2),
            (map::METERS, 1024),
            (map::FLOWS, 16 * 1024),
            (map::FRAGMENTS, 32),
            (map::LISTENERS, 8),
        ] {
            assert_eq!(fixed(&memory, name).bytes / 1024, kib, "{name}");
        }
        let counters = fixed(&memory, map::CLASS_COUNTERS);
        assert_eq!(counters.bytes, 32 * (128 * cpus() + 8));
    }

    #[test]
    fn the_filter_of_known_sources_grows_with_the_source_table() {
        let of = |sources| {
            let memory = Memory::when_full(&Capacity {
                sources,
                ..CAPACITY
            });
            fixed(&memory, map::KNOWN).bytes
        };
        assert_eq!(of(131_072), 128 * 1024 + 64);
        assert_eq!(of(262_144), 256 * 1024 + 64);
    }

    #[test]
    fn the_total_is_of_all_parts() {
        let map = |bytes| Fixed {
            name: map::HITS,
            entries: 1,
            per_cpu: false,
            bytes,
        };
        let one = Memory {
            allow: 1,
            block: 10,
            overrides: 100,
            sources: 1000,
            bans: 10_000,
            fixed: vec![map(100_000), map(1_000_000)],
        };
        assert_eq!(one.total(), 1_111_111);
    }
}
