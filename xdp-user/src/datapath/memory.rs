//! The datapath in the process: the same decision over host memory.
//!
//! For `explain`, which judges a hypothetical packet on copies, and for tests of the controller
//! that need no kernel.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::ControlFlow;

use xdp_common::abi::{
    Ban, Counter, Fault, Limits, MAX_INTERFACES, NotIp, NotIpKind, Plain, Policy, Source, SourceKey,
};
use xdp_common::lists::ALLOW;
use xdp_common::packet::{self, Address, Packet};
use xdp_common::reason::Reason;
use xdp_common::verdict::{Verdict, decide_parsed, source_key};

use super::lists::{InProcess, Lists, NewEntry};
use super::{
    Attached, Capacity, ClassReading, ClassSet, Counters, Datapath, DatapathError, Entry, Meter,
    Refused, Result,
};
use crate::api::types::ListKind;
use crate::domain::{AttachMode, IfName, Prefix};
use crate::host::framing::Framing;
use cells::SourceCell;
use flood::Flood;

mod cells;
mod flood;
mod flows;
mod tables;

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
    flood: Flood,
    lists: Lists<InProcess>,
    hits: RefCell<Vec<(u8, Address, u64)>>,
    sources: HashMap<KeyBytes, SourceCell>,
    bans: HashMap<KeyBytes, Cell<Ban>>,
    started: RefCell<Vec<(SourceKey, Ban)>>,
    faults: RefCell<Vec<Fault>>,
    counters: Counters,
    attached: HashMap<IfName, Attached>,
    next_index: u32,
    /// What there is to attach; everything while nobody has said so.
    devices: Option<Vec<Device>>,
}

/// A network device that a test made up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The kernel's name.
    pub name: IfName,
    /// Further names.
    pub altnames: Vec<IfName>,
    /// Its index.
    pub index: u32,
    /// Whether another program is attached to it.
    pub occupied: bool,
    /// Whether its driver has native XDP.
    pub native: bool,
}

impl Device {
    /// A free device with native XDP.
    pub fn new(name: IfName, index: u32) -> Self {
        Self {
            name,
            altnames: Vec::new(),
            index,
            occupied: false,
            native: true,
        }
    }
}

