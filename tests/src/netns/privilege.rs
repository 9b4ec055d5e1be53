//! May this process make namespaces and load programs? Tests that need it ask first.

/// When set to `1`, a test that can't run here fails instead of being skipped.
pub const REQUIRE_VARIABLE: &str = "XDP_THROTTLE_REQUIRE_KERNEL";

/// Capabilities by their bit, as in `linux/capability.h`.
const NEEDED: [(&str, u32); 4] = [
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];

/// Returns early from a test, printing why, when this process may not do what it needs. Panics
/// instead when the environment has `XDP_THROTTLE_REQUIRE_KERNEL=1`.
#[macro_export]
macro_rules! require_kernel {
    ($test:expr) => {
        if !$crate::netns::privilege::kernel_usable($test) {
            return $crate::netns::privilege::Outcome::skipped();
        }
    };
}

/// What a test returns when it is skipped.
pub trait Outcome {
    /// The value that lets it pass.
    fn skipped() -> Self;
}

impl Outcome for () {
    fn skipped() {}
}

impl<E> Outcome for Result<(), E> {
    fn skipped() -> Self {
        Ok(())
    }
}

/// What [`require_kernel!`](crate::require_kernel) asks: prints why and answers `false` when
/// `test` can't run.
///
/// # Panics
/// When it can't run and the environment has `XDP_THROTTLE_REQUIRE_KERNEL=1`.
#[allow(
    clippy::panic,
    reason = "where a kernel is required, a skip is a failure"
)]
#[must_use]
pub fn kernel_usable(test: &str) -> bool {
    let Some(reason) = missing() else { return true };
    if std::env::var(REQUIRE_VARIABLE).is_ok_and(|value| value == "1") {
        panic!("{test} must run ({REQUIRE_VARIABLE}=1), but {reason}");
    }
    eprintln!("skipped {test}: {reason}");
    false
}

/// Why this process can't make namespaces and load programs; `None` when it can.
#[must_use]
pub fn missing() -> Option<String> {
    let status = match std::fs::read_to_string("/proc/thread-self/status") {
        Ok(status) => status,
        Err(error) => return Some(format!("/proc can't be read: {error}")),
    };
    let missing = missing_capabilities(&status);
    (!missing.is_empty()).then(|| format!("{} missing; run as root", missing.join(", ")))
}

fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    NEEDED
        .iter()
        .filter(|(_, bit)| effective & (1 << bit) == 0)
        .map(|(name, _)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        assert!(missing_capabilities("CapEff:\t000001ffffffffff\n").is_empty());
        assert_eq!(
            missing_capabilities("CapPrm:\t000001ffffffffff\nCapEff:\t0000000000201000\n"),
            ["CAP_PERFMON", "CAP_BPF"]
        );
        assert_eq!(missing_capabilities("").len(), NEEDED.len());
    }
}
