//! The program remembers how the lists decided the last source; a source that comes again is still judged
//! by the lists of now.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use std::time::Duration;

use xdp_common::reason::Reason;
use xdp_tests::kernel::{Kernel, boot_ns, pin_to_cpu};
use xdp_tests::oracle::Rules;
use xdp_tests::packet::Packet;
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;
use xdp_user::api::types::ListKind::{self, Allow, Block};
use xdp_user::datapath::{Datapath as _, NewEntry};
use xdp_user::domain::Prefix;

/// What ends are rounded up to.
const UNIT_NS: u64 = 1 << 26;

/// A source, the prefix around it, and another one.
struct Family {
    frame: Vec<u8>,
    host: Prefix,
    around: Prefix,
    other: Vec<u8>,
}

fn families() -> [Family; 2] {
    let prefix = |text: &str| text.parse().unwrap();
    [
        Family {
            frame: Packet::v4("203.0.113.7", "198.51.100.1").build(),
            host: prefix("203.0.113.7"),
            around: prefix("203.0.113.0/26"),
            other: Packet::v4("203.0.113.200", "198.51.100.1").build(),
        },
        Family {
            frame: Packet::v6("2001:db8::7", "2001:db8:1::1").build(),
            host: prefix("2001:db8::7"),
            around: prefix("2001:db8::/56"),
            other: Packet::v6("2001:db8:0:100::7", "2001:db8:1::1").build(),
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

/// Twice: the second time is what is remembered.
fn assert_twice(kernel: &Kernel, frame: &[u8], reason: Reason) {
    for _ in 0..2 {
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
        assert_twice(&kernel, &frame, Reason::Accepted);
        change(&mut kernel, Block, &[until(host, 0)], &[]);
        assert_twice(&kernel, &frame, Reason::Blocklisted);
        assert_twice(&kernel, &other, Reason::Accepted);
        assert_twice(&kernel, &frame, Reason::Blocklisted);
        change(&mut kernel, Allow, &[until(around, 0)], &[]);
        assert_twice(&kernel, &frame, Reason::Allowlisted);
        change(&mut kernel, Allow, &[], &[around]);
        assert_twice(&kernel, &frame, Reason::Blocklisted);
        change(&mut kernel, Block, &[], &[host]);
        assert_twice(&kernel, &frame, Reason::Accepted);
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
        assert_twice(&kernel, &frame, Reason::Blocklisted);
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
            assert_twice(&kernel, &frame, reason);
        }
    }
}

#[test]
fn an_entry_ends_for_a_source_that_is_remembered() {
    require_kernel!("an_entry_ends_for_a_source_that_is_remembered");
    let mut kernel = loaded();
    for Family { frame, host, .. } in families() {
        change(&mut kernel, Block, &[until(host, 0)], &[]);
        assert_twice(&kernel, &frame, Reason::Blocklisted);
        let end = boot_ns().unwrap() + 4 * UNIT_NS;
        change(&mut kernel, Block, &[until(host, end)], &[]);
        wait_until("the entry has ended", Duration::from_secs(5), || {
            boot_ns().unwrap() >= end + UNIT_NS
        })
        .unwrap();
        assert_twice(&kernel, &frame, Reason::Accepted);
    }
}

#[test]
fn every_packet_of_a_remembered_source_is_a_hit() {
    require_kernel!("every_packet_of_a_remembered_source_is_a_hit");
    let mut kernel = loaded();
    let [Family { frame, host, .. }, _] = families();
    change(&mut kernel, Block, &[until(host, 0)], &[]);
    for _ in 0..5 {
        kernel.assert_drops(&frame, Reason::Blocklisted);
    }
    let entry = kernel
        .block_entry("203.0.113.7/32".parse().unwrap())
        .unwrap();
    assert_eq!((entry.packets, entry.bytes), (5, 5 * frame.len() as u64));
}
