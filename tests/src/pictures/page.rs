//! The status page of a daemon under an attack.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::browser::Browser;
use crate::daemon::scene::{HOST_V4, PEER, PEER_V4, Scene, from_v4, protecting};
use crate::daemon::{Daemon, binary};
use crate::packet::Flags;
use crate::traffic::sender::{Load, Sender};

/// The class that the attack is in.
pub const ATTACKED: &str = "tcp-new";
/// Who sends far over the limit of a source.
pub const FLOODER: &str = "198.51.100.77";
/// Who is on the blocklist.
pub const BLOCKED: &str = "203.0.113.66";

const CONFIG: &str = r#"
[limits]
packets = "500pps"
packets_burst = 500

[ban]
strikes = 3
strike_interval = "1s"
duration = "10m"

[block]
prefixes = ["203.0.113.0/24"]
"#;

const SERVICE_PORT: u16 = 443;
/// Sources of the attack: each comes again after eight seconds.
const SOURCES: u32 = 50_000;
const ATTACK_RATE: u64 = 6_000;

/// A protected host whose daemon serves the page.
#[derive(Debug)]
pub struct Shown {
    /// The host and whoever sends to it.
    pub scene: Scene,
    /// The daemon.
    pub daemon: Daemon,
    /// What the attack is on: without it, nobody would wait for the requests.
    _service: TcpListener,
}

impl Shown {
    /// Starts the daemon; `page` is what `[metrics]` says of the page, `more` goes before it.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn start(page: &str, more: &str) -> Result<Self> {
        let scene = Scene::new()?;
        // A SYN from where no route leads back would fill no queue, and cookies begin with a full one.
        let back = ["route", "add", "default", "via", PEER_V4];
        scene.host.ip(&back)?;
        let service = scene
            .host
            .run(|| TcpListener::bind((HOST_V4, SERVICE_PORT)))?
            .context("no service to attack")?;
        let config = protecting(&format!("{CONFIG}{more}"));
        let mut daemon = Daemon::prepare(&scene.host, &binary()?, &config)?;
        // The last section is that of the metrics.
        let whole = daemon.whole_config(&config);
        fs::write(daemon.config_path(), format!("{whole}page = \"{page}\"\n"))?;
        daemon.restart()?;
        Ok(Self {
            scene,
            daemon,
            _service: service,
        })
    }

    /// The page's address, as seen from the host.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.daemon.metrics_address())
    }

    /// An honest client, a blocked source and one that floods, all over UDP.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn traffic(&self) -> Result<Vec<Sender>> {
        let sources = [("192.0.2.10", 80), (BLOCKED, 300), (FLOODER, 1_500)];
        let start = |(source, rate)| {
            let frame = from_v4(source).udp(40_000, 9).padded_to(200);
            self.send(vec![frame.build()], rate)
        };
        sources.into_iter().map(start).collect()
    }

    /// Connection requests from sources that hardly ever come again.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn attack(&self) -> Result<Sender> {
        let frames = (0..SOURCES).map(|number| {
            // In no order that a table could profit from: the factor is odd.
            let scattered = number.wrapping_mul(0x9e37_79b1) >> 6;
            let source = Ipv4Addr::from_bits(0x1000_0000 | scattered).to_string();
            from_v4(&source)
                .tcp(20_000, SERVICE_PORT, Flags::SYN)
                .padded_to(60)
        });
        self.send(frames.map(|frame| frame.build()).collect(), ATTACK_RATE)
    }

    fn send(&self, frames: Vec<Vec<u8>>, rate: u64) -> Result<Sender> {
        let load = Load {
            rate,
            count: u64::MAX,
            duration: Duration::from_secs(600),
            ..Load::once(frames)
        };
        Sender::start(&self.scene.peer, PEER, load)
            .with_context(|| format!("nothing goes to {HOST_V4}"))
    }
}

/// Until the page shows what it is waited for, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The page with a curve that is calm first, then of an attack.
pub(super) fn draw() -> Result<Vec<u8>> {
    let shown = Shown::start("sources", "")?;
    let mut browser = Browser::start(&shown.scene.host)?;
    browser.resize(1000, 1420)?;
    browser.open(&shown.url())?;
    let honest = shown.traffic()?;
    browser.wait_until(&has_points(12), PATIENCE)?;
    let attack = shown.attack()?;
    browser.wait_until(&has_points(32), PATIENCE)?;
    browser.wait_until("document.title.startsWith('● attack')", PATIENCE)?;
    let picture = browser.picture()?;
    attack.stop()?;
    for sender in honest {
        sender.stop()?;
    }
    Ok(picture)
}

/// Whether the curve of all packets has so many values, as a script's expression.
fn has_points(least: usize) -> String {
    let points = "document.querySelector('#now-packets polyline')?.getAttribute('points')";
    format!("({points} ?? '').split(' ').length >= {least}")
}
