//! Capabilities (capabilities(7)): what is kept of root's powers, and why.

use anyhow::{Context, Result};
use caps::{CapSet, Capability, CapsHashSet};

/// What the daemon keeps. That it needs each of them is shown by a test that leaves it out
/// (`tests/tests/privileges.rs`).
pub const KEPT: [Capability; 3] = [
    // Load a program for XDP (kernel/bpf/syscall.c, `is_net_admin_prog_type`), on a reload or for an
    // interface that is attached later.
    Capability::CAP_NET_ADMIN,
    // Create, read and write maps, and load a program (`bpf_capable`).
    Capability::CAP_BPF,
    // Add to a pointer what differs from path to path: the verifier takes it only from those who need
    // no protection from speculation (kernel/bpf/verifier.c, `bypass_spec_v1`).
    Capability::CAP_PERFMON,
];

/// Those of [`KEPT`] that this thread lacks.
///
/// # Errors
/// When the kernel doesn't say what it holds.
pub fn missing() -> Result<Vec<Capability>, caps::errors::CapsError> {
    let held = caps::read(None, CapSet::Effective)?;
    let lacks = |needed: &Capability| !held.contains(needed) && !implied(*needed, &held);
    Ok(KEPT.into_iter().filter(lacks).collect())
}

/// CAP_SYS_ADMIN still stands for the two capabilities that were split off it
/// (include/linux/capability.h, `bpf_capable` and `perfmon_capable`).
fn implied(needed: Capability, held: &CapsHashSet) -> bool {
    needed != Capability::CAP_NET_ADMIN && held.contains(&Capability::CAP_SYS_ADMIN)
}

/// Gives up every capability but [`KEPT`] and the ways to get one back: the bounding set, the
/// ambient and the inheritable one, and `execve` (no_new_privs).
///
/// Securebits would add nothing: with an empty bounding set and no_new_privs a process of root's that
/// starts a program gets no capability either (capabilities(7), "Transformation of capabilities
/// during execve()").
pub(super) fn give_up() -> Result<()> {
    for capability in caps::all() {
        if let Err(error) = caps::drop(None, CapSet::Bounding, capability) {
            // A service manager that gave only what is needed gave no CAP_SETPCAP either.
            tracing::debug!(%capability, "still in the bounding set: {error}");
        }
    }
    caps::clear(None, CapSet::Ambient).context("could not clear the ambient capabilities")?;
    nix::sys::prctl::set_no_new_privs().context("could not give up new privileges")?;
    let held = caps::read(None, CapSet::Permitted)?;
    let kept = kept_of(&held);
    for (set, capabilities) in [
        (CapSet::Effective, &kept),
        (CapSet::Permitted, &kept),
        (CapSet::Inheritable, &CapsHashSet::new()),
    ] {
        caps::set(None, set, capabilities).context("could not give up capabilities")?;
    }
    Ok(())
}

fn kept_of(held: &CapsHashSet) -> CapsHashSet {
    let mut kept: CapsHashSet = KEPT
        .into_iter()
        .filter(|capability| held.contains(capability))
        .collect();
    if kept.len() < KEPT.len() && held.contains(&Capability::CAP_SYS_ADMIN) {
        // It stands for the two that were split off it, where they weren't given.
        kept.insert(Capability::CAP_SYS_ADMIN);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_bpf_but_not_for_net_admin() {
        let held = CapsHashSet::from_iter([Capability::CAP_SYS_ADMIN]);
        assert!(implied(Capability::CAP_BPF, &held));
        assert!(implied(Capability::CAP_PERFMON, &held));
        assert!(!implied(Capability::CAP_NET_ADMIN, &held));
    }

    #[test]
    fn of_all_powers_three_are_kept_and_sys_admin_only_in_their_place() {
        assert_eq!(kept_of(&caps::all()), CapsHashSet::from(KEPT));
        let old = [Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN];
        let mut held = CapsHashSet::from(old);
        assert_eq!(kept_of(&held), held);
        held.insert(Capability::CAP_CHOWN);
        assert_eq!(kept_of(&held), CapsHashSet::from(old));
    }
}
