//! Service classes: what the program is told, and what becomes of what it counts.

use super::*;
use crate::api::types::{ClassChanged, ClassStatus, Family, Happening};
use crate::domain::ClassState;
use xdp_common::abi::{FLAG_CLASSES, Limit, class_table};

const MS: u64 = 1_000_000;
const TCP_NEW: usize = 1;

/// A moment so many milliseconds after another.
fn later(moment: Moment, ms: u64) -> Moment {
    Moment {
        boot_ns: moment.boot_ns + ms * MS,
        wall: moment.wall + jiff::SignedDuration::from_millis(i64::try_from(ms).unwrap()),
    }
}

impl World {
    fn class(&mut self, name: &str) -> ClassStatus {
        let classes = self.control.status().unwrap().mitigation.classes;
        let found = classes.into_iter().find(|class| class.name == name);
        found.unwrap_or_else(|| panic!("no class {name}"))
    }

    /// Looks every 250 ms while packets come in over a class's budget, and gives the time after it.
    fn flood(&mut self, from: Moment, ms: u64, number: usize, over_per_second: u64) -> Moment {
        let mut now = from;
        for _ in 0..ms / 250 {
            now = later(now, 250);
            self.kernel.count_class(number, |reading| {
                reading.counter.packets += over_per_second / 4;
                reading.counter.over += over_per_second / 4;
            });
            self.control.look_at_classes(now).unwrap();
        }
        now
    }
}

fn aside(interface: &str, family: Family) -> Aside {
    Aside {
        interface: interface.parse().unwrap(),
        family,
        told_by_flows: true,
        reason: format!("{interface} forwards"),
    }
}

#[test]
fn classes_are_written_before_the_policy_that_needs_them() {
    let mut world = World::new("");
    assert_ne!(world.policy().flags & FLAG_CLASSES, 0);
    let started = world.kernel.take_changes();
    let classes = started.iter().position(|change| change == "set_classes");
    let policy = started.iter().position(|change| change == "set_policy");
    assert!(classes.unwrap() < policy.unwrap(), "{started:?}");
    assert_eq!(
        world.kernel.class_set().class_at(class_table::tcp_new(80)),
        1
    );

    let text = "[[class]]\nname = \"game\"\ntcp_ports = [25565]\nbudget = \"7pps\"\n";
    let report = world.reload(text).unwrap();
    assert_eq!(report.changes, ["[[class]] changed"]);
    let changes = world.kernel.take_changes();
    assert_eq!(changes[..2], ["set_classes", "set_policy"]);
    let set = world.kernel.class_set();
    let number = set.class_at(class_table::tcp_new(25_565));
    assert_eq!(
        set.classes()[usize::from(number)].budget,
        Limit::counts(7, 7)
    );

    world.reload(text).unwrap();
    let changes = world.kernel.take_changes();
    assert!(
        !changes.contains(&"set_classes".to_owned()),
        "they are the same"
    );
}

#[test]
fn a_refused_configuration_leaves_the_classes_as_they_were() {
    let mut world = World::new("");
    let before = world.kernel.class_set();
    let mut refused = false;
    world.kernel.refuse(move |change| {
        let policy = change == "set_policy" && !refused;
        refused |= policy;
        policy
    });
    let text = "[[class]]\nname = \"tcp-new\"\nbudget = \"7pps\"\n";
    world.reload(text).unwrap_err();
    assert_eq!(world.kernel.class_set(), before);
    let budget = world.control.list_classes().unwrap().classes[TCP_NEW]
        .limits
        .budget
        .clone();
    assert_eq!(budget, "500pps");
}

#[test]
fn without_mitigation_no_packet_is_looked_at_by_its_class() {
    let mut world = World::new("[mitigation]\nenabled = false\n");
    assert_eq!(world.policy().flags & FLAG_CLASSES, 0);
    assert!(!world.control.status().unwrap().mitigation.enabled);
    let now = world.flood(Moment::now(), 5000, TCP_NEW, 1_000_000);
    world.control.look_at_classes(later(now, 250)).unwrap();
    assert_eq!(world.class("tcp-new").state, ClassState::Normal);
}

