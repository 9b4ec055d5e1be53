//! Makes the filter of known sources anew: see [`xdp_common::known`].

use std::sync::atomic::{AtomicU64, Ordering};

use xdp_common::known::{LINE_BITS, SEEDS, WORDS, bits, lines};
use xdp_common::lists::LINE_WORDS;

/// The two filters, shared with the program.
pub(crate) struct KnownFilter<M> {
    memory: M,
    mask: u32,
}

impl<M: AsRef<[AtomicU64]>> KnownFilter<M> {
    /// The filters of a map, of `mask` and one bits each.
    pub(crate) fn new(memory: M, mask: u32) -> Self {
        Self { memory, mask }
    }

    /// Notes the seeds for whoever takes over the maps.
    pub(crate) fn note_seeds(&self, seeds: [u64; 2]) {
        for (word, seed) in self.memory.as_ref().iter().skip(SEEDS).zip(seeds) {
            word.store(seed, Ordering::SeqCst);
        }
    }

    /// Something is known of a source: in both filters, as the program does it.
    pub(crate) fn add(&self, tag: u64) {
        (0..2).for_each(|filter| self.set(tag, filter));
    }

    /// Makes the filter that isn't in use from what is known now, and uses it. What the program adds
    /// while `known` looks is in both.
    pub(crate) fn renew<E>(&self, known: impl FnOnce() -> Result<Vec<u64>, E>) -> Result<(), E> {
        let words = self.memory.as_ref();
        let Some(in_use) = words.first() else {
            return Ok(());
        };
        let next = in_use.load(Ordering::SeqCst) as u32 & 1 ^ 1;
        let size = (lines(self.mask) * WORDS) as usize;
        let first = LINE_WORDS + next as usize * size;
        for word in words.iter().skip(first).take(size) {
            word.store(0, Ordering::SeqCst);
        }
        for tag in known()? {
            self.set(tag, next);
        }
        in_use.store(next.into(), Ordering::SeqCst);
        Ok(())
    }

    fn set(&self, tag: u64, filter: u32) {
        let bits = bits(tag, self.mask, filter);
        let index = bits.line as usize * LINE_WORDS + bits.word as usize;
        if let Some(word) = self.memory.as_ref().get(index) {
            word.fetch_or(bits.mask, Ordering::SeqCst);
        }
    }
}

const _: () = assert!(LINE_WORDS * 64 == LINE_BITS as usize, "a line's words");

#[cfg(test)]
mod tests {
    use xdp_common::known::all_lines;

    use super::*;

    fn filter(mask: u32) -> KnownFilter<Vec<AtomicU64>> {
        let words = all_lines(mask) as usize * LINE_WORDS;
        KnownFilter::new((0..words).map(|_| AtomicU64::new(0)).collect(), mask)
    }

    fn holds(filter: &KnownFilter<Vec<AtomicU64>>, tag: u64) -> bool {
        let in_use = filter.memory[0].load(Ordering::SeqCst) as u32;
        let bits = bits(tag, filter.mask, in_use);
        let index = bits.line as usize * LINE_WORDS + bits.word as usize;
        bits.are_in(filter.memory[index].load(Ordering::SeqCst))
    }

    const TAGS: [u64; 3] = [1 << 14, 77 << 14, 0xffff << 14];

    #[test]
    fn what_is_added_is_found_until_a_renewal_leaves_it_out() {
        let filter = filter(0xffff);
        for tag in TAGS {
            assert!(!holds(&filter, tag));
            filter.add(tag);
            assert!(holds(&filter, tag));
        }
        filter.renew(|| Ok::<_, ()>(vec![TAGS[0]])).unwrap();
        assert!(holds(&filter, TAGS[0]));
        assert!(!holds(&filter, TAGS[1]) && !holds(&filter, TAGS[2]));
    }

    #[test]
    fn what_becomes_known_during_a_renewal_stays() {
        let filter = filter(0xffff);
        for _ in 0..2 {
            let meanwhile = || {
                filter.add(TAGS[1]);
                Ok::<_, ()>(vec![])
            };
            filter.renew(meanwhile).unwrap();
            assert!(holds(&filter, TAGS[1]));
        }
    }

    #[test]
    fn a_renewal_that_fails_changes_nothing() {
        let filter = filter(0xffff);
        filter.add(TAGS[2]);
        assert!(filter.renew(|| Err("no")).is_err());
        assert!(holds(&filter, TAGS[2]));
    }
}
