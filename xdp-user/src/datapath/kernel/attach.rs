//! Attaching interfaces: native first, generic only as asked or as `auto` allows.

use std::io;
use std::os::fd::AsFd;

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::xdp::{XdpError, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode};
use nix::libc;
use xdp_common::abi::map;

use super::super::{Attached, DatapathError, Result};
use super::features;
use super::link::Link;
use super::pins::Pins;
use crate::domain::{AttachMode, IfName};
use crate::host::device;

/// The program in its object.
pub(super) fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let missing = || DatapathError::Kernel {
        what: "find the program in its object".into(),
        source: anyhow::anyhow!("the object holds no XDP program named {}", map::PROGRAM),
    };
    ebpf.program_mut(map::PROGRAM)
        .ok_or_else(missing)?
        .try_into()
        .map_err(|_other| missing())
}

pub(super) fn attach(
    program: &mut Xdp,
    interface: &IfName,
    mode: AttachMode,
) -> Result<(XdpLinkId, Attached)> {
    let index = nix::net::if_::if_nametoindex(interface.as_str()).map_err(|_missing| {
        DatapathError::NoInterface {
            interface: interface.clone(),
        }
    })?;
    let native = match mode {
        AttachMode::Auto | AttachMode::Native => program.attach_to_if_index(index, XdpMode::Driver),
        AttachMode::Generic => return generic(program, interface, index),
    };
    match native {
        Ok(link) => Ok((
            link,
            Attached {
                index,
                native: true,
            },
        )),
        Err(error) => {
            let cause = refusal(error);
            match (mode, cause.raw_os_error()) {
                (
                    _,
                    Some(libc::EBUSY | libc::EEXIST | libc::EPERM | libc::EACCES | libc::ENODEV),
                ) => Err(explain(interface, cause)),
                (AttachMode::Auto, _) => {
                    tracing::warn!(
                        %interface, %cause,
                        "no native XDP here: attaching in generic mode, which is several times slower"
                    );
                    generic(program, interface, index)
                }
                (AttachMode::Native | AttachMode::Generic, _) => Err(DatapathError::NoNative {
                    interface: interface.clone(),
                    source: cause,
                }),
            }
        }
    }
}

/// As [`attach`], and pinned. A link that is pinned already gets this program in the place of its own,
/// with one step; one to an interface that has gone is left behind.
pub(super) fn pinned(
    program: &mut Xdp,
    interface: &IfName,
    mode: AttachMode,
    pins: &Pins,
) -> Result<(Link, Attached)> {
    let path = pins.link(interface);
    let refused = |error: io::Error| DatapathError::Kernel {
        what: format!(
            "take over the link to {interface}, pinned at {}",
            path.display()
        ),
        source: error.into(),
    };
    let index = nix::net::if_::if_nametoindex(interface.as_str()).ok();
    if let Some(link) = Link::open(&path).map_err(refused)? {
        let between = link.between().map_err(refused)?;
        let native = device::look(interface).ok().flatten();
        let native = native.and_then(|device| device.program_native);
        match (index, native) {
            (Some(index), Some(native)) if between.interface == index && fits(mode, native) => {
                let own = program.fd().map_err(|error| DatapathError::Kernel {
                    what: "use the program".into(),
                    source: error.into(),
                })?;
                link.update(own.as_fd()).map_err(refused)?;
                tracing::info!(%interface, "took over what was attached, without a gap");
                return Ok((link, Attached { index, native }));
            }
            (Some(index), Some(_)) if between.interface == index => tracing::warn!(
                %interface,
                "attached again for another mode: packets pass unfiltered for a moment"
            ),
            _ => {}
        }
        drop(link);
        pins.forget_link(interface).map_err(refused)?;
    }
    let (id, attached) = attach(program, interface, mode)?;
    let own = program
        .take_link(id)
        .map_err(|error| DatapathError::Kernel {
            what: format!("pin the link to {interface}"),
            source: error.into(),
        })?;
    let own: FdLink = own
        .try_into()
        .map_err(|error: LinkError| DatapathError::Kernel {
            what: format!("pin the link to {interface}"),
            source: error.into(),
        })?;
    let own = own.pin(&path).map_err(|error| DatapathError::Kernel {
        what: format!("pin the link to {interface} at {}", path.display()),
        source: error.into(),
    })?;
    let gone = || refused(io::Error::other("the pin has gone again"));
    let link = Link::open(&path).map_err(refused)?.ok_or_else(gone)?;
    drop(own);
    Ok((link, attached))
}

/// Whether a link in this mode is what is asked for.
const fn fits(mode: AttachMode, native: bool) -> bool {
    match mode {
        AttachMode::Auto => true,
        AttachMode::Native => native,
        AttachMode::Generic => !native,
    }
}

fn generic(program: &mut Xdp, interface: &IfName, index: u32) -> Result<(XdpLinkId, Attached)> {
    let link = program
        .attach_to_if_index(index, XdpMode::Skb)
        .map_err(|error| explain(interface, refusal(error)))?;
    Ok((
        link,
        Attached {
            index,
            native: false,
        },
    ))
}

fn explain(interface: &IfName, cause: io::Error) -> DatapathError {
    match cause.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => DatapathError::Occupied {
            interface: interface.clone(),
            program: occupant(interface),
        },
        Some(libc::ENODEV) => DatapathError::NoInterface {
            interface: interface.clone(),
        },
        Some(libc::EPERM | libc::EACCES) => DatapathError::Privilege {
            what: "attach to an interface",
            source: cause,
        },
        _ => DatapathError::Kernel {
            what: format!("attach to {interface}"),
            source: cause.into(),
        },
    }
}

/// The program that is on an interface, in words.
fn occupant(interface: &IfName) -> String {
    let device = device::look(interface).ok().flatten();
    match device.and_then(|device| device.program) {
        Some(id) => match features::program_name(id) {
            Some(name) => format!("{name}, number {id} of `bpftool prog`"),
            None => format!("number {id} of `bpftool prog`"),
        },
        None => format!("see `ip link show {interface}`"),
    }
}

/// The kernel's own error, by whichever way the loader attached.
fn refusal(error: ProgramError) -> io::Error {
    let code = if let ProgramError::SyscallError(refused) = &error {
        refused.io_error.raw_os_error()
    } else if let ProgramError::XdpError(XdpError::NetlinkError(refused)) = &error {
        refused.raw_os_error()
    } else {
        None
    };
    code.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}
