//! From the keys of `[limits]` and `[[override]]` to limits with their bursts.

use serde::Serialize;

use super::schema::{LimitKeys, OverrideKeys};
use super::table::Sink;
use crate::domain::{BitRate, Burst, ByteSize, ConnectionRate, PacketRate, Prefix};

/// A rate, and how much may come at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit<Rate, Size> {
    pub rate: Rate,
    pub burst: Size,
}

/// What one source may send. `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    pub packets: Option<Limit<PacketRate, Burst>>,
    /// Whole Ethernet frames without their checksum.
    pub bytes: Option<Limit<BitRate, ByteSize>>,
    /// Segments with SYN and without ACK.
    pub tcp_new: Option<Limit<ConnectionRate, Burst>>,
}

/// Limits for the sources in some prefixes, already merged with the default limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Override {
    /// Not empty.
    pub prefixes: Vec<Prefix>,
    pub limits: Limits,
}

/// The largest packet: 65,535 bytes (RFC 791, section 3.1), as segmentation offload hands it over.
const LARGEST_PACKET: u64 = 65_535;

/// A burst longer than this at the full rate isn't a limit any more.
const LONGEST_BURST_SECONDS: u64 = 86_400;

/// What a rate and its burst have to offer for the checks that all three limits share.
pub(super) trait Measured: Copy {
    fn units(self) -> u64;
}

/// The burst of a rate where the file names none.
pub(super) trait Paced: Measured {
    type Size: Measured;
    fn default_burst(self) -> Self::Size;
}

macro_rules! measured {
    ($($type:ty, $units:ident;)+) => {
        $(impl Measured for $type {
            fn units(self) -> u64 {
                self.$units()
            }
        })+
    };
}

measured! {
    PacketRate, packets_per_second;
    BitRate, bytes_per_second;
    ConnectionRate, connections_per_second;
    Burst, get;
    ByteSize, bytes;
}

impl Paced for PacketRate {
    type Size = Burst;

    fn default_burst(self) -> Burst {
        Burst::nearest(self.packets_per_second())
    }
}

impl Paced for BitRate {
    type Size = ByteSize;

    fn default_burst(self) -> ByteSize {
        ByteSize::nearest(self.bytes_per_second().max(LARGEST_PACKET))
    }
}

impl Paced for ConnectionRate {
    type Size = Burst;

    /// Five seconds: connections come in clusters, a page with its parts, a pool that fills.
    fn default_burst(self) -> Burst {
        Burst::nearest(self.connections_per_second().saturating_mul(5))
    }
}

impl Limits {
    pub(super) fn from_keys(keys: &LimitKeys, sink: &mut Sink) -> Self {
        let at = "limits";
        let limits = Self {
            packets: paired(keys.packets, keys.packets_burst),
            bytes: paired(keys.bytes, keys.bytes_burst),
            tcp_new: paired(keys.tcp_new, keys.tcp_new_burst),
        };
        limits.check(at, sink);
        limits
    }

    /// Notes bursts that can't work, and bursts without a rate.
    fn check(&self, at: &str, sink: &mut Sink) {
        check_burst(self.packets, &format!("{at}.packets"), sink);
        check_bytes(self.bytes, &format!("{at}.bytes"), sink);
        check_burst(self.tcp_new, &format!("{at}.tcp_new"), sink);
    }
}

/// Notes a burst of bytes that can't work, or has no rate.
pub(super) fn check_bytes(limit: Option<Limit<BitRate, ByteSize>>, key: &str, sink: &mut Sink) {
    check_burst(limit, key, sink);
    if let Some(limit) = limit
        && limit.burst.bytes() < LARGEST_PACKET
    {
        let message = format!("{} is less than one packet can have", limit.burst);
        let help = "65535 bytes or more, or large packets would never pass";
        sink.problem_at(&format!("{key}_burst"), message, help);
    }
}

impl Override {
    /// `None` after a mistake, which is then in the sink.
    pub(super) fn from_keys(
        keys: OverrideKeys,
        defaults: &Limits,
        at: &str,
        sink: &mut Sink,
    ) -> Option<Self> {
        let limits = Limits {
            packets: merged(keys.packets, keys.packets_burst, defaults.packets),
            bytes: merged(keys.bytes, keys.bytes_burst, defaults.bytes),
            tcp_new: merged(keys.tcp_new, keys.tcp_new_burst, defaults.tcp_new),
        };
        limits.check(at, sink);
        if limits == *defaults {
            let help = "give packets, bytes or tcp_new another value than in [limits]";
            sink.warning_at(at, "changes nothing", help);
        }
        if keys.prefixes.is_empty() {
            let help = "write for example prefixes = [\"203.0.113.0/24\"]";
            sink.problem_at(&format!("{at}.prefixes"), "the list is empty", help);
            return None;
        }
        Some(Self {
            prefixes: keys.prefixes,
            limits,
        })
    }
}

pub(super) fn paired<Rate: Paced>(
    rate: Option<Rate>,
    burst: Option<Rate::Size>,
) -> Option<Limit<Rate, Rate::Size>> {
    let rate = rate?;
    let burst = burst.unwrap_or_else(|| rate.default_burst());
    Some(Limit { rate, burst })
}

/// A given rate brings its own burst; a given burst alone goes with the inherited rate.
pub(super) fn merged<Rate: Paced>(
    rate: Option<Option<Rate>>,
    burst: Option<Rate::Size>,
    inherited: Option<Limit<Rate, Rate::Size>>,
) -> Option<Limit<Rate, Rate::Size>> {
    match rate {
        Some(rate) => paired(rate, burst),
        None => inherited.map(|limit| Limit {
            rate: limit.rate,
            burst: burst.unwrap_or(limit.burst),
        }),
    }
}

pub(super) fn check_burst<Rate: Measured, Size: Measured>(
    limit: Option<Limit<Rate, Size>>,
    rate_key: &str,
    sink: &mut Sink,
) {
    let burst_key = format!("{rate_key}_burst");
    let Some(limit) = limit else {
        if sink.is_given(&burst_key) {
            let help = "leave the burst out, or give a rate";
            sink.warning_at(&burst_key, "has no effect, the limit is off", help);
        }
        return;
    };
    let longest = limit.rate.units().saturating_mul(LONGEST_BURST_SECONDS);
    if limit.burst.units() > longest {
        let message = "takes more than a day at the full rate";
        let help = format!("at most {longest} at this rate");
        sink.problem_at(&burst_key, message, &help);
    }
}
