//! A protected host of some kind, its daemon's control task, and a peer that is its gateway.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use xdp_tests::netns::Namespace;
use xdp_tests::netns::link::{End, veth_pair};
use xdp_tests::wait::{wait_for, wait_until};
use xdp_user::api::types::{AddEntries, ListKind, Status};
use xdp_user::config::Config;
use xdp_user::control::{Control, Handle, Overrides, look_at_host};
use xdp_user::datapath::Capacity;
use xdp_user::datapath::kernel::KernelDatapath;
use xdp_user::state::State;

use super::kinds::Kind;

/// The protected host's card, and the peer's.
pub(crate) const NIC: &str = "in0";
pub(crate) const PEER_NIC: &str = "out0";
pub(crate) const HOST_V4: &str = "10.88.0.1";
pub(crate) const PEER_V4: &str = "10.88.0.2";
pub(crate) const PEER_V6: &str = "fd88::2";
/// A further address of the peer's, which logs in.
pub(crate) const LOGGED_IN: &str = "10.88.0.7";

/// Where the small class's packets go.
const PORT: u16 = 7000;
const STRANGERS: u8 = 200;
const WAITED_FOR: u64 = 10;
const TIMEOUT: Duration = Duration::from_secs(20);

/// The place. Everything is gone when it is dropped.
pub(crate) struct Place {
    host: Namespace,
    peer: Namespace,
    kind: &'static Kind,
    control: Handle,
    runtime: Runtime,
    ended: tokio::sync::oneshot::Receiver<()>,
    _directory: TempDir,
}

impl Place {
    /// Makes it and starts the control task; `None` where the kernel lacks the kind.
    pub(crate) fn of(kind: &'static Kind) -> Result<Option<Self>> {
        let (host, peer) = (Namespace::new("host")?, Namespace::new("peer")?);
        veth_pair(End::new(&host, NIC), End::new(&peer, PEER_NIC), 1500)?;
        if let Err(error) = (kind.make)(&host, &peer) {
            eprintln!("{}: {error:#}", kind.test);
            return Ok(None);
        }
        for (namespace, device, addresses) in [
            (
                &host,
                kind.holder,
                ["10.88.0.1/24", "fd88::1/64"].as_slice(),
            ),
            (
                &peer,
                kind.peer,
                &["10.88.0.2/24", "fd88::2/64", "10.88.0.7/24"],
            ),
        ] {
            for address in addresses {
                namespace.add_address(device, address)?;
            }
        }
        default_routes(&host, kind.vrf)?;
        // The strangers are the peer's own addresses.
        peer.ip(&["route", "add", "local", "198.18.0.0/16", "dev", "lo"])?;

        let directory = tempfile::tempdir()?;
        let control = start(&host, kind.protects, &directory)?;
        let (control, ended) = host.run(|| control.spawn())??;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let place = Self {
            host,
            peer,
            kind,
            control,
            runtime,
            ended,
            _directory: directory,
        };
        if let Some(later) = kind.later {
            later(&place)?;
        }
        Ok(Some(place))
    }

    /// Gives the card another name, as udev does, with its addresses and routes as before.
    pub(crate) fn rename(&self, name: &str) -> Result<()> {
        self.host.ip(&["link", "set", NIC, "down"])?;
        self.host.ip(&["link", "set", NIC, "name", name])?;
        self.host.set_up(name)?;
        self.host.add_address(name, "fd88::1/64")?;
        default_routes(&self.host, None)
    }

    fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Control) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.runtime.block_on(self.control.call(work))
    }

    fn status(&self) -> Result<Status> {
        self.call(Control::status)
    }

    /// Blocks a prefix; tells why not, if it is refused.
    pub(crate) fn block(&self, prefix: &str) -> Result<Option<String>> {
        let request = AddEntries {
            prefixes: vec![prefix.parse()?],
            list: None,
            ttl: None,
            comment: None,
            force: false,
        };
        let report = self.call(|control| control.add_entries(ListKind::Block, request))?;
        Ok(report.refusals.into_iter().next().map(|one| one.why))
    }

    /// Opens a connection as a secure shell would.
    pub(crate) fn log_in(&self) -> Result<impl Drop + use<>> {
        let listener = self.host.run(|| TcpListener::bind("0.0.0.0:22"))??;
        let from: SocketAddr = format!("{LOGGED_IN}:0").parse()?;
        // std has no way to choose the address that a connection comes from.
        let client = self.peer.run(|| connect_from(from))??;
        let (server, peer) = listener.accept()?;
        ensure!(peer.ip().to_string() == LOGGED_IN, "from {peer}");
        Ok(Session(listener, client, server))
    }

    /// What the daemon says of standing aside.
    pub(crate) fn asides(&self) -> Result<Vec<String>> {
        let asides = self.status()?.mitigation.asides.into_iter();
        Ok(asides.map(|aside| aside.reason).collect())
    }

    /// Strangers over a budget are refused; who is waited for is not.
    pub(crate) fn classes_decide(&self) -> Result<()> {
        let (_, refused) = self.strangers()?;
        // The class has room for one, and for a few more while they come.
        ensure!(
            refused > u64::from(STRANGERS) / 2,
            "{}: {refused} refused",
            self.kind.test
        );
        let socket = self.host.run(|| -> std::io::Result<_> {
            let socket = UdpSocket::bind((HOST_V4, PORT))?;
            socket.connect((PEER_V4, 9000))?;
            Ok(socket)
        })??;
        socket.set_read_timeout(Some(TIMEOUT))?;
        self.peer.run(|| -> std::io::Result<()> {
            let peer = UdpSocket::bind((PEER_V4, 9000))?;
            for _ in 0..WAITED_FOR {
                peer.send_to(b"answer", (HOST_V4, PORT))?;
            }
            Ok(())
        })??;
        for answer in 0..WAITED_FOR {
            let mut buffer = [0; 16];
            let received = socket.recv(&mut buffer);
            received.with_context(|| format!("{}: answer {answer}", self.kind.test))?;
        }
        Ok(())
    }

    /// All strangers pass.
    pub(crate) fn classes_stand_aside(&self) -> Result<()> {
        let (_, refused) = self.strangers()?;
        ensure!(refused == 0, "{}: {refused} refused", self.kind.test);
        Ok(())
    }

    /// A packet from each of many strangers: how many passed and how many were refused.
    fn strangers(&self) -> Result<(u64, u64)> {
        self.reachable()?;
        let before = counts(&self.status()?);
        let sent: u64 = STRANGERS.into();
        self.peer.run(|| -> std::io::Result<()> {
            for number in 0..STRANGERS {
                let socket = UdpSocket::bind((format!("198.18.1.{number}"), 5000))?;
                socket.send_to(b"hello", (HOST_V4, PORT))?;
            }
            Ok(())
        })??;
        wait_for("every stranger's packet to be counted", TIMEOUT, || {
            let now = counts(&self.status().ok()?);
            let (passed, refused) = (now.0 - before.0, now.1 - before.1);
            (passed + refused >= sent).then_some((passed, refused))
        })
    }

    /// Waits until the wire carries packets: a bond takes a moment.
    fn reachable(&self) -> Result<()> {
        wait_until("the host to be reached", TIMEOUT, || {
            let reached = self.peer.run(|| -> std::io::Result<()> {
                let address = SocketAddr::new(HOST_V4.parse().map_err(std::io::Error::other)?, 22);
                TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop)
            });
            reached.is_ok_and(|connected| connected.is_ok())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.control.shut_down();
        // It detaches on its way out; a failure shows in what comes next.
        drop(self.runtime.block_on(&mut self.ended));
    }
}

struct Session(
    #[expect(dead_code, reason = "open as long as the session")] TcpListener,
    #[expect(dead_code, reason = "open as long as the session")] TcpStream,
    #[expect(dead_code, reason = "open as long as the session")] TcpStream,
);

impl Drop for Session {
    fn drop(&mut self) {}
}

fn connect_from(from: SocketAddr) -> Result<TcpStream> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect};
    use std::os::fd::AsRawFd as _;
    let socket = nix::sys::socket::socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let to: SocketAddr = format!("{HOST_V4}:22").parse()?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(from))?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(socket))
}

fn default_routes(host: &Namespace, vrf: Option<&str>) -> Result<()> {
    for (family, gateway) in [("-4", PEER_V4), ("-6", PEER_V6)] {
        let mut add = vec![family, "route", "add", "default", "via", gateway];
        add.extend(vrf.iter().flat_map(|vrf| ["vrf", vrf]));
        host.ip(&add)?;
    }
    Ok(())
}

fn start(host: &Namespace, protects: &str, directory: &TempDir) -> Result<Control> {
    let text = format!(
        "[[interface]]\nname = \"{protects}\"\n[capacity]\nsources = 4096\nbans = 64\n\
         allow = 64\nblock = 64\noverrides = 64\n[[class]]\nname = \"small\"\n\
         udp_ports = [\"{PORT}\"]\nbudget = \"1pps\"\nbudget_burst = \"1\"\nproof = true\n"
    );
    let config = Config::parse(&text, "test")
        .map_err(|problems| anyhow::anyhow!("{problems:?}"))?
        .config;
    let capacity = Capacity {
        allow: config.capacity.allow,
        block: config.capacity.block,
        overrides: config.capacity.overrides,
        sources: config.capacity.sources,
        bans: config.capacity.bans,
        flows: config.capacity.flows,
    };
    let state = State::open(directory.path())?;
    host.run(|| {
        let datapath = Box::new(KernelDatapath::load(capacity, 0)?);
        let overrides = Overrides::default();
        Control::start(
            datapath,
            state,
            config,
            overrides,
            String::new(),
            look_at_host,
        )
    })?
}

/// Packets that passed, and those that classes refused.
fn counts(status: &Status) -> (u64, u64) {
    let sum = |action: &str| {
        let of_action = status.reasons.iter().filter(|one| one.action == action);
        of_action.map(|one| one.packets).sum()
    };
    (sum("passed"), sum("dropped"))
}
