//! Where packets may be for somebody else than this host's sockets.

use std::fmt;
use std::io;
use std::path::Path;

use super::file;
use super::link::{Links, Mac};
use super::netlink::NetlinkError;
use super::related::{BRIDGE, MACVLAN, OPENVSWITCH, Related, Step, VLAN};
use crate::api::types::Family;
use crate::domain::IfName;

/// The program must not drop a packet of this family on this interface for want of a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aside {
    /// The protected interface.
    pub interface: IfName,
    /// Which packets.
    pub family: Family,
    /// Why.
    pub reason: AsideReason,
}

impl fmt::Display for Aside {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} for {}: {}",
            self.interface,
            self.family.title(),
            self.reason
        )
    }
}

/// Why packets may be for somebody else. `device` is the protected interface or one that its
/// packets come in through: a VLAN device on it, the bond that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum AsideReason {
    /// The device forwards.
    #[error(
        "{device} forwards packets to other hosts, as NAT between networks does as well: one that no local socket waits for may be theirs"
    )]
    Forwarding {
        /// Which device.
        device: String,
    },
    /// The device forwards, and answers may leave by another that isn't protected.
    #[error(
        "{device} forwards packets to other hosts, and packets for the Internet leave by {out} as well, which isn't protected: answers that leave there aren't seen. Protect it, too"
    )]
    LeavesElsewhere {
        /// Which device.
        device: String,
        /// The way out.
        out: String,
    },
    /// The device is one of several ports of a Linux bridge. The bridge hands what is for none of its
    /// own addresses to the others; with one port alone there is nobody to hand it to.
    #[error("{device} is a port of the bridge {master}: its packets may be for the other ports")]
    BridgePort {
        /// Which device.
        device: String,
        /// The bridge.
        master: String,
    },
    /// The device is a port of Open vSwitch.
    #[error(
        "{device} is a port of the Open vSwitch datapath {master}: its packets may be for the other ports"
    )]
    SwitchPort {
        /// Which device.
        device: String,
        /// The datapath.
        master: String,
    },
    /// The device is in a VRF.
    #[error(
        "{device} belongs to the VRF {master}: the sockets for its packets are bound to the VRF, where the program does not look"
    )]
    VrfPort {
        /// Which device.
        device: String,
        /// The VRF.
        master: String,
    },
    /// The device belongs to something that this module doesn't know.
    #[error(
        "{device} belongs to {master}, of the kind {kind}, which may give its packets to others"
    )]
    OtherMaster {
        /// Which device.
        device: String,
        /// What it belongs to.
        master: String,
        /// What that is.
        kind: String,
    },
    /// Virtual interfaces share the device.
    #[error(
        "{upper} shares {device} ({kind}): packets for its own address may be for a container or a virtual machine"
    )]
    Shared {
        /// Which device.
        device: String,
        /// The virtual interface.
        upper: String,
        /// Its kind.
        kind: String,
    },
    /// Somebody outside this namespace shares the device.
    #[error(
        "{device} takes frames for {address}, an address of none of this namespace's interfaces: they are for a container or a virtual machine"
    )]
    SharedAway {
        /// Which device.
        device: String,
        /// The hardware address.
        address: String,
    },
    /// IPVS has services.
    #[error(
        "IPVS balances load on this host: packets for its services go to other hosts without a socket here"
    )]
    Ipvs,
    /// It could not be found out.
    #[error("whether packets are for this host could not be found out: {what}")]
    Unknown {
        /// What went wrong.
        what: String,
    },
}

impl AsideReason {
    /// Every reason's name.
    pub const NAMES: [&'static str; 10] = [
        "forwarding",
        "leaves_elsewhere",
        "bridge_port",
        "switch_port",
        "vrf_port",
        "other_master",
        "shared",
        "shared_away",
        "ipvs",
        "unknown",
    ];

    /// Whether what leaves by the interface tells its packets as well as sockets do elsewhere: packets of
    /// a host or a container behind this one leave there, too. Those of an IPVS service may be answered
    /// past this host; of what isn't known nothing is assumed.
    pub const fn is_told_by_flows(&self) -> bool {
        match self {
            Self::Forwarding { .. }
            | Self::BridgePort { .. }
            | Self::SwitchPort { .. }
            | Self::VrfPort { .. }
            | Self::Shared { .. }
            | Self::SharedAway { .. } => true,
            Self::LeavesElsewhere { .. }
            | Self::OtherMaster { .. }
            | Self::Ipvs
            | Self::Unknown { .. } => false,
        }
    }

