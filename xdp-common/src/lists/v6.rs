//! IPv6: 4 slots of 16 bytes in a line.
//!
//! ```text
//! word 0, bits 63..11  /65 to /128: the part of the permuted upper half that the line's place
//!                      doesn't tell; a group or a link: its number; else 0
//!         bits 10..4   length - 1; 1: a link; 2: a group
//!         bits 3..0    flags
//! word 1               up to /64 and for a group: the upper half's bits of the prefix; else the
//!                      lower half's
//! ```
//!
//! In front of the lines lies a filter (Bloom, CACM 13/7; one word of 64 bits for a key): two bits
//! for each key that has slots. It is a twentieth as large as the lines, so it stays in a nearer
//! cache, and spares most sources that aren't listed the lines of every level. Bits of keys that have
//! gone stay until the table is built anew; they cost a look, nothing else.
//!
//! A link stands in the last slot only. An empty slot has a first word of 0, and so no flags. The
//! writer stores the second word first; a look-up that found a match reads the first word again, and
//! so never takes one prefix's length for another's bits.

use super::head::{Layout, V6_FIRST, V6_HOST, V6_LOW};
use super::{
    Found, Line, MAX_CHAIN, TIMED, Table, bits_if_below, bits_if_zero, ends_by, group, half,
    in_force,
};
use crate::bits::{IN_ORDER, first_place};

/// Slots of a line.
pub const SLOTS: usize = 4;
/// Fewest lines that the hash chooses from: a slot keeps 53 of 64 bits.
pub const MIN_LINES: u32 = 2048;
/// Bits of a slot's first word below the key's part.
pub const META_BITS: u32 = 11;
const LINK_CODE: u64 = 1;
const GROUP_CODE: u64 = 2;

/// Levels whose keys are a part of the upper half: see [`Level::Upper`].
pub const UPPER_LEVELS: u32 = 6;

/// A level: prefixes of some lengths under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Prefixes up to /64, by a number; the key has 16 + 8 * number bits. Even: sixteen lengths from
    /// the key's on, at 48 up to /64. A key with many prefixes has a group, and its longer prefixes
    /// are on the next level, which is odd: eight lengths, at 56 up to /64.
    Upper(u32),
    /// /65 to /127, under their /64.
    Low,
    /// Whole addresses.
    Host,
}

impl Level {
    /// The level of a length from 16 on, where its key has no group.
    pub const fn of(length: u32) -> Self {
        match length {
            0..=63 => Self::Upper((length.saturating_sub(16) >> 4) << 1),
            64 => Self::Upper(UPPER_LEVELS - 2),
            65..=127 => Self::Low,
            _ => Self::Host,
        }
    }

    /// Its bit in the head.
    #[inline(always)]
    pub const fn bit(self) -> u32 {
        match self {
            Self::Upper(number) => V6_FIRST << (number & 7),
            Self::Low => V6_LOW,
            Self::Host => V6_HOST,
        }
    }

    /// Where the slots of an address are.
    #[inline(always)]
    pub fn place(self, head: &Layout<impl Line>, high: u64, low: u64) -> Place {
        let [_, second] = head.seeds();
        match self {
            Self::Upper(number) => Place {
                rest: 0,
                ..exact(head, upper_key(number, high))
            },
            Self::Low => exact(head, high ^ V6_LOW as u64),
            // One to one in the upper half, given the lower one, which the slot keeps.
            Self::Host => {
                let mixed = low.wrapping_mul(second | 1);
                exact(head, high ^ mixed ^ mixed >> 31)
            }
        }
    }
}

/// Where a prefix of some length goes, and where an address of that level is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the line.
    pub line: u32,
    /// What a slot's first word has above its lowest bits.
    pub rest: u64,
    /// Number of the filter's line.
    pub filter_line: u32,
    /// Number of the word there.
    pub filter_word: usize,
    /// The key's bits there.
    pub filter_bits: u64,
}

/// The bits of the level's key, with the level's number below.
#[inline(always)]
const fn upper_key(number: u32, high: u64) -> u64 {
    let ignored = upper_ignored(number);
    high >> ignored << ignored | number as u64
}

/// Bits of the upper half behind the level's key.
#[inline(always)]
const fn upper_ignored(number: u32) -> u32 {
    48_u32.wrapping_sub(number.wrapping_mul(8)) & 63
}

