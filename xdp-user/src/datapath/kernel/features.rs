//! What the program needs of the kernel, asked for by name before anything is loaded: the kernel's
//! own answer to a program with an unknown flag is `EINVAL`, whatever the flag, and before 5.11 the
//! maps fail first, for want of locked memory.

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};

use super::super::{DatapathError, Result};

/// The newest of what the program needs: everything else is older (64-bit compare-and-swap 5.12,
/// batched map reads 5.6, ring buffer and boot clock 5.8).
const NEWEST: Feature = Feature {
    name: "XDP over frames in several buffers (xdp.frags, bpf_xdp_get_buff_len)",
    since: "5.18",
    helper: BpfHelper::BPF_FUNC_xdp_get_buff_len,
};

struct Feature {
    name: &'static str,
    since: &'static str,
    /// A helper for XDP that came with it.
    helper: BpfHelper,
}

/// Refuses a kernel without a needed feature. Without the right to ask it says nothing: loading
/// tells that better.
pub(super) fn require() -> Result<()> {
    match support() {
        Support::Lacks(feature, since) => Err(DatapathError::Unsupported {
            running: running(),
            feature,
            since,
        }),
        Support::Complete | Support::Unknown => Ok(()),
    }
}

/// Whether the kernel has what the datapath needs.
pub(crate) enum Support {
    /// Everything is there.
    Complete,
    /// This feature isn't, since which release it is.
    Lacks(&'static str, &'static str),
    /// The kernel didn't let this process ask.
    Unknown,
}

/// Asks for what the datapath needs.
pub(crate) fn support() -> Support {
    match is_helper_supported(ProgramType::Xdp, NEWEST.helper) {
        Ok(true) => Support::Complete,
        Ok(false) => Support::Lacks(NEWEST.name, NEWEST.since),
        Err(_) => Support::Unknown,
    }
}

/// The name of the program with this number; `None` without the right to ask (CAP_SYS_ADMIN) or
/// without such a program.
pub(crate) fn program_name(id: u32) -> Option<String> {
    let programs = aya::programs::loaded_programs();
    let found = programs
        .map_while(|program| program.ok())
        .find(|program| program.id() == id)?;
    Some(found.name_as_str()?.to_owned())
}

fn running() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_refused| "of unknown release".into(),
        |system| format!("Linux {}", system.release().display()),
    )
}
