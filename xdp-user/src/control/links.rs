//! The kernel's notice that an interface has come, gone or changed, so that one that is waited for is
//! protected at once.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// A listener; without a socket it says that nothing has changed, and every second looks anyway.
pub(super) struct Changes(Option<OwnedFd>);

impl Changes {
    /// Listens in the network namespace of the calling thread.
    pub(super) fn listen() -> Self {
        let open = || -> nix::Result<OwnedFd> {
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::NetlinkRoute,
            )?;
            let groups = libc::RTMGRP_LINK.cast_unsigned();
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
            Ok(socket)
        };
        let socket = open().inspect_err(|error| {
            tracing::debug!("interfaces that come are seen within a second: {error}");
        });
        Self(socket.ok())
    }

    /// Whether any interface has changed since the last call.
    pub(super) fn seen(&mut self) -> bool {
        let Some(socket) = &self.0 else { return false };
        let mut notice = [0; 4096];
        let mut seen = false;
        loop {
            match recv(socket.as_raw_fd(), &mut notice, MsgFlags::MSG_TRUNC) {
                Ok(_) => seen = true,
                // More than the socket holds: something has changed.
                Err(Errno::ENOBUFS) => seen = true,
                Err(Errno::EINTR) => {}
                Err(_nothing_more) => return seen,
            }
        }
    }
}
