//! The program by itself, run over packets without an interface.

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use xdp_common::abi::{EgressCounter, FLAG_CLASSES, Policy};
use xdp_tests::kernel::{self, Kernel};
use xdp_tests::oracle::Rules;
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;
use xdp_user::datapath::Datapath as _;
use xdp_user::host::framing::Framing;

/// `TCX_NEXT` and `TC_ACT_UNSPEC`.
const NEXT: u32 = u32::MAX;

fn loaded(flags: u32) -> Result<Kernel> {
    let mut kernel = Kernel::load()?;
    let policy = kernel::policy(&Rules::default());
    kernel.set_policy(&Policy {
        flags: policy.flags | flags,
        ..policy
    })?;
    Ok(kernel)
}

/// Runs it over a packet, and says how many nanoseconds it took on the mean.
fn run(program: &SchedClassifier, packet: &[u8], repeat: u32) -> Result<u128> {
    let mut out = vec![0; packet.len() + 64];
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            repeat,
            ..TestRunOptions::new()
        })
        .with_context(|| format!("over {} bytes", packet.len()))?;
    ensure!(
        result.return_value == NEXT,
        "it returned {}",
        result.return_value
    );
    out.truncate(result.data_size_out as usize);
    ensure!(out == packet, "it altered the packet");
    Ok(result.duration.as_nanos())
}

fn counted(kernel: &mut Kernel, packet: &[u8], framing: Framing) -> Result<EgressCounter> {
    let before = kernel.datapath().egress_counter()?;
    run(kernel.datapath().egress_program(framing)?, packet, 1)?;
    let after = kernel.datapath().egress_counter()?;
    Ok(EgressCounter {
        packets: after.packets - before.packets,
        noted: after.noted - before.noted,
        unread: after.unread - before.unread,
    })
}

fn v4() -> Packet {
    Packet::v4("198.51.100.1", "203.0.113.7")
}

#[test]
fn packets_of_all_kinds_go_on_as_they_were() -> Result<()> {
    require_kernel!("packets_of_all_kinds_go_on_as_they_were");
    let mut kernel = loaded(FLAG_CLASSES)?;
    let v6 = || Packet::v6("2001:db8:1::1", "2001:db8:7::7");
    let frames = [
        v4().udp(4000, 53),
        v4().tcp(4000, 80, Flags::SYN),
        v4().tcp(80, 4000, Flags::SYN | Flags::ACK),
        v4().icmp(8, 0),
        v4().icmp(3, 1),
        v4().protocol(47),
        v6().udp(4000, 53),
        v6().tcp(4000, 80, Flags::ACK),
        v6().icmp(128, 0),
        Packet::other(0x0806),
    ];
    for frame in frames {
        let frame = frame.payload([7; 64]).build();
        // The kernel makes no packet of an IP header that is cut short.
        let shortest = match frame.get(12..14) {
            Some([0x08, 0x00]) => 14 + 20,
            Some([0x86, 0xdd]) => 14 + 40,
            _ => 15,
        };
        for length in shortest..frame.len() {
            let cut = frame.get(..length).unwrap_or_default();
            for framing in [Framing::Ethernet, Framing::Bare] {
                run(kernel.datapath().egress_program(framing)?, cut, 1)
                    .with_context(|| format!("{length} bytes of {frame:02x?}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_flow_is_written_when_there_is_something_new_of_it() -> Result<()> {
    require_kernel!("a_flow_is_written_when_there_is_something_new_of_it");
    let mut kernel = loaded(FLAG_CLASSES)?;
    let syn_ack = Flags::SYN | Flags::ACK;
    for (what, packet, noted) in [
        ("a question", v4().udp(4000, 53), 1),
        ("the same again", v4().udp(4000, 53), 0),
        ("another port", v4().udp(4001, 53), 1),
        ("a SYN", v4().tcp(4000, 80, Flags::SYN), 1),
        ("the SYN again", v4().tcp(4000, 80, Flags::SYN), 0),
        ("an ACK", v4().tcp(4000, 80, Flags::ACK), 1),
        ("an ACK again", v4().tcp(4000, 80, Flags::ACK), 0),
        ("a reset", v4().tcp(4002, 80, Flags::RST), 0),
        ("a SYN-ACK", v4().tcp(80, 4000, syn_ack), 1),
        ("a segment behind it", v4().tcp(80, 4000, Flags::ACK), 1),
        ("a ping", v4().icmp(8, 0), 1),
        ("an answer to nobody", v4().icmp(0, 0), 0),
        ("a tunnel", v4().protocol(47), 1),
    ] {
        let frame = packet.payload([1; 32]).build();
        let counted = counted(&mut kernel, &frame, Framing::Ethernet)?;
        ensure!(
            (counted.packets, counted.noted, counted.unread) == (1, noted, 0),
            "{what}: {counted:?}"
        );
    }
    // Behind no Ethernet header it is the same flow.
    let frame = v4().udp(4000, 53).payload([1; 32]).build();
    let bare = frame.get(14..).unwrap_or_default();
    let again = counted(&mut kernel, bare, Framing::Bare)?;
    ensure!((again.packets, again.noted) == (1, 0), "{again:?}");
    let arp = Packet::other(0x0806).payload([0; 46]).build();
    let not_ip = counted(&mut kernel, &arp, Framing::Ethernet)?;
    ensure!((not_ip.packets, not_ip.unread) == (1, 0), "{not_ip:?}");
    let cut = counted(
        &mut kernel,
        frame.get(..36).unwrap_or_default(),
        Framing::Ethernet,
    )?;
    ensure!((cut.packets, cut.unread) == (1, 1), "{cut:?}");
    Ok(())
}

#[test]
fn nothing_is_noted_while_nobody_asks() -> Result<()> {
    require_kernel!("nothing_is_noted_while_nobody_asks");
    let mut kernel = loaded(0)?;
    let frame = v4().udp(4000, 53).build();
    let counted = counted(&mut kernel, &frame, Framing::Ethernet)?;
    ensure!((counted.packets, counted.noted) == (0, 0), "{counted:?}");
    Ok(())
}

#[test]
fn a_packet_of_a_known_flow_takes_little_time() -> Result<()> {
    require_kernel!("a_packet_of_a_known_flow_takes_little_time");
    let (mut idle, mut kernel) = (loaded(0)?, loaded(FLAG_CLASSES)?);
    let frame = v4().tcp(4000, 80, Flags::ACK).payload([1; 1000]).build();
    let mean = |kernel: &mut Kernel| {
        let program = kernel.datapath().egress_program(Framing::Ethernet)?;
        run(program, &frame, 1)?;
        // The best of several: others run on this machine, too.
        let runs = (0..20).map(|_| run(program, &frame, 20_000));
        let runs: Result<Vec<u128>> = runs.collect();
        runs.map(|runs| runs.into_iter().min().unwrap_or_default())
    };
    let (idle, noting) = (mean(&mut idle)?, mean(&mut kernel)?);
    println!("{idle} ns while nobody asks, {noting} ns for a packet of a known flow");
    // An emulated machine is slower, by as much for both.
    ensure!(noting <= 10 * idle.max(20), "{idle} ns, {noting} ns");
    Ok(())
}
