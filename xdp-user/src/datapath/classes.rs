//! Service classes as the datapath takes and shows them.

use xdp_common::abi::{Class, ClassCounter, LEVEL_NORMAL, MAX_CLASSES, Plain, class_table};

/// The classes with the table that says which one a packet is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassSet {
    classes: Vec<Class>,
    table: Box<[u8]>,
}

impl Default for ClassSet {
    /// One class that decides nothing, and everything in it.
    fn default() -> Self {
        Self {
            classes: vec![Class::OFF],
            table: vec![0; class_table::BYTES].into_boxed_slice(),
        }
    }
}

impl ClassSet {
    /// Sets the class that takes what no other names.
    pub fn set_other(&mut self, class: Class) {
        if let Some(other) = self.classes.first_mut() {
            *other = class;
        }
    }

    /// Adds a class and gives its number; nothing when there are [`MAX_CLASSES`] already.
    pub fn add(&mut self, class: Class) -> Option<u8> {
        if self.classes.len() >= MAX_CLASSES {
            return None;
        }
        self.classes.push(class);
        u8::try_from(self.classes.len() - 1).ok()
    }

    /// Puts a place of the table ([`class_table`]) into a class.
    pub fn assign(&mut self, place: usize, class: u8) {
        if let Some(byte) = self.table.get_mut(place) {
            *byte = class;
        }
    }

    /// The classes, by number.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The table: [`class_table::BYTES`] numbers of classes.
    pub fn table(&self) -> &[u8] {
        &self.table
    }

    /// The number of the class at a place of the table.
    pub fn class_at(&self, place: usize) -> u8 {
        self.table.get(place).copied().unwrap_or(0)
    }
}

/// What is going on in a class, and what it decided since the program was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassReading {
    /// `LEVEL_*`.
    pub level: u64,
    /// When the next newcomer's packet is due, nanoseconds of `CLOCK_BOOTTIME`: how much of the budget
    /// is spent.
    pub tat_ns: u64,
    /// Until when the class is under pressure, nanoseconds of `CLOCK_BOOTTIME`.
    pub pressure_until_ns: u64,
    /// When the next packet of a flow that began under pressure is due, nanoseconds of `CLOCK_BOOTTIME`.
    pub returning_tat_ns: u64,
    /// Of all CPUs.
    pub counter: ClassCounter,
}

impl Default for ClassReading {
    fn default() -> Self {
        Self {
            level: LEVEL_NORMAL,
            tat_ns: 0,
            pressure_until_ns: 0,
            returning_tat_ns: 0,
            counter: ClassCounter::ZERO,
        }
    }
}

impl ClassReading {
    /// Adds what one CPU counted.
    pub fn add(&mut self, counter: &ClassCounter) {
        let sum = &mut self.counter;
        for (to, from) in [
            (&mut sum.packets, counter.packets),
            (&mut sum.bytes, counter.bytes),
            (&mut sum.newcomers, counter.newcomers),
            (&mut sum.over, counter.over),
            (&mut sum.proven, counter.proven),
            (&mut sum.unsolicited, counter.unsolicited),
            (&mut sum.refused, counter.refused),
            (&mut sum.cookies, counter.cookies),
            (&mut sum.first_packets, counter.first_packets),
            (&mut sum.too_soon, counter.too_soon),
            (&mut sum.returned, counter.returned),
            (&mut sum.over_returning, counter.over_returning),
        ] {
            *to = to.saturating_add(from);
        }
    }
}
