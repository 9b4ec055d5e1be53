//! Stages that aren't configured are taken out of the real daemon's program, and come back, under
//! traffic.

use anyhow::{Context, Result, ensure};
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::flood::{Flood, LISTS};
use xdp_tests::daemon::scene::{HOST, Scene, from_v4, protecting};
use xdp_tests::netns::link::Attachment;
use xdp_tests::packet::Flags;
use xdp_tests::require_kernel;
use xdp_user::api::types::ApplyReport;

const NOTHING: &str = "[sanity]\ntcp_flags = false\nland = false\nmartian_source = false\n\
                       [mitigation]\nenabled = false\n[ban]\nenabled = false\n";
const FLAGS_ONLY: &str = "[sanity]\ntcp_flags = true\nland = false\nmartian_source = false\n\
                          [mitigation]\nenabled = false\n[ban]\nenabled = false\n";
const NETWORKS: &str = "[aggregate]\npackets = \"100kpps\"\n";

#[test]
fn stages_come_and_go_with_the_configuration_and_nothing_listed_passes() -> Result<()> {
    require_kernel!("stages_come_and_go_with_the_configuration_and_nothing_listed_passes");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let config = |rest: &str| protecting(&format!("{LISTS}{rest}{}", bpffs.section()));
    let daemon = Daemon::start(&scene.host, &config(NOTHING))?;
    ensure!(daemon.status()?.stages.is_empty(), "{}", daemon.log());
    let flood = Flood::start(&scene)?;
    flood.goes_on()?;
    let impossible = from_v4("192.0.2.9").tcp(1, 2, Flags::NONE);
    let usual = ["bans", "tcp_flags", "land", "martian_source", "classes"];
    let with_networks = [&usual[..], &["aggregates"]].concat();
    for (rest, stages) in [
        (FLAGS_ONLY, &["tcp_flags"][..]),
        (NOTHING, &[]),
        ("", &usual),
        (NETWORKS, &with_networks),
        (FLAGS_ONLY, &["tcp_flags"]),
    ] {
        let before = program(&scene)?;
        daemon.write_config(&config(rest))?;
        let _: ApplyReport = daemon.ask(&["apply"])?;
        ensure!(program(&scene)? != before, "the same program: {rest}");
        ensure!(daemon.status()?.stages == stages, "{}", daemon.log());
        ensure!(scene.host.xdp_attachment(HOST)? == Attachment::Native);
        let passes = scene.passes(&impossible)?;
        ensure!(passes != stages.contains(&"tcp_flags"), "{rest}: {passes}");
        flood.goes_on()?;
    }
    // What changes no stage keeps its program.
    let before = program(&scene)?;
    daemon.write_config(&config(&format!(
        "{FLAGS_ONLY}[limits]\npackets = \"9kpps\"\n"
    )))?;
    let _: ApplyReport = daemon.ask(&["apply"])?;
    ensure!(program(&scene)? == before, "another program");
    let (sent, through) = flood.stop()?;
    println!("{sent} sent, {through} through");
    ensure!(through == 0, "{through} of {sent} got through");
    Ok(())
}

/// Without the maps' pins no other program can be put over them.
#[test]
fn a_stage_that_can_not_be_brought_in_refuses_the_configuration() -> Result<()> {
    require_kernel!("a_stage_that_can_not_be_brought_in_refuses_the_configuration");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let config = |rest: &str| protecting(&format!("{LISTS}{rest}{}", bpffs.section()));
    let daemon = Daemon::start(&scene.host, &config(NOTHING))?;
    bpffs.unmount()?;
    bpffs.mount_again()?;
    daemon.write_config(&config(FLAGS_ONLY))?;
    let refused = daemon.cli(&["apply"])?;
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success(), "taken");
    ensure!(stderr.contains("restart the daemon"), "{stderr}");
    let status = daemon.status()?;
    ensure!(status.stages.is_empty() && status.config.refused == 1);
    ensure!(
        !scene.passes(&from_v4("203.0.113.9").udp(1, 2))?,
        "unlisted"
    );
    ensure!(scene.passes(&from_v4("192.0.2.9").tcp(1, 2, Flags::NONE))?);
    Ok(())
}

fn program(scene: &Scene) -> Result<u32> {
    scene.host.xdp_program(HOST)?.context("nothing is attached")
}
