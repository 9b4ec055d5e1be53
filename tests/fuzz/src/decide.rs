//! The decision over any frames and changing tables, against the oracle, which has no line in common
//! with it.
//!
//! An input is a scene: rules, and then steps. Each step is a frame or a change of a list, after some
//! time has passed. Frame by frame, both must give the same reason, and both must drop or pass.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::{Arbitrary, Result, Unstructured};
use ipnet::IpNet;
use xdp_common::packet::{parse, usual::parse_usual};
use xdp_common::reason::Action;
use xdp_tests::kernel::{limits, policy};
use xdp_tests::oracle::{Bans, Limits, Listed, Oracle, Rate, Rules};
use xdp_tests::packet::{Extension, Flags, Packet, Transport};
use xdp_user::api::types::ListKind;
use xdp_user::datapath::memory::MemoryDatapath;
use xdp_user::datapath::{Capacity, Datapath};
use xdp_user::domain::Prefix;
use xdp_user::host::framing::Framing;

/// An hour after boot, so that limits have a past to look back on.
const START_NS: u64 = 3_600_000_000_000;
const MS: u64 = 1_000_000;
/// Steps of one input: enough for strikes, bans and their ends.
const MOST_STEPS: usize = 128;
/// The frame's bytes that a patch may change: all headers of any kind.
const PATCHED: u8 = 160;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Room for every source that the steps can bring.
const CAPACITY: Capacity = Capacity {
    allow: MOST_STEPS as u32,
    block: MOST_STEPS as u32,
    overrides: 64,
    sources: 1024,
    bans: 1024,
    flows: 65_536,
};

/// Plays a scene; what follows the last whole step is left out.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let (Ok(bare), Ok(rules)) = (bool::arbitrary(&mut input), rules(&mut input)) else {
        return;
    };
    let mut scene = Scene::new(rules, bare);
    for _ in 0..MOST_STEPS {
        let Ok(step) = Step::arbitrary(&mut input) else {
            return;
        };
        scene.take(step);
        if input.is_empty() {
            return;
        }
    }
}

/// Sources are few, so that lists, limits and bans are hit.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Who {
    V4(u8),
    V4Elsewhere([u8; 4]),
    V6(u8, u8),
    V6Elsewhere([u8; 16]),
}

impl Who {
    fn address(self) -> IpAddr {
        match self {
            Self::V4(last) => Ipv4Addr::new(203, 0, 113, last).into(),
            Self::V4Elsewhere(bytes) => Ipv4Addr::from(bytes).into(),
            Self::V6(network, last) => {
                Ipv6Addr::new(0x2001, 0xdb8, 0, network.into(), 0, 0, 0, last.into()).into()
            }
            Self::V6Elsewhere(bytes) => Ipv6Addr::from(bytes).into(),
        }
    }

    /// A prefix that holds the address and isn't everything.
    fn net(self, length: u8) -> IpNet {
        let address = self.address();
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new_assert(address, 1 + length % most).trunc()
    }
}

