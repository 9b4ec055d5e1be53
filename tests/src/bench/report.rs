//! The result: a table, the scorecard, and both as JSON.

use std::fmt;

use anyhow::{Context, Result};
use serde::Serialize;

use super::cases::Scenario;
use super::changes::ChangesReport;
use super::figures::Figure;
use super::idle::IdlePages;
use super::live::LiveReport;
use super::scorecard::scorecard;
use super::scrape::ScrapeReport;
use super::stand::Program;
use super::trials::Measured;
use crate::scorecard::Scorecard;

/// Everything that a run found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// Rounds that each median is of.
    pub rounds: usize,
    /// A line of the table each.
    pub rows: Vec<Row>,
    /// What changes of the lists took, when they were measured.
    pub changes: Option<ChangesReport>,
    /// What a scrape of the daemon takes, when it was measured.
    pub scrape: Option<ScrapeReport>,
    /// What a live interface showed, when it was asked.
    pub live: Option<LiveReport>,
    /// The promises of all parts.
    pub scorecard: Scorecard,
}

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model name of the first CPU.
    pub cpu: String,
    /// Online CPUs.
    pub cpus: usize,
    /// Running kernel.
    pub kernel: String,
    /// Whether the CPU says that it is a virtual machine's.
    pub is_virtual: bool,
    /// What memory costs there that nobody has touched for a while.
    pub idle_pages: Option<IdlePages>,
}

/// One scenario. Nanoseconds of CPU time per packet and thread; all but `bare` without what the
/// driver and a bare `XDP_DROP` cost in the same round.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which.
    #[serde(flatten)]
    pub scenario: Scenario,
    /// Driver and bare `XDP_DROP`, nothing subtracted.
    pub bare: Option<Figure>,
    /// Parse and drop.
    pub parse: Option<Figure>,
    /// Parse, one read from a table as large as the program's list, drop.
    pub line: Option<Figure>,
    /// The same with the smallest table that can hold such a list.
    pub smallest: Option<Figure>,
    /// The real program.
    pub throttle: Option<Figure>,
    /// LPM tries and LRU hash.
    pub lpm: Option<Figure>,
    /// Hashes and LRU hash; nothing where they can't do it.
    pub hash: Option<Figure>,
    /// xdp-filter; nothing where it can't do it or isn't installed.
    pub xdp_filter: Option<Figure>,
    /// Packets per second of the program on all threads by those of one thread, from the same
    /// rounds; only where there are several threads.
    pub speed_up: Option<Figure>,
    /// What the program costs by what it costs with few entries or sources, from the same rounds; only
    /// where the scorecard compares both.
    pub against_few: Option<Figure>,
    /// The same if all that many entries add were what it costs to read one line of the smallest table that
    /// can hold them.
    pub floor: Option<Figure>,
}

impl Row {
    pub(super) fn new(scenario: Scenario, measured: &Measured) -> Self {
        let of = |program| {
            let cost = measured.costs.iter().find(|cost| cost.program == program);
            cost.map(|cost| cost.ns)
        };
        Self {
            scenario,
            bare: of(Program::Bare),
            parse: of(Program::Parse),
            line: of(Program::Line),
            smallest: of(Program::Smallest),
            throttle: of(Program::Throttle),
            lpm: of(Program::Lpm),
            hash: of(Program::Hash),
            xdp_filter: of(Program::XdpFilter),
            speed_up: measured.speed_up,
            against_few: measured.against_few,
            floor: measured.floor,
        }
    }

    pub(super) fn cost(&self, program: Program) -> Option<Figure> {
        match program {
            Program::Bare => self.bare,
            Program::Parse => self.parse,
            Program::Line => self.line,
            Program::Smallest => self.smallest,
            Program::Throttle => self.throttle,
            Program::Lpm => self.lpm,
            Program::Hash => self.hash,
            Program::XdpFilter => self.xdp_filter,
        }
    }
}

impl Report {
    pub(super) fn new(rounds: usize, rows: Vec<Row>) -> Result<Self> {
        Ok(Self {
            machine: Machine::this()?,
            rounds,
            scorecard: scorecard(&rows),
            rows,
            changes: None,
            scrape: None,
            live: None,
        })
    }

    /// Of nothing yet.
    ///
    /// # Errors
    /// When the machine doesn't say what it is.
    pub fn empty() -> Result<Self> {
        Ok(Self {
            machine: Machine::this()?,
            rounds: 0,
            rows: Vec::new(),
            changes: None,
            scrape: None,
            live: None,
            scorecard: Scorecard::default(),
        })
    }

    /// With the changes of lists, too.
    #[must_use]
    pub fn with_changes(mut self, changes: ChangesReport) -> Self {
        self.scorecard.extend(changes.scorecard.clone());
        self.changes = Some(changes);
        self
    }

