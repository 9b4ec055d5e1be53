//! Limits per source in the running kernel: what passes, exactly, and what several CPUs make of it.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use std::time::Instant;

use ipnet::IpNet;
use xdp_common::abi::{FLAG_COARSE_CLOCK, Fault, Plain, Policy, Source};
use xdp_common::reason::{Action, Reason};
use xdp_tests::kernel::{self, Kernel, Sizes, boot_ns};
use xdp_tests::oracle::{Limits, Rate, Rules};
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;
use xdp_user::control::ticks;

const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3600 * SECOND_NS;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn loaded(rules: &Rules) -> Kernel {
    let mut kernel = Kernel::load().unwrap();
    kernel.apply(rules).unwrap();
    kernel
}

fn limited(limits: Limits) -> Kernel {
    loaded(&Rules {
        limits,
        ..Rules::default()
    })
}

fn packets(per_second: u64, burst: u64) -> Limits {
    Limits {
        packets: Some(Rate::new(per_second, burst)),
        ..Limits::default()
    }
}

fn udp(source: &str) -> Vec<u8> {
    if source.contains(':') {
        Packet::v6(source, "2001:db8:1::1").udp(1, 2).build()
    } else {
        Packet::v4(source, "198.51.100.1").udp(1, 2).build()
    }
}

fn syn(flags: Flags) -> Vec<u8> {
    Packet::v4("203.0.113.7", "198.51.100.1")
        .tcp(1, 2, flags)
        .build()
}

/// Packets that passed of so many, and the nanoseconds that all of them took at most.
fn passed_of(kernel: &Kernel, frame: &[u8], count: u64) -> (u64, u64) {
    let start = boot_ns().unwrap();
    let passed = (0..count)
        .filter(|_| kernel.run(frame).unwrap() == Action::Pass)
        .count() as u64;
    (passed, boot_ns().unwrap() - start)
}

/// All that a limit may let through in this time, from the first packet to the last.
fn most(rate: Rate, ns: u64) -> u64 {
    let earned = u128::from(rate.units) * u128::from(ns) / u128::from(rate.seconds * SECOND_NS);
    rate.burst + u64::try_from(earned).unwrap()
}

#[test]
fn a_burst_passes_at_once_and_no_more() {
    require_kernel!("a_burst_passes_at_once_and_no_more");
    for burst in [0, 1, 2, 10, 1000] {
        let rate = Rate::new(1, burst);
        let kernel = limited(packets(1, burst));
        let (passed, ns) = passed_of(&kernel, &udp("203.0.113.7"), burst + 50);
        assert!(
            (burst..=most(rate, ns)).contains(&passed),
            "{passed} of burst {burst}"
        );
        // Another source has a burst of its own.
        let (passed, ns) = passed_of(&kernel, &udp("203.0.113.8"), burst + 50);
        assert!(
            (burst..=most(rate, ns)).contains(&passed),
            "{passed} of burst {burst}"
        );
    }
}

#[test]
fn bytes_are_those_of_whole_frames() {
    require_kernel!("bytes_are_those_of_whole_frames");
    let kernel = limited(Limits {
        bytes: Some(Rate::new(1, 10_000)),
        ..Limits::default()
    });
    let frame = |length| {
        Packet::v4("203.0.113.7", "198.51.100.1")
            .udp(1, 2)
            .padded_to(length)
            .build()
    };
    kernel.assert_passes(&frame(9000), Reason::Accepted);
    kernel.assert_drops(&frame(1100), Reason::RateBytes);
    kernel.assert_passes(&frame(900), Reason::Accepted);
    kernel.assert_passes(&frame(99), Reason::Accepted);
    kernel.assert_drops(&frame(60), Reason::RateBytes);
}

#[test]
fn new_connections_are_segments_with_syn_and_without_ack() {
    require_kernel!("new_connections_are_segments_with_syn_and_without_ack");
    let kernel = limited(Limits {
        tcp_new: Some(Rate::hourly(2)),
        ..Limits::default()
    });
    for flags in [
        Flags::ACK,
        Flags::SYN | Flags::ACK,
        Flags::RST,
        Flags::FIN | Flags::ACK,
    ] {
        for _ in 0..5 {
            kernel.assert_passes(&syn(flags), Reason::Accepted);
        }
    }
    kernel.assert_passes(&syn(Flags::SYN), Reason::Accepted);
    kernel.assert_passes(&syn(Flags::SYN | Flags::ECE | Flags::CWR), Reason::Accepted);
    kernel.assert_drops(&syn(Flags::SYN), Reason::RateTcpNew);
    kernel.assert_passes(&syn(Flags::ACK), Reason::Accepted);
    kernel.assert_passes(&udp("203.0.113.7"), Reason::Accepted);
}

