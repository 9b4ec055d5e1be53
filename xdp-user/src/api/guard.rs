//! What every request passes before its route: how many there may be, who asks and may, how long it may
//! take, and what is noted of it.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use headers::authorization::Bearer;
use headers::{Authorization, HeaderMapExt};
use nix::unistd::{Uid, User};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::outcome::Outcome;
use super::refused::Refused;
use super::rights::{Rights, needed};
use super::types::Role;
use crate::control::Handle;
use crate::domain::ListName;
use crate::http::Peer;
use crate::state::AuditRow;

/// Of a request's text, so much is noted.
const NOTED: usize = 300;
/// A text of more bytes is not looked at: a list.
const LOOKED_AT: usize = 64 * 1024;
/// From a request's head to its answer's.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where a list comes from a slow pipe, or from a server.
const LONG_PATIENCE: Duration = Duration::from_secs(3600);
/// Requests with bodies at once: each may hold as much as a body may have.
const BODIES: usize = 16;
/// Callers that have been quiet are forgotten after so many requests.
const FORGET_AFTER: u32 = 1024;

/// Shared by all requests.
#[derive(Clone)]
pub(super) struct Guard(Arc<Shared>);

struct Shared {
    rights: Rights,
    control: Handle,
    rates: DefaultKeyedRateLimiter<Sender>,
    asked: AtomicU32,
    bodies: Semaphore,
}

/// Who is counted together.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Sender {
    User(u32),
    /// IPv6: the first 64 bits, which a host has for itself.
    Network(IpAddr),
}

/// Who asks.
enum Caller {
    Process {
        uid: u32,
        gid: u32,
        pid: i32,
    },
    Token {
        name: ListName,
        role: Role,
        from: IpAddr,
    },
}

impl Guard {
    /// With so many requests a second for each caller, twice as many at once.
    #[must_use]
    pub(super) fn new(control: Handle, rights: Rights, requests_per_second: NonZeroU32) -> Self {
        let burst = requests_per_second.saturating_add(requests_per_second.get());
        let quota = Quota::per_second(requests_per_second).allow_burst(burst);
        Self(Arc::new(Shared {
            rights,
            control,
            rates: RateLimiter::keyed(quota),
            asked: AtomicU32::new(0),
            bodies: Semaphore::new(BODIES),
        }))
    }

    /// Seconds to wait, if it is too early for a request. Root and our own user may always ask: they
    /// could stop us as well.
    fn too_early(&self, sender: &Sender) -> Option<u64> {
        if let Sender::User(uid) = sender
            && (*uid == 0 || *uid == Uid::effective().as_raw())
        {
            return None;
        }
        if self
            .0
            .asked
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(FORGET_AFTER)
        {
            self.0.rates.retain_recent();
        }
        let early = self.0.rates.check_key(sender).err()?;
        let wait = early.wait_time_from(DefaultClock::default().now());
        Some(wait.as_secs() + 1)
    }

    /// `None`: whoever asks over TCP has no token that is good.
    fn identify(&self, peer: Peer, request: &Request) -> Option<Caller> {
        let from = match peer {
            Peer::Process { uid, gid, pid } => return Some(Caller::Process { uid, gid, pid }),
            Peer::Network(from) => from.ip().to_canonical(),
        };
        let Authorization(given) = request.headers().typed_get::<Authorization<Bearer>>()?;
        let now = jiff::Timestamp::now();
        let (name, role) = self.0.control.tokens().find(given.token(), now)?;
        Some(Caller::Token { name, role, from })
    }

    fn role(&self, caller: &Caller) -> Option<Role> {
        match caller {
            Caller::Process { uid, gid, .. } => self.0.rights.role(*uid, *gid),
            Caller::Token { role, .. } => Some(*role),
        }
    }
}

impl Sender {
    fn of(peer: Peer) -> Self {
        match peer {
            Peer::Process { uid, .. } => Self::User(uid),
            Peer::Network(from) => match from.ip().to_canonical() {
                IpAddr::V6(address) => {
                    let upper = address.to_bits() >> 64 << 64;
                    Self::Network(Ipv6Addr::from_bits(upper).into())
                }
                address @ IpAddr::V4(_) => Self::Network(address),
            },
        }
    }
}

