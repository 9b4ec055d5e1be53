//! Interfaces whose frames begin with their IP header, and packets in PPPoE sessions: a blocked source
//! doesn't get through, an honest one does, and `explain` says so.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xdp_common::reason::Reason;
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::flood::{Flood, LISTED, LISTS};
use xdp_tests::daemon::scene::{HOST, Scene, from_v4, from_v6};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::netns::link::Attachment;
use xdp_tests::netns::tun::Tun;
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;
use xdp_tests::traffic::counter::Counter;

const TIMEOUT: Duration = Duration::from_secs(20);
const TUN: &str = "tun7";
const TUN_V4: &str = "10.78.0.1";
const EACH: u16 = 10_000;
/// Path of a daemon that was built from other sources.
const OTHER_BUILD: &str = "XDP_THROTTLE_OTHER_BUILD";
/// No limits and no classes: what is not listed passes.
const OPEN: &str = "[mitigation]\nenabled = false\n\
    [limits]\npackets = \"off\"\nbytes = \"off\"\ntcp_new = \"off\"\n";
/// No classes.
const CALM: &str = "[mitigation]\nenabled = false\n";

fn config(interfaces: &[&str], rest: &str) -> String {
    let named = interfaces.iter();
    let named = named.map(|name| format!("[[interface]]\nname = \"{name}\"\n"));
    named.collect::<String>() + LISTS + rest
}

/// A packet as the tun device receives it.
fn packet(source: &str, port: u16) -> Vec<u8> {
    Packet::v4(source, TUN_V4).udp(port, 9).build_bare()
}

/// Packets of a source that came through.
fn counter(scene: &Scene, source: &str) -> Result<Counter> {
    let source: Ipv4Addr = source.parse()?;
    let octets = source.octets();
    Counter::start(&scene.host, TUN, move |packet| {
        packet.get(12..16) == Some(&octets)
    })
}

fn explained(daemon: &Daemon, arguments: &[&str]) -> Result<(String, String)> {
    let said = daemon.cli_json(&[&["explain"], arguments].concat())?;
    let word = |name: &str| said[name].as_str().map(str::to_owned);
    let (action, reason) = (word("action"), word("reason"));
    action.zip(reason).with_context(|| said.to_string())
}

#[test]
fn on_a_tun_a_blocked_source_never_gets_through_and_honest_ones_always() -> Result<()> {
    require_kernel!("on_a_tun_a_blocked_source_never_gets_through_and_honest_ones_always");
    let scene = Scene::new()?;
    let mut tun = Tun::open(&scene.host, TUN, "10.78.0.1/24")?;
    let daemon = Daemon::start(&scene.host, &config(&[TUN], OPEN))?;
    ensure!(
        scene.host.xdp_attachment(TUN)? != Attachment::None,
        "not attached"
    );
    // The first two bytes of these lie where Ethernet has its type, and say IPv4 and IPv6 there.
    let honest = ["8.0.0.9", "134.221.0.9", "192.0.2.9"];
    let blocked = counter(&scene, LISTED)?;
    let passed = honest
        .iter()
        .map(|source| counter(&scene, source))
        .collect::<Result<Vec<_>>>()?;
    for port in 0..EACH {
        tun.send(&packet(LISTED, port))?;
        for source in honest {
            tun.send(&packet(source, port))?;
        }
        // No more at once than the counters' sockets have room for.
        if port % 20 == 19 {
            for counter in &passed {
                counter.wait_for(u64::from(port) + 1, TIMEOUT)?;
            }
        }
    }
    for (source, counter) in honest.iter().zip(passed) {
        let seen = counter.stop()?;
        println!("{source}: {seen:?}");
        ensure!(
            seen.matched == u64::from(EACH) && seen.lost == 0,
            "{seen:?}"
        );
    }
    let seen = blocked.stop()?;
    ensure!(seen.matched == 0 && seen.lost == 0, "{seen:?}");
    ensure!(daemon.dropped(Reason::Blocklisted)? == u64::from(EACH));
    for (source, expected) in [
        (LISTED, ("drop", "blocklisted")),
        ("8.0.0.9", ("pass", "accepted")),
        ("134.221.0.9", ("pass", "accepted")),
    ] {
        let (action, reason) = explained(&daemon, &[source, "--proto", "udp", "--interface", TUN])?;
        ensure!(
            (action.as_str(), reason.as_str()) == expected,
            "{source}: {action} {reason}"
        );
    }
    Ok(())
}

