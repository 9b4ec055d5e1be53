//! What is known of sources.

use std::collections::HashMap;

use anyhow::Result;
use xdp_common::abi::{Ban, Plain, Source, SourceKey};
use xdp_common::verdict::{STRIKE_COUNT_BITS, strikes_left};

use super::clock::Moment;
use super::{Control, policy};
use crate::api::types::{ListKind, SourceList, SourceQuery, SourceSort, SourceView};
use crate::datapath::keys::decode_source;
use crate::domain::Prefix;

const DEFAULT_PAGE: u64 = 20;
const MAX_PAGE: u64 = 10_000;

type Known = (Prefix, Source, Option<Ban>);

impl Control {
    /// The first sources by what was asked for.
    pub fn list_sources(&mut self, query: &SourceQuery) -> Result<SourceList> {
        let now = Self::now();
        let mut known: Vec<Known> = Vec::new();
        let mut bans: HashMap<Prefix, Ban> = self
            .datapath
            .bans()?
            .into_iter()
            .filter_map(|(key, ban)| Some((decode_source(&key)?, ban)))
            .collect();
        let is_asked_for = |prefix: &Prefix| query.matching.is_none_or(|m| m.covers(prefix));
        for (key, source) in self.datapath.sources()? {
            let Some(prefix) = decode_source(&key) else {
                continue;
            };
            if is_asked_for(&prefix) {
                known.push((prefix, source, bans.remove(&prefix)));
            }
        }
        // A banned source no longer reaches the limits: a full table forgets it before others.
        for (prefix, ban) in bans {
            let in_force = ban.until_ns > now.boot_ns;
            if in_force && is_asked_for(&prefix) {
                let seen = Source {
                    first_seen_ns: ban.since_ns,
                    last_seen_ns: ban.since_ns,
                    ..Source::ZERO
                };
                known.push((prefix, seen, Some(ban)));
            }
        }
        let total = u64::try_from(known.len()).unwrap_or(u64::MAX);
        let limit = usize::try_from(query.limit.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE))
            .unwrap_or(usize::MAX);
        let sources = first(known, query, limit)
            .into_iter()
            .map(|(prefix, source, ban)| self.source_view(prefix, &source, ban, now))
            .collect();
        Ok(SourceList { sources, total })
    }

    pub(super) fn source_view(
        &self,
        source: Prefix,
        known: &Source,
        ban: Option<Ban>,
        now: Moment,
    ) -> SourceView {
        let ban_policy = policy::build(&self.config, policy::Live::default()).ban;
        let struck_ns = (known.strikes >> STRIKE_COUNT_BITS).saturating_mul(1_000_000);
        let strikes = strikes_left(
            known.strikes,
            now.boot_ns.saturating_sub(struck_ns),
            &ban_policy,
        );
        let (banned_packets, banned_bytes) = ban.map_or((0, 0), |b| (b.packets, b.bytes));
        SourceView {
            source,
            packets: known.packets + banned_packets,
            bytes: known.bytes + banned_bytes,
            dropped_packets: known.dropped_packets + banned_packets,
            dropped_bytes: known.dropped_bytes + banned_bytes,
            first_seen: now.to_wall(known.first_seen_ns),
            last_seen: now.to_wall(known.last_seen_ns),
            strikes,
            banned_until: ban
                .filter(|b| b.until_ns > now.boot_ns)
                .map(|b| now.to_wall(b.until_ns)),
            listed: self.list_over(&source),
        }
    }

    /// The list with an entry that covers all of the source.
    fn list_over(&self, source: &Prefix) -> Option<ListKind> {
        if !self.allow.covering(source).is_empty() {
            Some(ListKind::Allow)
        } else if !self.block.covering(source).is_empty() {
            Some(ListKind::Block)
        } else {
            None
        }
    }

    pub(super) fn known_source(&self, key: &SourceKey) -> Result<(Option<Source>, Option<Ban>)> {
        Ok((self.datapath.source(key)?, self.datapath.ban(key)?))
    }
}

/// The first by the order asked for, then those that other orders add.
fn first(mut known: Vec<Known>, query: &SourceQuery, limit: usize) -> Vec<Known> {
    let asked = query.sort.unwrap_or_default();
    let mut taken = Vec::new();
    let others = SourceSort::ALL.into_iter().filter(|sort| *sort != asked);
    let others = others.filter(|_| query.each);
    for sort in std::iter::once(asked).chain(others) {
        let kept = keep_first(&mut known, sort, limit);
        let rest = known.split_off(kept);
        taken.append(&mut known);
        known = rest;
    }
    taken
}

/// Brings the first `limit` to the front, in order; how many there are.
fn keep_first(known: &mut [Known], sort: SourceSort, limit: usize) -> usize {
    let order = |(prefix, source, ban): &Known| {
        (std::cmp::Reverse(rank(sort, source, ban.as_ref())), *prefix)
    };
    let kept = limit.min(known.len());
    if (1..known.len()).contains(&kept) {
        known.select_nth_unstable_by_key(kept - 1, order);
    }
    if let Some(front) = known.get_mut(..kept) {
        front.sort_unstable_by_key(order);
    }
    kept
}

fn rank(sort: SourceSort, source: &Source, ban: Option<&Ban>) -> u64 {
    let (packets, bytes) = ban.map_or((0, 0), |b| (b.packets, b.bytes));
    match sort {
        SourceSort::Packets => source.packets + packets,
        SourceSort::Bytes => source.bytes + bytes,
        SourceSort::Dropped => source.dropped_packets + packets,
        SourceSort::LastSeen => source.last_seen_ns,
    }
}
