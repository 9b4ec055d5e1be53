//! Debian's and Ubuntu's packages, and the linker, which is built here.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, Result, anyhow};

use super::{
    compiler::{self, Compiler},
    needs::{Missing, Way},
};
use crate::{process, workspace};

const LINKER_VERSION: &str = "0.13.0";
/// The LLVM versions that this bpf-linker can be built with.
const LINKER_LLVM: [u32; 3] = [21, 22, 23];

/// Compilers with a prebuilt `core` for BPF, and the one package that conflicts with each. Debian's
/// security suite keeps the first one recent, also in releases whose own compiler is old.
const COMPILERS: [(&[&str], Option<&str>); 2] = [
    (&["rustc-web", "libstd-rust-web-dev-bpf"], Some("rustc")),
    (&["rustc", "libstd-rust-dev-bpf"], Some("rustc-web")),
];

/// Whether this is Debian or one of its descendants.
pub(crate) fn is_here() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| is_debian(&text))
        && process::find("apt-get").is_some()
}

fn is_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| matches!(*name, "ID" | "ID_LIKE"))
        .flat_map(|(_, value)| value.trim_matches('"').split(' '))
        .any(|name| name == "debian")
}

/// Installs what is missing, in the order in which one needs the other.
pub(crate) fn install(missing: &[Missing]) -> Result<()> {
    let has = |way: Way| missing.iter().any(|need| need.way == way);
    let mut packages = BTreeSet::new();
    for need in missing {
        if let Way::Package(name) = need.way {
            packages.insert(name.to_owned());
        }
    }
    if packages.is_empty() && !has(Way::Compiler) && !has(Way::Linker) {
        return Ok(());
    }

    update();
    if has(Way::Compiler) {
        let names = compiler_packages(is_installed, is_available)?;
        packages.extend(names.iter().map(|name| (*name).to_owned()));
    }
    install_packages(&packages)?;
    if has(Way::Linker) {
        // Only an installed compiler can say which LLVM it has.
        let compiler = compiler::find().map_err(anyhow::Error::msg)?;
        install_linker(&compiler)?;
    }
    Ok(())
}

fn compiler_packages(
    is_installed: impl Fn(&str) -> bool,
    is_available: impl Fn(&str) -> bool,
) -> Result<&'static [&'static str]> {
    COMPILERS
        .iter()
        .find(|(packages, conflict)| {
            packages.iter().all(|name| is_available(name)) && !conflict.is_some_and(&is_installed)
        })
        .map(|(packages, _)| *packages)
        .with_context(|| {
            format!(
                "no package here has core for {}, or apt-get could not reach its servers\n{}",
                compiler::TARGET,
                compiler::HOW_TO_INSTALL
            )
        })
}

fn install_linker(compiler: &Compiler) -> Result<()> {
    let wanted = compiler.llvm.context("rustc -vV names no LLVM version")?;
    let llvm = linker_llvm(wanted, is_available)?;
    let mut packages = BTreeSet::from([
        format!("llvm-{llvm}-dev"),
        format!("libpolly-{llvm}-dev"),
        "zlib1g-dev".to_owned(),
    ]);
    if process::find("c++").is_none() {
        packages.insert("g++".to_owned());
    }
    packages.retain(|name| !is_installed(name));
    install_packages(&packages)?;

    let mut command = process::command(workspace::cargo());
    command
        .args(["install", "bpf-linker", "--version", LINKER_VERSION])
        .args(["--locked", "--no-default-features"])
        .args(["--features", &format!("llvm-{llvm}")])
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
    announce(&command);
    process::run(&mut command).map_err(|error| {
        anyhow!(
            "{error:#}\nIs crates.io out of reach?\n{}",
            super::linker::HOW_TO_INSTALL
        )
    })
}

/// The linker reads what the compiler's LLVM writes: the same major version, else a later one.
fn linker_llvm(wanted: u32, is_available: impl Fn(&str) -> bool) -> Result<u32> {
    LINKER_LLVM
        .into_iter()
        .find(|major| *major >= wanted && is_available(&format!("llvm-{major}-dev")))
        .with_context(|| {
            format!(
                "no package llvm-{wanted}-dev or later for bpf-linker {LINKER_VERSION}, or apt-get \
                 could not reach its servers\n{}",
                super::linker::HOW_TO_INSTALL
            )
        })
}

/// A failure shows soon enough: the packages are then unknown or can't be fetched.
fn update() {
    let result = apt_get(&["update", "-q"]).and_then(|mut command| {
        announce(&command);
        process::run(&mut command)
    });
    if let Err(error) = result {
        eprintln!("warning: {error:#}; going on with the package lists that are here");
    }
}

fn install_packages(packages: &BTreeSet<String>) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let mut command = apt_get(&[
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
        "--no-remove",
    ])?;
    command.args(packages);
    announce(&command);
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    process::run(&mut command).with_context(|| {
        format!(
            "apt-get could not reach its servers or could not install {names}; with a network, as \
             root: apt-get update && apt-get install -y --no-install-recommends {names}",
            names = names.join(" ")
        )
    })
}

fn apt_get(arguments: &[&str]) -> Result<Command> {
    // Through `env`, because sudo may keep variables from the command.
    let mut command = process::as_root("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    // An unreachable server is noticed soon; another apt-get at work is waited for.
    for option in [
        "Acquire::Retries=2",
        "Acquire::http::Timeout=20",
        "DPkg::Lock::Timeout=300",
    ] {
        command.args(["-o", option]);
    }
    command.args(arguments);
    Ok(command)
}

fn announce(command: &Command) {
    println!("running {}", process::display(command));
}

fn is_installed(package: &str) -> bool {
    let mut query = process::command("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    process::output(&mut query).is_ok_and(|status| status == "installed")
}

fn is_available(package: &str) -> bool {
    let mut query = process::command("apt-cache");
    query.args(["policy", package]).env("LC_ALL", "C");
    process::output(&mut query).is_ok_and(|text| has_candidate(&text))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))
        .is_some_and(|version| version != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_descendants_are_recognised() {
        assert!(is_debian("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nHOME_URL=https://debian.example/\n"));
    }

    #[test]
    fn the_recent_compiler_is_taken_unless_it_would_remove_the_users() {
        let web = compiler_packages(|_| false, |_| true).unwrap();
        assert_eq!(web, ["rustc-web", "libstd-rust-web-dev-bpf"]);
        let own = compiler_packages(|name| name == "rustc", |_| true).unwrap();
        assert_eq!(own, ["rustc", "libstd-rust-dev-bpf"]);
    }

    #[test]
    fn without_a_package_the_message_names_the_commands_of_rustup() {
        let error = compiler_packages(|_| false, |_| false).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("rustup toolchain install nightly")
        );
    }

    #[test]
    fn the_linkers_llvm_is_never_older_than_the_compilers() {
        let have = |versions: &'static [u32]| {
            move |name: &str| versions.iter().any(|v| name == format!("llvm-{v}-dev"))
        };
        assert_eq!(linker_llvm(22, have(&[14, 21, 22])).unwrap(), 22);
        assert_eq!(linker_llvm(20, have(&[21, 22])).unwrap(), 21);
        assert!(linker_llvm(23, have(&[21, 22])).is_err());
    }

    #[test]
    fn a_package_without_a_candidate_is_not_available() {
        assert!(has_candidate(
            "x:\n  Installed: (none)\n  Candidate: 1.96.0\n"
        ));
        assert!(!has_candidate(
            "x:\n  Installed: (none)\n  Candidate: (none)\n"
        ));
        assert!(!has_candidate(""));
    }
}
