//! Traffic through the real daemon on a wire: what has to pass passes, what has to go goes.

use std::time::Duration;

use anyhow::Result;
use xdp_common::reason::Reason;
use xdp_tests::daemon::scene::{
    HOST, HOST_V4, HOST_V6, PEER, PEER_V4, PEER_V6, Scene, from_v4, from_v6,
};
use xdp_tests::daemon::talk;
use xdp_tests::netns::link::Attachment;
use xdp_tests::packet::{Extension, Flags, Packet};
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;

const BLOCKED_V4: &str = "203.0.113.7";
const BLOCKED_V6: &str = "2001:db8:bad::7";
const OTHER_V4: &str = "198.51.100.7";
const OTHER_V6: &str = "2001:db8:900d::7";
const BLOCKS: &str = "[block]\nprefixes = [\"203.0.113.0/24\", \"2001:db8:bad::/48\"]\n";

/// One packet of every protocol that the parser knows, and of some that it doesn't.
fn one_of_each(from: &Packet, echo_request: u8) -> Vec<Vec<u8>> {
    [
        from.clone().tcp(1234, 443, Flags::SYN),
        from.clone().tcp(1234, 443, Flags::ACK),
        from.clone().udp(1234, 53),
        from.clone().icmp(echo_request, 0),
        from.clone().gre(0x0800).payload([0; 20]),
        from.clone().esp(0x1000, 1).payload([0; 32]),
        from.clone().sctp(1234, 5678),
        from.clone().protocol(253).payload([0; 16]),
        from.clone().protocol(4).payload([0; 20]),
    ]
    .map(|packet| packet.build())
    .to_vec()
}

#[test]
fn tcp_and_udp_work_in_both_directions_over_both_families() -> Result<()> {
    require_kernel!("tcp_and_udp_work_in_both_directions_over_both_families");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    for (host, peer) in [
        (HOST_V4, PEER_V4),
        (&format!("[{HOST_V6}]")[..], &format!("[{PEER_V6}]")[..]),
    ] {
        talk::tcp(&scene.peer, &scene.host, host, 200_000)?;
        talk::tcp(&scene.host, &scene.peer, peer, 200_000)?;
        talk::udp(&scene.peer, &scene.host, host, 1200)?;
        talk::udp(&scene.host, &scene.peer, peer, 1200)?;
        // Fragmented on the wire.
        talk::udp(&scene.peer, &scene.host, host, 4000)?;
        talk::udp(&scene.host, &scene.peer, peer, 4000)?;
    }
    let status = daemon.status()?;
    let dropped = status.reasons.iter().filter(|c| c.action == "dropped");
    assert_eq!(dropped.map(|c| c.packets).sum::<u64>(), 0, "{status:?}");
    assert!(daemon.passed(Reason::Accepted)? > 20);
    Ok(())
}

#[test]
fn a_jumbo_mtu_attaches_natively_and_jumbo_frames_pass() -> Result<()> {
    require_kernel!("a_jumbo_mtu_attaches_natively_and_jumbo_frames_pass");
    let scene = Scene::with_mtu(9000)?;
    let daemon = scene.protect(BLOCKS)?;
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::Native);
    talk::tcp(&scene.peer, &scene.host, HOST_V4, 2_000_000)?;
    talk::tcp(&scene.host, &scene.peer, PEER_V4, 2_000_000)?;
    talk::udp(&scene.peer, &scene.host, HOST_V4, 8000)?;
    let jumbo = |source: &str| from_v4(source).udp(1, 2).padded_to(9014);
    assert!(scene.passes(&jumbo(OTHER_V4))?);
    assert!(!scene.passes(&jumbo(BLOCKED_V4))?);
    let status = daemon.status()?;
    let blocked = status
        .reasons
        .iter()
        .find(|c| c.reason == "blocklisted" && c.action == "dropped");
    assert_eq!(blocked.map(|c| (c.packets, c.bytes)), Some((1, 9014)));
    Ok(())
}

