//! `cargo xtask test`: everything that is checked, the cheap first.

use std::{
    env, fmt,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    docs, process,
    setup::{self, Purpose},
    tidy, workspace,
};

/// The folder with captures and blocklists that the corpus tests read, if there is one.
const CORPUS: &str = "XDP_THROTTLE_CORPUS";
/// Set to 1, a kernel test that can't run fails instead of saying so.
const REQUIRE_KERNEL: &str = "XDP_THROTTLE_REQUIRE_KERNEL";

/// Run every check and test, the cheap ones first; stop at the first that fails.
///
/// The tests that load programs need root; the others don't. Without root the test programs (not
/// the build) run through sudo. With XDP_THROTTLE_CORPUS naming a folder of captures, the corpus
/// tests run too.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave out the suites that need a kernel and root.
    #[arg(long)]
    fast: bool,
    /// Handed on to `cargo test`.
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut records = Vec::new();
    let prepare = if arguments.fast {
        || setup::ensure(Purpose::Test)
    } else {
        prepare_with_browser
    };
    let setup = Step::new("setup", Work::Call(prepare));
    let mut result = perform(setup, &mut records);
    if result.is_ok() {
        for step in steps(arguments)? {
            result = perform(step, &mut records);
            if result.is_err() {
                break;
            }
        }
    }
    println!("\n{}", Summary(&records));
    result
}

/// A browser that can't be installed leaves out the tests of the status page, which say so and, with
/// `CI=true`, fail.
fn prepare_with_browser() -> Result<()> {
    setup::ensure(Purpose::Test)?;
    if let Err(error) = setup::ensure(Purpose::Pictures) {
        eprintln!("warning: {error:#}\ngoing on without a browser");
    }
    Ok(())
}

/// What is done, in order. A new check is a line here.
fn steps(arguments: &Arguments) -> Result<Vec<Step>> {
    Ok(vec![
        Step::cargo("format", &["fmt", "--all", "--check"]),
        Step::new("tidy", Work::Call(tidy::check)),
        Step::cargo(
            "clippy",
            &["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"],
        ),
        Step::new("docs", Work::Call(docs::check)),
        // The end-to-end suites start the daemon as a program.
        Step::cargo("build", &["build", "--workspace"]),
        Step::new("tests", Work::Run(tests(arguments)?)),
    ])
}

fn tests(arguments: &Arguments) -> Result<Command> {
    let mut command = process::command(workspace::cargo());
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if arguments.fast {
        command.args(["--exclude", "xdp-tests"]);
    } else if !process::is_root()? {
        println!("the kernel tests need root: their programs run through `sudo -E`");
        let triple = workspace::host_triple()?.to_uppercase().replace('-', "_");
        command.env(format!("CARGO_TARGET_{triple}_RUNNER"), "sudo -E");
    }
    if env::var_os(CORPUS).is_none() {
        println!("{CORPUS} is not set: the tests over captures will be skipped");
    }
    if env::var_os("CI").is_some_and(|value| value == "true") {
        command.env(REQUIRE_KERNEL, "1");
    }
    command.args(&arguments.rest);
    Ok(command)
}

struct Step {
    name: &'static str,
    work: Work,
}

enum Work {
    Run(Command),
    Call(fn() -> Result<()>),
}

impl Step {
    fn new(name: &'static str, work: Work) -> Self {
        Self { name, work }
    }

    fn cargo(name: &'static str, arguments: &[&str]) -> Self {
        let mut command = process::command(workspace::cargo());
        command.args(arguments);
        Self::new(name, Work::Run(command))
    }
}

struct Record {
    name: &'static str,
    passed: bool,
    took: Duration,
}

fn perform(step: Step, records: &mut Vec<Record>) -> Result<()> {
    println!("\n== {}", step.name);
    let started = Instant::now();
    let result = match step.work {
        Work::Run(mut command) => process::run(&mut command),
        Work::Call(function) => function(),
    };
    let took = started.elapsed();
    println!("== {}: {:.1} s", step.name, took.as_secs_f64());
    records.push(Record {
        name: step.name,
        passed: result.is_ok(),
        took,
    });
    match result {
        Ok(()) => Ok(()),
        Err(error) => bail!("{}: {error:#}", step.name),
    }
}

struct Summary<'a>(&'a [Record]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Record { name, passed, took } in self.0 {
            let outcome = if *passed { "ok" } else { "FAILED" };
            writeln!(f, "{outcome:<7}{name:<10}{:>7.1} s", took.as_secs_f64())?;
        }
        let total: Duration = self.0.iter().map(|record| record.took).sum();
        let passed = self.0.iter().all(|record| record.passed);
        let verdict = if passed { "passed" } else { "FAILED" };
        write!(f, "{verdict} after {:.1} s", total.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_is_named_and_recorded() {
        let mut records = Vec::new();
        let step = Step::new("broken", Work::Call(|| bail!("it broke")));
        let error = perform(step, &mut records).unwrap_err();
        assert_eq!(error.to_string(), "broken: it broke");
        assert!(Summary(&records).to_string().contains("FAILED broken"));
    }

    #[test]
    fn fast_leaves_the_kernel_suites_out() {
        let arguments = Arguments {
            fast: true,
            rest: vec!["limiter".into()],
        };
        let text = process::display(&tests(&arguments).unwrap());
        assert!(
            text.contains("--exclude xdp-tests") && text.ends_with(" limiter"),
            "{text}"
        );
    }
}
