//! Keeps the list tables: what is stored, as the controller remembers it, and the memory that the
//! program reads.
//!
//! A few changes are made in the table in use, an address at a time. Many, or those that the table
//! has no room for, are made by building another one, which then replaces it with one step.

mod cost;
#[cfg(test)]
mod interrupted;
mod memory;
mod shadow;
mod table;
#[cfg(test)]
mod tests;
mod v4;
mod v6;

use std::collections::BTreeSet;
use std::net::IpAddr;

use xdp_common::abi::Limits;
use xdp_common::lists::{ALLOW, BLOCK, InMemory, LIMITS, LINE_WORDS, lookup};
use xdp_common::packet::Address;

use super::{Capacity, DatapathError, Entry, Refused, Result, is_within, stays};
use crate::api::types::ListKind;
use crate::domain::Prefix;
pub(crate) use cost::bytes_for;
pub use cost::lines_for;
pub(crate) use memory::{InProcess, Memory, Publisher};
use shadow::{Item, Listed, Shadow, end_units};
use table::{Size, Table, TooSmall};

/// From so many changes on, and from so large a part of the table on, a new one is built.
const MANY: usize = 1024;
const PART: usize = 4;
/// Bytes of a line.
const LINE_BYTES: u64 = (LINE_WORDS * size_of::<u64>()) as u64;
/// How often a table is built larger than was thought to be enough.
const ATTEMPTS: u32 = 6;

/// An entry to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Which addresses.
    pub prefix: Prefix,
    /// When it ends, nanoseconds of `CLOCK_BOOTTIME`; 0 never.
    pub expires_ns: u64,
    /// The controller's number of the list that it came from.
    pub list: u32,
}

/// Both families' tables with what they hold.
pub(crate) struct Lists<P: Publisher> {
    publisher: P,
    capacity: Capacity,
    shadow: Shadow,
    v4: Option<Table<P::Memory>>,
    v6: Option<Table<P::Memory>>,
    /// Tables are filled and not yet in force: the ones of before are.
    held: bool,
}

impl<P: Publisher> Lists<P> {
    pub(crate) fn new(publisher: P, capacity: Capacity) -> Self {
        Self {
            publisher,
            capacity,
            shadow: Shadow::default(),
            v4: None,
            v6: None,
            held: false,
        }
    }

