//! What a guest runs, in which order, and where it is shown.

use std::fmt::Write as _;

use super::initramfs;

/// A program run in the guest.
pub(super) struct Check {
    pub(super) name: &'static str,
    /// Where its result is shown; checks of a column stand together.
    pub(super) column: &'static str,
    pub(super) program: &'static str,
    arguments: &'static str,
}

impl Check {
    const fn suite(column: &'static str, program: &'static str) -> Self {
        Self {
            name: program,
            column,
            program,
            arguments: "--show-output",
        }
    }

    const fn asked(name: &'static str, argument: &'static str) -> Self {
        Self {
            name,
            column: name,
            program: KERNEL_CHECK,
            arguments: argument,
        }
    }

    /// Whether Rust's test harness runs it, and says how many tests passed.
    pub(super) fn is_suite(&self) -> bool {
        self.program != KERNEL_CHECK
    }
}

/// The binary of xdp-tests for what isn't a test.
pub(super) const KERNEL_CHECK: &str = "kernel_check";
pub(super) const LOAD: &str = "load";

/// In the order in which they run. The concurrency tests run alone: they need
/// both CPUs.
pub(super) const CHECKS: [Check; 18] = [
    Check::asked(LOAD, "load"),
    Check::suite("verdicts", "verdict_headers"),
    Check::suite("verdicts", "verdict_transport"),
    Check::suite("verdicts", "verdict_lists"),
    Check::suite("verdicts", "verdict_lists_again"),
    Check::suite("verdicts", "verdict_policy"),
    Check::suite("verdicts", "verdict_reasons"),
    Check::suite("verdicts", "verdict_stages"),
    Check::suite("classes", "class_sockets"),
    Check {
        arguments: "--show-output --skip the_limit_is_exact_when_several_cpus_see_the_same_source",
        ..Check::suite("limits", "limiter")
    },
    Check::suite("limits", "limiter_bans"),
    Check::suite("contract", "datapath_contract"),
    Check::suite("differential", "differential"),
    Check {
        name: "concurrency",
        arguments: "--show-output the_limit_is_exact_when_several_cpus_see_the_same_source",
        ..Check::suite("concurrency", "limiter")
    },
    Check {
        // One after another: each has threads of its own.
        arguments: "--show-output --test-threads=1",
        ..Check::suite("concurrency", "lists_under_traffic")
    },
    Check::asked("native", "native"),
    Check::asked("generic", "generic"),
    Check::suite("devices", "host_devices"),
];

/// What the guest runs: name, program, arguments.
pub(super) fn lines(frames: u32, runs: impl Fn(&str) -> bool) -> String {
    let mut lines = String::new();
    for check in CHECKS.iter().filter(|check| runs(check.name)) {
        let program = initramfs::guest_path(check.program);
        // In the guest a test that can't run is a failure, not a skip. Writing to a String does
        // not fail.
        writeln!(
            lines,
            "{} env XDP_THROTTLE_REQUIRE_KERNEL=1 XDP_THROTTLE_FRAMES={frames} {program} {}",
            check.name, check.arguments
        )
        .ok();
    }
    lines
}
