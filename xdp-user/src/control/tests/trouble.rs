//! A disk or a kernel that refuses: an error, and nothing half done.

use super::*;
use crate::api::types::{LimitFields, RemoveEntries, SetLimits};
use xdp_common::reason::Reason;

/// Inserting one address fails in the middle of a transaction, removing another does.
const BAD_DISK: &str = "
CREATE TRIGGER no_put BEFORE INSERT ON entries WHEN NEW.prefix = '192.0.2.66'
BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END;
CREATE TRIGGER no_remove BEFORE DELETE ON entries WHEN OLD.prefix = '192.0.2.1'
BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END;
CREATE TRIGGER no_limits BEFORE INSERT ON limits
BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END;
";

fn removing(prefixes: &[&str]) -> RemoveEntries {
    RemoveEntries {
        prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
        list: None,
    }
}

fn warned(world: &mut World) -> bool {
    let warnings = world.control.status().unwrap().warnings;
    warnings.iter().any(|w| w.contains("not in the kernel yet"))
}

#[test]
fn when_the_disk_refuses_nothing_has_changed() {
    let mut world = World::with_triggers("", BAD_DISK);
    world.block(&["192.0.2.1", "192.0.2.2"]);
    world.kernel.take_changes();
    let before = format!("{:?}", world.entries(ListKind::Block));

    let longer = AddEntries {
        ttl: ttl("1h"),
        ..adding(&["192.0.2.2", "192.0.2.65", "192.0.2.66", "192.0.2.0/24"])
    };
    let refused = words(world.control.add_entries(ListKind::Block, longer));
    assert!(refused.contains("the disk is broken"), "{refused}");
    assert_eq!(format!("{:?}", world.entries(ListKind::Block)), before);

    let both = removing(&["192.0.2.2", "192.0.2.1"]);
    words(world.control.remove_entries(ListKind::Block, &both));
    assert_eq!(format!("{:?}", world.entries(ListKind::Block)), before);
    assert!(
        world.kernel.take_changes().is_empty(),
        "the kernel heard nothing of it"
    );

    let report = world.block(&["192.0.2.65"]);
    assert_eq!(
        report.added, 1,
        "a later change is not mixed with the one that failed"
    );
    let mut world = world.restarted("");
    let kept = ["192.0.2.1", "192.0.2.2", "192.0.2.65"];
    assert_eq!(world.list(ListKind::Block, "manual"), kept);
}

#[test]
fn when_the_disk_refuses_limits_they_stay_as_they_were() {
    let mut world = World::with_triggers("", BAD_DISK);
    let policy = world.policy();
    let before = format!("{:?}", world.control.list_limits().unwrap());
    for target in [None, Some(prefix("192.0.2.0/24"))] {
        let request = SetLimits {
            prefix: target,
            limits: LimitFields {
                packets: Some("1pps".into()),
                ..LimitFields::default()
            },
            reset: false,
        };
        let refused = words(world.control.set_limits(request));
        assert!(refused.contains("the disk is broken"), "{refused}");
    }
    assert_eq!(
        format!("{:?}", world.control.list_limits().unwrap()),
        before
    );
    assert_eq!(world.policy(), policy);
}

#[test]
fn what_the_kernel_refuses_is_told_and_stored_with_the_next_tick() {
    let mut world = World::new("");
    world
        .kernel
        .refuse(|call| call.starts_with("put_entry 192.0.2."));
    let prefixes = adding(&["192.0.2.1", "198.51.100.1", "192.0.2.2"]);
    let refused = words(world.control.add_entries(ListKind::Block, prefixes));
    assert!(
        refused.starts_with("2 entries are on disk but not in the kernel"),
        "{refused}"
    );
    assert!(
        refused.contains("refused by the test"),
        "with the cause: {refused}"
    );
    assert!(warned(&mut world));
    assert!(world.drops("198.51.100.1") && !world.drops("192.0.2.1"));

    world.control.tick();
    assert!(
        warned(&mut world),
        "still refused, both of them still known"
    );
    world.kernel.refuse(|call| call == "put_entry 192.0.2.1");
    world.control.tick();
    assert!(world.drops("192.0.2.2") && warned(&mut world));
    world.kernel.refuse_nothing();
    world.control.tick();
    assert!(world.drops("192.0.2.1") && !warned(&mut world));
    world.kernel.take_changes();
    world.control.tick();
    assert!(world.kernel.take_changes().is_empty());
    assert_eq!(world.list(ListKind::Block, "manual").len(), 3);
}

