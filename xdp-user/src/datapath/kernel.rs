//! The datapath in the kernel.

mod attach;
mod classes;
mod continuity;
mod counted;
pub(crate) mod egress;
pub(crate) mod features;
mod hits;
mod link;
mod list_tables;
mod load;
mod mapped;
pub(crate) mod pins;
mod stages;
mod start;
mod tries;
mod variant;

use std::collections::HashMap as StdHashMap;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf};
use aya::{Ebpf, Pod};
use nix::libc;
use nix::time::{ClockId, clock_gettime};
use xdp_common::abi::{
    Ban, Counter, EgressCounter, Limits, MAX_INTERFACES, NotIp, Policy, Source, SourceKey,
    WordLine, entries, map,
};
use xdp_common::meters;

use super::known_filter::KnownFilter;
use super::lists::{Lists, NewEntry};
use super::source_table::{Lengths, SourceTable};
use super::{
    Attached, Capacity, ClassReading, ClassSet, Continuity, Counters, Datapath, DatapathError,
    Egress, Entry, Memory, Meter, Refused, Result, batch, cost,
};
use crate::api::types::ListKind;
use crate::domain::{AttachMode, IfName, Prefix};
use crate::host::device;
use crate::host::framing::Framing;
use classes::Classes;
use continuity::Held;
use hits::Hits;
use list_tables::{Changes, KernelLists};
use load::take;
use mapped::Mapped;
use pins::Pins;
use stages::Build;
use start::Start;
use tries::Tries;

type Map = MapData;

/// A hash map by source, with a descriptor for reading it in bulk.
struct Table<V: Pod> {
    map: HashMap<Map, SourceKey, V>,
    bulk: OwnedFd,
}

/// The loaded program with its maps and links. Dropping it detaches every interface that isn't pinned.
pub struct KernelDatapath {
    ebpf: Ebpf,
    build: Build,
    capacity: Capacity,
    policy: Array<Map, Policy>,
    active: Array<Map, u32>,
    counters: PerCpuArray<Map, Counter>,
    faults: PerCpuArray<Map, u64>,
    not_ip: PerCpuArray<Map, NotIp>,
    egress: PerCpuArray<Map, EgressCounter>,
    classes: Classes,
    lists: Lists<KernelLists>,
    changes: Changes,
    limits: Tries<Limits>,
    hits: Hits,
    sources: SourceTable<Mapped>,
    known: KnownFilter<Mapped>,
    meters: Array<Map, WordLine>,
    lengths: Lengths,
    bans: Table<Ban>,
    /// How often [`Datapath::tend`] was called.
    tended: u64,
    /// Protected sources as of then.
    protected: u64,
    events: Option<RingBuf<Map>>,
    samples: Option<RingBuf<Map>>,
    /// By the name that the configuration had when they were attached.
    links: StdHashMap<IfName, Held>,
    pins: Option<Pins>,
    /// Until the start is in force.
    start: Option<Start>,
    continuity: Continuity,
    /// What keeps links from being pinned.
    pin_trouble: Option<String>,
    /// The interface that each counter slot was for when the maps were taken over; 0 for none.
    was: [u32; MAX_INTERFACES],
    /// Whether the flow memory that was taken over was complete.
    remembered: bool,
}

impl KernelDatapath {
    /// The ring buffer of events, once.
    pub fn take_events(&mut self) -> Option<RingBuf<Map>> {
        self.events.take()
    }

