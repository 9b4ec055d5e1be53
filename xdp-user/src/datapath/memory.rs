//! The datapath in the process: the same decision over host memory.
//!
//! For `explain`, which judges a hypothetical packet on copies, and for tests of the controller
//! that need no kernel.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::ControlFlow;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use xdp_common::abi::{
    Ban, Counter, Entry, Fault, Limits, MAX_INTERFACES, Plain, Policy, Source, SourceKey,
};
use xdp_common::packet::{self, Address};
use xdp_common::verdict::{
    BanState, EntryState, SourceState, Tables, Verdict, Word, decide, source_key,
};

use super::{Attached, Capacity, Counters, Datapath, DatapathError, Result};
use crate::api::types::ListKind;
use crate::domain::{AttachMode, IfName, Prefix};

/// Prefixes of both families with their values.
#[derive(Clone, Debug)]
struct Lpm<V> {
    v4: PrefixMap<Ipv4Net, V>,
    v6: PrefixMap<Ipv6Net, V>,
}

impl<V> Default for Lpm<V> {
    fn default() -> Self {
        Self {
            v4: PrefixMap::new(),
            v6: PrefixMap::new(),
        }
    }
}

impl<V> Lpm<V> {
    fn longest_match(&self, address: &Address) -> Option<&V> {
        match address {
            Address::V4(a) => self
                .v4
                .get_lpm(&Ipv4Net::from(std::net::Ipv4Addr::from(*a)))
                .map(|(_, v)| v),
            Address::V6(a) => self
                .v6
                .get_lpm(&Ipv6Net::from(std::net::Ipv6Addr::from(*a)))
                .map(|(_, v)| v),
        }
    }

    fn get(&self, prefix: &Prefix) -> Option<&V> {
        match prefix.as_ipnet() {
            IpNet::V4(net) => self.v4.get(&net),
            IpNet::V6(net) => self.v6.get(&net),
        }
    }

    fn insert(&mut self, prefix: &Prefix, value: V) {
        match prefix.as_ipnet() {
            IpNet::V4(net) => drop(self.v4.insert(net, value)),
            IpNet::V6(net) => drop(self.v6.insert(net, value)),
        }
    }

    fn remove(&mut self, prefix: &Prefix) {
        match prefix.as_ipnet() {
            IpNet::V4(net) => drop(self.v4.remove(&net)),
            IpNet::V6(net) => drop(self.v6.remove(&net)),
        }
    }

    fn len(&self, ipv4: bool) -> usize {
        if ipv4 { self.v4.len() } else { self.v6.len() }
    }
}

/// A word of one source.
#[derive(Clone, Copy)]
pub struct MemoryWord<'a>(&'a Cell<u64>);

impl Word for MemoryWord<'_> {
    fn load(self) -> u64 {
        self.0.get()
    }

    fn store(self, value: u64) {
        self.0.set(value);
    }

    fn add(self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    fn compare_exchange(self, current: u64, new: u64) -> std::result::Result<(), u64> {
        if self.0.get() != current {
            return Err(self.0.get());
        }
        self.0.set(new);
        Ok(())
    }
}

/// A list entry that counts its hits.
#[derive(Clone, Copy)]
pub struct EntryCell<'a>(&'a Cell<Entry>);

impl EntryState for EntryCell<'_> {
    fn expires_ns(&self) -> u64 {
        self.0.get().expires_ns
    }

    fn hit(&self, bytes: u64) {
        let entry = self.0.get();
        self.0.set(Entry {
            packets: entry.packets + 1,
            bytes: entry.bytes + bytes,
            ..entry
        });
    }
}

/// A ban that counts its hits.
#[derive(Clone, Copy)]
pub struct BanCell<'a>(&'a Cell<Ban>);

impl BanState for BanCell<'_> {
    fn get(&self) -> Ban {
        self.0.get()
    }

    fn until_ns(&self) -> u64 {
        self.0.get().until_ns
    }

    fn hit(&self, bytes: u64) {
        let ban = self.0.get();
        self.0.set(Ban {
            packets: ban.packets + 1,
            bytes: ban.bytes + bytes,
            ..ban
        });
    }
}

macro_rules! source_cell {
    ($($field:ident)+) => {
        /// The words of one source.
        #[derive(Debug, Default)]
        pub struct SourceCell {
            first_seen_ns: Cell<u64>,
            $($field: Cell<u64>,)+
        }

        impl From<Source> for SourceCell {
            fn from(source: Source) -> Self {
                Self {
                    first_seen_ns: Cell::new(source.first_seen_ns),
                    $($field: Cell::new(source.$field),)+
                }
            }
        }

        impl SourceCell {
            fn get(&self) -> Source {
                Source { first_seen_ns: self.first_seen_ns.get(), $($field: self.$field.get(),)+ }
            }
        }

        impl<'a> SourceState for &'a SourceCell {
            type Word = MemoryWord<'a>;
            $(
                fn $field(&self) -> MemoryWord<'a> {
                    MemoryWord(&self.$field)
                }
            )+
        }
    };
}
source_cell!(tat_packets tat_bytes tat_tcp_new strikes packets bytes dropped_packets dropped_bytes last_seen_ns);

