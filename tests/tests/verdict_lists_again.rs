//! The program keeps what became of a packet whose source comes again; the next one is still judged as it is,
//! by the lists and the policy of now.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use xdp_common::abi::{POLICY_SLOTS, Policy};
use xdp_common::reason::{Action, Reason};
use xdp_tests::kernel::{Kernel, Runner, UNNAMED_INTERFACE, boot_ns, pin_to_cpu, policy};
use xdp_tests::oracle::Rules;
use xdp_tests::packet::Packet;
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;
use xdp_user::api::types::ListKind::{self, Allow, Block};
use xdp_user::datapath::{Datapath as _, NewEntry};
use xdp_user::domain::Prefix;

/// What ends are rounded up to.
const UNIT_NS: u64 = 1 << 26;

/// Every network namespace's loopback interface.
const LOOPBACK: u32 = 1;

/// A source, the prefix around it, and another one.
struct Family {
    frame: Vec<u8>,
    host: Prefix,
    around: Prefix,
    other: Vec<u8>,
}

/// More than the smallest frame needs.
const PAYLOAD: usize = 24;

fn datagram(packet: Packet) -> Vec<u8> {
    packet.udp(4000, 53).payload([7; PAYLOAD]).build()
}

fn families() -> [Family; 2] {
    let prefix = |text: &str| text.parse().unwrap();
    [
        Family {
            frame: datagram(Packet::v4("203.0.113.7", "198.51.100.1")),
            host: prefix("203.0.113.7"),
            around: prefix("203.0.113.0/26"),
            other: datagram(Packet::v4("203.0.113.200", "198.51.100.1")),
        },
        Family {
            frame: datagram(Packet::v6("2001:db8::7", "2001:db8:1::1")),
            host: prefix("2001:db8::7"),
            around: prefix("2001:db8::/56"),
            other: datagram(Packet::v6("2001:db8:0:100::7", "2001:db8:1::1")),
        },
    ]
}

fn until(prefix: Prefix, expires_ns: u64) -> NewEntry {
    NewEntry {
        prefix,
        expires_ns,
        list: 0,
    }
}

fn change(kernel: &mut Kernel, kind: ListKind, put: &[NewEntry], remove: &[Prefix]) {
    let refused = kernel.datapath().change_entries(kind, put, remove);
    assert!(refused.is_empty(), "{refused:?}");
}

/// The program with empty lists, always on the same CPU: each remembers for itself.
fn loaded() -> Kernel {
    pin_to_cpu(0).unwrap();
    let mut kernel = Kernel::load().unwrap();
    kernel.apply(&Rules::default()).unwrap();
    kernel
}

/// What drops, and what only counts.
fn modes() -> [Policy; 2] {
    [true, false].map(|enforce| {
        policy(&Rules {
            enforce,
            ..Rules::default()
        })
    })
}

/// The first of a source, one whose outcome is kept, and two that meet it.
fn assert_each(kernel: &Kernel, frame: &[u8], reason: Reason) {
    for _ in 0..4 {
        if reason == Reason::Blocklisted {
            kernel.assert_drops(frame, reason);
        } else {
            kernel.assert_passes(frame, reason);
        }
    }
}

#[test]
fn each_change_of_an_entry_counts_from_the_next_packet_on() {
    require_kernel!("each_change_of_an_entry_counts_from_the_next_packet_on");
    let mut kernel = loaded();
    for Family {
        frame,
        host,
        around,
        other,
    } in families()
    {
        assert_each(&kernel, &frame, Reason::Accepted);
        change(&mut kernel, Block, &[until(host, 0)], &[]);
        assert_each(&kernel, &frame, Reason::Blocklisted);
        assert_each(&kernel, &other, Reason::Accepted);
        assert_each(&kernel, &frame, Reason::Blocklisted);
        change(&mut kernel, Allow, &[until(around, 0)], &[]);
        assert_each(&kernel, &frame, Reason::Allowlisted);
        change(&mut kernel, Allow, &[], &[around]);
        assert_each(&kernel, &frame, Reason::Blocklisted);
        change(&mut kernel, Block, &[], &[host]);
        assert_each(&kernel, &frame, Reason::Accepted);
    }
}

