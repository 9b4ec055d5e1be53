//! The daemon's side: routes over the Unix socket.

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::Context;
use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::kept;
use super::rights::{self, Peer, Rights};
use super::stream;
use super::types::{
    AddEntries, Apply, ApplyReport, AuditQuery, AuditTrail, BanList, ChangeReport, ClassList,
    EntryPage, EntryQuery, ErrorBody, ExplainQuery, Explanation, FlushEntries, ImportQuery,
    LiftBans, LiftReport, LimitList, ListKind, PendingStatus, RemoveEntries, SetLimits, SourceList,
    SourceQuery, Status,
};
use crate::config::{ConfigError, LoadError};
use crate::control::{Control, Handle, Unavailable};
use crate::datapath::DatapathError;
use crate::events::TooMany;
use crate::lists::{self, Bounds};

/// Largest list text that `import` takes.
const MAX_IMPORT: usize = 256 << 20;
/// Largest body of any other request.
const MAX_BODY: usize = 16 << 20;
const MAX_IMPORT_ENTRIES: usize = 10_000_000;

pub(super) type Answer<T> = Result<Json<T>, Refused>;

/// A request that was not carried out.
pub(super) struct Refused(anyhow::Error);

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let details = problems(&self.0);
        let status = if details.is_some() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            status_of(&self.0)
        };
        let error = match &details {
            Some(_) => "the configuration has mistakes; the one in force stays".to_owned(),
            None => format!("{:#}", self.0),
        };
        (
            status,
            Json(ErrorBody {
                error,
                details: details.unwrap_or_default(),
            }),
        )
            .into_response()
    }
}

/// Tells a request that can't be meant from one that the kernel or the disk refused.
fn status_of(error: &anyhow::Error) -> StatusCode {
    if error.is::<Unavailable>() || error.is::<TooMany>() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let kernel = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<DatapathError>());
    match kernel {
        Some(DatapathError::Privilege { .. }) => StatusCode::FORBIDDEN,
        Some(DatapathError::NoNative { .. } | DatapathError::Unsupported { .. }) => {
            StatusCode::NOT_IMPLEMENTED
        }
        Some(
            DatapathError::Full { .. }
            | DatapathError::NoInterface { .. }
            | DatapathError::Occupied { .. }
            | DatapathError::Pins { .. }
            | DatapathError::Kernel { .. },
        ) => StatusCode::INTERNAL_SERVER_ERROR,
        None if error.chain().any(|cause| cause.is::<rusqlite::Error>()) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        None => StatusCode::BAD_REQUEST,
    }
}

/// Every mistake of a refused configuration.
fn problems(error: &anyhow::Error) -> Option<Vec<String>> {
    let invalid = match (
        error.downcast_ref::<ConfigError>(),
        error.downcast_ref::<LoadError>(),
    ) {
        (Some(invalid), _) | (None, Some(LoadError::Invalid(invalid))) => invalid,
        (None, Some(LoadError::Read { .. }) | None) => return None,
    };
    Some(
        invalid
            .problems
            .iter()
            .map(|problem| problem.render(&invalid.file))
            .collect(),
    )
}

/// The routes, with the control task behind them.
pub fn router(control: Handle) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/allow", get(list_allow).post(add_allow))
        .route("/v1/allow/remove", post(remove_allow))
        .route("/v1/block", get(list_block).post(add_block))
        .route("/v1/block/remove", post(remove_block))
        .route("/v1/block/flush", post(flush_block))
        .route(
            "/v1/block/import",
            post(import).layer(DefaultBodyLimit::max(MAX_IMPORT)),
        )
        .route("/v1/bans", get(bans))
        .route("/v1/bans/lift", post(lift))
        .route("/v1/limits", get(limits).put(set_limits))
        .route("/v1/classes", get(classes))
        .route("/v1/sources", get(sources))
        .route("/v1/explain", get(explain))
        .route("/v1/events", get(stream::events))
        .route("/v1/capture", get(stream::capture))
        .route("/v1/audit", get(audit))
        .route("/v1/apply", post(apply))
        .route("/v1/confirm", post(confirm))
        .route("/v1/rollback", post(rollback))
        .merge(kept::routes())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(control)
}

/// The routes for whoever has the right, as the kernel says who that is.
pub fn guarded(
    control: Handle,
    rights: Rights,
) -> axum::extract::connect_info::IntoMakeServiceWithConnectInfo<Router, Peer> {
    let state = (rights, control.clone());
    let guard = axum::middleware::from_fn_with_state(state, rights::check);
    router(control)
        .layer(guard)
        .into_make_service_with_connect_info()
}

async fn audit(
    State(control): State<Handle>,
    Query(query): Query<AuditQuery>,
) -> Answer<AuditTrail> {
    Ok(Json(control.call(move |c| c.audit_trail(&query)).await?))
}

