//! The source table: what is known of each source, in fixed memory and without a lock that anybody
//! waits for.
//!
//! A set-associative cache in one array of lines ([`crate::abi::SourceLine`]). A seeded hash gives
//! a source its bucket of [`WAYS`] places:
//!
//! ```text
//! line 0        head, and a tag for each way
//! lines 1..=7   the way's hot line: limiter state, counters, times (see `hot`)
//! ```
//!
//! Behind all buckets follow the *cold lines*, one for each way of each bucket: drops and strikes,
//! used from a source's first offence on (see `cold`).
//!
//! A packet of a known source touches the first line and a hot one, and so does one of a new source.
//! Both lie in the same page, and most sources have the way that their hash prefers: [`touch`] asks
//! for that one before the tags have said which it is, so that the processor waits for memory
//! once.
//!
//! **Who goes when a bucket is full.** Newcomers displace newcomers. A way is *protected* once its
//! source has sent [`EARNED_PACKETS`] packets within its limits and [`EARNED_NS`] have passed since
//! its first; at most [`MAX_PROTECTED`] of a bucket are, and no newcomer, whatever it sends, takes
//! their place. Of the others those go first that have sent a single packet. Sources that stay away
//! lose their protection to the controller's sweep.
//!
//! **Tags.** For sources of up to 64 bits the tag is a permutation of the source and so exact; for
//! longer ones it is a seeded hash, and two of them share a tag with a probability of 2^-64.
//!
//! **Concurrency.** State moves by atomic operations. Adding a source claims the bucket by
//! compare-and-swap on the head, whose version is odd until the source's first packet has been
//! judged ([`Found::publish`]): it isn't found before, so its words need no atomic operations yet. A
//! packet that finds the bucket claimed looks again, at most [`TRIES`] times, and then passes,
//! counted as untracked. Known sources don't look at the version. A packet that found its source in the nanoseconds before that was displaced is
//! charged to the successor: one packet for each CPU, to the strict side. A reader copies a bucket
//! and takes it when the version is even and the same before and after.

use crate::abi::{FAMILY_IPV4, SourceKey};
use crate::lists::halves;
use crate::verdict::Word;

/// Sources of a bucket.
pub const WAYS: u32 = 7;
/// Lines of a bucket, without the cold ones.
pub const BUCKET_LINES: u32 = WAYS + 1;
/// Packets within its limits that a source must have sent to be protected.
pub const EARNED_PACKETS: u64 = 8;
/// Time since its first packet after which a source can be protected.
pub const EARNED_NS: u64 = 1_000_000_000;
/// Protected sources of a bucket; the other places stay open for newcomers.
pub const MAX_PROTECTED: u32 = 5;
/// How often a packet looks for its source while the bucket changes under it.
pub const TRIES: usize = 8;

/// The head's bits.
pub mod head {
    /// Bit of the first way: its source has sent more than one packet.
    pub const REFERENCED: u32 = 0;
    /// Bit of the first way: its source is protected.
    pub const PROTECTED: u32 = 7;
    /// First bit of the filter of bans.
    pub const BANS: u32 = 14;
    /// Bits of the filter of bans.
    pub const BAN_BITS: u32 = 42;
    /// All bits of the filter of bans.
    pub const BAN_MASK: u64 = ((1 << BAN_BITS) - 1) << BANS;
    /// Lowest bit of the version, a byte that is odd while a source is added.
    pub const VERSION: u64 = 1 << 56;
    /// Place of that byte in the word (little-endian).
    pub const VERSION_BYTE: usize = 7;
    /// The bits of all ways, beginning with bit 0.
    pub const ALL_WAYS: u64 = (1 << super::WAYS) - 1;
}

/// Words of a hot line.
pub mod hot {
    /// GCRA: theoretical arrival time of the next packet.
    pub const TAT_PACKETS: usize = 0;
    /// GCRA: the same for bytes.
    pub const TAT_BYTES: usize = 1;
    /// GCRA: the same for new TCP connections.
    pub const TAT_TCP_NEW: usize = 2;
    /// Packets that reached the limit stage.
    pub const PACKETS: usize = 3;
    /// Bytes of those packets.
    pub const BYTES: usize = 4;
    /// When the source was first seen.
    pub const FIRST_SEEN: usize = 5;
    /// When the source was last seen.
    pub const LAST_SEEN: usize = 6;
    /// Lower half of the source's address.
    pub const LOW: usize = 7;
}

