//! A look-up that is interrupted by a change, at every word that it reads: it says what was so
//! before or what is so after, and nothing else.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use xdp_common::lists::v6::Level;
use xdp_common::lists::{END_SHIFT, Found, LINE_WORDS, Levels, Line, Table as Lookup, halves};

use super::*;
use crate::domain::AddrBytes;

const UNIT: u64 = 1 << END_SHIFT;
const NOW: u64 = 1_000 * UNIT;

/// A table that stays as long as somebody looks at it.
#[derive(Clone)]
struct Shared(Arc<[AtomicU64]>);

impl Memory for Shared {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// Tables by family.
#[derive(Clone, Default)]
struct InForce(Arc<Mutex<[Option<Shared>; 2]>>);

impl Publisher for InForce {
    type Memory = Shared;

    fn allocate(&mut self, lines: u32) -> Result<Shared> {
        let words = lines as usize * LINE_WORDS;
        Ok(Shared((0..words).map(|_| AtomicU64::new(0)).collect()))
    }

    fn stage(&mut self, _ipv4: bool, _memory: &mut Shared) -> Result<()> {
        Ok(())
    }

    fn flip(&mut self, ipv4: bool, memory: &mut Shared) {
        self.0.lock().unwrap()[usize::from(!ipv4)] = Some(memory.clone());
    }
}

/// Looks in the tables as the program does, level by level, and lets the change happen before the
/// word with this number.
struct Interrupted<'a> {
    in_force: &'a InForce,
    at: usize,
    read: Cell<usize>,
    change: RefCell<Option<Box<dyn FnOnce() + 'a>>>,
}

impl Interrupted<'_> {
    fn step(&self) {
        self.read.set(self.read.get() + 1);
        if self.read.get() == self.at {
            let change = self.change.borrow_mut().take();
            change.unwrap()();
        }
    }

    fn table(&self, ipv4: bool) -> Shared {
        let table = self.in_force.0.lock().unwrap()[usize::from(!ipv4)].clone();
        self.step();
        table.unwrap()
    }
}

/// A table as a packet sees it: its head stays, and its lines are gone once another one is in force.
#[derive(Clone, Copy)]
struct Watched<'a, 'c> {
    run: &'a Interrupted<'c>,
    table: &'a Shared,
    ipv4: bool,
}

impl Watched<'_, '_> {
    fn is_in_force(&self) -> bool {
        let in_force = self.run.in_force.0.lock().unwrap();
        let table = in_force[usize::from(!self.ipv4)].as_ref();
        table.is_some_and(|table| Arc::ptr_eq(&table.0, &self.table.0))
    }
}

#[derive(Clone, Copy)]
struct WatchedLine<'a, 'c> {
    of: Watched<'a, 'c>,
    from: usize,
    stays: bool,
}

impl Line for WatchedLine<'_, '_> {
    fn word(&self, index: usize) -> u64 {
        self.of.run.step();
        if self.stays || self.of.is_in_force() {
            self.of.table.0[self.from + index].load(Ordering::Acquire)
        } else {
            0
        }
    }
}

impl<'a, 'c> Lookup for Watched<'a, 'c> {
    type Line = WatchedLine<'a, 'c>;

    fn line(&self, index: u32) -> Option<WatchedLine<'a, 'c>> {
        let from = index as usize * LINE_WORDS;
        (from < self.table.0.len()).then_some(WatchedLine {
            of: *self,
            from,
            stays: false,
        })
    }

    fn head(&self) -> Option<WatchedLine<'a, 'c>> {
        Some(WatchedLine {
            of: *self,
            from: 0,
            stays: true,
        })
    }

    fn moved(&self) -> u16 {
        self.run.step();
        u16::from(!self.is_in_force())
    }
}

impl Levels for Interrupted<'_> {
    fn v4(&self, level: u32, address: u32, now: u64) -> Found {
        let (table, ipv4) = (&self.table(true), true);
        let run = self;
        InMemory(Watched { run, table, ipv4 }).v4(level, address, now)
    }

    fn v6_upper(&self, number: u32, high: u64, now: u64) -> Found {
        let (table, ipv4) = (&self.table(false), false);
        let run = self;
        InMemory(Watched { run, table, ipv4 }).v6_upper(number, high, now)
    }

    fn v6_lower(&self, level: u32, high: u64, low: u64, now: u64) -> Found {
        let (table, ipv4) = (&self.table(false), false);
        let run = self;
        InMemory(Watched { run, table, ipv4 }).v6_lower(level, high, low, now)
    }

    fn short(&self, top: u32, now: u64) -> Found {
        let (table, ipv4) = (&self.table(true), true);
        let run = self;
        InMemory(Watched { run, table, ipv4 }).short(top, now)
    }
}

type TestLists = Lists<InForce>;

