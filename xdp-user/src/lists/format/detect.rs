//! Finds out a text's format from its first lines, where that is safe.

use crate::domain::ListFormat;
use crate::lists::ListError;
use crate::lists::encoding::HEAD;

use super::{emule, hosts_deny, ipset, nft, plain};
use crate::lists::address;

/// Lines that are looked at.
const LOOKED_AT: usize = 20;

/// The first lines that are neither empty nor comments. A line that the head cuts off is none of them.
fn content(head: &str, is_all: bool) -> Vec<&str> {
    let whole = match (is_all, head.rfind(['\n', '\r'])) {
        (false, Some(end)) => head.get(..end).unwrap_or(head),
        (true, _) | (false, None) => head,
    };
    let lines = whole.split(['\n', '\r']).map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
        .take(LOOKED_AT)
        .collect()
}

/// Refuses pages and other markup by name.
pub(super) fn refuse_pages(head: &[u8]) -> Result<(), ListError> {
    let text = String::from_utf8_lossy(head);
    let Some(first) = content(&text, head.len() < HEAD).first().copied() else {
        return Ok(());
    };
    if !first.starts_with('<') {
        return Ok(());
    }
    let lower = text.to_ascii_lowercase();
    let (what, fix) = if lower.contains("<ipset") {
        ("XML of ipset", "give what `ipset save` prints".to_owned())
    } else if lower.contains("<html")
        || lower.contains("<!doctype html")
        || !lower.contains("<?xml")
    {
        let fix = "look at the source: it may ask for a login or be somewhere else now";
        ("an HTML page", fix.to_owned())
    } else {
        ("XML", "give a text with its addresses".to_owned())
    };
    Err(ListError::NotAList { what, fix })
}

/// What two addresses on a line mean. On the only line of a text they are a list, as a program prints
/// one; on each of many lines they may be a table.
pub(super) fn pairs(head: &[u8], is_all: bool) -> plain::Pairs {
    let text = String::from_utf8_lossy(head);
    let lines = content(&text, is_all);
    match lines.as_slice() {
        [only] if is_all && !only.contains(['\t', ';']) && !has_bare_comma(only) => {
            plain::Pairs::Take
        }
        _several => plain::Pairs::Refuse,
    }
}

/// Whether a comma without a blank parts words, as in a table.
fn has_bare_comma(line: &str) -> bool {
    let mut after = line.split(',').skip(1);
    after.any(|word| !word.is_empty() && !word.starts_with(' '))
}

/// Whether the first lines are of a format.
type Check = fn(&[&str]) -> bool;

pub(super) fn format(head: &[u8], is_all: bool) -> Result<ListFormat, ListError> {
    let text = String::from_utf8_lossy(head);
    let lines = content(&text, is_all);
    if let Some(script) = text.lines().next().filter(|line| line.starts_with("#!")) {
        let named = [("nft", ListFormat::Nft), ("ipset", ListFormat::Ipset)];
        let found = named.iter().find(|(name, _)| script.contains(name));
        if let Some((_, format)) = found {
            return Ok(*format);
        }
    }
    let Some(first) = lines.first() else {
        return Ok(ListFormat::Plain);
    };
    if first.starts_with("[{'") {
        return Err(ListError::NotAList {
            what: "what `fail2ban-client banned` prints of several jails",
            fix: "give what `fail2ban-client get JAIL banip` prints".to_owned(),
        });
    }
    if let Some(format) = json(first, &text) {
        return Ok(format);
    }
    let checks: [(ListFormat, Check); 7] = [
        (ListFormat::Nft, is_nft),
        (ListFormat::Ipset, is_ipset),
        (ListFormat::Cscli, is_cscli),
        (ListFormat::Dshield, is_dshield),
        (ListFormat::Ipfilter, is_ipfilter),
        (ListFormat::P2p, is_p2p),
        (ListFormat::HostsDeny, is_hosts_deny),
    ];
    let found = checks.iter().find(|(_, is)| is(&lines));
    if let Some((format, _)) = found {
        return Ok(*format);
    }
    Ok(match is_range(&lines) {
        true => ListFormat::Range,
        false => ListFormat::Plain,
    })
}

fn json(first: &str, text: &str) -> Option<ListFormat> {
    if !first.starts_with(['{', '[']) {
        return None;
    }
    if text.contains("\"nftables\"") {
        return Some(ListFormat::Nft);
    }
    if let Some(inner) = first.strip_prefix('[') {
        let word = inner.trim_start().split([',', ' ', ']']).next();
        let word = word.unwrap_or_default();
        // A list as Python prints it, and an IPv6 address in brackets.
        if word.starts_with('\'') || address::looks_like_one(word) {
            return None;
        }
    }
    let value: Option<serde_json::Value> = serde_json::from_str(first).ok();
    let is_spamhaus = value.is_some_and(|value| {
        let cidr = value.get("cidr").and_then(serde_json::Value::as_str);
        cidr.is_some()
    });
    Some(match is_spamhaus {
        true => ListFormat::SpamhausJson,
        false => ListFormat::Json,
    })
}

