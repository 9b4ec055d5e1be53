//! The datapath in the kernel.

mod attach;
mod features;

use std::collections::HashMap as StdHashMap;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf};
use aya::programs::ProgramError;
use aya::programs::xdp::XdpLinkId;
use aya::{Ebpf, EbpfLoader, Pod};
use nix::libc;
use xdp_common::abi::{Ban, Counter, Entry, Limits, POLICY_SLOTS, Policy, Source, SourceKey, map};

use super::{Attached, Capacity, Counters, Datapath, DatapathError, OBJECT, Result, batch};
use crate::api::types::ListKind;
use crate::domain::{AddrBytes, AttachMode, IfName, Prefix};

type Map = MapData;

/// An IPv4 and an IPv6 trie that act as one.
struct Tries<V: Pod> {
    v4: LpmTrie<Map, [u8; 4], V>,
    v6: LpmTrie<Map, [u8; 16], V>,
    table: &'static str,
}

/// A hash map by source, with a descriptor for reading it in bulk.
struct Table<V: Pod> {
    map: HashMap<Map, SourceKey, V>,
    bulk: OwnedFd,
}

/// The loaded program with its maps and links. Dropping it detaches every interface.
pub struct KernelDatapath {
    ebpf: Ebpf,
    capacity: Capacity,
    policy: Array<Map, Policy>,
    active: Array<Map, u32>,
    counters: PerCpuArray<Map, Counter>,
    faults: PerCpuArray<Map, u64>,
    allow: Tries<Entry>,
    block: Tries<Entry>,
    limits: Tries<Limits>,
    sources: Table<Source>,
    bans: Table<Ban>,
    events: Option<RingBuf<Map>>,
    links: StdHashMap<IfName, (XdpLinkId, Attached)>,
}

impl KernelDatapath {
    /// Loads the program. `log_level` is that of its own diagnostics, 0 for none.
    pub fn load(capacity: Capacity, log_level: u8) -> Result<Self> {
        features::require()?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(map::ALLOW_V4, capacity.allow)
            .map_max_entries(map::ALLOW_V6, capacity.allow)
            .map_max_entries(map::BLOCK_V4, capacity.block)
            .map_max_entries(map::BLOCK_V6, capacity.block)
            .map_max_entries(map::LIMITS_V4, capacity.overrides)
            .map_max_entries(map::LIMITS_V6, capacity.overrides)
            .map_max_entries(map::SOURCES, capacity.sources)
            .map_max_entries(map::BANS, capacity.bans)
            .override_global("AYA_LOG_LEVEL", &log_level, true)
            .load(OBJECT)
            .map_err(|error| load_error("create the program's maps", error.into()))?;
        let program = attach::program(&mut ebpf)?;
        program.load().map_err(load_refused)?;
        Ok(Self {
            capacity,
            policy: take(&mut ebpf, map::POLICY)?,
            active: take(&mut ebpf, map::ACTIVE)?,
            counters: take(&mut ebpf, map::COUNTERS)?,
            faults: take(&mut ebpf, map::FAULTS)?,
            allow: Tries::take(&mut ebpf, map::ALLOW_V4, map::ALLOW_V6, "allow")?,
            block: Tries::take(&mut ebpf, map::BLOCK_V4, map::BLOCK_V6, "block")?,
            limits: Tries::take(&mut ebpf, map::LIMITS_V4, map::LIMITS_V6, "overrides")?,
            sources: Table::take(&mut ebpf, map::SOURCES)?,
            bans: Table::take(&mut ebpf, map::BANS)?,
            events: Some(take(&mut ebpf, map::EVENTS)?),
            links: StdHashMap::new(),
            ebpf,
        })
    }

    /// The ring buffer of events, once.
    pub fn take_events(&mut self) -> Option<RingBuf<Map>> {
        self.events.take()
    }

    /// The reader of the program's own diagnostics.
    pub fn diagnostics(&mut self) -> anyhow::Result<aya_log::EbpfLogger<&'static dyn log::Log>> {
        aya_log::EbpfLogger::init(&mut self.ebpf)
            .context("could not read the program's diagnostics")
    }

    /// The loaded program, for `BPF_PROG_TEST_RUN`.
    pub fn program(&mut self) -> Result<&mut aya::programs::Xdp> {
        attach::program(&mut self.ebpf)
    }

    fn tries(&mut self, kind: ListKind) -> &mut Tries<Entry> {
        match kind {
            ListKind::Allow => &mut self.allow,
            ListKind::Block => &mut self.block,
        }
    }
}

