//! The BPF object, built from source by this crate's build script.

/// The object file, aligned for the loader.
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xdp-throttle.bpf.o"));
