//! The lists that are loaded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::abi::scattered;
use super::super::cases::Family;
use xdp_user::datapath::NewEntry;
use xdp_user::domain::Prefix;

/// One of two lists that have no prefix in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    First,
    Second,
}

/// Networks that a list's entries are spread over, IPv4 /16 and IPv6 /32: no two prefixes of one
/// length are in the same, and the last ones have no entry at all.
const NETWORKS: usize = 31_250;
const NETWORK_BITS: u32 = 15;

/// Lengths of the listed prefixes, in turn.
const LENGTHS_V4: [u8; 2] = [16, 31];
const LENGTHS_V6: [u8; 2] = [32, 63];

/// Half hosts, half prefixes of mixed lengths.
pub(super) fn prefixes(family: Family, side: Side, count: usize) -> Vec<NewEntry> {
    let entry = |n: usize| NewEntry {
        prefix: if n.is_multiple_of(2) {
            host(family, side, n / 2)
        } else {
            network(family, side, n / 2)
        },
        expires_ns: 0,
        list: 0,
    };
    (0..count).map(entry).collect()
}

fn host(family: Family, side: Side, n: usize) -> Prefix {
    Prefix::host(address(family, side, n % NETWORKS, n))
}

fn network(family: Family, side: Side, n: usize) -> Prefix {
    let [shortest, longest] = match family {
        Family::Ipv4 => LENGTHS_V4,
        Family::Ipv6 => LENGTHS_V6,
    };
    let lengths = usize::from(longest - shortest) + 1;
    let length = u8::try_from(n % lengths).map_or(shortest, |more| shortest + more);
    let address = address(family, side, n / lengths, n);
    Prefix::new(address, length).unwrap_or(Prefix::host(address))
}

/// In the list's network with this number; the rest is scattered by `n`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "numbers of a few bits, and lower halves on purpose"
)]
fn address(family: Family, side: Side, network: usize, n: usize) -> IpAddr {
    let network = scattered(network as u64, NETWORK_BITS) as u32;
    let side = u32::from(side == Side::Second);
    let rest = scattered(n as u64, 32);
    match family {
        Family::Ipv4 => {
            let network = side << NETWORK_BITS | network;
            // Sixteen hosts of a network differ.
            let rest = (rest as u32 & 0xfff0) | (n / NETWORKS) as u32 & 15;
            Ipv4Addr::from(network << 16 | rest).into()
        }
        Family::Ipv6 => {
            let high = u64::from(0x2a00_0000 | side << 24 | network) << 32 | rest;
            Ipv6Addr::from(u128::from(high) << 64 | u128::from(rest)).into()
        }
    }
}

/// An address that no entry of the list covers.
pub(super) fn unlisted(family: Family, side: Side) -> IpAddr {
    address(family, side, (1 << NETWORK_BITS) - 1, 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_prefix_is_there_twice_and_none_covers_what_is_unlisted() {
        const COUNT: usize = 1_000_000;
        for family in Family::ALL {
            let mut all = HashSet::new();
            for side in [Side::First, Side::Second] {
                let entries = prefixes(family, side, COUNT);
                all.extend(entries.iter().map(|entry| entry.prefix));
                let hosts = entries.iter().filter(|entry| entry.prefix.is_host());
                assert_eq!(hosts.count(), COUNT / 2);
                let free = [Side::First, Side::Second].map(|side| unlisted(family, side));
                let covers =
                    |entry: &&NewEntry| free.iter().any(|free| entry.prefix.contains(*free));
                assert_eq!(entries.iter().find(covers), None);
            }
            assert_eq!(all.len(), 2 * COUNT, "{family:?}");
        }
    }
}
