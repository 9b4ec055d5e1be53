//! Another configuration for a running daemon: all of it or nothing, and no gap.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::scene::{HOST, HOST_V4, PEER, Scene, from_v4, protecting};
use xdp_tests::netns::link::{Attachment, End, veth_pair};
use xdp_tests::require_kernel;
use xdp_tests::traffic::sender::{Load, Sender};
use xdp_tests::wait::wait_until;
use xdp_user::api::types::ApplyReport;

const TIMEOUT: Duration = Duration::from_secs(20);
const BLOCKED: &str = "203.0.113.7";
const OTHER: &str = "192.0.2.7";

fn apply(daemon: &Daemon, config: &str) -> Result<ApplyReport> {
    daemon.write_config(config)?;
    daemon.ask(&["apply"])
}

fn passes(scene: &Scene, source: &str) -> Result<bool> {
    scene.passes(&from_v4(source).udp(1, 2))
}

/// Three configurations that say the same of these four sources in other words, and something
/// else of everybody else. One source is blocked in each, by another entry. Of those that pass,
/// one is allowed out of a blocked network by another entry in each, one is allowed out of a
/// network that is only blocked while it is, and one is in no list. Without classes: the last one's port is
/// closed, so it stays a newcomer, whose packets would be dropped once they are over the budget.
const SAME_IN_OTHER_WORDS: [&str; 3] = [
    "[mitigation]\nenabled = false\n\
     [limits]\npackets = \"100kpps\"\n\
     [allow]\nprefixes = [\"198.51.100.0/25\", \"100.64.0.7\"]\n\
     [block]\nprefixes = [\"203.0.113.0/24\", \"198.51.100.0/24\", \"100.64.0.0/16\"]\n",
    "[mitigation]\nenabled = false\n\
     [limits]\npackets = \"90kpps\"\ntcp_new = \"off\"\n\
     [allow]\nprefixes = [\"198.51.100.7\"]\n\
     [block]\nprefixes = [\"203.0.113.7\", \"198.51.0.0/16\"]\n",
    "[mitigation]\nenabled = false\n\
     [limits]\nbytes = \"off\"\n[ban]\nenabled = false\n\
     [allow]\nprefixes = [\"198.51.100.4/30\"]\n\
     [block]\nprefixes = [\"203.0.112.0/22\", \"198.51.100.7\"]\n",
];

#[test]
fn fifty_reloads_under_traffic_leak_nothing_and_lose_nothing() -> Result<()> {
    require_kernel!("fifty_reloads_under_traffic_leak_nothing_and_lose_nothing");
    let scene = Scene::new()?;
    let daemon = scene.protect(SAME_IN_OTHER_WORDS[0])?;
    let program = scene.host.xdp_program(HOST)?.context("not attached")?;
    let sources = [BLOCKED, OTHER, "198.51.100.7", "100.64.0.7"];
    let counters = sources
        .map(|source| scene.count_from(source))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let frames = sources.map(|source| from_v4(source).udp(1, 2).padded_to(100).build());
    let load = Load {
        rate: 4_000,
        count: u64::MAX,
        ..Load::once(frames.to_vec())
    };
    let sender = Sender::start(&scene.peer, PEER, load)?;
    for turn in 1..=50 {
        let sent = sender.sent_so_far();
        let config = SAME_IN_OTHER_WORDS[turn % 3];
        let report = apply(&daemon, &protecting(config))?;
        assert!(!report.changes.is_empty());
        // Traffic really goes on between two reloads.
        wait_until("more traffic", TIMEOUT, || sender.sent_so_far() > sent + 40)?;
    }
    let sent = sender.stop()?;
    assert_eq!(sent.refused, 0);
    for (index, counter) in counters.into_iter().enumerate() {
        let source = sources[index];
        let whole = sent.frames / 4 + u64::from(sent.frames % 4 > index as u64);
        let wanted = if index == 0 { 0 } else { whole };
        counter
            .wait_for(wanted, TIMEOUT)
            .with_context(|| format!("from {source}"))?;
        let seen = counter.stop()?;
        assert_eq!((seen.matched, seen.lost), (wanted, 0), "from {source}");
    }
    assert_eq!(scene.host.xdp_program(HOST)?, Some(program));
    assert_eq!(daemon.status()?.config.reloads, 50);
    Ok(())
}

