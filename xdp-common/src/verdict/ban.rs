//! Stage 4 and the escalation that feeds it: strikes, then bans that grow and decay.

use core::ops::ControlFlow;

use super::{BanState, Clock, Source, Tables, Word, bytes_of};
use crate::abi::{Ban, BanPolicy};
use crate::packet::{Packet, PacketView};
use crate::reason::Reason;

/// Lower bits of [`crate::abi::Source::strikes`] that hold the number.
pub const STRIKE_COUNT_BITS: u32 = 16;
const STRIKE_COUNT_MASK: u64 = (1 << STRIKE_COUNT_BITS) - 1;
const NS_PER_MS: u64 = 1_000_000;
/// A ban that has grown this often is at any sensible maximum.
const MAX_LEVEL: u64 = 32;

#[inline(always)]
pub(super) fn check_ban<V: PacketView + ?Sized, T: Tables, C: Fn() -> u64>(
    packet: &Packet,
    view: &V,
    source: Source<'_, T::Place>,
    tables: &T,
    clock: &Clock<C>,
) -> ControlFlow<Reason> {
    match tables.ban(source.key, source.place) {
        Some(ban) if clock.now() < ban.until_ns() => {
            // Whoever forges an address has it banned; what its owner was asked for is none of that.
            if super::limit::spares_flows(tables)
                && tables.asked_for(view, packet, clock.now()).is_some()
            {
                return ControlFlow::Continue(());
            }
            ban.hit(bytes_of(packet));
            ControlFlow::Break(Reason::Banned)
        }
        Some(_) | None => ControlFlow::Continue(()),
    }
}

/// Counts a strike against a source that is over its limit, at most one per interval, and bans it
/// when there are enough.
///
/// Concurrency: number and time share one word that moves by compare-and-swap. Of several CPUs in
/// one interval exactly one wins; the others find a younger strike and leave it.
#[inline(always)]
pub(super) fn strike<T: Tables, W: Word>(
    word: W,
    source: Source<'_, T::Place>,
    reason: Reason,
    tables: &T,
    policy: &BanPolicy,
    now: u64,
) {
    let stored = word.load();
    let now_ms = now / NS_PER_MS;
    let since_ns = now_ms
        .saturating_sub(stored >> STRIKE_COUNT_BITS)
        .saturating_mul(NS_PER_MS);
    let first = stored == 0;
    if !first && since_ns < policy.strike_interval_ns {
        return;
    }
    let strikes = strikes_left(stored, since_ns, policy).saturating_add(1);
    let banned = strikes >= u64::from(policy.strikes);
    let kept = if banned {
        0
    } else {
        strikes & STRIKE_COUNT_MASK
    };
    if word
        .compare_exchange(stored, now_ms << STRIKE_COUNT_BITS | kept)
        .is_err()
    {
        return;
    }
    if banned {
        let previous = tables.ban(source.key, source.place).map(|ban| ban.get());
        tables.start_ban(
            source.key,
            source.place,
            &next_ban(previous, reason, policy, now),
        );
    }
}

/// Strikes in a word, less those forgotten in the time since the last one.
#[inline(always)]
pub fn strikes_left(word: u64, since_ns: u64, policy: &BanPolicy) -> u64 {
    let count = word & STRIKE_COUNT_MASK;
    count.saturating_sub(since_ns.checked_div(policy.strike_decay_ns).unwrap_or(0))
}

/// The ban that follows `previous`: one level longer, less the levels forgotten since that ended.
/// The hits of earlier bans go on counting.
#[inline(always)]
pub fn next_ban(previous: Option<Ban>, reason: Reason, policy: &BanPolicy, now: u64) -> Ban {
    let (level, packets, bytes) = match previous {
        Some(ban) => {
            let quiet_ns = now.saturating_sub(ban.until_ns);
            let forgotten = quiet_ns.checked_div(policy.level_decay_ns).unwrap_or(0);
            let level = u64::from(ban.level)
                .saturating_add(1)
                .saturating_sub(forgotten);
            (level, ban.packets, ban.bytes)
        }
        None => (0, 0, 0),
    };
    let level = if level > MAX_LEVEL { MAX_LEVEL } else { level };
    #[allow(clippy::cast_possible_truncation, reason = "at most MAX_LEVEL")]
    let level = level as u32;
    Ban {
        until_ns: now.saturating_add(duration_ns(level, policy)),
        since_ns: now,
        packets,
        bytes,
        level,
        reason: u32::from(reason.code()),
    }
}

/// `base * 2^(level * shift)`, at most the maximum. The maximum caps before the shift could
/// overflow.
#[inline(always)]
fn duration_ns(level: u32, policy: &BanPolicy) -> u64 {
    let shift = level.saturating_mul(policy.growth_shift);
    if shift > 63 || policy.base_ns > policy.max_ns >> shift {
        policy.max_ns
    } else {
        policy.base_ns << shift
    }
}
