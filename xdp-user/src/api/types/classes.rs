//! Service classes and what goes on in them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ClassState;

/// What service classes do now, within [`super::Status`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MitigationStatus {
    /// Whether they decide anything.
    pub enabled: bool,
    /// What they do where the host forwards: `stand-aside` or `ignore`.
    pub forwarding: String,
    /// Every class, by number.
    pub classes: Vec<ClassStatus>,
    /// Where packets may be for somebody else than this host.
    pub asides: Vec<AsideStatus>,
    /// The last changes of states, oldest first.
    pub changes: Vec<StateChange>,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassStatus {
    /// Its name.
    pub name: String,
    /// How hard pressed it is.
    pub state: ClassState,
    /// Since when.
    pub since: Timestamp,
    /// What is switched on in this state, each as a few words.
    pub switched_on: Vec<String>,
    /// What it counted since the program was loaded.
    pub counts: ClassCounts,
    /// How often it came into each state since the daemon started.
    pub state_changes: StateChanges,
}

/// Packets of a class. Those of known sources, and what was not for the class to decide, are in
/// `packets` only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassCounts {
    /// Packets that came in.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Newcomers' packets within the budget.
    pub newcomers: u64,
    /// Newcomers' packets that found the budget spent, whatever became of them.
    pub over: u64,
    /// Packets that a local socket was found to wait for.
    pub proven: u64,
    /// Packets that no local socket waits for, refused.
    pub unsolicited: u64,
    /// Packets refused because the budget was spent.
    pub refused: u64,
    /// SYNs answered with a cookie.
    pub cookies: u64,
    /// Newcomers' packets that were remembered and refused.
    #[serde(default)]
    pub first_packets: u64,
    /// Packets of remembered newcomers refused because they came too soon.
    #[serde(default)]
    pub too_soon: u64,
    /// Packets of flows that began under pressure, passed within their budget.
    #[serde(default)]
    pub returned: u64,
    /// The same, refused because that budget was spent.
    #[serde(default)]
    pub over_returning: u64,
}

impl ClassCounts {
    /// Packets that didn't pass, whatever the cause.
    pub const fn refused_in_all(&self) -> u64 {
        self.refused
            .saturating_add(self.cookies)
            .saturating_add(self.unsolicited)
            .saturating_add(self.first_packets)
            .saturating_add(self.too_soon)
            .saturating_add(self.over_returning)
    }
}

/// How often a class came into each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateChanges {
    /// Back within its budget.
    pub normal: u64,
    /// Over it, or out of an attack.
    pub elevated: u64,
    /// Under attack.
    pub attack: u64,
}

impl StateChanges {
    /// Of one state.
    pub const fn of(&self, state: ClassState) -> u64 {
        match state {
            ClassState::Normal => self.normal,
            ClassState::Elevated => self.elevated,
            ClassState::Attack => self.attack,
        }
    }
}

/// A class went from one state to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateChange {
    /// When.
    pub at: Timestamp,
    /// Name of the class.
    pub class: String,
    /// The state before.
    pub from: ClassState,
    /// The state since.
    pub to: ClassState,
    /// Newcomers' packets over the budget per second just before.
    pub over_per_second: u64,
}

/// IPv4 or IPv6.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The word in output and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    /// The name in sentences.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

/// Packets of a family on an interface may be for somebody else than this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AsideStatus {
    /// Name of the interface.
    pub interface: String,
    /// Which packets.
    pub family: Family,
    /// Why, as a sentence.
    pub reason: String,
    /// Whether classes stand aside for it; else the configuration says to ignore it, or the flow memory
    /// tells these packets.
    pub in_force: bool,
    /// Whether classes go by the flow memory alone here, as no local socket tells.
    #[serde(default)]
    pub told_by_flows: bool,
}

/// Answer to `GET /v1/classes`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClassList {
    /// Whether classes decide anything.
    pub enabled: bool,
    /// By number.
    pub classes: Vec<ClassView>,
}

/// A class with its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassView {
    /// What goes on in it.
    #[serde(flatten)]
    pub status: ClassStatus,
    /// Its number, which it keeps while the daemon runs.
    pub number: u8,
    /// Whether every configuration has it.
    pub built_in: bool,
    /// Whether it decides anything.
    pub enabled: bool,
    /// What is in it, each as words: `udp 53`, `tcp rest`.
    pub takes: Vec<String>,
    /// Limits as the configuration takes them.
    pub limits: ClassLimits,
    /// `solicited`, `proof`, `syn_cookies`, `known_first`, `observe`: those that are set.
    pub flags: Vec<String>,
}

/// Limits of a class; a limit without a rate is `off`, and then it has no burst.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassLimits {
    /// Packets of all newcomers together.
    pub budget: String,
    /// How many of them at once.
    pub budget_burst: Option<String>,
    /// The same under attack.
    pub attack_budget: String,
    /// How many of them at once.
    pub attack_budget_burst: Option<String>,
    /// Packets of all flows that began under pressure.
    #[serde(default)]
    pub returning: String,
    /// How many of them at once.
    #[serde(default)]
    pub returning_burst: Option<String>,
    /// Packets of one source.
    pub packets: String,
    /// How many of them at once.
    pub packets_burst: Option<String>,
    /// Bits of one source.
    pub bytes: String,
    /// How many bytes at once.
    pub bytes_burst: Option<String>,
}
