//! Writing the slots of an IPv6 table.

mod regroup;

use std::ops::{Range, RangeInclusive};

use xdp_common::lists::v6::{
    Level, MIN_LINES, Place, SLOTS, end_place, group_meta, grouped, length_of, link, linked, meta,
    upper_cell,
};
use xdp_common::lists::{MAX_CHAIN, TIMED, halves};

use super::large_pages::{Bulk, bulk};
use super::memory::Memory;
use super::shadow::{Item, Shadow};
use super::table::{Size, Table, TooSmall};
use crate::domain::{AddrBytes, Prefix};

/// A key with more prefixes than this gets a group.
const GROUP_FROM: usize = 6;
/// Groups for keys that get many prefixes after the table was built, and one more for every eighth
/// that it begins with.
const SPARE_GROUPS: u32 = 16;

/// Keys for a line of the filter: eight bits each, of which two are set.
const KEYS_OF_FILTER_LINE: usize = 64;
/// Slots in use of ten lines, on average, in a new table.
const LOAD_OF_TEN: usize = 16;

/// Where a prefix belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    level: Level,
    high: u64,
    low: u64,
    length: u32,
}

impl Spot {
    /// Of an IPv6 prefix of /16 or longer.
    pub(super) fn of(prefix: &Prefix) -> Option<Self> {
        let length = u32::from(prefix.prefix_len());
        let (high, low) = match prefix.addr_bytes() {
            AddrBytes::V6(bytes) if length >= 16 => halves(&bytes),
            AddrBytes::V4(_) | AddrBytes::V6(_) => return None,
        };
        let level = Level::of(length);
        Some(Self {
            level,
            high,
            low,
            length,
        })
    }

    /// The same on the odd level of its upper half, where its key on the even one has a group.
    fn on_odd_level(self) -> Option<Self> {
        match self.level {
            Level::Upper(number) if number % 2 == 0 && self.length >= 24 + number * 8 => {
                let level = Level::Upper(number + 1);
                Some(Self { level, ..self })
            }
            Level::Upper(_) | Level::Low | Level::Host => None,
        }
    }

    /// The bits of its key, where the level's keys can have a group.
    fn key(&self) -> Option<(u32, u64)> {
        match self.level {
            Level::Upper(number) => {
                let ignored = 48 - number * 8;
                Some((number, self.high >> ignored << ignored))
            }
            Level::Low | Level::Host => None,
        }
    }

    /// Whether a slot holds a prefix of the same key.
    fn shares_key(&self, meta: u64, bits: u64) -> bool {
        self.key().is_some_and(|(number, key)| {
            let ignored = 48 - number * 8;
            let first = 64 - ignored;
            let longest = first + if number % 2 == 0 { 15 } else { 7 } + u32::from(number >= 4);
            bits >> ignored << ignored == key
                && length_of(meta).is_some_and(|length| (first..=longest).contains(&length))
        })
    }

    /// Its cells in a group.
    fn covered(&self, number: u32) -> Range<u32> {
        let longest = 24 + number * 8;
        let first = upper_cell(number, self.high);
        first..first + (1 << (longest - self.length.min(longest)))
    }

