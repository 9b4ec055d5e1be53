//! `top` with a real daemon, in a pseudo-terminal of 80x24.

#[path = "top/terminal.rs"]
mod terminal;

use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use xdp_tests::daemon::scene::{PEER, Scene, from_v4};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::require_kernel;
use xdp_tests::traffic::sender::{Load, Sender};

use terminal::Terminal;

const ATTACKER: &str = "203.0.113.9";
const LIMITED: &str =
    "[limits]\npackets = \"50pps\"\n[ban]\nenabled = false\n[mitigation]\nenabled = false\n";

/// 1,000 packets a second from [`ATTACKER`], until dropped.
fn attack(scene: &Scene) -> Result<Sender> {
    let load = Load {
        rate: 1000,
        count: u64::MAX,
        duration: Duration::from_secs(300),
        ..Load::once(vec![from_v4(ATTACKER).udp(1000, 9).build()])
    };
    Sender::start(&scene.peer, PEER, load)
}

fn top(scene: &Scene, daemon: &Daemon) -> Result<Terminal> {
    let mut command = scene.host.command(binary()?);
    command.arg("--socket").arg(daemon.socket_path());
    command.args(["top", "--interval", "250ms"]);
    Terminal::start(command, 24, 80)
}

fn entries(daemon: &Daemon, kind: &str) -> Result<Vec<serde_json::Value>> {
    // The page is there without a match as well, which the exit code tells.
    let output = daemon.cli(&["--output", "json", kind, "list", "--match", ATTACKER])?;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(json["entries"].as_array().cloned().unwrap_or_default())
}

#[test]
fn an_attacker_is_seen_selected_explained_and_banned() -> Result<()> {
    require_kernel!("an_attacker_is_seen_selected_explained_and_banned");
    let scene = Scene::new()?;
    let daemon = scene.protect(LIMITED)?;
    let attack = attack(&scene)?;
    let mut top = top(&scene, &daemon)?;

    let attacked = |row: &str| row.starts_with("  203.0.113.9 ") && row.contains("limited");
    top.wait_for_row("the attacker, limited", attacked)?;
    assert!(top.is_taken());
    let dropped = |row: &str| row.starts_with("rate_packets") && row.contains("dropped");
    top.wait_for_row("the reason", dropped)?;

    top.press("j")?;
    top.wait_for_row("the selection", |row| row.starts_with("> 203.0.113.9 "))?;
    top.press("e")?;
    top.wait_for_row("the explanation", |row| {
        row.contains("from 203.0.113.9, counted as")
    })?;
    top.press("\r")?;
    top.press("b")?;
    top.wait_for_row("the question", |row| {
        row.contains("Ban 203.0.113.9 for 1h?")
    })?;
    assert!(entries(&daemon, "block")?.is_empty(), "before the yes");
    top.press("y")?;
    top.wait_for_row("what was done", |row| {
        row == "203.0.113.9 is blocked for 1h; undo: xdp-throttle block del 203.0.113.9"
    })?;
    let blocked = |row: &str| row.starts_with("> 203.0.113.9 ") && row.contains("blocked");
    top.wait_for_row("the attacker, blocked", blocked)?;

    let entry = entries(&daemon, "block")?.remove(0);
    assert_eq!(entry["prefix"], ATTACKER);
    assert_eq!(entry["comment"], "from xdp-throttle top");
    assert!(entry["expires"].is_string(), "{entry}");
    attack.stop()?;
    assert!(!scene.passes(&from_v4(ATTACKER).udp(2000, 9))?);

    // The allowlist wins: by the same way back in.
    top.press("a-")?;
    top.wait_for_row("the question", |row| {
        row.contains("Allow 203.0.113.9 for 10m?")
    })?;
    top.press("n")?;
    top.wait_for_row("the answer", |row| row == "nothing changed")?;
    assert!(entries(&daemon, "allow")?.is_empty(), "after a no");
    top.press("ay")?;
    top.wait_for_row("the attacker, allowed", |row| {
        row.starts_with("> 203.0.113.9 ") && row.contains("allowed")
    })?;
    assert!(scene.passes(&from_v4(ATTACKER).udp(3000, 9))?);

    top.press("q")?;
    assert_eq!(top.wait_until_it_ended()?.code(), Some(0));
    top.assert_as_it_was()
}

