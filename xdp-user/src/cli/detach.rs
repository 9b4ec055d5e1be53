//! `detach`: ends what is in force without a daemon.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::format;
use super::output::Output;
use crate::config::Config;
use crate::daemon::DEFAULT_CONFIG;
use crate::datapath::pins::{Pins, name_of};
use crate::domain::IfName;
use crate::failure::{Failure, FailureKind};
use crate::host::device::index_of;

const EXAMPLES: &str = "\
Examples:
  xdp-throttle detach                     every interface, and all pins
  xdp-throttle detach --interface eth0    this one, the others go on
  xdp-throttle detach --dry-run           what is attached without a daemon

For after a crash, or after a daemon that was told to end and kept its policy in force
(`[pins] on_exit`). It needs no daemon, and refuses while one runs: stop that one first, or take
the interface out of its configuration.";

/// Detach what an ended daemon left in force
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this interface; may be repeated
    #[arg(long = "interface", short, value_name = "NAME")]
    interfaces: Vec<IfName>,
    /// Where the pins are [default: what the configuration says]
    #[arg(long, value_name = "DIRECTORY")]
    pins: Option<PathBuf>,
    /// The configuration that names the pins
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Only say what is attached
    #[arg(long)]
    dry_run: bool,
}

/// What was found, and detached unless it was a dry run.
#[derive(Debug, Serialize)]
struct Report {
    directory: String,
    dry_run: bool,
    interfaces: Vec<Found>,
    /// Whether the maps are gone, too.
    all: bool,
}

#[derive(Debug, Serialize)]
struct Found {
    interface: String,
    /// What the interface is called now, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    called_now: Option<String>,
    /// The kernel's number of the program; `None` where the interface itself has gone.
    program: Option<u32>,
}

impl Args {
    pub(crate) fn run(self, socket: &Path, output: Output) -> Result<()> {
        let directory = match self.pins {
            Some(directory) => directory,
            None => pins_of(&self.config)?,
        };
        let mut report = Report {
            directory: directory.display().to_string(),
            dry_run: self.dry_run,
            interfaces: Vec::new(),
            all: false,
        };
        if !directory.exists() {
            return output.show(&report, render);
        }
        if !self.dry_run && UnixStream::connect(socket).is_ok() {
            let message = format!(
                "a daemon answers at {}: stop it first, or take the interface out of its \
                 configuration and `xdp-throttle apply`",
                socket.display()
            );
            return Err(Failure::new(FailureKind::Failed, message).into());
        }
        let pins = Pins::open(&directory)?;
        let all = BTreeSet::from_iter(pins.interfaces()?);
        let wanted = match self.interfaces.is_empty() {
            true => all.clone(),
            false => pinned_as(&pins, &all, &self.interfaces)?,
        };
        for name in &wanted {
            let refused = || format!("could not detach {name}: are you root?");
            let between = pins.between(name).with_context(refused)?;
            let now = between.and_then(|(index, _)| name_of(index));
            report.interfaces.push(Found {
                interface: name.to_string(),
                called_now: now.filter(|now| now != name).map(|now| now.to_string()),
                program: between.filter(|(index, _)| *index != 0).map(|(_, id)| id),
            });
            if !self.dry_run {
                pins.detach(name).with_context(refused)?;
            }
        }
        report.all = !self.dry_run && wanted.len() == all.len();
        if report.all {
            pins.remove()
                .context("could not take the pins of the maps away")?;
        }
        output.show(&report, render)
    }
}

/// The names under which interfaces are pinned that are called so now, by the kernel's name or a further
/// one; else those that were, as the name of one that has gone.
fn pinned_as(pins: &Pins, all: &BTreeSet<IfName>, asked: &[IfName]) -> Result<BTreeSet<IfName>> {
    let mut found = BTreeSet::new();
    for name in asked {
        let by_index = index_of(name).map(|index| pins.left_at(index)).transpose();
        let by_index = by_index.with_context(|| {
            format!("could not look for what is pinned for {name}: are you root?")
        })?;
        match by_index.flatten().or_else(|| all.get(name).cloned()) {
            Some(pinned) => found.insert(pinned),
            None => {
                let message = format!(
                    "nothing is pinned for {name} in {}: leave the name out with --dry-run to see what is",
                    pins.directory().display()
                );
                return Err(Failure::new(FailureKind::Failed, message).into());
            }
        };
    }
    Ok(found)
}

/// Where the configuration has its pins; the default where there is none.
fn pins_of(config: &Path) -> Result<PathBuf> {
    let config = match fs::exists(config)? {
        true => super::replay::load(Some(config))?.0,
        false => Config::default(),
    };
    let off = || {
        Failure::new(
            FailureKind::Failed,
            "the configuration has its pins off".to_owned(),
        )
    };
    Ok(config.pins.directory.ok_or_else(off)?)
}

fn render(report: &Report) -> String {
    let did = if report.dry_run {
        "attached"
    } else {
        "detached"
    };
    let mut text = String::new();
    for found in &report.interfaces {
        let what = match found.program {
            Some(id) => format!("program {id}"),
            None => "the interface had gone".to_owned(),
        };
        let name = format::printable(&found.interface);
        let now = found.called_now.as_ref();
        let now = now.map(|now| format!(", which is called {} now", format::printable(now)));
        text += &format!("{did} {name}{}, {what}\n", now.unwrap_or_default());
    }
    if report.interfaces.is_empty() {
        text += &format!(
            "nothing is attached: no link in {}\n",
            format::printable(&report.directory)
        );
    }
    if report.all {
        text += &format!(
            "nothing is left in {}\n",
            format::printable(&report.directory)
        );
    }
    text
}
