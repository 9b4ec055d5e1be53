//! The class stage over host memory: budgets, who counts against them, and who passes all the same.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

mod support;

use support::flood::bytes;
use support::{HostTables, frames, policy};
use xdp_common::abi::{
    CLASS_KNOWN_FIRST, CLASS_OBSERVE, CLASS_PROOF, CLASS_SOLICITED, CLASS_SYN_COOKIES, Class,
    FLAG_AGGREGATES, FLAG_CLASSES, LEVEL_ATTACK, Limit, MODE_OBSERVE, Plain, Policy, class_table,
};
use xdp_common::packet::Address;
use xdp_common::packet::tcp_flags::{ACK, SYN};
use xdp_common::reason::{Action, Reason};
use xdp_common::verdict::{Cookie, Proof, SAMPLE};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;
const BURST: u64 = 10;

/// Ten packets of newcomers at once, one a second.
const CLASS: Class = Class {
    budget: Limit::counts(1, BURST),
    attack_budget: Limit::counts(1, 1),
    pressure_ns: 3 * SECOND,
    ..Class::ZERO
};

/// Of sources that the table has room for.
const SOURCES: u8 = 100;

fn source(n: u8) -> Address {
    Address::v4([203, 0, 113, n])
}

/// Everything in one class.
fn tables(class: Class) -> HostTables {
    let sources: Vec<Address> = (0..SOURCES).map(source).collect();
    let policy = Policy {
        flags: policy().flags | FLAG_CLASSES,
        ..policy()
    };
    let mut tables = HostTables::new(policy, &sources);
    tables.flood.add(class);
    tables
}

fn udp(n: u8) -> Vec<u8> {
    frames::udp(&source(n), 60)
}

fn syn(n: u8) -> Vec<u8> {
    frames::tcp(&source(n), SYN)
}

/// Spends the budget at a time, with packets of sources of their own.
fn spend(tables: &HostTables, now: u64) {
    for n in 0..BURST {
        let frame = udp(u8::try_from(n).unwrap());
        assert_eq!(tables.reason(&frame, now), Reason::Accepted, "packet {n}");
    }
}

fn know(tables: &mut HostTables, n: u8) {
    let key = tables.key(&source(n));
    tables.flood.known.insert(bytes(&key));
}

#[test]
fn newcomers_have_the_budget_and_no_more() {
    let tables = tables(CLASS);
    spend(&tables, START);
    assert_eq!(tables.reason(&udp(90), START), Reason::ClassBudget);
    let later = START + SECOND;
    assert_eq!(
        tables.reason(&udp(91), later),
        Reason::Accepted,
        "a second's worth"
    );
    assert_eq!(tables.reason(&udp(92), later), Reason::ClassBudget);
    let counter = tables.flood.counter(0);
    assert_eq!((counter.packets, counter.newcomers), (13, 11));
    assert_eq!((counter.over, counter.refused), (2, 2));
}

#[test]
fn known_sources_dont_count_where_they_go_first() {
    for (flags, expected) in [
        (CLASS_KNOWN_FIRST, Reason::Accepted),
        (0, Reason::ClassBudget),
    ] {
        let mut tables = tables(Class { flags, ..CLASS });
        know(&mut tables, 90);
        spend(&tables, START);
        assert_eq!(tables.reason(&udp(90), START), expected, "flags {flags}");
        assert_eq!(tables.reason(&udp(91), START), Reason::ClassBudget);
    }
}

#[test]
fn under_attack_the_smaller_budget_counts() {
    let mut tables = tables(CLASS);
    tables.flood.states[0].level = LEVEL_ATTACK;
    assert_eq!(tables.reason(&udp(1), START), Reason::Accepted);
    assert_eq!(tables.reason(&udp(2), START), Reason::ClassBudget);
}

