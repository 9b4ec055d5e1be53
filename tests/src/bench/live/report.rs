//! The live half's table and promises.

use std::fmt;

use anyhow::Error;
use serde::Serialize;

use super::super::figures::{Figure, ratio};
use super::rounds::Trial;
use super::{Effort, Receiver, Sources};
use crate::scorecard::{Line, Scorecard};

/// What the live half found out.
#[derive(Clone, Debug, Serialize)]
pub struct LiveReport {
    /// Rounds that each median is of.
    pub rounds: usize,
    /// Addresses on each list.
    pub listed: u32,
    /// A line of the table each.
    pub rows: Vec<LiveRow>,
    /// What could not be measured here.
    pub missing: Vec<Missing>,
    /// The promises.
    pub scorecard: Scorecard,
}

/// One receiver under one kind of flood.
#[derive(Clone, Debug, Serialize)]
pub struct LiveRow {
    /// Who.
    pub receiver: Receiver,
    /// What came.
    pub sources: Sources,
    /// Nanoseconds of the receiver's CPU time per packet.
    pub ns: Figure,
    /// Those by what bare `XDP_DROP` cost in the same round.
    pub against_bare: Option<Figure>,
}

/// A receiver that could not be had, or everything.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    /// Who; nobody in particular when nothing could be measured.
    pub receiver: Option<Receiver>,
    /// Why.
    pub why: String,
}

impl Missing {
    pub(super) fn new(receiver: Receiver, error: &Error) -> Self {
        Self {
            receiver: Some(receiver),
            why: format!("{error:#}"),
        }
    }
}

impl LiveReport {
    pub(super) fn new(effort: Effort, trials: &[Trial], missing: Vec<Missing>) -> Self {
        let rows = Sources::BOTH.iter().flat_map(|sources| {
            let these = trials.iter().filter(|trial| trial.sources == *sources);
            these.filter_map(|trial| row(trial, trials))
        });
        Self {
            rounds: effort.rounds,
            listed: effort.listed,
            rows: rows.collect(),
            missing,
            scorecard: scorecard(trials),
        }
    }

    /// Nothing can be measured here.
    pub(super) fn impossible(error: &Error, listed: u32) -> Self {
        Self {
            rounds: 0,
            listed,
            rows: Vec::new(),
            missing: vec![Missing {
                receiver: None,
                why: format!("{error:#}"),
            }],
            scorecard: scorecard(&[]),
        }
    }
}

fn row(trial: &Trial, trials: &[Trial]) -> Option<LiveRow> {
    let ns: Vec<f64> = trial.samples.iter().map(|sample| sample.ns).collect();
    Some(LiveRow {
        receiver: trial.receiver,
        sources: trial.sources,
        ns: Figure::of(&ns)?,
        against_bare: costs(trials, trial.sources, trial.receiver, Receiver::Bare),
    })
}

/// How many times as much CPU time one takes as another, round by round.
fn costs(
    trials: &[Trial],
    sources: Sources,
    receiver: Receiver,
    another: Receiver,
) -> Option<Figure> {
    let samples = |receiver| {
        let mut trials = trials.iter();
        let found = trials.find(|trial| (trial.receiver, trial.sources) == (receiver, sources));
        found.map(|trial| trial.samples.as_slice())
    };
    let rounds = samples(receiver)?.iter().zip(samples(another)?);
    let ratios: Option<Vec<f64>> = rounds.map(|(a, b)| ratio(a.ns, b.ns)).collect();
    Figure::of(&ratios?)
}

/// The promises. Rates are those of a core that does nothing else: whoever takes half the CPU time
/// per packet drops twice as many.
fn scorecard(trials: &[Trial]) -> Scorecard {
    let rate_of = |receiver, sources, against| {
        let ratio = costs(trials, sources, against, receiver);
        ratio.map(|figure| figure.median)
    };
    let rate = |sources, against| rate_of(Receiver::Throttle, sources, against);
    [
        ("one_source_against_bare", Sources::One, Receiver::Bare, 0.8),
        (
            "100k_against_xdp_filter",
            Sources::All,
            Receiver::XdpFilter,
            1.5,
        ),
        ("100k_against_nftables", Sources::All, Receiver::NftSet, 2.0),
        ("100k_against_ipset", Sources::All, Receiver::Ipset, 2.0),
    ]
    .into_iter()
    .map(|(name, sources, against, least)| {
        let line = Line::ratio_at_least(format!("live_{name}"), rate(sources, against), least);
        let is_of_bare = against == Receiver::Bare;
        let floor = is_of_bare.then(|| rate_of(Receiver::Least, sources, against));
        line.with_floor(floor.flatten())
    })
    .collect()
}

