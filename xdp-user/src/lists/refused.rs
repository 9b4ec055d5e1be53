//! Lines that can't be taken.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::Prefix;

/// Why a line isn't an entry.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    NotAnAddress,
    BadPrefixLength,
    /// [`Prefix::is_wide`].
    TooWide,
    /// Unspecified, loopback or multicast: no packet on the wire comes from there.
    NotASource,
    /// Over [`super::MAX_LINE_BYTES`].
    LineTooLong,
    /// A range whose last address lies before its first, or is of the other family.
    BadRange,
    /// More addresses follow the first, and nothing tells whether they are a list, a range or columns
    /// that mean something else.
    SeveralAddresses,
    /// The addresses are listed only under a condition that a list here can't have.
    Conditional,
}

impl RefusalReason {
    pub const ALL: [Self; 8] = [
        Self::NotAnAddress,
        Self::BadPrefixLength,
        Self::TooWide,
        Self::NotASource,
        Self::LineTooLong,
        Self::BadRange,
        Self::SeveralAddresses,
        Self::Conditional,
    ];
}

impl fmt::Display for RefusalReason {
    /// For people.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnAddress => out.write_str("not an address or prefix"),
            Self::BadPrefixLength => out.write_str("prefix length out of range"),
            Self::TooWide => write!(
                out,
                "wider than /{} (IPv4) or /{} (IPv6), not taken without force",
                Prefix::WIDEST_IPV4,
                Prefix::WIDEST_IPV6
            ),
            Self::NotASource => out.write_str("unspecified, loopback or multicast, never a source"),
            Self::LineTooLong => out.write_str("line too long"),
            Self::BadRange => {
                out.write_str("the range ends before it begins, or in the other address family")
            }
            Self::SeveralAddresses => out.write_str(
                "several addresses, which may be a list, a range or columns: name the format, for \
                 example plain, range, dshield or csv",
            ),
            Self::Conditional => out.write_str(
                "listed only under a condition (EXCEPT, a variable, an option) that can't be kept",
            ),
        }
    }
}

/// A line that can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// Counted from 1.
    pub line: u64,
    /// Its first 80 characters, control characters escaped.
    pub text: String,
    pub reason: RefusalReason,
}

impl Refused {
    pub(super) fn new(line: u64, text: &[u8], reason: RefusalReason) -> Self {
        Self {
            line,
            text: shown(text),
            reason,
        }
    }
}

/// At most 80 characters, escapes included, and "…" where more follows.
fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 80;
    let start = bytes.get(..LONGEST * 4).unwrap_or(bytes);
    let text = String::from_utf8_lossy(start);
    let mut shown = String::new();
    let mut length = 0;
    for c in text.chars() {
        let escaped = if is_harmless(c) {
            c.to_string()
        } else {
            c.escape_unicode().to_string()
        };
        length += escaped.chars().count();
        if length > LONGEST {
            shown.push('…');
            return shown;
        }
        shown += &escaped;
    }
    shown
}

/// Nothing that moves a terminal's cursor or turns the direction of its text.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_short_and_harmless() {
        assert_eq!(shown(b"plain text"), "plain text");
        assert_eq!(shown(b"a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(shown("\u{202e}x".as_bytes()), "\\u{202e}x");
        assert_eq!(shown(&[b'x'; 81]), format!("{}…", "x".repeat(80)));
        assert_eq!(shown(&[b'x'; 80]), "x".repeat(80));
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_without_control_characters(bytes: Vec<u8>) {
            let text = shown(&bytes);
            prop_assert!(text.chars().count() <= 81);
            prop_assert!(text.chars().all(is_harmless));
        }
    }
}
