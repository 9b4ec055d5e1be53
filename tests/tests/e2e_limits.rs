//! Limits, strikes and bans on a wire, counted by a receiver of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xdp_common::reason::Reason;
use xdp_tests::daemon::scene::{PEER, Scene, from_v4, from_v6, protecting};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::packet::Flags;
use xdp_tests::require_kernel;
use xdp_tests::traffic::sender::{Load, Sender};
use xdp_tests::wait::wait_until;
use xdp_user::api::types::{BanList, LimitList};

const TIMEOUT: Duration = Duration::from_secs(20);
const FLOODER: &str = "203.0.113.7";
const HONEST: &str = "192.0.2.7";

fn numbered(source: &str, count: u16) -> Vec<Vec<u8>> {
    (0..count)
        .map(|port| from_v4(source).udp(port, 2).build())
        .collect()
}

fn passed(scene: &Scene, frames: &[Vec<u8>]) -> Result<usize> {
    Ok(scene.passed(frames)?.iter().filter(|p| **p).count())
}

fn flood(scene: &Scene, frames: Vec<Vec<u8>>, rate: u64) -> Result<Sender> {
    let load = Load {
        rate,
        count: u64::MAX,
        ..Load::once(frames)
    };
    Sender::start(&scene.peer, PEER, load)
}

fn bans(daemon: &Daemon) -> Result<BanList> {
    daemon.ask(&["ban", "list"])
}

#[test]
fn a_flood_gets_its_burst_and_its_rate_and_no_more_and_costs_nobody_else() -> Result<()> {
    require_kernel!("a_flood_gets_its_burst_and_its_rate_and_no_more_and_costs_nobody_else");
    let scene = Scene::new()?;
    let daemon = scene
        .protect("[limits]\npackets = \"1kpps\"\npackets_burst = 200\n[ban]\nenabled = false\n")?;
    let (flooding, honest) = (scene.count_from(FLOODER)?, scene.count_from(HONEST)?);
    // Nine of ten frames are the flooder's.
    let mut frames = vec![from_v4(FLOODER).udp(1, 2).build(); 9];
    frames.push(from_v4(HONEST).udp(1, 2).build());
    let started = Instant::now();
    let load = Load {
        rate: 6_000,
        count: 12_000,
        ..Load::once(frames)
    };
    let sent = Sender::start(&scene.peer, PEER, load)?.wait()?;
    assert_eq!((sent.frames, sent.refused), (12_000, 0));
    honest.wait_for(1_200, TIMEOUT)?;
    // From before the first frame to after the last: the bound holds for any window.
    let window = started.elapsed().as_secs_f64();
    let (flooding, honest) = (flooding.stop()?, honest.stop()?);
    assert_eq!((honest.matched, flooding.lost + honest.lost), (1_200, 0));
    let most = 200.0 + 1_000.0 * window + 1.0;
    let least = 200.0 + 1_000.0 * sent.elapsed.as_secs_f64() * 0.8;
    let let_through = flooding.matched as f64;
    println!("{let_through} of 10800 in {window:.3} s, at most {most:.0}");
    assert!(
        (least..=most).contains(&let_through),
        "{least} {let_through} {most}"
    );
    let dropped = daemon.dropped(Reason::RatePackets)?;
    assert_eq!(dropped + flooding.matched, 10_800);
    let sources = daemon.cli_json(&["sources", "--sort", "dropped"])?;
    assert_eq!(sources["sources"][0]["source"], FLOODER);
    assert_eq!(sources["sources"][0]["packets"], 10_800);
    assert_eq!(sources["sources"][0]["dropped_packets"], dropped);
    Ok(())
}

#[test]
fn bytes_are_limited_whatever_the_packets_size() -> Result<()> {
    require_kernel!("bytes_are_limited_whatever_the_packets_size");
    let scene = Scene::new()?;
    let daemon = scene.protect(
        "[limits]\npackets = \"off\"\nbytes = \"8kbps\"\nbytes_burst = \"100kB\"\n[ban]\nenabled = false\n",
    )?;
    let large = |port| from_v4(FLOODER).udp(port, 2).padded_to(1000).build();
    let large: Vec<Vec<u8>> = (0..200).map(large).collect();
    // 100 frames at once, and one for each second that sending takes.
    let through = passed(&scene, &large)?;
    assert!((100..110).contains(&through), "{through}");
    assert_eq!(daemon.dropped(Reason::RateBytes)?, 200 - through as u64);
    Ok(())
}

