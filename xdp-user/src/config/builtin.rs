//! The classes that every configuration has, and what an empty file makes of them.
//!
//! The budgets are starting points: what a small server sees from strangers in normal times, with room
//! for a rush. They hold for all newcomers together, so a busy service wants more, and says so in a
//! `[[class]]` section of the same name.

use super::places::Place;
use super::words::TcpFlags;

/// A class before the file changes it.
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    /// Why it is a class, and why these numbers: for the documentation.
    pub(super) why: &'static str,
    pub(super) tcp_ports: &'static [Place],
    pub(super) udp_ports: &'static [Place],
    pub(super) reflection_ports: &'static [Place],
    pub(super) icmp_types: &'static [Place],
    pub(super) icmpv6_types: &'static [Place],
    pub(super) protocols: &'static [Place],
    pub(super) tcp_flags: &'static [TcpFlags],
    pub(super) fragments: bool,
    /// Packets per second, and how many at once.
    pub(super) budget: (u64, u64),
    /// The same under attack; the budget where there is none.
    pub(super) attack_budget: Option<(u64, u64)>,
    /// Packets of flows that began under pressure. Ten times what a flood of newcomers gets under attack: it
    /// is what a flood gains by sending each packet twice.
    pub(super) returning: Option<(u64, u64)>,
    pub(super) solicited: bool,
    pub(super) proof: bool,
    pub(super) syn_cookies: bool,
    pub(super) known_first: bool,
}

/// Takes nothing by itself.
const PLAIN: BuiltIn = BuiltIn {
    name: "",
    why: "",
    tcp_ports: &[],
    udp_ports: &[],
    reflection_ports: &[],
    icmp_types: &[],
    icmpv6_types: &[],
    protocols: &[],
    tcp_flags: &[],
    fragments: false,
    budget: (0, 0),
    attack_budget: None,
    returning: None,
    solicited: false,
    proof: false,
    syn_cookies: false,
    known_first: true,
};

/// What flows that return get in most classes.
pub(super) const RETURNING: (u64, u64) = (1000, 1000);

/// Datagrams to a port.
const DATAGRAMS: BuiltIn = BuiltIn {
    budget: (500, 8000),
    attack_budget: Some((100, 100)),
    returning: Some(RETURNING),
    proof: true,
    ..PLAIN
};

const REST: &[Place] = &[Place::Rest];

const fn n(number: u16) -> Place {
    Place::one(number)
}

const fn range(first: u16, last: u16) -> Place {
    Place::Range { first, last }
}

/// UDP source ports that reflected floods come from. The protocols of alert TA14-017A of the US CISA,
/// "UDP-Based Amplification Attacks" (2014, last revised 2019), but Kad, which has no port of its own;
/// after them what became known since.
const REFLECTORS: &[Place] = &[
    n(17),     // QOTD
    n(19),     // CharGEN
    n(53),     // DNS
    n(69),     // TFTP
    n(111),    // Portmap
    n(123),    // NTP
    n(137),    // NetBIOS name service
    n(161),    // SNMP
    n(389),    // CLDAP
    n(520),    // RIPv1
    n(1900),   // SSDP
    n(3702),   // WS-Discovery
    n(5353),   // mDNS
    n(6881),   // BitTorrent DHT
    n(11_211), // memcached
    n(27_015), // Steam and other Source engine servers
    n(27_960), // Quake engine servers
    n(177),    // XDMCP
    n(427),    // SLP (CVE-2023-29552)
    n(623),    // IPMI, RMCP
    n(1434),   // Microsoft SQL browser
    n(1604),   // Citrix ICA browser
    n(3283),   // Apple Remote Management
    n(3389),   // Microsoft RDP over UDP
    n(5093),   // Sentinel licence manager
    n(5683),   // CoAP
    n(10_001), // Ubiquiti discovery
    n(10_074), // Mitel MiCollab (CVE-2022-26143)
    n(32_414), // Plex discovery
    n(33_848), // Jenkins discovery (CVE-2020-2100)
    n(37_810), // DHCPDiscover of video recorders
    n(47_808), // BACnet
];

