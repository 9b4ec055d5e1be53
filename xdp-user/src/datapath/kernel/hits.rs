//! Collects the hits of list entries from the CPUs' rings: see [`xdp_common::abi::hits`].

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{MapData, PerCpuArray};
use xdp_common::abi::{FAMILY_IPV4, HitWriter, hits};
use xdp_common::lists::ALLOW;

use super::super::Result;
use super::failed;
use super::mapped::Mapped;
use crate::api::types::ListKind;

/// Words of a hit.
const WORDS: usize = 4;

/// Hits that are read at a time: few enough for a near cache.
const BATCH: usize = 512;

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
    /// How far each CPU's ring was read.
    readers: Vec<Reader>,
}

impl Hits {
    pub(super) fn new(rings: Mapped, writers: PerCpuArray<MapData, HitWriter>) -> Self {
        Self {
            rings,
            writers,
            readers: Vec::new(),
        }
    }

    /// Hits that were written before are left out: nobody knows who read them.
    pub(super) fn go_on(&mut self) -> Result<()> {
        let readers = self.written()?.into_iter();
        self.readers = readers.map(|read| Reader { read, missed: 0 }).collect();
        Ok(())
    }

    /// Hits since the last call, the oldest of each CPU first.
    pub(super) fn collect(&mut self, mut each: impl FnMut(Collected)) -> Result<()> {
        let written = self.written()?;
        let mut readers = std::mem::take(&mut self.readers);
        readers.resize(written.len(), Reader::default());
        let rings = self.rings.as_ref().chunks(hits::RING as usize * WORDS);
        let mut cpus = readers.iter_mut().zip(rings).zip(&written).enumerate();
        let collected = cpus.try_for_each(|(cpu, ((reader, ring), written))| {
            let now = || Ok(self.written()?.get(cpu).copied().unwrap_or(*written));
            reader.read_until(*written, ring, now, &mut each)
        });
        self.readers = readers;
        collected
    }

    /// Hits that were written over before they were read.
    pub(super) fn missed(&self) -> u64 {
        self.readers.iter().map(|reader| reader.missed).sum()
    }

    fn written(&self) -> Result<Vec<u64>> {
        let writers = self.writers.get(&0, 0);
        let writers = writers.map_err(|e| failed("read how many hits there are", e))?;
        Ok(writers.iter().map(|writer| writer.written).collect())
    }
}

/// How far a CPU's ring was read.
#[derive(Clone, Copy, Debug, Default)]
struct Reader {
    /// Hits that were read or missed.
    read: u64,
    missed: u64,
}

impl Reader {
    /// Reads until so many were written, a batch at a time; `now` says how many are by now.
    fn read_until(
        &mut self,
        written: u64,
        ring: &[AtomicU64],
        now: impl Fn() -> Result<u64>,
        each: &mut impl FnMut(Collected),
    ) -> Result<()> {
        self.miss_before(written);
        let mut batch = Vec::with_capacity(BATCH);
        while self.read < written {
            let numbers = self.read..written.min(self.read + BATCH as u64);
            batch.clear();
            batch.extend(numbers.clone().map(|number| words(ring, number)));
            // The one that the CPU writes now may be half of one hit and half of another.
            self.miss_before(now()? + 1);
            let whole = numbers.clone().zip(&batch);
            let whole = whole.filter(|(number, _)| *number >= self.read);
            whole.for_each(|(_, words)| each(decode(words)));
            self.read = self.read.max(numbers.end);
        }
        Ok(())
    }

    /// Of so many hits, the ring holds the last ones.
    fn miss_before(&mut self, written: u64) {
        let oldest = written.saturating_sub(hits::RING.into());
        self.missed += oldest.saturating_sub(self.read);
        self.read = self.read.max(oldest);
    }
}

/// A hit of a ring.
fn words(ring: &[AtomicU64], number: u64) -> [u64; WORDS] {
    let place = usize::try_from(number % u64::from(hits::RING)).unwrap_or(0);
    let shared = ring.iter().skip(place * WORDS);
    let mut words = [0; WORDS];
    for (word, shared) in words.iter_mut().zip(shared) {
        *word = shared.load(Ordering::Acquire);
    }
    words
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

#[cfg(test)]
mod tests {
    use super::*;

    const RING: u64 = hits::RING as u64;

    fn ring() -> Vec<AtomicU64> {
        let words = RING as usize * WORDS;
        (0..words).map(|_| AtomicU64::new(0)).collect()
    }

    /// What a CPU does for the hits of these numbers, each of as many bytes as its number.
    fn write(ring: &[AtomicU64], numbers: std::ops::Range<u64>) {
        for number in numbers {
            let place = (number % RING) as usize * WORDS;
            ring[place + 2].store(number, Ordering::Release);
        }
    }

    /// Reads what was written until now, while others are: the numbers that came.
    fn read(
        reader: &mut Reader,
        ring: &[AtomicU64],
        written: u64,
        meanwhile: impl Fn() -> u64,
    ) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut each = |hit: Collected| numbers.push(hit.bytes);
        let now = || Ok(meanwhile());
        reader.read_until(written, ring, now, &mut each).unwrap();
        numbers
    }

    #[test]
    fn every_hit_is_read_once_whatever_the_batch() {
        let (ring, mut reader) = (ring(), Reader::default());
        let mut from = 0;
        for until in [1, BATCH as u64, BATCH as u64 + 1, 3_000, RING, 2 * RING - 1] {
            write(&ring, from..until);
            let numbers = read(&mut reader, &ring, until, || until);
            assert_eq!(numbers, (from..until).collect::<Vec<_>>());
            from = until;
        }
        assert_eq!(reader.missed, 0);
        assert!(read(&mut reader, &ring, from, || from).is_empty());
    }

    #[test]
    fn what_was_written_over_is_missed_and_counted() {
        let (ring, mut reader) = (ring(), Reader::default());
        let until = 3 * RING + 5;
        write(&ring, 0..until);
        let numbers = read(&mut reader, &ring, until, || until);
        // The oldest one's place is the next that is written.
        assert_eq!(numbers, (until - RING + 1..until).collect::<Vec<_>>());
        assert_eq!(reader.missed, until - RING + 1);
    }

    #[test]
    fn a_cpu_that_comes_round_while_it_is_read_spoils_no_hit() {
        let (ring, mut reader) = (ring(), Reader::default());
        write(&ring, 0..RING);
        let written = std::cell::Cell::new(RING);
        let meanwhile = || {
            let first = written.get();
            let until = first + BATCH as u64 / 2;
            write(&ring, first..until);
            written.set(until);
            until
        };
        let numbers = read(&mut reader, &ring, RING, meanwhile);
        let mut rising = numbers.windows(2);
        assert!(rising.all(|pair| pair[0] < pair[1]), "{numbers:?}");
        assert_eq!(numbers.len() as u64 + reader.missed, reader.read);
        assert!(numbers.len() > BATCH, "{numbers:?}");
        assert!(reader.missed > BATCH as u64 / 2, "{reader:?}");
    }
}
