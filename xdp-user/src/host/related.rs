//! Which devices a protected interface's packets reach: the ground for the lock-out guard, for
//! standing aside, for the largest segment that a SYN cookie grants, and for what `doctor` and
//! `status` say.
//!
//! A program sees a frame on the interface that it is attached to. Address and route are often on
//! another device, which the kernel hands the frame to. From the interface on, each of these steps
//! is taken until nothing new comes up:
//!
//! | from | to | because |
//! | --- | --- | --- |
//! | any device | its master: a bridge, bond, team, VRF or Open vSwitch datapath | the master takes the device's frames over, and has the address (a VRF: the routing table) |
//! | any device | VLAN, macvlan, macvtap, ipvlan and ipvtap devices on it | they take the frames with their tag or address out of it |
//! | an Open vSwitch datapath | its internal ports | the addresses of Open vSwitch's bridges are on them; the kernel doesn't say which belongs to which datapath, so all are meant |
//! | a bridge | the other end of a veth port, where it is in this namespace | what the bridge forwards to that port arrives here as well |
//! | a device with PPPoE sessions | PPP devices | they take the frames of the sessions; the kernel doesn't say which device has which session, so all are meant |
//!
//! No step leads down: what stands on a VLAN device doesn't get the frames of the interface below it
//! that carry no tag or another one.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use super::link::{Link, Links};

/// Devices that stand on another and take frames out of it.
pub(super) const VLAN: &str = "vlan";
pub(super) const MACVLAN: &str = "macvlan";
const UPPER: [&str; 5] = [VLAN, MACVLAN, "macvtap", "ipvlan", "ipvtap"];
pub(super) const BRIDGE: &str = "bridge";
pub(super) const OPENVSWITCH: &str = "openvswitch";
const VETH: &str = "veth";
const PPP: &str = "ppp";

/// How a device gets the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is the protected interface.
    Start,
    /// It is the master.
    Master,
    /// It stands on the device before.
    Upper,
    /// It is an internal port of the Open vSwitch datapath before.
    InternalPort,
    /// It is the other end of a port of the bridge before.
    PortPeer,
    /// It may have a PPPoE session of the device before.
    Session,
}

/// A device that the packets reach, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Related<'l> {
    pub(super) link: &'l Link,
    pub(super) step: Step,
    /// The device that the step was taken from; for [`Step::Start`] the device itself.
    pub(super) from: &'l Link,
}

/// A device belongs to a master that the kernel didn't list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device} belongs to interface {master}, which is not there")]
pub(super) struct MasterMissing {
    pub(super) device: String,
    pub(super) master: u32,
}

/// Every device that an interface's packets reach, itself first, near ones before far ones.
/// `sessions` tells whether a device has PPPoE sessions.
pub(super) fn find<'l>(
    interface: &'l Link,
    links: &'l Links,
    sessions: impl Fn(&str) -> bool,
) -> Result<Vec<Related<'l>>, MasterMissing> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([interface.index]);
    let mut waiting = VecDeque::from([Related {
        link: interface,
        step: Step::Start,
        from: interface,
    }]);
    while let Some(device) = waiting.pop_front() {
        found.push(device);
        for (step, link) in next(device.link, links, &sessions)? {
            if seen.insert(link.index) {
                let from = device.link;
                waiting.push_back(Related { link, step, from });
            }
        }
    }
    Ok(found)
}

fn next<'l>(
    device: &Link,
    links: &'l Links,
    sessions: impl Fn(&str) -> bool,
) -> Result<Vec<(Step, &'l Link)>, MasterMissing> {
    let is = |link: &Link, kind: &str| link.kind.as_deref() == Some(kind);
    let mut next = Vec::new();
    if let Some(master) = device.master {
        let link = links.by_index(master).ok_or_else(|| MasterMissing {
            device: device.name.clone(),
            master,
        })?;
        next.push((Step::Master, link));
        if is(link, OPENVSWITCH) {
            let internal = links.iter().filter(|other| is(other, OPENVSWITCH));
            next.extend(internal.map(|link| (Step::InternalPort, link)));
        }
    }
    let uppers = links.on(device.index);
    let uppers = uppers.filter(|link| UPPER.iter().any(|kind| is(link, kind)));
    next.extend(uppers.map(|link| (Step::Upper, link)));
    if is(device, BRIDGE) {
        let ports = links.ports(device.index).filter(|port| is(port, VETH));
        let peers = ports.filter_map(|port| links.by_index(port.lower?));
        next.extend(peers.map(|link| (Step::PortPeer, link)));
    }
    if sessions(&device.name) {
        let ppp = links.iter().filter(|link| is(link, PPP));
        next.extend(ppp.map(|link| (Step::Session, link)));
    }
    Ok(next)
}

