//! When the program may go by the flow memory.

use xdp_common::abi::FLAG_FLOW_MEMORY;

use super::*;
use crate::api::types::{Family, FlowMemoryState};
use crate::control::Aside;

const TWO: &str = "[[interface]]\nname = \"wan0\"\n[[interface]]\nname = \"lan0\"\n";

impl World {
    fn goes_by_flows(&self) -> bool {
        self.policy().flags & FLAG_FLOW_MEMORY != 0
    }

    /// As each tick does, so many seconds from now.
    fn look_at_egress_in(&mut self, seconds: u64) {
        let now = Moment::now();
        let later = Moment {
            boot_ns: now.boot_ns + seconds * 1_000_000_000,
            ..now
        };
        self.control.look_at_egress(later).unwrap();
    }

    fn flow_memory(&mut self) -> FlowMemoryState {
        self.control.status().unwrap().flow_memory.state
    }
}

#[test]
fn the_memory_counts_a_minute_after_all_that_leaves_is_noted() {
    let mut world = World::new(TWO);
    assert!(!world.goes_by_flows());
    let status = world.control.status().unwrap().flow_memory;
    assert_eq!(status.state, FlowMemoryState::WarmingUp);
    assert!(
        status
            .seconds_left
            .is_some_and(|left| (58..=60).contains(&left)),
        "{status:?}"
    );
    world.look_at_egress_in(50);
    assert!(!world.goes_by_flows());
    world.look_at_egress_in(61);
    assert!(world.goes_by_flows());
    assert_eq!(world.flow_memory(), FlowMemoryState::Complete);
}

#[test]
fn an_interface_without_the_program_ends_it_by_name_and_it_warms_up_again() {
    let mut world = World::new(TWO);
    world.look_at_egress_in(61);
    world.kernel.lacks_egress(&["lan0"]);
    world.look_at_egress_in(62);
    assert!(!world.goes_by_flows());
    let status = world.control.status().unwrap();
    assert_eq!(status.flow_memory.state, FlowMemoryState::NotAttached);
    assert_eq!(
        status.flow_memory.why.as_deref(),
        Some("on lan0: refused by the test")
    );
    let [wan, lan] = &status.interfaces[..] else {
        panic!("{:?}", status.interfaces);
    };
    assert_eq!(
        (wan.egress.as_deref(), &wan.egress_why),
        (Some("tcx"), &None)
    );
    assert_eq!(
        (&lan.egress, lan.egress_why.as_deref()),
        (&None, Some("refused by the test"))
    );
    assert!(
        status
            .warnings
            .iter()
            .any(|one| one.contains("leaves by lan0"))
    );
    world.kernel.lacks_egress(&[]);
    world.look_at_egress_in(63);
    assert!(!world.goes_by_flows(), "begun anew");
    world.look_at_egress_in(124);
    assert!(world.goes_by_flows());
}

#[test]
fn a_complete_memory_that_was_taken_over_counts_at_once() {
    for (is_whole, missing) in [(true, &[][..]), (false, &["lan0"][..])] {
        let directory = tempfile::tempdir().unwrap();
        let kernel = TestKernel::new(capacity(&config(TWO)));
        kernel.remembers_flows();
        kernel.lacks_egress(missing);
        let started = start_over(kernel, TWO, directory.path(), Overrides::default());
        let (_control, kernel) = started.unwrap();
        let flags = Tables::policy(&*kernel.memory()).unwrap().flags;
        assert_eq!(flags & FLAG_FLOW_MEMORY != 0, is_whole, "{missing:?}");
    }
}

#[test]
fn nobody_asks_it_while_mitigation_is_off() {
    let mut world = World::new(&format!("[mitigation]\nenabled = false\n{TWO}"));
    world.look_at_egress_in(61);
    assert!(!world.goes_by_flows());
    assert_eq!(world.flow_memory(), FlowMemoryState::Off);
    world.reload(TWO).unwrap();
    assert_eq!(world.flow_memory(), FlowMemoryState::WarmingUp);
}

#[test]
fn classes_go_by_a_complete_memory_in_place_of_standing_aside() {
    let by_flows = format!("[mitigation]\nforwarding = \"flow-memory\"\n{TWO}");
    let mut world = World::new(&by_flows);
    let aside = |interface: &str, told_by_flows| Aside {
        interface: interface.parse().unwrap(),
        family: Family::Ipv4,
        reason: "others".to_owned(),
        told_by_flows,
    };
    let asides = vec![aside("wan0", true), aside("lan0", false)];
    world.control.set_asides(asides).unwrap();
    let masks = |world: &World| {
        let policy = world.policy();
        (
            policy.aside_v4 & 3,
            policy.forwards_v4 & 3,
            policy.aside_v6,
            policy.forwards_v6,
        )
    };
    assert_eq!(masks(&world), (0b11, 0, 0, 0));
    world.look_at_egress_in(61);
    assert_eq!(masks(&world), (0b10, 0b01, 0, 0));
    let told: Vec<_> = {
        let asides = world
            .control
            .status()
            .unwrap()
            .mitigation
            .asides
            .into_iter();
        asides
            .map(|one| (one.in_force, one.told_by_flows))
            .collect()
    };
    assert_eq!(told, [(false, true), (true, false)]);
    world.kernel.lacks_egress(&["wan0"]);
    world.look_at_egress_in(62);
    assert_eq!(masks(&world), (0b11, 0, 0, 0));
    world.kernel.lacks_egress(&[]);
    world.reload(TWO).unwrap();
    assert_eq!(masks(&world), (0b11, 0, 0, 0), "unless it is asked to");
    let ignore = format!("[mitigation]\nforwarding = \"ignore\"\n{TWO}");
    world.reload(&ignore).unwrap();
    assert_eq!(masks(&world), (0, 0, 0, 0));
}
