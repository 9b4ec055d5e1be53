//! The state of everything, and nothing left out.

use super::*;
use xdp_common::abi::Fault;
use xdp_common::reason::{Class, Reason};

#[test]
fn every_reason_and_every_fault_is_there_from_the_start() {
    let mut world = World::new("");
    let status = world.control.status().unwrap();
    let counted: Vec<(&str, &str)> = status
        .reasons
        .iter()
        .map(|count| (count.reason.as_str(), count.action.as_str()))
        .collect();
    for reason in Reason::ALL {
        assert!(counted.contains(&(reason.name(), "passed")), "{reason:?}");
        let drops = counted.contains(&(reason.name(), "dropped"));
        assert_eq!(drops, reason.class() == Class::Drop, "{reason:?}");
    }
    assert!(
        status
            .reasons
            .iter()
            .all(|count| count.packets == 0 && count.bytes == 0)
    );
    let faults: Vec<&str> = status
        .faults
        .iter()
        .map(|fault| fault.name.as_str())
        .collect();
    let all: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    assert_eq!(faults, all);
    let tables: Vec<&str> = status
        .tables
        .iter()
        .map(|table| table.name.as_str())
        .collect();
    assert_eq!(tables, ["allow", "block", "overrides", "sources", "bans"]);
    for table in &status.tables {
        assert!(!table.when_full.is_empty(), "{}", table.name);
        assert_eq!(table.memory_bytes, 0, "in the process nobody counts it");
    }
    assert_eq!(status.maps, []);
    assert_eq!((status.memory_bytes, status.protected_sources), (0, 0));
    assert!(status.warnings.is_empty(), "{:?}", status.warnings);
}

#[test]
fn packets_entries_and_bans_are_counted_where_they_belong() {
    let text = "
[[interface]]
name = \"wan0\"
[[interface]]
name = \"old0\"
attach = \"generic\"
[limits]
packets = \"1pps\"
[ban]
strikes = 1
[[override]]
prefixes = [\"203.0.113.0/24\", \"3fff::/32\"]
packets = \"5pps\"
[capacity]
block = 100
";
    let mut world = World::new(text);
    world.block(&["192.0.2.0/24", "192.0.2.1", "2001:db8::1"]);
    for source in ["192.0.2.1", "198.51.100.1", "198.51.100.1", "198.51.100.1"] {
        world.judge(source);
    }
    let status = world.control.status().unwrap();
    let count = |reason: Reason, action: &str| {
        let found = status
            .reasons
            .iter()
            .find(|count| count.reason == reason.name() && count.action == action);
        found.map(|count| (count.packets, count.bytes)).unwrap()
    };
    assert_eq!(count(Reason::Blocklisted, "dropped"), (1, 64));
    assert_eq!(count(Reason::Accepted, "passed"), (1, 64));
    assert_eq!(count(Reason::Banned, "dropped"), (1, 64));
    assert_eq!(status.bans, 1);
    let table = |name: &str| {
        let found = status.tables.iter().find(|table| table.name == name);
        found.map(|table| (table.entries, table.capacity)).unwrap()
    };
    assert_eq!(
        table("block"),
        (1, 100),
        "of the fuller family, without the covered one"
    );
    assert_eq!(table("overrides").0, 1);
    assert_eq!((table("sources").0, table("bans").0), (1, 1));
    let lists: Vec<_> = status
        .lists
        .iter()
        .map(|l| (l.name.as_str(), l.entries))
        .collect();
    assert_eq!(lists, [("manual", 3)], "with the covered one");
    let interfaces: Vec<_> = status
        .interfaces
        .iter()
        .map(|i| (i.name.as_str(), i.attached, i.mode.as_deref()))
        .collect();
    assert_eq!(
        interfaces,
        [
            ("wan0", true, Some("native")),
            ("old0", true, Some("generic"))
        ]
    );
    let warnings = status.warnings.join("\n");
    assert!(
        warnings.contains("old0 is attached in generic mode"),
        "{warnings}"
    );
    assert!(!warnings.contains("wan0"), "{warnings}");
    assert!(warnings.contains("4 packets came in before"), "{warnings}");
}

#[test]
fn a_full_ban_table_is_a_fault_and_a_warning() {
    let mut world =
        World::new("[limits]\npackets = \"1pps\"\n[ban]\nstrikes = 1\n[capacity]\nbans = 16\n");
    for last in 0..17 {
        for _ in 0..2 {
            world.judge(&format!("192.0.2.{last}"));
        }
    }
    let status = world.control.status().unwrap();
    assert_eq!(status.bans, 16);
    let full = status
        .faults
        .iter()
        .find(|f| f.name == "ban_table_full")
        .unwrap();
    assert_eq!(full.count, 1);
    assert!(status.warnings.iter().any(|w| w.contains("capacity.bans")));
}
