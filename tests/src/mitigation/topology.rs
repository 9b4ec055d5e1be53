//! Four namespaces: the switch in the middle; the protected host, its clients and the attacker on
//! its ports.
//!
//! The attacker forges addresses, so the host answers to everywhere. Whatever goes to none of its
//! clients goes to a hardware address behind a port that forwards nothing, and ends there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;

use super::attack::rewrite::Target;
use super::behind::{Behind, Forwarded, Host};
use super::relay::Relay;
use crate::netns::Namespace;
use crate::netns::link::{End, Mac, mac_text, veth_pair};
use crate::netns::offload::Priority;

/// The host's /24, all of which is its own.
pub(crate) const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 0);
/// Where the host's HTTP service is.
pub(crate) const HTTP_PORT: u16 = 80;
/// Where its UDP service is.
pub(crate) const UDP_PORT: u16 = 5300;
/// Where games are played.
pub(super) const GAME_PORT: u16 = 27_015;
/// Where the host's DNS service is, and where the clients' network answers as a resolver.
pub(super) const DNS_PORT: u16 = 53;
/// Where it answers on connections that last.
pub(super) const TLS_PORT: u16 = 443;

pub(super) const HOST_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// The clients' gateway, which is their servers' address too.
const CLIENTS_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const CLIENTS_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 1);
const SINK_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);
const SINK_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 3, 0, 0, 0, 0, 0, 1);

pub(super) const HOST_MAC: Mac = [2, 0, 0, 0x78, 0, 1];
pub(super) const CLIENTS_MAC: Mac = [2, 0, 0, 0x78, 0, 2];
const ATTACKER_MAC: Mac = [2, 0, 0, 0x78, 0, 3];
/// Where attack frames say that they come from, too: a program's answer to one ends there.
const SINK_MAC: Mac = [2, 0, 0, 0x78, 0, 4];

/// The attacker's interface.
pub(super) const ATTACKER_PORT: &str = "mitatk0";
const CLIENTS_PORT: &str = "mitcli0";
const SWITCH: &str = "mitsw0";
/// The switch's port to the host.
const HOST_SIDE: &str = "mitp1";
/// Its port to the attacker.
const ATTACKER_SIDE: &str = "mitp3";
const MTU: u32 = 1500;

/// The namespaces, and the name of the host's interface.
pub(super) struct Topology {
    pub(super) host: Namespace,
    pub(super) clients: Namespace,
    pub(super) attacker: Namespace,
    pub(super) switch: Namespace,
    /// A container behind the host, if it forwards.
    pub(super) behind: Option<Behind>,
    relay: Option<Relay>,
    /// The host's interface to all others, which the daemon attaches to.
    pub(super) uplink: String,
}

/// Of this process alone, since its NAPI threads are in a list with those of all namespaces.
pub(super) fn uplink_name() -> String {
    format!("mituplk{}", std::process::id() % 10_000_000)
}

/// Where the attacker's packets go.
pub(super) fn target() -> Target {
    Target {
        from: SINK_MAC,
        to: HOST_MAC,
        v4: HOST_V4,
        v6: HOST_V6,
    }
}

/// An address of a service of the host.
pub(super) fn on_host(family: Family, port: u16) -> SocketAddr {
    match family {
        Family::V4 => (HOST_V4, port).into(),
        Family::V6 => (HOST_V6, port).into(),
    }
}

/// An address of a service in the clients' network.
pub(super) fn on_clients(port: u16) -> SocketAddr {
    (CLIENTS_V4, port).into()
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// The address of a client that is there all the time.
pub(super) fn old_client(family: Family, number: u64) -> IpAddr {
    let number = u16::try_from(number % 200).unwrap_or(0) + 10;
    match family {
        Family::V4 => Ipv4Addr::new(10, 77, 1, number as u8).into(),
        Family::V6 => Ipv6Addr::new(0xfd77, 1, 0, number, 0, 0, 0, 1).into(),
    }
}

/// The address of a client that comes during the attack: another one for each number, in IPv6 in
/// another /64.
pub(super) fn newcomer(family: Family, number: u64) -> IpAddr {
    let [.., a, b] = number.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(10, 77, 64 | (a & 0x3f), b).into(),
        Family::V6 => Ipv6Addr::new(0xfd77, 2, 0, u16::from_be_bytes([a, b]), 0, 0, 0, 1).into(),
    }
}

