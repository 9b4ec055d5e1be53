//! The bench of mitigation measures what it says: clients are served, an attack without the
//! throttler reaches the host, and two counts of what comes through agree. Says nothing about what
//! the throttler does against it.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use xdp_tests::daemon::binary;
use xdp_tests::mitigation::{
    Attack, Builtin, Group, Host, Options, Profile, Report, Rush, Trial, run,
};
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;

const RATE: u64 = 2_000;
/// A run looks for what is left of it in this process; two at once would see each other.
static ALONE: Mutex<()> = Mutex::new(());

fn options(attack: Attack) -> Options {
    Options {
        daemon: None,
        host: Host::Plain,
        attacks: vec![attack],
        rushes: Vec::new(),
        one_of: 1,
        late: false,
        under: None,
        rest: Duration::ZERO,
        benign: Vec::new(),
        skipped: Vec::new(),
        duration: Duration::from_secs(2),
        rate: RATE,
        baseline: true,
    }
}

fn measure(options: &Options) -> Result<Report> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Else another test builds it in a process that the run takes for something left of it.
    binary()?;
    let report = run(options, &AtomicBool::new(false), &mut |what| {
        eprintln!("{what}")
    })?;
    println!("{report}");
    assert!(report.torn_down);
    Ok(report)
}

fn everybody_is_served(trial: &Trial) {
    let groups: Vec<Group> = trial.served.iter().map(|served| served.group).collect();
    let all = [&Group::OLD[..], &Group::NEW_TCP].concat();
    assert_eq!(groups, all);
    for served in &trial.served {
        assert!(
            served.exchanges > 5 && served.failed == 0,
            "{served:?} under {RATE} packets a second"
        );
    }
    let profiles: Vec<Profile> = trial.new_udp.iter().map(|new| new.profile).collect();
    assert_eq!(profiles, Profile::ALL);
    for new in &trial.new_udp {
        assert!(
            new.clients > 0 && new.failed == 0,
            "{new:?} under {RATE} packets a second"
        );
    }
}

/// A classic capture of frames, a millisecond apart.
fn write_capture(path: &Path, frames: &[Vec<u8>]) -> Result<()> {
    // Magic, version 2.4, time zone, accuracy, longest packet, Ethernet.
    let mut words = vec![0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1_u32];
    let mut bytes = Vec::new();
    for (number, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len())?;
        words.extend([number / 1000, number % 1000 * 1000, length, length]);
        bytes.extend(words.drain(..).flat_map(u32::to_le_bytes));
        bytes.extend(frame);
    }
    Ok(fs::write(path, bytes)?)
}

#[test]
fn an_attack_without_the_throttler_reaches_the_host_and_clients_are_served() -> Result<()> {
    require_kernel!("an_attack_without_the_throttler_reaches_the_host_and_clients_are_served");
    let report = measure(&options(Attack::Builtin(Builtin::Mixed)))?;
    let attacked = report.attacked.first().context("no attack")?;
    assert!(attacked.with.is_none());
    let trial = attacked.without.as_ref().context("not measured")?;
    assert!(trial.leak.sent > RATE / 2, "{:?}", trial.leak);
    let share = trial.leak.share().unwrap_or(0.0);
    assert!((0.95..=1.0).contains(&share), "{:?}", trial.leak);
    assert_eq!(trial.mitigated_after_ms, None);
    assert!(trial.first_second.sent < trial.leak.sent);
    everybody_is_served(trial);
    Ok(())
}

