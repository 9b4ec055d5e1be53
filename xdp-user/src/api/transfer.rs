//! Routes for whole lists: imports, exports, and the question whether addresses are on one.

use std::convert::Infallible;
use std::time::Duration;

use aide::OperationOutput;
use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use aide::generate::GenContext;
use aide::openapi::{self, Operation};
use anyhow::{Context, bail};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::timeout;

use super::openapi::about;
use super::outcome::{Change, Noted};
use super::refused::{Answer, Asked, Given, Refused, Text};
use super::types::{
    ChangeReport, ExportQuery, FlushEntries, ImportQuery, ListKind, TestQuery, TestReport,
};
use crate::control::{Handle, ImportRefused, ImportText, Snapshot};
use crate::lists::export::{self, is_export};
use crate::lists::{self, Bounds, Options};

/// Largest list text that `import` takes.
const MAX_IMPORT: usize = 256 << 20;
const MAX_IMPORT_ENTRIES: usize = 10_000_000;
/// Lists that are imported at a time, as each is in memory.
static IMPORTS: Semaphore = Semaphore::const_new(1);
/// Lists that are exported at a time, for the same reason.
static EXPORTS: Semaphore = Semaphore::const_new(1);

/// Pieces of an export that may wait for their reader.
const PIECES: usize = 4;
/// A reader that takes nothing for so long has gone.
const STALLED: Duration = Duration::from_secs(60);

const CONTENT: &str = "text/plain; charset=utf-8";

pub(super) fn routes() -> ApiRouter<Handle> {
    ApiRouter::new().merge(of_allow()).merge(of_block())
}

fn of_allow() -> ApiRouter<Handle> {
    let import = post_with(import_allow, |it| {
        about(
            it,
            "importAllow",
            "Add a list of addresses to the allowlist, or replace one; or what `exportAllow` gave",
        )
    });
    ApiRouter::new()
        .api_route(
            "/v1/allow/import",
            import.layer(DefaultBodyLimit::max(MAX_IMPORT)),
        )
        .api_route(
            "/v1/allow/flush",
            post_with(flush_allow, |it| {
                about(
                    it,
                    "flushAllow",
                    "Empty a list of the allowlist, or all of them but the configuration's",
                )
            }),
        )
        .api_route(
            "/v1/allow/export",
            get_with(export_allow, |it| {
                about(
                    it,
                    "exportAllow",
                    "The allowlist as a text that `importAllow` takes",
                )
            }),
        )
        .api_route(
            "/v1/allow/test",
            get_with(test_allow, |it| {
                about(
                    it,
                    "testAllow",
                    "Which entries of the allowlist hold an address",
                )
            }),
        )
}

fn of_block() -> ApiRouter<Handle> {
    let import = post_with(import_block, |it| {
        about(
            it,
            "importList",
            "Add a list of addresses to the blocklist, or replace one: an address, a prefix or a range on each line; or what `exportBlock` gave. One at a time.",
        )
    });
    ApiRouter::new()
        .api_route(
            "/v1/block/import",
            import.layer(DefaultBodyLimit::max(MAX_IMPORT)),
        )
        .api_route(
            "/v1/block/flush",
            post_with(flush_block, |it| {
                about(
                    it,
                    "flushBlock",
                    "Empty a list of the blocklist, or all of them but the configuration's",
                )
            }),
        )
        .api_route(
            "/v1/block/export",
            get_with(export_block, |it| {
                about(
                    it,
                    "exportBlock",
                    "The blocklist as a text that `importList` takes",
                )
            }),
        )
        .api_route(
            "/v1/block/test",
            get_with(test_block, |it| {
                about(
                    it,
                    "testBlock",
                    "Which entries of the blocklist hold an address",
                )
            }),
        )
}

async fn import_allow(
    State(control): State<Handle>,
    Asked(query): Asked<ImportQuery>,
    Text(body): Text,
) -> Change<ChangeReport> {
    import(ListKind::Allow, control, query, body).await
}

async fn import_block(
    State(control): State<Handle>,
    Asked(query): Asked<ImportQuery>,
    Text(body): Text,
) -> Change<ChangeReport> {
    import(ListKind::Block, control, query, body).await
}

/// Parses off the control task, so that traffic and other callers don't wait for a long text.
async fn import(
    kind: ListKind,
    control: Handle,
    query: ImportQuery,
    body: Bytes,
) -> Change<ChangeReport> {
    let Ok(_turn) = IMPORTS.try_acquire() else {
        let error = "another list is being imported: try again when it is in";
        return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, error));
    };
    let (force, options) = (query.force, options(&query)?);
    let text = tokio::task::spawn_blocking(move || read(kind, force, &options, &body))
        .await
        .context("the list could not be read")??;
    let report = control.call(move |c| c.import(kind, query, text)).await?;
    Ok(Noted(report))
}

