//! What the flow memory makes of packets, over host memory: who was asked, whose connection is there, whom
//! limits and bans spare.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: what fails there fails the test"
)]

mod support;

use std::ops::ControlFlow;

use support::flood::FLOW_SEEDS;
use support::{HostTables, frames, policy};
use xdp_common::abi::{
    Ban, CLASS_PROOF, CLASS_RETRY, CLASS_SOLICITED, Class, FLAG_CLASSES, FLAG_OVERRIDES,
    FLAG_SPARE_FLOWS, Limit, Limits, Plain, Policy,
};
use xdp_common::flows::key::keys;
use xdp_common::flows::{Direction, Flow, Kind};
use xdp_common::packet::{Address, parse, protocol, tcp_flags};
use xdp_common::reason::Reason;
use xdp_common::verdict::{Proof, is_link_local, source_key};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;
const NOTHING: Limit = Limit::counts(1, 0);

fn source() -> Address {
    Address::v4([203, 0, 113, 1])
}

/// Everything in one class whose budget is spent, behind a memory that has all that left.
fn tables(flags: u32) -> HostTables {
    let policy = Policy {
        flags: policy().flags | FLAG_CLASSES | FLAG_SPARE_FLOWS,
        ..policy()
    };
    let mut tables = HostTables::new(policy, &[source()]);
    tables.flood.remembers_answers = true;
    tables.flood.add(Class {
        budget: NOTHING,
        attack_budget: NOTHING,
        returning: Limit::counts(1000, 1000),
        pressure_ns: 3 * SECOND,
        flags,
        ..Class::ZERO
    });
    tables
}

/// Has a flow kept as the egress program would.
fn keep(tables: &HostTables, frame: &[u8], flow: Flow, now: u64) {
    let ControlFlow::Continue(packet) = parse(frame) else {
        panic!("no packet");
    };
    let keys = keys(frame, &packet, Direction::In, FLOW_SEEDS).unwrap();
    let is_tcp = packet.protocol == protocol::TCP;
    tables.flood.flows.keep(keys.flow, flow, is_tcp, now);
}

fn ack_of(acknowledged: u32) -> Vec<u8> {
    let mut frame = frames::tcp(&source(), tcp_flags::ACK);
    frame[14 + 20 + 8..][..4].copy_from_slice(&acknowledged.to_be_bytes());
    frame
}

#[test]
fn an_answer_that_was_asked_for_passes_without_a_socket() {
    let answer = frames::udp(&source(), 60);
    let mut tables = tables(CLASS_SOLICITED);
    let number = tables.flood.add(tables.flood.classes[0]);
    tables
        .flood
        .table
        .insert(xdp_common::abi::class_table::reflection(0), number);
    tables.flood.proof = Proof::Nobody;
    assert_eq!(tables.reason(&answer, START), Reason::Unsolicited);
    keep(&tables, &answer, Flow::new(Kind::Asked, false), START);
    assert_eq!(tables.reason(&answer, START), Reason::Accepted);
    assert_eq!(
        tables.reason(&answer, START + 200 * SECOND),
        Reason::Unsolicited,
        "long ago"
    );
    // That a forger was answered proves nothing.
    keep(&tables, &answer, Flow::new(Kind::Answered, true), START);
    assert_eq!(tables.reason(&answer, START), Reason::Unsolicited);
}

#[test]
fn an_acknowledgement_of_the_syn_ack_that_was_sent_makes_a_connection() {
    let tables = tables(CLASS_PROOF);
    let half_open = Flow::new(Kind::HalfOpen, false).with_sequence(0xabcd_1234);
    keep(&tables, &ack_of(0), half_open, START);
    for guess in [0, 0xabcd_1234, 0xabcd_1236] {
        assert_eq!(
            tables.reason(&ack_of(guess), START),
            Reason::ClassBudget,
            "{guess:#x}"
        );
    }
    assert_eq!(tables.reason(&ack_of(0xabcd_1235), START), Reason::Accepted);
    // From then on it is one.
    assert_eq!(
        tables.reason(&ack_of(0xabcd_9999), START + 7000 * SECOND),
        Reason::Accepted
    );
}

