//! The datapath in memory, shared with the test that looks into it, refusing what it says.

use std::sync::{Arc, Mutex, MutexGuard};

use xdp_common::abi::{Ban, Limits, MAX_CLASSES, Policy, Source, SourceKey};

use crate::api::types::ListKind;
use crate::datapath::memory::MemoryDatapath;
use crate::datapath::{
    Attached, Capacity, ClassReading, ClassSet, Counters, Datapath, DatapathError, Egress,
    EgressHook, Entry, Meter, Result as DatapathResult,
};
use crate::domain::{AttachMode, IfName, Prefix};

type Refuses = Box<dyn FnMut(&str) -> bool + Send>;

/// A handle to the kernel's stand-in.
#[derive(Clone)]
pub(super) struct TestKernel {
    memory: Arc<Mutex<MemoryDatapath>>,
    refuses: Arc<Mutex<Refuses>>,
    carried_out: Arc<Mutex<Vec<String>>>,
    classes: Arc<Mutex<TestClasses>>,
    egress: Arc<Mutex<TestEgress>>,
}

/// What the test says of the egress program.
#[derive(Default)]
struct TestEgress {
    /// Interfaces that it isn't at.
    missing: Vec<IfName>,
    /// Whether the memory that was taken over was complete.
    remembered: bool,
}

/// The classes that the controller wrote last, and what the test says that they counted.
struct TestClasses {
    set: ClassSet,
    counted: [ClassReading; MAX_CLASSES],
}

impl TestKernel {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            memory: Arc::new(Mutex::new(MemoryDatapath::new(capacity))),
            refuses: Arc::new(Mutex::new(Box::new(|_| false))),
            carried_out: Arc::default(),
            egress: Arc::default(),
            classes: Arc::new(Mutex::new(TestClasses {
                set: ClassSet::default(),
                counted: [ClassReading::default(); MAX_CLASSES],
            })),
        }
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, MemoryDatapath> {
        self.memory.lock().unwrap()
    }

    /// Refuses, from now on, the changes that `which` says: `"put_entry 192.0.2.1"` and such.
    pub(super) fn refuse(&self, which: impl FnMut(&str) -> bool + Send + 'static) {
        *self.refuses.lock().unwrap() = Box::new(which);
    }

    /// The egress program isn't at these interfaces from now on.
    pub(super) fn lacks_egress(&self, interfaces: &[&str]) {
        let names = interfaces.iter().map(|name| name.parse().unwrap());
        self.egress.lock().unwrap().missing = names.collect();
    }

    /// An earlier daemon left a complete flow memory.
    pub(super) fn remembers_flows(&self) {
        self.egress.lock().unwrap().remembered = true;
    }

    pub(super) fn refuse_nothing(&self) {
        self.refuse(|_| false);
    }

    /// Changes carried out since the last call.
    pub(super) fn take_changes(&self) -> Vec<String> {
        std::mem::take(&mut self.carried_out.lock().unwrap())
    }

    pub(super) fn class_set(&self) -> ClassSet {
        self.classes.lock().unwrap().set.clone()
    }

    /// What a class counted from now on.
    pub(super) fn count_class(&self, number: usize, count: impl FnOnce(&mut ClassReading)) {
        count(&mut self.classes.lock().unwrap().counted[number]);
    }

    pub(super) fn class_level(&self, number: usize) -> u64 {
        self.memory().classes().unwrap()[number].level
    }

    pub(super) fn entry(&self, kind: ListKind, prefix: &str) -> Option<Entry> {
        let prefix = prefix.parse().unwrap();
        self.memory().entry(kind, &prefix).unwrap()
    }

    fn change<T>(
        &self,
        call: &str,
        carry_out: impl FnOnce(&mut MemoryDatapath) -> DatapathResult<T>,
    ) -> DatapathResult<T> {
        if (self.refuses.lock().unwrap())(call) {
            return Err(DatapathError::Kernel {
                what: call.to_owned(),
                source: anyhow::anyhow!("refused by the test"),
            });
        }
        self.carried_out.lock().unwrap().push(call.to_owned());
        carry_out(&mut self.memory())
    }
}

impl Datapath for TestKernel {
    fn egress(&self, interface: &IfName) -> Egress {
        if self.egress.lock().unwrap().missing.contains(interface) {
            return Egress::Missing("refused by the test".to_owned());
        }
        Egress::Attached(EgressHook::Tcx)
    }

    fn remembered_flows(&self) -> bool {
        self.egress.lock().unwrap().remembered
    }

