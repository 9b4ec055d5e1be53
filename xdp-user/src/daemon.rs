//! The daemon: configuration, state, datapath, control task, API and exporter wired together.

mod listeners;
mod logging;
mod notify;

use std::future::Future;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use listeners::Listeners;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::api::types::Apply;
use crate::config::{Config, DatapathLog, LoadError, OnExit, UserName};
use crate::control::policy::stages;
use crate::control::{Control, Handle, Overrides, look_at_host};
use crate::datapath::events::{self, Ring};
use crate::datapath::kernel::KernelDatapath;
use crate::datapath::samples;
use crate::datapath::{Capacity, DatapathError};
use crate::domain::{AttachMode, IfName};
use crate::failure::{Failure, FailureKind};
use crate::feeds;
use crate::privileges;
use crate::state::{AuditRow, State};

/// The configuration that is used if none is named and this one is there.
pub const DEFAULT_CONFIG: &str = "/etc/xdp-throttle/config.toml";

/// What the command line chose.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration file; built-in defaults without one.
    pub config: Option<PathBuf>,
    /// Interfaces in place of the file's.
    pub interfaces: Vec<IfName>,
    /// How to attach, in place of the file's choice.
    pub attach: Option<AttachMode>,
    /// Drop nothing.
    pub observe: bool,
    /// Whom to become, in place of the file's choice.
    pub user: Option<UserName>,
    /// What is left in force at the end, in place of the file's choice.
    pub on_exit: Option<OnExit>,
}

/// Runs until SIGINT or SIGTERM, then detaches.
///
/// # Errors
/// With a [`Failure`] that tells an invalid configuration, a missing right and a missing kernel
/// feature apart.
pub fn run(options: Options) -> Result<()> {
    let (config, path) = load_config(&options)?;
    let overrides = Overrides {
        interfaces: options.interfaces,
        attach: options.attach,
        observe: options.observe,
    };
    let mut config = overrides.over(config);
    if let Some(on_exit) = options.on_exit {
        config.pins.on_exit = on_exit;
    }
    if config.interfaces.is_empty() {
        return Err(Failure::new(
            FailureKind::Invalid,
            "no interface to protect: name one in an [[interface]] section or with --iface",
        )
        .into());
    }
    logging::start(&config.log, config.events.outlets.mask_addresses)?;
    if let Some(user) = options.user.as_ref().or(config.daemon.user.as_ref()) {
        privileges::user::become_user(user.as_str(), &config)?;
    }
    // First of all, so that a second daemon is told of the first and not of its locked state. And
    // before anything is attached: what can fail on the way up fails without touching traffic.
    let listeners = Listeners::open_blocking(&config)?;
    // All that follows is done with what the daemon keeps, so that a reload can do it again.
    privileges::give_up(&config, &path)?;
    let state = State::open(&config.state.directory)?;
    let mut datapath = load(&config)?;
    let ring = datapath
        .take_events()
        .context("the ring buffer of events is missing")?;
    let samples = datapath
        .take_samples()
        .context("the ring buffer of samples is missing")?;
    let diagnostics = (config.log.datapath != DatapathLog::Off)
        .then(|| datapath.diagnostics())
        .transpose()?;

    // What else can fail comes before the start takes effect.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (ring, samples) = {
        let _inside = runtime.enter();
        (Ring::new(ring)?, Ring::new(samples)?)
    };
    let control = Control::start(
        Box::new(datapath),
        state,
        config,
        overrides,
        path,
        look_at_host,
    )
    .map_err(kind_of_any)?;
    let (handle, ended) = control.spawn()?;
    let journal = handle.journal().clone();
    let result = runtime.block_on(async {
        let events = tokio::spawn(pass_on(ring, handle.clone()));
        let shown = tokio::spawn(pass_on_samples(samples, handle.clone()));
        if let Some(logger) = diagnostics {
            tokio::spawn(logging::pass_on_diagnostics(logger));
        }
        let served = serve(handle.clone(), listeners);
        let result = while_controlled(served, &handle, ended).await;
        events.abort();
        shown.abort();
        result
    });
    journal.close();
    result
}

