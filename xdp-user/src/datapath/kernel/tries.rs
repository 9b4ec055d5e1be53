//! LPM tries of both families.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aya::maps::MapData;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::{Ebpf, Pod};

use super::super::Result;
use super::load::take;
use super::{found, full_or_failed};
use crate::domain::{AddrBytes, Prefix};

/// An IPv4 and an IPv6 trie that act as one.
pub(super) struct Tries<V: Pod> {
    v4: LpmTrie<MapData, [u8; 4], V>,
    v6: LpmTrie<MapData, [u8; 16], V>,
    table: &'static str,
}

impl<V: Pod> Tries<V> {
    pub(super) fn take(ebpf: &mut Ebpf, v4: &str, v6: &str, table: &'static str) -> Result<Self> {
        Ok(Self {
            v4: take(ebpf, v4)?,
            v6: take(ebpf, v6)?,
            table,
        })
    }

    pub(super) fn put(&mut self, prefix: &Prefix, value: V) -> Result<()> {
        let len = u32::from(prefix.prefix_len());
        let put = match prefix.addr_bytes() {
            AddrBytes::V4(a) => self.v4.insert(&Key::new(len, a), value, 0),
            AddrBytes::V6(a) => self.v6.insert(&Key::new(len, a), value, 0),
        };
        put.map_err(|e| full_or_failed(self.table, "store an entry", e))
    }

    fn prefixes(&self) -> Vec<Prefix> {
        let v4 = self.v4.keys().map_while(std::result::Result::ok);
        let v4 = v4.map(|key| (IpAddr::from(key.data()), key.prefix_len()));
        let v6 = self.v6.keys().map_while(std::result::Result::ok);
        let v6 = v6.map(|key| (IpAddr::from(key.data()), key.prefix_len()));
        v4.chain(v6)
            .filter_map(|(address, len)| Prefix::new(address, u8::try_from(len).ok()?))
            .collect()
    }

    /// All that is stored.
    pub(super) fn all(&self) -> Result<BTreeMap<Prefix, V>> {
        let mut all = BTreeMap::new();
        // Each prefix is there, so the longest that holds it is itself.
        for prefix in self.prefixes() {
            let len = u32::from(prefix.prefix_len());
            let value = match prefix.addr_bytes() {
                AddrBytes::V4(a) => self.v4.get(&Key::new(len, a), 0),
                AddrBytes::V6(a) => self.v6.get(&Key::new(len, a), 0),
            };
            if let Some(value) = found(value, "read an entry")? {
                all.insert(prefix, value);
            }
        }
        Ok(all)
    }

    /// Removes what is not among these.
    pub(super) fn retain(&mut self, wanted: &[Prefix]) -> Result<()> {
        let wanted: BTreeSet<&Prefix> = wanted.iter().collect();
        let stored = self.prefixes();
        for prefix in stored.iter().filter(|prefix| !wanted.contains(prefix)) {
            self.remove(prefix)?;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, prefix: &Prefix) -> Result<()> {
        let len = u32::from(prefix.prefix_len());
        let removed = match prefix.addr_bytes() {
            AddrBytes::V4(a) => self.v4.remove(&Key::new(len, a)),
            AddrBytes::V6(a) => self.v6.remove(&Key::new(len, a)),
        };
        found(removed, "remove an entry").map(|_gone| ())
    }
}
