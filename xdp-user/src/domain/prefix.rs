//! Addresses and address prefixes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::serde_as_text;

/// An IPv4 or IPv6 prefix with its host bits clear. A single address is a prefix of full length.
///
/// IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2) become IPv4, so that one source has one
/// spelling. Sorted by family (IPv4 first), network, length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(IpNet);

/// A prefix's network address in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrBytes {
    V4([u8; 4]),
    V6([u8; 16]),
}

/// Why a text isn't a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    #[error(
        "not an IP address or prefix, write for example 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32"
    )]
    NotAnAddress,
    #[error("the prefix length is not a number from 0 to {max}")]
    BadLength { max: u8 },
    #[error("{given} has bits set after its prefix length, the network is {network}")]
    HostBits { given: IpNet, network: Prefix },
}

impl Prefix {
    /// The prefix of `len` bits around `addr`; `None` where `len` is longer than the address.
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        let net = IpNet::new(addr, len).ok()?;
        Some(Self(unmapped(net).trunc()))
    }

    /// One address as a prefix of full length.
    pub fn host(addr: IpAddr) -> Self {
        Self(IpNet::from(addr.to_canonical()))
    }

    /// Refuses host bits: `192.0.2.5/24` is more often a slip than a wish.
    pub fn parse_strict(text: &str) -> Result<Self, PrefixError> {
        let given = parse_net(text)?;
        let network = Self(given.trunc());
        if given == network.0 {
            Ok(network)
        } else {
            Err(PrefixError::HostBits { given, network })
        }
    }

    /// Clears host bits, and says whether there were any.
    pub fn parse_lenient(text: &str) -> Result<(Self, bool), PrefixError> {
        let given = parse_net(text)?;
        let network = given.trunc();
        Ok((Self(network), given != network))
    }

    /// The lowest address.
    pub fn network(&self) -> IpAddr {
        self.0.network()
    }

    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// 32 for IPv4, 128 for IPv6.
    pub fn max_prefix_len(&self) -> u8 {
        self.0.max_prefix_len()
    }

    /// One address, nothing wider.
    pub fn is_host(&self) -> bool {
        self.prefix_len() == self.max_prefix_len()
    }

    pub fn is_ipv4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// The prefix length of the widest IPv4 prefix that a list takes without force.
    pub const WIDEST_IPV4: u8 = 8;
    /// The same of IPv6.
    pub const WIDEST_IPV6: u8 = 16;

    /// The prefix length of the widest prefix of this family that a list takes without force.
    pub fn widest(&self) -> u8 {
        if self.is_ipv4() {
            Self::WIDEST_IPV4
        } else {
            Self::WIDEST_IPV6
        }
    }

    /// Whether it's wider than what a list takes without force.
    pub fn is_wide(&self) -> bool {
        self.prefix_len() < self.widest()
    }

    /// The network address, in the order it has on the wire.
    pub fn addr_bytes(&self) -> AddrBytes {
        match self.0 {
            IpNet::V4(net) => AddrBytes::V4(net.addr().octets()),
            IpNet::V6(net) => AddrBytes::V6(net.addr().octets()),
        }
    }

    pub fn contains(&self, addr: IpAddr) -> bool {
        self.0.contains(&addr.to_canonical())
    }

    /// Whether every address of `other` is one of `self`.
    pub fn covers(&self, other: &Prefix) -> bool {
        self.0.contains(&other.0)
    }

    /// The prefixes of one length that have an address in common with it: the one around it, itself
    /// or those that it is made of. None where the length is longer than an address.
    pub fn overlapping(&self, len: u8) -> impl Iterator<Item = Self> + use<> {
        let wider = len.min(self.prefix_len());
        let wider = IpNet::new(self.network(), wider).map(|net| net.trunc());
        let parts = wider.ok().and_then(|net| net.subnets(len).ok());
        parts.into_iter().flatten().map(Self)
    }

    pub fn as_ipnet(&self) -> IpNet {
        self.0
    }
}

