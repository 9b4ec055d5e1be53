//! The words of nft's language, and its times.

/// A word of a text of nft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A name, an address, an operator.
    Bare(String),
    /// A text in quotes.
    Quoted(String),
    Open,
    Close,
    Comma,
    Equals,
    /// `;` or the end of a line.
    End,
}

impl Word {
    /// The text of a bare word.
    pub(super) fn bare(&self) -> Option<&str> {
        match self {
            Self::Bare(text) => Some(text),
            Self::Quoted(_) | Self::Open | Self::Close | Self::Comma | Self::Equals | Self::End => {
                None
            }
        }
    }

    /// The text of a word, in quotes or not.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Bare(text) | Self::Quoted(text) => Some(text),
            Self::Open | Self::Close | Self::Comma | Self::Equals | Self::End => None,
        }
    }
}

/// Splits a line. A backslash at its end joins the next one, and `#` begins a comment.
pub(super) fn split(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii();
    let goes_on = rest.strip_suffix('\\');
    rest = goes_on.unwrap_or(rest);
    while let Some(c) = rest.chars().next() {
        let single = match c {
            '{' => Some(Word::Open),
            '}' => Some(Word::Close),
            ',' => Some(Word::Comma),
            '=' => Some(Word::Equals),
            ';' => Some(Word::End),
            _ => None,
        };
        if let Some(word) = single {
            words.push(word);
            rest = rest.get(1..).unwrap_or_default().trim_ascii_start();
            continue;
        }
        if c == '#' {
            break;
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            words.push(Word::Quoted(text.to_owned()));
            rest = after.trim_ascii_start();
            continue;
        }
        let ends = |c: char| c.is_ascii_whitespace() || "{},=;\"#".contains(c);
        let end = rest.find(ends).unwrap_or(rest.len());
        // A blank that isn't ASCII's never ends a word, so that each round takes something.
        let (word, after) = rest.split_at(end);
        words.push(Word::Bare(word.to_owned()));
        rest = after.trim_ascii_start();
    }
    if goes_on.is_none() {
        words.push(Word::End);
    }
    words
}

/// A time as nft and Go write it, in seconds, rounded up: `1d2h3m4s5ms`, `59m12.5s`, `600`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0.0f64;
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = match unit {
            "w" => 604_800.0,
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" | "" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _other => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    // The most is 500 years, as for every span.
    let total = total.ceil().clamp(0.0, 500.0 * 31_557_600.0);
    // Within the bounds above nothing is lost.
    Some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_and_rounded_up() {
        for (text, wanted) in [
            ("1h", 3600),
            ("49m59s992ms", 3000),
            ("1d2h3m4s", 93_784),
            ("600", 600),
            ("3h59m12.5s", 14_353),
            ("0s", 0),
        ] {
            assert_eq!(seconds(text), Some(wanted), "{text}");
        }
        for text in ["", "h", "1x", "1..2s", "-1h", "1h ", &"9".repeat(65)] {
            assert_eq!(seconds(text), None, "{text}");
        }
        assert!(seconds(&"9".repeat(60)).unwrap() < u64::MAX / 1000);
    }

    #[test]
    fn words_quotes_and_comments_are_told_apart() {
        let words = split("add element t s { 192.0.2.1 comment \"a, }\", $x } # no } more");
        let texts: Vec<&str> = words.iter().filter_map(Word::text).collect();
        assert_eq!(
            texts,
            [
                "add",
                "element",
                "t",
                "s",
                "192.0.2.1",
                "comment",
                "a, }",
                "$x"
            ]
        );
        assert_eq!(words.last(), Some(&Word::End));
        assert_eq!(split("a \\"), [Word::Bare("a".into())]);
        assert_eq!(split("a;"), [Word::Bare("a".into()), Word::End, Word::End]);
    }

    proptest! {
        #[test]
        fn any_line_is_split_and_any_time_read_or_not(line in "\\PC{0,60}") {
            split(&line);
            seconds(&line);
        }
    }
}
