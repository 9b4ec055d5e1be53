//! A boot, timed: by itself in its suite, for tests that attach programs beside it would have it wait for
//! theirs (the kernel waits for all CPUs at each attachment).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::flood::{LISTED, LISTS};
use xdp_tests::daemon::scene::{HOST, PEER, Scene, from_v4};
use xdp_tests::daemon::standing::sections;
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::netns::link::{Attachment, End, veth_pair};
use xdp_tests::require_kernel;
use xdp_tests::traffic::counter::Counter;
use xdp_tests::traffic::sender::{Load, Sender};
use xdp_tests::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A boot: nothing is pinned, and one of three interfaces isn't there.
#[test]
fn the_others_are_protected_within_a_second_and_the_missing_one_within_a_second_of_its_coming()
-> Result<()> {
    require_kernel!(
        "the_others_are_protected_within_a_second_and_the_missing_one_within_a_second_of_its_coming"
    );
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let (host, peer) = (
        End::new(&scene.host, "host1"),
        End::new(&scene.peer, "peer1"),
    );
    veth_pair(host, peer, 1500)?;
    let names = sections(&[HOST, "late0", "host1"], "");
    let config = format!("{names}{LISTS}{}", bpffs.section());
    let mut daemon = Daemon::prepare(&scene.host, &binary()?, &config)?;
    let floods = [(HOST, PEER), ("host1", "peer1")]
        .map(|(host, peer)| Unprotected::start(&scene, host, peer));
    let floods = floods.into_iter().collect::<Result<Vec<_>>>()?;
    let before: Vec<u64> = floods.iter().map(Unprotected::so_far).collect();
    daemon.restart()?;
    for (flood, before) in floods.into_iter().zip(before) {
        let name = flood.name;
        let through = flood.stop()?.saturating_sub(before);
        println!("{name}: {through} packets before it was protected, at {RATE} each second");
        ensure!(
            scene.host.xdp_attachment(name)? == Attachment::Native,
            "{name} is not attached"
        );
        ensure!(through <= RATE, "{name}: {through} packets came through");
    }
    let status = daemon.status()?;
    let late = status.interfaces.iter().find(|one| one.name == "late0");
    let late = late.context("not in the status")?;
    let waiting = late.waiting.map(xdp_user::api::types::WaitReason::name);
    ensure!(waiting == Some("missing"), "{late:?}");
    let come = Instant::now();
    scene.host.ip(&[
        "link", "add", "late0", "type", "veth", "peer", "name", "end0",
    ])?;
    wait_until("it to be attached", TIMEOUT, || {
        let attached = scene.host.xdp_attachment("late0");
        attached.is_ok_and(|now| now == Attachment::Native)
    })?;
    let took = come.elapsed();
    println!("late0: attached {} ms after its coming", took.as_millis());
    ensure!(took <= Duration::from_secs(1), "after {took:?}");
    Ok(())
}

/// A steady rate of packets of a blocked source, which come through until their interface is protected: so
/// many are a second.
const RATE: u64 = 1_000;

struct Unprotected {
    name: &'static str,
    sender: Sender,
    through: Counter,
}

impl Unprotected {
    fn start(scene: &Scene, host: &'static str, peer: &str) -> Result<Self> {
        let listed: [u8; 4] = LISTED.parse::<std::net::Ipv4Addr>()?.octets();
        let through = Counter::start(&scene.host, host, move |frame| {
            frame.get(26..30) == Some(&listed)
        })?;
        let load = Load {
            rate: RATE,
            count: u64::MAX,
            ..Load::once(vec![from_v4(LISTED).udp(1, 2).build()])
        };
        let sender = Sender::start(&scene.peer, peer, load)?;
        through.wait_for(50, TIMEOUT)?;
        Ok(Self {
            name: host,
            sender,
            through,
        })
    }

    /// How many were sent: by the sender's count, as the counter may be late.
    fn so_far(&self) -> u64 {
        self.sender.sent_so_far()
    }

    fn stop(self) -> Result<u64> {
        let sent = self.sender.sent_so_far();
        wait_until("more of the flood", TIMEOUT, || {
            self.sender.sent_so_far() > sent + 200
        })?;
        self.sender.stop()?;
        let seen = self.through.stop()?;
        // What the counter had no time for came through, too.
        Ok(seen.matched + seen.lost)
    }
}
