//! The config file: TOML to a [`Config`] that can't be wrong.
//!
//! Every mistake in a file is reported at once, each with line, column, key and what would be
//! valid. The keys stand in one table, `schema`, from which [`reference`] is written as well.

mod builtin;
mod classes;
mod kept;
mod limits;
mod places;
mod problem;
pub mod reference;
mod schema;
mod setting;
mod spaces;
mod suggest;
mod table;
mod validate;
mod words;

use std::io::Read;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use xdp_common::reason::Reason;

pub use builtin::why;
pub use classes::{Class, Takes};
pub use kept::{Checksum, KeptList, ListSource, MAX_LISTS};
pub use limits::{Limit, Limits, Override};
pub use places::Place;
pub use problem::{ConfigError, Problem};
pub use schema::{Capacity, Interface, Log, Mitigation, Sanity, Source};
pub use words::{
    DatapathLog, FileMode, FileModeError, Forwarding, LogFormat, LogLevel, OnExit, StatusPage,
    TcpFlags, UserName, UserNameError, Who,
};

use crate::domain::{BitRate, Burst, ByteSize, Mode, PacketRate, Prefix, SampleRate, Span};
use table::Sink;

/// The largest file that is read. Long lists belong into `xdp-throttle block import`.
pub const MAX_BYTES: u64 = 1 << 20;

/// How many interfaces one daemon protects: one counter slot each, and one for strangers.
pub const MAX_INTERFACES: usize = 15;

/// A valid configuration. `Config::default()` is what an empty file means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub mode: Mode,
    /// Reasons that are only counted, each once.
    pub observe_reasons: Vec<Reason>,
    /// At most [`MAX_INTERFACES`], no name twice; may be empty.
    pub interfaces: Vec<Interface>,
    pub source: Source,
    /// For every source without an override.
    pub limits: Limits,
    /// No prefix twice.
    pub overrides: Vec<Override>,
    pub ban: Ban,
    pub sanity: Sanity,
    pub mitigation: Mitigation,
    /// The built-in ones in the order of their numbers, then the file's; at most
    /// [`xdp_common::abi::MAX_CLASSES`].
    pub classes: Vec<Class>,
    pub aggregate: Aggregate,
    /// Sorted, no prefix twice.
    pub allow: Vec<Prefix>,
    /// Sorted, no prefix twice.
    pub block: Vec<Prefix>,
    /// At most [`MAX_LISTS`], no name twice.
    pub lists: Vec<KeptList>,
    pub capacity: Capacity,
    pub metrics: Metrics,
    pub control: Control,
    pub state: State,
    pub pins: Pins,
    pub daemon: Daemon,
    pub log: Log,
    pub events: Events,
}

/// How strikes lead to bans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Ban {
    pub enabled: bool,
    /// At least 1.
    pub strikes: u32,
    /// At most one strike is counted in this time.
    pub strike_interval: Span,
    /// One strike is forgotten for each such time without another.
    pub strike_decay: Span,
    /// Of the first ban; not over `max_duration`.
    pub duration: Span,
    pub max_duration: Span,
    /// Each ban is `2^growth_shift` times as long as the one before; 0 to 4.
    pub growth_shift: u32,
    /// One step of growth is forgiven for each such time after a ban.
    pub level_decay: Span,
}

/// Limits of all sources of a network together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    pub ipv4_prefix: u8,
    pub ipv6_prefix: u8,
    pub packets: Option<Limit<PacketRate, Burst>>,
    pub bytes: Option<Limit<BitRate, ByteSize>>,
}

/// What is served over HTTP, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub enabled: bool,
    pub listen: SocketAddr,
    /// Of TLS and passwords; absolute.
    pub web_config: Option<PathBuf>,
    /// Beside the figures, while they are served.
    pub page: StatusPage,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Absolute, at most 107 bytes.
    pub socket: PathBuf,
    pub socket_mode: FileMode,
    pub viewers: Vec<Who>,
    pub operators: Vec<Who>,
    pub admins: Vec<Who>,
    /// Over TCP as well.
    pub tcp: Option<ControlTcp>,
    pub requests_per_second: NonZeroU32,
}

