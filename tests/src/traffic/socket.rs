//! Packet sockets (packet(7)) bound to one interface.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::libc;

use crate::netns::Namespace;

/// Every protocol, in network order as bind(2) wants it.
const ALL_PROTOCOLS: u16 = (libc::ETH_P_ALL as u16).to_be();

/// Opens a packet socket on an interface. One that doesn't `receive` costs nothing per packet
/// that arrives.
pub(crate) fn open(namespace: &Namespace, interface: &str, receive: bool) -> Result<OwnedFd> {
    let index = namespace.interface_index(interface)?;
    let protocol = if receive { ALL_PROTOCOLS } else { 0 };
    namespace
        .run(|| open_here(index, protocol))?
        .with_context(|| {
            format!(
                "cannot open a packet socket on {interface} in {}",
                namespace.name()
            )
        })
}

/// Has a socket that was opened without that receive from now on.
pub(crate) fn listen(socket: &OwnedFd, namespace: &Namespace, interface: &str) -> Result<()> {
    let index = namespace.interface_index(interface)?;
    bind(socket, index, ALL_PROTOCOLS).with_context(|| format!("cannot listen on {interface}"))
}

fn open_here(index: u32, protocol: u16) -> io::Result<OwnedFd> {
    // Protocol 0: no packet is taken before bind says from which interface.
    // SAFETY: no pointer is passed.
    let descriptor =
        unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened above and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    bind(&socket, index, protocol)?;
    Ok(socket)
}

fn bind(socket: &OwnedFd, index: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer is to a live `sockaddr_ll`, and the length is its size.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets an integer option of the packet level.
pub(crate) fn set_option(socket: &OwnedFd, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer is to a live `i32`, and the length is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as u32,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
