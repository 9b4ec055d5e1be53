//! One attack, once, on a host made for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::arrivals::Arrivals;
use super::attack::Prepared;
use super::behind::{Forwarded, Host};
use super::clients::{Clients, Group, Latency, Served, TIMEOUT};
use super::cpu::{self, Shares};
use super::newcomers::{Coming, Newcomers};
use super::services::Services;
use super::timeline::{Leak, Timeline};
use super::topology::{ATTACKER_PORT, Topology};
use super::wakefulness::Wakefulness;
use super::{HOST_CPU, attack_cpu};
use crate::daemon::Daemon;
use crate::daemon::outcomes::Outcomes;
use crate::interrupt::sleep_until;
use crate::netns::link::Attachment;
use crate::netns::offload::pin_current_thread;
use crate::traffic::sender::{Load, Sender, Sent};
use crate::traffic::slots::{SLOT, Slots};
use crate::wait::wait_until;

/// The old clients' time before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Their time before the attack that it is compared with.
const QUIET: Duration = Duration::from_secs(3);
/// Packets that are on their way are there after this.
const IN_FLIGHT: Duration = Duration::from_millis(200);
/// Two counts that don't agree by then never will.
const CROSSCHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// The shape of the configuration: everything but the interface is left at its default.
const CONFIG: &str = "[[interface]]\nname = \"INTERFACE\"\nattach = \"native\"\n";

/// At what, how long and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) host: Host,
    pub(super) duration: Duration,
    pub(super) rate: u64,
}

/// What one attack did.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Whether the throttler was there.
    pub protected: bool,
    /// Packets per second that were to be sent.
    pub rate: u64,
    /// Seconds of sending.
    pub seconds: f64,
    /// Packets per second that were sent.
    pub sent_per_second: f64,
    /// Attack packets that the attacker's interface refused.
    pub refused: u64,
    /// Packets of all senders that got lost before the host's interface, for want of room.
    pub lost: u64,
    /// Over all of the attack.
    pub leak: Leak,
    /// Over its first second.
    pub first_second: Leak,
    /// By tenths of a second.
    pub timeline: Vec<Leak>,
    /// When it was mitigated.
    pub mitigated_after_ms: Option<u64>,
    /// Every group of clients.
    pub served: Vec<Served>,
    /// New UDP clients by the way they ask.
    pub new_udp: Vec<Newcomers>,
    /// All old clients together.
    pub old: Latency,
    /// CPU before the attack.
    pub cpu_quiet: Shares,
    /// CPU during the attack.
    pub cpu: Shares,
    /// By the daemon's count, during the attack.
    pub outcomes: Outcomes,
    /// Where the host forwards.
    pub forwarded: Option<Forwarded>,
    /// From before the first packet to after the last.
    pub crosscheck: Option<Crosscheck>,
}

/// Two counts of the same, by programs that have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Crosscheck {
    /// Packets that the daemon says it passed.
    pub passed: u64,
    /// Packets that came to the stack.
    pub arrived: u64,
}

impl Crosscheck {
    /// Whether they are the same but for stray packets at the start.
    #[must_use]
    pub fn agrees(self) -> bool {
        self.passed.abs_diff(self.arrived) <= 20 + self.passed / 1000
    }
}

/// Dropped in this order: traffic first, then who answers it, then the ground.
pub(super) struct Stage {
    clients: Clients,
    _services: Services,
    arrivals: Arrivals,
    _awake: Wakefulness,
    pub(super) daemon: Option<Daemon>,
    pub(super) topology: Topology,
}

