//! A filter of the sources that something is known of: protected ones and banned ones.
//!
//! Under a flood of sources that never repeat nearly every packet's source is none of them. Two bits of
//! one word for each (a blocked Bloom filter: Putze, Sanders, Singler, 2007), small enough for the cache
//! of a core, say so without a look at the source table, which is not.
//!
//! There are two filters in the map ([`crate::abi::map::KNOWN`]); its first line says which is in use.
//! What becomes known is set in both. Bits are taken away by making the other filter anew, from the
//! tables, and then using that one: nothing that becomes known meanwhile is lost.

/// Word of the first line of [`crate::abi::map::KNOWN`]: the first of the two seeds that places in the
/// source table are chosen by. They are the program's constants; whoever takes over its maps finds
/// them here.
pub const SEEDS: usize = 2;

/// Bits of a line.
pub const LINE_BITS: u32 = 512;
/// Words of a line.
pub const WORDS: u32 = 8;

/// Where the bits of a source are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Number of the line.
    pub line: u32,
    /// Number of the word in it.
    pub word: u32,
    /// The bits alone: two, or one where both fall together.
    pub mask: u64,
}

impl Bits {
    /// Whether a word has them all: then the source may be known.
    #[inline(always)]
    pub const fn are_in(&self, word: u64) -> bool {
        word & self.mask == self.mask
    }
}

/// Lines of a filter, whose bits are `mask` and one more.
#[inline(always)]
pub const fn lines(mask: u32) -> u32 {
    (mask >> LINE_BITS.ilog2()).wrapping_add(1)
}

/// Lines of the map.
pub const fn all_lines(mask: u32) -> u32 {
    lines(mask).wrapping_mul(2).wrapping_add(1)
}

/// The bits of a source in one of the filters, by its tag ([`crate::sources::Place::tag`]).
#[inline(always)]
pub const fn bits(tag: u64, mask: u32, filter: u32) -> Bits {
    // Other bits than those that choose a bucket (the upper half) and a bit of its bans.
    #[allow(clippy::cast_possible_truncation, reason = "the middle bits")]
    let index = (tag >> 14) as u32 & mask;
    let first = if filter & 1 == 0 {
        1
    } else {
        lines(mask).wrapping_add(1)
    };
    Bits {
        line: first.wrapping_add(index >> LINE_BITS.ilog2()),
        word: index >> 6 & (WORDS - 1),
        mask: 1 << (index & 63) | 1 << (tag >> 2 & 63),
    }
}

/// Bits of a filter, less one, for a source table and a table of bans of so many places: four for each.
/// With 100,000 protected sources and 200,000 banned ones in tables of a million and 262,144, one in
/// fifty of the other sources passes.
pub const fn mask_for(places: u32, bans: u32) -> u32 {
    let bits = places.saturating_add(bans).saturating_mul(4);
    let bits = if bits < 4096 { 4096 } else { bits };
    // A power of two, rounded down: never more memory than asked for.
    (1_u32 << bits.ilog2()).wrapping_sub(1)
}
