//! The egress program: what the host asks for is known without a socket, whichever hook the kernel has,
//! and the program follows the XDP program through every end and start.

#[path = "egress/forwards.rs"]
mod forwards;
#[path = "egress/lifecycle.rs"]
mod lifecycle;
#[path = "egress/place.rs"]
mod place;
#[path = "egress/program.rs"]
mod program;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use place::{hooks, passes_behind, protect, spend};
use xdp_common::reason::Reason;
use xdp_tests::daemon::scene::{HOST_V4, HOST_V6, PEER_V4, PEER_V6, Scene, from_v4, from_v6};
use xdp_tests::daemon::talk;
use xdp_tests::prometheus::get;
use xdp_tests::require_kernel;

/// Classes whose budgets a few packets spend.
const SMALL: &str = "\
[[class]]\nname = \"udp-reflection\"\nbudget = \"1pps\"\nbudget_burst = 1\n\
[[class]]\nname = \"tcp-syn-ack\"\nbudget = \"1pps\"\nbudget_burst = 1\n\
[[class]]\nname = \"icmp\"\nbudget = \"1pps\"\nbudget_burst = 1\n";

/// The host sends a datagram to a port of the peer, and forgets its socket: the port that it came from.
fn ask(scene: &Scene, from: &str, to: &str) -> Result<u16> {
    let port = scene.host.run(|| {
        let socket = UdpSocket::bind((from, 0))?;
        socket.send_to(b"a question", to)?;
        socket.local_addr().map(|address| address.port())
    })?;
    port.with_context(|| format!("no datagram to {to}"))
}

/// The host sends an ICMP message to the peer.
fn ping(scene: &Scene, message: &[u8]) -> Result<()> {
    let sent = scene.host.run(|| {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Icmp,
        )?;
        let to = SockaddrIn::from(SocketAddrV4::new(
            PEER_V4.parse().unwrap_or(Ipv4Addr::UNSPECIFIED),
            0,
        ));
        sendto(socket.as_raw_fd(), message, &to, MsgFlags::empty())
    })?;
    ensure!(sent? == message.len(), "the message was cut short");
    Ok(())
}

#[test]
fn answers_that_the_host_asked_for_pass_under_pressure_without_a_socket() -> Result<()> {
    require_kernel!("answers_that_the_host_asked_for_pass_under_pressure_without_a_socket");
    for &hook in hooks() {
        let scene = Scene::new()?;
        let daemon = protect(&scene, hook, SMALL)?;
        let asked = ask(&scene, HOST_V4, &format!("{PEER_V4}:53"))?;
        let asked_v6 = ask(&scene, HOST_V6, &format!("[{PEER_V6}]:53"))?;
        let stranger = |source: &str, port| from_v4(source).udp(53, port);
        for (what, packet, passes) in [
            ("asked", from_v4(PEER_V4).udp(53, asked), true),
            ("asked", from_v6(PEER_V6).udp(53, asked_v6), true),
            ("another port", from_v4(PEER_V4).udp(53, asked ^ 1), false),
            ("another source", from_v4("10.77.0.9").udp(53, asked), false),
            (
                "another family",
                from_v6(PEER_V6).udp(53, asked_v6 ^ 1),
                false,
            ),
            ("asked again", from_v4(PEER_V4).udp(53, asked), true),
        ] {
            let before = daemon.dropped(Reason::Unsolicited)?;
            ensure!(
                passes_behind(&scene, &packet, stranger)? == passes,
                "{hook}, {what}: {:?}",
                daemon.outcomes()?
            );
            // All strangers but one or two, which are within the budget.
            let refused = daemon.dropped(Reason::Unsolicited)? - before;
            let expected = if passes { 48..=50 } else { 49..=51 };
            ensure!(expected.contains(&refused), "{hook}, {what}: {refused}");
        }
    }
    Ok(())
}