    /// Leaves the tables in force that are, until [`Lists::publish`].
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// Puts what is stored in force, each family in one step: also where it is nothing.
    pub(crate) fn publish(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.held) {
            return Ok(());
        }
        for ipv4 in [true, false] {
            let table = if ipv4 { &mut self.v4 } else { &mut self.v6 };
            match table {
                Some(table) => self.publisher.publish(ipv4, table.memory())?,
                None => self.rebuild(ipv4)?,
            }
        }
        Ok(())
    }

    /// Stores entries and removes others, as one step where there are many of them. Says which it
    /// could not store.
    pub(crate) fn change(
        &mut self,
        kind: ListKind,
        put: &[NewEntry],
        remove: &[Prefix],
    ) -> Vec<Refused> {
        let mut refused = Vec::new();
        for ipv4 in [true, false] {
            let put: Vec<NewEntry> = of_family(put, ipv4, |entry| &entry.prefix);
            let remove: Vec<Prefix> = of_family(remove, ipv4, |prefix| prefix);
            let changes = put.len() + remove.len();
            if changes >= MANY && changes * PART >= self.stored(ipv4) {
                self.change_at_once(kind, ipv4, &put, &remove, &mut refused);
                continue;
            }
            for entry in put {
                if let Err(error) = self.put(kind, entry) {
                    refused.push((entry.prefix, error));
                }
            }
            let gone: Vec<(Prefix, ())> = remove.iter().map(|prefix| (*prefix, ())).collect();
            let kept = kept_within(&refused, &gone);
            for (prefix, ()) in &kept {
                refused.push((*prefix, stays(prefix)));
            }
            for prefix in remove {
                let is_kept = kept.iter().any(|(kept, ())| *kept == prefix);
                if !is_kept && let Err(error) = self.remove(kind, &prefix) {
                    refused.push((prefix, error));
                }
            }
        }
        refused
    }

    fn change_at_once(
        &mut self,
        kind: ListKind,
        ipv4: bool,
        put: &[NewEntry],
        remove: &[Prefix],
        refused: &mut Vec<Refused>,
    ) {
        // What goes makes room for what comes: nobody sees the state in between.
        let removed: Vec<(Prefix, Entry)> = remove
            .iter()
            .filter_map(|prefix| Some((*prefix, self.listed(kind).remove(prefix)?)))
            .collect();
        let mut undo: Vec<(Prefix, Option<Entry>)> = Vec::with_capacity(put.len());
        self.listed(kind).reserve(put.len());
        for entry in put {
            if let Err(error) = self.has_room(kind, &entry.prefix) {
                refused.push((entry.prefix, error));
                continue;
            }
            let before = self.listed(kind).remember(entry);
            undo.push((entry.prefix, before));
        }
        let kept = kept_within(refused, &removed);
        for (prefix, entry) in kept {
            self.listed(kind).put(prefix, entry);
            refused.push((prefix, stays(&prefix)));
        }
        let Err(error) = self.rebuild(ipv4) else {
            return;
        };
        // The old table is in force: what it holds is remembered again.
        let listed = self.listed(kind);
        for (prefix, before) in undo {
            match before {
                Some(entry) => listed.put(prefix, entry),
                None => drop(listed.remove(&prefix)),
            }
            refused.push((prefix, again(&error)));
        }
        for (prefix, entry) in removed {
            listed.put(prefix, entry);
            refused.push((prefix, again(&error)));
        }
    }

    /// Stores an entry or changes its end and list; its hits go on counting.
    pub(crate) fn put(&mut self, kind: ListKind, entry: NewEntry) -> Result<()> {
        self.has_room(kind, &entry.prefix)?;
        let before = self.listed(kind).remember(&entry);
        let item = Item {
            prefix: entry.prefix,
            kind: bit(kind),
            end: end_units(entry.expires_ns),
        };
        let stored = self.store(item, before.map(|old| old.expires_ns));
        if stored.is_err() {
            match before {
                Some(old) => self.listed(kind).put(entry.prefix, old),
                None => drop(self.listed(kind).remove(&entry.prefix)),
            }
        }
        stored
    }

    /// Removes an entry; nothing happens if it isn't there.
    pub(crate) fn remove(&mut self, kind: ListKind, prefix: &Prefix) -> Result<()> {
        let Some(entry) = self.listed(kind).remove(prefix) else {
            return Ok(());
        };
        self.drop_item(Item {
            prefix: *prefix,
            kind: bit(kind),
            end: end_units(entry.expires_ns),
        });
        Ok(())
    }

    /// The entry stored for just this prefix.
    pub(crate) fn entry(&self, kind: ListKind, prefix: &Prefix) -> Option<Entry> {
        self.listed_of(kind).get(prefix).copied()
    }

    /// Marks a prefix as one with limits of its own.
    pub(crate) fn put_limits(&mut self, prefix: &Prefix, limits: &Limits) -> Result<()> {
        let capacity = self.capacity.overrides as usize;
        let before = self.shadow.limits.insert(*prefix, *limits);
        if before.is_some() {
            return Ok(());
        }
        let of_family = |p: &&Prefix| p.is_ipv4() == prefix.is_ipv4();
        let stored = if self.shadow.limits.keys().filter(of_family).count() > capacity {
            Err(DatapathError::Full { table: "overrides" })
        } else {
            self.store(limits_item(prefix), None)
        };
        if stored.is_err() {
            self.shadow.limits.remove(prefix);
        }
        stored
    }

    /// Takes the mark away; nothing happens if there is none.
    pub(crate) fn remove_limits(&mut self, prefix: &Prefix) {
        if self.shadow.limits.remove(prefix).is_some() {
            self.drop_item(limits_item(prefix));
        }
    }

    /// Adds hits to the entry that decided them.
    pub(crate) fn hit(&mut self, kind: ListKind, address: IpAddr, packets: u64, bytes: u64) {
        self.listed(kind).hit(address, packets, bytes);
    }

    /// What the tables say of an address.
    pub(crate) fn lookup(&self, address: &Address, now: impl FnOnce() -> u64) -> u8 {
        let table = if address.is_v4() { &self.v4 } else { &self.v6 };
        table
            .as_ref()
            .map_or(0, |table| lookup(&InMemory(table.words()), address, now))
    }

    /// The limits of the longest prefix around an address that has any.
    pub(crate) fn limits(&self, address: IpAddr) -> Option<&Limits> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest)
            .rev()
            .filter_map(|len| Prefix::new(address, len))
            .find_map(|prefix| self.shadow.limits.get(&prefix))
    }

    fn listed(&mut self, kind: ListKind) -> &mut Listed {
        match kind {
            ListKind::Allow => &mut self.shadow.allow,
            ListKind::Block => &mut self.shadow.block,
        }
    }

    fn listed_of(&self, kind: ListKind) -> &Listed {
        match kind {
            ListKind::Allow => &self.shadow.allow,
            ListKind::Block => &self.shadow.block,
        }
    }

    fn stored(&self, ipv4: bool) -> usize {
        self.shadow.allow.len(ipv4) + self.shadow.block.len(ipv4)
    }

    fn has_room(&self, kind: ListKind, prefix: &Prefix) -> Result<()> {
        let (capacity, table) = match kind {
            ListKind::Allow => (self.capacity.allow, "allow"),
            ListKind::Block => (self.capacity.block, "block"),
        };
        let listed = self.listed_of(kind);
        if listed.len(prefix.is_ipv4()) >= capacity as usize && listed.get(prefix).is_none() {
            return Err(DatapathError::Full { table });
        }
        Ok(())
    }

    /// Stores an item that the shadow holds already.
    fn store(&mut self, item: Item, old: Option<u64>) -> Result<()> {
        let ipv4 = item.prefix.is_ipv4();
        let (shadow, table) = if ipv4 {
            (&self.shadow, &mut self.v4)
        } else {
            (&self.shadow, &mut self.v6)
        };
        if let Some(table) = table
            && table.put(item, old, shadow).is_ok()
        {
            return Ok(());
        }
        self.rebuild(ipv4)
    }

    /// Removes an item that the shadow no longer holds.
    fn drop_item(&mut self, item: Item) {
        let (shadow, table) = if item.prefix.is_ipv4() {
            (&self.shadow, &mut self.v4)
        } else {
            (&self.shadow, &mut self.v6)
        };
        if let Some(table) = table {
            table.remove(item, shadow);
        }
    }

    /// Builds a family's table anew and puts it in force.
    fn rebuild(&mut self, ipv4: bool) -> Result<()> {
        let items = self.shadow.items(ipv4);
        let has_short = items.iter().any(|item| item.prefix.prefix_len() < 16);
        let short: Vec<Item> = items
            .iter()
            .filter(|item| item.prefix.prefix_len() < 16)
            .copied()
            .collect();
        let plan = if ipv4 {
            Plan::V4(v4::Plan::new(items))
        } else {
            Plan::V6(v6::Plan::new(items))
        };
        for attempt in 0..ATTEMPTS {
            let mut table = self.empty(ipv4, plan.size(attempt, has_short), has_short)?;
            let filled = plan.fill(&mut table, &self.shadow);
            let filled = filled.and_then(|()| {
                let mut short = short.iter();
                short.try_for_each(|item| table.put(*item, None, &self.shadow))
            });
            if filled == Err(TooSmall) {
                continue;
            }
            if !self.held {
                self.publisher.publish(ipv4, table.memory())?;
            }
            // The old table's memory goes when no packet looks at it any more.
            *(if ipv4 { &mut self.v4 } else { &mut self.v6 }) = Some(table);
            return Ok(());
        }
        Err(DatapathError::Kernel {
            what: "build the list table".into(),
            source: anyhow::anyhow!(
                "too many prefixes share a line even in a table {}x as large as usual: are there \
                 more than 15 prefixes of /65 to /127 in one /64?",
                1 << (ATTEMPTS - 1)
            ),
        })
    }

    fn empty(&mut self, ipv4: bool, size: Size, has_short: bool) -> Result<Table<P::Memory>> {
        let too_large = || DatapathError::Full { table: "block" };
        let lines = size.total().ok_or_else(too_large)?;
        let memory = self.publisher.allocate(lines)?;
        let old = if ipv4 { &self.v4 } else { &self.v6 };
        let version = old.as_ref().map_or(0, |table| table.head.version);
        let version = version.wrapping_add(1);
        Ok(Table::new(memory, ipv4, size, seeds(), has_short, version))
    }
}

