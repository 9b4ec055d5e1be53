//! The promises that a run under `BPF_PROG_TEST_RUN` can show, each against what was measured.

use super::cases::{Case, Family};
use super::figures::{Figure, ratio};
use super::report::Row;
use super::stand::Program;
use crate::scorecard::{Line, Scorecard};

const K100: u32 = 100_000;
const M1: u32 = 1_000_000;

/// The promises, from a table that may lack some of the rows.
#[must_use]
pub(super) fn scorecard(rows: &[Row]) -> Scorecard {
    let table = Table(rows);
    Family::ALL
        .into_iter()
        .flat_map(|family| {
            let mut lines = Vec::new();
            lines.extend(lists(&table, family));
            lines.extend(sources(&table, family));
            lines.push(floods(&table, family));
            lines.extend(threads(&table, family));
            lines
        })
        .collect()
}

/// Long lists cost hardly more than short ones.
fn lists(table: &Table, family: Family) -> Vec<Line> {
    let mut lines = Vec::new();
    for (case, name) in [
        (Case::BlockedHost, "blocked_host"),
        (Case::BlockedPrefix, "blocked_prefix"),
    ] {
        let row = table.row(case, family, M1, None, 1);
        let line = Line::ratio_at_most(
            format!("{name}_{}_1m_against_1k", family.name()),
            median(row, |row| row.against_few),
            1.5,
        );
        lines.push(line.with_floor(median(row, |row| row.floor)));
        let tries = table.cost(Program::Lpm, Case::BlockedPrefix, family, M1, None);
        let line = Line::ratio_at_most(
            format!("{name}_{}_1m_against_lpm", family.name()),
            divided(median(row, |row| row.throttle), tries),
            0.1,
        );
        lines.push(line.with_floor(divided(median(row, |row| row.smallest), tries)));
    }
    lines
}

/// Sources cost a fraction of what they cost in the kernel's LRU hash.
fn sources(table: &Table, family: Family) -> Vec<Line> {
    let promises = [
        (Case::New, None, "new", Program::Lpm, 0.2),
        (Case::New, None, "new", Program::Hash, 0.3),
        (Case::Known, Some(K100), "known_100k", Program::Lpm, 0.25),
        (Case::Known, Some(K100), "known_100k", Program::Hash, 0.5),
    ];
    let line = |(case, sources, name, reference, most): (Case, _, &str, Program, f64)| {
        let cost = |program| table.cost(program, case, family, K100, sources);
        let against = match reference {
            Program::Lpm => "lpm_lru",
            Program::Hash => "hash_lru",
            Program::Bare
            | Program::Parse
            | Program::Line
            | Program::Smallest
            | Program::Throttle
            | Program::XdpFilter => "itself",
        };
        Line::ratio_at_most(
            format!("{name}_{}_against_{against}", family.name()),
            divided(cost(Program::Throttle), cost(reference)),
            most,
        )
    };
    promises.into_iter().map(line).collect()
}

/// A flood costs the same whether its sources repeat or not.
fn floods(table: &Table, family: Family) -> Line {
    let row = table.row(Case::Refused, family, 0, Some(0), 1);
    Line::ratio_at_most(
        format!("refused_{}_new_against_1k", family.name()),
        median(row, |row| row.against_few),
        1.2,
    )
}

/// Two threads get through nearly twice as many packets.
fn threads(table: &Table, family: Family) -> Vec<Line> {
    let line = |(case, sources, name): (Case, _, &str)| {
        let row = table.row(case, family, K100, sources, 2);
        Line::ratio_at_least(
            format!("{name}_{}_two_threads", family.name()),
            median(row, |row| row.speed_up),
            1.7,
        )
    };
    [
        (Case::Known, Some(K100), "known_100k"),
        (Case::New, None, "new"),
        (Case::BlockedHost, None, "blocked_host"),
    ]
    .into_iter()
    .map(line)
    .collect()
}

fn median(row: Option<&Row>, of: fn(&Row) -> Option<Figure>) -> Option<f64> {
    of(row?).map(|figure| figure.median)
}

fn divided(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    ratio(a?, b?)
}

struct Table<'a>(&'a [Row]);

