//! Many changes at once: another table is built from all that is stored, and replaces the one in
//! force with one step.

use std::collections::BTreeSet;

use super::super::{DatapathError, Entry, Refused, Result, stays};
use super::large_pages::{Bulk, bulk};
use super::memory::{Memory, Publisher};
use super::shadow::Shadow;
use super::table::{Size, Table, TooSmall};
use super::{Lists, NewEntry, kept_within, v4, v6};
use crate::api::types::ListKind;
use crate::domain::Prefix;

/// How often a table is built larger than was thought to be enough.
const ATTEMPTS: u32 = 6;

impl<P: Publisher> Lists<P> {
    /// Stores entries and removes others, all or, where there can't be such a table, none.
    pub(super) fn change_at_once(
        &mut self,
        kind: ListKind,
        ipv4: bool,
        put: impl Iterator<Item = NewEntry> + Clone,
        remove: impl Iterator<Item = Prefix> + Clone,
        refused: &mut Vec<Refused>,
    ) {
        // What goes makes room for what comes: nobody sees the state in between.
        let removed: Bulk<(Prefix, Entry)> = {
            let listed = self.listed(kind);
            let at_most = remove.clone().count();
            let taken = remove.filter_map(|prefix| Some((prefix, listed.remove(&prefix)?)));
            bulk(at_most, taken)
        };
        self.listed(kind).reserve(put.clone().count());
        let mut replaced: Vec<(usize, Entry)> = Vec::new();
        let mut full: BTreeSet<Prefix> = BTreeSet::new();
        for (number, entry) in put.clone().enumerate() {
            if let Err(error) = self.has_room(kind, &entry.prefix) {
                full.insert(entry.prefix);
                refused.push((entry.prefix, error));
            } else if let Some(before) = self.listed(kind).remember(&entry) {
                replaced.push((number, before));
            }
        }
        for (prefix, entry) in kept_within(refused, &removed) {
            self.listed(kind).put(prefix, entry);
            refused.push((prefix, stays(&prefix)));
        }
        let Err(error) = self.rebuild(ipv4) else {
            return;
        };
        // The old table is in force: what it holds is remembered again, the last change first.
        let listed = self.listed(kind);
        let put: Vec<NewEntry> = put.collect();
        for (number, NewEntry { prefix, .. }) in put.iter().enumerate().rev() {
            if full.contains(prefix) {
                continue;
            }
            match replaced.pop_if(|(replaced, _)| *replaced == number) {
                Some((_, before)) => listed.put(*prefix, before),
                None => drop(listed.remove(prefix)),
            }
            refused.push((*prefix, again(&error)));
        }
        for (prefix, entry) in removed {
            listed.put(prefix, entry);
            refused.push((prefix, again(&error)));
        }
    }

    /// Builds a family's table anew and puts it in force.
    pub(super) fn rebuild(&mut self, ipv4: bool) -> Result<()> {
        let short = self.shadow.short(ipv4);
        let has_short = !short.is_empty();
        let (at_most, items) = (self.shadow.at_most(ipv4), self.shadow.items(ipv4));
        let plan = if ipv4 {
            Plan::V4(v4::Plan::new(at_most, items))
        } else {
            Plan::V6(v6::Plan::new(at_most, items))
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
        Ok(Table::new(memory, size, seeds(), has_short, version))
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

#[cfg(test)]
mod tests {
    use xdp_common::lists::BLOCK;

    use super::super::MANY;
    use super::super::memory::{Heap, InProcess};
    use super::*;
    use crate::datapath::Capacity;

    /// Memory of the process, until there is none.
    struct Scarce {
        is_empty: bool,
    }

    impl Publisher for Scarce {
        type Memory = Heap;

        fn allocate(&mut self, lines: u32) -> Result<Heap> {
            if self.is_empty {
                return Err(DatapathError::Full { table: "block" });
            }
            InProcess.allocate(lines)
        }

        fn stage(&mut self, _ipv4: bool, _memory: &mut Heap) -> Result<()> {
            Ok(())
        }

        fn flip(&mut self, _ipv4: bool, _memory: &mut Heap) {}
    }

    fn entry(prefix: Prefix, list: u32) -> NewEntry {
        NewEntry {
            prefix,
            expires_ns: 0,
            list,
        }
    }

    fn prefixes(network: &str) -> impl Iterator<Item = Prefix> {
        let network: Prefix = network.parse().unwrap();
        network.overlapping(network.prefix_len() + 11)
    }

    #[test]
    fn without_memory_for_a_table_all_stays_as_it_was() {
        for [old, new] in [
            ["10.0.0.0/16", "10.1.0.0/16"],
            ["2001:db8::/32", "2001:db9::/32"],
        ] {
            let mut lists = Lists::new(
                Scarce { is_empty: false },
                Capacity {
                    allow: 10_000,
                    block: 10_000,
                    overrides: 10_000,
                    sources: 0,
                    bans: 0,
                    flows: 0,
                },
            );
            let first: Vec<NewEntry> = prefixes(old).map(|prefix| entry(prefix, 1)).collect();
            assert!(lists.change(ListKind::Block, &first, &[]).is_empty());
            let hit = first[7].prefix.network();
            lists.hit(ListKind::Block, hit, 3, 300);
            let before: Vec<_> = prefixes(old)
                .map(|prefix| lists.entry(ListKind::Block, &prefix))
                .collect();

            lists.publisher.is_empty = true;
            // Some come, one of them twice, some change, some go.
            let come = prefixes(new)
                .chain(prefixes(new).take(1))
                .chain(prefixes(old).take(10));
            let put: Vec<NewEntry> = come.map(|prefix| entry(prefix, 2)).collect();
            let remove: Vec<Prefix> = prefixes(old).skip(10).collect();
            assert!(put.len() > MANY);
            let refused = lists.change(ListKind::Block, &put, &remove);

            assert_eq!(refused.len(), put.len() + remove.len());
            let after = prefixes(old).map(|prefix| lists.entry(ListKind::Block, &prefix));
            assert!(after.eq(before));
            for prefix in prefixes(new) {
                assert_eq!(lists.entry(ListKind::Block, &prefix), None);
                assert_eq!(lists.lookup(&prefix.network().into(), || 0), 0);
            }
            assert_eq!(lists.lookup(&hit.into(), || 0), BLOCK);
            assert_eq!(lists.stored(old.contains('.')), first.len());
        }
    }
}
