//! A datapath in memory with a clock of its own.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, Result};
use xdp_common::abi::{Limits, Policy};
use xdp_common::packet::Packet;
use xdp_common::verdict::{Verdict, places};

use super::link::Frame;
use crate::config::Config;
use crate::control::{Escalated, Escalations, LOOK, policy};
use crate::daemon::capacity;
use crate::datapath::memory::{MemoryDatapath, read};
use crate::datapath::{Datapath, NewEntry};
use crate::domain::Prefix;

/// The clock's first value: limits look back a while.
pub const START_NS: u64 = 3_600_000_000_000;

/// The tables of a configuration as they are when a daemon has started with it, and time that passes
/// as the packets say.
pub struct Engine {
    datapath: MemoryDatapath,
    policy: Policy,
    escalations: Escalations,
    now_ns: u64,
    next_look_ns: u64,
}

/// What became of a packet.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Reason and action.
    pub verdict: Verdict,
    /// The packet, where it is one of IP.
    pub packet: Option<Packet>,
    /// Its class's number in the program, where classes are looked at.
    pub class: Option<u8>,
    /// Classes that changed their state before it came.
    pub escalated: Vec<Escalated>,
}

impl Engine {
    /// Fills the tables.
    ///
    /// # Errors
    /// When the configuration's entries are more than its capacity.
    pub fn new(config: &Config) -> Result<Self> {
        let escalations = Escalations::new(config, START_NS);
        let mut datapath = MemoryDatapath::new(capacity(config));
        let mut overrides: Vec<Limits> = Vec::new();
        for section in &config.overrides {
            let limits = policy::limits(&section.limits);
            for prefix in &section.prefixes {
                datapath.put_limits(prefix, &limits)?;
            }
            overrides.push(limits);
        }
        put_entries(&mut datapath, config)?;
        let policy = policy::build(
            config,
            policy::Live {
                overrides: &overrides,
                surroundings: policy::Surroundings {
                    syn_cookies: true,
                    ..policy::Surroundings::default()
                },
                ..policy::Live::default()
            },
        );
        datapath.set_classes(escalations.set())?;
        datapath.set_policy(&policy)?;
        Ok(Self {
            datapath,
            policy,
            escalations,
            now_ns: START_NS,
            next_look_ns: START_NS,
        })
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The classes.
    #[must_use]
    pub fn escalations(&self) -> &Escalations {
        &self.escalations
    }

    /// The tables.
    #[must_use]
    pub fn datapath(&mut self) -> &mut MemoryDatapath {
        &mut self.datapath
    }

    /// Judges a frame that came so long after the first. Time doesn't go back: a packet that is older
    /// than one before it counts as of the same time.
    ///
    /// # Errors
    /// When the tables refuse.
    pub fn judge(&mut self, frame: &Frame, at: Duration) -> Result<Judged> {
        let at_ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX / 2);
        let now_ns = START_NS.saturating_add(at_ns).max(self.now_ns);
        let escalated = self.pass_time(now_ns)?;
        let packet = match read(frame.framing, &frame.bytes) {
            ControlFlow::Continue(packet) => Some(packet),
            ControlFlow::Break(_) => None,
        };
        let class = packet.as_ref().map(|packet| self.class_of(packet));
        let verdict = self.datapath.judge_as(frame.framing, &frame.bytes, now_ns);
        Ok(Judged {
            verdict,
            packet,
            class,
            escalated,
        })
    }

    /// The time of the last packet, on the clock that began at [`START_NS`].
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn class_of(&self, packet: &Packet) -> u8 {
        let set = self.escalations.set();
        let (first, second) = places(packet);
        match (set.class_at(first), second) {
            (0, Some(second)) => set.class_at(second),
            (number, _) => number,
        }
    }

    /// Classes are looked at as the controller does it. In a long pause nothing happens but that they
    /// calm down: enough looks for every step, not one each quarter of a second of a year.
    fn pass_time(&mut self, now_ns: u64) -> Result<Vec<Escalated>> {
        const MOST_LOOKS: u64 = 4 * 3600;
        let step = u64::try_from(LOOK.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns = now_ns;
        if now_ns.saturating_sub(self.next_look_ns) / step > MOST_LOOKS {
            self.next_look_ns = now_ns.saturating_sub(step.saturating_mul(MOST_LOOKS));
        }
        let mut changes = Vec::new();
        while self.next_look_ns <= now_ns {
            changes.extend(
                self.escalations
                    .look(&mut self.datapath, self.next_look_ns)?,
            );
            self.next_look_ns = self.next_look_ns.saturating_add(step);
        }
        Ok(changes)
    }
}

fn put_entries(datapath: &mut MemoryDatapath, config: &Config) -> Result<()> {
    use crate::api::types::ListKind;
    let entry = |prefix: &Prefix| NewEntry {
        prefix: *prefix,
        expires_ns: 0,
        list: 0,
    };
    for (kind, prefixes) in [
        (ListKind::Allow, &config.allow),
        (ListKind::Block, &config.block),
    ] {
        let entries: Vec<NewEntry> = prefixes.iter().map(entry).collect();
        let refused = datapath.change_entries(kind, &entries, &[]);
        if let Some((prefix, error)) = refused.into_iter().next() {
            return Err(error).with_context(|| format!("{prefix} doesn't fit"));
        }
    }
    Ok(())
}
