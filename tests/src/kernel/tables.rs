//! Fills and reads the tables.

use anyhow::Result;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData, MapError};
use ipnet::IpNet;
use xdp_common::abi::{Ban, Entry, FAMILY_IPV4, FAMILY_IPV6, Plain, Source, SourceKey};
use xdp_common::reason::Reason;
use xdp_common::verdict::STRIKE_COUNT_BITS;

use super::{Kernel, limits, policy};
use crate::oracle::{self, Banned, Listed, Meter, Rules, Strikes};

impl Kernel {
    /// Puts the rules in force: lists and overrides, then the policy.
    ///
    /// # Errors
    /// When the kernel refuses a write.
    pub fn apply(&mut self, rules: &Rules) -> Result<()> {
        for entry in &rules.allow {
            self.allow(entry)?;
        }
        for entry in &rules.block {
            self.block(entry)?;
        }
        for (prefix, limits) in &rules.overrides {
            self.override_limits(*prefix, limits)?;
        }
        self.set_policy(&policy(rules))
    }

    /// Puts an entry on the allowlist.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn allow(&mut self, entry: &Listed) -> Result<()> {
        let value = abi_entry(entry);
        put(&mut self.allow_v4, &mut self.allow_v6, entry.prefix, value)
    }

    /// Puts an entry on the blocklist.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn block(&mut self, entry: &Listed) -> Result<()> {
        let value = abi_entry(entry);
        put(&mut self.block_v4, &mut self.block_v6, entry.prefix, value)
    }

    /// Gives a prefix limits of its own; the policy must say that there are any.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn override_limits(&mut self, prefix: IpNet, own: &oracle::Limits) -> Result<()> {
        let value = limits(own);
        put(&mut self.limits_v4, &mut self.limits_v6, prefix, value)
    }

    /// The allowlist's entry for exactly this prefix, with its hits.
    ///
    /// # Errors
    /// When there is none.
    pub fn allow_entry(&self, prefix: IpNet) -> Result<Entry> {
        get(&self.allow_v4, &self.allow_v6, prefix)
    }

    /// The blocklist's entry for exactly this prefix, with its hits.
    ///
    /// # Errors
    /// When there is none.
    pub fn block_entry(&self, prefix: IpNet) -> Result<Entry> {
        get(&self.block_v4, &self.block_v6, prefix)
    }

    /// Stores a ban.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn ban(&mut self, source: IpNet, ban: Ban) -> Result<()> {
        Ok(self.bans.insert(source_key(source), ban, 0)?)
    }

    /// The ban of a source, current or past.
    ///
    /// # Errors
    /// When the read fails.
    pub fn ban_of(&self, source: IpNet) -> Result<Option<Ban>> {
        found(&self.bans, source)
    }

    /// Stores what is known of a source.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn set_source(&mut self, source: IpNet, state: Source) -> Result<()> {
        Ok(self.sources.insert(source_key(source), state, 0)?)
    }

    /// What is known of a source.
    ///
    /// # Errors
    /// When the read fails.
    pub fn source(&self, source: IpNet) -> Result<Option<Source>> {
        found(&self.sources, source)
    }
}

/// A ban of the oracle's for a rate in packets, as the program stores it.
#[must_use]
pub fn ban_from(ban: &Banned) -> Ban {
    Ban {
        until_ns: ban.until_ns,
        since_ns: ban.since_ns,
        level: ban.level,
        reason: Reason::RatePackets.code().into(),
        ..Ban::ZERO
    }
}

/// A stored ban in the oracle's terms.
#[must_use]
pub fn banned_from(ban: &Ban) -> Banned {
    Banned {
        since_ns: ban.since_ns,
        until_ns: ban.until_ns,
        level: ban.level,
    }
}

/// A source's state in the oracle's terms.
#[must_use]
pub fn source_from(source: &Source) -> oracle::Source {
    let meter = |tat_ns| Meter { tat_ns };
    oracle::Source {
        packets: meter(source.tat_packets),
        bytes: meter(source.tat_bytes),
        tcp_new: meter(source.tat_tcp_new),
        strikes: Strikes {
            count: source.strikes & 0xffff,
            last_ms: (source.strikes != 0).then_some(source.strikes >> STRIKE_COUNT_BITS),
        },
        seen: (source.packets, source.bytes),
        over: (source.dropped_packets, source.dropped_bytes),
    }
}

/// A source as the program keys it.
#[must_use]
pub fn source_key(source: IpNet) -> SourceKey {
    let mut key = SourceKey {
        prefix_len: source.prefix_len(),
        ..SourceKey::ZERO
    };
    match source.trunc() {
        IpNet::V4(net) => {
            key.family = FAMILY_IPV4;
            key.addr[..4].copy_from_slice(&net.addr().octets());
        }
        IpNet::V6(net) => {
            key.family = FAMILY_IPV6;
            key.addr = net.addr().octets();
        }
    }
    key
}

fn abi_entry(entry: &Listed) -> Entry {
    Entry {
        expires_ns: entry.expires_ns.unwrap_or(0),
        ..Entry::ZERO
    }
}

fn put<V: aya::Pod>(
    v4: &mut LpmTrie<MapData, [u8; 4], V>,
    v6: &mut LpmTrie<MapData, [u8; 16], V>,
    prefix: IpNet,
    value: V,
) -> Result<()> {
    let bits = u32::from(prefix.prefix_len());
    match prefix.trunc() {
        IpNet::V4(net) => v4.insert(&Key::new(bits, net.addr().octets()), value, 0)?,
        IpNet::V6(net) => v6.insert(&Key::new(bits, net.addr().octets()), value, 0)?,
    }
    Ok(())
}

/// The trie answers with the longest match; the prefix itself is it when it is stored.
fn get<V: aya::Pod>(
    v4: &LpmTrie<MapData, [u8; 4], V>,
    v6: &LpmTrie<MapData, [u8; 16], V>,
    prefix: IpNet,
) -> Result<V> {
    let bits = u32::from(prefix.prefix_len());
    Ok(match prefix.trunc() {
        IpNet::V4(net) => v4.get(&Key::new(bits, net.addr().octets()), 0)?,
        IpNet::V6(net) => v6.get(&Key::new(bits, net.addr().octets()), 0)?,
    })
}

fn found<V: aya::Pod>(table: &HashMap<MapData, SourceKey, V>, source: IpNet) -> Result<Option<V>> {
    match table.get(&source_key(source), 0) {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
