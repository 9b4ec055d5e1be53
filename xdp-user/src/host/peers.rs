//! Protected peers: the addresses that this host must hear from to stay reachable. A block that
//! holds one of them is refused unless it is forced.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::link::Link;
use super::{addresses, routes, sessions};
use crate::domain::Prefix;

/// More than any host has; beyond it the guard says that it can't look.
const MOST_PEERS: usize = 1 << 18;

/// What a protected peer is to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerRole {
    /// The gateway of a default route.
    DefaultGateway,
    /// The gateway of another route.
    Gateway,
    /// An address of the host itself.
    OwnAddress,
    /// A network that the host is in.
    OwnNetwork,
    /// The other end of a point-to-point link.
    PointToPoint,
    /// Who is logged in.
    Session,
}

impl PeerRole {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DefaultGateway => "default_gateway",
            Self::Gateway => "gateway",
            Self::OwnAddress => "own_address",
            Self::OwnNetwork => "own_network",
            Self::PointToPoint => "point_to_point",
            Self::Session => "session",
        }
    }
}

/// What must not be cut off.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtectedPeer {
    /// Which addresses: a block that holds all of them is refused.
    pub prefix: Prefix,
    /// What they are.
    pub role: PeerRole,
    /// The device that has them or leads there; none for a session.
    pub device: Option<String>,
}

/// As the end of "it holds 192.0.2.1, …".
impl fmt::Display for ProtectedPeer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.role {
            PeerRole::DefaultGateway => "the default gateway",
            PeerRole::Gateway => "a gateway",
            PeerRole::OwnAddress => "an address",
            PeerRole::OwnNetwork => "the whole network",
            PeerRole::PointToPoint => "the other end",
            PeerRole::Session => "the address of an SSH session",
        };
        match &self.device {
            Some(device) => write!(out, "{what} of {device}"),
            None => write!(out, "{what}"),
        }
    }
}

/// All of them, and what could not be found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtectedPeers {
    /// Sorted.
    peers: Vec<ProtectedPeer>,
    /// What could not be found out, and why: as long as there is something, a block may cut off
    /// somebody who isn't among the peers.
    pub unknown: Vec<String>,
}

impl ProtectedPeers {
    /// In the order of their prefixes.
    pub fn iter(&self) -> impl Iterator<Item = &ProtectedPeer> {
        self.peers.iter()
    }

    /// Those that a block of this prefix would cut off.
    pub fn within(&self, block: &Prefix) -> impl Iterator<Item = &ProtectedPeer> {
        // Sorted by family, network and length: what a prefix covers stands side by side, from the
        // prefix itself on.
        let first = self.peers.partition_point(|peer| peer.prefix < *block);
        let rest = self.peers.get(first..).unwrap_or_default().iter();
        rest.take_while(|peer| block.covers(&peer.prefix))
    }

    /// Keeps those that `keep` says.
    pub fn retain(&mut self, keep: impl FnMut(&ProtectedPeer) -> bool) {
        self.peers.retain(keep);
    }
}

impl FromIterator<ProtectedPeer> for ProtectedPeers {
    fn from_iter<I: IntoIterator<Item = ProtectedPeer>>(peers: I) -> Self {
        let mut peers: Vec<_> = peers.into_iter().collect();
        peers.sort();
        peers.dedup();
        Self {
            peers,
            unknown: Vec::new(),
        }
    }
}

/// Asks for everything that concerns these devices.
pub(super) fn find(devices: &[&Link], mut unknown: Vec<String>, proc: &Path) -> ProtectedPeers {
    let names: BTreeMap<u32, &str> = devices
        .iter()
        .map(|link| (link.index, link.name.as_str()))
        .collect();
    let mut found = Vec::new();
    match routes::gateways() {
        Ok(gateways) => found.extend(gateways.iter().filter_map(|one| gateway(one, &names))),
        Err(error) => unknown.push(format!("the routes could not be listed: {error}")),
    }
    match addresses::assigned() {
        Ok(assigned) => found.extend(assigned.iter().flat_map(|one| own(one, &names))),
        Err(error) => unknown.push(format!("the addresses could not be listed: {error}")),
    }
    match sessions::peers(proc) {
        Ok(peers) => found.extend(peers.into_iter().map(|peer| ProtectedPeer {
            prefix: Prefix::host(peer),
            role: PeerRole::Session,
            device: None,
        })),
        Err(error) => unknown.push(format!("SSH sessions could not be listed: {error}")),
    }
    if found.len() > MOST_PEERS {
        found.truncate(MOST_PEERS);
        unknown.push(format!("there are over {MOST_PEERS} protected peers"));
    }
    ProtectedPeers {
        unknown,
        ..found.into_iter().collect()
    }
}

