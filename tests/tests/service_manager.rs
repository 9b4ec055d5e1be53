//! What a service manager is told (sd_notify(3)), and the unit that tells it what to expect.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xdp_tests::daemon::scene::{HOST, Scene, protecting};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::netns::link::Attachment;
use xdp_tests::require_kernel;

const TIMEOUT: Duration = Duration::from_secs(30);
const WATCHDOG: Duration = Duration::from_millis(400);

/// A service manager's end: the socket, and the daemon that it started.
struct Manager {
    socket: UnixDatagram,
    child: Child,
}

impl Manager {
    fn start(scene: &Scene, daemon: &Daemon) -> Result<Self> {
        let path = daemon.directory().join("notify.sock");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        let child = scene
            .host
            .command(binary()?)
            .args(["run", "--config"])
            .arg(daemon.config_path())
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { socket, child })
    }

    /// The next message, as its lines.
    fn next(&self) -> Result<Vec<String>> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).context("no message came")?;
        let text = std::str::from_utf8(&buffer[..length])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The next message that isn't the watchdog's.
    fn next_but_watchdog(&self) -> Result<Vec<String>> {
        loop {
            let message = self.next()?;
            if message != ["WATCHDOG=1"] {
                return Ok(message);
            }
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).context("cannot signal the daemon")
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

fn has(message: &[String], line: &str) -> bool {
    message.iter().any(|found| found == line)
}

#[test]
fn a_service_manager_is_told_of_start_reload_and_end() -> Result<()> {
    require_kernel!("a_service_manager_is_told_of_start_reload_and_end");
    let scene = Scene::new()?;
    let daemon = Daemon::prepare(&scene.host, &binary()?, &protecting(""))?;
    let mut manager = Manager::start(&scene, &daemon)?;
    let first = manager.next()?;
    assert!(has(&first, "READY=1"), "{first:?}");
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::Native);
    assert!(daemon.cli(&["status"])?.status.success());
    for _ in 0..3 {
        assert_eq!(manager.next()?, ["WATCHDOG=1"]);
    }

    manager.signal(Signal::SIGHUP)?;
    let reloading = manager.next_but_watchdog()?;
    assert!(has(&reloading, "RELOADING=1"), "{reloading:?}");
    let stamped = |line: &String| line.starts_with("MONOTONIC_USEC=");
    assert!(reloading.iter().any(stamped), "{reloading:?}");
    let ready = manager.next_but_watchdog()?;
    assert!(has(&ready, "READY=1"), "{ready:?}");

    manager.signal(Signal::SIGTERM)?;
    let stopping = manager.next_but_watchdog()?;
    assert!(has(&stopping, "STOPPING=1"), "{stopping:?}");
    assert!(manager.child.wait()?.success());
    Ok(())
}

#[test]
fn a_start_that_fails_is_never_ready() -> Result<()> {
    require_kernel!("a_start_that_fails_is_never_ready");
    let scene = Scene::new()?;
    let config = "[[interface]]\nname = \"absent0\"\nrequired = true\n";
    let daemon = Daemon::prepare(&scene.host, &binary()?, config)?;
    let mut manager = Manager::start(&scene, &daemon)?;
    assert!(!manager.child.wait()?.success());
    manager.socket.set_nonblocking(true)?;
    assert!(manager.next().is_err(), "it was told of a start");
    Ok(())
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The unit with a program that is there.
fn unit(directory: &Path) -> Result<PathBuf> {
    const INSTALLED: &str = "/usr/local/bin/xdp-throttle";
    let text = fs::read_to_string(repository("packaging/systemd/xdp-throttle.service"))?;
    ensure!(text.contains(INSTALLED), "the unit starts something else");
    let path = directory.join("xdp-throttle.service");
    fs::write(&path, text.replace(INSTALLED, &binary()?.to_string_lossy()))?;
    Ok(path)
}

/// `None` where systemd isn't installed.
fn analyze(arguments: &[&str], unit: &Path) -> Result<Option<std::process::Output>> {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .output();
    match output {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            ensure!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "systemd-analyze is missing: cargo xtask setup"
            );
            eprintln!("skipped: there is no systemd-analyze");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[test]
fn the_unit_is_one_that_systemd_accepts_without_a_word() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let arguments = ["verify", "--man=no", "--recursive-errors=no"];
    if let Some(output) = analyze(&arguments, &unit(directory.path())?)? {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("xdp-throttle"))
            .collect();
        ensure!(output.status.success() && ours.is_empty(), "{said}");
    }
    Ok(())
}

#[test]
fn the_unit_is_as_closed_as_the_docs_say() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let arguments = ["security", "--offline=true", "--no-pager"];
    let Some(output) = analyze(&arguments, &unit(directory.path())?)? else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let overall = text.lines().find_map(|line| {
        let (_, exposure) = line.split_once("Overall exposure level for ")?;
        exposure.split_whitespace().nth(1)
    });
    let overall: f64 = overall.with_context(|| text.clone())?.parse()?;
    let docs = fs::read_to_string(repository("docs/security.md"))?;
    let promised = docs
        .split_once("exposure level **")
        .and_then(|(_, rest)| rest.split_once("**"))
        .context("docs/security.md names no exposure level")?;
    let promised: f64 = promised.0.parse()?;
    ensure!(
        overall <= promised,
        "{overall}, but the docs say {promised}:\n{text}"
    );
    Ok(())
}
