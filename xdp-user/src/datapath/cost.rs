//! The memory that tables take: of some capacity when they are full, and now.

use xdp_common::abi::{Ban, Event, Hit, Sample, SourceKey, SourceLine, hits};
use xdp_common::sources::Shape;

use super::source_table::buckets;
use super::{Capacity, lists};

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

/// Bytes of memory that tables take. Allowlist, blocklist and the marks of overrides lie in tables
/// that they share, of which each has the part that its prefixes are of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Rings of hits, for all CPUs.
    pub hits: u64,
    /// Ring buffer of events.
    pub events: u64,
    /// Ring buffer of samples.
    pub samples: u64,
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
            ..Self::fixed(capacity)
        }
    }

    /// What is taken at the start, without the sources, of whose memory the table knows itself.
    pub(super) fn fixed(capacity: &Capacity) -> Self {
        let bans = u64::from(capacity.bans);
        let ban = HASH_SLOT_BYTES + (size_of::<SourceKey>() + size_of::<Ban>()) as u64;
        Self {
            bans: bans * ban + bans.next_power_of_two() * HASH_BUCKET_BYTES,
            hits: cpus() * u64::from(hits::RING) * size_of::<Hit>() as u64,
            events: EVENT_BYTES.into(),
            samples: SAMPLE_RING_BYTES.into(),
            ..Self::default()
        }
    }

    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let Self {
            allow,
            block,
            overrides,
            sources,
            bans,
            hits,
            events,
            samples,
        } = self;
        *allow + *block + *overrides + *sources + *bans + *hits + *events + *samples
    }
}

/// Hits that the ring of each CPU holds.
pub const HITS: u32 = hits::RING;

/// Events that their ring buffer holds.
#[must_use]
pub const fn events() -> u64 {
    EVENT_BYTES as u64 / (size_of::<Event>() as u64 + EVENT_HEADER_BYTES)
}

/// Samples that their ring buffer holds.
#[must_use]
pub const fn samples() -> u64 {
    SAMPLE_RING_BYTES as u64 / (size_of::<Sample>() as u64 + EVENT_HEADER_BYTES)
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

    #[test]
    fn rings_do_not_depend_on_the_capacity() {
        let small = Capacity {
            block: 1,
            bans: 16,
            ..CAPACITY
        };
        let [small, large] = [small, CAPACITY].map(|c| Memory::when_full(&c));
        assert_eq!((small.hits, small.events), (large.hits, large.events));
        assert!(small.block < large.block && small.bans < large.bans);
        assert_eq!(large.hits % (u64::from(HITS) * 32), 0);
        assert_eq!((events(), samples()), (4096, 1724));
    }

    #[test]
    fn the_total_is_of_all_parts() {
        let one = Memory {
            allow: 1,
            block: 10,
            overrides: 100,
            sources: 1000,
            bans: 10_000,
            hits: 100_000,
            events: 1_000_000,
            samples: 10_000_000,
        };
        assert_eq!(one.total(), 11_111_111);
    }
}
