//! Who may do what: by the user of the process at the other end of the socket, which the kernel tells
//! (unix(7), `SO_PEERCRED`). And what was done is noted: see [`crate::state::AuditRow`].

use std::ffi::CString;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::net::UnixListener;

use super::types::{ErrorBody, Role};
use crate::config::{self, Who};
use crate::control::Handle;
use crate::state::AuditRow;

/// Of a request's text, so much is noted.
const NOTED: usize = 300;
/// A text of more bytes is not looked at: a list.
const LOOKED_AT: usize = 64 * 1024;

/// The process at the other end, as it was when it connected.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    uid: u32,
    gid: u32,
    pid: i32,
}

impl Peer {
    const NOBODY: Self = Self {
        uid: u32::MAX,
        gid: u32::MAX,
        pid: 0,
    };
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let peer = stream.io().peer_cred();
        peer.map_or(Self::NOBODY, |peer| Self {
            uid: peer.uid(),
            gid: peer.gid(),
            pid: peer.pid().unwrap_or(0),
        })
    }
}

/// Who has which role, by the numbers that the names had at the start.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    users: Vec<(u32, Role)>,
    groups: Vec<(u32, Role)>,
}

impl Rights {
    /// From a configuration. Names that nobody has are left out, and said.
    #[must_use]
    pub fn of(control: &config::Control) -> Self {
        let mut rights = Self {
            users: vec![(0, Role::Admin), (Uid::effective().as_raw(), Role::Admin)],
            groups: Vec::new(),
        };
        for (role, who) in [
            (Role::Viewer, &control.viewers),
            (Role::Operator, &control.operators),
            (Role::Admin, &control.admins),
        ] {
            for who in who {
                rights.add(who, role);
            }
        }
        rights
    }

    fn add(&mut self, who: &Who, role: Role) {
        let found = match who {
            Who::User(name) => User::from_name(name.as_str())
                .ok()
                .flatten()
                .map(|user| self.users.push((user.uid.as_raw(), role))),
            Who::Group(name) => Group::from_name(name.as_str())
                .ok()
                .flatten()
                .map(|group| self.groups.push((group.gid.as_raw(), role))),
        };
        if found.is_none() {
            tracing::warn!("nobody is {who}, who is to be {}", role.name());
        }
    }

    /// The highest role of a process's user.
    fn role(&self, peer: Peer) -> Option<Role> {
        let user = self.users.iter().filter(|(uid, _)| *uid == peer.uid);
        let groups = match self.groups.is_empty() {
            true => Vec::new(),
            false => groups_of(peer),
        };
        let group = self.groups.iter().filter(|(gid, _)| groups.contains(gid));
        user.chain(group).map(|(_, role)| *role).max()
    }
}

/// The groups of a process's user; its own one where the user has no name.
fn groups_of(peer: Peer) -> Vec<u32> {
    let user = User::from_uid(Uid::from_raw(peer.uid)).ok().flatten();
    let name = user.and_then(|user| CString::new(user.name).ok());
    let groups = name.and_then(|name| getgrouplist(&name, Gid::from_raw(peer.gid)).ok());
    let mut groups: Vec<u32> = groups
        .unwrap_or_default()
        .iter()
        .map(|g| g.as_raw())
        .collect();
    groups.push(peer.gid);
    groups
}

/// The role that a request needs.
fn needed(method: &Method, path: &str) -> Role {
    match path {
        // Other people's packets.
        "/v1/events" | "/v1/capture" => Role::Operator,
        "/v1/audit" | "/v1/apply" | "/v1/confirm" | "/v1/rollback" => Role::Admin,
        _ if method == Method::GET || method == Method::HEAD => Role::Viewer,
        _ => Role::Operator,
    }
}

/// Lets a request through, or doesn't; notes what changes something.
pub(super) async fn check(
    State((rights, control)): State<(Rights, Handle)>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let needed = needed(&method, &path);
    let changes = method != Method::GET && method != Method::HEAD;
    if rights.role(peer).is_none_or(|role| role < needed) {
        if changes {
            note(
                &control,
                peer,
                format!("{method} {path}"),
                "refused: no right".to_owned(),
            );
        }
        return refusal(&rights, peer, needed);
    }
    if !changes {
        return next.run(request).await;
    }
    let (request, text) = match with_text(request).await {
        Ok(both) => both,
        Err(refused) => return refused,
    };
    let response = next.run(request).await;
    let outcome = match response.status() {
        status if status.is_success() => "done".to_owned(),
        status => format!("refused: {status}"),
    };
    note(&control, peer, format!("{method} {path} {text}"), outcome);
    response
}

fn refusal(rights: &Rights, peer: Peer, needed: Role) -> Response {
    let has = rights.role(peer).map_or("none", Role::name);
    let error = format!(
        "this needs the role {}, and user {} has {has}: an admin can name it in [control] {}s",
        needed.name(),
        peer.uid,
        needed.name()
    );
    let body = ErrorBody {
        error,
        details: Vec::new(),
    };
    (StatusCode::FORBIDDEN, Json(body)).into_response()
}

/// A request with the beginning of its text; of a list only its length.
async fn with_text(request: Request) -> Result<(Request, String), Response> {
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length <= LOOKED_AT => {
            let read = to_bytes(body, LOOKED_AT).await;
            let bytes = read.map_err(|_cut| StatusCode::BAD_REQUEST.into_response())?;
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

/// Nobody waits for it: what was done is on disk already.
fn note(control: &Handle, peer: Peer, what: String, outcome: String) {
    let user = User::from_uid(Uid::from_raw(peer.uid)).ok().flatten();
    let row = AuditRow {
        at: jiff::Timestamp::now(),
        uid: peer.uid,
        user: user.map(|user| user.name),
        pid: peer.pid,
        what,
        outcome,
    };
    let control = control.clone();
    tokio::spawn(async move {
        if let Err(error) = control.call(move |c| c.audit(&row)).await {
            tracing::warn!("a change is not in the audit trail: {error:#}");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gid: u32) -> Peer {
        Peer { uid, gid, pid: 1 }
    }

    #[test]
    fn the_highest_role_of_user_and_groups_counts() {
        let rights = Rights {
            users: vec![(0, Role::Admin), (4_000_001, Role::Viewer)],
            groups: vec![(4_000_100, Role::Operator)],
        };
        assert_eq!(rights.role(peer(0, 0)), Some(Role::Admin));
        assert_eq!(rights.role(peer(4_000_001, 4_000_001)), Some(Role::Viewer));
        assert_eq!(
            rights.role(peer(4_000_001, 4_000_100)),
            Some(Role::Operator)
        );
        assert_eq!(rights.role(peer(4_000_002, 4_000_002)), None);
        assert_eq!(rights.role(Peer::NOBODY), None);
    }

    #[test]
    fn what_is_read_what_is_changed_and_what_is_put_in_force_need_more_and_more() {
        for (method, path, role) in [
            (Method::GET, "/v1/status", Role::Viewer),
            (Method::GET, "/v1/block", Role::Viewer),
            (Method::GET, "/v1/capture", Role::Operator),
            (Method::POST, "/v1/block", Role::Operator),
            (Method::PUT, "/v1/limits", Role::Operator),
            (Method::POST, "/v1/apply", Role::Admin),
            (Method::POST, "/v1/none-such", Role::Operator),
        ] {
            assert_eq!(needed(&method, path), role, "{method} {path}");
        }
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    }
}
