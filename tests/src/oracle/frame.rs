//! What a frame says, read straight from the RFCs over a cursor that can't leave its bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Extension headers that are followed, and their bytes altogether: the tool's documented bounds.
const MOST_EXTENSIONS: usize = 8;
const MOST_EXTENSION_BYTES: usize = 512;

/// A frame that names an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) transport: Transport,
    /// Where the IP packet ends.
    pub(super) end: usize,
    /// Both Ethernet addresses are zero, as a host's own loopback device has it.
    pub(super) to_itself: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp { flags: u8 },
    Udp { destination: u16 },
    Other,
}

/// The reason's name that ends the reading.
type Refused = &'static str;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    Front,
    Rest(usize),
}

/// What IP says about its payload.
struct Datagram<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    part: Part,
    payload: &'a [u8],
}

pub(super) fn read(frame: &[u8]) -> Result<Frame, Refused> {
    let (mut ether_type, mut rest) = ethernet(frame)?;
    if ether_type == 0x8864 {
        (ether_type, rest) = pppoe(rest)?;
    }
    let to_itself = frame.iter().take(12).all(|byte| *byte == 0);
    packet(frame, ether_type, rest, to_itself)
}

/// What an interface without an Ethernet header receives: the version says which IP.
pub(super) fn read_bare(frame: &[u8]) -> Result<Frame, Refused> {
    // No header of IP is this short: nothing says that it is one.
    if frame.len() < 4 {
        return Err("not_ip");
    }
    match frame.first().map(|byte| byte / 16) {
        Some(4) => packet(frame, 0x0800, frame, false),
        Some(6) => packet(frame, 0x86dd, frame, false),
        _ => Err("not_ip"),
    }
}

fn packet(frame: &[u8], ether_type: u16, rest: &[u8], to_itself: bool) -> Result<Frame, Refused> {
    let datagram = match ether_type {
        0x0800 => ipv4(rest)?,
        0x86dd => ipv6(rest)?,
        _ => return Err("not_ip"),
    };
    Ok(Frame {
        source: datagram.source,
        destination: datagram.destination,
        protocol: datagram.protocol,
        transport: transport(&datagram)?,
        end: datagram.payload.as_ptr_range().end.addr() - frame.as_ptr().addr(),
        to_itself,
    })
}

/// IEEE 802.3 clause 3.1.1, 802.1Q clause 9: two addresses, tags of four bytes, a type.
fn ethernet(frame: &[u8]) -> Result<(u16, &[u8]), Refused> {
    let mut at = 12;
    let mut tags = 0;
    loop {
        let ether_type = be16(frame, at).ok_or("ethernet_truncated")?;
        let is_tag = ether_type == 0x8100 || ether_type == 0x88a8;
        if !is_tag {
            return Ok((ether_type, frame.get(at + 2..).unwrap_or_default()));
        }
        if tags == 2 {
            return Err("vlan_too_deep");
        }
        tags += 1;
        at += 4;
    }
}

/// RFC 2516, section 4: version, type, code, session, length; RFC 1661, sections 2 and 6.5: the protocol
/// is in one byte if that is odd.
fn pppoe(rest: &[u8]) -> Result<(u16, &[u8]), Refused> {
    let length = usize::from(be16(rest, 4).ok_or("ethernet_truncated")?);
    let payload = rest.get(6..6 + length).ok_or("ethernet_truncated")?;
    // Nothing that is shorter than both bytes of a protocol is behind the header in a frame.
    if rest.len() < 8 {
        return Err("ethernet_truncated");
    }
    let first = *payload.first().ok_or("ethernet_truncated")?;
    let (protocol, length) = if first % 2 == 1 {
        (u16::from(first), 1)
    } else {
        (be16(payload, 0).ok_or("ethernet_truncated")?, 2)
    };
    match protocol {
        0x0021 => Ok((0x0800, &payload[length..])),
        0x0057 => Ok((0x86dd, &payload[length..])),
        _ => Err("not_ip"),
    }
}

/// RFC 791, section 3.1.
fn ipv4(bytes: &[u8]) -> Result<Datagram<'_>, Refused> {
    let header = bytes.get(..20).ok_or("ipv4_truncated")?;
    let version = header[0] / 16;
    let header_length = usize::from(header[0] % 16) * 4;
    let total_length = usize::from(header[2]) * 256 + usize::from(header[3]);
    let stated = total_length > 0;
    if version != 4 || header_length < 20 || (stated && total_length < header_length) {
        return Err("ipv4_malformed");
    }
    // Zero: as much as there is, as segmentation offload hands it over.
    let packet = if stated {
        bytes.get(..total_length).ok_or("ipv4_truncated")?
    } else {
        bytes
    };
    if packet.len() < header_length {
        return Err("ipv4_truncated");
    }
    let offset = usize::from(header[6] % 32) * 256 + usize::from(header[7]);
    let more = header[6] / 32 % 2 == 1;
    let octets =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    Ok(Datagram {
        source: octets(12).into(),
        destination: octets(16).into(),
        protocol: header[9],
        part: match (offset, more) {
            (0, false) => Part::All,
            (0, true) => Part::Front,
            (_, _) => Part::Rest(offset * 8),
        },
        payload: &packet[header_length..],
    })
}