/// The table in Markdown, and what is missing in it.
impl fmt::Display for LiveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Live on veth, {} addresses listed. CPU time per packet of the receiving core, median \
             of {} interleaved rounds ± half the distance of the quartiles.\n",
            self.listed, self.rounds
        )?;
        writeln!(
            f,
            "| receiver | sources | ns per packet | × bare | Mpps of a core |"
        )?;
        writeln!(f, "|---|---|--:|--:|--:|")?;
        for row in &self.rows {
            let sources = match row.sources {
                Sources::One => "one".to_owned(),
                Sources::All => format!("{}, random", self.listed),
            };
            writeln!(f, "| {} | {sources} |{}", row.receiver.name(), Cells(row))?;
        }
        for Missing { receiver, why } in &self.missing {
            let who = receiver.map_or("the live half", Receiver::name);
            writeln!(f, "\nNot measured: {who}: {why}")?;
        }
        Ok(())
    }
}

struct Cells<'a>(&'a LiveRow);

impl fmt::Display for Cells<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LiveRow {
            ns, against_bare, ..
        } = self.0;
        write!(f, " {:.0} ± {:.0} |", ns.median, ns.spread())?;
        match against_bare {
            Some(times) => write!(f, " {:.2} ± {:.2} |", times.median, times.spread())?,
            None => f.write_str(" – |")?,
        }
        write!(f, " {:.2} |", 1e3 / ns.median)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rounds::Sample;
    use super::*;

    fn trial(receiver: Receiver, sources: Sources, ns: &[f64]) -> Trial {
        let sample = |ns: &f64| Sample { ns: *ns };
        Trial::with(receiver, sources, ns.iter().map(sample).collect())
    }

    fn shown(trials: &[Trial], name: &str) -> String {
        let card = scorecard(trials);
        let line = card.lines().iter().find(|line| line.name == name).unwrap();
        line.to_string()
    }

    #[test]
    fn a_promise_is_the_median_of_the_ratios_of_each_round() {
        let trials = [
            trial(Receiver::Throttle, Sources::All, &[100.0, 200.0, 100.0]),
            trial(Receiver::NftSet, Sources::All, &[210.0, 420.0, 900.0]),
            trial(Receiver::XdpFilter, Sources::All, &[140.0, 280.0, 140.0]),
        ];
        let name = "live_100k_against_nftables";
        assert_eq!(shown(&trials, name), format!("ok {name} 2.10x >=2x"));
        let name = "live_100k_against_xdp_filter";
        assert_eq!(shown(&trials, name), format!("short {name} 1.40x >=1.5x"));
    }

    #[test]
    fn the_floor_is_the_least_that_drops_what_is_listed() {
        let trials = [
            trial(Receiver::Bare, Sources::One, &[100.0, 90.0, 100.0]),
            trial(Receiver::Parse, Sources::One, &[110.0, 99.0, 110.0]),
            trial(Receiver::Least, Sources::One, &[125.0, 180.0, 125.0]),
            trial(Receiver::Throttle, Sources::One, &[200.0, 180.0, 200.0]),
        ];
        let name = "live_one_source_against_bare";
        let expected = format!("short {name} 0.50x >=0.8x floor 0.80x");
        assert_eq!(shown(&trials, name), expected);
    }

    #[test]
    fn a_receiver_that_is_missing_is_short_and_named() {
        let name = "live_100k_against_ipset";
        assert_eq!(shown(&[], name), format!("short {name} not_measured >=2x"));
        let report = LiveReport::impossible(&anyhow::anyhow!("no live frames"), 1_000);
        let text = report.to_string();
        assert!(
            text.contains("Not measured: the live half: no live frames"),
            "{text}"
        );
    }

    #[test]
    fn a_row_shows_what_a_core_could_drop() {
        let trials = [
            trial(Receiver::Bare, Sources::One, &[100.0]),
            trial(Receiver::Throttle, Sources::One, &[125.0]),
        ];
        let row = row(&trials[1], &trials).unwrap();
        assert_eq!(Cells(&row).to_string(), " 125 ± 0 | 1.25 ± 0.00 | 8.00 |");
    }
}
