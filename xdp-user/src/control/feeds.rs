//! Lists that keep themselves, as the control task sees them: what is held, when to ask, what became
//! of it. The text itself is read elsewhere ([`crate::feeds`]).
//!
//! Their entries are members without a time of adding, as the configuration's own are; what an
//! operator added to a list of the same name before it kept itself stays as it is. They aren't in
//! the database: the copy of the text is what outlives the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;

use super::Control;
use super::entries::Member;
use crate::api::types::{
    Happening, KeptListStatus, ListCause, ListChanged, ListFailure, ListKind, NamedCount,
};
use crate::config::{Config, KeptList};
use crate::domain::{ListName, Prefix};
use crate::feeds::copy::{self, Meta};
use crate::feeds::{self, FeedCause, FeedError, Fetched, Job, Parsed, difference, next_try};
use crate::host::ProtectedPeers;
use crate::lists::Refused;

/// Refused lines that are kept of each list.
const REFUSALS: usize = 20;

/// Beyond a fetch's own timeout: waiting for its turn, parsing, and being put in force.
const GRACE: Duration = Duration::from_secs(600);

/// One list that keeps itself.
#[derive(Debug)]
pub(super) struct Feed {
    list: KeptList,
    held: Arc<Vec<Prefix>>,
    /// Of the entries that end.
    ends: Arc<BTreeMap<Prefix, Timestamp>>,
    meta: Option<Meta>,
    format: Option<&'static str>,
    confirmed: Option<Timestamp>,
    tried: Option<Timestamp>,
    next_try: Timestamp,
    /// When a fetch began that hasn't told yet what became of it.
    running: Option<Timestamp>,
    /// The next text may be another one altogether: the source changed.
    accept_any: bool,
    last_error: Option<FeedError>,
    failures_in_a_row: u32,
    failures: BTreeMap<FeedCause, u64>,
    refused: u64,
    refusals: Vec<Refused>,
    skipped: BTreeMap<&'static str, u64>,
    left_out: u64,
}

