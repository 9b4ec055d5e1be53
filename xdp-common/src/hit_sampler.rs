//! Which hits of list entries a CPU writes down, see [`crate::abi::hits`]: all of them while there are few
//! in a period, and ever fewer of many.

use crate::abi::hits;

/// What one CPU remembers between its hits. All zero at first.
///
/// A hit that is written stands for itself and those that were passed over before it, so nothing is lost
/// within a period but what is passed over at its end. Distances are random around their mean: a sender that
/// repeats a pattern can't hide in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HitSampler {
    /// The timer tick at which the period ends.
    ends: u64,
    /// Hits to pass over until the next is written.
    left: u32,
    /// What `left` was after the last one.
    planned: u32,
    /// Hits that are passed over for one that is written, on the mean: 0, 1, 3, 7 and so on.
    gap: u32,
    /// Hits to write until the gap grows.
    steady: u32,
}

impl HitSampler {
    /// Whether this hit is passed over, as nearly all of a flood are.
    #[inline(always)]
    pub fn passes_over(&mut self, ticks: u64) -> bool {
        let passes_over = ticks < self.ends && self.left != 0;
        if passes_over {
            self.left = self.left.wrapping_sub(1);
        }
        passes_over
    }

    /// Whether a hit is written, and for how many hits it stands then.
    ///
    /// `ticks` are shifted by `period_shift` to periods. `random`: any number, asked for only where hits
    /// are passed over.
    #[inline(always)]
    pub fn take(
        &mut self,
        ticks: u64,
        period_shift: u32,
        random: impl FnOnce() -> u32,
    ) -> Option<u32> {
        if self.passes_over(ticks) {
            return None;
        }
        if ticks >= self.ends {
            *self = Self {
                ends: (ticks >> period_shift).wrapping_add(1) << period_shift,
                steady: hits::EXACT,
                ..Self::default()
            };
        }
        let stands_for = self.planned.wrapping_add(1);
        self.steady = self.steady.wrapping_sub(1);
        if self.steady == 0 {
            self.gap = (self.gap << 1 | 1) & hits::MAX_GAP;
            self.steady = hits::EXACT;
        }
        // From 0 to twice the mean.
        let span = (self.gap << 1).wrapping_add(1);
        self.planned = if self.gap == 0 {
            0
        } else {
            random().checked_rem(span).unwrap_or(0)
        };
        self.left = self.planned;
        Some(stands_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIFT: u32 = 8;

    fn random(state: &mut u32) -> u32 {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        *state
    }

    #[test]
    fn few_hits_are_all_written_as_they_are() {
        let mut sampler = HitSampler::default();
        for ticks in [0, 255, 256, 300] {
            // Two in each period, which together have fewer than are written one by one.
            for _ in 0..hits::EXACT / 2 - 1 {
                assert_eq!(sampler.take(ticks, SHIFT, || panic!("no need")), Some(1));
            }
        }
    }

    #[test]
    fn many_hits_are_thinned_out_and_none_is_lost_within_a_period() {
        let (mut sampler, mut state) = (HitSampler::default(), 0x9e37_79b9);
        let (mut written, mut stood_for) = (0, 0);
        let sent = 20_000_000;
        for _ in 0..sent {
            if let Some(hits) = sampler.take(1_000, SHIFT, || random(&mut state)) {
                written += 1;
                stood_for += u64::from(hits);
            }
        }
        assert!(written < hits::RING, "{written} of {}", hits::RING);
        let passed_over = sampler.planned - sampler.left;
        assert!(passed_over <= 2 * sampler.gap);
        assert_eq!(stood_for + u64::from(passed_over), sent);
    }

    #[test]
    fn a_new_period_is_exact_again() {
        let (mut sampler, mut state) = (HitSampler::default(), 1);
        for _ in 0..1_000_000 {
            sampler.take(0, SHIFT, || random(&mut state));
        }
        assert!(sampler.gap > 100);
        assert_eq!(
            sampler.take(1 << SHIFT, SHIFT, || panic!("no need")),
            Some(1)
        );
        assert_eq!(
            sampler.take(1 << SHIFT, SHIFT, || panic!("no need")),
            Some(1)
        );
    }

    /// Of two entries that are hit in turn, neither hides from the sampler.
    #[test]
    fn a_pattern_is_told_as_it_is() {
        let (mut sampler, mut state) = (HitSampler::default(), 7);
        let mut of = [0_u64; 4];
        for number in 0..4_000_000 {
            if let Some(hits) = sampler.take(0, SHIFT, || random(&mut state)) {
                of[number % 4] += u64::from(hits);
            }
        }
        for hits in of {
            assert!((900_000..1_100_000).contains(&hits), "{of:?}");
        }
    }
}
