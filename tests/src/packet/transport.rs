//! What follows the IP header.

use std::ops::BitOr;

use super::Packet;
use super::checksum::{Sum, crc32c};
use super::ip::protocol;

/// TCP flags (RFC 9293, section 3.1); combine with `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Start of a connection.
    pub const SYN: Self = Self(0x02);
    /// Reset.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Congestion: echo.
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced.
    pub const CWR: Self = Self(0x80);
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A transport header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP with a sequence number of 1 and no options.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Flags.
        flags: Flags,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP on IPv4, ICMPv6 on IPv6, with identifier and sequence number 0.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// GRE version 0 without options, carrying this EtherType (RFC 2784).
    Gre(u16),
    /// ESP with its parameter index and sequence number (RFC 4303).
    Esp {
        /// Security parameters index.
        index: u32,
        /// Sequence number.
        sequence: u32,
    },
    /// SCTP (RFC 9260) with an INIT chunk of nothing.
    Sctp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// Any protocol by number: the payload follows the IP header as it is.
    Protocol(u8),
}

impl Packet {
    /// TCP from and to these ports.
    #[must_use]
    pub fn tcp(self, source: u16, destination: u16, flags: Flags) -> Self {
        self.transport(Transport::Tcp {
            source,
            destination,
            flags,
        })
    }

    /// UDP from and to these ports.
    #[must_use]
    pub fn udp(self, source: u16, destination: u16) -> Self {
        self.transport(Transport::Udp {
            source,
            destination,
        })
    }

    /// ICMP, or ICMPv6 on an IPv6 packet.
    #[must_use]
    pub fn icmp(self, kind: u8, code: u8) -> Self {
        self.transport(Transport::Icmp { kind, code })
    }

    /// GRE that carries this EtherType.
    #[must_use]
    pub fn gre(self, ether_type: u16) -> Self {
        self.transport(Transport::Gre(ether_type))
    }

    /// ESP.
    #[must_use]
    pub fn esp(self, index: u32, sequence: u32) -> Self {
        self.transport(Transport::Esp { index, sequence })
    }

    /// SCTP from and to these ports.
    #[must_use]
    pub fn sctp(self, source: u16, destination: u16) -> Self {
        self.transport(Transport::Sctp {
            source,
            destination,
        })
    }

    /// Any protocol by its number.
    #[must_use]
    pub fn protocol(self, number: u8) -> Self {
        self.transport(Transport::Protocol(number))
    }

    /// Any transport.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }
}

impl Transport {
    pub(super) fn number(&self, is_v4: bool) -> u8 {
        match self {
            Self::Tcp { .. } => protocol::TCP,
            Self::Udp { .. } => protocol::UDP,
            Self::Icmp { .. } if is_v4 => protocol::ICMP,
            Self::Icmp { .. } => protocol::ICMPV6,
            Self::Gre(_) => protocol::GRE,
            Self::Esp { .. } => protocol::ESP,
            Self::Sctp { .. } => protocol::SCTP,
            Self::Protocol(number) => *number,
        }
    }

    /// The header and the payload. `addresses` is the sum over both addresses.
    pub(super) fn write(&self, addresses: Sum, is_v4: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.header(payload.len());
        bytes.extend_from_slice(payload);
        let number = usize::from(self.number(is_v4));
        let pseudo = addresses.add_number(number).add_number(bytes.len());
        match self {
            Self::Tcp { .. } => put(&mut bytes, 16, pseudo),
            Self::Udp { .. } => put_udp(&mut bytes, pseudo),
            Self::Icmp { .. } if is_v4 => put(&mut bytes, 2, Sum::default()),
            Self::Icmp { .. } => put(&mut bytes, 2, pseudo),
            Self::Sctp { .. } => {
                let crc = crc32c(&bytes);
                bytes[8..12].copy_from_slice(&crc.to_le_bytes());
            }
            Self::Gre(_) | Self::Esp { .. } | Self::Protocol(_) => {}
        }
        bytes
    }

    fn header(&self, payload_length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + payload_length);
        match self {
            Self::Tcp {
                source,
                destination,
                flags,
            } => {
                put_ports(&mut bytes, *source, *destination);
                bytes.extend_from_slice(&1u32.to_be_bytes());
                let acknowledged = u32::from(flags.0 & Flags::ACK.0 != 0);
                bytes.extend_from_slice(&acknowledged.to_be_bytes());
                bytes.extend_from_slice(&[5 << 4, flags.0, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Self::Udp {
                source,
                destination,
            } => {
                put_ports(&mut bytes, *source, *destination);
                bytes.extend_from_slice(&((8 + payload_length) as u16).to_be_bytes());
                bytes.extend_from_slice(&[0, 0]);
            }
            Self::Icmp { kind, code } => bytes.extend_from_slice(&[*kind, *code, 0, 0, 0, 0, 0, 0]),
            Self::Gre(ether_type) => {
                bytes.extend_from_slice(&[0, 0]);
                bytes.extend_from_slice(&ether_type.to_be_bytes());
            }
            Self::Esp { index, sequence } => {
                bytes.extend_from_slice(&index.to_be_bytes());
                bytes.extend_from_slice(&sequence.to_be_bytes());
            }
            Self::Sctp {
                source,
                destination,
            } => {
                put_ports(&mut bytes, *source, *destination);
                // Verification tag, checksum, then an INIT chunk of 20 bytes.
                bytes.extend_from_slice(&[0; 8]);
                bytes.extend_from_slice(&[1, 0, 0, 20]);
                bytes.extend_from_slice(&[0; 16]);
            }
            Self::Protocol(_) => {}
        }
        bytes
    }
}

fn put_ports(bytes: &mut Vec<u8>, source: u16, destination: u16) {
    bytes.extend_from_slice(&source.to_be_bytes());
    bytes.extend_from_slice(&destination.to_be_bytes());
}

fn put(bytes: &mut [u8], at: usize, pseudo: Sum) {
    let checksum = pseudo.add(bytes).checksum();
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// As [`put`], but 0 means "none" in UDP, so it is sent as all ones (RFC 768).
fn put_udp(bytes: &mut [u8], pseudo: Sum) {
    let checksum = match pseudo.add(bytes).checksum() {
        0 => u16::MAX,
        checksum => checksum,
    };
    bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
}
