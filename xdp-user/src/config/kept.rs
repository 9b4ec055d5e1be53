//! `[[list]]`: lists that keep themselves.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::schema::ListKeys;
use super::setting::Worded;
use super::table::{Sink, Table};
use crate::api::types::ListKind;
use crate::domain::{
    ByteSize, JsonPath, ListFormat, ListName, SetName, SkipKind, Span, UnknownChoice,
};

/// How many lists keep themselves, at most.
pub const MAX_LISTS: usize = 64;

/// Names that entries of other origin have.
const TAKEN: [&str; 2] = ["config", "manual"];

/// A list that keeps itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptList {
    pub name: ListName,
    pub kind: ListKind,
    pub source: ListSource,
    pub format: ListFormat,
    /// From 1.
    pub column: u32,
    /// Of `json`; the ready ones if there are none.
    pub paths: Vec<JsonPath>,
    /// Of `ipset` and `nft`; the only one if there are none.
    pub sets: Vec<SetName>,
    pub skip: Vec<SkipKind>,
    pub interval: Span,
    pub timeout: Span,
    pub max_size: ByteSize,
    pub max_unpacked: ByteSize,
    pub max_entries: u32,
    pub min_entries: u32,
    /// Percent of the entries now held.
    pub max_change: u32,
    pub accept_wide: bool,
    pub sha256: Option<Checksum>,
    /// Absolute.
    pub ca_file: Option<PathBuf>,
    pub stale_after: Span,
}

/// Where a list comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListSource {
    /// Absolute.
    File(PathBuf),
    /// `http` or `https`, with a host and without a password.
    Url(reqwest::Url),
}

/// SHA-256 of a list's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// 64 lower-case hexadecimal digits.
    Fixed(String),
    /// Of a file with it.
    Url(reqwest::Url),
}

/// Why a text is no source of a list, or no checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("expected a path that starts with /, or an http:// or https:// address")]
    Neither,
    #[error("not a valid address")]
    BadUrl,
    #[error("an address here has no user name or password: they would show in logs")]
    Password,
    #[error("expected 64 hexadecimal digits, or an http:// or https:// address")]
    NotAChecksum,
}

fn parse_url(text: &str) -> Result<reqwest::Url, SourceError> {
    let url: reqwest::Url = text.parse().map_err(|_| SourceError::BadUrl)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(SourceError::BadUrl);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceError::Password);
    }
    Ok(url)
}

impl FromStr for ListSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        if text.starts_with('/') && !text.contains('\0') {
            Ok(Self::File(PathBuf::from(text)))
        } else if text.contains("://") {
            parse_url(text).map(Self::Url)
        } else {
            Err(SourceError::Neither)
        }
    }
}

impl fmt::Display for ListSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(out),
            Self::Url(url) => url.fmt(out),
        }
    }
}

impl FromStr for Checksum {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self::Fixed(text.to_ascii_lowercase()))
        } else if text.contains("://") {
            parse_url(text).map(Self::Url)
        } else {
            Err(SourceError::NotAChecksum)
        }
    }
}

impl Worded for ListSource {
    const WHAT: &'static str = "path or http(s) address";
    const EXAMPLES: &'static [&'static str] = &[
        "\"/etc/xdp-throttle/list.txt\"",
        "\"https://example.org/list.txt\"",
    ];
}

impl Worded for Checksum {
    const WHAT: &'static str = "SHA-256 or the address of a file with it";
    const EXAMPLES: &'static [&'static str] = &["\"https://example.org/list.txt.sha256\""];
}

impl Worded for ListName {
    const WHAT: &'static str = "list name";
    const EXAMPLES: &'static [&'static str] = &["\"spamhaus-drop\""];
}

impl Worded for ListFormat {
    const WHAT: &'static str = "one of";
    const EXAMPLES: &'static [&'static str] = &["\"plain\""];

    fn words() -> Vec<&'static str> {
        Self::words()
    }
}