#[test]
fn a_list_that_is_replaced_counts_from_the_next_packet_on() {
    require_kernel!("a_list_that_is_replaced_counts_from_the_next_packet_on");
    let mut kernel = loaded();
    for (family, Family { frame, host, .. }) in families().into_iter().enumerate() {
        let many = |from: u32| -> Vec<Prefix> {
            let one = |n| match family {
                0 => format!("198.18.{}.{}", n >> 8, n & 0xff),
                _ => format!("2001:db8:2::{n:x}"),
            };
            (from..from + 2000)
                .map(|n| one(n).parse().unwrap())
                .collect()
        };
        let (first, second) = (many(0), many(2000));
        let mut put: Vec<NewEntry> = first.iter().map(|prefix| until(*prefix, 0)).collect();
        put.push(until(host, 0));
        change(&mut kernel, Block, &put, &[]);
        assert_each(&kernel, &frame, Reason::Blocklisted);
        for round in 0..4 {
            let (new, mut old) = if round % 2 == 0 {
                (&second, first.clone())
            } else {
                (&first, second.clone())
            };
            let mut put: Vec<NewEntry> = new.iter().map(|prefix| until(*prefix, 0)).collect();
            let is_listed = round % 2 == 1;
            if is_listed {
                put.push(until(host, 0));
            } else {
                old.push(host);
            }
            change(&mut kernel, Block, &put, &old);
            let reason = if is_listed {
                Reason::Blocklisted
            } else {
                Reason::Accepted
            };
            assert_each(&kernel, &frame, reason);
        }
    }
}

#[test]
fn an_entry_ends_for_a_source_that_is_remembered() {
    require_kernel!("an_entry_ends_for_a_source_that_is_remembered");
    let mut kernel = loaded();
    for Family { frame, host, .. } in families() {
        change(&mut kernel, Block, &[until(host, 0)], &[]);
        assert_each(&kernel, &frame, Reason::Blocklisted);
        let end = boot_ns().unwrap() + 4 * UNIT_NS;
        change(&mut kernel, Block, &[until(host, end)], &[]);
        wait_until("the entry has ended", Duration::from_secs(5), || {
            boot_ns().unwrap() >= end + UNIT_NS
        })
        .unwrap();
        assert_each(&kernel, &frame, Reason::Accepted);
    }
}

#[test]
fn every_packet_of_a_remembered_source_is_counted_with_its_own_length() {
    require_kernel!("every_packet_of_a_remembered_source_is_counted_with_its_own_length");
    let mut kernel = loaded();
    for (packet, host) in [
        (Packet::v4("203.0.113.7", "198.51.100.1"), "203.0.113.7/32"),
        (
            Packet::v6("2001:db8::7", "2001:db8:1::1"),
            "2001:db8::7/128",
        ),
    ] {
        let block = until(host.parse().unwrap(), 0);
        change(&mut kernel, Block, &[block], &[]);
        let lengths = [24, 24, 1000, 0, 7, 1400];
        let mut bytes = 0;
        for length in lengths {
            let packet = packet.clone().udp(4000, 53).payload(vec![7; length]);
            let frame = packet.build();
            bytes += frame.len() as u64;
            let judged = kernel.judge(&frame).unwrap();
            assert_eq!(judged.reason(), Reason::Blocklisted);
            assert_eq!(judged.count.bytes, frame.len() as u64);
        }
        let entry = kernel.block_entry(host.parse().unwrap()).unwrap();
        assert_eq!((entry.packets, entry.bytes), (lengths.len() as u64, bytes));
    }
}

#[test]
fn another_policy_counts_from_the_next_packet_on() {
    require_kernel!("another_policy_counts_from_the_next_packet_on");
    let mut kernel = loaded();
    for Family { frame, host, .. } in families() {
        change(&mut kernel, Block, &[until(host, 0)], &[]);
        assert_each(&kernel, &frame, Reason::Blocklisted);
        let [enforced, observed] = modes();
        let mut named = enforced;
        // What frames of `BPF_PROG_TEST_RUN` come in on (net/bpf/test_run.c).
        named.interfaces[0] = LOOPBACK;
        // As many as there are slots for policies, and on: each has been in force before.
        for _ in 0..POLICY_SLOTS {
            for (policy, action, interface) in [
                (&enforced, Action::Drop, UNNAMED_INTERFACE),
                (&observed, Action::Pass, UNNAMED_INTERFACE),
                (&named, Action::Drop, 0),
            ] {
                kernel.set_policy(policy).unwrap();
                for _ in 0..4 {
                    let judged = kernel.judge(&frame).unwrap();
                    let told = (judged.reason(), judged.action, judged.slot.interface);
                    assert_eq!(told, (Reason::Blocklisted, action, interface));
                }
            }
        }
        kernel.set_policy(&enforced).unwrap();
    }
}

