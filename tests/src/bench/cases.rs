//! What is measured: which sources meet which program in which state.

use serde::Serialize;
use xdp_common::reason::Reason;

use super::abi::{Aim, Verdict};

/// The network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4, sources are addresses.
    Ipv4,
    /// IPv6, sources are /64 prefixes.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The name in tables and on the scorecard.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// What happens to the packets of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// Dropped: the source's address is listed.
    BlockedHost,
    /// Dropped: a prefix around the source is listed.
    BlockedPrefix,
    /// Passes: the source is on the allowlist.
    Allowed,
    /// Passes: the source is known and under its limits.
    Known,
    /// Dropped: the source is known and over its limits.
    Over,
    /// Dropped: the source is banned.
    Banned,
    /// Passes: nobody has seen the source lately.
    New,
    /// Dropped: the source is none that is known, and its class has no budget left.
    Refused,
}

impl Case {
    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockedHost => "blocked host",
            Self::BlockedPrefix => "blocked prefix",
            Self::Allowed => "allowed",
            Self::Known => "known, under limit",
            Self::Over => "known, over limit",
            Self::Banned => "banned",
            Self::New => "always new",
            Self::Refused => "newcomer, no budget",
        }
    }

    /// How the program must judge every packet, and how the references.
    pub(super) const fn verdict(self) -> (Reason, Verdict) {
        match self {
            Self::BlockedHost | Self::BlockedPrefix => (Reason::Blocklisted, Verdict::Blocklisted),
            Self::Allowed => (Reason::Allowlisted, Verdict::Allowlisted),
            Self::Known | Self::New => (Reason::Accepted, Verdict::Accepted),
            Self::Over => (Reason::RatePackets, Verdict::OverLimit),
            Self::Banned => (Reason::Banned, Verdict::Banned),
            // The references have no classes.
            Self::Refused => (Reason::ClassBudget, Verdict::Accepted),
        }
    }

    const fn pool(self) -> Pool {
        match self {
            Self::BlockedHost => Pool::BlockedHosts,
            Self::BlockedPrefix => Pool::BlockedPrefixes,
            Self::Allowed => Pool::AllowedHosts,
            Self::Known | Self::Over => Pool::Known,
            Self::Banned => Pool::Banned,
            Self::New => Pool::New,
            Self::Refused => Pool::Strangers,
        }
    }
}

/// Addresses that have something in common; no address is in two pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    BlockedHosts,
    BlockedPrefixes,
    AllowedHosts,
    Known,
    Banned,
    Strangers,
    New,
}

/// Pools begin so far apart, and none but `New` is larger.
const POOL: u64 = 1 << 24;
/// Addresses that are never seen twice in a run; half of the numbers that IPv4 has room for.
const NEW: u64 = 1 << 29;

impl Pool {
    /// So many sources of the pool, one after another, for the first program.
    ///
    /// IPv4: 128.0.0.0/2, and for prefixes one in each /24 of 16.0.0.0/4. IPv6: 2a00::/16, each
    /// source in a /52 of its own. No sanity check minds any of them.
    pub(super) fn aim(self, family: Family, count: u64) -> Aim {
        let prefixes = self == Self::BlockedPrefixes;
        let (family_number, bits, shift, base) = match (family, prefixes) {
            (Family::Ipv4, false) => (4, 30, 0, 0x8000_0000),
            (Family::Ipv4, true) => (4, 20, 8, 0x1000_0000),
            (Family::Ipv6, _) => (6, 32, 12, 0x2a00 << 48),
        };
        Aim {
            target: 0,
            family: family_number,
            random: 0,
            bits,
            shift,
            reserved: 0,
            base,
            first: self.first(family),
            count: if self == Self::New { NEW } else { count },
            state: 0,
            reserved2: 0,
        }
    }

    const fn first(self, family: Family) -> u64 {
        match self {
            Self::BlockedHosts => 0,
            Self::AllowedHosts => POOL,
            Self::Known => 2 * POOL,
            Self::Banned => 3 * POOL,
            Self::Strangers => 5 * POOL,
            Self::BlockedPrefixes => match family {
                // Among the prefixes' own numbers.
                Family::Ipv4 => 0,
                Family::Ipv6 => 4 * POOL,
            },
            Self::New => NEW,
        }
    }
}

