//! A host that forwards and translates: classes decide there by what leaves, and no cookie is made.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xdp_common::reason::Reason;
use xdp_tests::daemon::scene::{HOST, HOST_V4, PEER, PEER_V4, Scene, from_v4, protecting};
use xdp_tests::netns::Namespace;
use xdp_tests::netns::link::{End, veth_pair};
use xdp_tests::packet::Flags;
use xdp_tests::require_kernel;
use xdp_tests::traffic::sender::{Load, Sender};
use xdp_tests::wait::wait_until;

use super::place::{hooks, protect};

const SOON: Duration = Duration::from_secs(20);
const INSIDE_V4: &str = "192.0.2.2";
/// Classes whose budgets a few packets spend.
const SMALL: &str = "\
[mitigation]\nforwarding = \"flow-memory\"\n\
[[class]]\nname = \"udp-reflection\"\nbudget = \"1pps\"\nbudget_burst = 1\n\
[[class]]\nname = \"tcp-syn-ack\"\nbudget = \"1pps\"\nbudget_burst = 1\n\
[[class]]\nname = \"tcp-new\"\nbudget = \"1pps\"\nbudget_burst = 1\n\
attack_budget = \"1pps\"\nattack_budget_burst = 1\n\
[[class]]\nname = \"tcp\"\nbudget = \"1pps\"\nbudget_burst = 1\n\
attack_budget = \"1pps\"\nattack_budget_burst = 1\n";

/// The scene's host with a network behind it, which it masquerades. Its port 8080 is that of a server
/// inside, and somebody listens there on the host as well, as Docker's proxy does.
struct Translating {
    scene: Scene,
    inside: Namespace,
    _proxy: TcpListener,
}

fn translating() -> Result<Translating> {
    let scene = Scene::new()?;
    let inside = Namespace::new("inside")?;
    veth_pair(
        End::new(&scene.host, "lan0"),
        End::new(&inside, "inside0"),
        1500,
    )?;
    scene.host.add_address("lan0", "192.0.2.1/24")?;
    inside.add_address("inside0", &format!("{INSIDE_V4}/24"))?;
    inside.ip(&["route", "add", "default", "via", "192.0.2.1"])?;
    scene.host.sysctl("net/ipv4/ip_forward", "1")?;
    let rules = format!(
        "table ip nat {{\n\
         chain pre {{ type nat hook prerouting priority -100; iifname {HOST} tcp dport 8080 dnat to {INSIDE_V4}:8000; }}\n\
         chain post {{ type nat hook postrouting priority 100; oifname {HOST} masquerade; }}\n\
         }}"
    );
    let added = scene.host.output("nft", &[&rules]);
    added.context("no rule that translates: `cargo xtask setup` installs nft")?;
    let proxy = scene.host.run(|| TcpListener::bind((HOST_V4, 8080)))??;
    Ok(Translating {
        scene,
        inside,
        _proxy: proxy,
    })
}

/// A flood from strangers that goes on until it is dropped: SYNs and other segments for the service, and
/// answers that nobody asked for.
fn flood(scene: &Scene) -> Result<Sender> {
    let both = Flags::SYN | Flags::ACK;
    let frames = (0..2000_u32).flat_map(|number| {
        let [.., a, b] = number.to_be_bytes();
        let stranger = || from_v4(&format!("198.18.{a}.{b}"));
        [
            stranger().tcp(4000, 8080, Flags::SYN),
            stranger().tcp(4000, 8080, Flags::ACK),
            stranger().tcp(80, 4000, both),
            stranger().udp(53, 4000),
        ]
    });
    let load = Load {
        rate: 4000,
        count: u64::MAX,
        ..Load::once(frames.map(|packet| packet.build()).collect::<Vec<_>>())
    };
    let sender = Sender::start(&scene.peer, PEER, load)?;
    wait_until("the flood", SOON, || sender.sent_so_far() > 4000)?;
    Ok(sender)
}

/// A text over a new connection, and how long the connection took.
fn exchange(client: &Namespace, to: SocketAddr, listener: &TcpListener) -> Result<Duration> {
    let began = Instant::now();
    let mut client = client.run(|| TcpStream::connect_timeout(&to, SOON))??;
    let took = began.elapsed();
    client.set_read_timeout(Some(SOON))?;
    let (mut served, _) = listener.accept()?;
    served.set_read_timeout(Some(SOON))?;
    client.write_all(b"question")?;
    let mut question = [0; 8];
    served.read_exact(&mut question)?;
    served.write_all(b"through")?;
    drop(served);
    let mut text = String::new();
    client.read_to_string(&mut text)?;
    ensure!(text == "through", "{text:?}");
    Ok(took)
}

