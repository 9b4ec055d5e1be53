//! What the stages against floods ask of the state: classes, limits by hash, first fragments.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use xdp_common::abi::{Class, ClassCounter, Limit, MAX_CLASSES, SourceKey};
use xdp_common::fragments;
use xdp_common::meters::{self, Charge};
use xdp_common::packet::Packet;
use xdp_common::verdict::ClassWords;

use super::super::{ClassReading, ClassSet};
use super::cells::MemoryWord;
use super::flows::FlowMemory;

/// The state behind the stages.
#[derive(Default)]
pub(super) struct Flood {
    /// Classes in force, and those that the next policy puts in force.
    classes: ClassSet,
    next: ClassSet,
    states: [State; MAX_CLASSES],
    meters: RefCell<HashMap<u64, [u64; meters::WORDS]>>,
    fragments: RefCell<HashMap<u64, u64>>,
    pub(super) flows: FlowMemory,
}

#[derive(Default)]
struct State {
    tat: Cell<u64>,
    returning_tat: Cell<u64>,
    pressure_until: Cell<u64>,
    reading: Cell<ClassReading>,
}

impl Flood {
    pub(super) fn set_next(&mut self, classes: &ClassSet) {
        self.next = classes.clone();
    }

    pub(super) fn put_in_force(&mut self) {
        self.classes = self.next.clone();
    }

    pub(super) fn readings(&self) -> Vec<ClassReading> {
        let reading = |state: &State| ClassReading {
            tat_ns: state.tat.get(),
            returning_tat_ns: state.returning_tat.get(),
            pressure_until_ns: state.pressure_until.get(),
            ..state.reading.get()
        };
        self.states.iter().map(reading).collect()
    }

    /// Takes over what goes on in a class elsewhere.
    pub(super) fn set_reading(&self, class: usize, reading: &ClassReading) {
        if let Some(state) = self.states.get(class) {
            state.tat.set(reading.tat_ns);
            state.returning_tat.set(reading.returning_tat_ns);
            state.pressure_until.set(reading.pressure_until_ns);
            state.reading.set(*reading);
        }
    }

    pub(super) fn set_level(&self, class: usize, level: u64) {
        if let Some(state) = self.states.get(class) {
            let reading = state.reading.get();
            state.reading.set(ClassReading { level, ..reading });
        }
    }

    pub(super) fn class_at(&self, place: usize) -> u8 {
        self.classes.class_at(place)
    }

    pub(super) fn class(&self, number: u8) -> Option<&Class> {
        self.classes.classes().get(usize::from(number))
    }

    pub(super) fn state(&self, number: u8) -> Option<ClassCells<'_>> {
        self.states.get(usize::from(number)).map(ClassCells)
    }

    pub(super) fn count(&self, number: u8, change: impl FnOnce(&mut ClassCounter) -> u64) -> u64 {
        let Some(state) = self.states.get(usize::from(number)) else {
            return 0;
        };
        let mut reading = state.reading.get();
        let told = change(&mut reading.counter);
        state.reading.set(reading);
        told
    }

    pub(super) fn meter(&self, hash: u64, limit: &Limit, units: u64, now: u64) -> bool {
        let mut meters = self.meters.borrow_mut();
        let line = meters.entry(hash).or_default();
        let cells = line.map(Cell::new);
        let word = |index: usize| MemoryWord(&cells[index % meters::WORDS]);
        let conforms = meters::conforms(word, hash, Charge::of(limit, units), now);
        *line = cells.map(Cell::into_inner);
        conforms
    }

    pub(super) fn time_of(&self, hash: u64) -> Option<u64> {
        meters::time_in(self.meters.borrow().get(&hash)?, hash)
    }

    /// Takes over a limit that is kept elsewhere.
    pub(super) fn set_time(&self, hash: u64, time: u64) {
        let mut line = [0; meters::WORDS];
        line[0] = meters::word_with(hash, time);
        self.meters.borrow_mut().insert(hash, line);
    }

    pub(super) fn first_fragment(&self, packet: &Packet, now: u64) -> Option<bool> {
        let hash = fragments::hash(packet, SEEDS);
        let word = *self.fragments.borrow().get(&hash)?;
        fragments::read(word, hash, now)
    }

    pub(super) fn note_first_fragment(&self, packet: &Packet, passed: bool, now: u64) {
        let hash = fragments::hash(packet, SEEDS);
        let word = fragments::word(hash, passed, now);
        self.fragments.borrow_mut().insert(hash, word);
    }
}

/// Nobody attacks a copy.
const SEEDS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9];

/// A number for a source or a network.
pub(super) fn hash(key: &SourceKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key.addr, key.family, key.prefix_len, key.reserved).hash(&mut hasher);
    hasher.finish()
}

/// What is going on in a class.
#[derive(Clone, Copy)]
pub struct ClassCells<'a>(&'a State);

impl<'a> ClassWords for ClassCells<'a> {
    type Word = MemoryWord<'a>;

    fn tat(&self) -> MemoryWord<'a> {
        MemoryWord(&self.0.tat)
    }

    fn returning_tat(&self) -> MemoryWord<'a> {
        MemoryWord(&self.0.returning_tat)
    }

    fn pressure_until(&self) -> MemoryWord<'a> {
        MemoryWord(&self.0.pressure_until)
    }

    fn level(&self) -> u64 {
        self.0.reading.get().level
    }
}
