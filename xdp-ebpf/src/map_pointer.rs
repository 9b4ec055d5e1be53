//! Words inside map values. The only file that touches raw map pointers.

use aya_ebpf::maps::PerCpuArray;
use core::arch::asm;
use core::ffi::c_void;
use core::marker::PhantomData;

use xdp_common::abi::{
    Ban, ClassState, Counter, ListLine, Sample, SampleHead, SourceLine, WordLine, class_table,
};
use xdp_common::lists::{LINE_WORDS, Line};
use xdp_common::sources::head::VERSION_BYTE;
use xdp_common::verdict::{BanState, Word};

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
    fn or(self, bits: u64) {
        // SAFETY: as for `load`; BPF_ATOMIC | BPF_OR on 64 bits (kernel 5.12).
        unsafe {
            asm!("lock *(u64 *)({p} + 0) |= {n}", p = in(reg) self.pointer, n = in(reg) bits)
        };
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
#[derive(Clone, Copy)]
pub(crate) struct Slot<'a, T> {
    pointer: *mut T,
    map: PhantomData<&'a T>,
}

impl<T> Slot<'_, T> {
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

impl<'a> Slot<'a, ClassState> {
    #[inline(always)]
    pub(crate) fn class_tat(&self) -> MapWord<'a> {
        words!(self, ClassState, tat)
    }

    #[inline(always)]
    pub(crate) fn class_returning(&self) -> MapWord<'a> {
        words!(self, ClassState, returning_tat)
    }

    #[inline(always)]
    pub(crate) fn class_pressure(&self) -> MapWord<'a> {
        words!(self, ClassState, pressure_until_ns)
    }

    #[inline(always)]
    pub(crate) fn class_level(&self) -> u64 {
        words!(self, ClassState, level).load()
    }
}

impl<'a> Slot<'a, WordLine> {
    /// A word by its number, taken modulo 8.
    #[inline(always)]
    pub(crate) fn word_of_line(&self, index: usize) -> MapWord<'a> {
        // SAFETY: inside the line by the mask.
        MapWord::new(unsafe { self.pointer.cast::<u64>().add(within(index, LINE_WORDS)) })
    }
}

impl xdp_common::flows::Line for Slot<'static, WordLine> {
    type Word = MapWord<'static>;

    #[inline(always)]
    fn word(self, index: usize) -> MapWord<'static> {
        self.word_of_line(index)
    }
}

impl<'a> Slot<'a, u64> {
    /// The value itself.
    #[inline(always)]
    pub(crate) fn alone(&self) -> MapWord<'a> {
        MapWord::new(self.pointer)
    }
}

impl Slot<'_, [u64; class_table::LINE / 8]> {
    /// A byte by its number, taken modulo the line.
    #[inline(always)]
    pub(crate) fn byte(&self, index: usize) -> u8 {
        let index = within(index, class_table::LINE);
        // SAFETY: inside the line by the mask; one load of one byte.
        unsafe { self.pointer.cast::<u8>().add(index).read_volatile() }
    }
}

/// A line of a list table.
#[derive(Clone, Copy)]
pub(crate) struct Listed {
    pointer: *const [u64; LINE_WORDS],
}

impl Listed {
    /// A line that a look-up gave.
    #[inline(always)]
    pub(crate) fn at(pointer: *const [u64; LINE_WORDS]) -> Self {
        Self { pointer }
    }

    /// A head, or the words of what is in force.
    #[inline(always)]
    pub(crate) fn head(pointer: *const ListLine) -> Self {
        Self {
            pointer: pointer.cast(),
        }
    }
}

impl Line for Listed {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        // SAFETY: callers name words by constants below 8, the verifier checks it; one aligned load.
        // The controller may be writing it: the load sees the word before or after that.
        unsafe { self.pointer.cast::<u64>().add(index).read_volatile() }
    }

    #[inline(always)]
    fn word_at(&self, index: usize) -> u64 {
        self.word(within(index, LINE_WORDS))
    }

    #[inline(always)]
    fn half_at(&self, index: usize) -> u32 {
        let index = within(index, 2 * LINE_WORDS);
        // SAFETY: as for `word`; inside the line by the mask. Little-endian: the lower half comes first.
        unsafe { self.pointer.cast::<u32>().add(index).read_volatile() }
    }
}

/// `index` modulo `bound`, a power of two.
///
/// VERIFIER: 6.18: LLVM leaves the mask out where it knows better, and the verifier then has no
/// bound. What went through an instruction of its own LLVM knows nothing of.
#[inline(always)]
fn within(index: usize, bound: usize) -> usize {
    let mut index = index;
    // SAFETY: moves a register onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) index, options(pure, nomem, nostack, preserves_flags)) };
    index & (bound - 1)
}

impl xdp_common::sources::SourceLine for Slot<'static, SourceLine> {
    type Word = MapWord<'static>;

    #[inline(always)]
    fn word(self, index: usize) -> Self::Word {
        // SAFETY: callers name words by constants below 8; the verifier checks it.
        MapWord::new(unsafe { self.pointer.cast::<u64>().add(index) })
    }

    #[inline(always)]
    fn store_version(self, version: u8) {
        // SAFETY: a byte of the line's first word; one store of one byte.
        unsafe {
            self.pointer
                .cast::<u8>()
                .add(VERSION_BYTE)
                .write_volatile(version)
        };
    }

    #[inline(always)]
    fn word_at(self, index: usize) -> Self::Word {
        self.word(within(index, LINE_WORDS))
    }
}

/// A sample's place in its ring buffer, which nobody else sees before it is submitted.
pub(crate) struct SamplePlace(*mut Sample);

impl SamplePlace {
    /// A place that was reserved.
    #[inline(always)]
    pub(crate) fn of(place: *mut Sample) -> Self {
        Self(place)
    }

    /// Writes what is known of the packet.
    #[inline(always)]
    pub(crate) fn describe(&self, head: SampleHead) {
        // SAFETY: a field of the place, which has room for a whole sample.
        unsafe { (&raw mut (*self.0).head).write(head) };
    }

    /// Room for the frame's first bytes.
    #[inline(always)]
    pub(crate) fn frame(&self) -> *mut c_void {
        // SAFETY: a field's address.
        unsafe { (&raw mut (*self.0).frame).cast() }
    }
}

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

/// Changes a value of this CPU's own.
#[inline(always)]
pub(crate) fn modify<T, R>(value: *mut T, change: impl FnOnce(&mut T) -> R) -> R {
    // SAFETY: a look-up gave this CPU's value; the program isn't preempted by itself on a CPU.
    change(unsafe { &mut *value })
}

/// Overwrites a value that this CPU alone writes.
#[inline(always)]
pub(crate) fn store<T>(value: *mut T, new: T) {
    // SAFETY: a look-up gave the value; readers copy it and check the writer's number behind.
    unsafe { value.write_volatile(new) };
}

/// The same value, of which the verifier no longer knows what it may be: it knows nothing of
/// `unknown`, a word of a map, and doesn't follow that adding and subtracting it cancels out.
#[inline(always)]
pub(crate) fn forget(value: u64, unknown: u64) -> u64 {
    let mut value = value;
    // SAFETY: adds a register to another and subtracts it again.
    unsafe {
        asm!(
            "{v} += {n}",
            "{v} -= {n}",
            v = inout(reg) value,
            n = in(reg) unknown,
            options(pure, nomem, nostack),
        );
    }
    value
}