impl Stage {
    /// Everything but the attack; with the throttler when its program is given.
    pub(super) fn build(host: Host, daemon: Option<&Path>, groups: &[Group]) -> Result<Self> {
        // The daemon inherits it: all of the host is on one CPU.
        pin_current_thread(HOST_CPU)?;
        let topology = Topology::new(host)?;
        let daemon = daemon
            .map(|program| protect(&topology, program))
            .transpose()?;
        topology.receive_on(HOST_CPU)?;
        topology.switch_on_cpu(attack_cpu())?;
        let arrivals = Arrivals::start(&topology.host, &topology.uplink)?;
        let services = Services::start(&topology)?;
        let awake = Wakefulness::of(HOST_CPU)?;
        Ok(Self {
            clients: Clients::start(&topology, groups)?,
            _services: services,
            arrivals,
            _awake: awake,
            daemon,
            topology,
        })
    }

    /// Starts the daemon where there was none.
    pub(super) fn protect(&mut self, program: &Path) -> Result<()> {
        self.daemon = Some(protect(&self.topology, program)?);
        // The program's queues are new ones.
        self.topology.receive_on(HOST_CPU)
    }

    pub(super) fn outcomes(&self) -> Result<Outcomes> {
        let outcomes = self.daemon.as_ref().map(Daemon::outcomes).transpose()?;
        Ok(outcomes.unwrap_or_default())
    }

    pub(super) fn cpu(&self) -> Result<cpu::Sample> {
        cpu::Sample::take(&self.topology.uplink, HOST_CPU)
    }

    /// Ends all traffic and compares the two counts.
    fn crosscheck(self) -> Result<Option<Crosscheck>> {
        let Self {
            clients,
            _services: services,
            arrivals,
            _awake: _,
            daemon,
            topology: _ground,
        } = self;
        drop((clients, services));
        let Some(daemon) = daemon else {
            return Ok(None);
        };
        let mut last = None;
        // The last packets may be on their way still; counts that never agree are the result too.
        let agreed = wait_until("two counts to agree", CROSSCHECK_TIMEOUT, || {
            last = count(&daemon, &arrivals).ok();
            last.is_some_and(Crosscheck::agrees)
        });
        match (agreed, last) {
            (Err(error), None) => Err(error).context("the throttler's counters can't be read"),
            (_, last) => Ok(last),
        }
    }
}

fn count(daemon: &Daemon, arrivals: &Arrivals) -> Result<Crosscheck> {
    Ok(Crosscheck {
        passed: daemon.outcomes()?.passed(),
        arrived: arrivals.total()?.all(),
    })
}

fn protect(topology: &Topology, program: &Path) -> Result<Daemon> {
    let config = CONFIG.replace("INTERFACE", &topology.uplink);
    let daemon = Daemon::start_binary(&topology.host, program, &config)?;
    let attachment = topology.host.xdp_attachment(&topology.uplink)?;
    ensure!(
        attachment == Attachment::Native,
        "the program is not attached in native mode but as {attachment:?}"
    );
    Ok(daemon)
}

