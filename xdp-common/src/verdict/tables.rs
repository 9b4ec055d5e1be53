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
    /// Writes `new` if the value is `current`. The value found otherwise.
    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64>;
}

/// A list entry that matched.
pub trait EntryState {
    /// A copy of the entry's expiry; 0 never.
    fn expires_ns(&self) -> u64;
    /// Counts a packet that the entry decides.
    fn hit(&self, bytes: u64);
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
    /// [`crate::abi::Source::strikes`].
    fn strikes(&self) -> Self::Word;
    /// [`crate::abi::Source::packets`].
    fn packets(&self) -> Self::Word;
    /// [`crate::abi::Source::bytes`].
    fn bytes(&self) -> Self::Word;
    /// [`crate::abi::Source::dropped_packets`].
    fn dropped_packets(&self) -> Self::Word;
    /// [`crate::abi::Source::dropped_bytes`].
    fn dropped_bytes(&self) -> Self::Word;
    /// [`crate::abi::Source::last_seen_ns`].
    fn last_seen_ns(&self) -> Self::Word;
}

/// The state that the stages look at.
pub trait Tables {
    /// A matching list entry.
    type Entry<'a>: EntryState
    where
        Self: 'a;
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
    /// The longest matching prefix of the allowlist.
    fn allowed(&self, source: &Address) -> Option<Self::Entry<'_>>;
    /// The longest matching prefix of the blocklist.
    fn blocked(&self, source: &Address) -> Option<Self::Entry<'_>>;
    /// The ban stored for a source.
    fn ban(&self, source: &SourceKey) -> Option<Self::Ban<'_>>;
    /// The limits of the longest matching override.
    fn limits(&self, source: &Address) -> Option<&Limits>;
    /// The state of a source; a new one is added with `first_seen_ns` of `now`. Nothing when the
    /// table can't take it.
    fn source(&self, key: &SourceKey, now: u64) -> Option<Self::Source<'_>>;
    /// Stores a ban over an older one and tells the controller.
    fn start_ban(&self, key: &SourceKey, ban: &Ban);
    /// Counts a fault of our own.
    fn fault(&self, fault: Fault);
}

/// An entry is in force until it expires. `now` is only asked for when the entry has an end.
#[inline(always)]
pub(super) fn in_force<E: EntryState>(entry: &E, now: impl FnOnce() -> u64) -> bool {
    let expires = entry.expires_ns();
    expires == 0 || now() < expires
}
