//! A program without the stages that its policy has no use for judges as one with all of them, in the
//! running kernel.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;
use xdp_common::abi::{
    Class as Service, FLAG_AGGREGATES, FLAG_BANS, FLAG_CLASSES, FLAG_OVERRIDES, FLAG_SANITY_LAND,
    FLAG_SANITY_MARTIAN, FLAG_SANITY_TCP_FLAGS, Limit, Plain as _, Policy, STAGES, class_table,
};
use xdp_common::reason::Reason;
use xdp_tests::kernel::{Kernel, counts, policy};
use xdp_tests::netns::Namespace;
use xdp_tests::oracle::{Bans, Limits, Rate, Rules};
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;
use xdp_user::datapath::{ClassSet, Datapath as _};

const EACH: [u32; 6] = [
    FLAG_BANS,
    FLAG_SANITY_TCP_FLAGS,
    FLAG_SANITY_LAND,
    FLAG_SANITY_MARTIAN,
    FLAG_CLASSES,
    FLAG_AGGREGATES,
];
/// The host of a round that may send nothing, whatever others may.
const OWN_LIMIT: u8 = 5;
/// Port whose class allows nothing.
const STRICT: u16 = 42;
/// Longer than any kernel takes over the frames of a round, an emulated one included.
const HOUR_NS: u64 = 3600 * 1_000_000_000;
/// On the bpffs of a namespace.
const PINS: &str = "/sys/fs/bpf/stages";

/// A source may send two packets and a network four; who sends three is banned for it.
fn with(stages: u32) -> Policy {
    let rules = Rules {
        source_bits_v6: 128,
        limits: Limits {
            packets: Some(Rate::hourly(2)),
            ..Limits::default()
        },
        bans: Some(Bans {
            strikes: 1,
            strike_interval_ns: 1,
            strike_decay_ns: HOUR_NS,
            base_ns: HOUR_NS,
            max_ns: HOUR_NS,
            growth_shift: 1,
            level_decay_ns: HOUR_NS,
        }),
        ..Rules::default()
    };
    let mut network = [0; 16];
    network[..8].fill(0xff);
    Policy {
        flags: stages | FLAG_OVERRIDES,
        aggregate_mask_v4: [0xff; 4],
        aggregate_mask_v6: network,
        aggregate_packets: counts(Rate::hourly(4)),
        ..policy(&rules)
    }
}

fn host(round: u8, n: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, round, n)
}

/// A frame, the stage that says something of it with what it says, and what becomes of it otherwise.
type Case = (Vec<u8>, Option<(u32, Reason)>, Reason);

/// Frames for each stage, from sources that no other round has.
fn frames(round: u8) -> Vec<Case> {
    use Reason::{
        Accepted, AggregatePackets, Banned, ClassPackets, Land, MartianSource, RatePackets,
        TcpFlags,
    };
    let host = |n| host(round, n);
    let v4 = |source: Ipv4Addr| Packet::v4(source, "198.51.100.1");
    let no_flags = v4(host(1)).tcp(1, 2, Flags::NONE).build();
    let land = Packet::v4(host(2), host(2)).udp(1, 2).build();
    let martian = v4(Ipv4Addr::new(127, 0, round, 1)).udp(1, 2).build();
    let strict = v4(host(3)).udp(1, STRICT).build();
    let spent = v4(host(4)).udp(1, 2).build();
    let mut frames = vec![
        (no_flags, Some((FLAG_SANITY_TCP_FLAGS, TcpFlags)), Accepted),
        (land, Some((FLAG_SANITY_LAND, Land)), Accepted),
        (
            martian,
            Some((FLAG_SANITY_MARTIAN, MartianSource)),
            Accepted,
        ),
        (strict, Some((FLAG_CLASSES, ClassPackets)), Accepted),
        (spent.clone(), None, Accepted),
        (spent.clone(), None, Accepted),
        (spent.clone(), None, RatePackets),
        (spent, Some((FLAG_BANS, Banned)), RatePackets),
        // What is no stage of these is always there.
        (v4(host(OWN_LIMIT)).udp(1, 2).build(), None, RatePackets),
    ];
    for host in 1..=5 {
        let source = Ipv6Addr::new(0x2001, 0xdb8, 0, round.into(), 0, 0, 0, host);
        let frame = Packet::v6(source, "2001:db8:1::1").udp(1, 2).build();
        let last = (host == 5).then_some((FLAG_AGGREGATES, AggregatePackets));
        frames.push((frame, last, Accepted));
    }
    frames
}

