//! What isn't judged because it is no IP packet: counted by kind.

/// What a frame carries that isn't IP: a closed list, whose numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum NotIpKind {
    /// None of the others; [`NotIp::others`] tells some of them by their EtherType.
    Other = 0,
    /// ARP (RFC 826).
    Arp = 1,
    /// Reverse ARP (RFC 903).
    Rarp = 2,
    /// MPLS, to one or to many (RFC 3032, RFC 5332).
    Mpls = 3,
    /// PPPoE, discovery of a session (RFC 2516).
    PppoeDiscovery = 4,
    /// PPPoE, what a session carries besides IP, such as LCP.
    PppoeControl = 5,
    /// Link layer discovery, IEEE 802.1AB.
    Lldp = 6,
    /// Slow protocols, as LACP is (IEEE 802.3, annex 57A).
    Slow = 7,
    /// Authentication at a port, IEEE 802.1X.
    Eapol = 8,
    /// Encrypted on the link, IEEE 802.1AE.
    Macsec = 9,
    /// Precise time, IEEE 1588.
    Ptp = 10,
    /// A length in the EtherType's place, IEEE 802.2: spanning tree, IS-IS.
    Llc = 11,
    /// No IP where an interface without an Ethernet header has it.
    NoHeader = 12,
}

impl NotIpKind {
    /// Every kind, by number.
    pub const ALL: &'static [Self] = &[
        Self::Other,
        Self::Arp,
        Self::Rarp,
        Self::Mpls,
        Self::PppoeDiscovery,
        Self::PppoeControl,
        Self::Lldp,
        Self::Slow,
        Self::Eapol,
        Self::Macsec,
        Self::Ptp,
        Self::Llc,
        Self::NoHeader,
    ];

    /// Room for kinds in [`NotIp`].
    pub const SLOTS: usize = 16;

    /// The kind of an EtherType, or of a length in its place.
    #[inline(always)]
    pub const fn of(ether_type: u16) -> Self {
        match ether_type {
            0x0806 => Self::Arp,
            0x8035 => Self::Rarp,
            0x8847 | 0x8848 => Self::Mpls,
            0x8863 => Self::PppoeDiscovery,
            0x8864 => Self::PppoeControl,
            0x88cc => Self::Lldp,
            0x8809 => Self::Slow,
            0x888e => Self::Eapol,
            0x88e5 => Self::Macsec,
            0x88f7 => Self::Ptp,
            // IEEE 802.3, clause 3.2.6.
            0..=0x05ff => Self::Llc,
            _ => Self::Other,
        }
    }

    /// The number that crosses the border.
    #[inline(always)]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The name in metrics and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Arp => "arp",
            Self::Rarp => "rarp",
            Self::Mpls => "mpls",
            Self::PppoeDiscovery => "pppoe_discovery",
            Self::PppoeControl => "pppoe_control",
            Self::Lldp => "lldp",
            Self::Slow => "slow_protocols",
            Self::Eapol => "eapol",
            Self::Macsec => "macsec",
            Self::Ptp => "ptp",
            Self::Llc => "llc",
            Self::NoHeader => "no_header",
        }
    }
}

/// EtherTypes without a kind of their own that are told apart, on each CPU.
pub const OTHER_ETHER_TYPES: usize = 16;
/// An EtherType is above so many bits of how often it came.
const TYPE_SHIFT: u32 = 48;

abi_struct! {
    /// Packets that weren't judged, by kind.
    pub struct NotIp: 256 {
        /// By [`NotIpKind`]; of [`NotIpKind::Other`] those that `others` has no room for.
        kinds: [u64; 16],
        /// EtherTypes without a kind of their own, each above how often it came. 0 where
        /// there is none yet.
        others: [u64; 16],
    }
}

const _: () = assert!(NotIpKind::ALL.len() <= NotIpKind::SLOTS);

impl NotIp {
    /// Counts a frame with this EtherType, which isn't IP's.
    #[inline(always)]
    pub fn note(&mut self, ether_type: u16) {
        let kind = NotIpKind::of(ether_type);
        if kind as u8 == NotIpKind::Other as u8 {
            for word in &mut self.others {
                if *word == 0 || *word >> TYPE_SHIFT == ether_type as u64 {
                    *word = ((ether_type as u64) << TYPE_SHIFT) | word.wrapping_add(1);
                    return;
                }
            }
        }
        self.note_kind(kind);
    }

    /// Counts one of a kind.
    #[inline(always)]
    pub fn note_kind(&mut self, kind: NotIpKind) {
        if let Some(count) = self.kinds.get_mut(kind as usize) {
            *count = count.wrapping_add(1);
        }
    }

    /// Each kind and how often it came, without [`Self::others`].
    pub fn kinds(&self) -> impl Iterator<Item = (NotIpKind, u64)> {
        let counted = NotIpKind::ALL.iter().zip(&self.kinds);
        counted.map(|(kind, count)| (*kind, *count))
    }

    /// EtherTypes without a kind of their own, and how often each came.
    pub fn others(&self) -> impl Iterator<Item = (u16, u64)> {
        self.others.iter().filter_map(|word| Self::read(*word))
    }

    const fn read(word: u64) -> Option<(u16, u64)> {
        #[allow(clippy::cast_possible_truncation, reason = "16 bits are left")]
        let ether_type = (word >> TYPE_SHIFT) as u16;
        match word {
            0 => None,
            _ => Some((ether_type, word & ((1 << TYPE_SHIFT) - 1))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Plain as _;

    #[test]
    fn each_kind_is_counted_under_its_number_and_named_once() {
        let mut counts = NotIp::ZERO;
        for ether_type in [0x0806, 0x8847, 0x8848, 0x88cc, 38, 0x05ff] {
            counts.note(ether_type);
        }
        assert_eq!(counts.kinds[NotIpKind::Arp as usize], 1);
        assert_eq!(counts.kinds[NotIpKind::Mpls as usize], 2);
        assert_eq!(counts.kinds[NotIpKind::Llc as usize], 2);
        assert_eq!(counts.others, [0; 16]);
        for (number, kind) in NotIpKind::ALL.iter().enumerate() {
            assert_eq!(usize::from(kind.code()), number, "{kind:?}");
            let same = NotIpKind::ALL.iter().filter(|k| k.name() == kind.name());
            assert_eq!(same.count(), 1, "{kind:?}");
        }
    }

    #[test]
    fn sixteen_other_ether_types_are_told_apart_and_the_rest_counted_together() {
        let mut counts = NotIp::ZERO;
        for round in 1..=3_u64 {
            for ether_type in 0x9000..0x9014 {
                counts.note(ether_type);
            }
            let told: Vec<_> = counts
                .others
                .iter()
                .filter_map(|w| NotIp::read(*w))
                .collect();
            let expected: Vec<_> = (0x9000..0x9010).map(|kind| (kind, round)).collect();
            assert_eq!(told, expected);
            assert_eq!(counts.kinds[NotIpKind::Other as usize], 4 * round);
        }
        assert_eq!(NotIp::read(0), None);
    }
}
