//! By which devices packets for the Internet leave this host. Where it forwards, answers that leave by a
//! device that isn't protected aren't seen, so the flow memory doesn't tell what was asked for.
//!
//! The kernel is asked for its route to a few addresses far apart, which costs the same with one route
//! and with a million. No packet is sent. What it answers is for packets of its own: rules by the device
//! that a forwarded packet came in on may say otherwise.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::libc;

use super::netlink::{Asked, Socket, attributes, number, put_attribute};
use crate::api::types::Family;

/// `struct rtmsg` (linux/rtnetlink.h): the family first, then the length of the destination.
const HEADER: usize = 12;
const DESTINATION: u16 = libc::RTA_DST;
const OUT: u16 = libc::RTA_OIF;
/// Addresses of the Internet, one for each half of it that routes in place of a default route are for
/// (0.0.0.0/1, 128.0.0.0/1), and two more.
const FAR_V4: [[u8; 4]; 4] = [[1, 1, 1, 1], [64, 0, 0, 1], [130, 0, 0, 1], [200, 0, 0, 1]];
/// Of three of the registries' blocks in 2000::/3.
const FAR_V6: [[u16; 2]; 3] = [[0x2001, 0x4860], [0x2600, 0], [0x2a00, 0]];

/// The devices, by number. A host that has no way out, or doesn't tell, has none.
pub(super) fn of(family: Family) -> BTreeSet<u32> {
    let far: Vec<IpAddr> = match family {
        Family::Ipv4 => FAR_V4.map(IpAddr::from).to_vec(),
        Family::Ipv6 => FAR_V6
            .map(|[a, b]| IpAddr::from([a, b, 0, 0, 0, 0, 0, 1]))
            .to_vec(),
    };
    let Ok(mut socket) = Socket::open() else {
        return BTreeSet::new();
    };
    let mut devices = BTreeSet::new();
    for address in far {
        let asked = socket.ask(
            libc::RTM_GETROUTE,
            Asked::One,
            &request(address),
            |answer| {
                devices.extend(out(answer));
            },
        );
        if let Err(error) = asked {
            tracing::trace!("no route to {address}: {error}");
        }
    }
    devices
}

fn request(address: IpAddr) -> Vec<u8> {
    let mut body = vec![0; HEADER];
    let (family, bytes) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    if let [of_family, length, ..] = &mut body[..] {
        *of_family = u8::try_from(family).unwrap_or(0);
        *length = u8::try_from(bytes.len() * 8).unwrap_or(0);
    }
    put_attribute(&mut body, DESTINATION, &bytes);
    body
}

/// The device that a route leads out of.
fn out(answer: &[u8]) -> Option<u32> {
    let mut attributes = attributes(answer.get(HEADER..)?);
    let (_, value) = attributes.find(|(kind, _)| *kind == OUT)?;
    number(value).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_tells_the_device_that_it_leads_out_of() {
        let mut answer = vec![0; HEADER];
        put_attribute(&mut answer, DESTINATION, &[1, 1, 1, 1]);
        put_attribute(&mut answer, OUT, &7_u32.to_ne_bytes());
        assert_eq!(out(&answer), Some(7));
        assert_eq!(out(&answer[..HEADER]), None);
        assert_eq!(out(&[]), None);
        let asked = request(IpAddr::from([1, 1, 1, 1]));
        assert_eq!(asked[..2], [libc::AF_INET as u8, 32]);
        assert_eq!(asked.len(), HEADER + 8);
    }
}
