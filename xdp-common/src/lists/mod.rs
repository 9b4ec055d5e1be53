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
//! one with one store. Slots are never moved within a line. A look-up reads several slots and
//! levels, each level in the table that is in force by then: what replaces an entry may appear behind
//! it and the entry go before it is reached. So whatever takes something away raises the version in
//! the head first, and a look-up that saw two versions, or whose table was replaced, begins anew.
//!
//! Full: a line that is full links a spare one; when those are used up, or a chain gets longer than
//! [`MAX_CHAIN`], the controller builds a larger table. The memory grows with the entries; their
//! number is bounded by the controller's `[capacity]`.

mod found;
pub mod group;
pub mod head;
pub mod v4;
pub mod v6;

use crate::bits::all_if_below;
use crate::packet::Address;
pub use found::Found;
use head::{Layout, SHORT, V4_16, V4_24, V6_FIRST, V6_HOST, V6_LOW};

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

/// How often a look-up begins anew because entries went meanwhile.
const TRIES: usize = 4;

/// Ends are kept in units of 2^26 ns (67 ms), rounded up: 32 bits then reach nine years. An entry acts
/// until its end, and up to one unit longer.
pub const END_SHIFT: u32 = 26;

/// One line of a table.
pub trait Line: Copy {
    /// A word by its number, a constant below [`LINE_WORDS`].
    fn word(&self, index: usize) -> u64;
    /// A word by its number, taken modulo [`LINE_WORDS`], where that isn't a constant.
    #[inline(always)]
    fn word_at(&self, index: usize) -> u64 {
        self.word(index & (LINE_WORDS - 1))
    }
    /// Half a word by its number, taken modulo 16: see [`half`].
    #[inline(always)]
    fn half_at(&self, index: usize) -> u32 {
        half(self, index)
    }
}

impl Line for [u64; LINE_WORDS] {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        self.get(index).copied().unwrap_or_default()
    }
}

/// A table's memory.
pub trait Table {
    /// One of its lines.
    type Line: Line;
    /// The line at `index`; nothing behind the last one.
    fn line(&self, index: u32) -> Option<Self::Line>;
    /// The head, where it is kept apart from the other lines.
    #[inline(always)]
    fn head(&self) -> Option<Self::Line> {
        self.line(0)
    }
    /// Not 0 when another table has come in force since this one was found, so that its lines may be
    /// gone.
    #[inline(always)]
    fn moved(&self) -> u16 {
        0
    }
    /// The value, of which a verifier no longer knows what it may be: see
    /// [`crate::packet::PacketView::forget`].
    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        value
    }
    /// The same for a whole word.
    #[inline(always)]
    fn forget_word(&self, value: u64) -> u64 {
        value
    }
    /// The value, of which a compiler no longer knows what it may be.
    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
        value
    }
}

/// All bits if a number is 0, else none.
#[inline(always)]
fn bits_if_zero<T: Table>(table: &T, x: u64) -> u32 {
    // Its parts are below 2^63 then.
    bits_if_below(table, x >> 1 | x & 1, 1)
}

/// All bits if a number is below a bound, both below 2^63, else none.
#[inline(always)]
fn bits_if_below<T: Table>(table: &T, x: u64, bound: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "all bits are the same")]
    let bits = all_if_below(x, bound, |x| table.opaque(x)) as u32;
    bits
}

/// The parts of a look-up: one for each level that the table uses. [`InMemory`] does them here; the
/// program calls most of them as functions of their own, because a verifier walks those once.
pub trait Levels: Sized {
    /// [`first_v4`].
    #[inline(always)]
    fn first_v4(&self, address: u32) -> Found {
        first_v4(self, address, 0)
    }
    /// [`first_v6`].
    #[inline(always)]
    fn first_v6(&self, high: u64, low: u64) -> Found {
        first_v6(self, (high, low), 0)
    }
    /// [`behind_v4`].
    #[inline(always)]
    fn behind_v4(&self, first: Found, address: u32, now: u64) -> Found {
        behind_v4(self, first, address, now)
    }
    /// [`behind_v6`].
    #[inline(always)]
    fn behind_v6(&self, first: Found, high: u64, low: u64, now: u64) -> Found {
        behind_v6(self, first, (high, low), now)
    }
    /// [`v4::find`].
    fn v4(&self, level: u32, address: u32, now: u64) -> Found;
    /// [`v6::find_upper`].
    fn v6_upper(&self, number: u32, high: u64, now: u64) -> Found;
    /// [`v6::find_lower`].
    fn v6_lower(&self, level: u32, high: u64, low: u64, now: u64) -> Found;
    /// [`group::find_short`].
    fn short(&self, top: u32, now: u64) -> Found;
}

/// What the table says of an address at a time that is asked for only when it matters: [`ALLOW`],
/// [`BLOCK`] and [`LIMITS`].
#[inline(always)]
pub fn lookup<L: Levels>(table: &L, address: &Address, now: impl FnOnce() -> u64) -> u8 {
    settle(table, address, first_look(table, address), now)
}

/// What the levels say without a time that most tables use: for nearly every address all that there is
/// to say.
#[inline(always)]
pub fn first_look<L: Levels>(table: &L, address: &Address) -> Found {
    if address.is_v4() {
        table.first_v4(address.v4_bits())
    } else {
        let (high, low) = address.halves();
        table.first_v6(high, low)
    }
}