#[test]
fn a_packet_that_is_read_otherwise_is_judged_otherwise() {
    require_kernel!("a_packet_that_is_read_otherwise_is_judged_otherwise");
    let mut kernel = loaded();
    for Family { frame, host, .. } in families() {
        change(&mut kernel, Block, &[until(host, 0)], &[]);
        let transport = frame.len() - PAYLOAD - 8;
        let changed = |at: usize, bytes: [u8; 2]| {
            let mut frame = frame.clone();
            frame[at..at + 2].copy_from_slice(&bytes);
            frame
        };
        let length = u16::try_from(8 + PAYLOAD).unwrap();
        let too_short = changed(transport + 4, 7_u16.to_be_bytes());
        let too_long = changed(transport + 4, (length + 1).to_be_bytes());
        let cut = &frame[..frame.len() - 1];
        let of_another = changed(transport, [1, 2]);
        let truncated = if transport == 34 {
            Reason::Ipv4Truncated
        } else {
            Reason::Ipv6Truncated
        };
        for _ in 0..3 {
            assert_each(&kernel, &frame, Reason::Blocklisted);
            kernel.assert_drops(&too_short, Reason::UdpMalformed);
            kernel.assert_drops(&too_long, Reason::UdpTruncated);
            kernel.assert_drops(cut, truncated);
            kernel.assert_drops(&of_another, Reason::Blocklisted);
        }
    }
}

/// What packets must meet, told to the thread that runs them: nothing while it changes.
#[derive(Default)]
struct InForce {
    /// A number that goes up, above two bits.
    told: AtomicU64,
    /// Packets that met what was told before and after them.
    met: AtomicU64,
    misjudged: AtomicU64,
    ended: AtomicBool,
}

const CHANGING: u64 = 2;
const DROPPED: u64 = 1;

impl InForce {
    fn run(&self, runner: &Runner, frame: &[u8]) {
        while !self.ended.load(Ordering::SeqCst) {
            let before = self.told.load(Ordering::SeqCst);
            let action = runner.run(frame, 1).unwrap();
            let stayed = before == self.told.load(Ordering::SeqCst);
            if !stayed || before & CHANGING != 0 {
                continue;
            }
            if (action == Action::Drop) != (before & DROPPED != 0) {
                self.misjudged.fetch_add(1, Ordering::SeqCst);
            }
            self.met.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Makes a change, after which packets are dropped or not, and lets some of them meet it.
    fn change(&self, number: u64, dropped: bool, change: impl FnOnce()) {
        self.told.store(number << 2 | CHANGING, Ordering::SeqCst);
        change();
        let met = self.met.load(Ordering::SeqCst);
        self.told
            .store(number << 2 | u64::from(dropped), Ordering::SeqCst);
        wait_until("packets meet the change", Duration::from_secs(10), || {
            self.met.load(Ordering::SeqCst) >= met + PACKETS
        })
        .unwrap();
    }
}

/// Ends the thread, also when the test fails.
struct End<'a>(&'a InForce);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
    }
}

/// Enough for the outcome to be kept and met.
const PACKETS: u64 = 5;
const ROUNDS: u64 = 100;

#[test]
fn a_change_is_met_by_the_next_packet_of_a_flood() {
    require_kernel!("a_change_is_met_by_the_next_packet_of_a_flood");
    let mut kernel = loaded();
    for Family { frame, host, .. } in families() {
        let runner = kernel.runner().unwrap();
        let in_force = InForce::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Another CPU than that of the changes, where there is one.
                let _only_one = pin_to_cpu(1);
                in_force.run(&runner, &frame);
            });
            let _end = End(&in_force);
            let mut number = 0;
            let mut step = |dropped, make: &mut dyn FnMut()| {
                number += 1;
                in_force.change(number, dropped, make);
            };
            let [enforced, observed] = modes();
            for _ in 0..ROUNDS {
                let kernel = &mut kernel;
                step(true, &mut || change(kernel, Block, &[until(host, 0)], &[]));
                step(false, &mut || kernel.set_policy(&observed).unwrap());
                step(true, &mut || kernel.set_policy(&enforced).unwrap());
                step(false, &mut || change(kernel, Allow, &[until(host, 0)], &[]));
                step(true, &mut || change(kernel, Allow, &[], &[host]));
                step(false, &mut || change(kernel, Block, &[], &[host]));
            }
        });
        assert_eq!(in_force.misjudged.load(Ordering::SeqCst), 0);
    }
}