/// The API over TCP with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlTcp {
    pub listen: SocketAddr,
    pub files: crate::http::tls::Files,
}

/// What outlives the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Absolute.
    pub directory: PathBuf,
}

/// What is told of what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    pub sampling: Sampling,
    pub outlets: Outlets,
}

/// Which packets are looked at more closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// For each CPU; none are where it is absent.
    pub rate: Option<SampleRate>,
    /// One packet in so many, at least 1.
    pub one_in: u32,
    /// 64 to 256 of a packet's bytes.
    pub bytes: u16,
}

/// Where events go beside the daemon's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlets {
    /// Absolute, with a name.
    pub file: Option<PathBuf>,
    /// At least 64 KiB.
    pub file_size: ByteSize,
    /// Old files kept, at least 1.
    pub file_count: u32,
    /// Shorten addresses there and in the log.
    pub mask_addresses: bool,
}

/// What is left in force without the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    /// Absolute; nothing is pinned without one.
    pub directory: Option<PathBuf>,
    /// What a daemon does that is told to end.
    pub on_exit: OnExit,
}

/// What the daemon may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Whom to become.
    pub user: Option<UserName>,
    /// Whether files are restricted to what is needed.
    pub restrict_files: bool,
    /// Further directories to read from; absolute.
    pub readable: Vec<PathBuf>,
}

/// A valid configuration and what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub config: Config,
    /// In the order of the file's lines.
    pub warnings: Vec<Problem>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("can't read the config file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Invalid(#[from] ConfigError),
}

impl Config {
    /// Reads a file of at most [`MAX_BYTES`].
    pub fn load(path: &Path) -> Result<Loaded, LoadError> {
        let bytes = read_bounded(path).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::parse_bytes(&bytes, &path.display().to_string())?)
    }

    /// As [`Config::parse`], of bytes that may be no text at all.
    pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Loaded, ConfigError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text, file),
            Err(error) => {
                let valid = &bytes[..error.valid_up_to()];
                let text = std::str::from_utf8(valid).unwrap_or_default();
                Err(one_mistake(file, text, "not UTF-8 from here on"))
            }
        }
    }

    /// `file` is the name in messages.
    pub fn parse(text: &str, file: &str) -> Result<Loaded, ConfigError> {
        if text.len() as u64 > MAX_BYTES {
            let message = format!(
                "larger than {MAX_BYTES} bytes, move lists into files of their own and load them with xdp-throttle block import"
            );
            return Err(one_mistake(file, "", &message));
        }
        let mut sink = Sink::default();
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            sink.syntax_error(offset, error.message());
        }
        let config = validate::config(document.get_ref(), &mut sink);
        let (problems, warnings) = sink.finish(text);
        match config {
            Some(config) if problems.is_empty() => Ok(Loaded { config, warnings }),
            Some(_) | None => Err(ConfigError {
                file: file.to_owned(),
                problems,
            }),
        }
    }
}

impl Default for Config {
    #[allow(
        clippy::expect_used,
        reason = "the input is constant, and a test reads the same"
    )]
    fn default() -> Self {
        let loaded = Self::parse("", "an empty file");
        loaded.expect("the built-in defaults are valid").config
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more, so that a file that is too large is seen as such.
    std::fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A mistake of the file as a whole, at the end of what could be read.
fn one_mistake(file: &str, readable: &str, message: &str) -> ConfigError {
    let (line, column) = problem::Places::new(readable).at(readable.len());
    ConfigError {
        file: file.to_owned(),
        problems: vec![Problem {
            line,
            column,
            key: String::new(),
            message: message.to_owned(),
            help: None,
        }],
    }
}

#[cfg(test)]
mod tests;
