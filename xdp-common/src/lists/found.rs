//! What a look-up finds.

use super::head::{Layout, V4_24, V6_FIRST, V6_HOST};
use super::{Line, TIMED, Table, head};
use crate::packet::Address;

/// What one level says, and which levels the table uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// [`ALLOW`], [`BLOCK`], [`LIMITS`], [`TIMED`].
    pub flags: u8,
    /// IPv6: the key has a group, and the next level has more of it.
    pub has_group: bool,
    /// See [`head`].
    pub levels: u32,
    /// See [`head::VERSION`].
    pub version: u16,
    /// Not 0 when something went while this was found: bits in which versions differ. A number, so
    /// that a verifier has no branches to follow.
    pub torn: u16,
}

impl Found {
    /// In place of what a level says where it wasn't asked: [`settle`] asks.
    pub const UNASKED: Self = Self {
        flags: 0,
        has_group: false,
        levels: 0,
        version: 0,
        torn: 1,
    };

    /// As one number, for a function of the program's.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.flags as u64
            | (self.has_group as u64) << 8
            | (self.version as u64) << 16
            | (self.levels as u64 & 0xffff) << 32
            | (self.torn as u64) << 48
    }

    /// From that number.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the parts of the number")]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            flags: bits as u8 & 15,
            has_group: bits >> 8 & 1 != 0,
            levels: (bits >> 32) as u32 & 0xffff,
            version: (bits >> 16) as u16,
            torn: (bits >> 48) as u16,
        }
    }

    /// Nothing yet, in the table with this head.
    #[inline(always)]
    pub(super) fn begin(head: &Layout<impl Line>) -> Self {
        // Before all else: what goes from here on raises it.
        let version = head.version();
        Self {
            flags: 0,
            has_group: false,
            levels: head.levels(),
            version,
            torn: 0,
        }
    }

    /// Notes whether something went since [`Self::begin`]: the head is read again.
    #[inline(always)]
    pub(super) fn finish<T: Table>(self, table: &T, first: &T::Line) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the lower bits are compared"
        )]
        let (levels, version) = (
            first.word(head::LEVELS) as u32,
            first.word(head::VERSION) as u16,
        );
        Self {
            // Read again, not kept: the program's stack is short.
            levels,
            torn: version ^ self.version | table.moved(),
            ..self
        }
    }

    /// Whether this is what a level said, and not the default.
    #[inline(always)]
    pub(super) const fn is_begun(&self) -> bool {
        self.levels != 0 || self.torn != 0
    }

    #[inline(always)]
    const fn is_all_v4(&self) -> bool {
        self.levels & !V4_24 == 0 && self.torn == 0 && self.flags & TIMED == 0
    }

    #[inline(always)]
    const fn is_all_v6(&self) -> bool {
        const FIRST: u32 = V6_FIRST << 4 | V6_HOST;
        self.levels & !FIRST == 0 && self.torn == 0 && self.flags & TIMED == 0
    }

    /// The flags, where there is nothing to ask of other levels, nor to look at again.
    #[inline(always)]
    pub const fn all_of(&self, address: &Address) -> Option<u8> {
        let is_all = if address.is_v4() {
            self.is_all_v4()
        } else {
            self.is_all_v6()
        };
        if is_all { Some(self.flags) } else { None }
    }

    /// With what another level says.
    #[inline(always)]
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            flags: self.flags | other.flags,
            torn: self.torn | other.torn | (self.version ^ other.version),
            ..self
        }
    }
}
