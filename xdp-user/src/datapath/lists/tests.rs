//! The tables against a search from end to end, over the look-up that the program runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use xdp_common::lists::v6::Level;
use xdp_common::lists::{ALLOW, BLOCK, END_SHIFT, LIMITS, head};

use xdp_common::abi::Plain;

use super::memory::Heap;
use super::*;

const CAPACITY: Capacity = Capacity {
    allow: 1 << 20,
    block: 1 << 20,
    overrides: 1 << 20,
    sources: 0,
    bans: 0,
    flows: 0,
};
const UNIT: u64 = 1 << END_SHIFT;

fn lists() -> Lists<InProcess> {
    Lists::new(InProcess, CAPACITY)
}

/// An IPv6 address from its upper half.
pub(super) fn ipv6(high: u64) -> IpAddr {
    Ipv6Addr::from(u128::from(high) << 64).into()
}

/// What was put, kind by kind, with the ends.
#[derive(Default)]
struct Model(BTreeMap<(u8, Prefix), u64>);

impl Model {
    fn lookup(&self, address: IpAddr, now: u64) -> u8 {
        let len = if address.is_ipv4() { 32 } else { 128 };
        let mut found = 0;
        for prefix in (0..=len).filter_map(|len| Prefix::new(address, len)) {
            for kind in [ALLOW, BLOCK, LIMITS] {
                let end = self.0.get(&(kind, prefix));
                if end.is_some_and(|end| *end == 0 || now < end.next_multiple_of(UNIT)) {
                    found |= kind;
                }
            }
        }
        found
    }
}

/// Few distinct bits, so that prefixes nest and addresses hit; sometimes any.
fn address(rng: &mut StdRng, ipv4: bool) -> IpAddr {
    let byte = |rng: &mut StdRng, at: usize| match (at, rng.random_range(0..10)) {
        (_, 0) => rng.random(),
        (0, _) => 32,
        (at, _) if at < 6 => rng.random_range(0..2),
        _ => rng.random_range(0..4) << 6 | rng.random_range(0..2),
    };
    let mut bytes = [0_u8; 16];
    for (at, value) in bytes.iter_mut().enumerate() {
        *value = byte(rng, at);
    }
    if ipv4 {
        let [a, b, c, d, ..] = bytes;
        Ipv4Addr::new(a, b, c, d).into()
    } else {
        Ipv6Addr::from(bytes).into()
    }
}

fn prefix(rng: &mut StdRng, ipv4: bool) -> Prefix {
    let address = address(rng, ipv4);
    let len = match (rng.random_range(0..20), ipv4) {
        (0, true) => rng.random_range(4..16),
        (0, false) => rng.random_range(4..33),
        (1..6, true) => rng.random_range(16..24),
        (_, true) => rng.random_range(24..=32),
        (1..5, false) => 128,
        (5..8, false) => rng.random_range(65..128),
        (_, false) => rng.random_range(32..=64),
    };
    Prefix::new(address, len).unwrap()
}

fn compare(lists: &Lists<InProcess>, model: &Model, rng: &mut StdRng, now: u64) {
    for n in 0..400 {
        let address = match model
            .0
            .keys()
            .nth(rng.random_range(0..model.0.len().max(1)))
        {
            // Near something that is listed.
            Some((_, prefix)) if n % 2 == 0 => prefix.network(),
            _ => address(rng, n % 4 < 2),
        };
        assert_eq!(
            lists.lookup(&address.into(), || now),
            model.lookup(address, now),
            "{address} at {now}"
        );
    }
}

fn item_kind(kind: u8) -> ListKind {
    if kind == ALLOW {
        ListKind::Allow
    } else {
        ListKind::Block
    }
}

