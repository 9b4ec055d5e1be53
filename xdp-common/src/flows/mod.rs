//! The flow memory: which exchanges between a remote address and this host are under way, and which
//! newcomers were refused a moment ago.
//!
//! Two programs share it. The egress program notes what leaves, so that an answer is known to be asked
//! for without any socket. The XDP program looks a packet's flow up, and remembers a newcomer that it
//! refuses, so that the newcomer's own retry gets in ([`retry`]).
//!
//! A *line* has eight 64-bit words. A hash of the flow ([`key`]) chooses the line and the tags:
//!
//! ```text
//! words 0 to 3, a flow each:  tag 24 | sequence 24 | kind 3 | unproven 1 | last seen 12 (4.3 s)
//! words 4 to 7, two newcomers each:  tag 20 | first seen 12 (16.8 ms)
//! ```
//!
//! A tag that another flow happens to have errs to the strict side for newcomers by one in a million, and
//! lets a packet pass as another's flow with a probability of 4 in 2^24.
//!
//! **Full**: a flow takes the place of one that is over, else of an unproven or half-open one, else of the
//! one not seen for longest; one that is unproven or half open itself takes no proven one's place. A newcomer
//! takes the place of the oldest newcomer, never of a flow: a flood of newcomers displaces only newcomers.
//!
//! **Concurrency**: words change by compare-and-swap. Who loses the race writes nothing: a flow is noted
//! by its next packet, a newcomer's next retry counts as its first packet.

pub mod key;
mod leaving;
mod retry;

use crate::verdict::Word;
pub use key::{Direction, Keys};
pub use leaving::{Leaving, leaving};
pub use retry::{Retry, Window, retried};

/// Words of a line.
pub const WORDS: usize = 8;
/// Words of a line that hold flows.
const FLOWS: usize = 4;
/// Flows of a line.
pub const FLOWS_PER_LINE: u32 = 4;

const TAG_SHIFT: u32 = 40;
const SEQUENCE_SHIFT: u32 = 16;
const SEQUENCE_MASK: u64 = 0xff_ffff;
const KIND_SHIFT: u32 = 13;
const UNPROVEN: u64 = 1 << 12;
const TIME_MASK: u64 = 0xfff;
/// A unit of a flow's time is two to this many nanoseconds: 4.3 s. It goes round after 4.9 hours.
const TIME_SHIFT: u32 = 32;
/// More than any age.
const STEP: u64 = 2 * (TIME_MASK + 1);
/// A flow is written again when so much of its lifetime has passed: one part of this many.
const REFRESH_PART: u64 = 16;

/// A line of the flow memory.
pub trait Line: Copy {
    /// Its words.
    type Word: Word;
    /// A word by its number, below [`WORDS`].
    fn word(self, index: usize) -> Self::Word;
}

/// The number of a hash's line, where there are `mask` and one of them.
#[inline(always)]
pub const fn line_of(hash: u64, mask: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the lower bits")]
    let low = hash as u32;
    low & mask
}

/// How a flow came to be in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// This host, or a host behind it, spoke first.
    Asked = 1,
    /// The remote spoke first and was answered, or was asked and answers.
    Answered = 2,
    /// A TCP connection: the remote's ACK named the sequence number that was sent to it, or the host went
    /// on sending after its SYN-ACK.
    Established = 3,
    /// A SYN was answered; the connection isn't there yet.
    HalfOpen = 4,
    /// A newcomer's packet that was within its class's budget.
    LetIn = 5,
    /// A newcomer that came again in its protocol's time.
    Returned = 6,
}

impl Kind {
    const fn of(bits: u64) -> Option<Self> {
        match bits {
            1 => Some(Self::Asked),
            2 => Some(Self::Answered),
            3 => Some(Self::Established),
            4 => Some(Self::HalfOpen),
            5 => Some(Self::LetIn),
            6 => Some(Self::Returned),
            _ => None,
        }
    }

    /// How long a flow is remembered after its last packet, in units of 4.3 s.
    ///
    /// TCP: 2 h 4 min (RFC 5382, section 5, REQ-5), a minute for what is half open. All else: 5 minutes
    /// (RFC 4787, section 4.3, REQ-5), 2 while nobody has answered.
    #[inline(always)]
    const fn lifetime(self, is_tcp: bool) -> u64 {
        const fn units(seconds: u64) -> u64 {
            (seconds.wrapping_mul(1_000_000_000) >> TIME_SHIFT).wrapping_add(1)
        }
        match self {
            Self::Established => units(7440),
            Self::HalfOpen => units(60),
            Self::Asked | Self::LetIn | Self::Returned if is_tcp => units(60),
            Self::Asked => units(120),
            Self::Answered | Self::LetIn | Self::Returned => units(300),
        }
    }
}

/// A flow as it stands in its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow(u64);

impl Flow {
    /// A flow that begins now. `unproven`: that it isn't forged is yet to be shown, so it pays from the
    /// budget for returning flows while its class is under pressure.
    #[inline(always)]
    pub const fn new(kind: Kind, unproven: bool) -> Self {
        let proof = if unproven { UNPROVEN } else { 0 };
        Self((kind as u64) << KIND_SHIFT | proof)
    }

