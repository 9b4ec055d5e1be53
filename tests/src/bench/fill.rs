//! Fills the lists and bans of the program and of the references with the same entries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData};
use ipnet::IpNet;
use xdp_common::abi::{Ban, Plain};

use super::abi::{Listed, Rules};
use super::cases::{Family, Pool, prefix_len};
use super::filter::Filter;
use super::plan::Size;
use super::stand::{allowed, take};
use crate::kernel::{Kernel, boot_ns};
use crate::netns::Namespace;
use xdp_user::api::types::ListKind;
use xdp_user::datapath::{Datapath as _, NewEntry};
use xdp_user::domain::Prefix;

// SAFETY: `repr(C)`, words only, no padding.
unsafe impl aya::Pod for Listed {}

/// A prefix with limits of its own, so that the look-up for them takes place; no source is in it.
pub(super) const OVERRIDE: &str = "192.0.2.0/24";

/// Banned sources of each family: as many as a case may ask for.
fn banned(size: Size) -> u32 {
    size.slots.min(100_000)
}

/// Longer than any run.
const BAN_NS: u64 = 1 << 50;

/// Names of a reference's lists.
pub(super) struct Names {
    allow: [&'static str; 2],
    block: [&'static str; 2],
}

pub(super) const TRIES: Names = Names {
    allow: ["LPM_ALLOW_V4", "LPM_ALLOW_V6"],
    block: ["LPM_BLOCK_V4", "LPM_BLOCK_V6"],
};
pub(super) const HASHES: Names = Names {
    allow: ["HASH_ALLOW_V4", "HASH_ALLOW_V6"],
    block: ["HASH_BLOCK_V4", "HASH_BLOCK_V6"],
};

impl Names {
    pub(super) fn allowed(&self, family: Family) -> &'static str {
        self.allow[family as usize]
    }

    pub(super) fn blocked(&self, family: Family) -> &'static str {
        self.block[family as usize]
    }
}

/// Fills the real program's tables.
pub(super) fn program(kernel: &mut Kernel, size: Size) -> Result<()> {
    for family in Family::ALL {
        let allow = hosts(Pool::AllowedHosts, family, allowed(size.listed));
        list(kernel, ListKind::Allow, allow)?;
        list(kernel, ListKind::Block, blocked(family, size))?;
        let until_ns = boot_ns()? + BAN_NS;
        for source in hosts(Pool::Banned, family, banned(size)) {
            let ban = Ban {
                until_ns,
                ..Ban::ZERO
            };
            kernel.ban(as_source(source)?, ban)?;
        }
    }
    Ok(())
}

/// Stores entries as an import does.
fn list(kernel: &mut Kernel, kind: ListKind, entries: impl Iterator<Item = IpNet>) -> Result<()> {
    let entry = |net: IpNet| {
        let prefix = Prefix::new(net.addr(), net.prefix_len());
        Some(NewEntry {
            prefix: prefix?,
            expires_ns: 0,
            list: 0,
        })
    };
    let entries: Vec<NewEntry> = entries.filter_map(entry).collect();
    let refused = kernel.datapath().change_entries(kind, &entries, &[]);
    match refused.into_iter().next() {
        Some((prefix, error)) => Err(error).with_context(|| format!("listing {prefix}")),
        None => Ok(()),
    }
}

/// Fills the references' tables.
pub(super) fn references(ebpf: &mut Ebpf, size: Size) -> Result<()> {
    let mut bans: HashMap<MapData, [u8; 16], u64> = take(ebpf, "REF_BANS")?;
    let until_ns = boot_ns()? + BAN_NS;
    for family in Family::ALL {
        let allow: Vec<IpNet> = hosts(Pool::AllowedHosts, family, allowed(size.listed)).collect();
        let block: Vec<IpNet> = blocked(family, size).collect();
        // Whole addresses only: as many of them as the other list has entries.
        let block_hosts: Vec<IpNet> = hosts(Pool::BlockedHosts, family, size.listed).collect();
        fill_trie(ebpf, TRIES.allowed(family), family, &allow)?;
        fill_trie(ebpf, TRIES.blocked(family), family, &block)?;
        fill_hash(ebpf, HASHES.allowed(family), family, &allow)?;
        fill_hash(ebpf, HASHES.blocked(family), family, &block_hosts)?;
        for source in hosts(Pool::Banned, family, banned(size)) {
            bans.insert(reference_key(source), until_ns, 0)?;
        }
    }
    let mut rules: LpmTrie<MapData, [u8; 4], Rules> = take(ebpf, "RULES_V4")?;
    let own: ipnet::Ipv4Net = OVERRIDE.parse()?;
    let key = Key::new(own.prefix_len().into(), own.addr().octets());
    Ok(rules.insert(&key, Rules::default(), 0)?)
}