#[test]
fn any_sequence_of_changes_leaves_what_a_plain_search_finds() {
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut lists, mut model) = (lists(), Model::default());
        let now = 1_000 * UNIT;
        for step in 0..3_000 {
            let prefix = prefix(&mut rng, step % 2 == 0);
            let kind = [ALLOW, BLOCK, BLOCK, LIMITS][rng.random_range(0..4)];
            let end = match rng.random_range(0..3) {
                0 if kind != LIMITS => now + rng.random_range(0..40 * UNIT) - 20 * UNIT,
                _ => 0,
            };
            let is_gone = rng.random_range(0..3) == 0;
            match (kind, is_gone) {
                (LIMITS, true) => lists.remove_limits(&prefix),
                (LIMITS, false) => lists.put_limits(&prefix, &Limits::ZERO).unwrap(),
                (_, true) => lists.remove(item_kind(kind), &prefix).unwrap(),
                (_, false) => lists
                    .put(
                        item_kind(kind),
                        NewEntry {
                            prefix,
                            expires_ns: end,
                            list: 0,
                        },
                    )
                    .unwrap(),
            }
            if is_gone {
                model.0.remove(&(kind, prefix));
            } else {
                model.0.insert((kind, prefix), end);
            }
            if step % 300 == 299 {
                compare(&lists, &model, &mut rng, now);
                compare(&lists, &model, &mut rng, now + 100 * UNIT);
            }
        }
    }
}

#[test]
fn a_list_built_at_once_is_the_same_as_one_built_entry_by_entry() {
    let mut rng = StdRng::seed_from_u64(7);
    let (mut lists, mut model) = (lists(), Model::default());
    let mut put = Vec::new();
    for n in 0..20_000 {
        let prefix = prefix(&mut rng, n % 2 == 0);
        put.push(NewEntry {
            prefix,
            expires_ns: 0,
            list: 0,
        });
        model.0.insert((BLOCK, prefix), 0);
    }
    assert!(lists.change(ListKind::Block, &put, &[]).is_empty());
    for _ in 0..20 {
        compare(&lists, &model, &mut rng, 0);
    }
    let half: Vec<Prefix> = put.iter().step_by(2).map(|entry| entry.prefix).collect();
    for prefix in &half {
        model.0.remove(&(BLOCK, *prefix));
    }
    assert!(lists.change(ListKind::Block, &[], &half).is_empty());
    for _ in 0..20 {
        compare(&lists, &model, &mut rng, 0);
    }
}

#[test]
fn every_host_of_a_network_can_be_listed_by_itself() {
    let (mut lists, mut model) = (lists(), Model::default());
    let hosts = (0..=255_u8).map(|n| Prefix::host(Ipv4Addr::new(192, 0, 2, n).into()));
    let networks =
        (0..=255_u8).map(|n| Prefix::new(Ipv4Addr::new(10, 0, n, 0).into(), 24).unwrap());
    for (n, prefix) in hosts.chain(networks).enumerate() {
        let entry = NewEntry {
            prefix,
            expires_ns: 0,
            list: 0,
        };
        lists
            .put(item_kind(if n % 3 == 0 { ALLOW } else { BLOCK }), entry)
            .unwrap();
        model
            .0
            .insert((if n % 3 == 0 { ALLOW } else { BLOCK }, prefix), 0);
    }
    let mut rng = StdRng::seed_from_u64(1);
    compare(&lists, &model, &mut rng, 0);
    for n in 0..=255 {
        let address = IpAddr::from(Ipv4Addr::new(192, 0, 2, n));
        assert_eq!(
            lists.lookup(&address.into(), || 0),
            model.lookup(address, 0),
            "{address}"
        );
    }
}

