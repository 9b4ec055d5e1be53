//! Stage 6, 7 and 9: the packet's class, whether anybody waits for it, and what all newcomers of the
//! class may send together.
//!
//! A flood whose sources never repeat stays under every limit per source. What stops it is that the
//! class has a *budget* for the packets of all newcomers. A source is a newcomer until it has behaved
//! for a while in quiet times, or a local socket was found to be connected to it; those that are
//! known don't count, so a flood takes the place of newcomers only.
//!
//! The budget counts newcomers and not their packets: the flow of a newcomer that was let in is kept in
//! the flow memory ([`crate::flows`]), and its next packets take nothing from the budget. That memory is
//! asked once the budget isn't fresh any more, so a quiet class costs no look.
//!
//! Over the budget a newcomer's packet passes when a connected socket waits for it; a SYN is answered
//! with a cookie, so that the source shows that it is there. Any other newcomer is refused and remembered,
//! and its own retry passes, on a second budget for all flows that return ([`crate::flows::Retry`]). What
//! nobody sends unasked (answers, by source port or flags) is looked at the other way round: only what
//! was not asked for, by flow memory or socket, counts against the budget.
//!
//! One in [`SAMPLE`] of the refused is charged to its source for all of them, so that a newcomer that
//! floods alone is limited and banned as any source, and the others cost no look at the source table.

use core::ops::ControlFlow;

use super::flow::{InClass, check_flow, check_retry};
use super::limit::{conforms, has_room};
use super::{Tables, Word, bytes_of};
use crate::abi::{
    CLASS_KNOWN_FIRST, CLASS_OBSERVE, CLASS_PROOF, CLASS_RETRY, CLASS_SOLICITED, CLASS_SYN_COOKIES,
    Class, ClassCounter, LEVEL_ATTACK, Limit, class_table,
};
use crate::flows::{Flow, Keys, Kind};
use crate::packet::tcp_flags::{ACK, SYN};
use crate::packet::{Fragment, Packet, PacketView, Transport, protocol};
use crate::reason::Reason;

/// Of so many refused packets one is charged to its source, for all of them.
pub const SAMPLE: u64 = 64;
/// Pressure is written down again when it is older than this.
const PRESSURE_STEP_NS: u64 = 1_000_000;

/// Who a packet comes from, as far as its class asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Somebody; the source earns by it what good behaviour earns.
    Earning,
    /// Somebody in a class under pressure, where only proof earns anything.
    Unproven,
    /// To be dropped for this reason once the packet is charged to its source, as [`SAMPLE`] packets.
    Refused(Reason),
}

impl Standing {
    /// Packets that this one counts as.
    #[inline(always)]
    pub const fn weight(self) -> u64 {
        match self {
            Self::Earning | Self::Unproven => 1,
            Self::Refused(_) => SAMPLE,
        }
    }
}

/// What a class says of a packet that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Who it comes from.
    pub standing: Standing,
    /// The class whose budget it takes from, as a newcomer's, once it has passed what else limits it.
    pub newcomer_of: Option<u8>,
    /// The hash that its flow is kept under then, so that its next packets take nothing.
    pub flow: Option<u64>,
}

impl Admission {
    /// Of a packet that no budget is for.
    #[inline(always)]
    pub const fn free(standing: Standing) -> Self {
        Self {
            standing,
            newcomer_of: None,
            flow: None,
        }
    }
}

/// Whether a local socket waits for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nobody knows: there is nobody to ask, or the packet isn't for one host alone.
    Unknown,
    /// No socket would take it.
    Nobody,
    /// A socket that takes packets from everybody: a listener, or an unconnected UDP socket.
    Open,
    /// A socket that is connected to this source, or the answer to a cookie.
    Connected,
}

/// What became of the wish to answer with a SYN cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// There is one.
    Ready,
    /// The listener has room for half-open connections and makes no cookies: the SYN is better with
    /// it.
    Room,
    /// Nobody listens.
    NoListener,
    /// There is none: the kernel has cookies switched off, or the packet has parts that no answer is
    /// made for.
    Impossible,
}

