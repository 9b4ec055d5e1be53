//! Sent and leaked from moment to moment.

use std::time::Duration;

use serde::Serialize;

use crate::traffic::slots::SLOT;

/// The leak of a window that counts as mitigated.
const MOST_LEAKED: f64 = 0.01;
/// Length of a window in slots.
const WINDOW: usize = 10;
/// Slots of a second.
const SECOND: usize = 100;

/// Packets of a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// Attack packets sent.
    pub sent: u64,
    /// Attack packets that reached the host's stack.
    pub leaked: u64,
}

impl Leak {
    /// Leaked of sent; none without an attack.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        (self.sent > 0).then(|| self.leaked as f64 / self.sent as f64)
    }

    fn is_mitigated(self) -> bool {
        self.share().is_some_and(|share| share <= MOST_LEAKED)
    }
}

/// Both by slots of 10 ms since the attack began.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    pub(super) sent: Vec<u64>,
    pub(super) leaked: Vec<u64>,
}

impl Timeline {
    pub(super) fn all(&self) -> Leak {
        self.span(0, usize::MAX)
    }

    pub(super) fn first_second(&self) -> Leak {
        self.span(0, SECOND)
    }

    /// By tenths of a second.
    pub(super) fn windows(&self) -> Vec<Leak> {
        let slots = self.sent.len().max(self.leaked.len());
        let starts = (0..slots).step_by(WINDOW);
        starts.map(|start| self.span(start, WINDOW)).collect()
    }

    /// The end of the first tenth of a second in which hardly anything leaked any more, and hardly
    /// anything on the whole from then on; none when there was no such time. A pause of the
    /// attack or of the machine is no mitigation.
    pub(super) fn mitigated_after(&self) -> Option<Duration> {
        let windows = self.sent.len().checked_sub(WINDOW)? + 1;
        let slot = (0..windows).find(|start| {
            self.span(*start, WINDOW).is_mitigated() && self.span(*start, usize::MAX).is_mitigated()
        })?;
        Some(SLOT * u32::try_from(slot + WINDOW).ok()?)
    }

    fn span(&self, start: usize, slots: usize) -> Leak {
        let sum = |counts: &[u64]| counts.iter().skip(start).take(slots).sum();
        Leak {
            sent: sum(&self.sent),
            leaked: sum(&self.leaked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(leaked: impl Fn(usize) -> u64) -> Timeline {
        Timeline {
            sent: vec![1000; 300],
            leaked: (0..300).map(leaked).collect(),
        }
    }

    #[test]
    fn mitigation_begins_where_hardly_anything_leaks_any_more() {
        let late = timeline(|slot| if slot < 42 { 900 } else { 5 });
        assert_eq!(late.mitigated_after(), Some(Duration::from_millis(520)));
        assert_eq!(
            late.first_second(),
            Leak {
                sent: 100_000,
                leaked: 42 * 900 + 58 * 5
            }
        );
        assert_eq!(late.windows().len(), 30);
        let share = late.all().share().unwrap();
        assert!((share - 39_090.0 / 300_000.0).abs() < 1e-9);
    }

    #[test]
    fn a_lull_is_no_mitigation() {
        let lull = timeline(|slot| u64::from(!(100..150).contains(&slot)) * 1000);
        assert_eq!(lull.mitigated_after(), None);
        let pause = Timeline {
            sent: vec![0; 50],
            leaked: vec![0; 50],
        };
        assert_eq!((pause.mitigated_after(), pause.all().share()), (None, None));
    }

    #[test]
    fn what_never_leaked_was_mitigated_in_its_first_window() {
        let never = timeline(|_| 0);
        assert_eq!(never.mitigated_after(), Some(Duration::from_millis(100)));
    }
}
