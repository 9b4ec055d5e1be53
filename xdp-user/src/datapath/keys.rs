//! Between domain types and what crosses the border.

use std::net::IpAddr;

use xdp_common::abi::{FAMILY_IPV4, FAMILY_IPV6, Plain, SourceKey};

use crate::domain::Prefix;

/// The source of a key as a prefix; nothing when the key is none of ours.
pub fn decode_source(key: &SourceKey) -> Option<Prefix> {
    let [a, b, c, d, ..] = key.addr;
    let address = match key.family {
        FAMILY_IPV4 => IpAddr::from([a, b, c, d]),
        FAMILY_IPV6 => IpAddr::from(key.addr),
        _ => return None,
    };
    Prefix::new(address, key.prefix_len)
}

/// The key of a source.
pub fn source_to_abi(source: &Prefix) -> SourceKey {
    let (addr, family) = match source.network() {
        IpAddr::V4(a) => {
            let mut addr = [0; 16];
            let [b0, b1, b2, b3] = a.octets();
            addr[..4].copy_from_slice(&[b0, b1, b2, b3]);
            (addr, FAMILY_IPV4)
        }
        IpAddr::V6(a) => (a.octets(), FAMILY_IPV6),
    };
    SourceKey {
        addr,
        family,
        prefix_len: source.prefix_len(),
        ..SourceKey::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_survives_the_border() {
        for text in [
            "192.0.2.7/32",
            "198.51.100.0/24",
            "2001:db8:1:2::/64",
            "::/0",
        ] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(decode_source(&source_to_abi(&prefix)), Some(prefix));
        }
        assert_eq!(decode_source(&SourceKey::ZERO), None);
    }
}
