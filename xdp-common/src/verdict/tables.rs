//! What the stages ask of the state: BPF maps in the kernel, host memory elsewhere.

use crate::abi::{Ban, Fault, Limits, Policy, SourceKey};
use crate::packet::Address;

/// A 64-bit word that several CPUs read and write at once.
pub trait Word: Copy {
    /// Its value.
    fn load(self) -> u64;
    /// Overwrites it.
    fn store(self, value: u64);
    /// Adds to it, atomically.
    fn add(self, n: u64);
    /// Sets these bits, atomically.
    fn or(self, bits: u64);
    /// Writes `new` if the value is `current`. The value found otherwise.
    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64>;
}

/// A ban that is stored for a source, current or not.
pub trait BanState {
    /// A copy of it.
    fn get(&self) -> Ban;
    /// When it ends or ended.
    fn until_ns(&self) -> u64;
    /// Counts a packet that the ban drops.
    fn hit(&self, bytes: u64);
}

/// The words of one source.
pub trait SourceState {
    /// Their type.
    type Word: Word;
    /// [`crate::abi::Source::tat_packets`].
    fn tat_packets(&self) -> Self::Word;
    /// [`crate::abi::Source::tat_bytes`].
    fn tat_bytes(&self) -> Self::Word;
    /// [`crate::abi::Source::tat_tcp_new`].
    fn tat_tcp_new(&self) -> Self::Word;
    /// What the source has done beyond its limits, all zero if nothing yet. Nothing only where a
    /// verifier can't see that there always is something.
    fn offences(&self) -> Option<Offences<Self::Word>>;
    /// The packet has been judged, to be within the source's limits or not. Good behaviour keeps a
    /// source in a full table.
    fn judged(&self, _now: u64, _within: bool) {}
}

/// The words of a source that has been over its limits.
#[derive(Clone, Copy, Debug)]
pub struct Offences<W> {
    /// [`crate::abi::Source::strikes`].
    pub strikes: W,
    /// [`crate::abi::Source::dropped_packets`].
    pub dropped_packets: W,
    /// [`crate::abi::Source::dropped_bytes`].
    pub dropped_bytes: W,
}

/// The state that the stages look at.
pub trait Tables {
    /// Where a source's state is, worked out once a packet.
    type Place: Copy;
    /// A stored ban.
    type Ban<'a>: BanState
    where
        Self: 'a;
    /// A known source.
    type Source<'a>: SourceState
    where
        Self: 'a;

    /// The active policy.
    fn policy(&self) -> Option<&Policy>;
    /// What the lists say of an address: [`crate::lists::ALLOW`], [`crate::lists::BLOCK`] and
    /// [`crate::lists::LIMITS`]. `now` is asked only when something about it ends some time.
    fn listed(&self, source: &Address, now: impl FnOnce() -> u64) -> u8;
    /// Counts a packet that an entry of a list ([`crate::lists::ALLOW`] or
    /// [`crate::lists::BLOCK`]) decides.
    fn hit(&self, list: u8, source: &Address, bytes: u64);
    /// Where a source's state is.
    fn place(&self, source: &SourceKey) -> Self::Place;
    /// The ban stored for a source.
    fn ban(&self, source: &SourceKey, place: &Self::Place) -> Option<Self::Ban<'_>>;
    /// The limits of the longest matching override.
    fn limits(&self, source: &Address) -> Option<&Limits>;
    /// The state of a source, with a packet of `bytes` counted at `now`; a new one is added. Nothing
    /// when the table can't take it.
    fn source(&self, place: &Self::Place, now: u64, bytes: u64) -> Option<Self::Source<'_>>;
    /// Stores a ban over an older one and tells the controller.
    fn start_ban(&self, key: &SourceKey, place: &Self::Place, ban: &Ban);
    /// Counts a fault of our own.
    fn fault(&self, fault: Fault);
}
