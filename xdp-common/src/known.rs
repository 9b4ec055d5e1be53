//! A filter of the sources that something is known of: protected ones and banned ones.
//!
//! Under a flood of sources that never repeat nearly every packet's source is none of them. A bit each,
//! small enough for the cache of a core, says so without a look at the source table, which is not.
//!
//! There are two filters in the map ([`crate::abi::map::KNOWN`]); its first line says which is in use.
//! What becomes known is set in both. Bits are taken away by making the other filter anew, from the
//! tables, and then using that one: nothing that becomes known meanwhile is lost.

/// Bits of a line.
pub const LINE_BITS: u32 = 512;
/// Words of a line.
pub const WORDS: u32 = 8;

/// Where a bit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bit {
    /// Number of the line.
    pub line: u32,
    /// Number of the word in it.
    pub word: u32,
    /// The bit alone.
    pub mask: u64,
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

/// The bit of a source in one of the filters, by its tag ([`crate::sources::Place::tag`]).
#[inline(always)]
pub const fn bit(tag: u64, mask: u32, filter: u32) -> Bit {
    // Other bits than those that choose a bucket (the upper half) and a bit of its bans.
    #[allow(clippy::cast_possible_truncation, reason = "the middle bits")]
    let index = (tag >> 14) as u32 & mask;
    let first = if filter & 1 == 0 {
        1
    } else {
        lines(mask).wrapping_add(1)
    };
    Bit {
        line: first.wrapping_add(index >> LINE_BITS.ilog2()),
        word: index >> 6 & (WORDS - 1),
        mask: 1 << (index & 63),
    }
}

/// Bits of a filter for a source table of so many places: four for each, so that with a tenth of the
/// places protected one in forty of the other sources passes, and a quarter at the worst.
pub const fn mask_for(places: u32) -> u32 {
    let bits = places.saturating_mul(4);
    let bits = if bits < 4096 { 4096 } else { bits };
    // A power of two, rounded down: never more memory than asked for.
    (1_u32 << bits.ilog2()).wrapping_sub(1)
}