/// How a family's table is laid out and filled.
enum Plan {
    V4(v4::Plan),
    V6(v6::Plan),
}

impl Plan {
    fn size(&self, attempt: u32, has_short: bool) -> Size {
        match self {
            Self::V4(plan) => plan.size(attempt, has_short),
            Self::V6(plan) => plan.size(attempt, has_short),
        }
    }

    fn fill<M: Memory>(
        &self,
        table: &mut Table<M>,
        shadow: &Shadow,
    ) -> std::result::Result<(), TooSmall> {
        match self {
            Self::V4(plan) => plan.fill(table, shadow),
            Self::V6(plan) => plan.fill(table, shadow),
        }
    }
}

/// Two odd numbers that nobody can foresee, so that nobody can fill one line with a list of theirs.
fn seeds() -> [u64; 2] {
    [random(), random()].map(|number| number | 1)
}

/// A number that nobody can foresee.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

fn bit(kind: ListKind) -> u8 {
    match kind {
        ListKind::Allow => ALLOW,
        ListKind::Block => BLOCK,
    }
}

fn limits_item(prefix: &Prefix) -> Item {
    Item {
        prefix: *prefix,
        kind: LIMITS,
        end: 0,
    }
}

fn of_family<T: Copy>(all: &[T], ipv4: bool, prefix: impl Fn(&T) -> &Prefix) -> Vec<T> {
    let of = all.iter().filter(|item| prefix(item).is_ipv4() == ipv4);
    of.copied().collect()
}

/// Those of the removed that a refused entry would have taken the place of.
fn kept_within<T: Copy>(refused: &[Refused], removed: &[(Prefix, T)]) -> Vec<(Prefix, T)> {
    let wide: BTreeSet<Prefix> = refused.iter().map(|(prefix, _)| *prefix).collect();
    let kept = removed
        .iter()
        .filter(|(prefix, _)| is_within(&wide, prefix));
    kept.copied().collect()
}

/// The same error for another entry that it concerns.
fn again(error: &DatapathError) -> DatapathError {
    if let DatapathError::Full { table } = error {
        return DatapathError::Full { table };
    }
    DatapathError::Kernel {
        what: "put a list in force".into(),
        source: anyhow::anyhow!("{error}"),
    }
}
