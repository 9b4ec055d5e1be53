//! No packet is misjudged while lists change: threads run the real program all the time, one
//! changes the lists, and every verdict is known and counted.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

mod traffic;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use traffic::{Always, Pair, Traffic, frame, under_traffic};
use xdp_common::reason::Action;
use xdp_tests::kernel::{Kernel, boot_ns};
use xdp_tests::oracle::Rules;
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;
use xdp_user::api::types::ListKind::{self, Allow, Block};
use xdp_user::datapath::kernel::KernelDatapath;
use xdp_user::datapath::{Datapath as _, NewEntry};
use xdp_user::domain::Prefix;

/// As many rounds as fit in, and one.
const BUDGET: Duration = Duration::from_secs(8);
/// What ends are rounded down to.
const UNIT_NS: u64 = 1 << 26;
const HOUR_NS: u64 = 3_600_000_000_000;
fn loaded() -> Kernel {
    let mut kernel = Kernel::load().unwrap();
    kernel.apply(&Rules::default()).unwrap();
    kernel
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn until(prefix: Prefix, expires_ns: u64) -> NewEntry {
    NewEntry {
        prefix,
        expires_ns,
        list: 0,
    }
}

fn forever(prefix: Prefix) -> NewEntry {
    until(prefix, 0)
}

fn change(datapath: &mut KernelDatapath, kind: ListKind, put: &[NewEntry], remove: &[Prefix]) {
    let refused = datapath.change_entries(kind, put, remove);
    assert!(refused.is_empty(), "{refused:?}");
}

/// As many rounds as fit in, and one.
fn rounds(mut round: impl FnMut(u32)) {
    let started = Instant::now();
    let mut number = 0;
    while number == 0 || started.elapsed() < BUDGET {
        round(number);
        number += 1;
    }
    println!("{number} rounds in {:?}", started.elapsed());
}

/// All hosts of a /24, all /64 of a /56, hosts and networks of one /64.
fn crowds() -> [Vec<Prefix>; 3] {
    let v4 = |n: u32| Prefix::host(Ipv4Addr::from(0xcb00_7100 + n).into());
    let upper = |n: u32| {
        let high = 0x2001_0db8_0000_0100 + u128::from(n);
        Prefix::new(Ipv6Addr::from(high << 64).into(), 64).unwrap()
    };
    let lower = |n: u32| {
        let low = 0x2001_0db8_0000_0200_u128 << 64 | u128::from(n) << 12;
        let len = if n.is_multiple_of(32) { 116 } else { 128 };
        Prefix::new(Ipv6Addr::from(low).into(), len).unwrap()
    };
    [
        (0..256).map(v4).collect(),
        (0..256).map(upper).collect(),
        (0..256).map(lower).collect(),
    ]
}

/// In crowded networks and outside of them; the first ones' own entries change their ends.
const IN_CROWDS: [(Always, &str); 10] = [
    (Always::Blocked, "203.0.113.15"),
    (Always::Blocked, "203.0.113.3"),
    (Always::Blocked, "2001:db8:0:103::1"),
    (Always::Blocked, "2001:db8:0:200::3:0"),
    (Always::Blocked, "192.0.2.1"),
    (Always::Allowed, "203.0.113.200"),
    (Always::Allowed, "2001:db8:0:1c8::1"),
    (Always::Accepted, "203.0.114.1"),
    (Always::Accepted, "2001:db8:0:300::1"),
    (Always::Accepted, "2001:db9::1"),
];
const KEPT: [&str; 5] = [
    "203.0.113.15",
    "203.0.113.3",
    "2001:db8:0:103::/64",
    "2001:db8:0:200::3:0",
    "192.0.0.0/18",
];

#[test]
fn nobody_is_misjudged_while_single_entries_change() {
    require_kernel!("nobody_is_misjudged_while_single_entries_change");
    let mut kernel = loaded();
    let datapath = kernel.datapath();
    for text in KEPT {
        datapath.put_entry(Block, &prefix(text), 0, 0).unwrap();
    }
    for text in ["203.0.113.200", "2001:db8:0:1c8::/62"] {
        datapath.put_entry(Block, &prefix(text), 0, 0).unwrap();
        datapath.put_entry(Allow, &prefix(text), 0, 0).unwrap();
    }
    // These have ended, and the controller is late: every look-up asks for ends.
    for text in ["198.51.100.77", "2001:db8:77::/64"] {
        datapath.put_entry(Block, &prefix(text), 1, 0).unwrap();
    }
    let kept = KEPT.map(prefix);
    let stays = |prefix: &Prefix| kept.contains(prefix);
    let traffic = Traffic::new(&IN_CROWDS);
    under_traffic(&mut kernel, &traffic, |datapath, runner, tally| {
        rounds(|round| {
            let later = boot_ns().unwrap() + HOUR_NS;
            for crowd in crowds() {
                let end = |n: usize| if n.is_multiple_of(3) { later } else { 0 };
                for (n, entry) in crowd.iter().enumerate().filter(|(_, p)| !stays(p)) {
                    datapath.put_entry(Block, entry, end(n), round).unwrap();
                    // The end of one that stays comes, goes, and moves.
                    let own = kept[n % kept.len()];
                    datapath.put_entry(Block, &own, end(n / 2), 0).unwrap();
                }
                let probe = frame(crowd[77].network());
                assert!(tally.is_dropped(runner, &probe), "after it was put");
                for entry in crowd.iter().filter(|entry| !stays(entry)) {
                    datapath.remove_entry(Block, entry).unwrap();
                }
                assert!(!tally.is_dropped(runner, &probe), "after it was removed");
            }
        });
    });
}

#[test]
fn nobody_is_misjudged_while_wider_and_narrower_entries_take_turns() {
    require_kernel!("nobody_is_misjudged_while_wider_and_narrower_entries_take_turns");
    let turns = [
        [
            "203.0.113.7",
            "203.0.112.0/20",
            "203.0.113.0/24",
            "200.0.0.0/6",
        ],
        [
            "2001:db8:0:1::1",
            "2001:db8::/44",
            "2001:db8:0:1::/64",
            "2001:d00::/24",
        ],
    ];
    let mut kernel = loaded();
    let own = turns.map(|turn| turn.map(|text| forever(prefix(text))));
    change(kernel.datapath(), Block, &[own[0][0], own[1][0]], &[]);
    let traffic = Traffic::new(&[
        (Always::Blocked, "203.0.113.7"),
        (Always::Blocked, "2001:db8:0:1::1"),
        (Always::Accepted, "198.18.0.1"),
        (Always::Accepted, "2001:eb8::1"),
    ]);
    under_traffic(&mut kernel, &traffic, |datapath, _, _| {
        rounds(|_| {
            for turn in &own {
                for (old, new) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
                    change(datapath, Block, &turn[new..=new], &[turn[old].prefix]);
                }
            }
        });
    });
}

