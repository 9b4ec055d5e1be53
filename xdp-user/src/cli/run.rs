//! `run`: the daemon.

use std::path::{Path, PathBuf};

use caps::Capability;

use crate::config::{OnExit, UserName};
use crate::daemon::{self, DEFAULT_CONFIG};
use crate::domain::{AttachMode, IfName};
use crate::failure::{Failure, FailureKind};
use crate::privileges::{self, KEPT};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle run --config /etc/xdp-throttle/config.toml
  xdp-throttle run --iface eth0 --observe        try it on live traffic, drop nothing
  xdp-throttle run --iface eth0 --iface eth1 --mode native
  xdp-throttle run --user xdp-throttle           hand over to a user of its own

On a machine that you reach over the network: put your own address into `[allow]` first, or begin
with --observe.

Needs the capabilities CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON; root has them, and all others are
given up. `xdp-throttle doctor` says what would go wrong. SIGHUP reads the configuration
again; SIGINT (Ctrl-C) and SIGTERM end it. The last policy stays in force then, and the next start
takes over without a gap; `xdp-throttle detach` ends it, or --on-exit detach from the start.";

/// Protect network interfaces until stopped
///
/// Loads the program into the kernel, attaches it, and answers the other commands. Stays in the
/// foreground and logs to standard error, as service managers want it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Configuration to use [default: /etc/xdp-throttle/config.toml if it exists, else built-in
    /// defaults with --iface]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Interface to protect, in place of the configuration's; may be repeated
    #[arg(long = "iface", short, value_name = "NAME")]
    interfaces: Vec<IfName>,
    /// How to attach, in place of the configuration's choice
    #[arg(long = "mode", value_name = "MODE", value_enum)]
    attach: Option<AttachMode>,
    /// Decide and count as usual, but drop nothing
    #[arg(long)]
    observe: bool,
    /// User to become after the start, in place of the configuration's choice; root only
    #[arg(long, value_name = "NAME")]
    user: Option<UserName>,
    /// What becomes of the policy when it is told to end, in place of the configuration's choice:
    /// keep it in force, or detach
    #[arg(long, value_name = "keep|detach")]
    on_exit: Option<OnExit>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let options = self.options(Path::new(DEFAULT_CONFIG))?;
        check_capabilities()?;
        daemon::run(options)
    }

    fn options(self, default_config: &Path) -> Result<daemon::Options, Failure> {
        let present = || default_config.exists().then(|| default_config.to_owned());
        let config = self.config.or_else(present);
        if config.is_none() && self.interfaces.is_empty() {
            let message = format!(
                "nothing to protect: name an interface with --iface, or a configuration with \
                 --config ({} doesn't exist)",
                default_config.display()
            );
            return Err(Failure::new(FailureKind::Invalid, message));
        }
        Ok(daemon::Options {
            config,
            interfaces: self.interfaces,
            attach: self.attach,
            observe: self.observe,
            user: self.user,
            on_exit: self.on_exit,
        })
    }
}

fn check_capabilities() -> Result<(), Failure> {
    let missing = privileges::missing().map_err(|error| {
        let message = format!("can't read this process's capabilities: {error}");
        Failure::new(FailureKind::Failed, message)
    })?;
    refuse_missing(&missing)
}

fn refuse_missing(missing: &[Capability]) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let names = |these: &[Capability]| these.iter().map(ToString::to_string).collect::<Vec<_>>();
    let message = format!(
        "run needs the capabilities {} and lacks {}: run it as root, or let the service manager \
         give it these capabilities (systemd: AmbientCapabilities=)",
        names(&KEPT).join(", "),
        names(missing).join(", "),
    );
    Err(Failure::new(FailureKind::Privilege, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(interfaces: &[&str]) -> Args {
        Args {
            config: None,
            interfaces: interfaces
                .iter()
                .map(|name| name.parse().unwrap())
                .collect(),
            attach: None,
            observe: false,
            user: None,
            on_exit: None,
        }
    }

    #[test]
    fn the_default_config_is_taken_if_it_exists() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = args(&[]).options(file.path()).unwrap();
        assert_eq!(options.config.as_deref(), Some(file.path()));
        let absent = Path::new("/nonexistent/config.toml");
        assert_eq!(args(&["eth0"]).options(absent).unwrap().config, None);
        let named = Args {
            config: Some("/named".into()),
            ..args(&[])
        };
        let options = named.options(file.path()).unwrap();
        assert_eq!(options.config.as_deref(), Some(Path::new("/named")));
    }

    #[test]
    fn without_config_and_interface_there_is_nothing_to_do() {
        let refused = args(&[]).options(Path::new("/nonexistent")).err().unwrap();
        assert_eq!(refused.kind(), FailureKind::Invalid);
        assert!(refused.to_string().contains("--iface"), "{refused}");
    }

    #[test]
    fn missing_capabilities_are_named() {
        refuse_missing(&[]).unwrap();
        let refused = refuse_missing(&[Capability::CAP_BPF]).unwrap_err();
        assert_eq!(refused.kind(), FailureKind::Privilege);
        let text = refused.to_string();
        assert!(
            text.contains("CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON"),
            "{text}"
        );
        assert!(text.contains("lacks CAP_BPF:"), "{text}");
    }
}
