//! Ends of all kinds, and what is there after the next start.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::scene::{HOST, PEER, Scene, from_v4, from_v6, protecting};
use xdp_tests::netns::link::Attachment;
use xdp_tests::require_kernel;
use xdp_tests::traffic::sender::{Load, Sender};
use xdp_tests::wait::wait_until;
use xdp_user::api::types::{BanList, EntryPage, LimitList};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The kernel's numbers of a program and its maps.
struct Loaded {
    program: u32,
    maps: Vec<u32>,
}

impl Loaded {
    fn on_host(scene: &Scene) -> Result<Self> {
        let program = scene.host.xdp_program(HOST)?.context("no program")?;
        let info = aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .find(|info| info.id() == program)
            .context("the program isn't loaded")?;
        let maps = info.map_ids()?.context("the kernel tells no maps")?;
        Ok(Self { program, maps })
    }

    /// The kernel frees both some moments after their last user is gone.
    fn wait_until_gone(&self) -> Result<()> {
        assert!(self.maps.len() > 5, "{:?}", self.maps);
        wait_until("the program and its maps to be freed", TIMEOUT, || {
            let mut programs = aya::programs::loaded_programs().filter_map(Result::ok);
            let mut maps = aya::maps::loaded_maps().filter_map(Result::ok);
            programs.all(|info| info.id() != self.program)
                && maps.all(|info| !self.maps.contains(&info.id()))
        })
    }
}

fn passes(scene: &Scene, source: &str) -> Result<bool> {
    scene.passes(&from_v4(source).udp(1, 2))
}

fn pins(scene: &Scene) -> Result<String> {
    scene.host.output("ls", &["-A", "/sys/fs/bpf"])
}

fn restart(daemon: &mut Daemon, scene: &Scene) -> Result<()> {
    daemon.restart()?;
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::Native);
    Ok(())
}

#[test]
fn an_end_by_signal_leaves_nothing_behind() -> Result<()> {
    require_kernel!("an_end_by_signal_leaves_nothing_behind");
    let scene = Scene::new()?;
    let before = pins(&scene)?;
    let mut daemon = scene.protect("[block]\nprefixes = [\"203.0.113.7\"]\n")?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        assert!(!passes(&scene, "203.0.113.7")?);
        let loaded = Loaded::on_host(&scene)?;
        let status = daemon.end_by(signal)?;
        assert_eq!(status.code(), Some(0), "{}", daemon.log());
        assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::None);
        assert!(!daemon.socket_path().exists());
        assert_eq!(pins(&scene)?, before);
        loaded.wait_until_gone()?;
        assert!(passes(&scene, "203.0.113.7")?);
        restart(&mut daemon, &scene)?;
    }
    assert!(daemon.log().contains("detached"), "{}", daemon.log());
    Ok(())
}

#[test]
fn an_end_under_load_and_with_clients_waiting_is_clean_too() -> Result<()> {
    require_kernel!("an_end_under_load_and_with_clients_waiting_is_clean_too");
    let scene = Scene::new()?;
    let mut daemon = scene.protect("")?;
    let load = Load {
        rate: 20_000,
        count: u64::MAX,
        ..Load::once(vec![from_v4("203.0.113.7").udp(1, 2).build()])
    };
    let sender = Sender::start(&scene.peer, PEER, load)?;
    // A client that has connected and says nothing must not hold the end up.
    let _silent = std::os::unix::net::UnixStream::connect(daemon.socket_path())?;
    wait_until("traffic", TIMEOUT, || sender.sent_so_far() > 1000)?;
    let status = daemon.terminate()?;
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::None);
    sender.stop()?;
    Ok(())
}

#[test]
fn after_kill_9_the_kernel_detaches_and_all_that_was_acknowledged_comes_back() -> Result<()> {
    require_kernel!("after_kill_9_the_kernel_detaches_and_all_that_was_acknowledged_comes_back");
    let scene = Scene::new()?;
    let mut daemon = scene.protect("")?;
    daemon.cli_text(&["block", "add", "203.0.113.0/24", "--comment", "seen twice"])?;
    daemon.cli_text(&["block", "add", "192.0.2.1", "2001:db8::/48", "--for", "1h"])?;
    daemon.cli_text(&["allow", "add", "203.0.113.9"])?;
    let list: String = (0..2000)
        .map(|n| format!("100.64.{}.{}\n", n / 250, n % 250))
        .collect();
    let import = ["block", "import", "-", "--list", "feed"];
    assert!(
        daemon
            .cli_with_input(&import, list.as_bytes())?
            .status
            .success()
    );
    daemon.cli_text(&["block", "del", "192.0.2.1"])?;
    daemon.cli_text(&[
        "limit",
        "set",
        "--prefix",
        "198.51.100.0/24",
        "--packets",
        "off",
    ])?;
    // The last answer, and then at once the end.
    daemon.cli_text(&["limit", "set", "--packets", "77pps", "--packets-burst", "5"])?;
    daemon.kill9()?;

    wait_until("the kernel to detach", TIMEOUT, || {
        matches!(scene.host.xdp_attachment(HOST), Ok(Attachment::None))
    })?;
    assert!(passes(&scene, "203.0.113.7")?);
    assert!(daemon.socket_path().exists(), "nothing stale to take over");

    restart(&mut daemon, &scene)?;
    let of = |source: &str| passes(&scene, source);
    assert!(!of("203.0.113.7")? && of("203.0.113.9")? && of("192.0.2.1")?);
    assert!(!of("100.64.0.0")? && !of("100.64.7.249")? && of("100.64.8.0")?);
    assert!(!scene.passes(&from_v6("2001:db8::7").udp(1, 2))?);
    let page: EntryPage = daemon.ask(&["block", "list", "--match", "203.0.113.0/24"])?;
    assert_eq!(page.entries[0].comment.as_deref(), Some("seen twice"));
    let page: EntryPage = daemon.ask(&["block", "list", "--match", "2001:db8::/48"])?;
    assert!(page.entries[0].expires.is_some());
    let page: EntryPage = daemon.ask(&["block", "list"])?;
    assert_eq!(page.total, 2002);
    let limits: LimitList = daemon.ask(&["limit", "show"])?;
    let packets: Vec<Option<&str>> = limits
        .limits
        .iter()
        .map(|view| view.limits.packets.as_deref())
        .collect();
    assert_eq!(packets, [Some("77pps"), Some("off")]);
    assert_eq!(limits.limits[0].limits.packets_burst.as_deref(), Some("5"));
    Ok(())
}

