//! What the program counted.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use xdp_common::abi::{Counter, Event, Fault, Plain};
use xdp_common::reason::{Action, Reason};
use xdp_user::datapath::Datapath as _;

use super::Kernel;

/// Which counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Slot of the interface in the policy; 15 for one that it doesn't name.
    pub interface: u32,
    /// Why.
    pub reason: Reason,
    /// Dropped or passed?
    pub dropped: bool,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// All counters that aren't zero, over all CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<Slot, Count>);

impl Counters {
    /// What has been counted since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut moved = BTreeMap::new();
        for (slot, count) in &self.0 {
            let old = earlier.0.get(slot).copied().unwrap_or_default();
            if *count != old {
                moved.insert(
                    *slot,
                    Count {
                        packets: count.packets.wrapping_sub(old.packets),
                        bytes: count.bytes.wrapping_sub(old.bytes),
                    },
                );
            }
        }
        Self(moved)
    }

    /// Counters in the order of interface, reason, outcome.
    pub fn iter(&self) -> impl Iterator<Item = (&Slot, &Count)> {
        self.0.iter()
    }

    /// One counter.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Count {
        self.0.get(&slot).copied().unwrap_or_default()
    }

    /// Counts one frame.
    pub fn add(&mut self, slot: Slot, bytes: u64) {
        let count = self.0.entry(slot).or_default();
        count.packets += 1;
        count.bytes += bytes;
    }

    /// Adds what another reading counted.
    pub fn merge(&mut self, other: &Self) {
        for (slot, count) in &other.0 {
            let sum = self.0.entry(*slot).or_default();
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        }
    }

    /// Packets of a reason, passed and dropped, on all interfaces.
    #[must_use]
    pub fn packets(&self, reason: Reason) -> u64 {
        self.matching(|slot| slot.reason == reason)
    }

    /// Packets that were dropped, or passed.
    #[must_use]
    pub fn packets_with_outcome(&self, dropped: bool) -> u64 {
        self.matching(|slot| slot.dropped == dropped)
    }

    fn matching(&self, wanted: impl Fn(&Slot) -> bool) -> u64 {
        self.0
            .iter()
            .filter(|(slot, _)| wanted(slot))
            .map(|(_, count)| count.packets)
            .sum()
    }
}

impl Kernel {
    /// Reads every counter; also finds one under a number that no reason has.
    ///
    /// # Errors
    /// When a read fails or a nameless counter isn't zero.
    pub fn counters(&self) -> Result<Counters> {
        let mut counters = BTreeMap::new();
        let all = self.datapath.counters()?;
        for (index, counter) in (0..).zip(all.all()) {
            let count = count(counter);
            if count == Count::default() {
                continue;
            }
            let slot = slot(index)
                .ok_or_else(|| anyhow!("counter {index} moved and belongs to no reason"))?;
            counters.insert(slot, count);
        }
        Ok(Counters(counters))
    }

    /// Reads one counter.
    ///
    /// # Errors
    /// When the read fails.
    pub fn count_of(&self, slot: Slot) -> Result<Count> {
        let action = if slot.dropped {
            Action::Drop
        } else {
            Action::Pass
        };
        let interface = slot.interface as usize;
        Ok(count(&self.datapath.counter(
            interface,
            slot.reason,
            action,
        )?))
    }

    /// How often a fault was counted.
    ///
    /// # Errors
    /// When the read fails.
    pub fn faults(&self, fault: Fault) -> Result<u64> {
        Ok(self.datapath.counters()?.fault(fault))
    }

    /// Takes the events that wait.
    pub fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(bytes) = self.events.next() {
            events.push(decode_event(&bytes));
        }
        events
    }
}

fn count(counter: &Counter) -> Count {
    Count {
        packets: counter.packets,
        bytes: counter.bytes,
    }
}

/// The event in a record of the ring buffer.
///
/// # Panics
/// When the record has another length.
fn decode_event(bytes: &[u8]) -> Event {
    assert_eq!(bytes.len(), size_of::<Event>(), "an event's length");
    let mut event = Event::ZERO;
    // SAFETY: `Event` is `Plain`: any bytes of its size, asserted above, make one.
    unsafe {
        std::ptr::copy_nonoverlapping(
            bytes.as_ptr(),
            std::ptr::from_mut(&mut event).cast::<u8>(),
            size_of::<Event>(),
        );
    }
    event
}

fn slot(index: u32) -> Option<Slot> {
    let code = u8::try_from(index / 2 % Reason::SLOTS).ok()?;
    Some(Slot {
        interface: index / 2 / Reason::SLOTS,
        reason: Reason::from_code(code)?,
        dropped: index % 2 == 1,
    })
}
