//! A table's first line.

use super::Line;

/// Levels of IPv4: prefixes /24 to /32, under their /24.
pub const V4_24: u32 = 1;
/// /16 to /23, under their /16.
pub const V4_16: u32 = 1 << 1;
/// First of six levels of IPv6: /16 to /31 under their /16, /24 to /31 under their /24 where the /16
/// has a group, and so on to /48 to /64 and /56 to /64.
pub const V6_FIRST: u32 = 1 << 2;
/// /65 to /127, under their /64.
pub const V6_LOW: u32 = 1 << 8;
/// Whole IPv6 addresses.
pub const V6_HOST: u32 = 1 << 9;
/// Prefixes shorter than /16 of either family: groups 0 to 255, by the first byte.
pub const SHORT: u32 = 1 << 10;

/// Word of the head that holds the levels (lower half).
pub const LEVELS: usize = 0;
/// Number of the first line (lower half), and how many there are (upper half).
pub const LINES: usize = 1;
/// Number of the first line of ends (lower half) and of groups (upper half).
pub const ENDS: usize = 2;
/// Earliest end in the table, 0 when nothing ends.
pub const EARLIEST_END: usize = 3;
/// Two odd factors of the hash.
pub const SEEDS: usize = 4;
/// Number of the first line of the filter (lower half), and how many there are (upper half).
pub const FILTER: usize = 6;

/// Number of changes that took something away, raised before they do: a look-up of several slots compares
/// its lower 16 bits. It goes on from table to table.
pub const VERSION: usize = 7;

/// Where what lies in a table, by its first line. Each word is read when it is asked for: a program has few
/// registers, and the line is in the nearest cache.
#[derive(Clone, Copy)]
pub struct Layout<L>(pub L);

#[allow(clippy::cast_possible_truncation, reason = "halves of words")]
impl<L: Line> Layout<L> {
    /// The levels that hold anything.
    #[inline(always)]
    pub fn levels(&self) -> u32 {
        self.0.word(LEVELS) as u32
    }

    /// Number of the first line.
    #[inline(always)]
    pub fn first_line(&self) -> u32 {
        self.0.word(LINES) as u32
    }

    /// How many lines the hash chooses from.
    #[inline(always)]
    pub fn lines(&self) -> u32 {
        (self.0.word(LINES) >> 32) as u32
    }

    /// Number of the first line of ends.
    #[inline(always)]
    pub fn first_end(&self) -> u32 {
        self.0.word(ENDS) as u32
    }

    /// Number of the first group's first line.
    #[inline(always)]
    pub fn first_group(&self) -> u32 {
        (self.0.word(ENDS) >> 32) as u32
    }

    /// Earliest end in the table, 0 when nothing ends.
    #[inline(always)]
    pub fn earliest_end(&self) -> u64 {
        self.0.word(EARLIEST_END)
    }

    /// Two odd factors of the hash.
    #[inline(always)]
    pub fn seeds(&self) -> [u64; 2] {
        [self.0.word(SEEDS), self.0.word(SEEDS + 1)]
    }

    /// Number of the filter's first line.
    #[inline(always)]
    pub fn first_filter(&self) -> u32 {
        self.0.word(FILTER) as u32
    }

    /// How many lines the filter has.
    #[inline(always)]
    pub fn filter_lines(&self) -> u32 {
        (self.0.word(FILTER) >> 32) as u32
    }

    /// See [`VERSION`].
    #[inline(always)]
    pub fn version(&self) -> u16 {
        self.0.word(VERSION) as u16
    }
}

/// A table's first line, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The levels that hold anything.
    pub levels: u32,
    /// Number of the first line.
    pub first_line: u32,
    /// How many lines the hash chooses from.
    pub lines: u32,
    /// Number of the first line of ends.
    pub first_end: u32,
    /// Number of the first group's first line.
    pub first_group: u32,
    /// Earliest end in the table, 0 when nothing ends.
    pub earliest_end: u64,
    /// Two odd factors of the hash.
    pub seeds: [u64; 2],
    /// Number of the filter's first line.
    pub first_filter: u32,
    /// How many lines the filter has.
    pub filter_lines: u32,
    /// See [`VERSION`].
    pub version: u64,
}

impl Head {
    /// The same as where what lies.
    pub const fn layout(&self) -> Layout<[u64; super::LINE_WORDS]> {
        Layout(self.words())
    }

    /// Its words.
    pub const fn words(&self) -> [u64; super::LINE_WORDS] {
        let [first, second] = self.seeds;
        [
            self.levels as u64,
            self.first_line as u64 | (self.lines as u64) << 32,
            self.first_end as u64 | (self.first_group as u64) << 32,
            self.earliest_end,
            first,
            second,
            self.first_filter as u64 | (self.filter_lines as u64) << 32,
            self.version,
        ]
    }
}
