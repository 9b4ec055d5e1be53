//! Interfaces that stay protected whatever a start of the daemon meets: on each of them a blocked source,
//! no packet of which may come through, and honest ones, no packet of which may be missing.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::bpffs::Bpffs;
use super::flood::{LISTED, LISTS};
use super::scene::{HOST, PEER, Scene, from_v4};
use super::{Daemon, binary};
use crate::fault::Fault;
use crate::netns::link::{Attachment, End, veth_pair};
use crate::traffic::counter::Counter;
use crate::traffic::sender::{Load, Sender};
use crate::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The protected interfaces, with those of the peer.
const WIRES: [(&str, &str); 3] = [(HOST, PEER), ("host1", "peer1"), ("host2", "peer2")];
/// One that a failing start has to attach anew, and to let go of again.
pub const NEW: &str = "new0";

/// How the daemon ends before the start that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM.
    Stop,
    /// SIGKILL.
    Kill,
    /// SIGTERM, and what comes next wants maps of other sizes.
    Upgrade,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stop, Self::Kill, Self::Upgrade];
}

/// What becomes of the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It fails.
    Fails,
    /// It does what it can, and says what it can't.
    Starts,
    /// One or the other, by how the daemon ended before.
    Either,
}

/// Something that is done to the host.
pub type Step = Box<dyn Fn(&mut Standing) -> Result<()>>;

/// Something that a start meets.
pub struct Obstacle {
    /// In words.
    pub what: String,
    /// The configuration's interfaces.
    pub interfaces: String,
    /// What becomes of the start.
    pub outcome: Outcome,
    /// Puts it in the way, while no daemon runs.
    pub make: Step,
    /// Takes it away again.
    pub undo: Step,
    /// Comes after the next good start.
    pub settle: Step,
    /// How the next good start begins, if not as usual after such an end.
    pub next: Option<&'static str>,
}

impl Obstacle {
    /// One that makes the start fail by its configuration alone.
    pub fn new(what: impl Into<String>, interfaces: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            interfaces: interfaces.into(),
            outcome: Outcome::Fails,
            make: Box::new(|_| Ok(())),
            undo: Box::new(|_| Ok(())),
            settle: Box::new(|_| Ok(())),
            next: None,
        }
    }

    /// The same with something in the way.
    #[must_use]
    pub fn with(
        self,
        make: impl Fn(&mut Standing) -> Result<()> + 'static,
        undo: impl Fn(&mut Standing) -> Result<()> + 'static,
    ) -> Self {
        Self {
            make: Box::new(make),
            undo: Box::new(undo),
            ..self
        }
    }

    /// One that refuses system calls of the daemon.
    #[must_use]
    pub fn fault(self, fault: Fault) -> Self {
        let make = move |standing: &mut Standing| {
            standing.daemon.meet(Some(fault.clone()));
            Ok(())
        };
        self.with(make, |standing| {
            standing.daemon.meet(None);
            Ok(())
        })
    }

    /// The same with another outcome.
    #[must_use]
    pub fn outcome(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }
}

/// Traffic on one protected interface.
struct Stream {
    /// What the interface is called now.
    name: String,
    blocked: Sender,
    honest: Sender,
    /// Blocked packets that came through.
    through: Arc<AtomicU64>,
    /// Honest packets that came.
    arrived: Counter,
}

