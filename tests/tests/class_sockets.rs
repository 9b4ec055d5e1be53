//! Classes and the sockets of the running kernel: who is waited for, and SYN cookies that the kernel
//! takes. Frames of a test run arrive on the loopback interface of a namespace of the test's own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: what fails there fails the test"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use aya::programs::{TestRun as _, TestRunOptions};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use xdp_common::abi::{
    CLASS_PROOF, CLASS_SOLICITED, CLASS_SYN_COOKIES, Class, FLAG_CLASSES, FLAG_SYN_COOKIES, Limit,
    Plain, Policy, class_table,
};
use xdp_common::packet::tcp_flags;
use xdp_common::reason::{Action, Reason};
use xdp_tests::kernel::{self, Kernel};
use xdp_tests::netns::Namespace;
use xdp_tests::oracle::Rules;
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;
use xdp_user::datapath::{ClassSet, Datapath as _};

const HOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
];
const PEER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7)),
];
const PORT: u16 = 8080;
const MSS: [u16; 2] = [1460, 1440];

/// A namespace that has the host's addresses.
fn host(cookies: &str) -> Namespace {
    let namespace = Namespace::new("class-sockets").unwrap();
    namespace
        .ip(&["addr", "add", "198.51.100.1/24", "dev", "lo"])
        .unwrap();
    namespace
        .ip(&["-6", "addr", "add", "2001:db8:1::1/64", "dev", "lo"])
        .unwrap();
    namespace
        .sysctl("net/ipv4/tcp_syncookies", cookies)
        .unwrap();
    namespace
}

/// The program with one class for everything, whose budget is spent.
fn loaded(flags: u32) -> Kernel {
    loaded_with(flags, FLAG_CLASSES | FLAG_SYN_COOKIES)
}

fn loaded_with(flags: u32, policy_flags: u32) -> Kernel {
    let mut kernel = Kernel::load().unwrap();
    let mut classes = ClassSet::default();
    classes.set_other(Class {
        budget: Limit::counts(1, 0),
        attack_budget: Limit::counts(1, 0),
        flags,
        ..Class::ZERO
    });
    // Reflection is a class of its own.
    let reflection = classes.add(classes.classes()[0]).unwrap();
    classes.assign(class_table::reflection(53), reflection);
    kernel.datapath().set_classes(&classes).unwrap();
    let policy = kernel::policy(&Rules {
        // A connection of the host to itself is the one that a namespace alone can have.
        check_land: false,
        ..Rules::default()
    });
    kernel
        .set_policy(&Policy {
            flags: policy.flags | policy_flags,
            mss_v4: MSS[0],
            mss_v6: MSS[1],
            ..policy
        })
        .unwrap();
    kernel
}

fn packet(family: usize) -> Packet {
    Packet::between(PEER[family], HOST[family]).unwrap()
}

fn listener(address: IpAddr) -> TcpListener {
    TcpListener::bind(SocketAddr::new(address, PORT)).unwrap()
}

/// Runs a frame: what it became, and why.
fn run(kernel: &Kernel, frame: &[u8]) -> (Action, Vec<u8>) {
    let mut out = vec![0; 2048];
    let result = kernel
        .program()
        .unwrap()
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })
        .unwrap();
    out.truncate(result.data_size_out as usize);
    let action = match result.return_value {
        1 => Action::Drop,
        2 => Action::Pass,
        3 => Action::Answer,
        other => panic!("XDP action {other}"),
    };
    (action, out)
}

/// A SYN with an MSS of 1400, a window scale, SACK and a timestamp, as Linux sends it.
fn syn(packet: &Packet, source: u16) -> Vec<u8> {
    let plain = packet.clone().tcp(source, PORT, Flags::SYN).build();
    let (bare, header) = plain.split_at(plain.len() - 20);
    let mut frame = bare.to_vec();
    frame.extend(&header[..4]);
    frame.extend(0x0102_0304_u32.to_be_bytes());
    frame.extend(&header[8..12]);
    frame.extend([10 << 4, tcp_flags::SYN, 0xfa, 0xf0, 0, 0, 0, 0]);
    frame.extend([
        2, 4, 0x05, 0x78, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
    ]);
    lengthen(&mut frame, plain.len(), 20);
    frame
}

