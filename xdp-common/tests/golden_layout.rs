//! Everything that crosses the kernel border, against `abi_layout.txt`: a change of it needs a new
//! `ABI_VERSION`. `UPDATE_GOLDEN=1` writes the file anew, if the version is new.

#![allow(
    clippy::unwrap_used,
    reason = "writing to a string cannot fail; the file must be writable"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use xdp_common::abi::{
    ABI_VERSION, Ban, BanPolicy, Counter, EVENT_BAN, Entry, Event, FAMILY_IPV4, FAMILY_IPV6,
    FLAG_BANS, FLAG_OVERRIDES, FLAG_SANITY_LAND, FLAG_SANITY_MARTIAN, FLAG_SANITY_TCP_FLAGS, Fault,
    Limit, Limits, MAX_INTERFACES, MODE_ENFORCE, MODE_OBSERVE, POLICY_SLOTS, Policy, Source,
    SourceKey, map,
};
use xdp_common::reason::Reason;
use xdp_common::verdict::STRIKE_COUNT_BITS;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/abi_layout.txt");

#[test]
fn the_layout_changes_with_a_new_abi_version_only() {
    let now = layout();
    let checked_in = fs::read_to_string(FILE).unwrap_or_default();
    if std::env::var_os("UPDATE_GOLDEN").is_some() && checked_in != now {
        let version = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        assert_ne!(
            version(&checked_in),
            version(&now),
            "the layout changed: raise ABI_VERSION in xdp-common/src/abi/mod.rs first"
        );
        fs::write(Path::new(FILE), &now).unwrap();
        return;
    }
    assert!(
        checked_in == now,
        "the ABI is not the one of tests/abi_layout.txt. If it is meant to change, raise \
         ABI_VERSION and run with UPDATE_GOLDEN=1.\n{}",
        difference(&checked_in, &now)
    );
}

/// Lines that only one of the two has.
fn difference(old: &str, new: &str) -> String {
    let only = |these: &str, those: &str, sign: char| {
        these
            .lines()
            .filter(|line| !those.lines().any(|other| other == *line))
            .map(|line| format!("{sign} {line}\n"))
            .collect::<String>()
    };
    only(old, new, '-') + &only(new, old, '+')
}

fn layout() -> String {
    let mut text = format!("ABI_VERSION {ABI_VERSION}\n");
    structs(&mut text);
    numbers(&mut text);
    names(&mut text);
    text
}

fn structs(text: &mut String) {
    macro_rules! structs {
        ($($name:ident)+) => {$(
            writeln!(text, "\nstruct {} size {} align {}", stringify!($name), size_of::<$name>(),
                align_of::<$name>()).unwrap();
            for (field, offset, size) in $name::LAYOUT {
                // With the struct's name, so that a line says where it belongs.
                writeln!(text, "  {}.{field} at {offset} size {size}", stringify!($name)).unwrap();
            }
        )+};
    }
    structs!(Policy Limits Limit BanPolicy Entry SourceKey Source Ban Counter Event);
}

fn numbers(text: &mut String) {
    text.push_str("\nconstants\n");
    macro_rules! constants {
        ($($name:ident)+) => {$(
            writeln!(text, "  {} = {}", stringify!($name), $name).unwrap();
        )+};
    }
    constants!(MODE_ENFORCE MODE_OBSERVE FLAG_OVERRIDES FLAG_BANS FLAG_SANITY_TCP_FLAGS
        FLAG_SANITY_LAND FLAG_SANITY_MARTIAN MAX_INTERFACES POLICY_SLOTS FAMILY_IPV4 FAMILY_IPV6
        EVENT_BAN STRIKE_COUNT_BITS);
    writeln!(text, "  Limit::FP_BITS = {}", Limit::FP_BITS).unwrap();
    writeln!(text, "  Reason::SLOTS = {}", Reason::SLOTS).unwrap();
    writeln!(text, "  Fault::SLOTS = {}", Fault::SLOTS).unwrap();
    text.push_str("\nreasons\n");
    for reason in Reason::ALL {
        let class = reason.class();
        writeln!(
            text,
            "  reason {} {} {class:?}",
            reason.code(),
            reason.name()
        )
        .unwrap();
    }
    text.push_str("\nfaults\n");
    for fault in Fault::ALL {
        writeln!(text, "  fault {} {}", fault.code(), fault.name()).unwrap();
    }
}

fn names(text: &mut String) {
    text.push_str("\nnames\n");
    for name in [
        map::PROGRAM,
        map::POLICY,
        map::ACTIVE,
        map::COUNTERS,
        map::FAULTS,
        map::ALLOW_V4,
        map::ALLOW_V6,
        map::BLOCK_V4,
        map::BLOCK_V6,
        map::LIMITS_V4,
        map::LIMITS_V6,
        map::SOURCES,
        map::BANS,
        map::EVENTS,
    ] {
        assert!(name.len() <= 15, "{name} is too long for the kernel");
        writeln!(text, "  {name}").unwrap();
    }
}
