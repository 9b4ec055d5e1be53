//! Stage 8: limits per source, as GCRAs (ITU-T I.371, annex A) on shared words.
//!
//! Each limit keeps one word: the theoretical arrival time (TAT) of the next unit. A packet that
//! costs `c` conforms if `max(TAT, now) + c - now <= tolerance` and then moves the TAT there. Over
//! any window of length `t` at most `burst + rate * t` units pass, with no window edge to game.
//!
//! Concurrency: the TAT moves by compare-and-swap only, so two CPUs never spend the same room. The
//! clocks of two CPUs may differ by the time between reading the clock and the swap, and by a tick
//! where the policy has the coarse clock read; the TAT is compared with the packet's own time, so the
//! bound above holds with `t` longer by that time.

use core::ops::ControlFlow;

use super::{Proof, Source, SourceState, Standing, Tables, Word, ban, bytes_of};
use crate::abi::{
    FLAG_BANS, FLAG_CLASSES, FLAG_OVERRIDES, FLAG_SPARE_FLOWS, Fault, Limit, Limits, Policy,
    SourceKey,
};
use crate::lists::LIMITS;
use crate::packet::{Packet, PacketView};
use crate::reason::Reason;

/// How often a packet tries to move a word that other CPUs move too. Each failed try means that
/// another packet of the same source got through, so a source needs as many CPUs in the same
/// nanoseconds to exhaust it; the packet then counts as over the limit, never as under it.
pub const CAS_TRIES: usize = 8;

/// A TAT further ahead than the tolerance and this was left by a limit that has since changed;
/// it counts as expired. No CPU sits between its clock and its swap for so long.
pub const STALE_NS: u64 = 1_000_000_000;

#[allow(clippy::too_many_arguments, reason = "what the stages know")]
#[inline(always)]
pub(super) fn check_limits<V: PacketView + ?Sized, T: Tables>(
    packet: &Packet,
    view: &V,
    source: Source<'_, T::Place>,
    listed: u8,
    standing: Standing,
    tables: &T,
    policy: &Policy,
    now: u64,
) -> ControlFlow<Reason> {
    let weight = standing.weight();
    let bytes = bytes_of(packet).wrapping_mul(weight);
    let Some(known) = tables.source(source.place, now, bytes, weight) else {
        tables.fault(Fault::SourceTableFull);
        return ControlFlow::Break(Reason::SourceUntracked);
    };
    let limits = effective_limits(packet, listed, tables, policy);
    let exceeded = exceeded(packet, &known, limits, weight, tables, now);
    let earns = exceeded.is_none() && standing == Standing::Earning;
    // Who sends to closed ports only is no acquaintance.
    let proven = || {
        tables.flags(policy) & FLAG_CLASSES == 0
            || tables.stands_aside(packet)
            || tables.proof(packet) != Proof::Nobody
    };
    known.judged(now, earns, proven);
    let Some(reason) = exceeded else {
        return match standing {
            Standing::Refused(reason) => ControlFlow::Break(reason),
            Standing::Earning | Standing::Unproven => ControlFlow::Continue(()),
        };
    };
    let offence = Offence {
        reason,
        packets: weight,
        bytes,
        may_be_spared: weight == 1,
    };
    if tables.offended(
        &known,
        source.key,
        source.place,
        view,
        packet,
        &offence,
        now,
    ) {
        ControlFlow::Break(reason)
    } else {
        ControlFlow::Continue(())
    }
}

/// What a source did.
#[derive(Clone, Copy, Debug)]
pub struct Offence {
    /// The limit that it went over.
    pub reason: Reason,
    /// Packets that count as over it.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Whether it was none if the packet is of a flow that was asked for.
    pub may_be_spared: bool,
}

/// Counts what a source did beyond its limits, and bans it for the last of too many strikes.
#[inline(always)]
pub fn offended<T: Tables>(
    known: &T::Source<'_>,
    key: &SourceKey,
    place: &T::Place,
    offence: &Offence,
    tables: &T,
    now: u64,
) {
    let (Some(offences), Some(policy)) = (known.offences(), tables.policy()) else {
        return;
    };
    offences.dropped_packets.add(offence.packets);
    offences.dropped_bytes.add(offence.bytes);
    if tables.flags(policy) & FLAG_BANS != 0 {
        let source = Source { key, place };
        ban::strike(
            offences.strikes,
            source,
            offence.reason,
            tables,
            &policy.ban,
            now,
        );
    }
}

/// How many times the shipped limits a flow that was asked for may send.
const SPARED_SHIFT: u32 = 4;
/// Tells a spared flow's limit in bytes from its limit in packets.
const OF_BYTES: u64 = 1 << 45;

