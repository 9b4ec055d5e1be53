//! Interfaces that go and come back under the daemon, and a clock that went wrong.

use super::*;
use crate::api::types::WaitReason;
use crate::datapath::memory::Device;
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

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

/// The names that interfaces have now: the kernel's.
fn names(world: &World) -> Vec<IfName> {
    let watched = world.control.watched();
    watched.into_iter().map(|one| one.name).collect()
}

fn device(text: &str, index: u32) -> Device {
    Device::new(name(text), index)
}

/// Starts with these devices only.
fn start_with(text: &str, devices: Vec<Device>) -> Result<World> {
    let directory = tempfile::tempdir()?;
    let kernel = TestKernel::new(capacity(&config(text)));
    kernel.memory().set_devices(devices);
    let (control, kernel) = start_over(kernel, text, directory.path(), Overrides::default())?;
    Ok(World {
        control,
        kernel,
        directory,
        packet_ns: Cell::new(Moment::now().boot_ns),
    })
}

fn apply(world: &mut World, text: &str) -> Result<ApplyReport> {
    world.control.apply(&Apply {
        path: None,
        text: Some(text.to_owned()),
        ..Apply::default()
    })
}

fn waiting(world: &mut World, name: &str) -> Option<WaitReason> {
    let status = world.control.status().unwrap();
    let mut interfaces = status.interfaces.into_iter();
    interfaces.find(|one| one.name == name).unwrap().waiting
}

#[test]
fn an_interface_that_can_not_be_attached_at_the_start_is_waited_for_and_the_others_are_protected() {
    let text = "[[interface]]\nname = \"wan0\"\n[[interface]]\nname = \"wan1\"\nattach = \"native\"\n\
                [[interface]]\nname = \"wan2\"\n[[interface]]\nname = \"wan3\"\n";
    let mut held = device("wan2", 12);
    held.occupied = true;
    let mut slow = device("wan1", 11);
    slow.native = false;
    let mut world = start_with(text, vec![device("wan0", 10), slow, held]).unwrap();
    for (name, reason) in [
        ("wan0", None),
        ("wan1", Some(WaitReason::NoNative)),
        ("wan2", Some(WaitReason::Occupied)),
        ("wan3", Some(WaitReason::Missing)),
    ] {
        assert_eq!(waiting(&mut world, name), reason, "{name}");
        assert_eq!(attached(&mut world, name).0, reason.is_none(), "{name}");
    }
    assert_eq!(world.policy().interfaces[..4], [10, 0, 0, 0]);
    let told = world.control.protection().borrow().clone();
    assert_eq!(
        told,
        "filtering on wan0; waiting for wan1 (no_native), wan2 (occupied), wan3 (missing)"
    );

    world.kernel.memory().set_devices(vec![
        device("wan0", 10),
        device("wan1", 11),
        device("wan2", 12),
        device("wan3", 13),
    ]);
    world.control.look_for_interfaces(false);
    assert_eq!(world.policy().interfaces[..4], [10, 11, 12, 13]);
    for name in ["wan1", "wan2", "wan3"] {
        assert_eq!(waiting(&mut world, name), None, "{name}");
    }
}

#[test]
fn with_all_interfaces_missing_the_daemon_runs_and_says_so() {
    let mut world = start_with(WAN, Vec::new()).unwrap();
    assert_eq!(waiting(&mut world, "wan0"), Some(WaitReason::Missing));
    let told = world.control.protection().borrow().clone();
    assert!(told.starts_with("filtering on no interface"), "{told}");
}

