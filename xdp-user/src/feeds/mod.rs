//! Lists that keep themselves: `[[list]]` sections, read from files and HTTP servers.
//!
//! A [`Job`] says what to fetch and what is held now; [`work`] fetches, parses and checks it away
//! from the control task, which gets a [`Fetched`] or a [`FeedError`] and nothing of the text. What
//! fails changes nothing. The text of the last good fetch is kept in the state directory
//! ([`copy`]), so that a restart needs no server.

pub mod copy;
mod fetch;
mod format;
mod guard;
pub mod task;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::KeptList;
use crate::domain::Prefix;
use crate::host::ProtectedPeers;
use crate::lists::Refused;
use copy::Meta;
pub use guard::difference;

/// Why a refresh changed nothing: the closed set of a metric's label.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FeedCause {
    /// The file can't be read, or no connection came about; also a certificate that isn't trusted.
    Unreachable,
    /// The answer took too long.
    Timeout,
    /// A status that isn't 200 or 304.
    HttpStatus,
    /// Too many redirects, or one to another scheme.
    Redirect,
    /// The answer ended early, or can't be unpacked.
    Truncated,
    /// Over the bound of bytes, as sent or unpacked.
    TooLarge,
    /// Over the bound of entries.
    TooManyEntries,
    /// Under the bound of entries.
    TooFewEntries,
    /// Not a list of addresses.
    NotAList,
    /// A prefix that is wider than the list may have.
    TooWide,
    /// Not the text that the checksum is of.
    Checksum,
    /// More changed than the list allows at once.
    LargeChange,
    /// The daemon couldn't take it: its table is full, or the disk refused.
    NotApplied,
}

impl FeedCause {
    /// Every cause.
    pub const ALL: [Self; 13] = [
        Self::Unreachable,
        Self::Timeout,
        Self::HttpStatus,
        Self::Redirect,
        Self::Truncated,
        Self::TooLarge,
        Self::TooManyEntries,
        Self::TooFewEntries,
        Self::NotAList,
        Self::TooWide,
        Self::Checksum,
        Self::LargeChange,
        Self::NotApplied,
    ];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::HttpStatus => "http_status",
            Self::Redirect => "redirect",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::TooManyEntries => "too_many_entries",
            Self::TooFewEntries => "too_few_entries",
            Self::NotAList => "not_a_list",
            Self::TooWide => "too_wide",
            Self::Checksum => "checksum",
            Self::LargeChange => "large_change",
            Self::NotApplied => "not_applied",
        }
    }
}

/// A refresh that changed nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct FeedError {
    /// For the metric.
    pub cause: FeedCause,
    /// For people: what happened and what to do.
    pub text: String,
}

impl FeedError {
    pub(crate) fn new(cause: FeedCause, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cause, text }
    }
}

/// What to fetch, and what is held now.
#[derive(Clone, Debug)]
pub struct Job {
    /// The section.
    pub list: KeptList,
    /// Where copies are kept.
    pub directory: PathBuf,
    /// Of the last good fetch from this source.
    pub meta: Option<Meta>,
    /// Sorted.
    pub held: Arc<Vec<Prefix>>,
    /// The allowlist; empty for a list that allows.
    pub allowed: Vec<Prefix>,
    /// Addresses that this host must hear from, and that the allowlist doesn't have.
    pub protected: ProtectedPeers,
    /// Accept a change of any size.
    pub force: bool,
    /// Read the copy again where the text is the same: what was left out may have its place now.
    pub reread: bool,
    /// Ask for the text even if it hasn't changed, and keep no copy.
    pub dry: bool,
}

/// What a good fetch brought.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// The source says that its text is the one of the last fetch.
    Unchanged,
    /// Another text.
    Text(Box<Parsed>),
}

