//! Each kind of interface: how it is made, what is protected, and what is to be expected.

use anyhow::Result;
use xdp_tests::netns::Namespace;
use xdp_tests::netns::link::{End, VlanProtocol, veth_pair};

use super::place::{NIC, PEER_NIC, Place};

/// What service classes do.
pub(crate) enum Classes {
    Decide,
    StandAside {
        /// A part of the reason that the daemon tells.
        because: &'static str,
        /// The same for the table.
        text: &'static str,
    },
}

/// A kind of interface.
pub(crate) struct Kind {
    /// The name of the test.
    pub(crate) test: &'static str,
    /// For the table: where address and gateway are.
    pub(crate) host: &'static str,
    /// For the table: what is protected.
    pub(crate) shown: &'static str,
    /// The configured name.
    pub(crate) protects: &'static str,
    /// The device that gets the host's address.
    pub(crate) holder: &'static str,
    /// The device that gets the peer's.
    pub(crate) peer: &'static str,
    /// Makes the devices; fails where the kernel can't.
    pub(crate) make: fn(&Namespace, &Namespace) -> Result<()>,
    /// Routes are those of this VRF.
    pub(crate) vrf: Option<&'static str>,
    /// What happens while the daemon runs.
    pub(crate) later: Option<fn(&Place) -> Result<()>>,
    pub(crate) classes: Classes,
}

/// A host with one card.
const PLAIN: Kind = Kind {
    test: "a_plain_interface",
    host: "on the card",
    shown: "the card",
    protects: NIC,
    holder: NIC,
    peer: PEER_NIC,
    make: |_, _| Ok(()),
    vrf: None,
    later: None,
    classes: Classes::Decide,
};

const IN_VRF: Classes = Classes::StandAside {
    because: "belongs to the VRF",
    text: "sockets of a VRF are bound to it, where the program's look-up doesn't search",
};

const VLAN: &str = "in0.7";
const PEER_VLAN: &str = "out0.7";

fn vlan(host: &Namespace, peer: &Namespace, parent: &str, name: &str) -> Result<()> {
    host.add_vlan(parent, name, VlanProtocol::Q, 7)?;
    peer.add_vlan(PEER_NIC, PEER_VLAN, VlanProtocol::Q, 7)
}

fn bond(host: &Namespace) -> Result<()> {
    let mode = ["mode", "active-backup", "miimon", "50"];
    host.ip(&[&["link", "add", "bond0", "type", "bond"][..], &mode].concat())?;
    host.ip(&["link", "set", NIC, "down"])?;
    host.ip(&["link", "set", NIC, "master", "bond0"])?;
    host.set_up("bond0")
}

fn vrf(host: &Namespace, port: &str) -> Result<()> {
    host.ip(&["link", "add", "vrf0", "type", "vrf", "table", "10"])?;
    host.set_up("vrf0")?;
    host.ip(&["link", "set", port, "master", "vrf0"])?;
    // Or no unbound socket takes what comes in there.
    host.sysctl("net/ipv4/tcp_l3mdev_accept", "1")
}

fn upper(host: &Namespace, on: &str, name: &str, kind: &str) -> Result<()> {
    host.ip(&["link", "add", "link", on, "name", name, "type", kind])?;
    host.set_up(name)
}

fn guest(host: &Namespace, bridge: &str) -> Result<()> {
    let ends = (End::new(host, "guest0"), End::new(host, "guest1"));
    veth_pair(ends.0, ends.1, 1500)?;
    host.ip(&["link", "set", "guest0", "master", bridge])?;
    Ok(())
}

