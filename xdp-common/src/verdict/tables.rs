//! What the stages ask of the state: BPF maps in the kernel, host memory elsewhere.

use core::ops::ControlFlow;

use super::class::{self, Admission, ClassWords, Cookie, Proof};
use super::limit::{self, Offence};
use super::source_key;
use crate::abi::{Ban, Class, ClassCounter, Fault, Limit, Limits, Policy, SourceKey};
use crate::flows::{Flow, Keys, Retry, Window};
use crate::packet::{Address, Packet, PacketView, protocol};
use crate::reason::Reason;

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
    /// The packet has been judged, and whether the source earns something by it: good behaviour
    /// keeps a source in a full table, and makes it known.
    /// That somebody here would take its packets at all, `proven`, is asked once all else is there.
    fn judged(&self, _now: u64, _earns: bool, _proven: impl FnOnce() -> bool) {}
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
    /// What is going on in a class.
    type Class<'a>: ClassWords
    where
        Self: 'a;
    /// A known source.
    type Source<'a>: SourceState
    where
        Self: 'a;

    /// The active policy.
    fn policy(&self) -> Option<&Policy>;
    /// Of the policy's flags those that these tables' program looks at.
    #[inline(always)]
    fn flags(&self, policy: &Policy) -> u32 {
        policy.flags
    }
    /// What the lists say of an address: [`crate::lists::ALLOW`], [`crate::lists::BLOCK`] and
    /// [`crate::lists::LIMITS`]. `now` is asked only when something about it ends some time.
    fn listed(&self, source: &Address, now: impl FnOnce() -> u64) -> u8;
    /// Counts a packet that an entry of a list ([`crate::lists::ALLOW`] or
    /// [`crate::lists::BLOCK`]) decides.
    fn hit(&self, list: u8, source: &Address, bytes: u64);
    /// The number of the class that stands at a place of the class table
    /// ([`crate::abi::class_table`]).
    fn class_at(&self, place: usize) -> u8;
    /// A class by its number; nothing where classes aren't looked at.
    fn class(&self, number: u8) -> Option<&Class>;
    /// What is going on in a class.
    fn class_state(&self, number: u8) -> Option<Self::Class<'_>>;
    /// Changes what is counted for a class, and gives what the change gives.
    fn count_class(&self, number: u8, change: impl FnOnce(&mut ClassCounter) -> u64) -> u64;
    /// Whether classes let this packet be, because it may be for another host.
    fn stands_aside(&self, packet: &Packet) -> bool;
    /// Whether a local socket waits for the packet.
    fn proof(&self, packet: &Packet) -> Proof;
    /// Makes a SYN cookie for the packet, to be sent if that is the verdict.
    fn cookie(&self, packet: &Packet, now: u64) -> Cookie;
    /// The hashes of the flow of a packet that came in; nothing for one that belongs to no flow.
    fn flow_keys<V: PacketView + ?Sized>(&self, view: &V, packet: &Packet) -> Option<Keys>;
    /// The packet's flow, if the memory has it.
    fn flow(&self, keys: &Keys, is_tcp: bool, now: u64) -> Option<Flow>;
    /// Keeps a flow under its hash.
    fn keep_flow(&self, hash: u64, flow: Flow, is_tcp: bool, now: u64);
    /// Whether a refused newcomer comes again; a first packet is remembered.
    fn retried(&self, keys: &Keys, window: Window, now: u64) -> Retry;
    /// The hash of the packet's flow, if it was asked for. A verifier may want it in a function of its own.
    #[inline(always)]
    fn asked_for<V: PacketView + ?Sized>(
        &self,
        view: &V,
        packet: &Packet,
        now: u64,
    ) -> Option<u64> {
        let keys = self.flow_keys(view, packet)?;
        let is_tcp = packet.protocol == protocol::TCP;
        let flow = self.flow(&keys, is_tcp, now)?;
        flow.was_asked_for().then_some(keys.flow)
    }
    /// Whether the flow memory has all that left, so that an answer that it doesn't know may be one that
    /// nobody asked for.
    fn remembers_answers(&self) -> bool;
    /// Judges a packet by its class; a verifier may want it in a function of its own.
    #[inline(always)]
    fn check_class<V: PacketView + ?Sized>(
        &self,
        packet: &Packet,
        view: &V,
        place: &Self::Place,
        may_be_known: bool,
        now: u64,
    ) -> ControlFlow<Reason, Admission>
    where
        Self: Sized,
    {
        class::check(packet, view, place, may_be_known, self, now)
    }
    /// Takes a newcomer's packet from the budget of its class; a verifier may want it in a function of
    /// its own.
    #[inline(always)]
    fn charge_class(&self, packet: &Packet, number: u8, flow: Option<u64>, now: u64)
    where
        Self: Sized,
    {
        class::charge(packet, number, flow, self, now);
    }
    /// Whether the source may be one that is known or banned: false for nearly all that are neither,
    /// at a small cost.
    fn may_be_known(&self, place: &Self::Place) -> bool;
    /// Whether the source has behaved for a while.
    fn is_known(&self, place: &Self::Place) -> bool;
    /// A number that stands for a source or a network: seeded, so that nobody chooses two with the
    /// same.
    fn hash(&self, key: &SourceKey) -> u64;
    /// The same of a source by its place.
    fn hash_of(&self, place: &Self::Place) -> u64;
    /// Takes room for `units` from the limit that is kept for a hash.
    fn meter(&self, hash: u64, limit: &Limit, units: u64, now: u64) -> bool;
    /// What became of the first fragment of the packet that this is a later one of: whether it
    /// passed, if that is known.
    fn first_fragment(&self, packet: &Packet, now: u64) -> Option<bool>;
    /// Notes what became of a first fragment.
    fn note_first_fragment(&self, packet: &Packet, passed: bool, now: u64);
    /// Where a source's state is.
    fn place(&self, source: &SourceKey) -> Self::Place;
    /// Does this with the source that a packet counts as, and where its state is; a program may have
    /// reckoned both before.
    #[inline(always)]
    fn with_source<R>(
        &self,
        packet: &Packet,
        policy: &Policy,
        then: impl FnOnce(&SourceKey, &Self::Place) -> R,
    ) -> R {
        let key = source_key(&packet.source, policy);
        then(&key, &self.place(&key))
    }
    /// The ban stored for a source.
    fn ban(&self, source: &SourceKey, place: &Self::Place) -> Option<Self::Ban<'_>>;
    /// The limits of the longest matching override.
    fn limits(&self, source: &Address) -> Option<&Limits>;
    /// The state of a source, with `packets` of `bytes` together counted at `now`; a new one is
    /// added. Nothing when the table can't take it.
    fn source(
        &self,
        place: &Self::Place,
        now: u64,
        bytes: u64,
        packets: u64,
    ) -> Option<Self::Source<'_>>;
    /// A source went over its limits: false if the packet is spared and passes all the same, and nothing
    /// is told. A verifier may want it in functions of its own.
    #[allow(clippy::too_many_arguments, reason = "what the stages know")]
    #[inline(always)]
    fn offended<V: PacketView + ?Sized>(
        &self,
        known: &Self::Source<'_>,
        key: &SourceKey,
        place: &Self::Place,
        view: &V,
        packet: &Packet,
        offence: &Offence,
        now: u64,
    ) -> bool
    where
        Self: Sized,
    {
        if offence.may_be_spared && limit::is_spared(packet, view, offence.reason, self, now) {
            return false;
        }
        limit::offended(known, key, place, offence, self, now);
        true
    }
    /// Stores a ban over an older one and tells the controller.
    fn start_ban(&self, key: &SourceKey, place: &Self::Place, ban: &Ban);
    /// Counts a fault of our own.
    fn fault(&self, fault: Fault);
}
