//! What the daemon finds out about the host that it runs on, in namespaces made for it: where
//! packets may be for somebody else, and what was lost beside the program.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result};
use xdp_tests::daemon::scene::{HOST, HOST_V4, PEER, Scene};
use xdp_tests::netns::Namespace;
use xdp_tests::netns::link::{End, VlanProtocol, veth_pair};
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;
use xdp_user::domain::IfName;
use xdp_user::host::{self, HostSnapshot, SynCookies};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A namespace with the interface `in0`, whose peer `out0` is there too.
fn namespace(name: &str) -> Result<Namespace> {
    let namespace = Namespace::new(name)?;
    let ends = (End::new(&namespace, "in0"), End::new(&namespace, "out0"));
    veth_pair(ends.0, ends.1, 1500)?;
    Ok(namespace)
}

fn interface() -> IfName {
    #[expect(clippy::unwrap_used, reason = "a constant")]
    "in0".parse().unwrap()
}

/// Family and reason's name of each, as seen from the namespace.
fn asides(namespace: &Namespace) -> Result<Vec<(&'static str, &'static str)>> {
    let found = namespace.run(|| HostSnapshot::by_names(&[interface()]).asides())?;
    Ok(found
        .iter()
        .map(|aside| (aside.family.title(), aside.reason.name()))
        .collect())
}

fn both(reason: &'static str) -> [(&'static str, &'static str); 2] {
    [("IPv4", reason), ("IPv6", reason)]
}

#[test]
fn forwarding_is_found_for_the_family_that_forwards() -> Result<()> {
    require_kernel!("forwarding_is_found_for_the_family_that_forwards");
    let namespace = namespace("forwards")?;
    assert_eq!(asides(&namespace)?, []);
    let other = self::namespace("other")?;

    namespace.sysctl("net/ipv4/conf/in0/forwarding", "1")?;
    assert_eq!(asides(&namespace)?, [("IPv4", "forwarding")]);
    namespace.sysctl("net/ipv4/conf/in0/forwarding", "0")?;
    // The switch for all of them.
    namespace.sysctl("net/ipv4/ip_forward", "1")?;
    assert_eq!(asides(&namespace)?, [("IPv4", "forwarding")]);
    namespace.sysctl("net/ipv4/ip_forward", "0")?;
    assert_eq!(asides(&namespace)?, []);

    namespace.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    assert_eq!(asides(&namespace)?, [("IPv6", "forwarding")]);
    namespace.sysctl("net/ipv6/conf/all/forwarding", "0")?;
    namespace.sysctl("net/ipv6/conf/in0/forwarding", "1")?;
    assert_eq!(asides(&namespace)?, [("IPv6", "forwarding")]);
    assert_eq!(asides(&other)?, [], "another namespace's");
    Ok(())
}

#[test]
fn a_port_of_a_bridge_is_found_and_the_bridge_itself_is_none() -> Result<()> {
    require_kernel!("a_port_of_a_bridge_is_found_and_the_bridge_itself_is_none");
    let namespace = namespace("bridged")?;
    namespace.add_bridge("br0", &["in0"])?;
    assert_eq!(asides(&namespace)?, [], "there is no other port");
    namespace.ip(&[
        "link",
        "set",
        "in0",
        "type",
        "bridge_slave",
        "hairpin",
        "on",
    ])?;
    assert_eq!(asides(&namespace)?, both("bridge_port"));
    namespace.ip(&[
        "link",
        "set",
        "in0",
        "type",
        "bridge_slave",
        "hairpin",
        "off",
    ])?;
    add_guest(&namespace)?;
    assert_eq!(asides(&namespace)?, both("bridge_port"));
    let bridge = ["br0".parse()?];
    assert_eq!(
        namespace.run(|| HostSnapshot::by_names(&bridge).asides())?,
        []
    );
    namespace.ip(&["link", "set", "in0", "nomaster"])?;
    assert_eq!(asides(&namespace)?, []);
    Ok(())
}

/// Adds a second port to the bridge `br0`.
fn add_guest(namespace: &Namespace) -> Result<()> {
    let ends = (End::new(namespace, "guest0"), End::new(namespace, "guest1"));
    veth_pair(ends.0, ends.1, 1500)?;
    namespace.ip(&["link", "set", "guest0", "master", "br0"])?;
    Ok(())
}

