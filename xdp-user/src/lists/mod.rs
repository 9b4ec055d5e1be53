//! Reads the lists of addresses that operators already have: the one reader of `[[list]]` sections,
//! of imports, and of addresses on the command line and in the API.
//!
//! [`read`] takes bytes, unpacks them ([`encoding`]), finds out their format or takes the one that
//! [`Options`] name ([`format`]), and gives a [`ParsedList`] or a [`ListError`]. Every line is an
//! entry, a comment, left out and counted, or refused with a reason. A text whose format isn't
//! understood is refused; it is never read as its first column.
//!
//! Input comes from strangers: line length, size, number of entries, nesting and the size of what is
//! packed are bounded.

mod address;
mod collect;
mod encoding;
pub mod export;
mod format;
pub mod guard;
mod refused;
mod skip;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};

use jiff::Timestamp;

pub use refused::{RefusalReason, Refused};

use crate::domain::{JsonPath, ListFormat, Prefix, SetName, SkipKind};
use collect::Collector;

/// The longest line that is read, in bytes without its end. Longer ones are refused. Some programs
/// print all they have on one line: 280,000 addresses have room.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// How many refused lines are kept with their text; all of them are counted.
pub const REFUSED_KEPT: usize = 100;

/// The longest comment that is kept with an entry, in characters. The rest is cut.
pub const MAX_COMMENT: usize = 200;

/// What a list may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries after duplicates are left out.
    pub max_entries: usize,
    /// Bytes, unpacked.
    pub max_bytes: u64,
    /// Take prefixes that are wide ([`Prefix::is_wide`]) as well.
    pub accept_wide: bool,
}

impl Default for Bounds {
    /// A million entries, 256 MiB, nothing wide.
    fn default() -> Self {
        Self {
            max_entries: 1_000_000,
            max_bytes: 256 << 20,
            accept_wide: false,
        }
    }
}

/// How a text is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub format: ListFormat,
    /// Of `csv` and `range`, from 1.
    pub column: usize,
    /// Of `json`; the ready ones if there are none.
    pub paths: Vec<JsonPath>,
    /// Of `ipset` and `nft`; the only one of the text if there are none.
    pub sets: Vec<SetName>,
    /// What is left out.
    pub skip: Vec<SkipKind>,
    /// When the text was written, as far as known: a remaining time counts from then.
    pub as_of: Timestamp,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: ListFormat::Auto,
            column: 1,
            paths: Vec::new(),
            sets: Vec::new(),
            skip: Vec::new(),
            as_of: now(),
        }
    }
}

/// The present to the millisecond, as ends are on disk, and never earlier than it is.
fn now() -> Timestamp {
    let next = Timestamp::now().as_millisecond().saturating_add(1);
    Timestamp::from_millisecond(next).unwrap_or(Timestamp::MAX)
}

/// What a text says of an entry besides its prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// When it ends; `None` never.
    pub expires: Option<Timestamp>,
    /// At most [`MAX_COMMENT`] characters.
    pub comment: Option<Box<str>>,
}

/// A list that was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedList {
    /// In the order of the lines, none twice.
    pub entries: Vec<Prefix>,
    /// Of the entries that have an end or a comment.
    pub details: HashMap<Prefix, Detail>,
    /// The format that it was read as.
    pub format: ListFormat,
    /// Entries that were given again.
    pub duplicates: u64,
    /// Entries whose host bits were cleared.
    pub host_bits_cleared: u64,
    /// Entries from private, shared or link-local ranges: blocking them may lock a local network
    /// out. Lists of "bogons" have them.
    pub private: u64,
    /// Entries that were left out, or cut, by kind: see [`Options::skip`].
    pub skipped: BTreeMap<SkipKind, u64>,
    /// Entries that had ended, by what the text says.
    pub ended: u64,
    /// Entries that the text itself takes out: `nomatch` of ipset, a level of eMule that isn't
    /// blocked, a decision of CrowdSec that is no ban.
    pub excepted: u64,
    /// Lines that hold only a comment.
    pub comments: u64,
    /// Every line, empty ones as well.
    pub lines: u64,
    /// Bytes, unpacked.
    pub bytes: u64,
    /// The first [`REFUSED_KEPT`] refused lines.
    pub refused: Vec<Refused>,
    /// All refused lines by reason.
    pub refused_by_reason: BTreeMap<RefusalReason, u64>,
}

impl ParsedList {
    /// Refused lines in all.
    pub fn refused_count(&self) -> u64 {
        self.refused_by_reason.values().sum()
    }

    /// Entries that were left out, by kind; kinds without one aren't there.
    pub fn left_out(&self) -> BTreeMap<&'static str, u64> {
        let skipped = self
            .skipped
            .iter()
            .map(|(kind, count)| (kind.name(), *count));
        let others = [("ended", self.ended), ("excepted", self.excepted)];
        let others = others.into_iter().filter(|(_, count)| *count > 0);
        skipped.chain(others).collect()
    }

    /// Why it has no entry, for people; `None` where it has one.
    pub fn why_empty(&self) -> Option<&'static str> {
        if !self.entries.is_empty() {
            None
        } else if self.bytes == 0 {
            Some("the text is empty")
        } else if self.refused_count() > 0 {
            Some("the text has no address that can be taken")
        } else if self.ended > 0 {
            Some("every entry of the text has ended")
        } else if self.excepted > 0 || !self.skipped.is_empty() {
            Some("every entry of the text is left out")
        } else {
            Some("the text has no addresses, only comments or empty lines")
        }
    }
}

