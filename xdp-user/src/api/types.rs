//! What the daemon and its clients say to each other, as JSON over HTTP.
//!
//! Times are RFC 3339 in UTC; spans, rates and prefixes are the strings that the command line and
//! the configuration take; counts are plain numbers.

mod classes;
mod entries;
mod events;
mod host;
mod kept;
mod page;
mod reach;
mod sources;
mod status;
mod tokens;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::Span;

pub use classes::*;
pub use entries::*;
pub use events::*;
pub use host::*;
pub use kept::*;
pub use page::*;
pub use reach::*;
pub use sources::*;
pub use status::*;
pub use tokens::*;

/// Body of every answer that isn't a success.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What went wrong, and what to do next.
    pub error: String,
    /// A word for what went wrong, where programs may want to tell it from others: `too_few_entries`,
    /// `not_a_list`, `large_change`, `export` and `table_full` of an import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Each mistake on its own, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// Which of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    /// Sources that always pass.
    Allow,
    /// Sources that are dropped.
    Block,
}

impl ListKind {
    /// The word in paths, metrics and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
        }
    }
}

/// `POST /v1/apply`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Name of the file, for messages; absent: the daemon reads its own file again.
    pub path: Option<String>,
    /// The file's text; goes with `path`.
    pub text: Option<String>,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Bring the configuration of before back unless this one is confirmed within so long.
    #[serde(default)]
    pub confirm_within: Option<Span>,
}

/// What somebody may do.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything but packets.
    Viewer,
    /// Change lists, bans and limits as well, and see packets.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// By its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Viewer, Self::Operator, Self::Admin];
        all.into_iter().find(|role| role.name() == name)
    }

    /// The word in output and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// `GET /v1/audit`: query.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// How many, the latest, at most 10,000; 100 if absent.
    pub limit: Option<u64>,
}

/// Answer to `GET /v1/audit`: the latest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditTrail {
    /// What was asked for.
    pub changes: Vec<AuditView>,
}

/// Something that somebody changed, or wanted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditView {
    /// When.
    pub at: jiff::Timestamp,
    /// The user's number.
    pub uid: Option<u32>,
    /// Its name, where it has one.
    pub user: Option<String>,
    /// The process; 0 where nobody knows.
    pub pid: i32,
    /// What was asked for, shortened.
    pub what: String,
    /// `done`, or why not.
    pub outcome: String,
}

/// A configuration that waits to be confirmed; answer to `POST /v1/confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingStatus {
    /// Where it came from.
    pub path: String,
    /// Until the one before comes back.
    pub seconds_left: u64,
}

/// Answer to `POST /v1/apply`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ApplyReport {
    /// What changed, each as a line; empty when nothing did.
    pub changes: Vec<String>,
    /// What is in force only after a restart, each as a line.
    pub needs_restart: Vec<String>,
    /// Oddities in the file that are no mistakes.
    pub warnings: Vec<String>,
}
