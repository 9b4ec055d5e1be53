//! How the daemon attaches: what it is told, what the interface can, and what it says of it.

use std::time::Duration;

use anyhow::{Context, Result};
use xdp_common::reason::Reason;
use xdp_tests::daemon::scene::{HOST, PEER, Scene, from_v4, protecting};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::netns::link::{Attachment, End, veth_pair};
use xdp_tests::prometheus::get;
use xdp_tests::require_kernel;
use xdp_tests::traffic::sender::{Load, Sender};
use xdp_tests::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);
/// An interface without native XDP: a bridge without ports.
const PLAIN: &str = "plain0";
const BLOCK: &str = "[block]\nprefixes = [\"203.0.113.7\"]\n";

/// A series' value, from the daemon's own figures.
fn metric(scene: &Scene, daemon: &Daemon, series: &str) -> Result<f64> {
    let text = get(&scene.host, daemon.metrics_address(), "/metrics")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series))
        .with_context(|| format!("no {series} in {text}"))?;
    Ok(line.trim().parse()?)
}

fn mode(daemon: &Daemon, interface: &str) -> Result<(bool, Option<String>)> {
    let status = daemon.status()?;
    let mut interfaces = status.interfaces.into_iter();
    let one = interfaces
        .find(|one| one.name == interface)
        .context("not in the status")?;
    Ok((one.attached, one.mode))
}

fn assert_mode(scene: &Scene, daemon: &Daemon, interface: &str, native: bool) -> Result<()> {
    let (attachment, name) = if native {
        (Attachment::Native, "native")
    } else {
        (Attachment::Generic, "generic")
    };
    assert_eq!(scene.host.xdp_attachment(interface)?, attachment);
    assert_eq!(mode(daemon, interface)?, (true, Some(name.to_owned())));
    let gauge = |name: &str| {
        let series = format!("xdp_throttle_interface_{name}{{interface=\"{interface}\"}}");
        metric(scene, daemon, &series)
    };
    assert_eq!(
        (gauge("attached")?, gauge("generic")?),
        (1.0, f64::from(!native))
    );
    let warned = daemon.status()?.warnings.join("\n").contains("generic");
    assert_eq!(warned, !native);
    let table = daemon.cli_text(&["status"])?;
    assert!(table.contains(name), "{table}");
    Ok(())
}

#[test]
fn veth_is_attached_natively_by_default() -> Result<()> {
    require_kernel!("veth_is_attached_natively_by_default");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    assert_mode(&scene, &daemon, HOST, true)?;
    assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
    Ok(())
}

#[test]
fn generic_mode_is_had_by_asking_and_drops_as_well() -> Result<()> {
    require_kernel!("generic_mode_is_had_by_asking_and_drops_as_well");
    let scene = Scene::new()?;
    let mut daemon = Daemon::prepare(&scene.host, &binary()?, &protecting(BLOCK))?;
    let config = daemon.config_path();
    daemon.run(&[
        "run",
        "--config",
        &config.to_string_lossy(),
        "--mode",
        "generic",
    ])?;
    assert_mode(&scene, &daemon, HOST, false)?;
    let blocked = from_v4("203.0.113.7").udp(1, 2);
    let frames = [blocked.clone().build(), blocked.vlan(7).build()];
    assert_eq!(scene.passed(&frames)?, [false, false]);
    assert!(scene.passes(&from_v4("192.0.2.7").udp(1, 2))?);
    // The kernel takes the program back here too.
    daemon.terminate()?;
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::None);
    Ok(())
}

#[test]
fn auto_falls_back_to_generic_and_warns() -> Result<()> {
    require_kernel!("auto_falls_back_to_generic_and_warns");
    let scene = Scene::new()?;
    scene.host.add_bridge(PLAIN, &[])?;
    let daemon = Daemon::start(&scene.host, "[[interface]]\nname = \"plain0\"\n")?;
    assert_mode(&scene, &daemon, PLAIN, false)?;
    let log = daemon.log();
    let warning = log.lines().find(|line| line.contains("WARN"));
    let warning = warning.with_context(|| log.clone())?;
    assert!(
        warning.contains("generic") && warning.contains(PLAIN),
        "{warning}"
    );
    Ok(())
}

#[test]
fn native_mode_where_there_is_none_ends_with_4() -> Result<()> {
    require_kernel!("native_mode_where_there_is_none_ends_with_4");
    let scene = Scene::new()?;
    scene.host.add_bridge(PLAIN, &[])?;
    let config = "[[interface]]\nname = \"plain0\"\nattach = \"native\"\nrequired = true\n";
    let daemon = Daemon::prepare(&scene.host, &binary()?, config)?;
    let path = daemon.config_path();
    let refusal = daemon.refusal(&[], &["run", "--config", &path.to_string_lossy()])?;
    assert_eq!(refusal.code, Some(4), "{}", refusal.text);
    assert!(refusal.text.contains(PLAIN), "{}", refusal.text);
    assert!(
        refusal.text.contains("--mode auto or generic"),
        "{}",
        refusal.text
    );
    assert_eq!(scene.host.xdp_attachment(PLAIN)?, Attachment::None);
    assert!(!daemon.socket_path().exists());
    Ok(())
}

