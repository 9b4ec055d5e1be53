//! Words inside map values. The only file that touches raw map pointers.

use aya_ebpf::maps::PerCpuArray;
use core::arch::asm;
use core::marker::PhantomData;

use xdp_common::abi::{Ban, Counter, Entry, Source};
use xdp_common::verdict::{BanState, EntryState, SourceState, Word};

/// One aligned 64-bit word of a map value.
#[derive(Clone, Copy)]
pub(crate) struct MapWord<'a> {
    pointer: *mut u64,
    map: PhantomData<&'a u64>,
}

impl MapWord<'_> {
    #[inline(always)]
    fn new(pointer: *mut u64) -> Self {
        Self {
            pointer,
            map: PhantomData,
        }
    }
}

impl Word for MapWord<'_> {
    #[inline(always)]
    fn load(self) -> u64 {
        // SAFETY: the pointer is inside a map value (constructors below), aligned to 8 bytes;
        // map memory stays mapped while the program runs (RCU).
        unsafe { self.pointer.read_volatile() }
    }

    #[inline(always)]
    fn store(self, value: u64) {
        // SAFETY: as for `load`; an aligned 8-byte store is one store.
        unsafe { self.pointer.write_volatile(value) }
    }

    #[inline(always)]
    fn add(self, n: u64) {
        // SAFETY: as for `load`; BPF_ATOMIC | BPF_ADD on 64 bits.
        unsafe { asm!("lock *(u64 *)({p} + 0) += {n}", p = in(reg) self.pointer, n = in(reg) n) };
    }

    #[inline(always)]
    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64> {
        let found: u64;
        // SAFETY: as for `load`; BPF_CMPXCHG on 64 bits (kernel 5.12) takes and gives r0.
        unsafe {
            asm!(
                "r0 = cmpxchg_64({p} + 0, r0, {n})",
                p = in(reg) self.pointer,
                n = in(reg) new,
                inlateout("r0") current => found,
            );
        }
        if found == current { Ok(()) } else { Err(found) }
    }
}

/// A value of a map, by its address.
pub(crate) struct Slot<'a, T> {
    pointer: *mut T,
    map: PhantomData<&'a T>,
}

impl<'a, T> Slot<'a, T> {
    /// A value that a look-up gave.
    #[inline(always)]
    pub(crate) fn of(value: &'a T) -> Self {
        Self {
            pointer: core::ptr::from_ref(value).cast_mut(),
            map: PhantomData,
        }
    }

    /// A value that a look-up gave by its address, which must be valid for `'a`.
    #[inline(always)]
    pub(crate) fn at(pointer: *mut T) -> Self {
        Self {
            pointer,
            map: PhantomData,
        }
    }
}

macro_rules! words {
    ($slot:expr, $type:ty, $field:ident) => {
        // SAFETY: a field's address inside the value that the pointer is for.
        MapWord::new(unsafe { &raw mut (*$slot.pointer).$field })
    };
}

impl EntryState for Slot<'_, Entry> {
    #[inline(always)]
    fn expires_ns(&self) -> u64 {
        words!(self, Entry, expires_ns).load()
    }

    #[inline(always)]
    fn hit(&self, bytes: u64) {
        words!(self, Entry, packets).add(1);
        words!(self, Entry, bytes).add(bytes);
    }
}

impl BanState for Slot<'_, Ban> {
    #[inline(always)]
    fn get(&self) -> Ban {
        // SAFETY: a map value is a whole `Ban`; words of it may be from two writers, which makes a
        // ban longer or shorter by a level, never another source's.
        unsafe { self.pointer.read_volatile() }
    }

    #[inline(always)]
    fn until_ns(&self) -> u64 {
        words!(self, Ban, until_ns).load()
    }

    #[inline(always)]
    fn hit(&self, bytes: u64) {
        words!(self, Ban, packets).add(1);
        words!(self, Ban, bytes).add(bytes);
    }
}

macro_rules! source_words {
    ($($field:ident)+) => {
        impl<'a> SourceState for Slot<'a, Source> {
            type Word = MapWord<'a>;
            $(
                #[inline(always)]
                fn $field(&self) -> Self::Word {
                    words!(self, Source, $field)
                }
            )+
        }
    };
}
source_words!(tat_packets tat_bytes tat_tcp_new strikes packets bytes dropped_packets dropped_bytes last_seen_ns);

/// Counts a packet in this CPU's own slot.
#[inline(always)]
pub(crate) fn count(map: &PerCpuArray<Counter>, index: u32, bytes: u64) {
    let Some(counter) = map.get_ptr_mut(index) else {
        return;
    };
    // SAFETY: the look-up gave this CPU's value; the program isn't preempted by itself on a CPU.
    let counter = unsafe { &mut *counter };
    counter.packets += 1;
    counter.bytes += bytes;
}

/// Counts one in this CPU's own slot.
#[inline(always)]
pub(crate) fn count_one(map: &PerCpuArray<u64>, index: u32) {
    let Some(value) = map.get_ptr_mut(index) else {
        return;
    };
    // SAFETY: as in `count`.
    let value = unsafe { &mut *value };
    *value += 1;
}