#[test]
fn new_connections_are_limited_and_the_segments_of_others_are_not() -> Result<()> {
    require_kernel!("new_connections_are_limited_and_the_segments_of_others_are_not");
    let scene = Scene::new()?;
    let daemon = scene
        .protect("[limits]\ntcp_new = \"1cps\"\ntcp_new_burst = 10\n[ban]\nenabled = false\n")?;
    let segments = |flags: Flags| -> Vec<Vec<u8>> {
        (0..60)
            .map(|port| from_v4(FLOODER).tcp(port, 443, flags).build())
            .collect()
    };
    let through = passed(&scene, &segments(Flags::SYN))?;
    assert!((10..20).contains(&through), "{through}");
    assert_eq!(daemon.dropped(Reason::RateTcpNew)?, 60 - through as u64);
    assert_eq!(passed(&scene, &segments(Flags::ACK))?, 60);
    assert_eq!(passed(&scene, &segments(Flags::SYN | Flags::ACK))?, 60);
    Ok(())
}

#[test]
fn addresses_of_one_ipv6_network_are_one_source() -> Result<()> {
    require_kernel!("addresses_of_one_ipv6_network_are_one_source");
    let scene = Scene::new()?;
    let _daemon = scene
        .protect("[limits]\npackets = \"1pps\"\npackets_burst = 10\n[ban]\nenabled = false\n")?;
    let one_network = |host| {
        from_v6(&format!("2001:db8:0:1::{host:x}"))
            .udp(1, 2)
            .build()
    };
    let through = passed(&scene, &(1..60).map(one_network).collect::<Vec<_>>())?;
    assert!((10..20).contains(&through), "{through}");
    let other_networks = |net| from_v6(&format!("2001:db8:0:{net:x}::1")).udp(1, 2).build();
    assert_eq!(
        passed(&scene, &(2..60).map(other_networks).collect::<Vec<_>>())?,
        58
    );
    Ok(())
}

#[test]
fn strikes_lead_to_a_ban_that_is_listed_logged_and_lifted_at_once() -> Result<()> {
    require_kernel!("strikes_lead_to_a_ban_that_is_listed_logged_and_lifted_at_once");
    let scene = Scene::new()?;
    let daemon = scene.protect(
        "[limits]\npackets = \"1kpps\"\npackets_burst = 1\n\
         [ban]\nstrikes = 3\nstrike_interval = \"50ms\"\nduration = \"1h\"\n",
    )?;
    let packet = from_v4(FLOODER).udp(1, 2);
    let sender = flood(&scene, vec![packet.clone().build()], 4_000)?;
    wait_until("the ban", TIMEOUT, || {
        bans(&daemon).is_ok_and(|list| list.bans.len() == 1)
    })?;
    sender.stop()?;
    let ban = bans(&daemon)?.bans.remove(0);
    assert_eq!(ban.source.to_string(), FLOODER);
    assert_eq!((ban.level, &*ban.reason), (0, "rate_packets"));
    let length = ban.until.duration_since(ban.since);
    assert_eq!(length.as_secs(), 3600);
    assert!(!scene.passes(&packet)?);
    assert!(daemon.dropped(Reason::Banned)? > 0);
    assert!(scene.passes(&from_v4(HONEST).udp(1, 2))?);
    // The kernel told the daemon of it.
    wait_until("the event", TIMEOUT, || {
        let log = daemon.log();
        log.lines()
            .any(|line| line.contains("banned") && line.contains(FLOODER))
    })?;
    let status = daemon.status()?;
    assert_eq!(status.bans, 1);
    assert!(
        status.faults.iter().all(|fault| fault.count == 0),
        "{:?}",
        status.faults
    );

    let text = daemon.cli_text(&["ban", "lift", FLOODER])?;
    assert!(text.contains("1 ban lifted"), "{text}");
    assert!(scene.passes(&packet)?);
    assert!(bans(&daemon)?.bans.is_empty());
    let again = daemon.cli(&["ban", "lift", FLOODER, "--strict"])?;
    assert_eq!(again.status.code(), Some(1));
    let text = daemon.cli_text(&["ban", "lift", FLOODER])?;
    assert!(text.contains("not banned"), "{text}");
    Ok(())
}