#[test]
fn pings_that_the_host_sent_are_answered_under_pressure() -> Result<()> {
    require_kernel!("pings_that_the_host_sent_are_answered_under_pressure");
    for &hook in hooks() {
        let scene = Scene::new()?;
        let daemon = protect(&scene, hook, SMALL)?;
        let echo = |kind: u8, identifier: u16| {
            let [high, low] = identifier.to_be_bytes();
            vec![kind, 0, 0, 0, high, low, 0, 1]
        };
        ping(&scene, &echo(8, 77))?;
        let reply = |from: &str, identifier| from_v4(from).protocol(1).payload(echo(0, identifier));
        for (identifier, passes) in [(77, true), (78, false), (77, true)] {
            ensure!(
                passes_behind(&scene, &reply(PEER_V4, identifier), reply)? == passes,
                "{hook}, {identifier}: {:?}",
                daemon.outcomes()?
            );
        }
    }
    Ok(())
}

#[test]
fn connections_of_the_host_work_under_a_flood_of_syn_acks() -> Result<()> {
    require_kernel!("connections_of_the_host_work_under_a_flood_of_syn_acks");
    use xdp_tests::packet::Flags;
    for &hook in hooks() {
        let scene = Scene::new()?;
        let daemon = protect(&scene, hook, SMALL)?;
        let both = Flags::SYN | Flags::ACK;
        spend(&scene, |source, port| from_v4(source).tcp(80, port, both))?;
        for _ in 0..20 {
            talk::tcp(&scene.host, &scene.peer, PEER_V4, 1000)?;
            talk::tcp(&scene.host, &scene.peer, &format!("[{PEER_V6}]"), 1000)?;
        }
        ensure!(
            daemon.dropped(Reason::Unsolicited)? > 0,
            "{hook}: {:?}",
            daemon.outcomes()?
        );
    }
    Ok(())
}

#[test]
fn the_verifier_goes_through_few_instructions_of_the_egress_program() -> Result<()> {
    require_kernel!("the_verifier_goes_through_few_instructions_of_the_egress_program");
    let scene = Scene::new()?;
    let _daemon = protect(&scene, "", "")?;
    let loaded = aya::programs::loaded_programs().filter_map(Result::ok);
    // As the kernel cuts the name.
    let ours = loaded.filter(|info| info.name_as_str() == Some("xdp_egress"));
    let counts = ours.map(|info| info.verified_instruction_count());
    let counts: Vec<Option<u32>> = counts.collect();
    println!("verified in {counts:?} instructions");
    ensure!(!counts.is_empty(), "the program isn't loaded");
    let few = |count: &Option<u32>| count.is_none_or(|count| count < 100_000);
    ensure!(counts.iter().all(few), "{counts:?}");
    Ok(())
}

#[test]
fn what_leaves_is_counted_and_told() -> Result<()> {
    require_kernel!("what_leaves_is_counted_and_told");
    for &hook in hooks() {
        let scene = Scene::new()?;
        let daemon = protect(&scene, hook, "")?;
        let before = daemon.status()?.flow_memory;
        talk::tcp(&scene.host, &scene.peer, PEER_V4, 100_000)?;
        talk::udp(&scene.host, &scene.peer, PEER_V4, 100)?;
        let status = daemon.status()?;
        let after = &status.flow_memory;
        ensure!(after.packets > before.packets + 4, "{hook}: {after:?}");
        let noted = after.noted - before.noted;
        // The SYN, the connection, and the datagram.
        ensure!((3..=5).contains(&noted), "{hook}: {before:?} {after:?}");
        ensure!(after.unread == 0, "{hook}: {after:?}");
        ensure!(
            status.interfaces[0].egress.as_deref() == Some(hook),
            "{status:?}"
        );
        let metric = "xdp_throttle_egress_attached{interface=\"host0\"} 1";
        let page = get(&scene.host, daemon.metrics_address(), "/metrics")?;
        ensure!(page.contains(metric), "{page}");
    }
    Ok(())
}
