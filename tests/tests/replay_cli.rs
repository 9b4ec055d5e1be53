//! `replay` and `suggest` as people run them: over files, without root, and from a daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use xdp_tests::capture;
use xdp_tests::daemon::binary;
use xdp_tests::daemon::scene::{PEER, Scene, from_v4};
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;
use xdp_tests::traffic::sender::{Load, Sender};

const FOLDER: &str = "XDP_THROTTLE_CORPUS";

fn run(arguments: &[&str]) -> Result<Output> {
    let program = binary()?;
    Command::new(program)
        .args(arguments)
        .output()
        .context("cannot run the program")
}

fn json(arguments: &[&str]) -> Result<Value> {
    let output = run(&[&["--output", "json"], arguments].concat())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {stderr}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A classic capture with a packet each millisecond.
fn write(directory: &TempDir, link: u32, frames: &[Vec<u8>]) -> Result<String> {
    let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(65_535_u32.to_le_bytes());
    bytes.extend(link.to_le_bytes());
    for (millisecond, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len())?;
        for word in [
            millisecond / 1000,
            millisecond % 1000 * 1000,
            length,
            length,
        ] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    let path = directory.path().join(format!("link{link}.pcap"));
    fs::write(&path, bytes)?;
    Ok(path.to_string_lossy().into_owned())
}

/// A flood from one address, and another that is blocked.
fn flood() -> Vec<Vec<u8>> {
    let flooding = Packet::v4("203.0.113.7", "198.51.100.1").udp(1, 7).build();
    let blocked = Packet::v6("2001:db8:bad::1", "2001:db8::1")
        .tcp(1, 443, Flags::SYN)
        .build();
    (0..4000)
        .map(|n| if n % 10 == 0 { &blocked } else { &flooding }.clone())
        .collect()
}

const POLICY: &str = "[limits]\npackets = \"100pps\"\npackets_burst = 50\n\
    [ban]\nstrikes = 2\nstrike_interval = \"100ms\"\n[block]\nprefixes = [\"2001:db8:bad::/48\"]\n";

#[test]
fn a_replay_says_what_the_policy_would_have_done_and_when() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = write(&directory, 1, &flood())?;
    let config = directory.path().join("policy.toml");
    fs::write(&config, POLICY)?;
    let config = config.to_string_lossy().into_owned();
    let report = json(&["replay", &file, "--config", &config])?;
    ensure!(
        report["packets"] == 4000 && report["policy"] == config,
        "{report}"
    );
    let reason = |name: &str| -> Result<Value> {
        let rows = report["reasons"].as_array().context("no reasons")?;
        let found = rows.iter().find(|row| row["reason"] == name);
        found
            .cloned()
            .with_context(|| format!("no {name}: {report}"))
    };
    ensure!(reason("blocklisted")?["packets"] == 400, "{report}");
    ensure!(reason("blocklisted")?["first"] == 0.0, "{report}");
    // Fifty pass at once, nine of ten packets are the flood's, a millisecond each.
    let first = reason("rate_packets")?["first"]
        .as_f64()
        .context("no time")?;
    ensure!((0.05..0.08).contains(&first), "{report}");
    ensure!(
        reason("banned")?["packets"].as_u64() > Some(2000),
        "{report}"
    );
    let source = &report["sources"][0];
    ensure!(
        source["source"] == "203.0.113.7" && source["reason"] == "banned",
        "{report}"
    );
    let text = String::from_utf8(run(&["replay", &file, "--config", &config])?.stdout)?;
    for words in ["blocklisted   dropped", "203.0.113.7", "4,000 packets"] {
        ensure!(text.contains(words), "{words}: {text}");
    }
    // In observe mode nothing would have been dropped.
    fs::write(&config, format!("mode = \"observe\"\n{POLICY}"))?;
    let observed = json(&["replay", &file, "--config", &config])?;
    ensure!(observed["stopped"]["packets"] == 0, "{observed}");
    Ok(())
}