/// The classes, each at the place of its number. Number 0 takes what no class names.
pub(super) const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: OTHER,
        why: "What no other class takes: GRE, SCTP and the like. Known tunnels don't count, so the budget is for strangers.",
        budget: (2000, 10_000),
        attack_budget: Some((200, 200)),
        returning: Some(RETURNING),
        ..PLAIN
    },
    BuiltIn {
        name: "tcp-new",
        why: "New connections (SYN). Over the budget they are answered with SYN cookies in the kernel's place, so a real client still gets in. Where no cookie can be made, its second SYN does.",
        tcp_ports: REST,
        budget: (500, 2000),
        attack_budget: Some((50, 50)),
        returning: Some((500, 500)),
        syn_cookies: true,
        ..PLAIN
    },
    BuiltIn {
        name: "tcp-syn-ack",
        why: "Answers to SYNs of this host. Nobody sends one unasked but reflectors, so the budget is for those that no connection waits for.",
        tcp_flags: &[TcpFlags::SynAck],
        budget: (50, 200),
        attack_budget: Some((10, 10)),
        solicited: true,
        known_first: false,
        ..PLAIN
    },
    BuiltIn {
        name: "tcp-rst",
        why: "Resets. A connection they are meant for is proof; a flood of others only costs the stack look-ups.",
        tcp_flags: &[TcpFlags::Rst],
        budget: (200, 500),
        attack_budget: Some((20, 20)),
        proof: true,
        ..PLAIN
    },
    BuiltIn {
        name: "tcp",
        why: "All other segments. A connection is proof, and so is a cookie that is answered; nobody else has anything to say here.",
        tcp_flags: &[TcpFlags::Other],
        budget: (200, 4000),
        attack_budget: Some((20, 20)),
        proof: true,
        ..PLAIN
    },
    BuiltIn {
        name: "udp",
        why: "Datagrams to ports that no class names. A connected socket is proof.",
        udp_ports: REST,
        budget: (500, 4000),
        ..DATAGRAMS
    },
    BuiltIn {
        name: "dns",
        why: "Questions to a DNS server here, apart from other datagrams, so that neither starves the other.",
        udp_ports: &[n(53)],
        ..DATAGRAMS
    },
    BuiltIn {
        name: "ntp",
        why: "Questions to a time server here.",
        udp_ports: &[n(123)],
        ..DATAGRAMS
    },
    BuiltIn {
        name: "quic",
        why: "HTTP/3. The server's one socket is connected to nobody, so known clients pass over the budget at once, new ones with their retry.",
        udp_ports: &[n(443)],
        ..DATAGRAMS
    },
    BuiltIn {
        name: "wireguard",
        why: "The tunnel over which the host may be managed, apart from all that floods other ports.",
        udp_ports: &[n(51_820)],
        ..DATAGRAMS
    },
    BuiltIn {
        name: "ipsec",
        why: "The same for IPsec: IKE, NAT traversal, ESP and AH.",
        udp_ports: &[n(500), n(4500)],
        protocols: &[n(50), n(51)],
        ..DATAGRAMS
    },
    BuiltIn {
        name: "dhcp",
        why: "The host's own address may depend on it; few packets, and raw sockets take them, so there is no proof.",
        udp_ports: &[n(67), n(68), n(546), n(547)],
        budget: (100, 200),
        returning: Some((100, 200)),
        ..PLAIN
    },
    BuiltIn {
        name: "udp-reflection",
        why: "Datagrams from ports of known amplifiers. They are answers or a reflected flood, and answers are waited for.",
        reflection_ports: REFLECTORS,
        budget: (50, 500),
        attack_budget: Some((20, 20)),
        solicited: true,
        ..PLAIN
    },
    BuiltIn {
        name: "icmp-echo",
        why: "Pings.",
        icmp_types: &[n(8)],
        icmpv6_types: &[n(128)],
        budget: (200, 1000),
        attack_budget: Some((50, 50)),
        returning: Some((200, 200)),
        ..PLAIN
    },
    BuiltIn {
        name: "icmp-error",
        why: "Unreachable, too big, time exceeded and the like: path MTU discovery (RFC 4821, section 2) needs them, so they have a budget that pings can't spend.",
        icmp_types: &[range(3, 5), n(11), n(12)],
        icmpv6_types: &[range(1, 4)],
        budget: (200, 1000),
        attack_budget: Some((50, 50)),
        ..PLAIN
    },
    BuiltIn {
        name: "icmp",
        why: "All other ICMP, answers to pings among it.",
        icmp_types: REST,
        icmpv6_types: REST,
        budget: (100, 500),
        attack_budget: Some((50, 50)),
        ..PLAIN
    },
    BuiltIn {
        name: "ndp",
        why: "Neighbour and multicast listener discovery (RFC 4861, RFC 3810): without it IPv6 ends.",
        icmpv6_types: &[range(130, 137), n(143)],
        budget: (1000, 2000),
        attack_budget: Some((200, 200)),
        ..PLAIN
    },
    BuiltIn {
        name: "fragment",
        why: "Later fragments, which have no ports; each takes memory until its packet is whole.",
        fragments: true,
        budget: (500, 1000),
        attack_budget: Some((50, 50)),
        ..PLAIN
    },
];

/// The class that takes what no class names.
pub(super) const OTHER: &str = "other";

/// Why a built-in class is one.
pub fn why(name: &str) -> Option<&'static str> {
    let found = BUILT_IN.iter().find(|class| class.name == name);
    found.map(|class| class.why)
}
