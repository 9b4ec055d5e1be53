//! Who may do what: by the user of the process at the other end of the socket, which the kernel tells
//! (unix(7), `SO_PEERCRED`), or by a token over TCP.

use std::ffi::CString;

use axum::http::Method;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::types::Role;
use crate::config::{self, Who};

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
    pub(super) fn role(&self, uid: u32, gid: u32) -> Option<Role> {
        let user = self.users.iter().filter(|(user, _)| *user == uid);
        let groups = match self.groups.is_empty() {
            true => Vec::new(),
            false => groups_of(uid, gid),
        };
        let group = self.groups.iter().filter(|(gid, _)| groups.contains(gid));
        user.chain(group).map(|(_, role)| *role).max()
    }
}

/// The groups of a process's user; its own one where the user has no name.
fn groups_of(uid: u32, gid: u32) -> Vec<u32> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = user.and_then(|user| CString::new(user.name).ok());
    let groups = name.and_then(|name| getgrouplist(&name, Gid::from_raw(gid)).ok());
    let mut groups: Vec<u32> = groups
        .unwrap_or_default()
        .iter()
        .map(|g| g.as_raw())
        .collect();
    groups.push(gid);
    groups
}

/// The role that a request needs.
pub(super) fn needed(method: &Method, path: &str) -> Role {
    match path {
        // Other people's packets.
        "/v1/events" | "/v1/capture" => Role::Operator,
        "/v1/audit" | "/v1/apply" | "/v1/confirm" | "/v1/rollback" | "/v1/tokens"
        | "/v1/tokens/revoke" => Role::Admin,
        _ if method == Method::GET || method == Method::HEAD => Role::Viewer,
        _ => Role::Operator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_role_of_user_and_groups_counts() {
        let rights = Rights {
            users: vec![(0, Role::Admin), (4_000_001, Role::Viewer)],
            groups: vec![(4_000_100, Role::Operator)],
        };
        assert_eq!(rights.role(0, 0), Some(Role::Admin));
        assert_eq!(rights.role(4_000_001, 4_000_001), Some(Role::Viewer));
        assert_eq!(rights.role(4_000_001, 4_000_100), Some(Role::Operator));
        assert_eq!(rights.role(4_000_002, 4_000_002), None);
        assert_eq!(rights.role(u32::MAX, u32::MAX), None);
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
            (Method::GET, "/v1/tokens", Role::Admin),
            (Method::POST, "/v1/tokens", Role::Admin),
            (Method::POST, "/v1/none-such", Role::Operator),
        ] {
            assert_eq!(needed(&method, path), role, "{method} {path}");
        }
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    }
}
