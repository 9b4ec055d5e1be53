//! Which packets are looked at more closely: one in so many, and no more than so many in a second.
//!
//! Each CPU counts down to its next look. A look reads the clock and asks a limit (GCRA). Where that
//! has no room the distance to the next look doubles, up to [`MAX_GAP`], so a flood costs one look in
//! that many packets; where it has room the distance halves. Distances are random around their mean:
//! a sender that repeats a pattern can't hide in it.

use crate::abi::Limit;

/// Packets between two looks, on the mean, when samples come far too fast. No more, so that little is
/// passed over once they come slowly again.
pub const MAX_GAP: u32 = 64;

/// What one CPU remembers between its samples. All zero at first: the first packet is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampler {
    /// Packets to pass over until the next look.
    left: u32,
    /// What `left` was after the last look.
    planned: u32,
    /// The distance between looks that the limit asks for.
    gap: u32,
    /// Packets since the last sample, up to the last look.
    since: u32,
    /// GCRA: theoretical arrival time of the next sample.
    tat: u64,
}

impl Sampler {
    /// Whether this packet is passed over. One word of this CPU's own is read and written.
    #[inline(always)]
    pub fn passes_over(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left = self.left.wrapping_sub(1);
        true
    }

    /// Looks at a packet that isn't passed over. If it becomes a sample: how many packets it stands
    /// for.
    ///
    /// `every`: one packet in so many, on the mean; 0 counts as 1. `random`: any number.
    #[inline(always)]
    pub fn look(&mut self, limit: &Limit, every: u32, now: u64, random: u32) -> Option<u32> {
        let passed = self.planned.wrapping_add(1);
        let since = self.since.saturating_add(passed);
        let room = self.take_room(limit, now);
        let gap = self.gap;
        self.gap = if room {
            gap >> 1
        } else if gap >= MAX_GAP >> 1 {
            MAX_GAP
        } else {
            gap << 1 | 1
        };
        let most = if every > self.gap { every } else { self.gap };
        // From 0 to twice the mean, or nothing at all.
        let span = most.saturating_mul(2).saturating_sub(1);
        let left = random.checked_rem(span).unwrap_or(0);
        self.left = left;
        self.planned = left;
        self.since = if room { 0 } else { since };
        room.then_some(since)
    }

    #[inline(always)]
    fn take_room(&mut self, limit: &Limit, now: u64) -> bool {
        let cost = limit.cost_fp >> Limit::FP_BITS;
        let tolerance = limit.tolerance_ns;
        // Past, or left by a slower limit.
        let stale = self.tat < now || self.tat > now.wrapping_add(tolerance);
        let from = if stale { now } else { self.tat };
        let next = from.wrapping_add(cost);
        let room = limit.is_off() || next.wrapping_sub(now) <= tolerance;
        if room {
            self.tat = next;
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A generator of numbers for the tests (xorshift).
    fn random(state: &mut u32) -> u32 {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        *state
    }

    /// Runs packets at a rate for some seconds: samples, looks, and the packets stood for.
    fn run(limit: &Limit, every: u32, rate: u64, seconds: u64) -> (u64, u64, u64) {
        let (mut sampler, mut state) = (Sampler::default(), 0x9e37_79b9);
        let (mut samples, mut looks, mut stood_for) = (0, 0, 0);
        for packet in 0..rate * seconds {
            if sampler.passes_over() {
                continue;
            }
            looks += 1;
            let now = SECOND + packet * (SECOND / rate);
            if let Some(packets) = sampler.look(limit, every, now, random(&mut state)) {
                samples += 1;
                stood_for += u64::from(packets);
            }
        }
        (samples, looks, stood_for)
    }

    #[test]
    fn the_rate_is_bounded_and_a_flood_is_hardly_looked_at() {
        let limit = Limit::counts(10, 10);
        let (samples, looks, stood_for) = run(&limit, 1, 1_000_000, 5);
        assert!((10 + 45..=10 + 50).contains(&samples), "{samples}");
        assert!(looks < 5_000_000 / 50, "{looks}");
        let shortfall = 5_000_000 - stood_for;
        assert!(
            shortfall < 200_000,
            "each packet is stood for once: {shortfall}"
        );
    }

    #[test]
    fn a_trickle_under_the_rate_is_sampled_whole() {
        let limit = Limit::counts(10, 10);
        assert_eq!(run(&limit, 1, 5, 20), (100, 100, 100));
    }

    #[test]
    fn one_in_so_many_is_taken_on_the_mean() {
        let (samples, looks, _) = run(&Limit::OFF, 100, 100_000, 10);
        assert_eq!(samples, looks);
        assert!((9_500..10_500).contains(&samples), "{samples}");
    }

    #[test]
    fn after_a_flood_little_is_passed_over() {
        let limit = Limit::counts(10, 10);
        let (mut sampler, mut state) = (Sampler::default(), 7);
        for packet in 0..100_000u64 {
            if !sampler.passes_over() {
                sampler.look(&limit, 1, SECOND + packet, random(&mut state));
            }
        }
        let calm = (0..).take_while(|_| sampler.passes_over()).count();
        assert!(calm < 2 * MAX_GAP as usize, "{calm}");
        let later = 10 * SECOND;
        assert!(sampler.look(&limit, 1, later, 0).is_some());
    }

    #[test]
    fn a_limit_that_was_slower_is_forgotten() {
        let mut sampler = Sampler::default();
        let slow = Limit::counts(1, 100);
        for _ in 0..100 {
            sampler.look(&slow, 1, SECOND, 0);
        }
        assert_eq!(sampler.look(&slow, 1, SECOND, 0), None);
        assert!(
            sampler
                .look(&Limit::counts(1000, 1000), 1, SECOND, 0)
                .is_some()
        );
    }
}
