//! Proof by retransmission: who sends a packet again, in the time in which its protocol does, was there to
//! find its first one unanswered.
//!
//! A forged flood whose packets never repeat remembers newcomers that never come back. What does come back
//! has a budget of its own, so a flood that sends each packet twice gains that budget and no more.

use super::{Line, WORDS};
use crate::verdict::Word;

const NEWCOMER_WORDS: core::ops::Range<usize> = 4..WORDS;
const TAG_SHIFT: u32 = 12;
const TIME_MASK: u32 = 0xfff;
/// A unit of a newcomer's time is two to this many nanoseconds: 16.8 ms. It goes round after 69 s.
const TIME_SHIFT: u32 = 24;
/// The longest window, in units: beyond it a time may have gone round.
const MAX_AGE: u32 = 0xf00;

/// When a retry counts as one, after the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Not before. In nanoseconds.
    pub min_ns: u64,
    /// Not after. In nanoseconds, at most 64 s.
    pub max_ns: u64,
}

/// What a newcomer's packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Retry {
    /// The first one, which is remembered now.
    First = 0,
    /// One that comes sooner than any protocol's retry. The first one stays remembered as it is.
    TooSoon = 1,
    /// A retry.
    InTime = 2,
}

/// What the packet with this hash is; a first one is remembered.
#[inline(always)]
pub fn retried<L: Line>(line: L, hash: u64, window: Window, now: u64) -> Retry {
    let tag = tag_of(hash);
    let time = units(now) & TIME_MASK;
    let mut oldest = 0;
    let mut chosen = (NEWCOMER_WORDS.start, 0, 0);
    for index in NEWCOMER_WORDS {
        let bits = line.word(index).load();
        for half in [0, 32] {
            let newcomer = half_of(bits, half);
            let age = time.wrapping_sub(newcomer) & TIME_MASK;
            if newcomer >> TAG_SHIFT == tag >> TAG_SHIFT {
                // Between two readings of a clock in units lies up to one unit less than they say.
                if age < units(window.min_ns).wrapping_add(2) {
                    return Retry::TooSoon;
                }
                let longest = units(window.max_ns);
                if age <= (if longest > MAX_AGE { MAX_AGE } else { longest }) {
                    return Retry::InTime;
                }
                replace(line, (index, half, bits), tag | time);
                return Retry::First;
            }
            // An empty place is older than any other.
            let age = if newcomer == 0 {
                TIME_MASK.wrapping_add(2)
            } else {
                age.wrapping_add(1)
            };
            if age > oldest {
                oldest = age;
                chosen = (index, half, bits);
            }
        }
    }
    replace(line, chosen, tag | time);
    Retry::First
}

/// Bits that choose neither the line nor the flow's tag. The lowest is set: no newcomer's place reads as
/// an empty one.
#[inline(always)]
const fn tag_of(hash: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the middle bits")]
    let middle = (hash >> 20) as u32;
    (middle << TAG_SHIFT) | 1 << TAG_SHIFT
}

#[inline(always)]
const fn units(ns: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the lower bits")]
    let units = (ns >> TIME_SHIFT) as u32;
    units
}

#[inline(always)]
const fn half_of(bits: u64, half: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "one half")]
    let part = (bits >> (half & 63)) as u32;
    part
}

#[inline(always)]
fn replace<L: Line>(line: L, (index, half, before): (usize, u32, u64), newcomer: u32) {
    let half = half & 63;
    let kept = before & !(0xffff_ffff << half);
    let after = kept | u64::from(newcomer) << half;
    let _raced = line.word(index).compare_exchange(before, after);
}
