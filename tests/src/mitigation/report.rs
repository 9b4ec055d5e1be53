//! The tables, the scorecard, and both as JSON.

use std::fmt;

use anyhow::Error;
use serde::Serialize;

use super::attack::{Attack, Prepared};
use super::{Benign, Group, Options, Rushed, Served, Trial};
use crate::scorecard::{Line, NOT_MEASURED, Scorecard};

/// The leak of an attack, its beginning included.
const MOST_LEAKED: f64 = 0.006;
/// The same of one that does what honest clients do to get in: a budget bounds it.
const MOST_LEAKED_BY_CHEATING: f64 = 0.013;
/// Of the connections that can be tracked, where the host forwards.
const MOST_TRACKED: f64 = 0.1;
/// Median latency under attack over that before.
const MOST_SLOWED: f64 = 1.5;
/// An attack that is slower proves less than it was meant to.
const LEAST_RATE: f64 = 0.95;

/// What a run measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Attack packets per second.
    pub rate: u64,
    /// Seconds of an attack with the throttler.
    pub seconds: f64,
    /// Every attack.
    pub attacked: Vec<Attacked>,
    /// Every rush.
    pub rushed: Vec<Rushed>,
    /// Every benign capture.
    pub benign: Vec<Benign>,
    /// What could not be done, and why.
    pub skipped: Vec<String>,
    /// Whether everything is gone.
    pub torn_down: bool,
    /// Attacks that could not be prepared.
    unreadable: Vec<String>,
}

/// One attack without the throttler and with it.
#[derive(Clone, Debug, Serialize)]
pub struct Attacked {
    /// The attack's name.
    pub name: String,
    /// Different frames; they come again after the last.
    pub frames: usize,
    /// Different sources.
    pub sources: usize,
    /// Whether it does what honest clients do to get in.
    pub cheats: bool,
    /// What of a capture isn't as it was.
    pub notes: Vec<String>,
    /// Without.
    pub without: Option<Trial>,
    /// With.
    pub with: Option<Trial>,
}

impl Attacked {
    pub(super) fn new(name: String, attack: &Attack, prepared: &Prepared) -> Self {
        let unfit = prepared.notes.unfit.iter();
        let mut notes: Vec<String> = unfit
            .map(|(unfit, count)| format!("{count} packets left out: {}", unfit.why()))
            .collect();
        if prepared.notes.filled > 0 {
            let filled = prepared.notes.filled;
            notes.push(format!(
                "{filled} packets that the capture cut filled up with zeros"
            ));
        }
        Self {
            name,
            cheats: attack.cheats(),
            frames: prepared.frames.len(),
            sources: prepared.sources,
            notes,
            without: None,
            with: None,
        }
    }

    fn score(&self, card: &mut Scorecard) {
        let name = &self.name;
        let Some(trial) = &self.with else { return };
        let rate = trial.sent_per_second / trial.rate as f64;
        card.add(
            rate >= LEAST_RATE,
            format!("{name}_rate"),
            format!("{:.0}pps", trial.sent_per_second),
            format!(">={:.0}pps", trial.rate as f64 * LEAST_RATE),
        );
        let leak = trial.leak.share();
        let most = if self.cheats {
            MOST_LEAKED_BY_CHEATING
        } else {
            MOST_LEAKED
        };
        card.add(
            leak.is_some_and(|leak| leak <= most),
            format!("{name}_leak"),
            leak.map_or(NOT_MEASURED.into(), |leak| format!("{:.2}%", leak * 100.0)),
            format!("<={}%", most * 100.0),
        );
        for (what, groups) in [("old", &Group::OLD[..]), ("new_tcp", &Group::NEW_TCP)] {
            let (failed, all) = trial.failed(groups);
            card.add(
                failed == 0 && all > 0,
                format!("{name}_{what}_failed"),
                format!("{failed}_of_{all}"),
                "<=0",
            );
        }
        let (failed, all) = trial.new_udp_failed();
        card.add(
            failed == 0 && all > 0,
            format!("{name}_new_udp_failed"),
            format!("{failed}_of_{all}"),
            "<=0",
        );
        if let Some(forwarded) = trial.forwarded {
            card.add(
                forwarded.share() <= MOST_TRACKED,
                format!("{name}_conntrack"),
                format!("{:.2}%", forwarded.share() * 100.0),
                format!("<={}%", MOST_TRACKED * 100.0),
            );
        }
        let slowed = trial.old.slowed();
        let name = format!("{name}_latency");
        card.push(Line::ratio_at_most(name, slowed, MOST_SLOWED));
    }
}

