//! `xdp-throttle top` at a host under an attack of several kinds at once: connection requests of
//! sources that never come back, floods of a few stubborn ones, a blocklisted network that tries, and
//! one honest client.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use xdp_user::cli::top::Picture;

use super::screen::svg;
use crate::daemon::Daemon;
use crate::daemon::scene::{HOST_V4, PEER, Scene, from_v4};
use crate::packet::Flags;
use crate::traffic::client::{Client, Schedule};
use crate::traffic::exchange;
use crate::traffic::sender::{Load, Sender};
use crate::traffic::server::{Server, Service};

const PORT: u16 = 80;
/// Those that never come back, within 40 seconds: all of the range for benches (RFC 2544, C.2.2).
const STRANGERS: u32 = 131_072;
const CONFIG: &str = "\
[limits]\npackets = \"500pps\"\ntcp_new = \"100cps\"\n\
[ban]\nduration = \"10m\"\n\
[block]\nprefixes = [\"192.0.2.0/24\"]\n";

/// Of the terminal.
const COLUMNS: u16 = 100;
const ROWS: u16 = 30;
/// Looks at the daemon, one a second.
const QUIET: usize = 15;
const ATTACKED: usize = 30;

/// The view with curves that are calm first, then of the attack, as SVG.
pub(super) fn draw() -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut scene = UnderAttack::prepare()?;
        let mut picture = Picture::new(&scene.daemon.socket_path(), Duration::from_secs(1))?;
        picture.look(QUIET).await?;
        scene.attack()?;
        picture.look(ATTACKED).await?;
        let screen = picture.draw(COLUMNS, ROWS)?;
        Ok(svg(
            &screen,
            "xdp-throttle top while a host is under attack",
        ))
    })
}

/// The attack, which goes on until it is dropped. In this order: traffic first, then who answers
/// it, then the ground.
struct UnderAttack {
    senders: Vec<Sender>,
    _client: Client,
    _server: Server,
    daemon: Daemon,
    scene: Scene,
}

impl UnderAttack {
    /// The host and its client, with no attack yet.
    fn prepare() -> Result<Self> {
        let scene = Scene::new()?;
        // Cookies from the first packet over the budget on: those that never come back can't fill
        // the queue of half-open connections here, for no way leads to them.
        scene.host.sysctl("net/ipv4/tcp_syncookies", "2")?;
        let service = SocketAddr::new(HOST_V4.parse()?, PORT);
        let server = Server::start(&scene.host, service, None, Service::Page)?;
        let daemon = scene.protect(CONFIG)?;
        let schedule = Schedule {
            rate: 60,
            timeout: Duration::from_secs(5),
            cpu: None,
        };
        let address = server.address();
        let client = Client::start(&scene.peer, schedule, move |_| {
            exchange::page(address, None)
        })?;
        Ok(Self {
            senders: Vec::new(),
            _client: client,
            _server: server,
            daemon,
            scene,
        })
    }

    fn attack(&mut self) -> Result<()> {
        for load in attacks() {
            let sender = Sender::start(&self.scene.peer, PEER, load)?;
            self.senders.push(sender);
        }
        Ok(())
    }
}

fn attacks() -> Vec<Load> {
    let strangers = (0..STRANGERS).map(|number| {
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
        let port = 1024 + (number % 60_000) as u16;
        syn(&source.to_string(), port)
    });
    let floods = [
        ("203.0.113.9", 900),
        ("203.0.113.77", 650),
        ("203.0.113.140", 2200),
    ];
    let listed = from_v4("192.0.2.66").udp(53, 53).build();
    let mut loads = vec![
        over_and_over(strangers.collect(), 3000),
        over_and_over(vec![listed], 700),
    ];
    for (source, rate) in floods {
        loads.push(over_and_over(vec![syn(source, 4000)], rate));
    }
    loads
}

fn over_and_over(frames: Vec<Vec<u8>>, rate: u64) -> Load {
    Load {
        rate,
        count: u64::MAX,
        duration: Duration::from_secs(3600),
        ..Load::once(frames)
    }
}

fn syn(source: &str, port: u16) -> Vec<u8> {
    from_v4(source)
        .tcp(port, PORT, Flags::SYN)
        .padded_to(60)
        .build()
}
