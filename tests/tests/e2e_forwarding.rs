//! A host that forwards for others: classes stand aside by themselves, and not one packet is lost.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use xdp_tests::daemon::scene::{HOST, Scene, from_v4};
use xdp_tests::netns::Namespace;
use xdp_tests::netns::link::{End, Mac, veth_pair};
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;
use xdp_tests::traffic::counter::Counter;
use xdp_tests::wait::wait_until;

/// The host's interface to the network behind it, and the other end.
const LAN: &str = "lan0";
const INSIDE: &str = "inside0";
const LAN_MAC: Mac = [2, 0, 0, 0, 0x78, 1];
const INSIDE_MAC: Mac = [2, 0, 0, 0, 0x78, 2];
const INSIDE_V4: &str = "192.0.2.2";
const INSIDE_V6: &str = "2001:db8:2::2";
/// Of each kind: more than any built-in budget for strangers has at once.
const OF_EACH: u32 = 11_000;
const PART: usize = 100;
const SOON: Duration = Duration::from_secs(20);

/// The scene's host with a network behind it.
struct Forwarding {
    scene: Scene,
    inside: Namespace,
}

fn forwarding() -> Result<Forwarding> {
    let scene = Scene::new()?;
    let inside = Namespace::new("inside")?;
    let ends = (End::new(&scene.host, LAN), End::new(&inside, INSIDE));
    veth_pair(ends.0.mac(LAN_MAC), ends.1.mac(INSIDE_MAC), 1500)?;
    for (namespace, interface, v4, v6) in [
        (&scene.host, LAN, "192.0.2.1", "2001:db8:2::1"),
        (&inside, INSIDE, INSIDE_V4, INSIDE_V6),
    ] {
        namespace.add_address(interface, &format!("{v4}/24"))?;
        namespace.add_address(interface, &format!("{v6}/64"))?;
    }
    for (address, mac) in [(INSIDE_V4, INSIDE_MAC), (INSIDE_V6, INSIDE_MAC)] {
        scene.host.add_neighbour(LAN, address.parse()?, mac)?;
    }
    inside.ip(&["route", "add", "default", "via", "192.0.2.1"])?;
    inside.ip(&["-6", "route", "add", "default", "via", "2001:db8:2::1"])?;
    scene.host.sysctl("net/ipv4/ip_forward", "1")?;
    scene.host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    Ok(Forwarding { scene, inside })
}

/// A packet for the network behind, from the stranger of this number.
fn stranger(number: u32, v6: bool) -> Packet {
    let [.., a, b] = number.to_be_bytes();
    let packet = if v6 {
        Packet::v6(&*format!("2001:db8:{:x}::7", 0x1000 + number), INSIDE_V6)
    } else {
        Packet::v4(&*format!("198.18.{a}.{b}"), INSIDE_V4)
    };
    packet.ethernet([2, 0, 0, 0, 0x77, 2], [2, 0, 0, 0, 0x77, 1])
}

/// What would be refused on a host of its own, each from another stranger.
fn strangers() -> Vec<Vec<u8>> {
    let one = |number: u32, kind: u32| {
        let packet = stranger(number, kind >= 6);
        match kind % 6 {
            0 => packet.tcp(4000, 80, Flags::SYN),
            1 => packet.tcp(80, 4000, Flags::SYN | Flags::ACK),
            2 => packet.tcp(4000, 80, Flags::ACK),
            3 => packet.tcp(4000, 80, Flags::RST),
            4 => packet.udp(53, 4000),
            _ => packet.udp(4000, 5000),
        }
    };
    let all = (0..OF_EACH).flat_map(|number| (0..12).map(move |kind| (number, kind)));
    all.map(|(number, kind)| one(number, kind).build())
        .collect()
}

