//! One line of a list.

use std::net::{IpAddr, Ipv6Addr};

use super::MAX_LINE_BYTES;
use super::refused::RefusalReason;
use crate::domain::{Prefix, PrefixError};

/// What a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Blank,
    Comment,
    Entry {
        prefix: Prefix,
        /// Whether host bits were cleared.
        cleared: bool,
    },
    Refused(RefusalReason),
}

impl Line {
    /// Reads a line without its end.
    pub(super) fn read(line: &[u8], accept_wide: bool) -> Self {
        if line.len() > MAX_LINE_BYTES {
            return Self::Refused(RefusalReason::LineTooLong);
        }
        let line = line.trim_ascii();
        match line.first() {
            None => return Self::Blank,
            Some(b'#' | b';') => return Self::Comment,
            Some(_) => {}
        }
        match entry(first_column(line), accept_wide) {
            Ok((prefix, cleared)) => Self::Entry { prefix, cleared },
            Err(reason) => Self::Refused(reason),
        }
    }
}

fn first_column(line: &[u8]) -> &[u8] {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b';' | b'#');
    let end = line.iter().position(ends).unwrap_or(line.len());
    line.get(..end).unwrap_or(line)
}

fn entry(column: &[u8], accept_wide: bool) -> Result<(Prefix, bool), RefusalReason> {
    // What follows the column may be in any encoding; the column itself is plain ASCII.
    let text = std::str::from_utf8(column).map_err(|_| RefusalReason::NotAnAddress)?;
    let (prefix, cleared) = Prefix::parse_lenient(text).map_err(|error| match error {
        PrefixError::NotAnAddress | PrefixError::HostBits { .. } => RefusalReason::NotAnAddress,
        PrefixError::BadLength { .. } => RefusalReason::BadPrefixLength,
    })?;
    if prefix.is_wide() && !accept_wide {
        return Err(RefusalReason::TooWide);
    }
    if is_never_a_source(&prefix) {
        return Err(RefusalReason::NotASource);
    }
    Ok((prefix, cleared))
}

/// Whether no address of the prefix can be a packet's source (RFC 1122, section 3.2.1.3; RFC 4291,
/// sections 2.5.2, 2.5.3 and 2.7).
fn is_never_a_source(prefix: &Prefix) -> bool {
    let len = prefix.prefix_len();
    match prefix.network() {
        IpAddr::V4(addr) => {
            let this_network = addr.octets()[0] == 0 && len >= 8;
            this_network || (addr.is_loopback() && len >= 8) || (addr.is_multicast() && len >= 4)
        }
        IpAddr::V6(addr) => {
            let host = prefix.is_host() && (addr.is_unspecified() || addr.is_loopback());
            host || (addr.is_multicast() && len >= 8)
        }
    }
}

/// Whether the prefix lies within a range for local use: RFC 1918, RFC 6598 (carrier NAT),
/// RFC 3927 and RFC 4291 (link-local), RFC 4193 (unique local).
pub(super) fn is_private(prefix: &Prefix) -> bool {
    let len = prefix.prefix_len();
    match prefix.network() {
        IpAddr::V4(addr) => {
            let [a, b, ..] = addr.octets();
            (a == 10 && len >= 8)
                || (a == 172 && b & 0xf0 == 16 && len >= 12)
                || (a == 192 && b == 168 && len >= 16)
                || (a == 169 && b == 254 && len >= 16)
                || (a == 100 && b & 0xc0 == 64 && len >= 10)
        }
        IpAddr::V6(addr) => is_private_v6(addr, len),
    }
}

