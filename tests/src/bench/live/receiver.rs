//! What is put at the receiving end of a wire.

mod native;
mod netfilter;

use std::net::Ipv4Addr;

use anyhow::Result;
use serde::Serialize;

use super::lane::Lane;

/// What receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// A program that is nothing but `return XDP_DROP`.
    Bare,
    /// Reads Ethernet and IP, and drops: the least that looks at a packet.
    Parse,
    /// Reads Ethernet, IP and one line of a table that the source chooses, counts, and drops: the least
    /// that drops what is listed.
    Least,
    /// The real program as the daemon loads it.
    Throttle,
    /// Debian's xdp-filter, denying what is listed.
    XdpFilter,
    /// A rule with a set, at the ingress hook of nftables' netdev family.
    NftSet,
    /// A limit per source there.
    NftLimit,
    /// An iptables rule with an ipset, in the raw table.
    Ipset,
}

impl Receiver {
    /// All, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Bare,
        Self::Parse,
        Self::Least,
        Self::Throttle,
        Self::XdpFilter,
        Self::NftSet,
        Self::NftLimit,
        Self::Ipset,
    ];

    /// The name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare `XDP_DROP`",
            Self::Parse => "parse and drop",
            Self::Least => "parse, one line, count, drop",
            Self::Throttle => "xdp-throttle",
            Self::XdpFilter => "xdp-filter",
            Self::NftSet => "nftables, set at ingress",
            Self::NftLimit => "nftables, limit per source at ingress",
            Self::Ipset => "iptables raw, ipset",
        }
    }

    /// Puts it on the lane's receiving end, with these addresses listed where it has a list.
    pub(super) fn install(self, lane: &Lane, listed: &[Ipv4Addr]) -> Result<Box<dyn Installed>> {
        Ok(match self {
            Self::Bare => Box::new(native::Plain::install(lane, "bench_bare")?),
            Self::Parse => Box::new(native::Plain::install(lane, "bench_parse")?),
            Self::Least => Box::new(native::Plain::install(lane, "bench_least")?),
            Self::Throttle => Box::new(native::Throttle::install(lane, listed)?),
            Self::XdpFilter => Box::new(native::XdpFilter::install(lane, listed)?),
            Self::NftSet => Box::new(netfilter::Nft::with_set(lane, listed)?),
            Self::NftLimit => Box::new(netfilter::Nft::with_limit(lane, listed.len())?),
            Self::Ipset => Box::new(netfilter::Ipset::install(lane, listed)?),
        })
    }
}

/// A receiver in its place, which it leaves when dropped.
pub(super) trait Installed {
    /// Packets that it has dropped so far, by its own count.
    fn dropped(&self, lane: &Lane) -> Result<u64>;
}