/// What is going on in a class.
pub trait ClassWords {
    /// Type of its words.
    type Word: Word;
    /// [`crate::abi::ClassState::tat`].
    fn tat(&self) -> Self::Word;
    /// [`crate::abi::ClassState::returning_tat`].
    fn returning_tat(&self) -> Self::Word;
    /// [`crate::abi::ClassState::pressure_until_ns`].
    fn pressure_until(&self) -> Self::Word;
    /// [`crate::abi::ClassState::level`].
    fn level(&self) -> u64;
}

/// The place in the class table that a packet's class stands at, and one to look at where class 0
/// stands there.
#[inline(always)]
pub fn places(packet: &Packet) -> (usize, Option<usize>) {
    if packet.fragment == Fragment::Later {
        return (class_table::FRAGMENT, None);
    }
    match packet.transport {
        Transport::Tcp {
            destination, flags, ..
        } => {
            if flags & (SYN | ACK) == SYN {
                (class_table::tcp_new(destination), None)
            } else {
                (class_table::tcp_flags(flags), None)
            }
        }
        Transport::Udp {
            source,
            destination,
        } => (
            class_table::reflection(source),
            Some(class_table::udp(destination)),
        ),
        Transport::Icmp { kind, .. } if packet.protocol == protocol::ICMP => {
            (class_table::icmp(kind), None)
        }
        Transport::Icmp { kind, .. } => (class_table::icmpv6(kind), None),
        Transport::Opaque => (class_table::protocol(packet.protocol), None),
    }
}

/// Judges a packet by its class. `may_be_known`: whether the source may be one that is known.
#[inline(always)]
pub fn check<V: PacketView + ?Sized, T: Tables>(
    packet: &Packet,
    view: &V,
    place: &T::Place,
    may_be_known: bool,
    tables: &T,
    now: u64,
) -> ControlFlow<Reason, Admission> {
    let go_on = |standing| ControlFlow::Continue(Admission::free(standing));
    if tables.stands_aside(packet) {
        return go_on(Standing::Earning);
    }
    if packet.fragment == Fragment::Later {
        match tables.first_fragment(packet, now) {
            Some(true) => return go_on(Standing::Unproven),
            Some(false) => return ControlFlow::Break(Reason::FragmentDropped),
            None => {}
        }
    }
    let (number, proof) = find(packet, view, tables, now);
    let (Some(class), Some(state)) = (tables.class(number), tables.class_state(number)) else {
        return go_on(Standing::Earning);
    };
    count(number, tables, |counter| {
        counter.bytes = counter.bytes.wrapping_add(bytes_of(packet));
        &mut counter.packets
    });
    check_source(packet, place, class, number, tables, now)?;
    if proof == Proof::Connected {
        count(number, tables, |counter| &mut counter.proven);
        return go_on(Standing::Earning);
    }
    let is_pressed = now < state.pressure_until().load();
    let standing = if is_pressed {
        Standing::Unproven
    } else {
        Standing::Earning
    };
    let unasked = proof == Proof::Nobody;
    let known =
        !unasked && may_be_known && class.flags & CLASS_KNOWN_FIRST != 0 && tables.is_known(place);
    if class.budget.is_off() || known {
        return go_on(standing);
    }
    let newcomer = |flow| {
        ControlFlow::Continue(Admission {
            standing,
            newcomer_of: Some(number),
            flow,
        })
    };
    // No newcomer came a moment ago: the budget is as good as whole.
    let fits = has_room(state.tat(), budget(class, &state), 1, now);
    if fits && !is_pressed && state.tat().load() <= now {
        return newcomer(None);
    }
    let place = InClass {
        class,
        state: &state,
        number,
        is_pressed,
    };
    let keys = if unasked {
        None
    } else {
        tables.flow_keys(view, packet)
    };
    if let Some(keys) = keys
        && let Some(flow) = tables.flow(&keys, is_tcp(packet), now)
        && let Some(verdict) = check_flow(packet, view, flow, &keys, &place, tables, now)
    {
        return verdict;
    }
    if fits {
        return newcomer(keys.map(|keys| keys.flow));
    }
    note_pressure(class, &state, number, tables, now);
    match over_budget(packet, keys, &place, proof, tables, now) {
        ControlFlow::Continue(standing) => go_on(standing),
        ControlFlow::Break(reason) => refuse(reason, class, number, tables),
    }
}

