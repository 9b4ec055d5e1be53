//! ipset(8): what `ipset save` and `ipset list` print, and scripts of commands.

use jiff::{SignedDuration, Timestamp};

use super::sets::{Holds, Set, Sets};
use crate::lists::address;
use crate::lists::collect::{self, Collector};
use crate::lists::encoding::Lines;
use crate::lists::{Detail, ListError, MAX_LINE_BYTES, Options, RefusalReason};

/// What a command does, by every name that ipset gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Create,
    Add,
    Delete,
    Flush,
    Destroy,
    Swap,
    Rename,
    /// Says nothing about elements.
    None,
}

pub(super) fn command(word: &str) -> Option<Command> {
    Some(match word {
        "create" | "-N" | "--create" | "new" | "n" => Command::Create,
        "add" | "-A" | "--add" | "a" => Command::Add,
        "del" | "-D" | "--del" | "d" => Command::Delete,
        "flush" | "-F" | "--flush" => Command::Flush,
        "destroy" | "-X" | "--destroy" | "x" => Command::Destroy,
        "swap" | "-W" | "--swap" | "w" => Command::Swap,
        "rename" | "-E" | "--rename" | "e" => Command::Rename,
        "COMMIT" | "quit" | "save" | "list" | "restore" | "-R" | "-S" | "-L" | "version" => {
            Command::None
        }
        _other => return None,
    })
}

/// Options that may stand before a command or behind it.
fn is_switch(word: &str) -> bool {
    matches!(
        word,
        "-exist" | "--exist" | "-!" | "-quiet" | "--quiet" | "-q" | "-sorted" | "-s"
    )
}

/// The words of a line without the program's name and switches. A text in quotes is one word.
pub(super) fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest
                .split_once(|c: char| c.is_ascii_whitespace())
                .unwrap_or((rest, "")),
        };
        let is_program = words.is_empty() && (word == "ipset" || word.ends_with("/ipset"));
        if !is_program && !is_switch(word) {
            words.push(word);
        }
        rest = after.trim_ascii_start();
    }
    words
}

struct Reader<'a> {
    options: &'a Options,
    sets: Sets,
    /// The set that `ipset list` is telling of.
    listed: Option<String>,
    in_members: bool,
}

