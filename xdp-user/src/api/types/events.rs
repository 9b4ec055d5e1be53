//! Events: what happened, as the daemon tells it and the events file has it, one JSON object a line.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xdp_common::reason::{Class, Reason};

use super::{ListKind, NamedCount};
use crate::domain::{ClassState, Prefix, SampleRate, Span};

/// `GET /v1/events`: query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Go on with what happens from now on, until the client hangs up.
    #[serde(default)]
    pub follow: bool,
    /// Kinds, joined by commas; all if absent.
    pub kinds: Option<String>,
    /// Reasons, joined by commas: only bans and samples for one of them.
    pub reasons: Option<String>,
    /// Only events of sources in this prefix, or whose source holds all of it.
    pub source: Option<Prefix>,
    /// How many of the past, the latest; at most what the daemon keeps, 100 if absent.
    pub limit: Option<u64>,
}

/// `GET /v1/capture`: query. The answer is a line for each sample, as in `GET /v1/events`, until one of
/// the bounds is reached or the client hangs up; meanwhile the program shows more packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureQuery {
    /// Reasons, joined by commas; all that drop or answer if absent.
    pub reasons: Option<String>,
    /// Only packets from sources in this prefix.
    pub source: Option<Prefix>,
    /// In place of the reasons: all that let packets pass.
    #[serde(default)]
    pub passed: bool,
    /// How many, at most 1,000,000; 1,000 if absent.
    pub count: Option<u64>,
    /// For how long, at most an hour; 30 s if absent.
    pub duration: Option<Span>,
    /// First bytes of each packet, 64 to 256; 256 if absent.
    pub size: Option<u16>,
    /// Samples per second that each CPU takes at most; 1000/s if absent.
    pub rate: Option<SampleRate>,
}

/// How many events there were, as part of `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsStatus {
    /// Since the daemon's start, by kind.
    pub published: Vec<NamedCount>,
    /// Lost on their way out of the daemon, by where.
    pub lost: Vec<NamedCount>,
}

/// Something that happened. `GET /v1/events` answers one a line, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Counts from 1 at the daemon's start; a gap is an event that a filter or a bound left out.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened; `kind` tells which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// A source was banned.
    Ban(BanBegan),
    /// A ban is over.
    Unban(BanEnded),
    /// A service class came into another state.
    Class(ClassChanged),
    /// A list changed.
    List(ListChanged),
    /// A configuration was put in force or refused.
    Reload(Reloaded),
    /// The program was attached to an interface.
    Attach(InterfaceAttached),
    /// The program is no longer on an interface.
    Detach(InterfaceDetached),
    /// A packet that was looked at more closely.
    Sample(Box<Sample>),
    /// To a follower alone: it was too slow, and events are lost to it.
    Lost(EventsLost),
}

/// The kinds of events.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Bans that began.
    Ban,
    /// Bans that are over.
    Unban,
    /// Service classes that changed their state.
    Class,
    /// Lists that changed.
    List,
    /// Configurations put in force or refused.
    Reload,
    /// Interfaces attached.
    Attach,
    /// Interfaces detached.
    Detach,
    /// Sampled packets.
    Sample,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Ban,
        Self::Unban,
        Self::Class,
        Self::List,
        Self::Reload,
        Self::Attach,
        Self::Detach,
        Self::Sample,
    ];

    /// The word in output and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ban => "ban",
            Self::Unban => "unban",
            Self::Class => "class",
            Self::List => "list",
            Self::Reload => "reload",
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::Sample => "sample",
        }
    }
}

impl Happening {
    /// Its kind; nothing for what only tells a follower of its losses.
    pub const fn kind(&self) -> Option<EventKind> {
        Some(match self {
            Self::Ban(_) => EventKind::Ban,
            Self::Unban(_) => EventKind::Unban,
            Self::Class(_) => EventKind::Class,
            Self::List(_) => EventKind::List,
            Self::Reload(_) => EventKind::Reload,
            Self::Attach(_) => EventKind::Attach,
            Self::Detach(_) => EventKind::Detach,
            Self::Sample(_) => EventKind::Sample,
            Self::Lost(_) => return None,
        })
    }

    /// Whom it is about, where it is about a source.
    pub fn source(&self) -> Option<Prefix> {
        match self {
            Self::Ban(ban) => Some(ban.source),
            Self::Unban(ban) => Some(ban.source),
            Self::Sample(sample) => sample.source.map(Prefix::host),
            Self::List(list) => list.prefix,
            Self::Class(_)
            | Self::Reload(_)
            | Self::Attach(_)
            | Self::Detach(_)
            | Self::Lost(_) => None,
        }
    }

    /// The reason that it is for, where there is one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Ban(ban) => Some(&ban.reason),
            Self::Sample(sample) => Some(&sample.reason),
            Self::Unban(_)
            | Self::Class(_)
            | Self::List(_)
            | Self::Reload(_)
            | Self::Attach(_)
            | Self::Detach(_)
            | Self::Lost(_) => None,
        }
    }
}

