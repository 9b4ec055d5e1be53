//! The source table over its map.

use xdp_common::abi::SourceLine;
use xdp_common::sources::{Found, Place, SourceMemory, at, cold, find_or_add, hot, own_cold};
use xdp_common::verdict::{Offences, SourceState, Word};

use crate::known;
use crate::map_pointer::{MapWord, Slot, forget};
use crate::maps::SOURCES;
use crate::scratch::opaque;

pub(crate) type Line = Slot<'static, SourceLine>;

/// The map, and a word that the verifier doesn't know.
pub(crate) struct Sources(pub(crate) u64);

impl SourceMemory for Sources {
    type Line = Line;

    #[inline(always)]
    fn line(&self, index: u32) -> Option<Line> {
        SOURCES.get_ptr_mut(index).map(Slot::at)
    }

    #[inline(always)]
    fn own_cold(&self, line: u32, tag: u64) -> bool {
        source_cold(line.into(), tag) != 0
    }

    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        forget(value.into(), self.0) as u32
    }

    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
        opaque(value)
    }
}

/// The source with a packet counted, added if it is new. Nothing when others kept changing its
/// bucket.
#[inline(always)]
pub(crate) fn known(
    sources: &Sources,
    place: &Place,
    now: u64,
    bytes: u64,
    packets: u64,
) -> Option<Known> {
    let counted = packets << PACKETS_SHIFT | bytes;
    let told = source_way(place.first_line.into(), place.tag, place.low, now, counted);
    let way = (told & !IS_NEW).checked_sub(1)?;
    at(sources, place, way as u32, told & IS_NEW != 0).map(Known)
}

/// A function has five arguments: packets stand above the bytes.
const PACKETS_SHIFT: u32 = 32;

/// Beside a way's number: its source was added just now.
const IS_NEW: u64 = 1 << 8;

/// A source's way and one, or 0.
///
/// VERIFIER: 6.18: as part of the program, the tries of a lost race are walked again on each of its
/// paths, more than a million instructions together. A global function is verified once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn source_way(first_line: u64, tag: u64, low: u64, now: u64, counted: u64) -> u64 {
    let (packets, bytes) = (
        counted >> PACKETS_SHIFT,
        counted & ((1 << PACKETS_SHIFT) - 1),
    );
    let place = Place {
        first_line: first_line as u32,
        first_cold: 0,
        tag,
        low,
    };
    find_or_add(&Sources(now), &place, now, bytes, packets).map_or(0, |found| {
        let is_new = if found.is_new() { IS_NEW } else { 0 };
        (u64::from(found.way()) + 1) | is_new
    })
}

/// 1 if the cold line is the source's now. See [`source_way`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn source_cold(line: u64, tag: u64) -> u64 {
    own_cold(&Sources(tag), line as u32, tag).into()
}

/// A source that the table has.
pub(crate) struct Known(Found<Line>);

/// A word of a source: as long as nobody else finds it, without atomic operations.
#[derive(Clone, Copy)]
pub(crate) struct SourceWord {
    word: MapWord<'static>,
    is_own: bool,
}

impl Word for SourceWord {
    #[inline(always)]
    fn load(self) -> u64 {
        self.word.load()
    }

    #[inline(always)]
    fn store(self, value: u64) {
        self.word.store(value);
    }

    #[inline(always)]
    fn add(self, n: u64) {
        self.word.add(n);
    }

    #[inline(always)]
    fn or(self, bits: u64) {
        self.word.or(bits);
    }

    #[inline(always)]
    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64> {
        if self.is_own {
            self.word.store(new);
            Ok(())
        } else {
            self.word.compare_exchange(current, new)
        }
    }
}

impl Known {
    /// The source in a way of its bucket.
    #[inline(always)]
    pub(crate) fn at(sources: &Sources, place: &Place, way: u32, is_new: bool) -> Option<Self> {
        at(sources, place, way, is_new).map(Self)
    }

    #[inline(always)]
    pub(crate) fn way(&self) -> u32 {
        self.0.way()
    }

    #[inline(always)]
    pub(crate) fn is_new(&self) -> bool {
        self.0.is_new()
    }

    #[inline(always)]
    fn hot(&self, word: usize) -> SourceWord {
        SourceWord {
            word: self.0.hot(word),
            is_own: self.0.is_new(),
        }
    }
}

impl SourceState for Known {
    type Word = SourceWord;

    #[inline(always)]
    fn tat_packets(&self) -> SourceWord {
        self.hot(hot::TAT_PACKETS)
    }

    #[inline(always)]
    fn tat_bytes(&self) -> SourceWord {
        self.hot(hot::TAT_BYTES)
    }

    #[inline(always)]
    fn tat_tcp_new(&self) -> SourceWord {
        self.hot(hot::TAT_TCP_NEW)
    }

    #[inline(always)]
    fn offences(&self) -> Option<Offences<SourceWord>> {
        use xdp_common::sources::SourceLine as _;
        let line = self.0.cold(&Sources(0))?;
        let shared = |word| SourceWord {
            word: line.word(word),
            is_own: false,
        };
        Some(Offences {
            strikes: shared(cold::STRIKES),
            dropped_packets: shared(cold::DROPPED_PACKETS),
            dropped_bytes: shared(cold::DROPPED_BYTES),
        })
    }

    #[inline(always)]
    fn judged(&self, now: u64, earns: bool, proven: impl FnOnce() -> bool) {
        if self.0.is_new() {
            self.0.publish();
        } else if earns && self.0.behaved(now, proven) {
            known::add(self.0.tag());
        }
    }
}
