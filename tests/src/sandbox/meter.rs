//! Counters during the run, and the line that shows them each second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use xdp_common::reason::{Class, Reason};

use super::Phase;
use super::topology::Topology;
use crate::daemon::Daemon;
use crate::netns::stats::Snmp;
use crate::traffic::client::Summary;
use crate::traffic::sender::Sender;

/// All counters at one time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Attack packets that the sender got rid of.
    pub(super) attack_sent: u64,
    /// IP packets that reached the protected host's network stack, whoever sent them.
    reached: i64,
    /// IP packets that the client sent.
    honest: i64,
    /// The daemon's packets by what became of them and why, such as `dropped: banned`.
    pub(super) reasons: BTreeMap<String, u64>,
}

impl Sample {
    /// Attack packets that reached the protected host's stack since `earlier`: what it received
    /// less what the client sent, both as the kernels counted it and not as the daemon did.
    pub(super) fn leaked_since(&self, earlier: &Self) -> u64 {
        let reached = self.reached - earlier.reached;
        let honest = self.honest - earlier.honest;
        u64::try_from(reached - honest).unwrap_or(0)
    }

    /// Packets by reason since `earlier`, those that there were any of.
    pub(super) fn reasons_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        self.reasons
            .iter()
            .map(|(reason, packets)| {
                let before = earlier.reasons.get(reason).copied().unwrap_or(0);
                (reason.clone(), packets.saturating_sub(before))
            })
            .filter(|(_, packets)| *packets > 0)
            .collect()
    }

    /// Packets since `earlier` that the daemon counted as kept from the host: dropped, or answered in
    /// its place.
    pub(super) fn dropped_since(&self, earlier: &Self) -> u64 {
        let counts = self.reasons_since(earlier);
        let dropped = counts
            .iter()
            .filter(|(outcome, _)| outcome.starts_with(DROPPED) || outcome.starts_with(ANSWERED));
        dropped.map(|(_, packets)| packets).sum()
    }

    /// Packets since `earlier` that a rule of the policy refused.
    pub(super) fn refused_since(&self, earlier: &Self) -> u64 {
        self.reasons_since(earlier)
            .iter()
            .filter(|(outcome, _)| !outcome.starts_with(PASSED))
            .map(|(_, packets)| packets)
            .sum()
    }
}

const DROPPED: &str = "dropped: ";
const ANSWERED: &str = "answered: ";
const PASSED: &str = "passed: ";

/// What became of packets, and why. A reason to drop or to answer that let its packets pass only
/// observed them.
fn outcome(reason: &str, action: &str) -> String {
    let drops = Reason::from_name(reason).is_some_and(|reason| reason.class() != Class::Pass);
    match (drops, action) {
        (true, "passed") => format!("only observed: {reason}"),
        (true, "answered") => format!("{ANSWERED}{reason}"),
        (true, _) => format!("{DROPPED}{reason}"),
        (false, _) => format!("{PASSED}{reason}"),
    }
}

/// Where the counters are.
pub(super) struct Meter<'a> {
    pub(super) topology: &'a Topology,
    pub(super) daemon: &'a Daemon,
    pub(super) attack: Option<&'a Sender>,
}

impl Meter<'_> {
    pub(super) fn sample(&self) -> Result<Sample> {
        // The daemon first: on a starved machine its answer takes a while, and the others should
        // be of the same moment.
        let status = self.daemon.cli_json(&["status"])?;
        let ip = |snmp: &Snmp, name| snmp.get("Ip", name);
        let protected = self.topology.protected.snmp()?;
        let client = self.topology.client.snmp()?;
        Ok(Sample {
            at: Instant::now(),
            attack_sent: self.attack.map_or(0, Sender::sent_so_far),
            reached: ip(&protected, "InReceives"),
            honest: ip(&client, "OutRequests"),
            reasons: reasons(&status)?,
        })
    }
}

/// `{"reasons": [{"reason": "accepted", "action": "passed", "packets": 12, …}, …], …}` as a map.
fn reasons(status: &Value) -> Result<BTreeMap<String, u64>> {
    let entries = status["reasons"]
        .as_array()
        .context("`status --output json` has no list \"reasons\"")?;
    entries
        .iter()
        .map(|entry| {
            let reason = entry["reason"].as_str().context("no reason in an entry")?;
            let packets = entry["packets"]
                .as_u64()
                .context("no packets in an entry")?;
            let action = entry["action"].as_str().context("no action in an entry")?;
            Ok((outcome(reason, action), packets))
        })
        .collect()
}

/// The heads of [`line`]'s columns.
pub(super) const HEADER: &str = "phase             requests/s   ok %     p50 ms     p99 ms   attack pps  refused pps   leaked pps";

/// One second of the run. Requests that have no answer yet count as failed here; the table at the
/// end waits for them.
pub(super) fn line(phase: Phase, client: &Summary, from: &Sample, to: &Sample) -> String {
    let seconds = (to.at - from.at).as_secs_f64();
    let per_second = |count: u64| format!("{:.0}", count as f64 / seconds);
    format!(
        "{:<16} {:>11.1} {:>6.1} {:>10} {:>10} {:>12} {:>12} {:>12}",
        phase.name(),
        client.rate(),
        client.success_percent(),
        milliseconds(client.latencies.percentile(50)),
        milliseconds(client.latencies.percentile(99)),
        per_second(to.attack_sent - from.attack_sent),
        per_second(to.refused_since(from)),
        per_second(to.leaked_since(from)),
    )
}

/// `12.3`, or a dash for a latency that nothing had.
pub(super) fn milliseconds(latency: Option<Duration>) -> String {
    latency.map_or_else(
        || "-".to_owned(),
        |latency| format!("{:.1}", latency.as_secs_f64() * 1000.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(reached: i64, honest: i64, banned: u64) -> Sample {
        Sample {
            at: Instant::now(),
            attack_sent: 0,
            reached,
            honest,
            reasons: BTreeMap::from([
                ("dropped: banned".to_owned(), banned),
                ("passed: accepted".to_owned(), 7),
            ]),
        }
    }

    #[test]
    fn what_leaked_is_what_arrived_less_what_the_client_sent() {
        let earlier = sample(100, 40, 0);
        assert_eq!(sample(190, 60, 0).leaked_since(&earlier), 70);
        assert_eq!(sample(110, 60, 0).leaked_since(&earlier), 0);
    }

    #[test]
    fn only_refusals_that_are_new_count_as_refused() {
        let earlier = sample(0, 0, 5);
        let later = sample(0, 0, 12);
        assert_eq!(later.refused_since(&earlier), 7);
        assert_eq!(
            later.reasons_since(&earlier),
            BTreeMap::from([("dropped: banned".to_owned(), 7)])
        );
    }

    #[test]
    fn a_status_without_reasons_is_an_error() {
        assert!(reasons(&serde_json::json!({})).is_err());
        let entry = |action, packets| serde_json::json!({"reason": "land", "action": action, "packets": packets});
        let status = serde_json::json!({"reasons": [entry("dropped", 3), entry("passed", 4)]});
        let counts = reasons(&status).unwrap();
        assert_eq!(
            (counts["dropped: land"], counts["only observed: land"]),
            (3, 4)
        );
        let entry = |action, packets| serde_json::json!({"reason": "syn_cookie", "action": action, "packets": packets});
        let status = serde_json::json!({"reasons": [entry("answered", 5), entry("passed", 6)]});
        let counts = reasons(&status).unwrap();
        assert_eq!(counts["answered: syn_cookie"], 5);
        assert_eq!(counts["only observed: syn_cookie"], 6);
    }
}
