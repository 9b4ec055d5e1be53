//! IPv4 (RFC 791).

use core::ops::ControlFlow;

use network_types::ip::Ipv4Hdr;

use super::ethernet::Carried;
use super::{Address, Fragment, Network, PacketView, read_or};
use crate::reason::Reason;

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the parts of words")]
pub(super) fn parse<V: PacketView + ?Sized>(
    view: &V,
    carried: Carried,
) -> ControlFlow<Reason, Network> {
    let Carried { start, within, .. } = carried;
    carried.holds(Ipv4Hdr::LEN, Reason::Ipv4Truncated)?;
    // RFC 791, section 3.1.
    let [first, second, third, source, destination]: [u32; Ipv4Hdr::LEN / 4] =
        read_or(view, start, Reason::Ipv4Truncated)?;
    let [first, second, third] = [first, second, third].map(u32::from_be);
    let header_len = ((first >> 24 & 0x0f) as usize).wrapping_mul(4);
    let total_len = (first & 0xffff) as usize;
    // Segmentation offload states no length in what it hands over in one piece when that is over
    // 64 KiB (BIG TCP, Linux 6.3, include/net/ip.h, `iph_set_totlen`); the frame's own is the
    // bound then.
    let unstated = total_len == 0;
    let contradiction = total_len < header_len && !unstated;
    if first >> 28 != 4 || header_len < Ipv4Hdr::LEN || contradiction {
        return ControlFlow::Break(Reason::Ipv4Malformed);
    }
    // `start` is at most 30 and both lengths fit 16 bits: no overflow.
    let end = if unstated {
        view.len().min(within)
    } else {
        start.wrapping_add(total_len)
    };
    if end > within || !view.reaches(end) || start.wrapping_add(header_len) > end {
        return ControlFlow::Break(Reason::Ipv4Truncated);
    }
    let word = (second & 0xffff) as u16;
    let fragment = match (word & OFFSET_MASK, word & MORE_FRAGMENTS) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First,
        (_, _) => Fragment::Later,
    };
    ControlFlow::Continue(Network {
        source: Address::v4_word(source),
        destination: Address::v4_word(destination),
        protocol: (third >> 16) as u8,
        fragment,
        fragment_id: if fragment == Fragment::Whole {
            0
        } else {
            second >> 16
        },
        // At most 65,528.
        fragment_offset: (word & OFFSET_MASK) << 3,
        offset: start.wrapping_add(header_len),
        end,
    })
}
