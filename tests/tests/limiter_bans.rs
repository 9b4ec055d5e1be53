//! Strikes, bans, their growth and their decay. Times are stored, not waited for.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

use ipnet::IpNet;
use xdp_common::abi::{Ban, EVENT_BAN, Event, Fault, Plain, Source};
use xdp_common::reason::Reason;
use xdp_tests::kernel::{Kernel, Sizes, boot_ns, source_key};
use xdp_tests::oracle::{Bans, Limits, Rate, Rules};
use xdp_tests::packet::{Flags, Packet};
use xdp_tests::require_kernel;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const HOUR: u64 = 3600 * SECOND;
const DECAY: u64 = 10 * SECOND;
const SOURCE: &str = "203.0.113.7/32";

/// One minute, doubling, at most ten; a level forgotten each ten seconds, so that the past of a
/// ban fits into the time since a machine started. Three strikes, at most one a
/// second, one forgotten each half minute.
const BANS: Bans = Bans {
    strikes: 3,
    strike_interval_ns: SECOND,
    strike_decay_ns: 30 * SECOND,
    base_ns: 60 * SECOND,
    max_ns: 600 * SECOND,
    growth_shift: 1,
    level_decay_ns: DECAY,
};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Nobody may send anything, so that every packet is over the limit.
fn rules(bans: Bans) -> Rules {
    Rules {
        limits: Limits {
            packets: Some(Rate::new(1, 0)),
            ..Limits::default()
        },
        bans: Some(bans),
        ..Rules::default()
    }
}

fn loaded(bans: Bans) -> Kernel {
    let mut kernel = Kernel::load().unwrap();
    kernel.apply(&rules(bans)).unwrap();
    kernel
}

fn frame() -> Vec<u8> {
    Packet::v4("203.0.113.7", "198.51.100.1").udp(1, 2).build()
}

/// Strikes so many, the last of them so long ago.
fn struck(count: u64, ago_ns: u64) -> Source {
    let last_ms = (boot_ns().unwrap() - ago_ns) / MS;
    Source {
        strikes: last_ms << 16 | count,
        ..Source::ZERO
    }
}

fn strikes(kernel: &Kernel) -> u64 {
    kernel.source(net(SOURCE)).unwrap().unwrap().strikes & 0xffff
}

#[test]
fn a_ban_begins_with_the_last_strike_and_is_told() {
    require_kernel!("a_ban_begins_with_the_last_strike_and_is_told");
    let mut kernel = loaded(BANS);
    kernel
        .set_source(net(SOURCE), struck(2, 2 * SECOND))
        .unwrap();
    let before = boot_ns().unwrap();
    kernel.assert_drops(&frame(), Reason::RatePackets);
    let after = boot_ns().unwrap();
    let ban = kernel.ban_of(net(SOURCE)).unwrap().unwrap();
    assert!((before..=after).contains(&ban.since_ns));
    assert_eq!(ban.until_ns - ban.since_ns, BANS.base_ns);
    assert_eq!((ban.level, ban.packets), (0, 0));
    assert_eq!(ban.reason, u32::from(Reason::RatePackets.code()));
    assert_eq!(strikes(&kernel), 0, "a ban starts the count anew");
    assert_eq!(
        kernel.events(),
        [Event {
            time_ns: ban.since_ns,
            source: source_key(net(SOURCE)),
            until_ns: ban.until_ns,
            kind: EVENT_BAN,
            reason: ban.reason,
            level: 0,
            ..Event::ZERO
        }]
    );
    kernel.assert_drops(&frame(), Reason::Banned);
    let ban = kernel.ban_of(net(SOURCE)).unwrap().unwrap();
    assert_eq!((ban.packets, ban.bytes), (1, frame().len() as u64));
    assert_eq!(kernel.events(), []);
}