/// RFC 8200, sections 3 and 4.
fn ipv6(bytes: &[u8]) -> Result<Datagram<'_>, Refused> {
    let header = bytes.get(..40).ok_or("ipv6_truncated")?;
    if header[0] / 16 != 6 {
        return Err("ipv6_malformed");
    }
    let stated = usize::from(header[4]) * 256 + usize::from(header[5]);
    let behind = &bytes[40..];
    // RFC 2675, section 3: a jumbogram states 0, as does what segmentation offload hands over.
    let body = if stated == 0 {
        behind
    } else {
        behind.get(..stated).ok_or("ipv6_truncated")?
    };
    let chain = extensions(header[6], body)?;
    let address = |at: usize| -> Option<Ipv6Addr> {
        let octets: [u8; 16] = header.get(at..at + 16)?.try_into().ok()?;
        Some(octets.into())
    };
    Ok(Datagram {
        source: address(8).ok_or("ipv6_truncated")?.into(),
        destination: address(24).ok_or("ipv6_truncated")?.into(),
        protocol: chain.0,
        part: chain.1,
        payload: chain.2,
    })
}

/// RFC 8200, sections 4.1 to 4.6, with the numbers that IANA lists as extension headers, ESP and
/// "no next header" aside: those end what can be read.
fn extensions(first: u8, body: &[u8]) -> Result<(u8, Part, &[u8]), Refused> {
    let mut kind = first;
    let mut rest = body;
    let mut part = Part::All;
    let mut count = 0;
    while [0, 43, 44, 51, 60, 135, 139, 140].contains(&kind) {
        if count == MOST_EXTENSIONS {
            return Err("ipv6_extensions_too_deep");
        }
        count += 1;
        let next = *rest.first().ok_or("ipv6_truncated")?;
        let length = match kind {
            44 => 8,
            51 => 4 * (usize::from(*rest.get(1).ok_or("ipv6_truncated")?) + 2),
            _ => 8 * (usize::from(*rest.get(1).ok_or("ipv6_truncated")?) + 1),
        };
        let header = rest.get(..length).ok_or("ipv6_truncated")?;
        rest = &rest[length..];
        if body.len() - rest.len() > MOST_EXTENSION_BYTES {
            return Err("ipv6_extensions_too_deep");
        }
        if kind == 44 {
            let word = usize::from(header[2]) * 256 + usize::from(header[3]);
            if word / 8 != 0 {
                return Ok((next, Part::Rest(word / 8 * 8), rest));
            }
            if word % 2 == 1 {
                part = Part::Front;
            }
        }
        kind = next;
    }
    Ok((kind, part, rest))
}

fn transport(datagram: &Datagram<'_>) -> Result<Transport, Refused> {
    let payload = datagram.payload;
    let whole = datagram.part == Part::All;
    if let Part::Rest(offset) = datagram.part {
        // RFC 3128, section 4: nothing is written over a TCP header.
        if datagram.protocol == 6 && offset < 20 {
            return Err("fragment_overlap");
        }
        return Ok(Transport::Other);
    }
    let needed = match datagram.protocol {
        6 => 20,
        17 | 1 | 58 => 8,
        _ => 0,
    };
    if payload.len() < needed {
        return Err(match (whole, datagram.protocol) {
            (false, _) => "tiny_fragment",
            (true, 6) => "tcp_truncated",
            (true, 17) => "udp_truncated",
            (true, 1) => "icmp_truncated",
            (true, _) => "icmpv6_truncated",
        });
    }
    match datagram.protocol {
        // RFC 9293, section 3.1.
        6 => {
            let header_length = usize::from(payload[12] / 16) * 4;
            if header_length < 20 {
                return Err("tcp_malformed");
            }
            if whole && payload.len() < header_length {
                return Err("tcp_truncated");
            }
            Ok(Transport::Tcp { flags: payload[13] })
        }
        // RFC 768; 0 is "to the end" in IPv6 (RFC 2675, section 4).
        17 => {
            let stated = usize::from(payload[4]) * 256 + usize::from(payload[5]);
            let unstated = stated == 0 && datagram.source.is_ipv6();
            if stated < 8 && !unstated {
                return Err("udp_malformed");
            }
            if whole && payload.len() < stated {
                return Err("udp_truncated");
            }
            Ok(Transport::Udp {
                destination: u16::from_be_bytes([payload[2], payload[3]]),
            })
        }
        _ => Ok(Transport::Other),
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
