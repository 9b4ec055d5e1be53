//! The table at the end, and the same as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::meter::milliseconds;
use super::{Measured, Options, config};
use crate::netns::link::Attachment;
use crate::scorecard::Scorecard;
use crate::traffic::client::Summary;
use crate::traffic::sender::Sent;

/// Share of the quiet requests per second that the client must keep under attack.
const LEAST_KEPT_PERCENT: f64 = 95.0;
/// An attack that, unthrottled, leaves the client more of its requests than this proves nothing,
const MOST_KEPT_UNTHROTTLED_PERCENT: f64 = 80.0;
/// unless it makes the slow ones this much slower. A machine that does other work besides sends
/// less, and then latency is what suffers.
const LEAST_SLOWED_UNTHROTTLED: f64 = 5.0;

/// An attack that fades when it is throttled proves nothing either.
const LEAST_ATTACK_PERCENT: f64 = 75.0;
/// What the sender got rid of is counted as dropped, but for what the interface had no room for.
const LEAST_DROPPED_PERCENT: f64 = 95.0;

/// What an attack leaves of a client's peace.
pub(super) struct Harm {
    kept_percent: f64,
    slowed: f64,
}

impl Harm {
    pub(super) fn of(quiet: &Summary, attacked: &Summary) -> Self {
        Self {
            kept_percent: 100.0 * attacked.rate() / quiet.rate(),
            slowed: tail(attacked) / tail(quiet),
        }
    }

    /// Whether it is so many times what proves that an attack does harm.
    pub(super) fn is_plain(&self, times: f64) -> bool {
        self.kept_percent <= MOST_KEPT_UNTHROTTLED_PERCENT / times
            || self.slowed >= LEAST_SLOWED_UNTHROTTLED * times
    }
}

/// What a run measured.
#[derive(Clone, Debug)]
pub struct Report {
    attack: Sent,
    phases: [Measured; 3],
    scorecard: Scorecard,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        attachment: Attachment,
        attack: Sent,
        phases: [Measured; 3],
    ) -> Self {
        let scorecard = score(options, attachment, &phases);
        Self {
            attack,
            phases,
            scorecard,
        }
    }

    /// Notes whether everything is gone.
    pub(super) fn torn_down(&mut self, clean: bool) {
        self.scorecard.torn_down(clean);
    }

    /// What was promised against what was measured.
    #[must_use]
    pub fn scorecard(&self) -> &Scorecard {
        &self.scorecard
    }

    /// The report for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "phases": self.phases.iter().map(phase_json).collect::<Vec<_>>(),
            "attack": {
                "sent": self.attack.frames,
                "refused_by_interface": self.attack.refused,
                "seconds": self.attack.elapsed.as_secs_f64(),
            },
            "scorecard": self.scorecard,
        })
    }
}

fn score(options: &Options, attachment: Attachment, phases: &[Measured; 3]) -> Scorecard {
    let [quiet, observed, enforced] = phases;
    let harm = |measured: &Measured| Harm::of(&quiet.client, &measured.client);
    let (kept, unthrottled) = (harm(enforced).kept_percent, harm(observed));
    let mut card = Scorecard::default();
    card.add(
        attachment == Attachment::Native,
        "attached",
        attachment_name(attachment),
        "native",
    );
    card.add(
        kept >= LEAST_KEPT_PERCENT,
        "honest_rps_under_attack_vs_quiet",
        format!("{kept:.1}%"),
        format!(">={LEAST_KEPT_PERCENT}%"),
    );
    card.add(
        unthrottled.is_plain(1.0),
        "harm_unthrottled",
        format!(
            "{:.1}%_of_requests,_p99_x{:.1}",
            unthrottled.kept_percent, unthrottled.slowed
        ),
        format!("<={MOST_KEPT_UNTHROTTLED_PERCENT}%_or_p99_x{LEAST_SLOWED_UNTHROTTLED}"),
    );
    let held = 100.0 * attack_rate(enforced) / attack_rate(observed);
    card.add(
        held >= LEAST_ATTACK_PERCENT,
        "attack_rate_enforced_vs_observed",
        format!("{held:.1}%"),
        format!(">={LEAST_ATTACK_PERCENT}%"),
    );
    let sent = enforced
        .to
        .attack_sent
        .saturating_sub(enforced.from.attack_sent);
    let dropped = 100.0 * enforced.outcomes().dropped() as f64 / sent as f64;
    card.add(
        dropped >= LEAST_DROPPED_PERCENT,
        "attack_counted_as_dropped_vs_sent",
        format!("{dropped:.1}%"),
        format!(">={LEAST_DROPPED_PERCENT}%"),
    );
    let leaked = enforced.to.leaked_since(&enforced.from);
    let most = config::most_passed(options.attack_sources, enforced.client.span);
    card.add(
        leaked <= most,
        "attack_leak",
        format!("{leaked}_packets"),
        format!("<={most}_packets"),
    );
    card
}

