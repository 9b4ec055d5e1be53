//! Adding, removing, importing and listing entries.
//!
//! A change goes through memory, then disk, then the kernel. If the disk refuses, memory is put
//! back and nothing has changed; if the kernel refuses, the entry is on disk and is tried again.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::Control;
use super::entries::{ListId, Member, Outcome, Plan};
use super::names::{CONFIG, MANUAL};
use crate::api::types::{
    AddEntries, ChangeReport, EntryPage, EntryQuery, EntryView, FlushEntries, ImportQuery,
    ListKind, Refusal, RemoveEntries,
};
use crate::datapath::DatapathError;
use crate::domain::{ListName, Prefix, Span};
use crate::lists::ParsedList;
use crate::state::{EntryChange, EntryRow};

/// Narrowest prefix lengths that need no force (IPv4, IPv6).
const WIDE: (u8, u8) = (8, 16);
const MAX_COMMENT: usize = 200;
const MAX_PAGE: u64 = 10_000;
const DEFAULT_PAGE: u64 = 1_000;
/// Refusals that a report spells out.
const MAX_REFUSALS: usize = 100;

/// A change that is in memory only.
#[derive(Default)]
struct Draft {
    rows: Vec<EntryChange>,
    touched: Vec<Prefix>,
    undo: Vec<(Prefix, ListId, Option<Member>)>,
    report: ChangeReport,
    new_v4: usize,
    new_v6: usize,
}

/// Where entries go and until when.
struct Target {
    kind: ListKind,
    name: ListName,
    list: ListId,
    expires: Option<Timestamp>,
    comment: Option<String>,
    force: bool,
}

impl Control {
    /// Adds prefixes to a list.
    pub fn add_entries(&mut self, kind: ListKind, request: AddEntries) -> Result<ChangeReport> {
        let started = Instant::now();
        if request
            .comment
            .as_ref()
            .is_some_and(|c| c.chars().count() > MAX_COMMENT)
        {
            bail!("the comment is longer than {MAX_COMMENT} characters: shorten it");
        }
        let target = self.target(
            kind,
            request.list,
            request.ttl,
            request.comment,
            request.force,
        )?;
        let mut draft = Draft::default();
        for prefix in request.prefixes {
            self.draft_put(&target, prefix, &mut draft);
        }
        self.commit(kind, draft, started)
    }

    /// Adds what a text held to a list, and with `replace` removes from the list what it didn't.
    pub fn import(&mut self, query: ImportQuery, parsed: ParsedList) -> Result<ChangeReport> {
        let started = Instant::now();
        let kind = ListKind::Block;
        let target = self.target(kind, query.list, query.ttl, None, query.force)?;
        let mut draft = Draft::default();
        draft.report.refused = parsed.refused_count();
        draft.report.duplicates = parsed.duplicates;
        draft
            .report
            .refusals
            .extend(parsed.refused.iter().map(|r| Refusal {
                line: Some(r.line),
                text: r.text.clone(),
                why: r.reason.to_string(),
            }));
        if query.replace {
            let kept: BTreeSet<&Prefix> = parsed.entries.iter().collect();
            for prefix in self.prefixes_of(kind, target.list) {
                if !kept.contains(&prefix) {
                    self.draft_take(kind, &prefix, target.list, &mut draft);
                }
            }
        }
        for prefix in &parsed.entries {
            self.draft_put(&target, *prefix, &mut draft);
        }
        self.commit(kind, draft, started)
    }

    /// Removes prefixes from a list, or from all but the configuration's.
    pub fn remove_entries(
        &mut self,
        kind: ListKind,
        request: &RemoveEntries,
    ) -> Result<ChangeReport> {
        let started = Instant::now();
        self.refuse_config_list(request.list.as_ref())?;
        let only = request.list.as_ref().map(|name| self.names.id(name));
        let mut draft = Draft::default();
        for prefix in &request.prefixes {
            let lists = self.removable(kind, prefix, only);
            if lists.is_empty() {
                draft.report.missing.push(self.why_missing(kind, prefix));
            }
            for list in lists {
                self.draft_take(kind, prefix, list, &mut draft);
            }
        }
        self.commit(kind, draft, started)
    }

    /// Empties a list, or all but the configuration's.
    pub fn flush_entries(
        &mut self,
        kind: ListKind,
        request: &FlushEntries,
    ) -> Result<ChangeReport> {
        let started = Instant::now();
        self.refuse_config_list(request.list.as_ref())?;
        let only = request.list.as_ref().map(|name| self.names.id(name));
        let config = self.config_list()?;
        let all: Vec<(Prefix, ListId)> = self
            .entries(kind)
            .iter()
            .flat_map(|(prefix, members)| members.iter().map(move |m| (prefix, m.list)))
            .filter(|(_, list)| *list != config && only.is_none_or(|only| *list == only))
            .collect();
        let mut draft = Draft::default();
        for (prefix, list) in all {
            self.draft_take(kind, &prefix, list, &mut draft);
        }
        self.commit(kind, draft, started)
    }