#[test]
fn a_required_interface_that_is_not_there_ends_with_1_and_attaches_none() -> Result<()> {
    require_kernel!("a_required_interface_that_is_not_there_ends_with_1_and_attaches_none");
    let scene = Scene::new()?;
    let config = protecting("[[interface]]\nname = \"absent0\"\nrequired = true\n");
    let daemon = Daemon::prepare(&scene.host, &binary()?, &config)?;
    let path = daemon.config_path();
    let refusal = daemon.refusal(&[], &["run", "--config", &path.to_string_lossy()])?;
    assert_eq!(refusal.code, Some(1), "{}", refusal.text);
    assert!(
        refusal.text.contains("there is no interface absent0"),
        "{}",
        refusal.text
    );
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::None);
    assert!(!daemon.socket_path().exists());
    Ok(())
}

#[test]
fn another_program_on_the_interface_is_left_alone() -> Result<()> {
    require_kernel!("another_program_on_the_interface_is_left_alone");
    let scene = Scene::new()?;
    // Not the daemon's: held by whoever has the link, here another daemon with a state of its own.
    for mode in ["native", "generic"] {
        let owner = Daemon::prepare(&scene.host, &binary()?, &protecting(BLOCK))?;
        let mut owner = owner;
        let path = owner.config_path();
        owner.run(&["run", "--config", &path.to_string_lossy(), "--mode", mode])?;
        let (program, attachment) = (
            scene.host.xdp_program(HOST)?,
            scene.host.xdp_attachment(HOST)?,
        );
        let second = Daemon::prepare(&scene.host, &binary()?, &protecting(""))?;
        let path = second.config_path();
        // They share a namespace: it is the interface that they are to meet at, not this port.
        let port = |owner: &Daemon| owner.metrics_address().port();
        let text = std::fs::read_to_string(&path)?;
        let other = text.replace(&format!(":{}\"", port(&owner)), ":9778\"");
        anyhow::ensure!(other != text, "the port isn't in {text}");
        let other = other.replace(
            &format!("name = \"{HOST}\"\n"),
            &format!("name = \"{HOST}\"\nrequired = true\n"),
        );
        anyhow::ensure!(other.contains("required"), "no {HOST} in {other}");
        std::fs::write(&path, other)?;
        let refusal = second.refusal(&[], &["run", "--config", &path.to_string_lossy()])?;
        assert_eq!(refusal.code, Some(1), "{}", refusal.text);
        let clear = refusal
            .text
            .contains("another XDP program is attached to host0");
        assert!(clear, "{}", refusal.text);
        assert_eq!(scene.host.xdp_program(HOST)?, program);
        assert_eq!(scene.host.xdp_attachment(HOST)?, attachment);
        assert!(!scene.passes(&from_v4("203.0.113.7").udp(1, 2))?);
    }
    Ok(())
}

#[test]
fn several_interfaces_are_counted_apart() -> Result<()> {
    require_kernel!("several_interfaces_are_counted_apart");
    let scene = Scene::new()?;
    let names = [("host1", "peer1"), ("host2", "peer2")];
    for (host, peer) in names {
        let ends = (End::new(&scene.host, host), End::new(&scene.peer, peer));
        veth_pair(ends.0, ends.1, 1500)?;
    }
    let interface = |name: &str| format!("[[interface]]\nname = \"{name}\"\n");
    let more = format!("{}{}{BLOCK}", interface("host1"), interface("host2"));
    let daemon = scene.protect(&more)?;
    let frame = from_v4("203.0.113.7").udp(1, 2).build();
    for (peer, packets) in [(PEER, 2), ("peer1", 3), ("peer2", 5)] {
        let frames = vec![frame.clone(); packets];
        Sender::start(&scene.peer, peer, Load::once(frames))?.wait()?;
    }
    let blocked = || -> Result<Vec<(String, u64)>> {
        let status = daemon.status()?;
        let count = |one: &xdp_user::api::types::InterfaceStatus| {
            let reason = one.reasons.iter().find(|c| c.reason == "blocklisted");
            (one.name.clone(), reason.map_or(0, |c| c.packets))
        };
        Ok(status.interfaces.iter().map(count).collect())
    };
    let expected = [(HOST, 2), ("host1", 3), ("host2", 5)].map(|(n, p)| (n.to_owned(), p));
    wait_until("the counts of each interface", TIMEOUT, || {
        blocked().is_ok_and(|counts| counts == expected)
    })
    .with_context(|| format!("{:?}", blocked()))?;
    let series = |name: &str| {
        format!(
            "xdp_throttle_packets_total{{interface=\"{name}\",reason=\"blocklisted\",action=\"dropped\"}}"
        )
    };
    assert_eq!(metric(&scene, &daemon, &series("host2"))?, 5.0);
    for name in [HOST, "host1", "host2"] {
        assert_eq!(scene.host.xdp_attachment(name)?, Attachment::Native);
    }
    Ok(())
}

