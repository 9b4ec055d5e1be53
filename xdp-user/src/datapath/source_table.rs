//! Reads and tends the source table, through memory: see [`xdp_common::sources`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use xdp_common::abi::{Ban, FAMILY_IPV4, FAMILY_IPV6, Plain, Source, SourceKey};
use xdp_common::lists::LINE_WORDS;
use xdp_common::sources::{
    BUCKET_LINES, IPV4_LOW, Place, Shape, SourceLine, SourceMemory, WAYS, ban_bit, cold,
    find_or_add, head, hot,
};
use xdp_common::verdict::{Word, is_link_local};

/// Time without a packet after which a source loses its protection.
const IDLE_NS: u64 = 300_000_000_000;
/// How often a bucket is copied again that changed meanwhile.
const COPIES: usize = 1000;

/// Words of the table, shared with the program.
pub(crate) struct SourceTable<M> {
    memory: M,
    shape: Shape,
    /// Bits of the filter of bans that nothing stood behind when they were last looked at.
    stale: HashMap<u32, u64>,
}

/// How sources are cut under the policy: IPv4 and IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths(pub(crate) u8, pub(crate) u8);

/// Lines of a table with room for so many sources.
pub(crate) const fn buckets(sources: u32) -> u32 {
    let buckets = sources.div_ceil(WAYS);
    if buckets == 0 { 1 } else { buckets }
}

