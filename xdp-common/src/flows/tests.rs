#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::cell::Cell;
use std::ops::ControlFlow;

use super::key::keys;
use super::*;
use crate::packet::{Packet, parse_bare};

const SECOND: u64 = 1 << 30;
const WINDOW: Window = Window {
    min_ns: 200_000_000,
    max_ns: 16_000_000_000,
};
const START: u64 = 1_000_000 * SECOND;
const SEEDS: [u64; 2] = [0x1234_5678_9abc_def1, 0x0fed_cba9_8765_4321];

#[derive(Clone, Copy)]
struct CellWord<'a>(&'a Cell<u64>);

impl Word for CellWord<'_> {
    fn load(self) -> u64 {
        self.0.get()
    }

    fn store(self, value: u64) {
        self.0.set(value);
    }

    fn add(self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    fn or(self, bits: u64) {
        self.0.set(self.0.get() | bits);
    }

    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64> {
        if self.0.get() != current {
            return Err(self.0.get());
        }
        self.0.set(new);
        Ok(())
    }
}

#[derive(Default)]
struct TestLine([Cell<u64>; WORDS]);

impl<'a> Line for &'a TestLine {
    type Word = CellWord<'a>;

    fn word(self, index: usize) -> CellWord<'a> {
        CellWord(&self.0[index])
    }
}

/// A hash whose tags are those of a number, for a line of its own.
fn hash(number: u64) -> u64 {
    number << TAG_SHIFT | number << 21
}

#[test]
fn a_retry_counts_in_its_protocols_time_and_never_before() {
    let after = |ms: u64| {
        let line = TestLine::default();
        assert_eq!(retried(&line, hash(1), WINDOW, START), Retry::First);
        retried(&line, hash(1), WINDOW, START + ms * 1_000_000)
    };
    for ms in [0, 20, 100, 180] {
        assert_eq!(after(ms), Retry::TooSoon, "{ms} ms");
    }
    // unbound 0.376 s, libreswan 0.5, QUIC 1, glibc 5, WireGuard 5.33, Source engine 6, timesyncd 15.
    for ms in [240, 376, 500, 1000, 5000, 5330, 6000, 15_000, 15_900] {
        assert_eq!(after(ms), Retry::InTime, "{ms} ms");
    }
    for ms in [16_100, 30_000, 60_000] {
        assert_eq!(after(ms), Retry::First, "{ms} ms");
    }
}

#[test]
fn a_packet_that_comes_too_soon_leaves_the_clock_as_it_is() {
    let line = TestLine::default();
    let mut now = START;
    assert_eq!(retried(&line, hash(1), WINDOW, now), Retry::First);
    // A stream of a packet each 20 ms.
    let mut too_soon = 0;
    loop {
        now += 20_000_000;
        match retried(&line, hash(1), WINDOW, now) {
            Retry::TooSoon => too_soon += 1,
            other @ (Retry::First | Retry::InTime) => {
                assert_eq!(other, Retry::InTime);
                break;
            }
        }
    }
    assert!((9..=12).contains(&too_soon), "{too_soon}");
}

#[test]
fn newcomers_displace_the_oldest_newcomer_and_no_flow() {
    let line = TestLine::default();
    for number in 1..=4 {
        keep(
            &line,
            hash(number),
            Flow::new(Kind::Asked, false),
            false,
            START,
        );
    }
    for number in 11..=18 {
        assert_eq!(
            retried(&line, hash(number), WINDOW, START + number * SECOND / 16),
            Retry::First
        );
    }
    let later = START + 3 * SECOND;
    assert_eq!(retried(&line, hash(19), WINDOW, later), Retry::First);
    assert_eq!(
        retried(&line, hash(12), WINDOW, later),
        Retry::InTime,
        "is still there"
    );
    assert_eq!(
        retried(&line, hash(11), WINDOW, later),
        Retry::First,
        "was the oldest"
    );
    for number in 1..=4 {
        assert!(
            find(&line, hash(number), false, later).is_some(),
            "flow {number}"
        );
    }
}

#[test]
fn a_flow_ends_after_its_lifetime() {
    for (kind, is_tcp, seconds) in [
        (Kind::Asked, false, 120),
        (Kind::Answered, false, 300),
        (Kind::LetIn, false, 300),
        (Kind::Returned, false, 300),
        (Kind::Asked, true, 60),
        (Kind::HalfOpen, true, 60),
        (Kind::Established, true, 7440),
    ] {
        let line = TestLine::default();
        keep(&line, hash(1), Flow::new(kind, true), is_tcp, START);
        let found = |seconds: u64| find(&line, hash(1), is_tcp, START + seconds * 1_000_000_000);
        assert_eq!(found(seconds).map(Flow::kind), Some(kind));
        assert!(found(seconds).unwrap().is_unproven());
        assert_eq!(found(seconds + 10), None, "{kind:?}");
    }
}

