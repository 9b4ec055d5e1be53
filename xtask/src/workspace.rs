//! Where things are.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::process;

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    // `cargo run` sets the variable; a copy of the binary started by hand has what it was built in.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Cargo's target directory: the one that this program lies in, whatever variables moved it.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("finding the path of this program")?;
    Ok(program
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists())
        .map_or_else(|| root().join("target"), Path::to_path_buf))
}

/// The triple that cargo builds for on this machine.
pub(crate) fn host_triple() -> Result<String> {
    let text = process::output(process::command("rustc").arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc -vV names no host triple")
}