#[test]
fn a_full_list_refuses_and_stays_as_it_was() {
    let capacity = Capacity {
        block: 2,
        ..CAPACITY
    };
    let mut lists = Lists::new(InProcess, capacity);
    let entry = |text: &str| NewEntry {
        prefix: text.parse().unwrap(),
        expires_ns: 0,
        list: 0,
    };
    let [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(entry);
    assert!(lists.change(ListKind::Block, &[a, b], &[]).is_empty());
    let refused = lists.change(ListKind::Block, &[c], &[]);
    assert_eq!(refused.len(), 1);
    assert!(matches!(
        refused[0].1,
        DatapathError::Full { table: "block" }
    ));
    assert_eq!(lists.entry(ListKind::Block, &c.prefix), None);
    assert!(lists.entry(ListKind::Block, &a.prefix).is_some());
}

#[test]
fn an_entry_acts_until_its_end_and_up_to_a_unit_longer() {
    for ends_ns in [1, UNIT - 1, UNIT, UNIT + 1, 10 * UNIT - 7_500_000] {
        let mut lists = lists();
        let entry = NewEntry {
            prefix: "192.0.2.7".parse().unwrap(),
            expires_ns: ends_ns,
            list: 0,
        };
        lists.put(ListKind::Block, entry).unwrap();
        let address = "192.0.2.7".parse::<IpAddr>().unwrap().into();
        let acts_at = |now| lists.lookup(&address, || now) & BLOCK != 0;
        assert!(acts_at(ends_ns - 1), "{ends_ns}");
        assert!(!acts_at(ends_ns + UNIT), "{ends_ns}");
    }
}

/// Tables in memory of the process, whose changes are counted: those of a table, and another in its place.
#[derive(Clone, Default)]
struct Noting(Arc<AtomicU64>);

struct Noted(Heap, Noting);

impl Noting {
    fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Memory for Noted {
    fn words(&self) -> &[AtomicU64] {
        self.0.words()
    }

    fn note_change(&self) {
        self.1.note();
    }
}

impl Publisher for Noting {
    type Memory = Noted;

    fn allocate(&mut self, lines: u32) -> Result<Noted> {
        Ok(Noted(InProcess.allocate(lines)?, self.clone()))
    }

    fn stage(&mut self, _ipv4: bool, _memory: &mut Noted) -> Result<()> {
        Ok(())
    }

    fn flip(&mut self, _ipv4: bool, _memory: &mut Noted) {
        self.note();
    }
}

/// What the head of a prefix's table says, see [`head::VERSION`].
fn version(lists: &Lists<Noting>, prefix: &Prefix) -> u64 {
    let tables = [&lists.v4, &lists.v6];
    let table = tables[usize::from(!prefix.is_ipv4())].as_ref().unwrap();
    let told = table.words().get(0, head::VERSION);
    assert_eq!(told, table.head.version);
    told
}

/// Whoever remembers what a table said asks whether anything has changed since, see
/// [`xdp_common::abi::chunks::CHANGES`].
#[test]
fn every_change_is_noted() {
    let noting = Noting::default();
    let mut lists = Lists::new(noting.clone(), CAPACITY);
    let mut seen = 0;
    let mut check = |what: &str| {
        let now = noting.0.load(Ordering::Relaxed);
        assert!(now > seen, "{what}");
        seen = now;
    };
    let entry = |text: &str, expires_ns| NewEntry {
        prefix: text.parse().unwrap(),
        expires_ns,
        list: 0,
    };
    for (text, expires_ns) in [
        ("192.0.2.7", 0),
        ("192.0.2.7", 9 * UNIT),
        ("192.0.2.0/24", 0),
        ("198.51.0.0/16", 0),
        ("198.0.0.0/8", 0),
        ("198.0.0.0/9", 0),
        ("2001:db8::/48", 0),
        ("2001:db8::7", 0),
    ] {
        lists.put(ListKind::Block, entry(text, expires_ns)).unwrap();
        check(text);
        lists.put(ListKind::Allow, entry(text, expires_ns)).unwrap();
        check(text);
    }
    let own = "203.0.113.0/24".parse().unwrap();
    lists.put_limits(&own, &Limits::ZERO).unwrap();
    check("limits");
    lists.remove_limits(&own);
    check("no limits");
    for text in ["192.0.2.7", "198.0.0.0/9", "2001:db8::7"] {
        let prefix: Prefix = text.parse().unwrap();
        let before = version(&lists, &prefix);
        lists.remove(ListKind::Allow, &prefix).unwrap();
        check(text);
        assert!(version(&lists, &prefix) > before, "{text}");
    }
    let prefix = "192.0.2.7".parse().unwrap();
    let before = version(&lists, &prefix);
    lists.rebuild(true).unwrap();
    check("another table");
    assert!(version(&lists, &prefix) > before, "it goes on");
}

#[test]
fn hits_go_to_the_longest_entry_and_stay_with_it() {
    let mut lists = lists();
    let entry = |text: &str| NewEntry {
        prefix: text.parse().unwrap(),
        expires_ns: 0,
        list: 3,
    };
    for text in ["192.0.2.0/24", "192.0.2.7"] {
        lists.put(ListKind::Block, entry(text)).unwrap();
    }
    lists.hit(ListKind::Block, "192.0.2.7".parse().unwrap(), 3, 300);
    lists.hit(ListKind::Block, "192.0.2.8".parse().unwrap(), 1, 60);
    let hits = |lists: &Lists<InProcess>, text: &str| {
        let entry = lists
            .entry(ListKind::Block, &text.parse().unwrap())
            .unwrap();
        (entry.packets, entry.bytes)
    };
    lists.put(ListKind::Block, entry("192.0.2.7")).unwrap();
    assert_eq!(hits(&lists, "192.0.2.7"), (3, 300));
    assert_eq!(hits(&lists, "192.0.2.0/24"), (1, 60));
}

#[test]
fn prefixes_that_crowd_under_a_few_keys_stay_in_the_table_in_use() {
    let (mut lists, mut model) = (lists(), Model::default());
    let in_use = |lists: &Lists<InProcess>| {
        let table = lists.v6.as_ref().unwrap();
        table.words().0.as_ptr() as usize
    };
    let mut entries = Vec::new();
    for network in 0..8_u16 {
        for n in 0..64_u8 {
            let length = 33 + n % 15;
            let scattered = u32::from(n).wrapping_mul(0x9e37_79b1);
            let bits = u128::from(network) << 96 | u128::from(scattered) << 64;
            let address = Ipv6Addr::from(0x2a00 << 112 | bits);
            entries.push(Prefix::new(address.into(), length).unwrap());
        }
    }
    let mut first = 0;
    for prefix in entries {
        let entry = NewEntry {
            prefix,
            expires_ns: 0,
            list: 0,
        };
        lists.put(ListKind::Block, entry).unwrap();
        model.0.insert((BLOCK, prefix), 0);
        if first == 0 {
            first = in_use(&lists);
        }
        assert_eq!(in_use(&lists), first, "built anew for {prefix}");
    }
    compare(&lists, &model, &mut StdRng::seed_from_u64(3), 0);
}

#[test]
fn a_key_and_one_of_its_next_level_may_have_the_same_line() {
    let prefix = |high: u64, length| Prefix::new(ipv6(high), length).unwrap();
    let mut met = false;
    // Lines are chosen by seeds; of 256 keys one meets the other's line every eighth time.
    for _ in 0..200 {
        let (mut lists, mut model) = (lists(), Model::default());
        let mut put = |lists: &mut Lists<InProcess>, prefix| {
            let entry = NewEntry {
                prefix,
                expires_ns: 0,
                list: 0,
            };
            lists.put(ListKind::Block, entry).unwrap();
            model.0.insert((BLOCK, prefix), 0);
        };
        put(&mut lists, prefix(0x2a01 << 48, 64));
        let head = &lists.v6.as_ref().unwrap().head.layout();
        let base = 0x2001_0db8_u64 << 32;
        let line = |level: Level, high| level.place(head, high, 0).line;
        let even = line(Level::of(40), base);
        let same = (0..256_u64).find(|n| line(Level::Upper(3), base | n << 24) == even);
        let Some(same) = same else { continue };
        met = true;
        put(&mut lists, prefix(base | same << 24, 44));
        for n in 0..7 {
            put(&mut lists, prefix(base | ((same + 1 + n) & 0xff) << 24, 40));
        }
        let found = lists.lookup(&ipv6(base | same << 24).into(), || 0);
        assert_eq!(found, BLOCK);
        compare(&lists, &model, &mut StdRng::seed_from_u64(1), 0);
    }
    assert!(met);
}