#[test]
fn a_full_line_loses_what_is_over_and_then_the_oldest() {
    let line = TestLine::default();
    let asked = Flow::new(Kind::Asked, false);
    for (number, seconds) in [(1, 0), (2, 40), (3, 80), (4, 120)] {
        keep(&line, hash(number), asked, false, START + seconds * SECOND);
    }
    let now = START + 130 * SECOND;
    keep(&line, hash(5), asked, false, now);
    assert_eq!(find(&line, hash(1), false, now), None);
    keep(&line, hash(6), asked, false, now);
    let there = |number| find(&line, hash(number), false, now).is_some();
    assert_eq!([2, 3, 4, 5, 6].map(there), [false, true, true, true, true]);
}

#[test]
fn what_a_forger_can_make_displaces_nothing_that_is_proven() {
    let line = TestLine::default();
    let there = |number| find(&line, hash(number), true, START + SECOND).is_some();
    let proven = Flow::new(Kind::Established, false);
    for number in 1..=3 {
        keep(&line, hash(number), proven, true, START);
    }
    for number in 11..=20 {
        let weak = match number % 2 {
            0 => Flow::new(Kind::HalfOpen, false),
            _ => Flow::new(Kind::LetIn, true),
        };
        keep(&line, hash(number), weak, true, START + SECOND);
    }
    assert_eq!([1, 2, 3, 20].map(there), [true; 4]);
    keep(&line, hash(4), proven, true, START + SECOND);
    assert!(there(4) && !there(20), "the weak one makes way");
    keep(
        &line,
        hash(21),
        Flow::new(Kind::LetIn, true),
        true,
        START + SECOND,
    );
    assert_eq!([1, 2, 3, 4, 21].map(there), [true, true, true, true, false]);
}

#[test]
fn only_the_acknowledgement_of_its_syn_ack_matches_a_half_open_flow() {
    let flow = Flow::new(Kind::HalfOpen, false);
    for sequence in [0, 1, 0xff_ffff, 0xffff_ffff, 0x1234_5678_u32] {
        let flow = flow.with_sequence(sequence);
        assert!(
            flow.is_acknowledged_by(sequence.wrapping_add(1)),
            "{sequence:#x}"
        );
        for other in [0, 2, 3, 0x8000] {
            assert!(!flow.is_acknowledged_by(sequence.wrapping_add(other)));
        }
    }
}

/// An IPv4 packet without options.
fn packet(protocol: u8, addresses: [[u8; 4]; 2], payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    bytes.extend(addresses.concat());
    bytes.extend(payload);
    bytes
}

fn parsed(bytes: &[u8]) -> Packet {
    match parse_bare(bytes) {
        ControlFlow::Continue(packet) => packet,
        ControlFlow::Break(reason) => panic!("{reason:?}"),
    }
}

fn keys_in(bytes: &[u8]) -> Keys {
    keys(bytes, &parsed(bytes), Direction::In, SEEDS).unwrap()
}

fn keys_out(bytes: &[u8]) -> Keys {
    keys(bytes, &parsed(bytes), Direction::Out, SEEDS).unwrap()
}

const HOST: [u8; 4] = [192, 0, 2, 1];
const PEER: [u8; 4] = [198, 51, 100, 7];

fn udp(ports: [u16; 2], data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap();
    let mut bytes: Vec<u8> = [ports[0], ports[1], length, 0]
        .into_iter()
        .flat_map(u16::to_be_bytes)
        .collect();
    bytes.extend(data);
    bytes
}

#[test]
fn both_directions_of_a_flow_have_one_key_and_other_flows_another() {
    let asks = packet(17, [HOST, PEER], &udp([5000, 53], b"?"));
    let answers = packet(17, [PEER, HOST], &udp([53, 5000], b"!"));
    assert_eq!(keys_out(&asks).flow, keys_in(&answers).flow);
    for other in [
        packet(17, [PEER, HOST], &udp([53, 5001], b"!")),
        packet(17, [PEER, HOST], &udp([54, 5000], b"!")),
        packet(17, [[198, 51, 100, 8], HOST], &udp([53, 5000], b"!")),
        packet(17, [PEER, [192, 0, 2, 2]], &udp([53, 5000], b"!")),
        packet(17, [PEER, HOST], &udp([5000, 53], b"!")),
    ] {
        assert_ne!(keys_in(&other).flow, keys_in(&answers).flow);
    }
}

