//! What a packet costs. `cargo xtask bench` calls it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use xdp_tests::bench::{Length, Report, changes, live, run, scrape};
use xdp_tests::daemon::choose;

/// Measures the program and its references in the running kernel, first without an interface, then
/// changes of the lists, then on veth pairs between namespaces of its own. Needs root, and takes minutes; on a machine that
/// does nothing else, if there is one.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    /// Leave out lists and sources of a million, and measure fewer rounds
    #[arg(long)]
    quick: bool,
    /// Write the report there, too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail when a line of the scorecard is short
    #[arg(long)]
    strict: bool,
    /// Measure on veth pairs only
    #[arg(long, conflicts_with_all = ["no_live", "only_changes", "only_scrape"])]
    only_live: bool,
    /// Measure changes of the lists only
    #[arg(long)]
    only_changes: bool,
    /// Measure scrapes of the daemon only
    #[arg(long, conflicts_with = "only_changes")]
    only_scrape: bool,
    /// The daemon's program for scrapes; that of this tree, built if need be, if none is given
    #[arg(long, value_name = "FILE")]
    daemon: Option<PathBuf>,
    /// Attach nothing and send nothing
    #[arg(long)]
    no_live: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args) {
        Ok(report) if args.strict && !report.all_ok() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<Report> {
    if let Some(daemon) = &args.daemon {
        choose(daemon.clone())?;
    }
    let length = if args.quick {
        Length::Quick
    } else {
        Length::Full
    };
    let progress = &mut |what: &str| eprintln!("{what}");
    let is_whole = !args.only_live && !args.only_changes && !args.only_scrape;
    let mut report = if is_whole {
        run(length, progress)?
    } else {
        Report::empty()?
    };
    if is_whole || args.only_changes {
        report = report.with_changes(changes::run(length, progress)?);
    }
    // It attaches the real daemon to a pair of interfaces of its own.
    if args.only_scrape || is_whole && !args.no_live {
        report = report.with_scrape(scrape::run(length, progress)?);
    }
    if args.only_live || is_whole && !args.no_live {
        report = report.with_live(live::run(length, progress)?);
    }
    println!("\n{report}");
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report)
}