#[test]
fn narrow_entries_stay_until_the_wide_one_is_in_the_kernel() {
    let mut world = World::new("");
    let short = AddEntries {
        ttl: ttl("1h"),
        ..adding(&["192.0.2.1"])
    };
    world.control.add_entries(ListKind::Block, short).unwrap();
    world.kernel.refuse(|call| call == "put_entry 192.0.2.0/24");
    words(
        world
            .control
            .add_entries(ListKind::Block, adding(&["192.0.2.0/24"])),
    );
    assert!(
        world.drops("192.0.2.1"),
        "it was blocked before and is meant to be"
    );
    world.kernel.refuse_nothing();
    world.control.tick();
    assert!(world.drops("192.0.2.200"));
    assert_eq!(
        world.kernel.entry(ListKind::Block, "192.0.2.1"),
        None,
        "covered now"
    );
    assert!(!warned(&mut world));
}

#[test]
fn what_the_kernel_would_not_remove_goes_with_the_next_tick() {
    let mut world = World::new("");
    world.block(&["192.0.2.1", "192.0.2.2"]);
    world.kernel.refuse(|call| call == "remove_entry 192.0.2.1");
    let both = removing(&["192.0.2.1", "192.0.2.2"]);
    words(world.control.remove_entries(ListKind::Block, &both));
    assert!(
        !world.drops("192.0.2.2"),
        "one refusal doesn't stop the others"
    );
    assert!(world.drops("192.0.2.1") && warned(&mut world));
    world.kernel.refuse_nothing();
    world.control.tick();
    assert!(!world.drops("192.0.2.1") && !warned(&mut world));
}

#[test]
fn an_entry_that_came_and_went_unheard_is_not_left_in_the_kernel() {
    let mut world = World::new("");
    let short = AddEntries {
        ttl: ttl("1h"),
        ..adding(&["192.0.2.1"])
    };
    world.control.add_entries(ListKind::Block, short).unwrap();
    world.kernel.refuse(|call| call.starts_with("put_entry"));
    words(
        world
            .control
            .add_entries(ListKind::Block, adding(&["192.0.2.1"])),
    );
    world
        .control
        .remove_entries(ListKind::Block, &removing(&["192.0.2.1"]))
        .unwrap();
    world.kernel.refuse_nothing();
    world.control.tick();
    assert!(!world.drops("192.0.2.1"));
    assert!(!warned(&mut world));
}

#[test]
fn limits_that_the_kernel_refused_in_part_leave_no_stray_behind() {
    let mut world = World::new("");
    let next =
        "[[override]]\nprefixes = [\"192.0.2.0/24\", \"198.51.100.0/24\"]\npackets = \"1pps\"\n";
    world
        .kernel
        .refuse(|call| call == "put_limits 198.51.100.0/24");
    words(world.reload(next));
    assert_eq!(world.control.list_limits().unwrap().limits.len(), 1);
    world.kernel.refuse_nothing();
    let changes = world.kernel.take_changes();
    assert!(
        changes.contains(&"remove_limits 192.0.2.0/24".to_owned()),
        "{changes:?}"
    );
    for _ in 0..3 {
        assert_eq!(world.judge("192.0.2.1").reason, Reason::Accepted);
    }
    world.reload(next).unwrap();
    world.judge("198.51.100.1");
    assert_eq!(world.judge("198.51.100.1").reason, Reason::RatePackets);
}
