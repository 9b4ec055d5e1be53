//! What a packet that leaves says of its flow.

use super::{Flow, Kind};
use crate::packet::tcp_flags::{ACK, RST, SYN};
use crate::packet::{Fragment, Packet, Transport, protocol};

/// What is to be noted of a packet that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Nothing.
    Nothing,
    /// The flow, as it is from now on.
    Keep(Flow),
    /// The SYN-ACK of a connection to come; the flow is to have its sequence number.
    HalfOpen,
}

/// What is to be noted of a packet that leaves, whose flow is `found` in the memory.
///
/// That a host answers proves nothing of who asked: a flow that a newcomer began stays as unproven as it
/// was. A SYN-ACK and a reset go to forged addresses, too. Other TCP segments only go to a peer of a
/// connection (RFC 9293, section 3.10.7.4), so they say that it is there.
#[inline(always)]
pub fn leaving(packet: &Packet, found: Option<Flow>, now: u64) -> Leaving {
    if packet.fragment == Fragment::Later {
        return Leaving::Nothing;
    }
    let is_tcp = packet.protocol == protocol::TCP;
    let known = found.map(Flow::kind);
    let kind = match packet.transport {
        Transport::Tcp { flags, .. } => match (flags & (SYN | ACK), known) {
            _ if flags & RST != 0 => return Leaving::Nothing,
            (SYN, _) => Kind::Asked,
            (_, Some(Kind::Established)) => Kind::Established,
            (both, _) if both == SYN | ACK => return Leaving::HalfOpen,
            _ => Kind::Established,
        },
        Transport::Icmp { kind, .. } => match (is_echo_request(packet.protocol, kind), known) {
            (true, None) => Kind::Asked,
            (true, Some(kind)) => kind,
            // Answers nobody that isn't in the memory.
            (false, None) => return Leaving::Nothing,
            (false, Some(_)) => Kind::Answered,
        },
        Transport::Udp { .. } | Transport::Opaque => match known {
            None | Some(Kind::Asked) => Kind::Asked,
            Some(_) => Kind::Answered,
        },
    };
    let flow = Flow::new(
        kind,
        kind != Kind::Established && found.is_some_and(Flow::is_unproven),
    );
    match found {
        Some(found) if found.kind() == kind && !found.is_stale(is_tcp, now) => Leaving::Nothing,
        _ => Leaving::Keep(flow),
    }
}

#[inline(always)]
const fn is_echo_request(number: u8, kind: u8) -> bool {
    if number == protocol::ICMP {
        kind == 8
    } else {
        kind == 128
    }
}
