//! One interface and its driver.

use super::{Finding, Level};
use crate::config::Interface;
use crate::domain::AttachMode;
use crate::host::device::{Device, Native, Queues};

/// Bytes of a packet that fit a page of 4,096 beside what XDP needs there: 256 of headroom
/// (`XDP_PACKET_HEADROOM`), 320 of `struct skb_shared_info`, an Ethernet header and two VLAN tags.
const ONE_PAGE: u32 = 4096 - 256 - 320 - 14 - 8;
/// As the kernel names our programs.
const OWN: [&str; 2] = [
    xdp_common::abi::map::PROGRAM,
    xdp_common::abi::map::PROGRAM_IP,
];

/// `name` tells the name of a program by its number, where that may be asked.
pub(super) fn judge(
    wanted: &Interface,
    device: &Device,
    name: &dyn Fn(u32) -> Option<String>,
) -> Vec<Finding> {
    let interface = wanted.name.as_str();
    // The worse of the two where native mode was asked for and nothing else will do.
    let unless_generic = match wanted.attach {
        AttachMode::Native => Level::Fail,
        AttachMode::Auto | AttachMode::Generic => Level::Warn,
    };
    let findings = [
        Some(link(device, interface)),
        Some(native(wanted, device, unless_generic)),
        Some(mtu(wanted, device, unless_generic)),
        Some(offloads(device, interface)),
        vlans(device, interface),
        Some(queues(device, interface)),
        master(device, interface),
        Some(program(device, interface, name)),
    ];
    findings.into_iter().flatten().collect()
}

fn link(device: &Device, interface: &str) -> Finding {
    const CHECK: &str = "link";
    let stands_on = device.lower.as_ref();
    if let Some(what) = &device.unreadable {
        return Finding::fail(
            CHECK,
            format!("is {what}"),
            "the program reads frames that begin with an Ethernet or an IP header, and is not attached here",
            "protect the interface below or behind it instead",
        );
    }
    if let (Some("vlan"), Some(lower)) = (device.kind.as_deref(), stands_on) {
        return Finding::warn(
            CHECK,
            format!("is a VLAN device on {lower}"),
            "programs run on it in generic mode, after the packet has gone through the stack once",
            format!("protect {lower} instead: tags are read up to two deep"),
        );
    }
    if !device.up {
        return Finding::warn(
            CHECK,
            "is down",
            "nothing arrives here until it is up",
            format!("ip link set dev {interface} up"),
        );
    }
    let made = device.kind.as_deref().or(device.driver.as_deref());
    if !device.ethernet {
        return Finding::ok(
            CHECK,
            format!(
                "up, {}, no Ethernet header: packets are read from the IP header on, and no SYN cookies \
                 are sent",
                made.unwrap_or("IP alone")
            ),
        );
    }
    Finding::ok(CHECK, format!("up, {}", made.unwrap_or("Ethernet")))
}

fn native(wanted: &Interface, device: &Device, level: Level) -> Finding {
    const CHECK: &str = "native_xdp";
    match device.native {
        Some(Native {
            supported: true, ..
        }) => Finding::ok(CHECK, "the driver runs XDP programs"),
        Some(Native {
            supported: false, ..
        }) if wanted.attach == AttachMode::Generic => {
            Finding::ok(CHECK, "generic mode, as the configuration has it")
        }
        Some(Native {
            supported: false, ..
        }) => Finding::bad(
            level,
            CHECK,
            "the driver runs no XDP programs",
            "generic mode is several times slower: the kernel has allocated memory for each packet \
             by then",
            "a card or a virtual machine type whose driver has native XDP; or, for good, \
             `attach = \"generic\"` under [[interface]]",
        ),
        None => Finding::ok(
            CHECK,
            "this kernel doesn't tell what the driver can (Linux 6.3 and later do): the log tells \
             at the start",
        ),
    }
}

fn mtu(wanted: &Interface, device: &Device, level: Level) -> Finding {
    const CHECK: &str = "mtu";
    let mtu = device.mtu;
    let one_page = device.native.is_some_and(|native| !native.scattered);
    if mtu > ONE_PAGE && one_page && wanted.attach != AttachMode::Generic {
        return Finding::bad(
            level,
            CHECK,
            format!("{mtu}, and the driver takes frames of one page only with XDP"),
            "drivers refuse a program then, so that only generic mode is left",
            format!("ip link set dev {} mtu {ONE_PAGE}", wanted.name),
        );
    }
    Finding::ok(CHECK, mtu.to_string())
}

