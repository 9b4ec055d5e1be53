//! What was acknowledged is there again after a death without a clean stop.

use super::*;
use crate::api::types::{LimitFields, SetLimits};
use crate::datapath::keys::source_to_abi;
use xdp_common::abi::{Ban, EVENT_BAN, Event, Plain};
use xdp_common::reason::Reason;

#[test]
fn entries_limits_and_bans_come_back() {
    let mut world = World::new("");
    let timed = AddEntries {
        list: list_name("feed"),
        ttl: ttl("1h"),
        comment: Some("why".into()),
        ..adding(&["2001:db8::/48"])
    };
    world.control.add_entries(ListKind::Block, timed).unwrap();
    world.block(&["192.0.2.1"]);
    world.add(ListKind::Allow, &["198.51.100.0/24"]);
    let limits = SetLimits {
        prefix: Some(prefix("203.0.113.0/24")),
        limits: LimitFields {
            packets: Some("5pps".into()),
            ..LimitFields::default()
        },
        reset: false,
    };
    let limits = world.control.set_limits(limits).unwrap();
    let now = Moment::now();
    let key = source_to_abi(&prefix("203.0.113.66"));
    let ban = Ban {
        since_ns: now.boot_ns - 1_000_000_000,
        until_ns: now.boot_ns + 600_000_000_000,
        level: 2,
        reason: u32::from(Reason::RatePackets.code()),
        ..Ban::ZERO
    };
    world.kernel.memory().put_ban(&key, &ban).unwrap();
    let event = Event {
        kind: EVENT_BAN,
        source: key,
        time_ns: ban.since_ns,
        until_ns: ban.until_ns,
        reason: ban.reason,
        level: ban.level,
        ..Event::ZERO
    };
    world.control.note_events(&[event]).unwrap();

    let kinds = [ListKind::Allow, ListKind::Block];
    let known = |entries: Vec<EntryView>| -> Vec<_> {
        let whole = |e: EntryView| (e.prefix, e.list, e.expires, e.comment, e.added);
        entries.into_iter().map(whole).collect()
    };
    let before = kinds.map(|kind| known(world.entries(kind)));
    let mut world = world.restarted("");
    assert_eq!(kinds.map(|kind| known(world.entries(kind))), before);
    assert_eq!(world.control.list_limits().unwrap().limits.len(), 2);
    assert_eq!(
        world.control.list_limits().unwrap().limits[1].limits,
        limits.limits[1].limits
    );
    for (source, reason) in [
        ("192.0.2.1", Reason::Blocklisted),
        ("2001:db8::5", Reason::Blocklisted),
        ("198.51.100.3", Reason::Allowlisted),
        ("203.0.113.66", Reason::Banned),
    ] {
        assert_eq!(world.judge(source).reason, reason, "{source}");
    }
    let restored = Datapath::ban(&*world.kernel.memory(), &key)
        .unwrap()
        .unwrap();
    assert_eq!((restored.level, restored.reason), (ban.level, ban.reason));
    assert!(
        restored.until_ns.abs_diff(ban.until_ns) < 10_000_000,
        "times are kept to the ms"
    );
    for _ in 0..5 {
        assert_eq!(world.judge("203.0.113.7").reason, Reason::Accepted);
    }
    assert_eq!(world.judge("203.0.113.7").reason, Reason::RatePackets);
}

#[test]
fn what_was_removed_stays_away() {
    let mut world = World::new("");
    world.block(&["192.0.2.1", "192.0.2.2"]);
    let request = crate::api::types::RemoveEntries {
        prefixes: vec![prefix("192.0.2.1").into()],
        list: None,
    };
    world
        .control
        .remove_entries(ListKind::Block, &request)
        .unwrap();
    let mut world = world.restarted("");
    assert_eq!(world.list(ListKind::Block, "manual"), ["192.0.2.2"]);
}

#[test]
fn the_configurations_own_entries_are_not_kept_on_disk() {
    let with = "[block]\nprefixes = [\"192.0.2.0/24\"]\n[allow]\nprefixes = [\"198.51.100.1\"]\n";
    let mut world = World::new(with);
    assert!(world.drops("192.0.2.1"));
    world = world.restarted("");
    assert!(!world.drops("192.0.2.1"));
    assert!(world.entries(ListKind::Allow).is_empty());
}

