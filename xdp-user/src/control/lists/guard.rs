//! What an import must pass before anything changes: the guards of `[[list]]` sections, for texts that
//! come by hand or over the API.

use crate::api::types::ListKind;
use crate::control::Control;
use crate::control::entries::ListId;
use crate::domain::{ListName, Prefix};
use crate::lists::ListError;
use crate::lists::export::ExportError;
use crate::lists::guard::{self, Change, Suspicion, Tally, USUAL_CHANGE};

/// The widest IPv4 prefix that an import into the allowlist takes without force: whatever is on it
/// passes, floods as well.
const WIDEST_ALLOWED_IPV4: u8 = 16;
/// The same of IPv6.
const WIDEST_ALLOWED_IPV6: u8 = 32;

/// An import that was refused as a whole, so that nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportRefused {
    /// The text looks like a source that failed.
    #[error(
        "the text was refused, and the list {list} stays as it is: {suspicion}: look at the \
         source, or use --force if it is meant"
    )]
    Suspicious {
        list: ListName,
        suspicion: Suspicion,
    },
    /// An export that can't be read.
    #[error("the text was refused, and nothing was changed: {0}")]
    Export(#[from] ExportError),
    /// The text can't be read as a list.
    #[error("the text was refused, and nothing was changed: {text}")]
    Unreadable { cause: &'static str, text: String },
    /// A list can't be replaced by a part of another.
    #[error(
        "the text was refused, and nothing was changed: {0} of its entries have no room: raise \
         capacity.{kind} and restart", kind = .1.name()
    )]
    Full(u64, ListKind),
}

impl ImportRefused {
    /// The word for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Suspicious { suspicion, .. } => suspicion.name(),
            Self::Export(_) => "export",
            Self::Unreadable { cause, .. } => cause,
            Self::Full(..) => "table_full",
        }
    }
}

impl From<ListError> for ImportRefused {
    fn from(error: ListError) -> Self {
        let (cause, text) = (error.name(), error.to_string());
        Self::Unreadable { cause, text }
    }
}

/// What an import would make of one list.
pub(super) struct Proposal<'a> {
    pub(super) name: &'a ListName,
    pub(super) list: ListId,
    /// Its entries: sorted, none twice.
    pub(super) entries: &'a [Prefix],
}

impl Control {
    /// Refuses a replacement of a list that looks like a mistake.
    pub(super) fn check_replacement(
        &mut self,
        kind: ListKind,
        proposal: &Proposal<'_>,
        tally: &Tally,
    ) -> Result<(), ImportRefused> {
        let held = self.prefixes_of(kind, proposal.list);
        let entries = proposal.entries;
        let missing = |from: &[Prefix], of: &[Prefix]| {
            let absent = |prefix: &&Prefix| from.binary_search(prefix).is_err();
            of.iter().filter(absent).count()
        };
        let change = Change {
            held: held.len(),
            entries: entries.len(),
            added: missing(&held, entries),
            removed: missing(entries, &held),
        };
        tally
            .check_mostly_readable()
            .and_then(|()| guard::check_size(entries.len(), 1, tally))
            .and_then(|()| guard::check_change(change, USUAL_CHANGE))
            .map_err(|suspicion| suspicious(proposal.name, suspicion))
    }
}

pub(super) fn suspicious(list: &ListName, suspicion: Suspicion) -> ImportRefused {
    ImportRefused::Suspicious {
        list: list.clone(),
        suspicion,
    }
}

/// Why the allowlist doesn't take a prefix out of a text.
pub(super) fn too_wide_to_allow(prefix: &Prefix) -> Option<String> {
    let widest = match prefix.is_ipv4() {
        true => WIDEST_ALLOWED_IPV4,
        false => WIDEST_ALLOWED_IPV6,
    };
    (prefix.prefix_len() < widest).then(|| {
        format!(
            "wider than /{widest}, and everything from it would pass: `allow add` takes it, or \
             use --force"
        )
    })
}
