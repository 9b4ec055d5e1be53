//! The results as a table for people, as JSON, and as a page.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    CHECKS, Claim, LOAD, Outcome,
    guest::{End, Report},
};

/// What is known of a column: nothing of it was to run, nothing of it ran, all passed, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    LeftOut,
    Missing,
    Passed { tests: u32, skipped: u32 },
    Failed,
}

impl Cell {
    fn text(self) -> String {
        match self {
            Self::LeftOut | Self::Missing => "–".into(),
            Self::Passed { tests: 0 | 1, .. } => "ok".into(),
            Self::Passed { tests, skipped: 0 } => format!("ok ({tests})"),
            Self::Passed { tests, skipped } => {
                format!("ok ({}, skipped {skipped})", tests - skipped)
            }
            Self::Failed => "FAILED".into(),
        }
    }
}

/// Columns in their order.
fn columns() -> Vec<&'static str> {
    let mut columns: Vec<&str> = CHECKS.iter().map(|check| check.column).collect();
    columns.dedup();
    columns
}

fn cell(report: &Report, column: &str) -> Cell {
    let mut ends = Vec::new();
    let of_column = CHECKS.iter().filter(|check| check.column == column);
    for check in of_column.filter(|check| !report.left_out.contains(check.name)) {
        match report.ends.get(check.name) {
            None => ends.push(None),
            Some(end) => ends.push(Some((end, check.is_suite()))),
        }
    }
    if ends.is_empty() {
        return Cell::LeftOut;
    }
    if ends.iter().all(Option::is_none) {
        return Cell::Missing;
    }
    // A suite in which no test ran has shown nothing.
    let passed = |end: &End, suite: bool| end.status == 0 && (!suite || end.tests > end.skipped);
    if ends
        .iter()
        .all(|end| end.is_some_and(|(end, suite)| passed(end, suite)))
    {
        let tests = ends.iter().flatten().map(|(end, _)| end.tests).sum();
        let skipped = ends.iter().flatten().map(|(end, _)| end.skipped).sum();
        return Cell::Passed { tests, skipped };
    }
    Cell::Failed
}

/// Whether everything that was to run ran and passed.
pub(super) fn all_passed(report: &Report) -> bool {
    let fine = |column: &&str| matches!(cell(report, column), Cell::Passed { .. } | Cell::LeftOut);
    report.finished && columns().iter().all(fine)
}

/// A table in Markdown, which reads well in a terminal, too.
pub(super) fn markdown(outcomes: &[Outcome]) -> String {
    let mut rows = vec![header()];
    rows.extend(outcomes.iter().map(row));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|at| {
            rows.iter()
                .map(|row| row[at].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    rows.insert(1, widths.iter().map(|width| "-".repeat(*width)).collect());
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String does not fail.
            write!(text, "| {cell:<width$} ").ok();
        }
        text.push_str("|\n");
    }
    text
}

fn header() -> Vec<String> {
    let mut row = vec!["kernel".to_owned(), "Debian".into(), "result".into()];
    for column in columns() {
        row.push(column.to_owned());
        if column == LOAD {
            row.push("instructions".into());
        }
    }
    row
}

fn row(outcome: &Outcome) -> Vec<String> {
    let report = &outcome.report;
    let kernel = report.kernel.as_deref().unwrap_or(outcome.release.series);
    let mut row = vec![
        kernel.trim_end_matches("-cloud-amd64").to_owned(),
        outcome.release.suite.to_owned(),
        outcome.word().to_owned(),
    ];
    for column in columns() {
        row.push(shown(outcome, column));
        if column == LOAD {
            row.push(report.instructions.map_or_else(|| "–".into(), grouped));
        }
    }
    row
}

fn shown(outcome: &Outcome, column: &str) -> String {
    if column == LOAD && outcome.refusal().is_some() {
        return "refused".into();
    }
    cell(&outcome.report, column).text()
}