impl Topology {
    pub(super) fn new(kind: Host) -> Result<Self> {
        let mut topology = Self {
            host: Namespace::new("protected")?,
            clients: Namespace::new("clients")?,
            attacker: Namespace::new("attacker")?,
            switch: Namespace::new("switch")?,
            behind: None,
            relay: None,
            uplink: uplink_name(),
        };
        topology.set_sysctls()?;
        topology.connect()?;
        topology.set_host_up()?;
        topology.set_clients_up()?;
        let behind = |proxied| Behind::new(&topology.host, &topology.uplink, proxied);
        topology.behind = match kind {
            Host::Plain => None,
            Host::Forwarding => Some(behind(false)?),
            Host::Proxying => Some(behind(true)?),
        };
        let relay = Relay::install(&topology.switch, ATTACKER_SIDE, HOST_SIDE)?;
        topology.relay = Some(relay);
        Ok(topology)
    }

    /// Packets of all senders that some interface on the way to the host had no room for.
    pub(super) fn lost(&self) -> Result<u64> {
        let to_host = self.switch.link_counters(HOST_SIDE)?;
        let from_attacker = self.attacker.link_counters(ATTACKER_PORT)?;
        Ok(to_host.tx_dropped + from_attacker.tx_dropped)
    }

    /// Who asks questions and talks to servers outside.
    pub(super) fn asking(&self) -> &Namespace {
        let behind = self.behind.as_ref();
        behind.map_or(&self.host, |behind| &behind.container)
    }

    /// What is seen behind a host that forwards.
    pub(super) fn forwarded(&self) -> Result<Option<Forwarded>> {
        let behind = self.behind.as_ref();
        behind.map(|behind| behind.look(&self.host)).transpose()
    }

    /// Has the host take its packets on this CPU, as from a network card.
    pub(super) fn receive_on(&self, cpu: usize) -> Result<()> {
        let Self { host, uplink, .. } = self;
        host.process_on_cpu(uplink, cpu, Priority::BeforeUserSpace)?;
        host.moderate_steadily(uplink)
    }

    /// Has answers of the host processed on another CPU than the host's: they are its network's work.
    pub(super) fn switch_on_cpu(&self, cpu: usize) -> Result<()> {
        self.switch
            .process_on_cpu(HOST_SIDE, cpu, Priority::BeforeUserSpace)
    }

    /// What another network namespace may have handed down; the rest is as the kernel has it.
    fn set_sysctls(&self) -> Result<()> {
        for which in ["all", "default"] {
            self.host
                .sysctl(&format!("net/ipv4/conf/{which}/rp_filter"), "0")?;
            self.host
                .sysctl(&format!("net/ipv6/conf/{which}/forwarding"), "0")?;
        }
        self.host.sysctl("net/ipv4/ip_forward", "0")?;
        // An address that only a local route has may be bound to.
        self.clients.sysctl("net/ipv6/ip_nonlocal_bind", "1")
    }