#[test]
fn bans_come_back_after_kill_9_and_lifted_ones_do_not() -> Result<()> {
    require_kernel!("bans_come_back_after_kill_9_and_lifted_ones_do_not");
    let scene = Scene::new()?;
    let mut daemon = scene.protect(
        "[limits]\npackets = \"1pps\"\npackets_burst = 1\n[ban]\nstrikes = 1\nduration = \"1h\"\n",
    )?;
    for source in ["203.0.113.7", "203.0.113.8"] {
        let frames = |port| from_v4(source).udp(port, 2).build();
        scene.send((0..10).map(frames).collect())?;
        wait_until("the ban", TIMEOUT, || {
            daemon.log().contains(&format!("source={source}")) && daemon.log().contains("banned")
        })?;
    }
    daemon.cli_text(&["ban", "lift", "203.0.113.8"])?;
    let before: BanList = daemon.ask(&["ban", "list"])?;
    daemon.kill9()?;
    restart(&mut daemon, &scene)?;
    let after: BanList = daemon.ask(&["ban", "list"])?;
    assert_eq!(after.bans.len(), 1);
    assert_eq!(after.bans[0].source, before.bans[0].source);
    let moved = after.bans[0].until.duration_since(before.bans[0].until);
    assert!(
        moved.abs() < Duration::from_millis(50).try_into()?,
        "{moved}"
    );
    assert!(!passes(&scene, "203.0.113.7")?);
    assert!(passes(&scene, "203.0.113.8")?);
    Ok(())
}

#[test]
fn a_clean_restart_keeps_entries_limits_and_bans_too() -> Result<()> {
    require_kernel!("a_clean_restart_keeps_entries_limits_and_bans_too");
    let scene = Scene::new()?;
    let mut daemon = scene.protect("[ban]\nstrikes = 1\n")?;
    daemon.cli_text(&["block", "add", "203.0.113.7"])?;
    daemon.cli_text(&["limit", "set", "--packets", "1pps", "--packets-burst", "1"])?;
    let frames = |port| from_v4("192.0.2.7").udp(port, 2).build();
    scene.send((0..10).map(frames).collect())?;
    daemon.terminate()?;
    restart(&mut daemon, &scene)?;
    assert!(!passes(&scene, "203.0.113.7")?);
    assert!(!passes(&scene, "192.0.2.7")?);
    assert_eq!(daemon.status()?.bans, 1);
    Ok(())
}

#[test]
fn what_is_already_listed_is_dropped_from_the_first_packet_of_a_restart() -> Result<()> {
    require_kernel!("what_is_already_listed_is_dropped_from_the_first_packet_of_a_restart");
    let scene = Scene::new()?;
    let mut daemon = scene.protect("")?;
    let list: String = (0..20_000)
        .map(|n| format!("100.64.{}.{}\n", n / 250, n % 250))
        .collect();
    let import = ["block", "import", "-"];
    assert!(
        daemon
            .cli_with_input(&import, list.as_bytes())?
            .status
            .success()
    );
    daemon.terminate()?;
    let load = Load {
        rate: 2_000,
        count: u64::MAX,
        ..Load::once(vec![from_v4("100.64.79.249").udp(1, 2).build()])
    };
    let sender = Sender::start(&scene.peer, PEER, load)?;
    daemon.write_config(&protecting(""))?;
    restart(&mut daemon, &scene)?;
    wait_until("drops", TIMEOUT, || {
        daemon
            .dropped(xdp_common::reason::Reason::Blocklisted)
            .is_ok_and(|n| n > 100)
    })?;
    // No packet that the program saw was judged without its lists.
    let status = daemon.status()?;
    let passed = status.reasons.iter().filter(|c| c.action == "passed");
    assert_eq!(
        passed.map(|c| c.packets).sum::<u64>(),
        0,
        "{:?}",
        status.reasons
    );
    sender.stop()?;
    Ok(())
}