impl Worded for SkipKind {
    const WHAT: &'static str = "one of";
    const EXAMPLES: &'static [&'static str] = &["\"private\""];

    fn words() -> Vec<&'static str> {
        Self::words()
    }
}

impl Worded for JsonPath {
    const WHAT: &'static str = "path of a field";
    const EXAMPLES: &'static [&'static str] = &["\"prefixes[].ip_prefix\""];
}

impl Worded for SetName {
    const WHAT: &'static str = "name of a set";
    const EXAMPLES: &'static [&'static str] = &["\"blocklist\""];
}

impl FromStr for ListKind {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        let known = [Self::Block, Self::Allow];
        let found = known.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| UnknownChoice {
            valid: Self::words().join(", "),
        })
    }
}

impl Worded for ListKind {
    const WHAT: &'static str = "one of";
    const EXAMPLES: &'static [&'static str] = &["\"block\""];

    fn words() -> Vec<&'static str> {
        vec![Self::Block.name(), Self::Allow.name()]
    }
}

/// Reads every `[[list]]`.
pub(super) fn lists(root: &Table<'_, '_>, sink: &mut Sink) -> Vec<KeptList> {
    let mut seen: BTreeSet<ListName> = BTreeSet::new();
    let mut lists = Vec::new();
    for table in root.sections("list", MAX_LISTS, sink) {
        let Some(keys) = ListKeys::read(&table, sink) else {
            continue;
        };
        let at = |key: &str| format!("{}.{key}", table.path());
        if TAKEN.contains(&keys.name.as_str()) || !seen.insert(keys.name.clone()) {
            let message = format!("the name {} is taken", keys.name);
            sink.problem_at(&at("name"), message, "give each list a name of its own");
        }
        if keys.min_entries > keys.max_entries {
            let message = format!("more than max_entries, {}", keys.max_entries);
            sink.problem_at(&at("min_entries"), message, "no text could pass");
        }
        check_reading(&keys, &at, sink);
        if let ListSource::Url(url) = &keys.source
            && url.scheme() == "http"
            && !matches!(keys.sha256, Some(Checksum::Fixed(_)))
        {
            let message = "over http, whoever is on the way can change the list";
            sink.warning_at(&at("source"), message, "use https where the server has it");
        }
        lists.push(KeptList {
            name: keys.name,
            kind: keys.kind,
            source: keys.source,
            format: keys.format,
            column: keys.column,
            paths: keys.path.unwrap_or_default(),
            sets: keys.set.unwrap_or_default(),
            skip: keys.skip,
            interval: keys.interval,
            timeout: keys.timeout,
            max_size: keys.max_size,
            max_unpacked: keys.max_unpacked,
            max_entries: keys.max_entries,
            min_entries: keys.min_entries,
            max_change: keys.max_change,
            accept_wide: keys.accept_wide,
            sha256: keys.sha256,
            ca_file: keys.ca_file.map(|path| path.0),
            stale_after: keys.stale_after,
        });
    }
    lists
}

/// Keys that the format of the list has no use for would seem to do something.
fn check_reading(keys: &ListKeys, at: &impl Fn(&str) -> String, sink: &mut Sink) {
    let format = keys.format;
    let given = |key: &str, sink: &Sink| sink.is_given(&at(key));
    let checks = [
        (
            "path",
            format.takes_path(),
            "set format = \"json\", or leave it out: only JSON has fields",
        ),
        (
            "set",
            format.takes_set(),
            "set format = \"ipset\" or \"nft\", or leave it out: only these have sets",
        ),
        (
            "column",
            format.takes_column(),
            "set format = \"csv\" or \"range\": only these have columns",
        ),
    ];
    for (key, is_used, help) in checks {
        // The default stands in the example of the configuration.
        let is_default = key == "column" && keys.column == 1;
        if given(key, sink) && !is_used && !is_default {
            let message = format!("a list with format = \"{format}\" has no use for it");
            sink.problem_at(&at(key), message, help);
        }
    }
}
