//! What the daemon and its clients say to each other, as JSON over HTTP.
//!
//! Times are RFC 3339 in UTC; spans, rates and prefixes are the strings that the command line and
//! the configuration take; counts are plain numbers.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{ListName, Mode, Prefix, Span};

/// Body of every answer that isn't a success.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, and what to do next.
    pub error: String,
    /// Each mistake on its own, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// Which of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    /// Sources that always pass.
    Allow,
    /// Sources that are dropped.
    Block,
}

impl ListKind {
    /// The word in paths, metrics and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
        }
    }
}

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// The interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Packets by reason, the sum of all interfaces; every reason is there.
    pub reasons: Vec<ReasonCount>,
    /// The tables and how full they are.
    pub tables: Vec<TableStatus>,
    /// Lists with their entries.
    pub lists: Vec<ListStatus>,
    /// Bans in force.
    pub bans: u64,
    /// Our own faults, by name; every fault is there.
    pub faults: Vec<NamedCount>,
    /// What works less well than it could, each as a sentence.
    pub warnings: Vec<String>,
}

/// Where the configuration in force came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// One interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its index; 0 while it doesn't exist.
    pub index: u32,
    /// Whether the program is attached.
    pub attached: bool,
    /// `native` or `generic` while attached.
    pub mode: Option<String>,
    /// Packets by reason on this interface; reasons without packets are left out.
    pub reasons: Vec<ReasonCount>,
}

/// Packets that left with one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The reason's name.
    pub reason: String,
    /// What was done: `passed` or `dropped`. A drop reason that passed was only observed.
    pub action: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One kernel table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableStatus {
    /// `allow`, `block`, `overrides`, `sources` or `bans`.
    pub name: String,
    /// Entries in it now.
    pub entries: u64,
    /// Entries that fit.
    pub capacity: u64,
    /// What happens when it is full.
    pub when_full: String,
}

/// One list of entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListStatus {
    /// Its name.
    pub name: ListName,
    /// What it does.
    pub kind: ListKind,
    /// Entries in it, those that a wider entry covers included.
    pub entries: u64,
}

/// A number with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCount {
    /// The name.
    pub name: String,
    /// The number.
    pub count: u64,
}

/// `GET /v1/allow`, `GET /v1/block`: query.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryQuery {
    /// Only this list.
    pub list: Option<ListName>,
    /// Only entries that cover this prefix or lie in it.
    pub matching: Option<Prefix>,
    /// How many to skip.
    #[serde(default)]
    pub offset: u64,
    /// How many to give, at most 10,000; 1,000 if absent.
    pub limit: Option<u64>,
}

/// `GET /v1/allow`, `GET /v1/block`: a page of entries in the order of their prefixes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<EntryView>,
    /// How many there are in all, under the query.
    pub total: u64,
}

/// One list entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryView {
    /// The prefix.
    pub prefix: Prefix,
    /// The list.
    pub list: ListName,
    /// When it ends; absent: never.
    pub expires: Option<Timestamp>,
    /// Why it is there, in the operator's words.
    pub comment: Option<String>,
    /// When it was added; absent for the configuration's own entries.
    pub added: Option<Timestamp>,
    /// Packets that it decided. Absent where a wider entry of the list kind does its work.
    pub packets: Option<u64>,
    /// Bytes of those packets.
    pub bytes: Option<u64>,
}

/// `POST /v1/allow`, `POST /v1/block`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddEntries {
    /// What to add.
    pub prefixes: Vec<Prefix>,
    /// To which list; `manual` if absent.
    pub list: Option<ListName>,
    /// For how long; for good if absent.
    pub ttl: Option<Span>,
    /// Why, at most 200 characters.
    pub comment: Option<String>,
    /// Also very wide prefixes.
    #[serde(default)]
    pub force: bool,
}

/// `POST /v1/allow/remove`, `POST /v1/block/remove`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveEntries {
    /// What to remove; each must be there just as it is.
    pub prefixes: Vec<Prefix>,
    /// From which list; from all but the configuration's if absent.
    pub list: Option<ListName>,
}

/// `POST /v1/block/flush`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlushEntries {
    /// Which list; all but the configuration's if absent.
    pub list: Option<ListName>,
}

/// `POST /v1/block/import`: query. The body is the list's text, at most 256 MiB.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportQuery {
    /// Into which list; `manual` if absent.
    pub list: Option<ListName>,
    /// For how long; for good if absent.
    pub ttl: Option<Span>,
    /// Also very wide prefixes.
    #[serde(default)]
    pub force: bool,
    /// Remove what the list holds and the text doesn't.
    #[serde(default)]
    pub replace: bool,
}

/// Answer to every change of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReport {
    /// Entries that are new in the list.
    pub added: u64,
    /// Entries that were in the list already, with the same end.
    pub unchanged: u64,
    /// Entries whose end changed.
    pub updated: u64,
    /// Of the new and changed ones: those that a wider entry covers, so that they cost no room in
    /// the kernel.
    pub merged: u64,
    /// Entries that are gone.
    pub removed: u64,
    /// Entries that were asked to go and weren't there.
    pub missing: Vec<String>,
    /// Lines or prefixes that were refused, in all.
    pub refused: u64,
    /// The first of them.
    pub refusals: Vec<Refusal>,
    /// Lines that repeat an earlier one of the same text.
    pub duplicates: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// One refused line or prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The line in the text, from 1; absent where there was no text.
    pub line: Option<u64>,
    /// What stood there.
    pub text: String,
    /// Why it was refused.
    pub why: String,
}

