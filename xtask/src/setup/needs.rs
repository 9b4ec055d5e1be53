//! What each purpose needs, and whether it is there.

use std::path::Path;

use super::{Purpose, compiler, linker};
use crate::{process, workspace};

/// Something that isn't there.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) what: String,
    /// Commands and hints for somebody who installs it without us.
    pub(crate) by_hand: String,
    pub(crate) way: Way,
}

/// How Debian's set-up gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A Rust compiler with the BPF target's `core`.
    Compiler,
    /// bpf-linker, built by cargo against the LLVM of the compiler.
    Linker,
    /// A package of this name.
    Package(&'static str),
    /// A component of the active rustup toolchain.
    Component,
    /// Not at all: the user chose one with this variable, and it does not work.
    Chosen(&'static str),
}

/// Programs that are started by name, or stand for what comes with them: first purpose, program,
/// Debian package.
const PROGRAMS: [(Purpose, &str, &str); 21] = [
    (Purpose::Run, "ip", "iproute2"),
    // The dashboards' queries are tested against the real thing.
    (Purpose::Watch, "prometheus", "prometheus"),
    (Purpose::Test, "promtool", "prometheus"),
    // A test forwards through a host that translates addresses.
    (Purpose::Test, "nft", "nftables"),
    (Purpose::Test, "ipset", "ipset"),
    // Captures are opened by Wireshark's own programs.
    (Purpose::Test, "tshark", "tshark"),
    (Purpose::Test, "capinfos", "wireshark-common"),
    // The service's unit is tested with it; 10 MB, and nothing of it has to run.
    (Purpose::Test, "systemd-analyze", "systemd"),
    (Purpose::Kernels, "qemu-system-x86_64", "qemu-system-x86"),
    (Purpose::Kernels, "busybox", "busybox-static"),
    (Purpose::Kernels, "cpio", "cpio"),
    (Purpose::Kernels, "depmod", "kmod"),
    (Purpose::Kernels, "xz", "xz-utils"),
    (Purpose::Kernels, "strip", "binutils"),
    (Purpose::Kernels, "dpkg-deb", "dpkg"),
    (Purpose::Bench, "xdp-filter", "xdp-tools"),
    (Purpose::Bench, "nft", "nftables"),
    (Purpose::Bench, "iptables", "iptables"),
    (Purpose::Bench, "ipset", "ipset"),
    // Without a desktop's parts: 306 MB instead of 412.
    (
        Purpose::Pictures,
        "chromium-headless-shell",
        "chromium-headless-shell",
    ),
    (Purpose::Fuzz, "python3", "python3-venv"),
];

/// Components of the Rust toolchain, each with the program that shows that it is installed.
const COMPONENTS: [(Purpose, &str, &str); 2] = [
    (Purpose::Test, "rustfmt", "cargo-fmt"),
    (Purpose::Test, "clippy", "cargo-clippy"),
];

/// Everything that `purpose` needs and this machine lacks.
pub(crate) fn missing(purpose: Purpose) -> Vec<Missing> {
    let mut missing = Vec::new();
    missing.extend(compiler::find().err().map(|by_hand| Missing {
        what: format!("a Rust compiler for {}", compiler::TARGET),
        by_hand,
        way: unless_chosen(compiler::EXPLICIT, Way::Compiler),
    }));
    missing.extend(linker::find().err().map(|by_hand| Missing {
        what: "bpf-linker".into(),
        by_hand,
        way: unless_chosen(linker::EXPLICIT, Way::Linker),
    }));
    missing.extend(missing_programs(purpose));
    missing.extend(missing_components(purpose, &workspace::cargo()));
    missing
}

fn unless_chosen(variable: &'static str, way: Way) -> Way {
    match std::env::var_os(variable) {
        Some(_) => Way::Chosen(variable),
        None => way,
    }
}

fn missing_programs(purpose: Purpose) -> impl Iterator<Item = Missing> {
    PROGRAMS
        .iter()
        .filter(move |(first, program, _)| {
            purpose.includes(*first) && process::find(program).is_none()
        })
        .map(|(_, program, package)| Missing {
            what: (*program).to_owned(),
            by_hand: format!("on Debian: apt-get install -y --no-install-recommends {package}"),
            way: Way::Package(package),
        })
}

/// rustup puts a proxy for every component into the `PATH`, installed or not: look beside the
/// toolchain's own cargo.
fn missing_components(purpose: Purpose, cargo: &Path) -> impl Iterator<Item = Missing> {
    COMPONENTS
        .iter()
        .filter(move |(first, _, program)| {
            purpose.includes(*first)
                && cargo.is_absolute()
                && !cargo.with_file_name(program).exists()
        })
        .map(|(_, component, _)| Missing {
            what: (*component).to_owned(),
            by_hand: format!("rustup component add {component}"),
            way: Way::Component,
        })
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn components_are_looked_for_beside_the_toolchains_cargo() {
        let nowhere = Path::new("/no/such/toolchain/bin/cargo");
        let names: Vec<String> = missing_components(Purpose::Test, nowhere)
            .map(|need| need.what)
            .collect();
        assert_eq!(names, ["rustfmt", "clippy"]);
        assert_eq!(missing_components(Purpose::Build, nowhere).count(), 0);
    }

    #[test]
    fn no_purpose_asks_for_a_program_twice() {
        for purpose in Purpose::value_variants() {
            let needed = PROGRAMS
                .iter()
                .filter(|(first, ..)| purpose.includes(*first));
            let mut names: Vec<&str> = needed.map(|(_, program, _)| *program).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{purpose:?}");
        }
    }

    #[test]
    fn a_build_needs_no_test_programs() {
        assert_eq!(missing_programs(Purpose::Build).count(), 0);
    }
}
