//! Keeps the list tables: what is stored, as the controller remembers it, and the memory that the
//! program reads.
//!
//! A few changes are made in the table in use, an address at a time. Many, or those that the table
//! has no room for, are made by building another one, which then replaces it with one step.

mod cost;
#[cfg(test)]
mod interrupted;
mod large_pages;
mod listed;
mod memory;
mod rebuild;
mod shadow;
mod table;
#[cfg(test)]
mod tests;
mod v4;
mod v6;

use std::collections::BTreeSet;
use std::net::IpAddr;

use xdp_common::abi::Limits;
use xdp_common::lists::{ALLOW, BLOCK, InMemory, LINE_WORDS, lookup};
use xdp_common::packet::Address;

use super::{Capacity, DatapathError, Entry, Refused, Result, is_within, stays};
use crate::api::types::ListKind;
use crate::domain::Prefix;
pub(crate) use cost::bytes_for;
pub use cost::lines_for;
use listed::Listed;
pub(crate) use memory::{InProcess, Memory, Publisher};
use shadow::{Item, Shadow};
use table::Table;

/// From so many changes on, and from so large a part of the table on, a new one is built.
const MANY: usize = 1024;
const PART: usize = 4;
/// Bytes of a line.
const LINE_BYTES: u64 = (LINE_WORDS * size_of::<u64>()) as u64;

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

    /// Leaves the tables in force that are, until [`Lists::publish_staged`].
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// Makes what is stored ready to be put in force, also where it is nothing: all of that which can
    /// fail, and of which no packet sees anything.
    pub(crate) fn stage(&mut self) -> Result<()> {
        if !self.held {
            return Ok(());
        }
        for ipv4 in [true, false] {
            let has_table = if ipv4 { &self.v4 } else { &self.v6 }.is_some();
            if !has_table {
                self.rebuild(ipv4)?;
            }
            let table = if ipv4 { &mut self.v4 } else { &mut self.v6 };
            if let Some(table) = table {
                self.publisher.stage(ipv4, table.memory())?;
            }
        }
        Ok(())
    }

    /// Puts what was staged in force, each family in one step.
    pub(crate) fn publish_staged(&mut self) {
        if !std::mem::take(&mut self.held) {
            return;
        }
        for ipv4 in [true, false] {
            let table = if ipv4 { &mut self.v4 } else { &mut self.v6 };
            if let Some(table) = table {
                self.publisher.flip(ipv4, table.memory());
            }
        }
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
            let of_family = move |prefix: &Prefix| prefix.is_ipv4() == ipv4;
            let put = put.iter().filter(|new| of_family(&new.prefix)).copied();
            let remove = remove.iter().filter(|gone| of_family(gone)).copied();
            let changes = put.clone().count() + remove.clone().count();
            if changes >= MANY && changes * PART >= self.stored(ipv4) {
                self.change_at_once(kind, ipv4, put, remove, &mut refused);
                continue;
            }
            for entry in put {
                if let Err(error) = self.put(kind, entry) {
                    refused.push((entry.prefix, error));
                }
            }
            let gone: Vec<(Prefix, ())> = remove.clone().map(|prefix| (prefix, ())).collect();
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

    /// Stores an entry or changes its end and list; its hits go on counting.
    pub(crate) fn put(&mut self, kind: ListKind, entry: NewEntry) -> Result<()> {
        self.has_room(kind, &entry.prefix)?;
        let before = self.listed(kind).remember(&entry);
        let item = Item::listed(&entry.prefix, bit(kind), entry.expires_ns);
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
        self.drop_item(Item::listed(prefix, bit(kind), entry.expires_ns));
        Ok(())
    }

    /// The entry stored for just this prefix.
    pub(crate) fn entry(&self, kind: ListKind, prefix: &Prefix) -> Option<Entry> {
        self.listed_of(kind).get(prefix)
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
            self.store(Item::limits(prefix), None)
        };
        if stored.is_err() {
            self.shadow.limits.remove(prefix);
        }
        stored
    }

    /// Takes the mark away; nothing happens if there is none.
    pub(crate) fn remove_limits(&mut self, prefix: &Prefix) {
        if self.shadow.limits.remove(prefix).is_some() {
            self.drop_item(Item::limits(prefix));
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
        if listed.len(prefix.is_ipv4()) >= capacity as usize && listed.end(prefix).is_none() {
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
}

fn bit(kind: ListKind) -> u8 {
    match kind {
        ListKind::Allow => ALLOW,
        ListKind::Block => BLOCK,
    }
}

/// Those of the removed that a refused entry would have taken the place of.
fn kept_within<T: Copy>(refused: &[Refused], removed: &[(Prefix, T)]) -> Vec<(Prefix, T)> {
    let wide: BTreeSet<Prefix> = refused.iter().map(|(prefix, _)| *prefix).collect();
    let kept = removed
        .iter()
        .filter(|(prefix, _)| is_within(&wide, prefix));
    kept.copied().collect()
}
