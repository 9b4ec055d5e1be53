use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn table(sources: u32) -> SourceTable<Vec<AtomicU64>> {
    let buckets = buckets(sources);
    let seeds = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];
    let shape = Shape { buckets, seeds };
    let words = shape.lines() as usize * LINE_WORDS;
    let memory = (0..words).map(|_| AtomicU64::new(0)).collect();
    SourceTable::new(memory, shape)
}

fn v4(n: u32) -> SourceKey {
    let [a, b, c, d] = n.to_be_bytes();
    SourceKey {
        addr: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        family: FAMILY_IPV4,
        prefix_len: 32,
        ..SourceKey::ZERO
    }
}

fn v6(n: u64) -> SourceKey {
    let mut addr = [0; 16];
    addr[..8].copy_from_slice(&(0x2001_0db8 << 32 | n).to_be_bytes());
    SourceKey {
        addr,
        family: FAMILY_IPV6,
        prefix_len: 64,
        ..SourceKey::ZERO
    }
}

/// A packet within the limits.
fn packet(table: &SourceTable<Vec<AtomicU64>>, key: &SourceKey, now: u64) -> bool {
    let memory = Words(&table.memory);
    let found = find_or_add(&memory, &table.shape.place(key), now, 100, 1);
    found.is_some_and(|found| {
        if found.is_new() {
            found.publish();
        } else {
            found.behaved(now, || true);
        }
        true
    })
}

#[test]
fn a_source_is_told_from_its_tag() {
    let table = table(70_000);
    for n in 0..1_000 {
        assert!(packet(&table, &v4(n * 7919), 1));
        assert!(packet(&table, &v6(n.into()), 1));
    }
    let mut long = v6(1);
    long.addr[8..].copy_from_slice(&[9; 8]);
    long.prefix_len = 128;
    assert!(packet(&table, &long, 1));
    let known: std::collections::HashSet<[u8; 17]> = table
        .all(Lengths(32, 64))
        .iter()
        .map(|(key, _)| {
            let mut id = [key.family; 17];
            id[..16].copy_from_slice(&key.addr);
            id
        })
        .collect();
    for n in 0..1_000 {
        for key in [v4(n * 7919), v6(n.into())] {
            let mut id = [key.family; 17];
            id[..16].copy_from_slice(&key.addr);
            assert!(known.contains(&id), "{key:?}");
        }
    }
    assert!(known.len() <= 2_001);
    assert_eq!(table.count(), known.len());
    assert!(table.get(&long).is_some());
}

#[test]
fn newcomers_cannot_push_a_protected_source_out() {
    let table = table(700);
    // Fewer than may be protected of a bucket, on average, and sparse enough that all are.
    let good: Vec<SourceKey> = (0..100).map(v4).collect();
    for second in 0..20 {
        good.iter().for_each(|key| {
            packet(&table, key, second * SECOND);
        });
    }
    let (_, protected) = table.tend(20 * SECOND);
    let kept: Vec<&SourceKey> = good.iter().filter(|key| table.knows(key)).collect();
    assert_eq!(
        protected,
        kept.len() as u64,
        "what is known has earned its place"
    );
    assert!(kept.len() >= 95, "{} of 100", kept.len());
    for n in 0..1_000_000 {
        assert!(packet(&table, &v4(1 << 24 | n), 21 * SECOND));
    }
    for key in kept {
        assert_eq!(
            table.get(key).map(|source| source.packets),
            Some(20),
            "{key:?}"
        );
    }
}

#[test]
fn a_source_that_stays_away_makes_room() {
    let table = table(7);
    for second in 0..20 {
        packet(&table, &v4(1), second * SECOND);
    }
    assert_eq!(table.tend(21 * SECOND), (1, 1));
    assert_eq!(table.tend(20 * SECOND + IDLE_NS + SECOND), (1, 0));
    assert_eq!(table.tend(20 * SECOND + IDLE_NS + SECOND), (1, 0));
    (0..100).for_each(|n| {
        packet(&table, &v4(100 + n), 1000 * SECOND);
    });
    assert!(!table.knows(&v4(1)));
}

