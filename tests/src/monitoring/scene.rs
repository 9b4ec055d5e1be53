//! A protected host under every kind of traffic that the dashboards tell apart, scraped by a real
//! Prometheus with our rules.
//!
//! Quiet first, then an attack: connection requests from ever new sources, sources that flood a port
//! and are banned until the table of bans is full, a blocked source, a forged one. The host's own
//! service reads too slowly, its IPv6 forwards, a reload works and another is refused, and a list
//! loses its entries.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::daemon::Daemon;
use crate::netns::Namespace;
use crate::netns::link::{End, Mac, veth_pair};
use crate::packet::{Flags, Packet};
use crate::prometheus::{Prometheus, RuleFile};
use crate::traffic::sender::{Load, Sender};
use crate::wait::wait_for;

/// For a figure to show up: several scrapes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The protected interface.
pub const INTERFACE: &str = "in0";
/// The list that loses its entries.
pub const FEED: &str = "feed";

const HOST: &str = "198.51.100.1";
const HOST_MAC: Mac = [2, 0, 0, 0x79, 0, 1];
const WORLD_MAC: Mac = [2, 0, 0, 0x79, 0, 2];
/// A service that nobody reads from, in a class without a budget.
const SERVICE: u16 = 7777;
/// No sender goes on for longer, whatever becomes of its owner.
const LONGEST: Duration = Duration::from_secs(600);

/// A source has a limit that the flooding ones break at once, and a ban soon after; the table holds
/// fewer bans than sources that flood.
const CONFIG: &str = r#"
observe_reasons = ["land"]

[[interface]]
name = "in0"

[limits]
packets = "200pps"
packets_burst = 200

[ban]
strikes = 3
strike_interval = "500ms"
duration = "10m"

[capacity]
bans = 16

[block]
prefixes = ["203.0.113.66"]

[allow]
prefixes = ["192.0.2.77"]

[[class]]
name = "game"
udp_ports = [7777]
budget = "off"
"#;

/// Dropped in this order: traffic first, then who looks at it, then the ground.
#[derive(Debug)]
pub struct Scene {
    attack: Vec<Sender>,
    honest: Vec<Sender>,
    _services: (UdpSocket, TcpListener),
    /// Sees every counter grow from 0.
    pub prometheus: Prometheus,
    /// Protects the host.
    pub daemon: Daemon,
    _lists: tempfile::TempDir,
    world: Namespace,
    _host: Namespace,
}

impl Scene {
    /// A quiet host: one honest source, one that is allowed.
    ///
    /// # Errors
    /// When anything of it can't be made or started.
    pub fn start(rules: &[RuleFile]) -> Result<Self> {
        let host = Namespace::new("host")?;
        let world = Namespace::new("world")?;
        veth_pair(
            End::new(&world, "out0").mac(WORLD_MAC),
            End::new(&host, INTERFACE).mac(HOST_MAC),
            1500,
        )?;
        open_up(&host)?;
        let services = host
            .run(|| {
                Ok((
                    UdpSocket::bind((HOST, SERVICE))?,
                    TcpListener::bind((HOST, 80))?,
                ))
            })?
            .map_err(|error: std::io::Error| error)
            .context("cannot open the host's services")?;
        let lists = tempfile::tempdir()?;
        let list = lists.path().join("list.txt");
        std::fs::write(&list, "203.0.113.129\n203.0.113.131\n")?;
        let kept = format!("\n[[list]]\nname = \"kept\"\nsource = {list:?}\n");
        let daemon = Daemon::start(&host, &format!("{CONFIG}{kept}"))?;
        let prometheus = Prometheus::start_with(&host, daemon.metrics_address(), rules)?;
        let honest = [("192.0.2.10", 50), ("192.0.2.77", 100)]
            .into_iter()
            .map(|(source, rate)| send(&world, vec![datagram(source)], rate))
            .collect::<Result<_>>()?;
        let scene = Self {
            attack: Vec::new(),
            honest,
            _services: services,
            prometheus,
            daemon,
            world,
            _host: host,
            _lists: lists,
        };
        scene.import(250)?;
        Ok(scene)
    }