#[test]
fn strikes_count_once_in_their_interval_and_are_forgotten() {
    require_kernel!("strikes_count_once_in_their_interval_and_are_forgotten");
    // So long an interval that no stall of the machine ends it.
    let mut kernel = loaded(Bans {
        strike_interval_ns: HOUR,
        strike_decay_ns: 2 * HOUR,
        ..BANS
    });
    for _ in 0..50 {
        kernel.assert_drops(&frame(), Reason::RatePackets);
    }
    assert_eq!(strikes(&kernel), 1);

    let mut kernel_with = |count, ago| {
        kernel
            .set_policy(&xdp_tests::kernel::policy(&rules(BANS)))
            .unwrap();
        kernel.set_source(net(SOURCE), struck(count, ago)).unwrap();
        kernel.assert_drops(&frame(), Reason::RatePackets);
        (
            strikes(&kernel),
            kernel.ban_of(net(SOURCE)).unwrap().is_some(),
        )
    };
    assert_eq!(kernel_with(1, 0), (1, false), "within the interval");
    assert_eq!(kernel_with(1, 2 * SECOND), (2, false), "after it");
    assert_eq!(
        kernel_with(2, 31 * SECOND),
        (2, false),
        "one forgotten, one new"
    );
    assert_eq!(kernel_with(2, 61 * SECOND), (1, false), "both forgotten");
    assert_eq!(kernel_with(2, 2 * SECOND), (0, true), "the third");
}

#[test]
fn strikes_ban_grow_and_decay() {
    require_kernel!("strikes_ban_grow_and_decay");
    let lengths = [60, 120, 240, 480, 600, 600, 600];
    // The level that was, how long ago that ban ended, and the level that follows.
    for (previous, ended_ago, level) in [
        (0, SECOND, 1),
        (1, SECOND, 2),
        (2, SECOND, 3),
        (3, SECOND, 4),
        (4, SECOND, 5),
        (5, SECOND, 6),
        (3, DECAY / 2, 4),
        (3, DECAY + DECAY / 2, 3),
        (3, 3 * DECAY + DECAY / 2, 1),
        (3, 4 * DECAY + DECAY / 2, 0),
        (3, 6 * DECAY, 0),
    ] {
        let mut kernel = loaded(Bans { strikes: 1, ..BANS });
        let old = Ban {
            until_ns: boot_ns().unwrap() - ended_ago,
            level: previous,
            packets: 7,
            bytes: 700,
            ..Ban::ZERO
        };
        kernel.ban(net(SOURCE), old).unwrap();
        kernel.assert_drops(&frame(), Reason::RatePackets);
        let ban = kernel.ban_of(net(SOURCE)).unwrap().unwrap();
        assert_eq!(
            ban.level, level,
            "after level {previous}, {ended_ago} ns later"
        );
        let length = lengths[level as usize] * SECOND;
        assert_eq!(ban.until_ns - ban.since_ns, length, "level {level}");
        assert_eq!((ban.packets, ban.bytes), (7, 700), "hits go on counting");
        kernel.assert_drops(&frame(), Reason::Banned);
    }
}

#[test]
fn a_ban_never_outgrows_its_maximum() {
    require_kernel!("a_ban_never_outgrows_its_maximum");
    for (level, shift) in [(30, 1), (32, 4), (u32::MAX, 1), (15, u32::MAX), (31, 2)] {
        let mut kernel = loaded(Bans {
            strikes: 1,
            growth_shift: shift,
            ..BANS
        });
        let old = Ban {
            until_ns: boot_ns().unwrap(),
            level,
            ..Ban::ZERO
        };
        kernel.ban(net(SOURCE), old).unwrap();
        kernel.assert_drops(&frame(), Reason::RatePackets);
        let ban = kernel.ban_of(net(SOURCE)).unwrap().unwrap();
        assert_eq!(
            ban.until_ns - ban.since_ns,
            BANS.max_ns,
            "level {level}, shift {shift}"
        );
        assert!(ban.level <= 32);
    }
}

