//! Spans of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::serde_as_text;

/// A span of time with a unit: "100ms", "1m30s", "1h", "7d". At most 2⁶⁴ ns (584 years).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span(u64);

/// Why a text isn't a span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    #[error(
        "not a span of time ({reason}), write for example \"100ms\", \"30s\", \"1h\" or \"7d\""
    )]
    Unreadable { reason: String },
    #[error("too long, the most is 500 years")]
    TooLong,
}

impl Span {
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Caps at 2⁶⁴ ns.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Caps at 2⁶⁴ ns.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.as_duration()
    }
}

impl TryFrom<Duration> for Span {
    type Error = SpanError;

    fn try_from(duration: Duration) -> Result<Self, SpanError> {
        u64::try_from(duration.as_nanos())
            .map(Self)
            .map_err(|_| SpanError::TooLong)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let duration =
            humantime::parse_duration(text.trim()).map_err(|error| SpanError::Unreadable {
                reason: error.to_string(),
            })?;
        duration.try_into()
    }
}

/// Months and years are left out: "30d" is clearer than the "29d 13h…" of an average month.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut rest = self.0;
        for (unit, nanos) in UNITS {
            if rest >= nanos {
                text += &format!("{}{unit}", rest / nanos);
                rest %= nanos;
            }
        }
        out.pad(if text.is_empty() { "0s" } else { &text })
    }
}

serde_as_text!(Span, {
    "type": "string",
    "description": "A number and a unit: ns, us, ms, s, m, h, d; several of them add up.",
    "pattern": "^([0-9]{1,6}(ns|us|ms|s|m|h|d))+$",
    "examples": ["90s", "1h 30m"]
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_are_read_and_written_with_units() {
        assert_eq!("100ms".parse(), Ok(Span::from_millis(100)));
        assert_eq!("1h".parse(), Ok(Span::from_secs(3600)));
        assert_eq!("7d".parse(), Ok(Span::from_secs(7 * 86_400)));
        assert_eq!(Span::from_secs(90).to_string(), "1m30s");
        assert_eq!(Span::from_secs(31 * 86_400).to_string(), "31d");
        assert_eq!(Span::from_nanos(0).to_string(), "0s");
    }

    #[test]
    fn text_without_a_unit_is_refused_with_examples() {
        for text in ["", "5", "h", "-1s", "5 parsecs"] {
            let refused = text.parse::<Span>().unwrap_err();
            assert!(refused.to_string().contains("\"1h\""), "{refused}");
        }
        assert_eq!("10000years".parse::<Span>(), Err(SpanError::TooLong));
    }

    proptest! {
        #[test]
        fn every_span_round_trips(nanos: u64) {
            let span = Span::from_nanos(nanos);
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
