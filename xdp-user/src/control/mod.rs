//! One task owns the datapath and the state, and is their only writer.
//!
//! Callers send it closures through a [`Handle`]; it answers them one after the other. Once a second it
//! sweeps what has ended, and several times a second it looks at what service classes counted. Desired state is the configuration, the entries and the limits;
//! what the kernel holds follows from it, so a restart is the same work as a change.

mod audit;
mod bans;
mod classes;
pub mod clock;
mod confirm;
pub mod entries;
mod explain;
mod feeds;
mod flow_memory;
mod interfaces;
mod limits;
mod links;
mod lists;
pub mod names;
mod peers;
pub mod policy;
mod reload;
mod samples;
mod sources;
mod status;
mod surroundings;
#[cfg(test)]
mod tests;
pub mod ticks;
mod tokens;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use tokio::sync::oneshot;
use xdp_common::abi::MAX_INTERFACES;

use crate::api::types::{DetachCause, Happening, InterfaceDetached};
use crate::api::types::{LimitFields, ListKind};
use crate::config::{Config, OnExit};
use crate::datapath::{Continuity, Datapath};
use crate::domain::{AttachMode, IfName, ListName, Prefix};
use crate::events::Journal;
use crate::state::State;
use crate::tokens::Tokens;
pub use classes::Aside;
use classes::Classes;
pub use classes::alone::{Escalated, Escalations};
use clock::Moment;
use entries::Entries;
use interfaces::Interface;
pub use lists::export::Snapshot;
pub use lists::guard::ImportRefused;
pub use lists::import::ImportText;
pub use lists::test::MAX_TESTED;
use names::ListNames;
pub use samples::Capture;
pub use surroundings::{Lifelines, Look, Seen, look_at_host};

/// Commands that may wait; more are refused with an error, so that memory stays bounded.
const QUEUE: usize = 256;
const TICK: Duration = Duration::from_secs(1);
/// How often classes are looked at: a flood is noticed within this, and it costs two system calls for
/// each class.
pub const LOOK: Duration = Duration::from_millis(250);

/// What was given on the command line and outranks the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Interfaces in place of the file's.
    pub interfaces: Vec<IfName>,
    /// How to attach, in place of the file's choice.
    pub attach: Option<AttachMode>,
    /// Drop nothing, whatever the file says.
    pub observe: bool,
}

/// History of the configuration.
#[derive(Debug)]
struct Reloads {
    path: String,
    loaded: Timestamp,
    done: u64,
    refused: u64,
    last_error: Option<String>,
}

/// Everything that the task owns.
pub struct Control {
    datapath: Box<dyn Datapath>,
    state: State,
    config: Config,
    overrides: Overrides,
    reloads: Reloads,
    /// What comes back unless the configuration in force is confirmed.
    pending: Option<confirm::Pending>,
    started: Timestamp,
    names: ListNames,
    allow: Entries,
    block: Entries,
    /// Lists that keep themselves.
    feeds: BTreeMap<ListName, feeds::Feed>,
    /// Entries that the kernel should hold and did not take; each tick tries again.
    unsettled: Vec<(ListKind, Prefix)>,
    /// Not before: a long try is followed by a longer pause.
    retry_at: Instant,
    runtime_limits: BTreeMap<Option<Prefix>, LimitFields>,
    stored_limits: BTreeMap<Prefix, crate::config::Limits>,
    interfaces: Vec<Interface>,
    /// What is protected and what is waited for, in a line.
    protection: tokio::sync::watch::Sender<String>,
    classes: Classes,
    flow_memory: flow_memory::FlowMemory,
    look: Look,
    surroundings: policy::Surroundings,
    lifelines: surroundings::Lifelines,
    last_look: peers::LastLook,
    generation: u64,
    /// The clock that the program may read.
    clock: policy::CoarseClock,
    host: crate::host::figures::Reader,
    journal: Arc<Journal>,
    tokens: Arc<Tokens>,
    captures: Vec<samples::Running>,
    /// Bans that end by then have been told of, kernel's time.
    bans_told_ns: u64,
    warnings: Vec<String>,
    last_complaint: String,
}

type Command = Box<dyn FnOnce(&mut Control) + Send>;

enum Message {
    Command(Command),
    Shutdown,
}

/// Why the task took no work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many commands wait.
    #[error("the daemon is busy: try again in a moment")]
    Busy,
    /// The task has ended or is about to.
    #[error("the daemon is shutting down")]
    Stopping,
}

/// Sends work to the task.
#[derive(Clone)]
pub struct Handle {
    sender: SyncSender<Message>,
    journal: Arc<Journal>,
    tokens: Arc<Tokens>,
}

