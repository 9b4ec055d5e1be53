//! CPU time: of the thread that receives the host's packets, and of the host's CPU.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::netns::offload::napi_threads;

/// A CPU's time by what it was spent on, in ticks, as in proc_stat(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    all: u64,
    /// System, interrupts and softirqs.
    kernel: u64,
    /// Nothing, or what gives way to everything else: a thread of this bench keeps the CPU awake.
    idle: u64,
    steal: u64,
}

impl Ticks {
    fn parse(stat: &str, cpu: usize) -> Result<Self> {
        let name = format!("cpu{cpu} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&name));
        let fields = line.with_context(|| format!("/proc/stat has no CPU {cpu}"))?;
        let fields: Vec<u64> = fields
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .context("/proc/stat has something else than numbers")?;
        let field = |index: usize| fields.get(index).copied().unwrap_or(0);
        Ok(Self {
            // What guests take is in user time already.
            all: fields.iter().take(8).sum(),
            kernel: field(2) + field(5) + field(6),
            idle: field(1) + field(3) + field(4),
            steal: field(7),
        })
    }
}

/// All counters at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    at: Instant,
    ticks: Ticks,
    receiving: Duration,
}

/// Shares of a CPU, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shares {
    /// The thread that takes the packets from the host's interface, through XDP and the stack.
    pub receiving: f64,
    /// The host's CPU in the kernel, receiving included.
    pub kernel: f64,
    /// The host's CPU doing anything.
    pub busy: f64,
    /// The host's CPU not given to this machine.
    pub steal: f64,
}

impl Sample {
    pub(super) fn take(interface: &str, cpu: usize) -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let receiving = napi_threads(interface).into_iter().map(|thread| {
            let path = format!("/proc/{thread}/schedstat");
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
            let nanoseconds = text.split_whitespace().next().unwrap_or_default();
            let nanoseconds = nanoseconds.parse::<u64>();
            nanoseconds.with_context(|| format!("{path} has no time"))
        });
        Ok(Self {
            at: Instant::now(),
            ticks: Ticks::parse(&stat, cpu)?,
            receiving: Duration::from_nanos(receiving.sum::<Result<u64>>()?),
        })
    }

    pub(super) fn since(&self, earlier: &Self) -> Shares {
        let all = (self.ticks.all - earlier.ticks.all).max(1) as f64;
        let share =
            |of: fn(&Ticks) -> u64| of(&self.ticks).saturating_sub(of(&earlier.ticks)) as f64 / all;
        let receiving = self.receiving.saturating_sub(earlier.receiving);
        let idle = share(|ticks| ticks.idle);
        let steal = share(|ticks| ticks.steal);
        Shares {
            receiving: receiving.as_secs_f64() / (self.at - earlier.at).as_secs_f64(),
            kernel: share(|ticks| ticks.kernel),
            busy: 1.0 - idle - steal,
            steal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_found_by_its_number_and_its_time_divided() {
        let stat = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 9 9 9 9 9 9 9 9 0 0\n\
                    cpu1 10 1 20 60 3 2 4 5 7 0\n";
        let ticks = Ticks::parse(stat, 1).unwrap();
        let expected = Ticks {
            all: 105,
            kernel: 26,
            idle: 64,
            steal: 5,
        };
        assert_eq!(ticks, expected);
        assert!(Ticks::parse(stat, 2).is_err());
    }
}