impl fmt::Display for Related<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.link.kind.as_deref().unwrap_or("device");
        let from = &self.from.name;
        match self.step {
            Step::Start => write!(out, "the protected interface"),
            Step::Master => write!(out, "{kind} that {from} belongs to"),
            Step::Upper => write!(out, "{kind} device on {from}"),
            Step::InternalPort => write!(out, "Open vSwitch port beside {from}"),
            Step::PortPeer => write!(out, "other end of a port of {from}"),
            Step::Session => write!(out, "PPP device that may have a session over {from}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{in_master, link, of_kind, on};
    use super::*;

    fn reached(from: &str, links: &[Link]) -> Vec<String> {
        let links = Links::from_iter(links.iter().cloned());
        let start = links.by_name(from).unwrap();
        let found = find(start, &links, |device| device == "pppoe0").unwrap();
        found.iter().map(|one| one.link.name.clone()).collect()
    }

    #[test]
    fn a_bridge_port_reaches_the_bridge_and_what_is_on_it() {
        let links = [
            in_master(9, link(2, "eth0")),
            in_master(9, of_kind(3, "tap0", "tun")),
            link(4, "eth1"),
            of_kind(9, "vmbr0", "bridge"),
            on(9, of_kind(10, "vmbr0.7", "vlan")),
        ];
        assert_eq!(reached("eth0", &links), ["eth0", "vmbr0", "vmbr0.7"]);
        assert_eq!(reached("vmbr0", &links), ["vmbr0", "vmbr0.7"]);
        assert_eq!(reached("eth1", &links), ["eth1"]);
    }

    #[test]
    fn stacks_are_followed_to_their_end() {
        // A bridge on a VLAN of a bond, with a macvlan device on the bridge; and a VRF.
        let links = [
            in_master(5, link(2, "eth0")),
            in_master(5, link(3, "eth1")),
            of_kind(5, "bond0", "bond"),
            in_master(7, on(5, of_kind(6, "bond0.100", "vlan"))),
            of_kind(7, "br100", "bridge"),
            in_master(9, on(7, of_kind(8, "host0", "macvlan"))),
            of_kind(9, "mgmt", "vrf"),
        ];
        let all = ["eth0", "bond0", "bond0.100", "br100", "host0", "mgmt"];
        assert_eq!(reached("eth0", &links), all);
        assert_eq!(reached("bond0", &links), all[1..]);
        assert_eq!(reached("bond0.100", &links), all[2..]);
        assert_eq!(reached("host0", &links), all[4..]);
    }

    #[test]
    fn a_peer_or_a_tunnel_takes_no_frames_off_an_interface() {
        for kind in ["veth", "vxlan", "gre"] {
            let links = [link(2, "eth0"), on(2, of_kind(5, "x0", kind))];
            assert_eq!(reached("eth0", &links), ["eth0"], "{kind}");
        }
    }

    #[test]
    fn ends_behind_the_ports_of_a_bridge_and_of_open_vswitch_are_reached() {
        let bridged = [
            in_master(9, link(2, "eth0")),
            of_kind(9, "br0", "bridge"),
            in_master(9, on(5, of_kind(4, "port0", "veth"))),
            on(4, of_kind(5, "inner0", "veth")),
        ];
        assert_eq!(reached("eth0", &bridged), ["eth0", "br0", "inner0"]);
        let switched = [
            in_master(9, link(2, "eth0")),
            of_kind(9, "ovs-system", "openvswitch"),
            of_kind(10, "br-ex", "openvswitch"),
        ];
        assert_eq!(reached("eth0", &switched), ["eth0", "ovs-system", "br-ex"]);
    }

    #[test]
    fn a_device_with_pppoe_sessions_reaches_ppp_devices() {
        let links = [
            link(2, "pppoe0"),
            link(3, "eth1"),
            of_kind(4, "ppp0", "ppp"),
        ];
        assert_eq!(reached("pppoe0", &links), ["pppoe0", "ppp0"]);
        assert_eq!(reached("eth1", &links), ["eth1"]);
    }

    #[test]
    fn a_circle_ends_and_a_missing_master_is_named() {
        let circle = [
            on(5, of_kind(2, "eth0", "vlan")),
            on(2, of_kind(5, "eth0.1", "vlan")),
        ];
        assert_eq!(reached("eth0", &circle), ["eth0", "eth0.1"]);
        let links = Links::from_iter([in_master(9, link(2, "eth0"))]);
        let missing = find(links.by_name("eth0").unwrap(), &links, |_| false).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "eth0 belongs to interface 9, which is not there"
        );
    }

    #[test]
    fn how_a_device_is_reached_is_told() {
        let links = Links::from_iter([
            in_master(9, link(2, "eth0")),
            of_kind(9, "br0", "bridge"),
            on(9, of_kind(10, "br0.7", "vlan")),
        ]);
        let found = find(links.by_name("eth0").unwrap(), &links, |_| false).unwrap();
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        let expected = [
            "the protected interface",
            "bridge that eth0 belongs to",
            "vlan device on br0",
        ];
        assert_eq!(told, expected);
    }
}
