//! The gateways that this host's routes lead over, in every routing table: those of policy rules and
//! VRFs are none less in use than the main one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nix::libc;

use super::addresses::address;
use super::netlink::{Asked, NetlinkError, attributes, list, number};

/// `struct rtmsg`, `struct rtnexthop` and `struct nhmsg` (linux/rtnetlink.h, linux/nexthop.h).
const ROUTE_HEADER: usize = 12;
const HOP_HEADER: usize = 8;
const NEXTHOP_HEADER: usize = 8;
const GATEWAY: u16 = libc::RTA_GATEWAY;
const OUT: u16 = libc::RTA_OIF;
const MULTIPATH: u16 = libc::RTA_MULTIPATH;
/// A gateway of the other family: `struct rtvia` with the family before the address.
const VIA: u16 = 18;
const NEXTHOP: u16 = 30;
const GET_NEXTHOP: u16 = 106;
// Attributes of a nexthop object.
const NEXTHOP_ID: u16 = 1;
const NEXTHOP_GROUP: u16 = 2;
const NEXTHOP_OUT: u16 = 5;
const NEXTHOP_GATEWAY: u16 = 6;
/// `struct nexthop_grp`: the number of the member first.
const GROUP_MEMBER: usize = 8;
/// A group has no groups for members (net/ipv4/nexthop.c, `valid_group_nh`).
const DEEPEST_GROUP: usize = 2;

/// A gateway that a route leads over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gateway {
    pub(super) address: IpAddr,
    /// The number of the device that it is reached through.
    pub(super) out: u32,
    /// Whether the route is a default route, or one of the few wide ones that stand for it, such as
    /// 0.0.0.0/1 and 128.0.0.0/1 or 2000::/3.
    pub(super) default: bool,
}

/// A nexthop object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Nexthop {
    gateway: Option<IpAddr>,
    out: Option<u32>,
    members: Vec<u32>,
}

/// What a route leads over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hop {
    Gateway(Gateway),
    /// A nexthop object that is not spelled out in the route.
    Object {
        id: u32,
        default: bool,
    },
}

/// Every gateway of every route, each once.
pub(super) fn gateways() -> Result<BTreeSet<Gateway>, NetlinkError> {
    let mut hops = BTreeSet::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut body = vec![0; ROUTE_HEADER];
        body[0] = family as u8;
        // Kept in a set at once: a million routes lead over a few gateways.
        list(libc::RTM_GETROUTE, Asked::Routes, &body, |message| {
            hops.extend(parse_route(message));
            Vec::<()>::new()
        })?;
    }
    let objects = match hops.iter().any(|hop| matches!(hop, Hop::Object { .. })) {
        true => nexthops()?,
        false => BTreeMap::new(),
    };
    let mut found = BTreeSet::new();
    for hop in hops {
        match hop {
            Hop::Gateway(gateway) => {
                found.insert(gateway);
            }
            Hop::Object { id, default } => {
                resolve(id, default, &objects, DEEPEST_GROUP, &mut found);
            }
        }
    }
    Ok(found)
}

fn nexthops() -> Result<BTreeMap<u32, Nexthop>, NetlinkError> {
    let body = [0; NEXTHOP_HEADER];
    let found = list(GET_NEXTHOP, Asked::All, &body, |message| {
        parse_nexthop(message).into_iter().collect()
    })?;
    Ok(found.into_iter().collect())
}

fn resolve(
    id: u32,
    default: bool,
    objects: &BTreeMap<u32, Nexthop>,
    depth: usize,
    found: &mut BTreeSet<Gateway>,
) {
    let Some(object) = objects.get(&id).filter(|_| depth > 0) else {
        return;
    };
    if let (Some(address), Some(out)) = (object.gateway, object.out) {
        found.insert(Gateway {
            address,
            out,
            default,
        });
    }
    for member in &object.members {
        resolve(*member, default, objects, depth - 1, found);
    }
}

fn parse_route(message: &[u8]) -> Vec<Hop> {
    let (Some([family, length, ..]), Some(body)) = (
        message.first_chunk::<ROUTE_HEADER>(),
        message.get(ROUTE_HEADER..),
    ) else {
        return Vec::new();
    };
    let widest = match i32::from(*family) {
        libc::AF_INET => 1,
        _ipv6 => 3,
    };
    let default = *length <= widest;
    let mut hops = Vec::new();
    hops.extend(spelled_out(body, None, default));
    for (kind, value) in attributes(body) {
        match kind {
            MULTIPATH => hops.extend(multipath(value, default)),
            NEXTHOP => {
                let id = number(value).map(u32::from_ne_bytes);
                hops.extend(id.map(|id| Hop::Object { id, default }));
            }
            _ => {}
        }
    }
    // What the route says itself needs no look at the object.
    if hops.iter().any(|hop| matches!(hop, Hop::Gateway(_))) {
        hops.retain(|hop| matches!(hop, Hop::Gateway(_)));
    }
    hops
}

