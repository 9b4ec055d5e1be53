//! What is counted of a replay, in bounded memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xdp_common::reason::{Action, Reason};

use super::engine::{Judged, START_NS};

/// Sources that are told apart; packets of more are counted for nobody.
const MOST_SOURCES: usize = 1 << 20;

/// Packets, bytes, and when the first came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Seconds from the capture's first packet to the first of these.
    pub first: f64,
}

impl Count {
    fn add(&mut self, bytes: u64, at: f64) {
        if self.packets == 0 {
            self.first = at;
        }
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// All packets of a kind, and those of them that were dropped or answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Both {
    pub(super) all: Count,
    pub(super) stopped: Count,
}

impl Both {
    fn add(&mut self, bytes: u64, at: f64, stopped: bool) {
        self.all.add(bytes, at);
        if stopped {
            self.stopped.add(bytes, at);
        }
    }
}

/// A source's packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfSource {
    pub(super) both: Both,
    /// Why its last packet that was stopped was.
    pub(super) reason: Option<Reason>,
}

#[derive(Default)]
pub(super) struct Tally {
    pub(super) total: Both,
    pub(super) reasons: HashMap<(u8, &'static str), (Reason, Count)>,
    pub(super) classes: HashMap<u8, Both>,
    pub(super) sources: HashMap<IpAddr, OfSource>,
    /// Packets of sources beyond [`MOST_SOURCES`].
    pub(super) untold: u64,
}

impl Tally {
    pub(super) fn add(&mut self, judged: &Judged, bytes: u64, now_ns: u64) {
        #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
        let at = now_ns.saturating_sub(START_NS) as f64 / 1e9;
        let verdict = judged.verdict;
        let (action, stopped) = match verdict.action {
            Action::Pass => ("passed", false),
            Action::Drop => ("dropped", true),
            Action::Answer => ("answered", true),
        };
        self.total.add(bytes, at, stopped);
        let of_reason = self.reasons.entry((verdict.reason.code(), action));
        let (_, count) = of_reason.or_insert((verdict.reason, Count::default()));
        count.add(bytes, at);
        if let Some(class) = judged.class {
            let of_class = self.classes.entry(class).or_default();
            of_class.add(bytes, at, stopped);
        }
        let Some(packet) = &judged.packet else {
            return;
        };
        let source = match self.sources.len() < MOST_SOURCES {
            true => Some(
                self.sources
                    .entry(packet.source.into())
                    .or_insert(OfSource {
                        both: Both::default(),
                        reason: None,
                    }),
            ),
            false => match self.sources.entry(packet.source.into()) {
                Entry::Occupied(held) => Some(held.into_mut()),
                Entry::Vacant(_) => None,
            },
        };
        match source {
            Some(source) => {
                source.both.add(bytes, at, stopped);
                if stopped {
                    source.reason = Some(verdict.reason);
                }
            }
            None => self.untold += 1,
        }
    }
}
