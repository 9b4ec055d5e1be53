//! A source's way in its bucket: finding it, adding it, and who goes for it.

use super::{
    MAX_PROTECTED, Place, SourceLine, SourceMemory, TRIES, WAYS, cold, head, hot, may_earn,
};
use crate::bits::{IN_ORDER, first_of_seven, first_place, is_set};
use crate::verdict::Word;

/// A source that is in the table.
#[derive(Clone, Copy)]
pub struct Found<L> {
    head: L,
    hot: L,
    cold: u32,
    way: u32,
    tag: u64,
    /// Its bucket is claimed and nobody else finds it until it is published.
    is_new: bool,
}

/// Whether the source may be banned: false for nearly all that aren't.
#[inline(always)]
pub fn may_be_banned<M: SourceMemory>(memory: &M, place: &Place) -> bool {
    let head = memory.line(place.first_line);
    head.is_some_and(|line| line.word(0).load() & ban_bit(place.tag) != 0)
}

/// The bit of a source in its bucket's filter of bans.
#[inline(always)]
pub const fn ban_bit(tag: u64) -> u64 {
    // Bits that the choice of the bucket uses little.
    let bit = ((tag & 0xffff).wrapping_mul(head::BAN_BITS as u64)) >> 16;
    1 << bit << head::BANS
}

/// The way that holds this tag. Which one it is is found without a branch: see [`crate::bits`].
#[inline(always)]
fn way_of<M: SourceMemory>(memory: &M, head: M::Line, tag: u64) -> Option<u32> {
    let ways = ways_with::<M, 4>(memory, head, tag);
    #[allow(clippy::cast_possible_truncation, reason = "one of seven")]
    let way = first_place(ways.into(), IN_ORDER) as u32;
    (ways != 0).then_some(way)
}

/// The ways whose tag this is: a bit each, so many apart.
#[inline(always)]
fn ways_with<M: SourceMemory, const APART: u32>(memory: &M, head: M::Line, tag: u64) -> u32 {
    let (mut all, mut others) = (0, 0);
    for way in 0..WAYS {
        let x = head.word((way as usize).wrapping_add(1)).load() ^ tag;
        let shift = APART.wrapping_mul(way);
        all |= 1 << shift;
        others |= is_set(x, |x| memory.opaque(x)) << shift;
    }
    #[allow(clippy::cast_possible_truncation, reason = "at most four bits a way")]
    let ways = (others ^ all) as u32;
    memory.forget(ways)
}

/// The source, if the table has it.
#[inline(always)]
pub fn find<M: SourceMemory>(memory: &M, place: &Place) -> Option<Found<M::Line>> {
    let head = memory.line(place.first_line)?;
    let way = way_of(memory, head, place.tag)?;
    found(memory, head, place, way)
}

/// Whether the table has the source, and protects it.
#[inline(always)]
pub fn is_protected<M: SourceMemory>(memory: &M, place: &Place) -> bool {
    let Some(head) = memory.line(place.first_line) else {
        return false;
    };
    let protected = head.word(0).load() >> head::PROTECTED & head::ALL_WAYS;
    // Few packets ask: a branch for each way is less for a verifier to keep.
    let holds = |way: u32| head.word((way as usize).wrapping_add(1)).load() == place.tag;
    protected != 0 && (0..WAYS).any(|way| holds(way) && protected >> way & 1 != 0)
}

/// The source in a way of its bucket, as [`Found::way`] and [`Found::is_new`] told.
#[inline(always)]
pub fn at<M: SourceMemory>(
    memory: &M,
    place: &Place,
    way: u32,
    is_new: bool,
) -> Option<Found<M::Line>> {
    let known = found(memory, memory.line(place.first_line)?, place, way)?;
    Some(Found { is_new, ..known })
}

#[inline(always)]
fn found<M: SourceMemory>(
    memory: &M,
    head: M::Line,
    place: &Place,
    way: u32,
) -> Option<Found<M::Line>> {
    Some(Found {
        head,
        hot: memory.line(place.first_line.wrapping_add(1).wrapping_add(way))?,
        cold: place.first_cold.wrapping_add(way),
        way,
        tag: place.tag,
        is_new: false,
    })
}

