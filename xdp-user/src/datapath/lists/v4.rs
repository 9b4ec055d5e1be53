//! Writing the slots of an IPv4 table.

use std::ops::{Range, RangeInclusive};

use xdp_common::lists::head::{V4_16, V4_24};
use xdp_common::lists::v4::{
    self, MAX_GROUPS, MIN_LINES, Place, SLOTS, Slot, byte_16, end_line, group_slot, key_16, key_24,
    link,
};
use xdp_common::lists::{MAX_CHAIN, TIMED};

use super::large_pages::{Bulk, bulk};
use super::memory::Memory;
use super::shadow::{Item, Shadow};
use super::table::{Size, Table, TooSmall};
use crate::domain::{AddrBytes, Prefix};

/// A key with more prefixes than this gets a group, where the table is built anew.
const GROUP_FROM: usize = 12;
/// Slots in use of a line, on average, in a new table.
const LOAD: usize = 9;

/// Where a prefix belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) key: u32,
    byte: u32,
    ignored: u32,
}

impl Spot {
    /// Of an IPv4 prefix of /16 or longer.
    pub(super) fn of(prefix: &Prefix) -> Option<Self> {
        let len = u32::from(prefix.prefix_len());
        let address = match prefix.addr_bytes() {
            AddrBytes::V4(bytes) if len >= 16 => u32::from_be_bytes(bytes),
            AddrBytes::V4(_) | AddrBytes::V6(_) => return None,
        };
        let (key, byte, longest) = if len >= 24 {
            (key_24(address), address & 0xff, 32)
        } else {
            (key_16(address), byte_16(address), 24)
        };
        let ignored = longest - len;
        Some(Self { key, byte, ignored })
    }

    fn is_24(self) -> bool {
        self.key >> 24 == 0
    }

    fn level(self) -> u32 {
        if self.is_24() { V4_24 } else { V4_16 }
    }

    /// The lengths of its level.
    fn lengths(self) -> RangeInclusive<u8> {
        if self.is_24() { 24..=32 } else { 16..=23 }
    }

    /// Its cells in a group.
    fn covered(self) -> Range<u32> {
        self.byte..self.byte + (1 << self.ignored)
    }
}

/// A slot: its line and its number there.
type At = (u32, usize);

/// What a walk over the slots of a key found.
#[derive(Default)]
struct Walk {
    same: Option<At>,
    group: Option<u32>,
    empty: Option<At>,
    last: u32,
    chain: usize,
}

fn walk<M: Memory>(table: &Table<M>, place: Place, spot: Spot, kind: u8) -> Walk {
    let words = table.words();
    let mut walk = Walk {
        last: place.line,
        ..Walk::default()
    };
    let mut line = place.line;
    while walk.chain < MAX_CHAIN {
        walk.chain += 1;
        walk.last = line;
        let mut next = None;
        for index in 0..SLOTS {
            match v4::decode(words.half(line, index)) {
                Slot::Empty => {
                    walk.empty.get_or_insert((line, index));
                }
                Slot::Prefix {
                    rest,
                    byte,
                    ignored,
                    flags,
                } => {
                    let same = (rest, byte, ignored) == (place.rest, spot.byte, spot.ignored);
                    if same && flags & !TIMED == kind {
                        walk.same = Some((line, index));
                    }
                }
                Slot::Group { rest, group } if rest == place.rest => walk.group = Some(group),
                Slot::Group { .. } => {}
                Slot::Link(linked) => next = Some(linked),
            }
        }
        match next {
            Some(linked) => line = linked,
            None => break,
        }
    }
    walk
}

/// Stores an item, new or with another end.
pub(super) fn put<M: Memory>(
    table: &mut Table<M>,
    spot: Spot,
    item: Item,
    shadow: &Shadow,
) -> Result<(), TooSmall> {
    let place = v4::place(&table.head.layout(), spot.key);
    let found = walk(table, place, spot, item.kind);
    if let Some(group) = found.group {
        paint(table, group, spot, &item, shadow);
    } else {
        let timed = if item.end == 0 { 0 } else { TIMED };
        let slot = v4::slot(place.rest, spot.byte, spot.ignored, item.kind | timed);
        store(table, &found, slot, item.end)?;
    }
    table.use_level(spot.level());
    Ok(())
}

