//! Frames by the time at which they went: what becomes of a flood from moment to moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Length of a slot.
pub const SLOT: Duration = Duration::from_millis(10);

/// Counts by slots since an origin. What is outside of them isn't counted.
#[derive(Debug)]
pub struct Slots {
    origin: Instant,
    counts: Box<[AtomicU64]>,
}

impl Slots {
    /// Slots for so long a time since `origin`.
    #[must_use]
    pub fn new(origin: Instant, length: Duration) -> Self {
        let slots = length.as_nanos().div_ceil(SLOT.as_nanos());
        Self {
            origin,
            counts: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts frames that went at `at`.
    pub fn add(&self, at: Instant, frames: u64) {
        let Some(since) = at.checked_duration_since(self.origin) else {
            return;
        };
        let slot = usize::try_from(since.as_nanos() / SLOT.as_nanos()).unwrap_or(usize::MAX);
        if let Some(count) = self.counts.get(slot) {
            count.fetch_add(frames, Ordering::Relaxed);
        }
    }

    /// The counts until now.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        let counts = self.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_in_the_slot_it_went_in() {
        let origin = Instant::now();
        let slots = Slots::new(origin, Duration::from_millis(25));
        for (ms, frames) in [(0, 1), (9, 2), (10, 4), (29, 8), (30, 16)] {
            slots.add(origin + Duration::from_millis(ms), frames);
        }
        assert_eq!(slots.counts(), [3, 4, 8]);
    }
}
