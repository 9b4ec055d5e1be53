//! Which flow a packet belongs to, as two hashes.

use crate::packet::{Address, Fragment, Packet, PacketView, Transport, protocol};

/// Port of the Domain Name System.
const DNS: u16 = 53;
/// Bytes of a DNS header, before the question (RFC 1035, section 4.1.1).
const DNS_HEADER: usize = 12;
/// Words of a name that tell it from others.
const NAME_WORDS: usize = 16;
/// Sets the bit that tells small letters from capitals: a resolver may mix them, and mix them anew in a
/// retry.
const LOWER_CASE: u32 = 0x2020_2020;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To this host: its source is the remote.
    In,
    /// From this host: its destination is.
    Out,
}

/// The hashes of a packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Of the flow: addresses, protocol and ports; of an echo the identifier, and who asks; of an ICMP
    /// error the flow that it quotes.
    pub flow: u64,
    /// Of what a client repeats when it tries again: the flow, for TCP with the sequence number. A DNS
    /// question is known again by source and name, as resolvers take another port for the retry.
    pub retry: u64,
}

/// What a packet's flow is told by besides its addresses and its protocol.
#[derive(Clone, Copy)]
struct Parts {
    remote_port: u16,
    local_port: u16,
}

/// The hashes of a packet's flow; nothing for a packet that belongs to none.
#[inline(always)]
pub fn keys<V: PacketView + ?Sized>(
    view: &V,
    packet: &Packet,
    direction: Direction,
    seeds: [u64; 2],
) -> Option<Keys> {
    let (remote, local) = match direction {
        Direction::In => (&packet.source, &packet.destination),
        Direction::Out => (&packet.destination, &packet.source),
    };
    // A later fragment has no ports.
    if packet.fragment == Fragment::Later {
        return None;
    }
    let offset = usize::from(packet.transport_offset);
    let parts = match packet.transport {
        Transport::Tcp {
            source,
            destination,
            ..
        }
        | Transport::Udp {
            source,
            destination,
        } => ordered(source, destination, direction),
        Transport::Icmp { kind, .. } => match Echo::of(packet.protocol, kind) {
            Some(echo) => {
                let [word]: [u32; 1] = view.read(offset.wrapping_add(4))?;
                Parts {
                    remote_port: upper(u32::from_be(word)),
                    local_port: echo.asked_by_remote(direction).into(),
                }
            }
            None => return quoted(view, packet, offset.wrapping_add(8), direction, seeds),
        },
        Transport::Opaque => Parts {
            remote_port: 0,
            local_port: 0,
        },
    };
    let of_both = addresses(remote, local, seeds);
    let flow = finish(of_both, parts, packet.protocol, seeds);
    let retry = match (packet.transport, direction) {
        (Transport::Tcp { .. }, Direction::In) => {
            let [sequence]: [u32; 1] = view.read(offset.wrapping_add(4))?;
            mix(flow, u64::from(sequence), seeds)
        }
        (Transport::Udp { destination, .. }, Direction::In) if destination == DNS => {
            question(view, offset.wrapping_add(8 + DNS_HEADER), of_both, seeds)
        }
        _ => flow,
    };
    Some(Keys { flow, retry })
}

#[inline(always)]
fn ordered(source: u16, destination: u16, direction: Direction) -> Parts {
    match direction {
        Direction::In => Parts {
            remote_port: source,
            local_port: destination,
        },
        Direction::Out => Parts {
            remote_port: destination,
            local_port: source,
        },
    }
}

/// An echo, and whether it is the question.
#[derive(Clone, Copy)]
struct Echo {
    is_request: bool,
}

impl Echo {
    #[inline(always)]
    const fn of(number: u8, kind: u8) -> Option<Self> {
        let (request, reply) = if number == protocol::ICMP {
            (8, 0)
        } else {
            (128, 129)
        };
        if kind == request || kind == reply {
            Some(Self {
                is_request: kind == request,
            })
        } else {
            None
        }
    }

    #[inline(always)]
    fn asked_by_remote(self, direction: Direction) -> bool {
        self.is_request == (direction == Direction::In)
    }
}

