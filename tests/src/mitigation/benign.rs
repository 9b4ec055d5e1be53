//! Benign captures, at their own pace, at a host that nobody attacks: nothing may be dropped.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::attack::Replay;
use super::behind::Host;
use super::topology::ATTACKER_PORT;
use super::trial::Stage;
use super::{Options, attack_cpu};
use crate::daemon::outcomes::Outcomes;
use crate::interrupt::sleep_until;
use crate::prometheus::{Prometheus, RuleFile, Series};
use crate::traffic::frames::Frames;
use crate::traffic::sender::{Load, Sender};
use crate::wait::wait_until;

/// Only so much of each capture is replayed.
const LONGEST: Duration = Duration::from_secs(10);
/// The daemon has counted a packet that was sent by then, on a busy machine.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// What became of one capture.
#[derive(Clone, Debug, Serialize)]
pub struct Benign {
    /// The file's name.
    pub capture: String,
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that got lost before the host's interface, for want of room: nobody judged them.
    pub lost: u64,
    /// Packets that the throttler did anything else with than to pass them on.
    pub not_passed: u64,
    /// By the daemon's count.
    pub outcomes: Outcomes,
    /// Why nothing was sent.
    pub error: Option<String>,
}

/// What a real Prometheus with our rules made of benign captures.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Every capture.
    pub benign: Vec<Benign>,
    /// The most packets a second that a rule recorded.
    pub highest_rate: f64,
    /// Every alert that was pending or firing at any time.
    pub alerts: Vec<Series>,
}

/// Replays captures at a host whose daemon a real Prometheus with these rules scrapes; at most so much
/// of each.
///
/// # Errors
/// When something can't be made, or Prometheus doesn't answer.
pub fn alerts_over(
    daemon: &Path,
    captures: &[PathBuf],
    longest: Duration,
    rules: &[RuleFile],
) -> Result<Watched> {
    let stage = Stage::build(Host::Plain, Some(daemon), &[])?;
    let target = stage.daemon.as_ref().context("no daemon")?;
    let prometheus = Prometheus::start_with(&stage.topology.host, target.metrics_address(), rules)?;
    let started = Instant::now();
    let never = AtomicBool::new(false);
    let benign = all(&stage, captures, longest.min(LONGEST), &never, &mut |_| {})?;
    let span = started.elapsed();
    let rates = prometheus.query_range("instance_interface:xdp_throttle_packets:rate1m", span)?;
    Ok(Watched {
        benign,
        highest_rate: rates.iter().filter_map(Series::max).fold(0.0, f64::max),
        alerts: prometheus.query_range("ALERTS", span)?,
    })
}

/// Replays all captures one after another at one host.
pub(super) fn run(
    daemon: &Path,
    options: &Options,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Benign>> {
    let stage = Stage::build(options.host, Some(daemon), &[])?;
    let longest = LONGEST.min(options.duration);
    all(&stage, &options.benign, longest, stop, progress)
}

fn all(
    stage: &Stage,
    captures: &[PathBuf],
    longest: Duration,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Benign>> {
    let mut all = Vec::new();
    for path in captures {
        let capture = path.file_stem().unwrap_or_default().to_string_lossy();
        let benign = match Replay::read(path) {
            Ok(replay) => one(stage, &capture, replay, longest, stop)?,
            Err(error) => Benign {
                capture: capture.into_owned(),
                sent: 0,
                lost: 0,
                not_passed: 0,
                outcomes: Outcomes::default(),
                error: Some(format!("{error:#}")),
            },
        };
        progress(&format!(
            "benign {}: {} packets, {} not passed",
            benign.capture, benign.sent, benign.not_passed
        ));
        all.push(benign);
    }
    Ok(all)
}

fn one(
    stage: &Stage,
    capture: &str,
    replay: Replay,
    longest: Duration,
    stop: &AtomicBool,
) -> Result<Benign> {
    let Replay { attack, mut times } = replay;
    times.retain(|time| *time <= longest);
    let frames: Frames = attack.frames.iter().take(times.len()).collect();
    let (before, lost) = (stage.outcomes()?, stage.topology.lost()?);
    let load = Load {
        times: Some(times.into()),
        cpu: Some(attack_cpu()),
        ..Load::once(frames)
    };
    let count = load.count;
    let sender = Sender::start(&stage.topology.attacker, ATTACKER_PORT, load)?;
    while sender.sent_so_far() < count && !sender.is_finished() {
        sleep_until(Instant::now() + Duration::from_millis(20), stop)?;
    }
    let sent = sender.wait()?.frames;
    let mut outcomes = Outcomes::default();
    // Those that got lost are told beside; then the time runs out.
    let counted = wait_until("the daemon to count all packets", COUNT_TIMEOUT, || {
        let now = stage.outcomes().unwrap_or_default();
        outcomes = now.since(&before);
        outcomes.all() >= sent
    });
    let lost = stage.topology.lost()? - lost;
    if lost == 0 {
        counted?;
    }
    Ok(Benign {
        capture: capture.to_owned(),
        sent,
        lost,
        not_passed: outcomes.all() - outcomes.passed(),
        outcomes,
        error: None,
    })
}