#[test]
fn signals_and_ctrl_c_give_the_terminal_back() -> Result<()> {
    require_kernel!("signals_and_ctrl_c_give_the_terminal_back");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    for end in [
        Some(Signal::SIGTERM),
        Some(Signal::SIGINT),
        Some(Signal::SIGHUP),
        None,
    ] {
        let mut top = top(&scene, &daemon)?;
        top.wait_for_row("the first answer", |row| row.contains("ENFORCE"))?;
        assert!(top.is_taken());
        match end {
            Some(signal) => top.signal(signal)?,
            None => top.press("\u{3}")?,
        }
        assert_eq!(top.wait_until_it_ended()?.code(), Some(0), "{end:?}");
        top.assert_as_it_was()?;
    }
    Ok(())
}

#[test]
fn a_daemon_that_goes_and_comes_back_is_told() -> Result<()> {
    require_kernel!("a_daemon_that_goes_and_comes_back_is_told");
    let scene = Scene::new()?;
    let mut daemon = scene.protect("")?;
    let mut top = top(&scene, &daemon)?;
    top.wait_for_row("the first answer", |row| row.contains("ENFORCE"))?;
    daemon.kill9()?;
    top.wait_for_row("the loss", |row| row.starts_with("no daemon since "))?;
    top.wait_for_row("that figures are old", |row| row.contains("STALE"))?;
    daemon.restart()?;
    top.wait_for_row("the return", |row| row == "the daemon answers again")?;
    assert!(
        !top.rows().iter().any(|row| row.contains("STALE")),
        "{:#?}",
        top.rows()
    );
    top.press("q")?;
    assert_eq!(top.wait_until_it_ended()?.code(), Some(0));
    top.assert_as_it_was()
}

#[test]
fn without_a_terminal_there_is_a_snapshot_and_nothing_else() -> Result<()> {
    require_kernel!("without_a_terminal_there_is_a_snapshot_and_nothing_else");
    let scene = Scene::new()?;
    let daemon = scene.protect(LIMITED)?;
    let refused = daemon.cli(&["top"])?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("--once"), "{text}");
    assert!(refused.stdout.is_empty());

    let attack = attack(&scene)?;
    let once = ["top", "--once", "--interval", "500ms", "--sort", "drops"];
    // The limiter's burst of a second has to be spent first.
    let seen = xdp_tests::wait::wait_for("drops", Duration::from_secs(30), || {
        let json = daemon.cli_json(&once).ok()?;
        let dropped = json["sources"][0]["dropped_per_second"].as_u64()?;
        (dropped > 0).then_some(json)
    })?;
    let source = &seen["sources"][0];
    assert_eq!(
        (&source["source"], &source["standing"]),
        (&ATTACKER.into(), &"limited".into())
    );
    // What it may send passes, all else is dropped; the sender paces itself only about so well.
    let rate = |of: &serde_json::Value| of["packets"].as_u64().unwrap_or_default();
    let (all, passed) = (
        rate(&source["per_second"]),
        rate(&seen["passed"]["per_second"]),
    );
    assert!((500..=1500).contains(&all), "{seen}");
    assert!(passed < all / 2, "{seen}");
    let text = daemon.cli_text(&once)?;
    assert!(
        text.contains("rate_packets") && text.contains(ATTACKER),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    attack.stop()?;
    let nobody = daemon.cli(&["--output", "json", "top"])?;
    assert_eq!(nobody.status.code(), Some(2));
    drop(daemon);
    let mut gone = scene.host.command(binary()?);
    gone.args(["--socket", "/nonexistent/control.sock", "top", "--once"]);
    assert_eq!(gone.stdin(Stdio::null()).output()?.status.code(), Some(1));
    Ok(())
}
