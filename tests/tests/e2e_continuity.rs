//! What stays in force when a daemon ends, however it ends, and what the next one makes of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xdp_common::abi::ABI_VERSION;
use xdp_common::reason::Reason;
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::flood::{Flood, LISTED, LISTS};
use xdp_tests::daemon::scene::{HOST, HOST_V4, Scene, from_v4, protecting};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::netns::link::Attachment;
use xdp_tests::netns::stranger::{self, Stranger};
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);
/// Path of a daemon that was built from other sources.
const OTHER_BUILD: &str = "XDP_THROTTLE_OTHER_BUILD";
const HONEST: &str = "192.0.2.7";

fn protect(scene: &Scene, bpffs: &Bpffs, rest: &str) -> Result<Daemon> {
    scene.protect(&format!("{rest}{}", bpffs.section()))
}

fn start_of(daemon: &Daemon) -> Result<(String, Option<String>)> {
    let pins = daemon.status()?.pins;
    Ok((pins.start, pins.why))
}

#[test]
fn a_policy_outlives_its_daemon_and_the_next_one_takes_over_with_all_that_was_counted() -> Result<()>
{
    require_kernel!(
        "a_policy_outlives_its_daemon_and_the_next_one_takes_over_with_all_that_was_counted"
    );
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let limits = "[limits]\npackets = \"1kpps\"\npackets_burst = 1\n\
                  [ban]\nstrikes = 1\nstrike_interval = \"50ms\"\nduration = \"1h\"\n";
    let mut daemon = protect(&scene, &bpffs, &format!("{LISTS}{limits}"))?;
    ensure!(start_of(&daemon)?.0 == "fresh", "{}", daemon.log());
    // A ban, which is in the kernel at first.
    let offender = (0..30).map(|port| from_v4(HONEST).udp(port, 2).build());
    scene.send(offender.collect())?;
    wait_until("the ban", TIMEOUT, || {
        daemon.status().is_ok_and(|status| status.bans == 1)
    })?;
    let flood = Flood::start(&scene)?;
    flood.goes_on()?;
    for end in ["kill -9", "terminate", "kill -9"] {
        let before = daemon.dropped(Reason::Blocklisted)?;
        match end {
            "terminate" => ensure!(daemon.terminate()?.success(), "{}", daemon.log()),
            _ => daemon.kill9()?,
        }
        ensure!(
            scene.host.xdp_attachment(HOST)? == Attachment::Native,
            "{end}: detached"
        );
        flood.goes_on()?;
        ensure!(
            !scene.passes(&from_v4(HONEST).udp(99, 2))?,
            "{end}: the ban ended"
        );
        ensure!(
            scene.passes(&from_v4("192.0.2.8").udp(99, 2))?,
            "{end}: an honest source is cut off"
        );
        daemon.restart()?;
        ensure!(
            start_of(&daemon)? == ("took_over".to_owned(), None),
            "{:?}",
            start_of(&daemon)?
        );
        flood.goes_on()?;
        let status = daemon.status()?;
        ensure!(status.bans == 1, "{end}: {} bans", status.bans);
        let after = daemon.dropped(Reason::Blocklisted)?;
        ensure!(
            after >= before + 200,
            "{end}: {before} counted before and {after} after"
        );
        let of_interface = status.interfaces.iter().flat_map(|one| &one.reasons);
        let listed = of_interface.filter(|count| count.reason == "blocklisted");
        ensure!(
            listed.map(|count| count.packets).sum::<u64>() > before / 2,
            "{end}: started anew"
        );
    }
    let (sent, through) = flood.stop()?;
    println!("{sent} sent, {through} through");
    ensure!(through == 0, "{through} of {sent} got through");
    Ok(())
}