/// [`SourceKey`] as a map key.
type KeyBytes = ([u8; 16], u8, u8);

fn key_bytes(key: &SourceKey) -> KeyBytes {
    (key.addr, key.family, key.prefix_len)
}

fn key_of(bytes: &KeyBytes) -> SourceKey {
    SourceKey {
        addr: bytes.0,
        family: bytes.1,
        prefix_len: bytes.2,
        ..SourceKey::ZERO
    }
}

/// Tables, counters and attachments in host memory.
pub struct MemoryDatapath {
    capacity: Capacity,
    policy: Policy,
    allow: Lpm<Cell<Entry>>,
    block: Lpm<Cell<Entry>>,
    limits: Lpm<Limits>,
    sources: HashMap<KeyBytes, SourceCell>,
    bans: HashMap<KeyBytes, Cell<Ban>>,
    started: RefCell<Vec<(SourceKey, Ban)>>,
    faults: RefCell<Vec<Fault>>,
    counters: Counters,
    attached: HashMap<IfName, Attached>,
    next_index: u32,
}

impl MemoryDatapath {
    /// Empty tables, no policy.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            policy: Policy::ZERO,
            allow: Lpm::default(),
            block: Lpm::default(),
            limits: Lpm::default(),
            sources: HashMap::new(),
            bans: HashMap::new(),
            started: RefCell::default(),
            faults: RefCell::default(),
            counters: Counters::default(),
            attached: HashMap::new(),
            next_index: 1,
        }
    }

    /// Stores what is known of a source.
    pub fn put_source(&mut self, key: &SourceKey, source: Source) {
        self.sources.insert(key_bytes(key), source.into());
    }

    /// Judges a frame at a time and counts it, as the program does for an interface that the
    /// policy doesn't name.
    pub fn judge(&mut self, frame: &[u8], now_ns: u64) -> Verdict {
        let new = self.make_room_for_source(frame, now_ns);
        let verdict = decide(&frame, &*self, || now_ns);
        if let Some(key) = new
            && self
                .sources
                .get(&key)
                .is_some_and(|source| source.packets.get() == 0)
        {
            self.sources.remove(&key);
        }
        for (key, ban) in self.started.take() {
            self.bans.insert(key_bytes(&key), Cell::new(ban));
        }
        for fault in self.faults.take() {
            self.counters.add_fault(fault.code() as usize, 1);
        }
        let index = Counters::index(MAX_INTERFACES - 1, verdict.reason, verdict.action);
        self.counters.add(
            index,
            Counter {
                packets: 1,
                bytes: frame.len() as u64,
            },
        );
        verdict
    }

    /// The stages can't add a source to tables that they only read: it is added before, and goes
    /// again when no stage counted it.
    fn make_room_for_source(&mut self, frame: &[u8], now_ns: u64) -> Option<KeyBytes> {
        let ControlFlow::Continue(packet) = packet::parse(&frame) else {
            return None;
        };
        let key = key_bytes(&source_key(&packet.source, &self.policy));
        let full = self.sources.len() >= self.capacity.sources as usize;
        if full || self.sources.contains_key(&key) {
            return None;
        }
        self.sources.insert(
            key,
            Source {
                first_seen_ns: now_ns,
                ..Source::ZERO
            }
            .into(),
        );
        Some(key)
    }

    fn list(&mut self, kind: ListKind) -> (&mut Lpm<Cell<Entry>>, u32, &'static str) {
        match kind {
            ListKind::Allow => (&mut self.allow, self.capacity.allow, "allow"),
            ListKind::Block => (&mut self.block, self.capacity.block, "block"),
        }
    }
}

impl Tables for MemoryDatapath {
    type Entry<'a> = EntryCell<'a>;
    type Ban<'a> = BanCell<'a>;
    type Source<'a> = &'a SourceCell;

    fn policy(&self) -> Option<&Policy> {
        Some(&self.policy)
    }