#[test]
fn files_that_are_no_captures_are_refused_with_the_reason() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let wireless = write(&directory, 105, &flood())?;
    let text = directory.path().join("text.pcap");
    fs::write(&text, "no capture at all, but longer than a header\n")?;
    for (path, words) in [
        (wireless, "link type 105"),
        (
            text.to_string_lossy().into_owned(),
            "not a readable capture",
        ),
        ("/nonexistent.pcap".to_owned(), "/nonexistent.pcap"),
    ] {
        let output = run(&["replay", &path])?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(1),
            "{path}: {:?}",
            output.status
        );
        ensure!(
            stderr.contains(words) && stderr.starts_with("error: "),
            "{stderr}"
        );
    }
    let whole = write(&directory, 1, &flood())?;
    let bytes = fs::read(&whole)?;
    fs::write(&whole, &bytes[..bytes.len() / 2])?;
    let report = json(&["replay", &whole])?;
    ensure!(report["ended_early"].is_string(), "{report}");
    ensure!(report["packets"].as_u64() > Some(1500), "{report}");
    Ok(())
}

fn corpus(test: &str, part: &str) -> Result<Vec<PathBuf>> {
    let Some(folder) = std::env::var_os(FOLDER) else {
        eprintln!("SKIP {test}: {FOLDER} is not set");
        return Ok(Vec::new());
    };
    capture::files(&Path::new(&folder).join(part))
}

#[test]
fn what_is_suggested_from_a_benign_capture_drops_nothing_of_it() -> Result<()> {
    let test = "what_is_suggested_from_a_benign_capture_drops_nothing_of_it";
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("suggested.toml");
    for path in corpus(test, "benign")? {
        let file = path.to_string_lossy().into_owned();
        let shipped = json(&["replay", &file])?;
        ensure!(shipped["stopped"]["packets"] == 0, "{shipped}");
        let output = run(&["suggest", "--from", &file])?;
        ensure!(output.status.success(), "{file}");
        fs::write(&config, &output.stdout)?;
        let suggested = config.to_string_lossy().into_owned();
        let checked = run(&["check", &suggested])?;
        ensure!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stdout)
        );
        let report = json(&["replay", &file, "--config", &suggested])?;
        ensure!(report["stopped"]["packets"] == 0, "{file}: {report}");
    }
    Ok(())
}

#[test]
fn a_replay_of_an_attack_stops_most_of_it() -> Result<()> {
    for path in corpus("a_replay_of_an_attack_stops_most_of_it", "attack")? {
        let report = json(&["replay", &path.to_string_lossy()])?;
        let (all, stopped) = (&report["packets"], &report["stopped"]["packets"]);
        let share = stopped.as_f64().context("no count")? / all.as_f64().context("no count")?;
        println!("{}: {share:.3}", path.display());
        // Most of what passes is the budget of the first second.
        ensure!(share > 0.5, "{report}");
        ensure!(report["changes"].as_array().is_some(), "{report}");
    }
    Ok(())
}

#[test]
fn limits_are_suggested_from_a_running_daemon() -> Result<()> {
    require_kernel!("limits_are_suggested_from_a_running_daemon");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let load = Load {
        rate: 400,
        count: u64::MAX,
        ..Load::once(vec![from_v4("192.0.2.7").udp(1, 7).build()])
    };
    let sender = Sender::start(&scene.peer, PEER, load)?;
    let suggestion = daemon.cli_json(&["suggest", "--live", "4s"])?;
    sender.stop()?;
    let most = suggestion["packets"]["most"]
        .as_u64()
        .context("no packets")?;
    println!("{suggestion}");
    // The machine may be slow, and a look late.
    ensure!((100..2000).contains(&most), "{suggestion}");
    let seconds = suggestion["seconds"].as_u64();
    ensure!(
        seconds.is_some_and(|seconds| (2..=5).contains(&seconds)),
        "{suggestion}"
    );
    let rate = suggestion["packets"]["rate"].as_u64().context("no rate")?;
    ensure!(rate >= 2 * most, "{suggestion}");
    let fragment = suggestion["fragment"].as_str().context("no fragment")?;
    ensure!(
        xdp_user::config::Config::parse(fragment, "fragment").is_ok(),
        "{fragment}"
    );
    Ok(())
}
