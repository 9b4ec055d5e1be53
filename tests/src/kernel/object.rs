//! The bytes of the program, as it ships and with one change.

use anyhow::{Result, ensure};
use xdp_common::abi::{Source, SourceKey};
use xdp_user::datapath::OBJECT;

/// `enum bpf_map_type` (include/uapi/linux/bpf.h).
const HASH: u32 = 1;
const LRU_HASH: u32 = 9;

/// The program as it is built into the controller.
pub(super) fn shipped() -> Vec<u8> {
    OBJECT.to_vec()
}

/// The same with a source table that can be full: a hash in place of the LRU hash that evicts.
pub(super) fn with_sources_never_evicted() -> Result<Vec<u8>> {
    let definition = words([
        LRU_HASH,
        u32::try_from(size_of::<SourceKey>())?,
        u32::try_from(size_of::<Source>())?,
    ]);
    let mut object = shipped();
    let places: Vec<usize> = (0..object.len())
        .filter(|at| object[*at..].starts_with(&definition))
        .collect();
    ensure!(
        places.len() == 1,
        "the source table's definition is {} times in the object, not once",
        places.len()
    );
    for at in places {
        object[at..at + 4].copy_from_slice(&HASH.to_le_bytes());
    }
    Ok(object)
}

fn words(words: [u32; 3]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
