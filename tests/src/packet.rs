//! Frames for tests: `Packet::v4("203.0.113.7", "198.51.100.1").tcp(1234, 443, Flags::SYN).build()`.
//!
//! Bytes are written here by hand, from the RFCs, so that a check with another library (the unit
//! tests use `etherparse`) is a check. Lengths and checksums are right unless a test damages them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) mod checksum;
mod ip;
mod transport;

#[cfg(test)]
pub(crate) mod tests;

pub use ip::{Extension, protocol};
pub use transport::{Flags, Transport};

use crate::netns::link::Mac;

/// EtherTypes, IEEE 802 numbers.
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// A customer VLAN tag, 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// What a PPPoE session carries (RFC 2516).
    pub const PPPOE_SESSION: u16 = 0x8864;
    /// A service VLAN tag, 802.1ad.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// Source hardware address unless told otherwise; locally administered.
pub const DEFAULT_SOURCE_MAC: Mac = [2, 0, 0, 0, 0, 1];
/// Destination hardware address unless told otherwise; locally administered.
pub const DEFAULT_DESTINATION_MAC: Mac = [2, 0, 0, 0, 0, 2];

/// One frame to be. Every method returns the packet with one thing set; [`Packet::build`] writes
/// it.
#[derive(Clone, Debug)]
pub struct Packet {
    source_mac: Mac,
    destination_mac: Mac,
    /// EtherType and tag control information, outermost first.
    tags: Vec<(u16, u16)>,
    pppoe: Option<Session>,
    network: Network,
    transport: Transport,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    session: u16,
    compressed: bool,
}

#[derive(Clone, Debug)]
enum Network {
    V4(ip::V4),
    V6(ip::V6),
    Other(u16),
}

impl Network {
    fn ether_type(&self) -> u16 {
        match self {
            Self::V4(_) => ether_type::IPV4,
            Self::V6(_) => ether_type::IPV6,
            Self::Other(ether_type) => *ether_type,
        }
    }
}

impl Session {
    /// EtherType, header (RFC 2516, section 4) and protocol (RFC 1332, RFC 5072) before so many bytes. What
    /// isn't IP has the number in its EtherType's place as its protocol.
    fn write(self, network: &Network, length: usize, frame: &mut Vec<u8>) {
        let protocol = match network {
            Network::V4(_) => 0x0021,
            Network::V6(_) => 0x0057,
            Network::Other(protocol) => *protocol,
        };
        let protocol = protocol.to_be_bytes();
        let protocol = &protocol[usize::from(self.compressed)..];
        frame.extend_from_slice(&ether_type::PPPOE_SESSION.to_be_bytes());
        frame.extend_from_slice(&[0x11, 0]);
        frame.extend_from_slice(&self.session.to_be_bytes());
        frame.extend_from_slice(&((length + protocol.len()) as u16).to_be_bytes());
        frame.extend_from_slice(protocol);
    }
}

impl Packet {
    /// An IPv4 packet of protocol 253 (RFC 3692, experiments) until a transport is chosen.
    ///
    /// # Panics
    /// When one of the addresses is not one.
    #[must_use]
    pub fn v4(source: impl Address<Ipv4Addr>, destination: impl Address<Ipv4Addr>) -> Self {
        Self::over(Network::V4(ip::V4::new(
            source.address(),
            destination.address(),
        )))
    }

    /// An IPv6 packet of protocol 253 (RFC 3692, experiments) until a transport is chosen.
    ///
    /// # Panics
    /// When one of the addresses is not one.
    #[must_use]
    pub fn v6(source: impl Address<Ipv6Addr>, destination: impl Address<Ipv6Addr>) -> Self {
        Self::over(Network::V6(ip::V6::new(
            source.address(),
            destination.address(),
        )))
    }

    /// [`Packet::v4`] or [`Packet::v6`]; `None` when the addresses are of different families.
    #[must_use]
    pub fn between(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::v4(source, destination)),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::v6(source, destination)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// A frame that is not IP: the EtherType, then the payload as it is.
    #[must_use]
    pub fn other(ether_type: u16) -> Self {
        Self::over(Network::Other(ether_type))
    }

    fn over(network: Network) -> Self {
        Self {
            source_mac: DEFAULT_SOURCE_MAC,
            destination_mac: DEFAULT_DESTINATION_MAC,
            tags: Vec::new(),
            pppoe: None,
            network,
            transport: Transport::Protocol(protocol::EXPERIMENT),
            payload: Vec::new(),
        }
    }

    /// Sets the hardware addresses.
    #[must_use]
    pub fn ethernet(mut self, source: Mac, destination: Mac) -> Self {
        self.source_mac = source;
        self.destination_mac = destination;
        self
    }

