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
use xdp_tests::mitigation::{Attack, Builtin, Group, Options, Profile, Report, Trial, run};
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;

const RATE: u64 = 2_000;
/// A run looks for what is left of it in this process; two at once would see each other.
static ALONE: Mutex<()> = Mutex::new(());

fn options(attack: Attack) -> Options {
    Options {
        daemon: None,
        attacks: vec![attack],
        rushes: Vec::new(),
        one_of: 1,
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