    fn set_policy(&mut self, policy: &Policy) -> DatapathResult<()> {
        self.change("set_policy", |memory| memory.set_policy(policy))
    }

    fn set_classes(&mut self, classes: &ClassSet) -> DatapathResult<()> {
        self.change("set_classes", |memory| memory.set_classes(classes))?;
        self.classes.lock().unwrap().set = classes.clone();
        Ok(())
    }

    fn classes(&self) -> DatapathResult<Vec<ClassReading>> {
        let counted = self.classes.lock().unwrap().counted;
        let mut readings = self.memory().classes()?;
        for (reading, counted) in readings.iter_mut().zip(&counted) {
            reading.add(&counted.counter);
            reading.pressure_until_ns = reading.pressure_until_ns.max(counted.pressure_until_ns);
            reading.tat_ns = reading.tat_ns.max(counted.tat_ns);
        }
        Ok(readings)
    }

    fn is_known(&self, source: &SourceKey) -> bool {
        Datapath::is_known(&*self.memory(), source)
    }

    fn meter(&self, meter: &Meter) -> DatapathResult<Option<u64>> {
        self.memory().meter(meter)
    }

    fn set_class_level(&mut self, class: usize, level: u64) -> DatapathResult<()> {
        self.change(&format!("set_class_level {class} {level}"), |memory| {
            memory.set_class_level(class, level)
        })
    }

    fn put_entry(
        &mut self,
        kind: ListKind,
        prefix: &Prefix,
        expires_ns: u64,
        list: u32,
    ) -> DatapathResult<()> {
        self.change(&format!("put_entry {prefix}"), |memory| {
            memory.put_entry(kind, prefix, expires_ns, list)
        })
    }

    fn remove_entry(&mut self, kind: ListKind, prefix: &Prefix) -> DatapathResult<()> {
        self.change(&format!("remove_entry {prefix}"), |memory| {
            memory.remove_entry(kind, prefix)
        })
    }

    fn entry(&mut self, kind: ListKind, prefix: &Prefix) -> DatapathResult<Option<Entry>> {
        self.memory().entry(kind, prefix)
    }

    fn put_limits(&mut self, prefix: &Prefix, limits: &Limits) -> DatapathResult<()> {
        self.change(&format!("put_limits {prefix}"), |memory| {
            memory.put_limits(prefix, limits)
        })
    }

    fn remove_limits(&mut self, prefix: &Prefix) -> DatapathResult<()> {
        self.change(&format!("remove_limits {prefix}"), |memory| {
            memory.remove_limits(prefix)
        })
    }

    fn put_ban(&mut self, source: &SourceKey, ban: &Ban) -> DatapathResult<()> {
        self.change("put_ban", |memory| memory.put_ban(source, ban))
    }

    fn remove_ban(&mut self, source: &SourceKey) -> DatapathResult<bool> {
        self.change("remove_ban", |memory| memory.remove_ban(source))
    }

    fn ban(&self, source: &SourceKey) -> DatapathResult<Option<Ban>> {
        Datapath::ban(&*self.memory(), source)
    }

    fn bans(&self) -> DatapathResult<Vec<(SourceKey, Ban)>> {
        self.memory().bans()
    }

    fn source(&self, source: &SourceKey) -> DatapathResult<Option<Source>> {
        Datapath::source(&*self.memory(), source)
    }

    fn sources(&self) -> DatapathResult<Vec<(SourceKey, Source)>> {
        self.memory().sources()
    }

    fn counters(&self) -> DatapathResult<Counters> {
        self.memory().counters()
    }

    fn reset_counters(&mut self, slot: usize) -> DatapathResult<()> {
        self.change(&format!("reset_counters {slot}"), |memory| {
            memory.reset_counters(slot)
        })
    }

    fn attach(&mut self, interface: &IfName, mode: AttachMode) -> DatapathResult<Attached> {
        self.change(&format!("attach {interface}"), |memory| {
            memory.attach(interface, mode)
        })
    }

    fn rename(&mut self, pairs: &[(IfName, IfName)]) {
        self.memory().rename(pairs);
    }

    fn attached_name(&self, interface: &IfName) -> Option<IfName> {
        self.memory().attached_name(interface)
    }

    fn device_of(&self, name: &IfName) -> Option<(u32, IfName)> {
        self.memory().device_of(name)
    }

    fn detach(&mut self, interface: &IfName) -> DatapathResult<()> {
        self.change(&format!("detach {interface}"), |memory| {
            memory.detach(interface)
        })
    }

    fn verified_instructions(&self) -> Option<u32> {
        None
    }
}
