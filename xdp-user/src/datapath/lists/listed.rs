//! The entries of a list kind, as the controller keeps them.

use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::super::Entry;
use super::NewEntry;
use super::large_pages::LargePages;
use crate::domain::Prefix;

type Map<V> = hashbrown::HashMap<Prefix, V, RandomState, LargePages>;

/// All entries of a list kind. There may be millions, of which few are ever hit: those alone have
/// hits, so that an entry takes 33 bytes of the map, and half a cache line.
#[derive(Default)]
pub(super) struct Listed {
    entries: Map<Stored>,
    hits: Map<Hits>,
    /// Entries of each length: IPv4, IPv6.
    lengths: [Vec<u32>; 2],
    /// All entries: IPv4, IPv6.
    counts: [usize; 2],
}

/// An entry without its hits.
#[derive(Clone, Copy)]
#[repr(Rust, packed(4))]
struct Stored {
    expires_ns: u64,
    list: u32,
}

/// What an entry decided.
#[derive(Clone, Copy, Default)]
struct Hits {
    packets: u64,
    bytes: u64,
}

impl Listed {
    /// The entry of just this prefix.
    pub(super) fn get(&self, prefix: &Prefix) -> Option<Entry> {
        let stored = self.stored(prefix)?;
        let hits = self.hits.get(prefix).copied().unwrap_or_default();
        Some(joined(stored, hits))
    }

    /// When the entry of just this prefix ends; 0 never.
    pub(super) fn end(&self, prefix: &Prefix) -> Option<u64> {
        self.stored(prefix).map(|stored| stored.expires_ns)
    }

    fn stored(&self, prefix: &Prefix) -> Option<Stored> {
        // Most lists have entries of few lengths, and this is in a nearer cache than the map.
        let lengths = &self.lengths[usize::from(!prefix.is_ipv4())];
        let of_length = lengths.get(usize::from(prefix.prefix_len()))?;
        (*of_length > 0).then(|| self.entries.get(prefix).copied())?
    }

    /// Stores an entry with its hits.
    pub(super) fn put(&mut self, prefix: Prefix, entry: Entry) {
        self.store(prefix, entry.expires_ns, entry.list);
        let (packets, bytes) = (entry.packets, entry.bytes);
        if packets > 0 {
            self.hits.insert(prefix, Hits { packets, bytes });
        } else {
            self.hits.remove(&prefix);
        }
    }

    /// Stores an entry, which keeps its hits; what was there before.
    pub(super) fn remember(&mut self, new: &NewEntry) -> Option<Entry> {
        let before = self.store(new.prefix, new.expires_ns, new.list)?;
        let hits = self.hits.get(&new.prefix).copied().unwrap_or_default();
        Some(joined(before, hits))
    }

    fn store(&mut self, prefix: Prefix, expires_ns: u64, list: u32) -> Option<Stored> {
        let before = self.entries.insert(prefix, Stored { expires_ns, list });
        if before.is_none() {
            *self.of_length(&prefix) += 1;
            self.counts[usize::from(!prefix.is_ipv4())] += 1;
        }
        before
    }

    pub(super) fn remove(&mut self, prefix: &Prefix) -> Option<Entry> {
        let stored = self.entries.remove(prefix)?;
        *self.of_length(prefix) -= 1;
        self.counts[usize::from(!prefix.is_ipv4())] -= 1;
        let hits = self.hits.remove(prefix).unwrap_or_default();
        Some(joined(stored, hits))
    }

    /// Makes room for so many more in one step. The map itself would double where only the places of
    /// removed entries are to be had again.
    pub(super) fn reserve(&mut self, more: usize) {
        let needed = self.entries.len().saturating_add(more);
        if self.entries.capacity() < needed {
            let hasher = self.entries.hasher().clone();
            let mut other = Map::with_capacity_and_hasher_in(needed, hasher, LargePages);
            other.extend(self.entries.drain());
            self.entries = other;
        }
    }

    /// Entries of a family.
    pub(super) fn len(&self, ipv4: bool) -> usize {
        self.counts[usize::from(!ipv4)]
    }

    /// Whether a family has entries that are shorter than /16.
    pub(super) fn any_short(&self, ipv4: bool) -> bool {
        let lengths = self.lengths[usize::from(!ipv4)].iter().take(16);
        lengths.sum::<u32>() > 0
    }

    /// All prefixes, with when their entries end; 0 never.
    pub(super) fn ends(&self) -> impl Iterator<Item = (&Prefix, u64)> {
        let entries = self.entries.iter();
        entries.map(|(prefix, stored)| (prefix, stored.expires_ns))
    }

    /// Adds hits to the longest entry that covers an address.
    pub(super) fn hit(&mut self, address: IpAddr, packets: u64, bytes: u64) {
        let lengths = (0..=u8::MAX).zip(&self.lengths[usize::from(address.is_ipv6())]);
        let longest_first = lengths.rev().filter(|(_, count)| **count > 0);
        let mut covering = longest_first.filter_map(|(len, _)| Prefix::new(address, len));
        if let Some(prefix) = covering.find(|prefix| self.entries.contains_key(prefix)) {
            let hits = self.hits.entry(prefix).or_default();
            hits.packets += packets;
            hits.bytes += bytes;
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

fn joined(stored: Stored, hits: Hits) -> Entry {
    Entry {
        expires_ns: stored.expires_ns,
        list: stored.list,
        packets: hits.packets,
        bytes: hits.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(n: u32) -> Prefix {
        Prefix::host(IpAddr::from(n.to_be_bytes()))
    }

    fn new(n: u32, list: u32) -> NewEntry {
        NewEntry {
            prefix: prefix(n),
            expires_ns: u64::from(n) << 32,
            list,
        }
    }

    #[test]
    fn an_entry_takes_half_a_line() {
        assert_eq!(size_of::<(Prefix, Stored)>(), 32);
    }

    #[test]
    fn hits_stay_with_an_entry_and_go_with_it() {
        let mut listed = Listed::default();
        assert_eq!(listed.remember(&new(1, 1)), None);
        listed.hit(prefix(1).network(), 2, 200);
        listed.hit(prefix(2).network(), 9, 900);
        let first = Entry {
            expires_ns: 1 << 32,
            packets: 2,
            bytes: 200,
            list: 1,
        };
        assert_eq!(listed.remember(&new(1, 5)), Some(first));
        let changed = Entry { list: 5, ..first };
        assert_eq!(listed.get(&prefix(1)), Some(changed));
        assert_eq!(listed.remove(&prefix(1)), Some(changed));
        assert_eq!(listed.remember(&new(1, 5)), None);
        assert_eq!(listed.get(&prefix(1)).map(|entry| entry.packets), Some(0));
        listed.put(prefix(1), changed);
        assert_eq!(listed.get(&prefix(1)), Some(changed));
        assert_eq!(listed.get(&prefix(2)), None);
    }

    #[test]
    fn entries_that_are_replaced_again_and_again_take_no_more_room() {
        const COUNT: u32 = 100_000;
        let mut listed = Listed::default();
        let mut bytes = Vec::new();
        for round in 0..4 {
            for n in 0..COUNT {
                listed.remove(&prefix((round + 1) % 2 * COUNT + n));
            }
            listed.reserve(COUNT as usize);
            for n in 0..COUNT {
                listed.remember(&new(round % 2 * COUNT + n, 1));
            }
            assert_eq!(listed.len(true), COUNT as usize);
            bytes.push(listed.entries.allocation_size());
        }
        let [first, ..] = bytes[..] else {
            panic!("no round")
        };
        assert_eq!(bytes, [first; 4]);
    }
}
