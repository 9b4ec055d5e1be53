//! Addresses that this host must hear from to stay reachable: its gateways, its own, those of its
//! networks, and those that somebody is logged in from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use nix::libc;

use super::file::read;
use super::link::Links;
use super::netlink::{Asked, NetlinkError, Socket, attributes, number};
use crate::domain::{IfName, Prefix};

/// `struct rtmsg` and `struct ifaddrmsg` (linux/rtnetlink.h, linux/if_addr.h).
const ROUTE_HEADER: usize = 12;
const ADDRESS_HEADER: usize = 8;
const GATEWAY: u16 = libc::RTA_GATEWAY;
const OUT: u16 = libc::RTA_OIF;
const ADDRESS: u16 = libc::IFA_ADDRESS;
const LOCAL: u16 = libc::IFA_LOCAL;
/// Where secure shells are listened for.
const SSH: u16 = 22;
/// An established connection (include/net/tcp_states.h), as `/proc/net/tcp` writes it.
const ESTABLISHED: &str = "01";
/// Of the list of connections, which a busy host has many of: asked for when somebody changes a list,
/// not all the time.
const MOST_BYTES: u64 = 64 << 20;
/// More logins than anybody has; what is beyond isn't protected.
const MOST_SESSIONS: usize = 1024;

/// What must not be cut off.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifeline {
    /// Which addresses: a block that holds all of them is refused.
    pub prefix: Prefix,
    /// What they are, as the end of "it holds …".
    pub what: String,
}

/// Looks for the lifelines of these interfaces. What can't be found out is left out.
#[must_use]
pub fn find(interfaces: &[IfName]) -> Vec<Lifeline> {
    let mut found = Vec::new();
    if let Ok(links) = Links::read() {
        let named = interfaces
            .iter()
            .filter_map(|name| links.by_name(name.as_str()));
        // VLAN devices on them are reached through them.
        let with_vlans = named.flat_map(|link| links.on(link.index).chain([link]));
        let protected: BTreeMap<u32, String> = with_vlans
            .map(|link| (link.index, link.name.clone()))
            .collect();
        found.extend(gateways(&protected).unwrap_or_default());
        found.extend(own(&protected).unwrap_or_default());
    }
    for file in ["tcp", "tcp6"] {
        let path = Path::new("/proc/thread-self/net").join(file);
        found.extend(
            read(&path, MOST_BYTES)
                .map(|text| sessions(&text))
                .unwrap_or_default(),
        );
    }
    found.sort();
    found.dedup();
    found
}

fn gateways(protected: &BTreeMap<u32, String>) -> Result<Vec<Lifeline>, NetlinkError> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut body = vec![0; ROUTE_HEADER];
        body[0] = family as u8;
        Socket::open()?.ask(libc::RTM_GETROUTE, Asked::All, &body, |message| {
            found.extend(gateway(message, protected));
        })?;
    }
    Ok(found)
}

/// The gateway of a default route through one of the interfaces.
fn gateway(message: &[u8], protected: &BTreeMap<u32, String>) -> Option<Lifeline> {
    let [_family, length, ..] = message else {
        return None;
    };
    if *length != 0 {
        return None;
    }
    let (mut gateway, mut out) = (None, None);
    for (kind, value) in attributes(message.get(ROUTE_HEADER..)?) {
        match kind {
            GATEWAY => gateway = address(value),
            OUT => out = number(value).map(u32::from_ne_bytes),
            _ => {}
        }
    }
    let name = protected.get(&out?)?;
    Some(Lifeline {
        prefix: Prefix::host(gateway?),
        what: format!("the default gateway of {name}"),
    })
}

fn own(protected: &BTreeMap<u32, String>) -> Result<Vec<Lifeline>, NetlinkError> {
    let mut found = Vec::new();
    let body = vec![0; ADDRESS_HEADER];
    Socket::open()?.ask(libc::RTM_GETADDR, Asked::All, &body, |message| {
        found.extend(own_of(message, protected).unwrap_or_default());
    })?;
    Ok(found)
}