/// Makes the IP header say that the packet is longer by so much.
fn lengthen(frame: &mut [u8], before: usize, by: u16) {
    let is_tag = |tag: &&[u8]| [[0x81, 0x00], [0x88, 0xa8]].contains(&[tag[0], tag[1]]);
    let tags = frame[12..].chunks(4).take_while(is_tag).count();
    let network = 14 + 4 * tags;
    let at = if frame[network] >> 4 == 4 {
        network + 2
    } else {
        network + 4
    };
    let length = u16::from_be_bytes([frame[at], frame[at + 1]]) + by;
    frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
    assert!(
        frame.len() == before + usize::from(by),
        "the frame grew by so much"
    );
}

/// The ACK that ends a handshake with this sequence number of the peer.
fn ack(packet: &Packet, source: u16, cookie: u32) -> Vec<u8> {
    let mut frame = packet.clone().tcp(source, PORT, Flags::ACK).build();
    let tcp = frame.len() - 20;
    frame[tcp + 4..tcp + 8].copy_from_slice(&0x0102_0305_u32.to_be_bytes());
    frame[tcp + 8..tcp + 12].copy_from_slice(&cookie.wrapping_add(1).to_be_bytes());
    frame
}

struct Answer {
    sequence: u32,
}

/// Checks an answer by what another parser reads, checksums included.
fn check_answer(asked: &[u8], answer: &[u8], family: usize) -> Answer {
    assert_eq!(answer[..6], asked[6..12], "goes to where the SYN came from");
    assert_eq!(answer[6..12], asked[..6]);
    let sliced = SlicedPacket::from_ethernet(answer).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
        panic!("no TCP in the answer");
    };
    assert!(tcp.syn() && tcp.ack() && !tcp.rst() && !tcp.fin());
    assert_eq!(tcp.acknowledgment_number(), 0x0102_0305);
    assert_eq!(tcp.source_port(), PORT);
    let mss = tcp.options_iterator().next().unwrap().unwrap();
    assert_eq!(
        mss,
        etherparse::TcpOptionElement::MaximumSegmentSize(MSS[family])
    );
    let header = tcp.to_header();
    let checksum = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            assert_eq!(IpAddr::V4(ip.header().destination_addr()), PEER[0]);
            assert_eq!(IpAddr::V4(ip.header().source_addr()), HOST[0]);
            let header_sum = ip.header().to_header().calc_header_checksum();
            assert_eq!(ip.header().header_checksum(), header_sum);
            assert_eq!(usize::from(ip.header().total_len()), 44);
            header
                .calc_checksum_ipv4(&ip.header().to_header(), &[])
                .unwrap()
        }
        NetSlice::Ipv6(ip) => {
            assert_eq!(IpAddr::V6(ip.header().destination_addr()), PEER[1]);
            assert_eq!(IpAddr::V6(ip.header().source_addr()), HOST[1]);
            assert_eq!(ip.header().payload_length(), 24);
            header
                .calc_checksum_ipv6(&ip.header().to_header(), &[])
                .unwrap()
        }
        NetSlice::Arp(_) => panic!("no IP in the answer"),
    };
    assert_eq!(tcp.checksum(), checksum);
    Answer {
        sequence: tcp.sequence_number(),
    }
}

#[test]
fn a_syn_over_the_budget_is_answered_with_a_cookie_that_the_kernel_takes() {
    require_kernel!("a_syn_over_the_budget_is_answered_with_a_cookie_that_the_kernel_takes");
    host("2")
        .run(|| {
            let kernel = loaded(CLASS_SYN_COOKIES | CLASS_PROOF);
            for family in [0, 1] {
                let _listener = listener(HOST[family]);
                let plain = packet(family);
                let tagged = plain.clone().vlan(7);
                let twice = plain.clone().service_vlan(8).vlan(9);
                for (source, packet) in [(40_000, plain), (40_001, tagged), (40_002, twice)] {
                    let asked = syn(&packet, source);
                    let (action, answer) = run(&kernel, &asked);
                    let reason = || kernel.judge(&asked).unwrap().reason();
                    assert_eq!(action, Action::Answer, "{:?}", reason());
                    let Answer { sequence } = check_answer(&asked, &answer, family);
                    let frame = ack(&packet, source, sequence);
                    assert_eq!(run(&kernel, &frame).0, Action::Pass, "the kernel takes it");
                    let wrong = ack(&packet, source, sequence ^ 0x0100_0000);
                    assert_eq!(run(&kernel, &wrong).0, Action::Drop, "another is nobody's");
                }
            }
        })
        .unwrap();
}

