//! Memory that the kernel is asked to map with large pages.
//!
//! The controller's own copy of a long list is looked at seldom, and anywhere. In pages of 4 KiB each
//! look misses the TLB; where a hypervisor takes the mappings of idle pages away, each costs several
//! microseconds (docs/performance.md). Without transparent huge pages (off in the kernel or by its
//! setting `never`, or none free) this is memory as any other.

use std::alloc::Layout;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator, Global};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

/// Pages of x86-64.
const LARGE: usize = 2 << 20;
const SMALL: usize = 4 << 10;

/// A long vector.
pub(super) type Bulk<T> = allocator_api2::vec::Vec<T, LargePages>;

/// All that comes, of which there are at most so many.
pub(super) fn bulk<T>(at_most: usize, all: impl Iterator<Item = T>) -> Bulk<T> {
    let mut bulk = Bulk::with_capacity_in(at_most, LargePages);
    bulk.extend(all);
    bulk
}

/// Whole large pages for what fills at least one, the heap for the rest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LargePages;

/// The bytes to map for a layout: none if it is the heap's. Linux aligns a mapping of whole large
/// pages to one (mm/huge_memory.c, since 6.7); before, its ends may be of small ones.
fn mapped(layout: Layout) -> Option<NonZeroUsize> {
    let bytes = layout.size().checked_next_multiple_of(LARGE)?;
    NonZeroUsize::new(bytes).filter(|_| layout.size() >= LARGE && layout.align() <= SMALL)
}

// SAFETY: a block is the heap's or a mapping of its own that stays until it is given back, whichever
// copy of the allocator, which has no state, it is given to; a layout says which of both.
unsafe impl Allocator for LargePages {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let Some(bytes) = mapped(layout) else {
            return Global.allocate(layout);
        };
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(None, bytes, protection, MapFlags::MAP_PRIVATE) };
        let start = start.map_err(|_| AllocError)?;
        // SAFETY: the mapping just made; advice alone changes nothing that is read from it.
        let advised = unsafe { madvise(start, bytes.get(), MmapAdvise::MADV_HUGEPAGE) };
        if let Err(error) = advised {
            tracing::debug!("long lists are kept in small pages: {error}");
        }
        Ok(NonNull::slice_from_raw_parts(start.cast(), layout.size()))
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        let Some(bytes) = mapped(layout) else {
            // SAFETY: the caller's promise; a layout of this size was the heap's.
            return unsafe { Global.deallocate(block, layout) };
        };
        // SAFETY: the mapping that `allocate` made for this layout, which the caller gives back.
        let unmapped = unsafe { munmap(block.cast(), bytes.get()) };
        if let Err(error) = unmapped {
            tracing::warn!("memory of a list stays mapped: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The flags of the mapping that an address is in, from `/proc/self/smaps`. Mappings of other
    /// tests may have become one with it.
    fn flags(address: usize) -> Option<String> {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let is_inside = |line: &&str| {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let parse = |hex| usize::from_str_radix(hex, 16).ok();
            let ends = range.and_then(|(from, to)| Some(parse(from)?..parse(to)?));
            ends.is_some_and(|range| range.contains(&address))
        };
        let mut lines = smaps.lines().skip_while(|line| !is_inside(line));
        let flags = lines.find(|line| line.starts_with("VmFlags:"));
        flags.map(ToOwned::to_owned)
    }

    #[test]
    fn much_is_asked_for_in_large_pages() {
        let count = LARGE as u64 / 4;
        let long = bulk(count as usize, 0..count);
        let flags = flags(long.as_ptr().addr()).unwrap();
        let has_large = fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap();
        assert_eq!(flags.contains(" hg"), has_large, "{flags}");
        assert!(long.iter().copied().eq(0..count));
    }

    #[test]
    fn what_is_given_back_is_mapped_no_more() {
        const BYTES: usize = 256 << 20;
        const TIMES: usize = 64;
        // Pages of addresses in use, touched or not.
        let mapped = || -> usize {
            let text = fs::read_to_string("/proc/self/statm").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let before = mapped();
        for _ in 0..TIMES {
            drop(Bulk::<u8>::with_capacity_in(BYTES, LargePages));
        }
        let kept = mapped().saturating_sub(before) * SMALL;
        assert!(kept < TIMES * BYTES / 2, "{kept} bytes");
    }

    #[test]
    fn little_is_the_heaps() {
        let short = bulk(1_000, 0..1_000);
        assert!(short.iter().copied().eq(0..1_000));
        let edge = |bytes| mapped(Layout::from_size_align(bytes, 8).unwrap());
        assert_eq!(edge(LARGE - 1), None);
        assert_eq!(edge(LARGE).map(NonZeroUsize::get), Some(LARGE));
        assert_eq!(edge(LARGE + 1).map(NonZeroUsize::get), Some(2 * LARGE));
    }
}
