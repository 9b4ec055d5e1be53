//! One family's table: where everything lies in it, groups, ends.

use std::collections::BTreeMap;
use std::ops::Range;

use xdp_common::lists::head::{self, Head, SHORT};
use xdp_common::lists::{ALLOW, BLOCK, LINE_WORDS, TIMED, group};

use super::memory::{Memory, Words};
use super::shadow::{Cell, Item, Shadow, end_units};
use super::{v4, v6};
use crate::domain::{AddrBytes, Prefix};

/// A larger table has to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSmall;

/// How much of each part a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Lines of the filter.
    pub(super) filter: u32,
    pub(super) lines: u32,
    pub(super) spare: u32,
    /// Lines with the ends of these.
    pub(super) ends: u32,
    pub(super) groups: u32,
}

impl Size {
    /// All lines of the table, with the head.
    pub(super) fn total(&self) -> Option<u32> {
        let groups = self.groups.checked_mul(group::LINES)?;
        let lines = 1_u32.checked_add(self.filter)?.checked_add(self.lines)?;
        let lines = lines.checked_add(self.spare)?;
        lines.checked_add(self.ends)?.checked_add(groups)
    }
}

/// Numbers that are given out one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Free {
    next: u32,
    end: u32,
}

impl Free {
    fn new(next: u32, count: u32) -> Self {
        let end = next + count;
        Self { next, end }
    }

    /// Whether there is one more.
    pub(super) fn any(&self) -> bool {
        self.next < self.end
    }

