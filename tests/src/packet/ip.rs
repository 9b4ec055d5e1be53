//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::{Network, Packet};

/// IP protocol numbers (IANA).
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// Encapsulating security payload.
    pub const ESP: u8 = 50;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Nothing follows.
    pub const NO_NEXT: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// For experiments (RFC 3692).
    pub const EXPERIMENT: u8 = 253;
}

#[derive(Clone, Debug)]
pub(super) struct V4 {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    type_of_service: u8,
    identification: u16,
    flags_and_offset: u16,
    ttl: u8,
    options: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct V6 {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    extensions: Vec<Extension>,
}

/// An IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options of padding, so many bytes altogether (a multiple of 8, 8 to 2048).
    HopByHop(usize),
    /// Destination options of padding, so many bytes altogether (a multiple of 8, 8 to 2048).
    Destination(usize),
    /// A routing header of this type with no segment left, 8 bytes.
    Routing(u8),
    /// An authentication header with this parameter index and 12 bytes of check value.
    Authentication(u32),
    /// A fragment header.
    Fragment {
        /// Of the datagram.
        identification: u32,
        /// In bytes, a multiple of 8.
        offset: usize,
        /// Is this not the last one?
        more: bool,
    },
}

const MORE_FRAGMENTS: u16 = 0x2000;

impl Packet {
    /// Sets the time to live or the hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        match &mut self.network {
            Network::V4(header) => header.ttl = ttl,
            Network::V6(header) => header.hop_limit = ttl,
            Network::Other(_) => {}
        }
        self
    }

    /// Sets IPv4 options, padded with end-of-list to a multiple of 4 bytes; at most 40. Nothing
    /// on other packets.
    ///
    /// # Panics
    /// When they are longer.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        assert!(options.len() <= 40, "IPv4 has room for 40 bytes of options");
        if let Network::V4(header) = &mut self.network {
            header.options = options.to_vec();
            header.options.resize(options.len().next_multiple_of(4), 0);
        }
        self
    }

    /// Makes the packet a fragment at `offset` bytes (a multiple of 8). What is written after the
    /// IP header stays as chosen: a later fragment is `.protocol(17).payload(..)`, and
    /// [`Packet::build_fragments`] makes a whole set.
    #[must_use]
    pub fn fragment(mut self, identification: u32, offset: usize, more: bool) -> Self {
        match &mut self.network {
            Network::V4(header) => {
                header.identification = identification as u16;
                let flag = if more { MORE_FRAGMENTS } else { 0 };
                header.flags_and_offset = (offset / 8) as u16 | flag;
            }
            Network::V6(header) => header.extensions.push(Extension::Fragment {
                identification,
                offset,
                more,
            }),
            Network::Other(_) => {}
        }
        self
    }

    /// Adds an IPv6 extension header after those that are there. Nothing on other packets.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        if let Network::V6(header) = &mut self.network {
            header.extensions.push(extension);
        }
        self
    }
}

impl V4 {
    pub(super) fn new(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            source,
            destination,
            type_of_service: 0,
            identification: 0,
            flags_and_offset: 0,
            ttl: 64,
            options: Vec::new(),
        }
    }

    pub(super) fn pseudo_sum(&self) -> Sum {
        Sum::default()
            .add(&self.source.octets())
            .add(&self.destination.octets())
    }

    pub(super) fn write(&self, protocol: u8, body: &[u8], frame: &mut Vec<u8>) {
        let header_length = 20 + self.options.len();
        let total = (header_length + body.len()) as u16;
        let mut header = vec![0x40 | (header_length / 4) as u8, self.type_of_service];
        header.extend_from_slice(&total.to_be_bytes());
        header.extend_from_slice(&self.identification.to_be_bytes());
        header.extend_from_slice(&self.flags_and_offset.to_be_bytes());
        header.extend_from_slice(&[self.ttl, protocol, 0, 0]);
        header.extend_from_slice(&self.source.octets());
        header.extend_from_slice(&self.destination.octets());
        header.extend_from_slice(&self.options);
        let checksum = Sum::default().add(&header).checksum();
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(body);
    }
}

impl V6 {
    pub(super) fn new(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self {
            source,
            destination,
            hop_limit: 64,
            extensions: Vec::new(),
        }
    }

    pub(super) fn pseudo_sum(&self) -> Sum {
        Sum::default()
            .add(&self.source.octets())
            .add(&self.destination.octets())
    }

    pub(super) fn write(&self, protocol: u8, body: &[u8], frame: &mut Vec<u8>) {
        let mut next = protocol;
        let mut chain = Vec::new();
        for extension in self.extensions.iter().rev() {
            let mut bytes = extension.bytes(next);
            bytes.append(&mut chain);
            chain = bytes;
            next = extension.number();
        }
        let length = (chain.len() + body.len()) as u16;
        frame.extend_from_slice(&[0x60, 0, 0, 0]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[next, self.hop_limit]);
        frame.extend_from_slice(&self.source.octets());
        frame.extend_from_slice(&self.destination.octets());
        frame.extend_from_slice(&chain);
        frame.extend_from_slice(body);
    }
}

impl Extension {
    fn number(&self) -> u8 {
        match self {
            Self::HopByHop(_) => protocol::HOP_BY_HOP,
            Self::Destination(_) => protocol::DESTINATION,
            Self::Routing(_) => protocol::ROUTING,
            Self::Authentication(_) => protocol::AUTHENTICATION,
            Self::Fragment { .. } => protocol::FRAGMENT,
        }
    }

    fn bytes(&self, next: u8) -> Vec<u8> {
        match self {
            Self::HopByHop(length) | Self::Destination(length) => padding_options(next, *length),
            Self::Routing(kind) => vec![next, 0, *kind, 0, 0, 0, 0, 0],
            Self::Authentication(index) => {
                // Length in words of 4 bytes, minus 2 (RFC 4302, section 2.2).
                let mut bytes = vec![next, 4, 0, 0];
                bytes.extend_from_slice(&index.to_be_bytes());
                bytes.extend_from_slice(&[0; 16]);
                bytes
            }
            Self::Fragment {
                identification,
                offset,
                more,
            } => {
                let offset = (offset & !7) as u16 | u16::from(*more);
                let mut bytes = vec![next, 0];
                bytes.extend_from_slice(&offset.to_be_bytes());
                bytes.extend_from_slice(&identification.to_be_bytes());
                bytes
            }
        }
    }
}

/// Options of `PadN` (RFC 8200, section 4.2), as many as the length takes.
fn padding_options(next: u8, length: usize) -> Vec<u8> {
    let length = length.next_multiple_of(8).clamp(8, 2048);
    let mut bytes = vec![next, (length / 8 - 1) as u8];
    while bytes.len() < length {
        let left = length - bytes.len();
        if left == 1 {
            bytes.push(0);
            continue;
        }
        let data = (left - 2).min(255);
        bytes.extend_from_slice(&[1, data as u8]);
        bytes.resize(bytes.len() + data, 0);
    }
    bytes
}
