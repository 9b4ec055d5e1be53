//! Bans: noted, listed, lifted, remembered and forgotten.

use super::*;
use crate::api::types::{LiftBans, LiftReport, SourceQuery, SourceSort};
use crate::datapath::keys::source_to_abi;
use xdp_common::abi::{Ban, EVENT_BAN, Event, Plain};
use xdp_common::reason::Reason;

const SECOND: u64 = 1_000_000_000;
/// One packet a second, and the second packet over it bans for ten seconds.
const STRICT: &str = "
[limits]
packets = \"1pps\"
[ban]
strikes = 1
duration = \"10s\"
max_duration = \"1h\"
level_decay = \"60s\"
";

fn put(world: &World, source: &str, level: u32, until_ns: u64) {
    let ban = Ban {
        since_ns: until_ns.saturating_sub(SECOND),
        until_ns,
        level,
        reason: u32::from(Reason::RateBytes.code()),
        ..Ban::ZERO
    };
    let key = source_to_abi(&prefix(source));
    world.kernel.memory().put_ban(&key, &ban).unwrap();
}

fn ban(world: &World, source: &str) -> Option<Ban> {
    Datapath::ban(&*world.kernel.memory(), &source_to_abi(&prefix(source))).unwrap()
}

fn event(source: &str, ban: &Ban) -> Event {
    Event {
        kind: EVENT_BAN,
        source: source_to_abi(&prefix(source)),
        time_ns: ban.since_ns,
        until_ns: ban.until_ns,
        reason: ban.reason,
        level: ban.level,
        ..Event::ZERO
    }
}

fn lift(world: &mut World, sources: &[&str], all: bool) -> LiftReport {
    let request = LiftBans {
        sources: sources.iter().map(|s| s.parse().unwrap()).collect(),
        all,
    };
    world.control.lift_bans(&request).unwrap()
}

fn listed(world: &mut World) -> Vec<String> {
    let bans = world.control.list_bans().unwrap().bans.into_iter();
    bans.map(|ban| ban.source.to_string()).collect()
}

#[test]
fn a_flood_is_banned_and_the_ban_lifted() {
    let mut world = World::new(STRICT);
    let reasons = [(); 4].map(|()| world.judge("192.0.2.1").reason);
    let expected = [
        Reason::Accepted,
        Reason::RatePackets,
        Reason::Banned,
        Reason::Banned,
    ];
    assert_eq!(reasons, expected);
    let view = world.control.list_bans().unwrap().bans.remove(0);
    assert_eq!((view.source, view.level), (prefix("192.0.2.1"), 0));
    assert_eq!(view.reason, "rate_packets");
    assert_eq!((view.packets, view.bytes), (2, 128));
    let seconds = view.until.duration_since(view.since).as_secs_f64();
    assert!((seconds - 10.0).abs() < 0.01, "{seconds}");

    let report = lift(&mut world, &["192.0.2.1", "192.0.2.2"], false);
    assert_eq!(
        (report.lifted, report.missing),
        (1, vec!["192.0.2.2".to_owned()])
    );
    assert!(listed(&mut world).is_empty());
    assert_eq!(
        world.judge("192.0.2.1").reason,
        Reason::RatePackets,
        "the limit still holds"
    );
}

#[test]
fn an_address_stands_for_its_source() {
    let mut world = World::new("[source]\nipv4_prefix = 24\n");
    let soon = Moment::now().boot_ns + 60 * SECOND;
    for source in ["192.0.2.0/24", "2001:db8:0:1::/64"] {
        put(&world, source, 0, soon);
    }
    assert!(world.drops("192.0.2.77") && world.drops("2001:db8:0:1::99"));
    let report = lift(&mut world, &["192.0.2.77", "2001:db8:0:1::99"], false);
    assert_eq!((report.lifted, report.missing.len()), (2, 0));
    assert!(!world.drops("192.0.2.77"));
}

#[test]
fn lifting_all_leaves_none_in_memory_or_on_disk() {
    let mut world = World::new("");
    let soon = Moment::now().boot_ns + 60 * SECOND;
    for last in 0..20 {
        let source = format!("192.0.2.{last}");
        put(&world, &source, 0, soon + last);
        world
            .control
            .note_events(&[event(&source, &ban(&world, &source).unwrap())])
            .unwrap();
    }
    let latest = listed(&mut world);
    assert_eq!(
        (latest.len(), latest[0].as_str()),
        (20, "192.0.2.19"),
        "the latest first"
    );
    assert_eq!(lift(&mut world, &[], true).lifted, 20);
    let mut world = world.restarted("");
    assert!(listed(&mut world).is_empty());
}

