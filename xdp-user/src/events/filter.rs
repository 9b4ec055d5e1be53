//! Which events somebody wants.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use xdp_common::reason::Reason;

use super::is_for_captures_alone;
use crate::api::types::{Event, EventKind, EventQuery};
use crate::domain::Prefix;

/// Which events somebody wants: those that meet every condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of these kinds; empty for all.
    pub kinds: BTreeSet<EventKind>,
    /// For one of these reasons; empty for all, also those without one.
    pub reasons: BTreeSet<&'static str>,
    /// Of sources in this prefix, or whose prefix holds all of it.
    pub source: Option<Prefix>,
    /// Also samples of packets that passed as they should.
    pub honest: bool,
}

impl Filter {
    /// Reads the words of a query.
    ///
    /// # Errors
    /// When one of them is no kind or no reason; it says what is.
    pub fn of(query: &EventQuery) -> Result<Self> {
        let mut kinds = BTreeSet::new();
        for word in words(query.kinds.as_deref()) {
            let found = EventKind::ALL.into_iter().find(|kind| kind.name() == word);
            let Some(kind) = found else {
                let valid = EventKind::ALL.map(EventKind::name).join(", ");
                bail!("\"{}\" is no kind of event: use {valid}", clipped(word));
            };
            kinds.insert(kind);
        }
        Ok(Self {
            kinds,
            reasons: reasons(query.reasons.as_deref())?,
            source: query.source,
            honest: false,
        })
    }

    /// Whether an event is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        let what = &event.what;
        let of_kind = || match what.kind() {
            Some(kind) => self.kinds.is_empty() || self.kinds.contains(&kind),
            None => false,
        };
        let for_reason = || {
            self.reasons.is_empty()
                || what
                    .reason()
                    .is_some_and(|reason| self.reasons.contains(reason))
        };
        let of_source = || {
            self.source.is_none_or(|wanted| {
                what.source()
                    .is_some_and(|source| wanted.covers(&source) || source.covers(&wanted))
            })
        };
        of_kind() && for_reason() && of_source() && (self.honest || !is_for_captures_alone(event))
    }
}

/// Reasons by their names, joined by commas.
///
/// # Errors
/// When one of them is none.
pub fn reasons(given: Option<&str>) -> Result<BTreeSet<&'static str>> {
    let mut reasons = BTreeSet::new();
    for word in words(given) {
        match Reason::from_name(word) {
            Some(reason) => reasons.insert(reason.name()),
            None => bail!(
                "\"{}\" is no reason: `xdp-throttle status` and docs/reasons.md name them",
                clipped(word)
            ),
        };
    }
    Ok(reasons)
}

fn words(given: Option<&str>) -> impl Iterator<Item = &str> {
    let words = given.unwrap_or_default().split(',').map(str::trim);
    words.filter(|word| !word.is_empty())
}

fn clipped(word: &str) -> String {
    word.chars().take(40).filter(|c| !c.is_control()).collect()
}