/// Why a list as a whole is refused.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("can't read the list")]
    Read(#[source] io::Error),
    #[error("line {line}: more than {max} entries; raise the capacity or split the list")]
    TooManyEntries { line: u64, max: usize },
    #[error("the list is larger than {max} bytes; split it")]
    TooLarge { max: u64 },
    #[error("the list unpacks to {unpacked} times its size: it is no list of addresses")]
    Ratio { unpacked: u64 },
    #[error("the list can't be unpacked: {why}")]
    Damaged { why: String },
    /// Packed or encoded in a way that isn't read.
    #[error("the list is {what}, which isn't read: {fix}")]
    Encoding {
        what: &'static str,
        fix: &'static str,
    },
    /// Another kind of text.
    #[error("the list is {what}, not a list of addresses: {fix}")]
    NotAList { what: &'static str, fix: String },
    /// The text breaks the rules of its format.
    #[error("line {line}, read as {format}: {why}")]
    Malformed {
        format: ListFormat,
        line: u64,
        why: String,
    },
    #[error("the text has {} sets of addresses, {}: choose with --set NAME, or `set` in a [[list]] section", names.len(), joined(names))]
    SeveralSets { names: Vec<String> },
    #[error("the text has no set named {name}{}", known(names))]
    NoSuchSet { name: String, names: Vec<String> },
    #[error(
        "the set {name} holds {holds}, which is no list of addresses{}",
        known(names)
    )]
    NoAddressSet {
        name: String,
        holds: String,
        names: Vec<String>,
    },
    #[error("the text has no set of addresses{}", others(names))]
    NoSets { names: Vec<String> },
}

impl ListError {
    /// The word for programs, as the metric of failed refreshes has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Read(_) | Self::Damaged { .. } => "truncated",
            Self::TooManyEntries { .. } => "too_many_entries",
            Self::TooLarge { .. } | Self::Ratio { .. } => "too_large",
            Self::Encoding { .. }
            | Self::NotAList { .. }
            | Self::Malformed { .. }
            | Self::SeveralSets { .. }
            | Self::NoSuchSet { .. }
            | Self::NoAddressSet { .. }
            | Self::NoSets { .. } => "not_a_list",
        }
    }
}

impl From<io::Error> for ListError {
    /// Takes an error of this module out of the reader that had to wrap it.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) => Self::Read(error),
        }
    }
}

/// Names that an error spells out.
const NAMES_SHOWN: usize = 20;

fn joined(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_SHOWN).map(String::as_str).collect();
    let more = if names.len() > NAMES_SHOWN {
        ", …"
    } else {
        ""
    };
    format!("{}{more}", shown.join(", "))
}

fn known(names: &[String]) -> String {
    match names.is_empty() {
        true => String::new(),
        false => format!("; sets of addresses in it: {}", joined(names)),
    }
}

fn others(names: &[String]) -> String {
    match names.is_empty() {
        true => String::new(),
        false => format!(": {} hold something else", joined(names)),
    }
}

/// Reads a whole list.
pub fn read(input: impl Read, options: &Options, bounds: Bounds) -> Result<ParsedList, ListError> {
    let text = encoding::Text::open(input, bounds.max_bytes)?;
    format::read(text, options, bounds)
}

/// Reads a whole list whose format is to be found out.
pub fn parse(input: impl Read, bounds: Bounds) -> Result<ParsedList, ListError> {
    read(input, &Options::default(), bounds)
}

/// Reads words of a command line or a request, each of them a line of a plain list.
pub fn read_words<'a>(
    words: impl IntoIterator<Item = &'a str>,
    bounds: Bounds,
) -> Result<ParsedList, ListError> {
    let options = Options {
        format: ListFormat::Plain,
        ..Options::default()
    };
    let mut collector = Collector::new(&options, bounds);
    for (word, number) in words.into_iter().zip(1..) {
        collector.at_line(number);
        format::plain::take_line(word.as_bytes(), format::plain::Pairs::Take, &mut collector)?;
    }
    Ok(collector.finish(ListFormat::Plain, 0))
}

/// Leaves out every prefix that another one holds already; returns how many. Sorts the rest.
pub fn drop_covered(prefixes: &mut Vec<Prefix>) -> usize {
    let before = prefixes.len();
    // Sorted by network, then length: whatever a prefix covers follows it without a gap.
    prefixes.sort_unstable();
    let mut last_kept: Option<Prefix> = None;
    prefixes.retain(|prefix| {
        let covered = last_kept.is_some_and(|kept| kept.covers(prefix));
        if !covered {
            last_kept = Some(*prefix);
        }
        !covered
    });
    before - prefixes.len()
}

#[cfg(test)]
mod tests;
