//! The daemon with a hook that a test names, and what is at the egress hooks of the host.

use std::time::Duration;

use anyhow::Result;
use aya::programs::{SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use xdp_tests::daemon::scene::{HOST, Scene, protecting};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::packet::Packet;
use xdp_tests::wait::wait_until;
use xdp_user::api::types::FlowMemoryState;

/// The hooks that the running kernel has, by name.
pub(crate) fn hooks() -> &'static [&'static str] {
    match has_tcx() {
        true => &["tcx", "clsact"],
        false => &["clsact"],
    }
}

/// Whether the kernel has tcx.
pub(crate) fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|now| now >= KernelVersion::new(6, 6, 0))
}

const TIMEOUT: Duration = Duration::from_secs(20);

/// A daemon that is yet to be started, with its flow memory complete at once.
pub(crate) fn prepare(scene: &Scene, hook: &str, rest: &str) -> Result<Daemon> {
    let mut daemon = Daemon::prepare(&scene.host, &binary()?, &protecting(rest))?;
    daemon.with_variable("XDP_THROTTLE_EGRESS_HOOK", hook);
    daemon.with_variable("XDP_THROTTLE_FLOW_WARM_UP", "0");
    Ok(daemon)
}

/// The same, started.
pub(crate) fn protect(scene: &Scene, hook: &str, rest: &str) -> Result<Daemon> {
    let mut daemon = prepare(scene, hook, rest)?;
    daemon.restart()?;
    wait_until_complete(&daemon)?;
    Ok(daemon)
}

pub(crate) fn wait_until_complete(daemon: &Daemon) -> Result<()> {
    let complete = || {
        let status = daemon.status();
        status.is_ok_and(|status| status.flow_memory.state == FlowMemoryState::Complete)
    };
    wait_until("the flow memory to be complete", TIMEOUT, complete)
}

/// Packets from strangers that nobody asked for: they spend a small budget.
fn strangers(packet: impl Fn(&str, u16) -> Packet) -> Vec<Vec<u8>> {
    let one = |number: u16| packet(&format!("198.18.1.{}", number + 1), 20_000 + number).build();
    (0..50).map(one).collect()
}

/// Spends a small budget.
pub(crate) fn spend(scene: &Scene, packet: impl Fn(&str, u16) -> Packet) -> Result<()> {
    scene.send(strangers(packet))
}

/// Whether a packet passes right behind packets of strangers that spend the budget.
pub(crate) fn passes_behind(
    scene: &Scene,
    packet: &Packet,
    stranger: impl Fn(&str, u16) -> Packet,
) -> Result<bool> {
    let mut frames = strangers(stranger);
    frames.push(packet.build());
    Ok(scene.passed(&frames)?.last() == Some(&true))
}

/// What is at the host's egress hooks.
#[derive(Debug)]
pub(crate) struct AtEgress {
    /// Programs at tcx, in order.
    pub(crate) tcx: Vec<Program>,
    /// Our filters of clsact.
    pub(crate) filters: usize,
}

/// A program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) id: u32,
    pub(crate) name: String,
}

/// Looks at the hooks.
pub(crate) fn at_egress(scene: &Scene) -> Result<AtEgress> {
    at_egress_of(scene, HOST)
}

pub(crate) fn at_egress_of(scene: &Scene, interface: &str) -> Result<AtEgress> {
    let query = || SchedClassifier::query_tcx(interface, TcAttachType::Egress);
    let programs = match has_tcx() {
        true => scene.host.run(query)??.1,
        false => Vec::new(),
    };
    let programs = programs.iter().map(|info| Program {
        id: info.id(),
        name: info.name_as_str().unwrap_or_default().to_owned(),
    });
    let arguments = ["filter", "show", "dev", interface, "egress"];
    let filters = scene.host.output("tc", &arguments)?;
    let ours = filters.matches("xdp-throttle egress").count();
    Ok(AtEgress {
        tcx: programs.collect(),
        filters: ours,
    })
}

impl AtEgress {
    /// Whether our program is there once, at this hook alone.
    pub(crate) fn is_at(&self, hook: &str) -> bool {
        let ours = self
            .tcx
            .iter()
            .filter(|one| one.name.starts_with("xdp_egress"));
        (ours.count(), self.filters) == if hook == "tcx" { (1, 0) } else { (0, 1) }
    }

    /// Whether it is nowhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.tcx.is_empty() && self.filters == 0
    }
}