#[test]
fn over_the_budget_a_connected_socket_is_proof() {
    for (proof, expected) in [
        (Proof::Connected, Reason::Accepted),
        (Proof::Open, Reason::ClassBudget),
        (Proof::Unknown, Reason::ClassBudget),
        (Proof::Nobody, Reason::Unsolicited),
    ] {
        let mut tables = tables(Class {
            flags: CLASS_PROOF,
            ..CLASS
        });
        tables.flood.proof = proof;
        spend(&tables, START);
        assert_eq!(tables.flood.counter(0).proven, 0);
        assert_eq!(tables.reason(&udp(90), START), expected, "{proof:?}");
    }
}

#[test]
fn what_must_be_asked_for_counts_only_when_nobody_did() {
    let solicited = Class {
        flags: CLASS_SOLICITED | CLASS_KNOWN_FIRST,
        ..CLASS
    };
    let mut tables = tables(solicited);
    // By source port, in frames of port 0 to port 0; the class by destination is class 1.
    let by_source = class_table::reflection(0);
    tables.flood.add(Class::ZERO);
    tables.flood.table.insert(class_table::udp(0), 1);
    let solicited = tables.flood.add(solicited);
    tables.flood.table.insert(by_source, solicited);
    tables.flood.proof = Proof::Connected;
    for _ in 0..3 * BURST {
        assert_eq!(tables.reason(&udp(1), START), Reason::Accepted);
    }
    assert_eq!(tables.flood.counter(solicited).proven, 3 * BURST);
    tables.flood.proof = Proof::Open;
    for _ in 0..3 * BURST {
        assert_eq!(
            tables.reason(&udp(1), START),
            Reason::Accepted,
            "by its destination"
        );
    }
    assert_eq!(tables.flood.counter(1).packets, 3 * BURST);
    tables.flood.proof = Proof::Nobody;
    know(&mut tables, 1);
    for _ in 0..BURST {
        assert_eq!(
            tables.reason(&udp(1), START),
            Reason::Accepted,
            "a few are let through"
        );
    }
    assert_eq!(
        tables.reason(&udp(1), START),
        Reason::Unsolicited,
        "known or not"
    );
}

#[test]
fn a_listener_takes_no_answer() {
    let mut tables = tables(Class {
        flags: CLASS_SOLICITED,
        budget: Limit::counts(1, 0),
        ..CLASS
    });
    let number = tables.flood.add(tables.flood.classes[0]);
    tables
        .flood
        .table
        .insert(class_table::tcp_flags(SYN | ACK), number);
    tables.flood.proof = Proof::Open;
    let answer = frames::tcp(&source(1), SYN | ACK);
    assert_eq!(tables.reason(&answer, START), Reason::Unsolicited);
    tables.flood.proof = Proof::Connected;
    assert_eq!(tables.reason(&answer, START), Reason::Accepted);
}

#[test]
fn a_newcomers_syn_is_answered_when_the_budget_is_spent() {
    for (cookie, expected, action) in [
        (Cookie::Ready, Reason::SynCookie, Action::Answer),
        (Cookie::Room, Reason::Accepted, Action::Pass),
        (Cookie::NoListener, Reason::Unsolicited, Action::Drop),
        (Cookie::Impossible, Reason::ClassBudget, Action::Drop),
    ] {
        let mut tables = tables(Class {
            flags: CLASS_SYN_COOKIES | CLASS_KNOWN_FIRST,
            ..CLASS
        });
        tables.flood.cookie = cookie;
        assert_eq!(
            tables.reason(&syn(1), START),
            Reason::Accepted,
            "within the budget"
        );
        for n in 1..BURST {
            tables.judge(&syn(u8::try_from(n).unwrap() + 1), START);
        }
        let verdict = tables.judge(&syn(90), START);
        assert_eq!((verdict.reason, verdict.action), (expected, action));
        assert_eq!(
            tables.reason(&udp(90), START),
            Reason::ClassBudget,
            "no SYN"
        );
    }
}

#[test]
fn nothing_is_answered_or_dropped_in_observe_mode() {
    let mut tables = tables(Class {
        flags: CLASS_SYN_COOKIES,
        ..CLASS
    });
    tables.policy.mode = MODE_OBSERVE;
    tables.flood.cookie = Cookie::Ready;
    for _ in 0..3 * BURST {
        assert_eq!(tables.judge(&syn(1), START).action, Action::Pass);
        assert_eq!(tables.judge(&udp(1), START).action, Action::Pass);
    }
}