pub(crate) const KINDS: [Kind; 19] = [
    PLAIN,
    Kind {
        test: "the_only_port_of_a_bridge",
        host: "on a bridge that has the card for its only port",
        holder: "br0",
        make: |host, _| host.add_bridge("br0", &[NIC]),
        ..PLAIN
    },
    Kind {
        test: "a_port_of_a_bridge_with_guests",
        host: "on a bridge that guests are ports of as well",
        holder: "br0",
        make: |host, _| {
            host.add_bridge("br0", &[NIC])?;
            guest(host, "br0")
        },
        classes: Classes::StandAside {
            because: "is a port of the bridge br0",
            text: "packets may be for the guests; protect the bridge for the host's own",
        },
        ..PLAIN
    },
    Kind {
        test: "a_bridge",
        host: "on a bridge that guests are ports of as well",
        shown: "the bridge",
        protects: "br0",
        holder: "br0",
        make: |host, _| {
            host.add_bridge("br0", &[NIC])?;
            guest(host, "br0")
        },
        ..PLAIN
    },
    Kind {
        test: "a_slave_of_a_bond",
        host: "on a bond",
        holder: "bond0",
        make: |host, _| bond(host),
        ..PLAIN
    },
    Kind {
        test: "a_bond",
        host: "on a bond",
        shown: "the bond",
        protects: "bond0",
        holder: "bond0",
        make: |host, _| bond(host),
        ..PLAIN
    },
    Kind {
        test: "an_interface_below_a_vlan_device",
        host: "on a VLAN device",
        holder: VLAN,
        peer: PEER_VLAN,
        make: |host, peer| vlan(host, peer, NIC, VLAN),
        ..PLAIN
    },
    Kind {
        test: "a_vlan_device",
        host: "on a VLAN device",
        shown: "the VLAN device",
        protects: VLAN,
        holder: VLAN,
        peer: PEER_VLAN,
        make: |host, peer| vlan(host, peer, NIC, VLAN),
        ..PLAIN
    },
    Kind {
        test: "an_interface_below_a_vlan_device_on_a_bridge",
        host: "on a VLAN device on a bridge",
        holder: "br0.7",
        peer: PEER_VLAN,
        make: |host, peer| {
            host.add_bridge("br0", &[NIC])?;
            vlan(host, peer, "br0", "br0.7")
        },
        ..PLAIN
    },
    Kind {
        test: "an_interface_below_a_bridge_on_a_vlan_device",
        host: "on a bridge that has a VLAN device for its only port",
        holder: "br7",
        peer: PEER_VLAN,
        make: |host, peer| {
            vlan(host, peer, NIC, VLAN)?;
            host.add_bridge("br7", &[VLAN])
        },
        ..PLAIN
    },
    Kind {
        test: "a_slave_of_a_bond_below_a_bridge_on_a_vlan_device",
        host: "on a bridge on a VLAN device on a bond",
        holder: "br7",
        peer: PEER_VLAN,
        make: |host, peer| {
            bond(host)?;
            vlan(host, peer, "bond0", "bond0.7")?;
            host.add_bridge("br7", &["bond0.7"])
        },
        ..PLAIN
    },
    Kind {
        test: "an_interface_below_a_macvlan_device",
        host: "on a macvlan device",
        holder: "mv0",
        make: |host, _| upper(host, NIC, "mv0", "macvlan"),
        ..PLAIN
    },
    Kind {
        test: "a_macvlan_device",
        host: "on a macvlan device",
        shown: "the macvlan device",
        protects: "mv0",
        holder: "mv0",
        make: |host, _| upper(host, NIC, "mv0", "macvlan"),
        ..PLAIN
    },
    Kind {
        test: "a_slave_of_a_bond_below_a_macvlan_device",
        host: "on a macvlan device on a bond",
        holder: "mv0",
        make: |host, _| {
            bond(host)?;
            upper(host, "bond0", "mv0", "macvlan")
        },
        ..PLAIN
    },
    Kind {
        test: "an_interface_below_an_ipvlan_device",
        host: "on an ipvlan device",
        holder: "iv0",
        make: |host, _| {
            // In its usual mode it answers no ARP requests.
            let mode = ["type", "ipvlan", "mode", "l2"];
            host.ip(&[&["link", "add", "link", NIC, "name", "iv0"][..], &mode].concat())?;
            host.set_up("iv0")
        },
        classes: Classes::StandAside {
            because: "iv0 shares in0",
            text: "others of its kind may be in containers, where nothing shows them",
        },
        ..PLAIN
    },
    Kind {
        test: "an_interface_in_a_vrf",
        host: "on the card, which is in a VRF",
        make: |host, _| vrf(host, NIC),
        vrf: Some("vrf0"),
        classes: IN_VRF,
        ..PLAIN
    },
    Kind {
        test: "a_vlan_device_in_a_vrf",
        host: "on a VLAN device that is in a VRF",
        holder: VLAN,
        peer: PEER_VLAN,
        make: |host, peer| {
            vlan(host, peer, NIC, VLAN)?;
            vrf(host, VLAN)
        },
        vrf: Some("vrf0"),
        classes: IN_VRF,
        ..PLAIN
    },
    Kind {
        test: "an_altname",
        shown: "the card, by an altname",
        protects: "enp0s31f6alt",
        make: |host, _| {
            host.ip(&[
                "link",
                "property",
                "add",
                "dev",
                NIC,
                "altname",
                "enp0s31f6alt",
            ])
            .map(drop)
        },
        ..PLAIN
    },
    Kind {
        test: "an_interface_that_is_renamed",
        shown: "the card, which gets another name while the daemon runs",
        later: Some(|place| place.rename("wan0")),
        ..PLAIN
    },
];

/// For docs/state.md.
pub(crate) fn table() -> String {
    let mut text =
        "| the host's address and gateway are | protected is | refused as blocks | service \
                    classes |\n| --- | --- | --- | --- |\n"
            .to_owned();
    for kind in &KINDS {
        let classes = match kind.classes {
            Classes::Decide => "decide".to_owned(),
            Classes::StandAside { text, .. } => format!("stand aside: {text}"),
        };
        text += &format!(
            "| {} | {} | gateway, own address, own network, SSH peer | {classes} |\n",
            kind.host, kind.shown
        );
    }
    text
}
