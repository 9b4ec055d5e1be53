//! What a packet costs on a live interface: the CPU time that a veth pair's receiving end needs for
//! a dropped packet, for the real program and for its peers. docs/performance.md has the method.
//!
//! Everything is in network namespaces of this process and is gone with it.

mod flood;
mod lane;
mod receiver;
mod report;
mod rounds;

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use serde::Serialize;

pub use receiver::Receiver;
pub use report::{LiveReport, LiveRow, Missing};

use super::Length;
use super::abi::Aim;
use super::cases::{Family, Pool, seed};
use super::measure::cpus;
use crate::netns::Namespace;
use flood::Flood;
use rounds::{Stand, Trial};

/// Where the packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sources {
    /// One listed address floods.
    One,
    /// Every packet comes from any of the listed addresses.
    All,
}

impl Sources {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::One, Self::All];

    /// What the sender is told, for packets from a list of so many. `position` makes it another
    /// sequence each time.
    fn aim(self, listed: u32, position: u64) -> Aim {
        let all = Pool::BlockedHosts.aim(Family::Ipv4, listed.into());
        match self {
            Self::One => Aim {
                first: all.first + u64::from(listed / 2),
                count: 1,
                ..all
            },
            Self::All => Aim {
                random: 1,
                state: seed(position, 0),
                ..all
            },
        }
    }
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: usize,
    /// Addresses on the lists.
    listed: u32,
    /// CPU time of the receiver in a round, about; none: as few packets as may be.
    round_ns: Option<f64>,
}

impl Effort {
    const fn of(length: Length) -> Self {
        let (rounds, listed, round_ns) = match length {
            Length::Full => (17, 100_000, Some(0.25e9)),
            Length::Quick => (9, 100_000, Some(0.15e9)),
            Length::Smoke => (1, 1_000, None),
        };
        Self {
            rounds,
            listed,
            round_ns,
        }
    }
}

/// Measures all receivers that are installed; `progress` is told what comes next.
///
/// A receiver that can't be had is named in the report, and so is the reason when nothing can be
/// measured here.
///
/// # Errors
/// When a receiver dropped other packets than it must, or the measuring itself failed.
pub fn run(length: Length, progress: &mut dyn FnMut(&str)) -> Result<LiveReport> {
    let effort = Effort::of(length);
    let (mut flood, cpu) = match sender() {
        Ok(sender) => sender,
        Err(error) => return Ok(LiveReport::impossible(&error, effort.listed)),
    };
    let mut stands = Vec::new();
    let mut missing = Vec::new();
    let listed = addresses(effort.listed);
    for (number, receiver) in Receiver::ALL.into_iter().enumerate() {
        progress(&format!("installing {}", receiver.name()));
        match Stand::new(receiver, number, &flood, cpu, &listed) {
            Ok(stand) => stands.push(stand),
            Err(error) => missing.push(Missing::new(receiver, &error)),
        }
    }
    let mut trials: Vec<Trial> = Vec::new();
    for stand in &mut stands {
        for sources in Sources::BOTH {
            let trial = stand
                .warm_up(&mut flood, sources, effort)
                .with_context(|| format!("warming up {}", stand.receiver.name()))?;
            trials.push(trial);
        }
    }
    for round in 0..effort.rounds {
        progress(&format!("live, round {} of {}", round + 1, effort.rounds));
        // Another one comes first each time.
        for place in 0..trials.len() {
            let which = (place + round) % trials.len();
            let trial = &mut trials[which];
            let mut stands = stands.iter_mut();
            if let Some(stand) = stands.find(|stand| stand.receiver == trial.receiver) {
                let sample = stand.measure(&mut flood, trial, effort.listed, round as u64)?;
                trial.samples.push(sample);
            }
        }
    }
    Ok(LiveReport::new(effort, &trials, missing))
}

/// The sender, and its CPU, which is the receivers', too: what two CPUs have to tell each other, and what a
/// sender costs a receiver that it overruns, is no part of what is measured then.
fn sender() -> Result<(Flood, usize)> {
    let cpu = cpus(1)?[0];
    let mut flood = Flood::new(Namespace::new("sender")?, cpu)?;
    flood.probe(Sources::One.aim(1, 0))?;
    Ok((flood, cpu))
}

/// The addresses that [`Sources::All`] sends from.
#[allow(
    clippy::cast_possible_truncation,
    reason = "an IPv4 address is in the lower half"
)]
fn addresses(listed: u32) -> Vec<Ipv4Addr> {
    let aim = Sources::All.aim(listed, 0);
    (0..u64::from(listed))
        .map(|number| Ipv4Addr::from(aim.address(aim.first + number) as u32))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    #[allow(clippy::cast_possible_truncation, reason = "IPv4")]
    fn every_packet_comes_from_a_listed_address() {
        let listed: HashSet<Ipv4Addr> = addresses(1_000).into_iter().collect();
        assert_eq!(listed.len(), 1_000);
        for (sources, distinct) in [(Sources::One, 1), (Sources::All, 1_000)] {
            let mut aim = sources.aim(1_000, 7);
            let seen: HashSet<_> = (0..20_000)
                .map(|_| Ipv4Addr::from(aim.next() as u32))
                .collect();
            assert_eq!(seen.len(), distinct);
            assert!(seen.is_subset(&listed));
        }
    }
}
