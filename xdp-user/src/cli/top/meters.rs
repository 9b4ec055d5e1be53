//! Rates out of counters that only grow, and their recent past.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

/// Rates kept for each counter: four minutes at one a second.
pub(super) const PAST: usize = 240;
/// Rates that an order looks back on, so that rows don't change places all the time.
const RECENT: usize = 5;

/// Packets and their bytes: counted, or per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Flow {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Flow {
    pub(super) const fn new(packets: u64, bytes: u64) -> Self {
        Self { packets, bytes }
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(other.packets),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// What was counted since `before`; all of it where the counter began anew.
    pub(super) fn since(self, before: Self) -> Self {
        match (
            self.packets.checked_sub(before.packets),
            self.bytes.checked_sub(before.bytes),
        ) {
            (Some(packets), Some(bytes)) => Self { packets, bytes },
            _ => self,
        }
    }

    pub(super) fn per_second(self, elapsed: Duration) -> Self {
        Self {
            packets: per_second(self.packets, elapsed),
            bytes: per_second(self.bytes, elapsed),
        }
    }
}

/// To the nearest whole number; 0 of no time.
pub(super) fn per_second(count: u64, elapsed: Duration) -> u64 {
    let nanos = elapsed.as_nanos();
    let rate = (u128::from(count) * 1_000_000_000 + nanos / 2).checked_div(nanos);
    u64::try_from(rate.unwrap_or(0)).unwrap_or(u64::MAX)
}

/// One counter.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    pub(super) total: Flow,
    /// Per second, the latest last.
    rates: VecDeque<Flow>,
}

impl Meter {
    fn advance(&mut self, total: Flow, elapsed: Duration) {
        let rate = total.since(self.total).per_second(elapsed);
        self.total = total;
        if self.rates.len() == PAST {
            self.rates.pop_front();
        }
        self.rates.push_back(rate);
    }

    /// Since the last poll; zero before there are two.
    pub(super) fn rate(&self) -> Flow {
        self.rates.back().copied().unwrap_or_default()
    }

    /// Packets of the last few polls.
    pub(super) fn recent(&self) -> u64 {
        self.rates
            .iter()
            .rev()
            .take(RECENT)
            .map(|rate| rate.packets)
            .sum()
    }

    /// Packets per second, the latest last, at most `length` of them.
    pub(super) fn past(&self, length: usize) -> Vec<u64> {
        let skipped = self.rates.len().saturating_sub(length);
        self.rates
            .iter()
            .skip(skipped)
            .map(|rate| rate.packets)
            .collect()
    }
}

/// Counters by what they count.
#[derive(Clone, Debug)]
pub(super) struct Meters<K>(BTreeMap<K, Meter>);

impl<K> Default for Meters<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Meters<K> {
    /// Takes the counters as they are now. Without the time since the last poll they begin anew;
    /// with it, one that wasn't there before was zero. What isn't counted any more is forgotten.
    pub(super) fn feed(
        &mut self,
        counts: impl IntoIterator<Item = (K, Flow)>,
        elapsed: Option<Duration>,
    ) {
        let mut before = std::mem::take(&mut self.0);
        for (key, total) in counts {
            let meter = match elapsed {
                None => Meter {
                    total,
                    ..Meter::default()
                },
                Some(elapsed) => {
                    let mut meter = before.remove(&key).unwrap_or_default();
                    meter.advance(total, elapsed);
                    meter
                }
            };
            self.0.insert(key, meter);
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&Meter> {
        self.0.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Meter)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Option<Duration> = Some(Duration::from_secs(2));

    #[test]
    fn a_rate_is_the_difference_over_the_time() {
        let mut meters = Meters::default();
        meters.feed([("a", Flow::new(100, 6000))], None);
        assert_eq!(meters.get(&"a").unwrap().rate(), Flow::default());
        meters.feed(
            [("a", Flow::new(500, 30_000)), ("b", Flow::new(8, 800))],
            TWO,
        );
        assert_eq!(meters.get(&"a").unwrap().rate(), Flow::new(200, 12_000));
        assert_eq!(meters.get(&"a").unwrap().total, Flow::new(500, 30_000));
        assert_eq!(meters.get(&"b").unwrap().rate(), Flow::new(4, 400));
    }

    #[test]
    fn a_counter_that_began_anew_has_counted_what_it_says() {
        let mut meters = Meters::default();
        meters.feed([("a", Flow::new(1000, 64_000))], None);
        meters.feed([("a", Flow::new(20, 1280))], TWO);
        assert_eq!(meters.get(&"a").unwrap().rate(), Flow::new(10, 640));
    }

    #[test]
    fn the_past_is_bounded_and_what_is_gone_is_forgotten() {
        let mut meters = Meters::default();
        meters.feed([("a", Flow::default())], None);
        for step in 1..=(PAST as u64 + 10) {
            meters.feed([("a", Flow::new(step * step, 0))], TWO);
        }
        let meter = meters.get(&"a").unwrap();
        assert_eq!(meter.past(PAST * 2).len(), PAST);
        assert_eq!(
            meter.past(2),
            [(249 * 2 - 1) / 2 + 1, (250 * 2 - 1) / 2 + 1]
        );
        meters.feed([("b", Flow::default())], TWO);
        assert!(meters.get(&"a").is_none());
    }

    #[test]
    fn no_time_makes_no_rate_and_a_short_one_no_overflow() {
        assert_eq!(per_second(5, Duration::ZERO), 0);
        assert_eq!(per_second(5, Duration::from_millis(400)), 13);
        assert_eq!(per_second(u64::MAX, Duration::from_nanos(1)), u64::MAX);
    }
}