#[test]
fn detach_ends_what_a_daemon_left_and_leaves_nothing() -> Result<()> {
    require_kernel!("detach_ends_what_a_daemon_left_and_leaves_nothing");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let mut daemon = protect(&scene, &bpffs, LISTS)?;
    let packet = from_v4(LISTED).udp(1, 2);
    let config = daemon.config_path().to_string_lossy().into_owned();
    let detach = ["detach", "--config", &config];
    let refused = daemon.cli(&detach)?;
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status.code() == Some(1) && stderr.contains("a daemon answers"),
        "{stderr}"
    );
    daemon.kill9()?;
    ensure!(!scene.passes(&packet)?, "detached by the kill");
    let found = daemon.cli_json(&["detach", "--config", &config, "--dry-run"])?;
    ensure!(found["interfaces"][0]["interface"] == HOST, "{found}");
    ensure!(!scene.passes(&packet)?, "detached by the dry run");
    let text = daemon.cli_text(&detach)?;
    ensure!(
        text.contains("detached host0") && text.contains("nothing is left"),
        "{text}"
    );
    ensure!(scene.passes(&packet)?, "still in force");
    ensure!(
        scene.host.xdp_attachment(HOST)? == Attachment::None,
        "still attached"
    );
    ensure!(bpffs.is_empty()?, "pins are left");
    ensure!(
        daemon.cli_text(&detach)?.contains("nothing is attached"),
        "found something"
    );
    // Told to detach, a daemon leaves nothing either.
    daemon.run(&["run", "--config", &config, "--on-exit", "detach"])?;
    ensure!(!scene.passes(&packet)?, "not in force");
    ensure!(daemon.terminate()?.success(), "{}", daemon.log());
    ensure!(scene.passes(&packet)?, "still in force");
    ensure!(bpffs.is_empty()?, "pins are left: {}", daemon.log());
    Ok(())
}

/// A connection that goes on through all that happens.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn open(scene: &Scene) -> Result<Self> {
        let listener = scene.host.run(|| TcpListener::bind((HOST_V4, 8080)))??;
        let client = scene.peer.run(|| TcpStream::connect((HOST_V4, 8080)))??;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(TIMEOUT))?;
        }
        Ok(Self { client, server })
    }

    fn works(&mut self) -> Result<()> {
        let mut answer = [0; 4];
        self.client.write_all(b"ping")?;
        self.server.read_exact(&mut answer).context("the request")?;
        self.server.write_all(&answer)?;
        self.client.read_exact(&mut answer).context("the answer")?;
        ensure!(&answer == b"ping", "{answer:?}");
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.client.shutdown(Shutdown::Both));
    }
}

#[test]
fn an_upgrade_under_flood_lets_nothing_through_and_breaks_no_connection() -> Result<()> {
    require_kernel!("an_upgrade_under_flood_lets_nothing_through_and_breaks_no_connection");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let program = |daemon: &Daemon| -> Result<u32> {
        let id = scene.host.xdp_program(HOST)?;
        id.with_context(|| format!("nothing is attached: {}", daemon.log()))
    };
    let config = |sources: u32| {
        let capacity = format!("[capacity]\nsources = {sources}\n");
        protecting(&format!("{LISTS}{capacity}{}", bpffs.section()))
    };
    // Another build of the same border, if one is named; else a copy of this one stands for it.
    let builds = tempfile::tempdir()?;
    let newer = builds.path().join("xdp-throttle");
    let other = std::env::var_os(OTHER_BUILD).map_or_else(binary, |path| Ok(path.into()))?;
    fs::copy(other, &newer)?;
    let older = Daemon::start(&scene.host, &config(4096))?;
    let flood = Flood::start(&scene)?;
    let mut connection = Connection::open(&scene)?;
    connection.works()?;
    let mut last = program(&older)?;
    let mut running = older;
    for (binary, sources, start) in [
        (&newer, 4096, "took_over"),
        // Of other sizes: tables are filled anew beside those in force.
        (&binary()?, 8192, "refilled"),
        (&newer, 8192, "took_over"),
    ] {
        flood.goes_on()?;
        ensure!(running.terminate()?.success(), "{}", running.log());
        flood.goes_on()?;
        connection.works()?;
        running = start_with(&scene, &running, binary, &config(sources))?;
        let now = program(&running)?;
        ensure!(now != last, "the old program is still there");
        last = now;
        let (was, why) = start_of(&running)?;
        ensure!(was == start, "{was}, {why:?}");
        ensure!(why.is_some() == (start == "refilled"), "{why:?}");
        flood.goes_on()?;
        connection.works()?;
    }
    let (sent, through) = flood.stop()?;
    println!("{sent} sent, {through} through");
    ensure!(through == 0, "{through} of {sent} got through");
    Ok(())
}

