//! Reads the lists of addresses that operators already have.
//!
//! One address or prefix starts each line; what follows it after a blank, a comma, `#` or `;` is
//! ignored, and so are blank lines and lines that start with `#` or `;`. That covers plain lists,
//! ipsum's levels, Spamhaus DROP (`1.10.16.0/20 ; SBL256894`) and the first column of a CSV file.
//! Host bits are cleared, as such lists often leave them set.
//!
//! Input comes from strangers: line length, size and number of entries are bounded, and every
//! line is either an entry, a comment, or counted as refused with a reason.

pub mod export;
pub mod guard;
mod line;
mod refused;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead};

pub use refused::{RefusalReason, Refused};

use crate::domain::Prefix;
use line::Line;

/// The longest line that is read, in bytes without its end. Longer ones are refused.
pub const MAX_LINE_BYTES: usize = 4096;

/// How many refused lines are kept with their text; all of them are counted.
pub const REFUSED_KEPT: usize = 100;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a list may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries after duplicates are left out.
    pub max_entries: usize,
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

/// A list that was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedList {
    /// In the order of the lines, none twice.
    pub entries: Vec<Prefix>,
    /// Lines that repeat an entry.
    pub duplicates: u64,
    /// Entries whose host bits were cleared.
    pub host_bits_cleared: u64,
    /// Entries from private, shared or link-local ranges: blocking them may lock a local network
    /// out. Lists of "bogons" have them.
    pub private: u64,
    /// Lines that hold only a comment.
    pub comments: u64,
    /// Every line, empty ones as well.
    pub lines: u64,
    pub bytes: u64,
    /// The first [`REFUSED_KEPT`] refused lines.
    pub refused: Vec<Refused>,
    /// All refused lines by reason.
    pub refused_by_reason: BTreeMap<RefusalReason, u64>,
}

impl ParsedList {
    pub fn refused_count(&self) -> u64 {
        self.refused_by_reason.values().sum()
    }
}

/// Why a list as a whole is refused.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("can't read the list")]
    Read(#[from] io::Error),
    #[error("line {line}: more than {max} entries; raise the capacity or split the list")]
    TooManyEntries { line: u64, max: usize },
    #[error("the list is larger than {max} bytes; split it")]
    TooLarge { max: u64 },
}

/// Reads a list in chunks of any size.
#[derive(Debug)]
pub struct Parser {
    bounds: Bounds,
    list: ParsedList,
    seen: HashSet<Prefix>,
    /// The line that has no end yet, at most `MAX_LINE_BYTES + 1` bytes of it.
    pending: Vec<u8>,
    at_line_start: bool,
}

impl Parser {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            list: ParsedList::default(),
            seen: HashSet::new(),
            pending: Vec::new(),
            at_line_start: true,
        }
    }

    /// What was read so far, for a progress bar.
    pub fn so_far(&self) -> &ParsedList {
        &self.list
    }

    /// Takes the next bytes of the list. After an error the list is refused as a whole.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ListError> {
        self.list.bytes += chunk.len() as u64;
        if self.list.bytes > self.bounds.max_bytes {
            let max = self.bounds.max_bytes;
            return Err(ListError::TooLarge { max });
        }
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let (content, ended) = match piece.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (piece, false),
            };
            self.extend_line(content);
            if ended {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// The list, with a last line that may lack its end.
    pub fn finish(mut self) -> Result<ParsedList, ListError> {
        if !self.at_line_start {
            self.end_line()?;
        }
        Ok(self.list)
    }

    fn extend_line(&mut self, content: &[u8]) {
        self.at_line_start = false;
        // One byte over the bound is kept, to tell a full line from one that is too long; two
        // more for a carriage return and for the mark at the start of the first line.
        let room = (MAX_LINE_BYTES + 5).saturating_sub(self.pending.len());
        let kept = content.get(..room).unwrap_or(content);
        self.pending.extend_from_slice(kept);
    }

    fn end_line(&mut self) -> Result<(), ListError> {
        let line = std::mem::take(&mut self.pending);
        self.take_line(&line)?;
        self.pending = line;
        self.pending.clear();
        self.at_line_start = true;
        Ok(())
    }

    /// Takes one line without its end, whose number whoever splits the text knows.
    pub(crate) fn take_line_at(&mut self, number: u64, line: &[u8]) -> Result<(), ListError> {
        self.list.lines = number.saturating_sub(1);
        self.take_line(line)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), ListError> {
        self.list.lines += 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = match self.list.lines {
            1 => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            _ => line,
        };
        match Line::read(line, self.bounds.accept_wide) {
            Line::Blank => {}
            Line::Comment => self.list.comments += 1,
            Line::Refused(reason) => self.refuse(line, reason),
            Line::Entry { prefix, cleared } => self.add(prefix, cleared)?,
        }
        Ok(())
    }

    fn refuse(&mut self, line: &[u8], reason: RefusalReason) {
        *self.list.refused_by_reason.entry(reason).or_insert(0) += 1;
        if self.list.refused.len() < REFUSED_KEPT {
            let refused = Refused::new(self.list.lines, line, reason);
            self.list.refused.push(refused);
        }
    }

    fn add(&mut self, prefix: Prefix, cleared: bool) -> Result<(), ListError> {
        if self.seen.contains(&prefix) {
            self.list.duplicates += 1;
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
        self.list.private += u64::from(line::is_private(&prefix));
        Ok(())
    }
}

/// Reads a whole list.
pub fn parse(mut input: impl BufRead, bounds: Bounds) -> Result<ParsedList, ListError> {
    let mut parser = Parser::new(bounds);
    loop {
        let chunk = match input.fill_buf() {
            Ok([]) => return parser.finish(),
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let read = chunk.len();
        parser.feed(chunk)?;
        input.consume(read);
    }
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
