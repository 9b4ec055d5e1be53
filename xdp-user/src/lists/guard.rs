//! What a text must pass before it may take a list's place. Sources fail: they answer with an empty
//! file, an error as JSON, a page of HTML. None of these may empty a list that is in force.
//!
//! Both ways in use it: the sources of `[[list]]` sections ([`crate::feeds`]) and the imports by
//! hand and over the API ([`crate::control`]).

use super::{ParsedList, RefusalReason};

/// So many entries may come and go however small the list is.
const SMALL_CHANGE: usize = 10;

/// The most that an import by hand may change, in percent of what is held; the default of
/// `max_change`.
pub const USUAL_CHANGE: u32 = 50;

/// Why a text isn't taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Suspicion {
    /// Fewer entries than the list must have.
    #[error(
        "{}it has {entries} entries, and the least is {least}{}",
        before(why),
        after(first)
    )]
    TooFew {
        /// Why it has none.
        why: Option<&'static str>,
        entries: usize,
        least: usize,
        first: Option<BadLine>,
    },
    /// Every entry of it was refused for itself.
    #[error("none of its entries can be taken{}", first.as_ref().map_or_else(String::new, |one| format!("; the first: {}", one.text)))]
    NoneTaken { first: Option<BadLine> },
    /// It is something else: a page, an error, another format.
    #[error(
        "it is not a list of addresses: {unreadable} lines are no addresses and {readable} are{}",
        after(first)
    )]
    NotAList {
        unreadable: u64,
        readable: u64,
        first: Option<BadLine>,
    },
    /// It differs a lot from what is held.
    #[error(
        "{added} of {entries} entries would come and {removed} of {held} go, more than {most} percent"
    )]
    LargeChange {
        entries: usize,
        held: usize,
        added: usize,
        removed: usize,
        most: u32,
    },
}

impl Suspicion {
    /// The word for programs, as the metric of failed refreshes has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TooFew { .. } | Self::NoneTaken { .. } => "too_few_entries",
            Self::NotAList { .. } => "not_a_list",
            Self::LargeChange { .. } => "large_change",
        }
    }

    /// The first line that is no address.
    pub fn first(&self) -> Option<&BadLine> {
        match self {
            Self::TooFew { first, .. }
            | Self::NoneTaken { first }
            | Self::NotAList { first, .. } => first.as_ref(),
            Self::LargeChange { .. } => None,
        }
    }
}

/// A line that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1.
    pub number: u64,
    /// Its beginning, without control characters.
    pub text: String,
}

fn before(why: &Option<&'static str>) -> String {
    why.map_or_else(String::new, |why| format!("{why}: "))
}

fn after(first: &Option<BadLine>) -> String {
    first.as_ref().map_or_else(String::new, |line| {
        format!("; line {} is the first of them: {}", line.number, line.text)
    })
}

/// What the guards need to know of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines that are addresses, taken or not.
    pub readable: u64,
    /// Lines that are something else.
    pub unreadable: u64,
    /// The first of those.
    pub first: Option<BadLine>,
    /// Why the text has no entry, where it has none.
    pub why_empty: Option<&'static str>,
}

impl Tally {
    /// Of a text that was read to its end.
    pub fn of(parsed: &ParsedList) -> Self {
        let unreadable: u64 = parsed
            .refused_by_reason
            .iter()
            .filter(|(reason, _)| is_unreadable(**reason))
            .map(|(_, lines)| lines)
            .sum();
        let left_out: u64 = parsed.left_out().values().sum();
        let readable = parsed.entries.len() as u64 + parsed.duplicates + left_out;
        let first = parsed.refused.iter().find(|one| is_unreadable(one.reason));
        Self {
            readable: readable + parsed.refused_count().saturating_sub(unreadable),
            unreadable,
            first: first.map(|one| BadLine {
                number: one.line,
                text: one.text.clone(),
            }),
            why_empty: parsed.why_empty(),
        }
    }