#[test]
fn a_flood_brings_its_class_under_attack_and_calm_brings_it_back() {
    let mut world = World::new("");
    world.kernel.take_changes();
    let now = world.flood(Moment::now(), 2000, TCP_NEW, 100_000);
    assert_eq!(
        world.kernel.take_changes(),
        ["set_class_level 1 1", "set_class_level 1 2"]
    );
    assert_eq!(world.kernel.class_level(TCP_NEW), 2);
    let class = world.class("tcp-new");
    assert_eq!(class.state, ClassState::Attack);
    assert!(
        class.switched_on.contains(&"SYN cookies".to_owned()),
        "{class:?}"
    );
    assert_eq!(
        (class.counts.over, class.counts.packets),
        (200_000, 200_000)
    );
    assert_eq!(world.class("udp").state, ClassState::Normal);

    world.flood(now, 60_000, TCP_NEW, 0);
    assert_eq!(world.kernel.class_level(TCP_NEW), 0);
    let class = world.class("tcp-new");
    assert_eq!(
        (class.state, class.switched_on.len()),
        (ClassState::Normal, 0)
    );
    let changes = class.state_changes;
    assert_eq!(
        (changes.elevated, changes.attack, changes.normal),
        (2, 1, 1)
    );
    let status = world.control.status().unwrap();
    let told: Vec<_> = status
        .mitigation
        .changes
        .iter()
        .map(|change| (change.class.as_str(), change.from.name(), change.to.name()))
        .collect();
    assert_eq!(
        told,
        [
            ("tcp-new", "normal", "elevated"),
            ("tcp-new", "elevated", "attack"),
            ("tcp-new", "attack", "elevated"),
            ("tcp-new", "elevated", "normal"),
        ]
    );
    assert_eq!(status.mitigation.changes[1].over_per_second, 100_000);
}

#[test]
fn a_level_that_the_kernel_refuses_is_set_at_the_next_look() {
    let mut world = World::new("");
    world
        .kernel
        .refuse(|change| change.starts_with("set_class_level"));
    let now = later(Moment::now(), 1000);
    world
        .kernel
        .count_class(TCP_NEW, |reading| reading.counter.over += 5);
    world.control.look_at_classes(now).unwrap_err();
    assert_eq!(world.class("tcp-new").state, ClassState::Normal);
    world.kernel.refuse_nothing();
    world.control.look_at_classes(later(now, 250)).unwrap();
    assert_eq!(world.class("tcp-new").state, ClassState::Elevated);
    assert_eq!(world.kernel.class_level(TCP_NEW), 1);
}

#[test]
fn the_states_that_the_program_has_are_taken_over_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = config("");
    let mut kernel = TestKernel::new(capacity(&config));
    kernel.set_class_level(TCP_NEW, 2).unwrap();
    kernel.count_class(TCP_NEW, |reading| reading.counter.over = 1_000_000);
    let state = State::open(directory.path()).unwrap();
    let datapath = Box::new(kernel.clone());
    let started = Control::start(
        datapath,
        state,
        config,
        Overrides::default(),
        String::new(),
        |_| crate::control::Seen::default(),
    );
    let mut control = started.unwrap();
    control.look_at_classes(later(Moment::now(), 1000)).unwrap();
    let classes = control.status().unwrap().mitigation.classes;
    assert_eq!(classes[TCP_NEW].state, ClassState::Attack);
    assert_eq!(classes[TCP_NEW].counts.over, 1_000_000);
}

#[test]
fn switching_mitigation_off_ends_an_attack() {
    let mut world = World::new("");
    let now = world.flood(Moment::now(), 2000, TCP_NEW, 100_000);
    world.reload("[mitigation]\nenabled = false\n").unwrap();
    world.control.look_at_classes(later(now, 250)).unwrap();
    assert_eq!(world.class("tcp-new").state, ClassState::Normal);
    assert_eq!(world.kernel.class_level(TCP_NEW), 0);
}

#[test]
fn the_list_of_changes_is_bounded() {
    let mut world = World::new("");
    let mut now = Moment::now();
    for _ in 0..50 {
        now = world.flood(now, 250, TCP_NEW, 100);
        now = world.flood(now, 11_000, TCP_NEW, 0);
    }
    assert_eq!(world.control.status().unwrap().mitigation.changes.len(), 64);
    assert_eq!(world.class("tcp-new").state_changes.elevated, 50);
}

#[test]
fn a_class_keeps_its_number_and_counts_over_reloads() {
    let two =
        "[[class]]\nname = \"a\"\nudp_ports = [1]\n[[class]]\nname = \"b\"\nudp_ports = [2]\n";
    let mut world = World::new(two);
    let number = usize::from(world.kernel.class_set().class_at(class_table::udp(2)));
    world
        .kernel
        .count_class(number, |reading| reading.counter.packets = 9);
    world
        .reload("[[class]]\nname = \"b\"\nudp_ports = [2]\n")
        .unwrap();
    assert_eq!(world.class("b").counts.packets, 9);
    let set = world.kernel.class_set();
    assert_eq!(usize::from(set.class_at(class_table::udp(2))), number);
}

#[test]
fn a_number_used_again_starts_anew() {
    let own = |from: usize, to: usize| -> String {
        let class = |n| format!("[[class]]\nname = \"c{n}\"\nudp_ports = [{}]\n", n + 1);
        (from..to).map(class).collect()
    };
    let mut world = World::new(&own(0, 14));
    let first = usize::from(world.kernel.class_set().class_at(class_table::udp(1)));
    world.flood(Moment::now(), 2000, first, 100);
    world
        .kernel
        .count_class(first, |reading| reading.counter.over = 900);
    world
        .control
        .look_at_classes(later(Moment::now(), 9000))
        .unwrap();
    assert_eq!(world.kernel.class_level(first), 1);
    world.reload(&own(1, 15)).unwrap();
    let class = world.class("c14");
    assert_eq!((class.state, class.counts.over), (ClassState::Normal, 0));
    assert_eq!(world.kernel.class_level(first), 0);
}

