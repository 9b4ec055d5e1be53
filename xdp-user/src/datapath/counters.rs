//! Packets and bytes by interface slot, reason and action.

use std::collections::BTreeMap;

use xdp_common::abi::{Counter, Fault, MAX_INTERFACES, NotIp, NotIpKind};
use xdp_common::reason::{Action, Reason};

/// The sums over all CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    slots: Vec<Counter>,
    faults: [u64; Fault::SLOTS as usize],
    not_ip: BTreeMap<NotIpKind, u64>,
    other_types: BTreeMap<u16, u64>,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = Counter {
            packets: 0,
            bytes: 0,
        };
        Self {
            slots: vec![zero; Self::LEN],
            faults: [0; Fault::SLOTS as usize],
            not_ip: BTreeMap::new(),
            other_types: BTreeMap::new(),
        }
    }
}

impl Counters {
    /// Slots of the kernel's array.
    pub const LEN: usize = MAX_INTERFACES * Reason::SLOTS as usize * 2;

    /// Index into the kernel's array.
    pub fn index(slot: usize, reason: Reason, action: Action) -> usize {
        let dropped = match action {
            Action::Pass => 0,
            Action::Drop | Action::Answer => 1,
        };
        (slot * Reason::SLOTS as usize + usize::from(reason.code())) * 2 + dropped
    }

    /// The indices of one interface slot.
    pub fn indices(slot: usize) -> std::ops::Range<u32> {
        let slots = Reason::SLOTS * 2;
        let first = u32::try_from(slot).unwrap_or(0) * slots;
        first..first + slots
    }

    /// Sets an interface slot to zero.
    pub fn reset(&mut self, slot: usize) {
        for index in Self::indices(slot) {
            if let Some(counter) = self.slots.get_mut(index as usize) {
                *counter = Counter {
                    packets: 0,
                    bytes: 0,
                };
            }
        }
    }

    /// Adds to one slot.
    pub fn add(&mut self, index: usize, counter: Counter) {
        if let Some(sum) = self.slots.get_mut(index) {
            sum.packets += counter.packets;
            sum.bytes += counter.bytes;
        }
    }

    /// Adds to one fault.
    pub fn add_fault(&mut self, code: usize, count: u64) {
        if let Some(sum) = self.faults.get_mut(code) {
            *sum += count;
        }
    }

    /// Adds what a CPU didn't judge.
    pub fn add_not_ip(&mut self, counts: &NotIp) {
        for (kind, count) in counts.kinds() {
            *self.not_ip.entry(kind).or_default() += count;
        }
        for (ether_type, count) in counts.others() {
            *self.other_types.entry(ether_type).or_default() += count;
        }
    }

    /// Packets of a kind that isn't judged.
    pub fn not_ip(&self, kind: NotIpKind) -> u64 {
        let others = self
            .other_types
            .values()
            .filter(|_| kind == NotIpKind::Other);
        self.not_ip.get(&kind).copied().unwrap_or(0) + others.sum::<u64>()
    }

    /// EtherTypes without a kind of their own that are told apart, at most
    /// [`xdp_common::abi::OTHER_ETHER_TYPES`] for each CPU.
    pub fn other_ether_types(&self) -> impl Iterator<Item = (u16, u64)> {
        self.other_types.iter().map(|(kind, count)| (*kind, *count))
    }

    /// Every slot of the kernel's array.
    pub fn all(&self) -> &[Counter] {
        &self.slots
    }

    /// Packets that left an interface slot with a reason and an action.
    pub fn get(&self, slot: usize, reason: Reason, action: Action) -> Counter {
        let index = Self::index(slot, reason, action);
        self.slots.get(index).copied().unwrap_or(Counter {
            packets: 0,
            bytes: 0,
        })
    }

    /// The same for all interfaces together.
    pub fn total(&self, reason: Reason, action: Action) -> Counter {
        (0..MAX_INTERFACES)
            .map(|slot| self.get(slot, reason, action))
            .fold(
                Counter {
                    packets: 0,
                    bytes: 0,
                },
                |sum, c| Counter {
                    packets: sum.packets + c.packets,
                    bytes: sum.bytes + c.bytes,
                },
            )
    }

    /// How often a fault happened.
    pub fn fault(&self, fault: Fault) -> u64 {
        self.faults.get(fault.code() as usize).copied().unwrap_or(0)
    }
}