/// The byte behind the level's key: a cell of its groups.
#[inline(always)]
pub const fn upper_cell(number: u32, high: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "eight bits")]
    let cell = (high >> (upper_ignored(number).wrapping_sub(8) & 63)) as u32 & 0xff;
    cell
}

/// Where a key belongs; line and rest together hold all of it.
#[inline(always)]
fn exact(head: &Layout<impl Line>, key: u64) -> Place {
    let [first, second] = head.seeds();
    let mut x = key.wrapping_mul(first | 1);
    x ^= x >> 32;
    x = x.wrapping_mul(second | 1);
    x ^= x >> 29;
    #[allow(clippy::cast_possible_truncation, reason = "below the number of lines")]
    let of = |half: u64, lines: u32| (half.wrapping_mul(lines.into()) >> 32) as u32;
    // The line is chosen by the upper half, the filter's by the lower one.
    let low = x & 0xffff_ffff;
    Place {
        line: head.first_line().wrapping_add(of(x >> 32, head.lines())),
        rest: x & ((1 << (64 - META_BITS)) - 1),
        filter_line: head
            .first_filter()
            .wrapping_add(of(low, head.filter_lines())),
        filter_word: (x >> 44) as usize & 7,
        filter_bits: 1 << (x >> 32 & 63) | 1 << (x >> 38 & 63),
    }
}

/// Whether the key may have slots.
#[inline(always)]
fn may_hold<T: Table>(table: &T, place: &Place) -> bool {
    let line = table.line(place.filter_line);
    line.is_some_and(|line| !line.word_at(place.filter_word) & place.filter_bits == 0)
}

/// A slot's first word.
pub const fn meta(rest: u64, length: u32, flags: u8) -> u64 {
    rest << META_BITS | (length as u64).wrapping_sub(1) << 4 | flags as u64
}

/// The length in the first word of a slot with a prefix of up to /64; nothing in others' and in an
/// empty one's.
pub const fn length_of(meta: u64) -> Option<u32> {
    #[allow(clippy::cast_possible_truncation, reason = "seven bits")]
    let length = ((meta >> 4 & 0x7f) as u32).wrapping_add(1);
    if meta >> META_BITS == 0 && length >= 16 && length <= 64 {
        Some(length)
    } else {
        None
    }
}

/// The first word of a last slot that links a line.
pub const fn link(line: u32) -> u64 {
    (line as u64) << META_BITS | LINK_CODE << 4
}

/// The first word of a slot that stands for a group.
pub const fn group_meta(group: u32) -> u64 {
    (group as u64) << META_BITS | GROUP_CODE << 4
}

/// The number in a slot's first word, if it has this code.
#[inline(always)]
const fn number_in(meta: u64, code: u64) -> Option<u32> {
    #[allow(clippy::cast_possible_truncation, reason = "numbers of 32 bits")]
    if meta >> 4 & 0x7f == code {
        Some((meta >> META_BITS) as u32)
    } else {
        None
    }
}

/// The line that a slot's first word links, if it does.
#[inline(always)]
pub const fn linked(meta: u64) -> Option<u32> {
    number_in(meta, LINK_CODE)
}

/// The group that a slot's first word stands for, if it does.
#[inline(always)]
pub const fn grouped(meta: u64) -> Option<u32> {
    number_in(meta, GROUP_CODE)
}

/// What a level of the upper half says of an address, with `EXACT` without what has ended
/// by `now`.
#[inline(always)]
pub fn find_upper<T: Table, const EXACT: bool>(
    table: &T,
    number: u32,
    high: u64,
    now: u64,
) -> Found {
    let Some(first) = table.head() else {
        return Found::default();
    };
    let head = Layout(first);
    let none = Found::begin(&head);
    if head.levels() & V6_FIRST << (number & 7) == 0 {
        return none;
    }
    let now = if EXACT { ends_by(&head, now) } else { 0 };
    let (flags, has_group) = in_upper_lines::<T, EXACT>(table, &head, number, high, now);
    Found {
        flags,
        has_group,
        ..none
    }
    .finish(table, &first)
}

