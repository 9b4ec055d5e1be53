//! `cargo xtask setup`: finds what the build and the tests need and this machine lacks, and
//! installs it.

// The build script's own search, so that it never fails on what set-up found good.
#[allow(dead_code, reason = "the build script reads the rest")]
#[path = "../../xdp-user/build/compiler.rs"]
mod compiler;
mod debian;
#[path = "../../xdp-user/build/linker.rs"]
mod linker;
mod needs;

use anyhow::{Result, bail};
use clap::ValueEnum;

use needs::{Missing, Way};

use crate::process;

/// Install what the build and the tests need and this machine lacks.
///
/// Says what it will do before it does it, does nothing when all is there, and uses sudo for
/// Debian's packages when it isn't root. On other systems it prints the commands to run.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only report what is missing; fail when something is.
    #[arg(long)]
    check: bool,
    /// What to prepare for; each includes the ones before it, `bench`, `pictures` and `fuzz` only `build`
    /// and `run`.
    #[arg(
        long = "for",
        value_enum,
        value_name = "PURPOSE",
        default_value = "test"
    )]
    purpose: Purpose,
}

/// What the machine is to be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Compile everything: a compiler for BPF and its linker.
    Build,
    /// Run the sandbox.
    Run,
    /// Leave the sandbox running with a Prometheus beside it.
    Watch,
    /// Run every test.
    Test,
    /// Run the tests on other kernels, in QEMU.
    Kernels,
    /// Measure beside the peers.
    Bench,
    /// Look at the status page with a browser, in tests too, and make the docs' pictures.
    Pictures,
    /// Make up requests to the API.
    Fuzz,
}

impl Purpose {
    /// Whether what `other` needs is needed for this, too.
    const fn includes(self, other: Self) -> bool {
        match self {
            Self::Bench | Self::Pictures | Self::Fuzz => {
                matches!(other, Self::Build | Self::Run) || other as u8 == self as u8
            }
            Self::Build | Self::Run | Self::Watch | Self::Test | Self::Kernels => {
                other as u8 <= self as u8
            }
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let missing = needs::missing(arguments.purpose);
    if missing.is_empty() {
        println!("nothing to set up: all is there");
        return Ok(());
    }
    if arguments.check {
        print!("{}", report(&missing));
        bail!("{} missing: run `cargo xtask setup`", missing.len());
    }
    install(arguments.purpose, &missing)
}

/// What every other verb does first; silent when nothing is missing.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    let missing = needs::missing(purpose);
    if missing.is_empty() {
        return Ok(());
    }
    install(purpose, &missing)
}

fn install(purpose: Purpose, missing: &[Missing]) -> Result<()> {
    print!("{}", report(missing));
    for need in missing {
        if let Way::Chosen(variable) = need.way {
            bail!("{variable} names a program that does not work: correct it or unset it");
        }
    }
    install_components(missing)?;
    if debian::is_here() {
        debian::install(missing)?;
    } else if missing.iter().any(|need| need.way != Way::Component) {
        bail!(
            "cargo xtask setup installs packages on Debian and Ubuntu only: run the commands above"
        );
    }
    let left = needs::missing(purpose);
    if !left.is_empty() {
        bail!("still missing after set-up:\n{}", report(&left));
    }
    println!("set-up is complete");
    Ok(())
}

fn report(missing: &[Missing]) -> String {
    missing
        .iter()
        .map(|need| format!("missing: {}\n{}\n", need.what, indented(&need.by_hand)))
        .collect()
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// rustfmt and clippy, which a minimal rustup installation leaves out.
fn install_components(missing: &[Missing]) -> Result<()> {
    let names: Vec<&str> = missing
        .iter()
        .filter(|need| need.way == Way::Component)
        .map(|need| need.what.as_str())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut command = process::command("rustup");
    command.args(["component", "add"]).args(names);
    println!("running {}", process::display(&command));
    process::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_each_need_with_its_commands() {
        let missing = [Missing {
            what: "promtool".into(),
            by_hand: "first line\nsecond line".into(),
            way: Way::Package("prometheus"),
        }];
        assert_eq!(
            report(&missing),
            "missing: promtool\n  first line\n  second line\n"
        );
    }

    #[test]
    fn purposes_grow_from_build_to_test() {
        assert!(Purpose::Run.includes(Purpose::Build) && !Purpose::Build.includes(Purpose::Run));
        assert!(Purpose::Test.includes(Purpose::Run) && !Purpose::Run.includes(Purpose::Test));
    }

    #[test]
    fn peers_are_for_the_bench_alone_and_the_bench_needs_no_emulator() {
        assert!(Purpose::Bench.includes(Purpose::Run));
        assert!(!Purpose::Bench.includes(Purpose::Kernels));
        assert!(!Purpose::Kernels.includes(Purpose::Bench));
    }

    #[test]
    fn a_browser_is_for_pictures_alone() {
        assert!(Purpose::Pictures.includes(Purpose::Run));
        assert!(!Purpose::Pictures.includes(Purpose::Bench));
        assert!(!Purpose::Test.includes(Purpose::Pictures));
    }
}
