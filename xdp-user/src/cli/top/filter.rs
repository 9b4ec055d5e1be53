//! The beginning of an address, as people type it, to the prefix that it means.

use crate::domain::Prefix;

/// `10`, `10.1.`, `10.1.2.0/24`, `2001:db8`, `2001:db8::/32`: the last two are the same.
pub(super) fn parse(text: &str) -> Result<Prefix, String> {
    let text = text.trim();
    if let Ok(prefix) = Prefix::parse_strict(text) {
        return Ok(prefix);
    }
    let whole = if text.contains('/') {
        None
    } else if text.contains(':') {
        beginning_v6(text)
    } else {
        beginning_v4(text)
    };
    whole
        .and_then(|whole| Prefix::parse_strict(&whole).ok())
        .ok_or_else(|| format!("{text:?} begins no address: write 10.1, 10.1.0.0/16 or 2001:db8"))
}

fn beginning_v4(text: &str) -> Option<String> {
    let mut octets: Vec<&str> = text.strip_suffix('.').unwrap_or(text).split('.').collect();
    let given = octets.len();
    octets.resize(4.max(given), "0");
    (given < 4).then(|| format!("{}/{}", octets.join("."), given * 8))
}

fn beginning_v6(text: &str) -> Option<String> {
    let groups = text
        .strip_suffix("::")
        .or(text.strip_suffix(':'))
        .unwrap_or(text);
    let given = groups.split(':').count();
    (given < 8 && !groups.contains("::")).then(|| format!("{groups}::/{}", given * 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_means_all_addresses_that_have_it() {
        for (text, prefix) in [
            ("10", "10.0.0.0/8"),
            ("10.1.", "10.1.0.0/16"),
            (" 203.0.113 ", "203.0.113.0/24"),
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.112.0/20", "203.0.112.0/20"),
            ("2001:db8", "2001:db8::/32"),
            ("2001:db8:", "2001:db8::/32"),
            ("2001:db8::", "2001:db8::"),
            ("2001:db8::/48", "2001:db8::/48"),
            ("fe80::1", "fe80::1"),
        ] {
            assert_eq!(parse(text), Ok(prefix.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in [
            "",
            "x",
            "300",
            "10.1.2.3.4",
            "10.0.0.1/8",
            "1:2:3:4:5:6:7:8:9",
            "10..1",
            "::g",
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains("10.1.0.0/16"), "{text}: {refused}");
        }
    }
}
