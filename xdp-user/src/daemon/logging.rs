//! The daemon's log: standard error, as service managers want it.

use std::io::{self, Write};

use anyhow::{Result, anyhow};
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use xdp_common::abi::map;

use crate::config::{DatapathLog, Log, LogFormat, LogLevel};
use crate::events::mask;

/// Starts logging as the configuration says. The program's diagnostics have a level of their own.
pub(super) fn start(log: &Log, masked: bool) -> Result<()> {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let program = match log.datapath {
        DatapathLog::Off => LevelFilter::OFF,
        DatapathLog::Error => LevelFilter::ERROR,
        DatapathLog::Warn => LevelFilter::WARN,
        DatapathLog::Info => LevelFilter::INFO,
        DatapathLog::Debug => LevelFilter::DEBUG,
    };
    let filter = Targets::new()
        .with_default(level)
        .with_target(map::DIAGNOSTICS, program);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || Lines { masked })
        .with_ansi(false);
    let lines = match log.format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|error| anyhow!("could not start logging: {error}"))
}

/// Standard error, with addresses cut where that is wished. The layer writes each line as a whole.
struct Lines {
    masked: bool,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stderr().lock();
        if !self.masked {
            return out.write_all(bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        out.write_all(mask::text(&text).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Passes the program's own diagnostics on to the log.
pub(super) async fn pass_on_diagnostics(logger: EbpfLogger<&'static dyn log::Log>) {
    // SAFETY: the logger owns its descriptor and gives the same one until it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = match registered {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!("the program's diagnostics are not read: {error}");
            return;
        }
    };
    while let Ok(mut ready) = logger.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
