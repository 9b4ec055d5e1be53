//! Plain lists: addresses, prefixes and ranges, one on a line or several.
//!
//! What stands behind `#` or `;` is a comment. Further columns that aren't addresses are ignored, as
//! the counts of ipsum are. Where more addresses follow the first, all of them are taken or the line is
//! refused; a line is never read as its first column.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::lists::address::{self, Address};
use crate::lists::collect::Collector;
use crate::lists::{Detail, ListError, MAX_LINE_BYTES, RefusalReason};

/// What two single addresses on a line mean: they may be a list, or the ends of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lists) enum Pairs {
    /// A list of two.
    Take,
    /// Nobody knows.
    Refuse,
}

/// Reads a line without its end.
pub(in crate::lists) fn take_line(
    line: &[u8],
    pairs: Pairs,
    to: &mut Collector,
) -> Result<(), ListError> {
    if line.len() > MAX_LINE_BYTES {
        to.refuse(line, RefusalReason::LineTooLong);
        return Ok(());
    }
    let content = line.trim_ascii();
    if super::is_blank_or_comment(content, b"#;", to) {
        return Ok(());
    }
    let parts = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b';' | b'#');
    let end = content.iter().position(parts).unwrap_or(content.len());
    let (first, rest) = content.split_at_checked(end).unwrap_or((content, &[]));
    // Almost every line is one word and perhaps a comment, in any encoding.
    if rest.is_empty() || is_comment(rest) {
        let word = std::str::from_utf8(first).map_err(|_| RefusalReason::NotAnAddress);
        return to.take(
            word.and_then(|word| address::parse(unquoted(word))),
            line,
            None,
        );
    }
    let columns = content
        .split(|byte| *byte == b'#')
        .next()
        .unwrap_or_default();
    match read_columns(&String::from_utf8_lossy(columns), pairs) {
        Err(reason) => to.refuse(line, reason),
        Ok((addresses, detail)) => {
            for address in addresses {
                to.take(Ok(address), line, detail.as_ref())?;
            }
        }
    }
    Ok(())
}

/// Whether a comment follows. A semicolon with an address behind it parts columns.
fn is_comment(rest: &[u8]) -> bool {
    match rest.trim_ascii_start() {
        [b'#', ..] => true,
        [b';', text @ ..] => {
            let text = String::from_utf8_lossy(text.get(..200).unwrap_or(text));
            let parts = |c: char| c.is_ascii_whitespace() || ",;#".contains(c);
            let word = text.trim_ascii_start().split(parts).next();
            !word.is_some_and(|word| address::looks_like_one(unquoted(word)))
        }
        _other => false,
    }
}

/// A word without the quotes and brackets that programs print around addresses.
pub(super) fn unquoted(word: &str) -> &str {
    let bare = word.trim_matches(['"', '\'']);
    // `['192.0.2.1',` begins a list; `[2001:db8::]/32` is an address.
    match (bare.strip_prefix('['), bare.strip_suffix(']')) {
        (Some(inner), None) if !inner.contains(']') => inner.trim_matches(['"', '\'']),
        (None, Some(inner)) => inner.trim_matches(['"', '\'']),
        (Some(inner), Some(_)) if inner.starts_with(['"', '\'']) => {
            inner.trim_end_matches(']').trim_matches(['"', '\''])
        }
        (Some(_) | None, Some(_) | None) => bare,
    }
}

/// A word of a line, or a range that was written with blanks.
enum Item<'a> {
    Address(Address),
    Bad(RefusalReason),
    Word(&'a str),
}