/// Hosts and prefixes of mixed lengths, each of `side` 0 and 1 in a part of the address space of
/// its own.
fn mixed(ipv4: bool, side: u32, count: u32, later: u64) -> Vec<NewEntry> {
    let one = |n: u32| {
        let spread = n.wrapping_mul(0x9e37_79b1);
        let (address, len) = if ipv4 {
            let len = if n.is_multiple_of(2) {
                32
            } else {
                16 + (n / 2 % 16) as u8
            };
            let bits = 0x4000_0000 | side << 27 | spread >> 5;
            (Ipv4Addr::from(bits).into(), len)
        } else {
            let len = if n.is_multiple_of(2) {
                128
            } else {
                28 + (n / 2 % 37) as u8
            };
            let top = u128::from(0x2a00_0000 | side << 24 | spread >> 8);
            let bits = top << 96 | u128::from(spread) << 64 | 1;
            (IpAddr::from(Ipv6Addr::from(bits)), len)
        };
        let end = if n.is_multiple_of(5) { later } else { 0 };
        until(Prefix::new(address, len).unwrap(), end)
    };
    (0..count).map(one).collect()
}

/// Sources that are on both lists, by another entry each; and what each list has besides.
const TAKEN_OVER: [(&str, [&str; 2]); 6] = [
    ("172.20.0.1", ["172.20.0.0/20", "172.20.0.1"]),
    ("172.21.0.1", ["172.21.0.0/24", "172.21.0.0/16"]),
    ("172.3.0.1", ["172.3.0.1", "172.0.0.0/12"]),
    ("2001:db8:1::1", ["2001:db8::/44", "2001:db8:1::1"]),
    ("2003:1::1", ["2003:1::/64", "2003::/28"]),
    (
        "2004::100:0:0:0:1",
        ["2004:0:0:100::/64", "2004:0:0:100::/60"],
    ),
];