    /// Adds an 802.1Q tag inside those that are there already.
    #[must_use]
    pub fn vlan(self, identifier: u16) -> Self {
        self.tag(ether_type::VLAN, identifier)
    }

    /// Adds an 802.1ad tag inside those that are there already.
    #[must_use]
    pub fn service_vlan(self, identifier: u16) -> Self {
        self.tag(ether_type::SERVICE_VLAN, identifier)
    }

    /// Adds a tag with its EtherType and its whole control field (priority, DEI, identifier).
    #[must_use]
    pub fn tag(mut self, ether_type: u16, control: u16) -> Self {
        self.tags.push((ether_type, control));
        self
    }

    /// Puts the packet into a PPPoE session, inside the tags.
    #[must_use]
    pub fn pppoe(self, session: u16) -> Self {
        let compressed = false;
        Self {
            pppoe: Some(Session {
                session,
                compressed,
            }),
            ..self
        }
    }

    /// The same with the protocol in one byte (RFC 1661, section 6.5).
    #[must_use]
    pub fn pppoe_compressed(self, session: u16) -> Self {
        let compressed = true;
        Self {
            pppoe: Some(Session {
                session,
                compressed,
            }),
            ..self
        }
    }

    /// Sets the bytes after the last header.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Sets a payload of zeros that makes the frame `length` bytes long, or none when the headers
    /// alone are longer.
    #[must_use]
    pub fn padded_to(self, length: usize) -> Self {
        let headers = self.clone().payload([]).build().len();
        self.payload(vec![0; length.saturating_sub(headers)])
    }

    /// The frame, from the Ethernet header on, without the check sequence at its end.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(128 + self.payload.len());
        frame.extend_from_slice(&self.destination_mac);
        frame.extend_from_slice(&self.source_mac);
        for (ether_type, control) in &self.tags {
            frame.extend_from_slice(&ether_type.to_be_bytes());
            frame.extend_from_slice(&control.to_be_bytes());
        }
        let packet = self.build_bare();
        match &self.pppoe {
            None => {
                frame.extend_from_slice(&self.network.ether_type().to_be_bytes());
            }
            Some(session) => session.write(&self.network, packet.len(), &mut frame),
        }
        frame.extend_from_slice(&packet);
        frame
    }

    /// What is behind the Ethernet header, the tags and PPPoE.
    #[must_use]
    pub fn build_bare(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(64 + self.payload.len());
        match &self.network {
            Network::V4(header) => {
                let body = self
                    .transport
                    .write(header.pseudo_sum(), true, &self.payload);
                header.write(self.transport.number(true), &body, &mut packet);
            }
            Network::V6(header) => {
                let body = self
                    .transport
                    .write(header.pseudo_sum(), false, &self.payload);
                header.write(self.transport.number(false), &body, &mut packet);
            }
            Network::Other(_) => packet.extend_from_slice(&self.payload),
        }
        packet
    }

    /// The packet cut into fragments whose IP payload is at most `size` bytes (rounded down to a
    /// multiple of 8, at least 8), in order. Extension headers stay in front of each fragment
    /// header (RFC 8200, section 4.5).
    #[must_use]
    pub fn build_fragments(&self, identification: u32, size: usize) -> Vec<Vec<u8>> {
        let (body, is_v4) = match &self.network {
            Network::V4(header) => (
                self.transport
                    .write(header.pseudo_sum(), true, &self.payload),
                true,
            ),
            Network::V6(header) => (
                self.transport
                    .write(header.pseudo_sum(), false, &self.payload),
                false,
            ),
            Network::Other(_) => return vec![self.build()],
        };
        let size = (size / 8).max(1) * 8;
        let number = self.transport.number(is_v4);
        let count = body.len().div_ceil(size);
        body.chunks(size)
            .enumerate()
            .map(|(index, part)| {
                self.clone()
                    .protocol(number)
                    .payload(part)
                    .fragment(identification, index * size, index + 1 < count)
                    .build()
            })
            .collect()
    }
}

/// An address, or a text that is one.
pub trait Address<A> {
    /// The address.
    ///
    /// # Panics
    /// When the text isn't one.
    fn address(self) -> A;
}

impl Address<Ipv4Addr> for Ipv4Addr {
    fn address(self) -> Ipv4Addr {
        self
    }
}

impl Address<Ipv6Addr> for Ipv6Addr {
    fn address(self) -> Ipv6Addr {
        self
    }
}

impl<A: std::str::FromStr> Address<A> for &str {
    #[allow(
        clippy::panic,
        reason = "a literal in a test that is no address is a mistake in it"
    )]
    fn address(self) -> A {
        self.parse()
            .unwrap_or_else(|_| panic!("{self:?} is not an address of this family"))
    }
}
