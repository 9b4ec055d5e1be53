//! What a scrape of the real daemon takes when its tables are full, and how many series it has.
//! docs/performance.md has the method.

use std::fmt::{self, Write as _};
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::Length;
use super::figures::Figure;
use crate::daemon::{Daemon, binary};
use crate::netns::Namespace;
use crate::netns::link::{End, veth_pair};
use crate::packet::Packet;
use crate::prometheus::get;
use crate::scorecard::{Line, NOT_MEASURED, Scorecard};
use crate::traffic::frames::Frames;
use crate::traffic::sender::{Load, Sender};
use crate::wait::wait_until;

/// The promise about a million sources and entries.
const MOST_MS: f64 = 50.0;
/// Whatever there is to count: a Prometheus keeps each of them in memory.
const MOST_SERIES: usize = 500;
/// Between two scrapes, so that all of them together span what the daemon does every ten seconds.
const PAUSE: Duration = Duration::from_millis(250);
/// Until the sources are known, on a busy machine.
const FILL_TIMEOUT: Duration = Duration::from_secs(120);
/// A packet more or less is lost on the way; this share has to be known.
const LEAST_KNOWN: f64 = 0.99;
const LIST: &str = "feed";

/// Scrapes of one daemon.
#[derive(Clone, Debug, Serialize)]
pub struct ScrapeReport {
    /// Sources that it knew.
    pub sources: u64,
    /// Entries that it held.
    pub entries: u64,
    /// Scrapes.
    pub scrapes: usize,
    /// Milliseconds from the connection to the last byte, with tables that hold next to nothing.
    pub empty_ms: Option<Figure>,
    /// The same with full tables.
    pub full_ms: Option<Figure>,
    /// The slowest of them but for the slowest twentieth.
    pub slow_ms: f64,
    /// Series before and after.
    pub series: (usize, usize),
    /// The promises.
    pub scorecard: Scorecard,
}

struct Effort {
    /// Of sources, and of entries.
    count: u32,
    scrapes: usize,
}

impl Effort {
    const fn of(length: Length) -> Self {
        let (count, scrapes) = match length {
            Length::Full => (1_000_000, 60),
            Length::Quick => (100_000, 20),
            Length::Smoke => (1_000, 3),
        };
        Self { count, scrapes }
    }
}

/// Fills the real daemon's tables and scrapes it; `progress` is told what comes next.
///
/// # Errors
/// When namespaces can't be made, or the tables don't fill.
pub fn run(length: Length, progress: &mut dyn FnMut(&str)) -> Result<ScrapeReport> {
    let effort = Effort::of(length);
    let host = Namespace::new("scrape-host")?;
    let world = Namespace::new("scrape-world")?;
    veth_pair(End::new(&world, "out0"), End::new(&host, "in0"), 1500)?;
    let daemon = Daemon::start_binary(&host, &binary()?, &config(effort.count))?;
    import(&daemon, 1)?;
    let before = scrapes(&host, &daemon, effort.scrapes)?;

    progress(&format!("scrapes: {} sources and entries", effort.count));
    import(&daemon, effort.count)?;
    know(&world, &daemon, effort.count)?;
    let after = scrapes(&host, &daemon, effort.scrapes)?;
    let (sources, entries) = (table(&daemon, "sources")?, table(&daemon, "block")?);
    ensure!(entries >= u64::from(effort.count), "{entries} entries");

    let slow_ms = slow(&after.ms);
    let series = (before.series, after.series);
    Ok(ScrapeReport {
        sources,
        entries,
        scrapes: effort.scrapes,
        empty_ms: Figure::of(&before.ms),
        full_ms: Figure::of(&after.ms),
        slow_ms,
        series,
        scorecard: scorecard(effort.count, slow_ms, series),
    })
}

fn config(count: u32) -> String {
    // A table that is a quarter full loses next to no source.
    let room = count * 4;
    format!(
        "[[interface]]\nname = \"in0\"\n\n[mitigation]\nenabled = false\n\n\
         [capacity]\nsources = {room}\nblock = {room}\n"
    )
}

/// Every second address, so that no two make a wider prefix.
fn import(daemon: &Daemon, count: u32) -> Result<()> {
    let first = u32::from(Ipv4Addr::new(64, 0, 0, 0));
    let mut lines = String::new();
    for number in 0..count {
        writeln!(lines, "{}", Ipv4Addr::from_bits(first + 2 * number))?;
    }
    let path = daemon.directory().join("feed.txt");
    fs::write(&path, lines).context("cannot write the list")?;
    let path = path.to_string_lossy();
    // Forced: a list that grows a thousandfold looks like a mistake.
    daemon.cli_text(&[
        "block",
        "import",
        &path,
        "--list",
        LIST,
        "--replace",
        "--force",
    ])?;
    Ok(())
}

