//! Benign captures, at their own pace, at a host that nobody attacks: nothing may be dropped.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::attack::Replay;
use super::topology::ATTACKER_PORT;
use super::trial::Stage;
use super::{Options, attack_cpu};
use crate::daemon::outcomes::Outcomes;
use crate::interrupt::sleep_until;
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

/// Replays all captures one after another at one host.
pub(super) fn run(
    daemon: &Path,
    options: &Options,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Benign>> {
    let stage = Stage::build(Some(daemon), &[])?;
    let longest = LONGEST.min(options.duration);
    let mut all = Vec::new();
    for path in &options.benign {
        let capture = path.file_stem().unwrap_or_default().to_string_lossy();
        let benign = match Replay::read(path) {
            Ok(replay) => one(&stage, &capture, replay, longest, stop)?,
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