#[test]
fn limiter_passes_at_most_burst_plus_rate_over_any_window_also_across_its_edge() {
    require_kernel!("limiter_passes_at_most_burst_plus_rate_over_any_window_also_across_its_edge");
    kernel::pin_to_cpu(0).unwrap();
    let rate = Rate::new(2000, 500);
    let kernel = limited(packets(rate.units, rate.burst));
    let frame = udp("203.0.113.7");
    // Up to the last 20 ms of a second of the program's clock: a counter that starts anew every
    // second would let a burst through on each side of the edge.
    while boot_ns().unwrap() % SECOND_NS < SECOND_NS - 20_000_000 {
        std::hint::spin_loop();
    }
    let mut passed = Vec::new();
    let start = boot_ns().unwrap();
    loop {
        let before = boot_ns().unwrap();
        let action = kernel.run(&frame).unwrap();
        let after = boot_ns().unwrap();
        if action == Action::Pass {
            passed.push((before, after));
        }
        if after - start > SECOND_NS + 100_000_000 {
            break;
        }
    }
    for (first, (from, _)) in passed.iter().enumerate() {
        for (last, (_, to)) in passed.iter().enumerate().skip(first) {
            let count = (last - first + 1) as u64;
            let allowed = most(rate, to - from);
            assert!(
                count <= allowed,
                "{count} passed in {} ns, {allowed} allowed",
                to - from
            );
        }
    }
    // And not much less than that: half, for a machine that does other things too.
    assert!(
        passed.len() as u64 >= most(rate, SECOND_NS) / 2,
        "only {} passed",
        passed.len()
    );
}

#[test]
fn the_limit_is_exact_when_several_cpus_see_the_same_source() {
    require_kernel!("the_limit_is_exact_when_several_cpus_see_the_same_source");
    const RUNS: u32 = 300_000;
    let rate = Rate::new(100_000, 1000);
    let cpus = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4);
    let kernel = limited(packets(rate.units, rate.burst));
    let frame = udp("203.0.113.7");
    let start = boot_ns().unwrap();
    std::thread::scope(|scope| {
        for cpu in 0..cpus {
            let (kernel, frame) = (&kernel, &frame);
            scope.spawn(move || {
                kernel::pin_to_cpu(cpu).unwrap();
                kernel.run_repeated(frame, RUNS).unwrap();
            });
        }
    });
    let ns = boot_ns().unwrap() - start;
    let counters = kernel.counters().unwrap();
    let (passed, dropped) = (
        counters.packets(Reason::Accepted),
        counters.packets(Reason::RatePackets),
    );
    // While one CPU judges the source's very first packet, others can't find the source yet: what
    // they see of it passes and is counted. Nanoseconds, or as long as a hypervisor stops the CPU.
    let untracked = counters.packets(Reason::SourceUntracked);
    println!("{cpus} CPUs, {passed} passed, {dropped} dropped, {untracked} untracked in {ns} ns");
    assert_eq!(
        passed + dropped + untracked,
        u64::from(RUNS) * cpus as u64,
        "every packet is counted once"
    );
    assert_eq!(
        untracked,
        kernel.faults(Fault::SourceTableFull).unwrap(),
        "an untracked packet is a fault"
    );
    assert!(
        untracked <= u64::from(RUNS) / 100,
        "{untracked} packets passed without their limit"
    );
    let allowed = most(rate, ns);
    assert!(
        (rate.burst..=allowed).contains(&passed),
        "{passed} passed, {allowed} allowed"
    );
    let source = kernel.source(net("203.0.113.7/32")).unwrap().unwrap();
    assert_eq!(
        (source.packets, source.dropped_packets),
        (passed + dropped, dropped)
    );
    assert_eq!(source.bytes, source.packets * frame.len() as u64);
}

/// A limit made stricter leaves theoretical arrival times that the new one would never reach.
#[test]
fn a_time_left_by_other_limits_does_not_lock_a_source_out() {
    require_kernel!("a_time_left_by_other_limits_does_not_lock_a_source_out");
    let rate = Rate::hourly(5);
    let mut kernel = limited(Limits {
        packets: Some(rate),
        ..Limits::default()
    });
    let ahead = |ns: u64| Source {
        tat_packets: boot_ns().unwrap() + ns,
        ..Source::ZERO
    };
    let source = net("203.0.113.7/32");
    kernel.set_source(source, ahead(10 * HOUR_NS)).unwrap();
    kernel.assert_passes(&udp("203.0.113.7"), Reason::Accepted);
    // Within the burst and a second of it the time is taken as the source's own.
    kernel
        .set_source(source, ahead(5 * HOUR_NS + SECOND_NS / 2))
        .unwrap();
    kernel.assert_drops(&udp("203.0.113.7"), Reason::RatePackets);
    // Long ago is a full burst, not more.
    kernel.set_source(source, Source::ZERO).unwrap();
    let (passed, ns) = passed_of(&kernel, &udp("203.0.113.7"), 20);
    assert!((5..=most(rate, ns)).contains(&passed), "{passed}");
}

