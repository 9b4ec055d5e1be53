//! The list table: which prefixes say something about an address, at a cost that hardly depends on
//! how many there are.
//!
//! One table for each address family answers three questions at once: is the source on the
//! allowlist, on the blocklist, has it limits of its own? It is memory in lines of 64 bytes, a cache
//! line each, that the controller maps and writes ([`crate::abi::ListLine`]); a look-up touches the
//! table's first line, which is always in the cache, and one line for each *level* that the table
//! uses. Lines are chosen by a seeded hash, and loads of several levels don't wait for each other.
//!
//! ```text
//! line 0        head: levels, where what lies, the earliest end, seeds   (see `head`)
//! lines         slots: 16 of 4 bytes (IPv4), 4 of 16 bytes (IPv6)
//! spare lines   what a full line has no room for, linked from its last slot
//! ends          when each slot ends, in units of 2^26 ns; read only when something may have ended
//! groups        256 cells of one key, for keys with many prefixes and for the shortest prefixes
//! ```
//!
//! A level holds the prefixes of some lengths under a key, the address cut to the level's own
//! length: IPv4 /24 to /32 under their /24, so one line says all about a host. Nothing is
//! approximated: a slot and the place of its line together hold every bit of the prefix, because
//! the key goes through a permutation of which the line's place is one part and the slot keeps the
//! other (Knuth, TAOCP 6.4, exercise 13: "quotienting").
//!
//! Concurrency: the controller is the only writer. Every change that concerns an address is one
//! aligned store, after whatever it refers to has been stored, so a packet sees the old state of an
//! address or the new one. A change of many addresses is a table of its own that replaces the old
//! one with one pointer. Slots are never moved within a line.
//!
//! Full: a line that is full links a spare one; when those are used up, or a chain gets longer than
//! [`MAX_CHAIN`], the controller builds a larger table. The memory grows with the entries; their
//! number is bounded by the controller's `[capacity]`.

pub mod group;
pub mod head;
pub mod v4;
pub mod v6;

use crate::packet::Address;
use head::{Head, SHORT, V4_16, V4_24, V6_FIRST, V6_HOST, V6_LOW};

/// What an address is: on the allowlist.
pub const ALLOW: u8 = 1;
/// On the blocklist.
pub const BLOCK: u8 = 1 << 1;
/// Has limits of its own.
pub const LIMITS: u8 = 1 << 2;
/// In a slot: it ends, and when stands beside the slot.
pub const TIMED: u8 = 1 << 3;

/// Words of 64 bits in a line.
pub const LINE_WORDS: usize = 8;

/// Longest chain of a full line and the spare ones that it links.
pub const MAX_CHAIN: usize = 6;

/// Ends are kept in units of 2^26 ns (67 ms): 32 bits then reach nine years. An entry ends up to one
/// unit early.
pub const END_SHIFT: u32 = 26;

/// One line of a table.
pub trait Line: Copy {
    /// A word by its number, taken modulo [`LINE_WORDS`].
    fn word(&self, index: usize) -> u64;
}

/// A table's memory.
pub trait Table {
    /// One of its lines.
    type Line: Line;
    /// The line at `index`; nothing behind the last one.
    fn line(&self, index: u32) -> Option<Self::Line>;
    /// The value, of which a verifier no longer knows what it may be: see
    /// [`crate::packet::PacketView::forget`].
    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        value
    }
}

/// The parts of a look-up: one for each level that the table uses. [`InMemory`] does them here; the
/// program calls them as functions of their own, because a verifier walks those once.
pub trait Levels {
    /// Which levels hold anything, see [`head`].
    fn levels(&self) -> u32;
    /// [`v4::find`].
    fn v4(&self, level: u32, address: u32, now: u64) -> u8;
    /// [`v6::find_upper`].
    fn v6_upper(&self, number: u32, high: u64, now: u64) -> u8;
    /// [`v6::find_lower`].
    fn v6_lower(&self, level: u32, high: u64, low: u64, now: u64) -> u8;
    /// [`group::find_short`].
    fn short(&self, top: u32, now: u64) -> u8;
}

