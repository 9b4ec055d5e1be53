//! Where entries go as they are read: counted, bounded, and each kept once.

use std::collections::HashSet;
use std::net::IpAddr;

use jiff::Timestamp;

use super::address::Address;
use super::refused::{RefusalReason, Refused};
use super::skip::Skip;
use super::{Bounds, Detail, ListError, MAX_COMMENT, Options, ParsedList, REFUSED_KEPT};
use crate::domain::{ListFormat, Prefix};

/// A list that isn't read to its end yet.
#[derive(Debug)]
pub(super) struct Collector {
    bounds: Bounds,
    skip: Skip,
    now: Timestamp,
    list: ParsedList,
    seen: HashSet<Prefix>,
}

impl Collector {
    pub(super) fn new(options: &Options, bounds: Bounds) -> Self {
        Self {
            bounds,
            skip: Skip::of(&options.skip),
            now: Timestamp::now(),
            list: ParsedList::default(),
            seen: HashSet::new(),
        }
    }

    /// Says which line the next entries and refusals are from.
    pub(super) fn at_line(&mut self, number: u64) {
        self.list.lines = number;
    }

    /// The line that was named last.
    pub(super) fn line(&self) -> u64 {
        self.list.lines
    }

    /// How many entries may be taken.
    pub(super) fn max_entries(&self) -> usize {
        self.bounds.max_entries
    }

    pub(super) fn comment(&mut self) {
        self.list.comments += 1;
    }

    /// Counts an entry that the text itself takes out.
    pub(super) fn except(&mut self) {
        self.list.excepted += 1;
    }

    pub(super) fn refuse(&mut self, line: &[u8], reason: RefusalReason) {
        *self.list.refused_by_reason.entry(reason).or_insert(0) += 1;
        if self.list.refused.len() < REFUSED_KEPT {
            let refused = Refused::new(self.list.lines, line, reason);
            self.list.refused.push(refused);
        }
    }

    /// Takes what a word holds, or refuses `line`.
    pub(super) fn take(
        &mut self,
        address: Result<Address, RefusalReason>,
        line: &[u8],
        detail: Option<&Detail>,
    ) -> Result<(), ListError> {
        match address {
            Err(reason) => self.refuse(line, reason),
            Ok(address) => {
                for (prefix, cleared) in address.prefixes() {
                    self.put(prefix, cleared, line, detail)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a prefix without what is to be left out of it.
    pub(super) fn put(
        &mut self,
        prefix: Prefix,
        cleared: bool,
        line: &[u8],
        detail: Option<&Detail>,
    ) -> Result<(), ListError> {
        let Some((kind, rest)) = self.skip.cut(&prefix) else {
            return self.put_whole(prefix, cleared, line, detail);
        };
        *self.list.skipped.entry(kind).or_insert(0) += 1;
        for part in rest {
            self.put_whole(part, cleared, line, detail)?;
        }
        Ok(())
    }

    fn put_whole(
        &mut self,
        prefix: Prefix,
        cleared: bool,
        line: &[u8],
        detail: Option<&Detail>,
    ) -> Result<(), ListError> {
        if prefix.is_wide() && !self.bounds.accept_wide {
            self.refuse(line, RefusalReason::TooWide);
            return Ok(());
        }
        if is_never_a_source(&prefix) {
            self.refuse(line, RefusalReason::NotASource);
            return Ok(());
        }
        let end = detail.and_then(|detail| detail.expires);
        if end.is_some_and(|end| end <= self.now) {
            self.list.ended += 1;
            return Ok(());
        }
        if self.seen.contains(&prefix) {
            self.list.duplicates += 1;
            self.prolong(&prefix, end);
            return Ok(());
        }
        if self.list.entries.len() >= self.bounds.max_entries {
            return Err(ListError::TooManyEntries {
                line: self.list.lines,
                max: self.bounds.max_entries,
            });
        }
        self.seen.insert(prefix);
        self.list.entries.push(prefix);
        self.list.host_bits_cleared += u64::from(cleared);
        self.list.private += u64::from(is_private(&prefix));
        if let Some(detail) = detail.filter(|detail| **detail != Detail::default()) {
            self.list.details.insert(prefix, detail.clone());
        }
        Ok(())
    }

    /// Of an entry that is given twice, the later end counts.
    fn prolong(&mut self, prefix: &Prefix, end: Option<Timestamp>) {
        let Some(detail) = self.list.details.get_mut(prefix) else {
            return;
        };
        match (detail.expires, end) {
            (Some(old), Some(new)) => detail.expires = Some(old.max(new)),
            (Some(_), None) => detail.expires = None,
            (None, _) => {}
        }
        if *detail == Detail::default() {
            self.list.details.remove(prefix);
        }
    }

    pub(super) fn finish(self, format: ListFormat, bytes: u64) -> ParsedList {
        ParsedList {
            format,
            bytes,
            ..self.list
        }
    }
}

/// A comment as it is kept: without control characters, and cut.
pub(super) fn comment(text: &str) -> Option<Box<str>> {
    let printable = text.chars().filter(|c| !c.is_control());
    let kept: String = printable.take(MAX_COMMENT).collect();
    (!kept.is_empty()).then(|| kept.into())
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
fn is_private(prefix: &Prefix) -> bool {
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
        IpAddr::V6(addr) => {
            let first = addr.segments()[0];
            (first & 0xfe00 == 0xfc00 && len >= 7) || (first & 0xffc0 == 0xfe80 && len >= 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse_lenient(text).unwrap().0
    }

    #[test]
    fn local_ranges_are_recognised() {
        for text in [
            "10.0.0.0/8",
            "172.31.0.0/16",
            "192.168.1.1",
            "169.254.0.0/16",
            "100.127.0.1",
            "fd00::1",
            "fe80::/10",
        ] {
            assert!(is_private(&prefix(text)), "{text}");
        }
        for text in [
            "10.0.0.0/7",
            "172.32.0.0/16",
            "192.0.2.1",
            "100.128.0.1",
            "2001:db8::1",
        ] {
            assert!(!is_private(&prefix(text)), "{text}");
        }
    }

    #[test]
    fn the_later_end_of_two_counts() {
        let mut collector = Collector::new(&Options::default(), Bounds::default());
        let now = Timestamp::now();
        let end = |seconds: i64| {
            let expires = now.as_second() + seconds;
            Some(Timestamp::from_second(expires).unwrap())
        };
        let mut give = |text: &str, expires| {
            let detail = Detail {
                expires,
                comment: None,
            };
            collector
                .put(prefix(text), false, b"", Some(&detail))
                .unwrap();
        };
        for (text, expires) in [
            ("192.0.2.1", end(60)),
            ("192.0.2.1", end(90)),
            ("192.0.2.1", end(30)),
            ("192.0.2.2", end(60)),
            ("192.0.2.2", None),
            ("192.0.2.3", None),
            ("192.0.2.3", end(60)),
            ("192.0.2.4", end(-1)),
        ] {
            give(text, expires);
        }
        let list = collector.finish(ListFormat::Plain, 0);
        assert_eq!((list.entries.len(), list.duplicates, list.ended), (3, 4, 1));
        let ends: Vec<_> = list.details.values().map(|one| one.expires).collect();
        assert_eq!(ends, [end(90)]);
    }

    #[test]
    fn comments_are_cut_and_have_no_control_characters() {
        assert_eq!(comment("a\x1b[2Jb").as_deref(), Some("a[2Jb"));
        assert_eq!(comment(&"ü".repeat(300)).unwrap().chars().count(), 200);
        assert_eq!(comment("\n"), None);
    }
}
