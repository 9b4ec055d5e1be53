//! Faults of the host that one process meets: system calls that the kernel refuses, as it does for a
//! program that the verifier doesn't take, for maps without memory, or for a disk that doesn't read.
//! Nobody else on the machine notices.

use std::collections::BTreeMap;
use std::io;

use anyhow::{Context, Result};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Commands of bpf(2), by their numbers (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Making a map.
    MapCreate = 0,
    /// Writing to a map.
    MapUpdate = 2,
    /// Loading a program, which asks the verifier.
    ProgramLoad = 5,
    /// Pinning.
    Pin = 6,
    /// Opening what is pinned.
    Get = 7,
    /// Attaching.
    LinkCreate = 28,
    /// Putting another program in a link.
    LinkUpdate = 29,
}

/// System calls that are refused.
#[derive(Clone, Debug)]
pub struct Fault(BpfProgram);

impl Fault {
    /// A command of bpf(2) is refused with this error.
    ///
    /// # Errors
    /// When no filter can be built for this machine.
    pub fn bpf(command: Command, error: i32) -> Result<Self> {
        let is_it =
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, command as u64)?;
        Self::of(libc::SYS_bpf, is_it, error)
    }

    /// Reads from files at an offset or behind it fail, as on a disk that is broken there.
    ///
    /// # Errors
    /// When no filter can be built for this machine.
    pub fn reads_from(offset: u64) -> Result<Self> {
        let behind = SeccompCondition::new(3, SeccompCmpArgLen::Qword, SeccompCmpOp::Ge, offset)?;
        Self::of(libc::SYS_pread64, behind, libc::EIO)
    }

    fn of(call: i64, condition: SeccompCondition, error: i32) -> Result<Self> {
        let rule = SeccompRule::new(vec![condition])?;
        let filter = SeccompFilter::new(
            BTreeMap::from([(call, vec![rule])]),
            SeccompAction::Allow,
            SeccompAction::Errno(error.cast_unsigned()),
            std::env::consts::ARCH.try_into()?,
        )?;
        let program: BpfProgram = filter.try_into().context("building a filter of calls")?;
        Ok(Self(program))
    }

    /// From now on the calling thread meets it, and so does what it starts.
    ///
    /// # Errors
    /// When the kernel has no seccomp.
    pub fn apply(&self) -> io::Result<()> {
        // The library's own error would be made with an allocation, which a forked child must not do.
        seccompiler::apply_filter(&self.0).map_err(|_refused| io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    #[test]
    fn reads_fail_from_the_offset_on_and_in_this_thread_alone() {
        let fault = Fault::reads_from(4096).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 8192]).unwrap();
        let read = |at| {
            let file = File::open(file.path()).unwrap();
            file.read_at(&mut [0; 16], at)
        };
        std::thread::scope(|scope| {
            let work = || {
                fault.apply().unwrap();
                assert_eq!(read(4095).unwrap(), 16);
                let error = read(4096).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EIO));
            };
            scope.spawn(work).join().unwrap();
        });
        assert_eq!(read(4096).unwrap(), 16);
    }
}
