//! Events and captures of a real daemon: what happened is told once, in order, to whoever asks,
//! follows or reads the file, and packets are shown as Wireshark's own programs read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::scene::{PEER, Scene, from_v4, from_v6};
use xdp_tests::require_kernel;
use xdp_tests::traffic::sender::{Load, Sender};
use xdp_tests::wait::{wait_for, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);
const FLOODER: &str = "203.0.113.7";
const LISTED: &str = "198.51.100.9";
const LISTED_V6: &str = "2001:db8:bad::9";

/// A verb that goes on, with what it prints in a file. Ended when dropped.
struct Going {
    child: Child,
    printed: PathBuf,
}

impl Going {
    fn start(daemon: &Daemon, arguments: &[&str]) -> Result<Self> {
        let printed = daemon.directory().join("printed");
        let child = daemon
            .command(arguments)
            .stdout(fs::File::create(&printed)?)
            .spawn()
            .with_context(|| format!("cannot run {arguments:?}"))?;
        Ok(Self { child, printed })
    }

    fn lines(&self) -> Result<Vec<Value>> {
        json_lines(&self.printed)
    }

    /// Waits until a line is there.
    fn line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_for(what, TIMEOUT, || {
            let lines = self.lines().ok()?;
            lines.into_iter().find(&wanted)
        })
    }

    /// Ends it: with SIGTERM, because a shell may have left SIGINT ignored.
    fn end(mut self) -> Result<()> {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        let ended = wait_for("its end", TIMEOUT, || self.child.try_wait().transpose())??;
        // As a program that leaves the signal to the system, or with success.
        ensure!(ended.code().is_none_or(|code| code == 0), "{ended}");
        Ok(())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// The whole lines of a file that may grow.
fn json_lines(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

/// Events that `events` prints now.
fn events(daemon: &Daemon, arguments: &[&str]) -> Result<Vec<Value>> {
    let all = [&["--output", "json", "events"], arguments].concat();
    let text = daemon.cli_text(&all)?;
    text.lines()
        .map(|line| serde_json::from_str(line).context("an event is a JSON object"))
        .collect()
}

fn kind(event: &Value) -> &str {
    event["kind"].as_str().unwrap_or_default()
}

const BANNING: &str = "[limits]\npackets = \"1kpps\"\npackets_burst = 1\n\
    [ban]\nstrikes = 2\nstrike_interval = \"50ms\"\nduration = \"1h\"\n\
    [events]\nsamples = \"100/s\"\n";

/// Floods until the source is banned.
fn until_banned(scene: &Scene, daemon: &Daemon) -> Result<()> {
    let load = Load {
        rate: 4_000,
        count: u64::MAX,
        ..Load::once(vec![from_v4(FLOODER).udp(1, 2).build()])
    };
    let sender = Sender::start(&scene.peer, PEER, load)?;
    wait_until("the ban", TIMEOUT, || {
        events(daemon, &["--kind", "ban"]).is_ok_and(|bans| !bans.is_empty())
    })?;
    sender.stop()?;
    Ok(())
}

#[test]
fn what_happens_is_told_once_and_in_order_to_who_follows_and_who_asks() -> Result<()> {
    require_kernel!("what_happens_is_told_once_and_in_order_to_who_follows_and_who_asks");
    let scene = Scene::new()?;
    let daemon = scene.protect(BANNING)?;
    let following = Going::start(&daemon, &["--output", "json", "events", "--follow"])?;
    daemon.cli_text(&["block", "add", LISTED])?;
    following.line("the list's change", |event| kind(event) == "list")?;
    let listed = from_v4(LISTED).tcp(4000, 443, xdp_tests::packet::Flags::SYN);
    ensure!(!scene.passes(&listed)?, "the listed source got through");
    let sample = following.line("a sample", |event| kind(event) == "sample")?;
    ensure!(
        sample["reason"] == "blocklisted" && sample["action"] == "dropped",
        "{sample}"
    );
    ensure!(
        sample["source"] == LISTED && sample["list"] == "manual",
        "{sample}"
    );
    until_banned(&scene, &daemon)?;
    let ban = following.line("the ban", |event| kind(event) == "ban")?;
    ensure!(ban["source"] == FLOODER, "{ban}");
    daemon.cli_text(&["ban", "lift", FLOODER])?;
    following.line("its end", |event| kind(event) == "unban")?;
    daemon.signal(Signal::SIGHUP)?;
    following.line("the reload", |event| kind(event) == "reload")?;
    let numbers = |events: &[Value]| -> Vec<u64> {
        let numbers = events.iter().filter_map(|event| event["number"].as_u64());
        numbers.filter(|number| *number > 0).collect()
    };
    let seen = numbers(&following.lines()?);
    ensure!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    following.end()?;

    // The past says the same.
    let past = events(&daemon, &["--limit", "10000"])?;
    let past = numbers(&past);
    let missing: Vec<u64> = seen.into_iter().filter(|n| !past.contains(n)).collect();
    ensure!(missing.is_empty(), "{missing:?} of {past:?}");
    let only = events(
        &daemon,
        &["--reason", "blocklisted", "--source", "198.51.100.0/24"],
    )?;
    ensure!(
        !only.is_empty() && only.iter().all(|event| event["reason"] == "blocklisted"),
        "{only:?}"
    );
    let none = events(&daemon, &["--kind", "sample", "--source", "192.0.2.0/24"])?;
    ensure!(none.is_empty(), "{none:?}");
    // `explain` shows them too.
    let explained = daemon.cli_json(&["explain", LISTED])?;
    let last = &explained["samples"][0];
    ensure!(last["reason"] == "blocklisted", "{explained}");
    Ok(())
}

#[test]
fn a_flood_is_sampled_at_the_rate_of_the_configuration_and_counted() -> Result<()> {
    require_kernel!("a_flood_is_sampled_at_the_rate_of_the_configuration_and_counted");
    const SENT: u64 = 30_000;
    let scene = Scene::new()?;
    let daemon = scene.protect("[events]\nsamples = \"20/s\"\n")?;
    daemon.cli_text(&["block", "add", LISTED])?;
    let started = Instant::now();
    let load = Load {
        rate: 15_000,
        count: SENT,
        ..Load::once(vec![from_v4(LISTED).udp(1, 2).build()])
    };
    let sent = Sender::start(&scene.peer, PEER, load)?.wait()?;
    wait_until("all drops to be counted", TIMEOUT, || {
        daemon
            .dropped(xdp_common::reason::Reason::Blocklisted)
            .is_ok_and(|dropped| dropped == sent.frames)
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let samples = events(&daemon, &["--kind", "sample", "--limit", "10000"])?;
    // A second's worth at once and the rate after it, on each CPU.
    let cpus = std::thread::available_parallelism()?.get() as f64;
    let most = cpus * 20.0 * (seconds + 1.0) + cpus;
    println!("{} samples of {SENT} in {seconds:.1} s", samples.len());
    ensure!(samples.len() >= 20, "{}", samples.len());
    ensure!(samples.len() as f64 <= most, "{} of {most}", samples.len());
    let stand_for: u64 = samples
        .iter()
        .filter_map(|s| s["stands_for"].as_u64())
        .sum();
    // Those after the last sample stand for nothing yet; a gap has at most twice its mean.
    ensure!((1..=SENT).contains(&stand_for), "{stand_for}");
    let status = daemon.status()?;
    let published = status.events.published.iter();
    let counted: u64 = published
        .filter(|c| c.name == "sample")
        .map(|c| c.count)
        .sum();
    ensure!(counted >= samples.len() as u64, "{counted}");
    Ok(())
}

#[test]
fn the_events_file_has_all_and_masks_what_it_is_told_to() -> Result<()> {
    require_kernel!("the_events_file_has_all_and_masks_what_it_is_told_to");
    let scene = Scene::new()?;
    let mut daemon = Daemon::prepare(
        &scene.host,
        &xdp_tests::daemon::binary()?,
        "[[interface]]\nname = \"host0\"\n",
    )?;
    let state = daemon.directory().join("state");
    fs::create_dir_all(&state)?;
    let file = state.join("events.jsonl");
    daemon.write_config(&format!(
        "[[interface]]\nname = \"host0\"\n{BANNING}file = {file:?}\nmask_addresses = true\n"
    ))?;
    daemon.restart()?;
    daemon.cli_text(&["block", "add", LISTED])?;
    ensure!(!scene.passes(&from_v4(LISTED).udp(1, 2))?, "not dropped");
    until_banned(&scene, &daemon)?;
    daemon.terminate()?;
    let lines = json_lines(&file)?;
    for wanted in ["list", "sample", "ban", "attach"] {
        ensure!(
            lines.iter().any(|line| kind(line) == wanted),
            "no {wanted}: {lines:?}"
        );
    }
    let text = fs::read_to_string(&file)?;
    ensure!(!text.contains(FLOODER) && !text.contains(LISTED), "{text}");
    ensure!(text.contains("203.0.113.0/24"), "{text}");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file)?) & 0o777;
    ensure!(mode == 0o640 || mode == 0o600, "{mode:o}");
    Ok(())
}

/// What one of Wireshark's programs prints.
fn wireshark(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program}: `cargo xtask setup` installs it"))?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn wireshark_reads_captured_packets_with_reason_list_and_class() -> Result<()> {
    require_kernel!("wireshark_reads_captured_packets_with_reason_list_and_class");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    daemon.cli_text(&["block", "add", LISTED, LISTED_V6, "--list", "feed"])?;
    let file = daemon.directory().join("drops.pcapng");
    let written = file.to_string_lossy().into_owned();
    let capture = [
        "capture",
        "-w",
        &written,
        "--reason",
        "blocklisted",
        "--count",
        "40",
        "--duration",
        "60s",
    ];
    let mut capturing = Going::start(&daemon, &capture)?;
    let frames = vec![
        from_v4(LISTED).udp(5000, 53).padded_to(900).build(),
        from_v6(LISTED_V6)
            .tcp(5001, 443, xdp_tests::packet::Flags::SYN)
            .build(),
        from_v4("192.0.2.7").udp(1, 2).build(),
    ];
    let load = Load {
        rate: 300,
        count: u64::MAX,
        ..Load::once(frames)
    };
    let sender = Sender::start(&scene.peer, PEER, load)?;
    let ended = wait_for("the capture's end", TIMEOUT, || {
        capturing.child.try_wait().transpose()
    })??;
    sender.stop()?;
    ensure!(ended.success(), "{ended}");
    let fields = wireshark(
        "tshark",
        &[
            "-r",
            &written,
            "-T",
            "fields",
            "-E",
            "separator=|",
            "-e",
            "frame.comment",
            "-e",
            "ip.src",
            "-e",
            "ipv6.src",
            "-e",
            "frame.len",
            "-e",
            "frame.cap_len",
            "-e",
            "frame.interface_name",
        ],
    )?;
    let rows: Vec<Vec<&str>> = fields
        .lines()
        .map(|line| line.split('|').collect())
        .collect();
    ensure!(rows.len() == 40, "{} packets:\n{fields}", rows.len());
    let (mut v4, mut v6) = (0, 0);
    for row in &rows {
        let [comment, from_v4, from_v6, length, captured, interface] = row[..] else {
            anyhow::bail!("{row:?}");
        };
        ensure!(
            comment.starts_with("blocklisted, dropped, list feed") && interface == "host0",
            "{row:?}"
        );
        match (from_v4, from_v6) {
            (LISTED, "") => {
                v4 += 1;
                ensure!((length, captured) == ("900", "256"), "{row:?}");
                ensure!(comment.contains("class "), "{row:?}");
            }
            ("", LISTED_V6) => v6 += 1,
            other => anyhow::bail!("{other:?} isn't listed: {row:?}"),
        }
    }
    ensure!(v4 > 0 && v6 > 0, "{v4} and {v6}");
    let about = wireshark("capinfos", &["-t", "-c", "-M", &written])?;
    ensure!(about.contains("pcapng") && about.contains("40"), "{about}");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file)?) & 0o777;
    ensure!(mode == 0o600, "{mode:o}");
    Ok(())
}

