//! What the host counted itself, before and behind the program.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NamedCount;

/// Losses that aren't the program's. What the kernel doesn't count is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostStatus {
    /// The protected interfaces that exist.
    pub interfaces: Vec<InterfaceReceived>,
    /// What the kernel lost behind the program, by cause; some causes are part of others.
    pub lost: Vec<NamedCount>,
    /// What the kernel did with SYN cookies of its own.
    pub syn_cookies: Vec<NamedCount>,
    /// How often a CPU ended its turn at receiving with packets left.
    pub time_squeezes: Option<u64>,
}

/// What an interface received, by its own count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceReceived {
    /// Its name.
    pub name: String,
    /// Packets; whether those are in it that the program dropped differs by driver.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// What link and driver lost, by cause; some causes are part of others.
    pub lost: Vec<NamedCount>,
    /// Whether anything can come in.
    #[serde(default)]
    pub link: LinkState,
}

/// Whether an interface's link carries packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It does.
    #[default]
    Up,
    /// Nobody is at the other end: a cable, a port, the other end of a pair.
    NoCarrier,
    /// The interface is switched off.
    Down,
}
