//! The arithmetic: medians, spreads, differences.

use serde::Serialize;

/// A quantity measured in several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The middle value.
    pub median: f64,
    /// A quarter of the values lies below.
    pub low: f64,
    /// A quarter of the values lies above.
    pub high: f64,
}

impl Figure {
    /// Of the values of all rounds; nothing when there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&sorted, 0.5)?,
            low: quantile(&sorted, 0.25)?,
            high: quantile(&sorted, 0.75)?,
        })
    }

    /// Half the distance between the quartiles.
    #[must_use]
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// Of sorted values, by linear interpolation between the two nearest.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place among a few values"
)]
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let below = sorted.get(place.floor() as usize)?;
    let above = sorted.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

/// What is left of each round's measurement without that of the reference in the same round.
#[must_use]
pub(super) fn without(measured: &[f64], reference: &[f64]) -> Vec<f64> {
    let rounds = measured.iter().zip(reference);
    rounds.map(|(whole, part)| whole - part).collect()
}

/// `a / b`, where `b` is large enough to divide by: a nanosecond is what the method resolves.
#[must_use]
pub(super) fn ratio(a: f64, b: f64) -> Option<f64> {
    (b >= 1.0).then(|| a / b)
}

#[cfg(test)]
#[allow(
    clippy::float_cmp,
    reason = "small whole numbers and their halves are exact"
)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        let figure = Figure::of(&[5.0, 1.0, 100.0, 3.0, 2.0]).unwrap();
        assert_eq!(figure.median, 3.0);
        assert_eq!((figure.low, figure.high), (2.0, 5.0));
        assert_eq!(figure.spread(), 1.5);
    }

    #[test]
    fn between_two_middle_values_lies_the_median_of_an_even_number() {
        assert_eq!(Figure::of(&[4.0, 1.0, 2.0, 10.0]).unwrap().median, 3.0);
        assert_eq!(Figure::of(&[7.0]).unwrap().spread(), 0.0);
        assert_eq!(Figure::of(&[]), None);
    }

    #[test]
    fn each_round_is_freed_of_its_own_reference() {
        // The second round was slow as a whole: subtracting a median would leave 50 in it.
        let net = without(&[110.0, 160.0, 112.0], &[10.0, 60.0, 10.0]);
        assert_eq!(net, [100.0, 100.0, 102.0]);
    }

    #[test]
    fn nothing_is_divided_by_less_than_can_be_measured() {
        assert_eq!(ratio(10.0, 4.0), Some(2.5));
        assert_eq!(ratio(10.0, 0.3), None);
        assert_eq!(ratio(10.0, -5.0), None);
    }
}