#[test]
fn a_blocked_ipv4_source_is_dropped_whatever_its_protocol() -> Result<()> {
    require_kernel!("a_blocked_ipv4_source_is_dropped_whatever_its_protocol");
    let scene = Scene::new()?;
    let daemon = scene.protect(BLOCKS)?;
    let blocked = one_of_each(&from_v4(BLOCKED_V4), 8);
    let others = one_of_each(&from_v4(OTHER_V4), 8);
    assert_eq!(scene.passed(&blocked)?, vec![false; blocked.len()]);
    assert_eq!(daemon.dropped(Reason::Blocklisted)?, blocked.len() as u64);
    assert_eq!(scene.passed(&others)?, vec![true; others.len()]);
    assert_eq!(daemon.dropped(Reason::Blocklisted)?, blocked.len() as u64);
    assert!(daemon.passed(Reason::Accepted)? >= others.len() as u64);
    Ok(())
}

#[test]
fn a_blocked_ipv6_source_is_dropped_whatever_its_protocol_and_extension_headers() -> Result<()> {
    require_kernel!("a_blocked_ipv6_source_is_dropped_whatever_its_protocol_and_extension_headers");
    let scene = Scene::new()?;
    let daemon = scene.protect(BLOCKS)?;
    let extended = |source: &str| {
        from_v6(source)
            .extension(Extension::HopByHop(8))
            .extension(Extension::Destination(16))
    };
    let all = |source: &str| {
        let plain = one_of_each(&from_v6(source), 128);
        [plain, one_of_each(&extended(source), 128)].concat()
    };
    let (blocked, others) = (all(BLOCKED_V6), all(OTHER_V6));
    assert_eq!(scene.passed(&blocked)?, vec![false; blocked.len()]);
    assert_eq!(daemon.dropped(Reason::Blocklisted)?, blocked.len() as u64);
    assert_eq!(scene.passed(&others)?, vec![true; others.len()]);
    Ok(())
}

#[test]
fn fragments_of_a_blocked_source_are_dropped_and_those_of_others_pass() -> Result<()> {
    require_kernel!("fragments_of_a_blocked_source_are_dropped_and_those_of_others_pass");
    let scene = Scene::new()?;
    let _daemon = scene.protect(BLOCKS)?;
    let fragments = |packet: Packet| packet.udp(1, 2).payload([7; 3000]).build_fragments(9, 1400);
    let blocked = [
        fragments(from_v4(BLOCKED_V4)),
        fragments(from_v6(BLOCKED_V6)),
    ]
    .concat();
    let others = [fragments(from_v4(OTHER_V4)), fragments(from_v6(OTHER_V6))].concat();
    assert_eq!(blocked.len(), 6);
    assert_eq!(scene.passed(&blocked)?, [false; 6]);
    assert_eq!(scene.passed(&others)?, [true; 6]);
    Ok(())
}

#[test]
fn vlan_tagged_packets_of_a_blocked_source_are_dropped_and_counted() -> Result<()> {
    require_kernel!("vlan_tagged_packets_of_a_blocked_source_are_dropped_and_counted");
    let scene = Scene::new()?;
    let daemon = scene.protect(BLOCKS)?;
    let tagged = |packet: Packet| {
        let packet = packet.udp(1, 53);
        let one = packet.clone().vlan(7);
        let two = packet.clone().service_vlan(8).vlan(7);
        [one, two, packet.service_vlan(9)].map(|packet| packet.build())
    };
    let blocked = [tagged(from_v4(BLOCKED_V4)), tagged(from_v6(BLOCKED_V6))].concat();
    let others = [tagged(from_v4(OTHER_V4)), tagged(from_v6(OTHER_V6))].concat();
    assert_eq!(scene.passed(&blocked)?, [false; 6]);
    assert_eq!(daemon.dropped(Reason::Blocklisted)?, 6);
    assert_eq!(scene.passed(&others)?, [true; 6]);
    assert_eq!(daemon.dropped(Reason::Blocklisted)?, 6);
    Ok(())
}

