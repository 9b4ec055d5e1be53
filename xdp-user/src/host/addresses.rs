//! The addresses of this host's devices, and the networks and other ends that come with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;

use super::netlink::{Asked, NetlinkError, attributes, list, number};
use crate::domain::Prefix;

/// `struct ifaddrmsg` (linux/if_addr.h).
const HEADER: usize = 8;
const ADDRESS: u16 = libc::IFA_ADDRESS;
const LOCAL: u16 = libc::IFA_LOCAL;

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    /// The number of the device.
    pub(super) device: u32,
    pub(super) own: IpAddr,
    /// The other end of a point-to-point link.
    pub(super) peer: Option<IpAddr>,
    /// The network that is reached directly, where it is more than one address.
    pub(super) network: Option<Prefix>,
}

/// Every address of this namespace.
pub(super) fn assigned() -> Result<Vec<Assigned>, NetlinkError> {
    list(libc::RTM_GETADDR, Asked::All, &[0; HEADER], |message| {
        parse(message).into_iter().collect()
    })
}

fn parse(message: &[u8]) -> Option<Assigned> {
    let length = *message.get(1)?;
    let device = u32::from_ne_bytes(number(message.get(4..)?)?);
    let (mut local, mut other) = (None, None);
    for (kind, value) in attributes(message.get(HEADER..)?) {
        match kind {
            LOCAL => local = address(value),
            ADDRESS => other = address(value),
            _ => {}
        }
    }
    // Without another end, both attributes hold the own address, or only one of them is there.
    let own = local.or(other)?;
    let peer = other.filter(|other| *other != own && !other.is_unspecified());
    let network = Prefix::new(peer.unwrap_or(own), length);
    Some(Assigned {
        device,
        own,
        peer,
        network: network.filter(|network| !network.is_host()),
    })
}

/// An address as an attribute holds it, an IPv4 address within IPv6 as IPv4.
pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(|a| IpAddr::from(Ipv4Addr::from(a)));
    let v6 = || <[u8; 16]>::try_from(value).map(|a| IpAddr::from(Ipv6Addr::from(a)));
    v4.or_else(|_| v6())
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::super::netlink::put_attribute;
    use super::*;

    fn of(length: u8, attributes: &[(u16, &[u8])]) -> Option<Assigned> {
        let mut message = vec![0; HEADER];
        message[1] = length;
        message[4..8].copy_from_slice(&2_u32.to_ne_bytes());
        for (kind, value) in attributes {
            put_attribute(&mut message, *kind, value);
        }
        parse(&message)
    }

    #[test]
    fn an_address_brings_its_network() {
        let own: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let read = of(64, &[(ADDRESS, &own.octets())]).unwrap();
        let expected = Assigned {
            device: 2,
            own: own.into(),
            peer: None,
            network: Some("2001:db8::/64".parse().unwrap()),
        };
        assert_eq!(read, expected);
        let both: [(u16, &[u8]); 2] = [(ADDRESS, &[192, 0, 2, 1]), (LOCAL, &[192, 0, 2, 1])];
        let read = of(32, &both).unwrap();
        assert_eq!((read.peer, read.network), (None, None));
    }

    #[test]
    fn the_other_end_of_a_point_to_point_link_is_told_from_the_own() {
        let both: [(u16, &[u8]); 2] = [(ADDRESS, &[192, 0, 2, 9]), (LOCAL, &[10, 0, 0, 1])];
        let read = of(32, &both).unwrap();
        assert_eq!(read.own.to_string(), "10.0.0.1");
        assert_eq!(read.peer.unwrap().to_string(), "192.0.2.9");
        assert_eq!(read.network, None);
        let network = of(24, &both).unwrap().network.unwrap();
        assert_eq!(network.to_string(), "192.0.2.0/24");
    }

    #[test]
    fn what_is_no_address_is_left_out() {
        assert_eq!(of(24, &[]), None);
        assert_eq!(of(24, &[(LOCAL, &[1, 2, 3])]), None);
        assert_eq!(parse(&[0; 5]), None);
        let mapped = address(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1]);
        assert_eq!(mapped.unwrap().to_string(), "192.0.2.1");
    }
}