    fn connect(&self) -> Result<()> {
        let ports = [
            (&self.host, self.uplink.as_str(), HOST_MAC, HOST_SIDE),
            (&self.clients, CLIENTS_PORT, CLIENTS_MAC, "mitp2"),
            (&self.attacker, ATTACKER_PORT, ATTACKER_MAC, ATTACKER_SIDE),
            // Both ends here: only the port is of use, as a place where frames end.
            (&self.switch, "mitsink0", SINK_MAC, "mitp4"),
        ];
        for (namespace, interface, mac, port) in ports {
            let end = End::new(namespace, interface).mac(mac);
            veth_pair(end, End::new(&self.switch, port), MTU)?;
        }
        let ports = ports.map(|(.., port)| port);
        self.switch.add_bridge(SWITCH, &ports)?;
        // Nobody has to be found, and no frame tells the switch otherwise.
        for (mac, port) in [HOST_MAC, CLIENTS_MAC, ATTACKER_MAC, SINK_MAC]
            .iter()
            .zip(ports)
        {
            let mac = mac_text(*mac);
            self.bridge(&["fdb", "replace", &mac, "dev", port, "master", "static"])?;
            self.bridge(&["link", "set", "dev", port, "learning", "off"])?;
        }
        // 0: disabled (linux/if_bridge.h).
        self.bridge(&["link", "set", "dev", "mitp4", "state", "0"])?;
        // The host takes its packets in the same way whether a program is attached or not,
        self.host.gro_on(&self.uplink)?;
        self.switch.tso_off(HOST_SIDE)?;
        // and a program's own answers (XDP_TX) find somebody who takes them.
        self.switch.gro_on(HOST_SIDE)
    }

    fn bridge(&self, arguments: &[&str]) -> Result<()> {
        self.switch.output("bridge", arguments).map(drop)
    }

    fn set_host_up(&self) -> Result<()> {
        let uplink = self.uplink.as_str();
        let network = format!("{NETWORK}/24");
        for (address, via, to) in [
            (
                format!("{HOST_V4}/32"),
                CLIENTS_V4.to_string(),
                "10.77.0.0/16",
            ),
            (
                format!("{HOST_V6}/128"),
                CLIENTS_V6.to_string(),
                "fd77::/16",
            ),
        ] {
            self.host.add_address(uplink, &address)?;
            self.host
                .ip(&["route", "add", to, "via", &via, "dev", uplink, "onlink"])?;
        }
        for (via, to) in [
            (SINK_V4.to_string(), "0.0.0.0/0"),
            (SINK_V6.to_string(), "::/0"),
        ] {
            self.host
                .ip(&["route", "add", to, "via", &via, "dev", uplink, "onlink"])?;
        }
        self.host
            .ip(&["route", "add", "local", &network, "dev", "lo"])?;
        let neighbours: [(IpAddr, Mac); 4] = [
            (CLIENTS_V4.into(), CLIENTS_MAC),
            (CLIENTS_V6.into(), CLIENTS_MAC),
            (SINK_V4.into(), SINK_MAC),
            (SINK_V6.into(), SINK_MAC),
        ];
        for (address, mac) in neighbours {
            self.host.add_neighbour(uplink, address, mac)?;
        }
        Ok(())
    }

    fn set_clients_up(&self) -> Result<()> {
        let clients = &self.clients;
        let network = format!("{NETWORK}/24");
        for address in [format!("{CLIENTS_V4}/32"), format!("{CLIENTS_V6}/128")] {
            clients.add_address(CLIENTS_PORT, &address)?;
        }
        for own in [
            "10.77.1.0/24",
            "10.77.64.0/18",
            "fd77:1::/32",
            "fd77:2::/32",
        ] {
            clients.ip(&["route", "add", "local", own, "dev", "lo"])?;
        }
        for to in [network, format!("{HOST_V6}/128")] {
            clients.ip(&["route", "add", &to, "dev", CLIENTS_PORT])?;
        }
        clients.add_neighbour(CLIENTS_PORT, HOST_V4.into(), HOST_MAC)?;
        clients.add_neighbour(CLIENTS_PORT, HOST_V6.into(), HOST_MAC)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_newcomer_is_another_one_and_none_is_an_old_client() {
        for family in [Family::V4, Family::V6] {
            let newcomers: HashSet<IpAddr> = (0..16_384).map(|n| newcomer(family, n)).collect();
            assert_eq!(newcomers.len(), 16_384);
            let old: HashSet<IpAddr> = (0..200).map(|n| old_client(family, n)).collect();
            assert_eq!(old.len(), 200);
            assert!(old.is_disjoint(&newcomers));
        }
    }
}
