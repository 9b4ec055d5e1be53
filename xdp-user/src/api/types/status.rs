//! The state of everything.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EventsStatus, HostStatus, KeptListStatus, ListKind, MitigationStatus};
use crate::domain::{ListName, Mode};

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// Whether verdicts are carried out.
    pub mode: Mode,
    /// Reasons that are only counted, by name.
    pub observe_reasons: Vec<String>,
    /// Where the configuration in force came from.
    pub config: ConfigStatus,
    /// The kernel, as `uname -r` has it.
    pub kernel: String,
    /// Instructions that the kernel's verifier went through to accept the program.
    pub verified_instructions: Option<u32>,
    /// Stages that the program has, of those that it may be without: what isn't configured isn't in it,
    /// unless nothing is pinned or its diagnostics are on.
    #[serde(default)]
    pub stages: Vec<String>,
    /// The interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Packets by reason, the sum of all interfaces; every reason is there.
    pub reasons: Vec<ReasonCount>,
    /// The tables and how full they are.
    pub tables: Vec<TableStatus>,
    /// The other maps, whose memory stays the same.
    #[serde(default)]
    pub maps: Vec<MapStatus>,
    /// Bytes that all tables and the other maps take now.
    pub memory_bytes: u64,
    /// Known sources whose place no newcomer takes; up to ten seconds old.
    pub protected_sources: u64,
    /// Lists with their entries.
    pub lists: Vec<ListStatus>,
    /// Lists that keep themselves.
    #[serde(default)]
    pub kept_lists: Vec<KeptListStatus>,
    /// Bans in force.
    pub bans: u64,
    /// Service classes and what goes on in them.
    pub mitigation: MitigationStatus,
    /// What is remembered of the exchanges that are under way.
    #[serde(default)]
    pub flow_memory: FlowMemoryStatus,
    /// Our own faults, by name; every fault is there.
    pub faults: Vec<NamedCount>,
    /// What wasn't judged because it is no IP packet, the most packets first; what never came is left
    /// out.
    #[serde(default)]
    pub not_ip: Vec<NotIpCount>,
    /// What packets reach of this host, and who must stay reachable.
    #[serde(default)]
    pub reach: super::ReachStatus,
    /// What happened, in numbers.
    #[serde(default)]
    pub events: EventsStatus,
    /// What was lost before and behind the program.
    #[serde(default)]
    pub host: HostStatus,
    /// What the daemon may do.
    #[serde(default)]
    pub privileges: PrivilegeStatus,
    /// What stays in force without the daemon.
    #[serde(default)]
    pub pins: PinStatus,
    /// The configuration in force waits to be confirmed.
    #[serde(default)]
    pub pending: Option<super::PendingStatus>,
    /// What works less well than it could, each as a sentence.
    pub warnings: Vec<String>,
}

/// Where the configuration in force came from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    /// Path of the file.
    pub path: String,
    /// When it was put in force.
    pub loaded: Timestamp,
    /// How many reloads took effect.
    pub reloads: u64,
    /// How many were refused.
    pub refused: u64,
    /// Why the last one was refused, if the last one was.
    pub last_error: Option<String>,
}

/// What the daemon may do, as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrivilegeStatus {
    /// The user that it runs as.
    pub user: String,
    /// The capabilities that it holds, sorted.
    pub capabilities: Vec<String>,
    /// Whether it can't gain any by starting a program.
    pub no_new_privs: bool,
    /// What it can reach of the file system: `restricted`, `partly restricted` or `open`.
    pub files: String,
    /// Why they aren't restricted fully, if they aren't.
    pub files_why: Option<String>,
}

/// Why an interface of the configuration isn't attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// There is no interface of this name.
    Missing,
    /// Another XDP program is attached to it.
    Occupied,
    /// Its driver has no native XDP, and native was asked for.
    NoNative,
    /// Its frames begin with a header that the program doesn't read.
    Unreadable,
    /// The kernel refuses for another reason.
    Refused,
}

impl WaitReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Missing,
        Self::Occupied,
        Self::NoNative,
        Self::Unreadable,
        Self::Refused,
    ];

    /// The name in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Occupied => "occupied",
            Self::NoNative => "no_native",
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
        }
    }
}

