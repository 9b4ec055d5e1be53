//! The limiter over host memory: what passes in any window, on one thread and on several.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use support::{HostTables, Prefix, frames, policy};
use xdp_common::abi::{FLAG_OVERRIDES, Fault, Limit, Limits, Policy};
use xdp_common::packet::Address;
use xdp_common::packet::tcp_flags::{ACK, SYN};
use xdp_common::reason::Reason;
use xdp_common::verdict::{STALE_NS, SourceState, Word};

const SOURCE: Address = Address::v4([203, 0, 113, 7]);
const SECOND: u64 = 1_000_000_000;
/// Any time that a machine may have been up for.
const START: u64 = 1_000 * SECOND;

fn limited(limits: Limits) -> HostTables {
    let policy = Policy { limits, ..policy() };
    HostTables::new(policy, &[SOURCE])
}

fn packets(rate: u64, burst: u64) -> Limits {
    Limits {
        packets: Limit::counts(rate, burst),
        bytes: Limit::OFF,
        tcp_new: Limit::OFF,
    }
}

fn bytes(rate: u64, burst: u64) -> Limits {
    Limits {
        packets: Limit::OFF,
        bytes: Limit::bytes(rate, burst),
        tcp_new: Limit::OFF,
    }
}

/// All that may pass from the first unit to the last, both included.
fn most(rate: u64, burst: u64, ns: u64) -> u64 {
    let earned = u128::from(rate) * u128::from(ns) / u128::from(SECOND);
    burst + u64::try_from(earned).unwrap_or(u64::MAX)
}

/// Checks every window between two units that passed: (time, units).
fn no_window_holds_more(passed: &[(u64, u64)], rate: u64, burst: u64) -> Result<(), TestCaseError> {
    for (first, (from, _)) in passed.iter().enumerate() {
        let mut units = 0;
        for (to, more) in &passed[first..] {
            units += more;
            let allowed = most(rate, burst, to - from);
            prop_assert!(
                units <= allowed,
                "{units} in {} ns, {allowed} allowed",
                to - from
            );
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_window_holds_more_than_burst_and_rate_packets(
        rate in 1u64..2_000_000,
        burst in 0u64..50,
        gaps in prop::collection::vec(prop_oneof![0u64..10, 0u64..1_000_000, 0u64..3 * SECOND], 1..200),
    ) {
        let tables = limited(packets(rate, burst));
        let frame = frames::udp(&SOURCE, 60);
        let mut now = START;
        let mut passed = Vec::new();
        for gap in gaps {
            now += gap;
            if tables.reason(&frame, now) == Reason::Accepted {
                passed.push((now, 1));
            }
        }
        no_window_holds_more(&passed, rate, burst)?;
    }

    #[test]
    fn no_window_holds_more_than_burst_and_rate_bytes(
        rate in 1u64..2_000_000_000,
        burst in 0u64..20_000,
        packets in prop::collection::vec((0u64..5_000_000, 42usize..9000), 1..150),
    ) {
        let tables = limited(bytes(rate, burst));
        let mut now = START;
        let mut passed = Vec::new();
        for (gap, length) in packets {
            now += gap;
            let frame = frames::udp(&SOURCE, length);
            if tables.reason(&frame, now) == Reason::Accepted {
                passed.push((now, frame.len() as u64));
            }
        }
        no_window_holds_more(&passed, rate, burst)?;
    }

    #[test]
    fn exactly_a_burst_passes_at_once(rate in 1u64..5_000_000, burst in 0u64..300, now in 1u64..u64::MAX / 4) {
        let tables = limited(packets(rate, burst));
        let frame = frames::udp(&SOURCE, 60);
        let passed = (0..burst + 20)
            .filter(|_| tables.reason(&frame, now) == Reason::Accepted)
            .count() as u64;
        prop_assert_eq!(passed, burst);
    }

    /// Offered all the time, a limit gives what it promises but for its rounding to nanoseconds.
    #[test]
    fn a_limit_gives_its_rate(rate in 1u64..1_000_000, burst in 1u64..20) {
        let tables = limited(packets(rate, burst));
        let frame = frames::udp(&SOURCE, 60);
        let cost = SECOND.div_ceil(rate);
        let passed = (0..400)
            .filter(|step| tables.reason(&frame, START + step * cost / 2) == Reason::Accepted)
            .count() as u64;
        // 400 half intervals.
        let earned = burst + 199;
        prop_assert!((earned..=earned + 1).contains(&passed), "{} of {}", passed, earned);
    }

    #[test]
    fn a_source_recovers_from_any_time_that_other_limits_left(
        stored in any::<u64>(),
        rate in 1u64..1_000_000,
        burst in 1u64..1000,
    ) {
        let limits = packets(rate, burst);
        let tables = limited(limits);
        let Some(words) = tables.words(&SOURCE) else {
            return Err(TestCaseError::fail("the source is known"));
        };
        words.tat_packets().store(stored);
        let later = START + limits.packets.tolerance_ns + STALE_NS + SECOND;
        let now = if stored > later { START } else { later };
        prop_assert_eq!(tables.reason(&frames::udp(&SOURCE, 60), now), Reason::Accepted);
    }
}

#[test]
fn two_bursts_do_not_pass_across_the_edge_of_a_second() {
    let (rate, burst) = (1000, 1000);
    let tables = limited(packets(rate, burst));
    let frame = frames::udp(&SOURCE, 60);
    let edge = START;
    let passed = |from: u64| {
        (0..burst)
            .filter(|n| tables.reason(&frame, from + n) == Reason::Accepted)
            .count() as u64
    };
    let around = passed(edge - SECOND / 100) + passed(edge + SECOND / 100);
    assert_eq!(around, burst + rate / 50);
}

/// Threads that judge one source's packets at the same time on one shared clock: not one packet
/// more than the limit allows, and none is counted twice or lost.
#[test]
fn threads_never_share_the_same_room() {
    const THREADS: u64 = 4;
    const EACH: u64 = 50_000;
    let (rate, burst) = (10_000_000, 100);
    let tables = limited(packets(rate, burst));
    let frame = frames::udp(&SOURCE, 60);
    let clock = AtomicU64::new(START);
    let passed: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    (0..EACH)
                        .filter(|_| {
                            let now = clock.fetch_add(3, Ordering::SeqCst);
                            tables.reason(&frame, now) == Reason::Accepted
                        })
                        .count() as u64
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_default())
            .sum()
    });
    let ns = clock.load(Ordering::SeqCst) - START;
    let allowed = most(rate, burst, ns);
    assert!(
        (burst..=allowed).contains(&passed),
        "{passed} passed, {allowed} allowed"
    );
    let words = tables.words(&SOURCE).map(|w| {
        (
            w.packets().load(),
            w.offences().map_or(0, |o| o.dropped_packets.load()),
        )
    });
    assert_eq!(words, Some((THREADS * EACH, THREADS * EACH - passed)));
    let lost = tables
        .faults()
        .iter()
        .filter(|f| **f != Fault::LimiterContended)
        .count();
    assert_eq!(lost, 0);
}

