//! Lists that keep themselves.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ListKind, NamedCount};
use crate::domain::{ListName, Prefix};
use crate::lists::Refused;

/// `GET /v1/lists`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeptLists {
    /// In the order of their names.
    pub lists: Vec<KeptListStatus>,
}

/// One `[[list]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptListStatus {
    /// Its name.
    pub name: ListName,
    /// What it does.
    pub kind: ListKind,
    /// A path or an address.
    pub source: String,
    /// The format of the text in force; absent without one.
    pub format: Option<String>,
    /// Entries in force, merged.
    pub entries: u64,
    /// When the text in force came; absent without one.
    pub fetched: Option<Timestamp>,
    /// When the source last had it, or said that it is still the same.
    pub confirmed: Option<Timestamp>,
    /// When the source was last asked.
    pub tried: Option<Timestamp>,
    /// When it is asked next.
    pub next_try: Timestamp,
    /// Whether it is being asked now.
    pub running: bool,
    /// Not confirmed for longer than `stale_after`.
    pub stale: bool,
    /// SHA-256 of the text in force.
    pub sha256: Option<String>,
    /// Why the last try changed nothing, if it failed.
    pub last_error: Option<ListFailure>,
    /// Failures since the daemon started, by cause; every cause is there.
    pub failures: Vec<NamedCount>,
    /// Lines of the text in force that could not be taken, in all.
    pub refused: u64,
    /// The first of them.
    pub refusals: Vec<Refused>,
    /// Entries of the text that were left out, by what `skip` names, and those that had ended or
    /// that the text itself excepts; kinds without one aren't there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<NamedCount>,
    /// Entries of the text that the allowlist has, or that would cut this host off.
    pub left_out: u64,
}

/// Why a refresh changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListFailure {
    /// One of a closed set, the metric's label.
    pub cause: String,
    /// For people.
    pub text: String,
}

/// `POST /v1/lists/refresh`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshLists {
    /// Which; all if absent.
    pub name: Option<ListName>,
    /// Accept a change of any size.
    #[serde(default)]
    pub force: bool,
}

/// `POST /v1/lists/diff`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffList {
    /// Which.
    pub name: ListName,
}

/// What a refresh would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListDiff {
    /// The list.
    pub name: ListName,
    /// Entries in force.
    pub entries: u64,
    /// Entries that would come, in all.
    pub added: u64,
    /// The first 1,000 of them.
    pub come: Vec<Prefix>,
    /// Entries that would go, in all.
    pub removed: u64,
    /// The first 1,000 of them.
    pub go: Vec<Prefix>,
}