/// What the table says of an address at a time that is asked for only when it matters: [`ALLOW`],
/// [`BLOCK`] and [`LIMITS`].
#[inline(always)]
pub fn lookup<L: Levels>(table: &L, address: &Address, now: impl FnOnce() -> u64) -> u8 {
    let levels = table.levels();
    if levels == 0 {
        return 0;
    }
    let found = find(table, levels, address, 0);
    if found & TIMED == 0 {
        found
    } else {
        find(table, levels, address, now()) & !TIMED
    }
}

/// Every level's word on an address. With `now`, nanoseconds of `CLOCK_BOOTTIME`, without what has
/// ended; 0 stands for no time.
#[inline(always)]
fn find<L: Levels>(table: &L, levels: u32, address: &Address, now: u64) -> u8 {
    match address {
        Address::V4(a) => find_v4(table, levels, u32::from_be_bytes(*a), now),
        Address::V6(a) => find_v6(table, levels, halves(a), now),
    }
}

#[inline(always)]
fn find_v4<L: Levels>(table: &L, levels: u32, address: u32, now: u64) -> u8 {
    let mut found = 0;
    for level in [V4_24, V4_16] {
        if levels & level != 0 {
            found |= table.v4(level, address, now);
        }
    }
    if levels & SHORT != 0 {
        found |= table.short(address >> 16, now);
    }
    found
}

#[inline(always)]
fn find_v6<L: Levels>(table: &L, levels: u32, (high, low): (u64, u64), now: u64) -> u8 {
    let mut found = 0;
    for even in [0, 2, 4] {
        if levels & V6_FIRST << even != 0 {
            found |= table.v6_upper(even, high, now);
            // What a group of an even level leaves to the odd one behind it.
            if found & v6::HAS_GROUP != 0 {
                found &= !v6::HAS_GROUP;
                if levels & V6_FIRST << (even + 1) != 0 {
                    found |= table.v6_upper(even + 1, high, now) & !v6::HAS_GROUP;
                }
            }
        }
    }
    for level in [V6_HOST, V6_LOW] {
        if levels & level != 0 {
            found |= table.v6_lower(level, high, low, now);
        }
    }
    if levels & SHORT != 0 {
        #[allow(clippy::cast_possible_truncation, reason = "sixteen bits")]
        let top = (high >> 48) as u32;
        found |= table.short(top, now);
    }
    found
}

/// A table whose levels are searched where it is asked.
pub struct InMemory<T>(pub T);

impl<T: Table> Levels for InMemory<T> {
    fn levels(&self) -> u32 {
        self.0.line(0).map_or(0, |line| Head::read(&line).levels)
    }

    fn v4(&self, level: u32, address: u32, now: u64) -> u8 {
        v4::find(&self.0, level, address, now)
    }

    fn v6_upper(&self, number: u32, high: u64, now: u64) -> u8 {
        v6::find_upper(&self.0, number, high, now)
    }

    fn v6_lower(&self, level: u32, high: u64, low: u64, now: u64) -> u8 {
        v6::find_lower(&self.0, level, high, low, now)
    }

    fn short(&self, top: u32, now: u64) -> u8 {
        group::find_short(&self.0, top, now)
    }
}

/// The time in the table's units, or 0 when nothing has ended by then: nearly always, because the
/// controller removes what has.
#[inline(always)]
fn ends_by(head: &Head, now: u64) -> u32 {
    let units = now >> END_SHIFT;
    if now == 0 || head.earliest_end == 0 || units < head.earliest_end {
        return 0;
    }
    #[allow(clippy::cast_possible_truncation, reason = "nine years of uptime")]
    let units = units as u32;
    units
}

/// The two halves of an IPv6 address.
#[inline(always)]
pub fn halves(address: &[u8; 16]) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    (
        u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        u64::from_be_bytes([i, j, k, l, m, n, o, p]),
    )
}

/// The 32-bit half of a line's word, as slots and ends of IPv4 are numbered: the lower first.
#[inline(always)]
pub fn half<L: Line>(line: &L, index: usize) -> u32 {
    let word = line.word(index >> 1);
    #[allow(clippy::cast_possible_truncation, reason = "one half of the word")]
    if index & 1 == 0 {
        word as u32
    } else {
        (word >> 32) as u32
    }
}

/// A slot's flags, or none if it has ended by `now`, unless that is 0.
#[inline(always)]
fn in_force(flags: u8, end: u32, now: u32) -> u8 {
    if flags & TIMED != 0 && end <= now {
        0
    } else {
        flags
    }
}
