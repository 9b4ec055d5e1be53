//! Lists of file sharing: PeerGuardian's text (P2P) and eMule's `ipfilter.dat`.

use std::net::Ipv4Addr;

use super::is_blank_or_comment;
use crate::lists::address::{self, Address};
use crate::lists::collect::{self, Collector};
use crate::lists::{Detail, ListError, RefusalReason};

/// Longer texts are no two addresses.
const LONGEST_RANGE: usize = 100;
/// Colons of a name that are tried as its end.
const MAX_COLONS: usize = 64;
/// Levels above this one aren't blocked.
const LAST_BLOCKED: u16 = 127;

/// `name:192.0.2.0-192.0.2.255`. The name may have colons, and so has IPv6.
pub(super) fn p2p(line: &[u8], to: &mut Collector) -> Result<(), ListError> {
    if is_blank_or_comment(line, b"#;", to) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(line);
    match named_range(text.trim_ascii()) {
        Some((name, address)) => {
            let detail = Detail {
                expires: None,
                comment: collect::comment(name),
            };
            to.take(address, line, Some(&detail))
        }
        None => {
            to.refuse(line, RefusalReason::NotAnAddress);
            Ok(())
        }
    }
}

/// The name and the range of a line.
pub(super) fn named_range(text: &str) -> Option<(&str, Result<Address, RefusalReason>)> {
    let (before, _) = text.rsplit_once('-')?;
    let colons = before.char_indices().filter(|(_, c)| *c == ':');
    let near = colons.filter(|(at, _)| text.len() - at <= LONGEST_RANGE);
    // The first that leaves a range ends the name: IPv6 has colons of its own.
    near.take(MAX_COLONS).find_map(|(at, _)| {
        let (name, range) = (text.get(..at)?, text.get(at + 1..)?);
        let (first, last) = range.split_once('-')?;
        let (first, last) = (first.trim(), last.trim());
        match padded_range(first, last) {
            Err(RefusalReason::NotAnAddress) => None,
            range => Some((name.trim(), range)),
        }
    })
}

/// `192.000.002.000 - 192.000.002.255 , 000 , name`: octets are decimal, zeros before them or not.
pub(super) fn ipfilter(line: &[u8], to: &mut Collector) -> Result<(), ListError> {
    if is_blank_or_comment(line, b"#;", to) || line.trim_ascii().starts_with(b"//") {
        return Ok(());
    }
    let text = String::from_utf8_lossy(line);
    let mut columns = text.splitn(3, ',').map(str::trim);
    let range = columns.next().unwrap_or_default();
    let Some((first, last)) = range.split_once('-') else {
        to.refuse(line, RefusalReason::NotAnAddress);
        return Ok(());
    };
    let range = padded_range(first.trim(), last.trim());
    if let Some(level) = columns.next().filter(|level| !level.is_empty()) {
        match level.parse::<u16>() {
            Err(_) => {
                to.refuse(line, RefusalReason::Conditional);
                return Ok(());
            }
            Ok(level) if level > LAST_BLOCKED => {
                to.except();
                return Ok(());
            }
            Ok(_) => {}
        }
    }
    let detail = Detail {
        expires: None,
        comment: columns.next().and_then(collect::comment),
    };
    to.take(range, line, Some(&detail))
}

/// Whether a line has the form of `ipfilter.dat`.
pub(super) fn is_ipfilter(text: &str) -> bool {
    let mut columns = text.splitn(3, ',').map(str::trim);
    let range = columns.next().and_then(|range| range.split_once('-'));
    let is_range =
        range.is_some_and(|(first, last)| padded_range(first.trim(), last.trim()).is_ok());
    let is_level =
        |level: &str| !level.is_empty() && level.len() <= 3 && level.parse::<u16>().is_ok();
    is_range && columns.next().is_some_and(is_level)
}

fn padded_range(first: &str, last: &str) -> Result<Address, RefusalReason> {
    match (padded(first), padded(last)) {
        (Some(first), Some(last)) => address::range(first.into(), last.into()),
        (None, None) if last.contains(':') => address::range_of(first, last),
        (Some(_) | None, _) => Err(RefusalReason::NotAnAddress),
    }
}

/// An IPv4 address whose octets may have zeros before them.
fn padded(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut words = text.split('.');
    for octet in &mut octets {
        let word = words.next().filter(|word| (1..=3).contains(&word.len()))?;
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        *octet = digits.then(|| word.parse().ok())??;
    }
    words.next().is_none().then(|| octets.into())
}
