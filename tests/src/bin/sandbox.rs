//! The sandbox run. `cargo xtask run` calls it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use xdp_tests::interrupt::on_signals;
use xdp_tests::sandbox::{Options, run, watch};

/// Shows what the throttler does, on this machine alone: a protected host, an honest client and
/// an attacker in network namespaces that are gone afterwards. Needs root.
#[derive(Debug, Parser)]
#[command(name = "sandbox")]
struct Args {
    /// The daemon's program [default: the one of this tree, built if need be]
    #[arg(long, value_name = "PATH", env = "XDP_THROTTLE_BIN")]
    daemon: Option<PathBuf>,
    /// Length of the three phases together
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(3..=3600))]
    seconds: u64,
    /// Leave it running until Ctrl-C (an hour at most), the attack in waves, with a Prometheus beside
    /// it, and print where to look at it
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// With --watch: seconds of each wave of the attack; a third of it is quiet before. Alerts wait for
    /// a minute or two before they fire
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..=600))]
    wave: u64,
    /// Write the report there, too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Attack packets per second [default: 400000, doubled until they do harm where nothing is throttled]
    #[arg(long, value_name = "PPS", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Addresses that the attack comes from
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=200))]
    sources: u8,
    /// The honest client's requests per second
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
    requests: u32,
}

fn main() -> ExitCode {
    match try_main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sandbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all promises were kept.
fn try_main() -> Result<bool> {
    let args = Args::parse();
    let stop = on_signals()?;
    let options = Options {
        daemon: args.daemon,
        duration: Duration::from_secs(args.seconds),
        attack_rate: args.rate,
        attack_sources: args.sources,
        client_rate: args.requests,
    };
    if args.watch {
        watch(&options, Duration::from_secs(args.wave), stop)?;
        return Ok(true);
    }
    let report = run(&options, stop)?;
    println!("\n{report}");
    if let Some(path) = args.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        std::fs::write(&path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.scorecard().all_ok())
}
