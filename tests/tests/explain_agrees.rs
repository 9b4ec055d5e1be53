//! `explain` against the kernel: the controller over the loaded program is asked about random
//! packets, and the program then judges the same packet (`BPF_PROG_TEST_RUN`). What it judged changes
//! the tables for the next one: sources get known, go over limits, are banned, classes run out of
//! budget.
//!
//! Both happen in one command of the controller's task, so nothing else changes the tables in between.
//! What differs is the time: a tick of the program's coarse clock may pass, and a limit have room for a
//! packet behind it that it had none for before. Those few are told apart and bounded.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: what fails there fails the test"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::runtime;
use xdp_common::reason::{Action, Reason};
use xdp_tests::kernel::Runner;
use xdp_tests::netns::Namespace;
use xdp_tests::packet::{Flags, Packet, protocol};
use xdp_tests::require_kernel;
use xdp_user::api::types::ExplainQuery;
use xdp_user::config::Config;
use xdp_user::control::{Control, Handle, Overrides, Seen};
use xdp_user::datapath::Capacity;
use xdp_user::datapath::kernel::KernelDatapath;
use xdp_user::state::State;

const PACKETS: usize = 10_000;
/// Disagreements of limits over a tick that are put up with, of [`PACKETS`]; one to four were seen.
const MOST_OVER_TICKS: usize = 20;

/// Every stage has something to decide; what refills does so slowly. Nothing asks a socket: `explain`
/// says that it doesn't.
const CONFIG: &str = r#"
[allow]
prefixes = ["192.0.2.64/28", "2001:db8:a::/48"]
[block]
prefixes = ["192.0.2.128/27", "198.51.100.7", "2001:db8:b::/48", "2001:db8:c::7"]
[limits]
packets = "off"
bytes = "8bps"
bytes_burst = "65535B"
tcp_new = "1cps"
tcp_new_burst = 6
[[override]]
prefixes = ["192.0.2.32/28", "2001:db8:d::/48"]
bytes = "off"
packets = "1pps"
packets_burst = 20
[[override]]
prefixes = ["2001:db8:e::/48"]
tcp_new = "off"
[ban]
strikes = 4
strike_interval = "10ms"
duration = "1h"
[aggregate]
bytes = "200bps"
bytes_burst = "300kB"
[[class]]
name = "dns"
udp_ports = [53]
budget = "1pps"
budget_burst = 300
[[class]]
name = "game"
udp_ports = ["7000-7003"]
packets = "1pps"
packets_burst = 3
[[class]]
name = "ping"
icmp_types = [8]
icmpv6_types = [128]
budget = "1pps"
budget_burst = 40
[[class]]
name = "experiment"
protocols = [253]
budget = "1pps"
budget_burst = 40
returning = "off"
"#;

struct Stand {
    handle: Handle,
    runner: Arc<Runner>,
    runtime: runtime::Runtime,
}

/// What the two said of a packet.
struct Said {
    explained: String,
    judged: String,
    stage: Option<String>,
}

impl Stand {
    fn start(directory: &std::path::Path) -> Result<Self> {
        let config = Config::parse(CONFIG, "test.toml")?.config;
        let capacity = Capacity {
            allow: config.capacity.allow,
            block: config.capacity.block,
            overrides: config.capacity.overrides,
            sources: config.capacity.sources,
            bans: config.capacity.bans,
            flows: config.capacity.flows,
        };
        let datapath = KernelDatapath::load(capacity, 0)?;
        let runner = Arc::new(Runner::of(&datapath)?);
        let control = Control::start(
            Box::new(datapath),
            State::open(directory)?,
            config,
            Overrides::default(),
            "test.toml".into(),
            |_| Seen::default(),
        )?;
        let (handle, _ended) = control.spawn()?;
        let runtime = runtime::Builder::new_current_thread().build()?;
        Ok(Self {
            handle,
            runner,
            runtime,
        })
    }

    fn ask(&self, query: ExplainQuery, frame: Vec<u8>) -> Result<Said> {
        let runner = self.runner.clone();
        let both = self.handle.call(move |control| {
            let explained = control.explain(&query)?;
            let before = runner.reasons()?;
            let action = runner.run(&frame, 1)?;
            let judged = moved(&before, &runner.reasons()?)?;
            let dropped = action == Action::Drop;
            ensure!(
                explained.reason != judged.name() || (explained.action == "drop") == dropped,
                "{} without what it says: {action:?}, not {}",
                explained.reason,
                explained.action
            );
            let mut stages = explained.stages.into_iter();
            Ok(Said {
                explained: explained.reason,
                judged: judged.name().to_owned(),
                stage: stages.find(|stage| stage.decided).map(|stage| stage.stage),
            })
        });
        self.runtime.block_on(both)
    }
}

/// The reason that one packet was counted under.
fn moved(before: &[(Reason, u64)], after: &[(Reason, u64)]) -> Result<Reason> {
    let pairs = before.iter().zip(after);
    let mut moved = pairs.filter(|(before, after)| before.1 != after.1);
    let ((reason, _), _) = moved.next().context("no counter moved")?;
    ensure!(moved.next().is_none(), "more than one counter moved");
    Ok(*reason)
}

