//! Words of host memory: sources and bans.

use std::cell::Cell;

use xdp_common::abi::{Ban, Source};
use xdp_common::sources::may_earn;
use xdp_common::verdict::{BanState, Offences, SourceState, Word};

/// A word of one source.
#[derive(Clone, Copy)]
pub struct MemoryWord<'a>(pub(super) &'a Cell<u64>);

impl Word for MemoryWord<'_> {
    fn load(self) -> u64 {
        self.0.get()
    }

    fn store(self, value: u64) {
        self.0.set(value);
    }

    fn add(self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    fn or(self, bits: u64) {
        self.0.set(self.0.get() | bits);
    }

    fn compare_exchange(self, current: u64, new: u64) -> std::result::Result<(), u64> {
        if self.0.get() != current {
            return Err(self.0.get());
        }
        self.0.set(new);
        Ok(())
    }
}

/// A ban that counts its hits.
#[derive(Clone, Copy)]
pub struct BanCell<'a>(pub(super) &'a Cell<Ban>);

impl BanState for BanCell<'_> {
    fn get(&self) -> Ban {
        self.0.get()
    }

    fn until_ns(&self) -> u64 {
        self.0.get().until_ns
    }

    fn hit(&self, bytes: u64) {
        let ban = self.0.get();
        self.0.set(Ban {
            packets: ban.packets + 1,
            bytes: ban.bytes + bytes,
            ..ban
        });
    }
}

macro_rules! source_cell {
    ($($field:ident)+; $($other:ident)+) => {
        /// The words of one source.
        #[derive(Debug, Default)]
        pub struct SourceCell {
            first_seen_ns: Cell<u64>,
            pub(super) earned: Cell<bool>,
            $($field: Cell<u64>,)+
            $(pub(super) $other: Cell<u64>,)+
        }

        impl From<Source> for SourceCell {
            fn from(source: Source) -> Self {
                Self {
                    first_seen_ns: Cell::new(source.first_seen_ns),
                    earned: Cell::new(false),
                    $($field: Cell::new(source.$field),)+
                    $($other: Cell::new(source.$other),)+
                }
            }
        }

        impl SourceCell {
            pub(super) fn get(&self) -> Source {
                Source {
                    first_seen_ns: self.first_seen_ns.get(),
                    $($field: self.$field.get(),)+
                    $($other: self.$other.get(),)+
                }
            }
        }

        impl<'a> SourceState for &'a SourceCell {
            type Word = MemoryWord<'a>;
            $(
                fn $field(&self) -> MemoryWord<'a> {
                    MemoryWord(&self.$field)
                }
            )+

            fn offences(&self) -> Option<Offences<MemoryWord<'a>>> {
                Some(Offences {
                    strikes: MemoryWord(&self.strikes),
                    dropped_packets: MemoryWord(&self.dropped_packets),
                    dropped_bytes: MemoryWord(&self.dropped_bytes),
                })
            }

            fn judged(&self, now: u64, earns: bool, proven: impl FnOnce() -> bool) {
                let age = now.saturating_sub(self.first_seen_ns.get());
                if earns && may_earn(self.packets.get(), age) && proven() {
                    self.earned.set(true);
                }
            }
        }
    };
}
source_cell!(tat_packets tat_bytes tat_tcp_new; packets bytes last_seen_ns strikes dropped_packets dropped_bytes);
