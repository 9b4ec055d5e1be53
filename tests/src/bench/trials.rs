//! What the rounds of a scenario add up to.

use anyhow::Result;

use super::figures::{Figure, ratio, without};
use super::stand::Program;

/// What one program cost in a scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) program: Program,
    /// Nanoseconds of CPU time per packet, those of the driver before `XDP_DROP` subtracted round
    /// by round; `Bare`: nothing subtracted.
    pub(super) ns: Figure,
}

/// What a scenario showed.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// Of every program that can do it.
    pub(super) costs: Vec<Cost>,
    /// Packets per second of the program on all threads, by those of one thread in the same round;
    /// only where there are several threads.
    pub(super) speed_up: Option<Figure>,
    /// What the program costs by what it costs with few, in the same round.
    pub(super) against_few: Option<Figure>,
    /// The same if all that many add were what it costs to read one line of the smallest table.
    pub(super) floor: Option<Figure>,
}

/// A program on so many threads, with the CPU time of each round.
pub(super) struct Trial {
    /// 0, or 1 for what it is compared with.
    pub(super) bench: usize,
    pub(super) program: Program,
    pub(super) threads: usize,
    /// Of each thread in each round.
    pub(super) packets: u32,
    /// Nanoseconds per packet.
    pub(super) times: Vec<f64>,
}

/// What the rounds of all trials show.
pub(super) fn measured(trials: &[Trial], threads: usize) -> Result<Measured> {
    let gross_of = |bench, program, threads| {
        let mut trials = trials.iter();
        let wanted = (bench, program, threads);
        let found = trials.find(|trial| (trial.bench, trial.program, trial.threads) == wanted);
        found.map(|trial| trial.times.as_slice())
    };
    let net_of = |bench, program, threads| {
        let bare = gross_of(bench, Program::Bare, threads)?;
        gross_of(bench, program, threads).map(|times| without(times, bare))
    };
    let gross = |program, threads| gross_of(0, program, threads);
    let net = |program, threads| net_of(0, program, threads);
    let few = |program| net_of(1, program, threads);
    let cost = |program| {
        let figure = match program {
            Program::Bare => Figure::of(gross(program, threads)?),
            Program::Parse
            | Program::Line
            | Program::Smallest
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
    let against_few = || ratios(&net(Program::Throttle, threads)?, &few(Program::Throttle)?);
    let floor = || {
        let lines = net(Program::Smallest, threads)?;
        let lines = without(&lines, &few(Program::Smallest)?);
        let few = few(Program::Throttle)?;
        let least: Vec<f64> = few
            .iter()
            .zip(lines)
            .map(|(few, line)| few + line.max(0.0))
            .collect();
        ratios(&least, &few)
    };
    Ok(Measured {
        costs: Program::ALL.into_iter().filter_map(cost).collect(),
        speed_up: if threads > 1 { speed_up() } else { None },
        against_few: against_few(),
        floor: floor(),
    })
}

/// Round by round.
fn ratios(these: &[f64], those: &[f64]) -> Option<Figure> {
    let ratios: Option<Vec<f64>> = these
        .iter()
        .zip(those)
        .map(|(a, b)| ratio(*a, *b))
        .collect();
    Figure::of(&ratios?)
}

/// How many times as many packets per second so many threads get through as one, round by round.
fn speed_ups(alone: &[f64], together: &[f64], threads: usize) -> Option<Figure> {
    let rounds = alone.iter().zip(together);
    let ratios: Option<Vec<f64>> = rounds
        .map(|(alone, together)| Some(threads as f64 * ratio(*alone, *together)?))
        .collect();
    Figure::of(&ratios?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_cost_each_other_a_quarter_more_speed_up_by_as_much_less() {
        let figure = speed_ups(&[100.0, 200.0], &[125.0, 250.0], 2).unwrap();
        assert!((figure.median - 1.6).abs() < 1e-9 && figure.spread() < 1e-9);
        assert_eq!(speed_ups(&[100.0], &[0.0], 2), None);
    }
    #[test]
    fn many_are_compared_with_few_in_the_same_round() {
        let trial = |bench, program, times: [f64; 2]| Trial {
            bench,
            program,
            threads: 1,
            packets: 1,
            times: times.to_vec(),
        };
        // The second round is twice as slow as the first.
        let trials = [
            trial(0, Program::Bare, [20.0, 40.0]),
            trial(0, Program::Smallest, [80.0, 160.0]),
            trial(0, Program::Throttle, [220.0, 440.0]),
            trial(1, Program::Bare, [20.0, 40.0]),
            trial(1, Program::Smallest, [30.0, 60.0]),
            trial(1, Program::Throttle, [70.0, 140.0]),
        ];
        let measured = measured(&trials, 1).unwrap();
        let median = |figure: Option<Figure>| figure.unwrap().median;
        assert!((median(measured.against_few) - 4.0).abs() < 1e-9);
        assert!((median(measured.floor) - 2.0).abs() < 1e-9);
    }
}
