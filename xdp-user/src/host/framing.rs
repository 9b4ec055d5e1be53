//! What an interface's frames begin with, as a program sees them.

use nix::errno::Errno;
use nix::libc;

use super::netlink::{Asked, NetlinkError, Socket, attributes, number, put_attribute};
use crate::domain::IfName;

/// `struct ifinfomsg` (linux/rtnetlink.h): the type at 2.
const HEADER: usize = 16;
/// linux/if_link.h
const ALT_IFNAME: u16 = 53;
const BROADCAST: u16 = libc::IFLA_BROADCAST;
const LINKINFO: u16 = libc::IFLA_LINKINFO;
const INFO_KIND: u16 = 1;

/// What a frame begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// The IP header: there is nothing before it.
    Bare,
}

/// A kind of interface whose frames begin with something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The kernel's number of its type (`ARPHRD_*`, linux/if_arp.h).
    pub link_type: u16,
    /// What it is, in words.
    pub what: String,
}

/// Asks what an interface's frames begin with; `None` if there is none of this name.
///
/// # Errors
/// When the kernel doesn't answer.
pub fn of(interface: &IfName) -> Result<Option<Result<Framing, Unreadable>>, NetlinkError> {
    let body = by_name(interface);
    let mut framing = None;
    let asked = Socket::open()?.ask(libc::RTM_GETLINK, Asked::One, &body, |message| {
        framing = Some(read(message));
    });
    match asked {
        Ok(()) => Ok(framing),
        Err(NetlinkError::Refused(Errno::ENODEV)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The body of a question for the interface of this name. A name that is too long for the kernel's own is
/// a further one (altname).
pub(super) fn by_name(interface: &IfName) -> Vec<u8> {
    let attribute = match interface.as_str().len() <= IfName::KERNEL_LEN {
        true => libc::IFLA_IFNAME,
        false => ALT_IFNAME,
    };
    let mut body = vec![0; HEADER];
    put_attribute(&mut body, attribute, format!("{interface}\0").as_bytes());
    body
}

pub(super) fn read(message: &[u8]) -> Result<Framing, Unreadable> {
    let link_type = message
        .get(2..)
        .and_then(number)
        .map_or(0, u16::from_ne_bytes);
    let body = message.get(HEADER..).unwrap_or_default();
    let info = attributes(body).filter(|(kind, _)| *kind == LINKINFO);
    let kind = info
        .flat_map(|(_, info)| attributes(info))
        .find(|(kind, _)| *kind == INFO_KIND)
        .map(|(_, name)| text(name));
    let broadcast = attributes(body).find(|(kind, _)| *kind == BROADCAST);
    let broadcast = broadcast.map(|(_, address)| address).unwrap_or_default();
    judge(link_type, kind.as_deref(), broadcast)
}

/// By the type, and what made the interface. `broadcast` is the other end of a tunnel.
fn judge(link_type: u16, kind: Option<&str>, broadcast: &[u8]) -> Result<Framing, Unreadable> {
    let unreadable = |what: &str| {
        Err(Unreadable {
            link_type,
            what: what.to_owned(),
        })
    };
    match (link_type, kind) {
        // A frame on loopback has an Ethernet header, too (drivers/net/loopback.c).
        (libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK, _) => Ok(Framing::Ethernet),
        // What IPsec decrypts keeps the link header of what was encrypted, of whichever interface that
        // came on (net/xfrm/xfrm_input.c, `skb_mac_header_rebuild`).
        (_, Some("xfrm" | "vti" | "vti6")) => {
            unreadable("an IPsec interface, whose packets keep the header of the link below")
        }
        // One end for many: a program sees the outer header (net/ipv4/ip_gre.c, `ipgre_header_ops`).
        (libc::ARPHRD_IPGRE, _) if is_for_many(broadcast) => {
            unreadable("a GRE tunnel to many ends, whose packets begin with the outer header")
        }
        // tun and WireGuard, PPP, modems, and tunnels of IP in IP, in GRE and in IPv6: the network stack
        // has taken their own header off.
        (
            libc::ARPHRD_NONE
            | libc::ARPHRD_PPP
            | RAWIP
            | libc::ARPHRD_TUNNEL
            | libc::ARPHRD_TUNNEL6
            | libc::ARPHRD_SIT
            | libc::ARPHRD_IPGRE
            | IP6GRE,
            _,
        ) => Ok(Framing::Bare),
        (_, kind) => {
            let made = kind.map_or_else(String::new, |kind| format!(", made as {kind}"));
            unreadable(&format!("{}{made}", name_of(link_type)))
        }
    }
}

// linux/if_arp.h
const RAWIP: u16 = 519;
const IP6GRE: u16 = 823;
const NETLINK: u16 = 824;
const VSOCKMON: u16 = 826;

/// No address, or one of multicast: a tunnel without one other end.
fn is_for_many(address: &[u8]) -> bool {
    let unspecified = address.iter().all(|byte| *byte == 0);
    unspecified || address.first().is_some_and(|first| first >> 4 == 14)
}

/// The names of linux/if_arp.h, of what is met.
fn name_of(link_type: u16) -> &'static str {
    match link_type {
        libc::ARPHRD_INFINIBAND => "InfiniBand",
        libc::ARPHRD_CAN => "a CAN bus",
        libc::ARPHRD_IEEE1394 => "FireWire",
        libc::ARPHRD_IEEE80211 | libc::ARPHRD_IEEE80211_PRISM | libc::ARPHRD_IEEE80211_RADIOTAP => {
            "802.11 in monitor mode"
        }
        libc::ARPHRD_IEEE802154 => "802.15.4",
        NETLINK => "a monitor of netlink",
        VSOCKMON => "a monitor of vsock",
        libc::ARPHRD_SLIP | libc::ARPHRD_CSLIP => "SLIP",
        _ => "of a type that isn't known here",
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(link_type: u16, kind: Option<&str>, broadcast: Option<&[u8]>) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        message[2..4].copy_from_slice(&link_type.to_ne_bytes());
        if let Some(address) = broadcast {
            put_attribute(&mut message, BROADCAST, address);
        }
        if let Some(kind) = kind {
            let mut info = Vec::new();
            put_attribute(&mut info, INFO_KIND, format!("{kind}\0").as_bytes());
            put_attribute(&mut message, LINKINFO, &info);
        }
        message
    }

    #[test]
    fn tunnels_modems_and_ppp_have_no_header_before_ip() {
        for (link_type, kind) in [
            (65_534, Some("tun")),
            (65_534, Some("wireguard")),
            (65_534, None),
            (512, Some("ppp")),
            (519, None),
            (768, Some("ipip")),
            (769, Some("ip6tnl")),
            (776, Some("sit")),
        ] {
            let framing = read(&message(link_type, kind, Some(&[0; 4])));
            assert_eq!(framing, Ok(Framing::Bare), "{link_type} {kind:?}");
        }
        for link_type in [1, 772] {
            assert_eq!(
                read(&message(link_type, Some("veth"), None)),
                Ok(Framing::Ethernet)
            );
        }
    }

    #[test]
    fn what_begins_with_another_header_is_named() {
        for (link_type, kind, broadcast, word) in [
            (65_534, Some("xfrm"), None, "IPsec"),
            (768, Some("vti"), Some(&[192, 0, 2, 1][..]), "IPsec"),
            (778, Some("gre"), Some(&[0; 4][..]), "many"),
            (778, Some("gre"), Some(&[239, 1, 1, 1][..]), "many"),
            (32, None, None, "InfiniBand"),
            (803, None, None, "802.11"),
            (280, Some("vcan"), None, "CAN bus, made as vcan"),
            (4242, None, None, "isn't known"),
        ] {
            let error = read(&message(link_type, kind, broadcast)).unwrap_err();
            assert_eq!(error.link_type, link_type);
            assert!(error.what.contains(word), "{error:?}");
        }
        let one = Some(&[192, 0, 2, 1][..]);
        assert_eq!(read(&message(778, Some("gre"), one)), Ok(Framing::Bare));
    }

    #[test]
    fn an_interface_that_is_there_says_it_and_another_is_none() {
        assert_eq!(of(&"lo".parse().unwrap()), Ok(Some(Ok(Framing::Ethernet))));
        assert_eq!(of(&"absent0".parse().unwrap()), Ok(None));
    }
}