#[test]
fn a_list_is_replaced_in_one_step_and_nobody_is_misjudged() {
    require_kernel!("a_list_is_replaced_in_one_step_and_nobody_is_misjudged");
    const ALWAYS: [(Always, &str); 6] = [
        (Always::Blocked, "198.51.100.9"),
        (Always::Blocked, "2001:db8:9::1"),
        (Always::Allowed, "198.51.100.200"),
        (Always::Allowed, "2001:db8:200::1"),
        (Always::Accepted, "203.0.113.1"),
        (Always::Accepted, "2001:db9::1"),
    ];
    let mut kernel = loaded();
    let in_both = ["198.51.100.0/24", "2001:db8:9::/64", "2001:db8:200::/48"];
    let in_both = in_both.map(|text| forever(prefix(text)));
    change(kernel.datapath(), Block, &in_both, &[]);
    let allowed = ["198.51.100.200", "2001:db8:200::/52"].map(|text| forever(prefix(text)));
    change(kernel.datapath(), Allow, &allowed, &[]);
    let later = boot_ns().unwrap() + HOUR_NS;
    let list = |side: usize, count: u32| -> Vec<NewEntry> {
        let taken_over = TAKEN_OVER
            .iter()
            .map(|(_, entries)| forever(prefix(entries[side])));
        let mixed = |ipv4| mixed(ipv4, u32::from(side == 1), count, later);
        mixed(true)
            .into_iter()
            .chain(mixed(false))
            .chain(taken_over)
            .collect()
    };
    let mut traffic = Traffic::new(&ALWAYS);
    let taken_over = TAKEN_OVER.map(|(source, _)| (Always::Blocked, source.parse().unwrap()));
    traffic.always.extend(taken_over);
    let probes = |ipv4| [0, 1].map(|side| frame(mixed(ipv4, side, 1, 0)[0].prefix.network()));
    traffic.pairs = [true, false]
        .map(|ipv4| Pair {
            frames: probes(ipv4),
        })
        .into();

    let mut count = 1_500;
    let mut old = list(0, count);
    change(kernel.datapath(), Block, &old, &[]);
    under_traffic(&mut kernel, &traffic, |datapath, runner, tally| {
        rounds(|round| {
            let side = usize::from(round.is_multiple_of(2));
            let started = Instant::now();
            let new = list(side, count);
            let gone: Vec<Prefix> = old.iter().map(|entry| entry.prefix).collect();
            for pair in &traffic.pairs {
                assert!(tally.is_dropped(runner, &pair.frames[1 - side]));
                assert!(!tally.is_dropped(runner, &pair.frames[side]));
            }
            traffic.phase.fetch_add(1, Ordering::SeqCst);
            change(datapath, Block, &new, &gone);
            for pair in &traffic.pairs {
                assert!(tally.is_dropped(runner, &pair.frames[side]));
                assert!(!tally.is_dropped(runner, &pair.frames[1 - side]));
            }
            old = new;
            // Larger lists where that takes a small part of the time.
            if started.elapsed() < BUDGET / 16 {
                count = (count * 2).min(100_000);
            }
        });
        println!("{} entries at last", old.len());
    });
}

/// The controller is dead, and nobody removes anything.
#[test]
fn an_entry_that_has_ended_is_no_longer_in_force() {
    require_kernel!("an_entry_that_has_ended_is_no_longer_in_force");
    let mut kernel = loaded();
    let end = boot_ns().unwrap() + 8 * UNIT_NS;
    let timed = [
        "203.0.113.7",
        "203.0.113.64/27",
        "2001:db8:0:1::/64",
        "2001:db8::7",
    ];
    let stay = [
        "203.0.113.8",
        "203.0.113.96/27",
        "2001:db8:0:2::/64",
        "2001:db8::8",
    ];
    for (entry, neighbour) in timed.iter().zip(stay) {
        let datapath = kernel.datapath();
        datapath.put_entry(Block, &prefix(entry), end, 0).unwrap();
        datapath.put_entry(Block, &prefix(neighbour), 0, 0).unwrap();
    }
    let drops = |text: &str| {
        let frame = frame(prefix(text).network());
        kernel.run(&frame).unwrap() == Action::Drop
    };
    for entry in timed {
        let dropped = drops(entry);
        let is_early = boot_ns().unwrap() < end - UNIT_NS;
        assert!(dropped || !is_early, "{entry} before its end");
    }
    let what = "the entries to end";
    wait_until(what, Duration::from_secs(30), || {
        !timed.iter().any(|entry| drops(entry))
    })
    .unwrap();
    assert!(boot_ns().unwrap() >= end - UNIT_NS, "not before their end");
    for neighbour in stay {
        assert!(drops(neighbour), "{neighbour} has no end");
    }
}