/// The slots of one key, and whether it has a group.
#[inline(always)]
fn in_upper_lines<T: Table, const EXACT: bool>(
    table: &T,
    head: &Layout<impl Line>,
    number: u32,
    high: u64,
    now: u32,
) -> (u8, bool) {
    let place = Level::Upper(number).place(head, high, 0);
    if !may_hold(table, &place) {
        return (0, false);
    }
    let mut line = place.line;
    let (mut found, mut group) = (table.forget(0), table.forget(0));
    let key_ignored = upper_ignored(number);
    // Lengths behind the key's own: 16 or 8, one less where the next level begins there.
    let most: u32 = if number & 1 == 0 { 16 } else { 8 };
    let most = if number < 4 {
        most.wrapping_sub(1)
    } else {
        most
    };
    for _ in 0..MAX_CHAIN {
        let Some(slots) = table.line(line) else {
            break;
        };
        let same = slots_with(table, &slots, |_meta, bits| (bits ^ high) >> key_ignored);
        each_of::<_, EXACT>(table, same, |index| {
            let meta = slots.word_at(index << 1);
            let bits = slots.word_at(index << 1 | 1);
            // Another key's, or one that changes just now.
            let other = (bits ^ high) >> key_ignored | changed(&slots, index, meta);
            if EXACT {
                // By branches: easier on the stack.
                if other != 0 {
                    return;
                }
                if let Some(its) = grouped(meta) {
                    if bits & 7 == u64::from(number) {
                        group = table.forget(its.wrapping_add(1));
                    }
                } else if meta >> META_BITS == 0 {
                    #[allow(clippy::cast_possible_truncation, reason = "seven bits")]
                    let ignored = 63_u32.wrapping_sub((meta >> 4 & 0x7f) as u32);
                    let behind = key_ignored.wrapping_sub(ignored);
                    if behind <= most && (bits ^ high) >> (ignored & 63) == 0 {
                        let flags = flags_of::<T, EXACT>(table, head, line, index, meta, now);
                        found = table.forget(found | flags);
                    }
                }
                return;
            }
            let code = meta >> 4 & 0x7f;
            let other_group = other | code ^ GROUP_CODE | (bits & 7) ^ u64::from(number);
            #[allow(clippy::cast_possible_truncation, reason = "numbers of 32 bits")]
            let its = ((meta >> META_BITS) as u32).wrapping_add(1);
            group = table.forget(group | its & bits_if_zero(table, other_group));
            let ignored = 63_u64.wrapping_sub(code);
            let behind = u64::from(key_ignored).wrapping_sub(ignored);
            let too_long = u64::from(most).wrapping_sub(behind) >> 63;
            let other_bits = (bits ^ high) >> (ignored & 63);
            let wrong = other | meta >> META_BITS | behind >> 63 | too_long | other_bits;
            let flags = flags_of::<T, EXACT>(table, head, line, index, meta, now);
            found = table.forget(found | flags & bits_if_zero(table, wrong));
        });
        // After the other slots: the last one may have become a link meanwhile.
        match linked(slots.word(6)) {
            Some(next) => line = next,
            None => break,
        }
    }
    #[allow(clippy::cast_possible_truncation, reason = "four bits")]
    let mut found = found as u8 & 15;
    if group != 0 {
        let cell = upper_cell(number, high);
        found |= group::find(table, head, group.wrapping_sub(1), cell, now);
    }
    (found, group != 0)
}

/// Not 0 where a slot's first word no longer says what it said, apart from whether it ends.
#[inline(always)]
fn changed<L: Line>(slots: &L, index: usize, meta: u64) -> u64 {
    (slots.word_at(index << 1) ^ meta) & !u64::from(TIMED)
}

/// Which slots of a line have no difference, a number below 2^63: slot i at bit 4i. No branches: nearly all
/// lines of a packet that isn't listed have none.
#[inline(always)]
fn slots_with<T: Table>(table: &T, slots: &T::Line, difference: impl Fn(u64, u64) -> u64) -> u32 {
    let mut same = 0;
    macro_rules! look {
        ($($index:literal)+) => {$(
            let meta = slots.word($index << 1);
            let bits = slots.word($index << 1 | 1);
            same |= bits_if_below(table, difference(meta, bits), 1) & 1 << (4 * $index);
        )+};
    }
    look!(0 1 2 3);
    same
}

/// Looks at these slots of a line, at one also where there are none: which it is nobody foresees, see
/// [`crate::bits`], but that there is one at most. With `EXACT` at all of them, which is slower and easier
/// on the verifier.
#[inline(always)]
fn each_of<T: Table, const EXACT: bool>(table: &T, slots: u32, mut look: impl FnMut(usize)) {
    if EXACT {
        for index in 0..SLOTS {
            look(index);
        }
        return;
    }
    let mut left = table.forget(slots);
    for _ in 0..SLOTS {
        look(first_place(left.into(), IN_ORDER) & (SLOTS - 1));
        left = table.forget(left & left.wrapping_sub(1));
        if left == 0 {
            break;
        }
    }
}