/// One interface.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceStatus {
    /// The kernel's name for it now.
    pub name: String,
    /// The name that the configuration has for it, where that is another one: a further name (altname),
    /// or the one before it was renamed.
    #[serde(default)]
    pub configured: Option<String>,
    /// Its index; 0 while it doesn't exist.
    pub index: u32,
    /// Whether the program is attached.
    pub attached: bool,
    /// What it waits for, while the program is not attached.
    #[serde(default)]
    pub waiting: Option<WaitReason>,
    /// The same in words.
    #[serde(default)]
    pub waiting_why: Option<String>,
    /// `native` or `generic` while attached.
    pub mode: Option<String>,
    /// The hook at which what leaves is noted in the flow memory while attached: `tcx` or `clsact`.
    #[serde(default)]
    pub egress: Option<String>,
    /// Why it isn't, while attached.
    #[serde(default)]
    pub egress_why: Option<String>,
    /// Packets by reason on this interface; reasons without packets are left out.
    pub reasons: Vec<ReasonCount>,
}

/// Whether the flow memory has all that leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlowMemoryState {
    /// It has: an answer that it doesn't know wasn't asked for.
    Complete,
    /// What is under way is yet to be noted.
    WarmingUp,
    /// Something leaves by an interface without being noted.
    NotAttached,
    /// Service classes are off, so nobody asks it.
    #[default]
    Off,
}

impl FlowMemoryState {
    /// The name in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::WarmingUp => "warming_up",
            Self::NotAttached => "not_attached",
            Self::Off => "off",
        }
    }
}

/// What is remembered of the exchanges that are under way: the egress program notes what leaves. While it
/// isn't complete classes ask local sockets alone, and stand aside where the host forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowMemoryStatus {
    /// Whether it is complete.
    pub state: FlowMemoryState,
    /// Where something leaves without being noted, and why.
    pub why: Option<String>,
    /// Seconds until it is complete, while it warms up.
    pub seconds_left: Option<u64>,
    /// Packets that left, each before it was cut into segments.
    pub packets: u64,
    /// How many of those changed what is remembered.
    pub noted: u64,
    /// IP packets that left and could not be read.
    pub unread: u64,
}

/// What is pinned, and what became of what an earlier daemon left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PinStatus {
    /// Where; nothing is pinned without it.
    pub directory: Option<String>,
    /// `keep` or `detach`.
    pub on_exit: String,
    /// `unpinned`, `fresh`, `took_over` or `refilled`.
    pub start: String,
    /// Why the maps of before were not used.
    pub why: Option<String>,
}

/// Packets that left with one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReasonCount {
    /// The reason's name.
    pub reason: String,
    /// What was done: `passed`, `dropped` or `answered`. A packet that passed for a reason to drop or
    /// to answer was only observed.
    pub action: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One kernel table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TableStatus {
    /// `allow`, `block`, `overrides`, `sources` or `bans`.
    pub name: String,
    /// Entries in it now.
    pub entries: u64,
    /// Entries that fit.
    pub capacity: u64,
    /// Bytes that it takes now. `allow` and `block` share their tables, and each has the part that
    /// its entries are of all.
    pub memory_bytes: u64,
    /// What happens when it is full.
    pub when_full: String,
}

/// A kernel map that is no table of [`Status::tables`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapStatus {
    /// Its name in the kernel, in lower case.
    pub name: String,
    /// Bytes that it takes, on all CPUs.
    pub memory_bytes: u64,
}

/// One list of entries.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListStatus {
    /// Its name.
    pub name: ListName,
    /// What it does.
    pub kind: ListKind,
    /// Entries in it, those that a wider entry covers included.
    pub entries: u64,
}

/// Packets that weren't judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotIpCount {
    /// What they are, such as `arp`, `mpls` or `pppoe_discovery`; `other` for what has no name here.
    pub kind: String,
    /// The EtherType of others, such as `0x88b5`, for up to sixteen of them; the rest is one row without.
    pub ether_type: Option<String>,
    /// Packets.
    pub packets: u64,
}

/// A number with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedCount {
    /// The name.
    pub name: String,
    /// The number.
    pub count: u64,
}