    /// A page of entries with their hits.
    pub fn list_entries(&mut self, kind: ListKind, query: &EntryQuery) -> Result<EntryPage> {
        let limit = query.limit.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE);
        let only = match &query.list {
            Some(name) => match self.names.find(name) {
                Some(id) => Some(id),
                None => {
                    return Ok(EntryPage {
                        entries: Vec::new(),
                        total: 0,
                    });
                }
            },
            None => None,
        };
        let matches = |prefix: &Prefix| {
            query
                .matching
                .is_none_or(|m| m.covers(prefix) || prefix.covers(&m))
        };
        let (mut page, mut total) = (Vec::new(), 0u64);
        for (prefix, members) in self
            .entries(kind)
            .iter()
            .filter(|(prefix, _)| matches(prefix))
        {
            for member in members
                .iter()
                .filter(|m| only.is_none_or(|only| m.list == only))
            {
                if total >= query.offset && total - query.offset < limit {
                    page.push((prefix, member.clone()));
                }
                total += 1;
            }
        }
        let entries = page
            .into_iter()
            .map(|(prefix, member)| self.view(kind, prefix, member))
            .collect::<Result<_>>()?;
        Ok(EntryPage { entries, total })
    }

    fn view(&mut self, kind: ListKind, prefix: Prefix, member: Member) -> Result<EntryView> {
        let stored = self.entries(kind).is_stored(&prefix);
        let hits = if stored {
            self.datapath.entry(kind, &prefix)?
        } else {
            None
        };
        Ok(EntryView {
            prefix,
            list: self.list_name(member.list)?,
            expires: member.expires,
            comment: member.comment.map(String::from),
            added: member.added,
            packets: hits.map(|e| e.packets),
            bytes: hits.map(|e| e.bytes),
        })
    }

    fn target(
        &mut self,
        kind: ListKind,
        list: Option<ListName>,
        ttl: Option<Span>,
        comment: Option<String>,
        force: bool,
    ) -> Result<Target> {
        self.refuse_config_list(list.as_ref())?;
        let name = match list {
            Some(name) => name,
            None => MANUAL.parse()?,
        };
        let expires = match ttl {
            Some(ttl) if ttl.is_zero() => {
                bail!("a time of zero ends at once: give a longer one, or none")
            }
            Some(ttl) => Some(truncate(Self::now().wall.checked_add(ttl.as_duration())?)?),
            None => None,
        };
        Ok(Target {
            kind,
            list: self.names.id(&name),
            name,
            expires,
            comment,
            force,
        })
    }

    fn draft_put(&mut self, target: &Target, prefix: Prefix, draft: &mut Draft) {
        if let Some(why) = self.refusal(target, &prefix, draft) {
            draft.report.refused += 1;
            if draft.report.refusals.len() < MAX_REFUSALS {
                draft.report.refusals.push(Refusal {
                    line: None,
                    text: prefix.to_string(),
                    why,
                });
            }
            return;
        }
        let added = Timestamp::from_millisecond(Timestamp::now().as_millisecond())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let member = Member {
            list: target.list,
            expires: target.expires,
            comment: target.comment.as_deref().map(Box::from),
            added: Some(added),
        };
        let entries = self.entries(target.kind);
        let before = entries
            .members(&prefix)
            .iter()
            .find(|m| m.list == target.list)
            .cloned();
        let covered = entries.is_covered(&prefix, target.expires);
        let new_in_kernel = !covered && !entries.is_stored(&prefix);
        match entries.put(prefix, member) {
            Outcome::Unchanged => {
                draft.report.unchanged += 1;
                return;
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
            expires: target.expires,
            comment: target.comment.clone(),
            added,
        }));
    }

    /// Why a prefix can't be added, if it can't.
    fn refusal(&mut self, target: &Target, prefix: &Prefix, draft: &Draft) -> Option<String> {
        let (narrowest, other) = if prefix.is_ipv4() {
            (WIDE.0, "IPv4")
        } else {
            (WIDE.1, "IPv6")
        };
        if prefix.prefix_len() < narrowest && !target.force {
            return Some(format!(
                "{other} prefixes wider than /{narrowest} need --force"
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
        let needs_room = !entries.is_stored(prefix) && !entries.is_covered(prefix, target.expires);
        if needs_room && entries.stored(prefix.is_ipv4()) + new >= capacity as usize {
            let kind = target.kind.name();
            return Some(format!(
                "the table is full at {capacity} entries: raise capacity.{kind} and restart"
            ));
        }
        None
    }

    fn draft_take(&mut self, kind: ListKind, prefix: &Prefix, list: ListId, draft: &mut Draft) {
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
    fn commit(
        &mut self,
        kind: ListKind,
        mut draft: Draft,
        started: Instant,
    ) -> Result<ChangeReport> {
        if let Err(error) = self.state.change_entries(&draft.rows) {
            for (prefix, list, before) in draft.undo.into_iter().rev() {
                self.entries(kind).take(&prefix, list);
                if let Some(member) = before {
                    self.entries(kind).put(prefix, member);
                }
            }
            return Err(error);
        }
        let plan = self.entries(kind).settle(draft.touched);
        self.carry_out(kind, plan)?;
        draft.report.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(draft.report)
    }

    /// Tells the kernel what comes and then what goes, so that no packet finds a gap.
    pub(super) fn carry_out(&mut self, kind: ListKind, plan: Plan) -> Result<()> {
        let now = Self::now();
        let mut refused: Option<DatapathError> = None;
        for (prefix, stored) in plan.put {
            let expires_ns = stored.expires.map_or(0, |at| now.to_boot_ns(at));
            if let Err(error) = self
                .datapath
                .put_entry(kind, &prefix, expires_ns, stored.list)
            {
                self.entries(kind).forget_stored(&prefix);
                self.unsettled.push((kind, prefix));
                refused.get_or_insert(error);
            }
        }
        for prefix in plan.remove {
            self.datapath.remove_entry(kind, &prefix)?;
        }
        match refused {
            Some(error) => Err(anyhow::Error::new(error).context(format!(
                "{} entries are on disk but not in the kernel yet; the daemon goes on trying",
                self.unsettled.len()
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn retry_unsettled(&mut self) -> Result<()> {
        for (kind, prefix) in std::mem::take(&mut self.unsettled) {
            let plan = self.entries(kind).settle([prefix]);
            self.carry_out(kind, plan)?;
        }
        Ok(())
    }

    /// Entries that have ended go from memory, disk and kernel.
    pub(super) fn sweep_entries(&mut self) -> Result<()> {
        let now = Timestamp::now();
        for kind in [ListKind::Allow, ListKind::Block] {
            let ended = self.entries(kind).ended(now);
            if ended.is_empty() {
                continue;
            }
            let mut draft = Draft::default();
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
    pub(super) fn restore_entries(&mut self) -> Result<()> {
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
            self.carry_out(kind, plan)?;
        }
        Ok(())
    }

    /// Changes the configuration's own entries from one set to another.
    pub(super) fn change_config_entries(
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
        let plan = self.entries(kind).settle(from.iter().chain(to).copied());
        self.carry_out(kind, plan)
    }

    fn removable(&mut self, kind: ListKind, prefix: &Prefix, only: Option<ListId>) -> Vec<ListId> {
        let config = CONFIG.parse().ok().and_then(|name| self.names.find(&name));
        let members = self.entries(kind).members(prefix).iter().map(|m| m.list);
        members
            .filter(|list| Some(*list) != config && only.is_none_or(|only| *list == only))
            .collect()
    }

    fn why_missing(&mut self, kind: ListKind, prefix: &Prefix) -> String {
        let in_config = !self.entries(kind).members(prefix).is_empty();
        let covering = self
            .entries(kind)
            .covering(prefix)
            .iter()
            .map(|(wider, _)| wider.to_string())
            .next();
        match (in_config, covering) {
            (true, _) => format!(
                "{prefix}: it stands in the config file or in another list; change it there"
            ),
            (false, Some(wider)) => format!("{prefix}: not there by itself; {wider} covers it"),
            (false, None) => format!("{prefix}: not there"),
        }
    }

    fn prefixes_of(&mut self, kind: ListKind, list: ListId) -> Vec<Prefix> {
        let holds = |members: &[Member]| members.iter().any(|m| m.list == list);
        self.entries(kind)
            .iter()
            .filter(|(_, members)| holds(members))
            .map(|(prefix, _)| prefix)
            .collect()
    }

    fn config_list(&mut self) -> Result<ListId> {
        Ok(self.names.id(&CONFIG.parse()?))
    }

    fn refuse_config_list(&self, list: Option<&ListName>) -> Result<()> {
        if list.is_some_and(|name| name.as_str() == CONFIG) {
            bail!("the list \"{CONFIG}\" is what the config file says: change it there and reload");
        }
        Ok(())
    }

    pub(super) fn list_name(&self, list: ListId) -> Result<ListName> {
        match self.names.name(list) {
            Some(name) => Ok(name.clone()),
            None => Ok(MANUAL.parse()?),
        }
    }
}

/// To the millisecond, as it is on disk.
fn truncate(at: Timestamp) -> Result<Timestamp> {
    Ok(Timestamp::from_millisecond(at.as_millisecond())?)
}
