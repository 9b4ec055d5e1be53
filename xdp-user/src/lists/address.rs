//! One address, prefix or range as a word, in every notation that lists use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::refused::RefusalReason;
use crate::domain::{Prefix, PrefixError};

/// Longer words are no addresses: two of the longest make a range.
const LONGEST: usize = 100;

/// What a word holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Prefix {
        prefix: Prefix,
        /// Whether host bits were cleared.
        cleared: bool,
    },
    /// A range, written as prefixes: at most 62 of IPv4, 254 of IPv6.
    Range(Vec<Prefix>),
}

impl Address {
    /// Its prefixes, each with whether host bits were cleared.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = (Prefix, bool)> {
        let (one, many) = match self {
            Self::Prefix { prefix, cleared } => (Some((*prefix, *cleared)), &[][..]),
            Self::Range(prefixes) => (None, &prefixes[..]),
        };
        one.into_iter()
            .chain(many.iter().map(|prefix| (*prefix, false)))
    }
}

/// Reads `192.0.2.1`, `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `192.0.2.*`, `192.0.2.1-192.0.2.9`,
/// `192.0.2.1-9`, and IPv6 likewise, with brackets or without.
pub(super) fn parse(word: &str) -> Result<Address, RefusalReason> {
    // Almost every line of a list ends here.
    match Prefix::parse_lenient(word) {
        Ok((prefix, cleared)) => return Ok(Address::Prefix { prefix, cleared }),
        Err(PrefixError::NotAnAddress | PrefixError::HostBits { .. }) => {}
        Err(PrefixError::BadLength { .. }) => {
            return mask(word).ok_or(RefusalReason::BadPrefixLength)?;
        }
    }
    if word.len() > LONGEST {
        return Err(RefusalReason::NotAnAddress);
    }
    if let Some((first, last)) = word.split_once('-') {
        return range_of(first.trim(), last.trim());
    }
    if let Some(rest) = word.strip_prefix('[') {
        return bracketed(rest);
    }
    wildcard(word).ok_or(RefusalReason::NotAnAddress)
}

/// Whether a word is an address, a prefix or a range, whatever else may be wrong with it.
pub(super) fn looks_like_one(word: &str) -> bool {
    // A word of a comment may well be `::`.
    if word.len() > LONGEST || !word.contains(['.', ':']) || word == "::" {
        return false;
    }
    match parse(word) {
        Ok(_) => true,
        Err(RefusalReason::BadPrefixLength | RefusalReason::BadRange) => true,
        Err(_) => false,
    }
}

/// The range from one address to another.
pub(super) fn range(first: IpAddr, last: IpAddr) -> Result<Address, RefusalReason> {
    let nets: Vec<IpNet> = match (first.to_canonical(), last.to_canonical()) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => return Err(RefusalReason::BadRange),
    };
    match nets.as_slice() {
        [net] => Ok(Address::Prefix {
            prefix: Prefix::from(*net),
            cleared: false,
        }),
        _several => Ok(Address::Range(nets.into_iter().map(Prefix::from).collect())),
    }
}

/// `first` and `last` as words. The last may be a number that takes the place of the last octet.
pub(super) fn range_of(first: &str, last: &str) -> Result<Address, RefusalReason> {
    let first: IpAddr = first.parse().map_err(|_| RefusalReason::NotAnAddress)?;
    if let (IpAddr::V4(addr), Some(octet)) = (first, decimal(last)) {
        let [a, b, c, _] = addr.octets();
        return range(first, Ipv4Addr::new(a, b, c, octet).into());
    }
    let last = last.parse().map_err(|_| RefusalReason::NotAnAddress)?;
    range(first, last)
}

/// A number from 0 to 255 without a sign.
fn decimal(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && text.len() <= 3).then(|| text.parse().ok())?
}

/// `192.0.2.0/255.255.255.0`, and `192.0.2.0/0.0.0.255` as routers write it.
fn mask(word: &str) -> Option<Result<Address, RefusalReason>> {
    let (addr, mask) = word.split_once('/')?;
    let (addr, mask): (IpAddr, IpAddr) = (addr.parse().ok()?, mask.parse().ok()?);
    Some(masked(addr, mask).ok_or(RefusalReason::BadPrefixLength))
}

