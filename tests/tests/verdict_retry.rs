//! The real program: newcomers get in by their own retry, and flows that were let in take nothing more
//! from the budget. Time stands where the test puts it.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use xdp_common::abi::{
    CLASS_RETRY, Class, FLAG_CLASSES, FLAG_COARSE_CLOCK, FLAG_FIXED_CLOCK, Limit, Plain, Policy,
};
use xdp_common::reason::Reason;
use xdp_tests::kernel::{self, Kernel};
use xdp_tests::oracle::Rules;
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;
use xdp_user::datapath::{ClassSet, Datapath as _};

const HOST: [&str; 2] = ["198.51.100.1", "2001:db8:1::1"];
const PEER: [&str; 2] = ["203.0.113.7", "2001:db8:7::7"];
const MS: u64 = 1_000_000;
const START: u64 = 1_000_000 * 1000 * MS;
/// One packet in an hour.
const NOTHING: Limit = Limit::counts(1, 0);

/// The program with one class for everything: retries count from 200 ms to 16 s.
struct Scene(Kernel);

impl Scene {
    fn new(budget: Limit, returning: Limit) -> Self {
        let mut kernel = Kernel::load().unwrap();
        let mut classes = ClassSet::default();
        classes.set_other(Class {
            budget,
            attack_budget: budget,
            returning,
            pressure_ns: 60_000 * MS,
            retry_min_ns: 200 * MS,
            retry_max_ns: 16_000 * MS,
            flags: CLASS_RETRY,
            ..Class::ZERO
        });
        kernel.datapath().set_classes(&classes).unwrap();
        Self(kernel)
    }

    /// What becomes of a frame so many milliseconds after the start.
    fn at(&mut self, ms: u64, frame: &[u8]) -> Reason {
        let policy = kernel::policy(&Rules::default());
        let policy = Policy {
            flags: policy.flags & !FLAG_COARSE_CLOCK | FLAG_FIXED_CLOCK | FLAG_CLASSES,
            clock_offset_ns: START + ms * MS,
            ..policy
        };
        self.0.set_policy(&policy).unwrap();
        self.0.judge(frame).unwrap().reason()
    }

    /// A class that nobody gets in by the budget of.
    fn spent() -> Self {
        Self::new(NOTHING, Limit::counts(1000, 1000))
    }
}

fn between(family: usize) -> Packet {
    Packet::between(PEER[family].parse().unwrap(), HOST[family].parse().unwrap()).unwrap()
}

#[test]
fn a_newcomer_gets_in_by_its_retry_and_stays_in() {
    require_kernel!("a_newcomer_gets_in_by_its_retry_and_stays_in");
    for family in [0, 1] {
        let frame = between(family).udp(4000, 5300).build();
        let other = between(family).udp(4001, 5300).build();
        let mut scene = Scene::spent();
        assert_eq!(scene.at(0, &frame), Reason::FirstPacket);
        assert_eq!(scene.at(20, &frame), Reason::TooSoon);
        assert_eq!(scene.at(180, &frame), Reason::TooSoon);
        assert_eq!(scene.at(400, &frame), Reason::Accepted);
        assert_eq!(
            scene.at(401, &frame),
            Reason::Accepted,
            "the flow is let in"
        );
        assert_eq!(scene.at(401, &other), Reason::FirstPacket, "and no other");
        assert_eq!(
            scene.at(200_000, &frame),
            Reason::Accepted,
            "for its lifetime"
        );
        assert_eq!(
            scene.at(938_000, &frame),
            Reason::FirstPacket,
            "and no longer"
        );
    }
}

#[test]
fn a_retry_that_comes_late_is_a_first_packet() {
    require_kernel!("a_retry_that_comes_late_is_a_first_packet");
    let mut scene = Scene::spent();
    let frame = between(0).udp(4000, 5300).build();
    assert_eq!(scene.at(0, &frame), Reason::FirstPacket);
    assert_eq!(scene.at(17_000, &frame), Reason::FirstPacket);
    assert_eq!(
        scene.at(32_000, &frame),
        Reason::Accepted,
        "15 s after that"
    );
}

