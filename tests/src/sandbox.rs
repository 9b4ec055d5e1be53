//! The sandbox run: a protected host, an honest client and an attacker in namespaces of their own,
//! joined by a bridge, and what the client gets in three phases: at peace, under a flood that the
//! throttler only observes, and under the same flood with the throttler enforcing.
//!
//! On two CPUs the attacker has the last one to itself, with the switching of its packets; CPU 0
//! has everything of the protected host (its interface's packets, its web server) and the client.
//! The interface's packets are processed before user space, as with a real network card.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::daemon::outcomes::Outcomes;
use crate::daemon::{Daemon, binary};
use crate::interrupt::sleep_until;
use crate::netns::link::Attachment;
use crate::netns::offload::Priority;
use crate::netns::privilege;
use crate::netns::remains::Remains;
use crate::traffic::client::{Client, Schedule, Summary};
use crate::traffic::exchange;
use crate::traffic::sender::{Load, Sender};
use crate::traffic::server::{Server, Service};

mod attack;
mod config;
mod meter;
mod report;
mod topology;
mod watch;

pub use report::Report;
pub use watch::{Windows, watch};

use meter::{Meter, Sample};
use report::Harm;
use topology::Topology;

/// The CPU of the protected host and the client.
const HOST_CPU: usize = 0;
/// A page that takes longer than this has failed: shorter than TCP's first retransmission of a
/// SYN (1 s), so that a lost packet counts.
const CLIENT_TIMEOUT: Duration = Duration::from_millis(900);

/// Attack packets per second, at first, and when it is of no use to go on.
const LEAST_ATTACK: u64 = 400_000;
const MOST_ATTACK: u64 = 3_200_000;
/// For so long an attack is looked at before it is taken for one that does harm, which must be plainer
/// then than in the report.
const TRIAL: Duration = Duration::from_secs(2);
const TRIAL_HARM: f64 = 2.0;

/// What a run is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemon's program; `None` for that of this tree, built if need be.
    pub daemon: Option<PathBuf>,
    /// Length of the three phases together.
    pub duration: Duration,
    /// Attack packets per second; `None` for as many as do harm where nothing is throttled.
    pub attack_rate: Option<u64>,
    /// Sources that the attack comes from, at most 200.
    pub attack_sources: u8,
    /// The honest client's requests per second.
    pub client_rate: u32,
}

/// The three phases, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No attack; the throttler observes.
    Quiet,
    /// An attack; the throttler observes.
    Observed,
    /// The same attack; the throttler enforces.
    Enforced,
}

impl Phase {
    /// As in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Observed => "attack observed",
            Self::Enforced => "attack enforced",
        }
    }
}

/// One phase as it was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Which one.
    pub phase: Phase,
    /// What the client got.
    pub client: Summary,
    /// Counters at its start.
    from: Sample,
    /// Counters at its end.
    to: Sample,
}

impl Measured {
    /// The daemon's packets of this phase.
    fn outcomes(&self) -> Outcomes {
        self.to.outcomes.since(&self.from.outcomes)
    }
}

/// Runs the sandbox, showing a line each second on standard output, and takes everything down
/// again. `stop` ends it early.
///
/// # Errors
/// When something can't be made or fails, or when it was stopped; everything is gone then too.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<Report> {
    if let Some(missing) = privilege::missing() {
        bail!("the sandbox makes network namespaces, but {missing}");
    }
    let remains = Remains::before();
    let outcome = Sandbox::build(options).and_then(|mut sandbox| {
        let report = sandbox.run(options, stop);
        let detached = sandbox.end_daemon();
        Ok((report?, detached?))
    });
    let clean = remains.wait_until_gone(&topology::uplink_name());
    let (mut report, detached) = outcome.with_context(|| match clean {
        true => "nothing is left of the sandbox",
        false => "something is left of the sandbox, see `ip link` and `ps`",
    })?;
    report.torn_down(detached && clean);
    Ok(report)
}

/// Dropped in this order: traffic first, then who answers it, then the ground.
struct Sandbox {
    attack: Option<Sender>,
    client: Client,
    _server: Server,
    daemon: Daemon,
    topology: Topology,
}

impl Sandbox {
    fn build(options: &Options) -> Result<Self> {
        let program = match &options.daemon {
            Some(path) => std::path::absolute(path)?,
            None => binary()?,
        };
        let topology = Topology::new(options.attack_sources)?;
        let server = Server::start(
            &topology.protected,
            topology::SERVICE.into(),
            Some(HOST_CPU),
            Service::Page,
        )?;
        let config = config::observe(&topology.uplink);
        let daemon = Daemon::start_binary(&topology.protected, &program, &config)?;
        topology
            .protected
            .process_on_cpu(&topology.uplink, HOST_CPU, Priority::BeforeUserSpace)?;
        let address = server.address();
        let client = Client::start(
            &topology.client,
            Schedule {
                rate: options.client_rate,
                timeout: CLIENT_TIMEOUT,
                cpu: Some(HOST_CPU),
            },
            move |_| exchange::page(address, None),
        )?;
        Ok(Self {
            attack: None,
            client,
            _server: server,
            daemon,
            topology,
        })
    }