#[test]
fn a_host_that_translates_is_protected_and_those_behind_it_are_served() -> Result<()> {
    require_kernel!("a_host_that_translates_is_protected_and_those_behind_it_are_served");
    for &hook in hooks() {
        let Translating { scene, inside, .. } = translating()?;
        let daemon = protect(&scene, hook, SMALL)?;
        let asides = daemon.status()?.mitigation.asides;
        ensure!(
            asides.len() == 1 && asides.iter().all(|one| one.told_by_flows && !one.in_force),
            "{asides:?}"
        );
        let _flood = flood(&scene)?;
        let server = scene.peer.run(|| TcpListener::bind((PEER_V4, 8000)))??;
        let resolver = scene.peer.run(|| UdpSocket::bind((PEER_V4, 53)))??;
        resolver.set_read_timeout(Some(SOON))?;
        for _ in 0..20 {
            exchange(&inside, server.local_addr()?, &server)?;
            let client = inside.run(|| UdpSocket::bind("0.0.0.0:0"))??;
            client.set_read_timeout(Some(SOON))?;
            client.send_to(b"question", (PEER_V4, 53))?;
            let (length, from) = resolver.recv_from(&mut [0; 16])?;
            ensure!(from.ip().to_string() == HOST_V4 && length == 8, "{from}");
            resolver.send_to(b"answer", from)?;
            client.recv_from(&mut [0; 16])?;
        }
        let outcomes = daemon.outcomes()?;
        ensure!(
            outcomes.dropped() > outcomes.all() / 2,
            "{hook}: {outcomes:?}"
        );
    }
    Ok(())
}

#[test]
fn a_translated_service_takes_new_clients_under_a_syn_flood_without_a_cookie() -> Result<()> {
    require_kernel!("a_translated_service_takes_new_clients_under_a_syn_flood_without_a_cookie");
    for &hook in hooks() {
        let Translating { scene, inside, .. } = translating()?;
        let daemon = protect(&scene, hook, SMALL)?;
        let server = inside.run(|| TcpListener::bind((INSIDE_V4, 8000)))??;
        let _flood = flood(&scene)?;
        for _ in 0..5 {
            let to = SocketAddr::new(HOST_V4.parse()?, 8080);
            let took = exchange(&scene.peer, to, &server)?;
            // Its second SYN comes after a second.
            println!("{hook}: connected after {took:?}");
            ensure!(took < Duration::from_millis(2500), "{hook}: {took:?}");
        }
        let outcomes = daemon.outcomes()?;
        ensure!(
            daemon.answered(Reason::SynCookie)? == 0,
            "{hook}: {outcomes:?}"
        );
        ensure!(
            daemon.dropped(Reason::FirstPacket)? > 1000,
            "{hook}: {outcomes:?}"
        );
        ensure!(
            outcomes.dropped() > outcomes.all() / 2,
            "{hook}: {outcomes:?}"
        );
    }
    Ok(())
}

#[test]
fn classes_stand_aside_where_answers_may_leave_by_an_interface_that_is_not_protected() -> Result<()>
{
    require_kernel!(
        "classes_stand_aside_where_answers_may_leave_by_an_interface_that_is_not_protected"
    );
    let Translating { scene, .. } = translating()?;
    veth_pair(
        End::new(&scene.host, "other0"),
        End::new(&scene.peer, "far0"),
        1500,
    )?;
    scene
        .host
        .ip(&["route", "add", "default", "dev", "other0"])?;
    let by_flows = "[mitigation]\nforwarding = \"flow-memory\"\n";
    let daemon = protect(&scene, "", by_flows)?;
    let asides = daemon.status()?.mitigation.asides;
    ensure!(
        asides.len() == 1 && asides.iter().all(|one| one.in_force),
        "{asides:?}"
    );
    ensure!(
        asides
            .iter()
            .all(|one| one.reason.contains("leave by other0")),
        "{asides:?}"
    );
    daemon.write_config(&protecting(&format!(
        "{by_flows}[[interface]]\nname = \"other0\"\n"
    )))?;
    daemon.cli_text(&["apply"])?;
    wait_until("both ways out to be seen", SOON, || {
        daemon.status().is_ok_and(|status| {
            let mut asides = status.mitigation.asides.iter();
            asides.all(|one| one.told_by_flows && !one.in_force)
        })
    })
}
