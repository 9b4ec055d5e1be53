//! A change on its way: in memory, then on disk, then in the kernel.

use std::time::Instant;

use anyhow::{Result, bail};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use crate::api::types::{ChangeReport, Happening, ListCause, ListChanged, ListKind, Refusal};
use crate::control::Control;
use crate::control::entries::{ListId, Member, Outcome};
use crate::control::names::MANUAL;
use crate::domain::{ListName, Prefix, Span};
use crate::host::ProtectedPeers;
use crate::state::{EntryChange, EntryRow};

/// Refusals that a report spells out.
const MAX_REFUSALS: usize = 100;

/// A change that is in memory only.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) rows: Vec<EntryChange>,
    pub(super) touched: Vec<Prefix>,
    pub(super) undo: Vec<(Prefix, ListId, Option<Member>)>,
    pub(super) report: ChangeReport,
    /// Where the change comes from, and the list where it is one.
    pub(super) cause: ListCause,
    pub(super) list: Option<ListName>,
    pub(super) new_v4: usize,
    pub(super) new_v6: usize,
    /// Entries that were refused because the table is full.
    pub(super) without_room: u64,
}

impl Draft {
    /// An empty one.
    pub(super) fn of(cause: ListCause, list: Option<ListName>) -> Self {
        Self {
            cause,
            list,
            ..Self::default()
        }
    }

    /// Counts a prefix that isn't taken, and spells out the first ones.
    pub(super) fn refuse(&mut self, prefix: &Prefix, why: String) {
        self.report.refused += 1;
        if self.report.refusals.len() < MAX_REFUSALS {
            self.report.refusals.push(Refusal {
                line: None,
                text: prefix.to_string(),
                why,
            });
        }
    }
}

/// How long one entry lasts, and why it is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) expires: Option<Timestamp>,
    pub(super) comment: Option<&'a str>,
}

/// Where entries go and until when.
pub(super) struct Target {
    pub(super) kind: ListKind,
    pub(super) name: ListName,
    pub(super) list: ListId,
    pub(super) expires: Option<Timestamp>,
    pub(super) comment: Option<String>,
    pub(super) force: bool,
    /// What a block must not hold, unless forced to.
    pub(super) protected: ProtectedPeers,
}

impl Target {
    pub(super) fn terms(&self) -> Terms<'_> {
        Terms {
            expires: self.expires,
            comment: self.comment.as_deref(),
        }
    }

    /// The same for another list.
    pub(super) fn of_list(&self, name: ListName, list: ListId) -> Self {
        Self {
            kind: self.kind,
            name,
            list,
            expires: self.expires,
            comment: self.comment.clone(),
            force: self.force,
            protected: self.protected.clone(),
        }
    }
}

impl Control {
    pub(super) fn target(
        &mut self,
        kind: ListKind,
        list: Option<ListName>,
        ttl: Option<Span>,
        comment: Option<String>,
        force: bool,
    ) -> Result<Target> {
        let name = match list {
            Some(name) => name,
            None => MANUAL.parse()?,
        };
        let list = self.list_to_change(&name)?;
        let expires = match ttl {
            Some(ttl) if ttl.is_zero() => {
                bail!("a time of zero ends at once: give a longer one, or none")
            }
            Some(ttl) => Some(round_up(Self::now().wall.checked_add(ttl.as_duration())?)?),
            None => None,
        };
        Ok(Target {
            kind,
            list,
            name,
            expires,
            comment,
            force,
            protected: match kind {
                ListKind::Block if !force => {
                    let protected = self.protected_peers();
                    refuse_unknown(&protected, "use --force if you know what it cuts off")?;
                    protected
                }
                ListKind::Block | ListKind::Allow => ProtectedPeers::default(),
            },
        })
    }

    /// The number of a list that may be changed by hand.
    pub(super) fn list_to_change(&mut self, name: &ListName) -> Result<ListId> {
        self.refuse_config_list(Some(name))?;
        if self.feeds.contains_key(name) {
            bail!("the list \"{name}\" keeps itself, by a [[list]] section: use another name");
        }
        Ok(self.names.id(name))
    }

    /// Adds or changes an entry; whether it was taken.
    pub(super) fn draft_put(
        &mut self,
        target: &Target,
        prefix: Prefix,
        terms: Terms<'_>,
        draft: &mut Draft,
    ) -> bool {
        if let Some(why) = self.refusal(target, &prefix, terms, draft) {
            draft.refuse(&prefix, why);
            return false;
        }
        let added = Timestamp::from_millisecond(Timestamp::now().as_millisecond())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let entries = self.entries(target.kind);
        let before = entries
            .members(&prefix)
            .iter()
            .find(|m| m.list == target.list)
            .cloned();
        // Saying nothing about the why leaves what somebody has said.
        let said = before.as_ref().and_then(|old| old.comment.as_deref());
        let comment = terms.comment.or(said).map(str::to_owned);
        let member = Member {
            list: target.list,
            expires: terms.expires,
            comment: comment.as_deref().map(Box::from),
            added: Some(added),
        };
        let covered = entries.is_covered(&prefix, terms.expires);
        let new_in_kernel = !covered && !entries.is_stored(&prefix);
        match entries.put(prefix, member) {
            Outcome::Unchanged => {
                draft.report.unchanged += 1;
                return true;
            }
            Outcome::Added => draft.report.added += 1,
            Outcome::Updated => draft.report.updated += 1,
        }
        if covered {
            draft.report.merged += 1;
        }
        if new_in_kernel {
            let new = if prefix.is_ipv4() {
                &mut draft.new_v4
            } else {
                &mut draft.new_v6
            };
            *new += 1;
        }
        draft.undo.push((prefix, target.list, before));
        draft.touched.push(prefix);
        draft.rows.push(EntryChange::Put(EntryRow {
            kind: target.kind,
            prefix,
            list: target.name.clone(),
            expires: terms.expires,
            comment,
            added,
        }));
        true
    }

