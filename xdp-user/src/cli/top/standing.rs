//! Sources with their rates, and how each stands with the throttler.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::meters::{Flow, per_second};
use super::poll::Poll;
use crate::api::types::{ListKind, SourceSort, SourceView};
use crate::cli::format;
use crate::domain::{Mode, Prefix};

/// A source that was in no answer for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(60);

/// What sources are sorted by, most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// Packets per second.
    #[default]
    Pps,
    /// Bits per second.
    Bps,
    /// Drops per second.
    Drops,
    /// Packets in all.
    Packets,
    /// Bytes in all.
    Bytes,
    /// Dropped packets in all.
    Dropped,
}

impl Sort {
    pub(super) const ALL: [Self; 6] = [
        Self::Pps,
        Self::Bps,
        Self::Drops,
        Self::Packets,
        Self::Bytes,
        Self::Dropped,
    ];

    /// The one after it, or before it where `back`; the last is followed by the first.
    pub(super) fn next(self, back: bool) -> Self {
        let count = Self::ALL.len();
        let place = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        let step = if back { count - 1 } else { 1 };
        Self::ALL
            .get((place + step) % count)
            .copied()
            .unwrap_or_default()
    }

    /// The order that the daemon is asked for first; it knows totals only.
    pub(super) const fn of_daemon(self) -> SourceSort {
        match self {
            Self::Pps | Self::Packets => SourceSort::Packets,
            Self::Bps | Self::Bytes => SourceSort::Bytes,
            Self::Drops | Self::Dropped => SourceSort::Dropped,
        }
    }

    /// The figure that stands for it, then the one that decides between equals.
    fn rank(self, row: &SourceRow) -> (u64, u64) {
        let rate = row.rate.unwrap_or_default();
        match self {
            Self::Pps => (rate.packets, row.packets),
            Self::Bps => (rate.bytes, row.bytes),
            Self::Drops => (row.dropped_rate.unwrap_or(0), row.dropped_packets),
            Self::Packets => (row.packets, rate.packets),
            Self::Bytes => (row.bytes, rate.bytes),
            Self::Dropped => (row.dropped_packets, row.dropped_rate.unwrap_or(0)),
        }
    }
}

/// How a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Standing {
    /// The allowlist has it.
    Allowed,
    /// The blocklist has it.
    Blocked,
    /// Banned for a time by the program.
    Banned,
    /// Packets of it were dropped since the last poll.
    Limited,
    /// The same in observe mode: they would have been.
    OverLimit,
    /// It has strikes against it, but keeps its limits now.
    Struck,
    /// It sends within its limits.
    Passing,
    /// It sends nothing now, or nothing is known of now.
    Quiet,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct SourceRow {
    pub(super) source: Prefix,
    pub(super) standing: Standing,
    /// Per second since the last poll; unknown where that didn't have the source.
    #[serde(rename = "per_second")]
    pub(super) rate: Option<Flow>,
    /// Packets per second.
    #[serde(rename = "dropped_per_second")]
    pub(super) dropped_rate: Option<u64>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) dropped_packets: u64,
    pub(super) strikes: u64,
    pub(super) banned_until: Option<Timestamp>,
    pub(super) last_seen: Timestamp,
}

impl SourceRow {
    /// A word, never more than 11 characters: with the end of a ban, the number of strikes.
    pub(super) fn words(&self, now: Timestamp) -> String {
        match self.standing {
            Standing::Allowed => "allowed".to_owned(),
            Standing::Blocked => "blocked".to_owned(),
            Standing::Banned => match self.banned_until {
                Some(end) => format!("banned {}", largest_unit(format::seconds_between(now, end))),
                None => "banned".to_owned(),
            },
            Standing::Limited => "limited".to_owned(),
            Standing::OverLimit => "over limit".to_owned(),
            Standing::Struck => format!("strikes {}", self.strikes.min(99)),
            Standing::Passing => "passing".to_owned(),
            Standing::Quiet => "quiet".to_owned(),
        }
    }
}

