//! IPv4: 16 slots of 4 bytes in a line.
//!
//! ```text
//! bits 31..16  the part of the permuted key that the line's place doesn't tell
//! bits 15..8   the address's byte behind the key, the prefix's bits of it
//! bits 7..4    0..8: bits of that byte that don't count; 9..14: a group; 15: a link
//! bits 3..0    flags
//! ```
//!
//! A slot of a group has its number in the other bits: (code - 9) * 4096 + bits 15..8 * 16 + bits
//! 3..0. A link stands in the last slot only and has the spare line's number in all other bits.
//! An empty slot is 0, and so has no flags.

use super::head::{Layout, V4_24};
use super::{Found, Line, MAX_CHAIN, Table, bits_if_below, ends_by, group, half, in_force};
use crate::bits::first_place;

/// Slots of a line.
pub const SLOTS: usize = 16;
/// Fewest lines that the hash chooses from: a slot keeps 16 of the 25 bits of a key.
pub const MIN_LINES: u32 = 512;
/// Bits of a key: 24 of the address, and one for the level.
const KEY_BITS: u32 = 25;
const KEY_MASK: u32 = (1 << KEY_BITS) - 1;
/// Codes from here on are groups.
const FIRST_GROUP_CODE: u32 = 9;
const LINK_CODE: u32 = 15;
/// Most groups that slots can name.
pub const MAX_GROUPS: u32 = (LINK_CODE - FIRST_GROUP_CODE) << 12;

/// Where a prefix of some length goes, and where an address of that level is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the line.
    pub line: u32,
    /// The key's other part.
    pub rest: u32,
}

/// The key of the level /24.
#[inline(always)]
pub const fn key_24(address: u32) -> u32 {
    address >> 8
}

/// The key of the level /16.
#[inline(always)]
pub const fn key_16(address: u32) -> u32 {
    1 << 24 | (address >> 16) << 8
}

/// The byte behind the key of the level /16.
#[inline(always)]
pub const fn byte_16(address: u32) -> u32 {
    address >> 8 & 0xff
}

/// Where a key's slots are.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "seeds of 32 bits")]
pub fn place(head: &Layout<impl Line>, key: u32) -> Place {
    let [first, second] = head.seeds();
    // One to one on 25 bits: odd factors, and shifts whose upper half stays.
    let mut x = key.wrapping_mul(first as u32 | 1) & KEY_MASK;
    x ^= x >> 12;
    x = x.wrapping_mul(second as u32 | 1) & KEY_MASK;
    x ^= x >> 13;
    let line = (u64::from(x).wrapping_mul(u64::from(head.lines())) >> KEY_BITS) as u32;
    Place {
        line: head.first_line().wrapping_add(line),
        rest: x & 0xffff,
    }
}

/// A slot of a prefix: `ignored` bits of `byte` don't count.
pub const fn slot(rest: u32, byte: u32, ignored: u32, flags: u8) -> u32 {
    rest << 16 | byte << 8 | ignored << 4 | flags as u32
}

/// A slot that stands for a group.
pub const fn group_slot(rest: u32, group: u32) -> u32 {
    rest << 16
        | (group >> 4 & 0xff) << 8
        | FIRST_GROUP_CODE.wrapping_add(group >> 12) << 4
        | (group & 15)
}

/// A last slot that links a line.
pub const fn link(line: u32) -> u32 {
    line >> 4 << 8 | LINK_CODE << 4 | (line & 15)
}

/// What a slot says, for whoever writes slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing.
    Empty,
    /// A prefix.
    Prefix {
        /// See [`slot`].
        rest: u32,
        /// The byte behind the key.
        byte: u32,
        /// Its bits that don't count.
        ignored: u32,
        /// Flags.
        flags: u8,
    },
    /// A group.
    Group {
        /// See [`slot`].
        rest: u32,
        /// Its number.
        group: u32,
    },
    /// A spare line.
    Link(u32),
}

/// Reads a slot.
#[inline(always)]
pub const fn decode(slot: u32) -> Slot {
    let code = slot >> 4 & 15;
    if slot == 0 {
        Slot::Empty
    } else if code == LINK_CODE {
        Slot::Link(linked(slot))
    } else if code >= FIRST_GROUP_CODE {
        Slot::Group {
            rest: slot >> 16,
            group: group_of(slot),
        }
    } else {
        #[allow(clippy::cast_possible_truncation, reason = "four bits")]
        Slot::Prefix {
            rest: slot >> 16,
            byte: slot >> 8 & 0xff,
            ignored: code,
            flags: slot as u8 & 15,
        }
    }
}

#[inline(always)]
const fn linked(slot: u32) -> u32 {
    slot >> 8 << 4 | (slot & 15)
}

#[inline(always)]
const fn group_of(slot: u32) -> u32 {
    ((slot >> 4 & 15).wrapping_sub(FIRST_GROUP_CODE)) << 12 | (slot >> 8 & 0xff) << 4 | (slot & 15)
}