/// Answers to connections that the host never began, each from another stranger.
fn answers() -> Vec<Vec<u8>> {
    let one = |number: u32| {
        let [.., a, b] = number.to_be_bytes();
        from_v4(&format!("198.18.{a}.{b}")).tcp(8000, 4000, Flags::SYN | Flags::ACK)
    };
    (0..OF_EACH).map(|number| one(number).build()).collect()
}

/// Sends frames, and waits until `arrived` has counted as many.
fn send(scene: &Scene, frames: &[Vec<u8>], arrived: &Counter) -> Result<()> {
    let mut wanted = 0;
    // A part at a time, less than the rings on the way hold.
    for part in frames.chunks(PART) {
        scene.send(part.to_vec())?;
        wanted += part.len() as u64;
        arrived.wait_for(wanted, SOON)?;
    }
    Ok(())
}

#[test]
fn a_host_that_forwards_loses_no_packet_with_all_defaults_on() -> Result<()> {
    require_kernel!("a_host_that_forwards_loses_no_packet_with_all_defaults_on");
    let Forwarding { scene, inside } = forwarding()?;
    let daemon = scene.protect("")?;
    let status = daemon.status()?;
    let asides = &status.mitigation.asides;
    assert_eq!(asides.len(), 2, "{asides:?}");
    assert!(
        asides
            .iter()
            .all(|aside| aside.in_force && aside.reason.contains("forward"))
    );
    let arrived = Counter::start(&inside, INSIDE, |frame| {
        matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd])) && frame.len() > 40
    })?;
    send(&scene, &strangers(), &arrived)?;
    assert_eq!(daemon.outcomes()?.dropped(), 0);
    Ok(())
}

#[test]
fn classes_decide_again_when_the_host_forwards_no_more() -> Result<()> {
    require_kernel!("classes_decide_again_when_the_host_forwards_no_more");
    let Forwarding { scene, .. } = forwarding()?;
    let daemon = scene.protect("")?;
    assert_eq!(daemon.status()?.mitigation.asides.len(), 2);
    scene.host.sysctl("net/ipv4/ip_forward", "0")?;
    scene.host.sysctl("net/ipv6/conf/all/forwarding", "0")?;
    let asides = || daemon.status().map(|status| status.mitigation.asides.len());
    wait_until("the daemon to notice", SOON, || {
        asides().is_ok_and(|n| n == 0)
    })?;
    scene.host.sysctl("net/ipv4/ip_forward", "1")?;
    wait_until("the daemon to notice", SOON, || {
        asides().is_ok_and(|n| n == 1)
    })?;
    Ok(())
}

#[test]
fn connections_through_a_translator_work_with_all_defaults_on() -> Result<()> {
    require_kernel!("connections_through_a_translator_work_with_all_defaults_on");
    let Forwarding { scene, inside } = forwarding()?;
    let rules = format!(
        "table ip nat {{\n\
         chain post {{ type nat hook postrouting priority 100; oifname {HOST} masquerade; }}\n\
         }}"
    );
    let added = scene.host.output("nft", &[&rules]);
    added.context("no rule that translates: `cargo xtask setup` installs nft")?;
    let daemon = scene.protect("")?;
    let arrived = scene.count(|frame| frame.get(47) == Some(&(Flags::SYN | Flags::ACK).0))?;
    send(&scene, &answers(), &arrived)?;
    // Answers come to the host's own address, where no socket waits for them.
    let server = scene.peer.run(|| TcpListener::bind("10.77.0.2:8000"))??;
    for _ in 0..50 {
        let mut client = inside.run(|| TcpStream::connect("10.77.0.2:8000"))??;
        client.set_read_timeout(Some(SOON))?;
        let (mut served, from) = server.accept()?;
        assert_eq!(from.ip().to_string(), "10.77.0.1", "translated");
        served.write_all(b"through")?;
        drop(served);
        let mut text = String::new();
        client.read_to_string(&mut text)?;
        assert_eq!(text, "through");
    }
    assert_eq!(daemon.outcomes()?.dropped(), 0);
    Ok(())
}