    /// The second word of its slot.
    fn bits(&self) -> u64 {
        if self.length <= 64 {
            self.high
        } else {
            self.low
        }
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
    /// Slots of the key itself.
    own: usize,
    last: u32,
    chain: usize,
}

fn walk<M: Memory>(table: &Table<M>, place: Place, spot: &Spot, kind: u8) -> Walk {
    let words = table.words();
    let wanted = meta(place.rest, spot.length, kind);
    let mut walk = Walk::default();
    let mut line = place.line;
    while walk.chain < MAX_CHAIN {
        walk.chain += 1;
        walk.last = line;
        let mut next = None;
        for index in 0..SLOTS {
            let (meta, bits) = (words.get(line, index * 2), words.get(line, index * 2 + 1));
            if meta == 0 {
                walk.empty.get_or_insert((line, index));
            } else if let Some(line) = linked(meta) {
                next = Some(line);
            } else if let Some(group) = grouped(meta) {
                if spot
                    .key()
                    .is_some_and(|(number, key)| bits == key | u64::from(number))
                {
                    walk.group = Some(group);
                }
            } else {
                walk.own += usize::from(spot.shares_key(meta, bits));
                if meta & !u64::from(TIMED) == wanted && bits == spot.bits() {
                    walk.same = Some((line, index));
                }
            }
        }
        match next {
            Some(linked) => line = linked,
            None => break,
        }
    }
    walk
}

/// Walks over a prefix's slots: on the odd level if its key has a group on the even one.
fn locate<M: Memory>(table: &Table<M>, spot: Spot, kind: u8) -> (Spot, Place, Walk) {
    let place = spot.level.place(&table.head.layout(), spot.high, spot.low);
    let found = walk(table, place, &spot, kind);
    match spot.on_odd_level() {
        Some(odd) if found.group.is_some() => locate(table, odd, kind),
        Some(_) | None => (spot, place, found),
    }
}

/// Stores an item, new or with another end.
pub(super) fn put<M: Memory>(
    table: &mut Table<M>,
    spot: Spot,
    item: Item,
    shadow: &Shadow,
) -> Result<(), TooSmall> {
    let (spot, place, found) = locate(table, spot, item.kind);
    if let Some(group) = found.group {
        paint(table, group, &spot, &item, shadow);
    } else if found.same.is_none() && found.own >= GROUP_FROM && table.groups.any() {
        regroup::key_of(table, spot)?;
        return put(table, spot, item, shadow);
    } else {
        let timed = if item.end == 0 { 0 } else { TIMED };
        let slot = (
            meta(place.rest, spot.length, item.kind | timed),
            spot.bits(),
        );
        pass_filter(table, &place);
        store(table, &found, slot, item.end)?;
    }
    table.use_level(spot.level.bit());
    Ok(())
}

/// Lets look-ups of a key through the filter, before it has a slot.
fn pass_filter<M: Memory>(table: &Table<M>, place: &Place) {
    let words = table.words();
    let (line, word) = (place.filter_line, place.filter_word);
    words.set(line, word, words.get(line, word) | place.filter_bits);
}

/// Stores a slot in the place that a walk found, or in a spare line.
fn store<M: Memory>(
    table: &mut Table<M>,
    found: &Walk,
    slot: (u64, u64),
    end: u32,
) -> Result<(), TooSmall> {
    if let Some(at) = found.same.or(found.empty) {
        set(table, at, slot, end);
        Ok(())
    } else if found.chain >= MAX_CHAIN {
        Err(TooSmall)
    } else {
        link_spare(table, found.last, slot, end)
    }
}

/// Writes what the shadow says of an item's cells.
fn paint<M: Memory>(table: &Table<M>, group: u32, spot: &Spot, item: &Item, shadow: &Shadow) {
    let Level::Upper(number) = spot.level else {
        return;
    };
    let items = shadow.around(item.prefix, group_lengths(number));
    let covering = items.filter_map(|item| Some((Spot::of(&item.prefix)?.covered(number), item)));
    table.paint_anew(group, spot.covered(number), covering);
}

/// The lengths of a level's groups: eight also of an even level, and the last one's /64.
fn group_lengths(number: u32) -> RangeInclusive<u8> {
    let shortest = u8::try_from(16 + number * 8).unwrap_or(16);
    shortest..=shortest + if number == 5 { 8 } else { 7 }
}

/// Moves a full line's last slot into a spare line, with the new one, and links it.
fn link_spare<M: Memory>(
    table: &mut Table<M>,
    full: u32,
    slot: (u64, u64),
    end: u32,
) -> Result<(), TooSmall> {
    let spare = table.spare.take()?;
    let words = table.words();
    let last = SLOTS - 1;
    let (ends, first) = end_place(&table.head.layout(), full);
    let moved = (words.get(full, last * 2), words.get(full, last * 2 + 1));
    set(table, (spare, 0), moved, words.half(ends, first + last));
    set(table, (spare, 1), slot, end);
    // One word turns the slot into the way to its copy: no packet misses it.
    table.words().set(full, last * 2, link(spare));
    Ok(())
}

/// Writes a slot into an empty place, or over one that differs in its end alone: the first word,
/// which makes the slot count, last. Without an end the last one stays: a packet that has read the
/// old slot may still ask for it.
fn set<M: Memory>(table: &Table<M>, (line, index): At, (meta, bits): (u64, u64), end: u32) {
    let words = table.words();
    let (ends, first) = end_place(&table.head.layout(), line);
    if end != 0 {
        words.set_half(ends, first + index, end);
    }
    words.set(line, index * 2 + 1, bits);
    words.set(line, index * 2, meta);
}

/// Removes an item that the shadow no longer holds.
pub(super) fn remove<M: Memory>(table: &mut Table<M>, spot: Spot, item: Item, shadow: &Shadow) {
    let (spot, _, found) = locate(table, spot, item.kind);
    if let Some(group) = found.group {
        paint(table, group, &spot, &item, shadow);
    } else if let Some((line, index)) = found.same {
        table.words().set(line, index * 2, 0);
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
        items.sort_unstable_by_key(|(spot, _)| (spot.key(), spot.high, spot.low, spot.length));
        Self { items }
    }

    /// The items of one key together; those of levels without groups are one large chunk.
    fn keys(&self) -> impl Iterator<Item = &[(Spot, Item)]> {
        self.items.chunk_by(|(a, _), (b, _)| a.key() == b.key())
    }

    /// The keys that get a group, each by one of its prefixes: of the even levels, and below them of
    /// the odd ones.
    fn groups(&self) -> impl Iterator<Item = Spot> {
        self.keys()
            .filter(|key| takes_group(key.len(), key.first()))
            .flat_map(|key| {
                let even = key.first().map(|(spot, _)| *spot);
                let mut odd: Vec<Spot> = key
                    .iter()
                    .filter_map(|(spot, _)| spot.on_odd_level())
                    .collect();
                odd.sort_unstable_by_key(Spot::key);
                let odd: Vec<Spot> = odd
                    .chunk_by(|a, b| a.key() == b.key())
                    .filter(|key| key.len() > GROUP_FROM)
                    .filter_map(|key| key.first().copied())
                    .collect();
                even.into_iter().chain(odd)
            })
    }

    /// `attempt` counts the sizes that were too small.
    pub(super) fn size(&self, attempt: u32, has_short: bool) -> Size {
        let groups = u32::try_from(self.groups().count()).unwrap_or(u32::MAX / 64);
        size_for(self.items.len(), groups, attempt, has_short)
    }

    /// Fills a table that nobody reads yet.
    pub(super) fn fill<M: Memory>(
        &self,
        table: &mut Table<M>,
        shadow: &Shadow,
    ) -> Result<(), TooSmall> {
        for key in self.keys() {
            if !takes_group(key.len(), key.first()) {
                for (_, item) in key {
                    table.put(*item, None, shadow)?;
                }
                continue;
            }
            // A group of an even level sends the longer prefixes to the odd one.
            let (longer, own): (Vec<_>, Vec<_>) = key
                .iter()
                .partition(|(spot, _)| spot.on_odd_level().is_some());
            fill_group(table, key.first(), &own)?;
            let odd = longer
                .into_iter()
                .filter_map(|(spot, item)| Some((spot.on_odd_level()?, item)));
            let mut odd: Vec<(Spot, Item)> = odd.collect();
            odd.sort_unstable_by_key(|(spot, _)| spot.key());
            for key in odd.chunk_by(|(a, _), (b, _)| a.key() == b.key()) {
                if key.len() > GROUP_FROM {
                    fill_group(table, key.first(), key)?;
                    continue;
                }
                for (_, item) in key {
                    table.put(*item, None, shadow)?;
                }
            }
        }
        Ok(())
    }
}

/// Gives the key of one of its prefixes a group with these.
fn fill_group<M: Memory>(
    table: &mut Table<M>,
    one: Option<&(Spot, Item)>,
    items: &[(Spot, Item)],
) -> Result<(), TooSmall> {
    let Some((spot, (number, bits))) = one.and_then(|(spot, _)| Some((*spot, spot.key()?))) else {
        return Ok(());
    };
    let group = table.groups.take()?;
    let covering = items.iter();
    let covering = covering.map(|(spot, item)| (spot.covered(number), *item));
    table.fill_group(group, covering);
    let place = spot.level.place(&table.head.layout(), spot.high, spot.low);
    let found = walk(table, place, &spot, 0);
    pass_filter(table, &place);
    store(
        table,
        &found,
        (group_meta(group), bits | u64::from(number)),
        0,
    )?;
    table.use_level(spot.level.bit());
    Ok(())
}

/// Whether a key with so many prefixes, one of which is this, gets a group.
fn takes_group(prefixes: usize, one: Option<&(Spot, Item)>) -> bool {
    prefixes > GROUP_FROM && one.is_some_and(|(spot, _)| spot.key().is_some())
}

/// Of a table with so many prefixes and so many groups; `attempt` counts the sizes that were too
/// small.
pub(super) fn size_for(prefixes: usize, groups: u32, attempt: u32, has_short: bool) -> Size {
    // A prefix takes a slot or a part of a group's: too many slots don't hurt.
    let slots = prefixes + groups as usize;
    let lines = u32::try_from(slots * 10 / LOAD_OF_TEN).unwrap_or(u32::MAX / 16);
    let lines = (lines << attempt).max(MIN_LINES);
    let spare = ((lines / 8) << attempt) + 64;
    Size {
        filter: u32::try_from(slots / KEYS_OF_FILTER_LINE).unwrap_or(u32::MAX / 64) + 8,
        lines,
        spare,
        ends: (lines + spare).div_ceil(4),
        groups: groups + groups / 8 + SPARE_GROUPS + if has_short { 256 } else { 0 },
    }
}
