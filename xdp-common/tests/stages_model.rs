//! The order of the stages, expiry, observe mode, strikes and bans, over host memory.

mod support;

use proptest::prelude::*;
use support::{HostEntry, HostTables, Prefix, frames, policy};
use xdp_common::abi::{Ban, BanPolicy, FLAG_BANS, Limit, Limits, MODE_OBSERVE, Plain, Policy};
use xdp_common::packet::Address;
use xdp_common::reason::{Action, Reason};
use xdp_common::verdict::next_ban;

const SOURCE: Address = Address::v4([203, 0, 113, 7]);
const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;

const BANS: BanPolicy = BanPolicy {
    strike_interval_ns: SECOND,
    strike_decay_ns: 30 * SECOND,
    base_ns: 60 * SECOND,
    max_ns: 600 * SECOND,
    level_decay_ns: 3600 * SECOND,
    strikes: 3,
    growth_shift: 1,
};

/// Nobody may send, and who does is banned in the end.
fn strict() -> Policy {
    let none = Limit::counts(1, 0);
    Policy {
        limits: Limits {
            packets: none,
            bytes: Limit::bytes(1, 0),
            tcp_new: none,
        },
        ban: BANS,
        flags: policy().flags | FLAG_BANS,
        ..policy()
    }
}

fn until(expires_ns: u64) -> HostEntry {
    HostEntry {
        expires_ns,
        ..HostEntry::default()
    }
}

fn banned_until(until_ns: u64) -> Ban {
    Ban {
        until_ns,
        ..Ban::ZERO
    }
}

proptest! {
    /// Listed, banned, over every limit, impossible or to itself: the allowlist wins.
    #[test]
    fn an_allowlisted_source_always_passes(
        bits in 0u32..=32,
        flags in any::<u8>(),
        blocked in any::<bool>(),
        banned in any::<bool>(),
        now in 1u64..u64::MAX / 4,
    ) {
        let mut tables = HostTables::new(strict(), &[SOURCE]);
        tables.allow.push((Prefix(bits, SOURCE), until(0)));
        if blocked {
            tables.block.push((Prefix(32, SOURCE), until(0)));
        }
        if banned {
            tables.set_ban(&tables.key(&SOURCE), banned_until(u64::MAX));
        }
        let verdict = tables.judge(&frames::tcp(&SOURCE, flags), now);
        prop_assert_eq!(verdict.reason, Reason::Allowlisted);
        prop_assert_eq!(verdict.action, Action::Pass);
    }

    #[test]
    fn an_entry_and_a_ban_hold_until_they_end(end in 1u64..1000, now in 1u64..1000) {
        let in_force = now < end;
        let frame = frames::udp(&SOURCE, 60);
        let told = |tables: &HostTables| tables.reason(&frame, now);

        let mut allowed = HostTables::new(policy(), &[SOURCE]);
        allowed.allow.push((Prefix(32, SOURCE), until(end)));
        prop_assert_eq!(told(&allowed) == Reason::Allowlisted, in_force);

        let mut blocked = HostTables::new(policy(), &[SOURCE]);
        blocked.block.push((Prefix(32, SOURCE), until(end)));
        prop_assert_eq!(told(&blocked) == Reason::Blocklisted, in_force);

        let banned = HostTables::new(policy(), &[SOURCE]);
        banned.set_ban(&banned.key(&SOURCE), banned_until(end));
        prop_assert_eq!(told(&banned) == Reason::Banned, in_force);
    }

    /// The same reasons in the same order as enforce mode gives them, and no drop.
    #[test]
    fn observe_drops_nothing_and_decides_the_same(
        steps in prop::collection::vec((0u64..2 * SECOND, any::<u8>(), 0usize..60), 1..60),
    ) {
        let limits = Limits {
            packets: Limit::counts(1, 3),
            ..strict().limits
        };
        let enforce = HostTables::new(Policy { limits, ..strict() }, &[SOURCE]);
        let observe = HostTables::new(
            Policy { limits, mode: MODE_OBSERVE, ..strict() },
            &[SOURCE],
        );
        let mut now = START;
        for (gap, flags, cut) in steps {
            now += gap;
            let mut frame = frames::tcp(&SOURCE, flags);
            frame.truncate(cut.max(frame.len() - 20));
            let (a, b) = (enforce.judge(&frame, now), observe.judge(&frame, now));
            prop_assert_eq!(a.reason, b.reason);
            prop_assert_eq!(b.action, Action::Pass);
        }
        prop_assert_eq!(enforce.ban_of(&SOURCE), observe.ban_of(&SOURCE));
    }

    #[test]
    fn a_ban_is_never_longer_than_the_maximum_and_never_shorter_than_the_first(
        level in any::<u32>(),
        until_ns in any::<u64>(),
        base in 1u64..1 << 62,
        max in 1u64..1 << 62,
        shift in any::<u32>(),
        now in 0u64..1 << 62,
    ) {
        let policy = BanPolicy { base_ns: base, max_ns: max, growth_shift: shift, ..BANS };
        let previous = Ban { until_ns, level, ..Ban::ZERO };
        let ban = next_ban(Some(previous), Reason::RatePackets, &policy, now);
        let length = ban.until_ns - ban.since_ns;
        prop_assert!(length <= max);
        prop_assert!(length >= base.min(max));
    }
}