/// The source with `packets` of `bytes` together counted at `now`; added if it is new, and then to be published.
/// Nothing when others kept changing its bucket.
#[inline(always)]
pub fn find_or_add<M: SourceMemory>(
    memory: &M,
    place: &Place,
    now: u64,
    bytes: u64,
    packets: u64,
) -> Option<Found<M::Line>> {
    let head = memory.line(place.first_line)?;
    for _ in 0..TRIES {
        let before = head.word(0).load();
        if let Some(way) = way_of(memory, head, place.tag) {
            let bit = 1 << way << head::REFERENCED;
            if before & bit == 0 {
                head.word(0).or(bit);
            }
            let known = found(memory, head, place, memory.forget(way))?;
            known.hot(hot::PACKETS).add(packets);
            known.hot(hot::BYTES).add(bytes);
            known.hot(hot::LAST_SEEN).store(now);
            return Some(known);
        }
        if before & head::VERSION != 0 {
            continue;
        }
        let empty = ways_with::<M, 1>(memory, head, 0).into();
        let (way, kept) = victim(before, empty, place.tag);
        let claimed = kept.wrapping_add(head::VERSION);
        if head.word(0).compare_exchange(before, claimed).is_err() {
            continue;
        }
        let added = found(memory, head, place, memory.forget(way))?;
        return Some(added.begin(place.low, now, bytes, packets));
    }
    None
}

/// Which way a new source takes, and the head without the bits that this clears.
#[inline(always)]
fn victim(before: u64, empty: u64, tag: u64) -> (u32, u64) {
    let protected = before >> head::PROTECTED & head::ALL_WAYS;
    let referenced = before >> head::REFERENCED & head::ALL_WAYS;
    let open = !protected & head::ALL_WAYS;
    let single = open & !referenced;
    let (among, kept) = if empty != 0 {
        (empty, before)
    } else if single != 0 {
        (single, before)
    } else {
        // Everybody has come twice: the next round starts.
        (open, before & !head::ALL_WAYS)
    };
    let way = first_from(preferred(tag), among);
    let bits = (1 << way << head::REFERENCED) | (1 << way << head::PROTECTED);
    (way, kept & !bits)
}

/// The first way of a set from a way on, the first one again behind the last. Without a branch: see
/// [`crate::bits`].
#[inline(always)]
fn first_from(start: u32, among: u64) -> u32 {
    let twice = among | among << WAYS;
    let behind = first_of_seven(twice >> start);
    let way = start.wrapping_add(behind);
    // 1 for 7 to 13.
    let is_past = way.wrapping_add(1) >> 3;
    way.wrapping_sub(is_past.wrapping_mul(WAYS))
}

/// The way that a source takes if it can: so newcomers spread over the open ways, and a packet can
/// ask for the line before it knows.
#[inline(always)]
fn preferred(tag: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "below 7")]
    let way = ((tag >> 16 & 0xffff).wrapping_mul(WAYS as u64) >> 16) as u32;
    way
}

/// Asks for the first line of the source's bucket and the hot line that the source most likely has: what
/// is read is of no interest.
#[inline(always)]
pub fn touch<M: SourceMemory>(memory: &M, place: &Place) {
    let hot = place
        .first_line
        .wrapping_add(1)
        .wrapping_add(preferred(place.tag));
    for line in [place.first_line, hot] {
        if let Some(line) = memory.line(line) {
            let _untold = line.word(0).load();
        }
    }
}

impl<L: SourceLine> Found<L> {
    /// Begins a new source in a way of a claimed bucket, with its first packet counted.
    #[inline(always)]
    fn begin(self, low: u64, now: u64, bytes: u64, packets: u64) -> Self {
        // Nobody finds the way while it is neither the old source's nor the new one's.
        self.head
            .word_at((self.way as usize).wrapping_add(1))
            .store(0);
        for word in [hot::TAT_PACKETS, hot::TAT_BYTES, hot::TAT_TCP_NEW] {
            self.hot(word).store(0);
        }
        self.hot(hot::PACKETS).store(packets);
        self.hot(hot::BYTES).store(bytes);
        self.hot(hot::FIRST_SEEN).store(now);
        self.hot(hot::LAST_SEEN).store(now);
        self.hot(hot::LOW).store(low);
        Self {
            is_new: true,
            ..self
        }
    }