/// "59m", "2d".
fn largest_unit(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(size, _)| seconds >= *size);
    unit.map_or_else(
        || format!("{seconds}s"),
        |(size, unit)| format!("{}{unit}", seconds / size),
    )
}

/// What was counted of sources before.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    sources: HashMap<Prefix, Counted>,
    /// When the last poll was, for people and for rates.
    last: Option<(Timestamp, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    sent: Flow,
    dropped: u64,
    taken: Instant,
}

impl Before {
    /// Everything of an earlier daemon is forgotten.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The rows of a poll in no order, with rates since the source was last seen in one.
    pub(super) fn rows(&mut self, poll: &Poll) -> Vec<SourceRow> {
        let sources = poll.sources.sources.iter();
        let rows = sources.map(|view| self.row(view, poll)).collect();
        for view in &poll.sources.sources {
            let counted = Counted {
                sent: Flow::new(view.packets, view.bytes),
                dropped: view.dropped_packets,
                taken: poll.taken,
            };
            self.sources.insert(view.source, counted);
        }
        let kept = |counted: &Counted| poll.taken.duration_since(counted.taken) < MEMORY;
        self.sources.retain(|_, counted| kept(counted));
        self.last = Some((poll.at, poll.taken));
        rows
    }

    fn row(&self, view: &SourceView, poll: &Poll) -> SourceRow {
        let sent = Flow::new(view.packets, view.bytes);
        let since = self.baseline(view).map(|before| {
            let elapsed = poll.taken.duration_since(before.taken);
            let began_anew = sent.since(before.sent) == sent;
            let dropped = match began_anew {
                true => view.dropped_packets,
                false => view.dropped_packets.saturating_sub(before.dropped),
            };
            let rate = sent.since(before.sent).per_second(elapsed);
            (rate, per_second(dropped, elapsed))
        });
        let (rate, dropped_rate) = since.unzip();
        SourceRow {
            source: view.source,
            standing: standing(view, rate, dropped_rate, poll),
            rate,
            dropped_rate,
            packets: view.packets,
            bytes: view.bytes,
            dropped_packets: view.dropped_packets,
            strikes: view.strikes,
            banned_until: view.banned_until,
            last_seen: view.last_seen,
        }
    }

    /// What was counted before; nothing, at the last poll, of a source first seen after it.
    fn baseline(&self, view: &SourceView) -> Option<Counted> {
        let newcomer = |(at, taken): (Timestamp, Instant)| {
            let zero = Counted {
                sent: Flow::default(),
                dropped: 0,
                taken,
            };
            (view.first_seen > at).then_some(zero)
        };
        let known = self.sources.get(&view.source).copied();
        known.or_else(|| self.last.and_then(newcomer))
    }
}

fn standing(
    view: &SourceView,
    rate: Option<Flow>,
    dropped_rate: Option<u64>,
    poll: &Poll,
) -> Standing {
    if let Some(kind) = view.listed {
        return match kind {
            ListKind::Allow => Standing::Allowed,
            ListKind::Block => Standing::Blocked,
        };
    }
    if view.banned_until.is_some() {
        Standing::Banned
    } else if dropped_rate.is_some_and(|rate| rate > 0) {
        match poll.status.mode {
            Mode::Observe => Standing::OverLimit,
            Mode::Enforce => Standing::Limited,
        }
    } else if view.strikes > 0 {
        Standing::Struck
    } else if rate.is_some_and(|rate| rate.packets > 0) {
        Standing::Passing
    } else {
        Standing::Quiet
    }
}

/// In the order wanted, addresses deciding between equals.
pub(super) fn sort(rows: &mut [SourceRow], by: Sort) {
    rows.sort_by_key(|row| (std::cmp::Reverse(by.rank(row)), row.source));
}
