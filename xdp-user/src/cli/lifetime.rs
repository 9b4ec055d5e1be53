//! `--for`: how long an entry lasts, in the forms that operators and other tools use.

use std::str::FromStr;
use std::time::Duration;

use crate::domain::{Span, SpanError};

/// For how long something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Forever,
    Span(Span),
}

impl Lifetime {
    /// What the daemon is asked for: no span stands for ever.
    pub(crate) fn span(self) -> Option<Span> {
        match self {
            Self::Forever => None,
            Self::Span(span) => Some(span),
        }
    }
}

/// Words for "without an end", besides negative numbers (fail2ban's `bantime = -1`) and 0 (ipset's
/// `timeout 0`).
const FOREVER: [&str; 4] = ["permanent", "forever", "never", "infinite"];

impl FromStr for Lifetime {
    type Err = SpanError;

    /// `1h`, `1h30m`, `7d`; seconds as a bare number; `-1`, `0` and `permanent` for ever; and the
    /// durations of Go, `3h59m58.5s`, that CrowdSec prints.
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let text = text.trim();
        if FOREVER.iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(Self::Forever);
        }
        if let Ok(seconds) = text.parse::<i64>() {
            return Ok(match u64::try_from(seconds) {
                Ok(1..) => Self::Span(Duration::from_secs(seconds.unsigned_abs()).try_into()?),
                Ok(0) | Err(_) => Self::Forever,
            });
        }
        let span = text.parse::<Span>().or_else(|refused| {
            let parsed: jiff::SignedDuration = text.parse().map_err(|_| refused.clone())?;
            let duration = Duration::try_from(parsed).map_err(|_| refused)?;
            Span::try_from(duration)
        })?;
        match span.is_zero() {
            true => Err(SpanError::Unreadable {
                reason: "it ends at once; for ever is \"permanent\", \"-1\" or \"0\"".to_owned(),
            }),
            false => Ok(Self::Span(span)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Option<u64> {
        text.parse::<Lifetime>().unwrap().span().map(Span::as_nanos)
    }

    #[test]
    fn a_bare_number_is_seconds_and_other_tools_forms_are_read() {
        const SECOND: u64 = 1_000_000_000;
        for (text, seconds) in [
            ("3600", 3600),
            ("600", 600),
            ("1h", 3600),
            ("1h30m", 5400),
            ("1h30m0s", 5400),
            ("1d", 86_400),
            ("2w", 14 * 86_400),
        ] {
            assert_eq!(nanos(text), Some(seconds * SECOND), "{text}");
        }
        assert_eq!(
            nanos("3h59m58.5s"),
            Some((4 * 3600 - 2) * SECOND + SECOND / 2)
        );
    }

    #[test]
    fn there_is_a_for_ever_of_every_tool() {
        for text in [
            "-1",
            "0",
            "-600",
            "permanent",
            "Permanent",
            "forever",
            "never",
        ] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "soon",
            "0s",
            "0h0m",
            "-1h",
            "1.5",
            "1e9",
            "99999999999999",
        ] {
            text.parse::<Lifetime>().unwrap_err();
        }
    }
}