#[test]
fn a_returning_source_outlives_those_that_came_once() {
    let table = table(7);
    packet(&table, &v4(1), 1);
    for n in 0..10_000 {
        packet(&table, &v4(1), 1);
        packet(&table, &v4(1000 + n), 1);
    }
    assert_eq!(table.get(&v4(1)).map(|source| source.packets), Some(10_001));
}

#[test]
fn offences_of_a_displaced_source_are_not_its_successors() {
    let table = table(7);
    let memory = Words(&table.memory);
    packet(&table, &v4(1), 1);
    let found = xdp_common::sources::find(&memory, &table.shape.place(&v4(1))).unwrap();
    found
        .cold(&memory)
        .unwrap()
        .word(cold::DROPPED_PACKETS)
        .add(5);
    assert_eq!(table.get(&v4(1)).unwrap().dropped_packets, 5);
    for n in 0..100 {
        packet(&table, &v4(100 + n), 1);
        let (dropped, known) = table
            .get(&v4(100 + n))
            .map_or((0, false), |source| (source.dropped_packets, true));
        assert!(known && dropped == 0);
    }
}

#[test]
fn two_threads_add_a_source_once_and_lose_no_packet() {
    let table = table(70);
    const PACKETS: u64 = 40_000;
    let untracked = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (table, untracked) = (&table, &untracked);
            scope.spawn(move || {
                for n in 0..PACKETS {
                    if !packet(table, &v4(1), SECOND) {
                        untracked.fetch_add(1, Ordering::SeqCst);
                    }
                    // Others come and go all the time.
                    let other = u32::try_from(thread * PACKETS + n).unwrap();
                    packet(table, &v4(1000 + other), SECOND);
                }
            });
        }
    });
    let known = table.all(Lengths(32, 64));
    let mine = known.iter().filter(|(key, _)| *key == v4(1));
    assert_eq!(mine.count(), 1);
    let counted = table.get(&v4(1)).unwrap().packets;
    let untracked = untracked.load(Ordering::SeqCst);
    assert_eq!(counted + untracked, 3 * PACKETS);
    assert!(untracked < 3 * PACKETS / 100, "{untracked} untracked");
}

#[test]
fn a_reader_never_sees_one_source_as_another() {
    // Each source says who it is: its time is its number.
    let table = table(14);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..200_000_u32 {
                packet(&table, &v4(n), n.into());
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut seen = 0;
        while !done.load(Ordering::SeqCst) || seen == 0 {
            for (key, source) in table.all(Lengths(32, 64)) {
                let [a, b, c, d, ..] = key.addr;
                let number: u64 = u32::from_be_bytes([a, b, c, d]).into();
                assert_eq!(
                    (source.first_seen_ns, source.last_seen_ns),
                    (number, number)
                );
                seen += 1;
            }
        }
    });
}

#[test]
fn marks_of_bans_go_only_when_nothing_stands_behind_them_twice() {
    let mut table = table(700);
    let is_marked = |table: &SourceTable<Vec<AtomicU64>>, key: &SourceKey| {
        xdp_common::sources::may_be_banned(&Words(&table.memory), &table.shape.place(key))
    };
    table.mark_ban(&v4(1));
    table.mark_ban(&v4(2));
    let one = || Ok::<_, ()>(vec![(v4(1), Ban::ZERO)]);
    table.sweep_ban_marks(one).unwrap();
    assert!(is_marked(&table, &v4(2)), "once is not twice");
    table.sweep_ban_marks(one).unwrap();
    assert!(is_marked(&table, &v4(1)) && !is_marked(&table, &v4(2)));
    // A ban that begins while the marks are swept keeps its mark.
    table.sweep_ban_marks(|| Ok::<_, ()>(vec![])).unwrap();
    let mut asked = 0;
    table
        .sweep_ban_marks(|| {
            asked += 1;
            Ok::<_, ()>(if asked == 1 {
                vec![]
            } else {
                vec![(v4(1), Ban::ZERO)]
            })
        })
        .unwrap();
    assert!(is_marked(&table, &v4(1)));
}
