//! The sandbox left running: what it shows is there, and nothing of it is left when it is stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xdp_tests::daemon::binary;
use xdp_tests::require_kernel;
use xdp_tests::wait::{wait_for, wait_until};

/// For several scrapes and a wave of the attack, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SANDBOX: &str = env!("CARGO_BIN_EXE_sandbox");

/// Killed when the test fails before its end; what it started is killed with it.
struct Sandbox(Child);

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.0.kill().and_then(|()| self.0.wait()));
    }
}

/// The body of an answer.
fn get(url: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").context("no http")?;
    let (address, path) = rest.split_once('/').context("no path")?;
    let mut stream = TcpStream::connect(address).with_context(|| url.to_owned())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1."), "{url}: {answer}");
    ensure!(answer.contains(" 200 "), "{url}: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok(body.to_owned())
}

/// As [`get`], after the redirections to other paths that Debian's Prometheus answers with.
fn get_page(url: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").context("no http")?;
    let (address, _) = rest.split_once('/').context("no path")?;
    let mut url = url.to_owned();
    for _ in 0..3 {
        let error = match get(&url) {
            Ok(body) => return Ok(body),
            Err(error) => format!("{error:#}"),
        };
        let moved = error
            .lines()
            .find_map(|line| line.strip_prefix("Location: "));
        url = format!("http://{address}{}", moved.context(error.clone())?.trim());
    }
    get(&url)
}

/// The first sample's value; none without a series.
fn query(prometheus: &str, expression: &str) -> Option<f64> {
    let body = get(&format!("{prometheus}/api/v1/query?query={expression}")).ok()?;
    let answer: Value = serde_json::from_str(&body).ok()?;
    let value = answer["data"]["result"][0]["value"][1].as_str()?;
    value.parse().ok()
}

/// Processes whose parent is this one.
fn children(of: u32) -> String {
    let path = format!("/proc/{of}/task/{of}/children");
    std::fs::read_to_string(path).unwrap_or_default()
}

fn interfaces() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn the_sandbox_shows_its_attack_until_it_is_stopped_and_leaves_nothing() -> Result<()> {
    require_kernel!("the_sandbox_shows_its_attack_until_it_is_stopped_and_leaves_nothing");
    let before = interfaces();
    let child = Command::new(SANDBOX)
        .args(["--watch", "--wave", "5", "--rate", "20000"])
        .arg("--daemon")
        .arg(binary()?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut sandbox = Sandbox(child);
    let stdout = sandbox.0.stdout.take().context("no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut url = |name: &str| -> Result<String> {
        for line in lines.by_ref() {
            let line = line?;
            if let Some(url) = line.strip_prefix(name) {
                return Ok(url.trim().to_owned());
            }
        }
        anyhow::bail!("no address of {name}")
    };
    let page = url("status page")?;
    let metrics = url("metrics")?;
    let graph = url("Prometheus")?;
    let alerts = url("alerts")?;
    let prometheus = graph.split("/graph").next().context("no address")?;

    ensure!(!get(&page)?.is_empty());
    for page in [&graph, &alerts] {
        ensure!(get_page(page)?.contains("<html"), "{page}");
    }
    ensure!(get(&metrics)?.contains("xdp_throttle_build_info"));
    wait_until("the attack to show in Prometheus", PATIENCE, || {
        let drops = "sum(rate(xdp_throttle_packets_total%7Baction=%22dropped%22%7D%5B10s%5D))";
        query(prometheus, drops) > Some(100.0)
    })?;
    wait_until("our rules to be evaluated", PATIENCE, || {
        query(
            prometheus,
            "max(instance_interface:xdp_throttle_drops:rate1m)",
        ) > Some(0.0)
    })?;

    let pid = sandbox.0.id();
    let started: Vec<u32> = children(pid)
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    ensure!(started.len() >= 2, "the daemon and Prometheus: {started:?}");
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT)?;
    let rest: Vec<String> = lines.collect::<std::io::Result<_>>()?;
    let status = wait_for("the sandbox to end", PATIENCE, || {
        sandbox.0.try_wait().transpose()
    })??;
    ensure!(status.success(), "{status}: {rest:?}");
    ensure!(
        rest.iter().any(|line| line.contains("nothing is left")),
        "{rest:?}"
    );
    for pid in started {
        ensure!(
            !std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "{pid} is left"
        );
    }
    ensure!(get(&metrics).is_err() && get(&page).is_err());
    // Other tests may make some meanwhile, but in namespaces of their own.
    ensure!(interfaces() == before);
    Ok(())
}
