//! `cargo xtask run`: the sandbox, or the real thing on an interface.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    programs::{self, DAEMON, SANDBOX, switches, values},
    setup::{self, Purpose},
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
    programs::build(&[DAEMON, SANDBOX])?;
    let daemon = DAEMON.path()?;
    let program = match arguments.iface {
        Some(_) => DAEMON,
        None => SANDBOX,
    };
    match program.start(|command| {
        match &arguments.iface {
            // A trial leaves nothing behind.
            Some(name) => command.args(["run", "--on-exit", "detach", "--iface", name]),
            None => command.arg("--daemon").arg(daemon),
        };
        hand_on(command, arguments);
    })? {}
}

fn hand_on(command: &mut Command, arguments: &Arguments) {
    switches(command, [("--watch", arguments.watch)]);
    values(command, "--config", &arguments.config);
    values(command, "--json", &arguments.json);
    command.args(&arguments.rest);
}