#[test]
fn neighbours_are_found_with_the_default_config() -> Result<()> {
    require_kernel!("neighbours_are_found_with_the_default_config");
    let scene = Scene::new()?;
    let _daemon = scene.protect("")?;
    for (namespace, interface) in [(&scene.host, HOST), (&scene.peer, PEER)] {
        namespace.ip(&["neigh", "flush", "dev", interface])?;
    }
    // Each side asks once: for IPv6 that is a solicitation and an advertisement (RFC 4861).
    talk::udp(&scene.peer, &scene.host, &format!("[{HOST_V6}]"), 100)?;
    talk::udp(&scene.host, &scene.peer, &format!("[{PEER_V6}]"), 100)?;
    talk::udp(&scene.peer, &scene.host, HOST_V4, 100)?;
    for (namespace, interface, neighbour) in [
        (&scene.host, HOST, PEER_V6),
        (&scene.peer, PEER, HOST_V6),
        (&scene.host, HOST, PEER_V4),
    ] {
        let found = namespace.ip(&["neigh", "show", neighbour, "dev", interface])?;
        assert!(found.contains("lladdr"), "{neighbour}: {found}");
    }
    Ok(())
}

#[test]
fn an_icmpv6_flood_is_limited_like_any_other() -> Result<()> {
    require_kernel!("an_icmpv6_flood_is_limited_like_any_other");
    let scene = Scene::new()?;
    let daemon = scene
        .protect("[limits]\npackets = \"1pps\"\npackets_burst = 10\n[ban]\nenabled = false\n")?;
    let pings: Vec<Vec<u8>> = (0..60)
        .map(|number| from_v6(OTHER_V6).icmp(128, 0).payload([number]).build())
        .collect();
    let passed = scene.passed(&pings)?;
    assert_eq!(passed[..10], [true; 10]);
    let total = passed.iter().filter(|passed| **passed).count() as u64;
    // Ten at once, and one for each second that sending took.
    assert!((10..20).contains(&total), "{total}");
    assert_eq!(daemon.dropped(Reason::RatePackets)?, 60 - total);
    Ok(())
}

#[test]
fn sources_are_shown_with_exact_counts() -> Result<()> {
    require_kernel!("sources_are_shown_with_exact_counts");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let frame = from_v4(OTHER_V4).udp(1, 2).padded_to(200).build();
    scene.send(vec![frame; 25])?;
    wait_until("the source's packets", Duration::from_secs(10), || {
        let sources = daemon.cli_json(&["sources", "--match", OTHER_V4]);
        sources.is_ok_and(|list| {
            let source = &list["sources"][0];
            source["packets"] == 25 && source["bytes"] == 5000 && source["dropped_packets"] == 0
        })
    })?;
    let text = daemon.cli_text(&["sources"])?;
    assert!(text.contains(OTHER_V4), "{text}");
    Ok(())
}

#[test]
fn the_programs_own_diagnostics_reach_the_log_only_when_asked_for() -> Result<()> {
    require_kernel!("the_programs_own_diagnostics_reach_the_log_only_when_asked_for");
    let dropped = format!("dropped: reason {}", Reason::Blocklisted.code());
    let scene = Scene::new()?;
    let quiet = scene.protect(BLOCKS)?;
    assert!(!scene.passes(&from_v4(BLOCKED_V4).udp(1, 2))?);
    assert_eq!(quiet.dropped(Reason::Blocklisted)?, 1);
    assert!(!quiet.log().contains(&dropped));
    drop(quiet);

    // The daemon's own level stays as it is.
    let talkative = scene.protect(&format!("{BLOCKS}[log]\ndatapath = \"debug\"\n"))?;
    assert!(!scene.passes(&from_v4(BLOCKED_V4).udp(1, 2))?);
    wait_until("the diagnostic is logged", Duration::from_secs(10), || {
        talkative.log().contains(&dropped)
    })
}
