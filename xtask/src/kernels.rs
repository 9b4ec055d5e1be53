//! `cargo xtask test-kernels`: the real program on kernels that this machine does not run.

mod checks;
mod guest;
mod initramfs;
mod packages;
mod passed;
mod programs;
mod table;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;

use checks::{CHECKS, KERNEL_CHECK, LOAD};
use guest::Report;

use crate::{
    setup::{self, Purpose},
    workspace,
};

/// Boot Debian's kernels in QEMU and run the kernel tests inside.
///
/// Needs no root and no virtualisation: QEMU emulates the processor. Downloads each kernel once, to
/// target/kernels. Fails when a kernel that is claimed to work fails a check, or one that is
/// claimed to be refused isn't refused by name.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these kernels [default: all].
    #[arg(long = "kernel", value_name = "SERIES", value_parser = PossibleValuesParser::new(series()))]
    kernels: Vec<String>,
    /// Only these checks, and whether the program loads [default: all].
    #[arg(long = "check", value_name = "NAME", value_parser = PossibleValuesParser::new(CHECKS.map(|check| check.name)), conflicts_with = "update_docs")]
    checks: Vec<String>,
    /// Write the results there, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write docs/kernels.md from the results; for a run over all kernels that succeeds.
    #[arg(long, conflicts_with = "kernels")]
    update_docs: bool,
    /// Leave out the kernels that have passed with the same programs, and take what they reported then:
    /// for a run that was interrupted, or one kernel after the other.
    #[arg(long, conflicts_with = "refresh")]
    resume: bool,
    /// Download the kernels again, for newer ones.
    #[arg(long)]
    refresh: bool,
    /// Frames of the differential test for each set of rules.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// The most seconds that each kernel may take: about a quarter of an hour on two CPUs.
    #[arg(long, value_name = "SECONDS", default_value_t = 2400)]
    timeout: u64,
}

/// A kernel of Debian's and what is claimed of it.
struct Release {
    series: &'static str,
    suite: &'static str,
    claim: Claim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Works,
    /// The loader says which feature the kernel lacks.
    Refused,
}

impl Claim {
    fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Refused => "refused",
        }
    }
}

const RELEASES: [Release; 4] = [
    Release {
        series: "5.10",
        suite: "bullseye",
        claim: Claim::Refused,
    },
    Release {
        series: "6.1",
        suite: "bookworm",
        claim: Claim::Works,
    },
    Release {
        series: "6.12",
        suite: "trixie",
        claim: Claim::Works,
    },
    Release {
        series: "newest",
        suite: "sid",
        claim: Claim::Works,
    },
];

fn series() -> [&'static str; 4] {
    RELEASES.map(|release| release.series)
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if workspace::host_triple()? != programs::TRIPLE {
        bail!("the kernels are tested on {} only", programs::TRIPLE);
    }
    setup::ensure(Purpose::Kernels)?;
    let dir = workspace::target_dir()?.join("kernels");
    let suites: BTreeSet<&str> = CHECKS
        .iter()
        .filter(|check| check.is_suite() && arguments.runs(check.name))
        .map(|check| check.program)
        .collect();
    let programs: Vec<_> = programs::build(&dir, &suites, KERNEL_CHECK)?
        .into_iter()
        .collect();

    let mut outcomes = Vec::new();
    for release in RELEASES
        .iter()
        .filter(|release| arguments.asks_for(release))
    {
        outcomes.push(test(release, arguments, &programs, &dir)?);
    }
    conclude(arguments, &outcomes)
}

impl Arguments {
    fn asks_for(&self, release: &Release) -> bool {
        self.kernels.is_empty() || self.kernels.iter().any(|series| series == release.series)
    }

    fn runs(&self, check: &str) -> bool {
        self.checks.is_empty() || check == LOAD || self.checks.iter().any(|name| name == check)
    }

    fn lines(&self) -> String {
        checks::lines(self.frames, |check| self.runs(check))
    }
}

/// What came of one kernel.
struct Outcome {
    release: &'static Release,
    report: Report,
    took: Duration,
}

