//! What reaches this host through its protected interfaces: one model, which the lock-out guard,
//! standing aside, the largest segment of SYN cookies, `doctor` and `status` share.
//!
//! The links are listed when the snapshot is taken. Addresses, routes and sessions are asked for by
//! whom they concern.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::aside::{self, Aside, AsideReason};
use super::link::{self, Link, Links, Mac};
use super::netlink::NetlinkError;
use super::peers::{self, ProtectedPeers};
use super::related::{self, Related};
use super::{PROC, file, ways_out};
use crate::api::types::Family;
use crate::domain::IfName;

/// A line for each session; a host that ends thousands of them is another kind of host.
const PPPOE_LIMIT: u64 = 1 << 20;

/// An interface to look through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// As it is configured: the kernel's name at that time, or an altname.
    pub name: IfName,
    /// Its number where the program is attached to it: the interface may have another name by now,
    /// and the name may be another's.
    pub index: Option<u32>,
}

impl From<IfName> for Watched {
    fn from(name: IfName) -> Self {
        Self { name, index: None }
    }
}

/// The host as it is now.
#[derive(Clone, Debug)]
pub struct HostSnapshot {
    interfaces: Vec<Watched>,
    links: Result<Links, NetlinkError>,
    /// Devices that PPPoE sessions go over.
    pppoe: BTreeSet<String>,
    proc: PathBuf,
}

/// A device that the packets of a protected interface reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachedDevice {
    /// Its name.
    pub name: String,
    /// What made it, as `ip -details link` has it; none for a plain device.
    pub kind: Option<String>,
    /// How the packets reach it, such as "bridge that eth0 belongs to".
    pub how: String,
}

/// What is known of one protected interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// As it was asked for: the kernel's name, or an altname.
    pub interface: IfName,
    /// Every device that its packets reach, itself first under the kernel's name; or why that isn't
    /// known.
    pub devices: Result<Vec<ReachedDevice>, String>,
}

impl HostSnapshot {
    /// Looks at the host through these interfaces.
    #[must_use]
    pub fn take(interfaces: &[Watched]) -> Self {
        Self::of(interfaces, Links::read(), Path::new(PROC))
    }

