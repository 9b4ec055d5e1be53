//! The egress program follows the XDP program.

use std::time::Duration;

use anyhow::{Result, ensure};
use xdp_common::abi::ABI_VERSION;
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::scene::{HOST, HOST_V4, PEER_V4, Scene, from_v4};
use xdp_tests::daemon::talk;
use xdp_tests::netns::link::{End, veth_pair};
use xdp_tests::netns::stranger::EgressStranger;
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;
use xdp_user::api::types::FlowMemoryState;

use super::place::{
    at_egress, at_egress_of, has_tcx, hooks, passes_behind, prepare, protect, wait_until_complete,
};
use super::{SMALL, ask};

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn it_outlives_its_daemon_and_is_replaced_and_not_doubled_by_the_next() -> Result<()> {
    require_kernel!("it_outlives_its_daemon_and_is_replaced_and_not_doubled_by_the_next");
    for &hook in hooks() {
        let scene = Scene::new()?;
        let bpffs = Bpffs::mount(&scene.host)?;
        let mut daemon = protect(&scene, hook, &format!("{SMALL}{}", bpffs.section()))?;
        ensure!(at_egress(&scene)?.is_at(hook), "{:?}", at_egress(&scene)?);
        for end in ["kill -9", "terminate"] {
            let before = at_egress(&scene)?.tcx;
            match end {
                "terminate" => ensure!(daemon.terminate()?.success(), "{}", daemon.log()),
                _ => daemon.kill9()?,
            }
            ensure!(at_egress(&scene)?.is_at(hook), "{hook}, {end}");
            // Noted while nobody is there.
            let asked = ask(&scene, HOST_V4, &format!("{PEER_V4}:53"))?;
            daemon.restart()?;
            let status = daemon.status()?;
            ensure!(status.pins.start == "took_over", "{:?}", status.pins);
            // Without warming up, and from the first packet on.
            ensure!(
                status.flow_memory.state == FlowMemoryState::Complete,
                "{hook}, {end}: {:?}",
                status.flow_memory
            );
            let after = at_egress(&scene)?;
            ensure!(after.is_at(hook), "{hook}, {end}: {after:?}");
            ensure!(
                hook == "clsact" || after.tcx != before,
                "the old program is there"
            );
            let stranger = |source: &str, port| from_v4(source).udp(53, port);
            ensure!(
                passes_behind(&scene, &from_v4(PEER_V4).udp(53, asked), stranger)?,
                "{hook}, {end}"
            );
            ensure!(
                !passes_behind(&scene, &from_v4(PEER_V4).udp(53, asked ^ 1), stranger)?,
                "{hook}, {end}"
            );
        }
        daemon.kill9()?;
        let config = daemon.config_path().to_string_lossy().into_owned();
        daemon.cli_text(&["detach", "--config", &config])?;
        ensure!(
            at_egress(&scene)?.is_empty(),
            "{hook}: {:?}",
            at_egress(&scene)?
        );
        ensure!(bpffs.is_empty()?, "{hook}: pins are left");
    }
    Ok(())
}

#[test]
fn a_memory_that_was_taken_over_before_it_was_warm_goes_on_warming_up() -> Result<()> {
    require_kernel!("a_memory_that_was_taken_over_before_it_was_warm_goes_on_warming_up");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let mut daemon = prepare(&scene, "", &bpffs.section())?;
    daemon.with_variable("XDP_THROTTLE_FLOW_WARM_UP", "3600");
    for _ in 0..2 {
        daemon.restart()?;
        let memory = daemon.status()?.flow_memory;
        ensure!(memory.state == FlowMemoryState::WarmingUp, "{memory:?}");
        ensure!(
            memory.seconds_left.is_some_and(|left| left > 3000),
            "{memory:?}"
        );
        daemon.kill9()?;
    }
    Ok(())
}

