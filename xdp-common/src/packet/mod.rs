//! Bytes to headers.
//!
//! [`parse`] reads an Ethernet frame down to its transport header, [`parse_bare`] a packet without one,
//! and neither reads past what the frame, PPPoE's or IP's length field allows. What can't be read safely
//! ends with a [`Reason`].

mod ethernet;
mod ipv4;
mod ipv6;
pub mod pppoe;
mod transport;
pub mod usual;
mod view;

use core::net::IpAddr;
use core::ops::ControlFlow;

use crate::reason::Reason;
use ethernet::Carried;
pub use ipv6::{MAX_EXTENSION_BYTES, MAX_EXTENSION_HEADERS};
pub use usual::{Sight, parse_usual};
pub use view::{Header, PacketView, Window, Words};

/// Transport protocols by number (IANA, Assigned Internet Protocol Numbers).
pub mod protocol {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// IGMP (RFC 3376).
    pub const IGMP: u8 = 2;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}

/// TCP flags as they stand in byte 13 of the header (RFC 9293, section 3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// An IP address in network order.
///
/// By words, not by bytes: a BPF program moves bytes one by one.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Address {
    /// Its bytes as they lie in the packet; IPv4 in the first four, which little-endian machines have
    /// below.
    words: [u64; 2],
    /// 1 for IPv6.
    is_v6: u64,
}

/// The bytes of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Octets {
    /// IPv4.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 16]),
}

impl Address {
    /// IPv4.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self {
            words: [u32::from_ne_bytes(octets) as u64, 0],
            is_v6: 0,
        }
    }

    /// IPv6.
    #[inline(always)]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let (Some(first), Some(last)) = (octets.first_chunk(), octets.last_chunk()) else {
            return Self::v4([0; 4]);
        };
        Self {
            words: [u64::from_ne_bytes(*first), u64::from_ne_bytes(*last)],
            is_v6: 1,
        }
    }

    /// IPv4, from the word in a header, in network order.
    #[inline(always)]
    pub const fn v4_word(word: u32) -> Self {
        Self {
            words: [word as u64, 0],
            is_v6: 0,
        }
    }

    /// IPv6, from the words in a header, in network order.
    #[inline(always)]
    pub const fn v6_words(words: [u32; 4]) -> Self {
        let [a, b, c, d] = words;
        // The first word is the lower one of a little-endian machine's.
        Self {
            words: [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32],
            is_v6: 1,
        }
    }

    /// An IPv4 address as a number, the first byte on top.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "four bytes")]
    pub const fn v4_bits(&self) -> u32 {
        u32::from_be(self.words[0] as u32)
    }

    /// The halves of an IPv6 address as numbers, the first byte on top.
    #[inline(always)]
    pub const fn halves(&self) -> (u64, u64) {
        let [high, low] = self.words;
        (u64::from_be(high), u64::from_be(low))
    }

    /// Its words, to be kept one by one: its bytes as they lie in the packet, and which family it is of.
    #[inline(always)]
    pub const fn to_words(&self) -> [u64; 3] {
        let [first, second] = self.words;
        [first, second, self.is_v6]
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.is_v6 == 0
    }

    /// Its bytes.
    #[inline(always)]
    pub const fn octets(&self) -> Octets {
        if self.is_v4() {
            return Octets::V4(self.v4_bits().to_be_bytes());
        }
        let (high, low) = self.halves();
        Octets::V6(((high as u128) << 64 | low as u128).to_be_bytes())
    }
}

impl core::fmt::Debug for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.octets().fmt(f)
    }
}

impl From<IpAddr> for Address {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(a) => Self::v4(a.octets()),
            IpAddr::V6(a) => Self::v6(a.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(addr: Address) -> Self {
        match addr.octets() {
            Octets::V4(a) => Self::from(a),
            Octets::V6(a) => Self::from(a),
        }
    }
}

/// Where a packet stands in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Not fragmented.
    Whole,
    /// The first fragment: its transport header is there.
    First,
    /// A later fragment: its payload is never read as a header.
    Later,
}

/// What the transport header says, as far as a stage asks for it.
///
/// Each part has a place of its own size, the ports first: a BPF program writes what lies crooked byte by
/// byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// [`tcp_flags`].
        flags: u8,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP or ICMPv6, by the packet's protocol.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Another protocol, or a later fragment: nothing was read.
    Opaque,
}

