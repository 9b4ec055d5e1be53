//! Imports: a whole text of entries at once, into one list, or into those that an export names.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;

use super::draft::{Draft, Target, Terms, refuse_unknown, round_up};
use super::guard::{ImportRefused, Proposal, suspicious, too_wide_to_allow};
use crate::api::types::{ChangeReport, ImportQuery, ListCause, ListKind, NamedCount, Refusal};
use crate::control::Control;
use crate::domain::{Prefix, SkipKind};
use crate::host::ProtectedPeers;
use crate::lists::ParsedList;
use crate::lists::export::{Export, Restored};
use crate::lists::guard::{BadLine, Suspicion, Tally};

/// A text that was read.
#[derive(Debug)]
pub enum ImportText {
    /// Addresses.
    Plain(ParsedList),
    /// Entries with their lists, ends and comments.
    Export(Export),
}

impl From<ParsedList> for ImportText {
    fn from(parsed: ParsedList) -> Self {
        Self::Plain(parsed)
    }
}

impl From<Export> for ImportText {
    fn from(export: Export) -> Self {
        Self::Export(export)
    }
}

impl ImportText {
    fn tally(&self) -> Tally {
        match self {
            Self::Plain(parsed) => Tally::of(parsed),
            Self::Export(export) => Tally {
                readable: export.entries.len() as u64,
                unreadable: export.refused,
                first: export.refusals.first().map(|one| BadLine {
                    number: one.line.unwrap_or(0),
                    text: one.text.clone(),
                }),
                why_empty: None,
            },
        }
    }

    /// What is known of the text before any entry is tried.
    fn report(&mut self) -> ChangeReport {
        match self {
            Self::Plain(parsed) => ChangeReport {
                refused: parsed.refused_count(),
                duplicates: parsed.duplicates,
                private: parsed.private,
                ended: parsed.ended,
                skipped: parsed
                    .left_out()
                    .into_iter()
                    .filter(|(name, _)| *name != "ended")
                    .map(|(name, count)| NamedCount {
                        name: name.to_owned(),
                        count,
                    })
                    .collect(),
                refusals: parsed
                    .refused
                    .iter()
                    .map(|one| Refusal {
                        line: Some(one.line),
                        text: one.text.clone(),
                        why: one.reason.to_string(),
                    })
                    .collect(),
                ..ChangeReport::default()
            },
            Self::Export(export) => ChangeReport {
                refused: export.refused,
                refusals: std::mem::take(&mut export.refusals),
                ..ChangeReport::default()
            },
        }
    }

    fn prefixes(&self) -> Box<dyn Iterator<Item = (usize, Prefix)> + '_> {
        match self {
            Self::Plain(parsed) => Box::new(parsed.entries.iter().map(|prefix| (0, *prefix))),
            Self::Export(export) => {
                Box::new(export.entries.iter().map(|row| (row.list, row.prefix)))
            }
        }
    }

    fn into_rows(self) -> Box<dyn Iterator<Item = Restored>> {
        match self {
            Self::Plain(parsed) => {
                let mut details = parsed.details;
                Box::new(parsed.entries.into_iter().map(move |prefix| {
                    let detail = details.remove(&prefix).unwrap_or_default();
                    Restored {
                        prefix,
                        list: 0,
                        expires: detail.expires,
                        comment: detail.comment,
                    }
                }))
            }
            Self::Export(export) => Box::new(export.entries.into_iter()),
        }
    }
}

impl Control {
    /// Adds what a text held to a list, or to the lists that an export names, and with `replace`
    /// removes from them what it didn't hold.
    pub fn import(
        &mut self,
        kind: ListKind,
        query: ImportQuery,
        text: impl Into<ImportText>,
    ) -> Result<ChangeReport> {
        let started = Instant::now();
        let mut text = text.into();
        let is_export = matches!(text, ImportText::Export(_));
        let mut ended = 0;
        if let ImportText::Export(export) = &mut text {
            ended = adjust(export, &query)?;
        }
        let targets = self.import_targets(kind, &query, &text)?;
        let tally = text.tally();
        if !query.force
            && let Some(target) = targets.first()
        {
            let readable = tally.check_readable();
            readable.map_err(|suspicion| suspicious(&target.name, suspicion))?;
        }
        let list = match targets.as_slice() {
            [only] => Some(only.name.clone()),
            _several => None,
        };
        let mut draft = Draft::of(ListCause::Import, list);
        draft.report = text.report();
        draft.report.ended += ended;
        if query.replace {
            self.draft_replacement(kind, &query, &text, &targets, &tally, &mut draft)?;
        }
        let is_strict = kind == ListKind::Allow && !is_export && !query.force;
        let skips_own = kind == ListKind::Block
            && query
                .skip
                .as_ref()
                .is_some_and(|skip| skip.as_slice().contains(&SkipKind::Own));
        let own_peers = match skips_own {
            true => self.protected_peers(),
            false => ProtectedPeers::default(),
        };
        refuse_unknown(&own_peers, "leave `own` out of --skip")?;
        let mut own_skipped = 0;
        let mut taken = vec![false; targets.len()];
        for row in text.into_rows() {
            if skips_own && self.cuts_off(&own_peers, &row.prefix).is_some() {
                own_skipped += 1;
                continue;
            }
            let (Some(target), Some(taken)) = (targets.get(row.list), taken.get_mut(row.list))
            else {
                continue;
            };
            let too_wide = || too_wide_to_allow(&row.prefix);
            if let Some(why) = is_strict.then(too_wide).flatten() {
                draft.refuse(&row.prefix, why);
                continue;
            }
            let own = target.terms();
            let terms = Terms {
                expires: own.expires.or(row.expires),
                comment: row.comment.as_deref(),
            };
            *taken |= self.draft_put(target, row.prefix, terms, &mut draft);
        }
        if own_skipped > 0 {
            draft.report.skipped.push(NamedCount {
                name: SkipKind::Own.name().to_owned(),
                count: own_skipped,
            });
        }
        if query.replace
            && let Some(refused) = replaced_by_nothing(kind, &query, &targets, &taken, &draft)
        {
            self.take_back(kind, draft);
            return Err(refused.into());
        }
        self.commit(kind, draft, started)
    }

