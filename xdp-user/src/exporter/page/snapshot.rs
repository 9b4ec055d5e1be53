//! From the daemon's state to what the page shows, within its bounds.

use jiff::Timestamp;
use xdp_common::reason::{Class, Reason};

use crate::api::types::{
    InterfaceStatus, PageConfig, PageInterface, PageReason, PageSources, PageStatus, PageTable,
    ReasonCount, Status,
};
use crate::domain::Prefix;

const MOST_CHANGES: usize = 10;
const MOST_LISTS: usize = 100;
const MOST_WARNINGS: usize = 20;
const LONGEST_WARNING: usize = 300;

/// The page's state. Without `sources` there is no address in it.
pub(in crate::exporter) fn of(
    status: &Status,
    sources: Option<PageSources>,
    at: Timestamp,
) -> PageStatus {
    let config = &status.config;
    let mut mitigation = status.mitigation.clone();
    let old = mitigation.changes.len().saturating_sub(MOST_CHANGES);
    mitigation.changes.drain(..old);
    let lists_left_out = status.lists.len().saturating_sub(MOST_LISTS);
    let masked = sources.is_none();
    PageStatus {
        version: status.version.clone(),
        at,
        started: status.started,
        mode: status.mode,
        observe_reasons: status.observe_reasons.clone(),
        config: PageConfig {
            loaded: config.loaded,
            reloads: config.reloads,
            refused: config.refused,
            last_refused: config.last_error.is_some(),
        },
        interfaces: status.interfaces.iter().map(interface).collect(),
        reasons: status.reasons.iter().map(reason).collect(),
        mitigation,
        lists: status.lists.iter().take(MOST_LISTS).cloned().collect(),
        lists_left_out: lists_left_out.try_into().unwrap_or(u64::MAX),
        tables: status
            .tables
            .iter()
            .map(|table| PageTable {
                name: table.name.clone(),
                entries: table.entries,
                capacity: table.capacity,
            })
            .collect(),
        bans: status.bans,
        protected_sources: status.protected_sources,
        faults: status.faults.clone(),
        host: status.host.clone(),
        warnings: status
            .warnings
            .iter()
            .take(MOST_WARNINGS)
            .map(|text| warning(text, masked))
            .collect(),
        sources,
    }
}

fn interface(status: &InterfaceStatus) -> PageInterface {
    let sum = |number: fn(&ReasonCount) -> u64| status.reasons.iter().map(number).sum();
    PageInterface {
        name: status.name.clone(),
        attached: status.attached,
        mode: status.mode.clone(),
        packets: sum(|count| count.packets),
        bytes: sum(|count| count.bytes),
        refused: sum(|count| match count.action.as_str() {
            "dropped" | "answered" => count.packets,
            _ => 0,
        }),
    }
}

fn reason(count: &ReasonCount) -> PageReason {
    let known = Reason::from_name(&count.reason);
    let asks_for_more = known.is_some_and(|reason| reason.class() != Class::Pass);
    let action = match count.action.as_str() {
        "passed" if asks_for_more => "observed",
        action => action,
    };
    PageReason {
        reason: count.reason.clone(),
        about: known
            .map_or("", |reason| reason.description().trim())
            .to_owned(),
        action: action.to_owned(),
        packets: count.packets,
        bytes: count.bytes,
    }
}

fn warning(text: &str, masked: bool) -> String {
    let text = match masked {
        true => without_addresses(text),
        false => text.to_owned(),
    };
    if text.chars().count() <= LONGEST_WARNING {
        return text;
    }
    let cut: String = text.chars().take(LONGEST_WARNING - 1).collect();
    cut + "…"
}

/// `(address)` in the place of every address and prefix.
fn without_addresses(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || ":./".contains(c);
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        // A sentence may go on right behind an address.
        let bare = run.trim_end_matches([':', '.']);
        let found = [run, bare]
            .into_iter()
            .find(|one| one.parse::<Prefix>().is_ok());
        match found {
            Some(address) => {
                masked += "(address)";
                masked += run.strip_prefix(address).unwrap_or_default();
            }
            None => masked += run,
        }
        let between = after.find(is_part).unwrap_or(after.len());
        masked += &after[..between];
        rest = &after[between..];
    }
    masked
}
