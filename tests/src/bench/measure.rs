//! Runs programs under the driver and takes the time.

use std::net::UdpSocket;
use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::cases::{Case, Family, Scenario};
use super::stand::{Program, Stand};
use super::trials::{Measured, Trial, measured};
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

/// Fewest packets of one call, and most.
const FEWEST: u32 = 5_000;
const MOST: u32 = 4_000_000;
/// Packets of a call that shows how long they take.
const PROBE: u32 = 20_000;
/// Share of the packets that may be judged otherwise than the case says, for a source that the
/// kernel's LRU evicted at the wrong moment.
const STRAY: f64 = 0.001;

/// A scenario with the tables that it is measured on.
pub(super) struct On<'a> {
    pub(super) stand: &'a mut Stand,
    pub(super) scenario: Scenario,
}

/// Measures every program that can do it, in interleaved rounds; and in the same rounds the real one in the
/// scenario that it is compared with.
pub(super) fn scenario(
    many: On<'_>,
    few: Option<On<'_>>,
    slots: u32,
    effort: Effort,
) -> Result<Measured> {
    let threads = many.scenario.threads;
    let mut benches = vec![Bench::new(many)?];
    let mut trials = benches[0].warm_up(0, &Program::ALL, slots, effort)?;
    if let Some(few) = few {
        let mut bench = Bench::new(few)?;
        let programs = [
            Program::Bare,
            Program::Line,
            Program::Smallest,
            Program::Throttle,
        ];
        trials.extend(bench.warm_up(1, &programs, slots, effort)?);
        benches.push(bench);
    }
    for bench in &mut benches {
        bench.begin()?;
    }
    for round in 0..effort.rounds {
        // Another one comes first each time.
        for place in 0..trials.len() {
            let which = (place + round) % trials.len();
            let trial = &mut trials[which];
            let ns = benches[trial.bench].measure(trial)?;
            trial.times.push(ns);
        }
    }
    for bench in &benches {
        bench.end()?;
    }
    measured(&trials, threads)
}

struct Bench<'a> {
    stand: &'a mut Stand,
    scenario: Scenario,
    cpus: Vec<usize>,
    frame: Vec<u8>,
    _service: UdpSocket,
    /// Packets that each thread has had.
    position: u64,
    /// By whom as [`judge`] numbers them: what was judged before the rounds, and the packets of the rounds.
    before: [(u64, u64); 3],
    sent: [u64; 3],
}

impl<'a> Bench<'a> {
    fn new(on: On<'a>) -> Result<Self> {
        // Somebody is there for the packets, as on a host that is worth a flood.
        let service = UdpSocket::bind("[::]:0").context("opening a port")?;
        let On { stand, scenario } = on;
        stand.limit(scenario.case)?;
        Ok(Self {
            stand,
            scenario,
            cpus: cpus(scenario.threads)?,
            frame: frame(scenario.family, service.local_addr()?.port()),
            _service: service,
            position: 0,
            before: [(0, 0); 3],
            sent: [0; 3],
        })
    }

    /// The rounds begin.
    fn begin(&mut self) -> Result<()> {
        self.before = self.judged()?;
        Ok(())
    }

    /// One round of a trial: nanoseconds per packet.
    fn measure(&mut self, trial: &Trial) -> Result<f64> {
        if trial.program.judges() {
            self.sent[judge(trial.program)] += u64::from(trial.packets) * trial.threads as u64;
        }
        self.run(trial.program, trial.threads, trial.packets, true)
    }

    /// Fails when the packets of the rounds did not meet the case.
    fn end(&self) -> Result<()> {
        let after = self.judged()?.into_iter().zip(self.before);
        for ((after, before), sent) in after.zip(self.sent) {
            let case = self.scenario.case;
            check(case, after.0 - before.0, after.1 - before.1, sent)?;
        }
        Ok(())
    }

    /// Makes every source known to every program, and says what is to be measured.
    fn warm_up(
        &mut self,
        bench: usize,
        programs: &[Program],
        slots: u32,
        effort: Effort,
    ) -> Result<Vec<Trial>> {
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
        for program in programs.iter().copied() {
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
                bench,
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
        Program::Bare
        | Program::Parse
        | Program::Line
        | Program::Smallest
        | Program::Lpm
        | Program::Hash => 1,
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

fn frame(family: Family, port: u16) -> Vec<u8> {
    match family {
        Family::Ipv4 => Packet::v4("192.0.2.1", "198.51.100.1"),
        Family::Ipv6 => Packet::v6("2001:db8::1", "2001:db8:1::1"),
    }
    .udp(4000, port)
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
    fn a_call_takes_its_time_within_bounds() {
        assert_eq!(packets_for(40e6, 400.0), 100_000);
        assert_eq!(packets_for(1e5, 400.0), 5_000);
        assert_eq!(packets_for(1e12, 0.0), 4_000_000);
    }
}
