//! The host's own answer to floods of connection requests.

use std::io;
use std::path::{Path, PathBuf};

use super::file;

/// `net.ipv4.tcp_syncookies`, which rules IPv6 as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynCookies {
    /// The kernel neither sends nor takes cookies: nobody may send one in its name.
    Off,
    /// Once a listener's queue is full; the default.
    WhenFull,
    /// For every connection.
    Always,
}

/// Sysctls that decide whether SYN cookies can be used, and how much they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// When the kernel uses cookies.
    pub syn_cookies: SynCookies,
    /// `net.ipv4.tcp_timestamps`: without timestamps a cookie carries neither window scaling nor
    /// selective acknowledgement.
    pub timestamps: bool,
}

/// A sysctl that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("could not read {}", .path.display())]
pub struct TcpError {
    /// Its file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl TcpSettings {
    pub(super) fn read(proc: &Path) -> Result<Self, TcpError> {
        let number = |name: &str| {
            let path = proc.join("sys/net/ipv4").join(name);
            file::read_number(&path).map_err(|source| TcpError { path, source })
        };
        Ok(Self {
            syn_cookies: match number("tcp_syncookies")? {
                ..=0 => SynCookies::Off,
                1 => SynCookies::WhenFull,
                2.. => SynCookies::Always,
            },
            timestamps: number("tcp_timestamps")? != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sysctls_are_read_and_a_missing_one_is_named() {
        let proc = tempfile::tempdir().unwrap();
        let directory = proc.path().join("sys/net/ipv4");
        std::fs::create_dir_all(&directory).unwrap();
        let error = TcpSettings::read(proc.path()).unwrap_err();
        assert!(
            error.to_string().ends_with("net/ipv4/tcp_syncookies"),
            "{error}"
        );
        for (cookies, stamps, expected) in [
            ("0", "0", (SynCookies::Off, false)),
            ("1", "1", (SynCookies::WhenFull, true)),
            ("2", "2", (SynCookies::Always, true)),
        ] {
            std::fs::write(directory.join("tcp_syncookies"), cookies).unwrap();
            std::fs::write(directory.join("tcp_timestamps"), stamps).unwrap();
            let read = TcpSettings::read(proc.path()).unwrap();
            assert_eq!((read.syn_cookies, read.timestamps), expected);
        }
    }
}
