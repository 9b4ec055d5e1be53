//! IPv6 (RFC 8200) with a bounded chain of extension headers.

use core::ops::ControlFlow;

use network_types::ip::Ipv6Hdr;

use super::ethernet::Carried;
use super::{Address, Fragment, Network, PacketView, read_or};
use crate::reason::Reason;

/// Most extension headers that are walked. RFC 8200, section 4.1 lists seven in an orderly packet.
pub const MAX_EXTENSION_HEADERS: usize = 8;
/// Most bytes of extension headers; RFC 8504, section 5.3 lets a host set such bounds.
pub const MAX_EXTENSION_BYTES: usize = 512;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

const FRAGMENT_LEN: usize = 8;
const MORE_FRAGMENTS: u16 = 0x0001;
const OFFSET_MASK: u16 = 0xfff8;

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the parts of words")]
pub(super) fn parse<V: PacketView + ?Sized>(
    view: &V,
    carried: Carried,
) -> ControlFlow<Reason, Network> {
    let Carried { start, within, .. } = carried;
    carried.holds(Ipv6Hdr::LEN, Reason::Ipv6Truncated)?;
    // RFC 8200, section 3.
    let [first, second, s0, s1, s2, s3, d0, d1, d2, d3]: [u32; Ipv6Hdr::LEN / 4] =
        read_or(view, start, Reason::Ipv6Truncated)?;
    let [first, second] = [first, second].map(u32::from_be);
    if first >> 28 != 6 {
        return ControlFlow::Break(Reason::Ipv6Malformed);
    }
    // `start` is at most 30 and the length fits 16 bits: no overflow.
    let behind = start.wrapping_add(Ipv6Hdr::LEN);
    let payload_len = (second >> 16) as usize;
    let next_header = (second >> 8) as u8;
    // Neither a jumbogram (RFC 2675) states a length here nor what segmentation offload hands over in one
    // piece of more than 64 KiB (BIG TCP, without the jumbo option where a capture or a later kernel
    // leaves it out); the frame's own is the bound then.
    let end = if payload_len == 0 {
        view.len().min(within)
    } else {
        behind.wrapping_add(payload_len)
    };
    if end > within || !view.reaches(end) {
        return ControlFlow::Break(Reason::Ipv6Truncated);
    }
    let chain = walk(view, next_header, behind, end)?;
    ControlFlow::Continue(Network {
        source: Address::v6_words([s0, s1, s2, s3]),
        destination: Address::v6_words([d0, d1, d2, d3]),
        protocol: chain.protocol,
        fragment: chain.fragment,
        fragment_id: chain.fragment_id,
        fragment_offset: chain.fragment_offset,
        offset: chain.offset,
        end,
    })
}

struct Chain {
    protocol: u8,
    fragment: Fragment,
    fragment_id: u32,
    fragment_offset: u16,
    offset: usize,
}

/// Follows the extension headers from `start` to the first header that isn't one, or into a
/// fragment header that says that the rest is payload.
#[inline(always)]
fn walk<V: PacketView + ?Sized>(
    view: &V,
    first: u8,
    start: usize,
    end: usize,
) -> ControlFlow<Reason, Chain> {
    let mut protocol = first;
    let mut fragment = Fragment::Whole;
    let mut fragment_id = 0;
    let mut length = 0usize;
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !is_extension(protocol) {
            return ControlFlow::Continue(Chain {
                protocol,
                fragment,
                fragment_id,
                fragment_offset: 0,
                offset: start.wrapping_add(length),
            });
        }
        let offset = start.wrapping_add(length);
        let bytes: [u8; 4] = read_or(view, offset, Reason::Ipv6Truncated)?;
        let [next, len, high, low] = bytes;
        let step = match protocol {
            FRAGMENT => FRAGMENT_LEN,
            // RFC 4302, section 2.2: 32-bit words minus two.
            AUTHENTICATION => usize::from(len).wrapping_add(2).wrapping_mul(4),
            // RFC 8200, section 4.3: 8-byte units without the first.
            _ => usize::from(len).wrapping_add(1).wrapping_mul(8),
        };
        if offset.wrapping_add(step) > end {
            return ControlFlow::Break(Reason::Ipv6Truncated);
        }
        length = view.forget(length.wrapping_add(step));
        if length > MAX_EXTENSION_BYTES {
            return ControlFlow::Break(Reason::Ipv6ExtensionsTooDeep);
        }
        if protocol == FRAGMENT {
            let word = u16::from_be_bytes([high, low]);
            let id: [u8; 4] = read_or(view, offset.wrapping_add(4), Reason::Ipv6Truncated)?;
            if word & OFFSET_MASK != 0 {
                return ControlFlow::Continue(Chain {
                    protocol: next,
                    fragment: Fragment::Later,
                    fragment_id: u32::from_be_bytes(id),
                    fragment_offset: word & OFFSET_MASK,
                    offset: start.wrapping_add(length),
                });
            }
            // An atomic fragment (RFC 6946) is a whole packet.
            if word & MORE_FRAGMENTS != 0 {
                fragment = Fragment::First;
                fragment_id = u32::from_be_bytes(id);
            }
        }
        protocol = next;
    }
    if is_extension(protocol) {
        return ControlFlow::Break(Reason::Ipv6ExtensionsTooDeep);
    }
    ControlFlow::Continue(Chain {
        protocol,
        fragment,
        fragment_id,
        fragment_offset: 0,
        offset: start.wrapping_add(length),
    })
}

#[inline(always)]
pub(super) fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HIP
            | SHIM6
    )
}
