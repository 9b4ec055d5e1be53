//! Long answers of DNS that nobody asked for, in fragments, from few resolvers of which one sends
//! nearly half of all.

use std::net::Ipv4Addr;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::generate::is_public;
use super::rewrite::Target;
use crate::packet::{Packet, protocol};

/// How many resolvers there are.
const RESOLVERS: usize = 240;
/// The share of the first of them, in percent.
const HEAVIEST: u32 = 45;
/// What an IPv4 packet of Ethernet has room for behind its header, in units of fragments.
const FRAGMENT: usize = 1480;
/// An answer with its UDP header: two whole fragments and a rest.
const LENGTH: usize = 2 * FRAGMENT + 1040;
/// Fragments of an answer.
const PARTS: usize = LENGTH.div_ceil(FRAGMENT);
const DNS: u16 = 53;

/// Makes one fragment after another.
pub(super) struct Answers {
    random: StdRng,
    target: Target,
    resolvers: Vec<Ipv4Addr>,
    made: usize,
    /// The resolver and the identification of the answer that is under way.
    source: Ipv4Addr,
    identification: u32,
}

impl Answers {
    pub(super) fn new(seed: u64, target: Target) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut resolvers = Vec::new();
        while resolvers.len() < RESOLVERS {
            let resolver = Ipv4Addr::from(random.random::<u32>());
            if is_public(resolver) && !resolvers.contains(&resolver) {
                resolvers.push(resolver);
            }
        }
        Self {
            random,
            target,
            resolvers,
            made: 0,
            source: Ipv4Addr::UNSPECIFIED,
            identification: 0,
        }
    }

    pub(super) fn next(&mut self) -> Vec<u8> {
        let part = self.made % PARTS;
        self.made += 1;
        if part == 0 {
            self.source = self.resolver();
            self.identification = u32::from(self.random.random::<u16>());
        }
        let from = part * FRAGMENT;
        let mut bytes = vec![0; FRAGMENT.min(LENGTH - from)];
        if let (0, Some(head)) = (part, bytes.first_chunk_mut()) {
            *head = self.head();
        }
        let packet = Packet::v4(self.source, self.target.v4);
        let packet = packet.ethernet(self.target.from, self.target.to);
        let more = part + 1 < PARTS;
        let fragment = packet.protocol(protocol::UDP).payload(bytes);
        fragment.fragment(self.identification, from, more).build()
    }

    fn resolver(&mut self) -> Ipv4Addr {
        let number = match self.random.random_range(0..100) < HEAVIEST {
            true => 0,
            // Those at the front send more than those at the end.
            false => {
                let last = self.random.random_range(1..RESOLVERS);
                self.random.random_range(1..=last)
            }
        };
        self.resolvers[number]
    }

    /// A UDP header without a checksum (RFC 768), and the first words of an answer (RFC 1035,
    /// 4.1.1): recursion available, one question, many records.
    fn head(&mut self) -> [u8; 16] {
        let [a, b] = DNS.to_be_bytes();
        let [c, d] = self.random.random::<[u8; 2]>();
        let [e, f] = u16::try_from(LENGTH).unwrap_or(0).to_be_bytes();
        let [g, h] = self.random.random::<[u8; 2]>();
        [a, b, c | 4, d, e, f, 0, 0, g, h, 0x81, 0x80, 0, 1, 0, 40]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn one_resolver_sends_nearly_half_and_two_of_three_frames_are_later_fragments() {
        let target = Target {
            from: [2, 0, 0, 0, 0, 3],
            to: [2, 0, 0, 0, 0, 1],
            v4: "10.77.0.1".parse().unwrap(),
            v6: "fd77::1".parse().unwrap(),
        };
        let mut answers = Answers::new(7, target);
        let frames: Vec<Vec<u8>> = (0..6_000).map(|_| answers.next()).collect();
        let mut by_source: HashMap<&[u8], usize> = HashMap::new();
        for frame in &frames {
            *by_source.entry(&frame[26..30]).or_default() += 1;
        }
        assert!((150..=RESOLVERS).contains(&by_source.len()));
        let heaviest = by_source.values().max().unwrap();
        assert!((2_500..2_900).contains(heaviest), "{heaviest}");
        let offset = |frame: &Vec<u8>| u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff;
        let offsets: Vec<u16> = frames.iter().take(4).map(offset).collect();
        assert_eq!(offsets, [0, 185, 370, 0]);
        let same = |field: std::ops::Range<usize>| {
            frames[0][field.clone()] == frames[2][field.clone()]
                && frames[0][field.clone()] == frames[1][field]
        };
        assert!(same(26..30) && same(18..20));
        assert_eq!(frames[0][34..36], [0, 53]);
        assert_eq!(frames.iter().map(Vec::len).max(), Some(1514));
    }
}
