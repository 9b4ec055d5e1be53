//! Limits and bans as their documentation states them, in 128-bit arithmetic that can't overflow.

use super::rules::{Bans, Rate};

/// A theoretical arrival time further ahead than the burst and this was left by other limits.
const STALE_NS: u128 = 1_000_000_000;
const NS_PER_SECOND: u128 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;
/// Costs of bytes have 16 binary places.
const PLACES: u128 = 1 << 16;
const MOST_TOLERANCE_NS: u128 = 1 << 50;
const MOST_LEVEL: u64 = 32;

/// One virtual-scheduling GCRA (ITU-T I.371, annex A).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Theoretical arrival time.
    pub tat_ns: u64,
}

/// How a unit's cost is rounded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Packets and connections: each costs a whole number of nanoseconds.
    Whole,
    /// Bytes: each packet costs a whole number of nanoseconds.
    Byte,
}

impl Meter {
    /// Takes room for `amount` units, if there is any.
    pub(super) fn take(&mut self, rate: Rate, unit: Unit, amount: u64, now_ns: u64) -> bool {
        let time = NS_PER_SECOND * u128::from(rate.seconds);
        let unit_cost = match unit {
            Unit::Whole => time.div_ceil(rate.units.into()) * PLACES,
            Unit::Byte => (time * PLACES).div_ceil(rate.units.into()),
        };
        let tolerance = (u128::from(rate.burst) * unit_cost / PLACES).min(MOST_TOLERANCE_NS);
        let cost = (u128::from(amount) * unit_cost).div_ceil(PLACES);
        let (now, tat) = (u128::from(now_ns), u128::from(self.tat_ns));
        let from = if tat < now || tat > now + tolerance + STALE_NS {
            now
        } else {
            tat
        };
        let next = from + cost;
        let conforms = next - now <= tolerance;
        if conforms {
            self.tat_ns = u64::try_from(next).unwrap_or(u64::MAX);
        }
        conforms
    }
}

/// Strikes of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strikes {
    /// How many.
    pub count: u64,
    /// When the last one was, in milliseconds; absent before the first.
    pub last_ms: Option<u64>,
}

impl Strikes {
    /// Counts one; `true` when it makes a ban.
    pub(super) fn add(&mut self, bans: &Bans, now_ns: u64) -> bool {
        let now_ms = now_ns / NS_PER_MS;
        let since_ns = self
            .last_ms
            .map(|last| now_ms.saturating_sub(last) * NS_PER_MS);
        if since_ns.is_some_and(|since| since < bans.strike_interval_ns) {
            return false;
        }
        let forgotten = match since_ns {
            Some(since) if bans.strike_decay_ns > 0 => since / bans.strike_decay_ns,
            Some(_) | None => 0,
        };
        self.count = self.count.saturating_sub(forgotten) + 1;
        self.last_ms = Some(now_ms);
        let banned = self.count >= u64::from(bans.strikes);
        if banned {
            self.count = 0;
        }
        banned
    }
}

/// A ban, current or past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Banned {
    /// When it began.
    pub since_ns: u64,
    /// When it ends or ended.
    pub until_ns: u64,
    /// How often it has grown.
    pub level: u32,
}

impl Banned {
    /// The ban after `previous`.
    pub(super) fn after(previous: Option<Self>, bans: &Bans, now_ns: u64) -> Self {
        let level = previous.map_or(0, |ban| {
            let quiet = now_ns.saturating_sub(ban.until_ns);
            let forgotten = quiet.checked_div(bans.level_decay_ns).unwrap_or(0);
            (u64::from(ban.level) + 1)
                .saturating_sub(forgotten)
                .min(MOST_LEVEL)
        });
        let doublings = level * u64::from(bans.growth_shift);
        let grown = if doublings < 64 {
            u128::from(bans.base_ns) << doublings
        } else {
            u128::MAX
        };
        let length = u64::try_from(grown.min(bans.max_ns.into())).unwrap_or(u64::MAX);
        Self {
            since_ns: now_ns,
            until_ns: now_ns.saturating_add(length),
            level: u32::try_from(level).unwrap_or(u32::MAX),
        }
    }
}
