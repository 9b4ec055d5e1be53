//! Packets that must be judged alike before, during and after every change.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use xdp_common::reason::{Action, Reason};

use super::super::cases::Family;
use super::super::measure::cpus;
use super::lists::{Side, unlisted};
use crate::kernel::{Kernel, Runner, pin_to_cpu};
use crate::packet::Packet;
use xdp_user::api::types::ListKind;
use xdp_user::datapath::Datapath as _;
use xdp_user::domain::Prefix;

/// Packets, and how many of them were judged otherwise than they had to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) packets: u64,
    pub(super) misjudged: u64,
}

/// What runs beside the changes.
pub(super) struct Traffic {
    runner: Runner,
    frames: Vec<(Reason, Vec<u8>)>,
}

/// Sources that stay as they are: listed, allowed although listed, not listed.
const KEPT: [(Reason, &str); 4] = [
    (Reason::Blocklisted, "203.0.113.1"),
    (Reason::Allowlisted, "203.0.113.129"),
    (Reason::Blocklisted, "2001:db8:1::1"),
    (Reason::Allowlisted, "2001:db8:2::1"),
];
const BLOCKED: [&str; 3] = ["203.0.113.0/24", "2001:db8:1::/64", "2001:db8:2::1"];
const ALLOWED: [&str; 2] = ["203.0.113.128/25", "2001:db8:2::/48"];

impl Traffic {
    /// Lists what is to stay listed.
    pub(super) fn new(kernel: &mut Kernel) -> Result<Self> {
        let runner = kernel.runner()?;
        let lists = [(ListKind::Block, &BLOCKED[..]), (ListKind::Allow, &ALLOWED)];
        for (kind, texts) in lists {
            for text in texts {
                let prefix: Prefix = text.parse()?;
                kernel.datapath().put_entry(kind, &prefix, 0, 0)?;
            }
        }
        let mut frames = Vec::new();
        for (reason, source) in KEPT {
            frames.push((reason, frame(source.parse()?)?));
        }
        for family in Family::ALL {
            for side in [Side::First, Side::Second] {
                frames.push((Reason::Accepted, frame(unlisted(family, side))?));
            }
        }
        Ok(Self { runner, frames })
    }

    /// Runs on another CPU as long as `work` does.
    pub(super) fn beside(
        &self,
        kernel: &mut Kernel,
        work: impl FnOnce(&mut Kernel) -> Result<()>,
    ) -> Result<Seen> {
        let cpu = cpus(2).context("the traffic needs a CPU of its own")?[1];
        let before = kernel.counters()?;
        let is_over = AtomicBool::new(false);
        let mut seen = thread::scope(|scope| {
            let traffic = scope.spawn(|| {
                pin_to_cpu(cpu)?;
                self.run(&is_over)
            });
            let worked = work(kernel);
            is_over.store(true, Ordering::Release);
            let seen = traffic.join();
            worked?;
            seen.map_err(|_| anyhow!("the traffic's thread panicked"))?
        })?;
        // The actions alone don't tell why a packet passed.
        let counted = kernel.counters()?.since(&before);
        for reason in [Reason::Blocklisted, Reason::Allowlisted, Reason::Accepted] {
            let frames = self.frames.iter().filter(|(own, _)| *own == reason).count();
            let ran = seen.packets / self.frames.len() as u64 * frames as u64;
            let strayed = counted.packets(reason).abs_diff(ran);
            seen.misjudged = seen.misjudged.max(strayed);
        }
        Ok(seen)
    }

    /// Whole turns over all frames.
    fn run(&self, is_over: &AtomicBool) -> Result<Seen> {
        let mut seen = Seen::default();
        while !is_over.load(Ordering::Acquire) {
            for (reason, frame) in &self.frames {
                let dropped = self.runner.run(frame, 1)? == Action::Drop;
                seen.packets += 1;
                seen.misjudged += u64::from(dropped != (*reason == Reason::Blocklisted));
            }
        }
        Ok(seen)
    }
}

fn frame(source: IpAddr) -> Result<Vec<u8>> {
    let destination = match source {
        IpAddr::V4(_) => "198.51.100.1",
        IpAddr::V6(_) => "2001:db8:ffff::1",
    };
    let packet = Packet::between(source, destination.parse()?);
    Ok(packet.context("two families")?.udp(4000, 53).build())
}
