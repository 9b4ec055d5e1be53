//! What is stored, as the controller remembers it: the tables hold flags and ends only.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use xdp_common::abi::Limits;
use xdp_common::lists::{ALLOW, BLOCK, END_SHIFT, LIMITS};

use super::listed::Listed;
use crate::domain::Prefix;

/// Both lists and the limits by prefix.
#[derive(Default)]
pub(super) struct Shadow {
    pub(super) allow: Listed,
    pub(super) block: Listed,
    pub(super) limits: HashMap<Prefix, Limits>,
}

/// One thing that is said of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) prefix: Prefix,
    /// [`ALLOW`], [`BLOCK`] or [`LIMITS`].
    pub(super) kind: u8,
    /// When it ends, in the table's units; 0 never.
    pub(super) end: u32,
}

impl Item {
    /// What an entry says that ends then; 0 never.
    pub(super) fn listed(prefix: &Prefix, kind: u8, expires_ns: u64) -> Self {
        Self {
            prefix: *prefix,
            kind,
            end: end_units(expires_ns),
        }
    }

    /// That there are limits for a prefix.
    pub(super) const fn limits(prefix: &Prefix) -> Self {
        Self {
            prefix: *prefix,
            kind: LIMITS,
            end: 0,
        }
    }
}

/// What is said of all addresses of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) flags: u8,
    pub(super) allow_end: u32,
    pub(super) block_end: u32,
}

impl Cell {
    /// Adds what a prefix around the cell says: of several ends the latest counts.
    pub(super) fn add(&mut self, kind: u8, end: u32) {
        let first = self.flags & kind == 0;
        self.flags |= kind;
        let own = match kind {
            ALLOW => &mut self.allow_end,
            BLOCK => &mut self.block_end,
            _ => return,
        };
        *own = match *own {
            _ if first => end,
            0 => 0,
            _ if end == 0 => 0,
            before => before.max(end),
        };
    }
}

impl Shadow {
    /// Everything of a family, in no order.
    pub(super) fn items(&self, ipv4: bool) -> impl Iterator<Item = Item> {
        let of_family = move |prefix: &Prefix| prefix.is_ipv4() == ipv4;
        let lists = [(&self.block, BLOCK), (&self.allow, ALLOW)];
        let entries = lists.into_iter().flat_map(move |(listed, kind)| {
            let ends = listed.ends().filter(move |(prefix, _)| of_family(prefix));
            ends.map(move |(prefix, expires_ns)| Item::listed(prefix, kind, expires_ns))
        });
        let limits = self.limits.keys().filter(move |prefix| of_family(prefix));
        entries.chain(limits.map(Item::limits))
    }

    /// A family's items that are shorter than /16.
    pub(super) fn short(&self, ipv4: bool) -> Vec<Item> {
        let is_short = |prefix: &Prefix| prefix.prefix_len() < 16;
        let any = self.block.any_short(ipv4)
            || self.allow.any_short(ipv4)
            || self.limits.keys().any(is_short);
        // Nearly always there are none, and many others.
        let items = any.then(|| self.items(ipv4)).into_iter().flatten();
        items.filter(|item| is_short(&item.prefix)).collect()
    }

    /// How many items a family has at most.
    pub(super) fn at_most(&self, ipv4: bool) -> usize {
        self.block.len(ipv4) + self.allow.len(ipv4) + self.limits.len()
    }

    /// The items of these lengths that have an address in common with a prefix.
    pub(super) fn around(
        &self,
        prefix: Prefix,
        lengths: RangeInclusive<u8>,
    ) -> impl Iterator<Item = Item> {
        let prefixes = lengths.flat_map(move |len| prefix.overlapping(len));
        prefixes.flat_map(|prefix| self.at(prefix))
    }

    /// The items of one prefix.
    fn at(&self, prefix: Prefix) -> impl Iterator<Item = Item> + use<> {
        let listed =
            |listed: &Listed, kind| Some(Item::listed(&prefix, kind, listed.end(&prefix)?));
        let is_limited = self.limits.contains_key(&prefix);
        let limits = is_limited.then_some(Item::limits(&prefix));
        let items = [
            listed(&self.allow, ALLOW),
            listed(&self.block, BLOCK),
            limits,
        ];
        items.into_iter().flatten()
    }
}

/// An end in the table's units, rounded up: never for 0 and for what is further off than they reach.
pub(super) fn end_units(expires_ns: u64) -> u32 {
    u32::try_from(expires_ns.div_ceil(1 << END_SHIFT)).unwrap_or(0)
}
