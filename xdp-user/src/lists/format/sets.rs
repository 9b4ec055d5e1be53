//! The sets of a text of ipset or nft: filled, changed and taken away as its commands say, and in the
//! end the named ones are read.

use std::collections::{BTreeMap, HashMap};

use super::super::skip::without;
use crate::domain::{Prefix, SetName};
use crate::lists::address::Address;
use crate::lists::collect::Collector;
use crate::lists::{Detail, ListError, REFUSED_KEPT, RefusalReason};

/// Sets in one text.
const MAX_SETS: usize = 10_000;
/// Elements of all sets, for each entry that may be taken.
const ELEMENTS_PER_ENTRY: usize = 4;

/// What the elements of a set are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Holds {
    /// The text doesn't say, and so far all are addresses.
    #[default]
    Unknown,
    Addresses,
    /// Something else, with its name.
    Other(String),
}

#[derive(Clone, Copy, Debug)]
struct Element {
    prefix: Prefix,
    cleared: bool,
    line: u64,
}

/// One set.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub(super) holds: Holds,
    /// Seconds that an element without a time of its own stays; 0 for good.
    pub(super) timeout: u64,
    /// The prefix length that addresses are cut to (`netmask` of ipset).
    pub(super) netmask: Option<u8>,
    elements: Vec<Element>,
    details: HashMap<usize, Detail>,
    /// What was deleted, with how many elements and exceptions there were then.
    deleted: HashMap<Prefix, (usize, usize)>,
    exceptions: Vec<Prefix>,
    refused: Vec<(u64, String, RefusalReason)>,
}

impl Set {
    /// Takes every element away.
    pub(super) fn clear(&mut self) {
        let kept = Self {
            holds: self.holds.clone(),
            timeout: self.timeout,
            netmask: self.netmask,
            ..Self::default()
        };
        *self = kept;
    }
}

/// All sets of a text.
#[derive(Debug)]
pub(super) struct Sets {
    by_name: BTreeMap<String, Set>,
    elements: usize,
    max_elements: usize,
}

impl Sets {
    pub(super) fn new(to: &Collector) -> Self {
        Self {
            by_name: BTreeMap::new(),
            elements: 0,
            max_elements: to.max_entries().saturating_mul(ELEMENTS_PER_ENTRY),
        }
    }