    /// Why a prefix can't be added, if it can't.
    pub(super) fn refusal(
        &mut self,
        target: &Target,
        prefix: &Prefix,
        terms: Terms<'_>,
        draft: &mut Draft,
    ) -> Option<String> {
        if prefix.is_wide() && !target.force {
            let family = if prefix.is_ipv4() { "IPv4" } else { "IPv6" };
            let widest = prefix.widest();
            return Some(format!(
                "{family} prefixes wider than /{widest} need --force"
            ));
        }
        if target.kind == ListKind::Block
            && !target.force
            && let Some(what) = self.cuts_off(&target.protected, prefix)
        {
            return Some(format!(
                "it holds {what}, and would cut this host off: allow that first, or use --force"
            ));
        }
        let capacity = match target.kind {
            ListKind::Allow => self.config.capacity.allow,
            ListKind::Block => self.config.capacity.block,
        };
        let new = if prefix.is_ipv4() {
            draft.new_v4
        } else {
            draft.new_v6
        };
        let entries = self.entries(target.kind);
        let needs_room = !entries.is_stored(prefix) && !entries.is_covered(prefix, terms.expires);
        if needs_room && entries.stored(prefix.is_ipv4()) + new >= capacity as usize {
            draft.without_room += 1;
            let kind = target.kind.name();
            return Some(format!(
                "the table is full at {capacity} entries: raise capacity.{kind} and restart"
            ));
        }
        None
    }

    /// What a block of this prefix would cut the host off from, if anything that no allowlist saves.
    pub(in crate::control) fn cuts_off(
        &mut self,
        protected: &ProtectedPeers,
        prefix: &Prefix,
    ) -> Option<String> {
        let allow = self.entries(ListKind::Allow);
        let mut lost = protected
            .within(prefix)
            .filter(|peer| allow.covering(&peer.prefix).is_empty());
        lost.next().map(|peer| format!("{}, {peer}", peer.prefix))
    }

    pub(super) fn draft_take(
        &mut self,
        kind: ListKind,
        prefix: &Prefix,
        list: ListId,
        draft: &mut Draft,
    ) {
        let Some(member) = self.entries(kind).take(prefix, list) else {
            return;
        };
        draft.report.removed += 1;
        draft.undo.push((*prefix, list, Some(member)));
        draft.touched.push(*prefix);
        if let Some(name) = self.names.name(list) {
            draft
                .rows
                .push(EntryChange::Remove(kind, *prefix, name.clone()));
        }
    }

    /// Writes a draft to disk, or takes it back; then tells the kernel.
    pub(super) fn commit(
        &mut self,
        kind: ListKind,
        mut draft: Draft,
        started: Instant,
    ) -> Result<ChangeReport> {
        if let Err(error) = self.state.change_entries(&draft.rows) {
            self.take_back(kind, draft);
            return Err(error);
        }
        self.note_list_change(kind, &draft);
        let plan = self.entries(kind).settle(draft.touched);
        // What goes makes room for what the kernel refused before.
        self.retry_at = Instant::now();
        self.carry_out(kind, plan)?;
        draft.report.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(draft.report)
    }

    /// Puts memory back to what it was before a draft.
    pub(super) fn take_back(&mut self, kind: ListKind, draft: Draft) {
        for (prefix, list, before) in draft.undo.into_iter().rev() {
            self.entries(kind).take(&prefix, list);
            if let Some(member) = before {
                self.entries(kind).put(prefix, member);
            }
        }
    }

    fn note_list_change(&self, kind: ListKind, draft: &Draft) {
        let (added, updated) = (draft.report.added, draft.report.updated);
        let removed = draft.report.removed;
        if added + updated + removed == 0 {
            return;
        }
        let prefix = match draft.touched.as_slice() {
            [only] => Some(*only),
            _several => None,
        };
        self.note(Happening::List(ListChanged {
            table: kind,
            list: draft.list.as_ref().map(ListName::to_string),
            cause: draft.cause,
            added,
            updated,
            removed,
            prefix,
        }));
    }
}

/// A guard that could not look holds nothing back, so it holds back everything.
pub(in crate::control) fn refuse_unknown(protected: &ProtectedPeers, next: &str) -> Result<()> {
    if protected.unknown.is_empty() {
        return Ok(());
    }
    bail!(
        "what must stay reachable could not be found out ({}), so that a block might cut this host \
         off: {next}",
        protected.unknown.join("; ")
    )
}

/// To the millisecond, as it is on disk, and never earlier: what was asked for lasts as long.
pub(super) fn round_up(at: Timestamp) -> Result<Timestamp> {
    let round = TimestampRound::new()
        .smallest(Unit::Millisecond)
        .mode(RoundMode::Ceil);
    Ok(at.round(round)?)
}
