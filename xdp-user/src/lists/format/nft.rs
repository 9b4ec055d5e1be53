//! nft(8): what `nft list ruleset`, `table` and `set` print, and scripts.
//!
//! Only elements of sets are entries; the addresses in rules, maps and anonymous sets are not.

use std::collections::HashMap;

use super::ipset::after;
use super::nft_words::{Word, seconds, split};
use super::sets::{Holds, Sets};
use crate::domain::ListFormat;
use crate::lists::address;
use crate::lists::collect::{self, Collector};
use crate::lists::encoding::Lines;
use crate::lists::{Detail, ListError, MAX_LINE_BYTES, Options, RefusalReason};

/// Blocks within blocks.
const MAX_DEPTH: usize = 64;
/// Words of one statement or element.
const MAX_WORDS: usize = 1000;
/// Elements that variables stand for, in all.
const MAX_EXPANDED: usize = 4_000_000;

/// What stands between two braces.
#[derive(Clone, Debug)]
enum Block {
    /// `inet/filter/`.
    Table(String),
    /// The full name of a set.
    Set(String),
    /// Of a set.
    Elements(String),
    /// To be taken out of a set.
    Deleted(String),
    /// Of a variable.
    Variable(String),
    /// A chain, a map, a rule's own set.
    Other,
}

struct Reader<'a> {
    options: &'a Options,
    sets: Sets,
    blocks: Vec<Block>,
    /// The words of a statement or an element so far.
    words: Vec<Word>,
    variables: HashMap<String, Vec<Vec<Word>>>,
    expanded: usize,
    /// A brace was closed since the last statement began: what follows is its end.
    after_block: bool,
    line: u64,
    refused: Vec<(u64, String)>,
}

pub(super) fn read(
    lines: &mut Lines<'_>,
    options: &Options,
    to: &mut Collector,
) -> Result<(), ListError> {
    let mut reader = Reader {
        options,
        sets: Sets::new(to),
        blocks: Vec::new(),
        words: Vec::new(),
        variables: HashMap::new(),
        expanded: 0,
        after_block: false,
        line: 0,
        refused: Vec::new(),
    };
    while let Some((number, line)) = lines.next()? {
        to.at_line(number);
        reader.line = number;
        if line.len() > MAX_LINE_BYTES {
            return Err(reader.malformed("a line that is too long"));
        }
        if line.trim_ascii_start().starts_with(b"#") {
            to.comment();
            continue;
        }
        for word in split(&String::from_utf8_lossy(line)) {
            reader.word(word)?;
        }
        for (_, text) in reader.refused.drain(..) {
            to.refuse(text.as_bytes(), RefusalReason::NotAnAddress);
        }
    }
    if !reader.blocks.is_empty() {
        return Err(reader.malformed("the text ends within braces: it was cut off"));
    }
    reader.sets.emit(&options.sets, to)
}