    /// With scrapes of the daemon, too.
    #[must_use]
    pub fn with_scrape(mut self, scrape: ScrapeReport) -> Self {
        self.scorecard.extend(scrape.scorecard.clone());
        self.scrape = Some(scrape);
        self
    }

    /// With the live half, too.
    #[must_use]
    pub fn with_live(mut self, live: LiveReport) -> Self {
        self.scorecard.extend(live.scorecard.clone());
        self.live = Some(live);
        self
    }

    fn fmt_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Nanoseconds of CPU time per packet, median of {} interleaved rounds ± half the \
             distance of the quartiles.\n",
            self.rounds
        )?;
        writeln!(
            f,
            "| case | IP | listed | sources | threads | xdp-throttle | LPM + LRU | hash + LRU | \
             xdp-filter | one line | one line, smallest | parse | driver + bare drop |"
        )?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        writeln!(f)
    }

    /// Was every promise kept?
    #[must_use]
    pub fn all_ok(&self) -> bool {
        self.scorecard.all_ok()
    }
}

impl Machine {
    fn this() -> Result<Self> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            line.split_once(": ").map(|(_, value)| value.trim())
        };
        let uname = nix::sys::utsname::uname().context("asking for the kernel")?;
        Ok(Self {
            cpu: field("model name").unwrap_or("unknown").to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: uname.release().to_string_lossy().into_owned(),
            is_virtual: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            idle_pages: IdlePages::measured(),
        })
    }
}

/// The table in Markdown, so that it can be pasted, and the scorecard behind it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            cpu,
            cpus,
            kernel,
            is_virtual,
            idle_pages,
        } = &self.machine;
        let kind = if *is_virtual { "virtual" } else { "physical" };
        writeln!(
            f,
            "{cpus} CPUs ({cpu}) of a {kind} machine, Linux {kernel}.\n"
        )?;
        if let Some(pages) = idle_pages {
            writeln!(
                f,
                "A page that nobody has touched for half a second takes {:.0} ns at the first touch, \
                 {:.0} right behind.\n",
                pages.after_idle.median, pages.at_once.median
            )?;
        }
        if !self.rows.is_empty() {
            self.fmt_rows(f)?;
        }
        if let Some(changes) = &self.changes {
            writeln!(f, "{changes}")?;
        }
        if let Some(scrape) = &self.scrape {
            writeln!(f, "{scrape}")?;
        }
        if let Some(live) = &self.live {
            writeln!(f, "{live}")?;
        }
        write!(f, "{}", self.scorecard)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scenario {
            case,
            family,
            listed,
            sources,
            threads,
        } = self.scenario;
        let sources = if sources == 0 {
            "new".to_owned()
        } else {
            short(sources)
        };
        write!(
            f,
            "| {} | {} | {} | {sources} | {threads} |",
            case.name(),
            family.name().trim_start_matches("ip"),
            short(listed),
        )?;
        for figure in [
            self.throttle,
            self.lpm,
            self.hash,
            self.xdp_filter,
            self.line,
            self.smallest,
            self.parse,
            self.bare,
        ] {
            match figure {
                // Adding 0 makes -0 a 0.
                Some(figure) => write!(
                    f,
                    " {:.0} ± {:.0} |",
                    figure.median.round() + 0.0,
                    figure.spread()
                )?,
                None => f.write_str(" – |")?,
            }
        }
        Ok(())
    }
}

/// `500`, `100k`, `1M`.
fn short(count: u32) -> String {
    match count {
        0 => "0".into(),
        n if n % 1_000_000 == 0 => format!("{}M", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{}k", n / 1_000),
        n => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, Family};
    use super::*;

    #[test]
    fn a_row_shows_median_and_spread_and_what_cannot_be_measured() {
        let row = Row {
            scenario: Scenario {
                case: Case::BlockedPrefix,
                family: Family::Ipv6,
                listed: 1_000_000,
                sources: 500_000,
                threads: 1,
            },
            bare: Figure::of(&[30.0]),
            parse: Figure::of(&[-0.4]),
            line: None,
            smallest: Figure::of(&[50.0]),
            throttle: Figure::of(&[100.0, 90.0, 130.0]),
            lpm: Figure::of(&[1500.0]),
            hash: None,
            xdp_filter: None,
            speed_up: None,
            against_few: None,
            floor: None,
        };
        assert_eq!(
            row.to_string(),
            "| blocked prefix | v6 | 1M | 500k | 1 | 100 ± 10 | 1500 ± 0 | – | – | – | 50 ± 0 | 0 ± 0 | 30 ± 0 |"
        );
    }

    #[test]
    fn counts_are_short_where_they_are_round() {
        assert_eq!(
            [0, 500, 1_000, 1_000_000].map(short),
            ["0", "500", "1k", "1M"]
        );
    }
}
