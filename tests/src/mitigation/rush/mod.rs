//! Honest crowds that come all at once, without an attack.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde::Serialize;
use xdp_user::domain::ClassState;

mod crowd;

use super::cpu::Shares;
use super::trial::Stage;
use crate::daemon::outcomes::Outcomes;
use crate::interrupt::sleep_until;
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
pub struct Size {
    /// How long they come.
    pub duration: Duration,
    /// Only one of so many comes.
    pub one_of: u64,
    /// How long after it the states of classes are looked at.
    pub rest: Duration,
}

impl Size {
    fn of(self, all: u64) -> u64 {
        (all / self.one_of.max(1)).max(1)
    }

    /// From then on everybody has to be served.
    fn settled(self) -> Duration {
        SETTLED.min(self.duration / 3)
    }
}

/// One rush without the throttler and with it.
#[derive(Clone, Debug, Serialize)]
pub struct Rushed {
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
    rush: Rush,
    daemon: Option<&Path>,
    size: Size,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<RushTrial> {
    let stage = Stage::build(daemon, &[])?;
    let before = stage.outcomes()?;
    let cpu = stage.cpu()?;
    let from = Instant::now();
    let crowd = Crowd::start(&stage.topology, rush, size)?;
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
