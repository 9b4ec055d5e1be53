//! Memory of BPF arrays, mapped into the process (`BPF_F_MMAPABLE`, kernel 5.5).

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use aya::Pod;
use aya::maps::{ArrayOfMaps, MapData};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use xdp_common::abi::{ListLine, map};

use super::super::Result;
use super::super::lists::{Memory, Publisher};
use super::failed;

/// `BPF_MAP_TYPE_ARRAY` and flags (include/uapi/linux/bpf.h).
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_F_INNER_MAP: u32 = 1 << 12;

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
        let refused = |error: nix::Error| failed("map a table into memory", error);
        let bytes = entries as usize * size_of::<V>();
        let page = page_size();
        let length = NonZeroUsize::new(bytes.div_ceil(page) * page)
            .ok_or_else(|| refused(nix::Error::EINVAL))?;
        // SAFETY: a new mapping at an address of the kernel's choice, of a map that can be mapped.
        let start = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                map.fd(),
                0,
            )
        };
        Ok(Self {
            start: start.map_err(refused)?,
            mapped: length,
            words: bytes / size_of::<u64>(),
        })
    }
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

/// A list table that the program can be given.
pub(crate) struct KernelTable {
    map: MapData,
    memory: Mapped,
}

impl Memory for KernelTable {
    fn words(&self) -> &[AtomicU64] {
        self.memory.as_ref()
    }
}

/// Which list tables the program looks at.
pub(crate) struct KernelLists(pub(super) ArrayOfMaps<MapData, MapData>);

impl Publisher for KernelLists {
    type Memory = KernelTable;

    fn allocate(&mut self, lines: u32) -> Result<KernelTable> {
        let key = size_of::<u32>() as u32;
        let value = size_of::<ListLine>() as u32;
        let flags = BPF_F_INNER_MAP | BPF_F_MMAPABLE;
        let definition =
            aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY, key, value, lines, flags);
        let map = MapData::create(definition, map::LISTS, None)
            .map_err(|e| failed("make a list table: is there enough memory", e))?;
        let memory = Mapped::new::<ListLine>(&map, lines)?;
        Ok(KernelTable { map, memory })
    }

    fn publish(&mut self, ipv4: bool, table: &KernelTable) -> Result<()> {
        let index = u32::from(!ipv4);
        let set = self.0.set(index, &table.map, 0);
        set.map_err(|e| failed("put a list table in force", e))
    }
}
