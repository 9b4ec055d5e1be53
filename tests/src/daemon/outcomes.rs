//! What became of packets, and why, by the daemon's own count.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use xdp_common::reason::{Class, Reason};

use super::Daemon;

const DROPPED: &str = "dropped: ";
const ANSWERED: &str = "answered: ";
const OBSERVED: &str = "only observed: ";
const PASSED: &str = "passed: ";

/// Packets by outcome, such as `dropped: banned`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Outcomes(BTreeMap<String, u64>);

impl Outcomes {
    /// Out of `{"reasons": [{"reason": "accepted", "action": "passed", "packets": 12, …}, …], …}`.
    fn of_status(status: &Value) -> Result<Self> {
        let entries = status["reasons"]
            .as_array()
            .context("`status --output json` has no list \"reasons\"")?;
        let outcomes = entries.iter().map(|entry| {
            let reason = entry["reason"].as_str().context("no reason in an entry")?;
            let packets = entry["packets"]
                .as_u64()
                .context("no packets in an entry")?;
            let action = entry["action"].as_str().context("no action in an entry")?;
            Ok((outcome(reason, action), packets))
        });
        outcomes.collect::<Result<_>>().map(Self)
    }

    /// What was counted since `earlier`, without what there was none of.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let new = self.0.iter().map(|(outcome, packets)| {
            let before = earlier.get(outcome);
            (outcome.clone(), packets.saturating_sub(before))
        });
        Self(new.filter(|(_, packets)| *packets > 0).collect())
    }

    /// Packets with an outcome; 0 when it isn't there.
    #[must_use]
    pub fn get(&self, outcome: &str) -> u64 {
        self.0.get(outcome).copied().unwrap_or(0)
    }

    /// Every outcome with its packets, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0
            .iter()
            .map(|(outcome, packets)| (outcome.as_str(), *packets))
    }

    /// Packets that were kept from the host: dropped, or answered in its place.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.sum(|outcome| outcome.starts_with(DROPPED) || outcome.starts_with(ANSWERED))
    }

    /// Packets that went on to the stack, for whatever reason.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.sum(|outcome| outcome.starts_with(PASSED) || outcome.starts_with(OBSERVED))
    }

    /// Packets that a rule of the policy refused, whether they were dropped for it or not.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.sum(|outcome| !outcome.starts_with(PASSED))
    }

    /// Packets of every outcome.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.sum(|_| true)
    }

    fn sum(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        self.iter()
            .filter(|(outcome, _)| wanted(outcome))
            .map(|(_, packets)| packets)
            .sum()
    }
}

impl Daemon {
    /// Packets by outcome until now, over all interfaces.
    ///
    /// # Errors
    /// When the daemon doesn't answer.
    pub fn outcomes(&self) -> Result<Outcomes> {
        Outcomes::of_status(&self.cli_json(&["status"])?)
    }
}

/// A reason to drop that let its packets pass only observed them.
fn outcome(reason: &str, action: &str) -> String {
    let drops = Reason::from_name(reason).is_some_and(|reason| reason.class() != Class::Pass);
    match (drops, action) {
        (true, "passed") => format!("{OBSERVED}{reason}"),
        (true | false, action) => format!("{action}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(banned: u64) -> Outcomes {
        let entry = |reason, action, packets| serde_json::json!({"reason": reason, "action": action, "packets": packets});
        let status = serde_json::json!({"reasons": [
            entry("banned", "dropped", banned),
            entry("land", "passed", 4),
            entry("accepted", "passed", 7),
        ]});
        Outcomes::of_status(&status).unwrap()
    }

    #[test]
    fn a_reason_to_drop_that_passes_is_only_observed() {
        let outcomes = outcomes(5);
        assert_eq!(outcomes.get("dropped: banned"), 5);
        assert_eq!(outcomes.get("only observed: land"), 4);
        assert_eq!(outcomes.get("passed: accepted"), 7);
        assert_eq!((outcomes.dropped(), outcomes.passed()), (5, 11));
        assert_eq!((outcomes.refused(), outcomes.all()), (9, 16));
    }

    #[test]
    fn only_what_is_new_counts_since_an_earlier_time() {
        let new = outcomes(12).since(&outcomes(5));
        assert_eq!(new.iter().collect::<Vec<_>>(), [("dropped: banned", 7)]);
    }

    #[test]
    fn a_status_without_reasons_is_an_error() {
        assert!(Outcomes::of_status(&serde_json::json!({})).is_err());
    }
}