    /// Where the entries go: one target for each list of the text.
    fn import_targets(
        &mut self,
        kind: ListKind,
        query: &ImportQuery,
        text: &ImportText,
    ) -> Result<Vec<Target>> {
        let names = match (text, &query.list) {
            (ImportText::Export(export), None) if !export.lists.is_empty() => &export.lists[..],
            (ImportText::Plain(_) | ImportText::Export(_), _) => &[],
        };
        let mut others = names.iter();
        let first = others.next().or(query.list.as_ref()).cloned();
        let first = self.target(kind, first, query.ttl, None, query.force)?;
        let mut targets = vec![first];
        for name in others {
            let list = self.list_to_change(name)?;
            let like = targets
                .first()
                .map(|first| first.of_list(name.clone(), list));
            targets.extend(like);
        }
        Ok(targets)
    }

    /// Takes out of the lists what the text doesn't have, if the text passes the guards.
    fn draft_replacement(
        &mut self,
        kind: ListKind,
        query: &ImportQuery,
        text: &ImportText,
        targets: &[Target],
        tally: &Tally,
        draft: &mut Draft,
    ) -> Result<()> {
        let mut entries: Vec<BTreeSet<Prefix>> = vec![BTreeSet::new(); targets.len()];
        for (index, prefix) in text.prefixes() {
            if let Some(entries) = entries.get_mut(index) {
                entries.insert(prefix);
            }
        }
        // All of them are checked before the first one changes.
        for (target, entries) in targets.iter().zip(&entries) {
            if !query.force {
                let entries: Vec<Prefix> = entries.iter().copied().collect();
                let proposal = Proposal {
                    name: &target.name,
                    list: target.list,
                    entries: &entries,
                };
                self.check_replacement(kind, &proposal, tally)?;
            }
        }
        for (target, entries) in targets.iter().zip(&entries) {
            for prefix in self.prefixes_of(kind, target.list) {
                if !entries.contains(&prefix) {
                    self.draft_take(kind, &prefix, target.list, draft);
                }
            }
        }
        Ok(())
    }
}

/// Why a replacement isn't carried out whose entries were tried: some have no room, or every one of a
/// list was refused.
fn replaced_by_nothing(
    kind: ListKind,
    query: &ImportQuery,
    targets: &[Target],
    taken: &[bool],
    draft: &Draft,
) -> Option<ImportRefused> {
    if draft.without_room > 0 {
        return Some(ImportRefused::Full(draft.without_room, kind));
    }
    let mut lists = targets.iter().zip(taken).filter(|(_, taken)| !**taken);
    let (target, _) = lists.next().filter(|_| !query.force)?;
    let first = draft.report.refusals.first().map(|one| BadLine {
        number: one.line.unwrap_or(0),
        text: format!("{}: {}", one.text, one.why),
    });
    let none = Suspicion::NoneTaken { first };
    Some(suspicious(&target.name, none))
}

/// Brings an export to what the request asks for: one list in place of several, one end in place of
/// many. Leaves out what has ended, and returns how many entries that were.
fn adjust(export: &mut Export, query: &ImportQuery) -> Result<u64> {
    if query.list.is_some() {
        export.lists.clear();
        export.entries.iter_mut().for_each(|row| row.list = 0);
    }
    let before = export.entries.len();
    if query.ttl.is_none() {
        let now = Timestamp::now();
        let lasts = |row: &Restored| row.expires.is_none_or(|end| end > now);
        export.entries.retain(lasts);
    }
    for row in &mut export.entries {
        row.expires = match (query.ttl, row.expires) {
            (None, Some(end)) => Some(round_up(end)?),
            (Some(_), _) | (None, None) => None,
        };
    }
    Ok((before - export.entries.len()) as u64)
}