#[test]
fn a_hang_up_reads_the_file_again() -> Result<()> {
    require_kernel!("a_hang_up_reads_the_file_again");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    assert!(passes(&scene, BLOCKED)?);
    daemon.write_config(&protecting("[block]\nprefixes = [\"203.0.113.7\"]\n"))?;
    daemon.signal(Signal::SIGHUP)?;
    wait_until("the reload", TIMEOUT, || {
        daemon
            .status()
            .is_ok_and(|status| status.config.reloads == 1)
    })?;
    assert!(!passes(&scene, BLOCKED)?);

    daemon.write_config("nonsense = 1\n")?;
    daemon.signal(Signal::SIGHUP)?;
    wait_until("the refusal", TIMEOUT, || {
        daemon
            .status()
            .is_ok_and(|status| status.config.refused == 1)
    })?;
    assert!(daemon.log().contains("nonsense"), "{}", daemon.log());
    assert!(!passes(&scene, BLOCKED)?);
    Ok(())
}

#[test]
fn mode_limits_and_lists_change_at_once() -> Result<()> {
    require_kernel!("mode_limits_and_lists_change_at_once");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let block = protecting("[block]\nprefixes = [\"203.0.113.7\"]\n");
    let observe = format!("mode = \"observe\"\n{block}");
    let observe_reason = format!("observe_reasons = [\"blocklisted\"]\n{block}");
    for (config, passing) in [
        (&block, false),
        (&observe, true),
        (&block, false),
        (&observe_reason, true),
        (&block, false),
        (&protecting(""), true),
    ] {
        apply(&daemon, config)?;
        assert_eq!(passes(&scene, BLOCKED)?, passing, "{config}");
    }
    apply(
        &daemon,
        &protecting("[limits]\npackets = \"1pps\"\npackets_burst = 1\n"),
    )?;
    let frames: Vec<Vec<u8>> = (0..20u16)
        .map(|port| from_v4(OTHER).udp(port, 2).build())
        .collect();
    let passed = scene.passed(&frames)?.iter().filter(|p| **p).count();
    assert!((1..5).contains(&passed), "{passed}");
    Ok(())
}

#[test]
fn a_bad_config_is_refused_with_every_mistake_and_the_old_one_stays() -> Result<()> {
    require_kernel!("a_bad_config_is_refused_with_every_mistake_and_the_old_one_stays");
    let scene = Scene::new()?;
    let daemon = scene.protect("[block]\nprefixes = [\"203.0.113.7\"]\n")?;
    daemon.write_config(&protecting(
        "[limits]\npackets = \"20\"\nbites = \"1Gbps\"\n[block]\nprefixes = [\"203.0.113.300\"]\n",
    ))?;
    let output = daemon.cli(&["apply"])?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in [
        "limits.packets",
        "bites",
        "203.0.113.300",
        ":4:",
        ":5:",
        ":7:",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!passes(&scene, BLOCKED)?);
    assert!(passes(&scene, OTHER)?);
    let status = daemon.status()?;
    assert_eq!((status.config.refused, status.config.reloads), (1, 0));
    let error = status.config.last_error.context("no error in the status")?;
    assert!(error.contains("bites"), "{error}");

    apply(&daemon, &protecting(""))?;
    let config = daemon.status()?.config;
    assert_eq!((config.refused, config.reloads), (1, 1));
    assert_eq!(config.last_error, None);
    assert!(passes(&scene, BLOCKED)?);
    Ok(())
}