fn offloads(device: &Device, interface: &str) -> Finding {
    const CHECK: &str = "receive_offload";
    const MERGING: [(&str, &str); 2] = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")];
    let on = |(name, _): &&(&str, &str)| device.offloads.iter().any(|offload| offload == name);
    let on: Vec<_> = MERGING.iter().filter(on).collect();
    if on.is_empty() {
        return Finding::ok(CHECK, "the card merges no packets");
    }
    let names: Vec<&str> = on.iter().map(|(name, _)| *name).collect();
    let switches: Vec<String> = on.iter().map(|(_, short)| format!("{short} off")).collect();
    Finding::warn(
        CHECK,
        format!("on: {}", names.join(", ")),
        "several drivers refuse XDP with it, others merge packets before they are counted",
        format!("ethtool -K {interface} {}", switches.join(" ")),
    )
}

/// `None` without VLAN devices: nothing is lost then.
fn vlans(device: &Device, interface: &str) -> Option<Finding> {
    const CHECK: &str = "vlan_offload";
    let first = device.vlans.first()?;
    let strips = |offload: &String| offload == "rx-vlan-hw-parse";
    if !device.offloads.iter().any(strips) {
        return Some(Finding::ok(CHECK, "tags reach the program"));
    }
    Some(Finding::warn(
        CHECK,
        format!("the card takes VLAN tags off, and {first} is a VLAN device on it"),
        "the program sees these packets without their tag: verdicts hold, but a SYN cookie for one \
         goes out untagged",
        format!("ethtool -K {interface} rxvlan off"),
    ))
}

fn queues(device: &Device, interface: &str) -> Finding {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    judge_queues(device.queues, cpus, interface)
}

fn judge_queues(queues: Option<Queues>, cpus: u32, interface: &str) -> Finding {
    const CHECK: &str = "queues";
    let Some(Queues { now, most }) = queues else {
        return Finding::ok(CHECK, "their number can't be set");
    };
    let could = most.min(cpus);
    if now < could {
        return Finding::warn(
            CHECK,
            format!("{now} for receiving, {most} are there, and {cpus} CPUs"),
            "each queue is worked off by one CPU: a flood is refused by as many CPUs as there are \
             queues",
            format!("ethtool -L {interface} combined {could} (or rx {could})"),
        );
    }
    Finding::ok(CHECK, format!("{now} for receiving, {cpus} CPUs"))
}

/// What else a master means is found with the surroundings.
fn master(device: &Device, interface: &str) -> Option<Finding> {
    let (master, kind) = device.master.as_ref()?;
    if !matches!(kind.as_str(), "bond" | "team") {
        return None;
    }
    Some(Finding::warn(
        "master",
        format!("is a slave of {master} ({kind})"),
        "what arrives at the other slaves is not filtered, and no program can be attached to the \
         bond then",
        format!("protect {master} instead of {interface}, or every slave of it"),
    ))
}

