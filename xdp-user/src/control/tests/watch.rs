//! Interfaces that go and come back under the daemon, and a clock that went wrong.

use super::*;
use crate::domain::IfName;

const WAN: &str = "[[interface]]\nname = \"wan0\"\n[[interface]]\nname = \"wan1\"\n";

/// Whether an interface is attached, and its index.
fn attached(world: &mut World, name: &str) -> (bool, u32) {
    let status = world.control.status().unwrap();
    let mut interfaces = status.interfaces.into_iter();
    let one = interfaces.find(|one| one.name == name).unwrap();
    (one.attached, one.index)
}

#[test]
fn an_interface_that_comes_back_is_attached_again() {
    let mut world = World::new(WAN);
    let before = attached(&mut world, "wan0");
    assert!(before.0);
    // The device goes, and the program with it.
    let name: IfName = "wan0".parse().unwrap();
    world.kernel.memory().detach(&name).unwrap();
    world.kernel.refuse(|call| call == "attach wan0");
    world.control.tick();
    assert_eq!(attached(&mut world, "wan0"), (false, 0));
    assert_eq!(world.policy().interfaces[0], 0);
    let warnings = world.control.status().unwrap().warnings.join("\n");
    assert!(warnings.contains("wan0 is not attached"), "{warnings}");
    assert!(attached(&mut world, "wan1").0, "the other one stays");

    world.kernel.refuse_nothing();
    world.control.tick();
    let (is_attached, index) = attached(&mut world, "wan0");
    assert!(is_attached && index != before.1);
    assert_eq!(world.policy().interfaces[0], index, "counted as before");

    world.kernel.take_changes();
    world.control.tick();
    assert!(world.kernel.take_changes().is_empty());
}

#[test]
fn a_clock_that_stood_still_in_suspend_is_measured_and_told_again() {
    let mut world = World::new("");
    let right = world.policy();
    let hour_ns = 3_600_000_000_000;
    world.control.clock.offset_ns = right.clock_offset_ns.wrapping_sub(hour_ns);
    world.control.publish_policy().unwrap();
    assert_eq!(
        world.policy().clock_offset_ns,
        world.control.clock.offset_ns
    );
    world.control.tick();
    let told = world.policy();
    let off = told
        .clock_offset_ns
        .wrapping_sub(right.clock_offset_ns)
        .cast_signed();
    let tick = i64::from(told.tick_ns);
    assert!(off.abs() <= 3 * tick, "{off} ns from before");
    let generation = told.generation;
    world.control.tick();
    assert_eq!(world.policy().generation, generation, "it is right");
}
