//! Requests made up from the API's document. `cargo xtask fuzz-api` calls it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use xdp_tests::daemon::choose;
use xdp_tests::fuzz::{Effort, fuzz};

/// Sends requests that schemathesis makes up to a daemon in network namespaces. Needs root.
#[derive(Debug, Parser)]
#[command(name = "fuzz_api")]
struct Args {
    /// The daemon's program
    #[arg(long, value_name = "FILE")]
    daemon: PathBuf,
    /// schemathesis
    #[arg(long, value_name = "FILE")]
    schemathesis: PathBuf,
    /// Requests made up for each operation and phase
    #[arg(long, value_name = "N", default_value_t = 100)]
    examples: u32,
    /// The same number makes up the same requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fuzz_api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<()> {
    choose(args.daemon)?;
    fuzz(&Effort {
        schemathesis: args.schemathesis,
        examples: args.examples,
        seed: args.seed,
    })
}
