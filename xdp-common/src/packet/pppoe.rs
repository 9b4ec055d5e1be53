//! A frame of a PPPoE session (RFC 2516), and the PPP protocol in it (RFC 1661).
//!
//! Version, type and code aren't looked at: Linux takes the payload of a session whatever they say
//! (drivers/net/ppp/pppoe.c, `pppoe_rcv`), so a packet isn't to get past by them.

use super::PacketView;
use super::ethernet::{Carried, IPV4, IPV6, PPPOE_SESSION};

/// Version and type, code, session, length: the PPP protocol is behind them.
const HEADER: usize = 6;
/// The last four bytes of header and protocol.
const LENGTH: usize = 4;
/// PPP protocol numbers (RFC 1332, section 3; RFC 5072, section 3).
const PPP_IPV4: u32 = 0x0021;
const PPP_IPV6: u32 = 0x0057;

/// Bytes that PPPoE takes of a link's largest packet (RFC 2516, section 7).
pub const OVERHEAD: u16 = 8;

/// How long the protocol is before an IP header at `network_offset`, by the four bytes there; 0 where IP
/// is in no session. Without a session IP stands at an even offset, behind its EtherType.
#[inline(always)]
pub const fn protocol_len(network_offset: u32, before: u32) -> u32 {
    match before & 0xffff {
        _ if network_offset & 1 == 1 => 1,
        PPP_IPV4 | PPP_IPV6 => 2,
        _ => 0,
    }
}

/// What the session carries, whose header begins at `start`.
///
/// VERIFIER: 6.18: not a reason or what is carried: LLVM writes the other one's part from a register
/// that holds nothing ("R1 !read_ok").
#[inline(always)]
pub(super) fn parse<V: PacketView + ?Sized>(view: &V, start: usize) -> Carried {
    // A compressed protocol of one byte has a byte of the payload behind it, which IP always has.
    let Some([word]) = view.read::<[u32; 1]>(start.wrapping_add(LENGTH)) else {
        return Carried::cut(start);
    };
    let word = u32::from_be(word);
    let length = (word >> 16) as usize;
    // `start` is at most 22 and the length fits 16 bits: no overflow.
    let inside = start.wrapping_add(HEADER);
    let within = inside.wrapping_add(length);
    // RFC 1661, sections 2 and 6.5: the first byte of a whole number is even.
    let first = word >> 8 & 0xff;
    let (protocol, size) = if first & 1 == 0 {
        (word & 0xffff, 2)
    } else {
        (first, 1)
    };
    if length < size || !view.reaches(within) {
        return Carried::cut(start);
    }
    let kind = match protocol {
        PPP_IPV4 => IPV4,
        PPP_IPV6 => IPV6,
        _ => PPPOE_SESSION,
    };
    Carried {
        kind,
        start: inside.wrapping_add(size),
        within,
    }
}