/// `164469` as `164,469`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn json(outcomes: &[Outcome]) -> Value {
    let kernels: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let report = &outcome.report;
            let cells: serde_json::Map<String, Value> = columns()
                .iter()
                .map(|column| ((*column).to_owned(), shown(outcome, column).into()))
                .collect();
            json!({
                "suite": outcome.release.suite,
                "series": outcome.release.series,
                "kernel": report.kernel,
                "claim": outcome.release.claim.word(),
                "kept": outcome.kept(),
                "instructions": report.instructions,
                "columns": cells,
                "messages": report.said,
                "seconds": outcome.took.as_secs_f64(),
            })
        })
        .collect();
    json!({ "kernels": kernels })
}

/// docs/kernels.md.
pub(super) fn page(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "# Kernels\n\n<!-- Written by `cargo xtask test-kernels --update-docs`. -->\n\n\
         Linux 5.18 or newer on x86-64 is needed. `cargo xtask test-kernels` boots Debian's kernels \
         in QEMU (software emulation, two CPUs), each with the same programs, and this is what came \
         of it; in brackets is how many tests passed. A test is skipped where the kernel can't do \
         what it needs.\n\n",
    );
    text.push_str(&markdown(outcomes));
    text.push_str(
        "\n- *load*: the daemon's loader and the kernel's verifier take the program; \
         *instructions* is how many the verifier went through.\n\
         - *verdicts*, *limits*: the program judges frames in `BPF_PROG_TEST_RUN`, action and \
         counter compared with what the test says.\n\
         - *classes*: the program learns from the kernel's sockets who is waited for, and the kernel \
         takes its SYN cookies.\n\
         - *contract*: the kernel's maps behave as the controller expects.\n\
         - *differential*: random frames, the program against an independent oracle.\n\
         - *concurrency*: two CPUs on one source never let more through than burst and rate allow; while lists \
         change, every packet is judged as the old list says or the new one.\n\
         - *native*, *generic*: attached to one end of a veth pair, a blocked source's packets are \
         missing and another's arrive; after detaching both arrive.\n\
         - *devices*: on bridges, bonds, VLAN, macvlan and ipvlan devices and VRFs the same blocks are \
         refused as on a plain interface, and classes decide or stand aside as docs/state.md says.\n\n",
    );
    for outcome in outcomes
        .iter()
        .filter(|one| one.release.claim == Claim::Refused)
    {
        let message = outcome.refusal().unwrap_or("nothing");
        let series = outcome.release.series;
        write!(
            text,
            "On {series} the program isn't loaded, and the message says why: `{message}`\n\n"
        )
        .ok();
    }
    text.push_str(
        "Not tested: physical network cards, other architectures, kernels between these.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: u32, tests: u32) -> Report {
        Report {
            ends: CHECKS
                .iter()
                .map(|check| {
                    (
                        check.name.to_owned(),
                        End {
                            status,
                            tests,
                            skipped: 0,
                        },
                    )
                })
                .collect(),
            finished: true,
            ..Report::default()
        }
    }

    #[test]
    fn a_column_passes_only_when_all_of_it_did() {
        assert!(all_passed(&report(0, 3)));
        assert!(!all_passed(&report(101, 3)));
        let mut one_short = report(0, 3);
        one_short.ends.remove("verdict_lists");
        assert_eq!(cell(&one_short, "verdicts"), Cell::Failed);
        assert_eq!(cell(&Report::default(), "verdicts"), Cell::Missing);
    }

    #[test]
    fn a_suite_in_which_no_test_ran_did_not_pass() {
        assert_eq!(cell(&report(0, 0), "differential"), Cell::Failed);
        assert_eq!(
            cell(&report(0, 0), "load"),
            Cell::Passed {
                tests: 0,
                skipped: 0
            }
        );
    }

    #[test]
    fn a_check_that_nobody_asked_for_is_no_failure() {
        let mut report = report(0, 3);
        report.ends.remove("host_devices");
        assert!(!all_passed(&report));
        report.left_out.insert("host_devices");
        assert!(all_passed(&report));
        assert_eq!(cell(&report, "devices").text(), "–");
    }

    #[test]
    fn a_guest_that_ended_early_did_not_pass() {
        let early = Report {
            finished: false,
            ..report(0, 3)
        };
        assert!(!all_passed(&early));
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(164_469), "164,469");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}
