//! What a class takes: ports, types and protocols as numbers and ranges, and what no other takes.

use std::fmt;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::quoted;
use super::setting::{Setting, whole_number};
use super::table::{Sink, described};

/// Some of the ports, types or protocols that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From one number to another, both of them in it.
    Range { first: u16, last: u16 },
    /// All that no class names.
    Rest,
}

impl Place {
    pub(super) const fn one(number: u16) -> Self {
        Self::Range {
            first: number,
            last: number,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { first, last } if first == last => write!(out, "{first}"),
            Self::Range { first, last } => write!(out, "{first}-{last}"),
            Self::Rest => out.write_str(REST),
        }
    }
}

const REST: &str = "rest";

/// A number up to `MAX`, a range of them, or, where there can be one, the rest.
pub(super) struct Numbers<const MAX: u16, const HAS_REST: bool>;

impl<const MAX: u16, const HAS_REST: bool> Setting for Numbers<MAX, HAS_REST> {
    type Value = Place;

    fn kind() -> String {
        let range = if MAX > 255 {
            "\"6000-6063\""
        } else {
            "\"9-12\""
        };
        let rest = if HAS_REST {
            ", or `\"rest\"` for all that no class names"
        } else {
            ""
        };
        format!("number from 0 to {MAX}, range such as `{range}`{rest}")
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<Place> {
        let offset = value.span().start;
        let text = value.get_ref().as_str();
        if HAS_REST && text == Some(REST) {
            return Some(Place::Rest);
        }
        let read = match text {
            Some(text) => range(text),
            None => whole_number(value.get_ref()).map(|number| (number, number)),
        };
        let within = |number: u64| u16::try_from(number).ok().filter(|number| *number <= MAX);
        let bounds = read.and_then(|(first, last)| Some((within(first)?, within(last)?)));
        match bounds {
            Some((first, last)) if first <= last => Some(Place::Range { first, last }),
            Some(_) => {
                let message = format!("{} ends before it starts", quoted(text.unwrap_or_default()));
                sink.problem(offset, key, message, None);
                None
            }
            None => {
                let found = match (text, value.get_ref().as_integer()) {
                    (Some(text), _) => quoted(text),
                    (None, Some(number)) => quoted(number.as_str()).replace('"', ""),
                    (None, None) => described(value.get_ref()),
                };
                let kind = Self::kind().replace('`', "");
                let message = format!("expected a {kind}; found {found}");
                sink.problem(offset, key, message, None);
                None
            }
        }
    }
}

/// "80" and "6000-6063".
fn range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let text = text.trim();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    Some((number(first)?, number(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_two_numbers_and_nothing_else() {
        assert_eq!(range("80"), Some((80, 80)));
        assert_eq!(range("6000 - 6063"), Some((6000, 6063)));
        for bad in ["", "-", "80-", "-80", "+80", "1-2-3", "http", "0x50"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }

    #[test]
    fn places_are_written_as_they_are_read() {
        assert_eq!(Place::one(53).to_string(), "53");
        let range = Place::Range { first: 1, last: 9 };
        assert_eq!(range.to_string(), "1-9");
        assert_eq!(Place::Rest.to_string(), "rest");
    }
}
