//! A link between the program and an interface, by its descriptor: what the loader doesn't offer of
//! `bpf_link` (kernel 5.9; include/uapi/linux/bpf.h).

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;

use super::super::syscall::{bpf, descriptor};

const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_TYPE_XDP: u32 = 6;
/// Kernel 6.6.
const BPF_LINK_TYPE_TCX: u32 = 11;
/// The attach types of XDP programs and of tcx programs that see what leaves.
const BPF_XDP: u32 = 37;
const BPF_TCX_EGRESS: u32 = 47;
/// Before what it is relative to: with nothing named, before all others.
const BPF_F_BEFORE: u32 = 1 << 3;
/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE` (include/uapi/linux/if_link.h).
const GENERIC: u32 = 1 << 1;
const NATIVE: u32 = 1 << 2;

/// An attached program; the attachment ends with the last descriptor, or stays while it is pinned.
pub(super) struct Link(OwnedFd);

/// What a link is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Between {
    /// Number of the program.
    pub(super) program: u32,
    /// Index of the interface; 0 when that has gone.
    pub(super) interface: u32,
}

#[repr(C)]
struct ObjectAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
struct CreateAttr {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
}

#[repr(C)]
struct CreateTcxAttr {
    create: CreateAttr,
    relative: u32,
    padding: u32,
    revision: u64,
}

#[repr(C)]
struct UpdateAttr {
    link: u32,
    program: u32,
    flags: u32,
    old: u32,
}

/// `struct bpf_link_info` of an XDP link or a tcx link, which has the interface at the same place.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    interface: u32,
    rest: [u32; 15],
}

impl Link {
    /// Attaches a program to an interface, in the driver or in the network stack. The kernel never
    /// replaces what is attached already.
    pub(super) fn create(
        program: BorrowedFd<'_>,
        interface: u32,
        native: bool,
    ) -> io::Result<Self> {
        let mut attr = CreateAttr {
            program: descriptor(&program)?,
            interface,
            kind: BPF_XDP,
            flags: if native { NATIVE } else { GENERIC },
        };
        // SAFETY: a descriptor and numbers, no addresses.
        let fd = unsafe { bpf(BPF_LINK_CREATE, &mut attr) }?;
        // SAFETY: a descriptor that the kernel has just made for this call alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Attaches a program to what leaves by an interface, as the first of those that are there.
    pub(super) fn create_tcx(program: BorrowedFd<'_>, interface: u32) -> io::Result<Self> {
        let mut attr = CreateTcxAttr {
            create: CreateAttr {
                program: descriptor(&program)?,
                interface,
                kind: BPF_TCX_EGRESS,
                flags: BPF_F_BEFORE,
            },
            relative: 0,
            padding: 0,
            revision: 0,
        };
        // SAFETY: a descriptor and numbers, no addresses.
        let fd = unsafe { bpf(BPF_LINK_CREATE, &mut attr) }?;
        // SAFETY: a descriptor that the kernel has just made for this call alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The link that is pinned there; nothing where no file is.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let name = path_of(path)?;
        let mut attr = ObjectAttr {
            path: name.as_ptr() as u64,
            fd: 0,
            flags: 0,
        };
        // SAFETY: a path that ends with a zero.
        match unsafe { bpf(BPF_OBJ_GET, &mut attr) } {
            // SAFETY: a descriptor that the kernel has just made for this call alone.
            Ok(fd) => Ok(Some(Self(unsafe { OwnedFd::from_raw_fd(fd) }))),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Pins it, so that the attachment outlives this process.
    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        let name = path_of(path)?;
        let mut attr = ObjectAttr {
            path: name.as_ptr() as u64,
            fd: descriptor(&self.0)?,
            flags: 0,
        };
        // SAFETY: a path that ends with a zero.
        unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(|_zero| ())
    }

    pub(super) fn between(&self) -> io::Result<Between> {
        let mut info = Info::default();
        let mut attr = InfoAttr {
            fd: descriptor(&self.0)?,
            length: size_of::<Info>() as u32,
            info: (&raw mut info) as u64,
        };
        // SAFETY: a structure of the stated length.
        unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
        if info.kind != BPF_LINK_TYPE_XDP && info.kind != BPF_LINK_TYPE_TCX {
            return Err(io::Error::other("the pinned file is no XDP or tcx link"));
        }
        Ok(Between {
            program: info.program,
            interface: info.interface,
        })
    }

    /// Puts another program in the place of the one before, with one step: each packet meets the one
    /// or the other.
    pub(super) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let mut attr = UpdateAttr {
            link: descriptor(&self.0)?,
            program: descriptor(&program)?,
            flags: 0,
            old: 0,
        };
        // SAFETY: descriptors, no addresses.
        unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(|_zero| ())
    }
}

fn path_of(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