/// Makes an interface of this kind, and `in0` its port, where the kernel can.
fn port_of(namespace: &Namespace, kind: &[&str]) -> bool {
    let add = [&["link", "add", "up0", "type"], kind].concat();
    let made = namespace.ip(&add).and_then(|_| {
        namespace.ip(&["link", "set", "in0", "down"])?;
        namespace.ip(&["link", "set", "in0", "master", "up0"])
    });
    if let Err(error) = &made {
        eprintln!("skipped {}: {error:#}", kind.join(" "));
    }
    made.is_ok()
}

#[test]
fn a_vrf_stands_aside_and_a_bond_is_looked_through() -> Result<()> {
    require_kernel!("a_vrf_stands_aside_and_a_bond_is_looked_through");
    let vrf = namespace("vrf")?;
    if port_of(&vrf, &["vrf", "table", "10"]) {
        assert_eq!(asides(&vrf)?, both("vrf_port"));
    }
    for kind in ["bond", "team"] {
        let namespace = namespace(kind)?;
        if port_of(&namespace, &[kind]) {
            assert_eq!(asides(&namespace)?, []);
            namespace.add_bridge("br0", &["up0"])?;
            add_guest(&namespace)?;
            assert_eq!(asides(&namespace)?, both("bridge_port"));
        }
    }
    Ok(())
}

#[test]
fn virtual_interfaces_that_share_it_are_found() -> Result<()> {
    require_kernel!("virtual_interfaces_that_share_it_are_found");
    for (kind, expected) in [
        ("macvlan", [].as_slice()),
        ("macvtap", &both("shared")),
        ("ipvlan", &both("shared")),
    ] {
        let namespace = namespace(kind)?;
        let add = ["link", "add", "link", "in0", "up0", "type", kind];
        if let Err(error) = namespace.ip(&add) {
            eprintln!("skipped {kind}: {error:#}");
            continue;
        }
        assert_eq!(asides(&namespace)?, expected, "{kind}");
        namespace.ip(&["link", "del", "up0"])?;
        assert_eq!(asides(&namespace)?, [], "{kind}");
    }
    Ok(())
}

#[test]
fn a_macvlan_device_of_another_namespace_is_found_by_its_address() -> Result<()> {
    require_kernel!("a_macvlan_device_of_another_namespace_is_found_by_its_address");
    let (namespace, container) = (namespace("lends")?, Namespace::new("container")?);
    let add = ["link", "add", "link", "in0", "up0", "type", "macvlan"];
    if let Err(error) = namespace.ip(&add) {
        eprintln!("skipped macvlan: {error:#}");
        return Ok(());
    }
    let net = container.net_path();
    namespace.ip(&["link", "set", "up0", "netns", &net.to_string_lossy()])?;
    assert_eq!(asides(&namespace)?, [], "it is down: no packet is for it");
    container.set_up("up0")?;
    assert_eq!(asides(&namespace)?, both("shared_away"));
    container.ip(&["link", "del", "up0"])?;
    assert_eq!(asides(&namespace)?, []);
    Ok(())
}

#[test]
fn a_vlan_device_counts_as_its_interface() -> Result<()> {
    require_kernel!("a_vlan_device_counts_as_its_interface");
    let namespace = namespace("vlan")?;
    if !namespace.vlan_supported() {
        eprintln!("skipped a_vlan_device_counts_as_its_interface: this kernel has no VLAN devices");
        return Ok(());
    }
    namespace.add_vlan("in0", "in0.7", VlanProtocol::Q, 7)?;
    assert_eq!(asides(&namespace)?, []);
    namespace.sysctl("net/ipv4/conf/in0.7/forwarding", "1")?;
    assert_eq!(asides(&namespace)?, [("IPv4", "forwarding")]);
    namespace.add_bridge("br0", &["in0.7"])?;
    add_guest(&namespace)?;
    assert_eq!(asides(&namespace)?, both("bridge_port"));
    Ok(())
}

