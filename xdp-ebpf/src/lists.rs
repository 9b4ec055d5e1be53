//! The list tables: look-ups, and the hits of their entries.

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_jiffies64};
use xdp_common::abi::{FAMILY_IPV4, FAMILY_IPV6, Hit, chunks, hits};
use xdp_common::lists::{
    Found, InMemory, Levels, Line as _, Table, behind_v4, behind_v6, group, settle, v4, v6,
};
use xdp_common::packet::Address;

use crate::map_pointer::{Listed, forget, modify, store};
use crate::maps::{HIT_WRITERS, HITS, LIST_HEADS, LISTS, Scratch, constant};
use crate::scratch::{hit_sampler, opaque};

/// Numbers of the families, see [`chunks::IN_FORCE`].
const IPV4: u32 = 0;
const IPV6: u32 = 1;

/// A family's table.
#[derive(Clone, Copy)]
pub(crate) struct InForce {
    family: u32,
    /// What said so, see [`chunks::in_force`].
    told: u64,
    head: Listed,
    /// A word that the verifier doesn't know.
    unknown: u64,
}

impl InForce {
    /// What the lists say of a source at first sight, by the table in force. In place: a call takes longer.
    #[inline(always)]
    pub(crate) fn at_sight(source: &Address) -> Option<Found> {
        let first = LIST_HEADS.get_ptr(0).map(Listed::head)?;
        Some(if source.is_v4() {
            let table = Self::told(IPV4, first.word(chunks::IN_FORCE), source.v4_bits().into())?;
            InMemory(table).first_v4(source.v4_bits())
        } else {
            let table = Self::told(IPV6, first.word(chunks::IN_FORCE + 1), source.halves().0)?;
            let (high, low) = source.halves();
            InMemory(table).first_v6(high, low)
        })
    }

    #[inline(always)]
    fn of_family(family: u32, unknown: u64) -> Option<Self> {
        Self::told(family, told(family)?, unknown)
    }

    #[inline(always)]
    fn told(family: u32, told: u64, unknown: u64) -> Option<Self> {
        let head = LIST_HEADS
            .get_ptr(chunks::head_of(told))
            .map(Listed::head)?;
        Some(Self {
            family,
            told,
            head,
            unknown,
        })
    }
}

/// How many changes there were: see [`chunks::CHANGES`].
#[inline(always)]
pub(crate) fn changes() -> Option<u64> {
    let first = LIST_HEADS.get_ptr(0).map(Listed::head)?;
    Some(first.word(chunks::CHANGES))
}

/// Which table is in force.
#[inline(always)]
fn told(family: u32) -> Option<u64> {
    let first = LIST_HEADS.get_ptr(0).map(Listed::head)?;
    Some(first.word_at(chunks::IN_FORCE + family as usize))
}

impl Table for InForce {
    type Line = Listed;

    #[inline(always)]
    fn line(&self, index: u32) -> Option<Listed> {
        let chunk = LISTS.get(chunks::first_of(self.told) + (index >> chunks::SHIFT))?;
        chunk.get_ptr(index & (chunks::LINES - 1)).map(Listed::at)
    }

    /// Where there is no table, line 0: see [`chunks::IN_FORCE`].
    #[inline(always)]
    fn head(&self) -> Option<Listed> {
        Some(self.head)
    }

    /// The numbers of two heads differ.
    #[inline(always)]
    fn moved(&self) -> u16 {
        match told(self.family) {
            Some(told) => (told ^ self.told) as u16,
            None => 1,
        }
    }

    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        forget(value.into(), self.unknown) as u32
    }

    #[inline(always)]
    fn forget_word(&self, value: u64) -> u64 {
        forget(value, self.unknown)
    }

    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
        opaque(value)
    }
}

/// A family's table, searched by functions of their own, with numbers in and out: all that few packets
/// need.
///
/// VERIFIER: 6.18: as part of the program they need more than its 512 bytes of stack, and are walked
/// again on each of its paths. A global function is verified once, for any numbers
/// (Documentation/bpf/verifier, kernel 5.6).
struct ByLevel(u32);

impl Levels for ByLevel {
    #[inline(always)]
    fn behind_v4(&self, first: Found, address: u32, now: u64) -> Found {
        Found::from_bits(others_of_v4(first.to_bits(), address.into(), now))
    }

    #[inline(always)]
    fn behind_v6(&self, first: Found, high: u64, low: u64, now: u64) -> Found {
        Found::from_bits(others_of_v6(first.to_bits(), high, low, now))
    }

    #[inline(always)]
    fn v4(&self, level: u32, address: u32, now: u64) -> Found {
        let (level, address) = (level.into(), address.into());
        Found::from_bits(if now == 0 {
            list_v4(level, address)
        } else {
            list_v4_by(level, address, now)
        })
    }

    #[inline(always)]
    fn v6_upper(&self, number: u32, high: u64, now: u64) -> Found {
        let number = number.into();
        Found::from_bits(if now == 0 {
            list_v6_upper(number, high)
        } else {
            list_v6_upper_by(number, high, now)
        })
    }

