//! Who is logged in over secure shell: the peers of established connections to port 22.
//!
//! The kernel is asked for these sockets alone (sock_diag(7)), which takes it well under a
//! millisecond among ten thousand others. A kernel without that is read from `/proc/net/tcp`, which
//! spells out every socket.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use nix::libc;

use super::addresses::address;
use super::file;
use super::netlink::{Asked, NetlinkError, Socket};

/// The port that secure shells are expected at. A daemon that listens elsewhere isn't found: its
/// sockets belong to another user's process, which this one may not look into.
const SSH: u16 = 22;
/// `TCP_ESTABLISHED` (include/net/tcp_states.h), as a number and as `/proc/net/tcp` writes it.
const ESTABLISHED: u32 = 1;
const ESTABLISHED_TEXT: &str = "01";
/// linux/sock_diag.h
const BY_FAMILY: u16 = 20;
/// `struct inet_diag_req_v2` (linux/inet_diag.h): the states asked for, and the local port.
const REQUEST: usize = 56;
const STATES_AT: usize = 4;
const PORT_AT: usize = 8;
/// `struct inet_diag_msg`: where the peer's address is.
const PEER_AT: usize = 24;
/// Of `/proc/net/tcp`, which a busy host has many lines of.
const MOST_BYTES: u64 = 64 << 20;

/// The peers, each once.
pub(super) fn peers(proc: &Path) -> Result<BTreeSet<IpAddr>, String> {
    by_diagnostics().or_else(|asked| {
        by_proc(proc).map_err(|read| format!("sock_diag: {asked}; /proc/net/tcp: {read}"))
    })
}

/// Asks the kernel for the sockets.
pub(super) fn by_diagnostics() -> Result<BTreeSet<IpAddr>, NetlinkError> {
    let mut socket = Socket::diagnostics()?;
    let mut found = BTreeSet::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let asked = socket.ask(BY_FAMILY, Asked::All, &request(family as u8), |message| {
            found.extend(peer(message));
        });
        match asked {
            // A table that changes meanwhile: what was there all along is told.
            Ok(()) | Err(NetlinkError::Unsteady) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn request(family: u8) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[0] = family;
    request[1] = libc::IPPROTO_TCP as u8;
    request[STATES_AT..STATES_AT + 4].copy_from_slice(&(1_u32 << ESTABLISHED).to_ne_bytes());
    request[PORT_AT..PORT_AT + 2].copy_from_slice(&SSH.to_be_bytes());
    request
}

fn peer(message: &[u8]) -> Option<IpAddr> {
    let length = match i32::from(*message.first()?) {
        libc::AF_INET => 4,
        libc::AF_INET6 => 16,
        _other => return None,
    };
    address(message.get(PEER_AT..PEER_AT + length)?)
}

fn by_proc(proc: &Path) -> std::io::Result<BTreeSet<IpAddr>> {
    let mut found = BTreeSet::new();
    for name in ["tcp", "tcp6"] {
        // Not /proc/net, which shows the namespace of the process's first thread.
        let path = proc.join("thread-self/net").join(name);
        let text = file::if_there(file::read(&path, MOST_BYTES))?;
        found.extend(text.iter().flat_map(|text| listed(text)));
    }
    Ok(found)
}

fn listed(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
        let (_, port) = local.split_once(':')?;
        let is_session = u16::from_str_radix(port, 16).ok()? == SSH && state == ESTABLISHED_TEXT;
        let (peer, _) = remote.split_once(':')?;
        is_session.then(|| in_hexadecimal(peer))?
    })
}

/// An address as `/proc/net/tcp` has it: words of 32 bits in the machine's order.
fn in_hexadecimal(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    address(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_either_family_is_read() {
        let mut message = vec![0; 72];
        message[0] = libc::AF_INET as u8;
        message[PEER_AT..PEER_AT + 4].copy_from_slice(&[192, 0, 2, 1]);
        assert_eq!(peer(&message).unwrap().to_string(), "192.0.2.1");
        message[0] = libc::AF_INET6 as u8;
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 7];
        message[PEER_AT..PEER_AT + 16].copy_from_slice(&mapped);
        assert_eq!(peer(&message).unwrap().to_string(), "192.0.2.7");
        assert_eq!((peer(&message[..30]), peer(&[])), (None, None));
        message[0] = libc::AF_UNIX as u8;
        assert_eq!(peer(&message), None);
    }

    #[test]
    fn the_question_is_for_established_connections_to_one_port() {
        let request = request(libc::AF_INET6 as u8);
        assert_eq!(request[..10], [10, 6, 0, 0, 2, 0, 0, 0, 0, 22]);
        assert!(request[10..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_kernel_without_sock_diag_is_read_from_proc() {
        let proc = tempfile::tempdir().unwrap();
        let net = proc.path().join("thread-self/net");
        std::fs::create_dir_all(&net).unwrap();
        let text = "  sl  local_address rem_address   st\n\
                    0: 0100007F:0016 0200000A:D431 01 x\n\
                    1: 0100007F:0016 0300000A:D431 06 x\n\
                    2: 0100007F:01BB 0400000A:D431 01 x\n\
                    3: nonsense\n";
        std::fs::write(net.join("tcp"), text).unwrap();
        let peers: Vec<String> = by_proc(proc.path())
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(peers, ["10.0.0.2"]);
        let mapped = in_hexadecimal("0000000000000000FFFF00000200000A");
        assert_eq!(mapped, Some("10.0.0.2".parse().unwrap()));
    }
}
