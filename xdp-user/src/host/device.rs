//! What an interface is, what its driver can, and what is switched on: asked for, never changed.

use nix::errno::Errno;
use nix::libc;

use super::framing::{self, Framing};
pub use super::generic::Queues;
use super::generic::{XDP_BASIC, XDP_SCATTERED, offloads, queues, xdp_features};
use super::link::Links;
use super::netlink::{Asked, NetlinkError, Socket, attributes, number};
use crate::domain::IfName;

/// `struct ifinfomsg` (linux/rtnetlink.h): the type at 2, the index at 4, the flags at 8.
const HEADER: usize = 16;
/// Where the index is in it.
const INDEX: usize = 4;
const XDP: u16 = 43;
/// How a program is attached, and the two ways that are ours (linux/if_link.h).
const ATTACHED: u16 = 2;
const NATIVE: u8 = 1;
const GENERIC: u8 = 2;
/// Numbers of the programs that are attached, by mode (linux/if_link.h).
const PROGRAMS: [u16; 4] = [4, 5, 6, 7];

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its largest packet in bytes.
    pub mtu: u32,
    /// Whether its packets begin with an Ethernet header.
    pub ethernet: bool,
    /// What its packets begin with, if that is neither an Ethernet nor an IP header.
    pub unreadable: Option<String>,
    /// Whether it is up.
    pub up: bool,
    /// What made it, such as `veth` or `vlan`; none for a plain device.
    pub kind: Option<String>,
    /// The driver of a plain device, where it can be told.
    pub driver: Option<String>,
    /// The interface that it is a port or slave of: name and kind.
    pub master: Option<(String, String)>,
    /// The interface that it stands on, as a VLAN device does.
    pub lower: Option<String>,
    /// VLAN devices on it.
    pub vlans: Vec<String>,
    /// The kernel's number of the XDP program on it.
    pub program: Option<u32>,
    /// Whether that runs in the driver (native mode); `None` without one.
    pub program_native: Option<bool>,
    /// What its driver says of XDP; `None` where the kernel doesn't tell (before 6.3).
    pub native: Option<Native>,
    /// Names of the offloads that are on.
    pub offloads: Vec<String>,
    /// Receive queues, where their number can be set.
    pub queues: Option<Queues>,
}

/// XDP in the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Native {
    /// Programs can be attached there.
    pub supported: bool,
    /// A frame may be in several buffers, so that the MTU may be larger than a page.
    pub scattered: bool,
}

/// Looks at an interface; `None` if there is none of this name.
///
/// # Errors
/// When the kernel doesn't answer.
pub fn look(interface: &IfName) -> Result<Option<Device>, NetlinkError> {
    let links = Links::read()?;
    let Some(link) = links.by_name(interface.as_str()) else {
        return Ok(None);
    };
    let named = |index| links.by_index(index);
    let master = link.master.and_then(named);
    let vlans = links.on(link.index);
    let vlans = vlans.filter(|upper| upper.kind.as_deref() == Some("vlan"));
    let mut device = Device {
        mtu: link.mtu,
        kind: link.kind.clone(),
        driver: driver(&link.name),
        master: master.map(|one| (one.name.clone(), one.kind.clone().unwrap_or_default())),
        lower: link.lower.and_then(named).map(|one| one.name.clone()),
        vlans: vlans.map(|upper| upper.name.clone()).collect(),
        native: xdp_features(link.index)?.map(Native::of),
        offloads: offloads(link.index)?.unwrap_or_default(),
        queues: queues(link.index)?,
        ..Device::default()
    };
    let body = framing::by_name(interface);
    let asked = Socket::open()?.ask(libc::RTM_GETLINK, Asked::One, &body, |message| {
        device.read_link(message);
    });
    match asked {
        Ok(()) => Ok(Some(device)),
        Err(NetlinkError::Refused(Errno::ENODEV)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The index of the interface that has this name, or this further name (altname).
pub fn index_of(interface: &IfName) -> Option<u32> {
    if interface.as_str().len() <= IfName::KERNEL_LEN {
        return nix::net::if_::if_nametoindex(interface.as_str()).ok();
    }
    let mut index = None;
    let body = framing::by_name(interface);
    let mut socket = Socket::open().ok()?;
    let asked = socket.ask(libc::RTM_GETLINK, Asked::One, &body, |message| {
        index = message
            .get(INDEX..)
            .and_then(number)
            .map(u32::from_ne_bytes);
    });
    asked.ok()?;
    index
}

impl Native {
    fn of(features: u64) -> Self {
        Self {
            supported: features & XDP_BASIC != 0,
            scattered: features & XDP_SCATTERED != 0,
        }
    }
}

impl Device {
    fn read_link(&mut self, message: &[u8]) {
        let flags = message.get(8..).and_then(number).map(u32::from_ne_bytes);
        let framing = framing::read(message);
        self.ethernet = framing == Ok(Framing::Ethernet);
        self.unreadable = framing.err().map(|unreadable| unreadable.what);
        self.up = flags.is_some_and(|flags| flags & libc::IFF_UP.cast_unsigned() != 0);
        let body = message.get(HEADER..).unwrap_or_default();
        let xdp = || {
            let xdp = attributes(body).filter(|(kind, _)| *kind == XDP);
            xdp.flat_map(|(_, xdp)| attributes(xdp))
        };
        let attached = xdp().find(|(kind, _)| *kind == ATTACHED);
        self.program_native = match attached.and_then(|(_, mode)| mode.first().copied()) {
            Some(NATIVE) => Some(true),
            Some(GENERIC) => Some(false),
            _ => None,
        };
        let mut programs = xdp().filter(|(kind, _)| PROGRAMS.contains(kind));
        self.program = programs.find_map(|(_, value)| {
            let id = number(value).map(u32::from_ne_bytes)?;
            (id != 0).then_some(id)
        });
    }
}

/// From sysfs, which may be another namespace's: then there is no such file, or none of a device.
fn driver(interface: &str) -> Option<String> {
    let link = std::fs::read_link(format!("/sys/class/net/{interface}/device/driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::netlink::put_attribute;
    use super::*;

    #[test]
    fn type_state_and_program_are_read() {
        let mut message = vec![0; HEADER];
        message[2..4].copy_from_slice(&1_u16.to_ne_bytes());
        message[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        let mut xdp = Vec::new();
        put_attribute(&mut xdp, 2, &[1]);
        put_attribute(&mut xdp, 4, &17_u32.to_ne_bytes());
        put_attribute(&mut message, XDP | 0x8000, &xdp);
        let mut device = Device::default();
        device.read_link(&message);
        assert_eq!((device.ethernet, device.up), (true, true));
        assert_eq!(device.program, Some(17));
        message[2..4].copy_from_slice(&0xfffe_u16.to_ne_bytes());
        device.read_link(&message[..HEADER]);
        assert_eq!((device.ethernet, device.program), (false, None));
        device.read_link(&[]);
        assert!(!device.up);
    }

    #[test]
    fn loopback_is_no_card() {
        let device = look(&"lo".parse().unwrap()).unwrap().unwrap();
        assert!(device.ethernet);
        assert_eq!((device.master, device.driver), (None, None));
        assert_eq!(look(&"absent0".parse().unwrap()), Ok(None));
    }
}
