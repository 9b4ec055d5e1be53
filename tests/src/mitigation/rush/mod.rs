//! Honest crowds that come all at once, without an attack.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde::Serialize;
use xdp_user::domain::ClassState;

mod crowd;

use super::attack::Prepared;
use super::behind::Host;
use super::cpu::Shares;
use super::trial::{self, Effort, Stage};
use crate::daemon::outcomes::Outcomes;
use crate::interrupt::sleep_until;
use crate::traffic::sender::Sender;
use crate::traffic::slots::Slots;
use crowd::{Crowd, Second, Tally};

/// A rush has been there for so long when it has to be served.
const SETTLED: Duration = Duration::from_secs(10);
/// Everybody has given up by then after the last came.
const LONGEST_FATE: Duration = Duration::from_secs(15);

/// A crowd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Rush {
    /// 3,000 clients of the DNS service, each with a question a second.
    DnsClients,
    /// 200 players who join within ten seconds, with 60 datagrams a second each.
    Players,
    /// 20 new sessions a second of 50 datagrams a second, two seconds each.
    UdpSessions,
    /// 2,000 new connections a second to the HTTP service.
    TcpConnections,
}

impl Rush {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How large a rush is, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// How long they come.
    pub(super) duration: Duration,
    /// Only one of so many comes.
    pub(super) one_of: u64,
    /// How long after it the states of classes are looked at.
    pub(super) rest: Duration,
}

/// What is to happen.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) rush: Rush,
    pub(super) size: Size,
    pub(super) host: Host,
    /// Whether the daemon is started when the crowd is there already.
    pub(super) late: bool,
    /// An attack meanwhile, of so many packets a second.
    pub(super) flood: Option<(&'a Prepared, u64)>,
}

impl Size {
    fn of(self, all: u64) -> u64 {
        (all / self.one_of.max(1)).max(1)
    }

    /// When a daemon is started that comes late.
    fn late(self) -> Duration {
        self.settled() / 2
    }

    /// From then on everybody has to be served.
    fn settled(self) -> Duration {
        SETTLED.min(self.duration / 3)
    }
}

/// One rush without the throttler and with it.
#[derive(Clone, Debug, Serialize)]
pub struct Rushed {
    /// Its name on the scorecard.
    pub name: String,
    /// Which.
    pub rush: Rush,
    /// Without.
    pub without: Option<RushTrial>,
    /// With.
    pub with: Option<RushTrial>,
}

/// Exchanges, such as a question with its retries, a page, a datagram of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exchanges {
    /// All.
    pub all: u64,
    /// Those that came to their end within their own retries.
    pub succeeded: u64,
    /// Of those, without a retry.
    pub at_once: u64,
}

impl Exchanges {
    /// Succeeded of all; none without an exchange.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        (self.all > 0).then(|| self.succeeded as f64 / self.all as f64)
    }

    fn of<'a>(seconds: impl Iterator<Item = &'a Second>) -> Self {
        seconds.fold(Self::default(), |sum, second| Self {
            all: sum.all + second.exchanges,
            succeeded: sum.succeeded + second.succeeded,
            at_once: sum.at_once + second.at_once,
        })
    }
}

/// What became of a rush.
#[derive(Clone, Debug, Serialize)]
pub struct RushTrial {
    /// Whether the throttler was there.
    pub protected: bool,
    /// Attack packets that were sent meanwhile.
    pub attacked_with: Option<u64>,
    /// All exchanges.
    pub exchanges: Exchanges,
    /// Seconds after which a rush is taken for settled.
    pub settled_s: f64,
    /// Exchanges from then on.
    pub settled: Exchanges,
    /// Clients.
    pub clients: u64,
    /// Clients with an exchange that failed; with a stream that was not answered in the end.
    pub failed_clients: u64,
    /// CPU of the host meanwhile.
    pub cpu: Shares,
    /// By the daemon's count.
    pub outcomes: Outcomes,
    /// Seconds from the end of the rush to the look at the classes.
    pub rest_s: f64,
    /// Classes that were not in their normal state then.
    pub pressed: Vec<Pressed>,
}

/// A class that is not in its normal state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pressed {
    /// Its name.
    pub class: String,
    /// Its state.
    pub state: ClassState,
}

/// Runs a rush; `progress` is told every second how it goes.
pub(super) fn run(
    plan: Plan<'_>,
    daemon: Option<&Path>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<RushTrial> {
    let Plan { rush, size, .. } = plan;
    let mut stage = Stage::build(plan.host, daemon.filter(|_| !plan.late), &[])?;
    let before = stage.outcomes()?;
    let cpu = stage.cpu()?;
    let from = Instant::now();
    let crowd = Crowd::start(&stage.topology, rush, size)?;
    let flood = flood(&stage, plan, from)?;
    if let Some(late) = daemon.filter(|_| plan.late) {
        sleep_until(from + size.late(), stop)?;
        stage.protect(late)?;
    }
    let second = Duration::from_secs(1);
    let mut next = from + second;
    while next <= from + size.duration {
        sleep_until(next, stop)?;
        let exchanges = Exchanges::of(crowd.tally().seconds.iter());
        let Exchanges { all, succeeded, .. } = exchanges;
        let time = (next - from).as_secs();
        progress(&format!("  {time:>3} s: {succeeded} of {all} succeeded"));
        next += second;
    }
    sleep_until(from + size.duration, stop)?;
    let cpu = stage.cpu()?.since(&cpu);
    let flood = flood.map(Sender::wait).transpose()?;
    let to = Instant::now();
    while !crowd.tally().is_settled() {
        ensure!(
            to.elapsed() < LONGEST_FATE,
            "the clients of the rush don't come to an end"
        );
        sleep_until(Instant::now() + Duration::from_millis(50), stop)?;
    }
    let tally = crowd.tally();
    drop(crowd);
    let outcomes = stage.outcomes()?.since(&before);
    let pressed = match &stage.daemon {
        None => Vec::new(),
        Some(daemon) => {
            sleep_until(to + size.rest, stop)?;
            let classes = daemon.status()?.mitigation.classes.into_iter();
            let pressed = classes.filter(|class| class.state != ClassState::Normal);
            let pressed = pressed.map(|class| Pressed {
                class: class.name,
                state: class.state,
            });
            pressed.collect()
        }
    };
    let Tally {
        seconds,
        clients,
        failed_clients,
        ..
    } = tally;
    let settled = usize::try_from(size.settled().as_secs())?;
    Ok(RushTrial {
        protected: daemon.is_some(),
        attacked_with: flood.map(|sent| sent.frames),
        exchanges: Exchanges::of(seconds.iter()),
        settled_s: settled as f64,
        settled: Exchanges::of(seconds.iter().skip(settled)),
        clients,
        failed_clients,
        cpu,
        outcomes,
        rest_s: size.rest.as_secs_f64(),
        pressed,
    })
}

fn flood(stage: &Stage, plan: Plan<'_>, from: Instant) -> Result<Option<Sender>> {
    let Some((prepared, rate)) = plan.flood else {
        return Ok(None);
    };
    let effort = Effort {
        host: plan.host,
        duration: plan.size.duration,
        rate,
    };
    let slots = Arc::new(Slots::new(from, effort.duration));
    trial::start(&stage.topology, prepared, effort, &slots).map(Some)
}