#[test]
fn without_bans_a_source_only_loses_what_is_over_its_limits() {
    require_kernel!("without_bans_a_source_only_loses_what_is_over_its_limits");
    let mut kernel = Kernel::load().unwrap();
    kernel
        .apply(&Rules {
            bans: None,
            ..rules(BANS)
        })
        .unwrap();
    kernel
        .set_source(net(SOURCE), struck(2, HOUR.min(boot_ns().unwrap() / 2)))
        .unwrap();
    for _ in 0..10 {
        kernel.assert_drops(&frame(), Reason::RatePackets);
    }
    assert_eq!(kernel.ban_of(net(SOURCE)).unwrap(), None);
    assert_eq!(strikes(&kernel), 2, "no strike either");
}

#[test]
fn a_ban_names_the_limit_that_led_to_it() {
    require_kernel!("a_ban_names_the_limit_that_led_to_it");
    let nothing = Some(Rate::new(1, 0));
    let syn = Packet::v4("203.0.113.7", "198.51.100.1")
        .tcp(1, 2, Flags::SYN)
        .build();
    for (limits, reason) in [
        (
            Limits {
                packets: nothing,
                ..Limits::default()
            },
            Reason::RatePackets,
        ),
        (
            Limits {
                bytes: nothing,
                ..Limits::default()
            },
            Reason::RateBytes,
        ),
        (
            Limits {
                tcp_new: nothing,
                packets: nothing,
                bytes: nothing,
            },
            Reason::RateTcpNew,
        ),
    ] {
        let mut kernel = Kernel::load().unwrap();
        kernel
            .apply(&Rules {
                limits,
                ..rules(Bans { strikes: 1, ..BANS })
            })
            .unwrap();
        kernel.assert_drops(&syn, reason);
        let ban = kernel.ban_of(net(SOURCE)).unwrap().unwrap();
        assert_eq!(ban.reason, u32::from(reason.code()));
    }
}

#[test]
fn a_full_ban_table_is_counted_and_the_limit_still_holds() {
    require_kernel!("a_full_ban_table_is_counted_and_the_limit_still_holds");
    let mut kernel = Kernel::load_with(&Sizes::default().bans(1)).unwrap();
    kernel.apply(&rules(Bans { strikes: 1, ..BANS })).unwrap();
    kernel.ban(net("192.0.2.1/32"), Ban::ZERO).unwrap();
    kernel.assert_drops(&frame(), Reason::RatePackets);
    kernel.assert_drops(&frame(), Reason::RatePackets);
    assert_eq!(kernel.ban_of(net(SOURCE)).unwrap(), None);
    assert_eq!(
        kernel.faults(Fault::BanTableFull).unwrap(),
        1,
        "one strike, one try"
    );
    assert_eq!(kernel.events(), [], "no ban is told that isn't stored");
}

#[test]
fn an_event_without_room_is_lost_and_counted_and_the_ban_holds() {
    require_kernel!("an_event_without_room_is_lost_and_counted_and_the_ban_holds");
    const SOURCES: u8 = 100;
    let mut kernel = Kernel::load_with(&Sizes {
        // The smallest ring buffer: a page.
        events: 4096,
        ..Sizes::default()
    })
    .unwrap();
    kernel.apply(&rules(Bans { strikes: 1, ..BANS })).unwrap();
    for host in 0..SOURCES {
        let source = std::net::Ipv4Addr::new(203, 0, 113, host);
        let frame = Packet::v4(source, "198.51.100.1").udp(1, 2).build();
        kernel.run(&frame).unwrap();
        kernel.assert_drops(&frame, Reason::Banned);
    }
    let lost = kernel.faults(Fault::EventLost).unwrap();
    let told = kernel.events().len() as u64;
    assert!(lost > 0 && told > 0);
    assert_eq!(lost + told, u64::from(SOURCES));
}