/// An IP packet.
///
/// The bytes stand first: a result that may be a reason instead has it there, and a BPF program would
/// move a word byte by byte that shares its place with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Packet {
    /// Protocol number behind the last extension header.
    pub protocol: u8,
    /// Where it stands in its datagram.
    pub fragment: Fragment,
    /// Offset of the IP header in the frame.
    pub network_offset: u16,
    /// Offset of the transport header in the frame; of the payload in a later fragment.
    pub transport_offset: u16,
    /// Its transport header.
    pub transport: Transport,
    /// What tells the fragments of one packet from those of another with the same addresses; 0 in a
    /// packet that isn't fragmented.
    pub fragment_id: u32,
    /// Length of the whole frame in bytes, without its checksum.
    pub frame_len: u32,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
}

impl Packet {
    /// Whether it is a segment that asks for a new TCP connection.
    #[inline(always)]
    pub fn opens_tcp_connection(&self) -> bool {
        match self.transport {
            Transport::Tcp { flags, .. } => {
                flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
            }
            Transport::Udp { .. } | Transport::Icmp { .. } | Transport::Opaque => false,
        }
    }
}

/// The network layer as an IP header gives it: what the transport parsers need.
#[derive(Clone, Copy)]
#[repr(C)]
struct Network {
    protocol: u8,
    fragment: Fragment,
    /// Where a later fragment's payload stands in the whole packet's, in bytes.
    fragment_offset: u16,
    fragment_id: u32,
    source: Address,
    destination: Address,
    /// Offset of the transport header from the start of the frame.
    offset: usize,
    /// Offset of the first byte behind the packet, by its own length field.
    end: usize,
}

impl Network {
    /// The packet, with its transport header; IP begins at `start`.
    #[inline(always)]
    fn packet(&self, transport: Transport, start: usize, frame_len: usize) -> Packet {
        Packet {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            fragment: self.fragment,
            transport,
            fragment_id: self.fragment_id,
            network_offset: short(start),
            transport_offset: short(self.offset),
            frame_len: counted(frame_len),
        }
    }
}

/// Reads a frame.
///
/// Breaks with [`Reason::NotIp`] for what is not ours to judge and with a drop reason for what is
/// cut short or contradicts itself.
#[inline(always)]
pub fn parse<V: PacketView + ?Sized>(view: &V) -> ControlFlow<Reason, Packet> {
    let carried = ethernet::parse(view)?;
    parse_carried(
        view,
        Carried {
            start: view.forget(carried.start),
            ..carried
        },
    )
}

/// Reads what an interface without an Ethernet header receives: IP from the first byte on, by its
/// version. Fewer than four bytes don't say what they are.
#[inline(always)]
pub fn parse_bare<V: PacketView + ?Sized>(view: &V) -> ControlFlow<Reason, Packet> {
    let [first, ..]: [u8; 4] = read_or(view, 0, Reason::NotIp)?;
    let kind = match first >> 4 {
        4 => ethernet::IPV4,
        6 => ethernet::IPV6,
        _ => return ControlFlow::Break(Reason::NotIp),
    };
    parse_carried(view, Carried::to_the_end(kind, 0))
}

/// The EtherType behind the VLAN tags, or the length that is in its place; nothing where the frame ends
/// before it.
#[inline(always)]
pub fn ether_type<V: PacketView + ?Sized>(view: &V) -> Option<u16> {
    match ethernet::parse_tags(view) {
        ControlFlow::Continue((kind, _)) => Some(u16::from_be(kind)),
        ControlFlow::Break(_) => None,
    }
}

#[inline(always)]
fn parse_carried<V: PacketView + ?Sized>(
    view: &V,
    carried: Carried,
) -> ControlFlow<Reason, Packet> {
    let start = carried.start;
    if carried.within == 0 {
        return ControlFlow::Break(Reason::EthernetTruncated);
    }
    let network = match carried.kind {
        ethernet::IPV4 => ipv4::parse(view, carried)?,
        ethernet::IPV6 => ipv6::parse(view, carried)?,
        _ => return ControlFlow::Break(Reason::NotIp),
    };
    let network = Network {
        offset: view.forget(network.offset),
        ..network
    };
    let transport = transport::parse(view, &network)?;
    let frame_len = view.len_around(network.end);
    ControlFlow::Continue(network.packet(transport, start, frame_len))
}

/// Offsets of headers are far below 64 KiB.
#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "at most 30, 40 and the bound on extensions"
)]
fn short(offset: usize) -> u16 {
    offset as u16
}

/// The frame's length as it is counted: 32 bits are plenty for one frame.
#[inline(always)]
pub fn frame_len<V: PacketView + ?Sized>(view: &V) -> u32 {
    counted(view.len())
}

#[inline(always)]
fn counted(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[inline(always)]
fn read_or<T: Header, V: PacketView + ?Sized>(
    view: &V,
    offset: usize,
    reason: Reason,
) -> ControlFlow<Reason, T> {
    match view.read(offset) {
        Some(header) => ControlFlow::Continue(header),
        None => ControlFlow::Break(reason),
    }
}