#[test]
fn interfaces_on_the_command_line_take_the_place_of_the_files() -> Result<()> {
    require_kernel!("interfaces_on_the_command_line_take_the_place_of_the_files");
    let scene = Scene::new()?;
    let mut daemon = Daemon::prepare(
        &scene.host,
        &binary()?,
        &format!("[[interface]]\nname = \"absent0\"\n{BLOCK}"),
    )?;
    let path = daemon.config_path();
    daemon.run(&[
        "run",
        "--config",
        &path.to_string_lossy(),
        "--iface",
        HOST,
        "--observe",
    ])?;
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::Native);
    assert!(scene.passes(&from_v4("203.0.113.7").udp(1, 2))?);
    // A reload of the file doesn't take back what the command line said.
    daemon.cli_text(&["apply"])?;
    assert!(scene.passes(&from_v4("203.0.113.7").udp(1, 2))?);
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::Native);
    Ok(())
}

#[test]
fn an_interface_that_is_made_again_is_filtered_again() -> Result<()> {
    require_kernel!("an_interface_that_is_made_again_is_filtered_again");
    let scene = Scene::new()?;
    let daemon = scene.protect(BLOCK)?;
    let blocked = from_v4("203.0.113.7").udp(1, 2);
    assert!(!scene.passes(&blocked)?);
    let gauge = format!("xdp_throttle_interface_attached{{interface=\"{HOST}\"}}");

    scene.host.ip(&["link", "del", HOST])?;
    wait_until("the daemon to notice", TIMEOUT, || {
        mode(&daemon, HOST).is_ok_and(|found| found == (false, None))
    })?;
    assert_eq!(metric(&scene, &daemon, &gauge)?, 0.0);
    let warnings = daemon.status()?.warnings.join("\n");
    assert!(warnings.contains("host0 is not attached"), "{warnings}");

    let ends = (End::new(&scene.host, HOST), End::new(&scene.peer, PEER));
    veth_pair(ends.0, ends.1, 1500)?;
    wait_until("the daemon to attach again", TIMEOUT, || {
        mode(&daemon, HOST).is_ok_and(|(attached, _)| attached)
    })?;
    assert_mode(&scene, &daemon, HOST, true)?;
    let dropped = daemon.dropped(Reason::Blocklisted)?;
    let frames = [blocked.build()];
    scene.send(frames.to_vec())?;
    wait_until("the packet to be counted", TIMEOUT, || {
        daemon
            .dropped(Reason::Blocklisted)
            .is_ok_and(|now| now > dropped)
    })?;
    Ok(())
}

#[test]
fn a_link_that_is_down_is_told_and_filtered_when_it_comes_back() -> Result<()> {
    require_kernel!("a_link_that_is_down_is_told_and_filtered_when_it_comes_back");
    let scene = Scene::new()?;
    let daemon = scene.protect(BLOCK)?;
    let frames = ["203.0.113.7", "203.0.113.8"].map(|from| from_v4(from).udp(1, 2).build());
    let up = || {
        metric(
            &scene,
            &daemon,
            "xdp_throttle_interface_up{interface=\"host0\"}",
        )
    };
    let warned = |text: &str| {
        let status = daemon.status();
        status.is_ok_and(|status| status.warnings.iter().any(|warning| warning.contains(text)))
    };
    assert_eq!(scene.passed(&frames)?, [false, true]);
    assert_eq!(up()?, 1.0);
    for (namespace, interface, told) in [
        (&scene.host, HOST, "host0 is down: `ip link set host0 up`"),
        (&scene.peer, PEER, "nobody is at the other end of host0"),
    ] {
        namespace.ip(&["link", "set", interface, "down"])?;
        wait_until("the link's loss to be told", TIMEOUT, || warned(told))?;
        assert_eq!(up()?, 0.0);
        assert_mode(&scene, &daemon, HOST, true)?;
        namespace.ip(&["link", "set", interface, "up"])?;
        wait_until("the link to be back", TIMEOUT, || {
            up().is_ok_and(|up| up == 1.0) && !warned(told)
        })?;
        assert_eq!(scene.passed(&frames)?, [false, true]);
    }
    Ok(())
}