#[test]
fn an_upgrade_with_other_maps_replaces_it_and_warms_up_again() -> Result<()> {
    require_kernel!("an_upgrade_with_other_maps_replaces_it_and_warms_up_again");
    for &hook in hooks() {
        let scene = Scene::new()?;
        let bpffs = Bpffs::mount(&scene.host)?;
        let mut daemon = protect(&scene, hook, &bpffs.section())?;
        let before = at_egress(&scene)?.tcx;
        daemon.kill9()?;
        let pins = bpffs.pins();
        let (now, other) = (pins.join(format!("v{ABI_VERSION}")), pins.join("v1"));
        scene.host.run(|| std::fs::rename(now, other))??;
        daemon.with_variable("XDP_THROTTLE_FLOW_WARM_UP", "3600");
        daemon.restart()?;
        let status = daemon.status()?;
        ensure!(status.pins.start == "refilled", "{:?}", status.pins);
        let memory = status.flow_memory;
        ensure!(memory.state == FlowMemoryState::WarmingUp, "{memory:?}");
        let after = at_egress(&scene)?;
        ensure!(after.is_at(hook), "{hook}: {after:?}");
        ensure!(hook == "clsact" || after.tcx != before, "the old program");
        // Into the maps of the new program.
        talk::udp(&scene.host, &scene.peer, PEER_V4, 100)?;
        let seen = daemon.status()?.flow_memory;
        ensure!(seen.noted > memory.noted, "{hook}: {memory:?} {seen:?}");
    }
    Ok(())
}

#[test]
fn it_goes_with_a_daemon_that_leaves_nothing_in_force() -> Result<()> {
    require_kernel!("it_goes_with_a_daemon_that_leaves_nothing_in_force");
    for &hook in hooks() {
        let scene = Scene::new()?;
        let bpffs = Bpffs::mount(&scene.host)?;
        let pinned = format!("{}on_exit = \"detach\"\n", bpffs.section());
        for rest in ["", &pinned] {
            let mut daemon = protect(&scene, hook, rest)?;
            ensure!(at_egress(&scene)?.is_at(hook), "{:?}", at_egress(&scene)?);
            ensure!(daemon.terminate()?.success(), "{}", daemon.log());
            ensure!(
                at_egress(&scene)?.is_empty(),
                "{hook}: {:?}",
                at_egress(&scene)?
            );
        }
    }
    Ok(())
}

#[test]
fn a_start_that_fails_leaves_what_is_there_and_nothing_of_its_own() -> Result<()> {
    require_kernel!("a_start_that_fails_leaves_what_is_there_and_nothing_of_its_own");
    for &hook in hooks() {
        let scene = Scene::new()?;
        let bpffs = Bpffs::mount(&scene.host)?;
        let missing = "[[interface]]\nname = \"absent0\"\nrequired = true\n";
        let failing = format!("{missing}{}", bpffs.section());
        let mut daemon = prepare(&scene, hook, &failing)?;
        ensure!(daemon.restart().is_err(), "it started");
        ensure!(
            at_egress(&scene)?.is_empty(),
            "{hook}: {:?}",
            at_egress(&scene)?
        );
        let mut daemon = protect(&scene, hook, &bpffs.section())?;
        daemon.kill9()?;
        let before = at_egress(&scene)?;
        daemon.write_config(&xdp_tests::daemon::scene::protecting(&failing))?;
        ensure!(daemon.restart().is_err(), "it started");
        let after = at_egress(&scene)?;
        ensure!(
            after.is_at(hook) && after.tcx == before.tcx,
            "{hook}: {before:?} {after:?}"
        );
    }
    Ok(())
}

#[test]
fn it_comes_and_goes_with_an_interface() -> Result<()> {
    require_kernel!("it_comes_and_goes_with_an_interface");
    for &hook in hooks() {
        let scene = Scene::new()?;
        let bpffs = Bpffs::mount(&scene.host)?;
        let late = format!("[[interface]]\nname = \"late0\"\n{}", bpffs.section());
        let daemon = protect(&scene, hook, &late)?;
        veth_pair(
            End::new(&scene.host, "late0"),
            End::new(&scene.peer, "far0"),
            1500,
        )?;
        let attached = || at_egress_of(&scene, "late0").is_ok_and(|there| there.is_at(hook));
        wait_until("the egress program on late0", TIMEOUT, attached)?;
        wait_until_complete(&daemon)?;
        daemon.write_config(&xdp_tests::daemon::scene::protecting(&bpffs.section()))?;
        daemon.cli_text(&["apply"])?;
        ensure!(
            at_egress_of(&scene, "late0")?.is_empty(),
            "{hook}: it is still on late0"
        );
        ensure!(at_egress(&scene)?.is_at(hook), "{hook}: it is off {HOST}");
    }
    Ok(())
}