    /// The name in metrics and JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Forwarding { .. } => "forwarding",
            Self::LeavesElsewhere { .. } => "leaves_elsewhere",
            Self::BridgePort { .. } => "bridge_port",
            Self::SwitchPort { .. } => "switch_port",
            Self::VrfPort { .. } => "vrf_port",
            Self::OtherMaster { .. } => "other_master",
            Self::Shared { .. } => "shared",
            Self::SharedAway { .. } => "shared_away",
            Self::Ipvs => "ipvs",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// A device's packets go on to these masters, and to sockets from there.
const AGGREGATES: [&str; 2] = ["bond", "team"];
/// The header lines and the first services; what counts is whether there is one.
const IPVS_LIMIT: u64 = 1 << 20;

/// At most one reason for an interface and each family: what concerns both comes first. `related`
/// is what the interface's packets reach; `addresses` tells the further addresses that a device
/// takes frames for.
pub(super) fn find(
    interface: &IfName,
    related: Result<(&Links, Vec<Related<'_>>), String>,
    addresses: impl Fn(u32) -> Result<Vec<Mac>, NetlinkError>,
    proc: &Path,
) -> Vec<Aside> {
    let devices = related
        .map_err(|what| AsideReason::Unknown { what })
        .and_then(|(links, related)| devices(&related, links, addresses));
    let ipvs = ipvs(proc);
    let both = devices.as_ref().err().or(ipvs.as_ref());
    let mut asides = Vec::new();
    for family in Family::ALL {
        let reason = match (both, &devices) {
            (Some(reason), _) | (None, Err(reason)) => Some(reason.clone()),
            (None, Ok(devices)) => forwarding(devices, family, proc),
        };
        asides.extend(reason.map(|reason| Aside {
            interface: interface.clone(),
            family,
            reason,
        }));
    }
    asides
}

fn unknown(what: String) -> AsideReason {
    AsideReason::Unknown { what }
}

/// The names of the devices that an interface's packets come in through, unless one of them gives
/// them to others.
fn devices(
    related: &[Related<'_>],
    links: &Links,
    addresses: impl Fn(u32) -> Result<Vec<Mac>, NetlinkError>,
) -> Result<Vec<String>, AsideReason> {
    for step in related {
        if let Some(reason) = given_away(step, links) {
            return Err(reason);
        }
    }
    let mut names = Vec::new();
    for step in related {
        let device = step.link;
        let further = addresses(device.index)
            .map_err(|error| unknown(format!("the addresses of {}: {error}", device.name)))?;
        if let Some(address) = further.into_iter().find(|address| !links.have(*address)) {
            return Err(AsideReason::SharedAway {
                device: device.name.clone(),
                address: address.map(|byte| format!("{byte:02x}")).join(":"),
            });
        }
        names.push(device.name.clone());
    }
    Ok(names)
}

/// Why packets that take this step may end up with somebody else.
fn given_away(step: &Related<'_>, links: &Links) -> Option<AsideReason> {
    let (device, next) = (&step.from.name, step.link);
    let kind = next.kind.as_deref();
    match step.step {
        Step::Start => None,
        Step::Master => match kind {
            Some(kind) if AGGREGATES.contains(&kind) => None,
            // Frames for others come back out of a port in hairpin mode.
            Some(BRIDGE) if links.ports(next.index).count() == 1 && !step.from.hairpin => None,
            kind => Some(master_reason(device, &next.name, kind)),
        },
        Step::Upper => match kind {
            // A macvlan device of this namespace is one more interface of this host. One that was
            // moved away shows by its hardware address.
            Some(VLAN | MACVLAN) => None,
            kind => Some(AsideReason::Shared {
                device: device.clone(),
                upper: next.name.clone(),
                kind: kind.unwrap_or("unnamed").to_owned(),
            }),
        },
        // What comes before these has a reason already, or is this host's own session.
        Step::InternalPort | Step::PortPeer | Step::Session => None,
    }
}

fn master_reason(device: &str, master: &str, kind: Option<&str>) -> AsideReason {
    let (device, master) = (device.to_owned(), master.to_owned());
    match kind {
        Some(BRIDGE) => AsideReason::BridgePort { device, master },
        Some(OPENVSWITCH) => AsideReason::SwitchPort { device, master },
        Some("vrf") => AsideReason::VrfPort { device, master },
        kind => AsideReason::OtherMaster {
            device,
            master,
            kind: kind.unwrap_or("unnamed").to_owned(),
        },
    }
}

fn forwarding(devices: &[String], family: Family, proc: &Path) -> Option<AsideReason> {
    let forwards = |device: &String| match family {
        Family::Ipv4 => forwards_v4(device, proc),
        Family::Ipv6 => forwards_v6(device, proc),
    };
    devices.iter().find_map(|device| match forwards(device) {
        Ok(false) => None,
        Ok(true) => Some(AsideReason::Forwarding {
            device: device.clone(),
        }),
        Err(error) => Some(unknown(format!(
            "{} forwarding of {device}: {error}",
            family.title()
        ))),
    })
}

/// `IN_DEV_FORWARD` of the device that a packet came in through (net/ipv4/route.c).
fn forwards_v4(device: &str, proc: &Path) -> io::Result<bool> {
    let path = proc
        .join("sys/net/ipv4/conf")
        .join(device)
        .join("forwarding");
    Ok(file::read_number(&path)? != 0)
}

/// The kernel looks at `all`, and from 6.17 on at the device's `force_forwarding`
/// (net/ipv6/ip6_output.c, `ip6_forward`). A device's own `forwarding` makes a router of it in other
/// ways; whoever sets it means to forward.
fn forwards_v6(device: &str, proc: &Path) -> io::Result<bool> {
    let conf = proc.join("sys/net/ipv6/conf");
    for (device, name) in [
        ("all", "forwarding"),
        (device, "forwarding"),
        (device, "force_forwarding"),
    ] {
        let read = file::read_number(&conf.join(device).join(name));
        // A kernel without IPv6, a device without it, a kernel without that sysctl.
        if file::if_there(read)?.is_some_and(|value| value != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn ipvs(proc: &Path) -> Option<AsideReason> {
    // Three lines of headers, then services, each with its servers.
    const HEADERS: usize = 3;
    // Not /proc/net, which shows the namespace of the process's first thread.
    let path = proc.join("thread-self/net/ip_vs");
    match file::if_there(file::read(&path, IPVS_LIMIT)) {
        Ok(None) => None,
        Ok(Some(text)) => (text.lines().count() > HEADERS).then_some(AsideReason::Ipvs),
        // More than any host without services could have.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Some(AsideReason::Ipvs),
        Err(error) => Some(unknown(format!("the services of IPVS: {error}"))),
    }
}

#[cfg(test)]
mod tests;
