//! Limits set at run time, over the configuration's.

use super::*;
use crate::api::types::{LimitFields, LimitView, SetLimits};
use crate::config::Limits;
use crate::domain::{Burst, PacketRate};
use xdp_common::reason::Reason;

const OVERRIDE: &str = "[[override]]\nprefixes = [\"192.0.2.0/24\"]\npackets = \"7pps\"\n";

fn packets(rate: &str) -> LimitFields {
    LimitFields {
        packets: Some(rate.into()),
        ..LimitFields::default()
    }
}

fn burst(burst: &str) -> LimitFields {
    LimitFields {
        packets_burst: Some(burst.into()),
        ..LimitFields::default()
    }
}

fn set(world: &mut World, target: Option<&str>, limits: LimitFields) -> Result<()> {
    let request = SetLimits {
        prefix: target.map(prefix),
        limits,
        reset: false,
    };
    world.control.set_limits(request).map(|_list| ())
}

fn reset(world: &mut World, target: Option<&str>) {
    let request = SetLimits {
        prefix: target.map(prefix),
        limits: LimitFields::default(),
        reset: true,
    };
    world.control.set_limits(request).unwrap();
}

fn view(world: &mut World, target: Option<&str>) -> Option<LimitView> {
    let limits = world.control.list_limits().unwrap().limits;
    limits
        .into_iter()
        .find(|view| view.prefix == target.map(prefix))
}

/// Packets of one source that pass at once.
fn passing(world: &World, source: &str) -> usize {
    let reasons = (0..50).map(|_| world.judge(source).reason);
    let passed = reasons
        .take_while(|reason| *reason == Reason::Accepted)
        .count();
    if passed < 50 {
        assert_eq!(world.judge(source).reason, Reason::RatePackets);
    }
    passed
}

#[test]
fn the_default_is_changed_and_given_back() {
    let mut world = World::new("");
    let before = world.policy().limits;
    set(
        &mut world,
        None,
        LimitFields {
            tcp_new: Some("off".into()),
            ..packets("3pps")
        },
    )
    .unwrap();
    assert_eq!(passing(&world, "192.0.2.1"), 3);
    let default = view(&mut world, None).unwrap();
    assert_eq!(default.origin, "runtime");
    assert_eq!(default.limits.packets.as_deref(), Some("3pps"));
    assert_eq!(default.limits.tcp_new.as_deref(), Some("off"));
    assert_eq!(default.limits.bytes.as_deref(), Some("1Gbps"), "untouched");
    reset(&mut world, None);
    assert_eq!(world.policy().limits, before);
    assert_eq!(view(&mut world, None).unwrap().origin, "config");
    let mut world = world.restarted("");
    assert_eq!(view(&mut world, None).unwrap().origin, "config");
}

#[test]
fn a_reset_without_a_prefix_forgets_all_that_was_set() {
    let mut world = World::new(OVERRIDE);
    set(&mut world, None, packets("9pps")).unwrap();
    set(&mut world, Some("192.0.2.0/24"), packets("4pps")).unwrap();
    set(&mut world, Some("203.0.113.0/24"), packets("2pps")).unwrap();
    reset(&mut world, None);
    assert_eq!(passing(&world, "192.0.2.3"), 7, "the file's own override");
    assert!(view(&mut world, Some("203.0.113.0/24")).is_none());
    let mut world = world.restarted(OVERRIDE);
    let limits = world.control.list_limits().unwrap().limits;
    assert!(limits.iter().all(|view| view.origin == "config"));
}

#[test]
fn a_prefix_gets_limits_of_its_own_over_the_files() {
    let mut world = World::new(OVERRIDE);
    assert_eq!(passing(&world, "192.0.2.1"), 7);
    set(&mut world, Some("192.0.2.0/24"), packets("4pps")).unwrap();
    set(&mut world, Some("192.0.2.128/25"), packets("2pps")).unwrap();
    assert_eq!(passing(&world, "192.0.2.2"), 4);
    assert_eq!(
        passing(&world, "192.0.2.200"),
        2,
        "the longest prefix counts"
    );
    assert_eq!(passing(&world, "198.51.100.1"), 50);
    reset(&mut world, Some("192.0.2.0/24"));
    reset(&mut world, Some("192.0.2.128/25"));
    assert_eq!(passing(&world, "192.0.2.3"), 7);
    assert_eq!(passing(&world, "192.0.2.201"), 7);
    assert!(view(&mut world, Some("192.0.2.128/25")).is_none());
}