#[test]
fn what_returns_has_a_budget_of_its_own() {
    require_kernel!("what_returns_has_a_budget_of_its_own");
    let mut scene = Scene::new(NOTHING, Limit::counts(1, 3));
    let frames: Vec<Vec<u8>> = (0..5)
        .map(|n| between(0).udp(4000 + n, 5300).build())
        .collect();
    for frame in &frames {
        assert_eq!(scene.at(0, frame), Reason::FirstPacket);
    }
    for (n, frame) in frames.iter().enumerate() {
        let expected = if n < 3 {
            Reason::Accepted
        } else {
            Reason::ReturningBudget
        };
        assert_eq!(scene.at(1000, frame), expected, "flow {n}");
    }
    assert_eq!(
        scene.at(1000, &frames[0]),
        Reason::ReturningBudget,
        "one let in pays, too"
    );
    assert_eq!(
        scene.at(2100, &frames[4]),
        Reason::Accepted,
        "who was refused comes again"
    );
}

#[test]
fn a_flow_that_was_let_in_takes_nothing_more_from_the_budget() {
    require_kernel!("a_flow_that_was_let_in_takes_nothing_more_from_the_budget");
    let mut scene = Scene::new(Limit::counts(1, 3), Limit::counts(1000, 1000));
    let session = between(0).udp(4000, 5300).build();
    for packet in 0..20 {
        assert_eq!(scene.at(0, &session), Reason::Accepted, "packet {packet}");
    }
    // The first was let in unseen, the second kept the flow.
    let next = between(0).udp(4001, 5300).build();
    assert_eq!(scene.at(0, &next), Reason::Accepted, "the third place");
    let spent = between(0).udp(4002, 5300).build();
    assert_eq!(scene.at(0, &spent), Reason::FirstPacket);
    assert_eq!(scene.at(1, &session), Reason::Accepted, "under pressure");
}

#[test]
fn a_dns_question_is_known_again_from_another_port() {
    require_kernel!("a_dns_question_is_known_again_from_another_port");
    let question = |port: u16, id: u8, name: &[u8]| {
        let mut data = vec![id, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        data.extend(name);
        data.extend([0, 0, 1, 0, 1]);
        between(0).udp(port, 53).payload(data).build()
    };
    let mut scene = Scene::spent();
    assert_eq!(
        scene.at(0, &question(4000, 1, b"\x03www\x07example")),
        Reason::FirstPacket
    );
    assert_eq!(
        scene.at(1000, &question(4001, 2, b"\x03www\x07sample")),
        Reason::FirstPacket
    );
    assert_eq!(
        scene.at(1000, &question(4001, 2, b"\x03WwW\x07eXample")),
        Reason::Accepted
    );
    // As long as a name gets (RFC 1035, section 2.3.4).
    let longest: Vec<u8> = (0..4)
        .flat_map(|_| [[62].as_slice(), &[b'x'; 62]].concat())
        .collect();
    assert_eq!(
        scene.at(0, &question(4000, 1, &longest)),
        Reason::FirstPacket
    );
    assert_eq!(
        scene.at(1000, &question(4001, 1, &longest)),
        Reason::Accepted
    );
}

#[test]
fn a_ping_and_a_syn_are_known_again() {
    require_kernel!("a_ping_and_a_syn_are_known_again");
    for family in [0, 1] {
        let (number, kind) = [(1, 8), (58, 128)][family];
        let ping = |id: u8| {
            let echo = [kind, 0, 0, 0, 0, id, 0, 1];
            between(family).protocol(number).payload(echo).build()
        };
        let syn = between(family).tcp(4000, 80, Flags::SYN).build();
        let gre = between(family).gre(0x0800).build();
        for frame in [ping(7), syn, gre] {
            let mut scene = Scene::spent();
            assert_eq!(scene.at(0, &frame), Reason::FirstPacket);
            assert_eq!(scene.at(1000, &frame), Reason::Accepted);
        }
        let mut scene = Scene::spent();
        assert_eq!(scene.at(0, &ping(7)), Reason::FirstPacket);
        assert_eq!(scene.at(1000, &ping(8)), Reason::FirstPacket, "another's");
    }
}

#[test]
fn names_that_end_anywhere_are_read_no_further_than_the_frame() {
    require_kernel!("names_that_end_anywhere_are_read_no_further_than_the_frame");
    let mut scene = Scene::spent();
    for length in 0..90 {
        let frame = between(0).udp(4000, 53).payload(vec![b'x'; length]).build();
        let seen = scene.at(length as u64 * 100_000, &frame);
        assert_eq!(seen, Reason::FirstPacket, "{length} bytes");
    }
}