#[test]
fn an_event_that_comes_after_its_ban_was_lifted_does_not_bring_it_back() {
    let mut world = World::new("");
    put(&world, "192.0.2.1", 0, Moment::now().boot_ns + 60 * SECOND);
    let late = event("192.0.2.1", &ban(&world, "192.0.2.1").unwrap());
    lift(&mut world, &["192.0.2.1"], false);
    world.control.note_events(&[late]).unwrap();
    let mut world = world.restarted("");
    assert!(listed(&mut world).is_empty());
}

#[test]
fn a_ban_that_is_over_is_remembered_until_its_levels_are_forgotten() {
    let mut world = World::new(STRICT);
    let now = Moment::now().boot_ns;
    // Three levels to forget: 3 minutes after the end.
    for (source, ago) in [("192.0.2.1", 170), ("192.0.2.2", 190)] {
        put(&world, source, 2, now.checked_sub(ago * SECOND).unwrap());
        world
            .control
            .note_events(&[event(source, &ban(&world, source).unwrap())])
            .unwrap();
    }
    put(&world, "192.0.2.3", 0, now + 60 * SECOND);
    assert_eq!(listed(&mut world), ["192.0.2.3"], "the others are over");
    world.control.tick();
    assert!(ban(&world, "192.0.2.1").is_some());
    assert!(ban(&world, "192.0.2.2").is_none());

    let mut world = world.restarted(STRICT);
    assert!(ban(&world, "192.0.2.2").is_none(), "gone from disk too");
    assert_eq!(ban(&world, "192.0.2.1").unwrap().level, 2);
    for _ in 0..2 {
        world.judge("192.0.2.1");
    }
    // One level up, less the two forgotten in 170 s.
    let next = ban(&world, "192.0.2.1").unwrap();
    assert_eq!(
        (next.level, next.until_ns - next.since_ns),
        (1, 20 * SECOND)
    );
    assert_eq!(listed(&mut world), ["192.0.2.1"]);
}

#[test]
fn in_a_crowd_the_bans_that_ended_first_make_room_and_none_that_is_in_force() {
    let mut world = World::new("[capacity]\nbans = 64\n");
    let now = Moment::now().boot_ns;
    let ended = |n: u64| now - (50 - n) * SECOND;
    for n in 0..40 {
        put(&world, &format!("192.0.2.{n}"), 5, ended(n));
    }
    for n in 0..16 {
        put(&world, &format!("198.51.100.{n}"), 5, now + 600 * SECOND);
    }
    world.control.tick();
    let kept = |world: &World, n: u64| ban(world, &format!("192.0.2.{n}")).is_some();
    assert!(kept(&world, 0), "56 of 64 have room: levels are remembered");
    put(&world, "203.0.113.1", 5, now + 600 * SECOND);
    world.control.tick();
    // 57 are more than seven eighths: three quarters are left.
    let left: Vec<u64> = (0..40).filter(|n| kept(&world, *n)).collect();
    assert_eq!(left, (9..40).collect::<Vec<u64>>());
    assert_eq!(listed(&mut world).len(), 17);
    // Nothing in force is ever given up.
    for round in 0..3 {
        for n in 0..15 {
            put(&world, &format!("203.0.{round}.{n}"), 5, now + 600 * SECOND);
        }
        world.control.tick();
        assert_eq!(listed(&mut world).len(), 17 + 15 * (round + 1));
    }
}

#[test]
fn bans_that_do_not_fit_after_a_restart_are_one_warning() {
    let mut world = World::new("[capacity]\nbans = 64\n");
    let soon = Moment::now().boot_ns + 60 * SECOND;
    for last in 0..20 {
        put(&world, &format!("192.0.2.{last}"), 0, soon);
    }
    world.control.stop();
    let mut world = world.restarted("[capacity]\nbans = 16\n");
    assert_eq!(listed(&mut world).len(), 16);
    let warnings = world.control.status().unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("4 bans could not be restored"),
        "{warnings:?}"
    );
}

#[test]
fn sources_are_sorted_and_cut_as_asked() {
    let mut world = World::new("[limits]\npackets = \"3pps\"\n[ban]\nenabled = false\n");
    for (source, packets) in [("192.0.2.1", 2), ("192.0.2.2", 5), ("2001:db8::1", 1)] {
        for _ in 0..packets {
            world.judge(source);
        }
    }
    let mut sources = |sort, limit, matching: Option<&str>| {
        let query = SourceQuery {
            sort,
            limit,
            matching: matching.map(prefix),
            each: false,
        };
        let list = world.control.list_sources(&query).unwrap();
        let shown = list
            .sources
            .iter()
            .map(|s| format!("{} {}", s.source, s.packets));
        (shown.collect::<Vec<_>>().join(", "), list.total)
    };
    let all = "192.0.2.2 5, 192.0.2.1 2, 2001:db8::/64 1";
    assert_eq!(sources(None, None, None), (all.to_owned(), 3));
    assert_eq!(
        sources(Some(SourceSort::Dropped), Some(1), None),
        ("192.0.2.2 5".to_owned(), 3)
    );
    let latest = sources(Some(SourceSort::LastSeen), Some(1), None);
    assert_eq!(latest, ("2001:db8::/64 1".to_owned(), 3));
    let v6 = sources(None, None, Some("2001:db8::/32"));
    assert_eq!(v6, ("2001:db8::/64 1".to_owned(), 1));
    let query = SourceQuery::default();
    let flooder = world
        .control
        .list_sources(&query)
        .unwrap()
        .sources
        .remove(0);
    assert_eq!((flooder.dropped_packets, flooder.dropped_bytes), (2, 128));
    assert!(flooder.first_seen <= flooder.last_seen);
}

