//! `apply`: a configuration for the running daemon.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Session;
use super::format;
use crate::api::types::{Apply, ApplyReport};
use crate::config::MAX_BYTES;
use crate::domain::Span;
use crate::failure::{Failure, FailureKind};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle apply                 read the daemon's own file again, like SIGHUP
  xdp-throttle apply new.toml        put this file in force
  xdp-throttle apply new.toml --dry-run             what it would change
  xdp-throttle apply new.toml --confirm-within 60s  and back, unless `confirm` comes

A configuration with a mistake changes nothing: the one in force stays. Exit code 2 then, with
every mistake printed.";

/// Put a configuration in force without a gap
///
/// The daemon checks it first. Says what changed, and what only a restart would change.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration; the daemon's own file if left out
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only say what would change
    #[arg(long, conflicts_with = "confirm_within")]
    dry_run: bool,
    /// Bring the configuration of before back unless `xdp-throttle confirm` comes within this time,
    /// 1s to 1h
    #[arg(long, value_name = "TIME")]
    confirm_within: Option<Span>,
}

/// Keep a configuration that was applied with --confirm-within
///
/// Without it the configuration of before comes back when the time is over.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  xdp-throttle apply new.toml --confirm-within 60s\n  xdp-throttle confirm"
)]
pub(crate) struct ConfirmArgs {}

/// Go back from a configuration that was applied with --confirm-within
///
/// At once, before its time is over.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  xdp-throttle apply new.toml --confirm-within 60s\n  xdp-throttle rollback"
)]
pub(crate) struct RollbackArgs {}

impl ConfirmArgs {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let kept = session.client.confirm().await?;
        session.output.show(&kept, |kept| {
            format!(
                "confirmed: {} stays in force\n",
                format::printable(&kept.path)
            )
        })
    }
}

impl RollbackArgs {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let report = session.client.roll_back().await?;
        session.output.show(&report, render)
    }
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let request = match &self.file {
            None => Apply::default(),
            Some(file) => Apply {
                path: Some(std::path::absolute(file)?.display().to_string()),
                text: Some(read(file)?),
                ..Apply::default()
            },
        };
        let request = Apply {
            dry_run: self.dry_run,
            confirm_within: self.confirm_within,
            ..request
        };
        let report = session.client.apply(&request).await?;
        session.output.show(&report, |report| {
            let waits = self.confirm_within.map_or_else(String::new, |time| {
                format!("goes again in {time} unless confirmed: `xdp-throttle confirm`\n")
            });
            render(report) + &waits
        })
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let open = std::fs::File::open(file);
    // One byte more, so that a file that is too large is seen as such.
    let read = open.and_then(|open| open.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    let name = file.display();
    read.with_context(|| format!("can't read the config file {name}"))?;
    let invalid = |why: String| Failure::new(FailureKind::Invalid, format!("{name} {why}"));
    if bytes.len() as u64 > MAX_BYTES {
        return Err(invalid(format!("is larger than {MAX_BYTES} bytes")).into());
    }
    String::from_utf8(bytes).map_err(|_| invalid("isn't UTF-8 text".to_owned()).into())
}

fn render(report: &ApplyReport) -> String {
    let section = |title: &str, lines: &[String]| {
        let lines = lines.iter();
        let lines = lines.map(|line| format!("{title}: {}\n", format::printable(line)));
        lines.collect::<String>()
    };
    let mut text = section("changed", &report.changes);
    if report.changes.is_empty() {
        text += "in force, nothing changed\n";
    }
    text += &section("needs a restart", &report.needs_restart);
    text + &section("warning", &report.warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_what_a_restart_needs_are_told_apart() {
        let report = ApplyReport {
            changes: vec!["limits.packets: 20kpps, was 10kpps".into()],
            needs_restart: vec!["capacity.block".into()],
            warnings: vec!["no interface".into()],
        };
        assert_eq!(
            render(&report),
            "changed: limits.packets: 20kpps, was 10kpps\n\
             needs a restart: capacity.block\n\
             warning: no interface\n"
        );
        let nothing = ApplyReport {
            changes: Vec::new(),
            needs_restart: Vec::new(),
            warnings: Vec::new(),
        };
        assert_eq!(render(&nothing), "in force, nothing changed\n");
    }

    #[test]
    fn what_cant_be_a_config_is_refused_before_it_is_sent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xff\xfe").unwrap();
        let refused = read(file.path()).unwrap_err();
        assert!(refused.to_string().contains("UTF-8"), "{refused}");
        std::fs::write(file.path(), " ".repeat(1 + (1 << 20))).unwrap();
        let refused = read(file.path()).unwrap_err();
        assert!(refused.to_string().contains("larger"), "{refused}");
    }
}
