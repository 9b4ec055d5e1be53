//! `audit`: who changed what.

use super::table::{Table, words};
use super::{Session, format};
use crate::api::types::{AuditQuery, AuditTrail};

/// Show who changed what, the latest first
///
/// Every request that changes something, or wanted to, with the user that the kernel says it came
/// from; the last ten thousand. For the role admin.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  xdp-throttle audit --limit 20\n  xdp-throttle --output json audit | jq '.changes[].user'"
)]
pub(crate) struct Args {
    /// How many to show, at most 10,000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let query = AuditQuery {
            limit: Some(self.limit),
        };
        let trail = session.client.audit(&query).await?;
        session.output.show(&trail, render)
    }
}

fn render(trail: &AuditTrail) -> String {
    let mut table = Table::new([words("at"), words("who"), words("outcome"), words("what")]);
    for change in &trail.changes {
        let who = match (change.uid, &change.user) {
            (Some(_), Some(user)) => format!("{user}, pid {}", change.pid),
            (Some(uid), None) => format!("{uid}, pid {}", change.pid),
            (None, user) => user.clone().unwrap_or_default(),
        };
        table.row([
            format::time(change.at),
            who,
            change.outcome.clone(),
            change.what.clone(),
        ]);
    }
    table.render()
}
