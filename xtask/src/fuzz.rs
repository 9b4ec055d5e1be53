//! `cargo xtask fuzz`: libFuzzer over everything that comes from outside.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// Of crates.io.
const CARGO_FUZZ: &str = "0.13.2";
/// An input that takes longer has found something that an attacker could use.
const MOST_SECONDS: u32 = 10;
const MOST_MEMORY_MIB: u32 = 3072;

/// Feed made-up inputs to the readers of lists, configurations and captures, to the API and to the
/// decision, and stop at the first that fails.
///
/// What is learned is kept below the target directory, so that the next run goes on from there. An
/// input that fails is kept and named; once it is mended, put it into tests/fuzz/regressions, whose
/// inputs `cargo xtask test` runs. Installs cargo-fuzz below the target directory. Needs no root.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to feed; everything, one after the other, if left out.
    #[arg(value_enum)]
    targets: Vec<Target>,
    /// For how long each.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// How many programs feed the same target at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Texts of lists, in every format.
    Lists,
    /// Configuration files.
    Config,
    /// Captures for `replay`.
    Capture,
    /// Queries and bodies of the API.
    Api,
    /// Frames under changing tables, against the oracle.
    Decide,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Lists => "lists",
            Self::Config => "config",
            Self::Capture => "capture",
            Self::Api => "api",
            Self::Decide => "decide",
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(Purpose::Build)?;
    let cargo_fuzz = install()?;
    let all = Target::value_variants();
    let targets = match arguments.targets.as_slice() {
        [] => all,
        some => some,
    };
    for target in targets {
        let name = target.name();
        println!("\n== {name}: {} s", arguments.seconds);
        let corpus = workspace::target_dir()?.join("fuzz-corpus").join(name);
        fs::create_dir_all(&corpus).with_context(|| format!("creating {}", corpus.display()))?;
        let mut command = running(&cargo_fuzz, name, arguments);
        command.arg(&corpus).arg(regressions(name));
        command.arg("--").args(bounds(arguments));
        if let Err(error) = process::run(&mut command) {
            bail!(
                "{name} found an input that fails ({error:#}): it is named above. Run it again with \
                 `cargo fuzz run`, mend the cause, and keep the input in {}",
                regressions(name).display()
            );
        }
    }
    Ok(())
}

fn regressions(name: &str) -> PathBuf {
    workspace::root().join("tests/fuzz/regressions").join(name)
}

/// cargo-fuzz with its own target directory: its builds have instrumentation in every crate.
fn running(cargo_fuzz: &PathBuf, name: &str, arguments: &Arguments) -> Command {
    let mut command = process::command(cargo_fuzz);
    command
        .args(["run", "--fuzz-dir"])
        .arg(workspace::root().join("tests/fuzz"))
        .args(["--features", "libfuzzer", "--target-dir"])
        .arg(workspace::root().join("target/fuzz"))
        .args(["--jobs", &arguments.jobs.to_string()])
        .arg(name)
        // The stable compiler has the instrumentation, behind an option that it calls unstable.
        .env("RUSTC_BOOTSTRAP", "1");
    command
}

fn bounds(arguments: &Arguments) -> [String; 4] {
    [
        format!("-max_total_time={}", arguments.seconds),
        format!("-timeout={MOST_SECONDS}"),
        format!("-rss_limit_mb={MOST_MEMORY_MIB}"),
        "-print_final_stats=1".to_owned(),
    ]
}

/// Installs cargo-fuzz where nothing else of this machine changes.
fn install() -> Result<PathBuf> {
    let directory = workspace::target_dir()?.join("cargo-fuzz");
    let program = directory.join("bin/cargo-fuzz");
    if program.is_file() {
        return Ok(program);
    }
    let mut install = process::command(workspace::cargo());
    install.args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ]);
    install.arg("--root").arg(&directory);
    println!("running {}", process::display(&install));
    process::run(&mut install)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_folder_of_regressions() {
        for target in Target::value_variants() {
            assert!(regressions(target.name()).is_dir(), "{}", target.name());
        }
    }

    #[test]
    fn a_run_is_bounded_in_time_and_memory() {
        let arguments = Arguments {
            targets: vec![],
            seconds: 7,
            jobs: 1,
        };
        let bounds = bounds(&arguments).join(" ");
        assert!(bounds.contains("-max_total_time=7") && bounds.contains("-rss_limit_mb="));
    }
}