#[test]
fn strikes_lead_to_bans_that_grow_up_to_the_maximum_and_are_forgotten() {
    let tables = HostTables::new(strict(), &[SOURCE]);
    let frame = frames::udp(&SOURCE, 60);
    let mut now = START;
    for length in [60, 120, 240, 480, 600, 600] {
        // Three strikes, at most one in a second, whatever comes in between.
        for strike in 1..=3 {
            for _ in 0..5 {
                assert_eq!(tables.reason(&frame, now), Reason::RatePackets);
                if strike == 3 {
                    break;
                }
            }
            now += SECOND;
        }
        let ban = tables.ban_of(&SOURCE).expect("three strikes");
        assert_eq!(ban.until_ns - ban.since_ns, length * SECOND);
        assert_eq!(tables.reason(&frame, ban.until_ns - 1), Reason::Banned);
        now = ban.until_ns;
    }
    // Six levels, one forgotten for each hour of peace.
    let level = tables.ban_of(&SOURCE).expect("the last").level;
    assert_eq!(level, 5);
    now += 3 * 3600 * SECOND;
    for _ in 0..3 {
        tables.judge(&frame, now);
        now += SECOND;
    }
    let ban = tables.ban_of(&SOURCE).expect("again");
    assert_eq!(ban.level, level + 1 - 3);
}

#[test]
fn strikes_are_forgotten_one_for_each_quiet_time() {
    let tables = HostTables::new(strict(), &[SOURCE]);
    let frame = frames::udp(&SOURCE, 60);
    // A strike now and then, each time as much forgotten as added.
    for n in 0..100 {
        tables.judge(&frame, START + n * 31 * SECOND);
    }
    assert_eq!(tables.ban_of(&SOURCE), None);
}

#[test]
fn of_threads_that_strike_at_once_one_counts() {
    let tables = HostTables::new(strict(), &[SOURCE]);
    let frame = frames::udp(&SOURCE, 60);
    for round in 0..2 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| tables.judge(&frame, START + round * SECOND));
            }
        });
        assert_eq!(tables.ban_of(&SOURCE), None, "round {round}");
    }
    tables.judge(&frame, START + 2 * SECOND);
    assert!(tables.ban_of(&SOURCE).is_some());
}

#[test]
fn a_policy_of_another_version_passes_everything() {
    for (version, reason) in [(0, Reason::NoPolicy), (u32::MAX, Reason::PolicyMismatch)] {
        let tables = HostTables::new(
            Policy {
                version,
                ..strict()
            },
            &[SOURCE],
        );
        let verdict = tables.judge(&[], START);
        assert_eq!((verdict.reason, verdict.action), (reason, Action::Pass));
    }
}
