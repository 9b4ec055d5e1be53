//! A tun device: an interface whose frames begin with their IP header, fed by a descriptor.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::libc;

use super::Namespace;

nix::ioctl_write_int!(set_interface, b'T', 202);

/// A tun device in a namespace; it goes when it is dropped.
#[derive(Debug)]
pub struct Tun {
    file: File,
}

impl Tun {
    /// Makes one, up, with an IPv4 address.
    ///
    /// # Errors
    /// When the kernel has no tun devices or refuses the name.
    pub fn open(namespace: &Namespace, name: &str, address: &str) -> Result<Self> {
        let wanted = name.to_owned();
        let file = namespace.run(move || make(&wanted))??;
        namespace.set_up(name)?;
        namespace.add_address(name, address)?;
        Ok(Self { file })
    }

    /// Has the interface receive a packet. When it returns, the packet is with its receiver or dropped.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn send(&mut self, packet: &[u8]) -> Result<()> {
        let written = self.file.write(packet).context("writing to a tun device")?;
        anyhow::ensure!(written == packet.len(), "{written} of {}", packet.len());
        Ok(())
    }
}

fn make(name: &str) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .context("opening /dev/net/tun")?;
    // `struct ifreq` (linux/if.h): the name, then the flags.
    let mut request = [0_u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    let pointer = request.as_ptr() as libc::c_ulong;
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, for which the buffer has room.
    unsafe { set_interface(file.as_raw_fd(), pointer) }
        .with_context(|| format!("making the tun device {name}"))?;
    Ok(file)
}
