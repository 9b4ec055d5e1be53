//! The bench of mitigation: floods whose sources never repeat, against a host with services that
//! honest clients use, with the throttler at its default configuration and without it; and benign
//! captures, of which nothing may be dropped. docs/mitigation.md has the method.
//!
//! All of the host is on CPU 0, with its clients; the attacker has the last CPU, with the
//! switching of its packets. The host's interface is processed before user space, as a real network
//! card's is.

mod arrivals;
pub(crate) mod attack;
mod behind;
mod benign;
mod clients;
mod cpu;
mod newcomers;
mod relay;
mod report;
mod rush;
mod services;
mod stream;
mod timeline;
pub(crate) mod topology;
mod trial;
mod wakefulness;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use attack::{Attack, Builtin};
pub use behind::{Forwarded, Host};
pub use benign::{Benign, Watched, alerts_over};
pub use clients::{Group, Latency, Served};
pub use cpu::Shares;
pub use newcomers::{Newcomers, Profile};
pub use report::{Attacked, Report};
pub use rush::{Exchanges, Pressed, Rush, RushTrial, Rushed};
pub use timeline::Leak;
pub use trial::{Crosscheck, Trial};

use crate::netns::privilege;
use crate::netns::remains::Remains;
use rush::{Plan, Size};
use trial::Effort;

/// The CPU of the protected host and its clients.
const HOST_CPU: usize = 0;
/// Without the throttler an attack is shown, not watched.
const LONGEST_BASELINE: Duration = Duration::from_secs(10);
/// One of so many of a crowd comes when there is an attack, too.
const ONE_UNDER_ATTACK_OF: u64 = 5;

/// The last CPU, which is not the host's unless there is only one.
fn attack_cpu() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN)
        .ok()
        .flatten()
        .and_then(|count| usize::try_from(count).ok()?.checked_sub(1))
        .unwrap_or(HOST_CPU)
}

/// What a run is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemon's program; none: every attack without the throttler only.
    pub daemon: Option<PathBuf>,
    /// What kind of host is protected.
    pub host: Host,
    /// What to attack with, in order.
    pub attacks: Vec<Attack>,
    /// Honest crowds, in order.
    pub rushes: Vec<Rush>,
    /// Only one of so many of a crowd comes.
    pub one_of: u64,
    /// Whether the daemon is started when the crowd is there already.
    pub late: bool,
    /// What attacks meanwhile; then a fifth of the crowd comes.
    pub under: Option<Attack>,
    /// From the end of a rush to the look at the classes' states.
    pub rest: Duration,
    /// Captures of which nothing may be dropped.
    pub benign: Vec<PathBuf>,
    /// What was to be done and can't be, and why.
    pub skipped: Vec<String>,
    /// Length of an attack; without the throttler at most ten seconds.
    pub duration: Duration,
    /// Attack packets per second.
    pub rate: u64,
    /// Whether to attack without the throttler, too.
    pub baseline: bool,
}

impl Options {
    /// The longest attack that can be measured.
    pub const LONGEST: Duration = Duration::from_secs(120);
    /// After so long a rush has to be forgotten.
    pub const REST: Duration = Duration::from_secs(30);

    /// Attack packets.
    fn packets(&self) -> Result<u64> {
        let packets = u128::from(self.rate) * self.duration.as_millis() / 1000;
        Ok(u64::try_from(packets)?)
    }
}

const _: () = assert!(Options::LONGEST.as_nanos() < arrivals::LONGEST.as_nanos());

/// Runs everything and takes it down again; `progress` is told how it goes, `stop` ends it early.
///
/// # Errors
/// When something can't be made or fails, or when it was stopped; everything is gone then too. A
/// capture that can't be read is named in the report.
pub fn run(options: &Options, stop: &AtomicBool, progress: &mut dyn FnMut(&str)) -> Result<Report> {
    if let Some(missing) = privilege::missing() {
        bail!("the bench makes network namespaces, but {missing}");
    }
    let remains = Remains::before();
    let outcome = run_all(options, stop, progress);
    let clean = remains.wait_until_gone(&topology::uplink_name());
    let mut report = outcome.with_context(|| match clean {
        true => "nothing is left of the bench",
        false => "something is left of the bench, see `ip link` and `ps`",
    })?;
    report.torn_down(clean);
    Ok(report)
}

fn run_all(options: &Options, stop: &AtomicBool, progress: &mut dyn FnMut(&str)) -> Result<Report> {
    let mut report = Report::new(options);
    for attack in &options.attacks {
        let name = options.host.prefix().to_owned() + &attack.name();
        progress(&format!("{name}: preparing"));
        let prepared = match attack.prepare(options.packets()?, options.rate) {
            Ok(prepared) => prepared,
            Err(error) => {
                progress(&format!("{name}: SKIP: {error:#}"));
                report.unreadable(name, &error);
                continue;
            }
        };
        let mut attacked = Attacked::new(name.clone(), attack, &prepared);
        let baseline = options.baseline || options.daemon.is_none();
        for daemon in [None, options.daemon.as_deref()] {
            if daemon.is_none() && (!baseline || attacked.without.is_some()) {
                continue;
            }
            let (longest, how) = match daemon {
                None => (LONGEST_BASELINE, "without the throttler"),
                Some(_) => (Options::LONGEST, "with the throttler"),
            };
            progress(&format!("{name}, {how}"));
            let effort = Effort {
                host: options.host,
                duration: options.duration.min(longest),
                rate: options.rate,
            };
            let trial = trial::run(&prepared, daemon, effort, stop, progress)
                .with_context(|| format!("{name}, {how}"))?;
            match daemon {
                None => attacked.without = Some(trial),
                Some(_) => attacked.with = Some(trial),
            }
        }
        report.attacked.push(attacked);
    }
    run_rushes(options, &mut report, stop, progress)?;
    if let (Some(daemon), false) = (&options.daemon, options.benign.is_empty()) {
        report.benign = benign::run(daemon, options, stop, progress)?;
    }
    Ok(report)
}

fn run_rushes(
    options: &Options,
    report: &mut Report,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
    if options.rushes.is_empty() {
        return Ok(());
    }
    let flood = match &options.under {
        None => None,
        Some(attack) => Some(attack.prepare(options.packets()?, options.rate)?),
    };
    for rush in &options.rushes {
        let mut name = format!("{}rush_{}", options.host.prefix(), rush.name());
        if let Some(attack) = &options.under {
            name = format!("{name}_under_{}", attack.name());
        }
        if options.late {
            name += "_late";
        }
        let plan = Plan {
            rush: *rush,
            size: Size {
                duration: options.duration,
                one_of: match flood {
                    None => options.one_of,
                    Some(_) => ONE_UNDER_ATTACK_OF * options.one_of,
                },
                rest: options.rest,
            },
            host: options.host,
            late: options.late,
            flood: flood.as_ref().map(|flood| (flood, options.rate)),
        };
        let mut run = |daemon: Option<&Path>, how: &str| {
            progress(&format!("{name}, {how} the throttler"));
            rush::run(plan, daemon, stop, progress)
                .with_context(|| format!("{name}, {how} the throttler"))
        };
        let baseline = options.baseline || options.daemon.is_none();
        let without = baseline.then(|| run(None, "without")).transpose()?;
        let with = options.daemon.as_deref();
        let with = with.map(|daemon| run(Some(daemon), "with")).transpose()?;
        report.rushed.push(Rushed {
            name,
            rush: *rush,
            without,
            with,
        });
    }
    Ok(())
}
