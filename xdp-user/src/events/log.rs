//! Events in the log. Classes, reloads and interfaces have lines of their own where they happen, with
//! more than the event says.

use crate::api::types::{Event, Happening};

/// One line, of what isn't in the log yet.
pub(super) fn tell(event: &Event) {
    match &event.what {
        Happening::Ban(ban) => tracing::info!(
            source = %ban.source,
            until = %ban.until,
            level = ban.level,
            reason = ban.reason,
            "banned"
        ),
        Happening::Unban(ban) => {
            tracing::info!(source = %ban.source, cause = ban.cause.name(), "ban over");
        }
        Happening::List(list) => tracing::info!(
            table = list.table.name(),
            list = list.list.as_deref().unwrap_or("several"),
            cause = list.cause.name(),
            added = list.added,
            updated = list.updated,
            removed = list.removed,
            "list changed"
        ),
        Happening::Sample(sample) => tracing::debug!(
            source = sample.source.map(tracing::field::display),
            reason = sample.reason,
            action = sample.action,
            length = sample.length,
            "sampled"
        ),
        Happening::Class(_)
        | Happening::Reload(_)
        | Happening::Attach(_)
        | Happening::Detach(_)
        | Happening::Lost(_) => {}
    }
}
