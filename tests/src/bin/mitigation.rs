//! Floods whose sources never repeat. `cargo xtask mitigation` calls it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use xdp_tests::capture::files;
use xdp_tests::interrupt::on_signals;
use xdp_tests::mitigation::{Attack, Builtin, Host, Options, Report, Rush, run};
use xdp_tests::precedence::Precedence;

/// Names a folder with `attack/` and `benign/`.
const CORPUS: &str = "XDP_THROTTLE_CORPUS";

/// Attacks a host in network namespaces of its own, without the throttler and with it at its
/// default configuration, while honest clients use the host. Needs root.
#[derive(Debug, Parser)]
#[command(name = "mitigation")]
struct Args {
    /// The daemon's program
    #[arg(long, value_name = "PATH", env = "XDP_THROTTLE_BIN")]
    daemon: PathBuf,
    /// Attack with this capture; may be given several times
    #[arg(long, value_name = "FILE")]
    pcap: Vec<PathBuf>,
    /// Attack with every capture of this folder
    #[arg(long, value_name = "DIR")]
    dir: Vec<PathBuf>,
    /// Attack with this built-in flood
    #[arg(long, value_name = "NAME", num_args = 1..)]
    attack: Vec<Builtin>,
    /// What is attacked: a plain host, one that forwards to a container with addresses translated,
    /// or one that has listeners of its own on the forwarded ports, too
    #[arg(long, value_name = "KIND", default_value = "plain")]
    host: Host,
    /// Let this honest crowd come, without an attack
    #[arg(long, value_name = "NAME", num_args = 1..)]
    rush: Vec<Rush>,
    /// Start the daemon when the crowd is there already
    #[arg(long)]
    late: bool,
    /// Let a fifth of each crowd come together with this built-in flood
    #[arg(long, value_name = "NAME")]
    under: Option<Builtin>,
    /// Replay every capture of this folder, of which nothing may be dropped
    #[arg(long, value_name = "DIR")]
    benign: Vec<PathBuf>,
    /// Seconds of each attack and of each rush
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=Options::LONGEST.as_secs()))]
    duration: u64,
    /// Attack packets per second
    #[arg(long, value_name = "PPS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Leave the attacks without the throttler out
    #[arg(long)]
    no_baseline: bool,
    /// Write the report there, too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail when a line of the scorecard is short
    #[arg(long)]
    strict: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args) {
        Ok(report) if args.strict && !report.scorecard().all_ok() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mitigation: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<Report> {
    let stop = on_signals()?;
    let _precedence = Precedence::take()?;
    let report = run(&options(args)?, stop, &mut |what| eprintln!("{what}"))?;
    println!("\n{report}");
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report.json()?)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report)
}

/// What was chosen; everything when nothing was.
fn options(args: &Args) -> Result<Options> {
    ensure!(
        args.daemon.exists(),
        "no program {}: build it first",
        args.daemon.display()
    );
    let mut options = Options {
        daemon: Some(std::path::absolute(&args.daemon)?),
        host: args.host,
        attacks: Vec::new(),
        rushes: args.rush.clone(),
        one_of: 1,
        late: args.late,
        under: args.under.map(Attack::Builtin),
        rest: Options::REST,
        benign: Vec::new(),
        skipped: Vec::new(),
        duration: Duration::from_secs(args.duration),
        rate: args.rate,
        baseline: !args.no_baseline,
    };
    let captures = args.pcap.iter().cloned().map(Attack::Capture);
    options.attacks.extend(captures);
    for folder in &args.dir {
        let captures = files(folder)?.into_iter().map(Attack::Capture);
        options.attacks.extend(captures);
    }
    options
        .attacks
        .extend(args.attack.iter().copied().map(Attack::Builtin));
    for folder in &args.benign {
        options.benign.extend(files(folder)?);
    }
    let nothing = options.attacks.is_empty() && options.benign.is_empty();
    if nothing && options.rushes.is_empty() {
        everything(&mut options)?;
    }
    Ok(options)
}

fn everything(options: &mut Options) -> Result<()> {
    match std::env::var_os(CORPUS) {
        Some(corpus) => {
            let corpus = Path::new(&corpus);
            let attacks = files(&corpus.join("attack"))?;
            options
                .attacks
                .extend(attacks.into_iter().map(Attack::Capture));
            options.benign = files(&corpus.join("benign"))?;
        }
        None => options
            .skipped
            .push(format!("attack and benign captures: {CORPUS} is not set")),
    }
    options.rushes = Rush::value_variants().to_vec();
    let builtins = Builtin::value_variants().iter().copied();
    options.attacks.extend(builtins.map(Attack::Builtin));
    Ok(())
}