#[test]
fn passed_packets_are_captured_when_asked_for_and_only_until_the_capture_ends() -> Result<()> {
    require_kernel!("passed_packets_are_captured_when_asked_for_and_only_until_the_capture_ends");
    let scene = Scene::new()?;
    let daemon = scene.protect("[events]\nsamples = \"off\"\n")?;
    let file = daemon.directory().join("passed.pcapng");
    let written = file.to_string_lossy().into_owned();
    let arguments = ["capture", "-w", &written, "--passed", "--count", "10"];
    let mut capturing = Going::start(&daemon, &arguments)?;
    let load = Load {
        rate: 200,
        count: u64::MAX,
        ..Load::once(vec![from_v4("192.0.2.7").udp(1, 2).build()])
    };
    let sender = Sender::start(&scene.peer, PEER, load)?;
    let ended = wait_for("the capture's end", TIMEOUT, || {
        capturing.child.try_wait().transpose()
    })??;
    ensure!(ended.success(), "{ended}");
    let comments = wireshark(
        "tshark",
        &["-r", &written, "-T", "fields", "-e", "frame.comment"],
    )?;
    ensure!(comments.lines().count() == 10, "{comments}");
    ensure!(
        comments
            .lines()
            .all(|line| line.starts_with("accepted, passed")),
        "{comments}"
    );
    // Nobody wants samples any more: within a second or two the program shows none.
    let published = || -> Result<u64> {
        let status = daemon.status()?;
        let counts = status.events.published.into_iter();
        Ok(counts.filter(|c| c.name == "sample").map(|c| c.count).sum())
    };
    let passed = || daemon.passed(xdp_common::reason::Reason::Accepted);
    wait_until("an end of the samples", TIMEOUT, || {
        let Ok((samples, packets)) = published().and_then(|s| Ok((s, passed()?))) else {
            return false;
        };
        let more = wait_until("more packets", TIMEOUT, || {
            passed().is_ok_and(|now| now >= packets + 50)
        });
        more.is_ok() && published().is_ok_and(|now| now == samples)
    })?;
    sender.stop()?;
    Ok(())
}