/// Whether limits and bans spare what was asked for.
#[inline(always)]
pub(super) fn spares_flows<T: Tables>(tables: &T) -> bool {
    tables.remembers_answers()
        && tables
            .policy()
            .is_some_and(|policy| tables.flags(policy) & FLAG_SPARE_FLOWS != 0)
}

/// Whether a packet beyond its source's limit passes all the same: one of a connection or of a flow that
/// this host began, which has many times that room of its own. A fast peer is no attacker.
#[inline(always)]
pub fn is_spared<V: PacketView + ?Sized, T: Tables>(
    packet: &Packet,
    view: &V,
    reason: Reason,
    tables: &T,
    now: u64,
) -> bool {
    if reason == Reason::RateTcpNew || !spares_flows(tables) {
        return false;
    }
    let (Some(hash), Some(policy)) = (tables.asked_for(view, packet, now), tables.policy()) else {
        return false;
    };
    // Limits of its own are an operator's.
    if tables.flags(policy) & FLAG_OVERRIDES != 0 && tables.limits(&packet.source).is_some() {
        return false;
    }
    let limits = &policy.limits;
    if reason == Reason::RateBytes {
        let limit = wider(&limits.bytes);
        tables.meter(hash ^ OF_BYTES, &limit, bytes_of(packet), now)
    } else {
        tables.meter(hash, &wider(&limits.packets), 1, now)
    }
}

#[inline(always)]
const fn wider(limit: &Limit) -> Limit {
    Limit {
        cost_fp: limit.cost_fp >> SPARED_SHIFT,
        tolerance_ns: limit.tolerance_ns,
    }
}

#[inline(always)]
fn effective_limits<'a, T: Tables>(
    packet: &Packet,
    listed: u8,
    tables: &'a T,
    policy: &'a Policy,
) -> &'a Limits {
    if tables.flags(policy) & FLAG_OVERRIDES == 0 || listed & LIMITS == 0 {
        return &policy.limits;
    }
    tables.limits(&packet.source).unwrap_or(&policy.limits)
}

/// The first limit that the packet exceeds. A packet that a later limit refuses has already spent
/// room of the earlier ones: the sum errs to the strict side.
#[inline(always)]
fn exceeded<T: Tables, S: SourceState>(
    packet: &Packet,
    source: &S,
    limits: &Limits,
    weight: u64,
    tables: &T,
    now: u64,
) -> Option<Reason> {
    if packet.opens_tcp_connection()
        && !conforms(source.tat_tcp_new(), &limits.tcp_new, weight, now, tables)
    {
        return Some(Reason::RateTcpNew);
    }
    if !conforms(source.tat_packets(), &limits.packets, weight, now, tables) {
        return Some(Reason::RatePackets);
    }
    if !conforms(
        source.tat_bytes(),
        &limits.bytes,
        bytes_of(packet).wrapping_mul(weight),
        now,
        tables,
    ) {
        return Some(Reason::RateBytes);
    }
    None
}

/// Takes room for `units` from a limit, if there is any.
#[inline(always)]
pub(super) fn conforms<T: Tables, W: Word>(
    tat: W,
    limit: &Limit,
    units: u64,
    now: u64,
    tables: &T,
) -> bool {
    if limit.is_off() {
        return true;
    }
    let cost = cost_ns(limit, units);
    let mut stored = tat.load();
    for _ in 0..CAS_TRIES {
        let next = advance(stored, cost, limit.tolerance_ns, now);
        if next.wrapping_sub(now) > limit.tolerance_ns {
            return false;
        }
        match tat.compare_exchange(stored, next) {
            Ok(()) => return true,
            Err(found) => stored = found,
        }
    }
    tables.fault(Fault::LimiterContended);
    false
}

/// Whether a limit has room for `units`, which are not taken.
#[inline(always)]
pub(super) fn has_room<W: Word>(tat: W, limit: &Limit, units: u64, now: u64) -> bool {
    let next = advance(tat.load(), cost_ns(limit, units), limit.tolerance_ns, now);
    limit.is_off() || next.wrapping_sub(now) <= limit.tolerance_ns
}

/// Cost of `units`, rounded up to a whole nanosecond. A cost fits 46 bits (one unit per
/// second) and a frame 17: no overflow.
#[inline(always)]
fn cost_ns(limit: &Limit, units: u64) -> u64 {
    let exact = units.wrapping_mul(limit.cost_fp);
    exact.wrapping_add((1 << Limit::FP_BITS) - 1) >> Limit::FP_BITS
}

/// The TAT after a packet of `cost` at `now`. Times fit 63 bits (292 years of uptime).
#[inline(always)]
fn advance(stored: u64, cost: u64, tolerance_ns: u64, now: u64) -> u64 {
    let expired = stored < now || stored > now.wrapping_add(tolerance_ns).wrapping_add(STALE_NS);
    let from = if expired { now } else { stored };
    from.wrapping_add(cost)
}