    /// The same for interfaces that are known by name only.
    #[must_use]
    pub fn by_names<'i>(names: impl IntoIterator<Item = &'i IfName>) -> Self {
        let interfaces: Vec<Watched> = names.into_iter().cloned().map(Watched::from).collect();
        Self::take(&interfaces)
    }

    pub(super) fn of(
        interfaces: &[Watched],
        links: Result<Links, NetlinkError>,
        proc: &Path,
    ) -> Self {
        // Without the module there is no such file, and no session.
        let sessions = file::read(&proc.join("thread-self/net/pppoe"), PPPOE_LIMIT);
        Self {
            interfaces: interfaces.to_vec(),
            links,
            pppoe: sessions.map_or_else(|_none| BTreeSet::new(), |text| pppoe_devices(&text)),
            proc: proc.to_path_buf(),
        }
    }

    /// Where the program must stand aside on this host now: at most one reason for each interface
    /// and family, in the order of the interfaces.
    ///
    /// Nothing is trusted to be harmless unread: what can't be found out is a reason, too.
    #[must_use]
    pub fn asides(&self) -> Vec<Aside> {
        let mut asides = self.asides_by(link::further_addresses);
        self.look_at_ways_out(&mut asides, ways_out::of);
        asides
    }

    /// Where the host forwards, answers may leave by a device that no protected interface reaches.
    fn look_at_ways_out(&self, asides: &mut [Aside], ways_out: impl Fn(Family) -> BTreeSet<u32>) {
        let Ok(links) = self.links() else { return };
        for family in Family::ALL {
            let mut forwarding = asides.iter_mut().filter(|aside| {
                aside.family == family && matches!(aside.reason, AsideReason::Forwarding { .. })
            });
            let Some(first) = forwarding.next() else {
                continue;
            };
            let related = self
                .interfaces
                .iter()
                .filter_map(|one| self.related(one).ok());
            let reached: BTreeSet<u32> = related.flatten().map(|one| one.link.index).collect();
            let elsewhere = ways_out(family)
                .into_iter()
                .filter(|out| !reached.contains(out))
                .find_map(|out| links.by_index(out));
            let Some(elsewhere) = elsewhere else { continue };
            for aside in std::iter::once(first).chain(forwarding) {
                if let AsideReason::Forwarding { device } = &aside.reason {
                    aside.reason = AsideReason::LeavesElsewhere {
                        device: device.clone(),
                        out: elsewhere.name.clone(),
                    };
                }
            }
        }
    }

    /// The same, with another way to find the further addresses of a device.
    pub(super) fn asides_by(
        &self,
        addresses: impl Fn(u32) -> Result<Vec<Mac>, NetlinkError>,
    ) -> Vec<Aside> {
        let of = |interface: &Watched| {
            let related = self.links().and_then(|links| {
                let related = self.related(interface)?;
                Ok((links, related))
            });
            aside::find(&interface.name, related, &addresses, &self.proc)
        };
        self.interfaces.iter().flat_map(of).collect()
    }

    /// The largest packet that every device takes that the packets of the protected interfaces
    /// reach; nothing when none of the interfaces is there.
    #[must_use]
    pub fn smallest_mtu(&self) -> Option<u32> {
        let of = |interface| self.related(interface).unwrap_or_default();
        let related = self.interfaces.iter().flat_map(of);
        related
            .map(|device| device.link.mtu)
            .filter(|mtu| *mtu > 0)
            .min()
    }

    /// The addresses that must stay reachable, and what could not be found out of them.
    #[must_use]
    pub fn protected_peers(&self) -> ProtectedPeers {
        let mut unknown = Vec::new();
        let mut devices = Vec::new();
        match self.links() {
            Err(what) => unknown.push(what),
            Ok(links) => {
                let there = |interface: &&Watched| find(interface, links).is_some();
                for interface in self.interfaces.iter().filter(there) {
                    match self.related(interface) {
                        Ok(related) => devices.extend(related.iter().map(|one| one.link)),
                        Err(what) => unknown.push(what),
                    }
                }
            }
        }
        peers::find(&devices, unknown, &self.proc)
    }

    /// What the packets of each interface reach, in the order of the interfaces.
    #[must_use]
    pub fn reach(&self) -> Vec<Reach> {
        let of = |interface: &Watched| {
            let related = self.related(interface);
            Reach {
                interface: interface.name.clone(),
                devices: related.map(|related| related.iter().map(reached).collect()),
            }
        };
        self.interfaces.iter().map(of).collect()
    }

    fn links(&self) -> Result<&Links, String> {
        let links = self.links.as_ref();
        links.map_err(|error| format!("the interfaces could not be listed: {error}"))
    }

    fn related(&self, interface: &Watched) -> Result<Vec<Related<'_>>, String> {
        let links = self.links()?;
        let start = find(interface, links)
            .ok_or_else(|| format!("there is no interface {}", interface.name))?;
        let has_sessions = |device: &str| self.pppoe.contains(device);
        related::find(start, links, has_sessions).map_err(|missing| missing.to_string())
    }
}

/// The interface that the program is attached to, else the one of that name.
fn find<'l>(interface: &Watched, links: &'l Links) -> Option<&'l Link> {
    let attached = interface.index.and_then(|index| links.by_index(index));
    attached.or_else(|| links.by_name(interface.name.as_str()))
}

fn reached(device: &Related<'_>) -> ReachedDevice {
    ReachedDevice {
        name: device.link.name.clone(),
        kind: device.link.kind.clone(),
        how: device.to_string(),
    }
}