#[test]
fn a_ban_ends_by_itself_and_the_next_is_longer() -> Result<()> {
    require_kernel!("a_ban_ends_by_itself_and_the_next_is_longer");
    let scene = Scene::new()?;
    let daemon = scene.protect(
        "[limits]\npackets = \"1kpps\"\npackets_burst = 1\n\
         [ban]\nstrikes = 1\nstrike_interval = \"50ms\"\nduration = \"1s\"\n",
    )?;
    let mut lengths = Vec::new();
    for level in 0..2 {
        scene.send(numbered(FLOODER, 20))?;
        let mut found = None;
        wait_until("the ban", TIMEOUT, || {
            found = bans(&daemon)
                .ok()
                .and_then(|list| list.bans.into_iter().next());
            found.is_some()
        })?;
        let ban = found.context("no ban")?;
        assert_eq!(ban.level, level);
        lengths.push(ban.until.duration_since(ban.since).as_secs());
        wait_until("its end", TIMEOUT, || {
            bans(&daemon).is_ok_and(|list| list.bans.is_empty())
        })?;
        assert!(scene.passes(&from_v4(FLOODER).udp(1, 2))?);
    }
    assert_eq!(lengths, [1, 2]);
    Ok(())
}

#[test]
fn overrides_hold_for_their_prefix_from_the_file_and_at_run_time() -> Result<()> {
    require_kernel!("overrides_hold_for_their_prefix_from_the_file_and_at_run_time");
    let scene = Scene::new()?;
    let daemon = scene.protect(
        "[limits]\npackets = \"1pps\"\npackets_burst = 5\n[ban]\nenabled = false\n\
         [[override]]\nprefixes = [\"198.51.100.0/24\"]\npackets = \"off\"\n",
    )?;
    assert_eq!(passed(&scene, &numbered("198.51.100.7", 60))?, 60);
    assert!((5..15).contains(&passed(&scene, &numbered(FLOODER, 60))?));
    daemon.cli_text(&[
        "limit",
        "set",
        "--prefix",
        "203.0.113.0/24",
        "--packets",
        "off",
    ])?;
    assert_eq!(passed(&scene, &numbered(FLOODER, 60))?, 60);
    // The longest prefix counts.
    let narrow = [
        "limit",
        "set",
        "--prefix",
        "198.51.100.8",
        "--packets",
        "1pps",
    ];
    daemon.cli_text(&[&narrow[..], &["--packets-burst", "5"]].concat())?;
    assert!((5..15).contains(&passed(&scene, &numbered("198.51.100.8", 60))?));
    assert_eq!(passed(&scene, &numbered("198.51.100.9", 60))?, 60);
    daemon.cli_text(&["limit", "set", "--prefix", "203.0.113.0/24", "--reset"])?;
    assert!(passed(&scene, &numbered(FLOODER, 60))? < 15);
    Ok(())
}

#[test]
fn limits_set_at_run_time_act_at_once_and_after_a_restart_until_reset() -> Result<()> {
    require_kernel!("limits_set_at_run_time_act_at_once_and_after_a_restart_until_reset");
    let scene = Scene::new()?;
    let mut daemon = scene.protect("[ban]\nenabled = false\n")?;
    assert_eq!(passed(&scene, &numbered("192.0.2.1", 60))?, 60);
    daemon.cli_text(&["limit", "set", "--packets", "1pps", "--packets-burst", "5"])?;
    assert!((5..15).contains(&passed(&scene, &numbered("192.0.2.2", 60))?));
    daemon.terminate()?;
    daemon.restart()?;
    assert!((5..15).contains(&passed(&scene, &numbered("192.0.2.3", 60))?));
    let list: LimitList = daemon.ask(&["limit", "show"])?;
    assert_eq!(list.limits[0].origin, "runtime");
    daemon.cli_text(&["limit", "set", "--reset"])?;
    assert_eq!(passed(&scene, &numbered("192.0.2.4", 60))?, 60);
    Ok(())
}