/// How the text is to be read.
fn options(query: &ImportQuery) -> anyhow::Result<Options> {
    let format = query.format.unwrap_or_default();
    let conflicts = [
        ("path", query.path.is_some(), format.takes_path(), "json"),
        (
            "set",
            query.set.is_some(),
            format.takes_set(),
            "ipset or nft",
        ),
        (
            "column",
            query.column.is_some(),
            format.takes_column(),
            "csv or range",
        ),
    ];
    for (key, is_given, is_used, formats) in conflicts {
        if is_given && !is_used {
            bail!("{key} has no use with the format {format}: name the format {formats}");
        }
    }
    if query.column == Some(0) {
        bail!("columns are counted from 1");
    }
    let skip = query.skip.as_ref().map(|skip| skip.as_slice().to_vec());
    Ok(Options {
        format,
        column: query.column.map_or(1, usize::from),
        paths: query
            .path
            .as_ref()
            .map_or_else(Vec::new, |paths| paths.as_slice().to_vec()),
        sets: query
            .set
            .as_ref()
            .map_or_else(Vec::new, |sets| sets.as_slice().to_vec()),
        skip: skip.unwrap_or_default(),
        ..Options::default()
    })
}

fn read(kind: ListKind, force: bool, options: &Options, body: &[u8]) -> anyhow::Result<ImportText> {
    if is_export(body) {
        let export = export::read(body, kind, MAX_IMPORT_ENTRIES, force);
        return Ok(export.map_err(ImportRefused::from)?.into());
    }
    let bounds = Bounds {
        max_entries: MAX_IMPORT_ENTRIES,
        max_bytes: MAX_IMPORT as u64,
        accept_wide: force,
    };
    let parsed = lists::read(body, options, bounds);
    Ok(parsed.map_err(ImportRefused::from)?.into())
}

async fn flush_allow(
    State(control): State<Handle>,
    Given(request): Given<FlushEntries>,
) -> Change<ChangeReport> {
    let flush = control.call(move |c| c.flush_entries(ListKind::Allow, &request));
    Ok(Noted(flush.await?))
}

async fn flush_block(
    State(control): State<Handle>,
    Given(request): Given<FlushEntries>,
) -> Change<ChangeReport> {
    let flush = control.call(move |c| c.flush_entries(ListKind::Block, &request));
    Ok(Noted(flush.await?))
}

async fn test_allow(
    State(control): State<Handle>,
    Asked(query): Asked<TestQuery>,
) -> Answer<TestReport> {
    let test = control.call(move |c| c.test_entries(ListKind::Allow, &query));
    Ok(Json(test.await?))
}

async fn test_block(
    State(control): State<Handle>,
    Asked(query): Asked<TestQuery>,
) -> Answer<TestReport> {
    let test = control.call(move |c| c.test_entries(ListKind::Block, &query));
    Ok(Json(test.await?))
}

async fn export_allow(
    State(control): State<Handle>,
    Asked(query): Asked<ExportQuery>,
) -> Result<Exported, Refused> {
    export(ListKind::Allow, control, query).await
}

async fn export_block(
    State(control): State<Handle>,
    Asked(query): Asked<ExportQuery>,
) -> Result<Exported, Refused> {
    export(ListKind::Block, control, query).await
}

/// A text that is written piece by piece, as its reader takes it.
struct Exported(Body);

async fn export(kind: ListKind, control: Handle, query: ExportQuery) -> Result<Exported, Refused> {
    let Ok(turn) = EXPORTS.try_acquire() else {
        let error = "another list is being exported: try again when it is out";
        return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, error));
    };
    let snapshot = control.call(move |c| c.snapshot(kind, &query)).await?;
    let (pieces, written) = mpsc::channel(PIECES);
    tokio::spawn(write(snapshot, turn, pieces));
    let body = stream::unfold(written, |mut written| async move {
        let piece: String = written.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), written))
    });
    Ok(Exported(Body::from_stream(body)))
}

/// Writes until the end, or until nobody reads any more: then the copy goes and the next one has its
/// turn. A reader finds its last line missing.
async fn write(snapshot: Snapshot, turn: SemaphorePermit<'static>, pieces: mpsc::Sender<String>) {
    for piece in snapshot {
        if !matches!(timeout(STALLED, pieces.send(piece)).await, Ok(Ok(()))) {
            tracing::debug!("an export was given up by its reader");
            break;
        }
    }
    drop(turn);
}

impl IntoResponse for Exported {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, CONTENT)], self.0).into_response()
    }
}

impl OperationOutput for Exported {
    type Inner = String;

    fn operation_response(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Option<openapi::Response> {
        String::operation_response(context, operation)
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        String::inferred_responses(context, operation)
    }
}