#[test]
fn a_required_interface_that_is_missing_fails_the_start_and_a_reload() {
    let required =
        "[[interface]]\nname = \"wan0\"\n[[interface]]\nname = \"wan1\"\nrequired = true\n";
    let refused = start_with(required, vec![device("wan0", 10)])
        .err()
        .unwrap();
    let text = format!("{refused:#}");
    assert!(
        text.contains("wan1") && text.contains("required = true"),
        "{text}"
    );

    let one = "[[interface]]\nname = \"wan0\"\n";
    let mut world = start_with(one, vec![device("wan0", 10)]).unwrap();
    apply(&mut world, required).unwrap_err();
    let status = world.control.status().unwrap();
    assert_eq!(status.interfaces.len(), 1, "{:?}", status.interfaces);
    assert!(attached(&mut world, "wan0").0);
    // One that is not required is waited for.
    apply(&mut world, WAN).unwrap();
    assert_eq!(waiting(&mut world, "wan1"), Some(WaitReason::Missing));
    // It was there: a reload isn't refused for what went away since.
    world
        .kernel
        .memory()
        .set_devices(vec![device("wan0", 10), device("wan1", 11)]);
    world.control.look_for_interfaces(true);
    world.kernel.memory().set_devices(vec![device("wan0", 10)]);
    world.control.look_for_interfaces(true);
    apply(&mut world, required).unwrap();
    assert_eq!(waiting(&mut world, "wan1"), Some(WaitReason::Missing));
}

#[test]
fn an_altname_is_taken_for_the_kernels_name_and_two_names_for_one_interface_are_refused() {
    let mut card = device("wan0", 10);
    card.altnames.push(name("enp0s31f6"));
    let by_altname = "[[interface]]\nname = \"enp0s31f6\"\n";
    let mut world = start_with(by_altname, vec![card.clone()]).unwrap();
    let status = world.control.status().unwrap();
    let shown = &status.interfaces[0];
    assert_eq!((shown.name.as_str(), shown.index), ("wan0", 10));
    assert_eq!(shown.configured.as_deref(), Some("enp0s31f6"));
    assert_eq!(names(&world), [name("wan0")]);

    let both = format!("{by_altname}[[interface]]\nname = \"wan0\"\n");
    for refused in [
        start_with(&both, vec![card]).err().unwrap(),
        apply(&mut world, &both).unwrap_err(),
    ] {
        let text = format!("{refused:#}");
        assert!(
            text.contains("enp0s31f6 and wan0 are names of one interface"),
            "{text}"
        );
    }
    // Named otherwise by a reload, it goes on.
    world.kernel.take_changes();
    apply(&mut world, "[[interface]]\nname = \"wan0\"\n").unwrap();
    let changes = world.kernel.take_changes();
    let touched = |what: &String| what.contains("attach") || what.contains("detach");
    assert!(!changes.iter().any(touched), "{changes:?}");
    let shown = world.control.status().unwrap().interfaces;
    assert_eq!((shown.len(), &shown[0].configured), (1, &None));
}

#[test]
fn a_renamed_interface_is_followed_and_the_device_that_took_its_name_is_not_taken_for_it() {
    let text = "[[interface]]\nname = \"wan0\"\n";
    let mut world = start_with(text, vec![device("wan0", 10)]).unwrap();
    let now = vec![device("lan0", 10), device("wan0", 20)];
    world.kernel.memory().set_devices(now);
    world.kernel.take_changes();
    world.control.look_for_interfaces(true);
    assert_eq!(names(&world), [name("lan0")]);
    assert_eq!(attached(&mut world, "lan0"), (true, 10));
    assert_eq!(world.policy().interfaces[..2], [10, 0]);
    let warnings = world.control.status().unwrap().warnings.join("\n");
    assert!(
        warnings.contains("another interface is called wan0 now"),
        "{warnings}"
    );
    // A reload of the same text changes nothing of it.
    apply(&mut world, text).unwrap();
    assert_eq!(names(&world), [name("lan0")]);

    let both = "[[interface]]\nname = \"lan0\"\n[[interface]]\nname = \"wan0\"\n";
    apply(&mut world, both).unwrap();
    assert_eq!(attached(&mut world, "lan0"), (true, 10));
    assert_eq!(attached(&mut world, "wan0"), (true, 20));
    assert_eq!(world.policy().interfaces[..2], [10, 20]);
    // They change names with each other, and the configuration says so by staying as it is.
    let crossed = vec![device("wan0", 10), device("lan0", 20)];
    world.kernel.memory().set_devices(crossed);
    world.kernel.take_changes();
    world.control.look_for_interfaces(true);
    apply(&mut world, both).unwrap();
    assert_eq!(attached(&mut world, "wan0"), (true, 10));
    assert_eq!(attached(&mut world, "lan0"), (true, 20));
    let changes = world.kernel.take_changes();
    assert!(
        !changes.iter().any(|what| what.contains("detach")),
        "{changes:?}"
    );
}