    /// The same with the lower 24 bits of a sequence number.
    #[inline(always)]
    pub const fn with_sequence(self, sequence: u32) -> Self {
        let cleared = self.0 & !(SEQUENCE_MASK << SEQUENCE_SHIFT);
        Self(cleared | (sequence as u64 & SEQUENCE_MASK) << SEQUENCE_SHIFT)
    }

    /// By its word; nothing for a word that holds no flow.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match Kind::of(bits >> KIND_SHIFT & 7) {
            Some(_) => Some(Self(bits)),
            None => None,
        }
    }

    /// Its word.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// How it came to be in the memory.
    #[inline(always)]
    pub const fn kind(self) -> Kind {
        match Kind::of(self.0 >> KIND_SHIFT & 7) {
            Some(kind) => kind,
            // `from_bits` and `new` make no others.
            None => Kind::LetIn,
        }
    }

    /// Whether that it isn't forged is yet to be shown.
    #[inline(always)]
    pub const fn is_unproven(self) -> bool {
        self.0 & UNPROVEN != 0
    }

    /// Whether it can't be of a forger's making: this host spoke first, or the handshake of its connection
    /// is done.
    #[inline(always)]
    pub const fn was_asked_for(self) -> bool {
        !self.is_unproven() && matches!(self.kind(), Kind::Asked | Kind::Established)
    }

    /// Whether a forger can have made it.
    #[inline(always)]
    const fn is_weak(self) -> bool {
        self.is_unproven() || matches!(self.kind(), Kind::HalfOpen)
    }

    /// Whether an acknowledgement is for the sequence number that was kept, of a SYN-ACK.
    #[inline(always)]
    pub const fn is_acknowledged_by(self, acknowledgement: u32) -> bool {
        let expected = (self.0 >> SEQUENCE_SHIFT).wrapping_add(1);
        (expected ^ acknowledgement as u64) & SEQUENCE_MASK == 0
    }

    /// Units of time since it was written.
    #[inline(always)]
    const fn age(self, now: u64) -> u64 {
        (now >> TIME_SHIFT).wrapping_sub(self.0) & TIME_MASK
    }

    #[inline(always)]
    const fn is_over(self, is_tcp: bool, now: u64) -> bool {
        self.age(now) > self.kind().lifetime(is_tcp)
    }

    /// Whether it is time to write it again.
    #[inline(always)]
    pub const fn is_stale(self, is_tcp: bool, now: u64) -> bool {
        self.age(now).wrapping_mul(REFRESH_PART) > self.kind().lifetime(is_tcp)
    }

    /// Whether it was there for a unit of time at least.
    #[inline(always)]
    pub const fn has_lasted(self, now: u64) -> bool {
        self.age(now) > 1
    }

    #[inline(always)]
    const fn at(self, hash: u64, now: u64) -> Self {
        let rest = self.0 & (SEQUENCE_MASK << SEQUENCE_SHIFT | 7 << KIND_SHIFT | UNPROVEN);
        Self(hash >> TAG_SHIFT << TAG_SHIFT | rest | now >> TIME_SHIFT & TIME_MASK)
    }
}

/// The flow of a hash, if the line has it and it isn't over.
#[inline(always)]
pub fn find<L: Line>(line: L, hash: u64, is_tcp: bool, now: u64) -> Option<Flow> {
    for way in 0..FLOWS {
        let bits = line.word(way).load();
        if (bits ^ hash) >> TAG_SHIFT == 0
            && let Some(flow) = Flow::from_bits(bits)
            && !flow.is_over(is_tcp, now)
        {
            return Some(flow);
        }
    }
    None
}

/// Keeps a flow under a hash.
#[inline(always)]
pub fn keep<L: Line>(line: L, hash: u64, flow: Flow, is_tcp: bool, now: u64) {
    let new = flow.at(hash, now).to_bits();
    let mut chosen = (0, 0);
    let mut oldest = 0;
    for way in 0..FLOWS {
        let bits = line.word(way).load();
        if (bits ^ hash) >> TAG_SHIFT == 0 && bits != 0 {
            if bits != new {
                let _raced = line.word(way).compare_exchange(bits, new);
            }
            return;
        }
        // What is worth less counts as older than all that is worth more.
        let age = match Flow::from_bits(bits) {
            None => 4 * STEP,
            Some(flow) if flow.is_over(is_tcp, now) => 3 * STEP,
            Some(held) if held.is_weak() => STEP.wrapping_add(held.age(now)).wrapping_add(1),
            Some(_) if flow.is_weak() => 0,
            Some(held) => held.age(now).wrapping_add(1),
        };
        if age > oldest {
            oldest = age;
            chosen = (way, bits);
        }
    }
    if oldest == 0 {
        return;
    }
    let (way, before) = chosen;
    let _raced = line.word(way).compare_exchange(before, new);
}

#[cfg(test)]
mod tests;
