//! The status page: one HTML file and the state that its script asks for.
//!
//! Whoever reaches the port reads it, so it is read-only, says nothing of anybody's address unless
//! the configuration allows it, and costs the daemon the same however often it is asked for: one
//! reading of the state a second, one of the sources every five.
//!
//! A browser on this host can be made to ask: by a page from elsewhere, which can't read the
//! answer, since nothing here allows it (no CORS headers, no frames), or by a name that suddenly
//! resolves to loopback (DNS rebinding), which a loopback listener refuses by the Host header.

mod document;
mod headers;
mod kept;
pub(super) mod snapshot;

use std::cmp::Reverse;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::timeout;
use tracing::warn;

use super::SnapshotSource;
use super::server::Bounds;
use crate::api::types::{PageSources, SourceQuery, SourceSort};
use crate::config::StatusPage;
use kept::Kept;

/// How many sources by each measure.
const TOP: usize = 10;

/// What was read, or why it wasn't, for everybody who asks in the same second.
type Outcome<T> = Result<T, Arc<str>>;

pub(super) struct Page<S>(Arc<Inner<S>>);

struct Inner<S> {
    source: Arc<S>,
    shows_sources: bool,
    on_loopback: bool,
    patience: Duration,
    status: Kept<Outcome<Bytes>>,
    sources: Kept<Outcome<Arc<PageSources>>>,
}

impl<S: SnapshotSource> Page<S> {
    /// The page of a listener on `address`; `None` where there is to be none.
    pub(super) fn new(
        source: Arc<S>,
        page: StatusPage,
        address: SocketAddr,
        bounds: Bounds,
    ) -> Option<Self> {
        let shows_sources = match page {
            StatusPage::Off => return None,
            StatusPage::Counters => false,
            StatusPage::Sources => true,
        };
        Some(Self(Arc::new(Inner {
            source,
            shows_sources,
            on_loopback: address.ip().to_canonical().is_loopback(),
            patience: bounds.snapshot,
            status: Kept::new(bounds.page_age),
            sources: Kept::new(bounds.sources_age),
        })))
    }

    /// `/` and `/status.json`.
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/", get(page))
            .route("/status.json", get(status::<S>))
            .layer(middleware::from_fn_with_state(
                Arc::clone(&self.0),
                guard::<S>,
            ))
            .with_state(self.0)
    }
}

/// Refuses what a browser was tricked into, and tells it what the answers may be used for.
async fn guard<S: SnapshotSource>(
    State(page): State<Arc<Inner<S>>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = if page.on_loopback && !headers::names_loopback(&request) {
        let text = "this page is for 127.0.0.1, [::1] and localhost only, and the request names \
                    another host: open it under one of these\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    } else {
        next.run(request).await
    };
    headers::restrict(response.headers_mut());
    response
}

async fn page() -> Html<&'static str> {
    Html(document::TEXT.as_str())
}

async fn status<S: SnapshotSource>(State(page): State<Arc<Inner<S>>>) -> Response {
    let reading = Arc::clone(&page);
    let outcome = page.status.get(move || async move {
        let read = reading.read().await;
        read.map_err(|error| {
            warn!("the status page has no answer: {error:#}");
            Arc::from(format!("{error:#}\n"))
        })
    });
    match outcome.await {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()).into_response(),
    }
}

impl<S: SnapshotSource> Inner<S> {
    async fn read(self: Arc<Self>) -> Result<Bytes> {
        let status = self.in_time(self.source.snapshot(), "state").await?;
        let at = Timestamp::now();
        let sources = match self.shows_sources {
            true => Some(self.top_sources().await?),
            false => None,
        };
        let page = snapshot::of(&status, sources.as_deref().cloned(), at);
        Ok(serde_json::to_vec(&page)?.into())
    }

    async fn top_sources(self: &Arc<Self>) -> Result<Arc<PageSources>> {
        let reading = Arc::clone(self);
        let outcome = self.sources.get(move || async move {
            let read = reading.read_sources().await;
            read.map(Arc::new)
                .map_err(|error| Arc::from(format!("{error:#}")))
        });
        outcome.await.map_err(anyhow::Error::msg)
    }

    async fn read_sources(&self) -> Result<PageSources> {
        // One look at the table for both.
        let query = SourceQuery {
            sort: Some(SourceSort::Dropped),
            limit: Some(TOP as u64),
            each: true,
            matching: None,
        };
        let read = self.in_time(self.source.sources(query), "sources").await?;
        let mut packets = read.sources;
        let mut dropped = packets.clone();
        dropped.retain(|source| source.dropped_packets > 0);
        dropped.sort_by_key(|source| Reverse(source.dropped_packets));
        dropped.truncate(TOP);
        packets.sort_by_key(|source| Reverse(source.packets));
        packets.truncate(TOP);
        Ok(PageSources {
            at: Timestamp::now(),
            known: read.total,
            dropped,
            packets,
        })
    }

    async fn in_time<T>(&self, read: impl Future<Output = Result<T>>, what: &str) -> Result<T> {
        timeout(self.patience, read)
            .await
            .with_context(|| {
                let patience = self.patience;
                format!("the daemon's {what} was not there within {patience:?}")
            })?
            .with_context(|| format!("cannot read the daemon's {what}"))
    }
}
