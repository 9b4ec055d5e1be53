//! The host around the program: what its packets are for, and what it lost itself.
//!
//! - [`asides`]: where packets may be for somebody else than this host's sockets, so that the
//!   program must not drop one because no socket waits for it;
//! - [`tcp_settings`]: the host's own answer to floods of connection requests;
//! - [`lifeline`]: whom it must hear from to stay reachable;
//! - [`device`]: what an interface's driver can and has switched on;
//! - [`framing`]: what an interface's frames begin with;
//! - [`figures`]: what the link, the interface and the kernel lost before and behind the program.
//!
//! Links come over rtnetlink: a socket asks the namespace that this process is in, where `/sys`
//! shows the one that it was mounted in. Sysctls and counters come from `/proc`, from its parts that
//! show the namespace of the reading thread.

mod aside;
pub mod device;
pub mod figures;
pub(crate) mod file;
pub mod framing;
mod generic;
pub mod lifeline;
mod link;
pub mod lost;
mod netlink;
pub mod received;
mod tcp;

use std::path::Path;

pub use aside::{Aside, AsideReason};
pub use netlink::NetlinkError;
pub use tcp::{SynCookies, TcpError, TcpSettings};

use crate::domain::IfName;

const PROC: &str = "/proc";

/// Where the program must stand aside on this host now: at most one reason for each interface and
/// family, in the order of `interfaces`.
///
/// Nothing is trusted to be harmless unread: what can't be found out is a reason, too.
pub fn asides(interfaces: &[IfName]) -> Vec<Aside> {
    let links = link::Links::read();
    aside::find(interfaces, &links, link::further_addresses, Path::new(PROC))
}

/// The largest packet that all of these interfaces take, VLAN devices on them included; nothing when
/// none of them is there.
pub fn smallest_mtu(interfaces: &[IfName]) -> Option<u32> {
    let links = link::Links::read().ok()?;
    let protected = interfaces
        .iter()
        .filter_map(|name| links.by_name(name.as_str()));
    let mtus = protected.flat_map(|link| links.on(link.index).chain([link]));
    mtus.map(|link| link.mtu).filter(|mtu| *mtu > 0).min()
}

/// The sysctls that decide whether SYN cookies can be used.
///
/// # Errors
/// When one can't be read.
pub fn tcp_settings() -> Result<TcpSettings, TcpError> {
    TcpSettings::read(Path::new(PROC))
}