impl Datapath for KernelDatapath {
    fn set_policy(&mut self, policy: &Policy) -> Result<()> {
        let active = self
            .active
            .get(&0, 0)
            .map_err(|e| failed("read the active policy", e))?;
        let next = (active + 1) % POLICY_SLOTS;
        self.policy
            .set(next, policy, 0)
            .map_err(|e| failed("write a policy", e))?;
        self.active
            .set(0, next, 0)
            .map_err(|e| failed("activate a policy", e))
    }

    fn put_entry(
        &mut self,
        kind: ListKind,
        prefix: &Prefix,
        expires_ns: u64,
        list: u32,
    ) -> Result<()> {
        let (packets, bytes) = self
            .entry(kind, prefix)?
            .map_or((0, 0), |e| (e.packets, e.bytes));
        let prefix_len = u32::from(prefix.prefix_len());
        self.tries(kind).put(
            prefix,
            Entry {
                expires_ns,
                packets,
                bytes,
                list,
                prefix_len,
            },
        )
    }

    fn remove_entry(&mut self, kind: ListKind, prefix: &Prefix) -> Result<()> {
        self.tries(kind).remove(prefix)
    }

    fn entry(&self, kind: ListKind, prefix: &Prefix) -> Result<Option<Entry>> {
        let longest = match kind {
            ListKind::Allow => self.allow.longest_match(prefix),
            ListKind::Block => self.block.longest_match(prefix),
        }?;
        Ok(longest.filter(|entry| entry.prefix_len == u32::from(prefix.prefix_len())))
    }

    fn put_limits(&mut self, prefix: &Prefix, limits: &Limits) -> Result<()> {
        self.limits.put(prefix, *limits)
    }

    fn remove_limits(&mut self, prefix: &Prefix) -> Result<()> {
        self.limits.remove(prefix)
    }

    fn put_ban(&mut self, source: &SourceKey, ban: &Ban) -> Result<()> {
        self.bans
            .map
            .insert(source, ban, 0)
            .map_err(|e| full_or_failed("bans", "store a ban", e))
    }

    fn remove_ban(&mut self, source: &SourceKey) -> Result<bool> {
        found(self.bans.map.remove(source), "remove a ban").map(|gone| gone.is_some())
    }

    fn ban(&self, source: &SourceKey) -> Result<Option<Ban>> {
        found(self.bans.map.get(source, 0), "read a ban")
    }

    fn bans(&self) -> Result<Vec<(SourceKey, Ban)>> {
        batch::read_all(self.bans.bulk.as_fd(), self.capacity.bans)
            .map_err(|e| failed("read the bans", e))
    }

    fn source(&self, source: &SourceKey) -> Result<Option<Source>> {
        found(self.sources.map.get(source, 0), "read a source")
    }

    fn sources(&self) -> Result<Vec<(SourceKey, Source)>> {
        batch::read_all(self.sources.bulk.as_fd(), self.capacity.sources)
            .map_err(|e| failed("read the sources", e))
    }

    fn counters(&self) -> Result<Counters> {
        let mut sums = Counters::default();
        for (index, values) in self.counters.iter().enumerate() {
            let values = values.map_err(|e| failed("read the counters", e))?;
            values.iter().for_each(|counter| sums.add(index, *counter));
        }
        for (code, values) in self.faults.iter().enumerate() {
            let values = values.map_err(|e| failed("read the faults", e))?;
            values.iter().for_each(|count| sums.add_fault(code, *count));
        }
        Ok(sums)
    }

    fn attach(&mut self, interface: &IfName, mode: AttachMode) -> Result<Attached> {
        if let Some((_, attached)) = self.links.get(interface) {
            return Ok(*attached);
        }
        let (link, attached) = attach::attach(attach::program(&mut self.ebpf)?, interface, mode)?;
        self.links.insert(interface.clone(), (link, attached));
        Ok(attached)
    }

    fn is_attached(&self, interface: &IfName) -> bool {
        // By index and not by name: a renamed device keeps its program, another one of the same
        // name has none. An index that is gone has an empty name (nix 0.31 misses the error).
        self.links.get(interface).is_some_and(|(_, attached)| {
            nix::net::if_::if_indextoname(attached.index).is_ok_and(|name| !name.is_empty())
        })
    }

    fn detach(&mut self, interface: &IfName) -> Result<()> {
        let Some((link, _)) = self.links.remove(interface) else {
            return Ok(());
        };
        attach::program(&mut self.ebpf)?
            .detach(link)
            .map_err(|e| failed(&format!("detach {interface}"), e))
    }

    fn reset_counters(&mut self, slot: usize) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(_, e)| failed("count the CPUs", e))?;
        for index in Counters::indices(slot) {
            let zero = vec![
                Counter {
                    packets: 0,
                    bytes: 0
                };
                cpus
            ];
            let zero = PerCpuValues::try_from(zero).map_err(|e| failed("reset the counters", e))?;
            self.counters
                .set(index, zero, 0)
                .map_err(|e| failed("reset the counters", e))?;
        }
        Ok(())
    }

    fn verified_instructions(&self) -> Option<u32> {
        let program: &aya::programs::Xdp = self.ebpf.program(map::PROGRAM)?.try_into().ok()?;
        program.info().ok()?.verified_instruction_count()
    }
}

