//! The sandbox left running, with a real Prometheus beside it: the attack comes in waves until it is
//! stopped, and what it does can be looked at from this machine's loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::meter::{self, Meter};
use super::{LEAST_ATTACK, Options, Phase, Sandbox, topology};
use crate::interrupt::sleep_until;
use crate::monitoring::rules;
use crate::netns::forward::Forward;
use crate::netns::privilege;
use crate::netns::remains::Remains;
use crate::prometheus::Prometheus;

/// Nobody looks for longer; what was forgotten ends by itself.
const LONGEST: Duration = Duration::from_secs(3600);
/// Between two lines.
const LINE: Duration = Duration::from_secs(5);

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Prometheus.
    pub prometheus: SocketAddr,
    /// The daemon's page and metrics.
    pub daemon: SocketAddr,
}

impl Windows {
    fn print(self) {
        let Self { prometheus, daemon } = self;
        let query = "sum%20by%20(action)%20(rate(xdp_throttle_packets_total%5B10s%5D))";
        println!("status page  http://{daemon}/");
        println!("metrics      http://{daemon}/metrics");
        println!(
            "Prometheus   http://{prometheus}/graph?g0.expr={query}&g0.tab=0&g0.range_input=5m"
        );
        // Debian's Prometheus has no page of alerts where others have it; this one all have.
        println!("alerts       http://{prometheus}/graph?g0.expr=ALERTS&g0.tab=1");
        println!(
            "Ctrl-C ends it and takes everything down. What Prometheus asks over the host's own"
        );
        println!("loopback is in the last column, some packets a second.\n");
    }
}

/// Runs the sandbox in waves, each of a pause and then three times as long of the attack, which is
/// `wave`, until `stop`, an hour at most, and takes everything down.
///
/// # Errors
/// When something can't be made or fails, or something is left.
pub fn watch(options: &Options, wave: Duration, stop: &AtomicBool) -> Result<()> {
    if let Some(missing) = privilege::missing() {
        bail!("the sandbox makes network namespaces, but {missing}");
    }
    let options = &Options {
        duration: wave,
        ..options.clone()
    };
    let remains = Remains::before();
    let outcome = Sandbox::build(options).and_then(|mut sandbox| {
        let result = sandbox.watch(options, wave, stop);
        let detached = sandbox.end_daemon();
        result.and(detached)
    });
    let clean = remains.wait_until_gone(&topology::uplink_name());
    let detached = outcome.with_context(|| match clean {
        true => "nothing is left of the sandbox",
        false => "something is left of the sandbox, see `ip link` and `ps`",
    })?;
    match detached && clean {
        true => println!("\nended: nothing is left of the sandbox"),
        false => bail!("something is left of the sandbox, see `ip link` and `ps`"),
    }
    Ok(())
}

impl Sandbox {
    fn watch(&mut self, options: &Options, wave: Duration, stop: &AtomicBool) -> Result<()> {
        self.enforce()?;
        let protected = &self.topology.protected;
        let metrics = self.daemon.metrics_address();
        let prometheus = Prometheus::start_with(protected, metrics, &rules::files()?)?;
        let to_prometheus = Forward::start(protected, prometheus.address())?;
        let to_daemon = Forward::start(protected, metrics)?;
        let windows = Windows {
            prometheus: to_prometheus.address(),
            daemon: to_daemon.address(),
        };
        windows.print();
        println!("{}", meter::HEADER);
        let ended = self.waves(options, wave, stop);
        self.attack = None;
        match stop.load(Ordering::Relaxed) {
            true => Ok(()),
            false => ended,
        }
    }

    fn waves(&mut self, options: &Options, wave: Duration, stop: &AtomicBool) -> Result<()> {
        let end = Instant::now() + LONGEST;
        let rate = options.attack_rate.unwrap_or(LEAST_ATTACK);
        while Instant::now() < end {
            self.attack = None;
            self.show(Phase::Quiet, wave / 3, stop)?;
            self.attack = Some(self.start_attack(options, rate)?);
            self.show(Phase::Enforced, wave, stop)?;
        }
        Ok(())
    }

    /// A line every few seconds.
    fn show(&self, phase: Phase, length: Duration, stop: &AtomicBool) -> Result<()> {
        let meter = Meter {
            topology: &self.topology,
            daemon: &self.daemon,
            attack: self.attack.as_ref(),
        };
        let mut last = meter.sample()?;
        let end = last.at + length;
        while last.at < end {
            sleep_until((last.at + LINE).min(end), stop)?;
            let now = meter.sample()?;
            let client = self.client.summary(last.at, now.at);
            println!("{}", meter::line(phase, &client, &last, &now));
            last = now;
        }
        Ok(())
    }
}