impl Reader<'_> {
    fn malformed(&self, why: &str) -> ListError {
        ListError::Malformed {
            format: ListFormat::Nft,
            line: self.line,
            why: why.to_owned(),
        }
    }

    fn word(&mut self, word: Word) -> Result<(), ListError> {
        let in_elements = matches!(
            self.blocks.last(),
            Some(Block::Elements(_) | Block::Deleted(_) | Block::Variable(_))
        );
        match word {
            Word::Open => {
                if self.blocks.len() >= MAX_DEPTH {
                    return Err(self.malformed("braces within braces without end"));
                }
                let block = match in_elements {
                    true => Block::Other,
                    false => self.block()?,
                };
                self.blocks.push(block);
            }
            Word::Close => {
                if in_elements {
                    self.element()?;
                } else {
                    self.statement()?;
                }
                if self.blocks.pop().is_none() {
                    return Err(self.malformed("a brace that closes nothing"));
                }
                self.words.clear();
                self.after_block = true;
            }
            Word::Comma if in_elements => self.element()?,
            // Elements go over many lines.
            Word::End if in_elements => {}
            Word::End => {
                self.statement()?;
                self.after_block = false;
            }
            Word::Bare(_) | Word::Quoted(_) | Word::Comma | Word::Equals => {
                if self.words.len() < MAX_WORDS {
                    self.words.push(word);
                }
            }
        }
        Ok(())
    }

    fn in_table(&self) -> Option<&str> {
        match self.blocks.last() {
            Some(Block::Table(name)) => Some(name),
            Some(
                Block::Set(_)
                | Block::Elements(_)
                | Block::Deleted(_)
                | Block::Variable(_)
                | Block::Other,
            )
            | None => None,
        }
    }

    /// What a brace opens, by the words before it.
    fn block(&mut self) -> Result<Block, ListError> {
        let given = std::mem::take(&mut self.words);
        let words: Vec<&str> = given.iter().filter_map(Word::bare).collect();
        let set = match self.blocks.last() {
            Some(Block::Set(name)) => Some(name.clone()),
            Some(_) | None => None,
        };
        if let Some(set) = set {
            return Ok(match words.as_slice() {
                ["elements"] => Block::Elements(set),
                _other => Block::Other,
            });
        }
        let table = self.in_table().map(str::to_owned);
        if !self.blocks.is_empty() && table.is_none() {
            return Ok(Block::Other);
        }
        let words = match words.split_first() {
            Some((&("add" | "create"), rest)) if rest.first() != Some(&"element") => rest,
            Some(_) | None => &words,
        };
        Ok(match (words, table) {
            (["set", name], Some(table)) => self.declared(format!("{table}{name}"), None)?,
            (["map", name], Some(table)) => {
                self.declared(format!("{table}{name}"), Some("a map"))?
            }
            (["set", target @ ..], None) => self.declared(full_name(target), None)?,
            (["map", target @ ..], None) => self.declared(full_name(target), Some("a map"))?,
            (["table", target @ ..], None) => Block::Table(table_name(target)),
            (["add" | "create", "element", target @ ..], None) => {
                Block::Elements(full_name(target))
            }
            (["delete" | "destroy", "element", target @ ..], None) => {
                Block::Deleted(full_name(target))
            }
            (["define" | "redefine", name], _) => {
                self.variables.insert((*name).to_owned(), Vec::new());
                Block::Variable((*name).to_owned())
            }
            _other => Block::Other,
        })
    }

    fn declared(&mut self, name: String, holds: Option<&str>) -> Result<Block, ListError> {
        let Some(set) = self.sets.of(&name) else {
            return Err(self.malformed("more sets than anybody has"));
        };
        Ok(match holds {
            Some(holds) => {
                set.holds = Holds::Other(holds.to_owned());
                Block::Other
            }
            None => Block::Set(name),
        })
    }

    /// A statement without braces.
    fn statement(&mut self) -> Result<(), ListError> {
        let given = std::mem::take(&mut self.words);
        let words: Vec<&str> = given.iter().filter_map(Word::text).collect();
        if words.is_empty() {
            return Ok(());
        }
        if words.first() == Some(&"include") {
            return Err(self.malformed(
                "it includes other files: load it, and give what `nft list ruleset` prints",
            ));
        }
        match self.blocks.last().cloned() {
            Some(Block::Set(name)) => self.of_set(&name, &words, &given),
            Some(Block::Table(_)) | None if is_definition(&words) => {
                if let Some(name) = words.get(1) {
                    let value: Vec<Word> = given
                        .iter()
                        .skip_while(|word| **word != Word::Equals)
                        .skip(1)
                        .cloned()
                        .collect();
                    self.variables.insert((*name).to_owned(), Vec::new());
                    self.words = value;
                    self.define((*name).to_owned())?;
                }
                Ok(())
            }
            None if self.after_block => Ok(()),
            None => self.command(&words),
            Some(
                Block::Table(_)
                | Block::Elements(_)
                | Block::Deleted(_)
                | Block::Variable(_)
                | Block::Other,
            ) => Ok(()),
        }
    }

    /// A statement within a set's braces.
    fn of_set(&mut self, name: &str, words: &[&str], given: &[Word]) -> Result<(), ListError> {
        let Some(set) = self.sets.of(name) else {
            return Ok(());
        };
        match words {
            ["type" | "typeof", kind @ ..] => {
                let kind = kind.join(" ");
                let addresses = [
                    "ipv4_addr",
                    "ipv6_addr",
                    "ip saddr",
                    "ip daddr",
                    "ip6 saddr",
                    "ip6 daddr",
                ];
                set.holds = match addresses.contains(&kind.as_str()) {
                    true => Holds::Addresses,
                    false => Holds::Other(kind),
                };
            }
            ["timeout", time] => set.timeout = seconds(time).unwrap_or(0),
            ["elements", variable] if variable.starts_with('$') => {
                let value = given.last().cloned();
                self.words.extend(value);
                self.add(name)?;
            }
            _other => {}
        }
        Ok(())
    }

    /// A command at the top of a script.
    fn command(&mut self, words: &[&str]) -> Result<(), ListError> {
        match words {
            ["flush", "ruleset", ..] => self.sets.remove_all(""),
            ["flush", "set", target @ ..] => {
                if let Some(set) = self.sets.of(&full_name(target)) {
                    set.clear();
                }
            }
            ["delete" | "destroy", "set", target @ ..] => self.sets.remove(&full_name(target)),
            ["delete" | "destroy", "table", target @ ..] => {
                self.sets.remove_all(&table_name(target));
            }
            ["add" | "create", "element", target @ .., variable] if variable.starts_with('$') => {
                self.words.push(Word::Bare((*variable).to_owned()));
                self.add(&full_name(target))?;
            }
            [first, ..] if is_command(first) => {}
            _other => {
                if self.refused.len() < MAX_WORDS {
                    self.refused.push((self.line, words.join(" ")));
                }
            }
        }
        Ok(())
    }

    /// An element that a comma or a brace ends.
    fn element(&mut self) -> Result<(), ListError> {
        if self.words.is_empty() {
            return Ok(());
        }
        match self.blocks.last().cloned() {
            Some(Block::Elements(name)) => self.add(&name),
            Some(Block::Variable(name)) => self.define(name),
            Some(Block::Deleted(name)) => {
                let given = std::mem::take(&mut self.words);
                for words in self.expand(given)? {
                    if let Ok(address) = address::parse(&value(&words).0) {
                        self.sets.delete(&name, &address);
                    }
                }
                Ok(())
            }
            Some(Block::Table(_) | Block::Set(_) | Block::Other) | None => Ok(()),
        }
    }

    fn define(&mut self, name: String) -> Result<(), ListError> {
        let given = std::mem::take(&mut self.words);
        let mut elements = self.expand(given)?;
        self.variables
            .entry(name)
            .or_default()
            .append(&mut elements);
        Ok(())
    }

    /// An element, or those that a variable stands for.
    fn expand(&mut self, words: Vec<Word>) -> Result<Vec<Vec<Word>>, ListError> {
        let name = words.first().and_then(Word::bare);
        let Some(name) = name.and_then(|word| word.strip_prefix('$')) else {
            return Ok(vec![words]);
        };
        let Some(elements) = self.variables.get(name) else {
            return Err(self.malformed(&format!("the variable ${name} isn't defined before")));
        };
        self.expanded += elements.len();
        if self.expanded > MAX_EXPANDED {
            return Err(self.malformed("variables stand for more elements than a list may have"));
        }
        Ok(elements.clone())
    }

    fn add(&mut self, name: &str) -> Result<(), ListError> {
        let given = std::mem::take(&mut self.words);
        let line = self.line;
        for words in self.expand(given)? {
            let Some(set) = self.sets.of(name) else {
                return Err(self.malformed("more sets than anybody has"));
            };
            if matches!(set.holds, Holds::Other(_)) {
                continue;
            }
            let (value, used) = value(&words);
            let more = words.get(used..).unwrap_or_default();
            match more.first().and_then(Word::bare) {
                Some(".") => {
                    set.holds = Holds::Other("addresses with ports or more".to_owned());
                    continue;
                }
                Some(":") => {
                    set.holds = Holds::Other("a map".to_owned());
                    continue;
                }
                Some(_) | None => {}
            }
            let option = |wanted: &str| {
                let at = more.iter().position(|word| word.bare() == Some(wanted))?;
                more.get(at + 1)?.text()
            };
            let time = option("expires").or_else(|| option("timeout"));
            let time = time.and_then(seconds).unwrap_or(set.timeout);
            let detail = Detail {
                expires: (time > 0).then(|| after(self.options.as_of, time)),
                comment: option("comment").and_then(collect::comment),
            };
            let address = address::parse(&value);
            self.sets.add(name, line, &value, address, detail)?;
        }
        Ok(())
    }
}

