//! bpf(2), for what the loader doesn't offer of it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::libc;

/// # Safety
/// The attribute is this command's, of its whole size, and what its addresses name is there.
pub(super) unsafe fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<RawFd> {
    // SAFETY: the caller's promise; the attribute outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<A>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

/// A descriptor as attributes have it.
pub(super) fn descriptor(fd: &impl AsRawFd) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}