    /// Whether it was added just now and is still to be published.
    #[inline(always)]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Lets everybody find a new source, and releases its bucket. The version is a byte of its own:
    /// what others do to the head's other bits meanwhile is not lost.
    #[inline(always)]
    pub fn publish(&self) {
        self.head
            .word_at((self.way as usize).wrapping_add(1))
            .store(self.tag);
        let version = (self.head.word(0).load() >> 56).wrapping_add(1);
        #[allow(clippy::cast_possible_truncation, reason = "eight bits")]
        self.head.store_version(version as u8);
    }

    /// The source's tag.
    #[inline(always)]
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Which of its bucket's ways it has.
    #[inline(always)]
    pub fn way(&self) -> u32 {
        self.way
    }

    /// A word of the hot line.
    #[inline(always)]
    pub fn hot(&self, word: usize) -> L::Word {
        self.hot.word(word)
    }

    /// Notes that the source has sent a packet within its limits, which may earn it protection if
    /// `proven` says so: whether it did. That is asked only where nothing else is in the way.
    #[inline(always)]
    pub fn behaved(&self, now: u64, proven: impl FnOnce() -> bool) -> bool {
        let bit = 1_u64 << self.way << head::PROTECTED;
        let before = self.head.word(0).load();
        let age = || now.saturating_sub(self.hot(hot::FIRST_SEEN).load());
        if before & bit != 0 || !may_earn(self.hot(hot::PACKETS).load(), age()) {
            return false;
        }
        let protected = before >> head::PROTECTED & head::ALL_WAYS;
        // Who loses a race tries again with the next packet.
        before & head::VERSION == 0
            && ones(protected) < MAX_PROTECTED
            && proven()
            && self
                .head
                .word(0)
                .compare_exchange(before, before | bit)
                .is_ok()
    }

    /// The cold line, made the source's own if it was another's. Nothing when others were at that
    /// all the while.
    #[inline(always)]
    pub fn cold<M: SourceMemory<Line = L>>(&self, memory: &M) -> Option<L> {
        if memory.own_cold(self.cold, self.tag) {
            memory.line(self.cold)
        } else {
            None
        }
    }
}

/// Makes a cold line a source's own, cleared of what it said of another.
///
/// Concurrency: one CPU claims it and clears it before it says whose it is; others look again.
#[inline(always)]
pub fn own_cold<M: SourceMemory>(memory: &M, line: u32, tag: u64) -> bool {
    let Some(line) = memory.line(line) else {
        return false;
    };
    let owner = line.word(cold::OWNER);
    for _ in 0..TRIES {
        let before = owner.load();
        if before == tag {
            return true;
        }
        if before == cold::CLAIMED || owner.compare_exchange(before, cold::CLAIMED).is_err() {
            continue;
        }
        for word in [cold::STRIKES, cold::DROPPED_PACKETS, cold::DROPPED_BYTES] {
            line.word(word).store(0);
        }
        owner.store(tag);
        return true;
    }
    false
}

/// Ways in a set of them.
#[inline(always)]
fn ones(ways: u64) -> u32 {
    let mut count = 0_u32;
    for way in 0..WAYS {
        #[allow(clippy::cast_possible_truncation, reason = "one bit")]
        let bit = (ways >> way & 1) as u32;
        count = count.wrapping_add(bit);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_takes_the_first_open_way_from_its_own_on() {
        for start in 0..WAYS {
            for among in 1..=head::ALL_WAYS {
                let ways = (0..WAYS).map(|n| (start + n) % WAYS);
                let first = ways.into_iter().find(|way| among >> way & 1 != 0);
                assert_eq!(
                    Some(first_from(start, among)),
                    first,
                    "{start} of {among:#b}"
                );
            }
        }
    }
}