impl Table<'_> {
    /// Median nanoseconds on one thread.
    fn cost(
        &self,
        program: Program,
        case: Case,
        family: Family,
        listed: u32,
        sources: Option<u32>,
    ) -> Option<f64> {
        let row = self.row(case, family, listed, sources, 1)?;
        row.cost(program).map(|figure| figure.median)
    }

    fn row(
        &self,
        case: Case,
        family: Family,
        listed: u32,
        sources: Option<u32>,
        threads: usize,
    ) -> Option<&Row> {
        self.0.iter().find(|row| {
            let scenario = &row.scenario;
            (scenario.case, scenario.family) == (case, family)
                && (scenario.listed, scenario.threads) == (listed, threads)
                && sources.is_none_or(|sources| scenario.sources == sources)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::Scenario;
    use super::*;

    fn row(case: Case, listed: u32, sources: u32, threads: usize, costs: [f64; 3]) -> Row {
        let [throttle, lpm, hash] = costs.map(|ns| Figure::of(&[ns]));
        Row {
            scenario: Scenario {
                case,
                family: Family::Ipv4,
                listed,
                sources,
                threads,
            },
            bare: Figure::of(&[20.0]),
            parse: None,
            line: None,
            smallest: None,
            throttle,
            lpm,
            hash,
            xdp_filter: None,
            speed_up: None,
            against_few: None,
            floor: None,
        }
    }

    fn shown(rows: &[Row], name: &str) -> String {
        let card = scorecard(rows);
        let line = card.lines().iter().find(|line| line.name == name).unwrap();
        line.to_string()
    }

    #[test]
    fn a_promise_is_a_ratio_of_two_medians_of_the_same_run() {
        let rows = [Row {
            smallest: Figure::of(&[75.0]),
            ..row(Case::BlockedPrefix, M1, 500_000, 1, [120.0, 1500.0, 400.0])
        }];
        let name = "blocked_prefix_ipv4_1m_against_lpm";
        let expected = format!("ok {name} 0.08x <=0.1x floor 0.05x");
        assert_eq!(shown(&rows, name), expected);
        let name = "blocked_host_ipv4_1m_against_1k";
        assert_eq!(
            shown(&rows, name),
            format!("short {name} not_measured <=1.5x")
        );
    }

    #[test]
    fn many_are_judged_by_the_rounds_that_they_shared_with_few() {
        let rows = [Row {
            against_few: Figure::of(&[3.0, 4.0, 5.0]),
            floor: Figure::of(&[2.0, 3.0, 4.0]),
            ..row(Case::BlockedHost, M1, 500_000, 1, [120.0, 1500.0, 400.0])
        }];
        let name = "blocked_host_ipv4_1m_against_1k";
        let expected = format!("short {name} 4.00x <=1.5x floor 3.00x");
        assert_eq!(shown(&rows, name), expected);
        let refused = [Row {
            against_few: Figure::of(&[1.1]),
            ..row(Case::Refused, 0, 0, 1, [120.0, 0.0, 0.0])
        }];
        let name = "refused_ipv4_new_against_1k";
        assert_eq!(shown(&refused, name), format!("ok {name} 1.10x <=1.2x"));
    }

    #[test]
    fn a_reference_that_costs_five_times_as_much_just_does() {
        let rows = [row(Case::New, K100, 0, 1, [400.0, 2000.0, 1000.0])];
        let name = "new_ipv4_against_lpm_lru";
        assert_eq!(shown(&rows, name), format!("ok {name} 0.20x <=0.2x"));
        let name = "new_ipv4_against_hash_lru";
        assert_eq!(shown(&rows, name), format!("short {name} 0.40x <=0.3x"));
    }

    #[test]
    fn two_threads_are_judged_by_the_rounds_that_they_shared_with_one() {
        let mut two = row(Case::Known, K100, K100, 2, [400.0, 0.0, 0.0]);
        two.speed_up = Figure::of(&[1.5, 1.8, 1.6]);
        let name = "known_100k_ipv4_two_threads";
        assert_eq!(shown(&[two], name), format!("short {name} 1.60x >=1.7x"));
    }
}
