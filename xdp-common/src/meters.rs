//! Limits that are kept for a hash: of networks, and of sources in a class.
//!
//! Lines of eight words, each a GCRA: a tag of [`TAG_BITS`] and the theoretical arrival time (TAT) in
//! units of [`UNIT_NS`]. A hash chooses its line and its tag; in a line two of them share a word with
//! a probability of 2^-[`TAG_BITS`], and then share their limit.
//!
//! **Full**: a new one takes the word whose time is over longest, which is as good as empty, else the
//! one that is nearest to its end: who is displaced begins again with a full burst.
//!
//! **Concurrency**: words move by compare-and-swap. Who has lost [`CAS_TRIES`] of them counts as over
//! its limit.

use crate::abi::Limit;
use crate::verdict::{CAS_TRIES, STALE_NS, Word};

/// Words of a line.
pub const WORDS: usize = 8;
/// Bits of a tag, the upper ones of its word.
pub const TAG_BITS: u32 = 20;
const TIME_BITS: u32 = 64 - TAG_BITS;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// A unit of time is two to this many nanoseconds.
const UNIT_SHIFT: u32 = 6;
/// A unit of time.
pub const UNIT_NS: u64 = 1 << UNIT_SHIFT;
/// The longest tolerance, in units: three days.
const MAX_TOLERANCE: u64 = 1 << (TIME_BITS - 2);
/// The most packets per second that a limit can have: each costs a unit at least.
pub const MAX_RATE: u64 = 1_000_000_000 / UNIT_NS;

/// What a packet takes, in units of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Time that it costs.
    pub cost: u64,
    /// Time that the limit lets a source run ahead.
    pub tolerance: u64,
}

impl Charge {
    /// `units` of a limit. Both are rounded down, so a burst is exact and a rate errs by less than a
    /// unit for each packet to the lenient side (0.6 % at 100 kpps).
    #[inline(always)]
    pub const fn of(limit: &Limit, units: u64) -> Self {
        let cost = units.wrapping_mul(limit.cost_fp) >> Limit::FP_BITS >> UNIT_SHIFT;
        let tolerance = limit.tolerance_ns >> UNIT_SHIFT;
        Self {
            cost: if cost == 0 { 1 } else { cost },
            tolerance: if tolerance > MAX_TOLERANCE {
                MAX_TOLERANCE
            } else {
                tolerance
            },
        }
    }
}

/// The number of a hash's line, where there are `mask` and one of them.
#[inline(always)]
pub const fn line_of(hash: u64, mask: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the middle bits")]
    let middle = (hash >> 16) as u32;
    middle & mask
}

/// Takes room in a line, if there is any.
#[inline(always)]
pub fn conforms<W: Word>(
    word: impl Fn(usize) -> W,
    hash: u64,
    charge: Charge,
    now_ns: u64,
) -> bool {
    let now = now_ns >> UNIT_SHIFT & TIME_MASK;
    let tag = tag_of(hash);
    for _ in 0..CAS_TRIES {
        let (way, before) = choose(&word, tag, now);
        let is_own = before & !TIME_MASK == tag;
        let ahead = if is_own { ahead(before, now) } else { 0 };
        let limit = charge.tolerance;
        // Left by another limit, or of a tag's last owner.
        let ahead = if ahead > limit.wrapping_add(STALE_NS >> UNIT_SHIFT) {
            0
        } else {
            ahead
        };
        let next = ahead.wrapping_add(charge.cost);
        if next > limit {
            return false;
        }
        let after = tag | now.wrapping_add(next) & TIME_MASK;
        if word(way).compare_exchange(before, after).is_ok() {
            return true;
        }
    }
    false
}

/// The tag of a hash, in its place. Its lowest bit is set: no tag is 0, as in a word never used.
#[inline(always)]
const fn tag_of(hash: u64) -> u64 {
    (hash >> TIME_BITS | 1) << TIME_BITS
}

/// The time of a hash's limit, as it stands in its line; nothing where the line doesn't hold it.
pub fn time_in(line: &[u64; WORDS], hash: u64) -> Option<u64> {
    let own = line
        .iter()
        .find(|word| **word & !TIME_MASK == tag_of(hash))?;
    Some(own & TIME_MASK)
}

/// The word of a hash whose limit has this time.
pub const fn word_with(hash: u64, time: u64) -> u64 {
    tag_of(hash) | time & TIME_MASK
}

/// The word of a tag, else the one to take, with its value.
#[inline(always)]
fn choose<W: Word>(word: &impl Fn(usize) -> W, tag: u64, now: u64) -> (usize, u64) {
    let mut chosen = (0, word(0).load());
    let mut least = u64::MAX;
    for way in 0..WORDS {
        let value = word(way).load();
        if value & !TIME_MASK == tag {
            return (way, value);
        }
        let ahead = if value == 0 { 0 } else { ahead(value, now) };
        if ahead < least {
            least = ahead;
            chosen = (way, value);
        }
    }
    chosen
}

/// How far a word's time is ahead of now; 0 when it is over. Times go round after 13 days: the half
/// behind now is the past, and what is ahead further than any tolerance is so old.
#[inline(always)]
const fn ahead(value: u64, now: u64) -> u64 {
    let ahead = (value & TIME_MASK).wrapping_sub(now) & TIME_MASK;
    if ahead > TIME_MASK / 2 { 0 } else { ahead }
}
