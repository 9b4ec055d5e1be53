//! The types that a config file writes as text, with what the reference says about them.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use xdp_common::reason::{Class, Reason};

use super::setting::Worded;
use crate::domain::{
    AttachMode, BitRate, Burst, ByteSize, ClassName, ConnectionRate, IfName, Mode, PacketRate,
    Prefix, QuantityError, SampleRate, Span, UnknownChoice,
};

macro_rules! worded {
    ($($type:ty, $what:literal, [$($example:literal),+];)+) => {
        $(impl Worded for $type {
            const WHAT: &'static str = $what;
            const EXAMPLES: &'static [&'static str] = &[$($example),+];
        })+
    };
}

worded! {
    PacketRate, "packets per second", ["\"500pps\"", "\"20kpps\""];
    BitRate, "bits per second", ["\"64kbps\"", "\"200Mbps\""];
    ConnectionRate, "new connections per second", ["\"100cps\"", "\"100/s\""];
    SampleRate, "samples per second", ["\"10/s\""];
    ClassName, "class name", ["\"game\""];
    Span, "span of time", ["\"100ms\"", "\"1h\""];
    IfName, "interface name", ["\"eth0\""];
    Prefix, "address or prefix", ["\"192.0.2.1\"", "\"2001:db8::/32\""];
}

impl Worded for Burst {
    const WHAT: &'static str = "number";
    const EXAMPLES: &'static [&'static str] = &["2000", "\"20k\""];

    fn from_number(number: u64) -> Option<Result<Self, QuantityError>> {
        Some(Self::new(number))
    }
}

impl Worded for ByteSize {
    const WHAT: &'static str = "number of bytes";
    const EXAMPLES: &'static [&'static str] = &["\"256KiB\"", "\"1MB\""];

    fn from_number(number: u64) -> Option<Result<Self, QuantityError>> {
        Some(Self::new(number))
    }
}

impl Worded for SocketAddr {
    const WHAT: &'static str = "address and port";
    const EXAMPLES: &'static [&'static str] = &["\"127.0.0.1:9777\"", "\"[::1]:9777\""];
}

impl Worded for Mode {
    const WHAT: &'static str = "one of";
    const EXAMPLES: &'static [&'static str] = &["\"enforce\""];

    fn words() -> Vec<&'static str> {
        Self::ALL.map(Self::name).to_vec()
    }
}

impl Worded for AttachMode {
    const WHAT: &'static str = "one of";
    const EXAMPLES: &'static [&'static str] = &["\"auto\""];

    fn words() -> Vec<&'static str> {
        Self::ALL.map(Self::name).to_vec()
    }
}

/// A reason that drops packets; one that only counts them has nothing to observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DropReason(pub(super) Reason);

impl DropReason {
    fn all() -> impl Iterator<Item = Reason> {
        let drops = |reason: &Reason| reason.class() != Class::Pass;
        Reason::ALL.iter().copied().filter(drops)
    }
}

impl FromStr for DropReason {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        let found = Self::all().find(|reason| reason.name() == text);
        found.map(Self).ok_or_else(|| UnknownChoice {
            valid: Self::words().join(", "),
        })
    }
}

impl Worded for DropReason {
    const WHAT: &'static str = "reason of a drop";
    const EXAMPLES: &'static [&'static str] = &["\"rate_packets\""];

    fn words() -> Vec<&'static str> {
        Self::all().map(Reason::name).collect()
    }
}

/// A closed choice that only the config file knows.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownChoice;

            fn from_str(text: &str) -> Result<Self, UnknownChoice> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownChoice { valid: Self::words().join(", ") }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(self.name())
            }
        }

        impl Worded for $name {
            const WHAT: &'static str = "one of";
            const EXAMPLES: &'static [&'static str] = &[];

            fn words() -> Vec<&'static str> {
                vec![$($word),+]
            }
        }
    };
}