#[test]
fn nothing_is_attached_before_its_lists_are_complete() {
    let text = "[[interface]]\nname = \"wan0\"\n[block]\nprefixes = [\"198.51.100.1\"]\n";
    let mut world = World::new(text);
    world.block(&["192.0.2.1"]);
    world = world.restarted(text);
    let changes = world.kernel.take_changes();
    let at = |call: &str| {
        let found = changes.iter().position(|c| c == call);
        found.unwrap_or_else(|| panic!("no {call} in {changes:?}"))
    };
    for call in [
        "put_entry 192.0.2.1",
        "put_entry 198.51.100.1",
        "set_policy",
    ] {
        assert!(at(call) < at("attach wan0"), "{changes:?}");
    }
}

#[test]
fn entries_that_ended_meanwhile_block_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = State::open(directory.path()).unwrap();
    let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap();
    let rows = [("192.0.2.0/24", -60), ("198.51.100.0/24", 60)].map(|(text, seconds)| {
        crate::state::EntryChange::Put(crate::state::EntryRow {
            kind: ListKind::Block,
            prefix: prefix(text),
            list: "manual".parse().unwrap(),
            expires: Some(now + jiff::SignedDuration::from_secs(seconds)),
            comment: None,
            added: now,
        })
    });
    state.change_entries(&rows).unwrap();
    drop(state);
    let mut world = World::in_directory("", directory);
    assert!(!world.drops("192.0.2.1") && world.drops("198.51.100.1"));
    world.control.tick();
    assert_eq!(world.list(ListKind::Block, "manual"), ["198.51.100.0/24"]);
}

#[test]
fn damage_on_disk_is_told_and_the_rest_is_kept() {
    let mut world = World::new("");
    world.block(&["192.0.2.1"]);
    let World {
        directory, control, ..
    } = world;
    drop(control);
    let file = directory.path().join("state.sqlite");
    let connection = Connection::open(file).unwrap();
    connection
        .execute(
            "INSERT INTO entries VALUES ('block', 'garbage', 'manual', NULL, NULL, 0)",
            [],
        )
        .unwrap();
    drop(connection);
    let mut world = World::in_directory("", directory);
    assert!(world.drops("192.0.2.1"));
    let warnings = world.control.status().unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.starts_with("1 entries on disk")),
        "{warnings:?}"
    );
}

#[test]
fn a_clean_stop_detaches_and_writes_bans_whose_event_was_lost() {
    let mut world = World::new("[[interface]]\nname = \"wan0\"\n");
    let until_ns = Moment::now().boot_ns + 600_000_000_000;
    for last in [1, 2] {
        let key = source_to_abi(&prefix(&format!("192.0.2.{last}")));
        let ban = Ban {
            until_ns,
            ..Ban::ZERO
        };
        world.kernel.memory().put_ban(&key, &ban).unwrap();
    }
    world.kernel.take_changes();
    world.control.stop();
    assert_eq!(world.kernel.take_changes(), ["detach wan0"]);
    let mut world = world.restarted("");
    assert_eq!(world.control.list_bans().unwrap().bans.len(), 2);
}

#[test]
fn callers_are_served_in_turn_and_told_of_the_end() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let world = World::new("[[interface]]\nname = \"wan0\"\n");
    let (handle, ended) = world.control.spawn().unwrap();
    runtime.block_on(async {
        let add = |c: &mut Control| c.add_entries(ListKind::Block, adding(&["192.0.2.1"]));
        assert_eq!(handle.call(add).await.unwrap().added, 1);
        handle.shut_down();
        ended.await.unwrap();
        let late = handle.call(|c| c.status()).await;
        assert!(words(late).contains("shutting down"));
    });
    assert!(
        world
            .kernel
            .take_changes()
            .contains(&"detach wan0".to_owned())
    );
}

#[test]
fn a_new_comment_is_a_change_and_silence_keeps_the_old_one() {
    let mut world = World::new("");
    let mut add = |comment: Option<&str>| {
        let request = AddEntries {
            comment: comment.map(str::to_owned),
            ..adding(&["192.0.2.1"])
        };
        let report = world.control.add_entries(ListKind::Block, request).unwrap();
        (report.added, report.updated, report.unchanged)
    };
    assert_eq!(add(Some("scans")), (1, 0, 0));
    assert_eq!(add(None), (0, 0, 1));
    assert_eq!(add(Some("scans again")), (0, 1, 0));
    let (rows, _) = world.control.state.entries().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].comment.as_deref(), Some("scans again"));
}
