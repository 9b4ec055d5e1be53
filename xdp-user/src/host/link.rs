//! The interfaces of this network namespace: how they stand on each other, and what they received.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::libc;

use super::framing;
use super::netlink::{Asked, NetlinkError, Socket, attributes, list, number, put_attribute};
use super::received::{Received, link_state};
use crate::api::types::LinkState;
use crate::domain::IfName;

/// `struct ifinfomsg` (linux/rtnetlink.h).
const HEADER: usize = 16;
/// Where its flags are in it.
const FLAGS: usize = 8;
// linux/if_link.h
const ADDRESS: u16 = libc::IFLA_ADDRESS;
const IFNAME: u16 = libc::IFLA_IFNAME;
const MTU: u16 = libc::IFLA_MTU;
const LINK: u16 = libc::IFLA_LINK;
const MASTER: u16 = libc::IFLA_MASTER;
const LINKINFO: u16 = libc::IFLA_LINKINFO;
const STATS64: u16 = 23;
const EXT_MASK: u16 = 29;
const LINK_NETNSID: u16 = 37;
const AF_BRIDGE: u8 = libc::AF_BRIDGE as u8;
const INFO_KIND: u16 = 1;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const BRPORT_MODE: u16 = 4;
const PROP_LIST: u16 = 52;
const ALT_IFNAME: u16 = 53;
/// linux/rtnetlink.h
const SKIP_STATS: u32 = 1 << 3;
/// linux/neighbour.h: the length of `struct ndmsg`, and the attribute with the hardware address.
const NEIGHBOUR_HEADER: usize = 12;
const NEIGHBOUR_ADDRESS: u16 = libc::NDA_LLADDR;
/// linux/neighbour.h: where the flags of `struct ndmsg` are, and the one of an entry that the
/// interface itself has, as opposed to the bridge that it is a port of.
const NEIGHBOUR_FLAGS: usize = 10;
const NEIGHBOUR_SELF: u8 = 1 << 1;

/// A hardware address of Ethernet.
pub(super) type Mac = [u8; 6];

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// Further names that the kernel takes for it (`ip link property`).
    pub(super) altnames: Vec<String>,
    /// Its hardware address, where it is one of Ethernet.
    pub(super) address: Option<Mac>,
    /// Its largest packet; 0 where the kernel doesn't say.
    pub(super) mtu: u32,
    /// What made it, as `ip -details link` has it; none for a plain device.
    pub(super) kind: Option<String>,
    /// The interface that it is a port or slave of.
    pub(super) master: Option<u32>,
    /// Whether it is a port of a bridge that sends frames back out of the port that they came in by.
    pub(super) hairpin: bool,
    /// The interface of this namespace that it stands on, as a VLAN device does. For a veth device
    /// it is the other end.
    pub(super) lower: Option<u32>,
}

/// Every interface of the namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Links(BTreeMap<u32, Link>);

impl Links {
    /// Asks the kernel.
    pub(super) fn read() -> Result<Self, NetlinkError> {
        let mut body = vec![0; HEADER];
        put_attribute(&mut body, EXT_MASK, &SKIP_STATS.to_ne_bytes());
        let links = list(libc::RTM_GETLINK, Asked::All, &body, |message| {
            vec![parse_link(message)]
        })?;
        let links: Option<Vec<Link>> = links.into_iter().collect();
        links.map(Self::from_iter).ok_or(NetlinkError::Malformed)
    }

    /// The interface that the kernel means by a name: its own name comes before another's altname.
    pub(super) fn by_name(&self, name: &str) -> Option<&Link> {
        let named = |link: &&Link| link.name == name;
        let altnamed = |link: &&Link| link.altnames.iter().any(|other| other == name);
        let mut links = self.0.values();
        links.find(named).or_else(|| self.0.values().find(altnamed))
    }

    /// Every interface, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.values()
    }

    pub(super) fn by_index(&self, index: u32) -> Option<&Link> {
        self.0.get(&index)
    }

    /// Whether one of the interfaces has this hardware address.
    pub(super) fn have(&self, address: Mac) -> bool {
        self.0.values().any(|link| link.address == Some(address))
    }

    /// What has this interface for its master.
    pub(super) fn ports(&self, master: u32) -> impl Iterator<Item = &Link> {
        self.0
            .values()
            .filter(move |link| link.master == Some(master))
    }

    /// What stands on an interface.
    pub(super) fn on(&self, lower: u32) -> impl Iterator<Item = &Link> {
        self.0
            .values()
            .filter(move |link| link.lower == Some(lower))
    }
}

