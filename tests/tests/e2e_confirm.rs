//! `apply` that says what it would do, and one that takes itself back.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::scene::{Scene, from_v4, protecting};
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);
const SOURCE: &str = "203.0.113.7";

fn refusal(daemon: &Daemon, arguments: &[&str]) -> Result<String> {
    let output = daemon.cli(arguments)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{arguments:?} did something");
    Ok(text)
}

#[test]
fn a_configuration_goes_again_by_itself_unless_it_is_confirmed() -> Result<()> {
    require_kernel!("a_configuration_goes_again_by_itself_unless_it_is_confirmed");
    let scene = Scene::new()?;
    let mut daemon = scene.protect("")?;
    let blocks = format!("[block]\nprefixes = [{SOURCE:?}]\n[limits]\npackets = \"5kpps\"\n");
    let file = daemon.directory().join("new.toml");
    fs::write(&file, daemon.whole_config(&protecting(&blocks)))?;
    let file = file.to_string_lossy().into_owned();
    let passes = || scene.passes(&from_v4(SOURCE).udp(1, 2));

    let would = daemon.cli_text(&["apply", &file, "--dry-run"])?;
    ensure!(
        would.contains("block") && would.contains("limits"),
        "{would}"
    );
    ensure!(
        passes()? && daemon.status()?.config.reloads == 0,
        "the dry run did something"
    );

    // Nobody confirms, and whoever applied it has gone.
    let text = daemon.cli_text(&["apply", &file, "--confirm-within", "2s"])?;
    ensure!(text.contains("unless confirmed"), "{text}");
    ensure!(!passes()?, "not in force");
    ensure!(
        daemon
            .status()?
            .pending
            .is_some_and(|it| it.seconds_left <= 2),
        "no countdown"
    );
    ensure!(
        refusal(&daemon, &["apply", &file])?.contains("waits to be confirmed"),
        "applied"
    );
    wait_until("it to go again", TIMEOUT, || {
        daemon.status().is_ok_and(|s| s.pending.is_none())
    })?;
    ensure!(passes()?, "still in force");
    let limits = daemon.cli_text(&["limit", "show"])?;
    ensure!(
        !limits.contains("5kpps"),
        "a part of it is still in force: {limits}"
    );
    let told = daemon.cli_text(&["events", "--kind", "reload"])?;
    ensure!(told.contains("not confirmed in time"), "{told}");

    // Somebody goes back at once.
    daemon.cli_text(&["apply", &file, "--confirm-within", "60s"])?;
    ensure!(!passes()?, "not in force");
    daemon.cli_text(&["rollback"])?;
    ensure!(passes()?, "still in force");
    ensure!(
        refusal(&daemon, &["rollback"])?.contains("none to go back to"),
        "went back twice"
    );
    ensure!(
        refusal(&daemon, &["confirm"])?.contains("no configuration waits"),
        "confirmed nothing"
    );

    // A daemon that ends meanwhile begins with its own file.
    daemon.cli_text(&["apply", &file, "--confirm-within", "60s"])?;
    daemon.kill9()?;
    daemon.restart()?;
    ensure!(passes()?, "kept without being confirmed");

    // Confirmed, it stays.
    daemon.cli_text(&["apply", &file, "--confirm-within", "2s"])?;
    daemon.cli_text(&["confirm"])?;
    ensure!(
        daemon.status()?.pending.is_none() && !passes()?,
        "not in force"
    );
    ensure!(
        refusal(&daemon, &["rollback"])?.contains("none to go back to"),
        "went back"
    );
    for time in ["0s", "2h"] {
        let text = refusal(&daemon, &["apply", &file, "--confirm-within", time])?;
        ensure!(text.contains("one second to one hour"), "{text}");
    }
    Ok(())
}
