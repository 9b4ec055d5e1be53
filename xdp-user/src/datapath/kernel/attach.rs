//! Attaching interfaces: native first, generic only as asked or as `auto` allows.

use std::io;

use aya::Ebpf;
use aya::programs::xdp::{XdpError, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode};
use nix::libc;
use xdp_common::abi::map;

use super::super::{Attached, DatapathError, Result};
use crate::domain::{AttachMode, IfName};

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
