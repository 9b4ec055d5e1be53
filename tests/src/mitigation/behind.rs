//! A host that is one by its addresses only: what it offers is in a container behind it, as with
//! Docker, and addresses are translated on the way.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

use super::topology::{
    DNS_PORT, Family, GAME_PORT, HOST_V4, HOST_V6, HTTP_PORT, UDP_PORT, on_host,
};
use crate::netns::Namespace;
use crate::netns::link::{End, Mac, veth_pair};

const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 1);
const INSIDE_V4: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);
const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 2);
const GATEWAY_PORT: &str = "mitgw0";
const INSIDE_PORT: &str = "mitin0";
const GATEWAY_MAC: Mac = [2, 0, 0, 0x78, 0, 5];
const INSIDE_MAC: Mac = [2, 0, 0, 0x78, 0, 6];

/// What kind of host is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Host {
    /// Its services are its own.
    #[default]
    Plain,
    /// It forwards to a container, which has the services and asks the questions.
    Forwarding,
    /// The same, with listeners of its own on the same ports, as docker-proxy has them.
    Proxying,
}

impl Host {
    /// Before the names of what is attacked on the scorecard.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Forwarding => "forwarding_",
            Self::Proxying => "proxying_",
        }
    }
}

/// What was seen behind a host that forwards, during an attack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forwarded {
    /// The most connections that were tracked at any look, once a second.
    pub tracked: u64,
    /// The most that can be.
    pub trackable: u64,
    /// Resets that the container sent, such as for an ACK of a connection that it doesn't know.
    pub resets: i64,
}

impl Forwarded {
    /// Tracked of trackable.
    #[must_use]
    pub fn share(self) -> f64 {
        self.tracked as f64 / self.trackable.max(1) as f64
    }

    /// Both looks together; `self` is the later one.
    pub(super) fn most(self, earlier: Self) -> Self {
        Self {
            tracked: self.tracked.max(earlier.tracked),
            ..self
        }
    }
}

/// The container.
pub(super) struct Behind {
    pub(super) container: Namespace,
    pub(super) proxied: bool,
}

impl Behind {
    /// Makes it, and has the host translate and forward.
    pub(super) fn new(host: &Namespace, uplink: &str, proxied: bool) -> Result<Self> {
        let container = Namespace::new("container")?;
        let gateway = End::new(host, GATEWAY_PORT).mac(GATEWAY_MAC);
        let inside = End::new(&container, INSIDE_PORT).mac(INSIDE_MAC);
        veth_pair(gateway, inside, 1500)?;
        for (namespace, port, v4, v6) in [
            (host, GATEWAY_PORT, GATEWAY_V4, GATEWAY_V6),
            (&container, INSIDE_PORT, INSIDE_V4, INSIDE_V6),
        ] {
            namespace.add_address(port, &format!("{v4}/24"))?;
            namespace.add_address(port, &format!("{v6}/64"))?;
        }
        host.add_neighbour(GATEWAY_PORT, INSIDE_V4.into(), INSIDE_MAC)?;
        host.add_neighbour(GATEWAY_PORT, INSIDE_V6.into(), INSIDE_MAC)?;
        container.add_neighbour(INSIDE_PORT, GATEWAY_V4.into(), GATEWAY_MAC)?;
        container.add_neighbour(INSIDE_PORT, GATEWAY_V6.into(), GATEWAY_MAC)?;
        for (to, via) in [
            ("0.0.0.0/0", GATEWAY_V4.to_string()),
            ("::/0", GATEWAY_V6.to_string()),
        ] {
            container.ip(&["route", "add", to, "via", &via])?;
        }
        host.sysctl("net/ipv4/ip_forward", "1")?;
        host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let added = host.output("nft", &[&rules(uplink)]);
        added.context("no rules that translate: `cargo xtask setup` installs nft")?;
        Ok(Self { container, proxied })
    }

    /// A look at what is tracked now, and at all resets until now.
    pub(super) fn look(&self, host: &Namespace) -> Result<Forwarded> {
        let read = |name: &str| -> Result<u64> {
            let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
            let text = host.read(&path)?;
            text.trim()
                .parse()
                .with_context(|| format!("{path}: {text}"))
        };
        Ok(Forwarded {
            tracked: read("count")?,
            trackable: read("max")?,
            resets: self.container.snmp()?.get("Tcp", "OutRsts"),
        })
    }
}

/// The container's address for what is asked of the host's.
pub(super) fn inside(family: Family, port: u16) -> SocketAddr {
    match family {
        Family::V4 => (INSIDE_V4, port).into(),
        Family::V6 => (INSIDE_V6, port).into(),
    }
}

/// Where a service listens: the places, each with whether it is the container.
pub(super) fn places(
    behind: Option<&Behind>,
    family: Family,
    port: u16,
) -> impl Iterator<Item = (bool, SocketAddr)> {
    let own = behind.is_none_or(|behind| behind.proxied);
    let own = own.then(|| (false, on_host(family, port)));
    let contained = behind.map(|_| (true, inside(family, port)));
    contained.into_iter().chain(own)
}

fn rules(uplink: &str) -> String {
    let ports = format!("{DNS_PORT}, {UDP_PORT}, {GAME_PORT}");
    let translated = |ip: &str, host: &str, inside: &str| {
        format!(
            "iifname {uplink} {ip} daddr {host} tcp dport {HTTP_PORT} dnat {ip} to {inside};\n\
             iifname {uplink} {ip} daddr {host} udp dport {{ {ports} }} dnat {ip} to {inside};\n"
        )
    };
    let v4 = translated("ip", &HOST_V4.to_string(), &INSIDE_V4.to_string());
    let v6 = translated("ip6", &HOST_V6.to_string(), &INSIDE_V6.to_string());
    format!(
        "table inet mitigation {{\n\
         chain in {{ type nat hook prerouting priority -100;\n{v4}{v6}}}\n\
         chain out {{ type nat hook postrouting priority 100;\n\
         oifname {uplink} ip saddr {INSIDE_V4} masquerade;\n\
         oifname {uplink} ip6 saddr {INSIDE_V6} masquerade;\n}}\n\
         }}"
    )
}
