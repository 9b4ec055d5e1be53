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
    ABI_VERSION, Ban, BanPolicy, CLASS_BANKS, CLASS_KNOWN_FIRST, CLASS_OBSERVE, CLASS_PROOF,
    CLASS_SOLICITED, CLASS_SYN_COOKIES, Class, ClassCounter, ClassState, Counter, EVENT_BAN, Event,
    FAMILY_IPV4, FAMILY_IPV6, FLAG_AGGREGATES, FLAG_BANS, FLAG_CLASSES, FLAG_COARSE_CLOCK,
    FLAG_FIXED_CLOCK, FLAG_OVERRIDES, FLAG_SANITY_LAND, FLAG_SANITY_MARTIAN, FLAG_SANITY_TCP_FLAGS,
    Fault, Hit, HitWriter, LEVEL_ATTACK, LEVEL_ELEVATED, LEVEL_NORMAL, Limit, Limits, ListLine,
    MAX_CLASSES, MAX_INTERFACES, MODE_ENFORCE, MODE_OBSERVE, NotIp, NotIpKind, POLICY_SLOTS,
    Policy, SAMPLE_ANSWERED, SAMPLE_BYTES, SAMPLE_DROPPED, SAMPLE_PASSED, Sample, SampleHead,
    SourceKey, SourceLine, chunks, class_table, constant, hits, map,
};
use xdp_common::lists::{self, head};
use xdp_common::reason::Reason;
use xdp_common::sources::{self, cold, hot};
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
    not_ip(&mut text);
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
    structs!(Policy Limits Limit BanPolicy SourceKey ListLine SourceLine Hit HitWriter Ban Counter
        Event SampleHead Sample Class ClassState ClassCounter NotIp);
}

fn numbers(text: &mut String) {
    text.push_str("\nconstants\n");
    macro_rules! constants {
        ($($name:ident)+) => {$(
            writeln!(text, "  {} = {}", stringify!($name), $name).unwrap();
        )+};
    }
    constants!(MODE_ENFORCE MODE_OBSERVE FLAG_OVERRIDES FLAG_BANS FLAG_SANITY_TCP_FLAGS
        FLAG_SANITY_LAND FLAG_SANITY_MARTIAN FLAG_COARSE_CLOCK FLAG_FIXED_CLOCK FLAG_CLASSES FLAG_AGGREGATES
        MAX_CLASSES CLASS_BANKS CLASS_SOLICITED CLASS_PROOF CLASS_SYN_COOKIES CLASS_KNOWN_FIRST CLASS_OBSERVE
        LEVEL_NORMAL LEVEL_ELEVATED LEVEL_ATTACK MAX_INTERFACES POLICY_SLOTS FAMILY_IPV4 FAMILY_IPV6
        EVENT_BAN SAMPLE_BYTES SAMPLE_PASSED SAMPLE_DROPPED SAMPLE_ANSWERED STRIKE_COUNT_BITS);
    for (name, value) in table_constants() {
        writeln!(text, "  {name} = {value}").unwrap();
    }
    writeln!(text, "  Limit::FP_BITS = {}", Limit::FP_BITS).unwrap();
    for (name, value) in [
        ("tcp_new", class_table::tcp_new(0)),
        ("udp", class_table::udp(0)),
        ("reflection", class_table::reflection(0)),
        ("icmp", class_table::icmp(0)),
        ("icmpv6", class_table::icmpv6(0)),
        ("protocol", class_table::protocol(0)),
        ("tcp_flags", class_table::tcp_flags(0)),
        ("FRAGMENT", class_table::FRAGMENT),
        ("BYTES", class_table::BYTES),
    ] {
        writeln!(text, "  class_table::{name} = {value}").unwrap();
    }
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

/// Kinds of what isn't judged.
fn not_ip(text: &mut String) {
    text.push_str("\nkinds of what is not IP\n");
    for kind in NotIpKind::ALL {
        writeln!(text, "  not_ip {} {}", kind.code(), kind.name()).unwrap();
    }
}

/// What both sides must agree on about lines, beside the lines themselves.
fn table_constants() -> Vec<(&'static str, u64)> {
    macro_rules! named {
        ($($path:path)+) => {
            vec![$((stringify!($path), u64::try_from($path).unwrap()),)+]
        };
    }
    let mut all = named!(hits::RING hits::EXACT hits::MAX_GAP lists::ALLOW lists::BLOCK
        lists::LIMITS lists::TIMED lists::END_SHIFT lists::MAX_CHAIN lists::group::LINES
        lists::group::ALLOW_ENDS lists::group::BLOCK_ENDS lists::v4::SLOTS lists::v4::MIN_LINES
        lists::v6::SLOTS lists::v6::MIN_LINES lists::v6::META_BITS lists::v6::UPPER_LEVELS);
    all.extend(
        named!(head::V4_24 head::V4_16 head::V6_FIRST head::V6_LOW head::V6_HOST
        head::SHORT head::LEVELS head::LINES head::ENDS head::EARLIEST_END head::SEEDS
        head::FILTER chunks::SHIFT chunks::PER_TABLE chunks::IN_FORCE chunks::CHANGES),
    );
    all.push(("chunks::in_force(3, 2, 1)", chunks::in_force(3, 2, 1)));
    all.extend(
        named!(sources::WAYS sources::BUCKET_LINES sources::IPV4_LOW sources::head::REFERENCED
        sources::head::PROTECTED sources::head::BANS sources::head::BAN_BITS
        sources::head::VERSION),
    );
    all.extend(
        named!(hot::TAT_PACKETS hot::TAT_BYTES hot::TAT_TCP_NEW hot::PACKETS hot::BYTES
        hot::FIRST_SEEN hot::LAST_SEEN hot::LOW cold::OWNER cold::CLAIMED cold::STRIKES cold::DROPPED_PACKETS
        cold::DROPPED_BYTES),
    );
    all
}

fn names(text: &mut String) {
    text.push_str("\nnames\n");
    for name in [
        map::PROGRAM,
        map::PROGRAM_IP,
        map::POLICY,
        map::ACTIVE,
        map::COUNTERS,
        map::FAULTS,
        map::NOT_IP,
        map::LISTS,
        map::LIST_HEADS,
        map::HITS,
        map::HIT_WRITERS,
        map::LIMITS_V4,
        map::LIMITS_V6,
        map::SOURCES,
        map::BANS,
        map::CLASS_TABLE,
        map::CLASSES,
        map::CLASS_STATES,
        map::CLASS_COUNTERS,
        map::KNOWN,
        map::METERS,
        map::FRAGMENTS,
        map::LISTENERS,
        map::EVENTS,
        map::SAMPLES,
    ] {
        assert!(name.len() <= 15, "{name} is too long for the kernel");
        writeln!(text, "  {name}").unwrap();
    }
    for name in [
        constant::SOURCE_BUCKETS,
        constant::SOURCE_SEEDS,
        constant::PERIOD_SHIFT,
        constant::KNOWN_MASK,
        constant::METER_MASK,
        constant::STAGES,
    ] {
        writeln!(text, "  constant {name}").unwrap();
    }
}