#[test]
fn an_interface_comes_and_goes_with_the_config() -> Result<()> {
    require_kernel!("an_interface_comes_and_goes_with_the_config");
    let scene = Scene::new()?;
    veth_pair(
        End::new(&scene.host, "host1"),
        End::new(&scene.peer, "peer1"),
        1500,
    )?;
    let blocks = "[block]\nprefixes = [\"203.0.113.7\"]\n";
    let daemon = scene.protect(blocks)?;
    let program = scene.host.xdp_program(HOST)?;
    let both = format!(
        "{}[[interface]]\nname = \"host1\"\n{blocks}",
        protecting("")
    );
    let report = apply(&daemon, &both)?;
    assert!(
        report.changes.iter().any(|change| change.contains("host1")),
        "{report:?}"
    );
    assert_eq!(scene.host.xdp_attachment("host1")?, Attachment::Native);
    let frame = from_v4(BLOCKED).udp(1, 2).build();
    Sender::start(&scene.peer, "peer1", Load::once(vec![frame; 3]))?.wait()?;
    wait_until("the counts of host1", TIMEOUT, || {
        daemon.status().is_ok_and(|status| {
            let second = status.interfaces.iter().find(|one| one.name == "host1");
            second.is_some_and(|one| {
                let blocked = one.reasons.iter().find(|c| c.reason == "blocklisted");
                blocked.is_some_and(|count| count.packets == 3 && count.action == "dropped")
            })
        })
    })?;
    apply(&daemon, &protecting(blocks))?;
    assert_eq!(scene.host.xdp_attachment("host1")?, Attachment::None);
    assert_eq!(scene.host.xdp_program(HOST)?, program);
    assert_eq!(daemon.status()?.interfaces.len(), 1);
    assert!(!passes(&scene, BLOCKED)?);
    Ok(())
}

#[test]
fn a_config_with_an_interface_that_cannot_be_had_changes_nothing() -> Result<()> {
    require_kernel!("a_config_with_an_interface_that_cannot_be_had_changes_nothing");
    let scene = Scene::new()?;
    veth_pair(
        End::new(&scene.host, "host1"),
        End::new(&scene.peer, "peer1"),
        1500,
    )?;
    let daemon = scene.protect("[block]\nprefixes = [\"203.0.113.7\"]\n")?;
    daemon.write_config(&protecting(
        "[[interface]]\nname = \"host1\"\n[[interface]]\nname = \"absent0\"\nrequired = true\n[block]\nprefixes = [\"192.0.2.7\"]\n",
    ))?;
    let output = daemon.cli(&["apply"])?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("absent0"), "{text}");
    assert!(!passes(&scene, BLOCKED)?);
    assert!(passes(&scene, OTHER)?);
    assert_eq!(scene.host.xdp_attachment("host1")?, Attachment::None);
    let status = daemon.status()?;
    assert_eq!((status.config.refused, status.interfaces.len()), (1, 1));
    Ok(())
}

#[test]
fn what_takes_a_restart_is_named_and_kept() -> Result<()> {
    require_kernel!("what_takes_a_restart_is_named_and_kept");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let config = "[[interface]]\nname = \"host0\"\nattach = \"generic\"\n[capacity]\nblock = 77\n[log]\nlevel = \"debug\"\n[block]\nprefixes = [\"203.0.113.7\"]\n";
    let report = apply(&daemon, config)?;
    assert_eq!(
        report.needs_restart,
        ["[capacity]", "[log]", "attach of host0"]
    );
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::Native);
    let tables = daemon.status()?.tables;
    let block = tables.iter().find(|table| table.name == "block");
    assert_eq!(block.map(|table| table.capacity), Some(1_000_000));
    // The rest of it is in force.
    assert!(!passes(&scene, BLOCKED)?);
    Ok(())
}

#[test]
fn a_file_given_to_apply_is_put_in_force() -> Result<()> {
    require_kernel!("a_file_given_to_apply_is_put_in_force");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let other = daemon.directory().join("other.toml");
    let config = protecting("[block]\nprefixes = [\"203.0.113.7\"]\n");
    std::fs::write(&other, daemon.whole_config(&config))?;
    daemon.cli_text(&["apply", &other.to_string_lossy()])?;
    assert!(!passes(&scene, BLOCKED)?);
    // The host itself is still reached.
    xdp_tests::daemon::talk::tcp(&scene.peer, &scene.host, HOST_V4, 100)?;
    Ok(())
}