#[inline(always)]
pub(super) const fn is_tcp(packet: &Packet) -> bool {
    packet.protocol == protocol::TCP
}

/// Adds one to a count of a class, and gives what it is then.
#[inline(always)]
pub(super) fn count<T: Tables>(
    number: u8,
    tables: &T,
    which: impl FnOnce(&mut ClassCounter) -> &mut u64,
) -> u64 {
    tables.count_class(number, |counter| {
        let count = which(counter);
        *count = count.wrapping_add(1);
        *count
    })
}

/// The number of a packet's class, and whether somebody waits for the packet where the class asks
/// first. An answer that a socket for everybody would take is judged by its destination port.
#[inline(always)]
fn find<V: PacketView + ?Sized, T: Tables>(
    packet: &Packet,
    view: &V,
    tables: &T,
    now: u64,
) -> (u8, Proof) {
    let (first, second) = places(packet);
    let number = tables.class_at(first);
    let by_destination = |second: Option<usize>| second.map_or(0, |place| tables.class_at(place));
    if number == 0 {
        return (by_destination(second), Proof::Unknown);
    }
    if tables
        .class(number)
        .is_none_or(|class| class.flags & CLASS_SOLICITED == 0)
    {
        return (number, Proof::Unknown);
    }
    if tables.remembers_answers()
        && let Some(keys) = tables.flow_keys(view, packet)
        && let Some(flow) = tables.flow(&keys, is_tcp(packet), now)
        && !flow.is_unproven()
        && flow.kind() != Kind::HalfOpen
    {
        return (number, Proof::Connected);
    }
    match (tables.proof(packet), second) {
        (Proof::Open, Some(_)) => (by_destination(second), Proof::Unknown),
        // A listener takes no answers.
        (Proof::Open, None) => (number, Proof::Nobody),
        (proof, _) => (number, proof),
    }
}

/// What the class allows one source.
#[inline(always)]
fn check_source<T: Tables>(
    packet: &Packet,
    place: &T::Place,
    class: &Class,
    number: u8,
    tables: &T,
    now: u64,
) -> ControlFlow<Reason> {
    if class.packets.is_off() && class.bytes.is_off() {
        return ControlFlow::Continue(());
    }
    // Above the bits that a place in a table is chosen by.
    let hash = tables.hash_of(place) ^ u64::from(number) << 56;
    if !class.packets.is_off() && !tables.meter(hash, &class.packets, 1, now) {
        return refuse_source(Reason::ClassPackets, class);
    }
    if !class.bytes.is_off() && !tables.meter(!hash, &class.bytes, bytes_of(packet), now) {
        return refuse_source(Reason::ClassBytes, class);
    }
    ControlFlow::Continue(())
}

#[inline(always)]
fn refuse_source(reason: Reason, class: &Class) -> ControlFlow<Reason> {
    if class.flags & CLASS_OBSERVE != 0 {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(reason)
    }
}

/// What the class allows all newcomers together.
#[inline(always)]
fn budget<'a>(class: &'a Class, state: &impl ClassWords) -> &'a Limit {
    if state.level() == LEVEL_ATTACK {
        &class.attack_budget
    } else {
        &class.budget
    }
}

