//! The routes of scrapes and of the status page, and their bounds. A connection carries one request; a
//! scraper opens one for each scrape, and none stays open in between.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::guard::{self, Guard};
use super::page::Page;
use super::{Scrape, SnapshotSource, render};
use crate::config::StatusPage;
use crate::http::{self, Listener};

/// What one client can take at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once; further ones wait in the listener's queue.
    pub(super) connections: usize,
    /// Bytes of a request's head.
    pub(super) head: usize,
    /// From the acceptance of a connection to the last byte of the answer.
    pub(super) connection: Duration,
    /// For the state to be read.
    pub(super) snapshot: Duration,
    /// How old the state on the page may be: no more than one is read in this time.
    pub(super) page_age: Duration,
    /// The same for its sources, which cost more.
    pub(super) sources_age: Duration,
}

const BOUNDS: Bounds = Bounds {
    connections: 16,
    head: 16 * 1024,
    // Prometheus itself gives up after 10 s unless told otherwise.
    connection: Duration::from_secs(10),
    snapshot: Duration::from_secs(5),
    page_age: Duration::from_secs(1),
    sources_age: Duration::from_secs(5),
};

/// Serves `/metrics` and what the page is to show on `listener` until `shutdown` is done, to whom the
/// guard lets through.
///
/// A scrape under way is cut off then.
///
/// # Errors
/// When the listener has no address, so when it isn't one.
pub async fn serve<S: SnapshotSource>(
    listener: TcpListener,
    guard: Guard,
    page: StatusPage,
    source: S,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    serve_within(BOUNDS, listener, guard, page, source, shutdown).await
}

pub(super) async fn serve_within<S: SnapshotSource>(
    bounds: Bounds,
    listener: TcpListener,
    guard: Guard,
    page: StatusPage,
    source: S,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let address = listener
        .local_addr()
        .context("cannot serve metrics: the listener has no address")?;
    debug!("metrics on {address}");
    let source = Arc::new(source);
    let people = Page::new(Arc::clone(&source), page, address, bounds);
    let mut routes = routes(bounds, source, people);
    if let Some(users) = guard.users {
        routes = routes.layer(axum::middleware::from_fn_with_state(users, guard::check));
    }
    let listener = match guard.tls {
        None => Listener::Tcp(listener),
        Some(tls) => Listener::Tls(listener, tls),
    };
    let of_connections = http::Bounds {
        connections: bounds.connections,
        head: bounds.head,
        patience: bounds.connection,
        connection: Some(bounds.connection),
    };
    http::serve("metrics", listener, of_connections, routes, shutdown).await;
    Ok(())
}

struct Shared<S> {
    source: Arc<S>,
    patience: Duration,
    errors: AtomicU64,
}

fn routes<S: SnapshotSource>(bounds: Bounds, source: Arc<S>, page: Option<Page<S>>) -> Router {
    let shared = Arc::new(Shared {
        source,
        patience: bounds.snapshot,
        errors: AtomicU64::new(0),
    });
    // `get` answers HEAD too, and every other method with 405.
    let routes = Router::new()
        .route("/metrics", get(metrics::<S>))
        .fallback(nothing_here)
        .with_state(shared);
    match page {
        Some(page) => routes.merge(page.routes()),
        None => routes.route("/", get(index)),
    }
}

async fn index() -> &'static str {
    "xdp-throttle: figures for Prometheus are at /metrics\n"
}

async fn nothing_here() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "nothing here; see /metrics\n")
}

async fn metrics<S: SnapshotSource>(State(shared): State<Arc<Shared<S>>>) -> Response {
    match scrape(&shared).await {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            shared.errors.fetch_add(1, Ordering::Relaxed);
            warn!("a scrape has no answer: {error:#}");
            let text = format!("{error:#}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

async fn scrape<S: SnapshotSource>(shared: &Shared<S>) -> Result<String> {
    let status = timeout(shared.patience, shared.source.snapshot())
        .await
        .with_context(|| {
            format!(
                "the daemon's state was not there within {:?}",
                shared.patience
            )
        })?
        .context("cannot read the daemon's state")?;
    render::text(&Scrape {
        status: &status,
        scrape_errors: shared.errors.load(Ordering::Relaxed),
    })
}
