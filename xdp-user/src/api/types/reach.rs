//! What packets reach of this host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::Prefix;

/// What of this host the packets of its protected interfaces reach, and who must stay reachable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachStatus {
    /// Devices that packets reach, each protected interface first of its own.
    pub devices: Vec<ReachedStatus>,
    /// Addresses and networks that a block must not hold, unless forced; the first of them.
    pub protected: Vec<PeerStatus>,
    /// How many more there are.
    pub more_protected: u64,
    /// SSH sessions whose peers are protected as well.
    pub sessions: u64,
    /// What could not be found out: as long as there is something, blocks need force.
    pub unknown: Vec<String>,
}

/// A device that packets reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachedStatus {
    /// The protected interface that they come in on.
    pub interface: String,
    /// The device's name.
    pub name: String,
    /// What made it, such as `bridge`; none for a plain device.
    pub kind: Option<String>,
    /// How they reach it.
    pub how: String,
}

/// Addresses that must stay reachable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerStatus {
    /// Which.
    pub prefix: Prefix,
    /// `default_gateway`, `gateway`, `own_address`, `own_network` or `point_to_point`.
    pub role: String,
    /// The same in words.
    pub what: String,
}