    #[inline(always)]
    fn v6_lower(&self, level: u32, high: u64, low: u64, now: u64) -> Found {
        let level = level.into();
        Found::from_bits(if now == 0 {
            list_v6_lower(level, high, low)
        } else {
            list_v6_lower_by(level, high, low, now)
        })
    }

    #[inline(always)]
    fn short(&self, top: u32, now: u64) -> Found {
        Found::from_bits(list_short(self.0.into(), top.into(), now))
    }
}

/// What the lists say of an address, after what they said at first sight.
#[inline(always)]
pub(crate) fn listed(source: &Address, at_sight: Found, now: impl FnOnce() -> u64) -> u8 {
    match at_sight.all_of(source) {
        Some(flags) => flags,
        None if source.is_v4() => settle(&ByLevel(IPV4), source, at_sight, now),
        None => settle(&ByLevel(IPV6), source, at_sight, now),
    }
}

macro_rules! global {
    ($(fn $name:ident($($argument:ident),+) $body:block)+) => {$(
        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: u64),+) -> u64 $body
    )+};
}

global! {
    fn others_of_v4(first, address, now) {
        behind_v4(&ByLevel(IPV4), Found::from_bits(first), address as u32, now).to_bits()
    }

    fn others_of_v6(first, high, low, now) {
        let first = Found::from_bits(first);
        behind_v6(&ByLevel(IPV6), first, (high, low), now).to_bits()
    }

    fn list_v4(level, address) {
        let table = InForce::of_family(IPV4, address);
        let find = |table| v4::find::<_, false>(&table, level as u32, address as u32, 0);
        table.map(find).unwrap_or_default().to_bits()
    }

    fn list_v4_by(level, address, now) {
        let table = InForce::of_family(IPV4, now);
        let find = |table| v4::find::<_, true>(&table, level as u32, address as u32, now);
        table.map(find).unwrap_or_default().to_bits()
    }

    fn list_v6_upper(number, high) {
        let table = InForce::of_family(IPV6, high);
        let find = |table| v6::find_upper::<_, false>(&table, number as u32, high, 0);
        table.map(find).unwrap_or_default().to_bits()
    }

    fn list_v6_upper_by(number, high, now) {
        let table = InForce::of_family(IPV6, now);
        let find = |table| v6::find_upper::<_, true>(&table, number as u32, high, now);
        table.map(find).unwrap_or_default().to_bits()
    }

    fn list_v6_lower(level, high, low) {
        let table = InForce::of_family(IPV6, low);
        let find = |table| v6::find_lower::<_, false>(&table, level as u32, high, low, 0);
        table.map(find).unwrap_or_default().to_bits()
    }

    fn list_v6_lower_by(level, high, low, now) {
        let table = InForce::of_family(IPV6, now);
        let find = |table| v6::find_lower::<_, true>(&table, level as u32, high, low, now);
        table.map(find).unwrap_or_default().to_bits()
    }

    fn list_short(family, top, now) {
        let table = InForce::of_family(family as u32, now);
        let find = |table| group::find_short(&table, top as u32, now);
        table.map(find).unwrap_or_default().to_bits()
    }
}

/// Counts a packet that an entry decided: see [`hits`].
#[inline(always)]
pub(crate) fn hit(scratch: *mut Scratch, list: u8, source: &Address, bytes: u64) {
    // SAFETY: the helper has no arguments and no preconditions (kernel 5.5).
    let ticks = unsafe { bpf_jiffies64() };
    // SAFETY: the helper has no arguments and no preconditions (kernel 4.1).
    let random = || unsafe { bpf_get_prandom_u32() };
    let sampler = hit_sampler(scratch);
    if let Some(packets) = sampler.take(ticks, constant::period_shift(), random) {
        write_hit(list, source, packets, bytes);
    }
}

/// Whether this CPU passes over a hit. If not, it is for [`hit`].
#[inline(always)]
pub(crate) fn passes_over(scratch: *mut Scratch) -> bool {
    // SAFETY: the helper has no arguments and no preconditions (kernel 5.5).
    let ticks = unsafe { bpf_jiffies64() };
    hit_sampler(scratch).passes_over(ticks)
}

/// Writes a hit that stands for so many.
#[inline(always)]
fn write_hit(list: u8, source: &Address, packets: u32, bytes: u64) {
    let (high, low, family) = if source.is_v4() {
        (u64::from(source.v4_bits()) << 32, 0, FAMILY_IPV4)
    } else {
        let (high, low) = source.halves();
        (high, low, FAMILY_IPV6)
    };
    let Some(writer) = HIT_WRITERS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the helper has no arguments and no preconditions (kernel 4.1).
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let place = modify(writer, |writer| writer.written as u32 % hits::RING);
    let Some(hit) = HITS.get_ptr_mut(cpu * hits::RING + place) else {
        return;
    };
    store(
        hit,
        Hit {
            addr: (u128::from(high) << 64 | u128::from(low)).to_be_bytes(),
            bytes: bytes * u64::from(packets),
            packets,
            family,
            list,
            reserved: [0; 2],
        },
    );
    modify(writer, |writer| writer.written += 1);
}
