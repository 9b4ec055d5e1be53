//! The host around the program: what its packets are for, and what it lost itself.
//!
//! - [`HostSnapshot`]: which devices the packets of the protected interfaces reach; from that,
//!   where they may be for somebody else than this host's sockets, so that the program must not drop
//!   one because no socket waits for it, and whom the host must hear from to stay reachable;
//! - [`tcp_settings`]: the host's own answer to floods of connection requests;
//! - [`device`]: what an interface's driver can and has switched on;
//! - [`framing`]: what an interface's frames begin with;
//! - [`figures`]: what the link, the interface and the kernel lost before and behind the program.
//!
//! Links come over rtnetlink: a socket asks the namespace that this process is in, where `/sys`
//! shows the one that it was mounted in. Sysctls and counters come from `/proc`, from its parts that
//! show the namespace of the reading thread.

mod addresses;
mod aside;
pub mod device;
pub mod figures;
pub(crate) mod file;
pub(crate) mod filter;
pub mod framing;
mod generic;
mod link;
pub mod lost;
#[cfg(test)]
mod made_up;
mod netlink;
mod peers;
pub mod received;
mod related;
mod routes;
mod sessions;
mod snapshot;
mod tcp;
mod ways_out;

use std::path::Path;

pub use aside::{Aside, AsideReason};
pub use netlink::NetlinkError;
pub use peers::{PeerRole, ProtectedPeer, ProtectedPeers};
pub use snapshot::{HostSnapshot, Reach, ReachedDevice, Watched};
pub use tcp::{SynCookies, TcpError, TcpSettings};

const PROC: &str = "/proc";

/// The sysctls that decide whether SYN cookies can be used.
///
/// # Errors
/// When one can't be read.
pub fn tcp_settings() -> Result<TcpSettings, TcpError> {
    TcpSettings::read(Path::new(PROC))
}
