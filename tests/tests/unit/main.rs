//! The unit under the real thing: systemd as the first process of namespaces made for it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use xdp_tests::daemon::binary;
use xdp_tests::netns::Namespace;
use xdp_tests::netns::link::{Attachment, End, veth_pair};
use xdp_tests::require_kernel;
use xdp_tests::wait::{wait_for, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);
const SYSTEMD: &str = "/lib/systemd/systemd";
/// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF by their bits in linux/capability.h.
const PROMISED: &str = "000000c000001000";

/// systemd with the unit started, in a network namespace with `sd0` and `sd2`.
struct Host {
    namespace: Namespace,
    directory: TempDir,
    child: Child,
}

impl Host {
    /// `None` where this machine has no systemd, or doesn't let it have namespaces.
    fn start() -> Result<Option<Self>> {
        if !Path::new(SYSTEMD).exists() {
            eprintln!("skipped: there is no {SYSTEMD}");
            return Ok(None);
        }
        let namespace = Namespace::new("systemd")?;
        for (one, other) in [("sd0", "sd1"), ("sd2", "sd3")] {
            let ends = (End::new(&namespace, one), End::new(&namespace, other));
            veth_pair(ends.0, ends.1, 1500)?;
        }
        let directory = tempfile::tempdir()?;
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let unit = repository.join("packaging/systemd/xdp-throttle.service");
        fs::copy(unit, directory.path().join("unit"))?;
        fs::copy(binary()?, directory.path().join("program"))?;
        fs::write(directory.path().join("config"), config(&["sd0"]))?;
        let mut child = namespace
            .command("sh")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unit/enter.sh"))
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(directory.path().join("log"))?)
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        let mut first = String::new();
        BufReader::new(output).read_line(&mut first)?;
        let host = Self {
            namespace,
            directory,
            child,
        };
        if first.trim() != "ready" {
            eprintln!("skipped: no namespaces for systemd here: {}", host.log());
            return Ok(None);
        }
        Ok(Some(host))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// systemd: the child of `unshare`, which is what the shell became.
    fn systemd(&self) -> Result<u32> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let first = children.split_whitespace().next();
        Ok(first.with_context(|| self.log())?.parse()?)
    }

    /// Runs a program beside the daemon, as root.
    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = std::process::Command::new("nsenter");
        command.args(["--target", &self.systemd()?.to_string()]);
        command
            .args(["--mount", "--pid", "--net", "--cgroup"])
            .args(arguments);
        Ok(command.stdin(Stdio::null()).output()?)
    }

    fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "{arguments:?}: {error}{}{}",
            self.daemon_log(),
            self.log()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A property of the service's.
    fn property(&self, name: &str) -> Result<String> {
        self.text(&[
            "systemctl",
            "show",
            "--property",
            name,
            "--value",
            "xdp-throttle",
        ])
    }

    fn daemon_log(&self) -> String {
        let output = self.run(&["cat", "/run/daemon.log"]);
        output.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    fn wait_until_attached(&self, interface: &str) -> Result<()> {
        let attached = || {
            let found = self.namespace.xdp_attachment(interface);
            found.is_ok_and(|found| found == Attachment::Native)
        };
        wait_until(&format!("{interface} to be attached"), TIMEOUT, attached)
            .with_context(|| format!("{}{}", self.daemon_log(), self.log()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // systemd is killed with its parent (unshare --kill-child), and all of its namespace with it.
        drop(self.child.kill().and_then(|()| self.child.wait()));
        remove_groups(&self.directory.path().join("cgroup"), &self.namespace);
    }
}

/// The control groups that systemd made in its own, and that one.
fn remove_groups(mount: &Path, namespace: &Namespace) {
    let gone = || {
        namespace.run(|| {
            let groups = fs::read_dir(mount).ok()?.flatten();
            let ours = groups.filter(|group| {
                let name = group.file_name();
                name.to_string_lossy().starts_with("xdp-throttle-test-")
            });
            let left: Vec<PathBuf> = ours.map(|group| group.path()).collect();
            left.iter().all(|group| remove_group(group)).then_some(())
        })
    };
    let waited = wait_for("the control groups to be empty", TIMEOUT, || gone().ok()?);
    if let Err(error) = waited {
        eprintln!("left behind: {error:#}");
    }
}

fn remove_group(group: &Path) -> bool {
    let inner = fs::read_dir(group).into_iter().flatten().flatten();
    let mut inner = inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    inner.all(|entry| remove_group(&entry.path())) && fs::remove_dir(group).is_ok()
}

fn config(interfaces: &[&str]) -> String {
    let each = interfaces.iter();
    each.map(|name| format!("[[interface]]\nname = \"{name}\"\n"))
        .collect()
}

#[test]
fn systemd_starts_reloads_and_stops_the_unit() -> Result<()> {
    require_kernel!("systemd_starts_reloads_and_stops_the_unit");
    let Some(host) = Host::start()? else {
        return Ok(());
    };
    host.wait_until_attached("sd0")?;
    wait_until("systemd to be told", TIMEOUT, || {
        host.property("StatusText")
            .is_ok_and(|text| text.starts_with("filtering on "))
    })
    .with_context(|| host.daemon_log())?;
    assert_eq!(host.property("ActiveState")?, "active");

    let pid = host.property("MainPID")?;
    let held = format!("grep -h -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/{pid}/task/*/status");
    let held = host.text(&["sh", "-c", &held])?;
    for line in held.lines() {
        let (name, value) = line.split_once(":\t").context("no value")?;
        let expected = match name {
            "CapPrm" | "CapEff" | "CapBnd" => PROMISED,
            "CapInh" | "CapAmb" => "0000000000000000",
            "NoNewPrivs" => "1",
            // A filter.
            "Seccomp" => "2",
            other => anyhow::bail!("unexpected: {other}"),
        };
        assert_eq!(value, expected, "{held}");
    }
    let tool = "/usr/local/bin/xdp-throttle";
    let rights = host.text(&[tool, "status"])?;
    assert!(
        rights.contains("rights   xdp-throttle, CAP_BPF"),
        "{rights}"
    );
    host.text(&[tool, "block", "add", "203.0.113.7"])?;

    let write = format!(
        "cat > /etc/xdp-throttle/config.toml <<'END'\n{}END",
        config(&["sd0", "sd2"])
    );
    host.text(&["sh", "-c", &write])?;
    host.text(&["systemctl", "reload", "xdp-throttle"])?;
    host.wait_until_attached("sd2")?;

    // What the daemon's user can write to, where the daemon is.
    let touch = |path: &str| -> Result<bool> {
        let script = format!(
            "nsenter --target {pid} --mount setpriv --reuid=xdp-throttle --regid=xdp-throttle \
             --clear-groups sh -c 'mkdir {path} && rmdir {path}'"
        );
        Ok(host.run(&["sh", "-c", &script])?.status.success())
    };
    assert!(touch("/sys/fs/bpf/xdp-throttle/probe")?);
    assert!(touch("/var/lib/xdp-throttle/probe")?);
    for closed in [
        "/etc/probe",
        "/usr/probe",
        "/sys/fs/bpf/probe",
        "/var/lib/probe",
    ] {
        assert!(!touch(closed)?, "{closed}");
    }

    host.text(&["systemctl", "restart", "xdp-throttle"])?;
    let blocked = host.text(&[tool, "block", "list"])?;
    assert!(blocked.contains("203.0.113.7"), "{blocked}");
    host.text(&["systemctl", "stop", "xdp-throttle"])?;
    assert_eq!(host.property("Result")?, "success");
    Ok(())
}