/// What an older build left, as a newer one with another border finds it: links without a version, and
/// maps under another one.
#[test]
fn an_upgrade_over_another_border_fills_new_tables_and_lets_nothing_through() -> Result<()> {
    require_kernel!("an_upgrade_over_another_border_fills_new_tables_and_lets_nothing_through");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let mut daemon = protect(&scene, &bpffs, LISTS)?;
    let flood = Flood::start(&scene)?;
    let mut connection = Connection::open(&scene)?;
    let [ours, others] = [format!("v{ABI_VERSION}"), format!("v{}", ABI_VERSION + 1)]
        .map(|version| bpffs.pins().join(version));
    for _there_and_back in 0..2 {
        flood.goes_on()?;
        daemon.kill9()?;
        scene.host.run(|| fs::rename(&ours, &others))??;
        flood.goes_on()?;
        connection.works()?;
        daemon.restart()?;
        let (start, why) = start_of(&daemon)?;
        ensure!(start == "refilled", "{start}, {why:?}");
        ensure!(
            why.is_some_and(|why| why.contains("of another build")),
            "no reason"
        );
        ensure!(
            !scene.host.run(|| fs::exists(&others))??,
            "old maps are left"
        );
        flood.goes_on()?;
        connection.works()?;
    }
    let (sent, through) = flood.stop()?;
    println!("{sent} sent, {through} through");
    ensure!(through == 0, "{through} of {sent} got through");
    Ok(())
}

/// Starts another build; the state directory is new, the pins are the same.
fn start_with(scene: &Scene, old: &Daemon, binary: &Path, config: &str) -> Result<Daemon> {
    ensure!(old.pid().is_none(), "the old daemon is running");
    Daemon::start_binary(&scene.host, binary, config)
}

#[test]
fn an_interface_that_is_made_anew_is_attached_and_pinned_again() -> Result<()> {
    require_kernel!("an_interface_that_is_made_anew_is_attached_and_pinned_again");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    scene.host.ip(&[
        "link", "add", "cut.1", "type", "veth", "peer", "name", "end1",
    ])?;
    let config = format!(
        "{}[[interface]]\nname = \"cut.1\"\n{LISTS}{}",
        protecting(""),
        bpffs.section()
    );
    let mut daemon = Daemon::start(&scene.host, &config)?;
    let attached = |scene: &Scene| scene.host.xdp_attachment("cut.1");
    ensure!(attached(&scene)? == Attachment::Native, "{}", daemon.log());
    scene.host.ip(&["link", "del", "cut.1"])?;
    let missing = || {
        let status = daemon.status();
        status.is_ok_and(|status| status.interfaces.iter().any(|one| !one.attached))
    };
    wait_until("the loss to be seen", TIMEOUT, missing)?;
    scene.host.ip(&[
        "link", "add", "cut.1", "type", "veth", "peer", "name", "end1",
    ])?;
    wait_until("it to be attached again", TIMEOUT, || {
        attached(&scene).is_ok_and(|now| now == Attachment::Native)
    })?;
    daemon.kill9()?;
    ensure!(
        attached(&scene)? == Attachment::Native,
        "the new pin didn't hold"
    );
    // Made anew while nobody watches.
    scene.host.ip(&["link", "del", "cut.1"])?;
    scene.host.ip(&[
        "link", "add", "cut.1", "type", "veth", "peer", "name", "end1",
    ])?;
    ensure!(attached(&scene)? == Attachment::None, "attached by whom?");
    daemon.restart()?;
    ensure!(attached(&scene)? == Attachment::Native, "{}", daemon.log());
    ensure!(
        start_of(&daemon)?.0 == "took_over",
        "{:?}",
        start_of(&daemon)?
    );
    // No longer in the configuration, while the daemon is down.
    daemon.kill9()?;
    daemon.write_config(&protecting(&format!("{LISTS}{}", bpffs.section())))?;
    daemon.restart()?;
    ensure!(attached(&scene)? == Attachment::None, "still attached");
    ensure!(
        !scene.passes(&from_v4(LISTED).udp(1, 2))?,
        "the other one isn't filtered"
    );
    Ok(())
}