choice! {
    /// How much the daemon says.
    LogLevel {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}

choice! {
    /// The form of the daemon's log.
    LogFormat {
        /// A line for people.
        Text = "text",
        /// A JSON object on each line.
        Json = "json",
    }
}

choice! {
    /// What the XDP program itself says, from rare paths only.
    DatapathLog {
        Off = "off",
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
    }
}

choice! {
    /// What classes do on interfaces where the host forwards packets for others.
    Forwarding {
        /// They decide nothing there: what no local socket waits for may be another host's.
        StandAside = "stand-aside",
        /// They go by what was seen leaving, once that is complete.
        FlowMemory = "flow-memory",
        /// They decide as everywhere.
        Ignore = "ignore",
    }
}

choice! {
    /// What the status page beside the metrics shows.
    StatusPage {
        /// There is no page.
        Off = "off",
        /// Counters, without anybody's address.
        Counters = "counters",
        /// The top sources by address, too.
        Sources = "sources",
    }
}

choice! {
    /// What becomes of the policy in force when the daemon ends.
    OnExit {
        /// It stays in force.
        Keep = "keep",
        /// Every interface is detached, and the pins are taken away.
        Detach = "detach",
    }
}

choice! {
    /// TCP segments that open no connection, by their flags.
    TcpFlags {
        /// SYN and ACK, without RST.
        SynAck = "syn-ack",
        /// RST, without a SYN that stands alone.
        Rst = "rst",
        /// All others.
        Other = "other",
    }
}

/// A file's permission bits, written in octal: "0600".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

/// Why a text isn't a [`FileMode`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected four octal digits from 0600 to 0777; the owner must be able to read and write")]
pub struct FileModeError;

impl FileMode {
    pub fn bits(self) -> u32 {
        self.0
    }

    pub(super) fn is_open_to_everybody(self) -> bool {
        self.0 & 0o002 != 0
    }
}

impl FromStr for FileMode {
    type Err = FileModeError;

    fn from_str(text: &str) -> Result<Self, FileModeError> {
        let octal = text.len() == 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let bits = u32::from_str_radix(text, 8).map_err(|_| FileModeError)?;
        (octal && bits <= 0o777 && bits & 0o600 == 0o600)
            .then_some(Self(bits))
            .ok_or(FileModeError)
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04o}", self.0)
    }
}

impl Worded for FileMode {
    const WHAT: &'static str = "permissions in octal";
    const EXAMPLES: &'static [&'static str] = &["\"0600\"", "\"0660\""];
}

/// A path from the root, without `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AbsolutePath(pub(super) PathBuf);

/// A path from the root that fits a Unix socket's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketPath(pub(super) PathBuf);

/// Why a text isn't a path for the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("expected a path that starts with /")]
    Relative,
    #[error("a path here has no \"..\" and no NUL")]
    Unclean,
    #[error("too long: a socket's path has at most 107 bytes")]
    TooLong,
}

impl FromStr for AbsolutePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let path = Path::new(text);
        let upwards = path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        if !path.is_absolute() {
            Err(PathError::Relative)
        } else if upwards || text.contains('\0') {
            Err(PathError::Unclean)
        } else {
            Ok(Self(path.to_owned()))
        }
    }
}

impl FromStr for SocketPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        // sockaddr_un.sun_path has 108 bytes with its final NUL (unix(7)).
        if text.len() > 107 {
            return Err(PathError::TooLong);
        }
        text.parse().map(|AbsolutePath(path)| Self(path))
    }
}

/// A user's name, as useradd(8) takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName(String);

/// Why a text isn't a [`UserName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a user's name: up to 32 letters, digits, \"-\", \"_\" and \".\", a letter or \"_\" first"
)]
pub struct UserNameError;

impl UserName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, UserNameError> {
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let valid = text.len() <= 32 && begins && text.chars().all(fits);
        valid.then(|| Self(text.to_owned())).ok_or(UserNameError)
    }
}

/// A user, or a group: `"alice"`, `"group:netops"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    User(UserName),
    Group(UserName),
}

impl FromStr for Who {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, UserNameError> {
        match text.strip_prefix("group:") {
            Some(group) => group.parse().map(Self::Group),
            None => text.parse().map(Self::User),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(out, "{}", name.as_str()),
            Self::Group(name) => write!(out, "group:{}", name.as_str()),
        }
    }
}

worded! {
    Who, "user, or group with \"group:\" before it", ["\"alice\"", "\"group:netops\""];
    UserName, "user's name", ["\"xdp-throttle\""];
    AbsolutePath, "path", ["\"/var/lib/xdp-throttle\""];
    SocketPath, "path of at most 107 bytes", ["\"/run/xdp-throttle/control.sock\""];
}
