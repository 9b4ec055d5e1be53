//! The decision, stage by stage.
//!
//! [`decide`] is pure: no clock, no maps, no randomness. It asks a [`PacketView`] for bytes and
//! [`Tables`] for state. The same lines run in the kernel, under `cargo test` and over captures.

mod aggregate;
mod ban;
mod class;
mod flow;
mod limit;
mod lists;
mod sanity;
mod tables;

use core::borrow::Borrow;
use core::cell::Cell;
use core::ops::ControlFlow;

use crate::abi::{FAMILY_IPV4, FAMILY_IPV6, FLAG_CLASSES, Policy, SourceKey};
use crate::lists::halves;
use crate::packet::{self, Address, Fragment, Packet, PacketView};
use crate::reason::{Action, Class, Reason};
pub use aggregate::network;
pub use ban::{STRIKE_COUNT_BITS, next_ban, strikes_left};
pub use class::{
    Admission, ClassWords, Cookie, Proof, SAMPLE, Standing, charge as charge_class,
    check as check_class, places,
};
pub use limit::{CAS_TRIES, Offence, STALE_NS, is_spared, offended};
pub use lists::deciding_list;
pub use tables::{BanState, Offences, SourceState, Tables, Word};

/// Why, and what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The one reason.
    pub reason: Reason,
    /// What the mode makes of it.
    pub action: Action,
}

/// Judges one frame.
///
/// `clock` gives nanoseconds of `CLOCK_BOOTTIME`, as exactly as the policy asks for
/// ([`crate::abi::FLAG_COARSE_CLOCK`]); it is asked at most once, and only when a stage needs the
/// time.
#[inline(always)]
pub fn decide<V: PacketView + ?Sized, T: Tables>(
    view: &V,
    tables: &T,
    clock: impl Fn(&Policy) -> u64,
) -> Verdict {
    decide_parsed(|| packet::parse(view), view, tables, clock)
}

/// The same for who reads the packet in a way of its own, or keeps it in a place of its own.
#[inline(always)]
pub fn decide_parsed<P: Borrow<Packet>, V: PacketView + ?Sized, T: Tables>(
    parse: impl FnOnce() -> ControlFlow<Reason, P>,
    view: &V,
    tables: &T,
    clock: impl Fn(&Policy) -> u64,
) -> Verdict {
    let Some(policy) = tables.policy() else {
        return Verdict {
            reason: Reason::NoPolicy,
            action: Action::Pass,
        };
    };
    if policy.is_current() {
        decide_under(policy, parse, view, tables, clock)
    } else {
        not_current(policy)
    }
}

/// The verdict of a policy that isn't current.
#[inline(always)]
pub const fn not_current(policy: &Policy) -> Verdict {
    Verdict {
        reason: if policy.version == 0 {
            Reason::NoPolicy
        } else {
            Reason::PolicyMismatch
        },
        action: Action::Pass,
    }
}

/// [`decide_parsed`] under a policy that is current, that of `tables`.
#[inline(always)]
pub fn decide_under<P: Borrow<Packet>, V: PacketView + ?Sized, T: Tables>(
    policy: &Policy,
    parse: impl FnOnce() -> ControlFlow<Reason, P>,
    view: &V,
    tables: &T,
    clock: impl Fn(&Policy) -> u64,
) -> Verdict {
    let clock = Clock::new(|| clock(policy));
    let reason = match parse() {
        ControlFlow::Break(reason) => reason,
        ControlFlow::Continue(packet) => {
            let packet = packet.borrow();
            let reason = match stages(packet, view, tables, policy, &clock) {
                ControlFlow::Break(reason) => reason,
                ControlFlow::Continue(()) => Reason::Accepted,
            };
            if packet.fragment == Fragment::First {
                let passed = reason.class() == Class::Pass;
                tables.note_first_fragment(packet, passed, clock.now());
            }
            reason
        }
    };
    Verdict {
        reason,
        action: reason.action(policy),
    }
}

