//! Runs programs under the driver and takes the time.

use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::cases::{Case, Family, Scenario};
use super::figures::{Figure, ratio, without};
use super::stand::{Program, Stand};
use crate::kernel::pin_to_cpu;
use crate::packet::Packet;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) rounds: usize,
    /// Packets of one call take about so long: much longer than entering and leaving it. None:
    /// as few as may be, for a run that isn't about time.
    pub(super) call_ns: Option<f64>,
}

/// What one program cost in a scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) program: Program,
    /// Nanoseconds of CPU time per packet, those of the driver before `XDP_DROP` subtracted round
    /// by round; `Bare`: nothing subtracted.
    pub(super) ns: Figure,
}

/// Fewest packets of one call, and most.
const FEWEST: u32 = 5_000;
const MOST: u32 = 4_000_000;
/// Packets of a call that shows how long they take.
const PROBE: u32 = 20_000;
/// Share of the packets that may be judged otherwise than the case says, for a source that the
/// kernel's LRU evicted at the wrong moment.
const STRAY: f64 = 0.001;

/// What a scenario showed.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// Of every program that can do it.
    pub(super) costs: Vec<Cost>,
    /// Packets per second of the program on all threads, by those of one thread in the same round;
    /// only where there are several threads.
    pub(super) speed_up: Option<Figure>,
}

/// Measures every program that can do it, in interleaved rounds.
pub(super) fn scenario(
    stand: &mut Stand,
    scenario: &Scenario,
    slots: u32,
    effort: Effort,
) -> Result<Measured> {
    let mut bench = Bench {
        cpus: cpus(scenario.threads)?,
        frame: frame(scenario.family),
        position: 0,
        stand,
        scenario,
    };
    bench.stand.limit(scenario.case)?;
    let mut trials = bench.warm_up(slots, effort)?;
    let before = bench.judged()?;
    let mut run = [0; 3];
    for round in 0..effort.rounds {
        // Another one comes first each time.
        for place in 0..trials.len() {
            let which = (place + round) % trials.len();
            let trial = &mut trials[which];
            let ns = bench.run(trial.program, trial.threads, trial.packets, true)?;
            trial.times.push(ns);
            if trial.program.judges() {
                run[judge(trial.program)] += u64::from(trial.packets) * trial.threads as u64;
            }
        }
    }
    for ((before, after), run) in before.into_iter().zip(bench.judged()?).zip(run) {
        check(scenario.case, after.0 - before.0, after.1 - before.1, run)?;
    }
    measured(&trials, scenario.threads)
}

/// A program on so many threads, with the CPU time of each round.
struct Trial {
    program: Program,
    threads: usize,
    /// Of each thread in each round.
    packets: u32,
    /// Nanoseconds per packet.
    times: Vec<f64>,
}

struct Bench<'a> {
    stand: &'a mut Stand,
    scenario: &'a Scenario,
    cpus: Vec<usize>,
    frame: Vec<u8>,
    /// Packets that each thread has had.
    position: u64,
}

impl Bench<'_> {
    /// Makes every source known to every program, and says what is to be measured.
    fn warm_up(&mut self, slots: u32, effort: Effort) -> Result<Vec<Trial>> {
        let all = self.scenario.threads;
        // A source table that new ones fill is measured full.
        let sources = match self.scenario.case {
            Case::New => 2 * slots,
            Case::Refused if self.scenario.sources == 0 => 2 * slots,
            Case::BlockedHost
            | Case::BlockedPrefix
            | Case::Allowed
            | Case::Known
            | Case::Over
            | Case::Banned
            | Case::Refused => self.scenario.sources,
        };
        let mut trials = Vec::new();
        for program in Program::ALL {
            if !self.stand.can(program, self.scenario.case) {
                continue;
            }
            if program.judges() {
                self.run(program, all, sources, false)?;
            }
            let packets = match effort.call_ns {
                Some(call_ns) => {
                    self.run(program, all, PROBE, true)?;
                    packets_for(call_ns, self.run(program, all, PROBE, true)?)
                }
                None => FEWEST,
            };
            let alone = matches!(program, Program::Bare | Program::Throttle).then_some(1);
            let threads = alone.filter(|alone| *alone != all).into_iter().chain([all]);
            trials.extend(threads.map(|threads| Trial {
                program,
                threads,
                packets,
                times: Vec::new(),
            }));
        }
        Ok(trials)
    }

    /// Nanoseconds of CPU time per packet, the threads' mean.
    fn run(&mut self, program: Program, threads: usize, packets: u32, random: bool) -> Result<f64> {
        // One thread alone has the sources that it has beside others: with all of them it would
        // have more to keep in its cache.
        let aims = self.scenario.aims(self.position, random);
        self.position += u64::from(packets);
        let cpus = self.cpus.iter().copied().take(threads);
        let aims: Vec<_> = cpus.zip(aims).collect();
        self.stand.aim_at(&aims, program)?;
        let driver = self.stand.driver(program)?;
        let start = Barrier::new(threads);
        let times = thread::scope(|scope| {
            let threads: Vec<_> = aims
                .iter()
                .map(|(cpu, _)| {
                    let (start, frame) = (&start, &self.frame);
                    scope.spawn(move || call(driver, *cpu, frame, packets, start))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .map_err(|_| anyhow!("a measuring thread panicked"))?
                })
                .collect::<Result<Vec<f64>>>()
        })?;
        Ok(times.iter().sum::<f64>() / times.len() as f64)
    }

    /// By whom as [`judge`] numbers them: packets judged as they must be, and all.
    fn judged(&self) -> Result<[(u64, u64); 3]> {
        let case = self.scenario.case;
        Ok([
            self.stand.judged(Program::Throttle, case)?,
            self.stand.judged(Program::Lpm, case)?,
            self.stand.judged(Program::XdpFilter, case)?,
        ])
    }
}

