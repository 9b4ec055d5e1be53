//! Floods made here: every packet from another source, or from as many as a real one has.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::answers::Answers;
use super::rewrite::{Target, complete};
use super::twice::each_twice;
use crate::bench::abi::scattered;
use crate::mitigation::services::question;
use crate::mitigation::topology::{DNS_PORT, HTTP_PORT, NETWORK, UDP_PORT};
use crate::packet::{Flags, Packet, protocol};
use crate::traffic::frames::Frames;

const ETHERNET: usize = 14;
/// Where the sequence and acknowledgment numbers of a TCP header are.
const NUMBERS: std::ops::Range<usize> = 4..12;
/// More frames than this are not kept: the list then comes again from its start.
const MOST_FRAMES: usize = 4_000_000;
/// How many sources an attack has that come again and again, such as open resolvers.
const PERSISTENT: usize = 1 << 16;
const DNS_ANSWER: usize = 1000;
/// As small as Ethernet has them, without the check sequence.
const SMALLEST: usize = 60;

/// A built-in attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Builtin {
    /// Connection requests to the HTTP port.
    Syn,
    /// The same over IPv6.
    Syn6,
    /// Connection requests to any port.
    SynPorts,
    /// Segments of no connection, to the HTTP port.
    Ack,
    /// Resets of no connection, to the HTTP port.
    Rst,
    /// Answers to connection requests that nobody sent.
    Synack,
    /// Datagrams to any port.
    UdpRandomPorts,
    /// Datagrams to the UDP service.
    UdpService,
    /// The same, each sent again a second later, as a client that retries does.
    UdpTwice,
    /// The same, from 65,536 sources that keep their ports and come again and again.
    UdpPersistent,
    /// Questions to the DNS service.
    DnsService,
    /// Echo requests.
    Icmp,
    /// Fragments: later ones, tiny ones, overlapping ones.
    Fragments,
    /// Long answers of DNS that nobody asked for, from 65,536 resolvers.
    DnsAmplification,
    /// The same in fragments, from 240 resolvers, one of which sends nearly half of them.
    DnsFragments,
    /// Datagrams and connection requests to all addresses of the host's /24.
    Carpet,
    /// All of these in turn.
    Mixed,
}

impl Builtin {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// So many frames, or the most that are kept, to be sent at `rate` a second.
    #[must_use]
    pub(crate) fn frames(self, count: usize, rate: usize, seed: u64, target: &Target) -> Frames {
        let mut maker = Maker::new(seed, *target);
        let comes_again = matches!(
            self,
            Self::DnsAmplification | Self::DnsFragments | Self::UdpPersistent
        );
        let most = match comes_again {
            true => PERSISTENT,
            false => MOST_FRAMES,
        };
        let mut next = || maker.frame(self);
        let count = count.min(most);
        if self == Self::UdpTwice {
            each_twice(count, rate, next)
        } else {
            (0..count).map(|_| next()).collect()
        }
    }

    /// Whether it does what honest clients do to get in, so that a budget has to bound it.
    #[must_use]
    pub const fn cheats(self) -> bool {
        matches!(self, Self::UdpTwice | Self::UdpPersistent)
    }
}

/// The kinds of [`Builtin::Mixed`].
const MIXED: [Builtin; 12] = [
    Builtin::Syn,
    Builtin::Syn6,
    Builtin::SynPorts,
    Builtin::Ack,
    Builtin::Rst,
    Builtin::Synack,
    Builtin::UdpRandomPorts,
    Builtin::UdpService,
    Builtin::Icmp,
    Builtin::Fragments,
    Builtin::DnsAmplification,
    Builtin::Carpet,
];

struct Maker {
    random: StdRng,
    target: Target,
    answers: Answers,
    /// Of the next source; different numbers are different addresses.
    source: u64,
    made: usize,
}