impl Handle {
    /// What happened: read without the task.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Tokens of the API: read without the task, so that wrong ones cost it nothing.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Runs `command` in the task and waits for its answer.
    pub async fn call<R: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Control) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (answer, answered) = oneshot::channel();
        let work: Command = Box::new(move |control| {
            // A caller that has gone away no longer wants the answer; the work is done all the same.
            drop(answer.send(command(control)));
        });
        match self.sender.try_send(Message::Command(work)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(Unavailable::Busy.into());
            }
            Err(TrySendError::Disconnected(_)) => {
                return Err(Unavailable::Stopping.into());
            }
        }
        answered.await.map_err(|_ended| Unavailable::Stopping)?
    }

    /// Asks the task to end; it detaches every interface on its way out. Waits while the queue is
    /// full: the task empties it, and a request that is lost would leave it running.
    pub fn shut_down(&self) {
        if self.sender.send(Message::Shutdown).is_err() {
            tracing::debug!("the control task has ended already");
        }
    }
}

impl Control {
    /// Restores what was on disk, finds and attaches the interfaces, and puts all of it in force at the
    /// end. A start that fails before that leaves everything as an earlier daemon left it.
    pub fn start(
        datapath: Box<dyn Datapath>,
        state: State,
        config: Config,
        overrides: Overrides,
        path: String,
        look: Look,
    ) -> Result<Self> {
        let now = Timestamp::now();
        let journal = Arc::new(Journal::open(&config.events.outlets)?);
        let tokens = Tokens::default();
        tokens.replace(state.tokens()?);
        let mut control = Self {
            datapath,
            state,
            config,
            overrides,
            reloads: Reloads {
                path,
                loaded: now,
                done: 0,
                refused: 0,
                last_error: None,
            },
            pending: None,
            started: now,
            names: ListNames::default(),
            allow: Entries::default(),
            block: Entries::default(),
            feeds: BTreeMap::new(),
            unsettled: Vec::new(),
            retry_at: Instant::now(),
            runtime_limits: BTreeMap::new(),
            stored_limits: BTreeMap::new(),
            interfaces: Vec::new(),
            protection: tokio::sync::watch::Sender::default(),
            classes: Classes::new(Self::now()),
            flow_memory: flow_memory::FlowMemory::default(),
            look,
            surroundings: policy::Surroundings::default(),
            lifelines: surroundings::Lifelines::Nobodys,
            last_look: peers::LastLook::default(),
            generation: 0,
            clock: ticks::measure(),
            host: crate::host::figures::Reader::default(),
            journal,
            tokens: Arc::new(tokens),
            captures: Vec::new(),
            bans_told_ns: Self::now().boot_ns,
            warnings: Vec::new(),
            last_complaint: String::new(),
        };
        control.name_interfaces()?;
        control.restore_entries()?;
        control.restore_feeds();
        control.restore_limits()?;
        control.restore_bans()?;
        control.restore_class_states()?;
        control.store_classes()?;
        control.look_around()?;
        control.publish_policy()?;
        control.attach_configured()?;
        control.go_on_with_flow_memory();
        control.publish_policy()?;
        // An earlier daemon's lists and policy were in force until here, if it left any.
        let limited: Vec<Prefix> = control.stored_limits.keys().copied().collect();
        let told = control.datapath.go_live(&limited)?;
        control.warnings.extend(told);
        control.look_at_egress(Self::now())?;
        control.note_start();
        control.forget_others();
        Ok(control)
    }

