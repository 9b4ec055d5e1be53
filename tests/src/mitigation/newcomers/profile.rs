//! How real clients ask again.

use std::time::Duration;

use serde::Serialize;

/// How a new UDP client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The same datagram from the same port after 0.4 s, as libreswan and RakNet about do.
    After400ms,
    /// After 1 s: QUIC, DTLS.
    After1s,
    /// After 5 s: WireGuard.
    After5s,
    /// After 15 s: systemd-timesyncd.
    After15s,
    /// The same question with the same identifier from the same port after 5 s: glibc.
    Dns,
    /// The same question with another identifier from another port after 0.376 s: unbound.
    DnsNewPort,
    /// A datagram each 20 ms, whether there are answers or not: RTP.
    Stream,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::After400ms,
        Self::After1s,
        Self::After5s,
        Self::After15s,
        Self::Dns,
        Self::DnsNewPort,
        Self::Stream,
    ];

    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::After400ms => "retry after 0.4 s",
            Self::After1s => "retry after 1 s",
            Self::After5s => "retry after 5 s",
            Self::After15s => "retry after 15 s",
            Self::Dns => "DNS, 5 s, same port and question",
            Self::DnsNewPort => "DNS, 0.4 s, new port, same question",
            Self::Stream => "a datagram each 20 ms",
        }
    }

    /// Clients per second.
    pub(super) const fn rate(self) -> u32 {
        match self {
            Self::After400ms => 7,
            Self::After1s | Self::After5s | Self::After15s | Self::Dns | Self::DnsNewPort => 5,
            Self::Stream => 1,
        }
    }

    /// For how long it waits after each datagram; then it has failed. A stream waits for nothing.
    pub(super) fn waits(self) -> impl Iterator<Item = Duration> {
        let ms: &[u64] = match self {
            Self::After400ms => &[400, 800, 1600],
            Self::After1s => &[1000, 2000, 4000],
            Self::After5s | Self::Dns => &[5000, 5000, 5000],
            Self::After15s => &[15_000, 15_000, 5000],
            Self::DnsNewPort => &[376, 752, 1504],
            Self::Stream => &[],
        };
        ms.iter().map(|ms| Duration::from_millis(*ms))
    }

    /// After that time a first retry is answered or not.
    pub(super) fn decisive(self) -> Duration {
        self.waits().next().unwrap_or(super::client::STREAM)
    }
}