fn is_private_v6(addr: Ipv6Addr, len: u8) -> bool {
    let first = addr.segments()[0];
    (first & 0xfe00 == 0xfc00 && len >= 7) || (first & 0xffc0 == 0xfe80 && len >= 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Line {
        Line::read(text.as_bytes(), false)
    }

    fn prefix_of(text: &str) -> String {
        match read(text) {
            Line::Entry { prefix, .. } => prefix.to_string(),
            other @ (Line::Blank | Line::Comment | Line::Refused(_)) => {
                panic!("{text}: {other:?}")
            }
        }
    }

    #[test]
    fn the_first_column_counts() {
        for text in [
            "192.0.2.1",
            "  192.0.2.1\t",
            "192.0.2.1 ; SBL1",
            "192.0.2.1;SBL1",
            "192.0.2.1#x",
            "192.0.2.1\t7",
            "192.0.2.1,100,\"a, b\"",
            "192.0.2.1/32",
            "::ffff:192.0.2.1",
        ] {
            assert_eq!(prefix_of(text), "192.0.2.1", "{text}");
        }
        assert_eq!(
            prefix_of("2001:678:254::/48 ; SBL697648"),
            "2001:678:254::/48"
        );
        let latin1 = Line::read(b"192.0.2.1 # M\xfcnchen", false);
        assert!(matches!(latin1, Line::Entry { .. }));
    }

    #[test]
    fn comments_and_blanks_are_no_entries() {
        assert_eq!(read("# 192.0.2.1"), Line::Comment);
        assert_eq!(read("  ; 192.0.2.1"), Line::Comment);
        assert_eq!(read(""), Line::Blank);
        assert_eq!(read(" \t "), Line::Blank);
    }

    #[test]
    fn host_bits_are_cleared_and_said() {
        let Line::Entry { prefix, cleared } = read("192.0.2.5/24") else {
            panic!("an entry");
        };
        assert_eq!(
            (prefix.to_string().as_str(), cleared),
            ("192.0.2.0/24", true)
        );
    }

    #[test]
    fn refusals_have_reasons() {
        use RefusalReason::{BadPrefixLength, LineTooLong, NotASource, NotAnAddress, TooWide};
        for (text, reason) in [
            ("example.org", NotAnAddress),
            ("192.0.2.1-192.0.2.9", NotAnAddress),
            (", 192.0.2.1", NotAnAddress),
            ("192.0.2.0/33", BadPrefixLength),
            ("2001:db8::/129", BadPrefixLength),
            ("0.0.0.0/0", TooWide),
            ("12.0.0.0/7", TooWide),
            ("2000::/15", TooWide),
            ("0.0.0.0", NotASource),
            ("127.0.0.1", NotASource),
            ("224.0.0.5", NotASource),
            ("::", NotASource),
            ("::1", NotASource),
            ("ff02::1", NotASource),
        ] {
            assert_eq!(read(text), Line::Refused(reason), "{text}");
        }
        let long = format!("192.0.2.1 # {}", "x".repeat(MAX_LINE_BYTES));
        assert_eq!(read(&long), Line::Refused(LineTooLong));
        assert_eq!(
            prefix_of(&format!("{:<1$}", "192.0.2.1", MAX_LINE_BYTES)),
            "192.0.2.1"
        );
    }

    #[test]
    fn wide_prefixes_pass_with_force() {
        let forced = Line::read(b"12.0.0.0/7", true);
        assert!(matches!(forced, Line::Entry { .. }));
        assert_eq!(prefix_of("12.0.0.0/8"), "12.0.0.0/8");
        assert_eq!(prefix_of("2400::/16"), "2400::/16");
    }

    #[test]
    fn local_ranges_are_recognised() {
        let private = |text: &str| is_private(&text.parse().unwrap());
        for text in [
            "10.0.0.0/8",
            "172.31.0.0/16",
            "192.168.1.1",
            "169.254.0.0/16",
            "100.127.0.1",
            "fd00::1",
            "fe80::/10",
        ] {
            assert!(private(text), "{text}");
        }
        for text in [
            "10.0.0.0/7",
            "172.32.0.0/16",
            "192.0.2.1",
            "100.128.0.1",
            "2001:db8::1",
        ] {
            let Ok(prefix) = Prefix::parse_lenient(text) else {
                panic!("{text}");
            };
            assert!(!is_private(&prefix.0), "{text}");
        }
    }
}