    /// Begins the attack.
    ///
    /// # Errors
    /// When a sender can't be started.
    pub fn attack(&mut self) -> Result<()> {
        let flooding: Vec<Vec<u8>> = (1..=24)
            .map(|last| datagram(&format!("198.51.100.{}", 100 + last)))
            .collect();
        let flooding_rate = 300 * flooding.len() as u64;
        for (frames, rate) in [
            (requests(), 6_000),
            (flooding, flooding_rate),
            (vec![datagram("203.0.113.66")], 100),
            (vec![datagram(HOST)], 20),
        ] {
            self.attack.push(send(&self.world, frames, rate)?);
        }
        Ok(())
    }

    /// Ends the attack.
    pub fn calm(&mut self) {
        self.attack.clear();
    }

    /// Whether honest sources go on sending.
    #[must_use]
    pub fn honest_go_on(&self) -> bool {
        !self.honest.iter().any(Sender::is_finished)
    }

    /// Reloads the configuration as it is, then one with a mistake.
    ///
    /// # Errors
    /// When Prometheus doesn't see both.
    pub fn reload_well_and_badly(&self) -> Result<()> {
        self.daemon.signal(Signal::SIGHUP)?;
        self.until(r#"xdp_throttle_reloads_total{result="ok"} >= 1"#)?;
        self.daemon.write_config("[limits]\npackets = \"many\"\n")?;
        self.daemon.signal(Signal::SIGHUP)?;
        self.until(r#"xdp_throttle_reloads_total{result="refused"} >= 1"#)
    }

    /// Gives the feed so many entries in the place of those that it has.
    ///
    /// # Errors
    /// When they are refused.
    pub fn import(&self, entries: u8) -> Result<()> {
        let lines: String = (1..=entries)
            .map(|last| format!("198.18.7.{last}\n"))
            .collect();
        let path = self.daemon.directory().join("feed.txt");
        fs::write(&path, lines).context("cannot write the feed")?;
        let path = path.to_string_lossy();
        self.daemon
            // Forced: it shrinks and grows at will.
            .cli_text(&[
                "block",
                "import",
                &path,
                "--list",
                FEED,
                "--replace",
                "--force",
            ])?;
        Ok(())
    }

    /// Waits until a query returns something.
    ///
    /// # Errors
    /// When it doesn't in time, or is refused.
    pub fn until(&self, condition: &str) -> Result<()> {
        let mut refused = None;
        wait_for(condition, PATIENCE, || {
            match self.prometheus.query(condition) {
                Ok(series) => (!series.is_empty()).then_some(()),
                Err(error) => {
                    refused = Some(error);
                    Some(())
                }
            }
        })?;
        refused.map_or(Ok(()), Err)
    }
}

/// The host answers to everywhere, sends SYN cookies of its own, and forwards IPv6.
fn open_up(host: &Namespace) -> Result<()> {
    for which in ["all", "default", INTERFACE] {
        host.sysctl(&format!("net/ipv4/conf/{which}/rp_filter"), "0")?;
    }
    host.sysctl("net/ipv4/ip_forward", "0")?;
    host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    host.sysctl("net/ipv4/tcp_syncookies", "2")?;
    host.add_address(INTERFACE, &format!("{HOST}/32"))?;
    let gateway = "192.0.2.1";
    host.add_neighbour(INTERFACE, gateway.parse()?, WORLD_MAC)?;
    host.ip(&[
        "route", "add", "default", "via", gateway, "dev", INTERFACE, "onlink",
    ])?;
    Ok(())
}

fn send(world: &Namespace, frames: Vec<Vec<u8>>, rate: u64) -> Result<Sender> {
    let load = Load {
        rate,
        count: u64::MAX,
        duration: LONGEST,
        ..Load::once(frames)
    };
    Sender::start(world, "out0", load)
}

fn datagram(source: &str) -> Vec<u8> {
    Packet::v4(source, HOST)
        .ethernet(WORLD_MAC, HOST_MAC)
        .udp(40_000, SERVICE)
        .padded_to(200)
        .build()
}

/// Connection requests, each from another source.
fn requests() -> Vec<Vec<u8>> {
    (0..20_000_u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            Packet::v4(&*format!("100.64.{high}.{low}"), HOST)
                .ethernet(WORLD_MAC, HOST_MAC)
                .tcp(1024 + number, 80, Flags::SYN)
                .padded_to(60)
                .build()
        })
        .collect()
}