fn is_nft(lines: &[&str]) -> bool {
    let Some(first) = lines.first() else {
        return false;
    };
    let words: Vec<&str> = first.split_ascii_whitespace().collect();
    let objects = [
        "set",
        "element",
        "table",
        "ruleset",
        "chain",
        "rule",
        "map",
        "counter",
        "flowtable",
    ];
    match words.as_slice() {
        ["table" | "define" | "redefine" | "include", _, ..] => true,
        ["set" | "map" | "chain", _, last, ..] => last.starts_with('{'),
        [command, object, ..] => nft::is_command(command) && objects.contains(object),
        _other => false,
    }
}

fn is_ipset(lines: &[&str]) -> bool {
    let Some(first) = lines.first() else {
        return false;
    };
    if let Some((key, _)) = first.split_once(':')
        && ipset::is_listed_key(key)
    {
        return true;
    }
    let words = ipset::words(first);
    let is_bare = |word: &str| !address::looks_like_one(word);
    match words.as_slice() {
        [command, name, ..] => ipset::command(command).is_some() && is_bare(name),
        [command] => matches!(*command, "flush" | "destroy" | "-F" | "-X"),
        [] => false,
    }
}

fn is_cscli(lines: &[&str]) -> bool {
    let header = lines.first().map(|line| line.to_ascii_lowercase());
    let header = header.unwrap_or_default();
    let has = |name: &str| header.split(',').any(|field| field.trim() == name);
    (has("ip") || has("value")) && (has("expiration") || has("duration")) && has("reason")
}

/// A header that names start and end, or such a line: two addresses and a prefix length.
fn is_dshield(lines: &[&str]) -> bool {
    let fields = |line: &str| -> Vec<String> {
        line.split(['\t', ' '])
            .filter(|field| !field.is_empty())
            .map(str::to_ascii_lowercase)
            .collect()
    };
    let Some(first) = lines.first() else {
        return false;
    };
    let first = fields(first);
    let starts = ["start", "end", "netmask"];
    if first.iter().map(String::as_str).take(3).eq(starts) {
        return true;
    }
    lines.iter().all(|line| {
        let fields = fields(line);
        match fields.as_slice() {
            [first, last, len, ..] => {
                let ends = (first.parse(), last.parse());
                let is_block =
                    matches!(ends, (Ok(first), Ok(last)) if plain::is_block(first, last));
                is_block && len.parse::<u8>().is_ok_and(|len| (1..=24).contains(&len))
            }
            _other => false,
        }
    })
}

fn is_ipfilter(lines: &[&str]) -> bool {
    let mut lines = lines.iter().filter(|line| !line.starts_with("//"));
    lines.next().is_some_and(|line| emule::is_ipfilter(line))
}

fn is_p2p(lines: &[&str]) -> bool {
    lines.first().is_some_and(|line| {
        let is_address = line.split([' ', '-', '/']).next();
        let is_address = is_address.is_some_and(address::looks_like_one);
        !is_address && emule::named_range(line).is_some_and(|(_, range)| range.is_ok())
    })
}

/// `daemon: client`, where each client is an address or one of hosts_access(5)'s words.
fn is_hosts_deny(lines: &[&str]) -> bool {
    let Some((daemons, clients)) = lines.first().and_then(|line| line.split_once(':')) else {
        return false;
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-, @".contains(c);
    let is_daemon = !daemons.trim().is_empty()
        && daemons.chars().all(is_name)
        && daemons.contains(|c: char| c.is_ascii_alphabetic());
    let known = ["ALL", "LOCAL", "UNKNOWN", "KNOWN", "PARANOID"];
    let mut words = clients
        .split([' ', '\t', ','])
        .filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let first = first.trim_end_matches('\\');
    is_daemon
        && !address::looks_like_one(daemons.trim())
        && (hosts_deny::client(first).is_ok() || known.contains(&first))
}

/// Two addresses in each line's first columns that are the ends of a block.
fn is_range(lines: &[&str]) -> bool {
    let mut lines = lines.iter().skip_while(|line| {
        // A header.
        !line.contains(['.', ':']) && line.contains(|c: char| c.is_ascii_alphabetic())
    });
    let is_pair = |line: &&str| {
        let mut words = line.split([',', ';', '\t', ' ']).map(plain::unquoted);
        let mut next = || words.find(|word| !word.is_empty())?.parse().ok();
        let ends: (Option<std::net::IpAddr>, Option<std::net::IpAddr>) = (next(), next());
        matches!(ends, (Some(first), Some(last)) if plain::is_block(first, last))
    };
    let mut any = false;
    lines.all(|line| {
        any = true;
        is_pair(line)
    }) && any
}
