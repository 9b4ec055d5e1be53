//! A start that fails takes nothing away: what was protected stays protected, without a packet of a
//! blocked source through, and what the start attached is taken off again.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::flood::{LISTED, LISTS};
use xdp_tests::daemon::scene::{HOST, PEER, Scene, from_v4};
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
const ENDS: [&str; 3] = ["stop", "kill -9", "upgrade"];

/// Packets of a blocked source on one interface, and how many got through.
struct Blocked {
    sender: Sender,
    through: Counter,
}

impl Blocked {
    fn start(scene: &Scene, host: &str, peer: &str) -> Result<Self> {
        let listed: [u8; 4] = LISTED.parse::<std::net::Ipv4Addr>()?.octets();
        let through = Counter::start(&scene.host, host, move |frame| {
            frame.get(26..30) == Some(&listed)
        })?;
        let load = Load {
            rate: 1_000,
            count: u64::MAX,
            duration: Duration::from_secs(600),
            ..Load::once(vec![from_v4(LISTED).udp(1, 2).build()])
        };
        let sender = Sender::start(&scene.peer, peer, load)?;
        Ok(Self { sender, through })
    }

    fn goes_on(&self) -> Result<()> {
        let before = self.sender.sent_so_far();
        wait_until("more of the flood", TIMEOUT, || {
            self.sender.sent_so_far() > before + 50
        })
    }
}

/// Sections of these interfaces, one of which may have further keys.
fn sections(names: &[&str], keys: &str) -> String {
    let section = |name: &&str| match [HOST, "host1", "host2"].contains(name) {
        true => format!("[[interface]]\nname = \"{name}\"\n"),
        false => format!("[[interface]]\nname = \"{name}\"\n{keys}"),
    };
    names.iter().map(section).collect()
}

#[test]
fn a_start_that_fails_lets_nothing_through_and_takes_off_what_it_attached() -> Result<()> {
    require_kernel!("a_start_that_fails_lets_nothing_through_and_takes_off_what_it_attached");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let ends = |name, peer| (End::new(&scene.host, name), End::new(&scene.peer, peer));
    for (name, peer) in [("host1", "peer1"), ("new0", "newp0"), (HELD, "heldp0")] {
        let (host, peer) = ends(name, peer);
        veth_pair(host, peer, 1500)?;
    }
    scene.host.add_bridge(PLAIN, &[])?;
    let _stranger = Stranger::attach(&scene.host, HELD)?;
    let rest = |sources: u32| {
        format!(
            "{LISTS}[capacity]\nsources = {sources}\n{}",
            bpffs.section()
        )
    };
    let protected = [HOST, "host1"];
    let mut sources = 4096;
    let good = |sources| format!("{}{}", sections(&protected, ""), rest(sources));
    let mut daemon = Daemon::start(&scene.host, &good(sources))?;
    let floods = [
        Blocked::start(&scene, HOST, PEER)?,
        Blocked::start(&scene, "host1", "peer1")?,
    ];
    let mut failures: Vec<(String, String)> = Vec::new();
    for (what, name, keys) in [
        ("missing", "absent0", "required = true\n"),
        ("held", HELD, "required = true\n"),
        (
            "no native mode",
            PLAIN,
            "required = true\nattach = \"native\"\n",
        ),
    ] {
        for (place, at) in [("first", 0), ("middle", 2), ("last", 3)] {
            // One more that is new: the failed start has to let go of it again.
            let mut names = vec![HOST, "new0", "host1"];
            names.insert(at, name);
            failures.push((format!("{what}, {place}"), sections(&names, keys)));
        }
    }
    let all = sections(&[HOST, "new0", "host1"], "");
    failures.push(("metrics port taken".to_owned(), all.clone()));
    failures.push((
        "configuration wrong".to_owned(),
        format!("{all}wrong = 1\n"),
    ));
    for end in ENDS {
        for (what, interfaces) in &failures {
            floods.iter().try_for_each(Blocked::goes_on)?;
            match end {
                "kill -9" => daemon.kill9()?,
                _ => ensure!(daemon.terminate()?.success(), "{}", daemon.log()),
            }
            if end == "upgrade" {
                sources = if sources == 4096 { 8192 } else { 4096 };
            }
            daemon.write_config(&format!("{interfaces}{}", rest(sources)))?;
            let taken = (what == "metrics port taken").then(|| {
                let bound = || TcpListener::bind(daemon.metrics_address());
                scene.host.run(bound)
            });
            let taken = taken.transpose()?.transpose()?;
            let failed = daemon.restart().is_err();
            drop(taken);
            ensure!(failed, "{end}, {what}: it started: {}", daemon.log());
            floods.iter().try_for_each(Blocked::goes_on)?;
            for name in protected {
                let attached = scene.host.xdp_attachment(name)?;
                ensure!(
                    attached == Attachment::Native,
                    "{end}, {what}: {name} is {attached:?}"
                );
            }
            let left = scene.host.xdp_attachment("new0")?;
            ensure!(left == Attachment::None, "{end}, {what}: new0 is {left:?}");
            daemon.write_config(&good(sources))?;
            daemon.restart()?;
            let start = daemon.status()?.pins.start;
            let wanted = if end == "upgrade" {
                "refilled"
            } else {
                "took_over"
            };
            ensure!(start == wanted, "{end}, {what}: {start}");
        }
    }
    for (flood, name) in floods.into_iter().zip(protected) {
        let (sent, through) = (flood.sender.stop()?, flood.through.stop()?);
        println!("{name}: {} sent, {} through", sent.frames, through.matched);
        ensure!(through.lost == 0, "the counter lost {}", through.lost);
        ensure!(
            through.matched == 0,
            "{} through on {name}",
            through.matched
        );
    }
    Ok(())
}

#[test]
fn an_interface_that_is_missing_at_the_start_is_protected_within_a_second_of_its_coming()
-> Result<()> {
    require_kernel!(
        "an_interface_that_is_missing_at_the_start_is_protected_within_a_second_of_its_coming"
    );
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let (host, peer) = (
        End::new(&scene.host, "host1"),
        End::new(&scene.peer, "peer1"),
    );
    veth_pair(host, peer, 1500)?;
    let names = sections(&[HOST, "late0", "host1"], "");
    let daemon = Daemon::start(&scene.host, &format!("{names}{LISTS}{}", bpffs.section()))?;
    for name in [HOST, "host1"] {
        ensure!(scene.host.xdp_attachment(name)? == Attachment::Native);
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
    println!("attached {} ms after its coming", took.as_millis());
    ensure!(took <= Duration::from_secs(1), "after {took:?}");
    Ok(())
}