impl Maker {
    fn new(seed: u64, target: Target) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        Self {
            source: random.random::<u32>().into(),
            random,
            target,
            answers: Answers::new(seed, target),
            made: 0,
        }
    }

    fn frame(&mut self, kind: Builtin) -> Vec<u8> {
        self.made += 1;
        let http = HTTP_PORT;
        match kind {
            Builtin::Syn => self.segment(http, Flags::SYN),
            Builtin::Syn6 => {
                let (packet, from) = (self.v6(), self.port());
                self.numbered(packet.tcp(from, http, Flags::SYN), 40)
            }
            Builtin::SynPorts => {
                let to = self.random.random();
                self.segment(to, Flags::SYN)
            }
            Builtin::Ack => self.segment(http, Flags::ACK),
            Builtin::Rst => self.segment(http, Flags::RST),
            Builtin::Synack => {
                let (packet, to) = (self.v4(), self.port());
                let from = [80, 443][self.made % 2];
                self.numbered(packet.tcp(from, to, Flags::SYN | Flags::ACK), 20)
            }
            Builtin::UdpRandomPorts => {
                let to = self.random.random_range(1..=u16::MAX);
                self.datagram(to)
            }
            Builtin::UdpService | Builtin::UdpTwice | Builtin::UdpPersistent => {
                self.datagram(UDP_PORT)
            }
            Builtin::DnsService => {
                let (packet, from) = (self.v4(), self.port());
                let asked = question(self.random.random());
                packet.udp(from, DNS_PORT).payload(asked).build()
            }
            Builtin::Icmp => self.v4().icmp(8, 0).padded_to(SMALLEST).build(),
            Builtin::Fragments => self.fragment(),
            Builtin::DnsAmplification => {
                let (packet, to) = (self.v4(), self.port());
                let mut answer = vec![0; DNS_ANSWER];
                self.random.fill(&mut answer[..2]);
                // An answer, recursion available, one question, many records (RFC 1035, 4.1.1).
                answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 40]);
                packet.udp(53, to).payload(answer).build()
            }
            Builtin::DnsFragments => self.answers.next(),
            Builtin::Carpet => self.carpet(),
            Builtin::Mixed => self.frame(MIXED[self.made % MIXED.len()]),
        }
    }

    fn segment(&mut self, to: u16, flags: Flags) -> Vec<u8> {
        let (packet, from) = (self.v4(), self.port());
        self.numbered(packet.tcp(from, to, flags), 20)
    }

    fn datagram(&mut self, to: u16) -> Vec<u8> {
        let (packet, from) = (self.v4(), self.port());
        packet.udp(from, to).padded_to(SMALLEST).build()
    }

    /// A third each: the last part of a datagram, a first one too short for a TCP header, one that
    /// writes over the flags of the one before it (RFC 1858, section 4).
    fn fragment(&mut self) -> Vec<u8> {
        let packet = self.v4();
        let identification = self.random.random();
        let payload: [u8; 24] = self.random.random();
        match self.made % 3 {
            0 => {
                let offset = 8 * self.random.random_range(185..2000);
                let later = packet.protocol(protocol::UDP);
                later
                    .payload(payload)
                    .fragment(identification, offset, false)
            }
            1 => {
                let tiny = packet.protocol(protocol::TCP).payload(&payload[..8]);
                tiny.fragment(identification, 0, true)
            }
            _ => {
                let over = packet.protocol(protocol::TCP).payload(payload);
                over.fragment(identification, 8, true)
            }
        }
        .build()
    }

    fn carpet(&mut self) -> Vec<u8> {
        let last = u8::try_from(self.made % 256).unwrap_or(0);
        let [a, b, c, _] = NETWORK.octets();
        let target = self.target.v4;
        self.target.v4 = Ipv4Addr::new(a, b, c, last);
        let frame = match self.made / 256 % 2 {
            0 => self.frame(Builtin::UdpRandomPorts),
            _ => self.frame(Builtin::Syn),
        };
        // One frame, not two.
        self.made -= 1;
        self.target.v4 = target;
        frame
    }

    fn v4(&mut self) -> Packet {
        let source = loop {
            self.source += 1;
            let number = scattered(self.source, 32);
            let source = Ipv4Addr::from(u32::try_from(number).unwrap_or(0));
            if is_public(source) {
                break source;
            }
        };
        let packet = Packet::v4(source, self.target.v4);
        let ttl = self.random.random_range(40..=128);
        packet.ttl(ttl).ethernet(self.target.from, self.target.to)
    }

    /// Each in a /64 of its own.
    fn v6(&mut self) -> Packet {
        self.source += 1;
        let network = scattered(self.source, 32);
        let rest: u64 = self.random.random();
        let upper = 0x2a00_0000_0000_0000 | network << 16;
        let source = Ipv6Addr::from(u128::from(upper) << 64 | u128::from(rest));
        let packet = Packet::v6(source, self.target.v6);
        let ttl = self.random.random_range(40..=128);
        packet.ttl(ttl).ethernet(self.target.from, self.target.to)
    }

    fn port(&mut self) -> u16 {
        self.random.random_range(1024..=u16::MAX)
    }

    /// Gives a segment behind an IP header of so many bytes random numbers.
    fn numbered(&mut self, packet: Packet, header: usize) -> Vec<u8> {
        let mut frame = packet.build();
        let at = ETHERNET + header;
        if let Some(numbers) = frame.get_mut(at + NUMBERS.start..at + NUMBERS.end) {
            self.random.fill(numbers);
        }
        if let Some(packet) = frame.get_mut(ETHERNET..) {
            complete(packet);
        }
        frame
    }
}