/// An address and a mask: the prefix, unless the mask has gaps.
pub(super) fn masked(addr: IpAddr, mask: IpAddr) -> Option<Address> {
    let len = match (addr, mask) {
        (IpAddr::V4(_), IpAddr::V4(mask)) => mask_len(u128::from(u32::from(mask)) << 96, 32),
        (IpAddr::V6(_), IpAddr::V6(mask)) => mask_len(mask.into(), 128),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
    }?;
    let prefix = Prefix::new(addr, len)?;
    Some(Address::Prefix {
        prefix,
        cleared: prefix.network() != addr.to_canonical(),
    })
}

/// The prefix length of a mask, or of a mask of host bits; `mask` stands in the upper `bits`.
fn mask_len(mask: u128, bits: u8) -> Option<u8> {
    let all = u128::MAX << (128 - u32::from(bits));
    let ones = mask.leading_ones().min(u32::from(bits));
    if mask == high_bits(ones) & all {
        return u8::try_from(ones).ok();
    }
    let zeros = mask.leading_zeros();
    let is_host_mask = mask == !high_bits(zeros) & all;
    is_host_mask.then(|| u8::try_from(zeros).ok())?
}

fn high_bits(count: u32) -> u128 {
    u128::MAX
        .checked_shl(128u32.saturating_sub(count))
        .unwrap_or(0)
}

/// Whether an address can only be a mask: none of these is a packet's source.
pub(super) fn is_mask(addr: IpAddr) -> bool {
    let IpAddr::V4(mask) = addr else { return false };
    let [first, ..] = mask.octets();
    (first == 255 || first == 0) && mask_len(u128::from(u32::from(mask)) << 96, 32).is_some()
}

/// `2001:db8::1]` or `2001:db8::]/32`, as hosts_access(5) has them.
fn bracketed(rest: &str) -> Result<Address, RefusalReason> {
    let (addr, after) = rest.split_once(']').ok_or(RefusalReason::NotAnAddress)?;
    addr.parse::<Ipv6Addr>()
        .map_err(|_| RefusalReason::NotAnAddress)?;
    match after.is_empty() || after.starts_with('/') {
        true => parse(&format!("{addr}{after}")),
        false => Err(RefusalReason::NotAnAddress),
    }
}

/// `192.0.2.*`, `192.0.*.*`, `192.0.*`.
fn wildcard(word: &str) -> Option<Address> {
    let fixed = word.trim_end_matches(".*");
    let stars = (word.len() - fixed.len()) / 2;
    let octets: Vec<u8> = fixed.split('.').map(octet).collect::<Option<_>>()?;
    let known = octets.len();
    if stars == 0 || known == 0 || known + stars > 4 {
        return None;
    }
    start_of(&octets)
}

/// The prefix of the first octets of an IPv4 address.
pub(super) fn start_of(octets: &[u8]) -> Option<Address> {
    let mut all = [0; 4];
    let known = all.get_mut(..octets.len())?;
    known.copy_from_slice(octets);
    let len = u8::try_from(octets.len() * 8).ok()?;
    Some(Address::Prefix {
        prefix: Prefix::new(Ipv4Addr::from(all).into(), len)?,
        cleared: false,
    })
}