#[test]
fn a_flow_without_proof_pays_while_its_class_is_pressed() {
    let mut tables = tables(CLASS_RETRY);
    tables.flood.classes[0].returning = Limit::counts(1, 2);
    let frame = frames::udp(&source(), 60);
    keep(&tables, &frame, Flow::new(Kind::Returned, true), START);
    tables.flood.states[0]
        .pressure_until
        .store(START + SECOND, std::sync::atomic::Ordering::SeqCst);
    let reasons: Vec<Reason> = (0..3).map(|_| tables.reason(&frame, START)).collect();
    let expected = [Reason::Accepted, Reason::Accepted, Reason::ReturningBudget];
    assert_eq!(reasons, expected);
    // Without pressure it is let be, and after a while of that it is proven.
    let quiet = START + 10 * SECOND;
    for _ in 0..5 {
        assert_eq!(tables.reason(&frame, quiet), Reason::Accepted);
    }
    tables.flood.states[0]
        .pressure_until
        .store(quiet + 10 * SECOND, std::sync::atomic::Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(tables.reason(&frame, quiet + SECOND), Reason::Accepted);
    }
}

fn banned(tables: &HostTables) {
    let ban = Ban {
        until_ns: START + 1000 * SECOND,
        ..Ban::ZERO
    };
    tables.set_ban(&tables.key(&source()), ban);
}

#[test]
fn a_ban_that_forgery_earned_leaves_connections_and_answers_alone() {
    let connection = ack_of(1);
    let answer = frames::udp(&source(), 60);
    for (kind, frame, goes_on) in [
        (Kind::Established, &connection, true),
        (Kind::Asked, &answer, true),
        (Kind::HalfOpen, &connection, false),
        (Kind::Answered, &answer, false),
    ] {
        let tables = tables(0);
        banned(&tables);
        keep(&tables, frame, Flow::new(kind, false), START);
        let expected = if goes_on {
            Reason::Accepted
        } else {
            Reason::Banned
        };
        assert_eq!(tables.reason(frame, START), expected, "{kind:?}");
        let syn = frames::tcp(&source(), tcp_flags::SYN);
        let other = frames::packet(&source(), 47, &[0; 8]);
        assert_eq!(tables.reason(&other, START), Reason::Banned);
        if kind != Kind::Established {
            assert_eq!(tables.reason(&syn, START), Reason::Banned);
        }
    }
    // Where an operator has chosen the limits, a ban holds for all.
    let mut tables = tables(0);
    tables.policy.flags &= !FLAG_SPARE_FLOWS;
    banned(&tables);
    keep(
        &tables,
        &connection,
        Flow::new(Kind::Established, false),
        START,
    );
    assert_eq!(tables.reason(&connection, START), Reason::Banned);
}

#[test]
fn a_fast_peer_goes_beyond_the_shipped_limits_up_to_sixteen_times_them() {
    let segment = ack_of(1);
    let mut tables = tables(0);
    tables.policy.limits.packets = Limit::counts(10, 10);
    let passed = |tables: &HostTables| {
        (0..1000)
            .filter(|_| tables.reason(&segment, START) == Reason::Accepted)
            .count()
    };
    assert_eq!(passed(&tables), 0, "a stranger's");
    keep(
        &tables,
        &segment,
        Flow::new(Kind::Established, false),
        START,
    );
    assert_eq!(passed(&tables), 10 + 160);
    // Limits of its own hold.
    tables.policy.flags |= FLAG_OVERRIDES;
    let limits = Limits {
        packets: Limit::counts(10, 10),
        ..Limits::ZERO
    };
    let everybody = support::Prefix(0, Address::v4([0; 4]));
    tables.overrides.push((everybody, limits));
    let later = START + 60 * SECOND;
    let passed = (0..1000)
        .filter(|_| tables.reason(&segment, later) == Reason::Accepted)
        .count();
    assert_eq!(passed, 10);
}

#[test]
fn each_neighbour_on_a_link_is_a_source() {
    let key = |octets| source_key(&Address::v6(octets), &policy());
    let mut first = [0; 16];
    first[..2].copy_from_slice(&[0xfe, 0x80]);
    let mut second = first;
    (first[15], second[15]) = (1, 2);
    assert_eq!(key(first).prefix_len, 128);
    assert_ne!(key(first).addr, key(second).addr);
    (first[0], second[0]) = (0x20, 0x20);
    assert_eq!(key(first).prefix_len, 64);
    assert_eq!(key(first).addr, key(second).addr);
    let upper = |first: u64| is_link_local(first << 48);
    assert!(upper(0xfe80) && upper(0xfebf));
    assert!(!upper(0xfec0) && !upper(0xfe7f));
}
