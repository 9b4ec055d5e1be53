//! `check`: a config file without a daemon.

use std::path::PathBuf;

use serde::Serialize;

use super::format;
use super::output::Output;
use super::table::{Table, numbers, words};
use crate::config::{Config, ConfigError, Limits, LoadError, Problem};
use crate::failure::{Failure, FailureKind};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle check                            the file that `run` would use
  xdp-throttle check new.toml && xdp-throttle apply new.toml

Exit code 0: valid, perhaps with warnings. 2: mistakes, all of them printed. Needs no privileges
and no daemon.";

/// Find the mistakes in a configuration, all of them at once
///
/// Prints every mistake with its line, column and what would be valid. For a valid file: what it
/// sets, and how much memory its tables take.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration
    #[arg(value_name = "FILE", default_value = "/etc/xdp-throttle/config.toml")]
    file: PathBuf,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    valid: bool,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    summary: Option<Summary>,
}

/// What a valid file sets.
#[derive(Debug, Serialize)]
struct Summary {
    mode: &'static str,
    observe_reasons: Vec<&'static str>,
    interfaces: Vec<String>,
    limits: Limits,
    overrides: usize,
    allow: usize,
    block: usize,
    tables: Vec<TableCost>,
}

/// What one kernel table costs.
#[derive(Debug, Serialize)]
struct TableCost {
    name: &'static str,
    /// Entries that fit; for IPv4 and IPv6 each where `per_family`.
    entries: u64,
    per_family: bool,
    /// Bytes, both families together.
    bytes: u64,
    /// Whether the memory is taken at the start; else as the table fills.
    at_start: bool,
}

impl Args {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<()> {
        let file = self.file.display().to_string();
        match Config::load(&self.file) {
            Ok(loaded) => {
                let report = Report {
                    valid: true,
                    problems: Vec::new(),
                    warnings: loaded.warnings,
                    summary: Some(Summary::of(&loaded.config)),
                    file,
                };
                output.show(&report, render)
            }
            Err(LoadError::Invalid(ConfigError { file, problems })) => {
                let count = problems.len() as u64;
                let verdict = format!("{} in {file}", format::plural(count, "mistake", "mistakes"));
                let report = Report {
                    file,
                    valid: false,
                    problems,
                    warnings: Vec::new(),
                    summary: None,
                };
                output.show(&report, render)?;
                Err(Failure::new(FailureKind::Invalid, verdict).into())
            }
            Err(error @ LoadError::Read { .. }) => Err(error.into()),
        }
    }
}

/// Bytes of one entry in a trie without preallocation: node, key, value, and the allocator's
/// rounding, plus the inner nodes.
const LISTED_ENTRY: u64 = 100;
/// Bytes of one source in its preallocated table.
const SOURCE: u64 = 160;
/// Bytes of one ban in its preallocated table.
const BAN: u64 = 130;

impl Summary {
    fn of(config: &Config) -> Self {
        let interfaces = config.interfaces.iter();
        let listed = |name, entries: u32| TableCost {
            name,
            entries: entries.into(),
            per_family: true,
            bytes: 2 * u64::from(entries) * LISTED_ENTRY,
            at_start: false,
        };
        let fixed = |name, entries: u32, size: u64| TableCost {
            name,
            entries: entries.into(),
            per_family: false,
            bytes: u64::from(entries) * size,
            at_start: true,
        };
        let capacity = &config.capacity;
        Self {
            mode: config.mode.name(),
            observe_reasons: config.observe_reasons.iter().map(|r| r.name()).collect(),
            interfaces: interfaces
                .map(|interface| format!("{} ({})", interface.name, interface.attach))
                .collect(),
            limits: config.limits,
            overrides: config.overrides.len(),
            allow: config.allow.len(),
            block: config.block.len(),
            tables: vec![
                listed("allow", capacity.allow),
                listed("block", capacity.block),
                listed("overrides", capacity.overrides),
                fixed("sources", capacity.sources, SOURCE),
                fixed("bans", capacity.bans, BAN),
            ],
        }
    }
}

