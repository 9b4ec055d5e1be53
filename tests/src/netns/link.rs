//! Interfaces, addresses and neighbours in a [`Namespace`].

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Namespace;
use crate::wait::wait_until;

/// The kernel says later than `ip` ends that a link has its carrier (`net/core/link_watch.c`).
const CARRIER_TIMEOUT: Duration = Duration::from_secs(10);

/// A hardware address, as in the frame.
pub type Mac = [u8; 6];

/// `02:00:00:00:00:05` for a [`Mac`].
#[must_use]
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// One end of a veth pair to make: where, under which name, with which hardware address.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The namespace that the end is put into.
    pub namespace: &'a Namespace,
    /// Interface name, at most 15 bytes.
    pub name: &'a str,
    /// Hardware address, or `None` for a random one.
    pub mac: Option<Mac>,
}

impl<'a> End<'a> {
    /// An end with a random hardware address.
    #[must_use]
    pub fn new(namespace: &'a Namespace, name: &'a str) -> Self {
        Self {
            namespace,
            name,
            mac: None,
        }
    }

    /// The same end with a given hardware address.
    #[must_use]
    pub fn mac(self, mac: Mac) -> Self {
        Self {
            mac: Some(mac),
            ..self
        }
    }

    fn set_up(self) -> Result<()> {
        if let Some(mac) = self.mac {
            let mac = mac_text(mac);
            self.namespace
                .ip(&["link", "set", self.name, "address", &mac])?;
        }
        self.namespace.set_up(self.name)
    }

    fn wait_until_up(self) -> Result<()> {
        let path = format!("/sys/class/net/{}/operstate", self.name);
        let state = || self.namespace.read(&path);
        let what = format!("{} to be operational", self.name);
        wait_until(&what, CARRIER_TIMEOUT, || {
            state().is_ok_and(|state| state.trim() == "up")
        })
    }
}

/// Makes a veth pair between two namespaces (or within one), both ends up and with a carrier, MTU
/// in bytes.
///
/// # Errors
/// When a name is taken or the kernel refuses the MTU.
pub fn veth_pair(left: End<'_>, right: End<'_>, mtu: u32) -> Result<()> {
    let mtu = mtu.to_string();
    let right_net = right.namespace.net_path();
    let right_net = right_net.to_string_lossy();
    left.namespace.ip(&[
        "link", "add", left.name, "mtu", &mtu, "type", "veth", "peer", "name", right.name, "mtu",
        &mtu, "netns", &right_net,
    ])?;
    left.set_up()?;
    right.set_up()?;
    left.wait_until_up()?;
    right.wait_until_up()
}

/// The two VLAN tag protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlanProtocol {
    /// 802.1Q, EtherType 0x8100.
    Q,
    /// 802.1ad, EtherType 0x88a8.
    Ad,
}

/// How an XDP program is attached to an interface, as the kernel tells it (`IFLA_XDP_ATTACHED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// No program.
    None,
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
    /// In hardware, or in several modes at once.
    Other,
}

