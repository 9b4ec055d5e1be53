//! Bringing the kernel's entries to what they should be.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;

use super::draft::Draft;
use crate::api::types::{Happening, ListCause, ListChanged, ListKind};
use crate::control::Control;
use crate::control::entries::{Member, Plan};
use crate::control::names::CONFIG;
use crate::datapath::{DatapathError, NewEntry};
use crate::domain::Prefix;

impl Control {
    /// Tells the kernel what comes and then what goes, so that no packet finds a gap. What the
    /// kernel refuses is kept for [`Self::retry_unsettled`].
    pub(in crate::control) fn carry_out(&mut self, kind: ListKind, plan: Plan) -> Result<()> {
        let now = Self::now();
        let stored: Vec<NewEntry> = plan
            .put
            .iter()
            .map(|(prefix, stored)| NewEntry {
                prefix: *prefix,
                expires_ns: stored.expires.map_or(0, |at| now.to_boot_ns(at)),
                list: stored.list,
            })
            .collect();
        let refused = self.datapath.change_entries(kind, &stored, &plan.remove);
        let put: BTreeSet<Prefix> = plan.put.iter().map(|(prefix, _)| *prefix).collect();
        let mut first: Option<DatapathError> = None;
        for (prefix, error) in refused {
            if put.contains(&prefix) {
                self.entries(kind).forget_stored(&prefix);
            }
            self.unsettled.push((kind, prefix));
            first.get_or_insert(error);
        }
        match first {
            Some(error) => Err(anyhow::Error::new(error).context(format!(
                "{} entries are on disk but not in the kernel yet; the daemon goes on trying",
                self.unsettled.len()
            ))),
            None => Ok(()),
        }
    }

    /// Tries again what the kernel refused. What should be gone is removed once more: the kernel
    /// may hold it from before.
    pub(in crate::control) fn retry_unsettled(&mut self) -> Result<()> {
        let started = Instant::now();
        if started < self.retry_at {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.unsettled);
        let mut result = Ok(());
        for kind in [ListKind::Allow, ListKind::Block] {
            let prefixes: BTreeSet<Prefix> = waiting
                .iter()
                .filter(|(of, _)| *of == kind)
                .map(|(_, prefix)| *prefix)
                .collect();
            if prefixes.is_empty() {
                continue;
            }
            let entries = self.entries(kind);
            let mut plan = entries.settle(prefixes.iter().copied());
            plan.remove.retain(|prefix| !prefixes.contains(prefix));
            let gone = prefixes.into_iter().filter(|p| !entries.is_stored(p));
            plan.remove.extend(gone);
            plan.order();
            result = result.and(self.carry_out(kind, plan));
        }
        self.retry_at = Instant::now() + pause_after(started.elapsed());
        result
    }

    /// Entries that have ended go from memory, disk and kernel.
    pub(in crate::control) fn sweep_entries(&mut self) -> Result<()> {
        let now = Timestamp::now();
        for kind in [ListKind::Allow, ListKind::Block] {
            let ended = self.entries(kind).ended(now);
            if ended.is_empty() {
                continue;
            }
            let mut draft = Draft::of(ListCause::Expired, None);
            for (prefix, list) in ended {
                self.draft_take(kind, &prefix, list, &mut draft);
            }
            let report = self.commit(kind, draft, Instant::now())?;
            tracing::debug!(
                kind = kind.name(),
                removed = report.removed,
                "entries ended"
            );
        }
        Ok(())
    }

    /// Loads the entries on disk and of the configuration.
    pub(in crate::control) fn restore_entries(&mut self) -> Result<()> {
        let (rows, damaged) = self.state.entries()?;
        if damaged > 0 {
            self.warnings.push(format!(
                "{damaged} entries on disk could not be read and are left out"
            ));
        }
        let mut touched: [Vec<Prefix>; 2] = Default::default();
        for row in rows {
            let list = self.names.id(&row.list);
            let comment = row.comment.map(String::into_boxed_str);
            let member = Member {
                list,
                expires: row.expires,
                comment,
                added: Some(row.added),
            };
            self.entries(row.kind).put(row.prefix, member);
            touched[row.kind as usize].push(row.prefix);
        }
        let config = self.config_list()?;
        for (kind, prefixes) in [
            (ListKind::Allow, self.config.allow.clone()),
            (ListKind::Block, self.config.block.clone()),
        ] {
            for prefix in prefixes {
                self.entries(kind).put(
                    prefix,
                    Member {
                        list: config,
                        expires: None,
                        comment: None,
                        added: None,
                    },
                );
                touched[kind as usize].push(prefix);
            }
        }
        for (kind, touched) in [ListKind::Allow, ListKind::Block].into_iter().zip(touched) {
            let plan = self.entries(kind).settle(touched);
            if let Err(error) = self.carry_out(kind, plan) {
                // Better most of the list than none of the daemon; `status` goes on warning.
                tracing::error!("{error:#}");
            }
        }
        Ok(())
    }

    /// Changes the configuration's own entries from one set to another.
    pub(in crate::control) fn change_config_entries(
        &mut self,
        kind: ListKind,
        from: &[Prefix],
        to: &[Prefix],
    ) -> Result<()> {
        let config = self.config_list()?;
        let member = Member {
            list: config,
            expires: None,
            comment: None,
            added: None,
        };
        for prefix in to {
            self.entries(kind).put(*prefix, member.clone());
        }
        for prefix in from
            .iter()
            .filter(|prefix| to.binary_search(prefix).is_err())
        {
            self.entries(kind).take(prefix, config);
        }
        self.note_config_change(kind, from, to);
        let plan = self.entries(kind).settle(from.iter().chain(to).copied());
        self.carry_out(kind, plan)
    }

    fn note_config_change(&self, kind: ListKind, from: &[Prefix], to: &[Prefix]) {
        let missing_in = |these: &[Prefix], those: &[Prefix]| -> Vec<Prefix> {
            let missing = |prefix: &&Prefix| those.binary_search(prefix).is_err();
            these.iter().filter(missing).copied().collect()
        };
        let (added, removed) = (missing_in(to, from), missing_in(from, to));
        let prefix = match (added.as_slice(), removed.as_slice()) {
            ([], []) => return,
            ([only], []) | ([], [only]) => Some(*only),
            _several => None,
        };
        self.note(Happening::List(ListChanged {
            table: kind,
            list: Some(CONFIG.to_owned()),
            cause: ListCause::Config,
            added: u64::try_from(added.len()).unwrap_or(u64::MAX),
            updated: 0,
            removed: u64::try_from(removed.len()).unwrap_or(u64::MAX),
            prefix,
        }));
    }
}

/// How long to wait after a try that took so long. A table that stays full may refuse a million
/// entries each time, and whoever asks the daemon something meanwhile waits for it.
fn pause_after(took: Duration) -> Duration {
    const SHORT: Duration = Duration::from_millis(100);
    took.saturating_sub(SHORT) * 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_tries_are_rare_and_short_ones_come_with_every_tick() {
        assert_eq!(pause_after(Duration::from_millis(90)), Duration::ZERO);
        let took = Duration::from_secs(3);
        assert!(pause_after(took) > took * 15);
    }
}
