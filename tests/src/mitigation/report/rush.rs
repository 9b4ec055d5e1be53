//! The table and the promises of a rush.

use std::fmt;

use super::table::{percent, row};
use crate::mitigation::{Exchanges, RushTrial, Rushed};
use crate::scorecard::{NOT_MEASURED, Scorecard};
use xdp_user::domain::ClassState;

/// Of the exchanges of a rush that is settled.
const LEAST_SERVED: f64 = 0.99;

impl Rushed {
    pub(super) fn score(&self, card: &mut Scorecard) {
        let Some(trial) = &self.with else { return };
        let name = &self.name;
        let served = trial.settled.share();
        card.add(
            served.is_some_and(|served| served >= LEAST_SERVED),
            format!("{name}_served"),
            served.map_or(NOT_MEASURED.into(), |share| {
                format!("{:.2}%", share * 100.0)
            }),
            format!(">={}%", LEAST_SERVED * 100.0),
        );
        let RushTrial {
            clients,
            failed_clients,
            ..
        } = trial;
        card.add(
            *failed_clients == 0 && *clients > 0,
            format!("{name}_failed_clients"),
            format!("{failed_clients}_of_{clients}"),
            "<=0",
        );
        let pressed = trial.pressed.iter();
        let attacked = pressed.filter(|class| class.state == ClassState::Attack);
        let attacked = attacked.count();
        card.add(
            attacked == 0,
            format!("{name}_classes_in_attack_after"),
            attacked.to_string(),
            "<=0",
        );
    }
}

impl fmt::Display for Rushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = [("without", &self.without), ("with", &self.with)];
        let columns: Vec<_> = columns
            .iter()
            .filter_map(|(name, trial)| Some((*name, trial.as_ref()?)))
            .collect();
        writeln!(f, "### {}\n", self.name)?;
        write!(f, "| |")?;
        for (name, _) in &columns {
            write!(f, " {name} |")?;
        }
        writeln!(f, "\n|---|{}", "--:|".repeat(columns.len()))?;
        let trials: Vec<&RushTrial> = columns.iter().map(|(_, trial)| *trial).collect();
        for (title, cell) in ROWS {
            row(f, title, &trials, cell)?;
        }
        for trial in trials {
            let outcomes = trial.outcomes.iter();
            let outcomes: Vec<String> = outcomes
                .map(|(outcome, packets)| format!("{packets} {outcome}"))
                .collect();
            if !outcomes.is_empty() {
                writeln!(f, "\nBy the daemon's count: {}.", outcomes.join("; "))?;
            }
        }
        Ok(())
    }
}

type Cell = fn(&RushTrial) -> String;

const ROWS: [(&str, Cell); 6] = [
    ("attack packets sent meanwhile", |trial| {
        trial
            .attacked_with
            .map_or("-".to_owned(), |sent| sent.to_string())
    }),
    ("exchanges that succeeded; at once", |trial| {
        served(trial.exchanges)
    }),
    ("**… when the rush was settled**; at once", |trial| {
        let served = served(trial.settled);
        format!("{served} from second {} on", trial.settled_s)
    }),
    ("clients failed", |trial| {
        format!("{} of {}", trial.failed_clients, trial.clients)
    }),
    ("host's CPU busy; receiving packets", |trial| {
        let cpu = [trial.cpu.busy, trial.cpu.receiving];
        let [busy, receiving] = cpu.map(|share| format!("{:.0} %", share * 100.0));
        format!("{busy}; {receiving}")
    }),
    ("classes that were pressed afterwards", |trial| {
        let pressed = trial.pressed.iter();
        let pressed: Vec<String> = pressed
            .map(|class| format!("{}: {}", class.class, class.state))
            .collect();
        match (trial.protected, pressed.is_empty()) {
            (false, _) => "-".to_owned(),
            (true, true) => format!("none after {} s", trial.rest_s),
            (true, false) => format!("{} after {} s", pressed.join(", "), trial.rest_s),
        }
    }),
];

fn served(exchanges: Exchanges) -> String {
    let Exchanges { all, at_once, .. } = exchanges;
    let first = (all > 0).then(|| at_once as f64 / all as f64);
    let (share, first) = (percent(exchanges.share()), percent(first));
    format!("{share} of {all}; {first}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::outcomes::Outcomes;
    use crate::mitigation::{Pressed, Rush, Shares};

    fn rushed() -> Rushed {
        let exchanges = |all, succeeded| Exchanges {
            all,
            succeeded,
            at_once: succeeded - 5,
        };
        Rushed {
            name: "rush_dns-clients".into(),
            rush: Rush::DnsClients,
            without: None,
            with: Some(RushTrial {
                protected: true,
                attacked_with: None,
                exchanges: exchanges(1500, 1300),
                settled_s: 10.0,
                settled: exchanges(1000, 990),
                clients: 50,
                failed_clients: 0,
                cpu: Shares::default(),
                outcomes: Outcomes::default(),
                rest_s: 30.0,
                pressed: vec![Pressed {
                    class: "dns".into(),
                    state: ClassState::Elevated,
                }],
            }),
        }
    }

    fn lines(rushed: &Rushed) -> Vec<String> {
        let mut card = Scorecard::default();
        rushed.score(&mut card);
        card.lines().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rush_that_is_served_in_the_end_is_ok() {
        let expected = [
            "ok rush_dns-clients_served 99.00% >=99%",
            "ok rush_dns-clients_failed_clients 0_of_50 <=0",
            "ok rush_dns-clients_classes_in_attack_after 0 <=0",
        ];
        assert_eq!(lines(&rushed()), expected);
        let text = rushed().to_string();
        assert!(text.contains("dns: elevated after 30 s"), "{text}");
    }

    #[test]
    fn one_client_or_one_class_spoils_a_rush() {
        let mut rushed = rushed();
        if let Some(trial) = &mut rushed.with {
            trial.settled = Exchanges::default();
            trial.failed_clients = 1;
            trial.pressed[0].state = ClassState::Attack;
        }
        let expected = [
            "short rush_dns-clients_served not_measured >=99%",
            "short rush_dns-clients_failed_clients 1_of_50 <=0",
            "short rush_dns-clients_classes_in_attack_after 1 <=0",
        ];
        assert_eq!(lines(&rushed), expected);
        rushed.with = None;
        assert!(lines(&rushed).is_empty());
    }
}