/// A text that passed every check.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// Sorted, aggregated, without what the allowlist has and without our own addresses.
    pub entries: Vec<Prefix>,
    /// Of the entries that end, when; these aren't merged with others.
    pub ends: BTreeMap<Prefix, Timestamp>,
    /// The form it was in.
    pub format: &'static str,
    /// Lines that could not be taken, in all.
    pub refused: u64,
    /// The first of them.
    pub refusals: Vec<Refused>,
    /// Entries left out by their kind, by what was asked for or by what the text says.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Entries left out because the allowlist has them or they hold an address that this
    /// host must hear from.
    pub left_out: u64,
    /// About the text.
    pub meta: Meta,
    /// The text on disk, not yet the copy.
    pub file: Option<Arc<copy::Part>>,
}

/// Fetches, parses and checks; on an error nothing is to be changed.
pub async fn work(job: Job) -> Result<Fetched, FeedError> {
    let timeout = job.list.timeout;
    let fetched = tokio::time::timeout(timeout.as_duration(), fetch::fetch(&job)).await;
    let download = fetched.map_err(|_elapsed| {
        let text = format!("no whole answer within {timeout}: see `timeout`");
        FeedError::new(FeedCause::Timeout, text)
    })??;
    let read = tokio::task::spawn_blocking(move || match download {
        Some(download) => read_new(&job, download).map(Some),
        None if job.reread => {
            guard::check_known(&job)?;
            restore(&job)
        }
        None => Ok(None),
    });
    let read = read.await.map_err(|error| {
        let text = format!("the text can't be read: {error}");
        FeedError::new(FeedCause::NotAList, text)
    })??;
    Ok(read.map_or(Fetched::Unchanged, |parsed| Fetched::Text(Box::new(parsed))))
}

fn read_new(job: &Job, download: fetch::Download) -> Result<Parsed, FeedError> {
    guard::check_known(job)?;
    let mut parsed = read(job, &download.part, download.meta)?;
    guard::check_change(job, &parsed.entries)?;
    parsed.file = (!job.dry).then(|| Arc::new(download.part));
    Ok(parsed)
}

/// The copy of the last good fetch, checked as a new text would be, but for how much it changes.
pub fn restore(job: &Job) -> Result<Option<Parsed>, FeedError> {
    let Some((part, meta)) = copy::open(&job.directory, &job.list)? else {
        return Ok(None);
    };
    read(job, &part, meta).map(Some)
}

fn read(job: &Job, part: &copy::Part, meta: Meta) -> Result<Parsed, FeedError> {
    let text = format::read(&job.list, part.reader()?, meta.fetched)?;
    let (why_empty, skipped) = (text.why_empty(), text.left_out());
    let (format, refused) = (text.format.name(), text.refused_count());
    let tidy = guard::tidy(job, text.entries, &text.details);
    guard::check_size(&job.list, tidy.entries.len()).map_err(|error| match why_empty {
        Some(why) => FeedError::new(error.cause, format!("{why}: {error}")),
        None => error,
    })?;
    Ok(Parsed {
        entries: tidy.entries,
        ends: tidy.ends,
        format,
        refused,
        refusals: text.refused,
        skipped,
        left_out: tidy.left_out,
        meta,
        file: None,
    })
}

/// When to try again: `interval`, up to a tenth sooner or later, so that many machines don't ask at
/// once; after failures sooner, from a minute on.
pub fn next_try(list: &KeptList, failures_in_a_row: u32, now: Timestamp) -> Timestamp {
    let interval = list.interval.as_duration();
    let first = std::time::Duration::from_secs(60).min(interval);
    let wait = match failures_in_a_row {
        0 => interval,
        failures => first
            .saturating_mul(1 << (failures - 1).min(16))
            .min(interval),
    };
    // The seed of a fresh hasher is random (std::hash::RandomState).
    let random =
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), now.as_nanosecond());
    let share = (random % 2_001) as f64 / 10_000.0 + 0.9;
    now.checked_add(wait.mul_f64(share))
        .unwrap_or(Timestamp::MAX)
}
