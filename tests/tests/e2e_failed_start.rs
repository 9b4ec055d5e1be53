//! A start that fails for one of its interfaces takes nothing away: what was protected stays protected,
//! without a packet of a blocked source through and without an honest one lost, and what the start
//! attached is taken off again. What else can be in a start's way is in `e2e_failed_start_host.rs`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::flood::{LISTED, LISTS};
use xdp_tests::daemon::scene::{HOST, PEER, Scene, from_v4};
use xdp_tests::daemon::standing::{Ending, Obstacle, Standing, sections, usual, with_one_more};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::netns::link::{Attachment, End, veth_pair};
use xdp_tests::netns::stranger::Stranger;
use xdp_tests::require_kernel;
use xdp_tests::traffic::counter::Counter;
use xdp_tests::traffic::sender::{Load, Sender};
use xdp_tests::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);
/// Without native XDP: a bridge without ports.
const PLAIN: &str = "plain0";
/// Has somebody else's program.
const HELD: &str = "held0";
/// Goes while no daemon runs.
const GOES: &str = "goes0";
const PLACES: [&str; 3] = ["first", "middle", "last"];
const REQUIRED: &str = "required = true\n";
const REQUIRED_NATIVE: &str = "required = true\nattach = \"native\"\n";

fn meets_all(standing: &mut Standing, obstacles: &[Obstacle]) -> Result<()> {
    for ending in Ending::ALL {
        for obstacle in obstacles {
            standing.meets(ending, obstacle)?;
        }
    }
    Ok(())
}

#[test]
fn an_interface_that_can_not_be_attached_costs_the_others_nothing() -> Result<()> {
    require_kernel!("an_interface_that_can_not_be_attached_costs_the_others_nothing");
    let mut standing = Standing::start("", |scene, _| {
        let ends = (End::new(&scene.host, HELD), End::new(&scene.peer, "heldp0"));
        veth_pair(ends.0, ends.1, 1500)?;
        scene.host.add_bridge(PLAIN, &[])
    })?;
    let _stranger = Stranger::attach(&standing.scene.host, HELD)?;
    let mut obstacles = Vec::new();
    for (what, name, keys) in [
        ("missing", "absent0", REQUIRED),
        ("held", HELD, REQUIRED),
        ("no native mode", PLAIN, REQUIRED_NATIVE),
    ] {
        for (place, at) in PLACES.iter().zip(0..) {
            let interfaces = with_one_more(at, name, keys);
            obstacles.push(Obstacle::new(format!("{what}, {place}"), interfaces));
        }
    }
    meets_all(&mut standing, &obstacles)?;
    standing.finish()
}

#[test]
fn an_interface_that_is_renamed_or_goes_while_no_daemon_runs_costs_the_others_nothing() -> Result<()>
{
    require_kernel!(
        "an_interface_that_is_renamed_or_goes_while_no_daemon_runs_costs_the_others_nothing"
    );
    let come = |scene: &Scene| {
        let add = [
            "link", "add", GOES, "type", "veth", "peer", "name", "goesp0",
        ];
        scene.host.ip(&add).map(drop)
    };
    let mut standing = Standing::start(&sections(&[GOES], ""), |scene, _| come(scene))?;
    let mut obstacles = Vec::new();
    for (place, at) in PLACES.iter().zip(0..) {
        let interfaces = with_one_more(at, GOES, REQUIRED);
        let gone = Obstacle::new(format!("gone, {place}"), interfaces);
        obstacles.push(gone.with(
            |standing| standing.scene.host.ip(&["link", "del", GOES]).map(drop),
            move |standing| come(&standing.scene),
        ));
        // Another device has its name now, and can't be protected. The good start finds none of that
        // name, and follows the one that had it.
        let name = [HOST, "host1", "host2"][at];
        let section = format!("name = \"{name}\"\n");
        let interfaces = format!("[[interface]]\nname = \"new0\"\n{}", usual());
        let interfaces = interfaces.replace(&section, &format!("{section}{REQUIRED_NATIVE}"));
        let renamed = Obstacle::new(format!("renamed, {place}"), interfaces).with(
            move |standing| {
                standing.rename(at, "moved0")?;
                standing.scene.host.add_bridge(name, &[])
            },
            move |standing| standing.scene.host.ip(&["link", "del", name]).map(drop),
        );
        obstacles.push(Obstacle {
            settle: Box::new(move |standing| standing.rename(at, name)),
            ..renamed
        });
    }
    meets_all(&mut standing, &obstacles)?;
    standing.finish()
}

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
    daemon.run_before_others();
    // What the kernel takes to attach a program to each is not the daemon's time: it waits for all CPUs.
    let bare = Instant::now();
    for name in [HOST, "host1"] {
        drop(Stranger::attach(&scene.host, name)?);
    }
    let bare = u64::try_from(bare.elapsed().as_millis())?;
    println!("bare: a trivial program attached to both and detached in {bare} ms");
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
        ensure!(
            through <= RATE + bare * RATE / 1_000,
            "{name}: {through} packets came through"
        );
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
            before_others: true,
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