    /// The ring buffer of samples, once.
    pub fn take_samples(&mut self) -> Option<RingBuf<Map>> {
        self.samples.take()
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

    /// The loaded program, for one that calls it.
    pub fn loaded_program(&self) -> Option<&aya::programs::Xdp> {
        self.ebpf.program(map::PROGRAM)?.try_into().ok()
    }

    /// Makes room in no bucket of the source table, or makes it again: every call changes over. For
    /// tests of what happens to packets meanwhile.
    #[doc(hidden)]
    pub fn hold_sources(&mut self) {
        self.sources.hold();
    }

    /// Sets what is known of a source, for tests.
    #[doc(hidden)]
    pub fn put_source(&mut self, key: &SourceKey, source: &Source) -> bool {
        self.sources.put(key, source)
    }

    /// Hits go to the entries that decided them.
    fn collect_hits(&mut self) -> Result<()> {
        let lists = &mut self.lists;
        self.hits
            .collect(|hit| lists.hit(hit.kind, hit.address, hit.packets, hit.bytes))
    }
}

/// Nanoseconds of `CLOCK_BOOTTIME`.
fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(std::time::Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

impl Datapath for KernelDatapath {
    fn set_policy(&mut self, policy: &Policy) -> Result<()> {
        if let Some(noted) = self.noted() {
            noted.policy = Some(*policy);
            return Ok(());
        }
        self.add_stages(policy.flags)?;
        let next = self.write_policy(policy)?;
        self.active
            .set(0, next, 0)
            .map_err(|e| failed("activate a policy", e))?;
        self.settle_policy(policy);
        Ok(())
    }

    fn set_classes(&mut self, classes: &ClassSet) -> Result<()> {
        self.classes.write(classes)
    }

    fn classes(&self) -> Result<Vec<ClassReading>> {
        self.classes.read()
    }

    fn set_class_level(&mut self, class: usize, level: u64) -> Result<()> {
        self.classes.set_level(class, level);
        Ok(())
    }

    fn put_entry(
        &mut self,
        kind: ListKind,
        prefix: &Prefix,
        expires_ns: u64,
        list: u32,
    ) -> Result<()> {
        let entry = NewEntry {
            prefix: *prefix,
            expires_ns,
            list,
        };
        self.lists.put(kind, entry)
    }

    fn remove_entry(&mut self, kind: ListKind, prefix: &Prefix) -> Result<()> {
        // What came before is the old entry's, or a wider one's.
        self.collect_hits()?;
        self.lists.remove(kind, prefix)
    }

    fn change_entries(
        &mut self,
        kind: ListKind,
        put: &[NewEntry],
        remove: &[Prefix],
    ) -> Vec<Refused> {
        if let Err(error) = self.collect_hits() {
            tracing::warn!("hits of the last moment may go to other entries: {error:#}");
        }
        self.lists.change(kind, put, remove)
    }

    fn entry(&mut self, kind: ListKind, prefix: &Prefix) -> Result<Option<Entry>> {
        self.collect_hits()?;
        Ok(self.lists.entry(kind, prefix))
    }

    fn put_limits(&mut self, prefix: &Prefix, limits: &Limits) -> Result<()> {
        if let Some(noted) = self.noted() {
            noted.limits.push((*prefix, *limits));
            return self.lists.put_limits(prefix, limits);
        }
        // The limits first, then the mark that makes a packet look for them.
        self.limits.put(prefix, *limits)?;
        let marked = self.lists.put_limits(prefix, limits);
        if marked.is_err() {
            self.limits.remove(prefix)?;
        }
        marked
    }

    fn remove_limits(&mut self, prefix: &Prefix) -> Result<()> {
        self.lists.remove_limits(prefix);
        if let Some(noted) = self.noted() {
            noted.limits.retain(|(other, _)| other != prefix);
            return Ok(());
        }
        self.limits.remove(prefix)
    }

    fn put_ban(&mut self, source: &SourceKey, ban: &Ban) -> Result<()> {
        if let Some(noted) = self.noted() {
            noted.bans.push((*source, *ban));
            return Ok(());
        }
        self.store_ban(source, ban)
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
        Ok(self.sources.get(source))
    }

    fn sources(&self) -> Result<Vec<(SourceKey, Source)>> {
        Ok(self.sources.all(self.lengths))
    }

    fn source_count(&self) -> Result<usize> {
        Ok(self.sources.count())
    }

    fn is_known(&self, source: &SourceKey) -> bool {
        self.sources.is_protected(source)
    }

    fn meter(&self, meter: &Meter) -> Result<Option<u64>> {
        let [kind, ..] = meter.key.reserved;
        let hash = meter.hash(self.sources.tag(&meter.key) ^ u64::from(kind));
        let index = meters::line_of(hash, entries::METERS - 1);
        let line = self.meters.get(&index, 0);
        let line = line.map_err(|e| failed("read a limit", e))?;
        Ok(meters::time_in(&line.words, hash))
    }

    fn counters(&self) -> Result<Counters> {
        self.counted()
    }

    fn attach(&mut self, interface: &IfName, mode: AttachMode) -> Result<Attached> {
        if let Some(held) = self.links.get(interface) {
            return Ok(held.attached);
        }
        let held = self.hold(interface, mode)?;
        let attached = held.attached;
        self.links.insert(interface.clone(), held);
        if self.start.is_none() {
            self.attach_egress(interface);
        }
        Ok(attached)
    }

    fn rename(&mut self, pairs: &[(IfName, IfName)]) {
        self.rename_held(pairs);
    }

    fn attached_name(&self, interface: &IfName) -> Option<IfName> {
        self.name_of_held(interface)
    }

    fn device_of(&self, name: &IfName) -> Option<(u32, IfName)> {
        let index = device::index_of(name)?;
        Some((index, pins::name_of(index)?))
    }

    fn framing(&self, interface: &IfName) -> Framing {
        self.noted_framing(interface)
    }

    fn egress(&self, interface: &IfName) -> Egress {
        self.egress_of(interface)
    }

    fn egress_counter(&self) -> Result<EgressCounter> {
        self.counted_egress()
    }

    fn remembered_flows(&self) -> bool {
        self.remembered
    }

    fn detach(&mut self, interface: &IfName) -> Result<()> {
        self.detach_and_unpin(interface)
    }

    fn go_live(&mut self, limited: &[Prefix]) -> Result<Vec<String>> {
        self.commit(limited)
    }

    fn slot_of(&self, interface: &IfName) -> Option<usize> {
        self.counted_slot(interface)
    }

    fn continuity(&self) -> Continuity {
        self.continuity.clone()
    }

    fn pin_trouble(&self) -> Option<&str> {
        self.pin_trouble.as_deref()
    }

    fn forget_others(&mut self, kept: &[IfName]) -> Result<Vec<IfName>> {
        self.forget_other_pins(kept)
    }

    fn unpin(&mut self) -> Result<()> {
        match &self.pins {
            Some(pins) => pins.remove().map_err(|e| failed("take the pins away", e)),
            None => Ok(()),
        }
    }

    fn reset_counters(&mut self, slot: usize) -> Result<()> {
        if let Some(noted) = self.noted() {
            noted.resets.push(slot);
            return Ok(());
        }
        self.reset_slot(slot)
    }

    fn tend(&mut self) -> Result<()> {
        self.collect_hits()?;
        self.watch_pins();
        self.tended += 1;
        if self.tended.is_multiple_of(10) {
            (_, self.protected) = self.sources.tend(boot_ns());
            let (bulk, capacity) = (self.bans.bulk.as_fd(), self.capacity.bans);
            self.sources
                .sweep_ban_marks(|| batch::read_all::<SourceKey, Ban>(bulk, capacity))
                .map_err(|e| failed("read the bans", e))?;
            let known = || {
                let mut tags = self.sources.protected_tags();
                let bans = batch::read_all::<SourceKey, Ban>(bulk, capacity)?;
                tags.extend(bans.iter().map(|(key, _)| self.sources.tag(key)));
                Ok(tags)
            };
            let renewed: std::io::Result<()> = self.known.renew(known);
            renewed.map_err(|e| failed("read the bans", e))?;
        }
        Ok(())
    }

    fn memory(&self) -> Memory {
        let lists = self.lists.bytes();
        Memory {
            allow: lists.allow,
            block: lists.block,
            overrides: lists.limits + cost::of_limits(lists.limited),
            sources: self.sources.bytes(),
            ..Memory::at_start(&self.capacity)
        }
    }

    fn protected_sources(&self) -> u64 {
        self.protected
    }

    fn stages(&self) -> u32 {
        self.compiled()
    }

    fn verified_instructions(&self) -> Option<u32> {
        self.verified()
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

/// The map behind a hash or an array.
fn data(map: &aya::maps::Map) -> Option<&MapData> {
    if let aya::maps::Map::HashMap(data) | aya::maps::Map::Array(data) = map {
        return Some(data);
    }
    None
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
