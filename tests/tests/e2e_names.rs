//! An interface by its other names: a further one (altname) in the configuration, and another one since
//! the daemon ended. A start goes on with it without a gap, and `detach` finds it.

use anyhow::{Context, Result, ensure};
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::flood::{Flood, LISTED, LISTS};
use xdp_tests::daemon::scene::{HOST, Scene, from_v4, protecting};
use xdp_tests::netns::link::Attachment;
use xdp_tests::require_kernel;

const FURTHER: &str = "uplink-of-the-house";
const LATER: &str = "wan0";

fn add_further_name(scene: &Scene) -> Result<()> {
    let add = ["link", "property", "add", "dev", HOST, "altname", FURTHER];
    scene.host.ip(&add).map(drop)
}

fn rename(scene: &Scene, from: &str, to: &str) -> Result<()> {
    scene.host.ip(&["link", "set", from, "name", to]).map(drop)
}

/// The name that the status has for the only interface, and the configuration's where it differs.
fn names(daemon: &Daemon) -> Result<(String, Option<String>)> {
    let status = daemon.status()?;
    let interface = status.interfaces.into_iter().next();
    let interface = interface.context("no interface")?;
    Ok((interface.name, interface.configured))
}

#[test]
fn a_start_goes_on_with_an_interface_by_its_further_name_and_after_a_rename() -> Result<()> {
    require_kernel!("a_start_goes_on_with_an_interface_by_its_further_name_and_after_a_rename");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    add_further_name(&scene)?;
    let by = |name: &str| {
        let config = format!("{}{LISTS}{}", protecting(""), bpffs.section());
        config.replace(&format!("\"{HOST}\""), &format!("\"{name}\""))
    };
    let mut daemon = Daemon::start(&scene.host, &by(FURTHER))?;
    let further = Some(FURTHER.to_owned());
    ensure!(names(&daemon)? == (HOST.to_owned(), further.clone()));
    let flood = Flood::start(&scene)?;
    // What it is called when the daemon ends, what it is called by the next start, and how the
    // configuration names it then.
    for (before, now, configured) in [
        // Renamed, by the further name, which stays.
        (HOST, LATER, FURTHER),
        // By the name that it has now, in the place of the further one.
        (LATER, LATER, LATER),
        // Renamed, by the name that it had: no interface has it, and its pin does.
        (LATER, HOST, LATER),
        // The further one again.
        (HOST, HOST, FURTHER),
    ] {
        flood.goes_on()?;
        daemon.kill9()?;
        if before != now {
            rename(&scene, before, now)?;
        }
        flood.goes_on()?;
        daemon.write_config(&by(configured))?;
        daemon.restart()?;
        let what = format!("{now} as {configured}");
        let start = daemon.status()?.pins.start;
        ensure!(start == "took_over", "{what}: {start}");
        let differs = (now != configured).then(|| configured.to_owned());
        let found = names(&daemon)?;
        ensure!(found == (now.to_owned(), differs), "{what}: {found:?}");
        let attached = scene.host.xdp_attachment(now)?;
        ensure!(attached == Attachment::Native, "{what}: {attached:?}");
        flood.goes_on()?;
    }
    let (sent, through) = flood.stop()?;
    println!("{sent} sent, {through} through");
    ensure!(through == 0, "{through} of {sent} got through");
    Ok(())
}

#[test]
fn detach_finds_an_interface_by_each_of_its_names() -> Result<()> {
    require_kernel!("detach_finds_an_interface_by_each_of_its_names");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    add_further_name(&scene)?;
    let packet = from_v4(LISTED).udp(1, 2);
    let mut daemon = scene.protect(&format!("{LISTS}{}", bpffs.section()))?;
    let config = daemon.config_path().to_string_lossy().into_owned();
    // The name that it has now, a further one, and the one that it was pinned under.
    for asked in [LATER, FURTHER, HOST] {
        daemon.kill9()?;
        rename(&scene, HOST, LATER)?;
        let detach = ["detach", "--config", &config, "--interface", asked];
        let found = daemon.cli_json(&[&detach[..], &["--dry-run"]].concat())?;
        let found = &found["interfaces"][0];
        ensure!(found["interface"] == HOST, "{asked}: {found}");
        ensure!(found["called_now"] == LATER, "{asked}: {found}");
        let unknown = daemon.cli(&["detach", "--config", &config, "--interface", "none0"])?;
        let stderr = String::from_utf8_lossy(&unknown.stderr).into_owned();
        ensure!(stderr.contains("nothing is pinned for none0"), "{stderr}");
        let attached = scene.host.xdp_attachment(LATER)?;
        ensure!(attached == Attachment::Native, "{asked}: {attached:?}");
        let text = daemon.cli_text(&detach)?;
        let line = format!("detached {HOST}, which is called {LATER} now");
        ensure!(text.contains(&line), "{asked}: {text}");
        let attached = scene.host.xdp_attachment(LATER)?;
        ensure!(attached == Attachment::None, "{asked}: {attached:?}");
        rename(&scene, LATER, HOST)?;
        ensure!(scene.passes(&packet)?, "{asked}: still in force");
        daemon.restart()?;
        ensure!(!scene.passes(&packet)?, "{asked}: not in force again");
    }
    Ok(())
}
