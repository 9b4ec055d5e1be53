//! What the status page beside the metrics is made of.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HostStatus, ListStatus, MitigationStatus, NamedCount, SourceView};
use crate::domain::Mode;

/// `GET /status.json` of the metrics port.
///
/// Counters grow since the program was loaded; a rate is the difference of two answers over the
/// difference of their [`at`](Self::at). Every list in it is bounded: by what is closed (reasons,
/// faults, tables), by what the configuration may hold (interfaces, classes), or by a number that
/// is named where the list is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PageStatus {
    /// Version of the daemon.
    pub version: String,
    /// When this was read. Two answers within a second can be the same.
    pub at: Timestamp,
    /// When the daemon started; another time means that counters began anew.
    pub started: Timestamp,
    /// Whether verdicts are carried out.
    pub mode: Mode,
    /// Reasons that are only counted, by name.
    pub observe_reasons: Vec<String>,
    /// The configuration in force.
    pub config: PageConfig,
    /// The interfaces, at most 15.
    pub interfaces: Vec<PageInterface>,
    /// Packets by reason, the sum of all interfaces; every reason is there with all that it can do.
    pub reasons: Vec<PageReason>,
    /// Service classes, at most 32 of them, and the last ten changes of their states.
    pub mitigation: MitigationStatus,
    /// The first 100 lists.
    pub lists: Vec<ListStatus>,
    /// How many lists are not there for want of room.
    pub lists_left_out: u64,
    /// The kernel's tables.
    pub tables: Vec<PageTable>,
    /// Bans in force.
    pub bans: u64,
    /// Known sources whose place no newcomer takes.
    pub protected_sources: u64,
    /// Our own faults, by name; every fault is there.
    pub faults: Vec<NamedCount>,
    /// What was lost before and behind the program.
    pub host: HostStatus,
    /// What works less well than it could: at most 20 sentences of at most 300 characters. Addresses
    /// are masked in them unless `sources` is there.
    pub warnings: Vec<String>,
    /// Who sends most. Only where the configuration says `page = "sources"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<PageSources>,
}

/// The configuration in force, without its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageConfig {
    /// When it was put in force.
    pub loaded: Timestamp,
    /// How many reloads took effect.
    pub reloads: u64,
    /// How many were refused.
    pub refused: u64,
    /// Whether the last one was.
    pub last_refused: bool,
}

/// One interface with all its packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageInterface {
    /// Its name.
    pub name: String,
    /// Whether the program is attached.
    pub attached: bool,
    /// `native` or `generic` while attached.
    pub mode: Option<String>,
    /// Packets that the program saw.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Packets dropped, or answered in the host's place.
    pub refused: u64,
}

/// Packets that left with one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageReason {
    /// The reason's name.
    pub reason: String,
    /// What it means, as a sentence.
    pub about: String,
    /// `passed`, `dropped`, `answered`, or `observed`: passed, and only counted.
    pub action: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One kernel table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageTable {
    /// `allow`, `block`, `overrides`, `sources` or `bans`.
    pub name: String,
    /// Entries in it now.
    pub entries: u64,
    /// Entries that fit.
    pub capacity: u64,
}

/// Who sends most, since each was first seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PageSources {
    /// When this was read: up to five seconds before the rest.
    pub at: Timestamp,
    /// How many sources are known.
    pub known: u64,
    /// At most 10, by packets dropped; none without any.
    pub dropped: Vec<SourceView>,
    /// At most 10, by packets.
    pub packets: Vec<SourceView>,
}
