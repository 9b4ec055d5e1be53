//! Random frames: honest ones from the builder, then cut, damaged or both.

use std::net::{Ipv4Addr, Ipv6Addr};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore};
use xdp_tests::kernel::MIN_FRAME;
use xdp_tests::packet::{Extension, Flags, Packet, Transport, ether_type};

/// Addresses that frames come from and go to. Small, so that lists, limits and bans are hit.
pub(crate) struct Population {
    pub(crate) v4: Vec<Ipv4Addr>,
    pub(crate) v6: Vec<Ipv6Addr>,
}

impl Population {
    /// Ordinary addresses, listed or not, and those that can't be a source.
    pub(crate) fn new() -> Self {
        let mut v4: Vec<Ipv4Addr> = (0..48).map(|n| Ipv4Addr::new(203, 0, 113, n)).collect();
        v4.extend((0..16).map(|n| Ipv4Addr::new(198, 51, 100, n)));
        v4.extend(
            [
                [0, 0, 0, 0],
                [0, 1, 2, 3],
                [127, 0, 0, 1],
                [224, 0, 0, 1],
                [255; 4],
            ]
            .map(Ipv4Addr::from),
        );
        let mut v6: Vec<Ipv6Addr> = (0..24)
            .map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 1))
            .collect();
        v6.extend((0..8).map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0xffff, n, 0, 0, 0, n)));
        v6.extend([
            Ipv6Addr::UNSPECIFIED,
            Ipv6Addr::LOCALHOST,
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
        ]);
        Self { v4, v6 }
    }
}

/// Often the last frame once more, as in a flood, as it was or with something changed. At first, when there
/// is none, a new one.
pub(crate) fn next(rng: &mut StdRng, population: &Population, last: Vec<u8>) -> Vec<u8> {
    let mut next = last;
    match rng.random_range(0..20) {
        _ if next.is_empty() => next = frame(rng, population),
        0..8 => {}
        8 => damage(rng, &mut next),
        9 => cut(rng, &mut next),
        _ => next = frame(rng, population),
    }
    next
}

/// One frame of at least [`MIN_FRAME`] bytes.
fn frame(rng: &mut StdRng, population: &Population) -> Vec<u8> {
    let mut frame = match rng.random_range(0..100) {
        0..2 => noise(rng),
        2..5 => not_ip(rng),
        _ => honest(rng, population),
    };
    match rng.random_range(0..10) {
        0..4 => {}
        4..6 => cut(rng, &mut frame),
        6..9 => damage(rng, &mut frame),
        _ => {
            damage(rng, &mut frame);
            cut(rng, &mut frame);
        }
    }
    if frame.len() < MIN_FRAME {
        frame.resize(MIN_FRAME, 0);
    }
    frame
}

/// What is behind a frame's hardware addresses and EtherType, as an interface without them has it.
pub(crate) fn bare(frame: &[u8]) -> Vec<u8> {
    let mut packet = frame.get(14..).unwrap_or_default().to_vec();
    packet.resize(packet.len().max(MIN_FRAME), 0);
    packet
}

/// How much of the frame lies in the first buffer, when that isn't left to the kernel: so headers
/// also lie across buffers and behind the first.
pub(crate) fn first_buffer(rng: &mut StdRng, frame: &[u8]) -> Option<usize> {
    rng.random_ratio(1, 4)
        .then(|| rng.random_range(MIN_FRAME..=frame.len().min(200)))
}

fn noise(rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(MIN_FRAME..200)];
    rng.fill_bytes(&mut bytes);
    if bytes.len() > 40 {
        let kinds = [
            [0x08, 0x00],
            [0x86, 0xdd],
            [0x81, 0x00],
            [0x88, 0xa8],
            [0x88, 0x64],
        ];
        bytes[12..14].copy_from_slice(kinds.choose(rng).unwrap_or(&[8, 0]));
    }
    bytes
}

fn not_ip(rng: &mut StdRng) -> Vec<u8> {
    let kinds = [ether_type::ARP, 0x88cc, 46, 0x8847];
    let kind = *kinds.choose(rng).unwrap_or(&ether_type::ARP);
    let packet = Packet::other(kind).payload([0; 46]);
    // As the protocol of a session: LCP, and what has an odd first byte.
    let packet = match rng.random_range(0..4) {
        0 => packet.pppoe(1),
        1 => Packet::other(0xc021).payload([0; 8]).pppoe(1),
        _ => packet,
    };
    tagged(rng, packet).build()
}

fn honest(rng: &mut StdRng, population: &Population) -> Vec<u8> {
    let packet = if rng.random_bool(0.5) {
        v4(rng, &population.v4)
    } else {
        v6(rng, &population.v6)
    };
    let length = match rng.random_range(0..100) {
        0..60 => rng.random_range(0..64),
        60..98 => rng.random_range(64..1400),
        // More than a page: the kernel hands it over in several buffers.
        _ => rng.random_range(4000..9000),
    };
    let packet = if rng.random_ratio(1, 10) {
        short_transport(rng, packet)
    } else {
        packet.transport(transport(rng)).payload(vec![0xa5; length])
    };
    let packet = match rng.random_range(0..12) {
        0 => packet.pppoe(rng.random()),
        1 => packet.pppoe_compressed(rng.random()),
        _ => packet,
    };
    let mut frame = tagged(rng, packet).build();
    // Trailing bytes behind the packet, as Ethernet pads short frames.
    if rng.random_ratio(1, 8) {
        frame.resize(frame.len() + rng.random_range(1..40), 0);
    }
    frame
}

