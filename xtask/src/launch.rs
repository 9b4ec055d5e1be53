//! `cargo xtask run`: the sandbox, or the real thing on an interface.

use std::{convert::Infallible, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// Show the throttler at work in a sandbox of network namespaces, or run it on an interface.
///
/// Without --iface this makes its own namespaces, an attacker, a client and a protected host, and
/// removes them again. Needs root: uses sudo otherwise.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run on this interface of the machine, until Ctrl-C, instead of in the sandbox.
    #[arg(long, value_name = "NAME")]
    iface: Option<String>,
    /// Configuration file of the daemon.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leave the sandbox running until Ctrl-C, the attack in waves, with a Prometheus that shows it.
    #[arg(long, conflicts_with_all = ["iface", "json"])]
    watch: bool,
    /// Write the sandbox's scorecard to this file too.
    #[arg(long, value_name = "FILE", conflicts_with = "iface")]
    json: Option<PathBuf>,
    /// Handed on as they are to the sandbox, or to `xdp-throttle run`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(match arguments.watch {
        true => Purpose::Watch,
        false => Purpose::Run,
    })?;
    process::run(&mut build())?;
    let programs = workspace::target_dir()?.join("release");
    let daemon = programs.join("xdp-throttle");
    let mut command = match &arguments.iface {
        Some(name) => {
            let mut command = process::as_root(&daemon)?;
            command.args(["run", "--iface", name]);
            command
        }
        None => {
            let mut command = process::as_root(programs.join("sandbox"))?;
            command.arg("--daemon").arg(&daemon);
            if arguments.watch {
                command.arg("--watch");
            }
            command
        }
    };
    if !process::is_root()? {
        println!("this needs root: {}", process::display(&command));
    }
    match start(&mut command, arguments)? {}
}

fn build() -> Command {
    let mut command = process::command(workspace::cargo());
    command.args(["build", "--release"]);
    command.args(["--package", "xdp-user", "--bin", "xdp-throttle"]);
    command.args(["--package", "xdp-tests", "--bin", "sandbox"]);
    command
}

/// Files are meant from where the verb was typed, so the program starts there.
fn start(command: &mut Command, arguments: &Arguments) -> Result<Infallible> {
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    for (flag, file) in [("--config", &arguments.config), ("--json", &arguments.json)] {
        if let Some(file) = file {
            command.arg(flag).arg(file);
        }
    }
    command.args(&arguments.rest);
    process::become_it(command)
}
