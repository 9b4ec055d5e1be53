//! Another configuration takes the place of the one in force, whole or not at all.

use super::*;
use crate::domain::Mode;
use xdp_common::reason::Reason;

const GOOD: &str = "
[[interface]]
name = \"wan0\"
[limits]
packets = \"50pps\"
[[override]]
prefixes = [\"203.0.113.0/24\"]
packets = \"9pps\"
[ban]
strikes = 9
[allow]
prefixes = [\"198.51.100.1\"]
[block]
prefixes = [\"192.0.2.0/24\"]
";

/// Differs from [`GOOD`] in everything that a reload can change.
const OTHER: &str = "
mode = \"observe\"
observe_reasons = [\"land\"]
[[interface]]
name = \"wan0\"
[[interface]]
name = \"wan1\"
[source]
ipv4_prefix = 24
[limits]
packets = \"60pps\"
[[override]]
prefixes = [\"203.0.112.0/24\"]
packets = \"8pps\"
[ban]
strikes = 8
[sanity]
land = false
[allow]
prefixes = [\"198.51.100.2\"]
[block]
prefixes = [\"192.0.3.0/24\"]
";

/// Everything that a reload can change, as far as it can be seen; not how often it was tried.
fn in_force(world: &mut World) -> String {
    let mut policy = world.policy();
    policy.generation = 0;
    let status = world.control.status().unwrap();
    let interfaces: Vec<_> = status
        .interfaces
        .iter()
        .map(|i| (&i.name, i.index))
        .collect();
    let lists = [ListKind::Allow, ListKind::Block].map(|kind| world.list(kind, "config"));
    let limits = world.control.list_limits().unwrap();
    format!(
        "{policy:?} {:?} {:?} {interfaces:?} {lists:?} {limits:?} {:?}",
        status.mode, status.observe_reasons, world.control.config
    )
}

#[test]
fn a_configuration_with_mistakes_leaves_everything_as_it_is() {
    let mut world = World::new(GOOD);
    let before = in_force(&mut world);
    let generation = world.policy().generation;
    world.kernel.take_changes();
    let bad = OTHER
        .replace("60pps", "sixty")
        .replace("192.0.3.0/24", "192.0.3.0/99");
    let refused = world.reload(&bad).unwrap_err();
    let invalid = refused
        .downcast_ref::<crate::config::ConfigError>()
        .unwrap();
    assert_eq!(
        invalid.problems.len(),
        2,
        "every mistake at once: {refused:#}"
    );
    assert_eq!(in_force(&mut world), before);
    assert_eq!(world.policy().generation, generation);
    assert!(
        world.kernel.take_changes().is_empty(),
        "the kernel heard nothing"
    );
    let status = world.control.status().unwrap().config;
    assert_eq!((status.reloads, status.refused), (0, 1));
    assert!(status.last_error.is_some());

    let report = world.reload(OTHER).unwrap();
    assert_eq!(report.changes.len(), 10, "{:?}", report.changes);
    assert_ne!(in_force(&mut world), before);
    let status = world.control.status().unwrap().config;
    assert_eq!(
        (status.reloads, status.refused, status.last_error),
        (1, 1, None)
    );
    assert!(world.reload(OTHER).unwrap().changes.is_empty());
}

#[test]
fn whatever_the_kernel_refuses_the_old_configuration_stays_whole() {
    for refused in [
        "attach wan1",
        "reset_counters 1",
        "put_entry 198.51.100.2",
        "put_entry 192.0.3.0/24",
        "remove_entry 192.0.2.0/24",
        "put_limits 203.0.112.0/24",
        "remove_limits 203.0.113.0/24",
        "set_policy",
    ] {
        let mut world = World::new(GOOD);
        let before = in_force(&mut world);
        // Once, as a kernel short of memory for a moment would.
        let mut left = 1;
        world.kernel.refuse(move |call| {
            let hit = call == refused && left > 0;
            left -= i32::from(hit);
            hit
        });
        let error = words(world.reload(OTHER));
        assert!(error.contains("refused by the test"), "{refused}: {error}");
        world.control.tick();
        assert_eq!(in_force(&mut world), before, "{refused}");
        assert_eq!(
            world.judge("198.51.100.1").reason,
            Reason::Allowlisted,
            "{refused}"
        );
        assert_eq!(
            world.judge("192.0.2.1").reason,
            Reason::Blocklisted,
            "{refused}"
        );
        assert_eq!(
            world.judge("192.0.3.1").reason,
            Reason::Accepted,
            "{refused}"
        );
        let attached = world.kernel.take_changes().iter().fold(0, |n, call| {
            n + i32::from(call.starts_with("attach")) - i32::from(call.starts_with("detach"))
        });
        assert_eq!(attached, 1, "{refused}: only wan0 is attached");
        world.kernel.refuse_nothing();
        world.reload(OTHER).unwrap();
        assert_eq!(
            world.judge("192.0.3.1").reason,
            Reason::Blocklisted,
            "{refused}"
        );
        assert_eq!(
            world.judge("192.0.2.1").reason,
            Reason::Accepted,
            "{refused}"
        );
    }
}

#[test]
fn an_interface_that_cannot_be_attached_takes_all_new_ones_back() {
    let mut world = World::new(GOOD);
    world.kernel.take_changes();
    world.kernel.refuse(|call| call == "attach wan2");
    let next = format!("{GOOD}[[interface]]\nname = \"wan1\"\n[[interface]]\nname = \"wan2\"\n");
    let refused = words(world.reload(&next));
    assert!(refused.contains("could not attach to wan2"), "{refused}");
    let changes = world.kernel.take_changes();
    assert_eq!(
        changes.last().map(String::as_str),
        Some("detach wan1"),
        "{changes:?}"
    );
    assert_eq!(world.control.status().unwrap().interfaces.len(), 1);
}

#[test]
fn at_start_an_interface_that_cannot_be_attached_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let config = config("[[interface]]\nname = \"wan0\"\n");
    let kernel = TestKernel::new(capacity(&config));
    kernel.refuse(|call| call == "attach wan0");
    let state = State::open(directory.path()).unwrap();
    let datapath = Box::new(kernel);
    let started = Control::start(
        datapath,
        state,
        config,
        Overrides::default(),
        String::new(),
        |_| crate::control::Seen::default(),
    );
    assert!(words(started.map(|_control| ())).contains("could not attach to wan0"));
}

#[test]
fn observe_drops_nothing_and_counts_the_same() {
    let text = "mode = \"observe\"\n[limits]\npackets = \"1pps\"\n[ban]\nstrikes = 1\n[block]\nprefixes = [\"192.0.2.0/24\"]\n";
    let mut world = World::new(text);
    let seen: Vec<Verdict> = ["192.0.2.1", "198.51.100.1", "198.51.100.1", "198.51.100.1"]
        .map(|source| world.judge(source))
        .to_vec();
    assert!(seen.iter().all(|verdict| verdict.action == Action::Pass));
    let reasons: Vec<Reason> = seen.iter().map(|verdict| verdict.reason).collect();
    let expected = [
        Reason::Blocklisted,
        Reason::Accepted,
        Reason::RatePackets,
        Reason::Banned,
    ];
    assert_eq!(reasons, expected);
    world.reload(&text.replace("observe", "enforce")).unwrap();
    assert!(world.drops("192.0.2.1") && world.drops("198.51.100.1"));
    world
        .reload(&format!(
            "observe_reasons = [\"blocklisted\"]\n{}",
            text.replace("observe", "enforce")
        ))
        .unwrap();
    assert!(!world.drops("192.0.2.1") && world.drops("198.51.100.1"));
}

#[test]
fn the_command_line_outranks_every_file() {
    let directory = tempfile::tempdir().unwrap();
    let overrides = Overrides {
        interfaces: vec!["lan0".parse().unwrap()],
        attach: Some(AttachMode::Generic),
        observe: true,
    };
    let (control, kernel) = start(GOOD, directory.path(), overrides).unwrap();
    let mut world = World {
        control,
        kernel,
        directory,
        packet_ns: Cell::default(),
    };
    for _ in 0..2 {
        let status = world.control.status().unwrap();
        assert_eq!(status.mode, Mode::Observe);
        let interfaces: Vec<_> = status
            .interfaces
            .iter()
            .map(|i| (i.name.as_str(), i.mode.as_deref()))
            .collect();
        assert_eq!(interfaces, [("lan0", Some("generic"))]);
        world.reload(OTHER).unwrap();
    }
}

#[test]
fn the_configurations_entries_follow_and_the_operators_stay() {
    let mut world = World::new(GOOD);
    world.block(&["192.0.2.7", "192.0.3.0/24"]);
    world.reload(OTHER).unwrap();
    assert_eq!(world.list(ListKind::Block, "config"), ["192.0.3.0/24"]);
    assert_eq!(
        world.list(ListKind::Block, "manual"),
        ["192.0.2.7", "192.0.3.0/24"]
    );
    assert_eq!(world.judge("192.0.2.7").reason, Reason::Blocklisted);
    assert_eq!(world.judge("192.0.2.8").reason, Reason::Accepted);
    world.reload("").unwrap();
    assert_eq!(
        world.judge("192.0.3.8").reason,
        Reason::Blocklisted,
        "the operator's own"
    );
}

#[test]
fn sections_that_need_a_restart_keep_their_values_and_are_named() {
    let mut world = World::new("[[interface]]\nname = \"wan0\"\n");
    let next = "[[interface]]\nname = \"wan0\"\nattach = \"generic\"\n[capacity]\nblock = 1\n[log]\nlevel = \"debug\"\n";
    let report = world.reload(next).unwrap();
    let named = report.needs_restart.join(" ");
    for section in ["[capacity]", "[log]", "wan0"] {
        assert!(named.contains(section), "{named}");
    }
    assert_eq!(
        world.block(&["192.0.2.1", "192.0.2.2"]).added,
        2,
        "the old capacity holds"
    );
}

#[test]
fn the_daemons_own_file_is_read_again() {
    let mut world = World::new("");
    let reload = Apply {
        path: None,
        text: None,
        ..Apply::default()
    };
    let missing = words(world.control.apply(&reload));
    assert!(missing.contains("config.toml"), "{missing}");
    let file = world.directory.path().join("config.toml");
    std::fs::write(file, "[block]\nprefixes = [\"192.0.2.1\"]\n").unwrap();
    world.control.apply(&reload).unwrap();
    assert!(world.drops("192.0.2.1"));
}

#[test]
fn interfaces_come_and_go_each_with_a_clean_counter_slot() {
    let interfaces = |names: &[&str]| -> String {
        names
            .iter()
            .map(|name| format!("[[interface]]\nname = \"{name}\"\n"))
            .collect()
    };
    let mut world = World::new(&interfaces(&["a", "b"]));
    let slots = |world: &World| world.policy().interfaces;
    let (a, b) = (slots(&world)[0], slots(&world)[1]);
    assert!(a != 0 && b != 0 && a != b);
    world.kernel.take_changes();
    world.reload(&interfaces(&["b"])).unwrap();
    assert_eq!(slots(&world)[..2], [0, b]);
    world.reload(&interfaces(&["b", "c"])).unwrap();
    let changes = world.kernel.take_changes();
    let at = |call: &str| changes.iter().position(|c| c == call).unwrap();
    assert!(at("detach a") < at("reset_counters 0") && at("reset_counters 0") < at("attach c"));
    let c = slots(&world)[0];
    assert!(c != 0 && c != b && slots(&world)[1] == b);
    assert!(slots(&world)[2..].iter().all(|slot| *slot == 0));

    let many: Vec<String> = (0..16).map(|n| format!("e{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    words(world.reload(&interfaces(&many)));
    assert_eq!(slots(&world)[..2], [c, b]);
}