/// Whether an address may be somebody's on the Internet (RFC 6890); those are what floods forge.
pub(super) fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    !(a == 0
        || a >= 224
        || is_shared
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::packet::tests::{sliced, transport_checksum_is_right};

    const COUNT: usize = 4_000;

    fn target() -> Target {
        Target {
            from: [2, 0, 0, 0, 0, 3],
            to: [2, 0, 0, 0, 0, 1],
            v4: "10.77.0.1".parse().unwrap(),
            v6: "fd77::1".parse().unwrap(),
        }
    }

    fn source(frame: &[u8]) -> Vec<u8> {
        match frame[12..14] {
            [8, 0] => frame[26..30].to_vec(),
            _ => frame[22..38].to_vec(),
        }
    }

    #[test]
    fn no_source_comes_twice_and_checksums_are_right() {
        for kind in Builtin::value_variants() {
            if *kind == Builtin::DnsFragments {
                continue;
            }
            let frames = kind.frames(COUNT, 2 * COUNT, 7, &target());
            let sources: HashSet<_> = frames.iter().map(source).collect();
            assert_eq!(sources.len(), COUNT, "{kind:?}");
            for frame in frames.iter() {
                let packet = sliced(frame);
                if packet.transport.is_some() {
                    transport_checksum_is_right(&packet);
                }
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_flood_and_another_one_another() {
        let make = |seed| Builtin::Mixed.frames(50, 50, seed, &target());
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn a_carpet_covers_the_network() {
        let frames = Builtin::Carpet.frames(1024, 1024, 7, &target());
        let targets: HashSet<_> = frames.iter().map(|frame| frame[30..34].to_vec()).collect();
        assert_eq!(targets.len(), 256);
        let protocols: HashSet<u8> = frames.iter().map(|frame| frame[23]).collect();
        assert_eq!(protocols, HashSet::from([protocol::TCP, protocol::UDP]));
    }

    #[test]
    fn a_reflection_comes_from_a_bounded_number_of_resolvers() {
        let frames = Builtin::DnsAmplification.frames(PERSISTENT + 5, 1, 7, &target());
        assert_eq!(frames.len(), PERSISTENT);
        assert_eq!(frames.get(0)[34..36], [0, 53]);
    }

    #[test]
    fn a_cheating_flood_repeats_its_datagrams_with_address_and_port() {
        let rate = 1_000;
        let frames = Builtin::UdpTwice.frames(4 * rate, rate, 7, &target());
        let sources: HashSet<_> = frames.iter().map(source).collect();
        // All of the first second, and every other one from then on.
        assert_eq!(sources.len(), rate + 3 * rate / 2);
        for number in (rate + 1..4 * rate).step_by(2) {
            assert_eq!(frames.get(number), frames.get(number - rate - 1));
        }
        let persistent = Builtin::UdpPersistent.frames(PERSISTENT + 5, 1, 7, &target());
        assert_eq!(persistent.len(), PERSISTENT);
        assert_eq!(persistent.get(0)[36..38], UDP_PORT.to_be_bytes());
    }
}