impl Stream {
    fn start(scene: &Scene, host: &str, peer: &str) -> Result<Self> {
        let listed: [u8; 4] = LISTED.parse::<std::net::Ipv4Addr>()?.octets();
        let through = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&through);
        let arrived = Counter::start(&scene.host, host, move |frame| {
            let source = frame.get(26..30);
            if source == Some(&listed) {
                seen.fetch_add(1, Ordering::Relaxed);
            }
            source.is_some_and(|source| source.starts_with(&[192, 0, 2]))
        })?;
        let send = |sources: &[String], rate| {
            let frames = sources.iter().map(|one| from_v4(one).udp(1, 2).build());
            let load = Load {
                rate,
                count: u64::MAX,
                duration: Duration::from_secs(900),
                ..Load::once(frames.collect::<Vec<_>>())
            };
            Sender::start(&scene.peer, peer, load)
        };
        let honest: Vec<String> = (1..=16).map(|host| format!("192.0.2.{host}")).collect();
        Ok(Self {
            name: host.to_owned(),
            blocked: send(&[LISTED.to_owned()], 1_000)?,
            honest: send(&honest, 200)?,
            through,
            arrived,
        })
    }

    /// Waits until more was sent, so that whatever has happened meets packets.
    fn goes_on(&self) -> Result<()> {
        let so_far = || (self.blocked.sent_so_far(), self.honest.sent_so_far());
        let before = so_far();
        wait_until("more of the traffic", TIMEOUT, || {
            let now = so_far();
            now.0 > before.0 + 50 && now.1 > before.1 + 5
        })
    }

    fn finish(self) -> Result<()> {
        let (blocked, honest) = (self.blocked.stop()?, self.honest.stop()?);
        let all_came = self.arrived.wait_for(honest.frames, TIMEOUT);
        let arrived = self.arrived.stop()?;
        let through = self.through.load(Ordering::Relaxed);
        println!(
            "{}: {} blocked sent, {through} through; {} honest sent, {} came",
            self.name, blocked.frames, honest.frames, arrived.matched
        );
        ensure!(arrived.lost == 0, "the counter lost {}", arrived.lost);
        ensure!(through == 0, "{through} through on {}", self.name);
        all_came.with_context(|| format!("honest packets are missing on {}", self.name))?;
        ensure!(
            arrived.matched == honest.frames,
            "{} honest packets sent on {}, {} came",
            honest.frames,
            self.name,
            arrived.matched
        );
        Ok(())
    }
}

/// A host with three protected interfaces under traffic.
pub struct Standing {
    /// Where it is.
    pub scene: Scene,
    /// Where its pins are.
    pub bpffs: Bpffs,
    /// The daemon, running between obstacles.
    pub daemon: Daemon,
    /// What an obstacle keeps until it is taken away.
    pub kept: Option<Box<dyn Any>>,
    /// Further interfaces of the good configuration.
    others: String,
    streams: Vec<Stream>,
    /// Size of a table, which an upgrade changes.
    sources: u32,
}

impl Standing {
    /// Begins; `prepare` comes before the daemon's first start, `others` are further sections of
    /// interfaces that it protects.
    ///
    /// # Errors
    /// When the host can't be made, or the daemon doesn't start.
    pub fn start(
        others: &str,
        prepare: impl FnOnce(&Scene, &Daemon) -> Result<()>,
    ) -> Result<Self> {
        let scene = Scene::new()?;
        let bpffs = Bpffs::mount(&scene.host)?;
        let further = WIRES.iter().filter(|(host, _)| *host != HOST);
        for (host, peer) in further.copied().chain([(NEW, "newp0")]) {
            let ends = (End::new(&scene.host, host), End::new(&scene.peer, peer));
            veth_pair(ends.0, ends.1, 1500)?;
        }
        let daemon = Daemon::prepare(&scene.host, &binary()?, "")?;
        prepare(&scene, &daemon)?;
        let mut standing = Self {
            scene,
            bpffs,
            daemon,
            kept: None,
            others: others.to_owned(),
            streams: Vec::new(),
            sources: 4096,
        };
        standing.daemon.write_config(&standing.good())?;
        standing.daemon.restart()?;
        for (host, peer) in WIRES {
            let stream = Stream::start(&standing.scene, host, peer)?;
            standing.streams.push(stream);
        }
        Ok(standing)
    }

    fn good(&self) -> String {
        format!("{}{}{}", usual(), self.others, self.rest())
    }

    fn rest(&self) -> String {
        format!(
            "{LISTS}[capacity]\nsources = {}\n{}",
            self.sources,
            self.bpffs.section()
        )
    }

    fn goes_on(&self) -> Result<()> {
        self.streams.iter().try_for_each(Stream::goes_on)
    }

