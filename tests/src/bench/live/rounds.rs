//! One measurement, and what has to be true for it to count.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use super::flood::Flood;
use super::lane::Lane;
use super::receiver::{Installed, Receiver};
use super::{Aim, Effort, Sources};

/// Share of the sent packets that the receiver must have got, and of those that it must have dropped by its
/// own count.
const MOST: f64 = 0.999;
/// Passes that a receiver gets to learn the sources, where it has to.
const WARM_UPS: u64 = 20;
/// Their sequences are other ones than those of the rounds.
const NOT_A_ROUND: u64 = 1 << 32;
/// Packets of a pass, and of every send of a run that isn't about time.
const PASS: u32 = 1_000_000;
const FEW: u32 = 20_000;
/// However quick the receiver is.
const LIMIT: u32 = 20_000_000;

/// A receiver on its wire.
pub(super) struct Stand {
    pub(super) receiver: Receiver,
    lane: Lane,
    installed: Box<dyn Installed>,
    /// What it had dropped after the last send; nothing comes between two.
    dropped: u64,
}

/// A receiver under a kind of flood, with what each round has shown.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) receiver: Receiver,
    pub(super) sources: Sources,
    /// Of each round.
    packets: u32,
    pub(super) samples: Vec<Sample>,
}

/// What one round has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Nanoseconds of the receiver's CPU time per packet.
    pub(super) ns: f64,
}

/// Packets of one send, and the CPU time that they took.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    packets: u32,
    handled: u64,
    dropped: u64,
    cpu_ns: u64,
}

impl Stand {
    /// Installs the receiver on a new wire, to be processed on `cpu`.
    pub(super) fn new(
        receiver: Receiver,
        number: usize,
        flood: &Flood,
        cpu: usize,
        listed: &[Ipv4Addr],
    ) -> Result<Self> {
        let mut lane = Lane::new(flood.namespace(), number)?;
        let installed = receiver.install(&lane, listed)?;
        lane.process_on(cpu)?;
        Ok(Self {
            receiver,
            dropped: installed.dropped(&lane)?,
            lane,
            installed,
        })
    }

    /// Fills caches, lets the receiver learn the sources, and finds out how many packets it handles in the
    /// time that a round has.
    pub(super) fn warm_up(
        &mut self,
        flood: &mut Flood,
        sources: Sources,
        effort: Effort,
    ) -> Result<Trial> {
        let pass = effort.round_ns.map_or(FEW, |_| PASS);
        let mut sent = Sent::default();
        for position in 0..WARM_UPS {
            let aim = sources.aim(effort.listed, NOT_A_ROUND + position);
            sent = self.send(flood, aim, pass)?;
            if sent.is_what_it_claims() {
                break;
            }
        }
        self.check(sent)?;
        let packets = effort
            .round_ns
            .map_or(FEW, |round_ns| packets_for(round_ns, sent.sample().ns));
        Ok(Trial {
            receiver: self.receiver,
            sources,
            packets,
            samples: Vec::new(),
        })
    }

    /// One round of a trial.
    pub(super) fn measure(
        &mut self,
        flood: &mut Flood,
        trial: &Trial,
        listed: u32,
        round: u64,
    ) -> Result<Sample> {
        let sent = self.send(flood, trial.sources.aim(listed, round), trial.packets)?;
        self.check(sent)?;
        Ok(sent.sample())
    }

    fn send(&mut self, flood: &mut Flood, aim: Aim, packets: u32) -> Result<Sent> {
        let before = self.lane.reading()?;
        flood.send(self.lane.sender_end, aim, packets)?;
        let after = self.lane.reading()?;
        let dropped = self.installed.dropped(&self.lane)?;
        let dropped_before = std::mem::replace(&mut self.dropped, dropped);
        Ok(Sent {
            packets,
            handled: after.handled - before.handled,
            dropped: dropped - dropped_before,
            cpu_ns: after.cpu_ns - before.cpu_ns,
        })
    }

    fn check(&self, sent: Sent) -> Result<()> {
        ensure!(
            sent.is_what_it_claims(),
            "{} dropped {} of {} packets, and {} were sent; this measurement says nothing",
            self.receiver.name(),
            sent.dropped,
            sent.handled,
            sent.packets
        );
        Ok(())
    }
}

impl Sent {
    /// Nearly all packets arrived, and nearly all of them were dropped by the receiver's own count.
    fn is_what_it_claims(self) -> bool {
        self.handled > 0
            && self.handled as f64 >= f64::from(self.packets) * MOST
            && self.dropped <= self.handled
            && self.dropped as f64 >= self.handled as f64 * MOST
    }

    fn sample(self) -> Sample {
        Sample {
            ns: self.cpu_ns as f64 / self.handled as f64,
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded by the line above"
)]
fn packets_for(round_ns: f64, packet_ns: f64) -> u32 {
    (round_ns / packet_ns.max(1.0)).clamp(FEW.into(), LIMIT.into()) as u32
}

#[cfg(test)]
impl Trial {
    pub(super) fn with(receiver: Receiver, sources: Sources, samples: Vec<Sample>) -> Self {
        Self {
            receiver,
            sources,
            packets: 0,
            samples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(handled: u64, dropped: u64) -> Sent {
        Sent {
            packets: 10_000,
            handled,
            dropped,
            cpu_ns: 400_000,
        }
    }

    #[test]
    fn a_measurement_counts_when_the_receiver_dropped_what_arrived() {
        assert!(sent(10_000, 10_000).is_what_it_claims());
        assert!(sent(10_000, 9_990).is_what_it_claims());
        assert!(!sent(10_000, 9_989).is_what_it_claims());
        assert!(!sent(10_000, 10_001).is_what_it_claims());
        assert!(sent(9_990, 9_990).is_what_it_claims());
        assert!(!sent(9_989, 9_989).is_what_it_claims());
        assert!(!sent(0, 0).is_what_it_claims());
    }

    #[test]
    fn a_sample_is_per_handled_packet() {
        let sample = sent(2_000, 2_000).sample();
        assert!((sample.ns - 200.0).abs() < 1e-9);
    }
}