    fn allowed(&self, source: &Address) -> Option<EntryCell<'_>> {
        self.allow.longest_match(source).map(EntryCell)
    }

    fn blocked(&self, source: &Address) -> Option<EntryCell<'_>> {
        self.block.longest_match(source).map(EntryCell)
    }

    fn ban(&self, source: &SourceKey) -> Option<BanCell<'_>> {
        self.bans.get(&key_bytes(source)).map(BanCell)
    }

    fn limits(&self, source: &Address) -> Option<&Limits> {
        self.limits.longest_match(source)
    }

    fn source(&self, key: &SourceKey, _now: u64) -> Option<&SourceCell> {
        self.sources.get(&key_bytes(key))
    }

    fn start_ban(&self, key: &SourceKey, ban: &Ban) {
        let known = self.bans.contains_key(&key_bytes(key));
        if !known && self.bans.len() >= self.capacity.bans as usize {
            self.fault(Fault::BanTableFull);
            return;
        }
        self.started.borrow_mut().push((*key, *ban));
    }

    fn fault(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }
}

impl Datapath for MemoryDatapath {
    fn set_policy(&mut self, policy: &Policy) -> Result<()> {
        self.policy = *policy;
        Ok(())
    }

    fn put_entry(
        &mut self,
        kind: ListKind,
        prefix: &Prefix,
        expires_ns: u64,
        list: u32,
    ) -> Result<()> {
        let (packets, bytes) =
            Datapath::entry(self, kind, prefix)?.map_or((0, 0), |e| (e.packets, e.bytes));
        let (tries, capacity, table) = self.list(kind);
        if tries.get(prefix).is_none() && tries.len(prefix.is_ipv4()) >= capacity as usize {
            return Err(DatapathError::Full { table });
        }
        let prefix_len = u32::from(prefix.prefix_len());
        tries.insert(
            prefix,
            Cell::new(Entry {
                expires_ns,
                packets,
                bytes,
                list,
                prefix_len,
            }),
        );
        Ok(())
    }

    fn remove_entry(&mut self, kind: ListKind, prefix: &Prefix) -> Result<()> {
        self.list(kind).0.remove(prefix);
        Ok(())
    }

    fn entry(&self, kind: ListKind, prefix: &Prefix) -> Result<Option<Entry>> {
        let list = match kind {
            ListKind::Allow => &self.allow,
            ListKind::Block => &self.block,
        };
        Ok(list.get(prefix).map(Cell::get))
    }

    fn put_limits(&mut self, prefix: &Prefix, limits: &Limits) -> Result<()> {
        if self.limits.get(prefix).is_none()
            && self.limits.len(prefix.is_ipv4()) >= self.capacity.overrides as usize
        {
            return Err(DatapathError::Full { table: "overrides" });
        }
        self.limits.insert(prefix, *limits);
        Ok(())
    }

    fn remove_limits(&mut self, prefix: &Prefix) -> Result<()> {
        self.limits.remove(prefix);
        Ok(())
    }

    fn put_ban(&mut self, source: &SourceKey, ban: &Ban) -> Result<()> {
        let key = key_bytes(source);
        if !self.bans.contains_key(&key) && self.bans.len() >= self.capacity.bans as usize {
            return Err(DatapathError::Full { table: "bans" });
        }
        self.bans.insert(key, Cell::new(*ban));
        Ok(())
    }

    fn remove_ban(&mut self, source: &SourceKey) -> Result<bool> {
        Ok(self.bans.remove(&key_bytes(source)).is_some())
    }

    fn ban(&self, source: &SourceKey) -> Result<Option<Ban>> {
        Ok(self.bans.get(&key_bytes(source)).map(Cell::get))
    }

    fn bans(&self) -> Result<Vec<(SourceKey, Ban)>> {
        Ok(self
            .bans
            .iter()
            .map(|(key, ban)| (key_of(key), ban.get()))
            .collect())
    }

    fn source(&self, source: &SourceKey) -> Result<Option<Source>> {
        Ok(self.sources.get(&key_bytes(source)).map(SourceCell::get))
    }

    fn sources(&self) -> Result<Vec<(SourceKey, Source)>> {
        Ok(self
            .sources
            .iter()
            .map(|(key, source)| (key_of(key), source.get()))
            .collect())
    }

    fn counters(&self) -> Result<Counters> {
        Ok(self.counters.clone())
    }

    fn attach(&mut self, interface: &IfName, mode: AttachMode) -> Result<Attached> {
        if let Some(attached) = self.attached.get(interface) {
            return Ok(*attached);
        }
        let attached = Attached {
            index: self.next_index,
            native: mode != AttachMode::Generic,
        };
        self.next_index += 1;
        self.attached.insert(interface.clone(), attached);
        Ok(attached)
    }

    fn is_attached(&self, interface: &IfName) -> bool {
        self.attached.contains_key(interface)
    }

    fn detach(&mut self, interface: &IfName) -> Result<()> {
        self.attached.remove(interface);
        Ok(())
    }

    fn reset_counters(&mut self, slot: usize) -> Result<()> {
        self.counters.reset(slot);
        Ok(())
    }

    fn verified_instructions(&self) -> Option<u32> {
        None
    }
}
