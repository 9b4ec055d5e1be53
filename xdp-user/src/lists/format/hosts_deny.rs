//! hosts_access(5): `daemons : clients [: options]`, as in `/etc/hosts.deny`.

use crate::lists::address::{self, Address};
use crate::lists::collect::Collector;
use crate::lists::encoding::Lines;
use crate::lists::{ListError, MAX_LINE_BYTES, RefusalReason};

use super::is_blank_or_comment;

/// Lines that one rule may go over.
const MAX_CONTINUED: u32 = 1000;

/// Every client that is an address, whatever the daemon.
pub(super) fn read(lines: &mut Lines<'_>, to: &mut Collector) -> Result<(), ListError> {
    let mut rule = Vec::new();
    let mut began = 0;
    let mut continued = 0;
    while let Some((number, line)) = lines.next()? {
        if rule.is_empty() {
            began = number;
            continued = 0;
        }
        to.at_line(number);
        if line.len() + rule.len() > MAX_LINE_BYTES {
            to.refuse(line, RefusalReason::LineTooLong);
            rule.clear();
            continue;
        }
        match line.strip_suffix(b"\\") {
            Some(part) if continued < MAX_CONTINUED => {
                continued += 1;
                rule.extend_from_slice(part);
                // A rule that goes on is never empty.
                rule.push(b' ');
            }
            Some(_) | None => {
                rule.extend_from_slice(line);
                to.at_line(began);
                take(&rule, to)?;
                to.at_line(number);
                rule.clear();
            }
        }
    }
    match rule.is_empty() {
        true => Ok(()),
        false => take(&rule, to),
    }
}

fn take(rule: &[u8], to: &mut Collector) -> Result<(), ListError> {
    if is_blank_or_comment(rule, b"#", to) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(rule);
    let Some((_, rest)) = text.split_once(':') else {
        to.refuse(rule, RefusalReason::NotAnAddress);
        return Ok(());
    };
    let (clients, options) = split_options(rest);
    let mut words = clients
        .split(|c: char| c.is_ascii_whitespace() || c == ',')
        .filter(|word| !word.is_empty());
    let is = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
    let allows = |options: &str| {
        let mut words = options.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| is(word, "allow"))
    };
    if clients
        .split_ascii_whitespace()
        .any(|word| is(word, "EXCEPT"))
        || allows(options)
    {
        to.refuse(rule, RefusalReason::Conditional);
        return Ok(());
    }
    words.try_for_each(|word| to.take(client(word), rule, None))
}

/// Parts the clients from the options; the colons of an IPv6 address stand in brackets.
fn split_options(text: &str) -> (&str, &str) {
    let mut depth = 0u32;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                let after = text.get(at + 1..).unwrap_or_default();
                return (text.get(..at).unwrap_or_default(), after);
            }
            _ => {}
        }
    }
    (text, "")
}

/// An address, a prefix, or the start of one: `192.0.2.`.
pub(super) fn client(word: &str) -> Result<Address, RefusalReason> {
    if let Some(start) = word.strip_suffix('.') {
        let octets: Option<Vec<u8>> = start.split('.').map(address::octet).collect();
        let octets = octets.filter(|octets| octets.len() < 4);
        return octets
            .and_then(|octets| address::start_of(&octets))
            .ok_or(RefusalReason::NotAnAddress);
    }
    // A name, a wildcard (ALL, LOCAL) or a file.
    match word.contains('/') || word.contains('.') || word.contains(':') {
        true => address::parse(word),
        false => Err(RefusalReason::NotAnAddress),
    }
}
