//! A replay from beginning to end, and what is told of it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::file::Packets;
use super::link;
use super::tally::{Both, Count, OfSource, Tally};
use crate::config::Config;
use crate::domain::Mode;

/// What a policy would have done to a capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The capture.
    pub file: String,
    /// Whose policy: a file, or the built-in defaults.
    pub policy: String,
    /// Whether it drops, or only counts.
    pub mode: Mode,
    /// Packets that were judged.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds from the first to the last.
    pub seconds: f64,
    /// Packets that were dropped or answered in the receiver's place.
    pub stopped: Count,
    /// Packets of a kind of network that isn't read, or that their header says to be no IP.
    pub unread: u64,
    /// The link types that aren't read, by number and name, the first sixteen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread_links: Vec<String>,
    /// Packets that were captured in part, with zeros in the place of the rest.
    pub filled: u64,
    /// Why the file was read in part only.
    pub ended_early: Option<String>,
    /// By reason, the most packets first.
    pub reasons: Vec<ReasonRow>,
    /// By class, the most packets first.
    pub classes: Vec<ClassRow>,
    /// The sources of which most packets were stopped, then those that sent most.
    pub sources: Vec<SourceRow>,
    /// How many sources there were.
    pub sources_seen: u64,
    /// Packets whose source isn't among them: there were too many.
    pub sources_untold: u64,
    /// Changes of the classes' states, the first thousand.
    pub changes: Vec<ChangeRow>,
}

/// Packets of a reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReasonRow {
    /// Its name.
    pub reason: String,
    /// `passed`, `dropped` or `answered`.
    pub action: String,
    /// How many, and when the first came.
    #[serde(flatten)]
    pub count: Count,
}

/// Packets of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassRow {
    /// Its name.
    pub class: String,
    /// All.
    #[serde(flatten)]
    pub count: Count,
    /// Those that were dropped or answered.
    pub stopped: Count,
}

/// Packets of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceRow {
    /// Its address.
    pub source: std::net::IpAddr,
    /// All.
    #[serde(flatten)]
    pub count: Count,
    /// Those that were dropped or answered.
    pub stopped: Count,
    /// Why the last of these was.
    pub reason: Option<String>,
}

/// A class changed its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// Seconds from the capture's first packet.
    pub at: f64,
    /// The class.
    pub class: String,
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
}

/// Kinds of network in a capture.
const MOST_LINKS: usize = 16;
/// States change a few times a minute at most.
const MOST_CHANGES: usize = 1000;

/// Judges every packet of a capture; `progress` is told how many there were, now and then.
///
/// # Errors
/// When the file is no capture, none of its packets can be read, or the configuration doesn't fit.
pub fn replay(
    path: &Path,
    (config, policy): (&Config, &str),
    top: usize,
    mut progress: impl FnMut(u64),
) -> Result<Report> {
    let mut engine = Engine::new(config)?;
    let mut tally = Tally::default();
    let mut changes = Vec::new();
    let (mut unread, mut filled, mut ended_early) = (0, 0, None);
    let mut unread_links = Vec::new();
    for packet in Packets::open(path)? {
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => {
                ended_early = Some(format!("{error:#}"));
                break;
            }
        };
        let (at, link) = (packet.at, packet.link);
        filled += u64::from(packet.filled);
        let Some(frame) = packet.into_frame() else {
            unread += 1;
            let name = link::name(link);
            let is_new = !link::is_read(link) && !unread_links.contains(&name);
            if is_new && unread_links.len() < MOST_LINKS {
                unread_links.push(name);
            }
            continue;
        };
        let judged = engine.judge(&frame, at)?;
        let now_ns = engine.now_ns();
        tally.add(&judged, frame.bytes.len() as u64, now_ns);
        for change in judged.escalated {
            if changes.len() < MOST_CHANGES {
                changes.push(ChangeRow {
                    at: seconds(now_ns),
                    class: change.class,
                    from: change.from.name().to_owned(),
                    to: change.to.name().to_owned(),
                });
            }
        }
        if tally.total.all.packets.is_multiple_of(65_536) {
            progress(tally.total.all.packets);
        }
    }
    if tally.total.all.packets == 0 {
        if !unread_links.is_empty() {
            bail!(
                "{}: its packets are of link type {}, which isn't read; these are: {}",
                path.display(),
                unread_links.join(", "),
                link::readable()
            );
        }
        if let Some(error) = ended_early {
            return Err(anyhow::anyhow!(error))
                .with_context(|| format!("reading {}", path.display()));
        }
    }
    let rows = Rows {
        engine: &engine,
        tally: &tally,
    };
    Ok(Report {
        file: path.display().to_string(),
        policy: policy.to_owned(),
        mode: config.mode,
        packets: tally.total.all.packets,
        bytes: tally.total.all.bytes,
        seconds: seconds(engine.now_ns()),
        stopped: tally.total.stopped,
        unread,
        unread_links,
        filled,
        ended_early,
        reasons: rows.reasons(),
        classes: rows.classes(),
        sources: rows.sources(top),
        sources_seen: tally.sources.len() as u64,
        sources_untold: tally.untold,
        changes,
    })
}

#[allow(clippy::cast_precision_loss, reason = "seconds for people")]
fn seconds(now_ns: u64) -> f64 {
    now_ns.saturating_sub(super::engine::START_NS) as f64 / 1e9
}

struct Rows<'a> {
    engine: &'a Engine,
    tally: &'a Tally,
}

impl Rows<'_> {
    fn reasons(&self) -> Vec<ReasonRow> {
        let all = self.tally.reasons.iter();
        let row = |((_, action), (reason, count)): (&(u8, &str), &(_, Count))| {
            let reason: &xdp_common::reason::Reason = reason;
            ReasonRow {
                reason: reason.name().to_owned(),
                action: (*action).to_owned(),
                count: *count,
            }
        };
        let mut rows: Vec<ReasonRow> = all.map(row).collect();
        rows.sort_by(|a, b| {
            (b.count.packets, &a.reason, &a.action).cmp(&(a.count.packets, &b.reason, &b.action))
        });
        rows
    }

    fn classes(&self) -> Vec<ClassRow> {
        let row = |(number, both): (&u8, &Both)| ClassRow {
            class: self
                .engine
                .escalations()
                .name(*number)
                .unwrap_or("")
                .to_owned(),
            count: both.all,
            stopped: both.stopped,
        };
        let mut rows: Vec<ClassRow> = self.tally.classes.iter().map(row).collect();
        rows.sort_by(|a, b| (b.count.packets, &a.class).cmp(&(a.count.packets, &b.class)));
        rows
    }

    fn sources(&self, top: usize) -> Vec<SourceRow> {
        let mut all: Vec<_> = self.tally.sources.iter().collect();
        let rank = |of: &OfSource| (of.both.stopped.packets, of.both.all.packets);
        all.sort_by(|(a, of_a), (b, of_b)| (rank(of_b), a).cmp(&(rank(of_a), b)));
        let row = |(source, of): (&std::net::IpAddr, &OfSource)| SourceRow {
            source: *source,
            count: of.both.all,
            stopped: of.both.stopped,
            reason: of.reason.map(|reason| reason.name().to_owned()),
        };
        all.into_iter().take(top).map(row).collect()
    }
}
