//! Whether the flow memory has all that leaves, so that the program may go by it.
//!
//! It has once the egress program is at every interface that is attached, and a while has passed since:
//! what is under way by then has sent something. A memory that was taken over is complete from the start.

use anyhow::Result;

use super::Control;
use super::clock::Moment;
use crate::api::types::{FlowMemoryState, FlowMemoryStatus};
use crate::datapath::Egress;

/// So many seconds the egress program looks on before the memory counts as complete.
const WARM_UP_SECONDS: u64 = 60;
/// Names another number of them: for tests, which would wait for a minute each.
const WARM_UP: &str = "XDP_THROTTLE_FLOW_WARM_UP";
const NS_PER_SECOND: u64 = 1_000_000_000;

fn warm_up_ns() -> u64 {
    let named = std::env::var(WARM_UP).ok();
    let seconds = named.and_then(|seconds| seconds.parse().ok());
    seconds
        .unwrap_or(WARM_UP_SECONDS)
        .saturating_mul(NS_PER_SECOND)
}

/// What is kept of it.
pub(super) struct FlowMemory {
    /// So long it warms up.
    warm_up_ns: u64,
    /// Since when everything that leaves is noted, kernel's time.
    since_ns: Option<u64>,
    /// Whether that is long enough ago.
    is_warm: bool,
    /// What the policy in force says.
    told: bool,
}

impl Default for FlowMemory {
    fn default() -> Self {
        Self {
            warm_up_ns: warm_up_ns(),
            since_ns: None,
            is_warm: false,
            told: false,
        }
    }
}

impl FlowMemory {
    /// Nanoseconds until it is warm.
    fn left_ns(&self, now: Moment) -> u64 {
        let since = self.since_ns.unwrap_or(now.boot_ns);
        let warm = since.saturating_add(self.warm_up_ns);
        warm.saturating_sub(now.boot_ns)
    }
}

/// Why it is not complete, if it isn't.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody looks at it.
    Off,
    /// Something leaves unseen, in words.
    NotAttached(String),
    /// For so many seconds more.
    WarmingUp(u64),
    Complete,
}

impl Control {
    fn flow_standing(&self, now: Moment) -> Standing {
        if !self.config.mitigation.enabled {
            return Standing::Off;
        }
        let mut attached = self.interfaces.iter().filter(|one| one.attached.is_some());
        if attached.clone().next().is_none() {
            return Standing::NotAttached("no interface is attached".to_owned());
        }
        let missing = attached.find_map(|one| match self.datapath.egress(&one.configured) {
            Egress::Attached(_) => None,
            Egress::Missing(why) => Some(format!("on {}: {why}", one.name)),
        });
        if let Some(missing) = missing {
            return Standing::NotAttached(missing);
        }
        if self.flow_memory.is_warm {
            return Standing::Complete;
        }
        Standing::WarmingUp(self.flow_memory.left_ns(now).div_ceil(NS_PER_SECOND))
    }

    /// Whether the policy is to say that the memory is complete.
    pub(super) fn flow_memory_is_complete(&self) -> bool {
        self.flow_standing(Self::now()) == Standing::Complete
    }

    /// What the policy that is in force now says.
    pub(super) fn note_flow_memory(&mut self, is_complete: bool) {
        if self.flow_memory.told != is_complete {
            tracing::info!(is_complete, "the flow memory");
        }
        self.flow_memory.told = is_complete;
    }

    /// At a start: a memory that was taken over has no need to warm up.
    pub(super) fn go_on_with_flow_memory(&mut self) {
        let is_whole = matches!(self.flow_standing(Self::now()), Standing::WarmingUp(_));
        self.flow_memory.is_warm = is_whole && self.datapath.remembered_flows();
    }

    /// Looks whether everything that leaves is noted, and tells the program where that has changed.
    pub(super) fn look_at_egress(&mut self, now: Moment) -> Result<()> {
        match self.flow_standing(now) {
            Standing::Off | Standing::NotAttached(_) => {
                self.flow_memory.since_ns = None;
                self.flow_memory.is_warm = false;
            }
            Standing::WarmingUp(_) => {
                self.flow_memory.since_ns.get_or_insert(now.boot_ns);
                self.flow_memory.is_warm = self.flow_memory.left_ns(now) == 0;
            }
            Standing::Complete => {}
        }
        if self.flow_memory.told != self.flow_memory_is_complete() {
            self.publish_policy()?;
        }
        Ok(())
    }

    pub(super) fn flow_memory_status(&self, now: Moment) -> Result<FlowMemoryStatus> {
        let (state, why, warm_in) = match self.flow_standing(now) {
            Standing::Off => (FlowMemoryState::Off, None, None),
            Standing::NotAttached(why) => (FlowMemoryState::NotAttached, Some(why), None),
            Standing::WarmingUp(left) => (FlowMemoryState::WarmingUp, None, Some(left)),
            Standing::Complete => (FlowMemoryState::Complete, None, None),
        };
        let seen = self.datapath.egress_counter()?;
        Ok(FlowMemoryStatus {
            state,
            why,
            seconds_left: warm_in,
            packets: seen.packets,
            noted: seen.noted,
            unread: seen.unread,
        })
    }
}