/// Puts a policy with these stages in force, and judges the frames of a round.
fn judge_with(kernel: &mut Kernel, stages: u32, round: u8) {
    kernel.set_policy(&with(stages)).unwrap();
    let limited = IpNet::from(IpAddr::from(host(round, OWN_LIMIT)));
    let nothing = Limits {
        packets: Some(Rate::new(1, 0)),
        ..Limits::default()
    };
    kernel.override_limits(limited, &nothing).unwrap();
    for (n, (frame, said, otherwise)) in frames(round).into_iter().enumerate() {
        let said = said.filter(|(stage, _)| stages & stage != 0);
        let expected = said.map_or(otherwise, |(_, reason)| reason);
        let judged = kernel.judge(&frame).unwrap();
        assert_eq!(
            judged.slot.reason, expected,
            "stages {stages:#x}, frame {n}"
        );
    }
}

fn strict_class() -> ClassSet {
    let mut classes = ClassSet::default();
    let strict = Service {
        packets: Limit::counts(1, 0),
        ..Service::ZERO
    };
    let number = classes.add(strict).unwrap();
    classes.assign(class_table::udp(STRICT), number);
    classes
}

/// Has a program with these stages judge over pinned maps.
fn with_pinned(stages: u32, judge: impl FnOnce(&mut Kernel) + Send) {
    let namespace = Namespace::new("stages").unwrap();
    let work = || {
        let mut kernel = Kernel::load_pinned(Path::new(PINS), stages).unwrap();
        kernel.datapath().set_classes(&strict_class()).unwrap();
        judge(&mut kernel);
    };
    namespace.run(work).unwrap();
}

#[test]
fn each_policy_has_its_stages_in_the_program_and_no_others() {
    require_kernel!("each_policy_has_its_stages_in_the_program_and_no_others");
    with_pinned(0, |kernel| {
        let mut rounds = vec![0, STAGES];
        rounds.extend(EACH);
        rounds.extend(EACH.map(|stage| STAGES & !stage));
        for (round, stages) in rounds.into_iter().enumerate() {
            judge_with(kernel, stages, u8::try_from(round).unwrap());
            assert_eq!(kernel.datapath().stages(), stages);
        }
    });
}

/// Each stage has code of its own, which isn't there without it.
#[test]
fn a_program_without_a_stage_is_smaller() {
    require_kernel!("a_program_without_a_stage_is_smaller");
    with_pinned(STAGES, |kernel| {
        let mut bytes_with = |stages| {
            kernel.set_policy(&with(stages)).unwrap();
            translated_bytes(kernel)
        };
        let [all, none] = [STAGES, 0].map(&mut bytes_with);
        println!("{all} bytes translated with all stages, {none} with none");
        for stage in EACH {
            let without = bytes_with(STAGES & !stage);
            assert!(none < without && without < all, "{stage:#x}: {without}");
        }
        assert_eq!(bytes_with(STAGES), all, "the same program again");
    });
}

/// What the verifier has left of the program.
fn translated_bytes(kernel: &mut Kernel) -> u32 {
    let program = kernel.datapath().loaded_program().unwrap();
    program.info().unwrap().size_translated().unwrap()
}

/// Nothing could be put in the place of what runs, so the policy before stays.
#[test]
fn a_policy_whose_stage_can_not_be_had_is_refused_and_the_one_before_stays() {
    require_kernel!("a_policy_whose_stage_can_not_be_had_is_refused_and_the_one_before_stays");
    with_pinned(0, |kernel| {
        let kept = FLAG_SANITY_LAND | FLAG_BANS;
        judge_with(kernel, kept, 0);
        std::fs::remove_file(Path::new(PINS).join(pinned_version()).join("SOURCES")).unwrap();
        let refused = kernel.set_policy(&with(STAGES)).unwrap_err();
        assert!(format!("{refused:#}").contains("pinned"), "{refused:#}");
        assert_eq!(kernel.datapath().stages(), kept);
        let land = Packet::v4("203.0.113.2", "203.0.113.2").udp(1, 2);
        kernel.assert_drops(&land.build(), Reason::Land);
        let martian = Packet::v4("127.0.0.1", "198.51.100.1").udp(1, 2);
        kernel.assert_passes(&martian.build(), Reason::Accepted);
        // What it has is enough for this one.
        kernel.set_policy(&with(FLAG_SANITY_LAND)).unwrap();
        assert_eq!(kernel.datapath().stages(), kept);
        kernel.assert_drops(&land.build(), Reason::Land);
    });
}

fn pinned_version() -> String {
    format!("v{}", xdp_common::abi::ABI_VERSION)
}