fn parse_net(text: &str) -> Result<IpNet, PrefixError> {
    let (addr, len) = match text.split_once('/') {
        Some((addr, len)) => (addr, Some(len)),
        None => (text, None),
    };
    let addr: IpAddr = addr.parse().map_err(|_| PrefixError::NotAnAddress)?;
    let max = if addr.is_ipv4() { 32 } else { 128 };
    let len = match len {
        Some(len) => parse_len(len)
            .filter(|len| *len <= max)
            .ok_or(PrefixError::BadLength { max })?,
        None => max,
    };
    let net = IpNet::new(addr, len).map_err(|_| PrefixError::BadLength { max })?;
    Ok(unmapped(net))
}

/// Digits only: `u8::from_str` alone would take `+8`, and `024` is octal to some tools.
fn parse_len(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    (digits && !leading_zero).then(|| text.parse().ok())?
}

/// `::ffff:a.b.c.d/96+n` as `a.b.c.d/n`; wider than /96 it covers more than mapped addresses.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let (Some(addr), Some(len)) = (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96))
    else {
        return net;
    };
    Ipv4Net::new(addr, len).map_or(net, IpNet::V4)
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// The same as [`Prefix::parse_strict`].
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        Self::parse_strict(text)
    }
}

impl fmt::Display for Prefix {
    /// A single address without its length.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            out.pad(&self.network().to_string())
        } else {
            out.pad(&self.0.to_string())
        }
    }
}

impl From<IpAddr> for Prefix {
    fn from(addr: IpAddr) -> Self {
        Self::host(addr)
    }
}

impl From<Ipv4Addr> for Prefix {
    fn from(addr: Ipv4Addr) -> Self {
        Self::host(addr.into())
    }
}

impl From<Ipv6Addr> for Prefix {
    fn from(addr: Ipv6Addr) -> Self {
        Self::host(addr.into())
    }
}

impl From<IpNet> for Prefix {
    /// Clears host bits.
    fn from(net: IpNet) -> Self {
        Self(unmapped(net).trunc())
    }
}

impl From<Ipv4Net> for Prefix {
    fn from(net: Ipv4Net) -> Self {
        IpNet::V4(net).into()
    }
}

impl From<Ipv6Net> for Prefix {
    fn from(net: Ipv6Net) -> Self {
        IpNet::V6(net).into()
    }
}

