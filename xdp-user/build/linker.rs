//! Finds bpf-linker. Shared by the build script and `cargo xtask setup`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Names the linker to use, and no other.
pub(crate) const EXPLICIT: &str = "BPF_LINKER";

const NAME: &str = "bpf-linker";

/// The linker that `BPF_LINKER` names, else the first that runs in `PATH` and cargo's directory.
///
/// # Errors
/// The text names every place with what was wrong there, and the commands that install it.
pub(crate) fn find() -> Result<PathBuf, String> {
    let mut failures = Vec::new();
    for path in candidates() {
        match works(&path) {
            Ok(()) => return Ok(path),
            Err(why) => failures.push(format!("  {}: {why}\n", path.display())),
        }
    }
    Err(format!(
        "{NAME}, which links the XDP program, is not installed; tried:\n{}{HOW_TO_INSTALL}",
        failures.concat()
    ))
}

fn candidates() -> Vec<PathBuf> {
    if let Some(path) = env::var_os(EXPLICIT) {
        return vec![path.into()];
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = env::split_paths(&path)
        .map(|dir| dir.join(NAME))
        .filter(|program| program.exists())
        .collect();
    // cargo's directory may not be in PATH, under sudo for one.
    for home in [
        env::var_os("CARGO_HOME").map(PathBuf::from),
        env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")),
    ] {
        let program = home.map(|home| home.join("bin").join(NAME));
        found.extend(program.filter(|program| !found.contains(program)));
    }
    found
}

/// A linker whose LLVM library was removed is still there but doesn't start.
fn works(path: &Path) -> Result<(), String> {
    let answer = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if answer.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&answer.stderr);
    Err(stderr.lines().next().unwrap_or("does not run").to_owned())
}

/// The ways to a linker, for this search's message and for `cargo xtask setup`'s.
pub(crate) const HOW_TO_INSTALL: &str = "\
To install it: cargo xtask setup
or by hand, on Debian (22 stands for the LLVM version that `rustc -vV` names):
  apt-get update
  apt-get install -y --no-install-recommends llvm-22-dev libpolly-22-dev zlib1g-dev g++
  LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --locked \\
    --no-default-features --features llvm-22
or on any system, ready built:
  cargo binstall bpf-linker
or set BPF_LINKER to where it is.";
