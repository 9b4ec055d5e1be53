//! `check`: a config file without a daemon.

use std::path::PathBuf;

use serde::Serialize;

use super::format;
use super::output::Output;
use super::table::{Table, numbers, words};
use crate::config::{Config, ConfigError, Limits, LoadError, Problem};
use crate::daemon;
use crate::datapath::{Capacity, Memory};
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
    name: String,
    /// Entries that fit, of each of `per`.
    entries: u64,
    per: Per,
    /// Bytes when it is full, all of `per` together.
    bytes: u64,
    /// Whether the memory is taken at the start; else it grows with the entries, and `bytes` is
    /// about what a full table takes.
    at_start: bool,
}

/// What has a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Per {
    Family,
    Cpu,
    Host,
}

impl Per {
    const fn name(self) -> &'static str {
        match self {
            Self::Family => "IPv4 and IPv6 each",
            Self::Cpu => "each CPU",
            Self::Host => "together",
        }
    }
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

impl Summary {
    fn of(config: &Config) -> Self {
        let interfaces = config.interfaces.iter();
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
            tables: table_costs(&daemon::capacity(config)),
        }
    }
}

fn table_costs(capacity: &Capacity) -> Vec<TableCost> {
    let memory = Memory::when_full(capacity);
    let table = |name: &str, entries: u32, per, bytes| TableCost {
        name: name.to_owned(),
        entries: entries.into(),
        per,
        bytes,
        at_start: per != Per::Family,
    };
    let mut costs = vec![
        table("allow", capacity.allow, Per::Family, memory.allow),
        table("block", capacity.block, Per::Family, memory.block),
        table(
            "overrides",
            capacity.overrides,
            Per::Family,
            memory.overrides,
        ),
        table("sources", capacity.sources, Per::Host, memory.sources),
        table("bans", capacity.bans, Per::Host, memory.bans),
    ];
    costs.extend(memory.fixed.iter().map(|map| TableCost {
        name: map.shown(),
        entries: map.entries,
        per: if map.per_cpu { Per::Cpu } else { Per::Host },
        bytes: map.bytes,
        at_start: true,
    }));
    costs
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
    format!(
        "mode          {}\nonly counted  {observed}\ninterfaces    {interfaces}\n\
         limits        {}\noverrides     {}\nallow         {}\nblock         {}\n\n{}",
        summary.mode,
        render_limits(&summary.limits),
        summary.overrides,
        format::plural(summary.allow as u64, "prefix", "prefixes"),
        format::plural(summary.block as u64, "prefix", "prefixes"),
        render_tables(&summary.tables),
    )
}

fn render_tables(costs: &[TableCost]) -> String {
    let mut tables = Table::new([
        words("table"),
        numbers("entries"),
        words("of"),
        words("memory"),
    ]);
    for table in costs {
        let bytes = format::bytes(table.bytes);
        let memory = if table.at_start {
            format!("{bytes}, taken at the start")
        } else {
            format!("up to about {bytes} when full, grows with the entries")
        };
        tables.row([
            table.name.clone(),
            format::count(table.entries),
            table.per.name().to_owned(),
            memory,
        ]);
    }
    let sum = |at_start| {
        let of = costs.iter().filter(|table| table.at_start == at_start);
        format::bytes(of.map(|table| table.bytes).sum())
    };
    format!(
        "{}\n{} at the start, about {} more when all is full. A list that is replaced as a whole\n\
         takes its memory twice for a moment.\n",
        tables.render(),
        sum(true),
        sum(false),
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
    use crate::exporter::labels::TABLES;

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
        assert!(sources.contains("131,072  together"), "{sources}");
        assert!(
            sources.ends_with("18.0 MB, taken at the start"),
            "{sources}"
        );
        let block = text
            .lines()
            .find(|line| line.starts_with("block  "))
            .unwrap();
        assert!(block.contains("0 prefixes"), "{block}");
    }
    #[test]
    fn every_table_and_ring_says_what_it_costs() {
        let costs = Summary::of(&Config::default()).tables;
        let mut names = costs.iter().map(|table| table.name.as_str());
        assert!(names.by_ref().take(TABLES.len()).eq(TABLES));
        let fixed: Vec<&str> = names.collect();
        for name in ["hits", "events", "class_table", "known", "meters"] {
            assert!(fixed.contains(&name), "{name} of {fixed:?}");
        }
        assert!(costs.iter().all(|table| table.bytes > 0), "{costs:?}");
        let text = render_tables(&costs);
        let block = text.lines().find(|line| line.starts_with("block"));
        assert_eq!(
            block,
            Some(
                "block           1,000,000  IPv4 and IPv6 each  up to about 74.4 MB when full, grows \
                 with the entries"
            )
        );
        assert!(text.contains("8,192  each CPU"), "{text}");
        assert!(text.contains("262.1 kB, taken at the start"), "{text}");
    }

    #[test]
    fn programs_read_what_the_memory_is_of() {
        let costs = Summary::of(&Config::default()).tables;
        let json = serde_json::to_value(&costs).unwrap();
        assert_eq!(json[1]["per"], "family");
        assert_eq!(json[1]["at_start"], false);
        assert_eq!(json[3]["per"], "host");
        assert_eq!(json[5]["per"], "cpu");
    }
}