/// Words of a cold line.
pub mod cold {
    /// Tag of the source that the line is about; another one means that it has no offences.
    pub const OWNER: usize = 0;
    /// Strikes: milliseconds of the last one in the upper 48 bits, their number in the lower 16.
    pub const STRIKES: usize = 1;
    /// Packets over a limit.
    pub const DROPPED_PACKETS: usize = 2;
    /// Bytes of those packets.
    pub const DROPPED_BYTES: usize = 3;
}

/// A line of the table's memory.
pub trait SourceLine: Copy {
    /// Its words.
    type Word: Word;
    /// A word by its number, a constant below 8.
    fn word(self, index: usize) -> Self::Word;
    /// Stores the version of a head, a byte of its first word.
    fn store_version(self, version: u8);
    /// A word by its number, taken modulo 8, where that isn't a constant.
    #[inline(always)]
    fn word_at(self, index: usize) -> Self::Word {
        self.word(index & 7)
    }
}

/// The table's memory.
pub trait SourceMemory {
    /// One of its lines.
    type Line: SourceLine;
    /// The line at `index`; nothing behind the last one.
    fn line(&self, index: u32) -> Option<Self::Line>;
    /// The value, of which a verifier no longer knows what it may be: see
    /// [`crate::packet::PacketView::forget`].
    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        value
    }
}

/// The table's shape: how many buckets there are, and the seeds of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Buckets.
    pub buckets: u32,
    /// Two odd factors.
    pub seeds: [u64; 2],
}

/// A source in the table's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the bucket's first line.
    pub first_line: u32,
    /// Number of its first cold line.
    pub first_cold: u32,
    /// The source's tag, never 0.
    pub tag: u64,
    /// Lower half of its address.
    pub low: u64,
}

/// Lower half of every IPv4 source: text, so that no IPv6 source in use has it.
pub const IPV4_LOW: u64 = u64::from_be_bytes(*b"IPv4 low");

impl Shape {
    /// All lines of a table of this shape.
    pub const fn lines(&self) -> u32 {
        self.buckets.saturating_mul(BUCKET_LINES + WAYS)
    }

    /// Number of a bucket's first cold line.
    #[inline(always)]
    pub const fn first_cold(&self, bucket: u32) -> u32 {
        let behind = self.buckets.wrapping_mul(BUCKET_LINES);
        behind.wrapping_add(bucket.wrapping_mul(WAYS))
    }

    /// Where a source belongs.
    #[inline(always)]
    pub fn place(&self, key: &SourceKey) -> Place {
        let (high, low) = if key.family == FAMILY_IPV4 {
            let [a, b, c, d, ..] = key.addr;
            (u32::from_be_bytes([a, b, c, d]).into(), IPV4_LOW)
        } else {
            halves(&key.addr)
        };
        let x = self.permuted(high ^ self.mixed(low));
        #[allow(
            clippy::cast_possible_truncation,
            reason = "below the number of buckets"
        )]
        let bucket = ((x >> 32).wrapping_mul(self.buckets.into()) >> 32) as u32;
        Place {
            first_line: bucket.wrapping_mul(BUCKET_LINES),
            first_cold: self.first_cold(bucket),
            tag: if x == 0 { 1 } else { x },
            low,
        }
    }

    /// The upper half of a source's address, from its tag and the lower half.
    pub fn high(&self, tag: u64, low: u64) -> u64 {
        let [first, second] = self.seeds;
        let mut x = tag;
        x ^= x >> 29 ^ x >> 58;
        x = x.wrapping_mul(inverse(second | 1));
        x ^= x >> 32;
        x = x.wrapping_mul(inverse(first | 1));
        x ^ self.mixed(low)
    }

    #[inline(always)]
    fn mixed(&self, low: u64) -> u64 {
        let [_, second] = self.seeds;
        let x = low.wrapping_mul(second | 1);
        x ^ x >> 31
    }

    /// One to one: odd factors, and shifts whose upper bits stay.
    #[inline(always)]
    fn permuted(&self, x: u64) -> u64 {
        let [first, second] = self.seeds;
        let mut x = x.wrapping_mul(first | 1);
        x ^= x >> 32;
        x = x.wrapping_mul(second | 1);
        x ^ x >> 29
    }
}

/// Of an odd number modulo 2^64: each of Newton's steps doubles the bits that are right.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut step = 0;
    while step < 6 {
        x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
        step += 1;
    }
    x
}

/// A source that is in the table.
#[derive(Clone, Copy)]
pub struct Found<L> {
    head: L,
    hot: L,
    cold: u32,
    way: u32,
    tag: u64,
    /// Its bucket is claimed and nobody else finds it until it is published.
    is_new: bool,
}

