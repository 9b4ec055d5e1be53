//! `cargo xtask fuzz-api`: requests made up from the API's own document.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    process,
    programs::{self, DAEMON, FUZZ_API},
    setup::{self, Purpose},
    workspace,
};

/// Of PyPI; Debian has no package of it.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Let schemathesis make up requests from docs/openapi.json, valid and invalid ones, against a real
/// daemon over TLS, and check that no answer is an error of the server's or one that the document
/// doesn't name.
///
/// Installs schemathesis from PyPI into the target directory. In network namespaces of its own; a few
/// minutes. Needs root: uses sudo otherwise.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Requests made up for each operation and phase.
    #[arg(long, value_name = "N", default_value_t = 100)]
    examples: u32,
    /// The same number makes up the same requests.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(Purpose::Run)?;
    setup::ensure(Purpose::Fuzz)?;
    let schemathesis = schemathesis()?;
    programs::build(&[DAEMON, FUZZ_API])?;
    let daemon = DAEMON.path()?;
    match FUZZ_API.start(|command| {
        command.arg("--daemon").arg(daemon);
        command.arg("--schemathesis").arg(schemathesis);
        command.args(["--examples", &arguments.examples.to_string()]);
        command.args(["--seed", &arguments.seed.to_string()]);
    })? {}
}

fn schemathesis() -> Result<PathBuf> {
    let directory = workspace::target_dir()?.join("schemathesis");
    let mut make = process::command("python3");
    make.args(["-m", "venv"]).arg(&directory);
    process::run(&mut make)?;
    let mut install = process::command(directory.join("bin/pip"));
    install.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        SCHEMATHESIS,
    ]);
    println!("running {}", process::display(&install));
    process::run(&mut install)?;
    Ok(directory.join("bin/schemathesis"))
}
