//! Which program is under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};

/// Names a ready binary to test instead of the one built from this tree.
pub const BINARY_VARIABLE: &str = "XDP_THROTTLE_BIN";

static CHOSEN: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// Has the daemon be this program, in this process.
///
/// # Errors
/// When there was one already.
pub fn choose(path: PathBuf) -> Result<()> {
    let path = std::path::absolute(path)?;
    let chosen = CHOSEN.set(Ok(path));
    chosen.map_err(|_| anyhow!("the daemon's program has been chosen already"))
}

/// The binary: the one that was chosen, or that the environment names, or else the one of this tree,
/// built once per process in the profile of the tests.
///
/// # Errors
/// When it doesn't build; cargo has then printed why.
pub fn binary() -> Result<PathBuf> {
    let chosen = CHOSEN.get_or_init(|| match std::env::var_os(BINARY_VARIABLE) {
        Some(path) => Ok(path.into()),
        None => build().map_err(|error| format!("{error:#}")),
    });
    match chosen {
        Ok(path) => Ok(path.clone()),
        Err(error) => bail!("{error}"),
    }
}

fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut command = Command::new(cargo);
    command
        .args(["build", "--package", "xdp-user", "--bin", "xdp-throttle"])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(manifest)
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("xdp-throttle doesn't build, {}", output.status);
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .context("cargo built xdp-throttle and didn't say where")
}

/// The last executable among cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_last_that_cargo_names() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"executable\":null}\n",
            "{\"reason\":\"compiler-artifact\",\"executable\":\"/t/debug/xdp-throttle\"}\n",
            "not json\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(
            executable(messages),
            Some(PathBuf::from("/t/debug/xdp-throttle"))
        );
        assert_eq!(executable("{}"), None);
    }
}