/// Whether the source may be banned: false for nearly all that aren't.
#[inline(always)]
pub fn may_be_banned<M: SourceMemory>(memory: &M, place: &Place) -> bool {
    let head = memory.line(place.first_line);
    head.is_some_and(|line| line.word(0).load() & ban_bit(place.tag) != 0)
}

/// The bit of a source in its bucket's filter of bans.
#[inline(always)]
pub const fn ban_bit(tag: u64) -> u64 {
    // Bits that the choice of the bucket uses little.
    let bit = ((tag & 0xffff).wrapping_mul(head::BAN_BITS as u64)) >> 16;
    1 << (bit + head::BANS as u64)
}

/// The way that holds a source, and the ways that hold nothing.
#[inline(always)]
fn scan<L: SourceLine>(head: L, tag: u64) -> Result<u32, u64> {
    let mut empty = 0;
    for way in 0..WAYS {
        let held = head.word(way as usize + 1).load();
        if held == tag {
            return Ok(way);
        }
        if held == 0 {
            empty |= 1 << way;
        }
    }
    Err(empty)
}

/// The source, if the table has it.
#[inline(always)]
pub fn find<M: SourceMemory>(memory: &M, place: &Place) -> Option<Found<M::Line>> {
    let head = memory.line(place.first_line)?;
    let way = scan(head, place.tag).ok()?;
    found(memory, head, place, way)
}

/// The source in a way of its bucket, as [`Found::way`] and [`Found::is_new`] told.
#[inline(always)]
pub fn at<M: SourceMemory>(
    memory: &M,
    place: &Place,
    way: u32,
    is_new: bool,
) -> Option<Found<M::Line>> {
    let known = found(memory, memory.line(place.first_line)?, place, way)?;
    Some(Found { is_new, ..known })
}

#[inline(always)]
fn found<M: SourceMemory>(
    memory: &M,
    head: M::Line,
    place: &Place,
    way: u32,
) -> Option<Found<M::Line>> {
    Some(Found {
        head,
        hot: memory.line(place.first_line.wrapping_add(1).wrapping_add(way))?,
        cold: place.first_cold.wrapping_add(way),
        way,
        tag: place.tag,
        is_new: false,
    })
}

/// The source with a packet of `bytes` counted at `now`; added if it is new, and then to be published.
/// Nothing when others kept changing its bucket.
#[inline(always)]
pub fn find_or_add<M: SourceMemory>(
    memory: &M,
    place: &Place,
    now: u64,
    bytes: u64,
) -> Option<Found<M::Line>> {
    let head = memory.line(place.first_line)?;
    for _ in 0..TRIES {
        let before = head.word(0).load();
        let empty = match scan(head, place.tag) {
            Ok(way) => {
                let bit = 1 << (head::REFERENCED + way);
                if before & bit == 0 {
                    head.word(0).or(bit);
                }
                let known = found(memory, head, place, memory.forget(way))?;
                known.hot(hot::PACKETS).add(1);
                known.hot(hot::BYTES).add(bytes);
                known.hot(hot::LAST_SEEN).store(now);
                return Some(known);
            }
            Err(empty) => empty,
        };
        if before & head::VERSION != 0 {
            continue;
        }
        let (way, kept) = victim(before, empty, place.tag);
        let claimed = kept.wrapping_add(head::VERSION);
        if head.word(0).compare_exchange(before, claimed).is_err() {
            continue;
        }
        let added = found(memory, head, place, memory.forget(way))?;
        return Some(added.begin(place.low, now, bytes));
    }
    None
}

/// Which way a new source takes, and the head without the bits that this clears.
#[inline(always)]
fn victim(before: u64, empty: u64, tag: u64) -> (u32, u64) {
    let protected = before >> head::PROTECTED & head::ALL_WAYS;
    let referenced = before >> head::REFERENCED & head::ALL_WAYS;
    let open = !protected & head::ALL_WAYS;
    let single = open & !referenced;
    let (among, kept) = if empty != 0 {
        (empty, before)
    } else if single != 0 {
        (single, before)
    } else {
        // Everybody has come twice: the next round starts.
        (open, before & !head::ALL_WAYS)
    };
    let mut way = preferred(tag);
    for _ in 0..WAYS {
        if among >> way & 1 != 0 {
            break;
        }
        way = if way >= WAYS - 1 {
            0
        } else {
            way.wrapping_add(1)
        };
    }
    let bits = (1 << (head::REFERENCED + way)) | (1 << (head::PROTECTED + way));
    (way, kept & !bits)
}