/// The flow that an ICMP error quotes: one that this host sent a packet of (RFC 792; RFC 4443, section 3).
#[inline(always)]
fn quoted<V: PacketView + ?Sized>(
    view: &V,
    packet: &Packet,
    offset: usize,
    direction: Direction,
    seeds: [u64; 2],
) -> Option<Keys> {
    if direction == Direction::Out {
        return None;
    }
    let (local, remote, number, behind) = if packet.protocol == protocol::ICMP {
        if !matches!(packet.transport, Transport::Icmp { kind, .. } if matches!(kind, 3..=5 | 11 | 12))
        {
            return None;
        }
        let [first, _, third, source, destination]: [u32; 5] = view.read(offset)?;
        let header = (u32::from_be(first) >> 24 & 15).wrapping_mul(4);
        let number = byte(u32::from_be(third) >> 16);
        let (source, destination) = (Address::v4_word(source), Address::v4_word(destination));
        (source, destination, number, header as usize)
    } else {
        if !matches!(packet.transport, Transport::Icmp { kind, .. } if matches!(kind, 1..=4)) {
            return None;
        }
        let [_, second, a, b, c, d, e, f, g, h]: [u32; 10] = view.read(offset)?;
        let number = byte(u32::from_be(second) >> 8);
        let (source, destination) = (
            Address::v6_words([a, b, c, d]),
            Address::v6_words([e, f, g, h]),
        );
        (source, destination, number, 40)
    };
    if number != protocol::TCP && number != protocol::UDP {
        return None;
    }
    let [ports]: [u32; 1] = view.read(offset.wrapping_add(behind & 63))?;
    let ports = u32::from_be(ports);
    let parts = Parts {
        remote_port: lower(ports),
        local_port: upper(ports),
    };
    let flow = finish(addresses(&remote, &local, seeds), parts, number, seeds);
    Some(Keys { flow, retry: flow })
}

/// The hash of a DNS question: of its name up to its end, or of as much as is there.
#[inline(always)]
fn question<V: PacketView + ?Sized>(view: &V, offset: usize, of_both: u64, seeds: [u64; 2]) -> u64 {
    let mut hash = mix(of_both, u64::from(DNS), seeds);
    let mut at = offset;
    for _ in 0..NAME_WORDS {
        let Some([word]): Option<[u32; 1]> = view.read(at) else {
            break;
        };
        let (word, ends) = up_to_end(u32::from_be(word));
        hash = mix(hash, u64::from(word), seeds);
        if ends {
            break;
        }
        at = at.wrapping_add(4);
    }
    hash
}

/// Four bytes of a name in small letters, zeros behind its end, and whether it ends in them.
#[inline(always)]
const fn up_to_end(word: u32) -> (u32, bool) {
    let lower = word | LOWER_CASE;
    if word & 0xff00_0000 == 0 {
        (0, true)
    } else if word & 0x00ff_0000 == 0 {
        (lower & 0xff00_0000, true)
    } else if word & 0x0000_ff00 == 0 {
        (lower & 0xffff_0000, true)
    } else if word & 0x0000_00ff == 0 {
        (lower & 0xffff_ff00, true)
    } else {
        (lower, false)
    }
}

#[inline(always)]
fn addresses(remote: &Address, local: &Address, seeds: [u64; 2]) -> u64 {
    let [start, _] = seeds;
    if remote.is_v4() {
        let both = u64::from(remote.v4_bits()) << 32 | u64::from(local.v4_bits());
        return mix(start, both, seeds);
    }
    let ((a, b), (c, d)) = (remote.halves(), local.halves());
    let remote = mix(mix(start, a, seeds), b, seeds);
    mix(mix(remote, c, seeds), d, seeds)
}

#[inline(always)]
fn finish(of_both: u64, parts: Parts, number: u8, seeds: [u64; 2]) -> u64 {
    let ports = u64::from(parts.remote_port) << 24 | u64::from(parts.local_port) << 8;
    mix(of_both, ports | u64::from(number), seeds)
}

/// Two rounds of multiplying by secret numbers, so that nobody finds packets with the same hash.
#[inline(always)]
const fn mix(state: u64, word: u64, seeds: [u64; 2]) -> u64 {
    let [first, second] = seeds;
    let mut x = (state ^ word).wrapping_mul(second | 1);
    x ^= x >> 32;
    x = x.wrapping_mul(first | 1);
    x ^ x >> 29
}

#[inline(always)]
const fn upper(word: u32) -> u16 {
    (word >> 16) as u16
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
const fn lower(word: u32) -> u16 {
    word as u16
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the lowest byte")]
const fn byte(word: u32) -> u8 {
    word as u8
}
