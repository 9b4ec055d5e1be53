//! `doctor`: what would go wrong on this host.

use std::path::{Path, PathBuf};

use super::format;
use super::output::Output;
use crate::config::{Config, LoadError};
use crate::daemon::DEFAULT_CONFIG;
use crate::doctor::{Finding, Level, Report, examine};
use crate::domain::{AttachMode, IfName};
use crate::failure::{Failure, FailureKind};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle doctor                                what `run` would meet with its configuration
  xdp-throttle doctor --interface eth0               one interface
  xdp-throttle doctor --output json | jq '.findings[] | select(.level != \"ok\")'

Looks, and changes nothing; needs no daemon. Some things can be seen by root only. What each check
means: docs/doctor.md. Exit code 0: all is well. 1: there are warnings. 2: the configuration is
invalid. 4: something won't work.";

/// Find what this host and its network cards lack, and the fix
///
/// Looks at the kernel, the memory, each interface with its driver, and the host around. Every
/// finding says what is, why it matters and what to type.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Configuration to look at it with [default: /etc/xdp-throttle/config.toml if it exists, else
    /// built-in defaults]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Interface to look at, in place of the configuration's; may be repeated
    #[arg(long = "interface", alias = "iface", short, value_name = "NAME")]
    interfaces: Vec<IfName>,
    /// How it would be attached, in place of the configuration's choice
    #[arg(long = "mode", value_name = "MODE", value_enum)]
    attach: Option<AttachMode>,
    /// Show what is well, too
    #[arg(long)]
    all: bool,
}

impl Args {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<()> {
        let report = examine(&self.config()?);
        output.show(&report, |report| render(report, self.all))?;
        verdict(&report).map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn config(&self) -> Result<Config, anyhow::Error> {
        let default = Path::new(DEFAULT_CONFIG);
        let present = || default.exists().then(|| default.to_owned());
        let config = match self.config.clone().or_else(present) {
            None => Config::default(),
            Some(path) => match Config::load(&path) {
                Ok(loaded) => loaded.config,
                Err(LoadError::Invalid(invalid)) => {
                    return Err(Failure::new(FailureKind::Invalid, invalid.to_string()).into());
                }
                Err(error @ LoadError::Read { .. }) => return Err(error.into()),
            },
        };
        let overrides = crate::control::Overrides {
            interfaces: self.interfaces.clone(),
            attach: self.attach,
            observe: false,
        };
        Ok(overrides.over(config))
    }
}

/// The exit code's reason; `None` when all is well.
fn verdict(report: &Report) -> Option<Failure> {
    let kind = match report.level {
        Level::Ok => return None,
        Level::Warn => FailureKind::Failed,
        Level::Fail => FailureKind::Unsupported,
    };
    let count = |level| report.count(level) as u64;
    let warnings = format::plural(count(Level::Warn), "warning", "warnings");
    let message = match count(Level::Fail) {
        0 => warnings,
        fails => {
            let fails = format::plural(fails, "thing won't", "things won't");
            format!("{fails} work, {warnings}")
        }
    };
    Some(Failure::new(kind, message))
}

fn render(report: &Report, all: bool) -> String {
    let shown = report.findings.iter();
    let shown = shown.filter(|finding| all || finding.level != Level::Ok);
    let mut text: String = shown.map(render_finding).collect();
    let well = report.count(Level::Ok);
    if !all {
        text += &format!("ok    {}\n", format::plural(well as u64, "check", "checks"));
    }
    text
}

fn render_finding(finding: &Finding) -> String {
    let about = match &finding.interface {
        Some(interface) => format!("{}, {interface}", finding.check),
        None => finding.check.to_owned(),
    };
    let level = finding.level.name();
    let mut text = format!(
        "{level:<4}  {about}: {}\n",
        format::printable(&finding.what)
    );
    for (word, told) in [("why", &finding.why), ("fix", &finding.fix)] {
        if let Some(told) = told {
            text += &format!("      {word}: {}\n", format::printable(told));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::ExitCode;

    fn finding(level: Level, fix: Option<&str>) -> Finding {
        Finding {
            level,
            check: "mtu",
            interface: Some("eth0".into()),
            what: "9000".into(),
            why: fix.map(|_| "too large".into()),
            fix: fix.map(str::to_owned),
        }
    }

    fn report(levels: &[Level]) -> Report {
        let one = |level: &Level| finding(*level, (*level != Level::Ok).then_some("smaller"));
        Report {
            level: levels.iter().copied().max().unwrap_or(Level::Ok),
            findings: levels.iter().map(one).collect(),
        }
    }

    #[test]
    fn the_exit_code_follows_the_worst() {
        let code = |levels: &[Level]| {
            let failure = verdict(&report(levels));
            failure.map(|failure| ExitCode::from(&anyhow::Error::new(failure)))
        };
        assert_eq!(code(&[Level::Ok]), None);
        assert_eq!(code(&[Level::Ok, Level::Warn]), Some(ExitCode::Failed));
        let both = [Level::Warn, Level::Fail, Level::Ok];
        assert_eq!(code(&both), Some(ExitCode::Unsupported));
        let text = verdict(&report(&both)).unwrap().to_string();
        assert_eq!(text, "1 thing won't work, 1 warning");
        let text = verdict(&report(&[Level::Warn])).unwrap().to_string();
        assert_eq!(text, "1 warning");
    }

    #[test]
    fn what_is_well_is_counted_and_the_rest_is_told() {
        let text = render(&report(&[Level::Ok, Level::Fail]), false);
        assert_eq!(
            text,
            "fail  mtu, eth0: 9000\n      why: too large\n      fix: smaller\nok    1 check\n"
        );
        let all = render(&report(&[Level::Ok]), true);
        assert_eq!(all, "ok    mtu, eth0: 9000\n");
    }

    #[test]
    fn programs_read_the_levels_as_words() {
        let json = serde_json::to_value(report(&[Level::Warn])).unwrap();
        assert_eq!(json["level"], "warn");
        assert_eq!(json["findings"][0]["check"], "mtu");
        assert_eq!(json["findings"][0]["fix"], "smaller");
    }

    #[test]
    fn an_invalid_configuration_is_2() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nonsense = 1").unwrap();
        let args = Args {
            config: Some(file.path().to_owned()),
            interfaces: Vec::new(),
            attach: None,
            all: false,
        };
        let error = args.config().unwrap_err();
        assert_eq!(ExitCode::from(&error), ExitCode::Invalid);
    }
}
