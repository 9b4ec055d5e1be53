//! What the lock-out guard costs: the time that a block over the API takes while ten thousand
//! connections are open. Nothing fails for being slow; the figure is printed.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{Backlog, listen};
use xdp_tests::daemon::scene::{HOST, HOST_V4, Scene};
use xdp_tests::require_kernel;
use xdp_user::api::client::Client;
use xdp_user::api::types::{AddEntries, ListKind};
use xdp_user::host::{HostSnapshot, PeerRole};

/// To each of these ports a quarter of ten thousand: fewer than a listener's queue holds.
const PORTS: [u16; 4] = [8080, 8081, 8082, 8083];
const TO_EACH: usize = 2_500;
const SOON: Duration = Duration::from_secs(5);
const BLOCKS: u8 = 200;

/// Connections to a port of the host. Nobody takes them from the listener, so that each costs this
/// process one descriptor: for the kernel they are established all the same.
fn connections(scene: &Scene, port: u16, count: usize) -> Result<(TcpListener, Vec<TcpStream>)> {
    let listener = scene.host.run(|| TcpListener::bind((HOST_V4, port)))??;
    listen(&listener, Backlog::MAXCONN)?;
    let to = (HOST_V4.parse::<IpAddr>()?, port).into();
    // A listener whose queue is full leaves a SYN without an answer.
    let connect = || (0..count).map(|_| TcpStream::connect_timeout(&to, SOON));
    let clients = scene
        .peer
        .run(|| connect().collect::<std::io::Result<_>>())??;
    Ok((listener, clients))
}

/// Half of them take less.
fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort();
    times.get(times.len() / 2).copied()
}

#[test]
fn a_block_among_ten_thousand_connections() -> Result<()> {
    require_kernel!("a_block_among_ten_thousand_connections");
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let scene = Scene::new()?;
    let many = PORTS.map(|port| connections(&scene, port, TO_EACH));
    let _many = many.into_iter().collect::<Result<Vec<_>>>()?;
    let _session = connections(&scene, 22, 1)?;

    // The guard finds the session without a look at the table of every socket in /proc.
    let interface = HOST.parse()?;
    let (look, peers) = scene.host.run(|| -> Result<_> {
        let nothing: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), "/proc", Some("tmpfs"), flags, nothing)?;
        let started = Instant::now();
        let peers = HostSnapshot::by_names([&interface]).protected_peers();
        let took = started.elapsed();
        nix::mount::umount("/proc")?;
        Ok((took, peers))
    })??;
    let sessions = peers.iter().filter(|peer| peer.role == PeerRole::Session);
    ensure!(
        sessions.count() == 1 && peers.unknown.is_empty(),
        "{peers:?}"
    );

    let daemon = scene.protect("")?;
    let client = Client::new(&daemon.socket_path())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut times = Vec::new();
    for number in 0..BLOCKS {
        let request = AddEntries {
            prefixes: vec![format!("203.0.113.{number}").parse()?],
            list: None,
            ttl: None,
            comment: None,
            force: false,
        };
        let started = Instant::now();
        let report = runtime.block_on(client.add(ListKind::Block, &request))?;
        times.push(started.elapsed());
        ensure!(report.added == 1, "{report:?}");
    }
    println!(
        "a look: {look:?}; a block over the API: {:?} in the median",
        median(times).context("no times")?
    );
    Ok(())
}
