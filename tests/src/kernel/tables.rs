//! Fills and reads the tables.

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use xdp_common::abi::{Ban, FAMILY_IPV4, FAMILY_IPV6, Plain, Source, SourceKey};
use xdp_common::reason::Reason;
use xdp_common::verdict::STRIKE_COUNT_BITS;
use xdp_user::api::types::ListKind;
use xdp_user::datapath::{Datapath as _, Entry};
use xdp_user::domain::Prefix;

use super::{Kernel, limits, policy};
use crate::oracle::{self, Banned, Listed, Meter, Rules, Strikes};

impl Kernel {
    /// Puts the rules in force: lists and overrides, then the policy.
    ///
    /// # Errors
    /// When the kernel refuses a write.
    pub fn apply(&mut self, rules: &Rules) -> Result<()> {
        for entry in &rules.allow {
            self.allow(entry)?;
        }
        for entry in &rules.block {
            self.block(entry)?;
        }
        for (prefix, limits) in &rules.overrides {
            self.override_limits(*prefix, limits)?;
        }
        self.set_policy(&policy(rules))
    }

    /// Puts an entry on the allowlist.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn allow(&mut self, entry: &Listed) -> Result<()> {
        self.list(ListKind::Allow, entry)
    }

    /// Puts an entry on the blocklist.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn block(&mut self, entry: &Listed) -> Result<()> {
        self.list(ListKind::Block, entry)
    }

    fn list(&mut self, kind: ListKind, entry: &Listed) -> Result<()> {
        let expires_ns = entry.expires_ns.unwrap_or(0);
        let put = self
            .datapath
            .put_entry(kind, &prefix(entry.prefix)?, expires_ns, 0);
        Ok(put?)
    }

    /// Gives a prefix limits of its own; the policy must say that there are any.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn override_limits(&mut self, prefix: IpNet, own: &oracle::Limits) -> Result<()> {
        Ok(self
            .datapath
            .put_limits(&self::prefix(prefix)?, &limits(own))?)
    }

    /// The allowlist's entry for exactly this prefix, with its hits.
    ///
    /// # Errors
    /// When there is none.
    pub fn allow_entry(&mut self, prefix: IpNet) -> Result<Entry> {
        let entry = self
            .datapath
            .entry(ListKind::Allow, &self::prefix(prefix)?)?;
        entry.context("no such entry")
    }

    /// The blocklist's entry for exactly this prefix, with its hits.
    ///
    /// # Errors
    /// When there is none.
    pub fn block_entry(&mut self, prefix: IpNet) -> Result<Entry> {
        let entry = self
            .datapath
            .entry(ListKind::Block, &self::prefix(prefix)?)?;
        entry.context("no such entry")
    }

    /// Stores a ban.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn ban(&mut self, source: IpNet, ban: Ban) -> Result<()> {
        Ok(self.datapath.put_ban(&source_key(source), &ban)?)
    }

    /// The ban of a source, current or past.
    ///
    /// # Errors
    /// When the read fails.
    pub fn ban_of(&self, source: IpNet) -> Result<Option<Ban>> {
        Ok(self.datapath.ban(&source_key(source))?)
    }

    /// Stores what is known of a source.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn set_source(&mut self, source: IpNet, state: Source) -> Result<()> {
        ensure!(
            self.datapath.put_source(&source_key(source), &state),
            "no room for {source}"
        );
        Ok(())
    }

    /// What is known of a source.
    ///
    /// # Errors
    /// When the read fails.
    pub fn source(&self, source: IpNet) -> Result<Option<Source>> {
        Ok(self.datapath.source(&source_key(source))?)
    }
}

/// A ban of the oracle's for a rate in packets, as the program stores it.
#[must_use]
pub fn ban_from(ban: &Banned) -> Ban {
    Ban {
        until_ns: ban.until_ns,
        since_ns: ban.since_ns,
        level: ban.level,
        reason: Reason::RatePackets.code().into(),
        ..Ban::ZERO
    }
}

/// A stored ban in the oracle's terms.
#[must_use]
pub fn banned_from(ban: &Ban) -> Banned {
    Banned {
        since_ns: ban.since_ns,
        until_ns: ban.until_ns,
        level: ban.level,
    }
}

/// A source's state in the oracle's terms.
#[must_use]
pub fn source_from(source: &Source) -> oracle::Source {
    let meter = |tat_ns| Meter { tat_ns };
    oracle::Source {
        packets: meter(source.tat_packets),
        bytes: meter(source.tat_bytes),
        tcp_new: meter(source.tat_tcp_new),
        strikes: Strikes {
            count: source.strikes & 0xffff,
            last_ms: (source.strikes != 0).then_some(source.strikes >> STRIKE_COUNT_BITS),
        },
        seen: (source.packets, source.bytes),
        over: (source.dropped_packets, source.dropped_bytes),
    }
}

/// A source as the program keys it.
#[must_use]
pub fn source_key(source: IpNet) -> SourceKey {
    let mut key = SourceKey {
        prefix_len: source.prefix_len(),
        ..SourceKey::ZERO
    };
    match source.trunc() {
        IpNet::V4(net) => {
            key.family = FAMILY_IPV4;
            key.addr[..4].copy_from_slice(&net.addr().octets());
        }
        IpNet::V6(net) => {
            key.family = FAMILY_IPV6;
            key.addr = net.addr().octets();
        }
    }
    key
}

fn prefix(net: IpNet) -> Result<Prefix> {
    Prefix::new(net.addr(), net.prefix_len()).with_context(|| format!("{net} is no prefix"))
}