fn entry(text: &str, expires_ns: u64) -> NewEntry {
    let prefix = text.parse().unwrap();
    NewEntry {
        prefix,
        expires_ns,
        list: 0,
    }
}

fn put(lists: &mut TestLists, texts: &[&str]) {
    for text in texts {
        lists.put(ListKind::Block, entry(text, 0)).unwrap();
    }
}

/// Replaces entries by others with a table of its own.
fn replace(lists: &mut TestLists, old: &[&str], new: &[&str]) {
    let new: Vec<NewEntry> = new.iter().map(|text| entry(text, 0)).collect();
    let old: Vec<Prefix> = old.iter().map(|text| text.parse().unwrap()).collect();
    let ipv4 = new[0].prefix.is_ipv4();
    let mut refused = Vec::new();
    let (new, old) = (new.into_iter(), old.into_iter());
    lists.change_at_once(ListKind::Block, ipv4, new, old, &mut refused);
    assert!(refused.is_empty());
}

/// Replaces entries by others in the table in use.
fn exchange(lists: &mut TestLists, old: &[&str], new: &[&str]) {
    let new: Vec<NewEntry> = new.iter().map(|text| entry(text, 0)).collect();
    let old: Vec<Prefix> = old.iter().map(|text| text.parse().unwrap()).collect();
    assert!(lists.change(ListKind::Block, &new, &old).is_empty());
}

/// The address is judged like this whatever word the change comes before.
#[track_caller]
fn assert_always(
    wanted: u8,
    address: &str,
    before: impl Fn(&mut TestLists),
    change: impl Fn(&mut TestLists),
) {
    let capacity = Capacity {
        allow: 4096,
        block: 4096,
        overrides: 16,
        sources: 0,
        bans: 0,
        flows: 0,
    };
    let address: IpAddr = address.parse().unwrap();
    for at in 1.. {
        let in_force = InForce::default();
        let lists = Rc::new(RefCell::new(Lists::new(in_force.clone(), capacity)));
        before(&mut lists.borrow_mut());
        let (changed, change) = (Rc::clone(&lists), &change);
        let interrupted = Interrupted {
            in_force: &in_force,
            at,
            read: Cell::new(0),
            change: RefCell::new(Some(Box::new(move || change(&mut changed.borrow_mut())))),
        };
        let found = lookup(&interrupted, &address.into(), || NOW);
        let read = interrupted.read.get();
        assert_eq!(
            found, wanted,
            "{address}, changed before word {at} of {read}"
        );
        if read < at {
            return;
        }
    }
}

const FULL_V4: [&str; 16] = [
    "192.0.2.0",
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.3",
    "192.0.2.4",
    "192.0.2.5",
    "192.0.2.6",
    "192.0.2.7",
    "192.0.2.8",
    "192.0.2.9",
    "192.0.2.10",
    "192.0.2.11",
    "192.0.2.12",
    "192.0.2.13",
    "192.0.2.14",
    "192.0.2.15",
];

#[test]
fn an_entry_stays_found_when_a_full_line_links_a_spare_one() {
    for host in ["192.0.2.0", "192.0.2.15"] {
        let more = |lists: &mut TestLists| put(lists, &["192.0.2.16"]);
        assert_always(BLOCK, host, |lists| put(lists, &FULL_V4), more);
    }
    let four = [
        "2001:db8:0:1::/64",
        "2001:db8:0:2::/64",
        "2001:db8:0:3::/64",
        "2001:db8:0:4::/64",
    ];
    for host in ["2001:db8:0:1::9", "2001:db8:0:4::9"] {
        let more = |lists: &mut TestLists| put(lists, &["2001:db8:0:5::/64"]);
        assert_always(BLOCK, host, |lists| put(lists, &four), more);
    }
    let four = [
        "2001:db8::100/120",
        "2001:db8::200/120",
        "2001:db8::300/120",
        "2001:db8::400/120",
    ];
    for host in ["2001:db8::101", "2001:db8::401"] {
        let more = |lists: &mut TestLists| put(lists, &["2001:db8::500/120"]);
        assert_always(BLOCK, host, |lists| put(lists, &four), more);
    }
}

/// Something else has ended, and the controller is late: ends are looked at.
fn with_ended(lists: &mut TestLists, ipv4: bool, kept: NewEntry) {
    let ended = if ipv4 {
        "198.51.100.1"
    } else {
        "2001:db8:ffff::/64"
    };
    lists
        .put(ListKind::Block, entry(ended, NOW - UNIT))
        .unwrap();
    lists.put(ListKind::Block, kept).unwrap();
}

