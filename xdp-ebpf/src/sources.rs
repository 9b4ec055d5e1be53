//! The source table over its map.

use xdp_common::abi::SourceLine;
use xdp_common::sources::{Found, Place, SourceMemory, at, cold, find_or_add, hot};
use xdp_common::verdict::{Offences, SourceState};

use crate::map_pointer::{MapWord, Slot, forget};
use crate::maps::SOURCES;

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
    fn forget(&self, value: u32) -> u32 {
        forget(value, self.0)
    }
}

/// The source, added if it is new. Nothing when others kept changing its bucket.
#[inline(always)]
pub(crate) fn known(sources: &Sources, place: &Place, now: u64) -> Option<Known> {
    let way = source_way(place.first_line.into(), place.tag, place.low, now).checked_sub(1)?;
    at(sources, place, way as u32).map(Known)
}

/// A source's way and one, or 0.
///
/// VERIFIER: 6.18: as part of the program, the tries of a lost race are walked again on each of its
/// paths, more than a million instructions together. A global function is verified once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn source_way(first_line: u64, tag: u64, low: u64, now: u64) -> u64 {
    let place = Place {
        first_line: first_line as u32,
        first_cold: 0,
        tag,
        low,
    };
    let found = find_or_add(&Sources(now), &place, now);
    found.map_or(0, |found| u64::from(found.way()) + 1)
}

/// A source that the table has.
pub(crate) struct Known(pub(crate) Found<Line>);

impl SourceState for Known {
    type Word = MapWord<'static>;

    #[inline(always)]
    fn tat_packets(&self) -> Self::Word {
        self.0.hot(hot::TAT_PACKETS)
    }

    #[inline(always)]
    fn tat_bytes(&self) -> Self::Word {
        self.0.hot(hot::TAT_BYTES)
    }

    #[inline(always)]
    fn tat_tcp_new(&self) -> Self::Word {
        self.0.hot(hot::TAT_TCP_NEW)
    }

    #[inline(always)]
    fn packets(&self) -> Self::Word {
        self.0.hot(hot::PACKETS)
    }

    #[inline(always)]
    fn bytes(&self) -> Self::Word {
        self.0.hot(hot::BYTES)
    }

    #[inline(always)]
    fn last_seen_ns(&self) -> Self::Word {
        self.0.hot(hot::LAST_SEEN)
    }

    #[inline(always)]
    fn offences(&self) -> Option<Offences<Self::Word>> {
        use xdp_common::sources::SourceLine as _;
        let line = self.0.cold(&Sources(0))?;
        Some(Offences {
            strikes: line.word(cold::STRIKES),
            dropped_packets: line.word(cold::DROPPED_PACKETS),
            dropped_bytes: line.word(cold::DROPPED_BYTES),
        })
    }

    #[inline(always)]
    fn behaved(&self, now: u64) {
        self.0.behaved(now);
    }
}