impl PartialEq for Links {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl FromIterator<Link> for Links {
    fn from_iter<I: IntoIterator<Item = Link>>(links: I) -> Self {
        Self(links.into_iter().map(|link| (link.index, link)).collect())
    }
}

/// What an interface received and lost; `None` if there is no such interface.
pub(super) fn received(interface: &IfName) -> Result<Option<Received>, NetlinkError> {
    let body = framing::by_name(interface);
    let (mut received, mut link) = (None, LinkState::default());
    let asked = Socket::open()?.ask(libc::RTM_GETLINK, Asked::One, &body, |message| {
        if let Some(flags) = message.get(FLAGS..).and_then(number) {
            link = link_state(u32::from_ne_bytes(flags));
        }
        let attributes = attributes(message.get(HEADER..).unwrap_or_default());
        for (kind, value) in attributes {
            if kind == STATS64 {
                received = Received::parse_stats64(value);
            }
        }
    });
    match asked {
        Ok(()) => {
            let received = received.ok_or(NetlinkError::Malformed)?;
            Ok(Some(Received { link, ..received }))
        }
        Err(NetlinkError::Refused(Errno::ENODEV)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The unicast addresses, besides its own, whose frames an interface takes in.
///
/// A macvlan device asks its interface for that (drivers/net/macvlan.c, `macvlan_open`), wherever
/// it is: one that was moved into another namespace is in no list of links here.
pub(super) fn further_addresses(interface: u32) -> Result<Vec<Mac>, NetlinkError> {
    // A request in the old form, the only one that asks for one interface without strict checking
    // (net/core/rtnetlink.c, `valid_fdb_dump_legacy`).
    let index = interface.to_ne_bytes();
    let mut body = [[AF_BRIDGE, 0, 0, 0], index].concat();
    body.resize(HEADER, 0);
    let mut found = Vec::new();
    Socket::open()?.ask(libc::RTM_GETNEIGH, Asked::All, &body, |message| {
        found.extend(parse_address(message));
    })?;
    Ok(found)
}

/// `None` for a group address, and for what a bridge learned of the hosts behind its port.
fn parse_address(message: &[u8]) -> Option<Mac> {
    if message.get(NEIGHBOUR_FLAGS)? & NEIGHBOUR_SELF == 0 {
        return None;
    }
    let mut attributes = attributes(message.get(NEIGHBOUR_HEADER..)?);
    let (_, value) = attributes.find(|(kind, _)| *kind == NEIGHBOUR_ADDRESS)?;
    let address: Mac = value.try_into().ok()?;
    (address[0] & 1 == 0).then_some(address)
}

fn parse_link(message: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: u32::from_ne_bytes(number(message.get(4..)?)?),
        ..Link::default()
    };
    let mut elsewhere = false;
    for (kind, value) in attributes(message.get(HEADER..)?) {
        match kind {
            ADDRESS => link.address = value.try_into().ok(),
            IFNAME => link.name = text(value),
            MTU => link.mtu = number(value).map_or(0, u32::from_ne_bytes),
            MASTER => link.master = index(value),
            LINK => link.lower = index(value),
            // The index is then one of another namespace.
            LINK_NETNSID => elsewhere = true,
            LINKINFO => {
                let find = |wanted| attributes(value).find(|(kind, _)| *kind == wanted);
                link.kind = find(INFO_KIND).map(|(_, value)| text(value));
                let port = find(INFO_SLAVE_KIND).is_some_and(|(_, kind)| text(kind) == "bridge");
                let settings = find(INFO_SLAVE_DATA).filter(|_| port);
                link.hairpin = settings.is_some_and(|(_, settings)| {
                    attributes(settings).any(|(kind, mode)| kind == BRPORT_MODE && mode != [0])
                });
            }
            PROP_LIST => {
                let names = attributes(value).filter(|(kind, _)| *kind == ALT_IFNAME);
                link.altnames = names.map(|(_, name)| text(name)).collect();
            }
            _ => {}
        }
    }
    if elsewhere {
        link.lower = None;
    }
    Some(link)
}

fn index(value: &[u8]) -> Option<u32> {
    number(value)
        .map(u32::from_ne_bytes)
        .filter(|index| *index != 0)
}

fn text(value: &[u8]) -> String {
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(index: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        message[4..8].copy_from_slice(&index.to_ne_bytes());
        for (kind, value) in attributes {
            put_attribute(&mut message, *kind, value);
        }
        message
    }

    #[test]
    fn a_vlan_device_that_is_a_port_of_a_bridge_is_read() {
        let mut info = Vec::new();
        put_attribute(&mut info, INFO_KIND, b"vlan\0");
        put_attribute(&mut info, INFO_SLAVE_KIND, b"bridge\0");
        let mut port = Vec::new();
        put_attribute(&mut port, BRPORT_MODE, &[1]);
        put_attribute(&mut info, INFO_SLAVE_DATA | 0x8000, &port);
        let mut names = Vec::new();
        put_attribute(&mut names, ALT_IFNAME, b"enp1s0\0");
        put_attribute(
            &mut names,
            ALT_IFNAME,
            b"uplink-of-the-rack-behind-the-door\0",
        );
        let read = parse_link(&message(
            7,
            &[
                (ADDRESS, &[2, 0, 0, 0, 0, 7]),
                (IFNAME, b"eth0.100\0"),
                (MTU, &1500_u32.to_ne_bytes()),
                (LINK, &2_u32.to_ne_bytes()),
                (MASTER, &9_u32.to_ne_bytes()),
                (LINKINFO, &info),
                (PROP_LIST | 0x8000, &names),
            ],
        ));
        let expected = Link {
            index: 7,
            name: "eth0.100".to_owned(),
            altnames: ["enp1s0", "uplink-of-the-rack-behind-the-door"]
                .map(str::to_owned)
                .to_vec(),
            address: Some([2, 0, 0, 0, 0, 7]),
            mtu: 1500,
            kind: Some("vlan".to_owned()),
            master: Some(9),
            hairpin: true,
            lower: Some(2),
        };
        assert_eq!(read, Some(expected));
    }

    #[test]
    fn an_altname_is_a_name_and_a_name_comes_first() {
        let link = |index, name: &str, altname: &str| Link {
            index,
            name: name.to_owned(),
            altnames: vec![altname.to_owned()],
            ..Link::default()
        };
        let links = Links::from_iter([link(2, "eth0", "wan"), link(3, "lan", "eth0")]);
        let index = |name| links.by_name(name).map(|link| link.index);
        assert_eq!(
            (index("wan"), index("eth0"), index("none")),
            (Some(2), Some(2), None)
        );
    }

    #[test]
    fn an_index_of_another_namespace_is_not_one_of_ours() {
        let attributes: [(u16, &[u8]); 2] = [(LINK, &2_u32.to_ne_bytes()), (LINK_NETNSID, &[0; 4])];
        assert_eq!(parse_link(&message(7, &attributes)).unwrap().lower, None);
        assert_eq!(parse_link(&[0; 15]), None);
    }

    #[test]
    fn group_addresses_and_what_a_bridge_learned_are_nobodys() {
        let neighbour = |flags: u8, address: &[u8]| {
            let mut message = vec![0; NEIGHBOUR_HEADER];
            message[NEIGHBOUR_FLAGS] = flags;
            put_attribute(&mut message, NEIGHBOUR_ADDRESS, address);
            parse_address(&message)
        };
        let unicast = [2, 0, 0, 0, 0, 9];
        assert_eq!(neighbour(NEIGHBOUR_SELF, &unicast), Some(unicast));
        assert_eq!(neighbour(0, &unicast), None, "learned by the bridge");
        let group = [0x33, 0x33, 0, 0, 0, 1];
        assert_eq!(neighbour(NEIGHBOUR_SELF, &group), None);
        assert_eq!(neighbour(NEIGHBOUR_SELF, &[2, 0]), None);
        assert_eq!(parse_address(&[0; 3]), None);
    }

    #[test]
    fn loopback_is_found_in_any_namespace() {
        let links = Links::read().unwrap();
        let lo = links.by_name("lo").unwrap();
        assert_eq!(links.by_index(lo.index), Some(lo));
        assert_eq!((lo.kind.as_ref(), lo.master, lo.lower), (None, None, None));
        assert!(received(&"lo".parse().unwrap()).unwrap().is_some());
        assert_eq!(received(&"absent0".parse().unwrap()), Ok(None));
    }
}
