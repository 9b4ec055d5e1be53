//! Hosts made up of links and sysctls.

use super::super::link::Link;
use super::super::made_up::{in_master, link, of_kind, on};
use super::super::snapshot::HostSnapshot;
use super::*;
use tempfile::TempDir;

/// A host that forwards nothing.
struct Host {
    proc: TempDir,
    links: Vec<Link>,
    /// Further addresses of each interface.
    further: Vec<(u32, Mac)>,
}

impl Host {
    fn of(links: &[Link]) -> Self {
        let host = Self {
            proc: tempfile::tempdir().unwrap(),
            links: links.to_vec(),
            further: Vec::new(),
        };
        for link in links {
            host.set(
                &format!("sys/net/ipv4/conf/{}/forwarding", link.name),
                "0\n",
            );
            host.set(
                &format!("sys/net/ipv6/conf/{}/forwarding", link.name),
                "0\n",
            );
        }
        host.set("sys/net/ipv6/conf/all/forwarding", "0\n");
        host
    }

    fn set(&self, file: &str, text: &str) {
        let path = self.proc.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn unset(&self, file: &str) {
        std::fs::remove_file(self.proc.path().join(file)).unwrap();
    }

    fn asides(&self) -> Vec<(Family, AsideReason)> {
        self.asides_of("eth0")
    }

    fn asides_of(&self, interface: &str) -> Vec<(Family, AsideReason)> {
        let interface: IfName = interface.parse().unwrap();
        let asides = self.seen(&interface).asides_by(|index| self.further(index));
        asides
            .into_iter()
            .map(|aside| {
                assert_eq!(aside.interface, interface);
                assert!(AsideReason::NAMES.contains(&aside.reason.name()));
                (aside.family, aside.reason)
            })
            .collect()
    }

    fn seen(&self, interface: &IfName) -> HostSnapshot {
        let links = Ok(self.links.iter().cloned().collect());
        HostSnapshot::of(&[interface.clone().into()], links, self.proc.path())
    }

    fn further(&self, index: u32) -> Result<Vec<Mac>, NetlinkError> {
        let own = self.further.iter().filter(|(of, _)| *of == index);
        Ok(own.map(|(_, address)| *address).collect())
    }

    /// The reason, the same for both families.
    fn both(&self) -> AsideReason {
        let asides = self.asides();
        assert_eq!(asides.len(), 2, "{asides:?}");
        assert_eq!((asides[0].0, asides[1].0), (Family::Ipv4, Family::Ipv6));
        assert_eq!(asides[0].1, asides[1].1);
        asides[0].1.clone()
    }
}

fn forwards(device: &str) -> AsideReason {
    AsideReason::Forwarding {
        device: device.to_owned(),
    }
}

#[test]
fn a_host_that_forwards_nothing_has_no_reason() {
    assert_eq!(Host::of(&[link(2, "eth0"), link(3, "eth1")]).asides(), []);
}

#[test]
fn forwarding_of_one_family_concerns_that_family_alone() {
    let host = Host::of(&[link(2, "eth0"), link(3, "eth1")]);
    host.set("sys/net/ipv4/conf/eth1/forwarding", "1\n");
    assert_eq!(host.asides(), [], "another interface's");
    host.set("sys/net/ipv4/conf/eth0/forwarding", "1\n");
    assert_eq!(host.asides(), [(Family::Ipv4, forwards("eth0"))]);
    host.set("sys/net/ipv4/conf/eth0/forwarding", "0\n");
    for file in ["all/forwarding", "eth0/forwarding", "eth0/force_forwarding"] {
        let file = format!("sys/net/ipv6/conf/{file}");
        host.set(&file, "1\n");
        assert_eq!(host.asides(), [(Family::Ipv6, forwards("eth0"))], "{file}");
        host.set(&file, "0\n");
    }
    let sentence = forwards("eth0").to_string();
    assert!(sentence.contains("NAT"), "{sentence}");
}

#[test]
fn a_host_without_ipv6_forwards_none_of_it() {
    let host = Host::of(&[link(2, "eth0")]);
    host.unset("sys/net/ipv6/conf/eth0/forwarding");
    host.unset("sys/net/ipv6/conf/all/forwarding");
    assert_eq!(host.asides(), []);
}

#[test]
fn ports_of_bridges_switches_and_vrfs_stand_aside_for_both_families() {
    for (kind, name) in [
        ("bridge", "bridge_port"),
        ("openvswitch", "switch_port"),
        ("vrf", "vrf_port"),
        ("hsr", "other_master"),
    ] {
        let host = Host::of(&[
            in_master(9, link(2, "eth0")),
            of_kind(9, "up0", kind),
            in_master(9, link(3, "guest0")),
        ]);
        let reason = host.both();
        assert_eq!(reason.name(), name);
        let sentence = reason.to_string();
        assert!(
            sentence.contains("eth0") && sentence.contains("up0"),
            "{sentence}"
        );
        assert!(host.links[1].kind.is_some(), "the master itself is no port");
    }
    let nameless = Host::of(&[in_master(9, link(2, "eth0")), link(9, "up0")]);
    assert_eq!(nameless.both().name(), "other_master");
}

#[test]
fn a_bond_is_looked_through() {
    for kind in ["bond", "team"] {
        let mut links = vec![in_master(9, link(2, "eth0")), of_kind(9, "bond0", kind)];
        let host = Host::of(&links);
        assert_eq!(host.asides(), []);
        host.set("sys/net/ipv4/conf/bond0/forwarding", "1\n");
        assert_eq!(host.asides(), [(Family::Ipv4, forwards("bond0"))]);
        links[1].master = Some(10);
        links.push(of_kind(10, "br0", "bridge"));
        links.push(in_master(10, link(11, "guest0")));
        let expected = AsideReason::BridgePort {
            device: "bond0".to_owned(),
            master: "br0".to_owned(),
        };
        assert_eq!(Host::of(&links).both(), expected);
    }
}

#[test]
fn vlan_devices_are_looked_at_as_well() {
    let vlan = on(2, of_kind(5, "eth0.100", "vlan"));
    let host = Host::of(&[link(2, "eth0"), vlan.clone()]);
    assert_eq!(host.asides(), []);
    host.set("sys/net/ipv4/conf/eth0.100/forwarding", "1\n");
    assert_eq!(host.asides(), [(Family::Ipv4, forwards("eth0.100"))]);
    let bridged = [
        link(2, "eth0"),
        in_master(9, vlan),
        of_kind(9, "br0", "bridge"),
        in_master(9, link(10, "guest0")),
    ];
    assert_eq!(Host::of(&bridged).both().name(), "bridge_port");
    // A VLAN on a bond of which the interface is a slave.
    let deep = [
        in_master(9, link(2, "eth0")),
        of_kind(9, "bond0", "bond"),
        on(9, of_kind(5, "bond0.7", "vlan")),
    ];
    let host = Host::of(&deep);
    assert_eq!(host.asides(), []);
    host.set("sys/net/ipv4/conf/bond0.7/forwarding", "1\n");
    assert_eq!(host.asides(), [(Family::Ipv4, forwards("bond0.7"))]);
}

#[test]
fn the_only_port_of_a_bridge_is_looked_through_unless_frames_come_back_out_of_it() {
    let mut links = [
        in_master(9, link(2, "eth0")),
        of_kind(9, "br0", "bridge"),
        on(9, of_kind(10, "br0.7", "vlan")),
    ];
    let host = Host::of(&links);
    assert_eq!(host.asides(), []);
    host.set("sys/net/ipv4/conf/br0.7/forwarding", "1\n");
    assert_eq!(host.asides(), [(Family::Ipv4, forwards("br0.7"))]);
    links[0].hairpin = true;
    assert_eq!(Host::of(&links).both().name(), "bridge_port");
}

#[test]
fn a_macvlan_device_of_this_host_is_looked_through() {
    let host = Host::of(&[link(2, "eth0"), on(2, of_kind(5, "mv0", "macvlan"))]);
    assert_eq!(host.asides(), []);
    host.set("sys/net/ipv4/conf/mv0/forwarding", "1\n");
    assert_eq!(host.asides(), [(Family::Ipv4, forwards("mv0"))]);
}

#[test]
fn an_altname_stands_for_its_interface() {
    let mut named = link(2, "eth0");
    named.altnames = vec!["uplink".to_owned()];
    let host = Host::of(&[named]);
    assert_eq!(host.asides_of("uplink"), []);
    host.set("sys/net/ipv4/conf/eth0/forwarding", "1\n");
    assert_eq!(host.asides_of("uplink"), [(Family::Ipv4, forwards("eth0"))]);
}

#[test]
fn virtual_interfaces_that_share_the_device_stand_aside() {
    for kind in ["macvtap", "ipvlan", "ipvtap"] {
        let host = Host::of(&[link(2, "eth0"), on(2, of_kind(5, "mv0", kind))]);
        assert_eq!(host.both().name(), "shared");
        assert!(host.both().to_string().contains(kind));
        let elsewhere = Host::of(&[link(2, "eth0"), on(3, of_kind(5, "mv0", kind))]);
        assert_eq!(elsewhere.asides(), []);
    }
    // A veth's peer and a tunnel over the interface take no packets off it.
    for kind in ["veth", "vxlan"] {
        let host = Host::of(&[link(2, "eth0"), on(2, of_kind(5, "x0", kind))]);
        assert_eq!(host.asides(), []);
    }
}

#[test]
fn an_address_of_another_namespace_is_told_from_one_of_ours() {
    let address = [2, 0, 0, 0, 0, 9];
    let vlan = Link {
        address: Some(address),
        ..on(2, of_kind(5, "eth0.7", "vlan"))
    };
    let mut host = Host::of(&[link(2, "eth0"), vlan]);
    host.further = vec![(2, address), (3, [2, 0, 0, 0, 0, 1])];
    assert_eq!(host.asides(), []);
    host.links.pop();
    let expected = AsideReason::SharedAway {
        device: "eth0".to_owned(),
        address: "02:00:00:00:00:09".to_owned(),
    };
    assert_eq!(host.both(), expected);
}

#[test]
fn ipvs_with_a_service_stands_aside_and_without_one_does_not() {
    let host = Host::of(&[link(2, "eth0")]);
    let none = "IP Virtual Server version 1.2.1 (size=4096)\n\
                Prot LocalAddress:Port Scheduler Flags\n  \
                -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";
    host.set("thread-self/net/ip_vs", none);
    assert_eq!(host.asides(), []);
    let one = format!(
        "{none}TCP  CB007109:0050 wlc  \n  -> CB00710A:0050      Route   1      0          0\n"
    );
    host.set("thread-self/net/ip_vs", &one);
    assert_eq!(host.both(), AsideReason::Ipvs);
    host.set("thread-self/net/ip_vs", &one.repeat(10_000));
    assert_eq!(host.both(), AsideReason::Ipvs);
}

#[test]
fn what_cannot_be_read_stands_aside_and_says_what() {
    let host = Host::of(&[link(2, "eth0")]);
    let told = |asides: Vec<(Family, AsideReason)>, what: &str| {
        assert!(!asides.is_empty());
        for (_, reason) in asides {
            assert_eq!(reason.name(), "unknown");
            assert!(reason.to_string().contains(what), "{reason}");
        }
    };
    told(host.asides_of("eth9"), "there is no interface eth9");
    host.unset("sys/net/ipv4/conf/eth0/forwarding");
    let asides = host.asides();
    assert_eq!(asides.len(), 1);
    told(asides, "IPv4 forwarding of eth0");
    host.set("sys/net/ipv4/conf/eth0/forwarding", "nonsense\n");
    told(host.asides(), "\"nonsense\" is no number");
    let lost = Host::of(&[in_master(9, link(2, "eth0"))]);
    told(lost.asides(), "belongs to interface 9");
    let interface: IfName = "eth0".parse().unwrap();
    let unlisted = HostSnapshot::of(
        &[interface.clone().into()],
        Err(NetlinkError::TooMuch),
        host.proc.path(),
    );
    let refused = unlisted.asides_by(|_| Ok(Vec::new()));
    assert_eq!(refused.len(), 2);
    let unanswered = |_| Err(NetlinkError::Malformed);
    let asides = host.seen(&interface).asides_by(unanswered);
    let reasons = asides.into_iter().map(|aside| (aside.family, aside.reason));
    told(reasons.collect(), "the addresses of eth0");
    assert!(
        refused[0].to_string().starts_with("eth0 for IPv4: "),
        "{}",
        refused[0]
    );
}

#[test]
fn links_that_stand_on_each_other_in_a_circle_end() {
    let host = Host::of(&[
        on(5, of_kind(2, "eth0", "vlan")),
        on(2, of_kind(5, "eth0.1", "vlan")),
    ]);
    assert_eq!(host.asides(), []);
}