fn multipath(mut rest: &[u8], default: bool) -> Vec<Hop> {
    let mut hops = Vec::new();
    while let Some(header) = rest.first_chunk::<HOP_HEADER>() {
        let [low, high, _flags, _hops, out @ ..] = *header;
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(attributes) = rest.get(HOP_HEADER..length) else {
            break;
        };
        let out = Some(u32::from_ne_bytes(out));
        hops.extend(spelled_out(attributes, out, default));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

/// The gateway that attributes name, where they name one.
fn spelled_out(body: &[u8], mut out: Option<u32>, default: bool) -> Option<Hop> {
    let mut gateway = None;
    for (kind, value) in attributes(body) {
        match kind {
            GATEWAY => gateway = address(value),
            VIA => gateway = address(value.get(2..)?),
            OUT => out = number(value).map(u32::from_ne_bytes),
            _ => {}
        }
    }
    let address = gateway.filter(|address| !address.is_unspecified())?;
    Some(Hop::Gateway(Gateway {
        address,
        out: out?,
        default,
    }))
}

fn parse_nexthop(message: &[u8]) -> Option<(u32, Nexthop)> {
    let (mut id, mut nexthop) = (None, Nexthop::default());
    for (kind, value) in attributes(message.get(NEXTHOP_HEADER..)?) {
        match kind {
            NEXTHOP_ID => id = number(value).map(u32::from_ne_bytes),
            NEXTHOP_OUT => nexthop.out = number(value).map(u32::from_ne_bytes),
            NEXTHOP_GATEWAY => nexthop.gateway = address(value),
            NEXTHOP_GROUP => {
                let members = value.chunks_exact(GROUP_MEMBER);
                let members = members.filter_map(|member| number(member).map(u32::from_ne_bytes));
                nexthop.members = members.collect();
            }
            _ => {}
        }
    }
    Some((id?, nexthop))
}

#[cfg(test)]
mod tests {
    use super::super::netlink::put_attribute;
    use super::*;

    fn route(family: i32, length: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; ROUTE_HEADER];
        message[0] = family as u8;
        message[1] = length;
        for (kind, value) in attributes {
            put_attribute(&mut message, *kind, value);
        }
        message
    }

    fn over(address: &str, out: u32, default: bool) -> Hop {
        Hop::Gateway(Gateway {
            address: address.parse().unwrap(),
            out,
            default,
        })
    }

    #[test]
    fn a_default_route_may_be_split_and_other_routes_have_gateways_too() {
        let out = 2_u32.to_ne_bytes();
        let of = |family, length, gateway: &[u8]| {
            parse_route(&route(family, length, &[(GATEWAY, gateway), (OUT, &out)]))
        };
        for (length, default) in [(0, true), (1, true), (2, false), (24, false)] {
            let expected = [over("192.0.2.1", 2, default)];
            assert_eq!(of(libc::AF_INET, length, &[192, 0, 2, 1]), expected);
        }
        let router = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        assert_eq!(of(libc::AF_INET6, 3, &router), [over("fe80::1", 2, true)]);
        assert_eq!(of(libc::AF_INET6, 4, &router), [over("fe80::1", 2, false)]);
        assert_eq!(of(libc::AF_INET6, 0, &[0; 16]), [], "no gateway");
    }

    #[test]
    fn several_paths_and_a_gateway_of_the_other_family_are_read() {
        let router = "fe80::5".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let via = [&(libc::AF_INET6 as u16).to_ne_bytes()[..], &router].concat();
        let mut paths = Vec::new();
        let paths_of: [(u32, u16, &[u8]); 2] = [(2, GATEWAY, &[192, 0, 2, 1]), (3, VIA, &via)];
        for (out, kind, value) in paths_of {
            let mut attributes = Vec::new();
            put_attribute(&mut attributes, kind, value);
            let length = (HOP_HEADER + attributes.len()) as u16;
            paths.extend(length.to_ne_bytes());
            paths.extend([0, 0]);
            paths.extend(out.to_ne_bytes());
            paths.extend(attributes);
        }
        let read = parse_route(&route(libc::AF_INET, 0, &[(MULTIPATH, &paths)]));
        let expected = [over("192.0.2.1", 2, true), over("fe80::5", 3, true)];
        assert_eq!(read, expected);
        let cut = parse_route(&route(libc::AF_INET, 0, &[(MULTIPATH, &paths[..20])]));
        assert_eq!(cut, expected[..1]);
        assert_eq!(parse_route(&[2, 0, 0]), []);
    }

    #[test]
    fn nexthop_objects_and_groups_are_resolved() {
        let message = |attributes: &[(u16, &[u8])]| {
            let mut message = vec![0; NEXTHOP_HEADER];
            for (kind, value) in attributes {
                put_attribute(&mut message, *kind, value);
            }
            parse_nexthop(&message).unwrap()
        };
        let id = |id: u32| id.to_ne_bytes();
        let mut group = [id(1), [0; 4], id(2), [0; 4], id(9), [0; 4]].concat();
        let objects = BTreeMap::from([
            message(&[
                (NEXTHOP_ID, &id(1)),
                (NEXTHOP_OUT, &id(7)),
                (NEXTHOP_GATEWAY, &[192, 0, 2, 1]),
            ]),
            message(&[
                (NEXTHOP_ID, &id(2)),
                (NEXTHOP_OUT, &id(8)),
                (NEXTHOP_GATEWAY, &[192, 0, 2, 2]),
            ]),
            message(&[(NEXTHOP_ID, &id(9)), (NEXTHOP_GROUP, &group)]),
        ]);
        let route = parse_route(&route(libc::AF_INET, 0, &[(NEXTHOP, &id(9))]));
        let object = Hop::Object {
            id: 9,
            default: true,
        };
        assert_eq!(route, [object]);
        let mut found = BTreeSet::new();
        resolve(9, true, &objects, DEEPEST_GROUP, &mut found);
        let outs: Vec<u32> = found.iter().map(|gateway| gateway.out).collect();
        assert_eq!(outs, [7, 8]);
        group.truncate(9);
        let (_, cut) = message(&[(NEXTHOP_ID, &id(9)), (NEXTHOP_GROUP, &group)]);
        assert_eq!(cut.members, [1]);
    }
}
