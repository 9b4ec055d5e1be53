//! The state against floods in host memory. What the kernel would be asked is what the test says.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xdp_common::abi::{Class, ClassCounter, Limit, Plain, SourceKey};
use xdp_common::fragments;
use xdp_common::meters::{self, Charge};
use xdp_common::packet::Packet;
use xdp_common::verdict::{ClassWords, Cookie, Proof};

use super::HostWord;
use super::flows::HostFlows;

/// Seeds of the flow memory's hashes.
pub const FLOW_SEEDS: [u64; 2] = [3, 5];

/// Classes, and what is going on in them.
pub struct HostFlood {
    pub table: HashMap<usize, u8>,
    pub classes: Vec<Class>,
    pub states: Vec<HostState>,
    pub known: HashSet<SourceKeyBytes>,
    pub aside: bool,
    pub proof: Proof,
    /// How often a socket was asked for.
    pub asked: AtomicU32,
    pub cookie: Cookie,
    pub flows: HostFlows,
    pub remembers_answers: bool,
    meters: Mutex<HashMap<u64, Vec<u64>>>,
    fragments: Mutex<HashMap<u64, u64>>,
}

/// Sources can't be hashed: their bytes can.
pub type SourceKeyBytes = ([u8; 16], u8, u8);

/// The bytes of a source.
pub fn bytes(key: &SourceKey) -> SourceKeyBytes {
    (key.addr, key.family, key.prefix_len)
}

#[derive(Default)]
pub struct HostState {
    pub tat: AtomicU64,
    pub returning_tat: AtomicU64,
    pub pressure_until: AtomicU64,
    pub level: u64,
    pub counter: Mutex<Option<ClassCounter>>,
}

impl Default for HostFlood {
    fn default() -> Self {
        Self {
            table: HashMap::new(),
            classes: Vec::new(),
            states: Vec::new(),
            known: HashSet::new(),
            aside: false,
            proof: Proof::Unknown,
            asked: AtomicU32::new(0),
            cookie: Cookie::Impossible,
            flows: HostFlows::default(),
            remembers_answers: false,
            meters: Mutex::default(),
            fragments: Mutex::default(),
        }
    }
}

impl HostFlood {
    /// Adds a class and gives its number.
    pub fn add(&mut self, class: Class) -> u8 {
        self.classes.push(class);
        self.states.push(HostState::default());
        u8::try_from(self.classes.len() - 1).unwrap()
    }

    pub fn state(&self, number: u8) -> Option<HostClass<'_>> {
        self.states.get(usize::from(number)).map(HostClass)
    }

    pub fn counter(&self, number: u8) -> ClassCounter {
        let counter = self.states[usize::from(number)].counter.lock().unwrap();
        counter.unwrap_or(ClassCounter::ZERO)
    }

    pub fn count(&self, number: u8, change: impl FnOnce(&mut ClassCounter) -> u64) -> u64 {
        let Some(state) = self.states.get(usize::from(number)) else {
            return 0;
        };
        change(
            state
                .counter
                .lock()
                .unwrap()
                .get_or_insert(ClassCounter::ZERO),
        )
    }

    pub fn meter(&self, hash: u64, limit: &Limit, units: u64, now: u64) -> bool {
        let mut meters = self.meters.lock().unwrap();
        let line = meters.entry(hash).or_insert_with(|| vec![0; meters::WORDS]);
        let words: Vec<AtomicU64> = line.iter().map(|word| AtomicU64::new(*word)).collect();
        let word = |index: usize| HostWord(&words[index]);
        let conforms = meters::conforms(word, hash, Charge::of(limit, units), now);
        *line = words.iter().map(|w| w.load(Ordering::SeqCst)).collect();
        conforms
    }

    pub fn first_fragment(&self, packet: &Packet, now: u64) -> Option<bool> {
        let hash = fragments::hash(packet, [1, 1]);
        let word = *self.fragments.lock().unwrap().get(&hash)?;
        fragments::read(word, hash, now)
    }

    pub fn note_first_fragment(&self, packet: &Packet, passed: bool, now: u64) {
        let hash = fragments::hash(packet, [1, 1]);
        let word = fragments::word(hash, passed, now);
        self.fragments.lock().unwrap().insert(hash, word);
    }
}

/// A number for a source or a network.
pub fn hash(key: &SourceKey) -> u64 {
    let low = u128::from_be_bytes(key.addr) % 0xffff_ffff_ffff_ffc5;
    u64::try_from(low)
        .unwrap()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ u64::from(key.reserved[0])
}

/// What is going on in a class.
pub struct HostClass<'a>(&'a HostState);

impl<'a> ClassWords for HostClass<'a> {
    type Word = HostWord<'a>;

    fn tat(&self) -> HostWord<'a> {
        HostWord(&self.0.tat)
    }

    fn returning_tat(&self) -> HostWord<'a> {
        HostWord(&self.0.returning_tat)
    }

    fn pressure_until(&self) -> HostWord<'a> {
        HostWord(&self.0.pressure_until)
    }

    fn level(&self) -> u64 {
        self.0.level
    }
}
