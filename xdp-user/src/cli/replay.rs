//! `replay`: what a policy would have done to captured traffic.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::format;
use super::output::Output;
use super::table::{Table, numbers, words};
use crate::config::{Config, LoadError};
use crate::domain::Mode;
use crate::failure::{Failure, FailureKind};
use crate::replay::{Count, Report, replay};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle replay attack.pcap                       with the built-in defaults
  xdp-throttle replay attack.pcap --config new.toml     with a configuration, before it is in force
  xdp-throttle --output json replay attack.pcap | jq .reasons

Runs the kernel program's own decision over a capture (pcap or pcapng) with the capture's clock. Needs
no root, no daemon and no kernel with XDP. A capture can't tell whether a local socket waits for a
packet: docs/replay.md says what that means.";

/// Say what a policy would have done to a capture
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The capture, pcap or pcapng
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The configuration; the built-in defaults without one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many sources to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    top: u16,
}

impl Args {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<()> {
        let (config, name) = load(self.config.as_deref())?;
        let progress = progress();
        let report = replay(&self.file, (&config, &name), self.top.into(), |packets| {
            progress.set_position(packets);
        });
        progress.finish_and_clear();
        output.show(&report?, render)
    }
}

/// A configuration and its name.
pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<(Config, String)> {
    let Some(path) = path else {
        return Ok((Config::default(), "the built-in defaults".to_owned()));
    };
    let loaded = Config::load(path).map_err(|error| match error {
        LoadError::Invalid(invalid) => {
            anyhow::Error::new(Failure::new(FailureKind::Invalid, invalid.to_string()))
        }
        LoadError::Read { .. } => anyhow::Error::new(error),
    })?;
    Ok((loaded.config, path.display().to_string()))
}

/// Shown on a terminal, after a while.
pub(crate) fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} packets, {per_sec}") {
        bar.set_style(style);
    }
    bar
}

fn render(report: &Report) -> String {
    let mut sections = vec![render_head(report), render_reasons(report)];
    sections.push(render_classes(report));
    if !report.sources.is_empty() {
        sections.push(render_sources(report));
    }
    if !report.changes.is_empty() {
        sections.push(render_changes(report));
    }
    sections.join("\n")
}

fn render_head(report: &Report) -> String {
    let observe = match report.mode {
        Mode::Observe => " (observe mode: nothing is dropped)",
        Mode::Enforce => "",
    };
    let mut text = format!(
        "capture  {}: {} ({}) in {:.1} s, {}\n\
         policy   {}{observe}\n\
         stopped  {} of them, {} of the bytes\n",
        format::printable(&report.file),
        format::plural(report.packets, "packet", "packets"),
        format::bytes(report.bytes),
        report.seconds,
        format::plural(report.sources_seen, "source", "sources"),
        format::printable(&report.policy),
        format::share(report.stopped.packets, report.packets),
        format::share(report.stopped.bytes, report.bytes),
    );
    for (count, what) in [
        (
            report.unread,
            "packets of another kind of network, or no IP, left out",
        ),
        (
            report.filled,
            "packets were captured in part: zeros stand for the rest",
        ),
        (
            report.sources_untold,
            "packets of further sources, which were too many to tell apart",
        ),
    ] {
        if count > 0 {
            text += &format!("note     {} {what}\n", format::count(count));
        }
    }
    if !report.unread_links.is_empty() {
        text += &format!(
            "note     link types that aren't read: {}\n",
            report.unread_links.join(", ")
        );
    }
    if let Some(why) = &report.ended_early {
        text += &format!(
            "note     the file is read in part: {}\n",
            format::printable(why)
        );
    }
    text
}

fn render_reasons(report: &Report) -> String {
    let mut table = Table::new([
        words("reason"),
        words("action"),
        numbers("packets"),
        numbers("share"),
        numbers("bytes"),
        numbers("first"),
    ]);
    for row in &report.reasons {
        table.row([
            row.reason.clone(),
            row.action.clone(),
            format::count(row.count.packets),
            format::share(row.count.packets, report.packets),
            format::bytes(row.count.bytes),
            format!("{:.3} s", row.count.first),
        ]);
    }
    table.render()
}

fn render_classes(report: &Report) -> String {
    let mut table = Table::new([
        words("class"),
        numbers("packets"),
        numbers("stopped"),
        numbers("first stopped"),
    ]);
    for row in &report.classes {
        table.row([
            row.class.clone(),
            format::count(row.count.packets),
            format::share(row.stopped.packets, row.count.packets),
            first(row.stopped),
        ]);
    }
    table.render()
}

fn render_sources(report: &Report) -> String {
    let mut table = Table::new([
        words("source"),
        numbers("packets"),
        numbers("bytes"),
        numbers("stopped"),
        numbers("first stopped"),
        words("for"),
    ]);
    for row in &report.sources {
        table.row([
            row.source.to_string(),
            format::count(row.count.packets),
            format::bytes(row.count.bytes),
            format::count(row.stopped.packets),
            first(row.stopped),
            row.reason.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

fn first(count: Count) -> String {
    if count.packets == 0 {
        return String::new();
    }
    format!("{:.3} s", count.first)
}

fn render_changes(report: &Report) -> String {
    let mut table = Table::new([numbers("at"), words("class"), words("from"), words("to")]);
    for row in &report.changes {
        table.row([
            format!("{:.3} s", row.at),
            row.class.clone(),
            row.from.clone(),
            row.to.clone(),
        ]);
    }
    table.render()
}
