//! Attaching interfaces: native first, generic only as asked or as `auto` allows.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::programs::Xdp;
use nix::libc;
use xdp_common::abi::map;

use super::super::{Attached, DatapathError, Result};
use super::features;
use super::link::Link;
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

/// Makes a link, which ends with its descriptor unless it is pinned.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    interface: &IfName,
    index: u32,
    mode: AttachMode,
) -> Result<(Link, Attached)> {
    let made = |native| {
        let link = Link::create(program.as_fd(), index, native)?;
        Ok((link, Attached { index, native }))
    };
    let generic = || made(false).map_err(|cause| explain(interface, cause));
    let native = match mode {
        AttachMode::Auto | AttachMode::Native => made(true),
        AttachMode::Generic => return generic(),
    };
    let cause = match native {
        Ok(made) => return Ok(made),
        Err(cause) => cause,
    };
    match (mode, cause.raw_os_error()) {
        (_, Some(libc::EBUSY | libc::EEXIST | libc::EPERM | libc::EACCES | libc::ENODEV)) => {
            Err(explain(interface, cause))
        }
        (AttachMode::Auto, _) => {
            let made = generic()?;
            tracing::warn!(
                %interface, %cause,
                "no native XDP here: attached in generic mode, which is several times slower"
            );
            Ok(made)
        }
        (AttachMode::Native | AttachMode::Generic, _) => Err(DatapathError::NoNative {
            interface: interface.clone(),
            source: cause,
        }),
    }
}

/// Whether a link in this mode is what is asked for.
pub(super) const fn fits(mode: AttachMode, native: bool) -> bool {
    match mode {
        AttachMode::Auto => true,
        AttachMode::Native => native,
        AttachMode::Generic => !native,
    }
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