/// A source was banned by the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BanBegan {
    /// Who.
    pub source: Prefix,
    /// Until when.
    pub until: Timestamp,
    /// How often the length has grown.
    pub level: u32,
    /// The limit that led to it.
    pub reason: String,
}

/// A ban is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BanEnded {
    /// Whose.
    pub source: Prefix,
    /// Why.
    pub cause: UnbanCause,
}

/// Why a ban is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnbanCause {
    /// Its time was up.
    Ended,
    /// Somebody lifted it.
    Lifted,
}

impl UnbanCause {
    /// The word in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Lifted => "lifted",
        }
    }
}

/// A service class came into another state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassChanged {
    /// The class.
    pub class: String,
    /// Its state before.
    pub from: ClassState,
    /// Its state now.
    pub to: ClassState,
    /// Newcomers' packets over the budget, per second, at that time.
    pub over_per_second: u64,
    /// What is in force now that isn't in normal times.
    pub switched_on: Vec<String>,
}

/// A list changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListChanged {
    /// What the list does.
    pub table: ListKind,
    /// The list; absent where several changed at once.
    pub list: Option<String>,
    /// Where the change came from.
    pub cause: ListCause,
    /// Entries that are new.
    pub added: u64,
    /// Entries with another end or comment.
    pub updated: u64,
    /// Entries that are gone.
    pub removed: u64,
    /// The only prefix that changed, where it is one.
    pub prefix: Option<Prefix>,
}

/// Where a change of a list came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListCause {
    /// A request to add or remove entries.
    #[default]
    Request,
    /// A text that was imported.
    Import,
    /// The list was emptied.
    Flush,
    /// The time of entries was up.
    Expired,
    /// The configuration.
    Config,
    /// A new text of a list that keeps itself.
    Refresh,
}

impl ListCause {
    /// The word in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Import => "import",
            Self::Flush => "flush",
            Self::Expired => "expired",
            Self::Config => "config",
            Self::Refresh => "refresh",
        }
    }
}

/// A configuration was put in force or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Its name.
    pub path: String,
    /// What changed, each as a line.
    pub changes: Vec<String>,
    /// Why it was refused; absent where it is in force.
    pub error: Option<String>,
}

/// The program was attached to an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceAttached {
    /// The interface.
    pub interface: String,
    /// `native` or `generic`.
    pub mode: String,
}

/// The program is no longer on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceDetached {
    /// The interface.
    pub interface: String,
    /// Why.
    pub cause: DetachCause,
}

/// Why the program is no longer on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetachCause {
    /// The configuration no longer names it.
    Config,
    /// The interface is gone.
    Gone,
    /// The daemon ends.
    Stopped,
}

impl DetachCause {
    /// The word in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Gone => "gone",
            Self::Stopped => "stopped",
        }
    }
}

/// A packet that was looked at more closely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// The interface that it came in on; absent where the policy doesn't name it.
    pub interface: Option<String>,
    /// Why it passed or was dropped.
    pub reason: String,
    /// `passed`, `dropped` or `answered`.
    pub action: String,
    /// The address that it came from; absent where the packet could not be read that far.
    pub source: Option<IpAddr>,
    /// The list that decided, where one did.
    pub list: Option<String>,
    /// The service class that it is in, where it is in one.
    pub class: Option<String>,
    /// Packets that it stands for: itself, and those like it on its CPU since the last sample.
    pub stands_for: u64,
    /// Length of the frame in bytes.
    pub length: u32,
    /// The frame's first bytes.
    pub frame: FrameBytes,
    /// Whether they begin with the IP header, as on an interface without an Ethernet header.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bare_ip: bool,
}

impl Sample {
    /// Whether the packet passed for a reason that drops nothing, and not only because its reason is
    /// observed.
    pub fn is_of_honest_traffic(&self) -> bool {
        Reason::from_name(&self.reason).is_none_or(|reason| reason.class() == Class::Pass)
    }
}

/// To a follower: it was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsLost {
    /// Events that it didn't get, of all kinds, before its filter.
    pub events: u64,
}

/// Bytes of a frame, in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameBytes(pub Vec<u8>);

/// Why a text isn't a frame's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected pairs of hexadecimal digits")]
pub struct FrameBytesError;

impl fmt::Display for FrameBytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for FrameBytes {
    type Err = FrameBytesError;

    fn from_str(text: &str) -> Result<Self, FrameBytesError> {
        hex::decode(text).map(Self).map_err(|_odd| FrameBytesError)
    }
}

crate::domain::serde_as_text!(FrameBytes, {
    "type": "string",
    "description": "The frame's first bytes, two hexadecimal digits each.",
    "pattern": "^([0-9a-f]{2})*$"
});