/// An address of one of the interfaces, and its network.
fn own_of(message: &[u8], protected: &BTreeMap<u32, String>) -> Option<Vec<Lifeline>> {
    let length = *message.get(1)?;
    let name = protected.get(&u32::from_ne_bytes(number(message.get(4..)?)?))?;
    let (mut local, mut other) = (None, None);
    for (kind, value) in attributes(message.get(ADDRESS_HEADER..)?) {
        match kind {
            LOCAL => local = address(value),
            ADDRESS => other = address(value),
            _ => {}
        }
    }
    let own = local.or(other)?;
    let line = |prefix, what: &str| Lifeline {
        prefix,
        what: format!("{what} of {name}"),
    };
    let mut lines = vec![line(Prefix::host(own), "an address")];
    let network = Prefix::new(own, length)?;
    if !network.is_host() {
        lines.push(line(network, "the whole network"));
    }
    Some(lines)
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(|a| IpAddr::from(Ipv4Addr::from(a)));
    let v6 = || <[u8; 16]>::try_from(value).map(|a| IpAddr::from(Ipv6Addr::from(a)));
    v4.or_else(|_| v6())
        .ok()
        .map(|address| address.to_canonical())
}

/// Peers of established connections to the port of secure shells.
fn sessions(text: &str) -> Vec<Lifeline> {
    let peers = text.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
        let (_, port) = local.split_once(':')?;
        let is_session = u16::from_str_radix(port, 16).ok()? == SSH && state == ESTABLISHED;
        let (peer, _) = remote.split_once(':')?;
        is_session.then(|| in_hexadecimal(peer))?
    });
    let line = |peer| Lifeline {
        prefix: Prefix::host(peer),
        what: "the address of an SSH session".to_owned(),
    };
    peers.take(MOST_SESSIONS).map(line).collect()
}

/// An address as `/proc/net/tcp` has it: words of 32 bits in the machine's order.
fn in_hexadecimal(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    address(&bytes)
}

#[cfg(test)]
mod tests {
    use super::super::netlink::put_attribute;
    use super::*;

    fn protected() -> BTreeMap<u32, String> {
        BTreeMap::from([(2, "eth0".to_owned())])
    }

    #[test]
    fn a_default_gateway_is_read_and_other_routes_are_not() {
        let route = |length: u8, out: u32| {
            let mut message = vec![0; ROUTE_HEADER];
            message[1] = length;
            put_attribute(&mut message, GATEWAY, &[192, 0, 2, 1]);
            put_attribute(&mut message, OUT, &out.to_ne_bytes());
            gateway(&message, &protected())
        };
        let expected = Lifeline {
            prefix: "192.0.2.1".parse().unwrap(),
            what: "the default gateway of eth0".into(),
        };
        assert_eq!(route(0, 2), Some(expected));
        assert_eq!((route(24, 2), route(0, 3)), (None, None));
        assert_eq!(gateway(&[0; 3], &protected()), None);
    }

    #[test]
    fn an_address_brings_its_network() {
        let mut message = vec![0; ADDRESS_HEADER];
        message[1] = 64;
        message[4..8].copy_from_slice(&2_u32.to_ne_bytes());
        let own: Ipv6Addr = "2001:db8::7".parse().unwrap();
        put_attribute(&mut message, ADDRESS, &own.octets());
        let lines = own_of(&message, &protected()).unwrap();
        let prefixes: Vec<String> = lines.iter().map(|line| line.prefix.to_string()).collect();
        assert_eq!(prefixes, ["2001:db8::7", "2001:db8::/64"]);
        assert!(lines[1].what.contains("whole network of eth0"));
    }

    #[test]
    fn only_established_sessions_count() {
        let text = "  sl  local_address rem_address   st\n\
                    0: 0100007F:0016 0200000A:D431 01 x\n\
                    1: 0100007F:0016 0300000A:D431 06 x\n\
                    2: 0100007F:01BB 0400000A:D431 01 x\n\
                    3: nonsense\n";
        let peers: Vec<String> = sessions(text)
            .iter()
            .map(|line| line.prefix.to_string())
            .collect();
        assert_eq!(peers, ["10.0.0.2"]);
        let mapped = in_hexadecimal("0000000000000000FFFF00000200000A");
        assert_eq!(mapped, Some("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn loopback_has_its_own() {
        let lines = find(&["lo".parse().unwrap()]);
        let own: Prefix = "127.0.0.1".parse().unwrap();
        assert!(lines.iter().any(|line| line.prefix == own), "{lines:?}");
    }
}
