//! A captured packet, aimed at the protected host.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::capture::{Captured, Linktype};
use crate::netns::link::Mac;
use crate::packet::checksum::Sum;
use crate::packet::{ether_type, protocol};

const ETHERNET: usize = 14;
/// The tags that a frame may have before its EtherType.
const TAGS: [u16; 3] = [ether_type::VLAN, ether_type::SERVICE_VLAN, 0x9100];
/// Longest packet that goes over the wire.
pub(crate) const MTU: usize = 1500;

/// Where packets go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) from: Mac,
    pub(crate) to: Mac,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

/// Why a packet isn't replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unfit {
    /// Something else than IPv4 or IPv6, or too short to be one of them.
    NotIp,
    /// Longer than the wire takes.
    TooLong,
    /// From an address that an honest client of this bench has.
    Honest,
}

impl Unfit {
    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::NotIp => "not IP",
            Self::TooLong => "longer than 1500 bytes",
            Self::Honest => "from an address that an honest client has here",
        }
    }
}

/// The frame that carries a captured packet to the target. Tags and other headers before IP are
/// taken off; source, ports, flags, time to live and payload stay.
pub(crate) fn aimed(packet: &Captured, target: &Target) -> Result<Vec<u8>, Unfit> {
    let bytes = network(packet).ok_or(Unfit::NotIp)?;
    let kind = match bytes.first().map(|first| first >> 4) {
        Some(4) if bytes.len() >= 20 => ether_type::IPV4,
        Some(6) if bytes.len() >= 40 => ether_type::IPV6,
        _ => return Err(Unfit::NotIp),
    };
    if bytes.len() > MTU {
        return Err(Unfit::TooLong);
    }
    let mut frame = Vec::with_capacity(ETHERNET + bytes.len());
    frame.extend_from_slice(&target.to);
    frame.extend_from_slice(&target.from);
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(bytes);
    if let Some(packet) = frame.get_mut(ETHERNET..) {
        let address: (Range<usize>, &[u8]) = match kind {
            ether_type::IPV4 => (16..20, &target.v4.octets()),
            _ => (24..40, &target.v6.octets()),
        };
        redirect(packet, address.0, address.1);
    }
    Ok(frame)
}

/// Whether this bench can tell where IP begins.
pub(crate) fn is_supported(link: Linktype) -> bool {
    header(link).is_some()
}

/// Length of the header before the network's, and where it says the network's EtherType; none
/// where the packet itself is all there is to go by.
fn header(link: Linktype) -> Option<(usize, Option<usize>)> {
    match link {
        Linktype::ETHERNET => Some((ETHERNET, Some(12))),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => Some((0, None)),
        Linktype::NULL | Linktype::LOOP => Some((4, None)),
        Linktype::LINUX_SLL => Some((16, Some(14))),
        Linktype::LINUX_SLL2 => Some((20, Some(0))),
        _ => None,
    }
}

/// The captured packet from the IP header on, without what follows the packet in its frame.
fn network(packet: &Captured) -> Option<&[u8]> {
    let (mut at, kind) = header(packet.link)?;
    if let Some(kind) = kind {
        let mut kind = word(&packet.bytes, kind)?;
        while TAGS.contains(&kind) {
            kind = word(&packet.bytes, at + 2)?;
            at += 4;
        }
        if ![ether_type::IPV4, ether_type::IPV6].contains(&kind) {
            return None;
        }
    }
    let bytes = packet.bytes.get(at..)?;
    let length = match bytes.first()? >> 4 {
        4 => word(bytes, 2)?.into(),
        6 => 40 + usize::from(word(bytes, 4)?),
        _ => return None,
    };
    // A length of 0 is left to offloading; one beyond the end is the packet's own affair.
    let most = if length < 20 { bytes.len() } else { length };
    bytes.get(..most.min(bytes.len()))
}

/// Writes the destination, and the checksums that go with it: from scratch where all that they are
/// made from is there, else by the difference (RFC 1624).
fn redirect(packet: &mut [u8], at: Range<usize>, address: &[u8]) {
    let Some(place) = packet.get_mut(at) else {
        return;
    };
    let before = place.to_vec();
    place.copy_from_slice(address);
    complete_ipv4_header(packet);
    let Some(transport) = Transport::of(packet) else {
        return;
    };
    if transport.is_whole {
        transport.complete(packet);
    } else if transport.has_header {
        transport.adjust(packet, &before, address);
    }
}

/// Writes all checksums of an IP packet.
pub(crate) fn complete(packet: &mut [u8]) {
    complete_ipv4_header(packet);
    if let Some(transport) = Transport::of(packet) {
        transport.complete(packet);
    }
}