/// Packets of many drop reasons, with the number of each.
fn of_many_reasons() -> (Vec<Vec<u8>>, Vec<(Reason, u64)>) {
    let mut truncated = from_v4(HONEST).udp(1, 2).build();
    truncated.truncate(30);
    let frames = vec![
        from_v4("100.64.0.1").udp(1, 2).build(),
        from_v4("100.64.0.2").esp(1, 1).build(),
        from_v4(HONEST).tcp(1, 2, Flags::NONE).build(),
        from_v4(HONEST).tcp(2, 2, Flags::SYN | Flags::FIN).build(),
        from_v4("127.0.0.1").udp(1, 2).build(),
        from_v4(xdp_tests::daemon::scene::HOST_V4).udp(1, 2).build(),
        truncated,
        from_v4(HONEST).vlan(1).vlan(2).vlan(3).udp(1, 2).build(),
    ];
    let counts = vec![
        (Reason::Blocklisted, 2),
        (Reason::TcpFlags, 2),
        (Reason::MartianSource, 1),
        (Reason::Land, 1),
        (Reason::Ipv4Truncated, 1),
        (Reason::VlanTooDeep, 1),
    ];
    (frames, counts)
}

const BLOCKS: &str = "[block]\nprefixes = [\"100.64.0.0/16\"]\n";

#[test]
fn observe_drops_nothing_and_counts_the_same() -> Result<()> {
    require_kernel!("observe_drops_nothing_and_counts_the_same");
    let (frames, counts) = of_many_reasons();
    for observing in [false, true] {
        let scene = Scene::new()?;
        let top = if observing {
            "mode = \"observe\"\n"
        } else {
            ""
        };
        let config = format!("{top}{}", protecting(BLOCKS));
        let daemon = Daemon::start(&scene.host, &config)?;
        assert_eq!(scene.passed(&frames)?, vec![observing; frames.len()]);
        for (reason, packets) in &counts {
            let seen = (daemon.dropped(*reason)?, daemon.passed(*reason)?);
            let expected = if observing {
                (0, *packets)
            } else {
                (*packets, 0)
            };
            assert_eq!(seen, expected, "{reason:?}");
        }
    }
    Ok(())
}

#[test]
fn observe_limits_and_bans_nobody_and_still_counts_them() -> Result<()> {
    require_kernel!("observe_limits_and_bans_nobody_and_still_counts_them");
    let scene = Scene::new()?;
    let config = protecting(
        "[limits]\npackets = \"1pps\"\npackets_burst = 5\n[ban]\nstrikes = 2\nstrike_interval = \"1ms\"\n",
    );
    let mut daemon = Daemon::prepare(&scene.host, &binary()?, &config)?;
    let path = daemon.config_path();
    daemon.run(&["run", "--config", &path.to_string_lossy(), "--observe"])?;
    let sender = flood(&scene, numbered(FLOODER, 60), 2_000)?;
    wait_until("a ban", TIMEOUT, || {
        daemon.passed(Reason::Banned).is_ok_and(|n| n > 0)
    })?;
    sender.stop()?;
    assert!(daemon.passed(Reason::RatePackets)? > 0);
    let status = daemon.status()?;
    let dropped = status.reasons.iter().filter(|c| c.action == "dropped");
    assert_eq!(dropped.map(|c| c.packets).sum::<u64>(), 0);
    assert_eq!(passed(&scene, &numbered(FLOODER, 60))?, 60);
    Ok(())
}

#[test]
fn a_single_reason_is_observed_and_the_others_enforced() -> Result<()> {
    require_kernel!("a_single_reason_is_observed_and_the_others_enforced");
    let scene = Scene::new()?;
    let config = format!("observe_reasons = [\"tcp_flags\"]\n{}", protecting(BLOCKS));
    let daemon = Daemon::start(&scene.host, &config)?;
    let (frames, _) = of_many_reasons();
    let passed = scene.passed(&frames)?;
    assert_eq!(
        passed,
        [false, false, true, true, false, false, false, false]
    );
    assert_eq!(daemon.passed(Reason::TcpFlags)?, 2);
    assert_eq!(daemon.dropped(Reason::TcpFlags)?, 0);
    Ok(())
}