/// Loads the program, over what an earlier daemon left where that fits. Where nothing can be pinned the
/// host is protected all the same, as long as the daemon runs.
fn load(config: &Config) -> Result<KernelDatapath> {
    let (capacity, log_level) = (capacity(config), log_level(config.log.datapath));
    if let Some(directory) = &config.pins.directory {
        match KernelDatapath::load_pinned(directory, capacity, log_level, stages(config)) {
            Err(error @ DatapathError::Pins { .. }) => {
                let why = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!("{why}: when the daemon ends, traffic passes unfiltered");
                let loaded = KernelDatapath::load(capacity, log_level).map_err(kind_of)?;
                return Ok(loaded.unpinned(why));
            }
            other => return other.map_err(kind_of),
        }
    }
    KernelDatapath::load(capacity, log_level).map_err(kind_of)
}

fn load_config(options: &Options) -> Result<(Config, String)> {
    let Some(path) = &options.config else {
        return Ok((Config::default(), String::new()));
    };
    let loaded = Config::load(path).map_err(|error| match error {
        LoadError::Invalid(invalid) => {
            anyhow::Error::new(Failure::new(FailureKind::Invalid, invalid.to_string()))
        }
        LoadError::Read { .. } => anyhow::Error::new(error),
    })?;
    for warning in &loaded.warnings {
        eprintln!("warning: {}", warning.render(&path.display().to_string()));
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Ok((loaded.config, absolute.display().to_string()))
}

/// The capacity that a configuration asks for.
pub fn capacity(config: &Config) -> Capacity {
    let c = &config.capacity;
    Capacity {
        allow: c.allow,
        block: c.block,
        overrides: c.overrides,
        sources: c.sources,
        bans: c.bans,
        flows: c.flows,
    }
}

/// The level as the program's log macros take it.
fn log_level(level: DatapathLog) -> u8 {
    match level {
        DatapathLog::Off => 0,
        DatapathLog::Error => 1,
        DatapathLog::Warn => 2,
        DatapathLog::Info => 3,
        DatapathLog::Debug => 4,
    }
}

/// Serves until that ends, then asks the control task to end and waits for it. After a control task
/// that ended by itself nobody looks after what is in force: whoever started the daemon has to know.
async fn while_controlled(
    served: impl Future<Output = Result<()>>,
    control: &Handle,
    mut ended: oneshot::Receiver<()>,
) -> Result<()> {
    const TOO_EARLY: &str = "the control task ended before its time: the policy stays in force if it \
                             is pinned, else nothing is filtered any more; start the daemon again";
    let served = tokio::select! {
        served = served => served,
        _ = &mut ended => bail!(TOO_EARLY),
    };
    control.shut_down();
    ended.await.context(TOO_EARLY)?;
    served
}

/// Serves the API and the metrics and reacts to signals, until one of them asks to end.
async fn serve(control: Handle, listeners: Listeners) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let protection = control.call(|control| Ok(control.protection())).await?;
    let mut served = listeners.serve(&control, &stopped)?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let watchdog = tokio::spawn(notify::feed_watchdog(control.clone()));
    let lists = tokio::spawn(feeds::task::keep(control.clone()));
    let told = tokio::spawn(notify::tell_protection(protection.clone()));
    tracing::info!("ready");
    notify::ready(&protection.borrow());
    let ended = loop {
        tokio::select! {
            _ = hang_up.recv() => reload(&control, &protection).await,
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            Some(result) = served.join_next() => break result.context("a server's task failed")?,
        }
    };
    tracing::info!("stopping");
    notify::stopping();
    told.abort();
    watchdog.abort();
    lists.abort();
    stop.send_replace(true);
    ended
}