    /// Gives a protected interface another name, by its number.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn rename(&mut self, number: usize, name: &str) -> Result<()> {
        let stream = self.streams.get_mut(number).context("no such interface")?;
        let ip = ["link", "set", &stream.name, "name", name];
        self.scene.host.ip(&ip)?;
        name.clone_into(&mut stream.name);
        Ok(())
    }

    /// Ends the daemon, has a start meet the obstacle, and starts well again.
    ///
    /// # Errors
    /// When something that was in force was taken away, or what was not came to be.
    pub fn meets(&mut self, ending: Ending, obstacle: &Obstacle) -> Result<()> {
        let what = format!("{ending:?}, {}", obstacle.what);
        self.meets_it(ending, obstacle)
            .with_context(|| format!("{what}; the daemon's log:\n{}", self.daemon.log()))
    }

    fn meets_it(&mut self, ending: Ending, obstacle: &Obstacle) -> Result<()> {
        self.goes_on()?;
        match ending {
            Ending::Kill => self.daemon.kill9()?,
            Ending::Stop | Ending::Upgrade => {
                ensure!(self.daemon.terminate()?.success(), "ended badly");
            }
        }
        if ending == Ending::Upgrade {
            self.sources = if self.sources == 4096 { 8192 } else { 4096 };
        }
        let interfaces = &obstacle.interfaces;
        let config = format!("{interfaces}{}", self.rest());
        self.daemon.write_config(&config)?;
        (obstacle.make)(self)?;
        let started = self.daemon.restart();
        match (obstacle.outcome, &started) {
            (Outcome::Fails, Ok(())) => anyhow::bail!("it started"),
            (Outcome::Starts, Err(error)) => anyhow::bail!("it did not start: {error:#}"),
            (Outcome::Fails, Err(_)) | (Outcome::Starts, Ok(())) | (Outcome::Either, _) => {}
        }
        self.goes_on()?;
        self.is_protected()?;
        match started {
            Ok(()) => ensure!(self.daemon.terminate()?.success(), "ended badly"),
            Err(_) => self.is_not_attached(NEW)?,
        }
        self.is_protected()?;
        (obstacle.undo)(self)?;
        self.daemon.write_config(&self.good())?;
        self.daemon.restart()?;
        let start = self.daemon.status()?.pins.start;
        let wanted = match (obstacle.outcome, obstacle.next, ending) {
            (_, Some(next), _) => vec![next],
            (Outcome::Fails, None, Ending::Upgrade) => vec!["refilled"],
            (Outcome::Fails, None, Ending::Stop | Ending::Kill) => vec!["took_over"],
            (Outcome::Starts | Outcome::Either, None, _) => vec!["took_over", "refilled"],
        };
        ensure!(wanted.contains(&start.as_str()), "the next start {start}");
        self.is_protected()?;
        self.is_not_attached(NEW)?;
        (obstacle.settle)(self)
    }

    fn is_protected(&self) -> Result<()> {
        for stream in &self.streams {
            let attached = self.scene.host.xdp_attachment(&stream.name)?;
            ensure!(
                attached == Attachment::Native,
                "{} is {attached:?}",
                stream.name
            );
        }
        Ok(())
    }

    fn is_not_attached(&self, name: &str) -> Result<()> {
        let attached = self.scene.host.xdp_attachment(name)?;
        ensure!(attached == Attachment::None, "{name} is {attached:?}");
        Ok(())
    }

    /// Ends the traffic.
    ///
    /// # Errors
    /// When a blocked packet came through, or an honest one didn't.
    pub fn finish(self) -> Result<()> {
        self.streams.into_iter().try_for_each(Stream::finish)
    }
}

/// Sections of interfaces, of which those that aren't usual may have further keys.
#[must_use]
pub fn sections(names: &[&str], keys: &str) -> String {
    let usual = |name: &str| name == NEW || WIRES.iter().any(|(host, _)| *host == name);
    let section = |name: &&str| match usual(name) {
        true => format!("[[interface]]\nname = \"{name}\"\n"),
        false => format!("[[interface]]\nname = \"{name}\"\n{keys}"),
    };
    names.iter().map(section).collect()
}

/// Sections of the protected interfaces.
#[must_use]
pub fn usual() -> String {
    sections(&WIRES.map(|(host, _)| host), "")
}

/// The protected interfaces with one more at this place: 0 first, 1 in the middle, 2 last; and one that the
/// start attaches anew before it.
#[must_use]
pub fn with_one_more(place: usize, name: &str, keys: &str) -> String {
    let mut names = vec![NEW];
    names.extend(WIRES.iter().map(|(host, _)| *host));
    // After the new one wherever it can be: the failed start has attached that by then.
    names.insert([0, 2, 4][place], name);
    sections(&names, keys)
}
