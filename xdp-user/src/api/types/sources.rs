//! Sources: what they sent, their bans and limits, and what would happen to a packet of theirs.

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ListKind, Sample};
use crate::domain::{GivenPrefix, Mode, Prefix};

/// `GET /v1/bans`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BanList {
    /// Bans in force, the latest first.
    pub bans: Vec<BanView>,
}

/// One ban.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LiftBans {
    /// Addresses or sources whose ban to lift.
    #[serde(default)]
    pub sources: Vec<GivenPrefix>,
    /// Lift all.
    #[serde(default)]
    pub all: bool,
}

/// Answer to `POST /v1/bans/lift`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LiftReport {
    /// Bans lifted.
    pub lifted: u64,
    /// Sources without a ban.
    pub missing: Vec<String>,
}

/// One limit: `"20kpps"` and such, or `"off"`; absent means unchanged or inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LimitList {
    /// The default first (no prefix), then the overrides by prefix.
    pub limits: Vec<LimitView>,
}

/// Limits of everybody or of a prefix.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimits {
    /// Whose; absent: every source without an override.
    pub prefix: Option<Prefix>,
    /// What changes.
    #[serde(flatten)]
    pub limits: LimitFields,
    /// Forget what was set at run time for the prefix, or without one for everybody and every prefix:
    /// the configuration's limits are in force again.
    #[serde(default)]
    pub reset: bool,
}

/// `GET /v1/sources`: query.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceQuery {
    /// What to sort by, most first; packets if absent.
    pub sort: Option<SourceSort>,
    /// How many, at most 10,000; 20 if absent.
    pub limit: Option<u64>,
    /// Only sources in this prefix.
    pub matching: Option<Prefix>,
    /// Also the first `limit` by each of the other orders, after those asked for: whoever matters
    /// in some way, in one answer.
    #[serde(default)]
    pub each: bool,
}

/// What sources are sorted by.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
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

impl SourceSort {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Packets, Self::Bytes, Self::Dropped, Self::LastSeen];
}

/// `GET /v1/sources`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourceList {
    /// The first of them.
    pub sources: Vec<SourceView>,
    /// How many are known, under the query.
    pub total: u64,
}

/// One source.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// When it was first seen; when its ban began, where a full table has forgotten the rest.
    pub first_seen: Timestamp,
    /// When it last reached the limits; what a ban drops isn't timed.
    pub last_seen: Timestamp,
    /// Strikes against it.
    pub strikes: u64,
    /// Until when it is banned, if it is.
    pub banned_until: Option<Timestamp>,
    /// The list kind that decides over all of it: the allowlist where both have it. What an entry
    /// decides isn't counted here.
    #[serde(default)]
    pub listed: Option<ListKind>,
}

/// `GET /v1/explain`: query, one hypothetical packet.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// The protected interface that it arrives on; the first if absent. One without an Ethernet header
    /// has frames that begin with the IP header.
    pub interface: Option<String>,
    /// Whether it arrives in a PPPoE session.
    pub pppoe: Option<bool>,
}

/// `GET /v1/explain`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// The last samples of the source's dropped packets, the latest first.
    #[serde(default)]
    pub samples: Vec<SampleView>,
}

/// A sampled packet and when it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SampleView {
    /// When.
    pub at: Timestamp,
    /// The packet.
    #[serde(flatten)]
    pub sample: Sample,
}

/// One stage of the decision.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StageView {
    /// Its name.
    pub stage: String,
    /// What it found, with the list, the entry or the level.
    pub finding: String,
    /// Whether the packet's verdict fell here.
    pub decided: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_mistyped_is_refused_and_not_ignored() {
        let read = |text: &str| serde_json::from_str::<SetLimits>(text);
        let good = read(r#"{"prefix": "192.0.2.0/24", "packets": "1pps"}"#).unwrap();
        assert_eq!(good.limits.packets.as_deref(), Some("1pps"));
        assert_eq!(good.prefix, "192.0.2.0/24".parse().ok());
        let refused = read(r#"{"packets": "1pps", "tcp-new": "off"}"#).unwrap_err();
        assert!(refused.to_string().contains("tcp-new"), "{refused}");
    }
}
