//! Adding, removing, importing and listing entries.
//!
//! A change goes through memory, then disk, then the kernel. If the disk refuses, memory is put
//! back and nothing has changed; if the kernel refuses, the entry is on disk and is tried again.

mod draft;
pub(super) mod export;
pub(super) mod guard;
pub(super) mod import;
mod settle;
pub(super) mod test;

use std::time::Instant;

use anyhow::{Result, bail};

use super::Control;
use super::entries::{ListId, Member};
use super::names::{CONFIG, MANUAL};
use crate::api::types::{
    AddEntries, ChangeReport, EntryPage, EntryQuery, EntryView, FlushEntries, HostBitsCut,
    ListCause, ListKind, RemoveEntries,
};
use crate::domain::{GivenPrefix, ListName, Prefix};
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
        for given in &request.prefixes {
            note_cut(given, &mut draft.report);
            self.draft_put(&target, given.prefix(), target.terms(), &mut draft);
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
        for given in &request.prefixes {
            note_cut(given, &mut draft.report);
            let prefix = &given.prefix();
            let lists = self.removable(kind, prefix, request.list.as_ref());
            if lists.is_empty() {
                match self.why_fixed(kind, prefix, request.list.as_ref()) {
                    Some(why) => draft.refuse(prefix, why),
                    None => {
                        let why = self.why_missing(kind, prefix, request.list.as_ref());
                        draft.report.missing.push(why);
                    }
                }
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
                .as_ref()
                .map(GivenPrefix::prefix)
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

    /// Why a prefix that is there can't be removed: whoever put it there would put it there again.
    fn why_fixed(
        &mut self,
        kind: ListKind,
        prefix: &Prefix,
        only: Option<&ListName>,
    ) -> Option<String> {
        let asked = only.map(|name| self.names.find(name));
        let is_there = |member: &Member| asked.is_none_or(|asked| asked == Some(member.list));
        let member = self
            .entries(kind)
            .members(prefix)
            .iter()
            .find(|m| is_there(m));
        let list = member?.list;
        let name = self.names.name(list)?;
        Some(match name.as_str() == CONFIG {
            true => "it stands in the configuration: change it there, and reload".to_owned(),
            false => {
                format!("the [[list]] section \"{name}\" has it: change its source, or allow it")
            }
        })
    }

    /// What is there in the place of a prefix that isn't.
    fn why_missing(&mut self, kind: ListKind, prefix: &Prefix, only: Option<&ListName>) -> String {
        let of_others: Vec<ListId> = self
            .entries(kind)
            .members(prefix)
            .iter()
            .map(|m| m.list)
            .collect();
        let of_others: Vec<&str> = of_others
            .iter()
            .filter_map(|list| self.names.name(*list))
            .map(ListName::as_str)
            .collect();
        if let (Some(name), false) = (only, of_others.is_empty()) {
            let lists = of_others.join(", ");
            return format!("{prefix}: not in the list {name}, but in {lists}");
        }
        let covering = self
            .entries(kind)
            .covering(prefix)
            .iter()
            .map(|(wider, _)| wider.to_string())
            .next();
        match covering {
            Some(wider) => format!("{prefix}: not by itself, but {wider} covers it"),
            None => prefix.to_string(),
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

/// Host bits that an answer spells out.
const MAX_CUTS: usize = 100;

fn note_cut(given: &GivenPrefix, report: &mut ChangeReport) {
    if let Some(text) = given.cut_from()
        && report.host_bits_cut.len() < MAX_CUTS
    {
        report.host_bits_cut.push(HostBitsCut {
            given: text.to_owned(),
            prefix: given.prefix(),
        });
    }
}
