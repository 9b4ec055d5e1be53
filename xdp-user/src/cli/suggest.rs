//! `suggest`: limits that fit the traffic.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at};

use super::{Session, replay};
use crate::api::types::{ClassCounts, SourceQuery};
use crate::config::Config;
use crate::domain::{Prefix, Span};
use crate::replay::suggest::{Seen, Suggestion, from_capture};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle suggest --from quiet-day.pcap > limits.toml
  xdp-throttle suggest --live 10m                       from the running daemon, once a second
  xdp-throttle suggest --from quiet-day.pcap --config /etc/xdp-throttle/config.toml

Prints a part of a configuration: limits of every source and budgets of classes, twice what was seen.
Look at a quiet time, and at a busy one: what is seen is taken for honest. `replay` shows what the
limits would do to another capture.";

/// Propose limits from a capture or from live traffic
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group(clap::ArgGroup::new("what").required(true)))]
pub(crate) struct Args {
    /// A capture, pcap or pcapng
    #[arg(long, value_name = "FILE", group = "what")]
    from: Option<PathBuf>,
    /// The running daemon's counters, for so long, at most 1d
    #[arg(long, value_name = "TIME", group = "what")]
    live: Option<Span>,
    /// The configuration whose classes are meant; the built-in ones without it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Longer than that, and it is a matter of the metrics.
const MOST: Duration = Duration::from_secs(86_400);
/// Sources that are asked for each second: the first by packets.
const SOURCES: u64 = 1000;

impl Args {
    pub(crate) async fn run(
        self,
        session: impl FnOnce() -> Result<Session>,
        output: super::Output,
    ) -> Result<()> {
        let (config, _name) = replay::load(self.config.as_deref())?;
        let suggestion = match (self.from, self.live) {
            (Some(file), _) => {
                let progress = replay::progress();
                let seen = from_capture(&file, &config, |packets| progress.set_position(packets));
                progress.finish_and_clear();
                seen?.suggest(&file.display().to_string(), &config)
            }
            (None, time) => {
                let time = time.map_or(MOST, Span::as_duration).min(MOST);
                live(&session()?, time, &config).await?
            }
        };
        output.show(&suggestion, |suggestion| suggestion.fragment.clone())
    }
}

/// Counters of a second before.
#[derive(Default)]
struct Before {
    classes: HashMap<String, ClassCounts>,
    sources: HashMap<Prefix, (u64, u64)>,
}

async fn live(session: &Session, time: Duration, config: &Config) -> Result<Suggestion> {
    let end = Instant::now() + time;
    let mut ticks = interval_at(Instant::now(), Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seen, mut before) = (Seen::default(), None);
    let mut peaks: HashMap<Prefix, (u64, u64)> = HashMap::new();
    let stopped = tokio::signal::ctrl_c();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            _ = ticks.tick() => {}
        }
        before = Some(look(session, before, &mut seen, &mut peaks).await?);
        if Instant::now() >= end {
            break;
        }
    }
    for (packets, bytes) in peaks.into_values() {
        seen.source_peak(packets, bytes);
    }
    Ok(seen.suggest("the running daemon", config))
}

/// What came since the last look.
async fn look(
    session: &Session,
    before: Option<Before>,
    seen: &mut Seen,
    peaks: &mut HashMap<Prefix, (u64, u64)>,
) -> Result<Before> {
    let status = session.client.status().await?;
    let query = SourceQuery {
        limit: Some(SOURCES),
        each: true,
        ..SourceQuery::default()
    };
    let sources = session.client.sources(&query).await?;
    let now = Before {
        classes: status
            .mitigation
            .classes
            .into_iter()
            .map(|class| (class.name, class.counts))
            .collect(),
        sources: sources
            .sources
            .into_iter()
            .map(|source| (source.source, (source.packets, source.bytes)))
            .collect(),
    };
    let Some(before) = before else {
        return Ok(now);
    };
    seen.second();
    for (name, counts) in &now.classes {
        let of = |counts: &ClassCounts| counts.newcomers.saturating_add(counts.over);
        let old = before.classes.get(name).map_or(0, of);
        seen.class_second(name, of(counts).saturating_sub(old));
    }
    for (source, (packets, bytes)) in &now.sources {
        // What wasn't among the first before has sent for longer than a second, perhaps.
        let Some((old_packets, old_bytes)) = before.sources.get(source).copied() else {
            continue;
        };
        let peak = peaks.entry(*source).or_default();
        peak.0 = peak.0.max(packets.saturating_sub(old_packets));
        peak.1 = peak.1.max(bytes.saturating_sub(old_bytes));
    }
    Ok(now)
}