/// What a level of the lower half says of an address, by its bit in the head; with `EXACT` without what has
/// ended by `now`.
#[inline(always)]
pub fn find_lower<T: Table, const EXACT: bool>(
    table: &T,
    level: u32,
    high: u64,
    low: u64,
    now: u64,
) -> Found {
    let Some(first) = table.head() else {
        return Found::default();
    };
    let head = Layout(first);
    let none = Found::begin(&head);
    let now = if EXACT { ends_by(&head, now) } else { 0 };
    let flags = in_lower_lines::<T, EXACT>(table, &head, level, (high, low), now);
    Found { flags, ..none }.finish(table, &first)
}

/// What the two levels that nearly all entries are in say together: [`find_upper`] of the level of /48 to
/// /64 and [`find_lower`] of whole addresses, with one look at the head before and one behind.
#[inline(always)]
pub fn find_first<T: Table>(table: &T, high: u64, low: u64) -> Found {
    const UPPER: u32 = 4;
    let Some(first) = table.head() else {
        return Found::default();
    };
    let head = Layout(first);
    let mut found = Found::begin(&head);
    if found.levels & V6_FIRST << UPPER != 0 {
        (found.flags, found.has_group) = in_upper_lines::<T, false>(table, &head, UPPER, high, 0);
    }
    if found.levels & V6_HOST != 0 {
        found.flags |= in_lower_lines::<T, false>(table, &head, V6_HOST, (high, low), 0);
    }
    found.finish(table, &first)
}

/// The slots of one key of the lower half.
#[inline(always)]
fn in_lower_lines<T: Table, const EXACT: bool>(
    table: &T,
    head: &Layout<impl Line>,
    level: u32,
    (high, low): (u64, u64),
    now: u32,
) -> u8 {
    let is_host = level == V6_HOST;
    let place = if is_host {
        Level::Host.place(head, high, low)
    } else {
        Level::Low.place(head, high, low)
    };
    if !may_hold(table, &place) {
        return 0;
    }
    let (mut line, rest) = (place.line, place.rest);
    let mut found = table.forget(0);
    for _ in 0..MAX_CHAIN {
        let Some(slots) = table.line(line) else {
            break;
        };
        let same = slots_with(table, &slots, |meta, _bits| meta >> META_BITS ^ rest);
        each_of::<_, EXACT>(table, same, |index| {
            let meta = slots.word_at(index << 1);
            let bits = slots.word_at(index << 1 | 1);
            let ignored = 127_u64.wrapping_sub(meta >> 4 & 0x7f);
            let other_level = if is_host {
                ignored
            } else {
                u64::from(bits_if_zero(table, ignored))
            };
            let wrong = meta >> META_BITS ^ rest
                | ignored >> 6
                | other_level
                | (bits ^ low) >> (ignored & 63)
                | changed(&slots, index, meta);
            let flags = flags_of::<T, EXACT>(table, head, line, index, meta, now);
            found = table.forget(found | flags & bits_if_zero(table, wrong));
        });
        // After the other slots: the last one may have become a link meanwhile.
        match linked(slots.word(6)) {
            Some(next) => line = next,
            None => break,
        }
    }
    #[allow(clippy::cast_possible_truncation, reason = "four bits")]
    let flags = found as u8 & 15;
    flags
}

#[inline(always)]
fn flags_of<T: Table, const EXACT: bool>(
    table: &T,
    head: &Layout<impl Line>,
    line: u32,
    index: usize,
    meta: u64,
    now: u32,
) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "four bits")]
    let flags = meta as u8 & 15;
    if !EXACT || now == 0 {
        return flags.into();
    }
    let (ends, first) = end_place(head, line);
    let end = table
        .line(ends)
        .map_or(0, |ends| half(&ends, first | index));
    in_force(flags, end, now).into()
}

/// The line with the ends of a line's slots, and the half-word of the first of them.
#[inline(always)]
pub fn end_place(head: &Layout<impl Line>, line: u32) -> (u32, usize) {
    let number = line.wrapping_sub(head.first_line());
    (
        head.first_end().wrapping_add(number >> 2),
        ((number & 3) as usize) << 2,
    )
}