#[test]
fn changes_add_up_and_a_new_rate_brings_its_own_burst() {
    let mut world = World::new("");
    set(&mut world, None, packets("4pps")).unwrap();
    set(&mut world, None, burst("9")).unwrap();
    assert_eq!(passing(&world, "192.0.2.1"), 9);
    set(
        &mut world,
        None,
        LimitFields {
            bytes: Some("off".into()),
            ..LimitFields::default()
        },
    )
    .unwrap();
    let limits = view(&mut world, None).unwrap().limits;
    assert_eq!(
        (
            limits.packets.as_deref(),
            limits.packets_burst.as_deref(),
            limits.bytes.as_deref()
        ),
        (Some("4pps"), Some("9"), Some("off"))
    );
    set(&mut world, None, packets("6pps")).unwrap();
    assert_eq!(
        passing(&world, "192.0.2.2"),
        6,
        "not the burst given with another rate"
    );
}

#[test]
fn what_is_no_limit_is_refused_and_changes_nothing() {
    let mut world = World::new("[capacity]\noverrides = 1\n");
    let policy = world.policy();
    let small = LimitFields {
        bytes_burst: Some("100".into()),
        ..LimitFields::default()
    };
    for (target, limits) in [
        (None, LimitFields::default()),
        (None, packets("fast")),
        (None, burst("0")),
        (None, small),
        (Some("192.0.2.0/24"), packets("-1pps")),
    ] {
        words(set(&mut world, target, limits));
        assert_eq!(world.policy(), policy);
        assert_eq!(view(&mut world, None).unwrap().origin, "config");
    }
    set(&mut world, Some("192.0.2.0/24"), packets("1pps")).unwrap();
    let full = words(set(&mut world, Some("198.51.100.0/24"), packets("1pps")));
    assert!(full.contains("capacity.overrides"), "{full}");
    let mut world = world.restarted("[capacity]\noverrides = 1\n");
    assert_eq!(world.control.list_limits().unwrap().limits.len(), 2);
}

#[test]
fn limits_set_at_run_time_outlive_a_reload_and_follow_the_rest_of_it() {
    let mut world = World::new("");
    set(&mut world, Some("192.0.2.0/24"), packets("3pps")).unwrap();
    world.reload("[limits]\nbytes = \"500Mbps\"\n").unwrap();
    let own = view(&mut world, Some("192.0.2.0/24")).unwrap().limits;
    assert_eq!(own.packets.as_deref(), Some("3pps"));
    assert_eq!(own.bytes.as_deref(), Some("500Mbps"));
    assert_eq!(passing(&world, "192.0.2.1"), 3);
}

#[test]
fn limits_that_no_longer_fit_are_left_out_with_a_warning() {
    let mut world = World::new("");
    for target in ["192.0.2.0/24", "198.51.100.0/24"] {
        set(&mut world, Some(target), packets("3pps")).unwrap();
    }
    let mut world = world.restarted("[capacity]\noverrides = 1\n");
    assert_eq!(world.control.list_limits().unwrap().limits.len(), 1);
    let warnings = world.control.status().unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.contains("no longer fit")),
        "{warnings:?}"
    );
}

#[test]
fn limits_as_text_mean_the_same_limits() {
    let world = World::new("[limits]\npackets = \"12345pps\"\npackets_burst = 77\n");
    let wanted: Limits = world.control.default_limits().unwrap();
    let packets = wanted.packets.unwrap();
    assert_eq!(packets.rate, PacketRate::new(12_345).unwrap());
    assert_eq!(packets.burst, Burst::new(77).unwrap());
    let text = super::super::limits::fields(&wanted);
    let mut other = World::new("");
    set(&mut other, None, text).unwrap();
    assert_eq!(other.control.default_limits().unwrap(), wanted);
}

#[test]
fn overrides_have_room_in_each_family() {
    let config = |v4: &str, v6: &str| {
        format!(
            "[capacity]\noverrides = 2\n[[override]]\nprefixes = [{v4}{v6}]\npackets = \"7pps\"\n"
        )
    };
    let (v4, v6) = (
        "\"192.0.2.1\", \"192.0.2.2\", ",
        "\"2001:db8:1::/64\", \"2001:db8:2::/64\"",
    );
    let mut world = World::new(&config(v4, v6));
    assert_eq!(passing(&world, "192.0.2.2"), 7);
    assert_eq!(passing(&world, "2001:db8:2::9"), 7);
    let refused = words(set(&mut world, Some("192.0.2.3"), packets("1pps")));
    assert!(refused.contains("3 overrides of one family"), "{refused}");
}