fn program(device: &Device, interface: &str, name: &dyn Fn(u32) -> Option<String>) -> Finding {
    const CHECK: &str = "other_program";
    let Some(id) = device.program else {
        return Finding::ok(CHECK, "no XDP program is attached");
    };
    let name = name(id);
    if name.as_deref().is_some_and(|name| OWN.contains(&name)) {
        return Finding::ok(CHECK, format!("ours is attached, number {id}"));
    }
    let shown = name.map_or_else(String::new, |name| format!("{name}, "));
    Finding::fail(
        CHECK,
        format!("another XDP program is attached: {shown}number {id}"),
        "it is never replaced, so the daemon refuses to start",
        format!(
            "bpftool prog show id {id} tells whose it is; if nobody needs it: \
             ip link set dev {interface} xdp off"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(attach: AttachMode) -> Interface {
        Interface {
            name: "eth0".parse().unwrap(),
            attach,
            required: false,
        }
    }

    fn card() -> Device {
        Device {
            mtu: 1500,
            ethernet: true,
            up: true,
            native: Some(Native {
                supported: true,
                scattered: true,
            }),
            ..Device::default()
        }
    }

    /// Check, level and fix of what isn't well.
    fn bad(attach: AttachMode, device: &Device) -> Vec<(&'static str, Level, String)> {
        let name = |id| (id == 17).then(|| "drop_all".to_owned());
        let findings = judge(&interface(attach), device, &name);
        let bad = findings.into_iter().filter(|one| one.level > Level::Ok);
        bad.map(|one| (one.check, one.level, one.fix.unwrap_or_default()))
            .collect()
    }

    fn only(attach: AttachMode, device: &Device) -> (&'static str, Level, String) {
        let mut found = bad(attach, device);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn a_good_card_has_nothing_wrong() {
        assert_eq!(bad(AttachMode::Native, &card()), []);
    }

    #[test]
    fn a_driver_without_xdp_fails_only_where_nothing_else_will_do() {
        let device = Device {
            native: Some(Native::default()),
            ..card()
        };
        let auto = only(AttachMode::Auto, &device);
        assert_eq!((auto.0, auto.1), ("native_xdp", Level::Warn));
        assert_eq!(only(AttachMode::Native, &device).1, Level::Fail);
        assert_eq!(bad(AttachMode::Generic, &device), []);
        let unknown = Device {
            native: None,
            ..card()
        };
        assert_eq!(bad(AttachMode::Native, &unknown), []);
    }

    #[test]
    fn large_frames_need_a_driver_that_takes_them_in_parts() {
        let mut device = Device {
            mtu: 9000,
            ..card()
        };
        assert_eq!(bad(AttachMode::Native, &device), []);
        device.native = Some(Native {
            supported: true,
            scattered: false,
        });
        let (check, level, fix) = only(AttachMode::Native, &device);
        assert_eq!((check, level), ("mtu", Level::Fail));
        assert_eq!(fix, "ip link set dev eth0 mtu 3498");
        assert_eq!(only(AttachMode::Auto, &device).1, Level::Warn);
        device.mtu = ONE_PAGE;
        assert_eq!(bad(AttachMode::Native, &device), []);
    }

    #[test]
    fn merging_offloads_and_stripped_tags_are_named_with_their_switches() {
        let on = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let merging = Device {
            offloads: on(&["rx-lro", "rx-gro-hw", "rx-gro"]),
            ..card()
        };
        let (check, _, fix) = only(AttachMode::Auto, &merging);
        assert_eq!(check, "receive_offload");
        assert_eq!(fix, "ethtool -K eth0 lro off rx-gro-hw off");
        let mut tagged = Device {
            offloads: on(&["rx-vlan-hw-parse"]),
            ..card()
        };
        assert_eq!(bad(AttachMode::Auto, &tagged), []);
        tagged.vlans = on(&["eth0.7"]);
        let (check, _, fix) = only(AttachMode::Auto, &tagged);
        assert_eq!(
            (check, fix.as_str()),
            ("vlan_offload", "ethtool -K eth0 rxvlan off")
        );
    }

    #[test]
    fn queues_are_judged_by_what_could_be() {
        let of = |now, most, cpus| judge_queues(Some(Queues { now, most }), cpus, "eth0");
        assert_eq!(of(2, 8, 2).level, Level::Ok);
        assert_eq!(of(1, 1, 8).level, Level::Ok);
        let few = of(1, 8, 4);
        assert_eq!(few.level, Level::Warn);
        assert!(few.fix.unwrap().starts_with("ethtool -L eth0 combined 4"));
        assert_eq!(judge_queues(None, 4, "eth0").level, Level::Ok);
    }

    #[test]
    fn what_it_stands_on_or_belongs_to_is_named() {
        let slave = Device {
            master: Some(("bond0".into(), "bond".into())),
            ..card()
        };
        assert!(only(AttachMode::Auto, &slave).2.contains("protect bond0"));
        let vlan = Device {
            kind: Some("vlan".into()),
            lower: Some("eth0".into()),
            ..card()
        };
        assert!(only(AttachMode::Auto, &vlan).2.contains("protect eth0"));
        let tunnel = Device {
            ethernet: false,
            ..card()
        };
        assert!(link(&tunnel, "tun0").what.contains("no SYN cookies"));
        let monitor = Device {
            unreadable: Some("a monitor of netlink".into()),
            ..tunnel
        };
        assert_eq!(only(AttachMode::Auto, &monitor).1, Level::Fail);
        let down = Device {
            up: false,
            ..card()
        };
        assert_eq!(only(AttachMode::Auto, &down).2, "ip link set dev eth0 up");
    }

    #[test]
    fn another_program_is_named_and_ours_is_none() {
        let mut device = Device {
            program: Some(17),
            ..card()
        };
        let (check, level, fix) = only(AttachMode::Auto, &device);
        assert_eq!((check, level), ("other_program", Level::Fail));
        assert!(fix.contains("ip link set dev eth0 xdp off"), "{fix}");
        device.program = Some(18);
        assert_eq!(only(AttachMode::Auto, &device).1, Level::Fail);
        for own in OWN {
            let ours = program(&device, "eth0", &|_| Some(own.to_owned()));
            assert_eq!(ours.level, Level::Ok);
        }
    }
}
