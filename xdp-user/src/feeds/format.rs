//! The text of a `[[list]]`, read by the one reader of lists ([`crate::lists`]) within the list's bounds.

use std::io::Read;

use jiff::Timestamp;

use super::{FeedCause, FeedError};
use crate::config::KeptList;
use crate::lists::{self, Bounds, ListError, Options, ParsedList, RefusalReason};

/// Reads a text, unpacked if need be. Remaining times in it count from `as_of`.
pub(super) fn read(
    list: &KeptList,
    file: impl Read,
    as_of: Timestamp,
) -> Result<ParsedList, FeedError> {
    let options = Options {
        format: list.format,
        column: list.column as usize,
        paths: list.paths.clone(),
        sets: list.sets.clone(),
        skip: list.skip.clone(),
        as_of,
    };
    let bounds = Bounds {
        max_entries: list.max_entries as usize,
        max_bytes: list.max_unpacked.bytes(),
        accept_wide: list.accept_wide,
    };
    let parsed = lists::read(file, &options, bounds).map_err(|error| refused(list, error))?;
    check(&parsed)?;
    Ok(parsed)
}

fn check(parsed: &ParsedList) -> Result<(), FeedError> {
    let of = |reason| parsed.refused_by_reason.get(&reason).copied().unwrap_or(0);
    if let Some(wide) = parsed
        .refused
        .iter()
        .find(|one| one.reason == RefusalReason::TooWide)
    {
        let message = format!(
            "line {}: {} is wider than /8 (IPv4) or /16 (IPv6): if the list means it, set \
             accept_wide = true; if it is of no use here, leave it out with skip",
            wide.line, wide.text
        );
        return Err(FeedError::new(FeedCause::TooWide, message));
    }
    if of(RefusalReason::TooWide) > 0 {
        return Err(FeedError::new(
            FeedCause::TooWide,
            "a prefix is wider than /8 (IPv6 /16)",
        ));
    }
    let refused = parsed.refused_count();
    let left_out: u64 = parsed.left_out().values().sum();
    if refused <= parsed.entries.len() as u64 + parsed.duplicates + left_out {
        return Ok(());
    }
    let first = parsed.refused.first();
    let first = first.map_or(String::new(), |one| {
        format!(", line {}: {}", one.line, one.text)
    });
    let (entries, format) = (parsed.entries.len(), parsed.format);
    Err(not_a_list(&format!(
        "read as {format}, {refused} lines are no addresses and {entries} are{first}"
    )))
}

fn not_a_list(why: &str) -> FeedError {
    let text = format!("not a list of addresses: {why}; see `format` and `source`");
    FeedError::new(FeedCause::NotAList, text)
}

fn refused(list: &KeptList, error: ListError) -> FeedError {
    let (cause, text) = match error {
        ListError::TooManyEntries { .. } => (FeedCause::TooManyEntries, error.to_string()),
        ListError::TooLarge { .. } | ListError::Ratio { .. } => (
            FeedCause::TooLarge,
            format!("{error}; see max_unpacked = {}", list.max_unpacked),
        ),
        ListError::Read(source) => (
            FeedCause::Truncated,
            format!("the text can't be read: {source}"),
        ),
        ListError::Damaged { .. } => (FeedCause::Truncated, error.to_string()),
        ListError::Encoding { .. }
        | ListError::NotAList { .. }
        | ListError::Malformed { .. }
        | ListError::SeveralSets { .. }
        | ListError::NoSuchSet { .. }
        | ListError::NoAddressSet { .. }
        | ListError::NoSets { .. } => (FeedCause::NotAList, error.to_string()),
    };
    FeedError::new(cause, text)
}

#[cfg(test)]
mod tests;
