//! Who may do what over the control socket, and what is noted of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{Group, User};
use serde_json::Value;
use xdp_tests::daemon::scene::Scene;
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Somebody with a user's and a group's number, and a program that everybody may start.
struct Somebody<'a> {
    daemon: &'a Daemon,
    program: std::path::PathBuf,
    uid: u32,
    gid: u32,
}

impl Somebody<'_> {
    fn runs(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(&self.program)
            .arg("--socket")
            .arg(self.daemon.socket_path())
            .args(arguments)
            .stdin(Stdio::null())
            .uid(self.uid)
            .gid(self.gid)
            .output()
            .context("cannot run the program")
    }

    fn may(&self, arguments: &[&str]) -> Result<()> {
        let output = self.runs(arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "{} may not {arguments:?}: {stderr}",
            self.uid
        );
        Ok(())
    }

    fn may_not(&self, arguments: &[&str], needed: &str) -> Result<()> {
        let output = self.runs(arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        // A permission is missing, and it is said which.
        ensure!(
            output.status.code() == Some(3),
            "{} {arguments:?}: {stderr}",
            self.uid
        );
        ensure!(
            stderr.contains(&format!("needs the role {needed}")),
            "{stderr}"
        );
        Ok(())
    }
}

#[test]
fn each_role_may_do_its_part_and_changes_are_noted_with_who_made_them() -> Result<()> {
    require_kernel!("each_role_may_do_its_part_and_changes_are_noted_with_who_made_them");
    let scene = Scene::new()?;
    let nobody = User::from_name("nobody")?.context("no user nobody")?;
    let group = Group::from_name("daemon")?.context("no group daemon")?;
    let mut daemon = Daemon::prepare(&scene.host, &binary()?, "")?;
    let directory = daemon.directory().to_owned();
    fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
    let program = directory.join("xdp-throttle");
    fs::copy(binary()?, &program)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let config = daemon.whole_config("[[interface]]\nname = \"host0\"\n").replace(
        "[control]\n",
        "[control]\nsocket_mode = \"0666\"\nviewers = [\"nobody\"]\noperators = [\"group:daemon\"]\n",
    );
    fs::write(daemon.config_path(), config)?;
    daemon.restart()?;
    let somebody = |uid, gid| Somebody {
        daemon: &daemon,
        program: program.clone(),
        uid,
        gid,
    };
    let stranger = somebody(54_321, 54_321);
    stranger.may_not(&["status"], "viewer")?;
    stranger.may_not(&["block", "add", "198.51.100.1"], "operator")?;
    let viewer = somebody(nobody.uid.as_raw(), nobody.gid.as_raw());
    viewer.may(&["status"])?;
    viewer.may(&["block", "list"])?;
    viewer.may_not(&["events"], "operator")?;
    viewer.may_not(&["block", "add", "198.51.100.2"], "operator")?;
    let operator = somebody(54_322, group.gid.as_raw());
    operator.may(&["block", "add", "198.51.100.3", "--comment", "scans"])?;
    operator.may(&["events"])?;
    operator.may_not(&["apply"], "admin")?;
    operator.may_not(&["audit"], "admin")?;
    // Root is the admin.
    daemon.cli_text(&["apply"])?;
    let entries = daemon.cli_text(&["block", "list"])?;
    ensure!(
        !entries.contains("100.1") && !entries.contains("100.2"),
        "{entries}"
    );

    let trail = || -> Result<Vec<Value>> {
        let trail = daemon.cli_json(&["audit"])?;
        Ok(trail["changes"].as_array().context("no changes")?.clone())
    };
    let noted = |uid: u32, what: &str, outcome: &str| {
        let trail = trail().unwrap_or_default();
        trail.iter().any(|row| {
            row["uid"] == uid
                && row["what"].as_str().is_some_and(|text| text.contains(what))
                && row["outcome"]
                    .as_str()
                    .is_some_and(|text| text.contains(outcome))
        })
    };
    // Before the answer, so there is nothing to wait for.
    ensure!(noted(54_322, "198.51.100.3", "done"), "{:?}", trail()?);
    ensure!(
        noted(54_321, "POST /v1/block", "no right"),
        "{:?}",
        trail()?
    );
    ensure!(noted(0, "POST /v1/apply", "done"), "{:?}", trail()?);
    ensure!(
        trail()?.iter().all(|row| row["pid"].as_i64() > Some(1)),
        "{:?}",
        trail()?
    );
    drop(stranger);
    // A signal doesn't say whose it is.
    daemon.signal(Signal::SIGHUP)?;
    wait_until("the reload to be noted", TIMEOUT, || {
        trail().unwrap_or_default().iter().any(|row| {
            row["user"] == "a signal (SIGHUP)"
                && row["what"] == "reload"
                && row["outcome"] == "done"
        })
    })?;
    daemon.kill9()?;
    daemon.restart()?;
    let text = daemon.cli_text(&["audit", "--limit", "10"])?;
    ensure!(
        text.contains("198.51.100.3") && text.contains("scans"),
        "{text}"
    );
    Ok(())
}
