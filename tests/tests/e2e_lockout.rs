//! A block that would cut the host off is refused, wherever it comes from, and allowed once it is
//! meant.

use std::net::{TcpListener, TcpStream};

use anyhow::{Result, ensure};
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::scene::{HOST_V4, PEER_V4, PEER_V6, Scene, from_v4, protecting};
use xdp_tests::require_kernel;

fn refusal(daemon: &Daemon, arguments: &[&str]) -> Result<String> {
    let output = daemon.cli(arguments)?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(
        matches!(output.status.code(), Some(1 | 2)),
        "{arguments:?}: {text}"
    );
    Ok(text)
}

#[test]
fn what_keeps_the_host_reachable_is_not_blocked_by_mistake() -> Result<()> {
    require_kernel!("what_keeps_the_host_reachable_is_not_blocked_by_mistake");
    let scene = Scene::new()?;
    scene
        .host
        .ip(&["route", "add", "default", "via", PEER_V4])?;
    scene
        .host
        .ip(&["-6", "route", "add", "default", "via", PEER_V6])?;
    let daemon = scene.protect("")?;
    for (prefix, what) in [
        (PEER_V4, "the default gateway of host0"),
        (PEER_V6, "the default gateway of host0"),
        (HOST_V4, "an address of host0"),
        ("10.77.0.0/16", "host0"),
    ] {
        let text = refusal(&daemon, &["block", "add", prefix])?;
        ensure!(
            text.contains(what) && text.contains("--force"),
            "{prefix}: {text}"
        );
    }
    // One neighbour of many may be blocked.
    daemon.cli_text(&["block", "add", "10.77.0.99"])?;
    // Somebody is logged in, and takes part in an import.
    let listener = scene.host.run(|| TcpListener::bind((HOST_V4, 22)))??;
    scene
        .peer
        .ip(&["addr", "add", "10.77.0.7/24", "dev", "peer0"])?;
    let session = scene.peer.run(|| TcpStream::connect((HOST_V4, 22)))??;
    let (_accepted, from) = listener.accept()?;
    let list = format!("198.51.100.1\n{}/31\n", from.ip());
    let imported = daemon.cli_with_input(&["block", "import", "-"], list.as_bytes())?;
    let text = [imported.stdout, imported.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(text.contains("10.77.0.2"), "{text}");
    let entries = daemon.cli_text(&["block", "list"])?;
    ensure!(
        entries.contains("198.51.100.1") && !entries.contains("10.77.0.2/31"),
        "{entries}"
    );
    drop(session);
    // A reload is refused as a whole.
    let before = daemon.status()?.config.reloads;
    daemon.write_config(&protecting("[block]\nprefixes = [\"10.77.0.2\"]\n"))?;
    let text = refusal(&daemon, &["apply"])?;
    ensure!(
        text.contains("the default gateway") && text.contains("allow.prefixes"),
        "{text}"
    );
    ensure!(
        daemon.status()?.config.reloads == before,
        "in force all the same"
    );
    // Who is allowed can't be cut off.
    daemon.write_config(&protecting(
        "[block]\nprefixes = [\"10.77.0.2\"]\n[allow]\nprefixes = [\"10.77.0.2\"]\n",
    ))?;
    daemon.cli_text(&["apply"])?;
    daemon.cli_text(&["block", "add", PEER_V4])?;
    ensure!(
        scene.passes(&from_v4(PEER_V4).udp(1, 2))?,
        "the allowlist wins"
    );
    // Somebody means it.
    daemon.cli_text(&["block", "add", PEER_V6, "--force"])?;
    Ok(())
}