impl<M: AsRef<[AtomicU64]>> SourceTable<M> {
    pub(crate) fn new(memory: M, shape: Shape) -> Self {
        Self {
            memory,
            shape,
            stale: HashMap::new(),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        std::mem::size_of_val(self.memory.as_ref()) as u64
    }

    /// What is known of a source.
    pub(crate) fn get(&self, key: &SourceKey) -> Option<Source> {
        let place = self.shape.place(key);
        let copy = self.copy(place.first_line / BUCKET_LINES);
        let way = (0..WAYS).find(|way| copy.word(0, 1 + *way as usize) == place.tag)?;
        Some(copy.source(way))
    }

    /// All known sources.
    pub(crate) fn all(&self, lengths: Lengths) -> Vec<(SourceKey, Source)> {
        let mut all = Vec::new();
        for bucket in 0..self.shape.buckets {
            if self.is_empty(bucket) {
                continue;
            }
            let copy = self.copy(bucket);
            for way in 0..WAYS {
                let tag = copy.word(0, 1 + way as usize);
                if tag != 0 {
                    let low = copy.word(1 + way, hot::LOW);
                    let key = key_of(self.shape.high(tag, low), low, lengths);
                    all.push((key, copy.source(way)));
                }
            }
        }
        all
    }

    /// How many sources are known: of every bucket its first line is read, and nothing copied.
    pub(crate) fn count(&self) -> usize {
        let memory = Words(self.memory.as_ref());
        let known = |bucket: u32| {
            let line = memory.line(bucket * BUCKET_LINES)?;
            let tags = (0..WAYS as usize).map(|way| line.word(1 + way).load());
            Some(tags.filter(|tag| *tag != 0).count())
        };
        (0..self.shape.buckets).filter_map(known).sum()
    }

    /// Sets what is known of a source.
    pub(crate) fn put(&self, key: &SourceKey, source: &Source) -> bool {
        let memory = Words(self.memory.as_ref());
        let place = self.shape.place(key);
        let Some(found) = find_or_add(&memory, &place, source.first_seen_ns, 0, 1) else {
            return false;
        };
        if found.is_new() {
            found.publish();
        }
        for (word, value) in [
            (hot::TAT_PACKETS, source.tat_packets),
            (hot::TAT_BYTES, source.tat_bytes),
            (hot::TAT_TCP_NEW, source.tat_tcp_new),
            (hot::PACKETS, source.packets),
            (hot::BYTES, source.bytes),
            (hot::FIRST_SEEN, source.first_seen_ns),
            (hot::LAST_SEEN, source.last_seen_ns),
        ] {
            found.hot(word).store(value);
        }
        let Some(line) = found.cold(&memory) else {
            return false;
        };
        for (word, value) in [
            (cold::STRIKES, source.strikes),
            (cold::DROPPED_PACKETS, source.dropped_packets),
            (cold::DROPPED_BYTES, source.dropped_bytes),
        ] {
            line.word(word).store(value);
        }
        true
    }

    /// Forgets every source; bans stay marked.
    pub(crate) fn clear(&self) {
        let memory = Words(self.memory.as_ref());
        for bucket in 0..self.shape.buckets {
            if let Some(line) = memory.line(bucket * BUCKET_LINES) {
                (0..WAYS as usize).for_each(|way| line.word(1 + way).store(0));
            }
        }
    }

    /// Holds every bucket as if a source were being added, or releases it: for tests of what
    /// happens to packets meanwhile.
    pub(crate) fn hold(&self) {
        let memory = Words(self.memory.as_ref());
        for bucket in 0..self.shape.buckets {
            if let Some(line) = memory.line(bucket * BUCKET_LINES) {
                line.word(0).add(head::VERSION);
            }
        }
    }

    /// Ends the protection of sources that have stayed away. Returns how many are known and how
    /// many of them protected.
    pub(crate) fn tend(&self, now_ns: u64) -> (u64, u64) {
        let memory = Words(self.memory.as_ref());
        let (mut known, mut protected) = (0, 0);
        for bucket in 0..self.shape.buckets {
            let first = bucket * BUCKET_LINES;
            let Some(line) = memory.line(first) else {
                continue;
            };
            let marks = line.word(0).load() >> head::PROTECTED;
            for way in 0..WAYS {
                if line.word(1 + way as usize).load() == 0 {
                    continue;
                }
                known += 1;
                if marks >> way & 1 == 0 {
                    continue;
                }
                let seen = memory
                    .line(first + 1 + way)
                    .map_or(0, |hot_line| hot_line.word(hot::LAST_SEEN).load());
                if now_ns.saturating_sub(seen) > IDLE_NS {
                    let marks = 1 << (head::PROTECTED + way) | 1 << (head::REFERENCED + way);
                    line.word(0).0.fetch_and(!marks, Ordering::SeqCst);
                } else {
                    protected += 1;
                }
            }
        }
        (known, protected)
    }

    /// Whether the table protects a source.
    pub(crate) fn is_protected(&self, key: &SourceKey) -> bool {
        let memory = Words(self.memory.as_ref());
        xdp_common::sources::is_protected(&memory, &self.shape.place(key))
    }

    /// Tags of the protected sources.
    pub(crate) fn protected_tags(&self) -> Vec<u64> {
        let memory = Words(self.memory.as_ref());
        let mut tags = Vec::new();
        for bucket in 0..self.shape.buckets {
            let Some(line) = memory.line(bucket * BUCKET_LINES) else {
                continue;
            };
            let marks = line.word(0).load() >> head::PROTECTED;
            let ways = (0..WAYS).filter(|way| marks >> way & 1 != 0);
            tags.extend(ways.map(|way| line.word(1 + way as usize).load()));
        }
        tags
    }

    /// The tag of a source.
    pub(crate) fn tag(&self, key: &SourceKey) -> u64 {
        self.shape.place(key).tag
    }

    /// Marks a source as one that may be banned, behind the ban itself.
    pub(crate) fn mark_ban(&self, key: &SourceKey) {
        let place = self.shape.place(key);
        if let Some(line) = Words(self.memory.as_ref()).line(place.first_line) {
            line.word(0).or(ban_bit(place.tag));
        }
    }

    /// Takes marks away that no ban stands behind. A mark goes when nothing stood behind it twice;
    /// then the bans are read once more, because the program may have begun one in between: it
    /// stores the ban before it marks it.
    pub(crate) fn sweep_ban_marks<E>(
        &mut self,
        mut bans: impl FnMut() -> Result<Vec<(SourceKey, Ban)>, E>,
    ) -> Result<(), E> {
        let wanted = self.marks_of(&bans()?);
        let mut unwanted = HashMap::new();
        let mut cleared = false;
        let memory = Words(self.memory.as_ref());
        for bucket in 0..self.shape.buckets {
            let Some(line) = memory.line(bucket * BUCKET_LINES) else {
                continue;
            };
            let marks = line.word(0).load() & head::BAN_MASK;
            let idle = marks & !wanted.get(&bucket).copied().unwrap_or(0);
            if idle == 0 {
                continue;
            }
            let twice = idle & self.stale.get(&bucket).copied().unwrap_or(0);
            if twice != 0 {
                line.word(0).0.fetch_and(!twice, Ordering::SeqCst);
                cleared = true;
            }
            unwanted.insert(bucket, idle & !twice);
        }
        self.stale = unwanted;
        if cleared {
            bans()?.iter().for_each(|(key, _)| self.mark_ban(key));
        }
        Ok(())
    }

    fn marks_of(&self, bans: &[(SourceKey, Ban)]) -> HashMap<u32, u64> {
        let mut marks = HashMap::new();
        for (key, _) in bans {
            let Place {
                first_line, tag, ..
            } = self.shape.place(key);
            *marks.entry(first_line / BUCKET_LINES).or_default() |= ban_bit(tag);
        }
        marks
    }

    fn is_empty(&self, bucket: u32) -> bool {
        let line = Words(self.memory.as_ref()).line(bucket * BUCKET_LINES);
        line.is_none_or(|line| (0..WAYS as usize).all(|way| line.word(1 + way).load() == 0))
    }

    /// A bucket at one moment: its version is even, and the same before and after, and so are its tags.
    fn copy(&self, bucket: u32) -> Copied {
        let memory = Words(self.memory.as_ref());
        let first = bucket * BUCKET_LINES;
        let version = || memory.line(first).map_or(0, |line| line.word(0).load());
        let mut copy = Copied::default();
        for _ in 0..COPIES {
            let before = version();
            let cold = self.shape.first_cold(bucket);
            let lines = (first..first + BUCKET_LINES).chain(cold..cold + WAYS);
            for (number, words) in lines.zip(copy.0.iter_mut()) {
                if let Some(line) = memory.line(number) {
                    for (index, word) in words.iter_mut().enumerate() {
                        *word = line.word(index).load();
                    }
                }
            }
            // The version has eight bits, so it may have gone round for a reader that was held up: the
            // tags tell then.
            let is_stable = before & head::VERSION == 0 && before >> 56 == version() >> 56;
            let same_tags = || {
                let head = memory.line(first);
                let tag = |way| head.map_or(0, |line| line.word(1 + way as usize).load());
                (0..WAYS).all(|way| tag(way) == copy.word(0, 1 + way as usize))
            };
            if is_stable && same_tags() {
                return copy;
            }
            std::thread::yield_now();
        }
        // A bucket that never rests is as good as one without sources, and better than a mix.
        Copied::default()
    }

    /// Whether the table knows a source, without a copy.
    #[cfg(test)]
    pub(crate) fn knows(&self, key: &SourceKey) -> bool {
        xdp_common::sources::find(&Words(self.memory.as_ref()), &self.shape.place(key)).is_some()
    }
}

/// Lines of a bucket, the cold ones behind.
const LINES: usize = (BUCKET_LINES + WAYS) as usize;

/// A bucket's words.
#[derive(Clone, Copy)]
struct Copied([[u64; LINE_WORDS]; LINES]);

impl Default for Copied {
    fn default() -> Self {
        Self([[0; LINE_WORDS]; LINES])
    }
}

impl Copied {
    fn word(&self, line: u32, word: usize) -> u64 {
        let line = self.0.get(line as usize);
        line.and_then(|line| line.get(word)).copied().unwrap_or(0)
    }

