//! The tables, the scorecard, and both as JSON.

use std::fmt;

use anyhow::Error;
use serde::Serialize;

use super::attack::Prepared;
use super::timeline::MOST_LEAKED;
use super::{Benign, Group, Options, Served, Trial};
use crate::scorecard::{Line, NOT_MEASURED, Scorecard};

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
    /// What of a capture isn't as it was.
    pub notes: Vec<String>,
    /// Without.
    pub without: Option<Trial>,
    /// With.
    pub with: Option<Trial>,
}

impl Attacked {
    pub(super) fn new(name: String, prepared: &Prepared) -> Self {
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
        card.add(
            leak.is_some_and(|leak| leak <= MOST_LEAKED),
            format!("{name}_leak"),
            leak.map_or(NOT_MEASURED.into(), |leak| format!("{:.2}%", leak * 100.0)),
            format!("<={}%", MOST_LEAKED * 100.0),
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
            "Attacks of {} packets/s for {} s at a host with the default configuration, beside \
             clients that use it.\n",
            self.rate, self.seconds
        )?;
        for attacked in &self.attacked {
            writeln!(f, "{attacked}")?;
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

impl fmt::Display for Attacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, sources, .. } = self;
        writeln!(
            f,
            "### {name}\n\n{} frames from {sources} sources.",
            self.frames
        )?;
        for note in &self.notes {
            writeln!(f, "{note}.")?;
        }
        let columns = [("without", &self.without), ("with", &self.with)];
        let columns: Vec<_> = columns
            .iter()
            .filter_map(|(name, trial)| Some((*name, trial.as_ref()?)))
            .collect();
        let trials: Vec<&Trial> = columns.iter().map(|(_, trial)| *trial).collect();
        write!(f, "\n| |")?;
        for (name, _) in &columns {
            write!(f, " {name} |")?;
        }
        writeln!(f, "\n|---|{}", "--:|".repeat(columns.len()))?;
        for (title, cell) in ROWS {
            row(f, title, &trials, cell)?;
        }
        writeln!(
            f,
            "| *clients: failed, slow of all; p50, p99 in ms (before)* |{}",
            " |".repeat(columns.len())
        )?;
        let groups = trials.iter().flat_map(|trial| &trial.served);
        let mut seen = Vec::new();
        for group in groups.map(|served| served.group) {
            if seen.contains(&group) {
                continue;
            }
            seen.push(group);
            row(f, group.name(), &trials, |trial| {
                let mut served = trial.served.iter();
                let found = served.find(|served| served.group == group);
                found.map_or("-".to_owned(), fate)
            })?;
        }
        for trial in trials {
            fmt_outcomes(trial, f)?;
        }
        Ok(())
    }
}

type Cell = fn(&Trial) -> String;

const ROWS: [(&str, Cell); 9] = [
    ("attack packets sent per second", |trial| {
        format!("{:.0}", trial.sent_per_second)
    }),
    ("… lost before the host's interface", |trial| {
        percent(Some(trial.lost as f64 / trial.leak.sent.max(1) as f64))
    }),
    ("**reached the stack**", |trial| {
        format!("**{}**", percent(trial.leak.share()))
    }),
    ("… in the first second", |trial| {
        percent(trial.first_second.share())
    }),
    ("mitigated after", |trial| {
        trial
            .mitigated_after_ms
            .map_or("never".into(), |ms| format!("{ms} ms"))
    }),
    ("CPU receiving packets (before)", |trial| {
        cpu(trial.cpu.receiving, trial.cpu_quiet.receiving)
    }),
    ("host's CPU in the kernel (before)", |trial| {
        cpu(trial.cpu.kernel, trial.cpu_quiet.kernel)
    }),
    ("host's CPU busy (before)", |trial| {
        cpu(trial.cpu.busy, trial.cpu_quiet.busy)
    }),
    ("old clients' median latency against before", |trial| {
        let all = trial.old.slowed().map_or("-".into(), times);
        match trial.most_slowed() {
            Some((most, group)) => format!("{all}; {}: {}", group.name(), times(most)),
            None => all,
        }
    }),
];

fn times(ratio: f64) -> String {
    format!("{ratio:.2} ×")
}

fn row(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    trials: &[&Trial],
    cell: impl Fn(&Trial) -> String,
) -> fmt::Result {
    write!(f, "| {title} |")?;
    for trial in trials {
        write!(f, " {} |", cell(trial))?;
    }
    writeln!(f)
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.2} %", share * 100.0))
}

fn cpu(during: f64, before: f64) -> String {
    format!("{:.0} % ({:.0} %)", during * 100.0, before * 100.0)
}

fn fate(served: &Served) -> String {
    let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
    let Served {
        exchanges,
        failed,
        slow,
        latency,
        ..
    } = served;
    let under = format!("{}, {}", ms(latency.p50_ms), ms(latency.p99_ms));
    let fate = format!("{failed}, {slow} of {exchanges}; {under}");
    match latency.quiet_p50_ms {
        None => fate,
        before => format!("{fate} ({}, {})", ms(before), ms(latency.quiet_p99_ms)),
    }
}

/// What the daemon says, and whether another count agrees.
fn fmt_outcomes(trial: &Trial, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let outcomes: Vec<String> = trial
        .outcomes
        .iter()
        .map(|(outcome, packets)| format!("{packets} {outcome}"))
        .collect();
    if !outcomes.is_empty() {
        writeln!(f, "\nBy the daemon's count: {}.", outcomes.join("; "))?;
    }
    match trial.crosscheck {
        Some(check) if !check.agrees() => writeln!(
            f,
            "The counts DISAGREE: {} packets passed by the daemon's count, {} came to the stack.",
            check.passed, check.arrived
        ),
        Some(_) | None => Ok(()),
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

#[cfg(test)]
mod tests;
