//! Reading a hash map in bulk, and setting many inner maps at once: `BPF_MAP_LOOKUP_BATCH` (kernel 5.6)
//! and `BPF_MAP_UPDATE_BATCH` (of maps of maps: 5.19), which the loader doesn't offer.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use nix::libc;
use xdp_common::abi::Plain;

use super::syscall::{bpf, descriptor};

const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
/// The kernel's own, for what a kind of map can't do (include/linux/errno.h).
const ENOTSUPP: i32 = 524;
/// Entries a call; the kernel copies bucket by bucket and needs room for the fullest.
const CHUNK: usize = 4096;

/// `struct { … } batch` of `union bpf_attr` (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The same for one element.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// All entries of a hash, at most `capacity` of them. Entries that come or go
/// meanwhile may or may not be among them.
pub(super) fn read_all<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    capacity: u32,
) -> io::Result<Vec<(K, V)>> {
    let mut all = Vec::new();
    let mut keys = vec![K::ZERO; CHUNK];
    let mut values = vec![V::ZERO; CHUNK];
    let mut position = 0u32;
    let mut first = true;
    loop {
        let mut next = 0u32;
        let mut attr = BatchAttr {
            in_batch: if first {
                0
            } else {
                (&raw const position) as u64
            },
            out_batch: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(CHUNK).unwrap_or(u32::MAX),
            map_fd: descriptor(&map)?,
            ..BatchAttr::default()
        };
        // SAFETY: the buffers hold `count` keys and values of the map's own sizes (the caller's types),
        // which are `Plain`.
        let read = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) };
        let at_end = match read {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            read => read.map(|_zero| false)?,
        };
        let count = usize::try_from(attr.count)
            .map_err(io::Error::other)?
            .min(CHUNK);
        all.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if at_end || all.len() > capacity as usize {
            return Ok(all);
        }
        position = next;
        first = false;
    }
}

/// Puts inner maps, by their descriptors, at these keys of an array of maps. Some kernels wait for packets
/// in flight once for each of them, others once for all (`maybe_wait_bpf_programs`, kernel/bpf/syscall.c).
pub(super) fn set_inner_maps(map: BorrowedFd<'_>, keys: &[u32], inner: &[RawFd]) -> io::Result<()> {
    let map_fd = descriptor(&map)?;
    let one_by_one = || {
        let mut pairs = keys.iter().zip(inner);
        pairs.try_for_each(|(key, inner)| set_inner_map(map_fd, *key, *inner))
    };
    let count = keys.len().min(inner.len());
    if count < 2 {
        return one_by_one();
    }
    let mut attr = BatchAttr {
        keys: keys.as_ptr() as u64,
        values: inner.as_ptr() as u64,
        count: u32::try_from(count).map_err(io::Error::other)?,
        map_fd,
        ..BatchAttr::default()
    };
    // SAFETY: the buffers hold `count` keys and values of four bytes, which is what an array of maps has.
    match unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut attr) } {
        Err(error) if error.raw_os_error() == Some(ENOTSUPP) => one_by_one(),
        done => done.map(|_zero| ()),
    }
}

fn set_inner_map(map_fd: u32, key: u32, inner: RawFd) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd,
        reserved: 0,
        key: (&raw const key) as u64,
        value: (&raw const inner) as u64,
        flags: 0,
    };
    // SAFETY: a key and a value of four bytes, as above.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(|_zero| ())
}