/// Lets a request through, or doesn't; notes what changes something.
pub(super) async fn check(
    State(guard): State<Guard>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(seconds) = guard.too_early(&Sender::of(peer)) {
        return too_much(
            "more requests than [control] requests_per_second allows",
            seconds,
        );
    }
    let Some(caller) = guard.identify(peer, &request) else {
        return no_token();
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let needed = needed(&method, &path);
    let changes = method != Method::GET && method != Method::HEAD;
    let has = guard.role(&caller);
    if has.is_none_or(|role| role < needed) {
        if changes {
            note(
                &guard,
                &caller,
                format!("{method} {path}"),
                "refused: no right".to_owned(),
            )
            .await;
        }
        return no_right(&caller, has, needed);
    }
    let patience = match path.as_str() {
        "/v1/allow/import" | "/v1/block/import" | "/v1/lists/refresh" | "/v1/lists/diff" => {
            LONG_PATIENCE
        }
        _ => PATIENCE,
    };
    let answered = timeout(patience, async {
        if !changes {
            return next.run(request).await;
        }
        // A caller that goes away, or is told that it took too long, may have changed something all the
        // same: that is noted whether or not somebody waits. A body that never comes ends with its
        // connection.
        let changing = tokio::spawn(async move { change(&guard, &caller, request, next).await });
        changing.await.unwrap_or_else(|error| {
            let error = format!("the request failed: {error}");
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response()
        })
    });
    answered.await.unwrap_or_else(|_too_late| {
        let error = format!("the request took over {patience:?}");
        Refused::new(StatusCode::REQUEST_TIMEOUT, error).into_response()
    })
}

async fn change(guard: &Guard, caller: &Caller, request: Request, next: Next) -> Response {
    let Ok(_turn) = guard.0.bodies.acquire().await else {
        return too_much("too many requests at once", 1);
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (request, text) = match with_text(request).await {
        Ok(both) => both,
        Err(refused) => return refused.into_response(),
    };
    let response = next.run(request).await;
    let said = response.extensions().get::<Outcome>();
    let outcome = match (said, response.status()) {
        (Some(Outcome(said)), _) => said.chars().take(NOTED).collect(),
        (None, status) if status.is_success() => "done".to_owned(),
        (None, status) => format!("refused: {status}"),
    };
    // Before the answer goes out: what was acknowledged is in the trail.
    note(guard, caller, format!("{method} {path} {text}"), outcome).await;
    response
}

fn too_much(error: &str, seconds: u64) -> Response {
    let mut answer = Refused::new(StatusCode::TOO_MANY_REQUESTS, error).into_response();
    answer
        .headers_mut()
        .insert(header::RETRY_AFTER, seconds.into());
    answer
}

fn no_token() -> Response {
    let error = "this needs a token that is known and has not ended, as `Authorization: Bearer \
                 TOKEN`: `xdp-throttle token add` makes one";
    let mut answer = Refused::new(StatusCode::UNAUTHORIZED, error).into_response();
    let scheme = HeaderValue::from_static("Bearer");
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, scheme);
    answer
}

fn no_right(caller: &Caller, has: Option<Role>, needed: Role) -> Response {
    let (has, needed) = (has.map_or("none", Role::name), needed.name());
    let error = match caller {
        Caller::Process { uid, .. } => format!(
            "this needs the role {needed}, and user {uid} has {has}: an admin can name it in \
             [control] {needed}s"
        ),
        Caller::Token { name, .. } => {
            format!("this needs the role {needed}, and the token {name} has {has}")
        }
    };
    Refused::new(StatusCode::FORBIDDEN, error).into_response()
}

/// A request with the beginning of its text; of a list only its length.
async fn with_text(request: Request) -> Result<(Request, String), Refused> {
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length <= LOOKED_AT => {
            let read = to_bytes(body, LOOKED_AT).await;
            let cut = |_error| Refused::new(StatusCode::BAD_REQUEST, "the body ended too early");
            let bytes = read.map_err(cut)?;
            let text: String = String::from_utf8_lossy(&bytes)
                .chars()
                .take(NOTED)
                .collect();
            Ok((Request::from_parts(parts, Body::from(bytes)), text))
        }
        Some(length) => Ok((Request::from_parts(parts, body), format!("{length} bytes"))),
        None => Ok((Request::from_parts(parts, body), "a list".to_owned())),
    }
}

/// Adds to the audit trail. What can't be noted was done all the same, and the log says so.
async fn note(guard: &Guard, caller: &Caller, what: String, outcome: String) {
    let at = jiff::Timestamp::now();
    let row = match caller {
        Caller::Process { uid, pid, .. } => {
            let user = User::from_uid(Uid::from_raw(*uid)).ok().flatten();
            AuditRow {
                at,
                uid: Some(*uid),
                user: user.map(|user| user.name),
                pid: *pid,
                what,
                outcome,
            }
        }
        Caller::Token { name, from, .. } => AuditRow {
            at,
            uid: None,
            user: Some(format!("token {name} from {from}")),
            pid: 0,
            what,
            outcome,
        },
    };
    let noted = guard.0.control.call(move |c| c.audit(&row));
    if let Err(error) = noted.await {
        tracing::warn!("a change is not in the audit trail: {error:#}");
    }
}