/// Opens the socket with `mode`, in place of one that a dead daemon left behind. Not async: it
/// happens while the daemon still has root's powers.
pub fn listen_blocking(path: &Path, mode: u32) -> anyhow::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
    }
    remove_stale(path)?;
    // Nobody may connect between the making of the socket and the setting of its mode.
    let mask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(mask);
    let listener = listener
        .with_context(|| format!("could not open the control socket {}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("could not set the mode of {}", path.display()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let Ok(there) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    // A path that was mistyped must not cost a file.
    anyhow::ensure!(
        there.file_type().is_socket(),
        "{} is there and is no socket: give control.socket another path",
        path.display()
    );
    // Anything but a refusal comes from somebody who listens, if only too busy to accept.
    let answer = std::os::unix::net::UnixStream::connect(path).err();
    if answer.map(|error| error.kind()) != Some(std::io::ErrorKind::ConnectionRefused) {
        anyhow::bail!(
            "another daemon answers on {}: stop it first, or give this one another socket",
            path.display()
        );
    }
    std::fs::remove_file(path)
        .with_context(|| format!("could not remove the stale socket {}", path.display()))
}

async fn status(State(control): State<Handle>) -> Answer<Status> {
    Ok(Json(control.call(|c| c.status()).await?))
}

async fn list_allow(
    State(control): State<Handle>,
    Query(query): Query<EntryQuery>,
) -> Answer<EntryPage> {
    Ok(Json(
        control
            .call(move |c| c.list_entries(ListKind::Allow, &query))
            .await?,
    ))
}

async fn list_block(
    State(control): State<Handle>,
    Query(query): Query<EntryQuery>,
) -> Answer<EntryPage> {
    Ok(Json(
        control
            .call(move |c| c.list_entries(ListKind::Block, &query))
            .await?,
    ))
}

async fn add_allow(
    State(control): State<Handle>,
    Json(request): Json<AddEntries>,
) -> Answer<ChangeReport> {
    Ok(Json(
        control
            .call(move |c| c.add_entries(ListKind::Allow, request))
            .await?,
    ))
}

async fn add_block(
    State(control): State<Handle>,
    Json(request): Json<AddEntries>,
) -> Answer<ChangeReport> {
    Ok(Json(
        control
            .call(move |c| c.add_entries(ListKind::Block, request))
            .await?,
    ))
}

async fn remove_allow(
    State(control): State<Handle>,
    Json(request): Json<RemoveEntries>,
) -> Answer<ChangeReport> {
    Ok(Json(
        control
            .call(move |c| c.remove_entries(ListKind::Allow, &request))
            .await?,
    ))
}

async fn remove_block(
    State(control): State<Handle>,
    Json(request): Json<RemoveEntries>,
) -> Answer<ChangeReport> {
    Ok(Json(
        control
            .call(move |c| c.remove_entries(ListKind::Block, &request))
            .await?,
    ))
}

async fn flush_block(
    State(control): State<Handle>,
    Json(request): Json<FlushEntries>,
) -> Answer<ChangeReport> {
    Ok(Json(
        control
            .call(move |c| c.flush_entries(ListKind::Block, &request))
            .await?,
    ))
}

/// Parses off the control task, so that traffic and other callers don't wait for a long text.
async fn import(
    State(control): State<Handle>,
    Query(query): Query<ImportQuery>,
    body: Bytes,
) -> Answer<ChangeReport> {
    let bounds = Bounds {
        max_entries: MAX_IMPORT_ENTRIES,
        max_bytes: MAX_IMPORT as u64,
        accept_wide: query.force,
    };
    let parsed = tokio::task::spawn_blocking(move || lists::parse(&body[..], bounds))
        .await
        .context("the list could not be read")?
        .context("the list was refused as a whole, nothing was changed")?;
    Ok(Json(control.call(move |c| c.import(query, parsed)).await?))
}

async fn bans(State(control): State<Handle>) -> Answer<BanList> {
    Ok(Json(control.call(|c| c.list_bans()).await?))
}

async fn lift(State(control): State<Handle>, Json(request): Json<LiftBans>) -> Answer<LiftReport> {
    Ok(Json(control.call(move |c| c.lift_bans(&request)).await?))
}

async fn limits(State(control): State<Handle>) -> Answer<LimitList> {
    Ok(Json(control.call(|c| c.list_limits()).await?))
}

async fn set_limits(
    State(control): State<Handle>,
    Json(request): Json<SetLimits>,
) -> Answer<LimitList> {
    Ok(Json(control.call(move |c| c.set_limits(request)).await?))
}

async fn classes(State(control): State<Handle>) -> Answer<ClassList> {
    Ok(Json(control.call(|c| c.list_classes()).await?))
}

async fn sources(
    State(control): State<Handle>,
    Query(query): Query<SourceQuery>,
) -> Answer<SourceList> {
    Ok(Json(control.call(move |c| c.list_sources(&query)).await?))
}

async fn explain(
    State(control): State<Handle>,
    Query(query): Query<ExplainQuery>,
) -> Answer<Explanation> {
    Ok(Json(control.call(move |c| c.explain(&query)).await?))
}

async fn confirm(State(control): State<Handle>) -> Answer<PendingStatus> {
    Ok(Json(control.call(Control::confirm).await?))
}

async fn rollback(State(control): State<Handle>) -> Answer<ApplyReport> {
    Ok(Json(control.call(Control::roll_back).await?))
}

async fn apply(State(control): State<Handle>, Json(request): Json<Apply>) -> Answer<ApplyReport> {
    Ok(Json(control.call(move |c| c.apply(&request)).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_takes_no_work_is_not_the_callers_mistake() {
        for error in [Unavailable::Busy, Unavailable::Stopping] {
            let status = status_of(&anyhow::Error::new(error));
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        }
        let mistake = anyhow::anyhow!("nothing to change");
        assert_eq!(status_of(&mistake), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");

        std::fs::write(&path, "precious").unwrap();
        let refused = listen_blocking(&path, 0o600).unwrap_err().to_string();
        assert!(refused.contains("is no socket"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();

        let first = listen_blocking(&path, 0o640).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let refused = listen_blocking(&path, 0o600).unwrap_err().to_string();
        assert!(refused.contains("another daemon answers"), "{refused}");
        drop(first);
        listen_blocking(&path, 0o600).unwrap();
    }
}