/// The way that a source takes if it can: so newcomers spread over the open ways, and a packet can
/// ask for the line before it knows.
#[inline(always)]
fn preferred(tag: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "below 7")]
    let way = ((tag >> 16 & 0xffff).wrapping_mul(WAYS as u64) >> 16) as u32;
    way
}

/// Asks for the hot line that the source most likely has: what is read is of no interest.
#[inline(always)]
pub fn touch<M: SourceMemory>(memory: &M, place: &Place) {
    let way = preferred(place.tag);
    if let Some(line) = memory.line(place.first_line.wrapping_add(1).wrapping_add(way)) {
        let _untold = line.word(hot::TAT_PACKETS).load();
    }
}

impl<L: SourceLine> Found<L> {
    /// Begins a new source in a way of a claimed bucket, with its first packet counted.
    #[inline(always)]
    fn begin(self, low: u64, now: u64, bytes: u64) -> Self {
        // Nobody finds the way while it is neither the old source's nor the new one's.
        self.head.word_at(self.way as usize + 1).store(0);
        for word in [hot::TAT_PACKETS, hot::TAT_BYTES, hot::TAT_TCP_NEW] {
            self.hot(word).store(0);
        }
        self.hot(hot::PACKETS).store(1);
        self.hot(hot::BYTES).store(bytes);
        self.hot(hot::FIRST_SEEN).store(now);
        self.hot(hot::LAST_SEEN).store(now);
        self.hot(hot::LOW).store(low);
        Self {
            is_new: true,
            ..self
        }
    }

    /// Whether it was added just now and is still to be published.
    #[inline(always)]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Lets everybody find a new source, and releases its bucket. The version is a byte of its own:
    /// what others do to the head's other bits meanwhile is not lost.
    #[inline(always)]
    pub fn publish(&self) {
        self.head.word_at(self.way as usize + 1).store(self.tag);
        let version = (self.head.word(0).load() >> 56).wrapping_add(1);
        #[allow(clippy::cast_possible_truncation, reason = "eight bits")]
        self.head.store_version(version as u8);
    }

    /// Which of its bucket's ways it has.
    #[inline(always)]
    pub fn way(&self) -> u32 {
        self.way
    }

    /// A word of the hot line.
    #[inline(always)]
    pub fn hot(&self, word: usize) -> L::Word {
        self.hot.word(word)
    }

    /// Notes that the source has sent a packet within its limits, which may earn it protection.
    #[inline(always)]
    pub fn behaved(&self, now: u64) {
        let bit = 1_u64 << (head::PROTECTED + self.way);
        let before = self.head.word(0).load();
        if before & bit != 0
            || self.hot(hot::PACKETS).load() < EARNED_PACKETS
            || now.saturating_sub(self.hot(hot::FIRST_SEEN).load()) < EARNED_NS
        {
            return;
        }
        let protected = before >> head::PROTECTED & head::ALL_WAYS;
        if before & head::VERSION == 0 && ones(protected) < MAX_PROTECTED {
            // Who loses a race tries again with the next packet.
            let _won = self.head.word(0).compare_exchange(before, before | bit);
        }
    }

    /// The cold line, made the source's own if it was another's.
    ///
    /// Concurrency: of several CPUs one clears it; drops that the others count in the same
    /// nanoseconds may be lost, one packet each.
    #[inline(always)]
    pub fn cold<M: SourceMemory<Line = L>>(&self, memory: &M) -> Option<L> {
        let line = memory.line(self.cold)?;
        let owner = line.word(cold::OWNER);
        let before = owner.load();
        if before != self.tag && owner.compare_exchange(before, self.tag).is_ok() {
            for word in [cold::STRIKES, cold::DROPPED_PACKETS, cold::DROPPED_BYTES] {
                line.word(word).store(0);
            }
        }
        Some(line)
    }

    /// The cold line if it is the source's.
    pub fn cold_if_any<M: SourceMemory<Line = L>>(&self, memory: &M) -> Option<L> {
        let line = memory.line(self.cold)?;
        (line.word(cold::OWNER).load() == self.tag).then_some(line)
    }
}

/// Ways in a set of them.
#[inline(always)]
fn ones(ways: u64) -> u32 {
    let mut count = 0;
    for way in 0..WAYS {
        #[allow(clippy::cast_possible_truncation, reason = "one bit")]
        let bit = (ways >> way & 1) as u32;
        count += bit;
    }
    count
}
