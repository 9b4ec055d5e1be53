//! What a packet costs: the real program under `BPF_PROG_TEST_RUN`, with many distinct sources,
//! against references in the same run; what a change of the lists takes while packets pass; and live
//! on a veth pair, against its peers.
//! docs/performance.md has the methods.

#[allow(dead_code, reason = "the programs in the kernel use the rest")]
#[path = "../../bpf/src/abi.rs"]
pub(crate) mod abi;
mod cases;
pub mod changes;
mod figures;
mod fill;
mod filter;
mod idle;
mod lines;
pub mod live;
mod measure;
mod plan;
mod report;
mod scorecard;
pub mod scrape;
pub(crate) mod stand;
mod strangers;
mod trials;

use anyhow::{Context, Result};

pub use crate::scorecard::Line;
pub use cases::{Case, Family, Scenario};
pub use figures::Figure;
pub use idle::IdlePages;
pub use report::{Machine, Report, Row};
pub use strangers::{Strangers, strangers};

use measure::{Effort, On};
use plan::Size;
use stand::Stand;

/// How thorough a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Every size, nine rounds: minutes.
    Full,
    /// Nothing of a million, five rounds.
    Quick,
    /// Every case once on small tables with few packets: shows that each is judged as it must be,
    /// and nothing about time.
    Smoke,
}

impl Length {
    const fn effort(self) -> Effort {
        let (rounds, call_ns) = match self {
            Self::Full => (9, Some(40e6)),
            Self::Quick => (5, Some(25e6)),
            Self::Smoke => (1, None),
        };
        Effort { rounds, call_ns }
    }
}

/// Measures everything; `progress` is told what comes next.
///
/// # Errors
/// When a program can't be loaded, or packets were judged otherwise than a scenario says.
pub fn run(length: Length, progress: &mut dyn FnMut(&str)) -> Result<Report> {
    let effort = length.effort();
    let mut rows = Vec::new();
    for (size, mut scenarios) in plan::plan(length) {
        progress(&format!(
            "filling lists of {}, room for {} sources",
            size.listed, size.slots
        ));
        let mut stand = Stand::new(size)?;
        let few = scenarios.iter().find_map(Scenario::with_few);
        let few = few.map(|Scenario { listed, .. }| Stand::new(Size { listed, ..size }));
        let mut stand_of_few = few.transpose()?;
        if measure::cpus(2).is_err() {
            scenarios.retain(|scenario| scenario.threads == 1);
        }
        for scenario in scenarios {
            let few = scenario.with_few().zip(stand_of_few.as_mut());
            let few = few.map(|(scenario, stand)| On { stand, scenario });
            let stand = &mut stand;
            let measured = measure::scenario(On { stand, scenario }, few, size.slots, effort)
                .with_context(|| format!("measuring {scenario:?}"))?;
            let row = Row::new(scenario, &measured);
            progress(&row.to_string());
            rows.push(row);
        }
    }
    rows.sort_by_key(|row| row.scenario);
    Report::new(effort.rounds, rows)
}
