//! The flood: connection requests to the service, and a datagram to a closed port for every three
//! of them, from a few sources that each send far over their limit.

use super::topology::{ATTACKER_MAC, PROTECTED_MAC, SERVICE, attackers};
use crate::packet::{Flags, Packet};

/// A port that nobody listens on.
const CLOSED_PORT: u16 = 9;
/// Different connections per source, so that the host takes each request for a new one.
const PORTS_PER_SOURCE: u16 = 64;

/// One round of the flood, to be sent over and over.
pub(super) fn frames(sources: u8) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for port in 0..PORTS_PER_SOURCE {
        for source in attackers(sources) {
            let packet = Packet::v4(source, *SERVICE.ip()).ethernet(ATTACKER_MAC, PROTECTED_MAC);
            let from = 10_000 + port;
            let packet = match port % 4 {
                0 => packet.udp(from, CLOSED_PORT),
                _ => packet.tcp(from, SERVICE.port(), Flags::SYN),
            };
            frames.push(packet.padded_to(60).build());
        }
    }
    frames
}