#[test]
fn in_a_pppoe_session_a_blocked_source_never_gets_through_and_an_honest_one_always() -> Result<()> {
    require_kernel!(
        "in_a_pppoe_session_a_blocked_source_never_gets_through_and_an_honest_one_always"
    );
    let scene = Scene::new()?;
    let daemon = scene.protect(&format!("{LISTS}{OPEN}"))?;
    let in_turn = |packet: Packet, port: u16| {
        let packet = packet.udp(port, 9);
        match port % 4 {
            0 => packet.pppoe(7),
            1 => packet.pppoe_compressed(7),
            2 => packet.vlan(5).pppoe(7),
            _ => packet.service_vlan(5).vlan(6).pppoe(7),
        }
        .build()
    };
    let of = |source: &str| -> Vec<Vec<u8>> {
        let each = (0..EACH).map(|port| in_turn(from_v4(source), port));
        each.collect()
    };
    let through = |passed: Vec<bool>| passed.into_iter().filter(|passed| *passed).count();
    ensure!(through(scene.passed(&of(LISTED))?) == 0);
    ensure!(through(scene.passed(&of("192.0.2.9"))?) == usize::from(EACH));
    let v6 = ["2001:db8:bad::9", "2001:db8:1::9"].map(|source| in_turn(from_v6(source), 0));
    ensure!(scene.passed(&v6)? == [false, true]);
    let lcp = Packet::other(0xc021).payload([1; 40]).pppoe(7);
    ensure!(scene.passes(&lcp)?, "LCP is not ours to judge");
    for (source, expected) in [
        (LISTED, ("drop", "blocklisted")),
        ("192.0.2.9", ("pass", "accepted")),
    ] {
        let (action, reason) = explained(&daemon, &[source, "--proto", "udp", "--pppoe"])?;
        ensure!(
            (action.as_str(), reason.as_str()) == expected,
            "{source}: {action} {reason}"
        );
    }
    Ok(())
}

/// What gets through a tun of one listed source and one honest one, a hundred times each.
fn through(scene: &Scene, tun: &mut Tun) -> Result<(u64, u64)> {
    let (blocked, passed) = (counter(scene, LISTED)?, counter(scene, "134.221.0.9")?);
    for port in 0..100 {
        tun.send(&packet(LISTED, port))?;
        tun.send(&packet("134.221.0.9", port))?;
    }
    passed.wait_for(100, TIMEOUT)?;
    Ok((blocked.stop()?.matched, passed.stop()?.matched))
}

#[test]
fn a_tun_beside_ethernet_stays_protected_through_kills_reloads_of_stages_and_upgrades() -> Result<()>
{
    require_kernel!(
        "a_tun_beside_ethernet_stays_protected_through_kills_reloads_of_stages_and_upgrades"
    );
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let mut tun = Tun::open(&scene.host, TUN, "10.78.0.1/24")?;
    let with = |rest: &str| config(&[HOST, TUN], &format!("{CALM}{rest}{}", bpffs.section()));
    let first: PathBuf = match std::env::var_os(OTHER_BUILD) {
        Some(path) => path.into(),
        None => binary()?,
    };
    let mut older = Daemon::start_binary(&scene.host, &first, &with(""))?;
    let flood = Flood::start(&scene)?;
    flood.goes_on()?;
    older.kill9()?;
    ensure!(scene.host.xdp_attachment(TUN)? != Attachment::None);
    let mut daemon = Daemon::start(&scene.host, &with(""))?;
    for end in ["kill -9", "terminate"] {
        ensure!(through(&scene, &mut tun)? == (0, 100), "before {end}");
        match end {
            "terminate" => ensure!(daemon.terminate()?.success(), "{}", daemon.log()),
            _ => daemon.kill9()?,
        }
        ensure!(through(&scene, &mut tun)? == (0, 100), "after {end}");
        daemon.restart()?;
        let start = daemon.status()?.pins.start;
        ensure!(start == "took_over", "{end}: {start}");
        flood.goes_on()?;
    }
    // Another stage: both programs are replaced, each by its own kind.
    for stage in [
        "[limits]\npackets = \"1Mpps\"\n",
        "[ban]\nenabled = false\n",
    ] {
        daemon.write_config(&with(stage))?;
        daemon.cli_text(&["apply"])?;
        ensure!(through(&scene, &mut tun)? == (0, 100), "with {stage}");
        flood.goes_on()?;
    }
    // A packet that the Ethernet program would take for one: no source of the tun's is dropped there.
    ensure!(scene.passes(&from_v4("192.0.2.9").tcp(1, 2, Flags::ACK))?);
    let (sent, passed) = flood.stop()?;
    println!("{sent} sent over Ethernet, {passed} through");
    ensure!(passed == 0, "{passed} of {sent} got through");
    Ok(())
}

#[test]
fn an_interface_whose_frames_are_not_understood_is_refused_by_name() -> Result<()> {
    require_kernel!("an_interface_whose_frames_are_not_understood_is_refused_by_name");
    let scene = Scene::new()?;
    let made = scene.host.ip(&["link", "add", "other0", "type", "nlmon"]);
    if made.is_err() {
        println!("skipped: this kernel makes no monitor of netlink");
        return Ok(());
    }
    scene.host.set_up("other0")?;
    let mut daemon = Daemon::prepare(&scene.host, &binary()?, &config(&["other0"], OPEN))?;
    let path = daemon.config_path().to_string_lossy().into_owned();
    let refused = daemon.run(&["run", "--config", &path]);
    let log = daemon.log();
    ensure!(refused.is_err(), "started");
    ensure!(
        log.contains("other0") && log.contains("a monitor of netlink"),
        "{log}"
    );
    Ok(())
}