/// 99th percentile of the client's latency, in seconds.
fn tail(client: &Summary) -> f64 {
    let latency = client.latencies.percentile(99);
    latency.map_or(f64::NAN, |latency| latency.as_secs_f64())
}

/// Attack packets per second that the sender got rid of.
fn attack_rate(measured: &Measured) -> f64 {
    let packets = measured.to.attack_sent - measured.from.attack_sent;
    packets as f64 / measured.client.span.as_secs_f64()
}

fn attachment_name(attachment: Attachment) -> &'static str {
    match attachment {
        Attachment::None => "nothing",
        Attachment::Native => "native",
        Attachment::Generic => "generic",
        Attachment::Other => "other",
    }
}

fn phase_json(measured: &Measured) -> Value {
    let client = &measured.client;
    let milliseconds = |percent| {
        client
            .latencies
            .percentile(percent)
            .map(|latency| latency.as_secs_f64() * 1000.0)
    };
    json!({
        "phase": measured.phase.name(),
        "seconds": client.span.as_secs_f64(),
        "requests": client.scheduled,
        "requests_succeeded": client.succeeded,
        "requests_per_second": client.rate(),
        "success_percent": client.success_percent(),
        "latency_p50_ms": milliseconds(50),
        "latency_p95_ms": milliseconds(95),
        "latency_p99_ms": milliseconds(99),
        "attack_sent": measured.to.attack_sent - measured.from.attack_sent,
        "attack_reached_stack": measured.to.leaked_since(&measured.from),
        "reasons": measured.outcomes(),
    })
}

pub(super) fn introduction(options: &Options, attachment: Attachment) -> String {
    format!(
        "A protected host, an honest client ({} requests/s) and an attacker ({} from {} \
         addresses)\nin namespaces of their own; the program is attached in {} mode.\n",
        options.client_rate,
        match options.attack_rate {
            Some(rate) => format!("{rate} packets/s"),
            None => "as many packets/s as do harm,".to_owned(),
        },
        options.attack_sources,
        attachment_name(attachment),
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, cell: &dyn Fn(&Measured) -> String| {
            write!(f, "{name:<34}")?;
            for measured in &self.phases {
                write!(f, "{:>18}", cell(measured))?;
            }
            writeln!(f)
        };
        row(f, "", &|m| m.phase.name().to_owned())?;
        row(f, "client requests/s", &|m| {
            format!("{:.1}", m.client.rate())
        })?;
        row(f, "client requests answered", &|m| {
            format!("{:.1} %", m.client.success_percent())
        })?;
        for percent in [50, 95, 99] {
            row(f, &format!("client latency p{percent}, ms"), &|m| {
                milliseconds(m.client.latencies.percentile(percent))
            })?;
        }
        row(f, "attack packets sent", &|m| {
            (m.to.attack_sent - m.from.attack_sent).to_string()
        })?;
        row(f, "attack packets in the host's stack", &|m| {
            m.to.leaked_since(&m.from).to_string()
        })?;
        for outcome in self.outcomes() {
            row(f, &outcome, &|m| m.outcomes().get(&outcome).to_string())?;
        }
        writeln!(
            f,
            "\"in the host's stack\" is counted by the kernel, behind the program: IP packets \
             received\nby the host less IP packets sent by the client.\n"
        )?;
        write!(f, "{}", self.scorecard)
    }
}

impl Report {
    /// Every outcome that was counted in some phase.
    fn outcomes(&self) -> Vec<String> {
        let mut outcomes: Vec<String> = self
            .phases
            .iter()
            .flat_map(|measured| {
                let outcomes = measured.outcomes();
                let names = outcomes.iter().map(|(outcome, _)| outcome.to_owned());
                names.collect::<Vec<_>>()
            })
            .collect();
        outcomes.sort_unstable();
        outcomes.dedup();
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harm_is_few_requests_or_slow_ones_and_plainer_in_a_trial() {
        for (kept_percent, slowed, in_the_report, in_a_trial) in [
            (100.0, 4.9, false, false),
            (80.0, 1.0, true, false),
            (40.0, 1.0, true, true),
            (100.0, 5.0, true, false),
            (100.0, 10.0, true, true),
            // No request was answered: there is no latency.
            (0.0, f64::NAN, true, true),
        ] {
            let harm = Harm {
                kept_percent,
                slowed,
            };
            let told = (harm.is_plain(1.0), harm.is_plain(2.0));
            assert_eq!(told, (in_the_report, in_a_trial), "{kept_percent} {slowed}");
        }
    }
}
