//! Many ends and many reloads under load: nothing acknowledged is lost, no packet of a listed source
//! gets through in between, and every packet is judged by a whole configuration.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::runtime;
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::scene::{PEER, Scene, from_v4, protecting};
use xdp_tests::require_kernel;
use xdp_tests::traffic::sender::{Load, Sender};
use xdp_tests::wait::wait_until;
use xdp_user::api::client::Client;
use xdp_user::api::types::{AddEntries, Apply, EntryQuery, ListKind};
use xdp_user::domain::Prefix;

const TIMEOUT: Duration = Duration::from_secs(20);
const ROUNDS: usize = 100;
const RELOADS: usize = 1000;
const LISTED: &str = "203.0.113.7";
const HONEST: &str = "192.0.2.7";

fn runtime() -> Result<runtime::Runtime> {
    let mut builder = runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

/// Adds one entry after another, and takes it away again now and then, as fast as it is answered.
struct Writer {
    thread: JoinHandle<Result<()>>,
    stop: Arc<AtomicBool>,
    written: Arc<Mutex<Written>>,
}

/// What was acknowledged, and what may or may not have happened.
#[derive(Debug, Default)]
struct Written {
    there: BTreeSet<Prefix>,
    gone: BTreeSet<Prefix>,
    unsure: BTreeSet<Prefix>,
}

impl Writer {
    fn start(socket: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(Mutex::new(Written::default()));
        let (stopping, writing) = (Arc::clone(&stop), Arc::clone(&written));
        let thread = std::thread::spawn(move || write(&socket, &stopping, &writing));
        Self {
            thread,
            stop,
            written,
        }
    }

    fn acknowledged(&self) -> usize {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.there.len() + written.gone.len()
    }

    fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_panic| anyhow::anyhow!("the writer panicked"))??;
        let written = Arc::into_inner(self.written).context("the writer still writes")?;
        Ok(written.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

fn write(socket: &std::path::Path, stop: &AtomicBool, written: &Mutex<Written>) -> Result<()> {
    let runtime = runtime()?;
    let client = Client::new(socket)?;
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let address = Ipv4Addr::from_bits(u32::from_be_bytes([100, 64, 0, 0]) + number);
        let prefix = Prefix::host(address.into());
        let added = runtime.block_on(client.add(
            ListKind::Block,
            &AddEntries {
                prefixes: vec![prefix.into()],
                list: None,
                ttl: None,
                comment: Some(format!("number {number}")),
                force: false,
            },
        ));
        let removed = (added.is_ok() && number % 5 == 0).then(|| {
            let remove = xdp_user::api::types::RemoveEntries {
                prefixes: vec![prefix.into()],
                list: None,
            };
            runtime
                .block_on(client.remove(ListKind::Block, &remove))
                .is_ok()
        });
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        match (added.is_ok(), removed) {
            (true, None) => written.there.insert(prefix),
            (true, Some(true)) => written.gone.insert(prefix),
            // Nobody answered: it may have happened, or not.
            (true, Some(false)) | (false, _) => written.unsure.insert(prefix),
        };
        drop(written);
        while UnixStream::connect(socket).is_err() && !stop.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }
    Ok(())
}

/// Every entry of the blocklist that was added at run time.
fn stored(socket: &std::path::Path) -> Result<BTreeSet<Prefix>> {
    let (runtime, client) = (runtime()?, Client::new(socket)?);
    let mut all = BTreeSet::new();
    loop {
        let query = EntryQuery {
            limit: Some(10_000),
            offset: all.len() as u64,
            ..EntryQuery::default()
        };
        let page = runtime.block_on(client.entries(ListKind::Block, &query))?;
        all.extend(page.entries.iter().map(|entry| entry.prefix));
        if page.entries.is_empty() || all.len() as u64 >= page.total {
            return Ok(all);
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_gets_through_in_a_hundred_kills() -> Result<()> {
    require_kernel!("nothing_acknowledged_is_lost_and_nothing_gets_through_in_a_hundred_kills");
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let config = |listed: [&str; 2]| {
        protecting(&format!(
            "[block]\nprefixes = {listed:?}\n{}",
            bpffs.section()
        ))
    };
    // Both list the flooding source; they differ in what else they list.
    let configs = [
        config(["203.0.113.0/24", "198.51.100.1"]),
        config(["203.0.113.7", "198.51.100.2"]),
    ];
    let mut daemon = Daemon::start(&scene.host, &configs[0])?;
    let through = scene.count_from(LISTED)?;
    let load = Load {
        rate: 5_000,
        count: u64::MAX,
        ..Load::once(vec![from_v4(LISTED).udp(1, 2).build()])
    };
    let sender = Sender::start(&scene.peer, PEER, load)?;
    let writer = Writer::start(daemon.socket_path());
    for round in 0..ROUNDS {
        let acknowledged = writer.acknowledged();
        wait_until("writes", TIMEOUT, || writer.acknowledged() > acknowledged)?;
        // In the middle of a reload, or of a write, or of nothing.
        daemon.write_config(&configs[(round + 1) % 2])?;
        if rng.random() {
            daemon.signal(nix::sys::signal::Signal::SIGHUP)?;
        }
        std::thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
        daemon.kill9()?;
        // What comes is there before what goes is gone: one of the two is always listed.
        let passed = probe(&scene)?;
        ensure!(
            passed != [true, true],
            "round {round}: neither configuration is in force"
        );
        daemon.restart()?;
        let passed = probe(&scene)?;
        let wanted = [round % 2 == 0, round % 2 == 1];
        ensure!(
            passed == wanted,
            "round {round}: {passed:?} after the restart"
        );
        let start = daemon.status()?.pins.start;
        ensure!(start == "took_over", "round {round}: {start}");
    }
    let written = writer.stop()?;
    let sent = sender.stop()?.frames;
    let through = through.stop()?;
    let stored = stored(&daemon.socket_path())?;
    println!(
        "{} there, {} gone, {} unsure; {sent} sent, {} through",
        written.there.len(),
        written.gone.len(),
        written.unsure.len(),
        through.matched
    );
    ensure!(
        through.matched == 0 && through.lost == 0,
        "{} got through",
        through.matched
    );
    let lost: Vec<_> = written.there.difference(&stored).collect();
    ensure!(lost.is_empty(), "lost: {lost:?}");
    let back: Vec<_> = written.gone.intersection(&stored).collect();
    ensure!(back.is_empty(), "removed and back again: {back:?}");
    ensure!(
        written.there.len() > ROUNDS / 2,
        "{} writes",
        written.there.len()
    );
    Ok(())
}

/// Whether packets of the two sources pass that the two configurations differ in.
fn probe(scene: &Scene) -> Result<[bool; 2]> {
    let frame = |source| from_v4(source).udp(1, 2).build();
    let passed = scene.passed(&["198.51.100.1", "198.51.100.2"].map(frame))?;
    Ok([passed[0], passed[1]])
}

#[test]
fn every_packet_is_judged_by_one_of_two_configurations_in_a_thousand_reloads() -> Result<()> {
    require_kernel!("every_packet_is_judged_by_one_of_two_configurations_in_a_thousand_reloads");
    let scene = Scene::new()?;
    // Neither lets the listed source pass, each by another entry; neither stops the honest one, which
    // the one allows and the other doesn't know. Budgets for newcomers would stop it after a while.
    let off = "[mitigation]\nenabled = false\n";
    let configs = [
        "[block]\nprefixes = [\"203.0.113.0/24\", \"192.0.2.0/24\"]\n[allow]\nprefixes = [\"192.0.2.7\"]\n",
        "[block]\nprefixes = [\"203.0.112.0/23\"]\n",
    ];
    let daemon = scene.protect(&format!("{}{off}", configs[0]))?;
    let (listed, honest) = (scene.count_from(LISTED)?, scene.count_from(HONEST)?);
    let frames = [LISTED, HONEST].map(|source| from_v4(source).udp(1, 2).build());
    let load = Load {
        // More, and a busy machine loses packets behind the program, where they are counted.
        rate: 1_500,
        count: u64::MAX,
        ..Load::once(frames.to_vec())
    };
    let sender = Sender::start(&scene.peer, PEER, load)?;
    let (runtime, client) = (runtime()?, Client::new(&daemon.socket_path())?);
    for round in 0..RELOADS {
        let text = daemon.whole_config(&format!(
            "[[interface]]\nname = \"host0\"\n{}{off}",
            configs[(round + 1) % 2]
        ));
        let apply = Apply {
            path: Some("test.toml".to_owned()),
            text: Some(text),
            ..Apply::default()
        };
        runtime
            .block_on(client.apply(&apply))
            .with_context(|| format!("reload {round}"))?;
    }
    let sent = sender.stop()?.frames;
    // Whatever was sent last has to come before it is counted.
    scene.passed(&[from_v4("192.0.2.8").udp(9, 9).build()])?;
    let (listed, honest) = (listed.stop()?, honest.stop()?);
    let reloads = daemon.status()?.config.reloads;
    println!(
        "{reloads} reloads, {sent} sent, {} of the listed and {} of the honest source through",
        listed.matched, honest.matched
    );
    ensure!(reloads == RELOADS as u64, "{reloads} reloads");
    ensure!(
        listed.matched == 0 && listed.lost == 0,
        "{} got through",
        listed.matched
    );
    // They take turns.
    let honest_sent = sent / 2;
    ensure!(
        honest.matched == honest_sent && honest.lost == 0,
        "{} of {honest_sent} honest packets came",
        honest.matched
    );
    Ok(())
}