#[test]
fn a_class_that_observes_counts_the_same_and_refuses_nothing() {
    let tables = tables(Class {
        flags: CLASS_OBSERVE,
        packets: Limit::counts(1, 1),
        ..CLASS
    });
    for n in 0..3 * BURST {
        let frame = udp(u8::try_from(n).unwrap());
        assert_eq!(tables.reason(&frame, START), Reason::Accepted);
    }
    assert_eq!(tables.flood.counter(0).refused, 2 * BURST);
}

#[test]
fn nothing_is_earned_under_pressure_but_by_proof() {
    let pressed = START + 3 * SECOND;
    let class = Class {
        flags: CLASS_PROOF,
        ..CLASS
    };
    let tables = tables(class);
    spend(&tables, START);
    assert_eq!(tables.reason(&udp(90), START), Reason::ClassBudget);
    let until = tables.flood.states[0]
        .pressure_until
        .load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(until, pressed);
}

#[test]
fn who_sends_to_closed_ports_earns_nothing() {
    for (proof, aside, earned) in [
        (Proof::Nobody, false, 0),
        (Proof::Nobody, true, 1),
        (Proof::Unknown, false, 1),
        (Proof::Open, false, 1),
        (Proof::Connected, false, 1),
    ] {
        let mut tables = tables(CLASS);
        tables.flood.proof = proof;
        tables.flood.aside = aside;
        assert_eq!(tables.reason(&udp(1), START), Reason::Accepted);
        let words = tables.words(&source(1)).unwrap();
        let counted = words.earned.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(counted, earned, "{proof:?} {aside}");
    }
}

#[test]
fn one_of_the_refused_is_charged_for_the_others() {
    let tables = tables(CLASS);
    spend(&tables, START);
    for _ in 0..2 * SAMPLE {
        assert_eq!(tables.reason(&udp(90), START), Reason::ClassBudget);
    }
    let charged = tables.words(&source(90)).unwrap().packets();
    assert_eq!(xdp_common::verdict::Word::load(charged), 2 * SAMPLE);
}

#[test]
fn a_newcomer_that_floods_alone_meets_its_own_limit() {
    let mut tables = tables(CLASS);
    tables.policy.limits.packets = Limit::counts(100, 100);
    spend(&tables, START);
    let reasons: Vec<Reason> = (0..10 * SAMPLE)
        .map(|_| tables.reason(&udp(90), START))
        .collect();
    let limited = reasons
        .iter()
        .filter(|r| **r == Reason::RatePackets)
        .count();
    assert_eq!(limited, 9, "of ten samples one fits 100 packets");
    assert!(
        reasons
            .iter()
            .all(|r| matches!(r, Reason::RatePackets | Reason::ClassBudget))
    );
}

#[test]
fn a_newcomer_spends_no_budget_with_what_its_own_limit_refuses() {
    let mut tables = tables(CLASS);
    tables.policy.limits.packets = Limit::counts(1, 3);
    for n in 0..100 {
        let expected = if n < 3 {
            Reason::Accepted
        } else {
            Reason::RatePackets
        };
        assert_eq!(tables.reason(&udp(90), START), expected, "packet {n}");
    }
    // Its flow is kept with the second packet: the third takes nothing.
    for n in 0..BURST as u8 - 2 {
        assert_eq!(
            tables.reason(&udp(n), START),
            Reason::Accepted,
            "source {n}"
        );
    }
    assert_eq!(tables.reason(&udp(80), START), Reason::ClassBudget);
}

#[test]
fn a_class_limits_each_source_for_itself() {
    let tables = tables(Class {
        packets: Limit::counts(1, 3),
        ..Class::ZERO
    });
    for n in [1, 2] {
        for _ in 0..3 {
            assert_eq!(tables.reason(&udp(n), START), Reason::Accepted);
        }
        assert_eq!(
            tables.reason(&udp(n), START),
            Reason::ClassPackets,
            "source {n}"
        );
    }
    assert_eq!(tables.reason(&udp(1), START + SECOND), Reason::Accepted);
}