/// xdp-filter with as many whole addresses as the other lists have entries; nothing where it isn't
/// installed.
pub(super) fn filter(size: Size) -> Result<Option<Filter>> {
    let namespace = Namespace::new("filter")?;
    let Ok(mut filter) = Filter::load(&namespace, size.listed.max(16)) else {
        return Ok(None);
    };
    for family in Family::ALL {
        for host in hosts(Pool::BlockedHosts, family, size.listed) {
            match host.addr() {
                IpAddr::V4(address) => filter.deny_v4(address)?,
                IpAddr::V6(address) => filter.deny_v6(address)?,
            }
        }
    }
    Ok(Some(filter))
}

fn fill_trie(ebpf: &mut Ebpf, name: &str, family: Family, entries: &[IpNet]) -> Result<()> {
    match family {
        Family::Ipv4 => {
            let mut trie: LpmTrie<MapData, [u8; 4], Listed> = take(ebpf, name)?;
            for entry in entries {
                let key = Key::new(entry.prefix_len().into(), octets(entry.addr()));
                trie.insert(&key, Listed::default(), 0)?;
            }
        }
        Family::Ipv6 => {
            let mut trie: LpmTrie<MapData, [u8; 16], Listed> = take(ebpf, name)?;
            for entry in entries {
                let key = Key::new(entry.prefix_len().into(), octets(entry.addr()));
                trie.insert(&key, Listed::default(), 0)?;
            }
        }
    }
    Ok(())
}

fn fill_hash(ebpf: &mut Ebpf, name: &str, family: Family, entries: &[IpNet]) -> Result<()> {
    match family {
        Family::Ipv4 => {
            let mut hash: HashMap<MapData, [u8; 4], Listed> = take(ebpf, name)?;
            for entry in entries {
                hash.insert(octets::<4>(entry.addr()), Listed::default(), 0)?;
            }
        }
        Family::Ipv6 => {
            let mut hash: HashMap<MapData, [u8; 16], Listed> = take(ebpf, name)?;
            for entry in entries {
                hash.insert(octets::<16>(entry.addr()), Listed::default(), 0)?;
            }
        }
    }
    Ok(())
}

/// The blocklist: the first half addresses, the second half prefixes of mixed lengths.
fn blocked(family: Family, size: Size) -> impl Iterator<Item = IpNet> {
    let half = size.listed / 2;
    hosts(Pool::BlockedHosts, family, half).chain(prefixes(family, half))
}

fn hosts(pool: Pool, family: Family, count: u32) -> impl Iterator<Item = IpNet> {
    let aim = pool.aim(family, count.into());
    (0..u64::from(count)).map(move |n| address(family, aim.address(aim.first + n)).into())
}

fn prefixes(family: Family, count: u32) -> impl Iterator<Item = IpNet> {
    let aim = Pool::BlockedPrefixes.aim(family, count.into());
    (0..u64::from(count)).filter_map(move |n| {
        let address = address(family, aim.address(aim.first + n));
        let prefix = IpNet::new(address, prefix_len(family, n));
        prefix.ok().map(|prefix| prefix.trunc())
    })
}

/// The address that the driver writes for such a number.
#[allow(
    clippy::cast_possible_truncation,
    reason = "an IPv4 address is in the lower half"
)]
fn address(family: Family, number: u64) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::from(number as u32).into(),
        Family::Ipv6 => Ipv6Addr::from(u128::from(number) << 64 | 1).into(),
    }
}

/// What the address counts as for limits and bans.
fn as_source(host: IpNet) -> Result<IpNet> {
    let bits = match host {
        IpNet::V4(_) => 32,
        IpNet::V6(_) => 64,
    };
    Ok(IpNet::new(host.addr(), bits)?.trunc())
}

/// The same as the references' key.
fn reference_key(host: IpNet) -> [u8; 16] {
    let mut key = [0; 16];
    match host.addr() {
        IpAddr::V4(a) => {
            key[..4].copy_from_slice(&a.octets());
            key[15] = 4;
        }
        IpAddr::V6(a) => {
            key[..8].copy_from_slice(&a.octets()[..8]);
            key[15] = 6;
        }
    }
    key
}

/// The first bytes of an address, which must have as many.
fn octets<const N: usize>(address: IpAddr) -> [u8; N] {
    let mut octets = [0; N];
    match address {
        IpAddr::V4(a) => octets.copy_from_slice(&a.octets()),
        IpAddr::V6(a) => octets.copy_from_slice(&a.octets()),
    }
    octets
}