fn v4(rng: &mut StdRng, addresses: &[Ipv4Addr]) -> Packet {
    let (source, destination) = two(rng, addresses);
    let mut packet = Packet::v4(source, destination);
    if rng.random_ratio(1, 8) {
        packet = packet.options(&vec![1; rng.random_range(1..=40)]);
    }
    fragment(rng, packet)
}

fn v6(rng: &mut StdRng, addresses: &[Ipv6Addr]) -> Packet {
    let (source, destination) = two(rng, addresses);
    let mut packet = Packet::v6(source, destination);
    if rng.random_ratio(1, 3) {
        for _ in 0..rng.random_range(1..=10) {
            packet = packet.extension(extension(rng));
        }
    }
    fragment(rng, packet)
}

fn two<A: Copy>(rng: &mut StdRng, addresses: &[A]) -> (A, A) {
    let source = addresses[rng.random_range(0..addresses.len())];
    let destination = if rng.random_ratio(1, 50) {
        source
    } else {
        addresses[rng.random_range(0..addresses.len())]
    };
    (source, destination)
}

fn extension(rng: &mut StdRng) -> Extension {
    let length = if rng.random_ratio(1, 10) {
        8 * rng.random_range(1..=80)
    } else {
        8
    };
    match rng.random_range(0..5) {
        0 => Extension::HopByHop(length),
        1 | 2 => Extension::Destination(length),
        3 => Extension::Routing(0),
        _ => Extension::Authentication(7),
    }
}

fn fragment(rng: &mut StdRng, packet: Packet) -> Packet {
    match rng.random_range(0..16) {
        0 => packet.fragment(1, 0, true),
        1 => packet.fragment(1, 8 * rng.random_range(1..8000), rng.random_bool(0.5)),
        // An atomic fragment (RFC 6946).
        2 => packet.fragment(1, 0, false),
        _ => packet,
    }
}

fn transport(rng: &mut StdRng) -> Transport {
    let source = rng.random();
    let destination = *[53, 67, 80, 443, 22].choose(rng).unwrap_or(&80);
    match rng.random_range(0..16) {
        0..4 => Transport::Tcp {
            source,
            destination,
            flags: Flags::SYN,
        },
        4..7 => Transport::Tcp {
            source,
            destination,
            flags: Flags::ACK,
        },
        7 => Transport::Tcp {
            source,
            destination,
            flags: Flags(rng.random()),
        },
        8..11 => Transport::Udp {
            source,
            destination,
        },
        11..13 => Transport::Icmp { kind: 8, code: 0 },
        13 => Transport::Gre(ether_type::IPV4),
        14 => Transport::Sctp {
            source,
            destination,
        },
        _ => Transport::Protocol(rng.random()),
    }
}

/// Few random bytes in place of a header; the lengths before them are right.
fn short_transport(rng: &mut StdRng, packet: Packet) -> Packet {
    let protocol = *[1, 6, 17, 58].choose(rng).unwrap_or(&6);
    let mut payload = vec![0; rng.random_range(0..28)];
    rng.fill_bytes(&mut payload);
    if let Some(field) = payload.get_mut(4..6) {
        // As a UDP length: near the least and near the end.
        field.copy_from_slice(&rng.random_range(0..30u16).to_be_bytes());
    }
    packet.protocol(protocol).payload(payload)
}

fn tagged(rng: &mut StdRng, mut packet: Packet) -> Packet {
    if rng.random_ratio(3, 4) {
        return packet;
    }
    for _ in 0..rng.random_range(1..=3) {
        packet = if rng.random_bool(0.5) {
            packet.vlan(rng.random_range(0..4096))
        } else {
            packet.service_vlan(rng.random_range(0..4096))
        };
    }
    packet
}

/// Anywhere, but mostly within the headers.
fn cut(rng: &mut StdRng, frame: &mut Vec<u8>) {
    let most = if rng.random_ratio(4, 5) {
        frame.len().min(130)
    } else {
        frame.len()
    };
    if most > MIN_FRAME {
        frame.truncate(rng.random_range(MIN_FRAME..most));
    }
}

/// One to eight bits within the headers and behind the hardware addresses, or a field of 16 bits
/// made zero: a length that isn't stated; or both hardware addresses made zero.
fn damage(rng: &mut StdRng, frame: &mut [u8]) {
    let most = frame.len().min(130);
    if most <= MIN_FRAME {
        return;
    }
    if rng.random_ratio(1, 12) {
        // As over a host's own loopback device.
        frame[..12].fill(0);
        return;
    }
    if rng.random_ratio(1, 6) {
        let at = rng.random_range(6..most / 2) * 2;
        frame[at..at + 2].fill(0);
        return;
    }
    for _ in 0..rng.random_range(1..=8) {
        let at = rng.random_range(12..most);
        frame[at] ^= 1 << rng.random_range(0..8);
    }
}