/// What one level says of an address, by its bit in the head; with `EXACT` without what has ended by
/// `now`.
#[inline(always)]
pub fn find<T: Table, const EXACT: bool>(table: &T, level: u32, address: u32, now: u64) -> Found {
    let Some(line) = table.head() else {
        return Found::default();
    };
    let head = Layout(line);
    let mut found = Found::begin(&head);
    if head.levels() & level != 0 {
        let now = if EXACT { ends_by(&head, now) } else { 0 };
        let (key, byte) = if level == V4_24 {
            (key_24(address), address & 0xff)
        } else {
            (key_16(address), byte_16(address))
        };
        found.flags = in_lines::<T, EXACT>(table, &head, place(&head, key), byte, now);
        found = found.finish(table, &line);
    }
    found
}

/// The slots of one key, in its line and the spare ones linked from it.
///
/// Which slot it is that matches is found without a branch: nobody foresees it, and a processor that
/// guessed wrong would wait for the line before it looks at the next packet, instead of fetching the
/// lines of several packets at once.
#[inline(always)]
fn in_lines<T: Table, const EXACT: bool>(
    table: &T,
    head: &Layout<impl Line>,
    place: Place,
    byte: u32,
    now: u32,
) -> u8 {
    let Place { mut line, rest } = place;
    let (mut found, mut group) = (table.forget(0), table.forget(0));
    for _ in 0..MAX_CHAIN {
        let Some(slots) = table.line(line) else {
            break;
        };
        if EXACT {
            // Slower, and easier on the verifier, which follows the ends too.
            for index in 0..SLOTS {
                let slot = half(&slots, index);
                let (flags, its) = told_by(table, slot, rest, byte);
                let flags = in_force_at(table, head, line, index, flags, now);
                found = table.forget(found | flags);
                group = table.forget(group | its);
            }
        } else {
            let mut left = table.forget_word(slots_with(&slots, rest));
            // The first time also where there are none: the first slot is another key's then.
            for _ in 0..SLOTS {
                let slot = slots.half_at(first_place(left, BY_HALVES));
                let (flags, its) = told_by(table, slot, rest, byte);
                found = table.forget(found | flags);
                group = table.forget(group | its);
                left = table.forget_word(left & left.wrapping_sub(1));
                if left == 0 {
                    break;
                }
            }
        }
        // After the other slots: the last one may have become a link meanwhile.
        let last = half(&slots, SLOTS - 1);
        if last >> 4 & 15 != LINK_CODE {
            break;
        }
        line = linked(last);
    }
    #[allow(clippy::cast_possible_truncation, reason = "four bits")]
    let mut found = found as u8 & 15;
    if group != 0 {
        found |= group::find(table, head, group_of(group), byte, now);
    }
    found
}

/// What a slot says of an address, if it is of its key: the flags of a prefix around the byte, and the slot
/// itself where it stands for a group. Without branches.
#[inline(always)]
fn told_by<T: Table>(table: &T, slot: u32, rest: u32, byte: u32) -> (u32, u32) {
    let code = slot >> 4 & 15;
    let other_key = slot >> 16 ^ rest;
    let other_byte = (slot >> 8 & 0xff ^ byte) >> code;
    let below = |x: u32, bound: u32| bits_if_below(table, x.into(), bound.into());
    let is_prefix = below(code, FIRST_GROUP_CODE);
    let is_group = !is_prefix & below(code, LINK_CODE);
    let flags = slot & 15 & is_prefix & below(other_key | other_byte, 1);
    let group = slot & is_group & below(other_key, 1);
    (flags, group)
}

/// Slots in the order of the bits in [`slots_with`]: the lower halves of all words, then the upper ones.
const BY_HALVES: u64 = 0x0246_8ace_1357_9bdf;

/// The slots of a line with this rest, a bit for each. No branches: nearly all lines of a packet that isn't
/// listed have none.
#[inline(always)]
fn slots_with<L: Line>(slots: &L, rest: u32) -> u64 {
    const TOP: u64 = 0x8000_0000_8000_0000;
    const REST: u64 = 0x7fff_0000_7fff_0000;
    const ALL: u64 = 0x1111_1111_1111_1111;
    let wanted = u64::from(rest) << 16 | u64::from(rest) << 48;
    let mut others = 0;
    macro_rules! look {
        ($($index:literal)+) => {$(
            let x = slots.word($index) ^ wanted;
            // The top bit of each half that isn't zero above its lower sixteen: the sum reaches it where
            // one of the fifteen below is set.
            let other = (x & REST).wrapping_add(REST) | x;
            others |= (other & TOP) >> (31 - 4 * $index);
        )+};
    }
    look!(0 1 2 3 4 5 6 7);
    others ^ ALL
}

/// A slot's flags, or none where it has ended by `now`, unless that is 0.
#[inline(always)]
fn in_force_at<T: Table>(
    table: &T,
    head: &Layout<impl Line>,
    line: u32,
    index: usize,
    flags: u32,
    now: u32,
) -> u32 {
    if now == 0 {
        return flags;
    }
    let ends = table.line(end_line(head, line));
    let end = ends.map_or(0, |ends| half(&ends, index));
    #[allow(clippy::cast_possible_truncation, reason = "four bits")]
    let flags = flags as u8;
    in_force(flags, end, now).into()
}

/// The line with the ends of a line's slots.
#[inline(always)]
pub fn end_line(head: &Layout<impl Line>, line: u32) -> u32 {
    head.first_end()
        .wrapping_add(line.wrapping_sub(head.first_line()))
}