#[test]
fn a_capture_is_replayed_at_a_protected_host_and_two_counts_agree() -> Result<()> {
    require_kernel!("a_capture_is_replayed_at_a_protected_host_and_two_counts_agree");
    let folder = tempfile::tempdir()?;
    let (attack, benign) = (
        folder.path().join("acks.pcap"),
        folder.path().join("dns.pcap"),
    );
    let frames: Vec<Vec<u8>> = (1..=200)
        .map(|last| Packet::v4(&*format!("203.0.113.{last}"), "192.0.2.1"))
        .map(|packet| packet.vlan(7).tcp(443, 50_000, Flags::ACK).build())
        .collect();
    write_capture(&attack, &frames)?;
    let question = Packet::v4("198.51.100.9", "192.0.2.1")
        .udp(5353, 53)
        .build();
    write_capture(&benign, &vec![question; 30])?;
    let report = measure(&Options {
        daemon: Some(binary()?),
        benign: vec![benign],
        baseline: false,
        ..options(Attack::Capture(attack))
    })?;

    let attacked = report.attacked.first().context("no attack")?;
    assert_eq!(
        (attacked.name.as_str(), attacked.sources),
        ("capture_acks", 200)
    );
    let trial = attacked.with.as_ref().context("not measured")?;
    let crosscheck = trial.crosscheck.context("no second count")?;
    assert!(crosscheck.agrees(), "{crosscheck:?}");
    let dropped = trial.outcomes.dropped();
    assert!(trial.leak.leaked + dropped + trial.lost >= trial.leak.sent);
    everybody_is_served(trial);

    let benign = report.benign.first().context("no benign capture")?;
    assert_eq!((benign.sent, benign.not_passed, benign.lost), (30, 0, 0));
    let names: Vec<String> = report
        .scorecard()
        .lines()
        .iter()
        .map(|line| line.name.clone())
        .collect();
    let expected = [
        "rate",
        "leak",
        "old_failed",
        "new_tcp_failed",
        "new_udp_failed",
        "latency",
    ];
    let expected = expected.map(|what| format!("capture_acks_{what}"));
    assert_eq!(names[..6], expected);
    assert_eq!(names[6..], ["benign_dropped", "torn_down"]);
    Ok(())
}

#[test]
fn an_unreadable_capture_is_named_and_the_run_goes_on() -> Result<()> {
    require_kernel!("an_unreadable_capture_is_named_and_the_run_goes_on");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("odd.pcap");
    fs::write(&path, "no capture")?;
    let report = measure(&options(Attack::Capture(path)))?;
    assert!(report.attacked.is_empty());
    assert!(report.skipped.iter().any(|line| line.contains("odd.pcap")));
    let line = report.scorecard().to_string();
    assert!(
        line.starts_with("short capture_odd_leak not_measured"),
        "{line}"
    );
    Ok(())
}

/// What is let through without the throttler is served, in a small crowd.
fn a_rush_is_served(rush: Rush) -> Result<()> {
    let report = measure(&Options {
        attacks: Vec::new(),
        rushes: vec![rush],
        one_of: 20,
        duration: Duration::from_secs(3),
        ..options(Attack::Builtin(Builtin::Mixed))
    })?;
    let rushed = report.rushed.first().context("no rush")?;
    let trial = rushed.without.as_ref().context("not measured")?;
    assert!(trial.clients >= 3 && trial.failed_clients == 0, "{trial:?}");
    assert!(trial.exchanges.all > 100, "{trial:?}");
    assert!(trial.settled.all < trial.exchanges.all, "{trial:?}");
    assert!(trial.settled.share() >= Some(0.95), "{trial:?}");
    // Without the throttler nothing is promised.
    assert_eq!(report.scorecard().lines().len(), 1);
    Ok(())
}

#[test]
fn a_rush_of_resolvers_is_served_without_the_throttler() -> Result<()> {
    require_kernel!("a_rush_of_resolvers_is_served_without_the_throttler");
    a_rush_is_served(Rush::DnsClients)
}

#[test]
fn a_rush_of_players_is_served_without_the_throttler() -> Result<()> {
    require_kernel!("a_rush_of_players_is_served_without_the_throttler");
    a_rush_is_served(Rush::Players)
}

#[test]
fn a_rush_of_sessions_is_served_without_the_throttler() -> Result<()> {
    require_kernel!("a_rush_of_sessions_is_served_without_the_throttler");
    a_rush_is_served(Rush::UdpSessions)
}