/// Stores a slot in the place that a walk found, or in a spare line.
fn store<M: Memory>(
    table: &mut Table<M>,
    found: &Walk,
    slot: u32,
    end: u32,
) -> Result<(), TooSmall> {
    if let Some(at) = found.same.or(found.empty) {
        set(table, at, slot, end);
        return Ok(());
    }
    if found.chain >= MAX_CHAIN {
        return Err(TooSmall);
    }
    let spare = table.spare.take()?;
    let (words, last) = (table.words(), (found.last, SLOTS - 1));
    let moved_end = words.half(end_line(&table.head.layout(), last.0), last.1);
    set(table, (spare, 0), words.half(last.0, last.1), moved_end);
    set(table, (spare, 1), slot, end);
    // The link takes the place of the slot that it leads to: no packet misses it.
    table.words().set_half(last.0, last.1, link(spare));
    Ok(())
}

/// Writes a slot, its end first. Without one the last one stays: a packet that has read the old slot
/// may still ask for it.
fn set<M: Memory>(table: &Table<M>, (line, index): At, slot: u32, end: u32) {
    let words = table.words();
    if end != 0 {
        words.set_half(end_line(&table.head.layout(), line), index, end);
    }
    words.set_half(line, index, slot);
}

/// Writes what the shadow says of an item's cells.
fn paint<M: Memory>(table: &Table<M>, group: u32, spot: Spot, item: &Item, shadow: &Shadow) {
    let items = shadow.around(item.prefix, spot.lengths());
    let covering = items.filter_map(|item| Some((Spot::of(&item.prefix)?.covered(), item)));
    table.paint_anew(group, spot.covered(), covering);
}

/// Removes an item that the shadow no longer holds.
pub(super) fn remove<M: Memory>(table: &mut Table<M>, spot: Spot, item: Item, shadow: &Shadow) {
    let place = v4::place(&table.head.layout(), spot.key);
    let found = walk(table, place, spot, item.kind);
    if let Some(group) = found.group {
        paint(table, group, spot, &item, shadow);
    } else if let Some((line, index)) = found.same {
        table.words().set_half(line, index, 0);
    }
}

/// A table's items by key, and how large the table has to be for them.
pub(super) struct Plan {
    items: Bulk<(Spot, Item)>,
}

impl Plan {
    /// Of all items of the family, of which there are at most so many.
    pub(super) fn new(at_most: usize, items: impl Iterator<Item = Item>) -> Self {
        let spotted = items.filter_map(|item| Some((Spot::of(&item.prefix)?, item)));
        let mut items = bulk(at_most, spotted);
        items.sort_unstable_by_key(|(spot, item)| (*spot, item.kind));
        Self { items }
    }

    fn keys(&self) -> impl Iterator<Item = &[(Spot, Item)]> {
        self.items.chunk_by(|(a, _), (b, _)| a.key == b.key)
    }

    /// `attempt` counts the sizes that were too small.
    pub(super) fn size(&self, attempt: u32, has_short: bool) -> Size {
        let (mut slots, mut groups) = (0, 0);
        for key in self.keys() {
            if key.len() > GROUP_FROM && groups < MAX_GROUPS - 256 {
                groups += 1;
                slots += 1;
            } else {
                slots += key.len();
            }
        }
        size_for(slots, groups, attempt, has_short)
    }

    /// Fills a table that nobody reads yet.
    pub(super) fn fill<M: Memory>(
        &self,
        table: &mut Table<M>,
        shadow: &Shadow,
    ) -> Result<(), TooSmall> {
        for key in self.keys() {
            // Keys with few prefixes take no group, and none is left where slots can't name more.
            let group = (key.len() > GROUP_FROM).then(|| table.groups.take());
            match group {
                Some(Ok(group)) => fill_group(table, key, group)?,
                Some(Err(TooSmall)) | None => {
                    for (_, item) in key {
                        table.put(*item, None, shadow)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn fill_group<M: Memory>(
    table: &mut Table<M>,
    key: &[(Spot, Item)],
    group: u32,
) -> Result<(), TooSmall> {
    let Some((spot, _)) = key.first() else {
        return Ok(());
    };
    let covering = key.iter().map(|(spot, item)| (spot.covered(), *item));
    table.fill_group(group, covering);
    let place = v4::place(&table.head.layout(), spot.key);
    let found = walk(table, place, *spot, 0);
    store(table, &found, group_slot(place.rest, group), 0)?;
    table.use_level(spot.level());
    Ok(())
}

/// Of a table with so many slots in use and so many groups; `attempt` counts the sizes that were
/// too small.
pub(super) fn size_for(slots: usize, groups: u32, attempt: u32, has_short: bool) -> Size {
    let lines = u32::try_from(slots.div_ceil(LOAD)).unwrap_or(u32::MAX / 16);
    let lines = (lines << attempt).max(MIN_LINES);
    let spare = ((lines / 8) << attempt) + 64;
    Size {
        filter: 0,
        lines,
        spare,
        ends: lines + spare,
        groups: groups + if has_short { 256 } else { 0 },
    }
}
