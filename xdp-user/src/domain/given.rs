//! Prefixes as people and other tools write them, with host bits.

use std::fmt;
use std::str::FromStr;

use super::{Prefix, PrefixError, serde_as_text};

/// A prefix as it was given. Bits behind the prefix length are cut, as fail2ban, `ipset` and `ip
/// route` do it, and the text that had them is kept, so that an answer can name both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenPrefix {
    prefix: Prefix,
    /// The text, where host bits were cut.
    given: Option<Box<str>>,
}

impl GivenPrefix {
    /// The prefix without host bits.
    pub const fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// What was given, where it had host bits.
    pub fn cut_from(&self) -> Option<&str> {
        self.given.as_deref()
    }
}

impl From<Prefix> for GivenPrefix {
    fn from(prefix: Prefix) -> Self {
        Self {
            prefix,
            given: None,
        }
    }
}

impl FromStr for GivenPrefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let text = text.trim();
        let (prefix, cut) = Prefix::parse_lenient(text)?;
        // An address and a length are short, so the text is.
        let given = cut.then(|| text.into());
        Ok(Self { prefix, given })
    }
}

impl fmt::Display for GivenPrefix {
    /// What was given, so that the daemon can say what it cut.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.given {
            Some(given) => out.pad(given),
            None => self.prefix.fmt(out),
        }
    }
}

serde_as_text!(GivenPrefix, {
    "type": "string",
    "description": "An address, or a prefix with its length; bits behind the length are cut, and the answer says so.",
    "anyOf": [
        { "format": "ipv4" },
        { "format": "ipv6" },
        { "pattern": "^(([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])[.]){3}0/([89]|1[0-9]|2[0-4])$" },
        { "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$" }
    ],
    "examples": ["192.0.2.7", "198.51.100.0/24", "2001:db8::/32"]
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cut_and_remembered() {
        let given: GivenPrefix = "2001:db8:5::1234/64".parse().unwrap();
        assert_eq!(given.prefix().to_string(), "2001:db8:5::/64");
        assert_eq!(given.cut_from(), Some("2001:db8:5::1234/64"));
        assert_eq!(given.to_string().parse(), Ok(given));
        let plain: GivenPrefix = "192.0.2.0/24".parse().unwrap();
        assert_eq!(
            (plain.cut_from(), plain.to_string()),
            (None, "192.0.2.0/24".into())
        );
        "192.0.2.1/33".parse::<GivenPrefix>().unwrap_err();
    }
}