#[test]
fn a_rush_of_connections_is_served_without_the_throttler() -> Result<()> {
    require_kernel!("a_rush_of_connections_is_served_without_the_throttler");
    a_rush_is_served(Rush::TcpConnections)
}

#[test]
fn a_rush_at_a_protected_host_is_scored_with_the_states_of_its_classes() -> Result<()> {
    require_kernel!("a_rush_at_a_protected_host_is_scored_with_the_states_of_its_classes");
    let report = measure(&Options {
        daemon: Some(binary()?),
        attacks: Vec::new(),
        rushes: vec![Rush::DnsClients],
        one_of: 100,
        duration: Duration::from_secs(2),
        baseline: false,
        ..options(Attack::Builtin(Builtin::Mixed))
    })?;
    let rushed = report.rushed.first().context("no rush")?;
    assert!(rushed.without.is_none());
    let trial = rushed.with.as_ref().context("not measured")?;
    // Thirty questions a second are within every budget.
    assert_eq!((trial.failed_clients, &trial.pressed[..]), (0, &[][..]));
    assert!(trial.outcomes.passed() >= trial.exchanges.all);
    let card = report.scorecard();
    let names: Vec<&str> = card.lines().iter().map(|line| line.name.as_str()).collect();
    let expected = [
        "rush_dns-clients_served",
        "rush_dns-clients_failed_clients",
        "rush_dns-clients_classes_in_attack_after",
        "torn_down",
    ];
    assert_eq!(names, expected);
    Ok(())
}

#[test]
fn a_daemon_that_starts_into_a_rush_under_attack_is_scored() -> Result<()> {
    require_kernel!("a_daemon_that_starts_into_a_rush_under_attack_is_scored");
    let report = measure(&Options {
        daemon: Some(binary()?),
        attacks: Vec::new(),
        rushes: vec![Rush::TcpConnections],
        one_of: 10,
        late: true,
        under: Some(Attack::Builtin(Builtin::Icmp)),
        duration: Duration::from_secs(4),
        baseline: false,
        ..options(Attack::Builtin(Builtin::Mixed))
    })?;
    let rushed = report.rushed.first().context("no rush")?;
    let trial = rushed.with.as_ref().context("not measured")?;
    assert_eq!(rushed.name, "rush_tcp-connections_under_icmp_late");
    // Forty connections a second are within every budget, and the attack is in another class.
    assert_eq!(trial.failed_clients, 0, "{trial:?}");
    assert!(trial.attacked_with > Some(2 * RATE), "{trial:?}");
    assert!(trial.outcomes.dropped() > 0, "{trial:?}");
    Ok(())
}

fn a_host_that_forwards_serves(host: Host) -> Result<()> {
    let report = measure(&Options {
        host,
        ..options(Attack::Builtin(Builtin::UdpTwice))
    })?;
    let attacked = report.attacked.first().context("no attack")?;
    let trial = attacked.without.as_ref().context("not measured")?;
    everybody_is_served(trial);
    let forwarded = trial.forwarded.context("nothing seen behind the host")?;
    // Each forged source is a connection of its own to the host, which tracks them.
    assert!(forwarded.tracked > RATE / 2, "{forwarded:?}");
    assert!(
        attacked.name.ends_with("ing_udp-twice"),
        "{}",
        attacked.name
    );
    Ok(())
}

#[test]
fn clients_are_served_from_a_container_behind_a_host_that_forwards() -> Result<()> {
    require_kernel!("clients_are_served_from_a_container_behind_a_host_that_forwards");
    a_host_that_forwards_serves(Host::Forwarding)
}

#[test]
fn clients_are_served_from_a_container_although_the_host_listens_too() -> Result<()> {
    require_kernel!("clients_are_served_from_a_container_although_the_host_listens_too");
    a_host_that_forwards_serves(Host::Proxying)
}
