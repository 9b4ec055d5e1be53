//! What the flow memory says of a packet whose class has its budget in use: of the flow that it belongs
//! to, and of a newcomer that comes again.

use core::ops::ControlFlow;

use super::Tables;
use super::class::{Admission, ClassWords, Standing, count, is_tcp, refuse};
use super::limit::conforms;
use crate::abi::Class;
use crate::flows::{Flow, Keys, Kind, Retry, Window};
use crate::packet::tcp_flags::{ACK, SYN};
use crate::packet::{Packet, PacketView, Transport};
use crate::reason::Reason;

/// The class that a packet is in.
pub(super) struct InClass<'a, S> {
    pub(super) class: &'a Class,
    pub(super) state: &'a S,
    pub(super) number: u8,
    pub(super) is_pressed: bool,
}

/// Judges a packet whose flow is in the memory; nothing where the flow says nothing of this packet.
#[inline(always)]
pub(super) fn check_flow<V: PacketView + ?Sized, T: Tables>(
    packet: &Packet,
    view: &V,
    flow: Flow,
    keys: &Keys,
    place: &InClass<'_, T::Class<'_>>,
    tables: &T,
    now: u64,
) -> Option<ControlFlow<Reason, Admission>> {
    let go_on = |standing| Some(ControlFlow::Continue(Admission::free(standing)));
    let is_tcp = is_tcp(packet);
    if flow.kind() == Kind::HalfOpen {
        if !acknowledges(packet, view, flow) {
            return None;
        }
        let flow = Flow::new(Kind::Established, false);
        tables.keep_flow(keys.flow, flow, is_tcp, now);
        count(place.number, tables, |counter| &mut counter.proven);
        return go_on(Standing::Earning);
    }
    if !flow.is_unproven() {
        count(place.number, tables, |counter| &mut counter.proven);
        return go_on(if place.is_pressed {
            Standing::Unproven
        } else {
            Standing::Earning
        });
    }
    // It has gone on for a while without pressure, which is what makes a source known, too.
    if !place.is_pressed {
        if flow.has_lasted(now) {
            tables.keep_flow(keys.flow, Flow::new(flow.kind(), false), is_tcp, now);
        }
        return go_on(Standing::Earning);
    }
    if place.class.returning.is_off() {
        return None;
    }
    Some(match take_returning(place, tables, now) {
        ControlFlow::Continue(standing) => {
            if flow.is_stale(is_tcp, now) {
                tables.keep_flow(keys.flow, flow, is_tcp, now);
            }
            ControlFlow::Continue(Admission::free(standing))
        }
        ControlFlow::Break(reason) => refuse(reason, place.class, place.number, tables),
    })
}

/// Takes room for one packet from the budget of flows that returned.
#[inline(always)]
fn take_returning<T: Tables>(
    place: &InClass<'_, T::Class<'_>>,
    tables: &T,
    now: u64,
) -> ControlFlow<Reason, Standing> {
    let limit = &place.class.returning;
    if limit.is_off() || !conforms(place.state.returning_tat(), limit, 1, now, tables) {
        return ControlFlow::Break(Reason::ReturningBudget);
    }
    count(place.number, tables, |counter| &mut counter.returned);
    ControlFlow::Continue(Standing::Unproven)
}

/// Whether a segment acknowledges the SYN-ACK that a half-open flow was answered with.
#[inline(always)]
fn acknowledges<V: PacketView + ?Sized>(packet: &Packet, view: &V, flow: Flow) -> bool {
    let Transport::Tcp { flags, .. } = packet.transport else {
        return false;
    };
    let offset = usize::from(packet.transport_offset).wrapping_add(8);
    let Some([word]): Option<[u32; 1]> = view.read(offset) else {
        return false;
    };
    flags & (SYN | ACK) == ACK && flow.is_acknowledged_by(u32::from_be(word))
}

/// Lets a newcomer in that comes again in its protocol's time.
#[inline(always)]
pub(super) fn check_retry<T: Tables>(
    packet: &Packet,
    keys: &Keys,
    place: &InClass<'_, T::Class<'_>>,
    tables: &T,
    now: u64,
) -> ControlFlow<Reason, Standing> {
    let window = Window {
        min_ns: place.class.retry_min_ns,
        max_ns: place.class.retry_max_ns,
    };
    match tables.retried(keys, window, now) {
        Retry::First => ControlFlow::Break(Reason::FirstPacket),
        Retry::TooSoon => ControlFlow::Break(Reason::TooSoon),
        Retry::InTime => {
            let standing = take_returning(place, tables, now)?;
            let flow = Flow::new(Kind::Returned, true);
            tables.keep_flow(keys.flow, flow, is_tcp(packet), now);
            ControlFlow::Continue(standing)
        }
    }
}
