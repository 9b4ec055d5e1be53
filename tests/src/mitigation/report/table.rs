//! The table of an attack, in Markdown.

use std::fmt;

use super::Attacked;
use crate::mitigation::{Newcomers, Profile, Served, Trial};

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
        fmt_new_udp(&trials, f)?;
        for trial in trials {
            fmt_outcomes(trial, f)?;
        }
        Ok(())
    }
}

type Cell = fn(&Trial) -> String;

const ROWS: [(&str, Cell); 10] = [
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
    ("connections tracked at most; resets from inside", |trial| {
        let seen = trial.forwarded;
        seen.map_or("-".into(), |seen| {
            format!("{}; {}", percent(Some(seen.share())), seen.resets)
        })
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

pub(super) fn row<T>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    trials: &[&T],
    cell: impl Fn(&T) -> String,
) -> fmt::Result {
    write!(f, "| {title} |")?;
    for trial in trials {
        write!(f, " {} |", cell(trial))?;
    }
    writeln!(f)
}

pub(super) fn percent(share: Option<f64>) -> String {
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

/// Each way to ask once, as all trials have the same.
fn fmt_new_udp(trials: &[&Trial], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "| *new UDP clients: failed within their own retries, at once of all; datagrams each; \
         median, longest in s* |{}",
        " |".repeat(trials.len())
    )?;
    for profile in Profile::ALL {
        let title = format!("newcomers, {}", profile.name());
        row(f, &title, trials, |trial| {
            let mut newcomers = trial.new_udp.iter();
            let found = newcomers.find(|newcomers| newcomers.profile == profile);
            found.map_or("-".to_owned(), fate_of_new)
        })?;
    }
    Ok(())
}

fn fate_of_new(newcomers: &Newcomers) -> String {
    let seconds = |time: Option<f64>| time.map_or("-".to_owned(), |time| format!("{time:.3}"));
    let Newcomers {
        clients,
        failed,
        at_once,
        datagrams,
        median_s,
        max_s,
        ..
    } = newcomers;
    let each = *datagrams as f64 / (*clients).max(1) as f64;
    let times = format!("{}, {}", seconds(*median_s), seconds(*max_s));
    format!("{failed}, {at_once} of {clients}; {each:.1}; {times}")
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
