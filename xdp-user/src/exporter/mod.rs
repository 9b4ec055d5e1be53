//! Figures for Prometheus: text over HTTP, read at each scrape. Beside them, a page for people.
//!
//! [`metrics::METRICS`] is the one table of what is told: it drives the text and the page that
//! [`reference::markdown`] writes. Labels come from closed sets or from what the operator named
//! (interfaces, lists); there is no label with an address in it, so that an attacker can't make
//! series.

use std::future::Future;
use std::sync::Arc;

use crate::api::types::{SourceList, SourceQuery, Status};

mod guard;
pub mod labels;
pub mod metrics;
mod page;
mod read;
pub mod reference;
mod render;
mod server;
#[cfg(test)]
mod tests;

pub use guard::Guard;
pub use server::serve;

/// Where the figures of a scrape come from.
pub trait SnapshotSource: Send + Sync + 'static {
    /// The state of the daemon as of now.
    fn snapshot(&self) -> impl Future<Output = anyhow::Result<Arc<Status>>> + Send;

    /// The sources that a query asks for. Only a page that shows addresses asks.
    fn sources(
        &self,
        query: SourceQuery,
    ) -> impl Future<Output = anyhow::Result<SourceList>> + Send;
}

/// What one scrape tells.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'a> {
    /// State of the daemon.
    pub status: &'a Status,
    /// Scrapes until now that had no answer.
    pub scrape_errors: u64,
}