impl Trial {
    fn of<'a>(&'a self, groups: &'a [Group]) -> impl Iterator<Item = &'a Served> {
        let served = self.served.iter();
        served.filter(|served| groups.contains(&served.group))
    }

    /// Exchanges of some groups that failed, and all of them.
    fn failed(&self, groups: &[Group]) -> (usize, usize) {
        self.of(groups).fold((0, 0), |(failed, all), served| {
            (failed + served.failed, all + served.exchanges)
        })
    }

    /// New UDP clients that failed within their own retries, and all of them.
    fn new_udp_failed(&self) -> (usize, usize) {
        let newcomers = self.new_udp.iter();
        newcomers.fold((0, 0), |(failed, all), newcomers| {
            (failed + newcomers.failed, all + newcomers.clients)
        })
    }

    /// The old clients whose median has grown most.
    fn most_slowed(&self) -> Option<(f64, Group)> {
        let old = self.of(&Group::OLD);
        let ratios = old.filter_map(|served| Some((served.latency.slowed()?, served.group)));
        ratios.max_by(|(a, _), (b, _)| a.total_cmp(b))
    }
}

impl Report {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            rate: options.rate,
            seconds: options.duration.as_secs_f64(),
            attacked: Vec::new(),
            rushed: Vec::new(),
            benign: Vec::new(),
            skipped: options.skipped.clone(),
            torn_down: false,
            unreadable: Vec::new(),
        }
    }

    pub(super) fn unreadable(&mut self, name: String, error: &Error) {
        self.skipped.push(format!("{name}: {error:#}"));
        self.unreadable.push(name);
    }

    /// Notes whether everything is gone.
    pub(super) fn torn_down(&mut self, clean: bool) {
        self.torn_down = clean;
    }

    /// What was promised against what was measured.
    #[must_use]
    pub fn scorecard(&self) -> Scorecard {
        let mut card = Scorecard::default();
        for attacked in &self.attacked {
            attacked.score(&mut card);
        }
        for name in &self.unreadable {
            let target = format!("<={}%", MOST_LEAKED * 100.0);
            card.add(false, format!("{name}_leak"), NOT_MEASURED, target);
        }
        for rushed in &self.rushed {
            rushed.score(&mut card);
        }
        if !self.benign.is_empty() {
            let dropped: u64 = self.benign.iter().map(|benign| benign.not_passed).sum();
            let sent: u64 = self.benign.iter().map(|benign| benign.sent).sum();
            let is_whole = self.benign.iter().all(|benign| benign.error.is_none());
            card.add(
                dropped == 0 && is_whole,
                "benign_dropped",
                format!("{dropped}_of_{sent}"),
                "<=0",
            );
        }
        card.torn_down(self.torn_down);
        card
    }

    /// The report for programs.
    ///
    /// # Errors
    /// When a figure has no form in JSON.
    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        let mut value = serde_json::to_value(self)?;
        value["scorecard"] = serde_json::to_value(self.scorecard())?;
        Ok(value)
    }
}

/// The tables in Markdown, so that they can be pasted, and the scorecard behind them.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "A host with the default configuration: attacks of {} packets/s beside clients that \
             use it, and rushes of {} s.\n",
            self.rate, self.seconds
        )?;
        for attacked in &self.attacked {
            writeln!(f, "{attacked}")?;
        }
        for rushed in &self.rushed {
            writeln!(f, "{rushed}")?;
        }
        if !self.benign.is_empty() {
            fmt_benign(&self.benign, f)?;
        }
        for skipped in &self.skipped {
            writeln!(f, "SKIP: {skipped}\n")?;
        }
        write!(f, "{}", self.scorecard())
    }
}

fn fmt_benign(all: &[Benign], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "### benign captures\n")?;
    writeln!(
        f,
        "| capture | packets | not passed | lost before the host's interface |"
    )?;
    writeln!(f, "|---|--:|--:|--:|")?;
    for benign in all {
        let Benign {
            capture,
            sent,
            lost,
            not_passed,
            ..
        } = benign;
        writeln!(f, "| {capture} | {sent} | {not_passed} | {lost} |")?;
    }
    writeln!(f)?;
    for benign in all {
        if let Some(error) = &benign.error {
            writeln!(f, "SKIP: {error}\n")?;
        }
        if benign.not_passed > 0 {
            let outcomes = benign.outcomes.iter();
            let outcomes: Vec<String> = outcomes
                .map(|(outcome, packets)| format!("{packets} {outcome}"))
                .collect();
            writeln!(f, "{}: {}.\n", benign.capture, outcomes.join("; "))?;
        }
    }
    Ok(())
}

mod rush;
mod table;
#[cfg(test)]
mod tests;