    fn source(&self, way: u32) -> Source {
        let hot = |word| self.word(1 + way, word);
        let is_owner = self.word(1 + WAYS + way, cold::OWNER) == self.word(0, 1 + way as usize);
        let cold = |word| {
            if is_owner {
                self.word(1 + WAYS + way, word)
            } else {
                0
            }
        };
        Source {
            tat_packets: hot(hot::TAT_PACKETS),
            tat_bytes: hot(hot::TAT_BYTES),
            tat_tcp_new: hot(hot::TAT_TCP_NEW),
            strikes: cold(cold::STRIKES),
            packets: hot(hot::PACKETS),
            bytes: hot(hot::BYTES),
            dropped_packets: cold(cold::DROPPED_PACKETS),
            dropped_bytes: cold(cold::DROPPED_BYTES),
            first_seen_ns: hot(hot::FIRST_SEEN),
            last_seen_ns: hot(hot::LAST_SEEN),
        }
    }
}

fn key_of(high: u64, low: u64, lengths: Lengths) -> SourceKey {
    let mut addr = [0; 16];
    let is_v4 = low == IPV4_LOW;
    if is_v4 {
        addr[..4].copy_from_slice(&high.to_be_bytes()[4..]);
    } else {
        addr[..8].copy_from_slice(&high.to_be_bytes());
        addr[8..].copy_from_slice(&low.to_be_bytes());
    }
    SourceKey {
        addr,
        family: if is_v4 { FAMILY_IPV4 } else { FAMILY_IPV6 },
        prefix_len: match is_v4 {
            true => lengths.0,
            false if is_link_local(high) => 128,
            false => lengths.1,
        },
        ..SourceKey::ZERO
    }
}

/// The table's words, for the functions that the program shares.
pub(crate) struct Words<'a>(pub(crate) &'a [AtomicU64]);

impl<'a> SourceMemory for Words<'a> {
    type Line = WordsLine<'a>;

    fn line(&self, index: u32) -> Option<WordsLine<'a>> {
        let from = index as usize * LINE_WORDS;
        self.0.get(from..from + LINE_WORDS).map(WordsLine)
    }
}

/// A line of the table.
#[derive(Clone, Copy)]
pub(crate) struct WordsLine<'a>(&'a [AtomicU64]);

impl<'a> SourceLine for WordsLine<'a> {
    type Word = SharedWord<'a>;

    fn word(self, index: usize) -> SharedWord<'a> {
        SharedWord(&self.0[index % LINE_WORDS])
    }

    fn store_version(self, version: u8) {
        let bytes = std::ptr::from_ref(&self.0[0]).cast::<[AtomicU8; 8]>();
        // SAFETY: the bytes of the word, which may be written through a shared reference.
        let bytes = unsafe { &*bytes };
        bytes[head::VERSION_BYTE].store(version, Ordering::SeqCst);
    }
}

/// A word that the program moves too.
#[derive(Clone, Copy)]
pub(crate) struct SharedWord<'a>(pub(crate) &'a AtomicU64);

impl Word for SharedWord<'_> {
    fn load(self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn store(self, value: u64) {
        self.0.store(value, Ordering::SeqCst);
    }

    fn add(self, n: u64) {
        self.0.fetch_add(n, Ordering::SeqCst);
    }

    fn or(self, bits: u64) {
        self.0.fetch_or(bits, Ordering::SeqCst);
    }

    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64> {
        let swapped = self
            .0
            .compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
        swapped.map(drop)
    }
}

#[cfg(test)]
mod tests;
