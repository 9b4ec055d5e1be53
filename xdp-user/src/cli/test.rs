//! `block test`, `allow test`: whether addresses are on a list.

use std::io::Read;
use std::str::FromStr;

use jiff::Timestamp;

use super::{Output, Session, format, output};
use crate::api::types::{EntryView, ListKind, TestQuery, TestReport, TestResult};
use crate::control::MAX_TESTED;
use crate::domain::{GivenPrefix, PrefixError};
use crate::failure::{Failure, FailureKind};

/// The longest text that is read from standard input.
const MAX_INPUT: u64 = 4 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Addresses or prefixes; `-` reads them from standard input, one on a line
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<Asked>,
    /// Print nothing: only the exit code tells
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Debug)]
enum Asked {
    StandardInput,
    Address(GivenPrefix),
}

impl FromStr for Asked {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        match text {
            "-" => Ok(Self::StandardInput),
            address => Ok(Self::Address(address.parse()?)),
        }
    }
}

impl Args {
    pub(crate) async fn run(self, kind: ListKind, session: &Session) -> anyhow::Result<()> {
        let mut addresses: Vec<GivenPrefix> = Vec::new();
        for asked in self.addresses {
            match asked {
                Asked::Address(address) => addresses.push(address),
                Asked::StandardInput => addresses.extend(read(std::io::stdin().lock())?),
            }
        }
        let mut all = TestReport {
            results: Vec::with_capacity(addresses.len()),
        };
        for some in addresses.chunks(MAX_TESTED) {
            let some: Vec<String> = some.iter().map(ToString::to_string).collect();
            let addresses = some.join(",");
            let report = session.client.test(kind, &TestQuery { addresses }).await?;
            if !self.quiet && session.output == Output::Table {
                output::print(&render(&report, kind, Timestamp::now()))?;
            }
            all.results.extend(report.results);
        }
        if !self.quiet && session.output == Output::Json {
            session.output.show(&all, |_| String::new())?;
        }
        Ok(judge(&all, kind, self.quiet)?)
    }
}

fn read(input: impl Read) -> Result<Vec<GivenPrefix>, Failure> {
    let invalid = |message: String| Failure::new(FailureKind::Invalid, message);
    let mut text = String::new();
    let mut bounded = input.take(MAX_INPUT + 1);
    let read = bounded.read_to_string(&mut text);
    read.map_err(|error| {
        invalid(format!(
            "can't read the addresses from standard input: {error}"
        ))
    })?;
    if text.len() as u64 > MAX_INPUT {
        let message = format!("standard input has more than {MAX_INPUT} bytes: split it");
        return Err(invalid(message));
    }
    let mut addresses = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let address = line.parse::<GivenPrefix>().map_err(|error| {
            let line: String = format::printable(line).chars().take(80).collect();
            invalid(format!(
                "standard input, line {}: {line}: {error}",
                number + 1
            ))
        })?;
        addresses.push(address);
    }
    match addresses.is_empty() {
        true => Err(invalid("standard input has no addresses".to_owned())),
        false => Ok(addresses),
    }
}

fn render(report: &TestReport, kind: ListKind, now: Timestamp) -> String {
    report
        .results
        .iter()
        .map(|one| line(one, kind, now))
        .collect()
}

fn line(result: &TestResult, kind: ListKind, now: Timestamp) -> String {
    let address = result.address;
    if result.matches.is_empty() {
        return format!("{address}: not on the {}list\n", kind.name());
    }
    let matches: Vec<String> = result
        .matches
        .iter()
        .map(|entry| words(entry, now))
        .collect();
    format!("{address}: {}\n", matches.join("; "))
}

fn words(entry: &EntryView, now: Timestamp) -> String {
    let end = match entry.expires {
        None => "for ever".to_owned(),
        end @ Some(_) => format!("ends {}", format::until(end, now)),
    };
    let comment = entry.comment.as_ref();
    let comment = comment.map(|text| format!(", \"{}\"", format::printable(text)));
    format!(
        "{} of the list {}, {end}{}",
        entry.prefix,
        entry.list,
        comment.unwrap_or_default()
    )
}

fn judge(report: &TestReport, kind: ListKind, quiet: bool) -> Result<(), Failure> {
    let all = report.results.len();
    let absent = report
        .results
        .iter()
        .filter(|one| one.matches.is_empty())
        .count();
    match (absent, quiet) {
        (0, _) => Ok(()),
        (_, true) => Err(Failure::silent(FailureKind::Failed)),
        (_, false) => {
            let message = format!("{absent} of {all} not on the {}list", kind.name());
            Err(Failure::new(FailureKind::Failed, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    fn report() -> TestReport {
        TestReport {
            results: vec![
                TestResult {
                    address: "203.0.113.9".parse().unwrap(),
                    matches: samples::entry_page().entries,
                },
                TestResult {
                    address: "192.0.2.1".parse().unwrap(),
                    matches: Vec::new(),
                },
            ],
        }
    }

    #[test]
    fn each_address_says_which_entry_holds_it() {
        let text = render(&report(), ListKind::Block, samples::now());
        let lines: Vec<&str> = text.lines().collect();
        for part in [
            "203.0.113.9: 203.0.113.0/24 of the list manual",
            "ends in 59m",
            "\\u{1b}",
        ] {
            assert!(lines[0].contains(part), "{part} in {text}");
        }
        assert_eq!(lines[1], "192.0.2.1: not on the blocklist");
    }

    #[test]
    fn one_that_is_not_listed_fails_the_command() {
        let refused = judge(&report(), ListKind::Block, false).unwrap_err();
        assert_eq!(refused.to_string(), "1 of 2 not on the blocklist");
        let quiet = judge(&report(), ListKind::Block, true).unwrap_err();
        assert_eq!(quiet.to_string(), "");
        let mut listed = report();
        listed.results.pop();
        judge(&listed, ListKind::Block, false).unwrap();
    }

    #[test]
    fn addresses_are_read_from_lines_and_mistakes_have_their_number() {
        let read_text = |text: &str| read(text.as_bytes());
        assert_eq!(
            read_text("# a\n 192.0.2.1 \r\n\n2001:db8::1\n")
                .unwrap()
                .len(),
            2
        );
        let refused = read_text("192.0.2.1\n\u{1b}[2J\n").unwrap_err().to_string();
        assert!(refused.contains("line 2: \\u{1b}[2J"), "{refused}");
        read_text("\n").unwrap_err();
    }
}