fn test(
    release: &'static Release,
    arguments: &Arguments,
    programs: &[(String, PathBuf)],
    dir: &Path,
) -> Result<Outcome> {
    let dir = dir.join(release.suite);
    let kernel = packages::kernel(release, &dir, arguments.refresh)?;
    let lines = arguments.lines();
    let note = passed::Note::new(&dir, programs, &kernel.image, &lines)?;
    let console = dir.join("console.log");
    let left_out = CHECKS.iter().filter(|check| !arguments.runs(check.name));
    let left_out = left_out.map(|check| check.name).collect();
    if arguments.resume && note.is_there() {
        println!("passed before: {}", kernel.image.display());
        let report = guest::reported(&console)?;
        return Ok(Outcome {
            release,
            report: Report { left_out, ..report },
            took: Duration::ZERO,
        });
    }
    note.remove()?;
    let contents = initramfs::Contents {
        programs,
        modules: &kernel.modules,
        checks: &lines,
    };
    let initramfs = initramfs::pack(&contents, &dir)?;
    println!("booting {}", kernel.image.display());
    let started = Instant::now();
    let limit = Duration::from_secs(arguments.timeout);
    let report = guest::run(&kernel.image, &initramfs, &console, limit)?;
    let outcome = Outcome {
        release,
        report: Report { left_out, ..report },
        took: started.elapsed(),
    };
    if outcome.kept() {
        note.leave()?;
    }
    Ok(outcome)
}

impl Outcome {
    /// Why the kernel was refused by name, if it was.
    fn refusal(&self) -> Option<&str> {
        let load = self.report.ends.get(LOAD)?;
        let said = self
            .report
            .said
            .iter()
            .find_map(|said| said.strip_prefix("load "))?;
        (load.status != 0 && said.contains(" lacks ")).then_some(said)
    }

    /// Whether the claim held.
    fn kept(&self) -> bool {
        match self.release.claim {
            Claim::Works => table::all_passed(&self.report),
            Claim::Refused => self.refusal().is_some(),
        }
    }

    fn word(&self) -> &'static str {
        if self.kept() {
            self.release.claim.word()
        } else {
            "FAILED"
        }
    }
}

fn conclude(arguments: &Arguments, outcomes: &[Outcome]) -> Result<()> {
    println!("\n{}", table::markdown(outcomes));
    let broken: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.kept()).collect();
    for outcome in outcomes {
        let series = outcome.release.series;
        println!("{series}: {:.0} s", outcome.took.as_secs_f64());
        for said in &outcome.report.said {
            println!("  {said}");
        }
    }
    if let Some(path) = &arguments.json {
        write(path, &format!("{:#}\n", table::json(outcomes)))?;
    }
    if !broken.is_empty() {
        let series: Vec<&str> = broken
            .iter()
            .map(|outcome| outcome.release.series)
            .collect();
        bail!(
            "not as claimed on {}: see console.log in the suite's directory in target/kernels",
            series.join(", ")
        );
    }
    if arguments.update_docs {
        let page = workspace::root().join("docs/kernels.md");
        write(&page, &table::page(outcomes))?;
        println!("wrote {}", page.display());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(said: &str) -> Outcome {
        let mut report = Report {
            said: vec![format!("load {said}")],
            finished: true,
            ..Report::default()
        };
        let end = guest::End {
            status: 1,
            tests: 0,
            skipped: 0,
        };
        report.ends.insert(LOAD.into(), end);
        Outcome {
            release: &RELEASES[0],
            report,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_refusal_must_name_what_is_missing() {
        let named = refused("this kernel, Linux 5.10, lacks XDP: Linux 5.18 or newer is needed");
        assert!(named.kept());
        let unnamed = refused("could not load the program: Invalid argument");
        assert!(!unnamed.kept());
    }

    #[test]
    fn a_kernel_that_should_work_and_refuses_is_not_as_claimed() {
        let outcome = Outcome {
            release: &RELEASES[1],
            ..refused("this kernel lacks it")
        };
        assert_eq!(outcome.word(), "FAILED");
    }

    #[test]
    fn every_check_is_a_line_for_the_guest_or_those_asked_for() {
        let mut arguments = Arguments {
            kernels: Vec::new(),
            checks: Vec::new(),
            json: None,
            update_docs: false,
            resume: false,
            refresh: false,
            frames: 7,
            timeout: 1,
        };
        let lines = arguments.lines();
        assert_eq!(lines.lines().count(), CHECKS.len());
        assert!(
            lines.starts_with("load env XDP_THROTTLE_REQUIRE_KERNEL=1 XDP_THROTTLE_FRAMES=7 /")
        );
        arguments.checks = vec!["native".into(), "host_devices".into()];
        let some = arguments.lines();
        let names: Vec<_> = some
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(names, ["load", "native", "host_devices"]);
    }
}