#[test]
fn a_bpffs_that_goes_is_told_and_pins_come_back_with_it() -> Result<()> {
    require_kernel!("a_bpffs_that_goes_is_told_and_pins_come_back_with_it");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let mut daemon = protect(&scene, &bpffs, LISTS)?;
    let told = || {
        let warnings = daemon.status().map(|status| status.warnings);
        warnings.is_ok_and(|all| all.iter().any(|one| one.contains("pin of host0 is gone")))
    };
    bpffs.unmount()?;
    wait_until("the loss to be told", TIMEOUT, told)?;
    ensure!(
        !scene.passes(&from_v4(LISTED).udp(1, 2))?,
        "no longer filtered"
    );
    bpffs.mount_again()?;
    wait_until("the pin to come back", TIMEOUT, || !told())?;
    daemon.kill9()?;
    ensure!(
        !scene.passes(&from_v4(LISTED).udp(1, 2))?,
        "the new pin didn't hold"
    );
    daemon.restart()?;
    let (start, why) = start_of(&daemon)?;
    ensure!(start == "fresh" || start == "refilled", "{start}, {why:?}");
    ensure!(
        !scene.passes(&from_v4(LISTED).udp(1, 2))?,
        "no longer filtered"
    );
    Ok(())
}

#[test]
fn without_a_bpffs_the_host_is_protected_as_long_as_the_daemon_runs() -> Result<()> {
    require_kernel!("without_a_bpffs_the_host_is_protected_as_long_as_the_daemon_runs");
    let scene = Scene::new()?;
    let nowhere = tempfile::tempdir()?;
    let section = format!("[pins]\ndirectory = {:?}\n", nowhere.path().join("pins"));
    let mut daemon = scene.protect(&format!("{LISTS}{section}"))?;
    let packet = from_v4(LISTED).udp(1, 2);
    ensure!(!scene.passes(&packet)?, "not filtered");
    let status = daemon.status()?;
    ensure!(status.pins.start == "unpinned", "{:?}", status.pins);
    let told = status
        .warnings
        .iter()
        .any(|one| one.contains("nothing is pinned"));
    ensure!(
        told && daemon.log().contains("is on no bpffs"),
        "{:?}",
        status.warnings
    );
    daemon.kill9()?;
    ensure!(scene.passes(&packet)?, "who filters?");
    Ok(())
}

#[test]
fn a_strangers_program_is_named_and_not_replaced() -> Result<()> {
    require_kernel!("a_strangers_program_is_named_and_not_replaced");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let _stranger = Stranger::attach(&scene.host, HOST)?;
    let id = scene.host.xdp_program(HOST)?.context("no program")?;
    let mut daemon = Daemon::prepare(
        &scene.host,
        &binary()?,
        &protecting(&format!("required = true\n{LISTS}{}", bpffs.section())),
    )?;
    let error = daemon.restart().err().context("it started")?;
    let text = format!("{error:#}");
    // Its name takes CAP_SYS_ADMIN to ask for, which the daemon has given up by then.
    ensure!(
        text.contains("another XDP program is attached to host0"),
        "{text}"
    );
    ensure!(
        text.contains(&format!("number {id}")),
        "{text}, not {}",
        stranger::NAME
    );
    ensure!(scene.host.xdp_program(HOST)? == Some(id), "replaced");
    Ok(())
}
