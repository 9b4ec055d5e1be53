//! `cargo xtask bench`: what a packet costs.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    programs::{self, BENCH, DAEMON, switches, values},
    setup::{self, Purpose},
};

/// Measure what a packet costs in the kernel, against references in the same run.
///
/// Prints tables and a scorecard: first of the program alone, where nothing is attached and no
/// traffic is sent, and of changes of the lists; then of scrapes of the daemon; then live, on veth
/// pairs between network namespaces that the bench makes and that are gone with it, beside
/// xdp-filter, nftables and iptables. Needs root: uses sudo otherwise. docs/performance.md explains
/// the methods.
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
    /// Measure on veth pairs only.
    #[arg(long, conflicts_with_all = ["no_live", "only_changes", "only_scrape"])]
    only_live: bool,
    /// Measure changes of the lists only.
    #[arg(long)]
    only_changes: bool,
    /// Measure scrapes of the daemon only.
    #[arg(long, conflicts_with = "only_changes")]
    only_scrape: bool,
    /// Attach nothing, send nothing, and install no peers.
    #[arg(long)]
    no_live: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    prepare(arguments)?;
    programs::build(&[DAEMON, BENCH])?;
    let daemon = DAEMON.path()?;
    match BENCH.start(|command| {
        command.arg("--daemon").arg(daemon);
        hand_on(command, arguments);
    })? {}
}

/// A peer that can't be installed is left out of the table, and named there.
fn prepare(arguments: &Arguments) -> Result<()> {
    if arguments.no_live || arguments.only_changes {
        return setup::ensure(Purpose::Build);
    }
    setup::ensure(Purpose::Run)?;
    if arguments.only_scrape {
        return Ok(());
    }
    if let Err(error) = setup::ensure(Purpose::Bench) {
        eprintln!("warning: {error:#}\ngoing on with the peers that are here");
    }
    Ok(())
}

fn hand_on(command: &mut Command, arguments: &Arguments) {
    switches(
        command,
        [
            ("--quick", arguments.quick),
            ("--strict", arguments.strict),
            ("--only-live", arguments.only_live),
            ("--only-changes", arguments.only_changes),
            ("--only-scrape", arguments.only_scrape),
            ("--no-live", arguments.no_live),
        ],
    );
    values(command, "--json", &arguments.json);
}