impl MemoryDatapath {
    /// Empty tables, no policy.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            policy: Policy::ZERO,
            flood: Flood::default(),
            lists: Lists::new(InProcess, capacity),
            hits: RefCell::default(),
            sources: HashMap::new(),
            bans: HashMap::new(),
            started: RefCell::default(),
            faults: RefCell::default(),
            counters: Counters::default(),
            attached: HashMap::new(),
            next_index: 1,
            devices: None,
        }
    }

    /// From now on only these devices are there.
    pub fn set_devices(&mut self, devices: Vec<Device>) {
        self.devices = Some(devices);
    }

    fn device(&self, name: &IfName) -> Option<&Device> {
        let mut devices = self.devices.iter().flatten();
        devices.find(|device| device.name == *name || device.altnames.contains(name))
    }

    /// Stores what is known of a source.
    pub fn put_source(&mut self, key: &SourceKey, source: Source) {
        self.sources.insert(key_bytes(key), source.into());
    }

    /// Takes over what goes on in a class elsewhere.
    pub fn put_class_reading(&mut self, class: usize, reading: &ClassReading) {
        self.flood.set_reading(class, reading);
    }

    /// Takes over a limit that is kept for a hash elsewhere.
    pub fn put_meter(&mut self, meter: &Meter, time: u64) {
        self.flood
            .set_time(meter.hash(flood::hash(&meter.key)), time);
    }

    /// Makes a stored source one that has behaved for a while.
    pub fn make_known(&mut self, key: &SourceKey) {
        if let Some(source) = self.sources.get(&key_bytes(key)) {
            source.earned.set(true);
        }
    }

    /// Judges a frame at a time and counts it, as the program does for an interface that the
    /// policy doesn't name.
    pub fn judge(&mut self, frame: &[u8], now_ns: u64) -> Verdict {
        self.judge_as(Framing::Ethernet, frame, now_ns)
    }

    /// The same of a frame that begins as the interface's do.
    pub fn judge_as(&mut self, framing: Framing, frame: &[u8], now_ns: u64) -> Verdict {
        let new = self.make_room_for_source(framing, frame, now_ns);
        let verdict = decide_parsed(|| read(framing, frame), &frame, &*self, |_policy| now_ns);
        if verdict.reason == Reason::NotIp {
            self.note_not_ip(framing, frame);
        }
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
        for (list, source, bytes) in self.hits.take() {
            let kind = if list == ALLOW {
                ListKind::Allow
            } else {
                ListKind::Block
            };
            self.lists.hit(kind, source.into(), 1, bytes);
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
    fn make_room_for_source(
        &mut self,
        framing: Framing,
        frame: &[u8],
        now_ns: u64,
    ) -> Option<KeyBytes> {
        let ControlFlow::Continue(packet) = read(framing, frame) else {
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

    fn note_not_ip(&mut self, framing: Framing, frame: &[u8]) {
        let mut counts = NotIp::ZERO;
        match (framing, packet::ether_type(&frame)) {
            (Framing::Ethernet, Some(ether_type)) => counts.note(ether_type),
            (Framing::Ethernet, None) | (Framing::Bare, _) => {
                counts.note_kind(NotIpKind::NoHeader);
            }
        }
        self.counters.add_not_ip(&counts);
    }
}

/// Reads a frame that begins as an interface's do.
pub(crate) fn read(framing: Framing, frame: &[u8]) -> ControlFlow<Reason, Packet> {
    match framing {
        Framing::Ethernet => packet::parse(&frame),
        Framing::Bare => packet::parse_bare(&frame),
    }
}

impl Datapath for MemoryDatapath {
    fn set_policy(&mut self, policy: &Policy) -> Result<()> {
        self.policy = *policy;
        self.flood.put_in_force();
        Ok(())
    }

    fn set_classes(&mut self, classes: &ClassSet) -> Result<()> {
        self.flood.set_next(classes);
        Ok(())
    }

    fn classes(&self) -> Result<Vec<ClassReading>> {
        Ok(self.flood.readings())
    }

    fn set_class_level(&mut self, class: usize, level: u64) -> Result<()> {
        self.flood.set_level(class, level);
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
        self.lists.remove(kind, prefix)
    }

    fn change_entries(
        &mut self,
        kind: ListKind,
        put: &[NewEntry],
        remove: &[Prefix],
    ) -> Vec<Refused> {
        self.lists.change(kind, put, remove)
    }

    fn entry(&mut self, kind: ListKind, prefix: &Prefix) -> Result<Option<Entry>> {
        Ok(self.lists.entry(kind, prefix))
    }

    fn put_limits(&mut self, prefix: &Prefix, limits: &Limits) -> Result<()> {
        self.lists.put_limits(prefix, limits)
    }

    fn remove_limits(&mut self, prefix: &Prefix) -> Result<()> {
        self.lists.remove_limits(prefix);
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
        let mut attached = Attached {
            index: self.next_index,
            native: mode != AttachMode::Generic,
        };
        self.next_index += 1;
        if self.devices.is_some() {
            let interface = interface.clone();
            let Some(device) = self.device(&interface) else {
                return Err(DatapathError::NoInterface { interface });
            };
            if device.occupied {
                let program = "another, number 7 of `bpftool prog`".to_owned();
                return Err(DatapathError::Occupied { interface, program });
            }
            if !device.native && mode == AttachMode::Native {
                let source = std::io::Error::from_raw_os_error(nix::libc::EOPNOTSUPP);
                return Err(DatapathError::NoNative { interface, source });
            }
            attached.index = device.index;
            attached.native &= device.native;
        }
        self.attached.insert(interface.clone(), attached);
        Ok(attached)
    }

    fn is_known(&self, source: &SourceKey) -> bool {
        let source = self.sources.get(&key_bytes(source));
        source.is_some_and(|source| source.earned.get())
    }

    fn meter(&self, meter: &Meter) -> Result<Option<u64>> {
        Ok(self.flood.time_of(meter.hash(flood::hash(&meter.key))))
    }

    fn rename(&mut self, pairs: &[(IfName, IfName)]) {
        let held = pairs.iter().map(|(from, _)| self.attached.remove(from));
        let held: Vec<Option<Attached>> = held.collect();
        for ((_, to), held) in pairs.iter().zip(held) {
            self.attached.extend(held.map(|held| (to.clone(), held)));
        }
    }

    fn attached_name(&self, interface: &IfName) -> Option<IfName> {
        let attached = self.attached.get(interface)?;
        let Some(devices) = &self.devices else {
            return Some(interface.clone());
        };
        let device = devices.iter().find(|one| one.index == attached.index)?;
        Some(device.name.clone())
    }

    fn device_of(&self, name: &IfName) -> Option<(u32, IfName)> {
        if let Some(attached) = self.attached.get(name).filter(|_| self.devices.is_none()) {
            return Some((attached.index, name.clone()));
        }
        let device = self.device(name)?;
        Some((device.index, device.name.clone()))
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