async fn reload(control: &Handle, protection: &watch::Receiver<String>) {
    let request = Apply {
        path: None,
        text: None,
        ..Apply::default()
    };
    // The control task has logged the outcome and keeps it for `status`.
    notify::reloading();
    drop(
        control
            .call(move |control| {
                let applied = control.apply(&request);
                // A signal doesn't say whose it is.
                control.audit(&AuditRow {
                    at: jiff::Timestamp::now(),
                    uid: None,
                    user: Some("a signal (SIGHUP)".to_owned()),
                    pid: 0,
                    what: "reload".to_owned(),
                    outcome: applied.as_ref().map_or_else(
                        |error| format!("refused: {error:#}").chars().take(300).collect(),
                        |_report| "done".to_owned(),
                    ),
                })
            })
            .await,
    );
    notify::ready(&protection.borrow());
}

async fn pass_on(mut events: Ring, control: Handle) {
    loop {
        match events.next(events::decode).await {
            Ok(batch) => {
                let noted = control.call(move |c| c.note_events(&batch)).await;
                if let Err(error) = noted {
                    tracing::warn!("events were not noted: {error:#}");
                }
            }
            Err(error) => {
                tracing::error!("events are no longer read: {error}");
                return;
            }
        }
    }
}

/// Samples that the control task has no time for are lost, and counted: whoever waits for an answer
/// comes first.
async fn pass_on_samples(mut ring: Ring, control: Handle) {
    loop {
        match ring.next(samples::decode).await {
            Ok(batch) => {
                let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                let noted = control.call(move |c| c.note_samples(batch)).await;
                if let Err(error) = noted {
                    control.journal().lost_by_control(count);
                    tracing::debug!("samples were not looked at: {error:#}");
                }
            }
            Err(error) => {
                tracing::error!("samples are no longer read: {error}");
                return;
            }
        }
    }
}

fn kind_of(error: DatapathError) -> anyhow::Error {
    kind_of_any(anyhow::Error::new(error))
}

/// Marks an error with what the exit code says of it.
fn kind_of_any(error: anyhow::Error) -> anyhow::Error {
    let kind = match error.downcast_ref::<DatapathError>() {
        Some(DatapathError::Privilege { .. }) => FailureKind::Privilege,
        Some(
            DatapathError::Unsupported { .. }
            | DatapathError::NoNative { .. }
            | DatapathError::Framing { .. },
        ) => FailureKind::Unsupported,
        Some(
            DatapathError::Full { .. }
            | DatapathError::NoInterface { .. }
            | DatapathError::Occupied { .. }
            | DatapathError::Pins { .. }
            | DatapathError::Kernel { .. },
        )
        | None => return error,
    };
    Failure::new(kind, format!("{error:#}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::memory::MemoryDatapath;

    #[test]
    fn the_tables_get_the_sizes_that_the_file_asks_for() {
        let text = "[capacity]\nallow = 11\nblock = 12\noverrides = 13\nsources = 2048\nbans = 17\nflows = 5000\n";
        let config = Config::parse(text, "test").unwrap().config;
        let asked = Capacity {
            allow: 11,
            block: 12,
            overrides: 13,
            sources: 2048,
            bans: 17,
            flows: 5000,
        };
        assert_eq!(capacity(&config), asked);
    }

    #[tokio::test]
    async fn the_daemon_ends_with_its_control_task() {
        let directory = tempfile::tempdir().unwrap();
        let start = || {
            let config = Config::default();
            let datapath = Box::new(MemoryDatapath::new(capacity(&config)));
            let state = State::open(directory.path()).unwrap();
            let control = Control::start(
                datapath,
                state,
                config,
                Overrides::default(),
                String::new(),
                |_| crate::control::Seen::default(),
            );
            control.unwrap().spawn().unwrap()
        };
        let (handle, ended) = start();
        let asked = while_controlled(std::future::ready(Ok(())), &handle, ended);
        asked.await.unwrap();

        let (handle, ended) = start();
        let broken = handle.call::<()>(|_control| panic!("for the test"));
        broken.await.unwrap_err();
        let result = while_controlled(std::future::pending(), &handle, ended).await;
        let text = result.unwrap_err().to_string();
        assert!(text.contains("nothing is filtered"), "{text}");
    }
}
