//! `cargo xtask pictures`: the pictures of the docs.

use std::process::Command;

use anyhow::Result;

use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// Make the pictures in docs/pictures, each of a real run in network namespaces of its own.
///
/// `page` is the status page under an attack, in headless Chromium. Each takes about a minute. Look
/// at a new picture before you commit it. Needs root: uses sudo otherwise.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which ones: page. All, if none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(Purpose::Pictures)?;
    process::run(&mut build())?;
    let programs = workspace::target_dir()?.join("release");
    let mut command = process::as_root("env")?;
    // Through `env`, because sudo may keep variables from the command.
    let daemon = programs.join("xdp-throttle");
    command.arg(format!("XDP_THROTTLE_BIN={}", daemon.display()));
    command.arg(programs.join("pictures"));
    command.args(&arguments.names).arg("--dir");
    command.arg(workspace::root().join("docs/pictures"));
    if !process::is_root()? {
        println!("this needs root: {}", process::display(&command));
    }
    match process::become_it(&mut command)? {}
}

fn build() -> Command {
    let mut command = process::command(workspace::cargo());
    command.args(["build", "--release"]);
    command.args(["--package", "xdp-user", "--bin", "xdp-throttle"]);
    command.args(["--package", "xdp-tests", "--bin", "pictures"]);
    command
}
