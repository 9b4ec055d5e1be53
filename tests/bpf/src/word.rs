//! Words inside map values. The only file that touches raw map pointers.

use core::arch::asm;

use aya_ebpf::maps::PerCpuArray;

use crate::abi::Count;

/// Reads a word that other CPUs write.
#[inline(always)]
pub(crate) fn load(word: *const u64) -> u64 {
    // SAFETY: callers pass an aligned word of a map value, which stays mapped (RCU).
    unsafe { word.read_volatile() }
}

/// Overwrites a word that other CPUs write.
#[inline(always)]
pub(crate) fn store(word: *mut u64, value: u64) {
    // SAFETY: as for `load`.
    unsafe { word.write_volatile(value) }
}

/// Adds to a word, atomically.
#[inline(always)]
pub(crate) fn add(word: *mut u64, n: u64) {
    // SAFETY: as for `load`.
    unsafe { asm!("lock *(u64 *)({p} + 0) += {n}", p = in(reg) word, n = in(reg) n) };
}

/// Writes `new` if the word is `current`, and says whether it was.
#[inline(always)]
pub(crate) fn replace(word: *mut u64, current: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: as for `load`; BPF_CMPXCHG on 64 bits takes and gives r0.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({p} + 0, r0, {n})",
            p = in(reg) word,
            n = in(reg) new,
            inlateout("r0") current => found,
        );
    }
    found == current
}

/// Counts a packet, atomically.
#[inline(always)]
pub(crate) fn count(count: *mut Count, bytes: u64) {
    // SAFETY: a field's address inside the map value that the caller looked up.
    add(unsafe { &raw mut (*count).packets }, 1);
    // SAFETY: the same.
    add(unsafe { &raw mut (*count).bytes }, bytes);
}

/// Counts a packet in this CPU's own slot.
#[inline(always)]
pub(crate) fn count_here(map: &PerCpuArray<Count>, index: u32, bytes: u64) {
    if let Some(count) = map.get_ptr_mut(index) {
        // SAFETY: the look-up gave this CPU's value.
        let count = unsafe { &mut *count };
        count.packets += 1;
        count.bytes += bytes;
    }
}