/// Lengths of the listed prefixes, the shortest and how many: IPv4 /24 to /31, IPv6 /52 to /63.
pub(super) const fn prefix_lengths(family: Family) -> (u8, u8) {
    match family {
        Family::Ipv4 => (24, 8),
        Family::Ipv6 => (52, 12),
    }
}

/// The length of a listed prefix: each in turn.
pub(super) fn prefix_len(family: Family, number: u64) -> u8 {
    let (shortest, lengths) = prefix_lengths(family);
    u8::try_from(number % u64::from(lengths)).map_or(shortest, |more| shortest + more)
}

/// Entries or sources of the smaller side where the scorecard compares two.
const FEW: u32 = 1_000;

/// One line of the table; in the table's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Scenario {
    /// Threads that do this at once, each on a CPU and with sources of its own.
    pub threads: usize,
    /// The packets' layer.
    pub family: Family,
    /// What happens to them.
    pub case: Case,
    /// Entries of the blocklist: half of them addresses, half prefixes. The allowlist has as many
    /// addresses, at most 100,000.
    pub listed: u32,
    /// Distinct sources that the packets come from; 0 when no source comes twice.
    pub sources: u32,
}

impl Scenario {
    /// The same with few entries or sources, where the scorecard compares both.
    pub(super) fn with_few(&self) -> Option<Self> {
        let is_long = self.listed >= 1_000_000;
        if matches!(self.case, Case::BlockedHost | Case::BlockedPrefix) && is_long {
            return Some(Self {
                listed: FEW,
                sources: FEW / 2,
                ..*self
            });
        }
        (self.case == Case::Refused && self.sources == 0).then_some(Self {
            sources: FEW,
            ..*self
        })
    }

    /// What each thread's driver is told. `position` is how many packets each has had before.
    pub(super) fn aims(&self, position: u64, random: bool) -> Vec<Aim> {
        let never_twice = self.sources == 0;
        let pool = if never_twice {
            Pool::New
        } else {
            self.case.pool()
        };
        let whole = pool.aim(self.family, u64::from(self.sources));
        let share = (whole.count / self.threads.max(1) as u64).max(1);
        (0..self.threads as u64)
            .map(|thread| Aim {
                first: whole.first + thread * share,
                count: share,
                random: u32::from(random && !never_twice),
                state: if random && !never_twice {
                    seed(position, thread)
                } else {
                    position % share
                },
                ..whole
            })
            .collect()
    }
}

/// Never 0, which xorshift doesn't leave.
pub(super) fn seed(position: u64, thread: u64) -> u64 {
    (position + thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::abi::scattered;
    use super::*;

    #[test]
    fn scattering_is_one_to_one() {
        for bits in [12, 16, 20] {
            let all: HashSet<u64> = (0..1 << bits).map(|n| scattered(n, bits)).collect();
            assert_eq!(all.len(), 1 << bits);
            assert!(all.iter().all(|n| n >> bits == 0));
        }
    }

    #[test]
    fn threads_share_the_sources_and_no_two_have_the_same() {
        let scenario = Scenario {
            case: Case::Known,
            family: Family::Ipv6,
            listed: 0,
            sources: 1000,
            threads: 2,
        };
        let mut seen = HashSet::new();
        for mut aim in scenario.aims(0, false) {
            let own: HashSet<u64> = (0..2000).map(|_| aim.next()).collect();
            assert_eq!(own.len(), 500);
            assert!(own.is_disjoint(&seen));
            seen.extend(own);
        }
        for mut aim in scenario.aims(7, true) {
            assert!((0..2000).all(|_| seen.contains(&aim.next())));
        }
    }

    #[test]
    fn new_sources_go_on_where_the_last_run_ended() {
        let scenario = Scenario {
            case: Case::New,
            family: Family::Ipv4,
            listed: 0,
            sources: 0,
            threads: 1,
        };
        let run = |position| {
            let mut aim = scenario.aims(position, true)[0];
            (0..1000).map(|_| aim.next()).collect::<HashSet<u64>>()
        };
        assert_eq!(run(0).len(), 1000);
        assert!(run(0).is_disjoint(&run(1000)));
    }
}