/// Runs an attack; `progress` is told every second how it goes.
pub(super) fn run(
    prepared: &Prepared,
    daemon: Option<&Path>,
    effort: Effort,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<Trial> {
    let mut stage = Stage::build(effort.host, daemon, &Group::OLD)?;
    sleep_until(Instant::now() + WARM_UP, stop)?;
    let quiet_from = (Instant::now(), stage.cpu()?);
    sleep_until(quiet_from.0 + QUIET, stop)?;
    let before = (stage.outcomes()?, stage.topology.lost()?);
    stage
        .clients
        .join(Clients::start(&stage.topology, &Group::NEW_TCP)?);
    let coming = Coming::start(&stage.topology)?;

    let cpu_from = stage.cpu()?;
    let from = stage.arrivals.begin()?;
    let slots = Arc::new(Slots::new(from, effort.duration + IN_FLIGHT));
    let sender = start(&stage.topology, prepared, effort, &slots)?;
    let forwarded = watch(&stage, &sender, from, effort, stop, progress)?;
    let sent = sender.wait()?;
    let to = Instant::now();
    let cpu = stage.cpu()?;

    sleep_until(to + IN_FLIGHT, stop)?;
    let outcomes = stage.outcomes()?.since(&before.0);
    let lost = stage.topology.lost()? - before.1;
    let timeline = timeline(&stage.arrivals, &slots, to - from)?;
    while stage.clients.under_way(from, to) > 0 && to.elapsed() < TIMEOUT + IN_FLIGHT {
        sleep_until(Instant::now() + IN_FLIGHT, stop)?;
    }
    // Each of them gives up in its own time.
    while coming.under_way(from, to) > 0 {
        sleep_until(Instant::now() + IN_FLIGHT, stop)?;
    }
    let new_udp = coming.fates(from, to);
    drop(coming);
    let spans = ((quiet_from.0, from), (from, to));
    let mitigated_after = timeline.mitigated_after();
    let Sent {
        frames,
        refused,
        elapsed,
    } = sent;
    Ok(Trial {
        protected: daemon.is_some(),
        rate: effort.rate,
        seconds: elapsed.as_secs_f64(),
        sent_per_second: frames as f64 / elapsed.as_secs_f64(),
        refused,
        lost,
        leak: timeline.all(),
        first_second: timeline.first_second(),
        timeline: timeline.windows(),
        mitigated_after_ms: mitigated_after.map(|after| after.as_millis() as u64),
        served: stage.clients.served(spans.0, spans.1),
        new_udp,
        old: stage.clients.old(spans.0, spans.1),
        cpu_quiet: cpu_from.since(&quiet_from.1),
        cpu: cpu.since(&cpu_from),
        outcomes,
        forwarded,
        crosscheck: stage.crosscheck()?,
    })
}

/// Begins to attack.
pub(super) fn start(
    topology: &Topology,
    prepared: &Prepared,
    effort: Effort,
    slots: &Arc<Slots>,
) -> Result<Sender> {
    let load = Load {
        frames: Arc::clone(&prepared.frames),
        rate: effort.rate,
        times: None,
        count: u64::MAX,
        duration: effort.duration,
        cpu: Some(attack_cpu()),
        before_others: true,
        slots: Some(Arc::clone(slots)),
    };
    Sender::start(&topology.attacker, ATTACKER_PORT, load)
}

fn watch(
    stage: &Stage,
    sender: &Sender,
    from: Instant,
    effort: Effort,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<Option<Forwarded>> {
    let second = Duration::from_secs(1);
    let before = stage.topology.forwarded()?;
    let mut forwarded = before;
    let (mut last, mut next) = (Leak::default(), from + second);
    while next <= from + effort.duration {
        sleep_until(next, stop)?;
        let slots = usize::try_from(from.elapsed().as_millis() / SLOT.as_millis())?;
        let now = Leak {
            sent: sender.sent_so_far(),
            leaked: stage.arrivals.forged(slots)?.iter().sum(),
        };
        progress(&format!(
            "  {:>3} s: {} sent, {} reached the stack",
            (next - from).as_secs(),
            now.sent - last.sent,
            now.leaked.saturating_sub(last.leaked),
        ));
        let look = stage.topology.forwarded()?;
        forwarded = look.zip(forwarded).map(|(look, most)| look.most(most));
        (last, next) = (now, next + second);
    }
    sleep_until(from + effort.duration, stop)?;
    Ok(forwarded.zip(before).map(|(seen, before)| Forwarded {
        resets: seen.resets - before.resets,
        ..seen
    }))
}

fn timeline(arrivals: &Arrivals, slots: &Slots, length: Duration) -> Result<Timeline> {
    let slots_of = |length: Duration| length.as_millis().div_ceil(SLOT.as_millis());
    let mut sent = slots.counts();
    sent.truncate(usize::try_from(slots_of(length))?);
    let until = usize::try_from(slots_of(length + IN_FLIGHT))?;
    let leaked = arrivals.forged(until).context("reading what leaked")?;
    Ok(Timeline { sent, leaked })
}
