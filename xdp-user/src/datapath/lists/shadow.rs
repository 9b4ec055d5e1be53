//! What is stored, as the controller remembers it: the tables hold flags and ends only.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;
use xdp_common::abi::Limits;
use xdp_common::lists::{ALLOW, BLOCK, END_SHIFT, LIMITS};

use super::super::Entry;
use super::NewEntry;
use crate::domain::Prefix;

/// The entries of one list kind.
#[derive(Default)]
pub(super) struct Listed {
    entries: HashMap<Prefix, Entry, RandomState>,
    /// Entries of each length: IPv4, IPv6.
    lengths: [Vec<u32>; 2],
    /// All entries: IPv4, IPv6.
    counts: [usize; 2],
}

impl Listed {
    pub(super) fn get(&self, prefix: &Prefix) -> Option<&Entry> {
        self.entries.get(prefix)
    }

    pub(super) fn put(&mut self, prefix: Prefix, entry: Entry) {
        if self.entries.insert(prefix, entry).is_none() {
            self.count(&prefix);
        }
    }

    /// Makes room for so many more, so that the map doesn't grow step by step.
    pub(super) fn reserve(&mut self, more: usize) {
        self.entries.reserve(more);
    }

    /// Notes an entry, which keeps its hits; what was there before.
    pub(super) fn remember(&mut self, new: &NewEntry) -> Option<Entry> {
        let entry = Entry {
            expires_ns: new.expires_ns,
            list: new.list,
            packets: 0,
            bytes: 0,
        };
        match self.entries.entry(new.prefix) {
            Occupied(mut place) => {
                let (packets, bytes) = (place.get().packets, place.get().bytes);
                Some(place.insert(Entry {
                    packets,
                    bytes,
                    ..entry
                }))
            }
            Vacant(place) => {
                place.insert(entry);
                self.count(&new.prefix);
                None
            }
        }
    }

    pub(super) fn remove(&mut self, prefix: &Prefix) -> Option<Entry> {
        let entry = self.entries.remove(prefix)?;
        *self.of_length(prefix) -= 1;
        self.counts[usize::from(!prefix.is_ipv4())] -= 1;
        Some(entry)
    }

    /// Entries of a family.
    pub(super) fn len(&self, ipv4: bool) -> usize {
        self.counts[usize::from(!ipv4)]
    }

    fn count(&mut self, prefix: &Prefix) {
        *self.of_length(prefix) += 1;
        self.counts[usize::from(!prefix.is_ipv4())] += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Prefix, &Entry)> {
        self.entries.iter()
    }

    /// Adds hits to the longest entry that covers an address.
    pub(super) fn hit(&mut self, address: IpAddr, packets: u64, bytes: u64) {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        let longest_first = (0..lengths.len()).rev().filter(|len| lengths[*len] > 0);
        for len in longest_first {
            let prefix = u8::try_from(len)
                .ok()
                .and_then(|len| Prefix::new(address, len));
            if let Some(entry) = prefix.and_then(|prefix| self.entries.get_mut(&prefix)) {
                entry.packets += packets;
                entry.bytes += bytes;
                return;
            }
        }
    }

    fn of_length(&mut self, prefix: &Prefix) -> &mut u32 {
        let lengths = &mut self.lengths[usize::from(!prefix.is_ipv4())];
        if lengths.is_empty() {
            lengths.resize(129, 0);
        }
        &mut lengths[usize::from(prefix.prefix_len())]
    }
}

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
    /// Everything of a family.
    pub(super) fn items(&self, ipv4: bool) -> Vec<Item> {
        let entries = |listed: &Listed, kind| -> Vec<Item> {
            let item = |(prefix, entry): (&Prefix, &Entry)| Item {
                prefix: *prefix,
                kind,
                end: end_units(entry.expires_ns),
            };
            let of_family = listed.iter().filter(|(prefix, _)| prefix.is_ipv4() == ipv4);
            let mut items = Vec::with_capacity(listed.len(ipv4));
            items.extend(of_family.map(item));
            items
        };
        let mut items = entries(&self.block, BLOCK);
        items.extend(entries(&self.allow, ALLOW));
        let limits = self.limits.keys().filter(|p| p.is_ipv4() == ipv4);
        items.extend(limits.map(|prefix| Item {
            prefix: *prefix,
            kind: LIMITS,
            end: 0,
        }));
        items
    }

    /// What the prefixes of these lengths around an address say together.
    pub(super) fn cell(&self, address: IpAddr, lengths: std::ops::RangeInclusive<u8>) -> Cell {
        let mut cell = Cell::default();
        for prefix in lengths.filter_map(|len| Prefix::new(address, len)) {
            for (listed, kind) in [(&self.allow, ALLOW), (&self.block, BLOCK)] {
                if let Some(entry) = listed.get(&prefix) {
                    cell.add(kind, end_units(entry.expires_ns));
                }
            }
            if self.limits.contains_key(&prefix) {
                cell.add(LIMITS, 0);
            }
        }
        cell
    }
}

/// An end in the table's units, rounded up: never for 0 and for what is further off than they reach.
pub(super) fn end_units(expires_ns: u64) -> u32 {
    u32::try_from(expires_ns.div_ceil(1 << END_SHIFT)).unwrap_or(0)
}

/// An IPv4 address of 32 bits.
pub(super) fn ipv4(bits: u32) -> IpAddr {
    Ipv4Addr::from(bits).into()
}

/// An IPv6 address from its upper half.
pub(super) fn ipv6(high: u64) -> IpAddr {
    Ipv6Addr::from(u128::from(high) << 64).into()
}