#[derive(Arbitrary, Debug)]
enum Carried {
    Tcp(u16, u8),
    Udp(u16),
    Icmp(u8, u8),
    Gre(u16),
    Sctp,
    Bytes(u8, Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Shape {
    from: Who,
    to: Who,
    carried: Carried,
    tags: u8,
    pppoe: Option<bool>,
    extensions: Vec<u8>,
    fragment: Option<(u16, bool)>,
    payload: u8,
}

impl Shape {
    /// The frame; nothing where source and destination are of two families.
    fn build(&self) -> Option<Vec<u8>> {
        let mut packet = Packet::between(self.from.address(), self.to.address())?;
        for number in 0..self.tags % 4 {
            packet = match number % 2 {
                0 => packet.vlan(7),
                _ => packet.service_vlan(9),
            };
        }
        packet = match self.pppoe {
            None => packet,
            Some(false) => packet.pppoe(3),
            Some(true) => packet.pppoe_compressed(3),
        };
        if self.from.address().is_ipv6() {
            for kind in self.extensions.iter().take(10) {
                packet = packet.extension(extension(*kind));
            }
        }
        if let Some((offset, more)) = self.fragment {
            packet = packet.fragment(1, usize::from(offset % 8192) * 8, more);
        }
        let transport = match &self.carried {
            Carried::Tcp(port, flags) => Transport::Tcp {
                source: 40_000,
                destination: *port,
                flags: Flags(*flags),
            },
            Carried::Udp(port) => Transport::Udp {
                source: 40_000,
                destination: *port,
            },
            Carried::Icmp(kind, code) => Transport::Icmp {
                kind: *kind,
                code: *code,
            },
            Carried::Gre(kind) => Transport::Gre(*kind),
            Carried::Sctp => Transport::Sctp {
                source: 1,
                destination: 2,
            },
            Carried::Bytes(protocol, bytes) => {
                let bytes = bytes.get(..64).unwrap_or(bytes);
                return Some(packet.protocol(*protocol).payload(bytes).build());
            }
        };
        let payload = vec![0xa5; usize::from(self.payload)];
        Some(packet.transport(transport).payload(payload).build())
    }
}

fn extension(kind: u8) -> Extension {
    let length = 8 * (1 + usize::from(kind >> 3));
    match kind % 5 {
        0 => Extension::HopByHop(length),
        1 | 2 => Extension::Destination(length),
        3 => Extension::Routing(0),
        _ => Extension::Authentication(7),
    }
}

#[derive(Arbitrary, Debug)]
enum What {
    /// These bytes, whatever they say.
    Bytes(Vec<u8>),
    Shaped(Shape),
    /// The frame before, with bytes changed and cut to a length.
    Again {
        patches: Vec<(u8, u8)>,
        cut: Option<u8>,
    },
    /// A list's entry comes or goes.
    Listed {
        allow: bool,
        who: Who,
        length: u8,
        comes: bool,
    },
}

#[derive(Arbitrary, Debug)]
struct Step {
    after_ms: u16,
    what: What,
}

fn rate(input: &mut Unstructured<'_>) -> Result<Option<Rate>> {
    if input.ratio(1, 3)? {
        return Ok(None);
    }
    let per_second = input.int_in_range(1..=1_000_000_000)?;
    Ok(Some(Rate::new(
        per_second,
        input.int_in_range(1..=1_000_000)?,
    )))
}

fn some_limits(input: &mut Unstructured<'_>) -> Result<Limits> {
    Ok(Limits {
        packets: rate(input)?,
        bytes: rate(input)?,
        tcp_new: rate(input)?,
    })
}

fn rules(input: &mut Unstructured<'_>) -> Result<Rules> {
    let mut overrides: Vec<(IpNet, Limits)> = Vec::new();
    for _ in 0..input.int_in_range(0..=3)? {
        let net = Who::arbitrary(input)?.net(u8::arbitrary(input)?);
        if overrides.iter().all(|(other, _)| *other != net) {
            overrides.push((net, some_limits(input)?));
        }
    }
    let bans = match bool::arbitrary(input)? {
        false => None,
        true => Some(Bans {
            strikes: input.int_in_range(1..=5)?,
            strike_interval_ns: input.int_in_range(0..=1000)? * MS,
            strike_decay_ns: input.int_in_range(0..=10_000)? * MS,
            base_ns: input.int_in_range(1..=10_000)? * MS,
            max_ns: input.int_in_range(10_000..=100_000)? * MS,
            growth_shift: input.int_in_range(0..=4)?,
            level_decay_ns: input.int_in_range(0..=100_000)? * MS,
        }),
    };
    Ok(Rules {
        enforce: bool::arbitrary(input)?,
        check_tcp_flags: bool::arbitrary(input)?,
        check_land: bool::arbitrary(input)?,
        check_martians: bool::arbitrary(input)?,
        source_bits_v4: input.int_in_range(8..=32)?,
        source_bits_v6: input.int_in_range(32..=128)?,
        limits: some_limits(input)?,
        overrides,
        bans,
        ..Rules::default()
    })
}

/// Both, and the frame before.
struct Scene {
    framing: Framing,
    rules: Rules,
    oracle: Oracle,
    datapath: MemoryDatapath,
    frame: Vec<u8>,
    now_ns: u64,
}

fn prefix(net: IpNet) -> Prefix {
    match Prefix::new(net.addr(), net.prefix_len()) {
        Some(prefix) => prefix,
        None => panic!("{net} is no prefix"),
    }
}

impl Scene {
    /// `bare`: an interface whose frames begin with the IP header.
    fn new(rules: Rules, bare: bool) -> Self {
        let mut datapath = MemoryDatapath::new(CAPACITY);
        for (net, own) in &rules.overrides {
            let put = datapath.put_limits(&prefix(*net), &limits(own));
            assert!(put.is_ok(), "{net}: {put:?}");
        }
        let set = datapath.set_policy(&policy(&rules));
        assert!(set.is_ok(), "{set:?}");
        let oracle = Oracle::new(rules.clone());
        let (framing, oracle) = match bare {
            true => (Framing::Bare, oracle.without_ethernet()),
            false => (Framing::Ethernet, oracle),
        };
        Self {
            framing,
            oracle,
            rules,
            datapath,
            frame: Vec::new(),
            now_ns: START_NS,
        }
    }

    fn take(&mut self, step: Step) {
        self.now_ns += u64::from(step.after_ms) * MS;
        match step.what {
            What::Bytes(bytes) => self.frame = bytes,
            What::Shaped(shape) => match shape.build() {
                Some(frame) if self.framing == Framing::Ethernet => self.frame = frame,
                Some(frame) => self.frame = frame.get(ETHERNET..).unwrap_or_default().to_vec(),
                None => return,
            },
            What::Again { patches, cut } => {
                for (at, value) in patches {
                    if let Some(byte) = self.frame.get_mut(usize::from(at % PATCHED)) {
                        *byte = value;
                    }
                }
                if let Some(length) = cut {
                    self.frame.truncate(length.into());
                }
            }
            What::Listed {
                allow,
                who,
                length,
                comes,
            } => return self.change_list(allow, who.net(length), comes),
        }
        self.judge();
    }

    fn change_list(&mut self, allow: bool, net: IpNet, comes: bool) {
        let (kind, list) = match allow {
            true => (ListKind::Allow, &mut self.rules.allow),
            false => (ListKind::Block, &mut self.rules.block),
        };
        list.retain(|entry| entry.prefix != net);
        let done = if comes {
            list.push(Listed::forever(net));
            self.datapath.put_entry(kind, &prefix(net), 0, 0)
        } else {
            self.datapath.remove_entry(kind, &prefix(net))
        };
        assert!(done.is_ok(), "{net}: {done:?}");
        self.oracle
            .set_lists(self.rules.allow.clone(), self.rules.block.clone());
    }

    fn judge(&mut self) {
        let said = self.oracle.judge(&self.frame, self.now_ns);
        let verdict = self
            .datapath
            .judge_as(self.framing, &self.frame, self.now_ns);
        let told = (verdict.reason.name(), verdict.action == Action::Drop);
        assert_eq!(
            told,
            (said.reason, said.dropped),
            "the program's decision and the oracle's, at {} ns, of {:02x?}",
            self.now_ns,
            self.frame
        );
        // The fast way of reading a packet is another way to the same.
        if self.framing == Framing::Ethernet
            && let Some(packet) = parse_usual(&self.frame[..])
        {
            let whole = parse(&self.frame[..]).continue_value();
            assert_eq!(whole, Some(packet), "{:02x?}", self.frame);
        }
    }
}
