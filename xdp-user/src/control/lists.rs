//! Adding, removing, importing and listing entries.
//!
//! A change goes through memory, then disk, then the kernel. If the disk refuses, memory is put
//! back and nothing has changed; if the kernel refuses, the entry is on disk and is tried again.

mod draft;
mod settle;

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, bail};

use super::Control;
use super::entries::{ListId, Member};
use super::names::{CONFIG, MANUAL};
use crate::api::types::{
    AddEntries, ChangeReport, EntryPage, EntryQuery, EntryView, FlushEntries, ImportQuery,
    ListCause, ListKind, Refusal, RemoveEntries,
};
use crate::domain::{ListName, Prefix};
use crate::lists::ParsedList;
use draft::Draft;
pub(super) use draft::refuse_unknown;

const MAX_COMMENT: usize = 200;
const MAX_PAGE: u64 = 10_000;
const DEFAULT_PAGE: u64 = 1_000;

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
        let mut draft = Draft::of(ListCause::Request, Some(target.name.clone()));
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
        let mut draft = Draft::of(ListCause::Import, Some(target.name.clone()));
        draft.report.refused = parsed.refused_count();
        draft.report.duplicates = parsed.duplicates;
        draft.report.private = parsed.private;
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
        let mut draft = Draft::of(ListCause::Request, request.list.clone());
        for prefix in &request.prefixes {
            let lists = self.removable(kind, prefix, request.list.as_ref());
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
        let only = match &request.list {
            Some(name) => match self.names.find(name) {
                Some(id) => Some(id),
                None => return Ok(ChangeReport::default()),
            },
            None => None,
        };
        let all: Vec<(Prefix, ListId)> = self
            .entries(kind)
            .iter()
            .flat_map(|(prefix, members)| {
                let removable = members.iter().filter(|m| m.added.is_some());
                removable.map(move |m| (prefix, m.list))
            })
            .filter(|(_, list)| only.is_none_or(|only| *list == only))
            .collect();
        let mut draft = Draft::of(ListCause::Flush, request.list.clone());
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

    /// Lists that a prefix can be removed from: the one asked for, or all but the configuration's.
    fn removable(
        &mut self,
        kind: ListKind,
        prefix: &Prefix,
        only: Option<&ListName>,
    ) -> Vec<ListId> {
        let asked = only.map(|name| self.names.find(name));
        // Without a time of adding: the configuration's own, and those of lists that keep themselves.
        let members = self.entries(kind).members(prefix).iter();
        members
            .filter(|m| m.added.is_some() && asked.is_none_or(|asked| asked == Some(m.list)))
            .map(|m| m.list)
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
                "{prefix}: it stands in the config file, in a list that keeps itself, or in another list; change it there"
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