/// An octet as it is written everywhere: without a zero before it, which some tools take for octal.
pub(super) fn octet(text: &str) -> Option<u8> {
    let padded = text.len() > 1 && text.starts_with('0');
    (!padded && !text.is_empty()).then(|| decimal(text))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(word: &str) -> Result<Vec<String>, RefusalReason> {
        let address = parse(word)?;
        Ok(address.prefixes().map(|(p, _)| p.to_string()).collect())
    }

    #[test]
    fn every_notation_of_an_address_is_read() {
        for (word, wanted) in [
            ("192.0.2.1", &["192.0.2.1"][..]),
            ("192.0.2.77/24", &["192.0.2.0/24"]),
            ("192.0.2.0/255.255.255.0", &["192.0.2.0/24"]),
            ("192.0.2.0/0.0.0.255", &["192.0.2.0/24"]),
            ("192.0.2.1/255.255.255.255", &["192.0.2.1"]),
            ("2001:db8::/ffff:ffff::", &["2001:db8::/32"]),
            ("192.0.2.*", &["192.0.2.0/24"]),
            ("172.16.*.*", &["172.16.0.0/16"]),
            ("172.16.*", &["172.16.0.0/16"]),
            ("192.0.2.4-192.0.2.6", &["192.0.2.4/31", "192.0.2.6"]),
            ("192.0.2.4-6", &["192.0.2.4/31", "192.0.2.6"]),
            ("192.0.2.4 - 192.0.2.7", &["192.0.2.4/30"]),
            ("192.0.2.4-192.0.2.4", &["192.0.2.4"]),
            (
                "2001:db8::2-2001:db8::4",
                &["2001:db8::2/127", "2001:db8::4"],
            ),
            ("::ffff:192.0.2.2-::ffff:192.0.2.3", &["192.0.2.2/31"]),
            ("[2001:db8::1]", &["2001:db8::1"]),
            ("[2001:db8::]/32", &["2001:db8::/32"]),
        ] {
            let wanted = wanted.iter().map(ToString::to_string).collect();
            assert_eq!(read(word), Ok(wanted), "{word}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_is_wrong() {
        use RefusalReason::{BadPrefixLength, BadRange, NotAnAddress};
        for (word, reason) in [
            ("", NotAnAddress),
            ("host", NotAnAddress),
            ("10/8", NotAnAddress),
            ("010.0.0.1", NotAnAddress),
            ("192.0.2.1:80", NotAnAddress),
            ("[2001:db8::1]:80", NotAnAddress),
            ("[192.0.2.1]", NotAnAddress),
            ("192.0.2", NotAnAddress),
            ("192.0.2.", NotAnAddress),
            ("*", NotAnAddress),
            ("*.*.*.*", NotAnAddress),
            ("192.*.2.*", NotAnAddress),
            ("192.0.2.1.*", NotAnAddress),
            ("192.0.02.*", NotAnAddress),
            ("192.0.2.0/33", BadPrefixLength),
            ("192.0.2.0/255.0.255.0", BadPrefixLength),
            ("192.0.2.0/ffff::", BadPrefixLength),
            ("192.0.2.9-192.0.2.1", BadRange),
            ("192.0.2.9-1", BadRange),
            ("192.0.2.9-256", NotAnAddress),
            ("192.0.2.9-2001:db8::1", BadRange),
            ("192.0.2.1-", NotAnAddress),
            ("-192.0.2.1", NotAnAddress),
            ("fe80::1%eth0", NotAnAddress),
        ] {
            assert_eq!(read(word), Err(reason), "{word}");
        }
        assert_eq!(read(&"1".repeat(5000)), Err(NotAnAddress));
    }

    #[test]
    fn masks_are_told_from_addresses() {
        for (mask, is_one) in [
            ("255.255.255.0", true),
            ("255.0.0.0", true),
            ("255.255.255.255", true),
            ("0.0.0.255", true),
            ("192.0.2.0", false),
            ("255.0.255.0", false),
            ("128.0.0.0", false),
        ] {
            assert_eq!(is_mask(mask.parse().unwrap()), is_one, "{mask}");
        }
    }

    proptest! {
        #[test]
        fn a_range_is_its_addresses_and_no_others(a: u32, b: u32, other: u32) {
            let (first, last) = (a.min(b), a.max(b));
            let word = format!("{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(last));
            let address = parse(&word).unwrap();
            let holds = |addr: u32| {
                let addr = IpAddr::from(Ipv4Addr::from(addr));
                address.prefixes().any(|(prefix, _)| prefix.contains(addr))
            };
            prop_assert!(address.prefixes().count() <= 62);
            prop_assert!(holds(first) && holds(last));
            prop_assert_eq!(holds(other), (first..=last).contains(&other));
        }

        #[test]
        fn a_mask_is_its_prefix_length(addr: u32, len in 0u8..=32) {
            let prefix = Prefix::new(Ipv4Addr::from(addr).into(), len).unwrap();
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            let word = format!("{}/{}", Ipv4Addr::from(addr), Ipv4Addr::from(mask));
            let read = parse(&word).unwrap();
            prop_assert_eq!(read.prefixes().next().unwrap().0, prefix);
        }

        #[test]
        fn any_word_is_read_or_refused(word in "\\PC{0,120}") {
            if let Ok(address) = parse(&word) {
                prop_assert!(address.prefixes().count() >= 1);
            }
            looks_like_one(&word);
        }
    }
}
