//! What a change of a list did: as text, and as success or failure.

use std::io::Write;

use super::{Output, Session, format};
use crate::api::types::ChangeReport;
use crate::domain::Prefix;
use crate::failure::{Failure, FailureKind};

/// What of a request may fail without the command failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// Nothing: the operator named every prefix.
    None,
    /// That something isn't there which was to be removed: it is as it was wanted.
    Missing,
    /// Some lines, as long as others were taken.
    SomeRefused,
}

/// Prints the report, and fails if too much of what was asked for wasn't done.
pub(crate) fn show(
    session: &Session,
    report: &ChangeReport,
    tolerance: Tolerance,
) -> anyhow::Result<()> {
    if session.output == Output::Table {
        for cut in &report.host_bits_cut {
            note_cut(Some(&cut.given), &cut.prefix);
        }
    }
    session.output.show(report, render)?;
    Ok(judge(report, tolerance)?)
}

/// Says on standard error that a prefix was given with host bits, and what was taken.
pub(crate) fn note_cut(given: Option<&str>, prefix: &Prefix) {
    if let Some(given) = given {
        let given = format::printable(given);
        let note = format!("note: {given} has bits behind its prefix length: taken as {prefix}");
        // A note that nobody can read changes nothing.
        writeln!(std::io::stderr().lock(), "{note}").ok();
    }
}

fn judge(report: &ChangeReport, tolerance: Tolerance) -> Result<(), Failure> {
    let accepted = report.added + report.unchanged + report.updated + report.removed;
    let missing = report.missing.len() as u64;
    let fails = match tolerance {
        Tolerance::None => report.refused != 0 || missing != 0,
        Tolerance::Missing => report.refused != 0,
        Tolerance::SomeRefused => report.refused != 0 && accepted == 0,
    };
    if !fails {
        return Ok(());
    }
    let mut parts = Vec::new();
    if report.refused != 0 {
        parts.push(format!("{} refused", format::count(report.refused)));
    }
    if missing != 0 {
        parts.push(format!("{} not removed", format::count(missing)));
    }
    let none = if accepted == 0 { ", nothing done" } else { "" };
    let message = format!("{}{none}", parts.join(", "));
    Err(Failure::new(FailureKind::Failed, message))
}

fn render(report: &ChangeReport) -> String {
    let counts = [
        ("added", report.added, ""),
        ("already there", report.unchanged, ""),
        ("updated", report.updated, "their end changed"),
        ("removed", report.removed, ""),
        (
            "merged",
            report.merged,
            "covered by a wider entry, so they cost no room in the kernel",
        ),
        ("duplicates", report.duplicates, "lines that repeat another"),
        (
            "private",
            report.private,
            "of local networks: make sure that none of them is yours",
        ),
        ("ended", report.ended, "their end has passed: left out"),
        ("not there", report.missing.len() as u64, ""),
        ("refused", report.refused, ""),
    ];
    let seen = counts.iter().filter(|(_, count, _)| *count != 0);
    let mut text: String = seen
        .map(|(name, count, note)| line(name, *count, note))
        .collect();
    let skipped: Vec<String> = report
        .skipped
        .iter()
        .map(|kind| format!("{} {}", format::count(kind.count), kind.name))
        .collect();
    if !skipped.is_empty() {
        text += &format!("{:<13} {}\n", "left out", skipped.join(", "));
    }
    if text.is_empty() {
        text += "nothing to do\n";
    }
    text += &format!("{:<13} {}\n", "took", milliseconds(report.took_ms));
    for missing in &report.missing {
        text += &format!("not there: {}\n", format::printable(missing));
    }
    text + &render_refusals(report)
}

fn line(name: &str, count: u64, note: &str) -> String {
    let note = if note.is_empty() {
        String::new()
    } else {
        format!("  ({note})")
    };
    format!("{name:<13} {}{note}\n", format::count(count))
}

fn milliseconds(took: u64) -> String {
    if took < 1000 {
        format!("{took} ms")
    } else {
        format!("{}.{} s", took / 1000, took % 1000 / 100)
    }
}

fn render_refusals(report: &ChangeReport) -> String {
    let mut text = String::new();
    for refusal in &report.refusals {
        let place = refusal.line.map(|line| format!("line {line}: "));
        text += &format!(
            "refused: {}{}: {}\n",
            place.unwrap_or_default(),
            format::printable(&refusal.text),
            format::printable(&refusal.why)
        );
    }
    let more = report.refused.saturating_sub(report.refusals.len() as u64);
    if more != 0 {
        text += &format!("refused: {} more\n", format::count(more));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn an_import_says_what_became_of_every_line() {
        assert_eq!(
            render(&samples::import_report()),
            "added         120,430\n\
             already there 12\n\
             merged        5  (covered by a wider entry, so they cost no room in the kernel)\n\
             duplicates    3  (lines that repeat another)\n\
             private       2  (of local networks: make sure that none of them is yours)\n\
             refused       2,000\n\
             took          1.2 s\n\
             refused: line 7: 0.0.0.0/0: IPv4 prefixes wider than /8 need --force\n\
             refused: 1,999 more\n"
        );
    }

    #[test]
    fn what_isnt_there_is_named() {
        let report = ChangeReport {
            missing: vec!["192.0.2.1: covered".into()],
            ..ChangeReport::default()
        };
        let text = render(&report);
        assert!(text.contains("\nnot there: 192.0.2.1: covered\n"), "{text}");
        assert!(render(&ChangeReport::default()).starts_with("nothing to do\n"));
        judge(&report, Tolerance::Missing).unwrap();
        judge(&report, Tolerance::None).unwrap_err();
    }

    #[test]
    fn an_import_fails_only_if_nothing_was_taken() {
        let mixed = samples::import_report();
        judge(&mixed, Tolerance::SomeRefused).unwrap();
        let named = judge(&mixed, Tolerance::None).unwrap_err();
        assert_eq!(named.to_string(), "2,000 refused");
        let refused = ChangeReport {
            refused: 4,
            ..ChangeReport::default()
        };
        let nothing = judge(&refused, Tolerance::SomeRefused).unwrap_err();
        assert_eq!(nothing.to_string(), "4 refused, nothing done");
        assert_eq!(nothing.kind(), FailureKind::Failed);
        judge(&ChangeReport::default(), Tolerance::SomeRefused).unwrap();
    }
}
