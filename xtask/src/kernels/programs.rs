//! The suites as programs without libraries, for a guest that has none.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{process, workspace};

pub(super) const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds the named tests and binaries of xdp-tests and returns the path of each.
pub(super) fn build(
    dir: &Path,
    tests: &BTreeSet<&str>,
    binary: &str,
) -> Result<BTreeMap<String, PathBuf>> {
    println!("building the suites as static programs");
    let mut command = process::command(workspace::cargo());
    command.args(["test", "--no-run", "--package", "xdp-tests"]);
    command.args(["--target", TRIPLE, "--message-format=json"]);
    // Other flags than usual: a directory of their own keeps the usual build.
    command.arg("--target-dir").arg(dir.join("build"));
    // For this target only: the program for the kernel is built on the way.
    let flags = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        TRIPLE.replace('-', "_").to_uppercase()
    );
    command.env(flags, "-C target-feature=+crt-static");
    for test in tests {
        command.args(["--test", test]);
    }
    // A package's binaries are built with its tests.
    let messages = process::output(&mut command)?;
    let built = executables(&messages);
    tests
        .iter()
        .chain([&binary])
        .map(|name| {
            let path = built
                .get(*name)
                .with_context(|| format!("cargo built no {name}"))?;
            Ok(((*name).to_owned(), path.clone()))
        })
        .collect()
}

/// The executables in cargo's messages by the name of their target.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?;
            let path = message["executable"].as_str()?;
            Some((name.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"lib"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"limiter"},"executable":"/t/limiter-1"}
{"reason":"build-finished","success":true}
"#;
        let expected = BTreeMap::from([("limiter".to_owned(), PathBuf::from("/t/limiter-1"))]);
        assert_eq!(executables(messages), expected);
    }
}
