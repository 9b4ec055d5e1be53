//! Collects the hits of list entries from the CPUs' rings: see [`xdp_common::abi::hits`].

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use aya::maps::{MapData, PerCpuArray};
use xdp_common::abi::{FAMILY_IPV4, HitWriter, hits};
use xdp_common::lists::ALLOW;

use super::super::Result;
use super::failed;
use super::mapped::Mapped;
use crate::api::types::ListKind;

/// Words of a hit.
const WORDS: usize = 4;

/// Packets that an entry decided.
pub(super) struct Collected {
    pub(super) kind: ListKind,
    pub(super) address: IpAddr,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

pub(super) struct Hits {
    rings: Mapped,
    writers: PerCpuArray<MapData, HitWriter>,
    /// Hits of each CPU that were read.
    read: Vec<u64>,
    /// Hits that were written over before they were read.
    pub(super) missed: u64,
}

impl Hits {
    pub(super) fn new(rings: Mapped, writers: PerCpuArray<MapData, HitWriter>) -> Self {
        Self {
            rings,
            writers,
            read: Vec::new(),
            missed: 0,
        }
    }

    /// Hits that were written before are left out: nobody knows who read them.
    pub(super) fn go_on(&mut self) -> Result<()> {
        self.read = self.written()?;
        Ok(())
    }

    /// Hits since the last call.
    pub(super) fn collect(&mut self) -> Result<Vec<Collected>> {
        let written = self.written()?;
        self.read.resize(written.len(), 0);
        let mut numbered = Vec::new();
        for (cpu, written) in written.iter().enumerate() {
            let oldest = written.saturating_sub(hits::RING.into());
            for number in self.read[cpu].max(oldest)..*written {
                numbered.push((cpu, number, self.words(cpu, number)));
            }
            self.missed += oldest.saturating_sub(self.read[cpu]);
            self.read[cpu] = *written;
        }
        if numbered.is_empty() {
            return Ok(Vec::new());
        }
        // What a CPU has come round to meanwhile may be half of one hit and half of another.
        let now = self.written()?;
        let before = numbered.len();
        numbered.retain(|(cpu, number, _)| number + u64::from(hits::RING) > now[*cpu]);
        self.missed += (before - numbered.len()) as u64;
        Ok(numbered.iter().map(|(_, _, words)| decode(words)).collect())
    }

    fn written(&self) -> Result<Vec<u64>> {
        let writers = self.writers.get(&0, 0);
        let writers = writers.map_err(|e| failed("read how many hits there are", e))?;
        Ok(writers.iter().map(|writer| writer.written).collect())
    }

    fn words(&self, cpu: usize, number: u64) -> [u64; WORDS] {
        let ring = hits::RING as usize;
        let place = usize::try_from(number % u64::from(hits::RING)).unwrap_or(0);
        let first = (cpu * ring + place) * WORDS;
        let mut words = [0; WORDS];
        for (word, shared) in words.iter_mut().zip(&self.rings.as_ref()[first..]) {
            *word = shared.load(Ordering::Acquire);
        }
        words
    }
}

/// The words of a [`xdp_common::abi::Hit`].
fn decode(words: &[u64; WORDS]) -> Collected {
    let [first, second, bytes, rest] = words;
    let mut addr = [0; 16];
    addr[..8].copy_from_slice(&first.to_ne_bytes());
    addr[8..].copy_from_slice(&second.to_ne_bytes());
    let [a, b, c, d, family, list, ..] = rest.to_ne_bytes();
    let [w, x, y, z, ..] = addr;
    Collected {
        kind: if list == ALLOW {
            ListKind::Allow
        } else {
            ListKind::Block
        },
        address: if family == FAMILY_IPV4 {
            IpAddr::from([w, x, y, z])
        } else {
            IpAddr::from(addr)
        },
        packets: u32::from_ne_bytes([a, b, c, d]).into(),
        bytes: *bytes,
    }
}