/// The list of stages, and nothing else. A stage breaks with the packet's reason or lets the next
/// one look.
#[inline(always)]
fn stages<V: PacketView + ?Sized, T: Tables, C: Fn() -> u64>(
    packet: &Packet,
    view: &V,
    tables: &T,
    policy: &Policy,
    clock: &Clock<C>,
) -> ControlFlow<Reason> {
    let listed = tables.listed(&packet.source, || clock.now());
    lists::check_lists(packet, listed, tables)?;
    tables.with_source(packet, policy, |key, place| {
        let source = Source { key, place };
        stages_of_source(packet, view, source, listed, tables, policy, clock)
    })
}

/// The stages behind the lists.
#[inline(always)]
fn stages_of_source<V: PacketView + ?Sized, T: Tables, C: Fn() -> u64>(
    packet: &Packet,
    view: &V,
    source: Source<'_, T::Place>,
    listed: u8,
    tables: &T,
    policy: &Policy,
    clock: &Clock<C>,
) -> ControlFlow<Reason> {
    let place = source.place;
    let may_be_known = tables.may_be_known(place);
    if may_be_known {
        ban::check_ban(packet, view, source, tables, clock)?;
    }
    sanity::check_sanity(view, packet, tables.flags(policy))?;
    let now = clock.now();
    let admission = if tables.flags(policy) & FLAG_CLASSES == 0 {
        Admission::free(Standing::Earning)
    } else {
        tables.check_class(packet, view, place, may_be_known, now)?
    };
    aggregate::check_aggregate(packet, tables, policy, now)?;
    limit::check_limits(
        packet,
        view,
        source,
        listed,
        admission.standing,
        tables,
        policy,
        now,
    )?;
    if let Some(class) = admission.newcomer_of {
        tables.charge_class(packet, class, admission.flow, now);
    }
    ControlFlow::Continue(())
}

/// A source by its key, with where its state is.
struct Source<'a, P> {
    key: &'a SourceKey,
    place: &'a P,
}

impl<P> Clone for Source<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Source<'_, P> {}

/// The source that an address counts as under `policy`: the address cut to the policy's length.
#[inline(always)]
pub fn source_key(address: &Address, policy: &Policy) -> SourceKey {
    SourceKey::from_words(source_words(address, policy))
}

/// Whether the upper half of an IPv6 address is that of a link-local one (RFC 4291, section 2.5.6). All
/// neighbours share such a network, so there each address is a source.
#[inline(always)]
pub const fn is_link_local(high: u64) -> bool {
    high >> 54 == 0xfe80 >> 6
}

/// The same by words: see [`SourceKey::words`].
#[inline(always)]
pub fn source_words(address: &Address, policy: &Policy) -> [u64; 3] {
    let (addr, family, prefix_len) = if address.is_v4() {
        let masked = address.v4_bits() & u32::from_be_bytes(policy.source_mask_v4);
        (
            [masked.to_be().into(), 0],
            FAMILY_IPV4,
            policy.source_len_v4,
        )
    } else {
        let (high, low) = address.halves();
        let (mask_high, mask_low) = halves(&policy.source_mask_v6);
        let (mask_high, mask_low, length) = if is_link_local(high) {
            (u64::MAX, u64::MAX, 128)
        } else {
            (mask_high, mask_low, policy.source_len_v6)
        };
        let addr = [high & mask_high, low & mask_low].map(u64::to_be);
        (addr, FAMILY_IPV6, length)
    };
    let [first, second] = addr;
    [
        first,
        second,
        u64::from(family) | u64::from(prefix_len) << 8,
    ]
}

/// A clock that is read at most once per packet.
struct Clock<C> {
    read: C,
    value: Cell<u64>,
}

impl<C: Fn() -> u64> Clock<C> {
    #[inline(always)]
    fn new(read: C) -> Self {
        Self {
            read,
            value: Cell::new(0),
        }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        if self.value.get() == 0 {
            self.value.set((self.read)());
        }
        self.value.get()
    }
}

/// Bytes that a packet counts as.
#[inline(always)]
fn bytes_of(packet: &Packet) -> u64 {
    u64::from(packet.frame_len)
}