pub(super) fn read(
    lines: &mut Lines<'_>,
    options: &Options,
    to: &mut Collector,
) -> Result<(), ListError> {
    let mut reader = Reader {
        options,
        sets: Sets::new(to),
        listed: None,
        in_members: false,
    };
    while let Some((number, line)) = lines.next()? {
        to.at_line(number);
        if line.len() > MAX_LINE_BYTES {
            to.refuse(line, RefusalReason::LineTooLong);
            continue;
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_ascii();
        if text.is_empty() {
            reader.in_members = false;
        } else if text.starts_with('#') {
            to.comment();
        } else if !reader.line(number, text)? {
            to.refuse(line, RefusalReason::NotAnAddress);
        }
    }
    reader.sets.emit(&options.sets, to)
}

impl Reader<'_> {
    /// Whether the line is one of ipset's.
    fn line(&mut self, number: u64, text: &str) -> Result<bool, ListError> {
        if let Some((key, value)) = text.split_once(':')
            && is_listed_key(key)
        {
            self.listing(key, value.trim());
            return Ok(true);
        }
        let words = words(text);
        if self.in_members
            && let Some(name) = self.listed.clone()
            && let Some((element, options)) = words.split_first()
        {
            self.add(number, &name, element, options)?;
            return Ok(true);
        }
        let Some((command, arguments)) = words
            .split_first()
            .and_then(|(word, arguments)| Some((self::command(word)?, arguments)))
        else {
            return Ok(false);
        };
        match (command, arguments) {
            (Command::Create, [name, kind, options @ ..]) => self.create(name, kind, options),
            (Command::Add, [name, element, options @ ..]) => {
                self.add(number, name, element, options)?;
            }
            (Command::Delete, [name, element, ..]) => {
                let Ok(address) = address::parse(element) else {
                    return Ok(false);
                };
                self.sets.delete(name, &address);
            }
            (Command::Flush, [name, ..]) => {
                if let Some(set) = self.sets.of(name) {
                    set.clear();
                }
            }
            (Command::Flush, []) => self.sets.clear_all(),
            (Command::Destroy, [name, ..]) => self.sets.remove(name),
            (Command::Destroy, []) => self.sets.remove_all(""),
            (Command::Swap | Command::Rename, [one, other, ..]) => self.sets.swap(one, other),
            (Command::None, _) => {}
            (
                Command::Create | Command::Add | Command::Delete | Command::Swap | Command::Rename,
                _too_few,
            ) => return Ok(false),
        }
        Ok(true)
    }

    /// A line of `ipset list` about a set.
    fn listing(&mut self, key: &str, value: &str) {
        match key {
            "Name" => {
                self.in_members = false;
                self.listed = Some(value.to_owned());
                self.sets.of(value);
            }
            "Members" => self.in_members = true,
            _other => {}
        }
        let Some(set) = self.listed.as_ref().and_then(|name| self.sets.of(name)) else {
            return;
        };
        match key {
            "Type" => set.holds = holds(value),
            "Header" => options(set, &words(value)),
            _other => {}
        }
    }

    fn create(&mut self, name: &str, kind: &str, given: &[&str]) {
        if let Some(set) = self.sets.of(name) {
            set.holds = holds(kind);
            options(set, given);
        }
    }

    fn add(
        &mut self,
        number: u64,
        name: &str,
        element: &str,
        options: &[&str],
    ) -> Result<(), ListError> {
        let Some(set) = self.sets.of(name) else {
            return Err(ListError::Malformed {
                format: crate::domain::ListFormat::Ipset,
                line: number,
                why: "more sets than anybody has".to_owned(),
            });
        };
        if matches!(set.holds, Holds::Other(_)) {
            return Ok(());
        }
        if set.holds == Holds::Unknown && element.contains(',') {
            set.holds = Holds::Other("addresses with ports or more".to_owned());
            return Ok(());
        }
        let option = |wanted: &str| {
            let at = options.iter().position(|word| bare(word) == wanted)?;
            options.get(at + 1).copied()
        };
        let given = option("timeout").and_then(|word| word.parse().ok());
        let timeout: u64 = given.unwrap_or(set.timeout);
        let detail = Detail {
            expires: (timeout > 0).then(|| after(self.options.as_of, timeout)),
            comment: option("comment").and_then(collect::comment),
        };
        // A comment may be any word.
        let words = options.iter().enumerate();
        let is_exception = words.into_iter().any(|(at, word)| {
            let is_comment =
                at > 0 && options.get(at - 1).map(|word| bare(word)) == Some("comment");
            bare(word) == "nomatch" && !is_comment
        });
        let address = address::parse(element);
        match (is_exception, address) {
            (true, Ok(address)) => self.sets.except(name, &address),
            (true, Err(reason)) => {
                self.sets.add(name, number, element, Err(reason), detail)?;
            }
            (false, address) => self.sets.add(name, number, element, address, detail)?,
        }
        Ok(())
    }
}

/// The end of a time in seconds.
pub(super) fn after(as_of: Timestamp, seconds: u64) -> Timestamp {
    let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    as_of.checked_add(seconds).unwrap_or(Timestamp::MAX)
}

/// Old versions of ipset write options with dashes.
fn bare(word: &str) -> &str {
    word.trim_start_matches('-')
}

pub(super) fn is_listed_key(key: &str) -> bool {
    matches!(
        key,
        "Name"
            | "Type"
            | "Header"
            | "Members"
            | "Revision"
            | "References"
            | "Number of entries"
            | "Size in memory"
    )
}

/// What the elements of a set of this type are.
fn holds(kind: &str) -> Holds {
    match kind {
        "hash:ip" | "hash:net" | "bitmap:ip" | "iphash" | "nethash" | "ipmap" | "iptree"
        | "iptreemap" => Holds::Addresses,
        other => Holds::Other(other.to_owned()),
    }
}

/// Notes the options of a set that say something about its elements.
fn options(set: &mut Set, given: &[&str]) {
    for pair in given.windows(2) {
        let [option, value] = pair else { continue };
        match bare(option) {
            "timeout" => set.timeout = value.parse().unwrap_or(0),
            "netmask" => set.netmask = value.parse().ok(),
            _other => {}
        }
    }
}