impl Namespace {
    /// Asks the kernel, not the daemon, how a program is attached to an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn xdp_attachment(&self, interface: &str) -> Result<Attachment> {
        let text = self.ip(&["-json", "-details", "link", "show", "dev", interface])?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        Ok(match links[0]["xdp"]["mode"].as_u64() {
            None => Attachment::None,
            Some(1) => Attachment::Native,
            Some(2) => Attachment::Generic,
            Some(_) => Attachment::Other,
        })
    }

    /// The kernel's number of the XDP program on an interface, if there is one.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn xdp_program(&self, interface: &str) -> Result<Option<u32>> {
        let text = self.ip(&["-json", "-details", "link", "show", "dev", interface])?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        let number = links[0]["xdp"]["prog"]["id"].as_u64();
        Ok(number.map(u32::try_from).transpose()?)
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn set_up(&self, interface: &str) -> Result<()> {
        self.ip(&["link", "set", interface, "up"]).map(drop)
    }

    /// Adds an address with its prefix length, such as `10.0.0.1/24` or `fd00::1/64`, usable at
    /// once.
    ///
    /// # Errors
    /// When there is no such interface or the address is there already.
    pub fn add_address(&self, interface: &str, address: &str) -> Result<()> {
        let mut arguments = vec!["addr", "add", address, "dev", interface];
        if address.contains(':') {
            arguments.push("nodad");
        }
        self.ip(&arguments).map(drop)
    }

    /// Adds a permanent neighbour, so that nothing has to be asked for on the wire.
    ///
    /// # Errors
    /// When there is no such interface or the address is not on its link.
    pub fn add_neighbour(&self, interface: &str, address: IpAddr, mac: Mac) -> Result<()> {
        let (address, mac) = (address.to_string(), mac_text(mac));
        self.ip(&[
            "neigh",
            "replace",
            &address,
            "lladdr",
            &mac,
            "dev",
            interface,
            "nud",
            "permanent",
        ])
        .map(drop)
    }

    /// Adds a VLAN subinterface `name` over `parent` and sets it up. Kernels built without
    /// CONFIG_VLAN_8021Q have none: ask [`Namespace::vlan_supported`], or send tagged frames with
    /// [`crate::packet::Packet::vlan`].
    ///
    /// # Errors
    /// When the kernel has no VLAN support, the name is taken or the identifier is over 4094.
    pub fn add_vlan(
        &self,
        parent: &str,
        name: &str,
        protocol: VlanProtocol,
        identifier: u16,
    ) -> Result<()> {
        let protocol = match protocol {
            VlanProtocol::Q => "802.1Q",
            VlanProtocol::Ad => "802.1ad",
        };
        let identifier = identifier.to_string();
        self.ip(&[
            "link",
            "add",
            "link",
            parent,
            "name",
            name,
            "type",
            "vlan",
            "proto",
            protocol,
            "id",
            &identifier,
        ])?;
        self.set_up(name)
    }

    /// Can this kernel make VLAN subinterfaces? Tries one over `lo`.
    #[must_use]
    pub fn vlan_supported(&self) -> bool {
        self.add_vlan("lo", "vlanprobe0", VlanProtocol::Q, 1)
            .and_then(|()| self.ip(&["link", "del", "vlanprobe0"]))
            .is_ok()
    }

    /// Makes a bridge out of interfaces that are here already, and sets it up: the "switch".
    ///
    /// # Errors
    /// When the name is taken or one of the ports doesn't exist.
    pub fn add_bridge(&self, name: &str, ports: &[&str]) -> Result<()> {
        // No snooping: it would make the bridge send queries that nobody asked for.
        self.ip(&["link", "add", name, "type", "bridge", "mcast_snooping", "0"])?;
        for port in ports {
            self.ip(&["link", "set", port, "master", name])?;
        }
        self.set_up(name)
    }

    /// The kernel's number for an interface of this namespace.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn interface_index(&self, interface: &str) -> Result<u32> {
        self.run(|| nix::net::if_::if_nametoindex(interface))?
            .with_context(|| format!("no interface {interface} in {}", self.name()))
    }

    /// The hardware address of an interface of this namespace.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, interface: &str) -> Result<Mac> {
        let text = self.read(&format!("/sys/class/net/{interface}/address"))?;
        let mut mac = Mac::default();
        for (byte, part) in mac.iter_mut().zip(text.trim().split(':')) {
            *byte = u8::from_str_radix(part, 16)
                .with_context(|| format!("{interface} has the odd address {text}"))?;
        }
        Ok(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require_kernel;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// A byte goes from one namespace to the other and back over TCP.
    fn talk(from: &Namespace, to: &Namespace, address: &str) {
        let listener = to.run(|| TcpListener::bind(address)).unwrap().unwrap();
        let target = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&[byte[0] + 1]).unwrap();
        });
        let mut stream = from.run(|| TcpStream::connect(target)).unwrap().unwrap();
        stream.write_all(&[41]).unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [42]);
        server.join().unwrap();
    }

    #[test]
    fn two_namespaces_talk_over_a_veth_pair_in_both_families() {
        require_kernel!("two_namespaces_talk_over_a_veth_pair_in_both_families");
        let (a, b) = (Namespace::new("a").unwrap(), Namespace::new("b").unwrap());
        veth_pair(End::new(&a, "left0"), End::new(&b, "right0"), 9000).unwrap();
        for (namespace, interface, host) in [(&a, "left0", 1), (&b, "right0", 2)] {
            let v4 = format!("10.1.0.{host}/24");
            let v6 = format!("fd00:1::{host}/64");
            namespace.add_address(interface, &v4).unwrap();
            namespace.add_address(interface, &v6).unwrap();
        }
        assert_eq!(b.read("/sys/class/net/right0/mtu").unwrap().trim(), "9000");
        talk(&a, &b, "10.1.0.2:0");
        talk(&a, &b, "[fd00:1::2]:0");
    }

    #[test]
    fn a_new_pair_has_its_carrier() {
        require_kernel!("a_new_pair_has_its_carrier");
        let namespace = Namespace::new("carrier").unwrap();
        for pair in 0..20 {
            let (left, right) = (format!("left{pair}"), format!("right{pair}"));
            let ends = (End::new(&namespace, &left), End::new(&namespace, &right));
            veth_pair(ends.0, ends.1, 1500).unwrap();
            for name in [left, right] {
                let link = namespace.ip(&["link", "show", "dev", &name]).unwrap();
                assert!(link.contains(" state UP "), "{link}");
            }
        }
    }

    #[test]
    fn a_bridge_joins_three_namespaces() {
        require_kernel!("a_bridge_joins_three_namespaces");
        let switch = Namespace::new("switch").unwrap();
        let (a, b) = (Namespace::new("a").unwrap(), Namespace::new("b").unwrap());
        let a_mac = [2, 0, 0, 0, 0, 0xa];
        veth_pair(
            End::new(&a, "eth1").mac(a_mac),
            End::new(&switch, "port1"),
            1500,
        )
        .unwrap();
        veth_pair(End::new(&b, "eth1"), End::new(&switch, "port2"), 1500).unwrap();
        switch.add_bridge("switch0", &["port1", "port2"]).unwrap();
        a.add_address("eth1", "10.2.0.1/24").unwrap();
        b.add_address("eth1", "10.2.0.2/24").unwrap();
        assert_eq!(a.mac("eth1").unwrap(), a_mac);
        b.add_neighbour("eth1", "10.2.0.1".parse().unwrap(), a_mac)
            .unwrap();
        talk(&a, &b, "10.2.0.2:0");
        assert!(a.interface_index("eth1").unwrap() > 1);
        assert!(a.interface_index("port1").is_err());
    }

    #[test]
    fn vlan_subinterfaces_are_made_where_the_kernel_has_them() {
        require_kernel!("vlan_subinterfaces_are_made_where_the_kernel_has_them");
        let (a, b) = (Namespace::new("a").unwrap(), Namespace::new("b").unwrap());
        veth_pair(End::new(&a, "left0"), End::new(&b, "right0"), 1500).unwrap();
        let made = a.add_vlan("left0", "left0.7", VlanProtocol::Ad, 7);
        assert_eq!(made.is_ok(), a.vlan_supported());
    }
}