/// `GET /v1/bans`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BanList {
    /// Bans in force, the latest first.
    pub bans: Vec<BanView>,
}

/// One ban.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BanView {
    /// Who.
    pub source: Prefix,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How often the length has grown.
    pub level: u32,
    /// The limit that led to it.
    pub reason: String,
    /// Packets dropped.
    pub packets: u64,
    /// Bytes dropped.
    pub bytes: u64,
}

/// `POST /v1/bans/lift`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftBans {
    /// Addresses or sources whose ban to lift.
    #[serde(default)]
    pub sources: Vec<Prefix>,
    /// Lift all.
    #[serde(default)]
    pub all: bool,
}

/// Answer to `POST /v1/bans/lift`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiftReport {
    /// Bans lifted.
    pub lifted: u64,
    /// Sources without a ban.
    pub missing: Vec<String>,
}

/// One limit: `"20kpps"` and such, or `"off"`; absent means unchanged or inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitFields {
    /// Packets per second.
    pub packets: Option<String>,
    /// Packets at once.
    pub packets_burst: Option<String>,
    /// Bits per second.
    pub bytes: Option<String>,
    /// Bytes at once.
    pub bytes_burst: Option<String>,
    /// New TCP connections per second.
    pub tcp_new: Option<String>,
    /// New TCP connections at once.
    pub tcp_new_burst: Option<String>,
}

/// `GET /v1/limits`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitList {
    /// The default first (no prefix), then the overrides by prefix.
    pub limits: Vec<LimitView>,
}

/// Limits of everybody or of a prefix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitView {
    /// Whose; absent: every source without an override.
    pub prefix: Option<Prefix>,
    /// The limits, every field given.
    #[serde(flatten)]
    pub limits: LimitFields,
    /// `config` or `runtime`.
    pub origin: String,
}

/// `PUT /v1/limits`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetLimits {
    /// Whose; absent: every source without an override.
    pub prefix: Option<Prefix>,
    /// What changes.
    #[serde(flatten)]
    pub limits: LimitFields,
    /// Forget what was set at run time: the configuration's limits are in force again.
    #[serde(default)]
    pub reset: bool,
}

/// `GET /v1/sources`: query.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceQuery {
    /// What to sort by, most first; packets if absent.
    pub sort: Option<SourceSort>,
    /// How many, at most 10,000; 20 if absent.
    pub limit: Option<u64>,
    /// Only sources in this prefix.
    pub matching: Option<Prefix>,
}

/// What sources are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum SourceSort {
    /// Packets.
    #[default]
    Packets,
    /// Bytes.
    Bytes,
    /// Dropped packets.
    Dropped,
    /// When last seen.
    LastSeen,
}

/// `GET /v1/sources`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceList {
    /// The first of them.
    pub sources: Vec<SourceView>,
    /// How many are known, under the query.
    pub total: u64,
}

/// One source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceView {
    /// The source.
    pub source: Prefix,
    /// Packets that reached the limits, and those that a ban dropped.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Packets over a limit or under a ban. In observe mode: that would have been dropped.
    pub dropped_packets: u64,
    /// Bytes of those packets.
    pub dropped_bytes: u64,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Strikes against it.
    pub strikes: u64,
    /// Until when it is banned, if it is.
    pub banned_until: Option<Timestamp>,
}

/// `GET /v1/explain`: query, one hypothetical packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The packet's source.
    pub address: IpAddr,
    /// `tcp`, `udp`, `icmp` or a number; `tcp` if absent.
    pub protocol: Option<String>,
    /// Destination port.
    pub port: Option<u16>,
    /// TCP flags as words joined by commas; `syn` if absent.
    pub flags: Option<String>,
    /// Length of the frame; 64 if absent.
    pub length: Option<u32>,
}

/// `GET /v1/explain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The packet's source.
    pub address: IpAddr,
    /// The source it counts as.
    pub source: Prefix,
    /// The packet, in words.
    pub packet: String,
    /// The reason that it would leave with.
    pub reason: String,
    /// What that reason means.
    pub description: String,
    /// `pass` or `drop`.
    pub action: String,
    /// Whether verdicts are carried out.
    pub mode: Mode,
    /// Stages in order, as far as the packet gets.
    pub stages: Vec<StageView>,
    /// What is known of the source.
    pub known: Option<SourceView>,
    /// Its ban, in force or remembered.
    pub ban: Option<BanView>,
    /// The limits that it is under.
    pub limits: LimitView,
}

/// One stage of the decision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageView {
    /// Its name.
    pub stage: String,
    /// What it found, with the list, the entry or the level.
    pub finding: String,
    /// Whether the packet's verdict fell here.
    pub decided: bool,
}

/// `POST /v1/apply`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Name of the file, for messages; absent: the daemon reads its own file again.
    pub path: Option<String>,
    /// The file's text; goes with `path`.
    pub text: Option<String>,
}

/// Answer to `POST /v1/apply`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApplyReport {
    /// What changed, each as a line; empty when nothing did.
    pub changes: Vec<String>,
    /// What is in force only after a restart, each as a line.
    pub needs_restart: Vec<String>,
    /// Oddities in the file that are no mistakes.
    pub warnings: Vec<String>,
}
