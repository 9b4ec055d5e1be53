//! The answer to a SYN, in the host's place: a SYN-ACK whose sequence number is a cookie.
//!
//! Headers as they go on the wire, with checksums; the frame's Ethernet header and its VLAN tags stay,
//! with the addresses exchanged. The only option is the MSS: a cookie has no room for others, and the
//! kernel's own keep them in a timestamp whose offset it alone knows (net/ipv4/syncookies.c,
//! `cookie_init_timestamp`; net/core/secure_seq.c, `secure_tcp_ts_off`).

use crate::packet::protocol;
use crate::packet::tcp_flags::{ACK, SYN};

/// Length of the answer's TCP header: 20 bytes and the MSS.
pub const TCP_LEN: u32 = 24;
/// Length of an IPv4 header without options.
pub const IPV4_LEN: u32 = 20;

/// Where the answer's data may begin to arrive: the kernel states a window of its own with its first
/// segment.
const WINDOW: u32 = 65_535;
const TTL: u8 = 64;
/// The word of identification, flags and offset.
const DONT_FRAGMENT: u32 = 0x4000;
/// The data offset of a header of [`TCP_LEN`] bytes, as its byte stands.
const DATA_OFFSET: u32 = 6 << 4;
/// Kind and length of the option, above its value (RFC 9293, section 3.2).
const OPTION_MSS: u32 = 0x0204_0000;

/// What the answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynAck {
    /// The host's port.
    pub source: u16,
    /// The peer's port.
    pub destination: u16,
    /// The cookie.
    pub sequence: u32,
    /// The SYN's sequence number.
    pub peer_sequence: u32,
    /// The largest segment that the host takes.
    pub mss: u16,
}

/// Words in network order, as they stand in memory.
pub type Words<const N: usize> = [u32; N];

impl SynAck {
    /// The headers over IPv4.
    #[inline(always)]
    pub fn over_ipv4(&self, source: [u8; 4], destination: [u8; 4]) -> (Words<5>, Words<6>) {
        const TOTAL: u32 = IPV4_LEN + TCP_LEN;
        let (source, destination) = (u32::from_be_bytes(source), u32::from_be_bytes(destination));
        let first = 0x4500_0000 | TOTAL;
        let third = u32::from(TTL) << 24 | u32::from(protocol::TCP) << 16;
        let addresses = halves(source).wrapping_add(halves(destination));
        let sum = halves(first)
            .wrapping_add(halves(DONT_FRAGMENT))
            .wrapping_add(halves(third))
            .wrapping_add(addresses);
        let ip = [
            first,
            DONT_FRAGMENT,
            third | complement(sum),
            source,
            destination,
        ];
        (ip.map(u32::to_be), self.header(addresses))
    }

    /// The headers over IPv6.
    #[inline(always)]
    pub fn over_ipv6(&self, source: &[u8; 16], destination: &[u8; 16]) -> (Words<10>, Words<6>) {
        const PAYLOAD: u32 = TCP_LEN << 16;
        let second = PAYLOAD | u32::from(protocol::TCP) << 8 | u32::from(TTL);
        let [s0, s1, s2, s3] = words(source);
        let [d0, d1, d2, d3] = words(destination);
        let mut addresses = 0_u32;
        for word in [s0, s1, s2, s3, d0, d1, d2, d3] {
            addresses = addresses.wrapping_add(halves(word));
        }
        let ip = [0x6000_0000, second, s0, s1, s2, s3, d0, d1, d2, d3];
        (ip.map(u32::to_be), self.header(addresses))
    }

    /// The TCP header with its checksum (RFC 9293, section 3.1), over the sum of both addresses.
    #[inline(always)]
    fn header(&self, addresses: u32) -> Words<6> {
        let ports = u32::from(self.source) << 16 | u32::from(self.destination);
        let acknowledged = self.peer_sequence.wrapping_add(1);
        let flags = DATA_OFFSET << 24 | u32::from(SYN | ACK) << 16 | WINDOW;
        let mss = OPTION_MSS | u32::from(self.mss);
        let mut sum = addresses.wrapping_add(PSEUDO);
        for word in [ports, self.sequence, acknowledged, flags, mss] {
            sum = sum.wrapping_add(halves(word));
        }
        let checksum = complement(sum) << 16;
        [ports, self.sequence, acknowledged, flags, checksum, mss].map(u32::to_be)
    }
}

/// Protocol and length, the same words in both pseudo headers.
const PSEUDO: u32 = protocol::TCP as u32 + TCP_LEN;

/// Four words of an address.
#[inline(always)]
const fn words(address: &[u8; 16]) -> [u32; 4] {
    let value = u128::from_be_bytes(*address);
    #[allow(clippy::cast_possible_truncation, reason = "a word each")]
    [
        (value >> 96) as u32,
        (value >> 64) as u32,
        (value >> 32) as u32,
        value as u32,
    ]
}

/// The sum of a word's halves (RFC 1071): some dozens of them are far from 32 bits.
#[inline(always)]
const fn halves(word: u32) -> u32 {
    (word >> 16).wrapping_add(word & 0xffff)
}

/// The complement of a sum, folded to 16 bits.
#[inline(always)]
const fn complement(sum: u32) -> u32 {
    !halves(halves(sum)) & 0xffff
}
