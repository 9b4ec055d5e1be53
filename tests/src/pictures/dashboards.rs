//! Pictures of the dashboards for the docs, drawn from a real Prometheus. Not by Grafana.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;

use xdp_tests::interrupt::{on_signals, sleep_until};
use xdp_tests::monitoring::boards::{Spans, boards};
use xdp_tests::monitoring::picture::picture;
use xdp_tests::monitoring::rules;
use xdp_tests::monitoring::scene::Scene;

/// Attacks a host in a network namespace of its own, has a real Prometheus scrape its daemon, and
/// draws what each query of each dashboard returns. Takes two minutes and needs root.
#[derive(Debug, Parser)]
#[command(name = "dashboards")]
struct Args {
    /// Where the pictures go, one SVG for each dashboard
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/pictures")]
    out: PathBuf,
}

/// Of the two parts of the scene; the pictures are of its end.
const QUIET: Duration = Duration::from_secs(40);
const ATTACK: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dashboards: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let stop = on_signals()?;
    let boards = boards()?;
    let started = Instant::now();
    eprintln!("quiet, then an attack: {:?}", QUIET + ATTACK);
    let mut scene = Scene::start(&rules::files()?)?;
    sleep_until(Instant::now() + QUIET, stop)?;
    scene.attack()?;
    sleep_until(Instant::now() + ATTACK / 2, stop)?;
    scene.reload_well_and_badly()?;
    scene.import(20)?;
    sleep_until(Instant::now() + ATTACK / 2, stop)?;
    let spans = Spans {
        rate: Duration::from_secs(6),
        range: started.elapsed(),
    };
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    for board in &boards {
        let path = args.out.join(format!("grafana-{}.svg", board.name));
        let text = picture(board, &scene.prometheus, spans)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
