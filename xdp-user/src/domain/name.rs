//! Names of interfaces and lists.

use std::fmt;
use std::str::FromStr;

use super::serde_as_text;

/// The name of a network interface: what the kernel's `dev_valid_name` (net/core/dev.c) takes, or a further
/// name of it (altname), which may be longer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfName(String);

/// Why a text can't be an interface's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IfNameError {
    #[error("an interface name can't be empty")]
    Empty,
    #[error("an interface name has at most {} bytes", IfName::MAX_LEN)]
    TooLong,
    #[error("\".\" and \"..\" are not interface names")]
    Dots,
    #[error("an interface name has no '/', ':', blank or control character")]
    BadCharacter,
}

impl IfName {
    /// ALTIFNAMSIZ without the final NUL.
    pub const MAX_LEN: usize = 127;
    /// IFNAMSIZ without the final NUL: a longer name is a further one.
    pub const KERNEL_LEN: usize = 15;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = IfNameError;

    fn from_str(text: &str) -> Result<Self, IfNameError> {
        // Control characters pass in the kernel; here they would garble logs and terminals.
        let refused = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        // The kernel's isspace also takes the byte 0xa0.
        let latin_blank = text.bytes().any(|byte| byte == 0xa0);
        match text {
            "" => Err(IfNameError::Empty),
            "." | ".." => Err(IfNameError::Dots),
            _ if text.len() > Self::MAX_LEN => Err(IfNameError::TooLong),
            _ if text.contains(refused) || latin_blank => Err(IfNameError::BadCharacter),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// The name of a list of prefixes: 1 to 64 of `a-z 0-9 . _ -`, a letter or digit first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListName(String);

/// Why a text can't be a list's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListNameError {
    #[error("a list name has 1 to {} characters", ListName::MAX_LEN)]
    BadLength,
    #[error("a list name starts with a lower-case letter or a digit")]
    BadStart,
    #[error("a list name consists of lower-case letters, digits, '.', '_' and '-'")]
    BadCharacter,
}

impl ListName {
    pub const MAX_LEN: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ListName {
    type Err = ListNameError;

    fn from_str(text: &str) -> Result<Self, ListNameError> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let allowed = |byte: u8| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > Self::MAX_LEN {
            Err(ListNameError::BadLength)
        } else if !text.bytes().all(allowed) {
            Err(ListNameError::BadCharacter)
        } else if !text.bytes().next().is_some_and(alphanumeric) {
            Err(ListNameError::BadStart)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

macro_rules! shown_as_inner {
    ($type:ident, $schema:tt) => {
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        serde_as_text!($type, $schema);
    };
}

shown_as_inner!(IfName, { "type": "string", "minLength": 1, "maxLength": 127 });
shown_as_inner!(ListName, { "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_follow_the_kernel() {
        for text in [
            "eth0",
            "enp0s31f6",
            "br-lan",
            "eth0.100",
            "a",
            "fifteen-bytes15",
            "a-further-name-of-an-interface",
            "wlan✓",
        ] {
            assert_eq!(text.parse::<IfName>().unwrap().to_string(), text);
        }
        let error = |text: &str| text.parse::<IfName>().unwrap_err();
        assert_eq!(error(""), IfNameError::Empty);
        assert_eq!(error("."), IfNameError::Dots);
        assert_eq!(error(".."), IfNameError::Dots);
        assert_eq!(error(&"a".repeat(128)), IfNameError::TooLong);
        for text in [
            "a/b",
            "a:b",
            "a b",
            "a\tb",
            "a\u{b}",
            "a\0",
            "à",
            "a\u{1b}[0m",
        ] {
            assert_eq!(error(text), IfNameError::BadCharacter, "{text:?}");
        }
    }

    #[test]
    fn list_names_are_plain() {
        for text in ["spamhaus-drop", "ipsum.level1", "0", "a_b"] {
            assert_eq!(text.parse::<ListName>().unwrap().as_str(), text);
        }
        let error = |text: &str| text.parse::<ListName>().unwrap_err();
        assert_eq!(error(""), ListNameError::BadLength);
        assert_eq!(error(&"a".repeat(65)), ListNameError::BadLength);
        assert_eq!(error("-a"), ListNameError::BadStart);
        assert_eq!(error("../x"), ListNameError::BadCharacter);
        assert_eq!(error("Upper"), ListNameError::BadCharacter);
    }
}