#[test]
fn sources_by_each_order_come_once_and_those_asked_for_first() {
    let mut world = World::new("[limits]\npackets = \"3pps\"\n[ban]\nenabled = false\n");
    // In this order: 192.0.2.9 is seen last, 192.0.2.2 sends and loses most.
    for (source, packets) in [("192.0.2.2", 6), ("192.0.2.3", 3), ("192.0.2.9", 1)] {
        for _ in 0..packets {
            world.judge(source);
        }
    }
    let mut sources = |sort, limit| {
        let query = SourceQuery {
            sort: Some(sort),
            limit: Some(limit),
            matching: None,
            each: true,
        };
        let list = world.control.list_sources(&query).unwrap();
        let shown: Vec<String> = list.sources.iter().map(|s| s.source.to_string()).collect();
        (shown.join(" "), list.total)
    };
    // The third order has nobody left but 192.0.2.3.
    let all = |order: &str| (order.to_owned(), 3);
    assert_eq!(
        sources(SourceSort::Dropped, 1),
        all("192.0.2.2 192.0.2.3 192.0.2.9")
    );
    assert_eq!(
        sources(SourceSort::LastSeen, 1),
        all("192.0.2.9 192.0.2.2 192.0.2.3")
    );
    assert_eq!(
        sources(SourceSort::Packets, 9),
        all("192.0.2.2 192.0.2.3 192.0.2.9")
    );
    assert_eq!(sources(SourceSort::Packets, 0), all(""));
}

#[test]
fn sources_say_which_list_has_them_and_the_allowlist_wins() {
    let mut world = World::new("[block]\nprefixes = [\"198.51.100.0/24\", \"192.0.2.0/24\"]\n");
    for source in ["192.0.2.1", "198.51.100.1", "203.0.113.1"] {
        put(&world, source, 0, Moment::now().boot_ns + 60 * SECOND);
    }
    world.add(ListKind::Allow, &["192.0.2.1"]);
    let list = world.control.list_sources(&SourceQuery::default()).unwrap();
    let listed: Vec<_> = list.sources.iter().map(|s| s.listed).collect();
    assert_eq!(listed, [Some(ListKind::Allow), Some(ListKind::Block), None]);
}

#[test]
fn a_ban_from_a_wrong_calendar_is_not_longer_than_the_longest() {
    let mut world = World::new(STRICT);
    let now = Moment::now();
    let (start, years) = (event("192.0.2.1", &Ban::ZERO), 20 * 365 * 86_400 * SECOND);
    put(&world, "192.0.2.1", 0, now.boot_ns + years);
    let begun = Event {
        time_ns: now.boot_ns,
        until_ns: now.boot_ns + years,
        ..start
    };
    world.control.note_events(&[begun]).unwrap();
    let world = world.restarted(STRICT);
    let until_ns = ban(&world, "192.0.2.1").unwrap().until_ns;
    let longest = Moment::now().boot_ns + 3600 * SECOND;
    assert!(until_ns > now.boot_ns + 3000 * SECOND && until_ns <= longest);
}

#[test]
fn a_banned_source_that_the_table_forgot_is_still_shown() {
    let mut world = World::new(STRICT);
    let now_ns = Moment::now().boot_ns;
    put(&world, "192.0.2.1", 0, now_ns + 60 * SECOND);
    put(&world, "192.0.2.2", 0, now_ns - SECOND);
    world.packet_ns.set(now_ns);
    assert!(world.drops("192.0.2.1"));
    let query = |matching: Option<&str>| SourceQuery {
        sort: Some(SourceSort::Dropped),
        matching: matching.map(prefix),
        ..SourceQuery::default()
    };
    let list = world.control.list_sources(&query(None)).unwrap();
    assert_eq!(list.total, 1, "not the one whose ban is over");
    let one = &list.sources[0];
    assert_eq!((one.source, one.dropped_packets), (prefix("192.0.2.1"), 1));
    assert!(one.banned_until.is_some());
    let elsewhere = query(Some("198.51.100.0/24"));
    assert_eq!(world.control.list_sources(&elsewhere).unwrap().total, 0);
}
