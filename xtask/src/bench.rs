//! `cargo xtask bench`: what a packet costs.

use std::{convert::Infallible, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// Measure what a packet costs in the kernel, against references in the same run.
///
/// Prints a table and a scorecard. Nothing is attached and no traffic is sent. Needs root: uses
/// sudo otherwise. docs/performance.md explains the method.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave out lists and sources of a million, and measure fewer rounds.
    #[arg(long)]
    quick: bool,
    /// Write the table and the scorecard to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail when a line of the scorecard is short.
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(Purpose::Build)?;
    process::run(&mut build())?;
    let program = workspace::target_dir()?.join("release").join("bench");
    let mut command = process::as_root(program)?;
    if !process::is_root()? {
        println!("this needs root: {}", process::display(&command));
    }
    match start(&mut command, arguments)? {}
}

fn build() -> Command {
    let mut command = process::command(workspace::cargo());
    command.args(["build", "--release"]);
    command.args(["--package", "xdp-tests", "--bin", "bench"]);
    command
}

/// The file is meant from where the verb was typed, so the program starts there.
fn start(command: &mut Command, arguments: &Arguments) -> Result<Infallible> {
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    for (flag, wanted) in [("--quick", arguments.quick), ("--strict", arguments.strict)] {
        if wanted {
            command.arg(flag);
        }
    }
    if let Some(file) = &arguments.json {
        command.arg("--json").arg(file);
    }
    process::become_it(command)
}
