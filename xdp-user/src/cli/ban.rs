//! `ban`: sources that are dropped for a time because they kept going over their limits.

use clap::Subcommand;
use jiff::Timestamp;

use super::Session;
use super::format;
use super::table::{Table, numbers, words};
use crate::api::types::{BanList, LiftBans, LiftReport};
use crate::domain::GivenPrefix;
use crate::failure::{Failure, FailureKind};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle ban list
  xdp-throttle ban lift 203.0.113.9

The kernel program bans by itself: a source that goes over its limits again and again is dropped
for a time, for longer each time. `[ban]` in the configuration sets how. To drop a source by hand,
use `xdp-throttle block add SOURCE --for 1h`.";

const LIFT_EXAMPLES: &str = "\
Examples:
  xdp-throttle ban lift 203.0.113.9 2001:db8:1:2::/64
  xdp-throttle ban lift --all

A source without a ban is told and no mistake, unless --strict is given.
A source that still floods is banned again. To let it pass for good, use `allow add`.";

const LIST_EXAMPLES: &str = "\
Examples:
  xdp-throttle ban list
  xdp-throttle ban list --output json";

/// List and lift the bans on sources that kept going over their limits
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the bans in force, the latest first
    #[command(after_help = LIST_EXAMPLES)]
    List,
    Lift(LiftArgs),
}

/// End bans before their time
#[derive(Debug, clap::Args)]
#[command(after_help = LIFT_EXAMPLES)]
struct LiftArgs {
    /// Addresses or sources, as `ban list` shows them
    #[arg(value_name = "SOURCE", required_unless_present = "all")]
    sources: Vec<GivenPrefix>,
    /// Lift every ban
    #[arg(long, conflicts_with = "sources")]
    all: bool,
    /// Fail if one of them isn't banned
    #[arg(long)]
    strict: bool,
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        match self.verb {
            Verb::List => {
                let bans = session.client.bans().await?;
                let now = Timestamp::now();
                session.output.show(&bans, |bans| render(bans, now))
            }
            Verb::Lift(LiftArgs {
                sources,
                all,
                strict,
            }) => {
                let report = session.client.lift(&LiftBans { sources, all }).await?;
                session.output.show(&report, render_lifted)?;
                Ok(judge(&report, strict)?)
            }
        }
    }
}

fn render(list: &BanList, now: Timestamp) -> String {
    if list.bans.is_empty() {
        return "no bans\n".to_owned();
    }
    let mut table = Table::new([
        words("source"),
        words("since"),
        words("ends"),
        numbers("level"),
        words("reason"),
        numbers("packets"),
        numbers("bytes"),
    ]);
    for ban in &list.bans {
        table.row([
            ban.source.to_string(),
            format::ago(ban.since, now),
            format::until(Some(ban.until), now),
            ban.level.to_string(),
            ban.reason.clone(),
            format::count(ban.packets),
            format::bytes(ban.bytes),
        ]);
    }
    let all = format::plural(list.bans.len() as u64, "ban", "bans");
    format!("{}\n{all}\n", table.render())
}

fn render_lifted(report: &LiftReport) -> String {
    let missing = report.missing.iter();
    let missing = missing.map(|source| format!("not banned: {}\n", format::printable(source)));
    let lifted = format::plural(report.lifted, "ban", "bans");
    format!("{lifted} lifted\n{}", missing.collect::<String>())
}

/// A source without a ban is as it was wanted.
fn judge(report: &LiftReport, strict: bool) -> Result<(), Failure> {
    let missing = report.missing.len() as u64;
    if missing == 0 || !strict {
        return Ok(());
    }
    let message = format!(
        "{} not banned",
        format::plural(missing, "source", "sources")
    );
    Err(Failure::new(FailureKind::Failed, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn bans_show_why_and_until_when() {
        let text = render(&samples::bans(), samples::now());
        let line = text.lines().nth(1).unwrap();
        for part in [
            "203.0.113.9",
            "1m ago",
            "in 3m",
            "2",
            "rate_packets",
            "5,000",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(text.ends_with("\n1 ban\n"), "{text}");
        assert_eq!(
            render(&BanList { bans: Vec::new() }, samples::now()),
            "no bans\n"
        );
    }

    #[test]
    fn a_source_without_a_ban_is_told_and_fails_a_strict_command() {
        let report = LiftReport {
            lifted: 1,
            missing: vec!["192.0.2.1/32".into()],
        };
        assert_eq!(
            render_lifted(&report),
            "1 ban lifted\nnot banned: 192.0.2.1/32\n"
        );
        judge(&report, true).unwrap_err();
        judge(&report, false).unwrap();
    }
}
