//! The service classes in the kernel: two tables in banks, and what the program says of each class.

use std::sync::atomic::Ordering;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use xdp_common::abi::{
    CLASS_BANKS, Class, ClassCounter, ClassState, MAX_CLASSES, class_table, entries, map,
};

use super::super::{ClassReading, ClassSet, Result};
use super::failed;
use super::load::{map_data, take};
use super::mapped::Mapped;

const WORD: usize = size_of::<u64>();
const CLASS_WORDS: usize = size_of::<Class>() / WORD;
const TABLE_WORDS: usize = class_table::BYTES / WORD;
const STATE_WORDS: usize = size_of::<ClassState>() / WORD;
const TAT: usize = core::mem::offset_of!(ClassState, tat) / WORD;
const PRESSURE: usize = core::mem::offset_of!(ClassState, pressure_until_ns) / WORD;
const RETURNING: usize = core::mem::offset_of!(ClassState, returning_tat) / WORD;
const LEVEL: usize = core::mem::offset_of!(ClassState, level) / WORD;

/// The maps.
pub(super) struct Classes {
    table: Mapped,
    classes: Mapped,
    states: Mapped,
    counters: PerCpuArray<MapData, ClassCounter>,
    /// The bank that the next policy names.
    bank: u32,
}

impl Classes {
    /// Takes the maps of a loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            table: Mapped::new::<[u64; class_table::LINE / WORD]>(
                map_data(ebpf, map::CLASS_TABLE)?,
                entries::CLASS_TABLE,
            )?,
            classes: Mapped::new::<Class>(map_data(ebpf, map::CLASSES)?, entries::CLASSES)?,
            states: Mapped::new::<ClassState>(
                map_data(ebpf, map::CLASS_STATES)?,
                entries::CLASS_STATES,
            )?,
            counters: take(ebpf, map::CLASS_COUNTERS)?,
            bank: 0,
        })
    }

    /// Where the last set that was written is.
    pub(super) fn bank(&self) -> u32 {
        self.bank
    }

    /// The bank that the policy in force names, which is not written to.
    pub(super) fn go_on(&mut self, bank: u32) {
        self.bank = bank % CLASS_BANKS;
    }

    /// Writes a set into the next bank.
    pub(super) fn write(&mut self, set: &ClassSet) -> Result<()> {
        let bank = (self.bank + 1) % CLASS_BANKS;
        let at = bank as usize;
        let table = self.table.as_ref().iter().skip(at * TABLE_WORDS);
        for (word, bytes) in table.zip(set.table().chunks_exact(WORD)) {
            let bytes: [u8; WORD] = bytes.try_into().map_err(|e| failed("write a class", e))?;
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        let slots = self.classes.as_ref().chunks_exact(CLASS_WORDS);
        let slots = slots.skip(at * MAX_CLASSES).take(MAX_CLASSES);
        let all = set.classes().iter().chain(std::iter::repeat(&Class::OFF));
        for (slot, class) in slots.zip(all) {
            for (word, value) in slot.iter().zip(words(class)) {
                word.store(value, Ordering::Relaxed);
            }
        }
        self.bank = bank;
        Ok(())
    }

    /// Sets the level of a class.
    pub(super) fn set_level(&self, class: usize, level: u64) {
        let word = self.states.as_ref().get(class * STATE_WORDS + LEVEL);
        if let Some(word) = word {
            word.store(level, Ordering::Relaxed);
        }
    }

    /// What is going on in each class.
    pub(super) fn read(&self) -> Result<Vec<ClassReading>> {
        let states = self.states.as_ref().chunks_exact(STATE_WORDS);
        let mut readings = Vec::with_capacity(MAX_CLASSES);
        for (state, counters) in states.zip(self.counters.iter()) {
            let word = |index: usize| {
                let word = state.get(index);
                word.map_or(0, |word| word.load(Ordering::Relaxed))
            };
            let mut reading = ClassReading {
                level: word(LEVEL),
                tat_ns: word(TAT),
                pressure_until_ns: word(PRESSURE),
                returning_tat_ns: word(RETURNING),
                ..ClassReading::default()
            };
            let counters = counters.map_err(|e| failed("read the counters of classes", e))?;
            counters.iter().for_each(|counter| reading.add(counter));
            readings.push(reading);
        }
        Ok(readings)
    }
}

/// A class word by word, as the program reads it.
fn words(class: &Class) -> [u64; CLASS_WORDS] {
    let Class {
        budget,
        attack_budget,
        packets,
        bytes,
        returning,
        pressure_ns,
        retry_min_ns,
        retry_max_ns,
        flags,
        reserved: _,
    } = class;
    let mut words = [0; CLASS_WORDS];
    let limits = [budget, attack_budget, packets, bytes, returning];
    let limits = limits.iter().flat_map(|l| [l.cost_fp, l.tolerance_ns]);
    let times = [*pressure_ns, *retry_min_ns, *retry_max_ns];
    let rest = times
        .into_iter()
        .chain([u64::from_ne_bytes(low_half(*flags))]);
    for (word, value) in words.iter_mut().zip(limits.chain(rest)) {
        *word = value;
    }
    words
}

/// A word whose first four bytes in memory are a number's.
fn low_half(value: u32) -> [u8; WORD] {
    let [a, b, c, d] = value.to_ne_bytes();
    [a, b, c, d, 0, 0, 0, 0]
}