/// `/proc/net/pppoe`: a heading, then number, hardware address and device of each session
/// (drivers/net/ppp/pppoe.c, `pppoe_seq_show`).
fn pppoe_devices(text: &str) -> BTreeSet<String> {
    let devices = text.lines().skip(1);
    devices
        .filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{in_master, link, of_kind, on};
    use super::*;

    fn snapshot(interface: &str, links: &[Link]) -> HostSnapshot {
        let links = Ok(links.iter().cloned().collect());
        HostSnapshot::of(&[watched(interface, None)], links, Path::new("/nowhere"))
    }

    fn watched(name: &str, index: Option<u32>) -> Watched {
        let name = name.parse().unwrap();
        Watched { name, index }
    }

    #[test]
    fn the_smallest_packet_of_all_that_is_reached_counts() {
        let with_mtu = |mtu, link| Link { mtu, ..link };
        let links = [
            with_mtu(9000, in_master(9, link(2, "eth0"))),
            with_mtu(9000, of_kind(9, "br0", "bridge")),
            with_mtu(1400, on(9, of_kind(10, "br0.7", "vlan"))),
            with_mtu(576, link(3, "eth1")),
        ];
        assert_eq!(snapshot("eth0", &links).smallest_mtu(), Some(1400));
        assert_eq!(snapshot("eth9", &links).smallest_mtu(), None);
    }

    #[test]
    fn an_altname_reaches_the_same_and_the_kernels_name_is_told() {
        let mut port = in_master(9, link(2, "eth0"));
        port.altnames = vec!["uplink".to_owned()];
        let links = [port, of_kind(9, "br0", "bridge")];
        let told = snapshot("uplink", &links).reach().remove(0);
        assert_eq!(told.interface.as_str(), "uplink");
        let expected = [
            ("eth0", None, "the protected interface"),
            ("br0", Some("bridge"), "bridge that eth0 belongs to"),
        ];
        let expected = expected.map(|(name, kind, how)| ReachedDevice {
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            how: how.to_owned(),
        });
        assert_eq!(told.devices, Ok(expected.to_vec()));
        let absent = snapshot("eth9", &links).reach().remove(0).devices;
        assert_eq!(absent, Err("there is no interface eth9".to_owned()));
    }

    #[test]
    fn a_renamed_interface_is_followed_by_its_number() {
        // Its old name is another's by now.
        let links = [
            in_master(9, link(2, "wan0")),
            of_kind(9, "br0", "bridge"),
            link(3, "eth0"),
        ];
        let of = |index| {
            let links = Ok(links.iter().cloned().collect());
            let watched = [watched("eth0", index)];
            let mut reach = HostSnapshot::of(&watched, links, Path::new("/nowhere")).reach();
            let devices = reach.remove(0).devices.unwrap();
            devices.into_iter().map(|device| device.name)
        };
        assert_eq!(of(Some(2)).collect::<Vec<_>>(), ["wan0", "br0"]);
        assert_eq!(of(None).collect::<Vec<_>>(), ["eth0"]);
        assert_eq!(of(Some(7)).collect::<Vec<_>>(), ["eth0"], "gone since");
    }

    #[test]
    fn a_way_out_that_is_not_protected_is_a_reason_of_its_own() {
        let links = [
            link(2, "eth0"),
            on(2, of_kind(10, "eth0.7", "vlan")),
            link(3, "eth1"),
        ];
        let host = snapshot("eth0", &links);
        let aside = |family| Aside {
            interface: "eth0".parse().unwrap(),
            family,
            reason: AsideReason::Forwarding {
                device: "eth0".to_owned(),
            },
        };
        let both = [Family::Ipv4, Family::Ipv6].map(aside);
        let told = |ways: &[u32]| {
            let mut asides = both.clone();
            host.look_at_ways_out(&mut asides, |family| match family {
                Family::Ipv4 => ways.iter().copied().collect(),
                Family::Ipv6 => BTreeSet::new(),
            });
            asides
        };
        // None at all, the interface itself, a device on it, and one that has gone since.
        for ways in [&[][..], &[2], &[10], &[2, 10, 77]] {
            assert_eq!(told(ways), both, "{ways:?}");
        }
        let [v4, v6] = told(&[2, 3]);
        assert_eq!(v6, both[1]);
        assert!(!v4.reason.is_told_by_flows());
        assert!(v4.to_string().contains("leave by eth1"), "{v4}");
    }

    #[test]
    fn devices_with_pppoe_sessions_are_read() {
        let text = "Id       Address              Device\n\
                    0B000000 02:00:00:00:00:01    eth0\n\
                    0C000000 02:00:00:00:00:01 eth1.7\n";
        let devices: Vec<String> = pppoe_devices(text).into_iter().collect();
        assert_eq!(devices, ["eth0", "eth1.7"]);
        assert!(pppoe_devices("").is_empty());
    }

    #[test]
    fn a_host_that_cannot_be_listed_is_unknown_and_an_absent_interface_is_not() {
        let listed = HostSnapshot::take(&[watched("absent0", None)]);
        assert_eq!(listed.protected_peers().unknown, Vec::<String>::new());
        let unlisted = HostSnapshot {
            links: Err(NetlinkError::Malformed),
            ..listed
        };
        let unknown = unlisted.protected_peers().unknown;
        assert!(unknown[0].contains("could not be listed"), "{unknown:?}");
    }
}
