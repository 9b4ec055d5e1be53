//! Counters during the run, and the line that shows them each second.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Phase;
use super::topology::Topology;
use crate::daemon::Daemon;
use crate::daemon::outcomes::Outcomes;
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
    /// By the daemon's count.
    pub(super) outcomes: Outcomes,
}

impl Sample {
    /// Attack packets that reached the protected host's stack since `earlier`: what it received
    /// less what the client sent, both as the kernels counted it and not as the daemon did.
    pub(super) fn leaked_since(&self, earlier: &Self) -> u64 {
        let reached = self.reached - earlier.reached;
        let honest = self.honest - earlier.honest;
        u64::try_from(reached - honest).unwrap_or(0)
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
        let outcomes = self.daemon.outcomes()?;
        let ip = |snmp: &Snmp, name| snmp.get("Ip", name);
        let protected = self.topology.protected.snmp()?;
        let client = self.topology.client.snmp()?;
        Ok(Sample {
            at: Instant::now(),
            attack_sent: self.attack.map_or(0, Sender::sent_so_far),
            reached: ip(&protected, "InReceives"),
            honest: ip(&client, "OutRequests"),
            outcomes,
        })
    }
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
        per_second(to.outcomes.since(&from.outcomes).refused()),
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

    fn sample(reached: i64, honest: i64) -> Sample {
        Sample {
            at: Instant::now(),
            attack_sent: 0,
            reached,
            honest,
            outcomes: Outcomes::default(),
        }
    }

    #[test]
    fn what_leaked_is_what_arrived_less_what_the_client_sent() {
        let earlier = sample(100, 40);
        assert_eq!(sample(190, 60).leaked_since(&earlier), 70);
        assert_eq!(sample(110, 60).leaked_since(&earlier), 0);
    }
}