#[test]
fn a_listener_with_room_gets_its_syns_and_nobody_else_does() {
    require_kernel!("a_listener_with_room_gets_its_syns_and_nobody_else_does");
    host("1")
        .run(|| {
            let kernel = loaded(CLASS_SYN_COOKIES);
            let frame = syn(&packet(0), 40_000);
            let judged = kernel.judge(&frame).unwrap();
            assert_eq!(judged.reason(), Reason::Unsolicited, "nobody listens");
            let listener = listener(HOST[0]);
            let judged = kernel.judge(&frame).unwrap();
            assert_eq!(judged.reason(), Reason::Accepted, "its queue is empty");
            drop(listener);
        })
        .unwrap();
}

#[test]
fn without_the_kernels_cookies_none_is_made() {
    require_kernel!("without_the_kernels_cookies_none_is_made");
    host("0")
        .run(|| {
            let kernel = loaded_with(CLASS_SYN_COOKIES, FLAG_CLASSES);
            let _listener = listener(HOST[0]);
            let judged = kernel.judge(&syn(&packet(0), 40_000)).unwrap();
            assert_eq!(judged.reason(), Reason::ClassBudget);
        })
        .unwrap();
}

#[test]
fn a_connection_is_proof_and_a_listener_is_not() {
    require_kernel!("a_connection_is_proof_and_a_listener_is_not");
    host("1")
        .run(|| {
            let kernel = loaded(CLASS_PROOF);
            for family in [0, 1] {
                let listener = listener(HOST[family]);
                let client = TcpStream::connect((HOST[family], PORT)).unwrap();
                let (server, _) = listener.accept().unwrap();
                let port = client.local_addr().unwrap().port();
                let data = Flags::ACK | Flags::PSH;
                let own = Packet::between(HOST[family], HOST[family]).unwrap();
                let judged = |packet: Packet| kernel.judge(&packet.build()).unwrap().reason();
                assert_eq!(judged(own.clone().tcp(port, PORT, data)), Reason::Accepted);
                assert_eq!(
                    judged(own.clone().tcp(port, PORT, Flags::RST)),
                    Reason::Accepted
                );
                let strangers = packet(family).tcp(port, PORT, data);
                assert_eq!(judged(strangers), Reason::ClassBudget, "the listener's");
                let closed = packet(family).tcp(port, 9, data);
                assert_eq!(judged(closed), Reason::Unsolicited);
                drop((client, server));
            }
        })
        .unwrap();
}

#[test]
fn answers_over_udp_are_waited_for_by_who_asked() {
    require_kernel!("answers_over_udp_are_waited_for_by_who_asked");
    host("1")
        .run(|| {
            let kernel = loaded(CLASS_SOLICITED);
            for family in [0, 1] {
                let resolver = PEER[family];
                let judged = |port: u16| {
                    let answer = packet(family).udp(53, port).payload(*b"answer");
                    kernel.judge(&answer.build()).unwrap().reason()
                };
                let connected = UdpSocket::bind((HOST[family], 0)).unwrap();
                let port = connected.local_addr().unwrap().port();
                assert_eq!(
                    judged(port),
                    Reason::ClassBudget,
                    "not connected: by its port"
                );
                route_to(&resolver);
                connected.connect((resolver, 53)).unwrap();
                assert_eq!(judged(port), Reason::Accepted);
                drop(connected);
                assert_eq!(judged(port), Reason::Unsolicited);
            }
        })
        .unwrap();
}

/// A route to the peer, so that a socket can be connected: nothing is sent.
fn route_to(peer: &IpAddr) {
    let peer = peer.to_string();
    let route = ["route", "add", &peer, "dev", "lo"];
    let done = std::process::Command::new("ip")
        .args(route)
        .status()
        .unwrap();
    assert!(done.success());
}