serde_as_text!(Prefix, {
    "type": "string",
    "description": "An address, or a prefix with its length.",
    "anyOf": [
        { "format": "ipv4" },
        { "format": "ipv6" },
        { "pattern": "^(([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])[.]){3}0/([89]|1[0-9]|2[0-4])$" },
        { "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$" }
    ],
    "examples": ["192.0.2.7", "198.51.100.0/24", "2001:db8::/32"]
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_and_prefixes_are_read_and_written_the_same() {
        for text in [
            "192.0.2.1",
            "192.0.2.0/24",
            "2001:db8::/32",
            "2001:db8::1",
            "0.0.0.0/0",
            "::/0",
        ] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("192.0.2.1/32").to_string(), "192.0.2.1");
        assert!(prefix("192.0.2.1/32").is_host());
        assert!(!prefix("192.0.2.0/24").is_host());
    }

    #[test]
    fn host_bits_are_refused_strictly_and_cleared_leniently() {
        let refused = Prefix::parse_strict("192.0.2.5/24").unwrap_err();
        assert!(
            refused.to_string().contains("192.0.2.0/24"),
            "{refused} names the network"
        );
        assert_eq!(
            Prefix::parse_lenient("192.0.2.5/24"),
            Ok((prefix("192.0.2.0/24"), true))
        );
        assert_eq!(
            Prefix::parse_lenient("192.0.2.0/24"),
            Ok((prefix("192.0.2.0/24"), false))
        );
    }

    #[test]
    fn what_overlaps_is_around_it_itself_or_its_parts() {
        let of = |text: &str, len| -> Vec<String> {
            let overlapping = prefix(text).overlapping(len);
            overlapping.map(|prefix| prefix.to_string()).collect()
        };
        assert_eq!(of("192.0.2.128/25", 0), ["0.0.0.0/0"]);
        assert_eq!(of("192.0.2.128/25", 24), ["192.0.2.0/24"]);
        assert_eq!(of("192.0.2.128/25", 25), ["192.0.2.128/25"]);
        let parts = ["192.0.2.128/26", "192.0.2.192/26"];
        assert_eq!(of("192.0.2.128/25", 26), parts);
        assert_eq!(of("192.0.2.128/25", 32).len(), 128);
        assert!(of("192.0.2.128/25", 33).is_empty());
        assert_eq!(of("2001:db8::/32", 16), ["2001::/16"]);
        let parts = ["2001:db8::/33", "2001:db8:8000::/33"];
        assert_eq!(of("2001:db8::/32", 33), parts);
        assert!(of("::/0", 129).is_empty());
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        assert_eq!(prefix("::ffff:192.0.2.1"), prefix("192.0.2.1"));
        assert_eq!(prefix("::ffff:192.0.2.0/120"), prefix("192.0.2.0/24"));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(Prefix::host(mapped), prefix("192.0.2.1"));
        assert_eq!(Prefix::new(mapped, 120), Some(prefix("192.0.2.0/24")));
        assert!(prefix("192.0.2.0/24").contains(mapped));
        assert!(!prefix("::/0").is_ipv4());
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "/",
            "1.2.3",
            "1.2.3.4.5",
            "010.0.0.1",
            "fe80::1%eth0",
            "host",
            " ::1",
        ] {
            assert_eq!(
                Prefix::parse_strict(text),
                Err(PrefixError::NotAnAddress),
                "{text}"
            );
        }
        for text in [
            "1.2.3.4/",
            "1.2.3.4/33",
            "1.2.3.4/+8",
            "1.2.3.4/08",
            "1.2.3.4/-1",
            "1.2.3.4/8/8",
        ] {
            assert_eq!(
                Prefix::parse_strict(text),
                Err(PrefixError::BadLength { max: 32 }),
                "{text}"
            );
        }
        assert_eq!(
            Prefix::parse_strict("::1/129"),
            Err(PrefixError::BadLength { max: 128 })
        );
    }

    #[test]
    fn bytes_are_in_network_order() {
        assert_eq!(
            prefix("192.0.2.0/24").addr_bytes(),
            AddrBytes::V4([192, 0, 2, 0])
        );
        let AddrBytes::V6(bytes) = prefix("2001:db8::/32").addr_bytes() else {
            panic!("an IPv6 prefix has 16 bytes");
        };
        assert_eq!(bytes[..5], [0x20, 0x01, 0x0d, 0xb8, 0]);
    }

    #[test]
    fn covering_is_by_family_and_bits() {
        assert!(prefix("192.0.2.0/24").covers(&prefix("192.0.2.128/25")));
        assert!(!prefix("192.0.2.128/25").covers(&prefix("192.0.2.0/24")));
        assert!(!prefix("::/0").covers(&prefix("192.0.2.0/24")));
    }

    #[test]
    fn serde_uses_the_text() {
        let json = serde_json::to_string(&prefix("192.0.2.0/24")).unwrap();
        assert_eq!(json, "\"192.0.2.0/24\"");
        assert_eq!(
            serde_json::from_str::<Prefix>(&json).unwrap(),
            prefix("192.0.2.0/24")
        );
        serde_json::from_str::<Prefix>("\"192.0.2.5/24\"").unwrap_err();
    }

    proptest! {
        #[test]
        fn every_prefix_round_trips(bits: u128, v4: bool, len in 0u8..=128) {
            let addr: IpAddr = if v4 {
                Ipv4Addr::from(bits as u32).into()
            } else {
                Ipv6Addr::from(bits).into()
            };
            let len = if v4 { len % 33 } else { len };
            let made = Prefix::new(addr, len).unwrap();
            prop_assert_eq!(made.to_string().parse::<Prefix>(), Ok(made));
            prop_assert!(made.contains(addr));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            if let Ok(read) = Prefix::parse_strict(&text) {
                prop_assert_eq!(Prefix::parse_lenient(&text), Ok((read, false)));
            }
        }
    }
}