impl Feed {
    fn new(list: KeptList) -> Self {
        Self {
            list,
            held: Arc::default(),
            ends: Arc::default(),
            meta: None,
            format: None,
            confirmed: None,
            tried: None,
            next_try: Timestamp::now(),
            running: None,
            accept_any: false,
            last_error: None,
            failures_in_a_row: 0,
            failures: BTreeMap::new(),
            refused: 0,
            refusals: Vec::new(),
            skipped: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// A fetch whose end nobody heard of, as the task was too busy, is over as well.
    fn is_running(&self, now: Timestamp) -> bool {
        let longest = self.list.timeout.as_duration() + GRACE;
        let end = |began: Timestamp| began.checked_add(longest).unwrap_or(Timestamp::MAX);
        self.running.is_some_and(|began| now < end(began))
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        let after = self.list.stale_after.as_duration();
        let until = |at: Timestamp| at.checked_add(after).unwrap_or(Timestamp::MAX);
        self.confirmed.is_none_or(|at| until(at) < now)
    }

    fn hold(&mut self, parsed: Parsed) {
        self.confirmed = Some(parsed.meta.fetched);
        self.meta = Some(parsed.meta);
        self.format = Some(parsed.format);
        self.refused = parsed.refused;
        self.refusals = parsed.refusals.into_iter().take(REFUSALS).collect();
        self.skipped = parsed.skipped;
        self.left_out = parsed.left_out;
        self.ends = Arc::new(parsed.ends);
        self.accept_any = false;
        self.held = Arc::new(parsed.entries);
    }

    fn fail(&mut self, error: FeedError, now: Timestamp) {
        let new = self.last_error.as_ref().map(|last| last.cause) != Some(error.cause);
        if new {
            let cause = error.cause.name();
            tracing::warn!(list = %self.list.name, cause, "the list stays as it is: {error}");
        }
        *self.failures.entry(error.cause).or_default() += 1;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.next_try = next_try(&self.list, self.failures_in_a_row, now);
        self.last_error = Some(error);
    }

    fn status(&self, now: Timestamp) -> KeptListStatus {
        KeptListStatus {
            name: self.list.name.clone(),
            kind: self.list.kind,
            source: self.list.source.to_string(),
            format: self.format.map(str::to_owned),
            entries: self.held.len() as u64,
            fetched: self.meta.as_ref().map(|meta| meta.fetched),
            confirmed: self.confirmed,
            tried: self.tried,
            next_try: self.next_try,
            running: self.is_running(now),
            stale: self.is_stale(now),
            sha256: self.meta.as_ref().map(|meta| meta.sha256.clone()),
            last_error: self.last_error.as_ref().map(|error| ListFailure {
                cause: error.cause.name().to_owned(),
                text: error.text.clone(),
            }),
            failures: FeedCause::ALL
                .into_iter()
                .map(|cause| NamedCount {
                    name: cause.name().to_owned(),
                    count: self.failures.get(&cause).copied().unwrap_or(0),
                })
                .collect(),
            refused: self.refused,
            refusals: self.refusals.clone(),
            skipped: self
                .skipped
                .iter()
                .map(|(name, count)| NamedCount {
                    name: (*name).to_owned(),
                    count: *count,
                })
                .collect(),
            left_out: self.left_out,
        }
    }
}

impl Control {
    /// Every list that keeps itself.
    pub fn kept_lists(&self) -> Vec<KeptListStatus> {
        let now = Timestamp::now();
        self.feeds.values().map(|feed| feed.status(now)).collect()
    }

    /// What is to be fetched now.
    pub fn due_feeds(&mut self, now: Timestamp) -> Vec<Job> {
        let due = self.feeds.values();
        let due = due.filter(|feed| !feed.is_running(now) && feed.next_try <= now);
        let due: Vec<ListName> = due.map(|feed| feed.list.name.clone()).collect();
        self.begin(&due, false)
    }

    /// What somebody asks to fetch: a list, or all of them.
    pub fn asked_feeds(&mut self, name: Option<&ListName>, force: bool) -> Result<Vec<Job>> {
        let names: Vec<ListName> = match name {
            None => self.feeds.keys().cloned().collect(),
            Some(name) => {
                let feed = self.feeds.get(name).with_context(|| unknown(name))?;
                ensure!(
                    !feed.is_running(Timestamp::now()),
                    "{name} is being refreshed: try again in a moment"
                );
                vec![name.clone()]
            }
        };
        Ok(self.begin(&names, force))
    }

    /// What to fetch to see what would change.
    pub fn feed_to_look_at(&mut self, name: &ListName) -> Result<Job> {
        let feed = self.feeds.get(name).with_context(|| unknown(name))?;
        let (list, held) = (feed.list.clone(), feed.held.clone());
        let mut job = self.job(list, held);
        job.dry = true;
        Ok(job)
    }

    fn begin(&mut self, names: &[ListName], force: bool) -> Vec<Job> {
        let now = Timestamp::now();
        let mut jobs = Vec::new();
        for name in names {
            let Some(feed) = self
                .feeds
                .get_mut(name)
                .filter(|feed| !feed.is_running(now))
            else {
                continue;
            };
            feed.running = Some(now);
            let (list, held, meta) = (feed.list.clone(), feed.held.clone(), feed.meta.clone());
            let (force, reread) = (force || feed.accept_any, feed.left_out > 0);
            let job = self.job(list, held);
            jobs.push(Job {
                meta,
                force,
                reread,
                ..job
            });
        }
        jobs
    }

    fn job(&mut self, list: KeptList, held: Arc<Vec<Prefix>>) -> Job {
        let (mut allowed, mut protected) = (Vec::new(), ProtectedPeers::default());
        if list.kind == ListKind::Block {
            protected = self.protected_peers();
            let allow = self.entries(ListKind::Allow);
            protected.retain(|peer| allow.covering(&peer.prefix).is_empty());
            // An entry that ends would leave a gap in the blocklist until the next text.
            let for_good = allow
                .iter()
                .filter(|(_, members)| members.iter().any(|member| member.expires.is_none()));
            allowed = for_good.map(|(prefix, _)| prefix).collect();
        }
        Job {
            list,
            directory: self.config.state.directory.clone(),
            meta: None,
            held,
            allowed,
            protected,
            force: false,
            reread: false,
            dry: false,
        }
    }

    /// Takes what a fetch brought; tells whether its text is in force now. Nothing happens if the
    /// configuration has changed meanwhile.
    pub fn feed_done(&mut self, list: &KeptList, fetched: Result<Fetched, FeedError>) -> bool {
        let now = Timestamp::now();
        let is_current = |feed: &&mut Feed| feed.list == *list;
        let Some(feed) = self.feeds.get_mut(&list.name).filter(is_current) else {
            return false;
        };
        feed.running = None;
        feed.tried = Some(now);
        let from = feed.held.clone();
        let parsed = match fetched {
            Err(error) => {
                feed.fail(error, now);
                return false;
            }
            Ok(Fetched::Unchanged) => None,
            Ok(Fetched::Text(parsed)) => Some(parsed),
        };
        let changed = parsed.is_some();
        if let Some(parsed) = &parsed
            && let Err(error) = self.replace_feed(list, &from, &parsed.entries, &parsed.ends)
        {
            if let Some(feed) = self.feeds.get_mut(&list.name) {
                feed.fail(error, now);
            }
            return false;
        }
        if let Some(feed) = self.feeds.get_mut(&list.name) {
            if let Some(parsed) = parsed {
                feed.hold(*parsed);
            }
            feed.confirmed = Some(now);
            feed.last_error = None;
            feed.failures_in_a_row = 0;
            feed.next_try = next_try(&feed.list, 0, now);
        }
        changed
    }

    /// The text is in force, but a restart wouldn't have it.
    pub fn feed_not_kept(&mut self, name: &ListName, error: FeedError) {
        if let Some(feed) = self.feeds.get_mut(name) {
            // The next try asks for the text again.
            feed.meta = None;
            feed.fail(error, Timestamp::now());
        }
    }

    /// Puts the copies of the last good texts in force, before anything is attached.
    pub(super) fn restore_feeds(&mut self) {
        if !self.config.lists.is_empty() {
            self.lifelines = (self.look)(&self.watched()).lifelines;
        }
        let lists = self.config.lists.clone();
        let known: Vec<&ListName> = lists.iter().map(|list| &list.name).collect();
        copy::sweep(&self.config.state.directory, &known);
        for list in lists {
            self.add_feed(list);
        }
    }

    fn add_feed(&mut self, list: KeptList) {
        let name = list.name.clone();
        let mut feed = Feed::new(list.clone());
        let job = self.job(list.clone(), Arc::default());
        let restored = feeds::restore(&job).and_then(|parsed| {
            if let Some(parsed) = &parsed {
                self.replace_feed(&list, &[], &parsed.entries, &parsed.ends)?;
            }
            Ok(parsed)
        });
        match restored {
            Ok(Some(parsed)) => {
                tracing::info!(list = %name, entries = parsed.entries.len(), "from its copy");
                feed.hold(parsed);
            }
            Ok(None) => {}
            Err(error) => feed.fail(error, Timestamp::now()),
        }
        feed.next_try = Timestamp::now();
        self.feeds.insert(name, feed);
    }

    /// Brings the lists from one configuration to the one now held. Entries of lists that stay are
    /// in force until the next text of their source.
    pub(super) fn settle_feeds(&mut self, before: &Config) {
        let lists = self.config.lists.clone();
        for old in &before.lists {
            let new = lists.iter().find(|new| new.name == old.name);
            if new.is_some_and(|new| new.kind == old.kind) {
                continue;
            }
            if let Some(feed) = self.feeds.remove(&old.name)
                && let Err(error) = self.replace_feed(old, &feed.held, &[], &BTreeMap::new())
            {
                tracing::error!(list = %old.name, "could not be taken out of force: {error}");
            }
            if new.is_none() {
                copy::remove(&self.config.state.directory, &old.name);
            }
        }
        for list in lists {
            match self.feeds.get_mut(&list.name) {
                None => self.add_feed(list),
                Some(feed) if feed.list == list => {}
                Some(feed) => {
                    feed.accept_any |= feed.list.source != list.source;
                    feed.list = list;
                    feed.meta = None;
                    feed.running = None;
                    feed.failures_in_a_row = 0;
                    feed.next_try = Timestamp::now();
                }
            }
        }
    }

    /// Replaces a list's entries; what is in both stays untouched.
    fn replace_feed(
        &mut self,
        list: &KeptList,
        from: &[Prefix],
        to: &[Prefix],
        ends: &BTreeMap<Prefix, Timestamp>,
    ) -> Result<(), FeedError> {
        let (mut come, go) = difference(from, to);
        self.check_room(list.kind, &come, &go)?;
        let before = self.feeds.get(&list.name).map(|feed| feed.ends.clone());
        let before = before.unwrap_or_default();
        let id = self.names.id(&list.name);
        let entries = self.entries(list.kind);
        let mine = |members: &[Member]| members.iter().any(|m| m.list == id && m.added.is_none());
        let theirs = |members: &[Member]| members.iter().any(|m| m.list == id && m.added.is_some());
        let added = come.len();
        // What was there with another end is put again, and so is what has ended meanwhile.
        let timed = before.keys().chain(ends.keys());
        let changed = timed.filter(|prefix| {
            let end = ends.get(prefix).copied();
            let is_same = |m: &Member| m.list == id && m.added.is_none() && m.expires == end;
            to.binary_search(prefix).is_ok() && !entries.members(prefix).iter().any(is_same)
        });
        let changed: BTreeSet<Prefix> = changed.copied().collect();
        come.retain(|prefix| !changed.contains(prefix));
        come.extend(changed);
        for prefix in &come {
            if !theirs(entries.members(prefix)) {
                let member = Member {
                    list: id,
                    expires: ends.get(prefix).copied(),
                    comment: None,
                    added: None,
                };
                entries.put(*prefix, member);
            }
        }
        for prefix in &go {
            if mine(entries.members(prefix)) {
                entries.take(prefix, id);
            }
        }
        let plan = entries.settle(come.iter().chain(&go).copied());
        if let Err(error) = self.carry_out(list.kind, plan) {
            // The daemon goes on trying, and `status` goes on warning.
            tracing::error!(list = %list.name, "{error:#}");
        }
        let updated = come.len().saturating_sub(added);
        if come.len() + go.len() > 0 {
            self.note(Happening::List(ListChanged {
                table: list.kind,
                list: Some(list.name.to_string()),
                cause: ListCause::Refresh,
                added: added as u64,
                updated: updated as u64,
                removed: go.len() as u64,
                prefix: None,
            }));
        }
        Ok(())
    }

    /// All of a text has room, or none of it is taken.
    fn check_room(
        &mut self,
        kind: ListKind,
        come: &[Prefix],
        go: &[Prefix],
    ) -> Result<(), FeedError> {
        let capacity = match kind {
            ListKind::Allow => self.config.capacity.allow,
            ListKind::Block => self.config.capacity.block,
        } as usize;
        for is_ipv4 in [true, false] {
            let of_family = |all: &[Prefix]| all.iter().filter(|p| p.is_ipv4() == is_ipv4).count();
            let held = self.entries(kind).stored(is_ipv4);
            let (come, go) = (of_family(come), of_family(go));
            if come > go && (held + come).saturating_sub(go) > capacity {
                let kind = kind.name();
                let text = format!(
                    "{come} entries would come to {held}, and {capacity} have room: raise \
                     capacity.{kind} and restart"
                );
                return Err(FeedError::new(FeedCause::NotApplied, text));
            }
        }
        Ok(())
    }
}

fn unknown(name: &ListName) -> String {
    format!("there is no [[list]] named {name}: see `xdp-throttle list show`")
}