fn complete_ipv4_header(packet: &mut [u8]) {
    let Some(first) = packet.first().filter(|first| *first >> 4 == 4) else {
        return;
    };
    let length = usize::from(first & 0xf) * 4;
    if let Some(header) = packet.get_mut(..length.max(20)) {
        put(header, 10, 0);
        let sum = Sum::default().add(header).checksum();
        put(header, 10, sum);
    }
}

/// What of a packet its transport checksum is over.
struct Transport {
    /// By its number.
    protocol: u8,
    /// Where its header begins, and where its last byte is.
    bytes: Range<usize>,
    /// Source and destination.
    addresses: Range<usize>,
    /// The packet is no fragment and has all of its bytes.
    is_whole: bool,
    /// Its header is in this packet: it isn't a later fragment.
    has_header: bool,
}

impl Transport {
    fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let start = usize::from(packet.first()? & 0xf) * 4;
                let end = usize::from(word(packet, 2)?);
                let fragment = word(packet, 6)?;
                Some(Self {
                    protocol: *packet.get(9)?,
                    is_whole: fragment & 0x3fff == 0 && (start..=packet.len()).contains(&end),
                    has_header: fragment & 0x1fff == 0,
                    bytes: start..end.min(packet.len()),
                    addresses: 12..20,
                })
            }
            6 => Self::behind_extensions(packet),
            _ => None,
        }
    }

    fn behind_extensions(packet: &[u8]) -> Option<Self> {
        let end = 40 + usize::from(word(packet, 4)?);
        let (mut protocol, mut at) = (*packet.get(6)?, 40);
        let (mut is_fragment, mut has_header) = (false, true);
        loop {
            let next = |bytes: usize| Some((*packet.get(at)?, at + bytes));
            let length = || packet.get(at + 1).map(|length| usize::from(*length));
            (protocol, at) = match protocol {
                // Hop-by-hop options, routing, destination options (RFC 8200, section 4).
                0 | 43 | 60 => next(length()? * 8 + 8)?,
                44 => {
                    is_fragment = word(packet, at + 2)? & 0xfff9 != 0;
                    has_header &= word(packet, at + 2)? & 0xfff8 == 0;
                    next(8)?
                }
                // Authentication counts in words of four bytes (RFC 4302, section 2.2).
                51 => next(length()? * 4 + 8)?,
                _ => break,
            };
            if !has_header {
                break;
            }
        }
        Some(Self {
            protocol,
            is_whole: !is_fragment && (at..=packet.len()).contains(&end),
            has_header,
            bytes: at..end.min(packet.len()),
            addresses: 8..40,
        })
    }

    /// Where the checksum is in the transport header, if it has one over the addresses or the whole.
    fn place(&self) -> Option<usize> {
        match self.protocol {
            protocol::TCP => Some(16),
            protocol::UDP => Some(6),
            protocol::ICMP | protocol::ICMPV6 => Some(2),
            _ => None,
        }
    }

    fn complete(&self, packet: &mut [u8]) {
        let (Some(place), true) = (self.place(), self.is_whole) else {
            return;
        };
        let addresses = packet.get(self.addresses.clone()).unwrap_or_default();
        let pseudo = match self.protocol {
            protocol::ICMP => Sum::default(),
            number => Sum::default()
                .add(addresses)
                .add_number(number.into())
                .add_number(self.bytes.len()),
        };
        let Some(bytes) = packet.get_mut(self.bytes.clone()) else {
            return;
        };
        // A datagram of IPv4 without a checksum goes on without (RFC 768).
        let is_without = self.protocol == protocol::UDP && word(bytes, place) == Some(0);
        if word(bytes, place).is_none() || is_without && self.addresses.len() == 8 {
            return;
        }
        put(bytes, place, 0);
        let sum = pseudo.add(bytes).checksum();
        put(bytes, place, of_udp(self.protocol, sum));
    }

    fn adjust(&self, packet: &mut [u8], before: &[u8], now: &[u8]) {
        let Some(place) = self.place().filter(|_| self.protocol != protocol::ICMP) else {
            return;
        };
        let at = self.bytes.start + place;
        let Some(old) = word(packet, at).filter(|_| at + 2 <= self.bytes.end) else {
            return;
        };
        if self.protocol == protocol::UDP && old == 0 {
            return;
        }
        let inverse: Vec<u8> = before.iter().map(|byte| !byte).collect();
        let sum = Sum::default()
            .add(&(!old).to_be_bytes())
            .add(&inverse)
            .add(now);
        put(packet, at, of_udp(self.protocol, sum.checksum()));
    }
}

/// UDP sends a sum of 0 as its other zero (RFC 768).
fn of_udp(protocol: u8, sum: u16) -> u16 {
    match (protocol, sum) {
        (protocol::UDP, 0) => 0xffff,
        (_, sum) => sum,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