#[test]
fn who_takes_it_off_finds_it_back_in_a_moment() -> Result<()> {
    require_kernel!("who_takes_it_off_finds_it_back_in_a_moment");
    let scene = Scene::new()?;
    let daemon = protect(&scene, "clsact", "")?;
    scene
        .host
        .output("tc", &["qdisc", "del", "dev", HOST, "clsact"])?;
    let back = || at_egress(&scene).is_ok_and(|there| there.is_at("clsact"));
    wait_until("the filter to be back", TIMEOUT, back)?;
    wait_until_complete(&daemon)
}

#[test]
fn another_program_at_the_hook_keeps_running_and_stays() -> Result<()> {
    require_kernel!("another_program_at_the_hook_keeps_running_and_stays");
    for &hook in hooks() {
        let places = [None, Some(1), Some(5)];
        for priority in places.into_iter().skip(usize::from(!has_tcx())) {
            let scene = Scene::new()?;
            let what = format!("{hook} beside {priority:?}");
            let tc = ["qdisc", "add", "dev", HOST, "clsact"];
            scene.host.output("tc", &tc)?;
            let other = EgressStranger::attach(&scene.host, HOST, priority)?;
            let mut daemon = protect(&scene, hook, "")?;
            let there = at_egress(&scene)?;
            ensure!(there.is_at(hook), "{what}: {there:?}");
            let first = there
                .tcx
                .first()
                .map(|one| one.name.starts_with("xdp_egress"));
            ensure!(hook != "tcx" || first == Some(true), "{what}: {there:?}");
            let before = (other.seen()?, daemon.status()?.flow_memory.packets);
            talk::udp(&scene.host, &scene.peer, PEER_V4, 100)?;
            let after = (other.seen()?, daemon.status()?.flow_memory.packets);
            ensure!(
                after.0 > before.0 && after.1 > before.1,
                "{what}: {before:?} {after:?}"
            );
            ensure!(daemon.terminate()?.success(), "{}", daemon.log());
            talk::udp(&scene.host, &scene.peer, PEER_V4, 100)?;
            ensure!(
                other.seen()? > after.0,
                "{what}: the other program went, too"
            );
            let there = at_egress(&scene)?;
            let strangers = usize::from(priority.is_none());
            ensure!(
                (there.tcx.len(), there.filters) == (strangers, 0),
                "{what}: {there:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_start_goes_on_where_the_hook_is_refused_and_says_why() -> Result<()> {
    require_kernel!("a_start_goes_on_where_the_hook_is_refused_and_says_why");
    let scene = Scene::new()?;
    scene
        .host
        .output("tc", &["qdisc", "add", "dev", HOST, "ingress"])?;
    let mut daemon = prepare(&scene, "clsact", "")?;
    daemon.restart()?;
    let status = daemon.status()?;
    ensure!(status.interfaces[0].attached, "{status:?}");
    let why = status.interfaces[0].egress_why.clone().unwrap_or_default();
    ensure!(why.contains("ingress qdisc"), "{why}");
    ensure!(
        status.flow_memory.state == FlowMemoryState::NotAttached,
        "{:?}",
        status.flow_memory
    );
    ensure!(
        status
            .warnings
            .iter()
            .any(|one| one.contains("isn't noted")),
        "{:?}",
        status.warnings
    );
    // As soon as it can be.
    scene
        .host
        .output("tc", &["qdisc", "del", "dev", HOST, "ingress"])?;
    wait_until_complete(&daemon)?;
    Ok(())
}