/// What the table says after [`first_look`] found this: asks the other levels where there are any, and
/// looks again where something went meanwhile or may have ended.
#[inline(always)]
pub fn settle<L: Levels>(
    table: &L,
    address: &Address,
    first: Found,
    now: impl FnOnce() -> u64,
) -> u8 {
    let mut found = behind(table, address, first, 0);
    let mut time = 0;
    let mut now = Some(now);
    for _ in 1..TRIES {
        if found.torn == 0 {
            match now.take() {
                Some(now) if found.flags & TIMED != 0 => time = now(),
                Some(_) | None => break,
            }
        }
        found = behind(table, address, Found::default(), time);
    }
    found.flags & !TIMED
}

/// With what the levels behind the first ones say. With `now`, nanoseconds of `CLOCK_BOOTTIME`, without
/// what has ended; 0 stands for no time, and a default for "begin anew".
#[inline(always)]
fn behind<L: Levels>(table: &L, address: &Address, first: Found, now: u64) -> Found {
    if address.is_v4() {
        table.behind_v4(first, address.v4_bits(), now)
    } else {
        let (high, low) = address.halves();
        table.behind_v6(first, high, low, now)
    }
}

/// The level of IPv4 that nearly all entries are in. It tells which others there are.
#[inline(always)]
pub fn first_v4<L: Levels>(table: &L, address: u32, now: u64) -> Found {
    table.v4(V4_24, address, now)
}

/// With the other levels of IPv4.
#[inline(always)]
pub fn behind_v4<L: Levels>(table: &L, first: Found, address: u32, now: u64) -> Found {
    let mut found = if first.is_begun() {
        first
    } else {
        first_v4(table, address, now)
    };
    if found.levels & V4_16 != 0 {
        found = found.and(table.v4(V4_16, address, now));
    }
    if found.levels & SHORT != 0 {
        found = found.and(table.short(address >> 16, now));
    }
    found
}

/// The two levels of IPv6 that nearly all entries are in: /48 to /64, and whole addresses.
#[inline(always)]
pub fn first_v6<L: Levels>(table: &L, (high, low): (u64, u64), now: u64) -> Found {
    let first = table.v6_upper(4, high, now);
    if first.levels & V6_HOST != 0 {
        first.and(table.v6_lower(V6_HOST, high, low, now))
    } else {
        first
    }
}

/// With the other levels of IPv6.
#[inline(always)]
pub fn behind_v6<L: Levels>(table: &L, first: Found, (high, low): (u64, u64), now: u64) -> Found {
    let first = if first.is_begun() {
        first
    } else {
        first_v6(table, (high, low), now)
    };
    let levels = first.levels;
    let mut all = with_odd(table, 4, first, high, now);
    for even in [2, 0] {
        if levels & V6_FIRST << even != 0 {
            let found = table.v6_upper(even, high, now);
            all = all.and(with_odd(table, even, found, high, now));
        }
    }
    if levels & V6_LOW != 0 {
        all = all.and(table.v6_lower(V6_LOW, high, low, now));
    }
    if levels & SHORT != 0 {
        #[allow(clippy::cast_possible_truncation, reason = "sixteen bits")]
        let top = (high >> 48) as u32;
        all = all.and(table.short(top, now));
    }
    all
}

/// With what a group of an even level leaves to the odd one behind it.
#[inline(always)]
fn with_odd<L: Levels>(table: &L, even: u32, found: Found, high: u64, now: u64) -> Found {
    let odd = even.wrapping_add(1);
    if found.has_group && found.levels & V6_FIRST << odd != 0 {
        found.and(table.v6_upper(odd, high, now))
    } else {
        found
    }
}

/// A table whose levels are searched where it is asked.
pub struct InMemory<T>(pub T);

impl<T: Table> Levels for InMemory<T> {
    #[inline(always)]
    fn first_v6(&self, high: u64, low: u64) -> Found {
        v6::find_first(&self.0, high, low)
    }

    #[inline(always)]
    fn v4(&self, level: u32, address: u32, now: u64) -> Found {
        if now == 0 {
            v4::find::<T, false>(&self.0, level, address, 0)
        } else {
            v4::find::<T, true>(&self.0, level, address, now)
        }
    }

    #[inline(always)]
    fn v6_upper(&self, number: u32, high: u64, now: u64) -> Found {
        if now == 0 {
            v6::find_upper::<T, false>(&self.0, number, high, 0)
        } else {
            v6::find_upper::<T, true>(&self.0, number, high, now)
        }
    }

    #[inline(always)]
    fn v6_lower(&self, level: u32, high: u64, low: u64, now: u64) -> Found {
        if now == 0 {
            v6::find_lower::<T, false>(&self.0, level, high, low, 0)
        } else {
            v6::find_lower::<T, true>(&self.0, level, high, low, now)
        }
    }

    #[inline(always)]
    fn short(&self, top: u32, now: u64) -> Found {
        group::find_short(&self.0, top, now)
    }
}

/// The time in the table's units, or 0 when nothing has ended by then: nearly always, because the
/// controller removes what has.
#[inline(always)]
fn ends_by(head: &Layout<impl Line>, now: u64) -> u32 {
    let units = now >> END_SHIFT;
    if now == 0 || head.earliest_end() == 0 || units < head.earliest_end() {
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
    let word = line.word_at(index >> 1);
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