/// Sends from so many sources until the daemon knows them.
fn know(world: &Namespace, daemon: &Daemon, count: u32) -> Result<()> {
    let first = u32::from(Ipv4Addr::new(100, 64, 0, 0));
    let frames: Frames = (0..count)
        .map(|number| {
            Packet::v4(Ipv4Addr::from_bits(first + number), "198.51.100.1")
                .udp(40_000, 9)
                .padded_to(60)
                .build()
        })
        .collect();
    let load = Load {
        rate: 200_000,
        count: u64::MAX,
        duration: FILL_TIMEOUT,
        ..Load::once(frames)
    };
    let sender = Sender::start(world, "out0", load)?;
    let least = (f64::from(count) * LEAST_KNOWN) as u64;
    wait_until("the sources to be known", FILL_TIMEOUT, || {
        table(daemon, "sources").is_ok_and(|known| known >= least)
    })?;
    sender.stop().map(drop)
}

fn table(daemon: &Daemon, name: &str) -> Result<u64> {
    let status = daemon.cli_json(&["status"])?;
    let tables = status["tables"].as_array().context("no tables")?;
    let table = tables.iter().find(|table| table["name"] == name);
    let entries = table.and_then(|table| table["entries"].as_u64());
    entries.with_context(|| format!("no table {name}"))
}

struct Scrapes {
    ms: Vec<f64>,
    series: usize,
}

fn scrapes(host: &Namespace, daemon: &Daemon, count: usize) -> Result<Scrapes> {
    let mut ms = Vec::new();
    let mut series = 0;
    for _ in 0..count {
        let started = Instant::now();
        let text = get(host, daemon.metrics_address(), "/metrics")?;
        ms.push(started.elapsed().as_secs_f64() * 1e3);
        ensure!(text.ends_with('\n'), "a scrape was cut off");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        series = lines.count();
        std::thread::sleep(PAUSE);
    }
    Ok(Scrapes { ms, series })
}

/// Nineteen of twenty are no slower.
fn slow(ms: &[f64]) -> f64 {
    let mut sorted = ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() * 19).div_ceil(20).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

fn scorecard(count: u32, slow_ms: f64, (before, after): (usize, usize)) -> Scorecard {
    let measured = (count >= 1_000_000).then_some(slow_ms);
    let mut card = Scorecard::default();
    card.push(Line {
        ok: measured.is_some_and(|ms| ms < MOST_MS),
        name: "scrape_1m".into(),
        measured: measured.map_or(NOT_MEASURED.into(), |ms| format!("{ms:.1}ms")),
        target: format!("<{MOST_MS}ms"),
        floor: None,
    });
    card.add(
        before == after && after < MOST_SERIES,
        "scrape_series",
        format!("{before}_then_{after}"),
        format!("<{MOST_SERIES}_and_the_same"),
    );
    card
}

impl fmt::Display for ScrapeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |figure: Option<Figure>| {
            figure.map_or("–".to_owned(), |figure| {
                format!("{:.1} ± {:.1}", figure.median, figure.spread())
            })
        };
        writeln!(
            f,
            "Scrapes of the daemon with {} sources and {} list entries, {} of them. Milliseconds \
             from the connection to the last byte, median ± half the distance of the quartiles.\n",
            self.sources, self.entries, self.scrapes
        )?;
        writeln!(f, "| tables | ms | nineteen of twenty within | series |")?;
        writeln!(f, "|---|--:|--:|--:|")?;
        let (before, after) = self.series;
        writeln!(f, "| empty | {} | – | {before} |", ms(self.empty_ms))?;
        writeln!(
            f,
            "| full | {} | {:.1} | {after} |",
            ms(self.full_ms),
            self.slow_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_twentieth_is_left_out_and_no_more() {
        let ms: Vec<f64> = (1..=60).map(f64::from).collect();
        assert!((slow(&ms) - 57.0).abs() < 1e-9);
        assert!((slow(&[3.0, 9.0, 1.0]) - 9.0).abs() < 1e-9);
    }

    #[test]
    fn a_short_run_promises_nothing_about_a_million() {
        let card = scorecard(1_000, 1.0, (300, 300)).to_string();
        assert!(
            card.starts_with("short scrape_1m not_measured <50ms\n"),
            "{card}"
        );
        assert!(card.contains("ok scrape_series 300_then_300"), "{card}");
        let card = scorecard(1_000_000, 49.0, (300, 301)).to_string();
        assert!(card.starts_with("ok scrape_1m 49.0ms <50ms\n"), "{card}");
        assert!(card.contains("short scrape_series 300_then_301"), "{card}");
    }
}