/// Who counts a program's packets: the real program, the references together, xdp-filter.
const fn judge(program: Program) -> usize {
    match program {
        Program::Throttle => 0,
        Program::Bare | Program::Parse | Program::Line | Program::Lpm | Program::Hash => 1,
        Program::XdpFilter => 2,
    }
}

/// One call into the kernel, on one CPU.
fn call(driver: &Xdp, cpu: usize, frame: &[u8], packets: u32, start: &Barrier) -> Result<f64> {
    let pinned = pin_to_cpu(cpu);
    start.wait();
    pinned?;
    let before = cpu_ns()?;
    let result = driver
        .test_run(TestRunOptions {
            data_in: Some(frame),
            repeat: packets,
            ..TestRunOptions::new()
        })
        .with_context(|| format!("running the driver for {packets} packets"))?;
    let after = cpu_ns()?;
    match result.return_value {
        1 | 2 => Ok((after - before) / f64::from(packets)),
        other => bail!("the driver could not call the program: XDP action {other}"),
    }
}

/// CPU time of this thread, in nanoseconds. What others do on the CPU meanwhile is not in it, nor
/// the kernel's wait before and after a call.
fn cpu_ns() -> Result<f64> {
    let time =
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("reading the thread's CPU time")?;
    Ok(time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64)
}

fn measured(trials: &[Trial], threads: usize) -> Result<Measured> {
    let gross = |program, threads| {
        let mut trials = trials.iter();
        let found = trials.find(|trial| (trial.program, trial.threads) == (program, threads));
        found.map(|trial| trial.times.as_slice())
    };
    let net = |program, threads| {
        let bare = gross(Program::Bare, threads)?;
        gross(program, threads).map(|times| without(times, bare))
    };
    let cost = |program| {
        let figure = match program {
            Program::Bare => Figure::of(gross(program, threads)?),
            Program::Parse
            | Program::Line
            | Program::Throttle
            | Program::Lpm
            | Program::Hash
            | Program::XdpFilter => Figure::of(&net(program, threads)?),
        };
        figure.map(|ns| Cost { program, ns })
    };
    let speed_up = || {
        let alone = net(Program::Throttle, 1)?;
        let together = net(Program::Throttle, threads)?;
        speed_ups(&alone, &together, threads)
    };
    Ok(Measured {
        costs: Program::ALL.into_iter().filter_map(cost).collect(),
        speed_up: if threads > 1 { speed_up() } else { None },
    })
}

/// How many times as many packets per second so many threads get through as one, round by round.
fn speed_ups(alone: &[f64], together: &[f64], threads: usize) -> Option<Figure> {
    let rounds = alone.iter().zip(together);
    let ratios: Option<Vec<f64>> = rounds
        .map(|(alone, together)| Some(threads as f64 * ratio(*alone, *together)?))
        .collect();
    Figure::of(&ratios?)
}

/// Fails when the packets did not meet the case that the table will claim.
fn check(case: Case, wanted: u64, all: u64, run: u64) -> Result<()> {
    let lost = run.abs_diff(all) + (all - wanted);
    ensure!(
        lost as f64 <= run as f64 * STRAY,
        "{}: of {run} packets {all} were judged and {wanted} as they had to be; this measurement \
         says nothing",
        case.name()
    );
    Ok(())
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded by the line above"
)]
fn packets_for(call_ns: f64, packet_ns: f64) -> u32 {
    (call_ns / packet_ns.max(1.0)).clamp(FEWEST.into(), MOST.into()) as u32
}

fn frame(family: Family) -> Vec<u8> {
    match family {
        Family::Ipv4 => Packet::v4("192.0.2.1", "198.51.100.1"),
        Family::Ipv6 => Packet::v6("2001:db8::1", "2001:db8:1::1"),
    }
    .udp(4000, 53)
    .build()
}

/// The first CPUs that this process may run on.
pub(super) fn cpus(threads: usize) -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("asking for the CPUs")?;
    let cpus: Vec<usize> = (0..CpuSet::count())
        .filter(|cpu| allowed.is_set(*cpu).unwrap_or(false))
        .take(threads)
        .collect();
    ensure!(
        cpus.len() == threads,
        "{threads} threads need as many CPUs, and there are {}",
        cpus.len()
    );
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_of_other_packets_than_it_claims_is_refused() {
        assert!(check(Case::Banned, 10_000, 10_000, 10_000).is_ok());
        // Ten in 10,000 are as many as may stray.
        assert!(check(Case::Banned, 9_990, 10_000, 10_000).is_ok());
        assert!(check(Case::Banned, 9_989, 10_000, 10_000).is_err());
        assert!(check(Case::Banned, 9_989, 9_989, 10_000).is_err());
    }

    #[test]
    fn threads_that_cost_each_other_a_quarter_more_speed_up_by_as_much_less() {
        let figure = speed_ups(&[100.0, 200.0], &[125.0, 250.0], 2).unwrap();
        assert!((figure.median - 1.6).abs() < 1e-9 && figure.spread() < 1e-9);
        assert_eq!(speed_ups(&[100.0], &[0.0], 2), None);
    }

    #[test]
    fn a_call_takes_its_time_within_bounds() {
        assert_eq!(packets_for(40e6, 400.0), 100_000);
        assert_eq!(packets_for(1e5, 400.0), 5_000);
        assert_eq!(packets_for(1e12, 0.0), 4_000_000);
    }
}