    pub(super) fn take(&mut self) -> Result<u32, TooSmall> {
        if !self.any() {
            return Err(TooSmall);
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}

/// A table in some memory.
pub(super) struct Table<M> {
    memory: M,
    pub(super) head: Head,
    pub(super) spare: Free,
    pub(super) groups: Free,
    /// How many items end when.
    ends: BTreeMap<u32, u32>,
}

impl<M: Memory> Table<M> {
    /// An empty table in zeroed memory of the size's lines.
    pub(super) fn new(
        memory: M,
        size: Size,
        seeds: [u64; 2],
        has_short: bool,
        version: u64,
    ) -> Self {
        let first_filter = 1;
        let first_line = first_filter + size.filter;
        let first_spare = first_line + size.lines;
        let first_end = first_spare + size.spare;
        let head = Head {
            levels: if has_short { SHORT } else { 0 },
            first_line,
            lines: size.lines,
            first_end,
            first_group: first_end + size.ends,
            earliest_end: 0,
            seeds,
            first_filter,
            filter_lines: size.filter,
            version,
        };
        // Groups of the shortest prefixes have the numbers of their first byte.
        let reserved = if has_short { 256 } else { 0 };
        let table = Self {
            memory,
            head,
            spare: Free::new(first_spare, size.spare),
            groups: Free::new(reserved, size.groups.saturating_sub(reserved)),
            ends: BTreeMap::new(),
        };
        for (word, value) in head.words().into_iter().enumerate().take(LINE_WORDS) {
            table.set_head(word, value);
        }
        table
    }

    pub(super) fn words(&self) -> Words<'_> {
        Words(self.memory.words())
    }

    pub(super) fn memory(&mut self) -> &mut M {
        &mut self.memory
    }

    /// Stores a word of the head, after all that was stored before.
    fn set_head(&self, word: usize, value: u64) {
        self.words().set(0, word, value);
        self.memory.note_head(word, value);
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        std::mem::size_of_val(self.memory.words()) as u64
    }

    /// Stores an item, new or with another end. `old` is the end that it had, in the shadow's
    /// nanoseconds.
    pub(super) fn put(
        &mut self,
        item: Item,
        old: Option<u64>,
        shadow: &Shadow,
    ) -> Result<(), TooSmall> {
        // The earliest end first: a packet must not take the item for one that never ends.
        self.count_end(item.end);
        let put = match Spot::of(&item.prefix) {
            Spot::Short => self.paint_short(&item.prefix, shadow),
            Spot::V4(spot) => v4::put(self, spot, item, shadow),
            Spot::V6(spot) => v6::put(self, spot, item, shadow),
        };
        match (put, old) {
            (Ok(()), Some(old)) => self.forget_end(end_units(old)),
            (Ok(()), None) => {}
            (Err(TooSmall), _) => self.forget_end(item.end),
        }
        self.write_earliest();
        self.memory.note_change();
        put
    }

    /// Removes an item that the shadow no longer holds.
    pub(super) fn remove(&mut self, item: Item, shadow: &Shadow) {
        self.begin_removal();
        match Spot::of(&item.prefix) {
            // The group is there: the item was.
            Spot::Short => drop(self.paint_short(&item.prefix, shadow)),
            Spot::V4(spot) => v4::remove(self, spot, item, shadow),
            Spot::V6(spot) => v6::remove(self, spot, item, shadow),
        }
        self.forget_end(item.end);
        self.write_earliest();
        self.memory.note_change();
    }

    /// Something goes: a look-up that misses it, and came too early for what was put in its place,
    /// begins anew.
    pub(super) fn begin_removal(&mut self) {
        self.head.version = self.head.version.wrapping_add(1);
        self.set_head(head::VERSION, self.head.version);
    }

    /// Writes a group that nobody finds yet, from all items of its key, which the table didn't hold
    /// yet: which cells each covers.
    pub(super) fn fill_group(
        &mut self,
        group: u32,
        items: impl Iterator<Item = (Range<u32>, Item)>,
    ) {
        let ends = &mut self.ends;
        let counted = items.map(|(range, item)| {
            if item.end != 0 {
                *ends.entry(item.end).or_default() += 1;
            }
            (range, item.kind, item.end)
        });
        let cells = cells_of(counted);
        self.paint_cells(group, &cells);
        self.write_earliest();
    }

    /// Writes a group that nobody finds yet.
    pub(super) fn paint_cells(&self, group: u32, cells: &[Cell; 256]) {
        for (number, cell) in (0..).zip(cells) {
            if cell.flags != 0 {
                self.paint(group, number, *cell);
            }
        }
    }

    /// Writes some cells of a group anew, from what covers them: which cells each item does.
    pub(super) fn paint_anew(
        &self,
        group: u32,
        cells: Range<u32>,
        covering: impl Iterator<Item = (Range<u32>, Item)>,
    ) {
        let all = cells_of(covering.map(|(range, item)| (range, item.kind, item.end)));
        for number in cells {
            let cell = all.get(number as usize).copied().unwrap_or_default();
            self.paint(group, number, cell);
        }
    }

    /// Notes that a level holds something, once it does.
    pub(super) fn use_level(&mut self, level: u32) {
        if self.head.levels & level == 0 {
            self.head.levels |= level;
            self.set_head(head::LEVELS, self.head.levels.into());
        }
    }

    fn count_end(&mut self, end: u32) {
        if end != 0 {
            *self.ends.entry(end).or_default() += 1;
            self.write_earliest();
        }
    }

    fn forget_end(&mut self, end: u32) {
        if let Some(count) = self.ends.get_mut(&end) {
            *count -= 1;
            if *count == 0 {
                self.ends.remove(&end);
            }
        }
    }

    fn write_earliest(&mut self) {
        let earliest = self.ends.keys().next().copied().map_or(0, u64::from);
        if self.head.earliest_end != earliest {
            self.head.earliest_end = earliest;
            self.set_head(head::EARLIEST_END, earliest);
        }
    }

    /// Writes what the shadow says of the cells that a short prefix covers.
    fn paint_short(&mut self, prefix: &Prefix, shadow: &Shadow) -> Result<(), TooSmall> {
        if self.head.levels & SHORT == 0 {
            return Err(TooSmall);
        }
        // Each part lies in one group.
        for part in prefix.overlapping(prefix.prefix_len().max(8)) {
            let (group, cells) = short_cells(&part);
            let items = shadow.around(part, 0..=15);
            let covering = items.map(|item| (short_cells(&item.prefix).1, item));
            self.paint_anew(group, cells, covering);
        }
        Ok(())
    }

    /// Writes a cell of a group: its ends before the flags that make them count. An end that no
    /// longer counts stays: a packet that has read the old flags may still ask for it.
    pub(super) fn paint(&self, group: u32, cell: u32, state: Cell) {
        let words = self.words();
        let first = self.head.first_group + group * group::LINES;
        let has_end = |kind, end| state.flags & kind != 0 && end != 0;
        let timed = has_end(ALLOW, state.allow_end) || has_end(BLOCK, state.block_end);
        let half = (cell % 16) as usize;
        for (kind, ends, end) in [
            (ALLOW, group::ALLOW_ENDS, state.allow_end),
            (BLOCK, group::BLOCK_ENDS, state.block_end),
        ] {
            if state.flags & kind != 0 {
                words.set_half(first + ends + cell / 16, half, end);
            }
        }
        let flags = state.flags | if timed { TIMED } else { 0 };
        let (line, word) = (first + cell / 128, (cell / 16 % 8) as usize);
        let shift = cell % 16 * 4;
        let others = words.get(line, word) & !(15 << shift);
        words.set(line, word, others | u64::from(flags) << shift);
    }
}

/// The group of a short prefix, its first one where it covers several, and its cells there.
fn short_cells(prefix: &Prefix) -> (u32, Range<u32>) {
    let [group, first] = match prefix.addr_bytes() {
        AddrBytes::V4([a, b, ..]) | AddrBytes::V6([a, b, ..]) => [a, b].map(u32::from),
    };
    let count = 1 << 16_u8.saturating_sub(prefix.prefix_len()).min(8);
    (group, first..first + count)
}

/// The cells of a group, from the kind and the end of what covers each.
pub(super) fn cells_of(covering: impl Iterator<Item = (Range<u32>, u8, u32)>) -> [Cell; 256] {
    let mut cells = [Cell::default(); 256];
    for (range, kind, end) in covering {
        let range = range.start as usize..range.end as usize;
        for cell in cells.get_mut(range).unwrap_or_default() {
            cell.add(kind, end);
        }
    }
    cells
}

/// Where a prefix belongs in its family's table.
pub(super) enum Spot {
    Short,
    V4(v4::Spot),
    V6(v6::Spot),
}

impl Spot {
    pub(super) fn of(prefix: &Prefix) -> Self {
        let v4 = v4::Spot::of(prefix).map(Self::V4);
        let v6 = || v6::Spot::of(prefix).map(Self::V6);
        v4.or_else(v6).unwrap_or(Self::Short)
    }
}