#[test]
fn an_entry_stays_in_force_while_its_end_changes() {
    let entries = [
        "192.0.2.1",
        "2001:db8::/64",
        "2001:db8::1/128",
        "2001:db8::/120",
        "192.0.0.0/12",
    ];
    for text in entries {
        let (ipv4, host) = match text {
            "192.0.2.1" | "192.0.0.0/12" => (true, "192.0.2.1"),
            _ => (false, "2001:db8::1"),
        };
        let later = NOW + 100 * UNIT;
        for (old, new) in [
            (0, later),
            (later, 0),
            (later, 2 * later),
            (2 * later, later),
        ] {
            assert_always(
                BLOCK,
                host,
                |lists| with_ended(lists, ipv4, entry(text, old)),
                |lists| lists.put(ListKind::Block, entry(text, new)).unwrap(),
            );
        }
    }
}

#[test]
fn an_entry_that_has_ended_stays_so_while_it_goes() {
    for text in ["192.0.2.1", "2001:db8::/64", "192.0.0.0/12"] {
        let host = if text.contains(':') {
            "2001:db8::1"
        } else {
            "192.0.2.1"
        };
        assert_always(
            0,
            host,
            |lists| lists.put(ListKind::Block, entry(text, NOW - UNIT)).unwrap(),
            |lists| {
                lists
                    .remove(ListKind::Block, &text.parse().unwrap())
                    .unwrap()
            },
        );
    }
}

#[test]
fn a_source_stays_listed_while_a_wider_or_narrower_entry_takes_over() {
    let v4 = ["192.0.2.1", "192.0.2.0/24", "192.0.0.0/20", "192.0.0.0/12"];
    let v6 = [
        "2001:db8::1",
        "2001:db8::/120",
        "2001:db8::/64",
        "2001:db8::/60",
        "2001:db8::/44",
        "2001:db0::/28",
    ];
    for (host, entries) in [("192.0.2.1", &v4[..]), ("2001:db8::1", &v6[..])] {
        for old in entries {
            for new in entries.iter().filter(|new| *new != old) {
                let before = |lists: &mut TestLists| put(lists, &[old]);
                assert_always(BLOCK, host, before, |lists| replace(lists, &[old], &[new]));
                assert_always(BLOCK, host, before, |lists| exchange(lists, &[old], &[new]));
            }
        }
    }
}

#[test]
fn a_source_stays_listed_while_its_key_gets_a_group_or_loses_it() {
    let many = [
        "2001:db8:0:100::/64",
        "2001:db8:0:200::/64",
        "2001:db8:0:300::/64",
        "2001:db8:0:400::/64",
        "2001:db8:0:500::/64",
        "2001:db8:0:600::/64",
        "2001:db8:0:700::/64",
    ];
    let before = |lists: &mut TestLists| replace(lists, &[], &many);
    let few = |lists: &mut TestLists| replace(lists, &many[1..], &["2001:db9::/64"]);
    assert_always(BLOCK, "2001:db8:0:100::1", before, few);
    let before = |lists: &mut TestLists| put(lists, &many[..1]);
    let more = |lists: &mut TestLists| replace(lists, &[], &many);
    assert_always(BLOCK, "2001:db8:0:100::1", before, more);
}

#[test]
fn a_source_stays_listed_while_its_key_gets_a_group_in_place() {
    let six = [
        "2001:db8:100::/40",
        "2001:db8:200::/40",
        "2001:db8:300::/47",
        "2001:db8:400::/41",
        "2001:db8:4000::/34",
        "2001:db8:8000::/34",
    ];
    // The group takes a place that a look-up has passed when it comes to the slots.
    let before = |lists: &mut TestLists| {
        put(lists, &["2001:db9::/64"]);
        let other = &of_the_same_line(lists, six[0]);
        put(lists, &[other]);
        put(lists, &six);
        exchange(lists, &[other], &[]);
    };
    for seventh in ["2001:db8:c000::/36", "2001:db8:c000::/42"] {
        let more = |lists: &mut TestLists| put(lists, &[seventh]);
        for host in ["2001:db8:100::1", "2001:db8:300::1", "2001:db8:4000::1"] {
            assert_always(BLOCK, host, before, more);
        }
        assert_always(0, "2001:db8:500::1", before, more);
    }
}

/// A prefix of the same length whose key is another one, in the same line.
fn of_the_same_line(lists: &TestLists, text: &str) -> String {
    let head = &lists.v6.as_ref().unwrap().head.layout();
    let line = |high| Level::of(40).place(head, high, 0).line;
    let AddrBytes::V6(address) = text.parse::<Prefix>().unwrap().addr_bytes() else {
        panic!("{text} is no IPv6 prefix");
    };
    let wanted = line(halves(&address).0);
    let mut others = (0x2a00_0000_u64..).map(|n| n << 32);
    let high = others.find(|high| line(*high) == wanted).unwrap();
    Prefix::new(super::tests::ipv6(high), 40)
        .unwrap()
        .to_string()
}