impl<V: Pod> Table<V> {
    fn take(ebpf: &mut Ebpf, name: &str) -> Result<Self> {
        let untyped = ebpf.map(name).and_then(data).ok_or_else(|| missing(name))?;
        let bulk = untyped
            .fd()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| failed("keep a map open", e))?;
        Ok(Self {
            map: take(ebpf, name)?,
            bulk,
        })
    }
}

/// The map behind a hash of either kind.
fn data(map: &aya::maps::Map) -> Option<&MapData> {
    if let aya::maps::Map::HashMap(data) | aya::maps::Map::LruHashMap(data) = map {
        return Some(data);
    }
    None
}

impl<V: Pod> Tries<V> {
    fn take(ebpf: &mut Ebpf, v4: &str, v6: &str, table: &'static str) -> Result<Self> {
        Ok(Self {
            v4: take(ebpf, v4)?,
            v6: take(ebpf, v6)?,
            table,
        })
    }

    /// The value of the longest prefix stored that covers this one.
    fn longest_match(&self, prefix: &Prefix) -> Result<Option<V>> {
        let len = u32::from(prefix.prefix_len());
        let value = match prefix.addr_bytes() {
            AddrBytes::V4(a) => self.v4.get(&Key::new(len, a), 0),
            AddrBytes::V6(a) => self.v6.get(&Key::new(len, a), 0),
        };
        found(value, "read an entry")
    }

    fn put(&mut self, prefix: &Prefix, value: V) -> Result<()> {
        let len = u32::from(prefix.prefix_len());
        let put = match prefix.addr_bytes() {
            AddrBytes::V4(a) => self.v4.insert(&Key::new(len, a), value, 0),
            AddrBytes::V6(a) => self.v6.insert(&Key::new(len, a), value, 0),
        };
        put.map_err(|e| full_or_failed(self.table, "store an entry", e))
    }

    fn remove(&mut self, prefix: &Prefix) -> Result<()> {
        let len = u32::from(prefix.prefix_len());
        let removed = match prefix.addr_bytes() {
            AddrBytes::V4(a) => self.v4.remove(&Key::new(len, a)),
            AddrBytes::V6(a) => self.v6.remove(&Key::new(len, a)),
        };
        found(removed, "remove an entry").map(|_gone| ())
    }
}

fn take<M>(ebpf: &mut Ebpf, name: &str) -> Result<M>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| {
        failed(
            "find a map",
            anyhow::anyhow!("the object holds no map named {name}"),
        )
    })?;
    M::try_from(map).map_err(|error| failed(&format!("open the map {name}"), error))
}

/// A value that may be missing.
fn found<V>(result: std::result::Result<V, MapError>, what: &str) -> Result<Option<V>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(None),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(None)
        }
        Err(error) => Err(failed(what, error)),
    }
}

fn full_or_failed(table: &'static str, what: &str, error: MapError) -> DatapathError {
    if let MapError::SyscallError(refused) = &error
        && matches!(
            refused.io_error.raw_os_error(),
            Some(libc::ENOSPC | libc::E2BIG)
        )
    {
        return DatapathError::Full { table };
    }
    failed(what, error)
}

/// Brings the verifier's own words to where they are seen.
fn load_refused(error: ProgramError) -> DatapathError {
    let what = "load the program";
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return load_error(what, error.into());
    };
    let log = verifier_log.to_string();
    let error = anyhow::Error::new(io_error);
    if log.is_empty() {
        return load_error(what, error);
    }
    // What the verifier refuses is no question of rights, though it may answer EACCES.
    failed(what, error.context(format!("verifier: {log}")))
}

fn missing(name: &str) -> DatapathError {
    failed(
        "find a map",
        anyhow::anyhow!("the object holds no map named {name}"),
    )
}

fn failed(what: &str, error: impl Into<anyhow::Error>) -> DatapathError {
    DatapathError::Kernel {
        what: what.to_owned(),
        source: error.into(),
    }
}

/// Tells a missing right from the rest.
fn load_error(what: &'static str, error: anyhow::Error) -> DatapathError {
    let code = error
        .chain()
        .find_map(|e| e.downcast_ref::<std::io::Error>())
        .and_then(std::io::Error::raw_os_error);
    match code {
        Some(code @ (libc::EPERM | libc::EACCES)) => DatapathError::Privilege {
            what,
            source: std::io::Error::from_raw_os_error(code),
        },
        _ => failed(what, error),
    }
}