#[test]
fn override_longest_prefix_wins() {
    require_kernel!("override_longest_prefix_wins");
    let kernel = loaded(&Rules {
        limits: packets(1, 1),
        overrides: vec![
            (net("203.0.0.0/16"), packets(1, 2)),
            (net("203.0.113.0/24"), packets(1, 3)),
            (net("203.0.113.9/32"), Limits::default()),
            (net("2001:db8::/32"), packets(1, 2)),
            (net("2001:db8:0:5::/64"), packets(1, 4)),
        ],
        ..Rules::default()
    });
    for (source, burst) in [
        ("192.0.2.1", 1),
        ("203.0.1.1", 2),
        ("203.0.113.8", 3),
        ("2001:db9::1", 1),
        ("2001:db8::1", 2),
        ("2001:db8:0:5::1", 4),
    ] {
        let (passed, ns) = passed_of(&kernel, &udp(source), 30);
        let allowed = burst..=most(Rate::new(1, burst), ns);
        assert!(
            allowed.contains(&passed),
            "{source}: {passed} and not {allowed:?}"
        );
    }
    assert_eq!(
        passed_of(&kernel, &udp("203.0.113.9"), 30).0,
        30,
        "no limit at all"
    );
}

#[test]
fn a_source_is_counted_from_its_first_packet_to_its_last() {
    require_kernel!("a_source_is_counted_from_its_first_packet_to_its_last");
    let kernel = limited(packets(1, 2));
    let frame = udp("2001:db8::7");
    let start = boot_ns().unwrap();
    for _ in 0..2 {
        kernel.assert_passes(&frame, Reason::Accepted);
    }
    let middle = boot_ns().unwrap();
    kernel.assert_drops(&frame, Reason::RatePackets);
    let end = boot_ns().unwrap();
    let source = kernel.source(net("2001:db8::/64")).unwrap().unwrap();
    let length = frame.len() as u64;
    assert_eq!((source.packets, source.bytes), (3, 3 * length));
    assert_eq!((source.dropped_packets, source.dropped_bytes), (1, length));
    assert!((start..middle).contains(&source.first_seen_ns));
    assert!((middle..end).contains(&source.last_seen_ns));
}

/// A newcomer takes the place of one that has sent least, and is limited all the same.
#[test]
fn new_sources_find_room_in_a_full_table() {
    require_kernel!("new_sources_find_room_in_a_full_table");
    let mut kernel = Kernel::load_with(&Sizes::default().sources(256)).unwrap();
    kernel
        .apply(&Rules {
            limits: packets(1, 1),
            ..Rules::default()
        })
        .unwrap();
    let start = Instant::now();
    for number in 0..10_000u32 {
        let [_, a, b, c] = number.to_be_bytes();
        let source = std::net::Ipv4Addr::new(10, a, b, c);
        let frame = Packet::v4(source, "198.51.100.1").udp(1, 2).build();
        kernel.run(&frame).unwrap();
        kernel.run(&frame).unwrap();
    }
    println!("10,000 sources in {:?}", start.elapsed());
    let counters = kernel.counters().unwrap();
    assert_eq!(counters.packets(Reason::SourceUntracked), 0);
    assert_eq!(counters.packets(Reason::Accepted), 10_000);
    assert_eq!(counters.packets(Reason::RatePackets), 10_000);
}

#[test]
fn the_clock_of_ticks_shows_the_time_in_the_program() {
    require_kernel!("the_clock_of_ticks_shows_the_time_in_the_program");
    let mut kernel = Kernel::load().unwrap();
    let clock = ticks::measure();
    assert!(clock.tick_ns > 0, "the kernel tells");
    let policy = kernel::policy(&Rules::default());
    let by_ticks = Policy {
        flags: policy.flags | FLAG_COARSE_CLOCK,
        tick_ns: u32::try_from(clock.tick_ns).unwrap(),
        clock_offset_ns: clock.offset_ns,
        ..policy
    };
    kernel.set_policy(&by_ticks).unwrap();
    let before = boot_ns().unwrap();
    assert_eq!(kernel.run(&udp("203.0.113.7")).unwrap(), Action::Pass);
    let after = boot_ns().unwrap();
    let source = kernel.source(net("203.0.113.7/32")).unwrap().unwrap();
    // A tick before that moment, and what the measurement may be off to either side.
    let few = 3 * clock.tick_ns;
    let expected = before - few..=after + few;
    let seen = source.last_seen_ns;
    assert!(expected.contains(&seen), "{seen} of {expected:?}");
}