fn render(report: &Report) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        text += &format!("{}\n", problem.render(&report.file));
    }
    for warning in &report.warnings {
        text += &format!("warning: {}\n", warning.render(&report.file));
    }
    if let Some(summary) = &report.summary {
        text += &format!("{} is valid\n\n{}", report.file, render_summary(summary));
    }
    text
}

fn render_summary(summary: &Summary) -> String {
    let or = |names: String, none: &str| {
        if names.is_empty() {
            none.to_owned()
        } else {
            names
        }
    };
    let interfaces = or(summary.interfaces.join(", "), "none, `run` needs --iface");
    let observed = or(summary.observe_reasons.join(", "), "nothing");
    let mut tables = Table::new([
        words("table"),
        numbers("entries"),
        words("families"),
        numbers("memory"),
        words("taken"),
    ]);
    for table in &summary.tables {
        let families = if table.per_family {
            "IPv4 and IPv6 each"
        } else {
            "together"
        };
        let taken = if table.at_start {
            "at the start"
        } else {
            "as it fills, at most"
        };
        tables.row([
            table.name.to_owned(),
            format::count(table.entries),
            families.to_owned(),
            format::bytes(table.bytes),
            taken.to_owned(),
        ]);
    }
    format!(
        "mode          {}\nonly counted  {observed}\ninterfaces    {interfaces}\n\
         limits        {}\noverrides     {}\nallow         {}\nblock         {}\n\n{}",
        summary.mode,
        render_limits(&summary.limits),
        summary.overrides,
        format::plural(summary.allow as u64, "prefix", "prefixes"),
        format::plural(summary.block as u64, "prefix", "prefixes"),
        tables.render(),
    )
}

fn render_limits(limits: &Limits) -> String {
    let packets = limits
        .packets
        .map(|limit| format!("{} (burst {})", limit.rate, limit.burst));
    let bytes = limits
        .bytes
        .map(|limit| format!("{} (burst {})", limit.rate, limit.burst));
    let tcp_new = limits
        .tcp_new
        .map(|limit| format!("{} new TCP (burst {})", limit.rate, limit.burst));
    let set: Vec<String> = [packets, bytes, tcp_new].into_iter().flatten().collect();
    if set.is_empty() {
        "off".to_owned()
    } else {
        set.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::ExitCode;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn mistakes_end_with_2_and_a_valid_file_with_0() {
        let check = |text: &str| {
            let file = file(text);
            let args = Args {
                file: file.path().to_owned(),
            };
            args.run(Output::Json)
        };
        let refused = check("[limits]\npackets = \"20\"\nbites = 1\n").unwrap_err();
        assert_eq!(ExitCode::from(&refused), ExitCode::Invalid);
        assert!(
            refused.to_string().starts_with("2 mistakes in "),
            "{refused}"
        );
        check("").unwrap();
    }

    #[test]
    fn mistakes_show_with_line_column_and_help() {
        let error = Config::parse("[limits]\npackets = \"20\"\n", "c.toml").unwrap_err();
        let report = Report {
            file: error.file,
            valid: false,
            problems: error.problems,
            warnings: Vec::new(),
            summary: None,
        };
        let text = render(&report);
        assert!(text.starts_with("c.toml:2:11: limits.packets: "), "{text}");
        assert!(text.contains("pps"), "{text}");
    }

    #[test]
    fn the_summary_names_limits_and_memory() {
        let text = render_summary(&Summary::of(&Config::default()));
        assert!(text.contains("mode          enforce"), "{text}");
        assert!(text.contains("100kpps (burst 100k)"), "{text}");
        let sources = text
            .lines()
            .find(|line| line.starts_with("sources"))
            .unwrap();
        assert!(sources.contains("131,072"), "{sources}");
        assert!(sources.contains("21.0 MB"), "{sources}");
        let block = text
            .lines()
            .find(|line| line.starts_with("block  "))
            .unwrap();
        assert!(block.contains("0 prefixes"), "{block}");
    }
}