/// The value of an element and how many words it takes: a range may be written with blanks.
fn value(words: &[Word]) -> (String, usize) {
    let texts: Vec<&str> = words.iter().take(3).filter_map(Word::bare).collect();
    match texts.as_slice() {
        [first, "-", last] => (format!("{first}-{last}"), 3),
        [first, ..] => ((*first).to_owned(), 1),
        [] => (String::new(), 0),
    }
}

fn is_definition(words: &[&str]) -> bool {
    matches!(words, ["define" | "redefine", _, _, ..])
}

/// Words that begin a command of nft.
pub(super) fn is_command(word: &str) -> bool {
    matches!(
        word,
        "add"
            | "create"
            | "delete"
            | "destroy"
            | "flush"
            | "insert"
            | "replace"
            | "rename"
            | "reset"
            | "list"
            | "table"
            | "define"
            | "redefine"
            | "undefine"
            | "set"
            | "map"
            | "chain"
            | "nft"
            | "include"
            | "export"
            | "monitor"
    )
}

fn is_family(word: &str) -> bool {
    matches!(word, "ip" | "ip6" | "inet" | "arp" | "bridge" | "netdev")
}

/// `inet/filter/bad` of `inet filter bad`; `ip` is the family that is left out.
fn full_name(target: &[&str]) -> String {
    match target {
        [family, table, name, ..] if is_family(family) => format!("{family}/{table}/{name}"),
        [table, name, ..] => format!("ip/{table}/{name}"),
        [name] => (*name).to_owned(),
        [] => String::new(),
    }
}

fn table_name(target: &[&str]) -> String {
    match target {
        [family, table, ..] if is_family(family) => format!("{family}/{table}/"),
        [table, ..] => format!("ip/{table}/"),
        [] => String::new(),
    }
}