#[test]
fn classes_stand_aside_where_the_host_forwards() {
    let text = "[[interface]]\nname = \"wan0\"\n[[interface]]\nname = \"lan0\"\n";
    let mut world = World::new(text);
    let masks = |world: &World| (world.policy().aside_v4, world.policy().aside_v6);
    assert_eq!(masks(&world), (0, 0));
    let lan4 = aside("lan0", Family::Ipv4);
    world.control.set_asides(vec![lan4.clone()]).unwrap();
    let strangers = 1 << 15;
    assert_eq!(masks(&world), (0b10 | strangers, 0));
    let status = world.control.status().unwrap().mitigation;
    let told = &status.asides[0];
    assert_eq!(
        (told.interface.as_str(), told.family),
        ("lan0", Family::Ipv4)
    );
    assert!(told.in_force && told.reason == "lan0 forwards");

    world.kernel.take_changes();
    world.control.set_asides(vec![lan4.clone()]).unwrap();
    assert!(world.kernel.take_changes().is_empty(), "nothing new");
    let both = vec![lan4, aside("wan0", Family::Ipv6)];
    world.control.set_asides(both).unwrap();
    assert_eq!(masks(&world), (0b10 | strangers, 0b01 | strangers));

    let ignore = format!("[mitigation]\nforwarding = \"ignore\"\n{text}");
    world.reload(&ignore).unwrap();
    assert_eq!(masks(&world), (0, 0));
    assert!(!world.control.status().unwrap().mitigation.asides[0].in_force);
    world.control.set_asides(Vec::new()).unwrap();
    assert!(world.control.status().unwrap().mitigation.asides.is_empty());
}

#[test]
fn asides_that_the_kernel_refused_are_tried_again() {
    let mut world = World::new("[[interface]]\nname = \"wan0\"\n");
    world.kernel.refuse(|change| change == "set_policy");
    let asides = vec![aside("wan0", Family::Ipv4)];
    world.control.set_asides(asides.clone()).unwrap_err();
    world.kernel.refuse_nothing();
    world.control.set_asides(asides).unwrap();
    assert_eq!(world.policy().aside_v4 & 1, 1);
}

#[test]
fn every_class_is_listed_with_its_settings() {
    let mut world = World::new(
        "[[class]]\nname = \"dns\"\nenabled = false\n\
         [[class]]\nname = \"game\"\nudp_ports = [\"27000-27100\"]\nbudget = \"2kpps\"\nbytes = \"1Mbps\"\nproof = true\n",
    );
    let list = world.control.list_classes().unwrap();
    assert!(list.enabled);
    let numbers: Vec<usize> = list.classes.iter().map(|c| usize::from(c.number)).collect();
    assert!(numbers.into_iter().eq(0..list.classes.len()));
    let class = |name: &str| list.classes.iter().find(|c| c.status.name == name).unwrap();
    assert!(!class("dns").enabled && class("dns").built_in);
    let game = class("game");
    assert_eq!(game.takes, ["udp 27000-27100"]);
    assert_eq!(game.flags, ["proof", "known_first"]);
    let limits = &game.limits;
    assert_eq!(
        (limits.budget.as_str(), limits.attack_budget.as_str()),
        ("2kpps", "2kpps")
    );
    assert_eq!(
        (limits.packets.as_str(), limits.packets_burst.as_ref()),
        ("off", None)
    );
    assert_eq!(limits.bytes_burst.as_deref(), Some("125kB"));
}

#[test]
fn observe_mode_drops_nothing_whatever_the_classes_say() {
    let world =
        World::new("mode = \"observe\"\n[[class]]\nname = \"tcp-new\"\nbudget = \"1pps\"\n");
    for source in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        assert!(!world.drops(source));
    }
}

#[test]
fn each_change_of_a_state_is_an_event() {
    let mut world = World::new("");
    let now = world.flood(Moment::now(), 3000, TCP_NEW, 1_000_000);
    let states: Vec<ClassChanged> = world
        .happened()
        .into_iter()
        .filter_map(|what| {
            let Happening::Class(changed) = what else {
                return None;
            };
            Some(changed)
        })
        .collect();
    let steps: Vec<_> = states
        .iter()
        .map(|changed| (changed.from, changed.to))
        .collect();
    let (normal, elevated, attack) = (ClassState::Normal, ClassState::Elevated, ClassState::Attack);
    assert_eq!(steps, [(normal, elevated), (elevated, attack)]);
    assert!(states.iter().all(|changed| changed.class == "tcp-new"));
    assert!(!states[1].switched_on.is_empty());
    let event = &world
        .control
        .journal
        .past(&crate::events::Filter::default(), 1)[0];
    assert!(
        event.at > now.wall - jiff::SignedDuration::from_secs(3),
        "the look's own time"
    );
}