#[test]
fn each_limit_counts_its_own_units() {
    let limits = Limits {
        packets: Limit::counts(1, 10),
        bytes: Limit::bytes(1, 1000),
        tcp_new: Limit::counts(1, 2),
    };
    let tables = limited(limits);
    let told = |frame: &[u8]| tables.reason(frame, START);
    assert_eq!(told(&frames::tcp(&SOURCE, SYN)), Reason::Accepted);
    assert_eq!(told(&frames::tcp(&SOURCE, SYN | ACK)), Reason::Accepted);
    assert_eq!(told(&frames::tcp(&SOURCE, SYN)), Reason::Accepted);
    assert_eq!(told(&frames::tcp(&SOURCE, SYN)), Reason::RateTcpNew);
    assert_eq!(told(&frames::udp(&SOURCE, 1000)), Reason::RateBytes);
    assert_eq!(told(&frames::udp(&SOURCE, 800)), Reason::Accepted);
    for _ in 0..5 {
        assert_ne!(told(&frames::udp(&SOURCE, 42)), Reason::RatePackets);
    }
    assert_eq!(told(&frames::udp(&SOURCE, 42)), Reason::RatePackets);
}

#[test]
fn the_longest_override_counts_where_the_policy_has_any() {
    let net = |bits| Prefix(bits, SOURCE);
    let mut tables = limited(packets(1, 0));
    tables.overrides = vec![
        (net(8), packets(1, 1)),
        (net(32), packets(1, 3)),
        (net(24), packets(1, 2)),
    ];
    let frame = frames::udp(&SOURCE, 60);
    assert_eq!(tables.reason(&frame, START), Reason::RatePackets);
    tables.policy.flags |= FLAG_OVERRIDES;
    let passed = (0..9).filter(|_| tables.reason(&frame, START) == Reason::Accepted);
    assert_eq!(passed.count(), 3);
}

#[test]
fn a_source_without_room_passes_and_is_told() {
    let tables = limited(packets(1, 0));
    let stranger = Address::v4([192, 0, 2, 1]);
    let frame = frames::udp(&stranger, 60);
    assert_eq!(tables.reason(&frame, START), Reason::SourceUntracked);
    assert_eq!(tables.faults(), [Fault::SourceTableFull]);
}
