//! List entries and what became of a change of them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NamedCount;
use crate::domain::{
    GivenPrefix, JsonPaths, ListFormat, ListName, Prefix, SetNames, SkipKinds, Span,
};

/// `GET /v1/allow`, `GET /v1/block`: query.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntryQuery {
    /// Only this list.
    pub list: Option<ListName>,
    /// Only entries that cover this prefix or lie in it.
    pub matching: Option<GivenPrefix>,
    /// How many to skip.
    #[serde(default)]
    pub offset: u64,
    /// How many to give, at most 10,000; 1,000 if absent.
    pub limit: Option<u64>,
}

/// `GET /v1/allow`, `GET /v1/block`: a page of entries in the order of their prefixes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<EntryView>,
    /// How many there are in all, under the query.
    pub total: u64,
}

/// One list entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryView {
    /// The prefix.
    pub prefix: Prefix,
    /// The list.
    pub list: ListName,
    /// When it ends; absent: never.
    pub expires: Option<Timestamp>,
    /// Why it is there, in the operator's words.
    pub comment: Option<String>,
    /// When it was added; absent for the configuration's own entries.
    pub added: Option<Timestamp>,
    /// Packets that it decided. Absent where a wider entry of the list kind does its work.
    pub packets: Option<u64>,
    /// Bytes of those packets.
    pub bytes: Option<u64>,
}

/// `POST /v1/allow`, `POST /v1/block`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddEntries {
    /// What to add.
    pub prefixes: Vec<GivenPrefix>,
    /// To which list; `manual` if absent.
    pub list: Option<ListName>,
    /// For how long; for good if absent.
    pub ttl: Option<Span>,
    /// Why, at most 200 characters.
    pub comment: Option<String>,
    /// Also very wide prefixes.
    #[serde(default)]
    pub force: bool,
}

/// `POST /v1/allow/remove`, `POST /v1/block/remove`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveEntries {
    /// What to remove, each just as it is there. What isn't there is told of, and no mistake.
    pub prefixes: Vec<GivenPrefix>,
    /// From which list; from all but the configuration's if absent.
    pub list: Option<ListName>,
}

/// `POST /v1/allow/flush`, `POST /v1/block/flush`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlushEntries {
    /// Which list; all but the configuration's if absent.
    pub list: Option<ListName>,
}

/// `POST /v1/allow/import`, `POST /v1/block/import`: query. The body is the list's text, at most 256 MiB.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportQuery {
    /// Into which list; `manual` if absent. In place of the lists that an export names.
    pub list: Option<ListName>,
    /// For how long; for good if absent. In place of the ends that an export has.
    pub ttl: Option<Span>,
    /// Also very wide prefixes, and a text that the guards refuse.
    #[serde(default)]
    pub force: bool,
    /// Remove what the list holds and the text doesn't.
    #[serde(default)]
    pub replace: bool,
    /// The format of the text; found out where that is safe if absent.
    pub format: Option<ListFormat>,
    /// The column of a `csv` or `range` text, from 1.
    pub column: Option<u16>,
    /// The fields of a `json` text, joined by commas.
    pub path: Option<JsonPaths>,
    /// The sets of an `ipset` or `nft` text, joined by commas.
    pub set: Option<SetNames>,
    /// Kinds of addresses to leave out, joined by commas: private, loopback, link_local, multicast,
    /// reserved, documentation, own.
    pub skip: Option<SkipKinds>,
}

/// Answer to every change of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeReport {
    /// Entries that are new in the list.
    pub added: u64,
    /// Entries that were in the list already, with the same end and comment.
    pub unchanged: u64,
    /// Entries whose end or comment changed.
    pub updated: u64,
    /// Of the new and changed ones: those that a wider entry covers, so that they cost no room in
    /// the kernel.
    pub merged: u64,
    /// Entries that are gone.
    pub removed: u64,
    /// Entries that were asked to go and weren't there, each with what is there in its place.
    pub missing: Vec<String>,
    /// Lines or prefixes that were refused, in all.
    pub refused: u64,
    /// The first of them.
    pub refusals: Vec<Refusal>,
    /// Lines that repeat an earlier one of the same text.
    pub duplicates: u64,
    /// Lines from private, shared or link-local ranges, as lists of bogons have them: blocking
    /// these may lock a local network out.
    #[serde(default)]
    pub private: u64,
    /// Lines whose end has passed: left out.
    #[serde(default)]
    pub ended: u64,
    /// Entries of the text that were left out, by what `skip` names, and those that the text itself
    /// excepts; kinds without one aren't there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<NamedCount>,
    /// The first of the prefixes that were given with host bits, and what was taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_bits_cut: Vec<HostBitsCut>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// A prefix that was given with bits behind its length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostBitsCut {
    /// What was given.
    pub given: String,
    /// What was taken.
    pub prefix: Prefix,
}

/// `GET /v1/allow/export`, `GET /v1/block/export`: query.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// Only this list; all but the configuration's and those of `[[list]]` sections if absent.
    pub list: Option<ListName>,
}

/// `GET /v1/allow/test`, `GET /v1/block/test`: query.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestQuery {
    /// Addresses or prefixes, joined by commas; at most 100.
    pub addresses: String,
}

/// `GET /v1/allow/test`, `GET /v1/block/test`: each address in the order of the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestReport {
    /// One for each address.
    pub results: Vec<TestResult>,
}

/// Which entries hold an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestResult {
    /// The address or prefix.
    pub address: Prefix,
    /// Entries that hold all of it, the widest first; none: it isn't listed.
    pub matches: Vec<EntryView>,
}

/// One refused line or prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// The line in the text, from 1; absent where there was no text.
    pub line: Option<u64>,
    /// What stood there.
    pub text: String,
    /// Why it was refused.
    pub why: String,
}
