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
//! for both before anything is known of the packet, so that the processor waits for memory once, and
//! not for the lists first and then for each of them.
//!
//! **Who goes when a bucket is full.** Newcomers displace newcomers. A way is *protected* once its
//! source has sent [`EARNED_PACKETS`] packets, or twice or three times as many and so on, the last of
//! them within its limits and [`EARNED_NS`] or more after the first ([`may_earn`]); at most [`MAX_PROTECTED`] of a bucket are, and no newcomer, whatever it sends, takes
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
//! counted as untracked. Known sources don't look at the version. A packet that found its source in
//! the nanoseconds before that was displaced is charged to the successor: one packet for each CPU,
//! to the strict side. A reader copies a bucket and takes it when the version is even and the same
//! before and after.

mod bucket;

use crate::abi::{FAMILY_IPV4, SourceKey};
use crate::verdict::Word;
pub use bucket::{
    Found, at, ban_bit, find, find_or_add, is_protected, may_be_banned, own_cold, touch,
};

/// Sources of a bucket.
pub const WAYS: u32 = 7;
/// Lines of a bucket, without the cold ones.
pub const BUCKET_LINES: u32 = WAYS + 1;
/// Packets that a source must have sent to be protected; one in as many may earn it. A power of two.
pub const EARNED_PACKETS: u64 = 8;
/// Time since its first packet after which one within its limits makes a source protected.
pub const EARNED_NS: u64 = 1_000_000_000;
const _: () = assert!(EARNED_PACKETS.is_power_of_two(), "a mask");

/// Whether a source's packet within its limits may earn it protection: the last of so many, so long
/// after the first. One in [`EARNED_PACKETS`] only, because what is asked then, whether a socket
/// would take it, may cost more than the rest of the packet.
#[inline(always)]
pub const fn may_earn(packets: u64, age_ns: u64) -> bool {
    packets >= EARNED_PACKETS && packets & (EARNED_PACKETS - 1) == 0 && age_ns >= EARNED_NS
}
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
    /// In place of a tag: a CPU is clearing the line for its new owner.
    pub const CLAIMED: u64 = u64::MAX;
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
    /// [`own_cold`], for a table that calls it as a function of its own.
    #[inline(always)]
    fn own_cold(&self, line: u32, tag: u64) -> bool
    where
        Self: Sized,
    {
        own_cold(self, line, tag)
    }
    /// The value, of which a verifier no longer knows what it may be: see
    /// [`crate::packet::PacketView::forget`].
    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        value
    }
    /// The value, of which a compiler no longer knows what it may be.
    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
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
        self.place_of(key.words())
    }

    /// The same by the words of its key: see [`SourceKey::words`].
    #[inline(always)]
    pub fn place_of(&self, [first, second, third]: [u64; 3]) -> Place {
        #[allow(clippy::cast_possible_truncation, reason = "the first bytes")]
        let (address, family) = (first as u32, third as u8);
        let (high, low) = if family == FAMILY_IPV4 {
            (u32::from_be(address).into(), IPV4_LOW)
        } else {
            (u64::from_be(first), u64::from_be(second))
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
    x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
    x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
    x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
    x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
    x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_eighth_packet_may_earn_protection_a_second_after_the_first() {
        let earning: Vec<u64> = (0..=24)
            .filter(|packets| may_earn(*packets, EARNED_NS))
            .collect();
        assert_eq!(earning, [8, 16, 24]);
        assert!(!may_earn(8, EARNED_NS - 1));
    }
}
