//! Mistakes in a config file and where they are.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// One mistake, or one warning, in a config file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The path of the key, for example `override[0].packets`; empty where it is the file itself.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// Everything that is wrong with one config file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct ConfigError {
    /// The file's name as it was given.
    pub file: String,
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl Problem {
    /// `FILE:LINE:COLUMN: key: message`, and the help on a line of its own.
    pub fn render(&self, file: &str) -> String {
        let key = if self.key.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.key)
        };
        let help = match &self.help {
            Some(help) => format!("\n    help: {help}"),
            None => String::new(),
        };
        format!(
            "{file}:{}:{}: {key}{}{help}",
            self.line, self.column, self.message
        )
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(out, "{}", problem.render(&self.file))?;
        }
        match self.problems.len() {
            1 => write!(out, "1 mistake in {}", self.file),
            count => write!(out, "{count} mistakes in {}", self.file),
        }
    }
}

/// Turns byte offsets, given in ascending order, into lines and columns in one pass.
pub(super) struct Places<'t> {
    rest: &'t str,
    offset: usize,
    line: usize,
    column: usize,
}

impl<'t> Places<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            rest: text,
            offset: 0,
            line: 1,
            column: 1,
        }
    }

    /// Line and column, both from 1. An offset inside a character counts as its start.
    pub(super) fn at(&mut self, offset: usize) -> (usize, usize) {
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            if self.offset + c.len_utf8() > offset {
                break;
            }
            self.offset += c.len_utf8();
            self.rest = chars.as_str();
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        (self.line, self.column)
    }
}

/// The file's own text within a message: short, without what would move a terminal's cursor, and
/// without the user's name and password of an address.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 64;
    let text = without_password(text);
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(|c| {
            let escape = c.is_control() || matches!(c, '"' | '\\');
            let escaped = escape.then(|| c.escape_default());
            let plain = (!escape).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// The authority of an address lies between `//` and the next `/`, `?` or `#`; what comes before its
/// last `@` is secret (RFC 3986, sections 3.2 and 3.2.1).
fn without_password(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.into();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest.get(..end).and_then(|authority| authority.rfind('@')) {
        Some(at) => format!("{scheme}://***{}", rest.get(at..).unwrap_or_default()).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_in_characters() {
        let mut places = Places::new("a = 1\nö = \"ü\"x\n");
        assert_eq!(places.at(0), (1, 1));
        assert_eq!(places.at(4), (1, 5));
        assert_eq!(places.at(6), (2, 1));
        assert_eq!(places.at(7), (2, 1), "inside the two bytes of ö");
        assert_eq!(places.at(9), (2, 3));
        assert_eq!(places.at(9), (2, 3));
        assert_eq!(places.at(999), (3, 1));
    }

    #[test]
    fn quoted_text_is_short_and_harmless() {
        assert_eq!(quoted("a\u{1b}[2J"), "\"a\\u{1b}[2J\"");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 64 + 3);
        assert_eq!(
            quoted("https://me:se@cret@a.org/x@y"),
            "\"https://***@a.org/x@y\""
        );
        assert_eq!(quoted("https://a.org/x@y"), "\"https://a.org/x@y\"");
    }

    #[test]
    fn errors_read_like_a_compilers() {
        let error = ConfigError {
            file: "config.toml".into(),
            problems: vec![Problem {
                line: 3,
                column: 11,
                key: "limits.packets".into(),
                message: "the unit is missing".into(),
                help: Some("for example \"20kpps\"".into()),
            }],
        };
        assert_eq!(
            error.to_string(),
            "config.toml:3:11: limits.packets: the unit is missing\n    \
             help: for example \"20kpps\"\n1 mistake in config.toml"
        );
    }
}
