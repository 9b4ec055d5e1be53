//! What a text must pass before it is put in force.

use std::collections::{BTreeMap, HashMap, HashSet};

use ipnet::IpNet;
use jiff::Timestamp;

use super::{FeedCause, FeedError, Job};
use crate::api::types::ListKind;
use crate::config::KeptList;
use crate::domain::Prefix;
use crate::lists::Detail;
use crate::lists::guard::{self, Change, Suspicion, Tally};

/// What is left of a text's entries, and what was left out.
pub(super) struct Tidy {
    /// Sorted.
    pub(super) entries: Vec<Prefix>,
    /// Of the entries that end.
    pub(super) ends: BTreeMap<Prefix, Timestamp>,
    pub(super) left_out: u64,
}

/// Merges what lies side by side or in one another, and leaves out what needs no place. Entries that
/// end aren't merged with others.
pub(super) fn tidy(job: &Job, entries: Vec<Prefix>, details: &HashMap<Prefix, Detail>) -> Tidy {
    let before = entries.len();
    let kept = without_ours(job, entries);
    let left_out = (before - kept.len()) as u64;
    let end = |prefix: &Prefix| details.get(prefix).and_then(|detail| detail.expires);
    let timed = kept
        .iter()
        .filter_map(|prefix| Some((*prefix, end(prefix)?)));
    let mut ends: BTreeMap<Prefix, Timestamp> = timed.collect();
    let for_good = kept.into_iter().filter(|prefix| !ends.contains_key(prefix));
    let mut entries = merged(&for_good.collect::<Vec<_>>());
    if !ends.is_empty() {
        let set: HashSet<&Prefix> = entries.iter().collect();
        ends.retain(|prefix, _| !is_within(&set, prefix));
        entries.extend(ends.keys());
        entries.sort_unstable();
    }
    Tidy {
        entries,
        ends,
        left_out,
    }
}

/// The entries that the allowlist doesn't have and that hold no address this host must hear from.
fn without_ours(job: &Job, entries: Vec<Prefix>) -> Vec<Prefix> {
    let mut kept = entries;
    if job.list.kind == ListKind::Block {
        kept.retain(|prefix| job.protected.within(prefix).next().is_none());
        let allowed: HashSet<&Prefix> = job.allowed.iter().collect();
        kept.retain(|prefix| !is_within(&allowed, prefix));
    }
    kept
}

fn merged(entries: &[Prefix]) -> Vec<Prefix> {
    let nets: Vec<IpNet> = entries.iter().map(Prefix::as_ipnet).collect();
    let merged = IpNet::aggregate(&nets);
    let mut entries: Vec<Prefix> = merged
        .iter()
        .filter_map(|net| Prefix::new(net.network(), net.prefix_len()))
        .collect();
    entries.sort_unstable();
    entries
}

fn is_within(set: &HashSet<&Prefix>, prefix: &Prefix) -> bool {
    !set.is_empty()
        && (0..=prefix.prefix_len())
            .filter_map(|len| Prefix::new(prefix.network(), len))
            .any(|wider| set.contains(&wider))
}

/// Refuses every text while it isn't known what a block may hold: the last good one stays in force.
pub(super) fn check_known(job: &Job) -> Result<(), FeedError> {
    if job.protected.unknown.is_empty() {
        return Ok(());
    }
    let text = format!(
        "what must stay reachable could not be found out ({}): `xdp-throttle doctor` looks again",
        job.protected.unknown.join("; ")
    );
    Err(FeedError::new(FeedCause::NotApplied, text))
}

pub(super) fn check_size(list: &KeptList, entries: usize) -> Result<(), FeedError> {
    let least = list.min_entries as usize;
    guard::check_size(entries, least, &Tally::default()).map_err(|_suspicion| {
        let text = format!(
            "{entries} entries, fewer than min_entries = {least}: the source may be broken"
        );
        FeedError::new(FeedCause::TooFewEntries, text)
    })
}

/// Refuses a text that differs a lot from what is held, unless forced or nothing is held.
pub(super) fn check_change(job: &Job, entries: &[Prefix]) -> Result<(), FeedError> {
    let (added, removed) = difference(&job.held, entries);
    if job.force || job.dry {
        return Ok(());
    }
    let change = Change {
        held: job.held.len(),
        entries: entries.len(),
        added: added.len(),
        removed: removed.len(),
    };
    guard::check_change(change, job.list.max_change).map_err(|suspicion: Suspicion| {
        let text = format!(
            "{suspicion} (max_change): look with `xdp-throttle list diff {name}`, accept with \
             `xdp-throttle list refresh {name} --force`",
            name = job.list.name,
        );
        FeedError::new(FeedCause::LargeChange, text)
    })
}

/// What is only in the second and only in the first of two sorted lists.
pub fn difference(before: &[Prefix], after: &[Prefix]) -> (Vec<Prefix>, Vec<Prefix>) {
    let only = |these: &[Prefix], those: &[Prefix]| {
        let absent = |prefix: &&Prefix| those.binary_search(prefix).is_err();
        these.iter().filter(absent).copied().collect()
    };
    (only(after, before), only(before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_has_both_sides() {
        let parse = |texts: &[&str]| -> Vec<Prefix> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let before = parse(&["192.0.2.1", "192.0.2.2"]);
        let after = parse(&["192.0.2.2", "192.0.2.3"]);
        let wanted = (parse(&["192.0.2.3"]), parse(&["192.0.2.1"]));
        assert_eq!(difference(&before, &after), wanted);
    }

    #[test]
    fn what_an_allowed_prefix_holds_is_within() {
        let allowed: Prefix = "192.0.2.0/24".parse().unwrap();
        let set = HashSet::from([&allowed]);
        assert!(is_within(&set, &"192.0.2.7".parse().unwrap()));
        assert!(!is_within(&set, &"192.0.0.0/16".parse().unwrap()));
    }
}
