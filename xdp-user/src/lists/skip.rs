//! Parts of a list that are left out because nobody wants to block them: private ranges, multicast,
//! and so on. Lists of "bogons" hold them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::domain::{Prefix, SkipKind};

const fn v4(a: u8, b: u8, c: u8, len: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), len)
}

const fn v6(first: u16, second: u16, len: u8) -> (IpAddr, u8) {
    (
        IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0)),
        len,
    )
}

const ONE: Ipv6Addr = Ipv6Addr::LOCALHOST;

/// The ranges of a kind. [`SkipKind::Own`] has none: only the daemon knows them.
const fn ranges(kind: SkipKind) -> &'static [(IpAddr, u8)] {
    const PRIVATE: &[(IpAddr, u8)] = &[
        v4(10, 0, 0, 8),
        v4(172, 16, 0, 12),
        v4(192, 168, 0, 16),
        v4(100, 64, 0, 10),
        v6(0xfc00, 0, 7),
    ];
    const LOOPBACK: &[(IpAddr, u8)] = &[v4(127, 0, 0, 8), (IpAddr::V6(ONE), 128)];
    const LINK_LOCAL: &[(IpAddr, u8)] = &[v4(169, 254, 0, 16), v6(0xfe80, 0, 10)];
    const MULTICAST: &[(IpAddr, u8)] = &[v4(224, 0, 0, 4), v6(0xff00, 0, 8)];
    // RFC 6890 and the registries of IANA; 6to4's relays of RFC 7526; site-local of RFC 3879.
    const RESERVED: &[(IpAddr, u8)] = &[
        v4(0, 0, 0, 8),
        v4(192, 0, 0, 24),
        v4(192, 88, 99, 24),
        v4(240, 0, 0, 4),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128),
        v6(0x0100, 0, 64),
        v6(0xfec0, 0, 10),
    ];
    const DOCUMENTATION: &[(IpAddr, u8)] = &[
        v4(192, 0, 2, 24),
        v4(198, 51, 100, 24),
        v4(203, 0, 113, 24),
        v4(198, 18, 0, 15),
        v6(0x2001, 0x0db8, 32),
        v6(0x3fff, 0, 20),
    ];
    match kind {
        SkipKind::Private => PRIVATE,
        SkipKind::Loopback => LOOPBACK,
        SkipKind::LinkLocal => LINK_LOCAL,
        SkipKind::Multicast => MULTICAST,
        SkipKind::Reserved => RESERVED,
        SkipKind::Documentation => DOCUMENTATION,
        SkipKind::Own => &[],
    }
}

/// The ranges that are left out of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Skip {
    ranges: Vec<(Prefix, SkipKind)>,
}

impl Skip {
    pub(super) fn of(kinds: &[SkipKind]) -> Self {
        let of_kind = |kind: &SkipKind| {
            let kind = *kind;
            let made = ranges(kind).iter();
            made.filter_map(move |(addr, len)| Some((Prefix::new(*addr, *len)?, kind)))
        };
        Self {
            ranges: kinds.iter().flat_map(of_kind).collect(),
        }
    }

    /// What of a prefix is left out, and the rest of it; `None` where nothing is.
    pub(super) fn cut(&self, prefix: &Prefix) -> Option<(SkipKind, Vec<Prefix>)> {
        let meets = |range: &Prefix| range.covers(prefix) || prefix.covers(range);
        let met = self.ranges.iter().filter(|(range, _)| meets(range));
        let met: Vec<&(Prefix, SkipKind)> = met.collect();
        let (_, kind) = met.first()?;
        let ranges: Vec<Prefix> = met.iter().map(|(range, _)| *range).collect();
        Some((*kind, without(prefix, &ranges)))
    }
}

/// What is left of a prefix without some ranges, as prefixes in their order. Each range costs at
/// most as many prefixes as an address has bits.
pub(super) fn without(prefix: &Prefix, ranges: &[Prefix]) -> Vec<Prefix> {
    let mut kept = Vec::new();
    let mut open = vec![(*prefix, ranges.to_vec())];
    while let Some((part, ranges)) = open.pop() {
        let meets = |range: &&Prefix| part.covers(range) || range.covers(&part);
        let met: Vec<Prefix> = ranges.iter().filter(meets).copied().collect();
        if met.is_empty() {
            kept.push(part);
        } else if !met.iter().any(|range| range.covers(&part)) {
            let halves: Vec<Prefix> = part.overlapping(part.prefix_len() + 1).collect();
            open.extend(halves.into_iter().rev().map(|half| (half, met.clone())));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn cut(kinds: &[SkipKind], text: &str) -> Option<(SkipKind, Vec<String>)> {
        let (kind, rest) = Skip::of(kinds).cut(&prefix(text))?;
        Some((kind, rest.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn what_lies_within_a_kind_is_left_out_whole() {
        use SkipKind::{Documentation, LinkLocal, Loopback, Multicast, Private, Reserved};
        for (kind, text) in [
            (Private, "10.0.0.0/8"),
            (Private, "172.20.0.0/16"),
            (Private, "192.168.7.7"),
            (Private, "100.64.0.0/10"),
            (Private, "fd00::1"),
            (Loopback, "127.0.0.0/8"),
            (Loopback, "::1"),
            (LinkLocal, "169.254.0.0/16"),
            (LinkLocal, "fe80::/10"),
            (Multicast, "224.0.0.0/4"),
            (Multicast, "ff02::1"),
            (Reserved, "0.0.0.0/8"),
            (Reserved, "240.0.0.0/4"),
            (Reserved, "255.255.255.255"),
            (Documentation, "203.0.113.0/24"),
            (Documentation, "2001:db8::/32"),
        ] {
            assert_eq!(cut(&[kind], text), Some((kind, vec![])), "{text}");
            let others: Vec<SkipKind> = SkipKind::ALL
                .iter()
                .filter(|other| **other != kind)
                .copied()
                .collect();
            assert_eq!(cut(&others, text), None, "{text}");
        }
        assert_eq!(cut(SkipKind::ALL, "8.8.8.8"), None);
    }

    #[test]
    fn of_a_wider_entry_only_that_part_is_left_out() {
        use SkipKind::{Multicast, Private, Reserved};
        assert_eq!(
            cut(&[Multicast, Reserved], "224.0.0.0/3"),
            Some((Multicast, vec![]))
        );
        assert_eq!(
            cut(&[Multicast], "224.0.0.0/3"),
            Some((Multicast, vec!["240.0.0.0/4".into()]))
        );
        let (_, rest) = cut(&[Private], "192.168.0.0/14").unwrap();
        assert_eq!(rest, ["192.169.0.0/16", "192.170.0.0/15"]);
    }

    proptest! {
        #[test]
        fn the_rest_is_everything_but_the_ranges(
            low: u16, len in 16u8..=32,
            cuts in proptest::collection::vec((any::<u16>(), 16u8..=32), 0..6),
            probe: u16,
        ) {
            let of = |low: u16, len| Prefix::new(Ipv4Addr::from(0xc000_0000 | u32::from(low)).into(), len).unwrap();
            let whole = of(low, len);
            let cuts: Vec<Prefix> = cuts.into_iter().map(|(low, len)| of(low, len)).collect();
            let rest = without(&whole, &cuts);
            let probe = of(probe, 32).network();
            let wanted = whole.contains(probe) && !cuts.iter().any(|cut| cut.contains(probe));
            prop_assert_eq!(rest.iter().any(|part| part.contains(probe)), wanted);
        }
    }
}
