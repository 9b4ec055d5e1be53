//! The table of changes, and its promises.

use std::fmt;

use serde::Serialize;

use super::super::cases::Family;
use super::super::figures::Figure;
use super::traffic::Seen;
use super::{Change, DELTA, Effort, Trial};
use crate::scorecard::{Line, NOT_MEASURED, Scorecard};

/// What a change of the lists takes.
#[derive(Clone, Debug, Serialize)]
pub struct ChangesReport {
    /// Rounds that each median is of.
    pub rounds: usize,
    /// Entries of each list.
    pub entries: usize,
    /// A line of the table each.
    pub rows: Vec<ChangeRow>,
    /// Packets that passed meanwhile.
    pub packets: u64,
    /// Those judged otherwise than they had to be.
    pub misjudged: u64,
    /// The promises.
    pub scorecard: Scorecard,
}

/// One kind of change.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeRow {
    /// Whose list.
    pub family: Family,
    /// What was done.
    pub change: Change,
    /// Milliseconds on the clock until it was in force.
    pub ms: Figure,
}

impl ChangesReport {
    pub(super) fn new(effort: Effort, trials: &[Trial], seen: Seen) -> Self {
        let row = |trial: &Trial| {
            Some(ChangeRow {
                family: trial.family,
                change: trial.change,
                ms: Figure::of(&trial.times)?,
            })
        };
        let rows: Vec<ChangeRow> = trials.iter().filter_map(row).collect();
        Self {
            rounds: effort.rounds,
            entries: effort.entries,
            scorecard: scorecard(&rows, effort.entries, seen.misjudged),
            rows,
            packets: seen.packets,
            misjudged: seen.misjudged,
        }
    }
}

/// The promises are about a million entries.
fn scorecard(rows: &[ChangeRow], entries: usize, misjudged: u64) -> Scorecard {
    let ms = |family, change| {
        let mut rows = rows.iter().filter(|_| entries == 1_000_000);
        let row = rows.find(|row| (row.family, row.change) == (family, change));
        row.map(|row| row.ms.median)
    };
    let mut card = Scorecard::default();
    for (change, name, most_ms) in [
        (Change::Load, "load_1m", 1_000.0),
        (Change::Delta, "delta_1000", 10.0),
    ] {
        for family in Family::ALL {
            let measured = ms(family, change);
            card.push(Line {
                ok: measured.is_some_and(|ms| ms <= most_ms),
                name: format!("{name}_{}", family.name()),
                measured: measured.map_or(NOT_MEASURED.into(), |ms| time(ms, most_ms)),
                target: if most_ms < 1e3 {
                    format!("<={most_ms}ms")
                } else {
                    format!("<={}s", most_ms / 1e3)
                },
                floor: None,
            });
        }
    }
    card.push(Line {
        ok: misjudged == 0,
        name: "misjudged_during_changes".into(),
        measured: format!("{misjudged}_packets"),
        target: "<=0_packets".into(),
        floor: None,
    });
    card
}

/// In the unit of what it is compared with.
fn time(ms: f64, most_ms: f64) -> String {
    if most_ms < 1e3 {
        format!("{ms:.1}ms")
    } else {
        format!("{:.2}s", ms / 1e3)
    }
}

impl fmt::Display for ChangesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Changes of a list of {} entries while {} packets passed on another CPU, {} of them \
             misjudged. Milliseconds until in force, median of {} interleaved rounds ± half the \
             distance of the quartiles.\n",
            self.entries, self.packets, self.misjudged, self.rounds
        )?;
        writeln!(f, "| change | IP | ms |")?;
        writeln!(f, "|---|---|--:|")?;
        for ChangeRow { family, change, ms } in &self.rows {
            let change = match change {
                Change::Load => "load all".to_owned(),
                Change::Replace => "replace all".to_owned(),
                Change::Delta => format!("{} in, {} out", DELTA / 2, DELTA / 2),
            };
            let family = family.name().trim_start_matches("ip");
            let (median, spread) = (ms.median, ms.spread());
            writeln!(f, "| {change} | {family} | {median:.1} ± {spread:.1} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(entries: usize, misjudged: u64) -> ChangesReport {
        let trial = |change, times: &[f64]| Trial {
            family: Family::Ipv4,
            change,
            times: times.to_vec(),
        };
        let trials = [
            trial(Change::Load, &[830.0, 700.0, 1200.0]),
            trial(Change::Delta, &[12.34]),
        ];
        let effort = Effort { rounds: 3, entries };
        let packets = 1_000;
        ChangesReport::new(effort, &trials, Seen { packets, misjudged })
    }

    fn lines(report: &ChangesReport) -> Vec<String> {
        let lines = report.scorecard.lines().iter();
        lines.map(ToString::to_string).collect()
    }

    #[test]
    fn promises_are_medians_in_their_own_units() {
        let expected = [
            "ok load_1m_ipv4 0.83s <=1s",
            "short load_1m_ipv6 not_measured <=1s",
            "short delta_1000_ipv4 12.3ms <=10ms",
            "short delta_1000_ipv6 not_measured <=10ms",
            "ok misjudged_during_changes 0_packets <=0_packets",
        ];
        assert_eq!(lines(&report(1_000_000, 0)), expected);
    }

    #[test]
    fn a_shorter_list_says_nothing_about_a_million() {
        let lines = lines(&report(100_000, 2));
        assert_eq!(lines[0], "short load_1m_ipv4 not_measured <=1s");
        assert_eq!(
            lines[4],
            "short misjudged_during_changes 2_packets <=0_packets"
        );
    }

    #[test]
    fn the_table_names_what_was_done() {
        let text = report(1_000_000, 0).to_string();
        assert!(text.contains("| load all | v4 | 830.0 ± 125.0 |"), "{text}");
        assert!(
            text.contains("| 500 in, 500 out | v4 | 12.3 ± 0.0 |"),
            "{text}"
        );
    }
}