    /// Refuses what is mostly something else.
    pub fn check_readable(&self) -> Result<(), Suspicion> {
        match self.unreadable > self.readable {
            true => Err(self.not_a_list()),
            false => Ok(()),
        }
    }

    /// The same for a text that takes a list's place: half of it is too much already.
    pub fn check_mostly_readable(&self) -> Result<(), Suspicion> {
        match self.unreadable > 0 && self.unreadable >= self.readable {
            true => Err(self.not_a_list()),
            false => Ok(()),
        }
    }

    fn not_a_list(&self) -> Suspicion {
        Suspicion::NotAList {
            unreadable: self.unreadable,
            readable: self.readable,
            first: self.first.clone(),
        }
    }
}

/// Whether the line isn't an address at all. One that is too wide or never a source was read.
fn is_unreadable(reason: RefusalReason) -> bool {
    !matches!(reason, RefusalReason::TooWide | RefusalReason::NotASource)
}

/// Refuses fewer entries than the list must have.
pub fn check_size(entries: usize, least: usize, tally: &Tally) -> Result<(), Suspicion> {
    match entries < least {
        true => Err(Suspicion::TooFew {
            why: tally.why_empty.filter(|_| entries == 0),
            entries,
            least,
            first: tally.first.clone(),
        }),
        false => Ok(()),
    }
}

/// How a text would change what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub held: usize,
    pub entries: usize,
    pub added: usize,
    pub removed: usize,
}

/// Refuses a change of more than so many percent of what is held, unless nothing is.
pub fn check_change(change: Change, most_percent: u32) -> Result<(), Suspicion> {
    let Change {
        held,
        entries,
        added,
        removed,
    } = change;
    let most = held.saturating_mul(most_percent as usize) / 100;
    let most = most.max(SMALL_CHANGE);
    if held == 0 || (added <= most && removed <= most) {
        return Ok(());
    }
    Err(Suspicion::LargeChange {
        entries,
        held,
        added,
        removed,
        most: most_percent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::{Bounds, parse};

    fn tally(text: &str) -> Tally {
        Tally::of(&parse(text.as_bytes(), Bounds::default()).unwrap())
    }

    #[test]
    fn a_text_that_is_mostly_something_else_is_refused_with_its_first_bad_line() {
        let page = tally("Sorry:\n203.0.113.9\nis blocked\nhere\n");
        let refused = page.check_readable().unwrap_err();
        assert_eq!(refused.name(), "not_a_list");
        assert_eq!(
            refused.to_string(),
            "it is not a list of addresses: 3 lines are no addresses and 1 are; line 1 is the \
             first of them: Sorry:"
        );
        tally("# nothing\n\n").check_readable().unwrap();
        tally("192.0.2.1\nnonsense\n").check_readable().unwrap();
    }

    #[test]
    fn half_of_it_is_too_much_in_the_place_of_a_list() {
        tally("192.0.2.1\nnonsense\n")
            .check_mostly_readable()
            .unwrap_err();
        tally("192.0.2.1\n192.0.2.1\nnonsense\n")
            .check_mostly_readable()
            .unwrap();
        tally("").check_mostly_readable().unwrap();
    }

    #[test]
    fn wide_prefixes_and_what_is_no_source_can_be_read() {
        let bogons = tally("0.0.0.0/1\n127.0.0.1\n224.0.0.1\n192.0.2.1\n");
        assert_eq!((bogons.readable, bogons.unreadable), (4, 0));
    }

    #[test]
    fn a_small_change_may_always_be_and_a_large_one_never() {
        let change = |held, added, removed| Change {
            held,
            entries: held + added - removed,
            added,
            removed,
        };
        check_change(change(3, 10, 3), 50).unwrap();
        check_change(change(0, 1_000_000, 0), 50).unwrap();
        check_change(change(100, 50, 50), 50).unwrap();
        check_change(change(100, 0, 51), 50).unwrap_err();
        let refused = check_change(change(100, 51, 0), 50).unwrap_err();
        assert!(refused.to_string().contains("51 of 151"), "{refused}");
    }
}
