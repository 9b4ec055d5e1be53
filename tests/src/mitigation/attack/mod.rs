//! What is sent at the host: captures of real attacks, or floods made here.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

mod answers;
mod generate;
pub(crate) mod rewrite;
mod twice;

pub use generate::Builtin;

use super::arrivals::is_honest;
use super::topology::target;
use crate::capture::Capture;
use crate::traffic::frames::Frames;
use rewrite::{Unfit, aimed, is_supported};

/// Every run of the same length sends the same.
const SEED: u64 = 0x7468_726f_7474_6c65;

/// One attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Made here.
    Builtin(Builtin),
    /// From a file.
    Capture(PathBuf),
}

impl Attack {
    /// Its name on the scorecard.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Builtin(builtin) => builtin.name(),
            Self::Capture(path) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                format!("capture_{}", stem.replace(char::is_whitespace, "_"))
            }
        }
    }

    /// Whether it does what honest clients do to get in.
    pub(super) fn cheats(&self) -> bool {
        match self {
            Self::Builtin(builtin) => builtin.cheats(),
            Self::Capture(_) => false,
        }
    }

    /// Its frames, enough for so many packets, to be sent at `rate` a second, if it is made here.
    pub(super) fn prepare(&self, packets: u64, rate: u64) -> Result<Prepared> {
        match self {
            Self::Builtin(builtin) => {
                let (count, rate) = (usize::try_from(packets)?, usize::try_from(rate)?);
                let frames = builtin.frames(count, rate, SEED, &target());
                Ok(Prepared::new(frames, Notes::default()))
            }
            Self::Capture(path) => Replay::read(path).map(|replay| replay.attack),
        }
    }
}

/// Frames ready to send.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) frames: Arc<Frames>,
    /// Different source addresses.
    pub(super) sources: usize,
    pub(super) notes: Notes,
}

impl Prepared {
    fn new(frames: Frames, notes: Notes) -> Self {
        let sources: HashSet<&[u8]> = frames.iter().map(source).collect();
        Self {
            sources: sources.len(),
            frames: Arc::new(frames),
            notes,
        }
    }
}

fn source(frame: &[u8]) -> &[u8] {
    let place = match frame.get(12..14) {
        Some([0x08, 0x00]) => 26..30,
        _ => 22..38,
    };
    frame.get(place).unwrap_or_default()
}

/// What of a capture isn't as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// Packets that are left out.
    pub(super) unfit: BTreeMap<Unfit, usize>,
    /// Packets that the capture had cut; zeros are in the place of what is missing.
    pub(super) filled: usize,
}

/// A capture aimed at the host, with its own times.
pub(super) struct Replay {
    pub(super) attack: Prepared,
    /// When each frame is due after the first.
    pub(super) times: Vec<Duration>,
}

impl Replay {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let capture = Capture::read(path)?;
        let (mut frames, mut times, mut notes) = (Frames::default(), Vec::new(), Notes::default());
        for packet in &capture.packets {
            ensure!(
                is_supported(packet.link),
                "{}: link type {} is not supported: only Ethernet, raw IP, Linux cooked (SLL, \
                 SLL2) and BSD loopback are",
                path.display(),
                packet.link
            );
            let frame = aimed(packet, &target()).and_then(|frame| match is_honest(&frame) {
                true => Err(Unfit::Honest),
                false => Ok(frame),
            });
            match frame {
                Ok(frame) => {
                    frames.push(&frame);
                    times.push(packet.at);
                    notes.filled += usize::from(packet.filled);
                }
                Err(unfit) => *notes.unfit.entry(unfit).or_default() += 1,
            }
        }
        ensure!(!frames.is_empty(), "{}: no IP packet", path.display());
        // Captures of several interfaces may be out of order by a little.
        let mut latest = Duration::ZERO;
        for time in &mut times {
            latest = latest.max(*time);
            *time = latest;
        }
        Ok(Self {
            attack: Prepared::new(frames, notes),
            times,
        })
    }
}