#[test]
fn an_interface_that_is_gone_is_a_reason_until_it_is_back() -> Result<()> {
    require_kernel!("an_interface_that_is_gone_is_a_reason_until_it_is_back");
    let namespace = namespace("gone")?;
    namespace.ip(&["link", "del", "in0"])?;
    assert_eq!(asides(&namespace)?, both("unknown"));
    let ends = (End::new(&namespace, "in0"), End::new(&namespace, "out0"));
    veth_pair(ends.0, ends.1, 1500)?;
    assert_eq!(asides(&namespace)?, []);
    Ok(())
}

/// A netns of its own with the machine's `/sys`, as `ip netns exec` with a kept mount namespace or a
/// container with a shared `/sys` has it.
#[test]
fn links_are_those_of_the_namespace_whatever_sys_shows() -> Result<()> {
    require_kernel!("links_are_those_of_the_namespace_whatever_sys_shows");
    let namespace = namespace("sysless")?;
    namespace.add_bridge("br0", &["in0"])?;
    add_guest(&namespace)?;
    let found = namespace.run(|| -> Result<_> {
        nix::mount::umount2("/sys", nix::mount::MntFlags::MNT_DETACH)?;
        anyhow::ensure!(!std::fs::exists("/sys/class/net/in0")?, "it is in /sys");
        Ok(HostSnapshot::by_names(&[interface()]).asides())
    })??;
    let reasons: Vec<_> = found.iter().map(|aside| aside.reason.name()).collect();
    assert_eq!(reasons, ["bridge_port", "bridge_port"]);
    Ok(())
}

#[test]
fn the_settings_for_cookies_and_the_mtu_are_those_of_the_namespace() -> Result<()> {
    require_kernel!("the_settings_for_cookies_and_the_mtu_are_those_of_the_namespace");
    let namespace = namespace("settings")?;
    for (value, expected) in [
        ("0", SynCookies::Off),
        ("1", SynCookies::WhenFull),
        ("2", SynCookies::Always),
    ] {
        namespace.sysctl("net/ipv4/tcp_syncookies", value)?;
        let read = namespace.run(host::tcp_settings)??;
        assert_eq!(read.syn_cookies, expected);
    }
    namespace.ip(&["link", "set", "lo", "mtu", "1400"])?;
    let smallest = |name: IfName| namespace.run(|| HostSnapshot::by_names(&[name]).smallest_mtu());
    assert_eq!(smallest("lo".parse()?)?, Some(1400));
    assert_eq!(smallest("nowhere".parse()?)?, None);
    Ok(())
}

#[test]
fn losses_behind_the_program_are_in_the_status_and_not_among_its_own() -> Result<()> {
    require_kernel!("losses_behind_the_program_are_in_the_status_and_not_among_its_own");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let before = daemon.status()?;
    let host0 = before.host.interfaces.first().context("no interface")?;
    assert_eq!(host0.name, HOST);
    scene.peer.run(|| -> std::io::Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        for _ in 0..3 {
            socket.send_to(b"nobody listens", (HOST_V4, 9))?;
        }
        Ok(())
    })??;
    let no_port = || -> Result<u64> {
        let lost = daemon.status()?.host.lost;
        let found = lost.iter().find(|lost| lost.name == "udp_no_port");
        Ok(found.context("not counted")?.count)
    };
    wait_until("the datagrams to be counted", TIMEOUT, || {
        no_port().is_ok_and(|count| count >= 3)
    })?;
    let status = daemon.status()?;
    assert!(status.host.interfaces[0].packets >= host0.packets + 3);
    let dropped = status.reasons.iter().filter(|one| one.action == "dropped");
    assert_eq!(dropped.map(|one| one.packets).sum::<u64>(), 0);
    let text = daemon.cli_text(&["status"])?;
    assert!(text.contains("before and behind the program"), "{text}");
    assert!(text.contains("udp_no_port"), "{text}");
    assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
    // An interface that is gone has no figures, and nothing fails for it.
    scene.peer.ip(&["link", "del", PEER])?;
    wait_until("the interface to be gone", TIMEOUT, || {
        daemon
            .status()
            .is_ok_and(|status| status.host.interfaces.is_empty())
    })?;
    Ok(())
}
