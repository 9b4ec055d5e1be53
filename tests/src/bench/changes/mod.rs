//! What a change of the lists takes, while packets of known verdicts pass all the time.
//! docs/performance.md has the method.

mod lists;
mod report;
mod traffic;

use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

pub use report::{ChangeRow, ChangesReport};

use super::Length;
use super::cases::Family;
use crate::kernel::{Kernel, Sizes};
use crate::oracle::Rules;
use lists::{Side, prefixes};
use traffic::Traffic;
use xdp_user::api::types::ListKind;
use xdp_user::datapath::{Datapath as _, NewEntry};
use xdp_user::domain::Prefix;

/// What is done to the blocklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Filled from empty.
    Load,
    /// All entries go, as many others come.
    Replace,
    /// [`DELTA`] entries: half of them come, half go.
    Delta,
}

/// Entries of a small change, those that come and those that go together.
const DELTA: usize = 1_000;

/// How much and how often.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: usize,
    /// Entries of a list.
    entries: usize,
}

impl Effort {
    const fn of(length: Length) -> Self {
        let (rounds, entries) = match length {
            Length::Full => (5, 1_000_000),
            Length::Quick => (5, 100_000),
            Length::Smoke => (1, 1_000),
        };
        Self { rounds, entries }
    }
}

/// Milliseconds that a change took, of every round.
#[derive(Clone, Debug)]
struct Trial {
    family: Family,
    change: Change,
    times: Vec<f64>,
}

/// Measures both families in turn; `progress` is told what comes next.
///
/// # Errors
/// When the program can't be loaded, or an entry was refused.
pub fn run(length: Length, progress: &mut dyn FnMut(&str)) -> Result<ChangesReport> {
    let effort = Effort::of(length);
    let mut kernel = Kernel::load_with(&Sizes::default())?;
    kernel.apply(&Rules::default())?;
    let traffic = Traffic::new(&mut kernel)?;
    let mut stands = Family::ALL.map(|family| Stand::new(family, effort));
    let seen = traffic.beside(&mut kernel, |kernel| {
        for round in 0..effort.rounds {
            progress(&format!(
                "changes, round {} of {}",
                round + 1,
                effort.rounds
            ));
            // Another one comes first each time.
            for place in 0..stands.len() {
                let which = (place + round) % stands.len();
                stands[which].round(kernel)?;
            }
        }
        Ok(())
    })?;
    let trials: Vec<Trial> = stands.into_iter().flat_map(|stand| stand.trials).collect();
    Ok(ChangesReport::new(effort, &trials, seen))
}

/// One family's lists, and the times of their changes.
struct Stand {
    first: Vec<NewEntry>,
    second: Vec<NewEntry>,
    trials: [Trial; 3],
}

impl Stand {
    fn new(family: Family, effort: Effort) -> Self {
        let trial = |change| Trial {
            family,
            change,
            times: Vec::new(),
        };
        Self {
            first: prefixes(family, Side::First, effort.entries),
            second: prefixes(family, Side::Second, effort.entries),
            trials: [Change::Load, Change::Replace, Change::Delta].map(trial),
        }
    }

    /// Fills the list, replaces it, changes a little of it, and empties it again.
    fn round(&mut self, kernel: &mut Kernel) -> Result<()> {
        let of = |entries: &[NewEntry]| -> Vec<Prefix> {
            entries.iter().map(|entry| entry.prefix).collect()
        };
        let half = (DELTA / 2).min(self.first.len() / 4);
        let (come, go) = (&self.first[..half], &self.second[..half]);
        let changes: [(&[NewEntry], Vec<Prefix>); 3] = [
            (&self.first, Vec::new()),
            (&self.second, of(&self.first)),
            (come, of(go)),
        ];
        for (trial, (put, remove)) in self.trials.iter_mut().zip(&changes) {
            let started = Instant::now();
            change(kernel, put, remove)?;
            trial.times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        let left = [of(&self.second[half..]), of(come)].concat();
        change(kernel, &[], &left)
    }
}

fn change(kernel: &mut Kernel, put: &[NewEntry], remove: &[Prefix]) -> Result<()> {
    let datapath = kernel.datapath();
    let refused = datapath.change_entries(ListKind::Block, put, remove);
    match refused.into_iter().next() {
        Some((prefix, error)) => Err(error).with_context(|| format!("changing {prefix}")),
        None => Ok(()),
    }
}
