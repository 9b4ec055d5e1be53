//! Offloads of an interface, through the ioctl of ethtool(8).

use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::libc;

use super::Namespace;

/// `ETHTOOL_STSO` of linux/ethtool.h.
const SET_TSO: u32 = 0x1f;
/// `ETHTOOL_SGRO` of linux/ethtool.h.
const SET_GRO: u32 = 0x2c;

/// `ETHTOOL_SCHANNELS` of linux/ethtool.h.
const SET_CHANNELS: u32 = 0x3d;

/// `struct ethtool_channels` of linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    most: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

impl Namespace {
    /// Switches generic receive offload of an interface on. On veth its queues then have NAPI also
    /// without an XDP program, which frames that the peer's program sends back (XDP_TX) need
    /// (`veth_xdp_xmit`, drivers/net/veth.c).
    ///
    /// # Errors
    /// When there is no such interface or the kernel refuses.
    pub fn gro_on(&self, interface: &str) -> Result<()> {
        self.run(|| set(interface, SET_GRO, 1))?
            .with_context(|| format!("cannot switch GRO of {interface} on in {}", self.name()))
    }

    /// Has an interface with separate queues use so many for receiving and for sending, as
    /// `ethtool -L` does.
    ///
    /// # Errors
    /// When there is no such interface, or it has fewer.
    pub fn use_queues(&self, interface: &str, rx: u32, tx: u32) -> Result<()> {
        let mut channels = Channels {
            command: SET_CHANNELS,
            rx,
            tx,
            ..Channels::default()
        };
        self.run(|| request(interface, (&raw mut channels).cast()))?
            .with_context(|| format!("cannot set the queues of {interface} in {}", self.name()))
    }

    /// Switches TCP segmentation offload of an interface off. What a veth end sends then goes
    /// through its peer's NAPI, if the peer has one, and not through the sender's softirq
    /// (`veth_skb_is_eligible_for_gro`); attaching a program to the peer does the same.
    ///
    /// # Errors
    /// When there is no such interface or the kernel refuses.
    pub fn tso_off(&self, interface: &str) -> Result<()> {
        self.run(|| set(interface, SET_TSO, 0))?
            .with_context(|| format!("cannot switch TSO of {interface} off in {}", self.name()))
    }
}

fn set(interface: &str, command: u32, data: u32) -> io::Result<()> {
    let mut value = Value { command, data };
    request(interface, (&raw mut value).cast())
}

/// `value` is one of the kinds that ethtool's commands read and that begin with the command.
fn request(interface: &str, value: *mut libc::c_char) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    // SAFETY: all zeros is a valid `ifreq`: an empty name and no data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .zip(interface.bytes().take(room))
    {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = value;
    // SAFETY: the request is a live `ifreq` that ends its name with 0 and points to a live value of
    // the kind that the command reads.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::link::{End, veth_pair};
    use crate::netns::offload::Priority;
    use crate::require_kernel;

    #[test]
    fn a_veth_end_with_gro_has_napi_threads() {
        require_kernel!("a_veth_end_with_gro_has_napi_threads");
        let namespace = Namespace::new("gro").unwrap();
        let ends = (End::new(&namespace, "gro0"), End::new(&namespace, "gro1"));
        veth_pair(ends.0, ends.1, 1500).unwrap();
        namespace.gro_on("gro0").unwrap();
        namespace.tso_off("gro1").unwrap();
        let moved = namespace.process_on_cpu("gro0", 0, Priority::Normal);
        assert!(moved.is_ok(), "{moved:?}");
        assert!(namespace.gro_on("absent0").is_err());
    }
}
