//! Memory of BPF arrays, mapped into the process (`BPF_F_MMAPABLE`, kernel 5.5).

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use aya::Pod;
use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::super::Result;
use super::failed;

/// The values of an array, as words. The kernel's memory stays as long as this does, also when the
/// map has gone.
pub(super) struct Mapped {
    start: NonNull<core::ffi::c_void>,
    mapped: NonZeroUsize,
    words: usize,
}

// SAFETY: the memory is the process's, not a thread's, and all access goes through atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the values of an array whose value is `size_of::<V>()` bytes, a multiple of 8.
    pub(super) fn new<V: Pod>(map: &MapData, entries: u32) -> Result<Self> {
        let bytes = entries as usize * size_of::<V>();
        let mapped = Self::reserve(bytes)?;
        mapped.put(0, map, mapped.mapped)?;
        Ok(mapped)
    }

    /// Maps the values of arrays of so many bytes each, whole pages, one behind the other.
    pub(super) fn joined(maps: &[MapData], each: NonZeroUsize) -> Result<Self> {
        let mapped = Self::reserve(maps.len() * each.get())?;
        for (number, map) in maps.iter().enumerate() {
            mapped.put(number * each.get(), map, each)?;
        }
        Ok(mapped)
    }

    /// Addresses for so many bytes, with nothing behind them.
    fn reserve(bytes: usize) -> Result<Self> {
        let page = page_size();
        let length = NonZeroUsize::new(bytes.div_ceil(page) * page)
            .ok_or_else(|| refused(nix::Error::EINVAL))?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags) };
        Ok(Self {
            start: start.map_err(refused)?,
            mapped: length,
            words: bytes / size_of::<u64>(),
        })
    }

    /// Puts an array's values at a whole number of pages from the start.
    fn put(&self, at: usize, map: &MapData, length: NonZeroUsize) -> Result<()> {
        let inside = at
            .checked_add(length.get())
            .is_some_and(|end| end <= self.mapped.get());
        if !inside {
            return Err(refused(nix::Error::EINVAL));
        }
        let address = self.start.addr().checked_add(at);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: it takes the place of addresses that `self` has reserved and nobody has used.
        let put = unsafe { mmap(address, length, protection, flags, map.fd(), 0) };
        put.map(drop).map_err(refused)
    }
}

fn refused(error: nix::Error) -> super::super::DatapathError {
    failed("map a table into memory", error)
}

impl AsRef<[AtomicU64]> for Mapped {
    fn as_ref(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped, from a page's start on, for as long as `self` lives;
        // whoever else has them mapped or runs in the kernel may change them, as atomics may.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.words) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; nothing refers to it any more.
        let unmapped = unsafe { munmap(self.start, self.mapped.get()) };
        if let Err(error) = unmapped {
            tracing::warn!("a table stays mapped: {error}");
        }
    }
}

fn page_size() -> usize {
    let asked = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    asked
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096)
}
