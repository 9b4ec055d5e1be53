//! Four namespaces: the bridge in the middle, the others on its ports.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;

use crate::netns::Namespace;
use crate::netns::link::{End, Mac, veth_pair};

/// Where the protected host serves its page.
pub(super) const SERVICE: SocketAddrV4 = SocketAddrV4::new(PROTECTED, 80);
/// The attacker's interface.
pub(super) const ATTACKER_PORT: &str = "attack0";

const PROTECTED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const CLIENT_PORT: &str = "client0";
const MTU: u32 = 1500;

pub(super) const PROTECTED_MAC: Mac = [2, 0, 0, 0x77, 0, 1];
pub(super) const ATTACKER_MAC: Mac = [2, 0, 0, 0x77, 0, 3];
const CLIENT_MAC: Mac = [2, 0, 0, 0x77, 0, 2];

/// The namespaces, and the name of the protected host's interface.
pub(super) struct Topology {
    pub(super) protected: Namespace,
    pub(super) client: Namespace,
    pub(super) attacker: Namespace,
    switch: Namespace,
    /// The protected host's only interface, which the daemon attaches to.
    pub(super) uplink: String,
}

impl Topology {
    pub(super) fn new(attack_sources: u8) -> Result<Self> {
        let topology = Self {
            protected: Namespace::new("protected")?,
            client: Namespace::new("client")?,
            attacker: Namespace::new("attacker")?,
            switch: Namespace::new("switch")?,
            uplink: uplink_name(),
        };
        topology.connect()?;
        topology.introduce(attack_sources)?;
        Ok(topology)
    }

    fn connect(&self) -> Result<()> {
        let ports = [
            (&self.protected, self.uplink.as_str(), PROTECTED_MAC, "p1"),
            (&self.client, CLIENT_PORT, CLIENT_MAC, "p2"),
            (&self.attacker, ATTACKER_PORT, ATTACKER_MAC, "p3"),
        ];
        for (namespace, interface, mac, port) in ports {
            let host = End::new(namespace, interface).mac(mac);
            veth_pair(host, End::new(&self.switch, port), MTU)?;
        }
        self.switch.add_bridge("switch0", &["p1", "p2", "p3"])?;
        self.protected
            .add_address(&self.uplink, &format!("{PROTECTED}/16"))?;
        self.client
            .add_address(CLIENT_PORT, &format!("{CLIENT}/16"))
    }

    /// Everybody knows everybody's hardware address: who finds whom is not what is measured here.
    /// The attacker has no address at all and so answers nothing.
    fn introduce(&self, attack_sources: u8) -> Result<()> {
        self.client
            .add_neighbour(CLIENT_PORT, PROTECTED.into(), PROTECTED_MAC)?;
        self.protected
            .add_neighbour(&self.uplink, CLIENT.into(), CLIENT_MAC)?;
        for source in attackers(attack_sources) {
            self.protected
                .add_neighbour(&self.uplink, source.into(), ATTACKER_MAC)?;
        }
        Ok(())
    }
}

/// The attack's source addresses.
pub(super) fn attackers(count: u8) -> impl Iterator<Item = Ipv4Addr> {
    (1..=count).map(|host| Ipv4Addr::new(10, 77, 66, host))
}

/// The last CPU, which is not the host's unless there is only one.
pub(super) fn attack_cpu() -> usize {
    std::thread::available_parallelism().map_or(0, |count| count.get() - 1)
}

/// Of this process alone, since its NAPI threads are in a list with those of all namespaces.
pub(super) fn uplink_name() -> String {
    format!("uplink{}", std::process::id() % 1_000_000)
}