fn gateway(gateway: &routes::Gateway, names: &BTreeMap<u32, &str>) -> Option<ProtectedPeer> {
    Some(ProtectedPeer {
        prefix: Prefix::host(gateway.address),
        role: match gateway.default {
            true => PeerRole::DefaultGateway,
            false => PeerRole::Gateway,
        },
        device: Some((*names.get(&gateway.out)?).to_owned()),
    })
}

fn own(assigned: &addresses::Assigned, names: &BTreeMap<u32, &str>) -> Vec<ProtectedPeer> {
    let Some(name) = names.get(&assigned.device) else {
        return Vec::new();
    };
    let of = |prefix, role| ProtectedPeer {
        prefix,
        role,
        device: Some((*name).to_owned()),
    };
    let own = of(Prefix::host(assigned.own), PeerRole::OwnAddress);
    let peer = assigned
        .peer
        .map(|peer| of(Prefix::host(peer), PeerRole::PointToPoint));
    let network = assigned
        .network
        .map(|network| of(network, PeerRole::OwnNetwork));
    [Some(own), peer, network].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::HostSnapshot;
    use super::*;

    fn peer(prefix: &str, role: PeerRole, device: Option<&str>) -> ProtectedPeer {
        ProtectedPeer {
            prefix: prefix.parse().unwrap(),
            role,
            device: device.map(str::to_owned),
        }
    }

    #[test]
    fn only_what_concerns_the_devices_is_protected() {
        let names = BTreeMap::from([(2, "eth0")]);
        let of = |out| {
            let wanted = routes::Gateway {
                address: "192.0.2.1".parse().unwrap(),
                out,
                default: true,
            };
            gateway(&wanted, &names)
        };
        let expected = peer("192.0.2.1", PeerRole::DefaultGateway, Some("eth0"));
        assert_eq!((of(2), of(3)), (Some(expected), None));
        let mut assigned = addresses::Assigned {
            device: 2,
            own: "10.0.0.1".parse().unwrap(),
            peer: Some("10.9.0.2".parse().unwrap()),
            network: Some("10.9.0.0/24".parse().unwrap()),
        };
        let told: Vec<String> = own(&assigned, &names)
            .iter()
            .map(|peer| format!("{}, {peer}", peer.prefix))
            .collect();
        let expected = [
            "10.0.0.1, an address of eth0",
            "10.9.0.2, the other end of eth0",
            "10.9.0.0/24, the whole network of eth0",
        ];
        assert_eq!(told, expected);
        assigned.device = 3;
        assert_eq!(own(&assigned, &names), []);
    }

    #[test]
    fn a_block_finds_what_it_holds_among_many() {
        let peers: ProtectedPeers = [
            peer("192.0.2.1", PeerRole::DefaultGateway, Some("eth0")),
            peer("192.0.2.0/24", PeerRole::OwnNetwork, Some("eth0")),
            peer("192.0.2.9", PeerRole::Session, None),
            peer("192.0.3.1", PeerRole::Gateway, Some("eth0")),
            peer("fe80::1", PeerRole::DefaultGateway, Some("eth0")),
            peer("fe80::/64", PeerRole::OwnNetwork, Some("eth0")),
        ]
        .into_iter()
        .collect();
        let held = |block: &str| {
            let found: Vec<String> = peers
                .within(&block.parse().unwrap())
                .map(|peer| peer.prefix.to_string())
                .collect();
            found
        };
        assert_eq!(held("192.0.2.1"), ["192.0.2.1"]);
        assert_eq!(held("192.0.2.0/25"), ["192.0.2.1", "192.0.2.9"]);
        let both = ["192.0.2.0/24", "192.0.2.1", "192.0.2.9", "192.0.3.1"];
        assert_eq!(held("192.0.2.0/23"), both);
        assert_eq!(held("192.0.2.0/24"), both[..3]);
        assert_eq!(held("fe80::/10"), ["fe80::/64", "fe80::1"]);
        assert_eq!(held("192.0.2.8"), Vec::<String>::new());
        assert_eq!(held("2001:db8::/32"), Vec::<String>::new());
    }

    #[test]
    fn loopback_has_its_own() {
        let peers = HostSnapshot::by_names(&["lo".parse().unwrap()]).protected_peers();
        assert_eq!(peers.unknown, Vec::<String>::new());
        let own = "127.0.0.1".parse().unwrap();
        assert!(peers.iter().any(|peer| peer.prefix == own), "{peers:?}");
    }
}
