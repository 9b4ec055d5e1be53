//! `cargo xtask`: what cargo alone cannot do.

mod bench;
mod dashboards;
mod docs;
mod fuzz;
mod fuzz_api;
mod kernels;
mod launch;
mod mitigation;
mod pictures;
mod process;
mod programs;
mod setup;
mod suite;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, tests, the sandbox run and the repository's own checks.
///
/// Every verb first installs what it needs and this machine lacks, and says so.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Arguments),
    Test(suite::Arguments),
    TestKernels(kernels::Arguments),
    Run(launch::Arguments),
    Tidy(tidy::Arguments),
    Docs(docs::Arguments),
    Bench(bench::Arguments),
    Mitigation(mitigation::Arguments),
    Pictures(pictures::Arguments),
    Fuzz(fuzz::Arguments),
    FuzzApi(fuzz_api::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Setup(arguments) => setup::run(&arguments),
        Verb::Test(arguments) => suite::run(&arguments),
        Verb::TestKernels(arguments) => kernels::run(&arguments),
        Verb::Run(arguments) => launch::run(&arguments),
        Verb::Tidy(arguments) => tidy::run(&arguments),
        Verb::Docs(arguments) => docs::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Mitigation(arguments) => mitigation::run(&arguments),
        Verb::Pictures(arguments) => pictures::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::FuzzApi(arguments) => fuzz_api::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