/// One of a few sources of each kind, so that they come again, or one that nobody has seen.
fn source(rng: &mut StdRng) -> IpAddr {
    let low: u8 = rng.random();
    if rng.random() {
        let [a, b, c] = *[[192, 0, 2], [198, 51, 100]].choose(rng).unwrap();
        match rng.random_range(0..8) {
            2 => Ipv4Addr::new(192, 0, 2, 4).into(),
            0 => Ipv4Addr::from_bits(rng.random_range(0x0b00_0000..0x0c00_0000)).into(),
            1 => Ipv4Addr::new(198, 51, 100, 7).into(),
            // Not the destination: of itself `explain` takes the neighbour.
            _ => Ipv4Addr::new(a, b, c, low.max(2)).into(),
        }
    } else {
        let network = *[0xa, 0xb, 0xc, 0xd, 0xe].choose(rng).unwrap();
        let site: u16 = if rng.random_range(0..6) == 0 {
            rng.random()
        } else {
            0
        };
        Ipv6Addr::new(0x2001, 0xdb8, network, site, 0, 0, 0, (low % 16).into()).into()
    }
}

/// A packet as a question and as a frame. Destinations are those that `explain` takes.
fn packet(rng: &mut StdRng) -> (ExplainQuery, Vec<u8>) {
    let address = source(rng);
    let destination: IpAddr = match address {
        IpAddr::V4(_) => "192.0.2.1".parse().unwrap(),
        IpAddr::V6(_) => "2001:db8::1".parse().unwrap(),
    };
    let port = *[22, 53, 80, 443, 7000, 7003, 40_000].choose(rng).unwrap();
    let length: u32 = if rng.random() {
        64
    } else {
        rng.random_range(64..1514)
    };
    let packet = Packet::between(address, destination).unwrap();
    // `explain` is asked about the first packet of a flow: no two questions are about one. That it looks
    // into the flow memory is still to come.
    let source_port = rng.random_range(0xc000..=0xffff);
    let identifier: [u8; 2] = rng.random();
    let (name, flags, packet) = match rng.random_range(0..8) {
        0..3 => ("udp", None, packet.udp(source_port, port)),
        3 => (
            "icmp",
            None,
            packet.icmp(if address.is_ipv4() { 8 } else { 128 }, 0),
        ),
        4 => ("253", None, packet.protocol(protocol::EXPERIMENT)),
        _ => {
            let (words, flags) = *[
                ("syn", Flags::SYN),
                ("ack", Flags::ACK),
                ("psh,ack", Flags::PSH | Flags::ACK),
                ("fin,ack", Flags::FIN | Flags::ACK),
                ("syn,fin", Flags::SYN | Flags::FIN),
                ("none", Flags::NONE),
            ]
            .choose(rng)
            .unwrap();
            (
                "tcp",
                Some(words.to_owned()),
                packet.tcp(source_port, port, flags),
            )
        }
    };
    let in_session = rng.random_ratio(1, 4);
    let packet = if in_session { packet.pppoe(1) } else { packet };
    let query = ExplainQuery {
        address,
        protocol: Some(name.to_owned()),
        port: Some(port),
        flags,
        length: Some(length),
        interface: None,
        pppoe: in_session.then_some(true),
    };
    let mut frame = packet.padded_to(length as usize).build();
    if name == "icmp" {
        // Behind the headers before it, and type, code and checksum, which nobody here reads.
        let at = 14 + if in_session { 8 } else { 0 } + if address.is_ipv4() { 20 } else { 40 } + 4;
        frame[at..at + 2].copy_from_slice(&identifier);
    }
    (query, frame)
}

/// Limits that fill up with time, so that a tick may make a difference.
fn refills(reason: &str) -> bool {
    [
        Reason::RateBytes,
        Reason::RatePackets,
        Reason::RateTcpNew,
        Reason::ClassBudget,
        Reason::FirstPacket,
        Reason::ClassPackets,
        Reason::AggregateBytes,
    ]
    .iter()
    .any(|known| known.name() == reason)
}

#[test]
fn explain_says_what_the_kernel_does_of_ten_thousand_packets() -> Result<()> {
    require_kernel!("explain_says_what_the_kernel_does_of_ten_thousand_packets");
    let seed = rand::random();
    println!("seed {seed}");
    Namespace::new("explain")?.run(|| agree(seed))?
}

fn agree(seed: u64) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let stand = Stand::start(directory.path())?;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let (mut over_ticks, mut wrong) = (0, Vec::new());
    for number in 0..PACKETS {
        let (query, frame) = packet(&mut rng);
        let asked = format!("{query:?}");
        let said = stand.ask(query, frame)?;
        *reasons.entry(said.judged.clone()).or_default() += 1;
        if said.explained == said.judged {
            assert!(said.stage.is_some() || said.explained == Reason::Accepted.name());
        } else if refills(&said.explained) || refills(&said.judged) {
            over_ticks += 1;
        } else {
            wrong.push(format!(
                "packet {number}, {asked}: explained {}, judged {}",
                said.explained, said.judged
            ));
        }
    }
    println!("{reasons:?}, {over_ticks} over a tick");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(over_ticks <= MOST_OVER_TICKS, "{over_ticks}");
    for reason in [
        Reason::Accepted,
        Reason::Allowlisted,
        Reason::Blocklisted,
        Reason::Banned,
        Reason::TcpFlags,
        Reason::RateBytes,
        Reason::RatePackets,
        Reason::RateTcpNew,
        Reason::ClassBudget,
        Reason::FirstPacket,
        Reason::ClassPackets,
        Reason::AggregateBytes,
    ] {
        assert!(
            reasons.contains_key(reason.name()),
            "no packet was {}",
            reason.name()
        );
    }
    Ok(())
}
