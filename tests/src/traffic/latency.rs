//! Percentiles over all samples, not over a histogram.

use std::time::Duration;

/// A sorted set of durations.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        let mut samples: Vec<Duration> = samples.into_iter().collect();
        samples.sort_unstable();
        Self(samples)
    }
}

impl IntoIterator for Latencies {
    type Item = Duration;
    type IntoIter = std::vec::IntoIter<Duration>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Latencies {
    /// The smallest sample that at least `percent` of all samples don't exceed (nearest rank);
    /// `None` without samples.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let rank = (self.0.len() * usize::from(percent)).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied()
    }

    /// How many samples are longer than that.
    #[must_use]
    pub fn longer_than(&self, limit: Duration) -> usize {
        self.0.len() - self.0.partition_point(|sample| *sample <= limit)
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let latencies: Latencies = (1..=10).rev().map(Duration::from_millis).collect();
        let percentile = |percent| latencies.percentile(percent).unwrap().as_millis();
        assert_eq!(percentile(0), 1);
        assert_eq!(percentile(50), 5);
        assert_eq!(percentile(51), 6);
        assert_eq!(percentile(95), 10);
        assert_eq!(percentile(100), 10);
        assert_eq!(latencies.count(), 10);
        assert_eq!(latencies.longer_than(Duration::from_millis(8)), 2);
    }

    #[test]
    fn no_sample_has_no_percentile() {
        assert_eq!(Latencies::default().percentile(50), None);
    }
}
