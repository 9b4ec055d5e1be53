//! What this process holds now, as the kernel has it.

use caps::Capability;
use nix::unistd::{Uid, User};

use super::{FILES, Files};
use crate::api::types::PrivilegeStatus;

/// What the calling thread may do.
pub fn current() -> PrivilegeStatus {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let uid = Uid::effective();
    let user = User::from_uid(uid).ok().flatten();
    let (files, why) = match FILES.get() {
        Some(Files::Restricted) => ("restricted", None),
        Some(Files::Partly(why)) => ("partly restricted", Some(why.clone())),
        Some(Files::Open(why)) => ("open", Some(why.clone())),
        None => ("open", None),
    };
    PrivilegeStatus {
        user: user.map_or_else(|| uid.to_string(), |user| user.name),
        capabilities: capabilities(&status),
        no_new_privs: field(&status, "NoNewPrivs:") == Some("1"),
        files: files.to_owned(),
        files_why: why,
    }
}

/// Names of the capabilities in the permitted set, which holds every one that can be used.
fn capabilities(status: &str) -> Vec<String> {
    let bits = field(status, "CapPrm:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let held = |capability: &Capability| bits.unwrap_or(0) & capability.bitmask() != 0;
    let mut names: Vec<String> = caps::all()
        .into_iter()
        .filter(held)
        .map(|capability| capability.to_string())
        .collect();
    names.sort_unstable();
    names
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named_from_the_permitted_set() {
        let status = "CapInh:\tffffffffffffffff\nCapPrm:\t000000c000001000\nNoNewPrivs:\t1\n";
        let names = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"];
        assert_eq!(capabilities(status), names);
        assert_eq!(field(status, "NoNewPrivs:"), Some("1"));
        assert!(capabilities("").is_empty());
    }

    #[test]
    fn a_process_that_gave_up_nothing_says_so() {
        let current = current();
        assert_eq!(current.files, "open");
        assert!(!current.user.is_empty());
    }
}