#[test]
fn a_class_limits_each_sources_bytes() {
    let tables = tables(Class {
        bytes: Limit::bytes(1, 120),
        ..Class::ZERO
    });
    for n in [1, 2] {
        assert_eq!(tables.reason(&udp(n), START), Reason::Accepted);
        assert_eq!(tables.reason(&udp(n), START), Reason::Accepted);
        assert_eq!(
            tables.reason(&udp(n), START),
            Reason::ClassBytes,
            "source {n}"
        );
    }
}

#[test]
fn a_network_is_limited_as_a_whole() {
    let mut tables = tables(Class::ZERO);
    tables.policy.flags |= FLAG_AGGREGATES;
    tables.policy.aggregate_mask_v4 = [255, 255, 255, 0];
    tables.policy.aggregate_packets = Limit::counts(1, 5);
    for n in 0..5 {
        assert_eq!(tables.reason(&udp(n), START), Reason::Accepted);
    }
    assert_eq!(tables.reason(&udp(6), START), Reason::AggregatePackets);
    let other = Address::v4([203, 0, 114, 1]);
    let elsewhere = tables.reason(&frames::udp(&other, 60), START);
    assert_eq!(
        elsewhere,
        Reason::SourceUntracked,
        "another network passes this stage"
    );
}

#[test]
fn where_the_host_forwards_classes_decide_nothing() {
    let mut tables = tables(Class {
        flags: CLASS_SOLICITED | CLASS_PROOF,
        packets: Limit::counts(1, 0),
        ..CLASS
    });
    tables.flood.aside = true;
    tables.flood.proof = Proof::Nobody;
    for _ in 0..3 * BURST {
        assert_eq!(tables.reason(&udp(1), START), Reason::Accepted);
    }
}

#[test]
fn a_flood_in_one_class_leaves_the_other_alone() {
    let mut tables = tables(CLASS);
    let other = tables.flood.add(CLASS);
    tables.flood.table.insert(class_table::tcp_new(0), other);
    spend(&tables, START);
    for _ in 0..1000 {
        assert_eq!(tables.reason(&udp(90), START), Reason::ClassBudget);
    }
    assert_eq!(tables.reason(&syn(91), START), Reason::Accepted);
}

/// A fragment of a UDP packet: its number, whether more follow, and its offset in units of 8 bytes.
fn fragment(n: u8, id: u16, more: bool, offset: u16) -> Vec<u8> {
    let mut frame = udp(n);
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    let word = offset | if more { 0x2000 } else { 0 };
    frame[20..22].copy_from_slice(&word.to_be_bytes());
    frame
}

#[test]
fn later_fragments_follow_the_first_one() {
    let mut tables = tables(Class {
        flags: CLASS_KNOWN_FIRST,
        ..CLASS
    });
    know(&mut tables, 90);
    // What has no first fragment is a class of its own, with nothing.
    let orphans = tables.flood.add(Class {
        budget: Limit::counts(1, 0),
        ..CLASS
    });
    tables.flood.table.insert(class_table::FRAGMENT, orphans);
    spend(&tables, START);
    assert_eq!(
        tables.reason(&fragment(90, 1, false, 100), START),
        Reason::ClassBudget
    );
    assert_eq!(
        tables.reason(&fragment(90, 1, true, 0), START),
        Reason::Accepted
    );
    assert_eq!(
        tables.reason(&fragment(90, 1, false, 100), START),
        Reason::Accepted
    );
    assert_eq!(
        tables.reason(&fragment(91, 1, true, 0), START),
        Reason::ClassBudget
    );
    assert_eq!(
        tables.reason(&fragment(91, 1, false, 100), START),
        Reason::FragmentDropped
    );
    assert_eq!(
        tables.reason(&fragment(90, 2, false, 100), START),
        Reason::ClassBudget,
        "another packet"
    );
    let late = START + 40 * SECOND;
    assert_eq!(
        tables.reason(&fragment(90, 1, false, 100), late),
        Reason::ClassBudget,
        "forgotten"
    );
}