    /// Starts the task. It ends at [`Handle::shut_down`] or when every handle is gone; the second
    /// value then tells.
    pub fn spawn(self) -> Result<(Handle, oneshot::Receiver<()>)> {
        let (sender, receiver) = sync_channel(QUEUE);
        let (journal, tokens) = (self.journal.clone(), self.tokens.clone());
        let (ended, has_ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                self.serve(&receiver);
                if ended.send(()).is_err() {
                    tracing::debug!("nobody waits: the daemon failed on its way up");
                }
            })
            .context("could not start the control task")?;
        let handle = Handle {
            sender,
            journal,
            tokens,
        };
        Ok((handle, has_ended))
    }

    fn serve(mut self, receiver: &Receiver<Message>) {
        let mut next_tick = Instant::now() + TICK;
        let mut next_look = Instant::now() + LOOK;
        let mut links = links::Changes::listen();
        loop {
            let next = next_tick.min(next_look);
            match receiver.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Message::Command(command)) => command(&mut self),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Shutdown) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= next_look {
                if let Err(error) = self.look_at_classes(Self::now()) {
                    self.complain(format!("{error:#}"));
                }
                self.look_for_interfaces(links.seen());
                next_look = Instant::now() + LOOK;
            }
            if Instant::now() >= next_tick {
                self.tick();
                next_tick = Instant::now() + TICK;
            }
        }
        self.stop();
    }

    /// What has ended goes; what the kernel refused is tried again, and so are interfaces.
    fn tick(&mut self) {
        self.state.try_again();
        for done in [
            self.watch_confirmation(),
            self.watch_clock(),
            self.datapath.tend().map_err(anyhow::Error::from),
            self.watch_interfaces(),
            self.look_at_egress(Self::now()),
            self.look_around(),
            self.sweep_entries(),
            self.sweep_bans(),
            self.sweep_captures(),
            self.retry_unsettled(),
        ] {
            if let Err(error) = done {
                self.complain(format!("{error:#}"));
            }
        }
    }

    /// The program's clock of ticks knows of a suspend by the policy only.
    fn watch_clock(&mut self) -> Result<()> {
        if !ticks::is_right(&self.clock) {
            self.clock = ticks::measure();
            self.publish_policy()?;
        }
        Ok(())
    }

    /// The limits by prefix that the kernel holds.
    fn stored_overrides(&self) -> Vec<xdp_common::abi::Limits> {
        self.stored_limits.values().map(policy::limits).collect()
    }

    /// Says once what every tick would say again.
    fn complain(&mut self, what: String) {
        if self.last_complaint != what {
            tracing::warn!("{what}");
            self.last_complaint = what;
        }
    }

    fn stop(&mut self) {
        if let Err(error) = self.save_bans() {
            tracing::warn!("bans of the last moment are not on disk: {error:#}");
        }
        let is_pinned = !matches!(
            self.datapath.continuity(),
            Continuity::None | Continuity::Unpinned(_)
        );
        if is_pinned && self.config.pins.on_exit == OnExit::Keep {
            tracing::info!(
                "the policy stays in force without a daemon: `xdp-throttle detach` ends it"
            );
            return;
        }
        for interface in std::mem::take(&mut self.interfaces) {
            match self.datapath.detach(&interface.configured) {
                Ok(()) => {
                    tracing::info!(interface = %interface.name, "detached");
                    self.note_detached(&interface.name, DetachCause::Stopped);
                }
                Err(error) => {
                    tracing::error!(interface = %interface.name, "could not detach: {error:#}")
                }
            }
        }
        if let Err(error) = self.datapath.unpin() {
            tracing::error!("{error:#}");
        }
    }

    /// Interfaces that an earlier daemon protected and this one doesn't.
    fn forget_others(&mut self) {
        let kept = self.interfaces.iter().map(|one| one.configured.clone());
        match self.datapath.forget_others(&kept.collect::<Vec<_>>()) {
            Ok(gone) => {
                for name in gone {
                    tracing::info!(interface = %name, "detached: no longer in the configuration");
                    self.note_detached(&name, DetachCause::Config);
                }
            }
            // The start is in force: what is protected too much is no reason to end it.
            Err(error) => {
                let error = anyhow::Error::new(error);
                let what = format!("what an earlier daemon left stays attached: {error:#}");
                tracing::warn!("{what}");
                self.warnings.push(what);
            }
        }
    }

    fn entries(&mut self, kind: ListKind) -> &mut Entries {
        match kind {
            ListKind::Allow => &mut self.allow,
            ListKind::Block => &mut self.block,
        }
    }

    /// Builds the policy from the configuration, the limits and the interfaces, and puts it in force.
    fn publish_policy(&mut self) -> Result<()> {
        let mut interfaces = [0; MAX_INTERFACES];
        for interface in &self.interfaces {
            if let (Some(slot), Some(attached)) =
                (interfaces.get_mut(interface.slot), interface.attached)
            {
                *slot = attached.index;
            }
        }
        let limits = self.default_limits()?;
        let flow_memory = self.flow_memory_is_complete();
        let [aside_v4, aside_v6] = self.aside_masks(flow_memory);
        let [forwards_v4, forwards_v6] = self.forwards_masks(flow_memory);
        let policy = policy::build(
            &self.config,
            policy::Live {
                limits: Some(&limits),
                overrides: &self.stored_overrides(),
                interfaces,
                aside_v4,
                aside_v6,
                flow_memory,
                forwards_v4,
                forwards_v6,
                surroundings: self.surroundings,
                captures: &self.wanted_captures(),
                generation: self.generation + 1,
                clock: self.clock,
            },
        );
        self.datapath.set_policy(&policy)?;
        self.generation += 1;
        self.note_flow_memory(flow_memory);
        Ok(())
    }

    fn note(&self, what: Happening) {
        self.journal.publish(Timestamp::now(), what);
    }

    fn note_detached(&self, interface: &IfName, cause: DetachCause) {
        self.note(Happening::Detach(InterfaceDetached {
            interface: interface.to_string(),
            cause,
        }));
    }

    fn now() -> Moment {
        Moment::now()
    }
}