/// The addresses of a line with several words, and their end where fail2ban names it.
fn read_columns(text: &str, pairs: Pairs) -> Result<(Vec<Address>, Option<Detail>), RefusalReason> {
    use RefusalReason::{NotAnAddress, SeveralAddresses};
    let text = match text.split_once(';') {
        Some((before, after)) if is_comment(format!(";{after}").as_bytes()) => before,
        Some(_) | None => text,
    };
    if text.starts_with(',') {
        return Err(NotAnAddress);
    }
    let is_list = text.starts_with('[');
    let parts = |c: char| c.is_ascii_whitespace() || ",;".contains(c);
    let words: Vec<&str> = text
        .split(parts)
        .map(unquoted)
        .filter(|word| !word.is_empty())
        .collect();
    let items = items(&words);
    match items.first() {
        Some(Item::Address(_)) => {}
        Some(Item::Bad(reason)) => return Err(*reason),
        Some(Item::Word(_)) | None => return Err(NotAnAddress),
    }
    let mut addresses = Vec::new();
    let mut others = Vec::new();
    for item in items {
        match item {
            Item::Address(address) => addresses.push(address),
            Item::Bad(reason) => return Err(reason),
            Item::Word(word) => others.push(word),
        }
    }
    match addresses.as_slice() {
        [Address::Range(_)] if is_level(text, &others) => Err(SeveralAddresses),
        [_one] => Ok((addresses, end_of_ban(&others))),
        [first, second] if others.is_empty() => match (host(first), host(second)) {
            (Some(addr), Some(mask)) if address::is_mask(mask) => {
                let prefix = address::masked(addr, mask);
                let prefix = prefix.ok_or(RefusalReason::BadPrefixLength)?;
                Ok((vec![prefix], None))
            }
            (Some(first), Some(last)) => {
                let is_range = is_block(first, last) && !is_list;
                match is_range || (pairs == Pairs::Refuse && !is_list) {
                    true => Err(SeveralAddresses),
                    false => Ok((addresses, None)),
                }
            }
            (Some(_) | None, _) => Ok((addresses, None)),
        },
        // A mask among them says that they are columns.
        several => {
            match others.is_empty() && !several.iter().filter_map(host).any(address::is_mask) {
                true => Ok((addresses, None)),
                false => Err(SeveralAddresses),
            }
        }
    }
}

fn items<'a>(words: &[&'a str]) -> Vec<Item<'a>> {
    let mut items = Vec::with_capacity(words.len());
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        // `a - b`, `a- b` and `a -b` are one range.
        let spaced = match (word.strip_suffix('-'), after) {
            (Some(first), [last, ..]) if !first.is_empty() => Some((first, *last, 1)),
            (None, ["-", last, ..]) => Some((*word, *last, 2)),
            (None, [last, ..]) => last.strip_prefix('-').map(|last| (*word, last, 1)),
            (Some(_), _) | (None, []) => None,
        };
        if let Some((first, last, used)) = spaced
            && address::looks_like_one(first)
            && address::looks_like_one(last)
        {
            items.push(match address::range_of(first, last) {
                Ok(address) => Item::Address(address),
                Err(reason) => Item::Bad(reason),
            });
            rest = after.get(used..).unwrap_or_default();
            continue;
        }
        items.push(match address::parse(word) {
            Ok(address) if *word != "::" || items.is_empty() => Item::Address(address),
            Err(reason) if address::looks_like_one(word) => Item::Bad(reason),
            Ok(_) | Err(_) => Item::Word(word),
        });
        rest = after;
    }
    items
}

/// The address of an item that holds only one.
fn host(address: &Address) -> Option<std::net::IpAddr> {
    match address {
        Address::Prefix { prefix, .. } => prefix.is_host().then(|| prefix.network()),
        Address::Range(_) => None,
    }
}

/// Whether two addresses look like the first and the last of a block.
pub(super) fn is_block(first: std::net::IpAddr, last: std::net::IpAddr) -> bool {
    use std::net::IpAddr::{V4, V6};
    match (first, last) {
        (V4(first), V4(last)) => first < last && first.octets()[3] == 0 && last.octets()[3] == 255,
        (V6(first), V6(last)) => {
            let low = |addr: std::net::Ipv6Addr| u128::from(addr) & u128::from(u64::MAX);
            first < last && low(first) == 0 && low(last) == u128::from(u64::MAX)
        }
        (V4(_) | V6(_), _) => false,
    }
}

/// Whether a level follows a range, as in `ipfilter.dat`: above 127 it isn't blocked.
fn is_level(text: &str, others: &[&str]) -> bool {
    let is_number = |word: &&str| word.len() <= 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    text.contains(',') && others.first().is_some_and(is_number)
}

/// `2026-01-01 00:00:00 + 600 = 2026-01-01 00:10:00`, as `fail2ban-client get JAIL banip --with-time`
/// prints it in the host's time zone. A ban for good ends in the year 9999.
fn end_of_ban(words: &[&str]) -> Option<Detail> {
    let [_date, _time, "+", seconds, "=", date, time] = words else {
        return None;
    };
    seconds.parse::<u64>().ok()?;
    let end: DateTime = format!("{date}T{time}").parse().ok()?;
    let end = end.to_zoned(TimeZone::system()).ok()?;
    Some(Detail {
        expires: Some(end.timestamp()),
        comment: None,
    })
}