#[test]
fn an_echo_is_known_by_its_identifier_and_by_who_asks() {
    let echo = |kind: u8, id: u8, from, to| packet(1, [from, to], &[kind, 0, 0, 0, 0, id, 0, 9]);
    let asked = keys_out(&echo(8, 7, HOST, PEER)).flow;
    assert_eq!(asked, keys_in(&echo(0, 7, PEER, HOST)).flow);
    assert_ne!(asked, keys_in(&echo(0, 8, PEER, HOST)).flow);
    assert_ne!(
        asked,
        keys_in(&echo(8, 7, PEER, HOST)).flow,
        "a ping of theirs"
    );
}

#[test]
fn an_icmp_error_belongs_to_the_flow_that_it_quotes() {
    let sent = packet(
        6,
        [HOST, PEER],
        &[
            0x01, 0xbb, 0xc3, 0x50, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0,
        ],
    );
    let error = |quoted: &[u8]| {
        let mut bytes = vec![3, 4, 0, 0, 0, 0, 5, 0];
        bytes.extend(&quoted[..28]);
        packet(1, [[203, 0, 113, 1], HOST], &bytes)
    };
    assert_eq!(keys_in(&error(&sent)).flow, keys_out(&sent).flow);
    let forged = packet(
        6,
        [HOST, PEER],
        &[
            0x01, 0xbb, 0xc3, 0x51, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0,
        ],
    );
    assert_ne!(keys_in(&error(&forged)).flow, keys_out(&sent).flow);
}

#[test]
fn a_dns_question_is_known_again_from_another_port_with_another_number_and_in_other_letters() {
    let question = |port: u16, id: u8, name: &[u8]| {
        let mut data = vec![id, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        data.extend(name);
        data.extend([0, 0, 1, 0, 1, id, id, id]);
        packet(17, [PEER, HOST], &udp([port, 53], &data))
    };
    for name in [
        &b"\x03www\x07example\x03org"[..],
        b"\x01a",
        b"\x02ab",
        b"\x03abc",
        b"\x04abcd",
    ] {
        let first = keys_in(&question(4000, 1, name));
        let again = keys_in(&question(4001, 2, &name.to_ascii_uppercase()));
        assert_eq!(first.retry, again.retry, "{name:?}");
        assert_ne!(first.flow, again.flow);
        assert_ne!(first.retry, keys_in(&question(4000, 1, b"\x01b")).retry);
    }
}

#[test]
fn a_tcp_retry_has_the_same_sequence_number() {
    let syn = |sequence: u8| {
        packet(
            6,
            [PEER, HOST],
            &[
                4, 0, 0, 80, 0, 0, 0, sequence, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
            ],
        )
    };
    let (first, other) = (keys_in(&syn(1)), keys_in(&syn(2)));
    assert_eq!(first.flow, other.flow);
    assert_ne!(first.retry, other.retry);
    assert_eq!(first, keys_in(&syn(1)));
}

#[test]
fn what_leaves_says_what_was_asked_and_never_that_a_newcomer_is_real() {
    let of = |bytes: &[u8], found| leaving(&parsed(bytes), found, START);
    let datagram = packet(17, [HOST, PEER], &udp([53, 4000], b"!"));
    let asked = Leaving::Keep(Flow::new(Kind::Asked, false));
    assert_eq!(of(&datagram, None), asked);
    for kind in [Kind::LetIn, Kind::Returned] {
        let answered = Leaving::Keep(Flow::new(Kind::Answered, true));
        assert_eq!(of(&datagram, Some(Flow::new(kind, true))), answered);
    }
    let tcp = |flags: u8| {
        packet(
            6,
            [HOST, PEER],
            &[
                0, 80, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0,
            ],
        )
    };
    let established = Leaving::Keep(Flow::new(Kind::Established, false));
    assert_eq!(of(&tcp(2), None), asked);
    assert_eq!(of(&tcp(0x12), None), Leaving::HalfOpen);
    assert_eq!(of(&tcp(0x10), None), established);
    assert_eq!(
        of(&tcp(0x18), Some(Flow::new(Kind::HalfOpen, false))),
        established
    );
    for reset in [0x04, 0x14] {
        assert_eq!(
            of(&tcp(reset), None),
            Leaving::Nothing,
            "answers forged segments, too"
        );
    }
    let reply = packet(1, [HOST, PEER], &[0, 0, 0, 0, 0, 7, 0, 9]);
    assert_eq!(of(&reply, None), Leaving::Nothing);
}