    /// A set, made if there is none; `None` if there are too many.
    pub(super) fn of(&mut self, name: &str) -> Option<&mut Set> {
        if !self.by_name.contains_key(name) {
            if self.by_name.len() >= MAX_SETS {
                return None;
            }
            self.by_name.insert(name.to_owned(), Set::default());
        }
        self.by_name.get_mut(name)
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Takes away every set whose name starts so.
    pub(super) fn remove_all(&mut self, start: &str) {
        self.by_name.retain(|name, _| !name.starts_with(start));
    }

    /// Empties every set.
    pub(super) fn clear_all(&mut self) {
        self.by_name.values_mut().for_each(Set::clear);
    }

    /// Exchanges two sets.
    pub(super) fn swap(&mut self, one: &str, other: &str) {
        let (first, second) = (self.by_name.remove(one), self.by_name.remove(other));
        self.by_name
            .extend(first.map(|set| (other.to_owned(), set)));
        self.by_name.extend(second.map(|set| (one.to_owned(), set)));
    }

    /// Adds an element to a set.
    pub(super) fn add(
        &mut self,
        name: &str,
        line: u64,
        word: &str,
        address: Result<Address, RefusalReason>,
        detail: Detail,
    ) -> Result<(), ListError> {
        let (count, max) = (self.elements, self.max_elements);
        let Some(set) = self.of(name) else {
            return Ok(());
        };
        match address {
            Err(reason) => {
                if set.refused.len() < REFUSED_KEPT {
                    set.refused.push((line, word.to_owned(), reason));
                }
            }
            Ok(address) => {
                for (prefix, cleared) in address.prefixes() {
                    if count >= max {
                        return Err(ListError::TooManyEntries { line, max });
                    }
                    let prefix = match set.netmask {
                        Some(len) if len < prefix.prefix_len() => {
                            Prefix::new(prefix.network(), len).unwrap_or(prefix)
                        }
                        Some(_) | None => prefix,
                    };
                    if detail != Detail::default() {
                        set.details.insert(set.elements.len(), detail.clone());
                    }
                    set.elements.push(Element {
                        prefix,
                        cleared,
                        line,
                    });
                }
                self.elements += address.prefixes().count();
            }
        }
        Ok(())
    }

    /// Says that a set doesn't hold these addresses although a wider element does.
    pub(super) fn except(&mut self, name: &str, address: &Address) {
        if let Some(set) = self.of(name) {
            let prefixes = address.prefixes().map(|(prefix, _)| prefix);
            set.exceptions.extend(prefixes);
        }
    }

    /// Takes an element out of a set.
    pub(super) fn delete(&mut self, name: &str, address: &Address) {
        if let Some(set) = self.of(name) {
            let before = (set.elements.len(), set.exceptions.len());
            for (prefix, _) in address.prefixes() {
                set.deleted.insert(prefix, before);
            }
        }
    }

    /// Gives the elements of the wanted sets, or of the only set of addresses.
    pub(super) fn emit(self, wanted: &[SetName], to: &mut Collector) -> Result<(), ListError> {
        let names = self.choose(wanted)?;
        for name in names {
            if let Some(set) = self.by_name.get(&name) {
                emit(set, to)?;
            }
        }
        Ok(())
    }

    fn choose(&self, wanted: &[SetName]) -> Result<Vec<String>, ListError> {
        let is_other = |set: &Set| matches!(set.holds, Holds::Other(_));
        let (others, lists): (Vec<_>, Vec<_>) =
            self.by_name.iter().partition(|(_, set)| is_other(set));
        let lists: Vec<String> = lists.into_iter().map(|(name, _)| name.clone()).collect();
        if wanted.is_empty() {
            return match lists.len() {
                1 => Ok(lists),
                0 if others.is_empty() => Ok(Vec::new()),
                0 => Err(ListError::NoSets {
                    names: others.into_iter().map(|(name, _)| name.clone()).collect(),
                }),
                _several => Err(ListError::SeveralSets { names: lists }),
            };
        }
        let mut chosen = Vec::new();
        for name in wanted {
            let matches = |full: &&String| {
                let alone = full.strip_suffix(name.as_str());
                alone.is_some_and(|before| before.is_empty() || before.ends_with('/'))
            };
            let found: Vec<&String> = self.by_name.keys().filter(matches).collect();
            let full = match found.as_slice() {
                [] => {
                    return Err(ListError::NoSuchSet {
                        name: name.to_string(),
                        names: lists,
                    });
                }
                [full] => (*full).clone(),
                several => {
                    return Err(ListError::SeveralSets {
                        names: several.iter().map(ToString::to_string).collect(),
                    });
                }
            };
            let set = self.by_name.get(&full);
            if let Some(Holds::Other(holds)) = set.map(|set| &set.holds) {
                return Err(ListError::NoAddressSet {
                    name: full,
                    holds: holds.clone(),
                    names: lists,
                });
            }
            chosen.push(full);
        }
        Ok(chosen)
    }
}

fn emit(set: &Set, to: &mut Collector) -> Result<(), ListError> {
    let deleted = |prefix: &Prefix| set.deleted.get(prefix).copied().unwrap_or_default();
    let exceptions = set.exceptions.iter().enumerate();
    let mut exceptions: Vec<Prefix> = exceptions
        .filter(|(index, prefix)| *index >= deleted(prefix).1)
        .map(|(_, prefix)| *prefix)
        .collect();
    exceptions.sort_unstable();
    let last = to.line();
    for (line, word, reason) in &set.refused {
        to.at_line(*line);
        to.refuse(word.as_bytes(), *reason);
    }
    for (index, element) in set.elements.iter().enumerate() {
        if index < deleted(&element.prefix).0 {
            continue;
        }
        to.at_line(element.line);
        let text = element.prefix.to_string();
        let detail = set.details.get(&index);
        // Sorted by network: what an element covers follows its place without a gap.
        let from = exceptions.partition_point(|exception| *exception < element.prefix);
        let within = exceptions.get(from..).unwrap_or_default();
        let covered = within
            .iter()
            .take_while(|exception| element.prefix.covers(exception));
        let covered: Vec<Prefix> = covered.copied().collect();
        if covered.is_empty() {
            to.put(element.prefix, element.cleared, text.as_bytes(), detail)?;
            continue;
        }
        for part in without(&element.prefix, &covered) {
            to.put(part, element.cleared, text.as_bytes(), detail)?;
        }
    }
    exceptions.iter().for_each(|_| to.except());
    to.at_line(last);
    Ok(())
}