    fn run(&mut self, options: &Options, stop: &AtomicBool) -> Result<Report> {
        let attachment = self
            .topology
            .protected
            .xdp_attachment(&self.topology.uplink)?;
        println!("{}", report::introduction(options, attachment));
        println!("{}", meter::HEADER);
        let length = options.duration / 3;
        self.warm_up(stop)?;
        let quiet = self.measure(Phase::Quiet, length, stop)?;
        self.attack = Some(self.harmful_attack(options, &quiet, stop)?);
        let observed = self.measure(Phase::Observed, length, stop)?;
        self.enforce()?;
        let enforced = self.measure(Phase::Enforced, length, stop)?;
        let sent = match self.attack.take() {
            Some(attack) => attack.stop()?,
            None => bail!("the attack is missing"),
        };
        let phases = self.settle([quiet, observed, enforced], stop)?;
        Ok(Report::new(options, attachment, sent, phases))
    }

    /// Lets the bridge learn and caches fill before anything is measured.
    fn warm_up(&self, stop: &AtomicBool) -> Result<()> {
        sleep_until(Instant::now() + Duration::from_millis(500), stop)
    }

    /// An attack that does harm while the throttler only observes: what does to one machine another doesn't
    /// notice.
    fn harmful_attack(
        &self,
        options: &Options,
        quiet: &Measured,
        stop: &AtomicBool,
    ) -> Result<Sender> {
        let mut rate = options.attack_rate.unwrap_or(LEAST_ATTACK);
        loop {
            let attack = self.start_attack(options, rate)?;
            if options.attack_rate.is_some() || rate >= MOST_ATTACK {
                return Ok(attack);
            }
            let begun = Instant::now();
            sleep_until(begun + TRIAL, stop)?;
            let client = self.client.summary(begun, Instant::now());
            if Harm::of(&quiet.client, &client).is_plain(TRIAL_HARM) {
                return Ok(attack);
            }
            attack.stop()?;
            println!("{rate} packets/s do little harm here: twice as many");
            rate *= 2;
        }
    }

    fn start_attack(&self, options: &Options, rate: u64) -> Result<Sender> {
        let load = Load {
            rate,
            count: u64::MAX,
            duration: options.duration + Duration::from_secs(60),
            cpu: Some(topology::attack_cpu()),
            ..Load::once(attack::frames(options.attack_sources))
        };
        Sender::start(&self.topology.attacker, topology::ATTACKER_PORT, load)
    }

    fn enforce(&self) -> Result<()> {
        let config = config::enforce(&self.topology.uplink);
        let path = self.daemon.write_config(&config)?;
        self.daemon.cli_text(&["apply", &path.to_string_lossy()])?;
        // The program may have been replaced, and with it the interface's threads.
        self.topology.protected.process_on_cpu(
            &self.topology.uplink,
            HOST_CPU,
            Priority::BeforeUserSpace,
        )
    }

    fn measure(&self, phase: Phase, length: Duration, stop: &AtomicBool) -> Result<Measured> {
        let meter = Meter {
            topology: &self.topology,
            daemon: &self.daemon,
            attack: self.attack.as_ref(),
        };
        let from = meter.sample()?;
        let end = from.at + length;
        let mut last = from.clone();
        while last.at < end {
            let next = (last.at + Duration::from_secs(1)).min(end);
            sleep_until(next, stop)?;
            let now = meter.sample()?;
            let client = self.client.summary(last.at, now.at);
            println!("{}", meter::line(phase, &client, &last, &now));
            last = now;
        }
        let client = self.client.summary(from.at, last.at);
        Ok(Measured {
            phase,
            client,
            from,
            to: last,
        })
    }

    /// Waits until the last request has its page or is lost, and counts all of them again.
    fn settle(&self, phases: [Measured; 3], stop: &AtomicBool) -> Result<[Measured; 3]> {
        let [_, _, last] = &phases;
        sleep_until(self.client.settled(last.to.at), stop)?;
        Ok(phases.map(|measured| Measured {
            client: self.client.summary(measured.from.at, measured.to.at),
            ..measured
        }))
    }

    /// Ends the daemon and asks the kernel whether it took its program along.
    fn end_daemon(mut self) -> Result<bool> {
        self.daemon.terminate()?;
        let attachment = self
            .topology
            .protected
            .xdp_attachment(&self.topology.uplink)?;
        Ok(attachment == Attachment::None)
    }
}
