//! What an operator may say, in an operator's units; neither the controller's types nor the ABI's.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

/// Everything that decides about a frame, except for what sources have done before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Do verdicts drop at all?
    pub enforce: bool,
    /// Names of reasons that are counted and don't drop.
    pub observed: BTreeSet<&'static str>,
    /// Drop TCP flag sets that no stack sends.
    pub check_tcp_flags: bool,
    /// Drop packets to themselves.
    pub check_land: bool,
    /// Drop sources that can't be one.
    pub check_martians: bool,
    /// Leading bits of an IPv4 address that make a source.
    pub source_bits_v4: u8,
    /// Leading bits of an IPv6 address that make a source.
    pub source_bits_v6: u8,
    /// Limits of a source without an override.
    pub limits: Limits,
    /// Limits in place of those, by prefix; the longest counts.
    pub overrides: Vec<(IpNet, Limits)>,
    /// Bans after strikes; none when absent.
    pub bans: Option<Bans>,
    /// Allowlist.
    pub allow: Vec<Listed>,
    /// Blocklist.
    pub block: Vec<Listed>,
}

impl Default for Rules {
    /// Enforces, checks everything, limits nothing, lists nobody.
    fn default() -> Self {
        Self {
            enforce: true,
            observed: BTreeSet::new(),
            check_tcp_flags: true,
            check_land: true,
            check_martians: true,
            source_bits_v4: 32,
            source_bits_v6: 64,
            limits: Limits::default(),
            overrides: Vec::new(),
            bans: None,
            allow: Vec::new(),
            block: Vec::new(),
        }
    }
}

/// Limits per source; no limit where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Packets.
    pub packets: Option<Rate>,
    /// Bytes of whole frames.
    pub bytes: Option<Rate>,
    /// TCP segments with SYN and without ACK.
    pub tcp_new: Option<Rate>,
}

/// A rate and the burst that it allows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units in so many seconds, at least 1.
    pub units: u64,
    /// 1, but for [`Self::hourly`].
    pub seconds: u64,
    /// Units.
    pub burst: u64,
}

impl Rate {
    /// `per_second` units per second, `burst` at once.
    #[must_use]
    pub const fn new(per_second: u64, burst: u64) -> Self {
        Self {
            units: per_second,
            seconds: 1,
            burst,
        }
    }

    /// `burst` packets or connections at once, and then nothing while a test lasts: for those who count
    /// a burst, on a machine of whatever speed. Not for bytes, whose cost wouldn't fit.
    #[must_use]
    pub const fn hourly(burst: u64) -> Self {
        Self {
            units: 1,
            seconds: 3600,
            burst,
        }
    }
}

/// How strikes become bans. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bans {
    /// Strikes that make a ban.
    pub strikes: u32,
    /// At most one strike counts in this time.
    pub strike_interval_ns: u64,
    /// A strike is forgotten after each such time without another.
    pub strike_decay_ns: u64,
    /// Length of the first ban.
    pub base_ns: u64,
    /// Length of the longest.
    pub max_ns: u64,
    /// How many doublings each level adds.
    pub growth_shift: u32,
    /// A level is forgotten after each such time without a ban.
    pub level_decay_ns: u64,
}

/// An entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Who.
    pub prefix: IpNet,
    /// Until when, on the boot clock; for ever when absent.
    pub expires_ns: Option<u64>,
}

impl Listed {
    /// For ever.
    #[must_use]
    pub const fn forever(prefix: IpNet) -> Self {
        Self {
            prefix,
            expires_ns: None,
        }
    }

    /// Until a time on the boot clock.
    #[must_use]
    pub const fn until(prefix: IpNet, expires_ns: u64) -> Self {
        Self {
            prefix,
            expires_ns: Some(expires_ns),
        }
    }

    pub(super) fn covers(&self, address: IpAddr, now_ns: u64) -> bool {
        self.prefix.contains(&address) && self.expires_ns.is_none_or(|end| now_ns < end)
    }
}