/// Takes room for a newcomer's packet from the budget of its class, and keeps its flow: behind all that
/// limits the packet for itself, so that nobody spends the budget with packets that don't pass.
///
/// Concurrency: [`check`] has looked whether there is room. CPUs that looked at the same time pass
/// together, which is one packet for each CPU more than the budget at most.
#[inline(always)]
pub fn charge<T: Tables>(packet: &Packet, number: u8, flow: Option<u64>, tables: &T, now: u64) {
    let (Some(class), Some(state)) = (tables.class(number), tables.class_state(number)) else {
        return;
    };
    conforms(state.tat(), budget(class, &state), 1, now, tables);
    count(number, tables, |counter| &mut counter.newcomers);
    if let Some(hash) = flow {
        let flow = Flow::new(Kind::LetIn, true);
        tables.keep_flow(hash, flow, is_tcp(packet), now);
    }
}

/// The budget is spent: the class is under pressure from now on.
#[inline(always)]
fn note_pressure<T: Tables>(class: &Class, state: &T::Class<'_>, number: u8, tables: &T, now: u64) {
    let until = now.wrapping_add(class.pressure_ns);
    let pressure = state.pressure_until();
    if pressure.load().wrapping_add(PRESSURE_STEP_NS) < until {
        pressure.store(until);
    }
    count(number, tables, |counter| &mut counter.over);
}

/// What else a newcomer can show when the budget is spent.
#[inline(always)]
fn over_budget<T: Tables>(
    packet: &Packet,
    keys: Option<Keys>,
    place: &InClass<'_, T::Class<'_>>,
    asked: Proof,
    tables: &T,
    now: u64,
) -> ControlFlow<Reason, Standing> {
    if asked == Proof::Nobody {
        return ControlFlow::Break(Reason::Unsolicited);
    }
    let flags = place.class.flags;
    if flags & CLASS_SYN_COOKIES != 0 && packet.opens_tcp_connection() {
        match tables.cookie(packet, now) {
            // An interface without an Ethernet header sends nothing back that XDP hands it: the
            // kernel's generic mode takes the changed addresses for Ethernet's.
            Cookie::Ready if packet.network_offset != 0 => {
                return ControlFlow::Break(Reason::SynCookie);
            }
            Cookie::Room => return ControlFlow::Continue(Standing::Unproven),
            Cookie::NoListener => return ControlFlow::Break(Reason::Unsolicited),
            Cookie::Ready | Cookie::Impossible => {}
        }
    } else if flags & CLASS_PROOF != 0 {
        match tables.proof(packet) {
            Proof::Connected => {
                count(place.number, tables, |counter| &mut counter.proven);
                return ControlFlow::Continue(Standing::Earning);
            }
            Proof::Nobody => return ControlFlow::Break(Reason::Unsolicited),
            Proof::Open | Proof::Unknown => {}
        }
    }
    match keys {
        Some(keys) if flags & CLASS_RETRY != 0 => check_retry(packet, &keys, place, tables, now),
        _ => ControlFlow::Break(Reason::ClassBudget),
    }
}

/// Counts a refused packet; a class that only observes lets it go on.
#[inline(always)]
pub(super) fn refuse<T: Tables>(
    reason: Reason,
    class: &Class,
    number: u8,
    tables: &T,
) -> ControlFlow<Reason, Admission> {
    let counted = count(number, tables, |counter| {
        if reason == Reason::FirstPacket {
            &mut counter.first_packets
        } else if reason == Reason::Unsolicited {
            &mut counter.unsolicited
        } else if reason == Reason::SynCookie {
            &mut counter.cookies
        } else if reason == Reason::TooSoon {
            &mut counter.too_soon
        } else if reason == Reason::ReturningBudget {
            &mut counter.over_returning
        } else {
            &mut counter.refused
        }
    });
    if class.flags & CLASS_OBSERVE != 0 {
        return ControlFlow::Continue(Admission::free(Standing::Unproven));
    }
    if counted % SAMPLE == 0 {
        return ControlFlow::Continue(Admission::free(Standing::Refused(reason)));
    }
    ControlFlow::Break(reason)
}
