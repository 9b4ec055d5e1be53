//! When is the next packet due?

use std::sync::Arc;
use std::time::Duration;

/// How far a sender may fall behind before it gives the lost time up instead of catching up with
/// a burst.
const LARGEST_LAG: Duration = Duration::from_millis(10);
/// A sender that is behind sends at most so many times its rate. At full speed a stall of 10 ms
/// would end in a burst that no receiver's ring has room for.
const CATCH_UP: u64 = 2;

/// A schedule of evenly spaced packets that knows no clock: it is told the time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    packets_per_second: u64,
    /// Elapsed time that counts as 0.
    origin: Duration,
    /// Packets since the origin.
    sent: u64,
    /// When packets were due the last time.
    last: Duration,
}

impl Pace {
    /// A schedule that starts at 0. A rate of 0 counts as 1.
    #[must_use]
    pub fn new(packets_per_second: u64) -> Self {
        Self {
            packets_per_second: packets_per_second.max(1),
            origin: Duration::ZERO,
            sent: 0,
            last: Duration::ZERO,
        }
    }

    /// How many packets are due `elapsed` after the start, at most `most`.
    #[must_use]
    pub fn due(&mut self, elapsed: Duration, most: usize) -> usize {
        let running = elapsed.saturating_sub(self.origin);
        if running > self.time_of(self.sent + 1) + LARGEST_LAG {
            self.origin = elapsed;
            self.sent = 0;
        }
        let scheduled = self.packets_in(elapsed.saturating_sub(self.origin));
        let room = CATCH_UP * self.packets_in(elapsed.saturating_sub(self.last));
        let due = scheduled.saturating_sub(self.sent).min(room);
        if due > 0 {
            self.last = elapsed;
        }
        usize::try_from(due).unwrap_or(usize::MAX).min(most)
    }

    /// Notes that so many were sent.
    pub fn sent(&mut self, packets: usize) {
        self.sent += packets as u64;
    }

    /// How long after `elapsed` the next `packets` will all be due.
    #[must_use]
    pub fn until(&self, elapsed: Duration, packets: usize) -> Duration {
        let at = self.origin + self.time_of(self.sent + packets as u64);
        at.saturating_sub(elapsed)
    }

    fn packets_in(&self, time: Duration) -> u64 {
        let packets = time.as_nanos() * u128::from(self.packets_per_second) / 1_000_000_000;
        u64::try_from(packets).unwrap_or(u64::MAX / CATCH_UP)
    }

    fn time_of(&self, packets: u64) -> Duration {
        let nanoseconds = u128::from(packets) * 1_000_000_000 / u128::from(self.packets_per_second);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// A schedule that is given packet by packet. Late packets are sent at once.
#[derive(Clone, Debug)]
pub struct Timetable {
    times: Arc<[Duration]>,
    sent: usize,
}

impl Timetable {
    /// A schedule from the packets' times after the start, in order.
    #[must_use]
    pub fn new(times: Arc<[Duration]>) -> Self {
        Self { times, sent: 0 }
    }
}

/// Either of the schedules.
#[derive(Clone, Debug)]
pub enum Timing {
    /// At a rate.
    Even(Pace),
    /// As it is written.
    Given(Timetable),
}

impl Timing {
    /// How many packets are due `elapsed` after the start, at most `most`.
    #[must_use]
    pub fn due(&mut self, elapsed: Duration, most: usize) -> usize {
        match self {
            Self::Even(pace) => pace.due(elapsed, most),
            Self::Given(Timetable { times, sent }) => {
                let left = times.iter().skip(*sent).take(most);
                left.take_while(|time| **time <= elapsed).count()
            }
        }
    }

    /// Notes that so many were sent.
    pub fn sent(&mut self, packets: usize) {
        match self {
            Self::Even(pace) => pace.sent(packets),
            Self::Given(timetable) => timetable.sent += packets,
        }
    }

    /// How long after `elapsed` the next `packets` will all be due.
    #[must_use]
    pub fn until(&self, elapsed: Duration, packets: usize) -> Duration {
        match self {
            Self::Even(pace) => pace.until(elapsed, packets),
            Self::Given(Timetable { times, sent }) => {
                let last = times.get(sent + packets.saturating_sub(1)).or(times.last());
                last.map_or(Duration::MAX, |time| time.saturating_sub(elapsed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_timetable_fall_due_when_it_says() {
        let ms = Duration::from_millis;
        let mut timing = Timing::Given(Timetable::new([ms(0), ms(5), ms(5), ms(9)].into()));
        assert_eq!(timing.due(ms(0), 16), 1);
        timing.sent(1);
        assert_eq!(timing.until(ms(2), 1), ms(3));
        assert_eq!((timing.due(ms(4), 16), timing.due(ms(20), 2)), (0, 2));
        timing.sent(2);
        assert_eq!(timing.due(ms(20), 16), 1);
    }

    #[test]
    fn packets_fall_due_evenly() {
        let mut pace = Pace::new(1_000);
        assert_eq!(pace.due(Duration::from_micros(999), 32), 0);
        assert_eq!(pace.due(Duration::from_millis(3), 32), 3);
        pace.sent(3);
        assert_eq!(pace.due(Duration::from_millis(3), 32), 0);
        assert_eq!(
            pace.until(Duration::from_millis(3), 2),
            Duration::from_millis(2)
        );
        assert_eq!(pace.due(Duration::from_millis(8), 4), 4);
    }

    #[test]
    fn a_second_of_steps_sends_the_rate_and_no_more() {
        let mut pace = Pace::new(250_001);
        let mut total = 0;
        for microsecond in 1..=1_000_000 {
            let due = pace.due(Duration::from_micros(microsecond), 32);
            pace.sent(due);
            total += due;
        }
        assert_eq!(total, 250_001);
    }

    #[test]
    fn a_slow_schedule_is_kept() {
        let mut pace = Pace::new(10);
        for tenth in 1..=5 {
            assert_eq!(pace.due(Duration::from_millis(tenth * 100 - 1), 32), 0);
            assert_eq!(pace.due(Duration::from_millis(tenth * 100), 32), 1);
            pace.sent(1);
        }
    }

    #[test]
    fn a_short_stall_is_made_up_for_at_twice_the_rate() {
        let mut pace = Pace::new(100_000);
        let mut sent = Vec::new();
        for tenth in (1..=10).chain(60..=120) {
            let due = pace.due(Duration::from_micros(tenth * 100), 16);
            pace.sent(due);
            sent.push(due);
        }
        // 10 in each tenth of a millisecond, 16 are the most at once; 500 are missing at first.
        assert_eq!((sent[9], sent[10], sent[50]), (10, 16, 16));
        let mut pace = Pace::new(1_000);
        assert_eq!(pace.due(Duration::from_millis(9), usize::MAX), 9);
        pace.sent(4);
        assert_eq!(pace.due(Duration::from_micros(9_400), usize::MAX), 0);
        assert_eq!(pace.due(Duration::from_millis(10), usize::MAX), 2);
    }

    #[test]
    fn a_long_stall_is_not_made_up_for() {
        let mut pace = Pace::new(1_000);
        let due = pace.due(Duration::from_millis(5), 32);
        pace.sent(due);
        assert_eq!(pace.due(Duration::from_secs(2), usize::MAX), 0);
        assert_eq!(pace.due(Duration::from_millis(2_004), usize::MAX), 4);
    }
}
