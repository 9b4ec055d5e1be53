//! The oracle's rules as the ABI's policy.

use xdp_common::abi::{
    ABI_VERSION, BanPolicy, FLAG_BANS, FLAG_OVERRIDES, FLAG_SANITY_LAND, FLAG_SANITY_MARTIAN,
    FLAG_SANITY_TCP_FLAGS, Limit, Limits, MODE_ENFORCE, MODE_OBSERVE, Plain, Policy,
};
use xdp_common::reason::Reason;

use crate::oracle;

/// The policy that says what the rules say, lists and overrides aside.
///
/// # Panics
/// When the rules observe a reason that isn't one.
#[must_use]
#[allow(
    clippy::panic,
    reason = "a test that observes an unknown reason is a mistake in it"
)]
pub fn policy(rules: &oracle::Rules) -> Policy {
    let flag = |wanted: bool, flag: u32| if wanted { flag } else { 0 };
    Policy {
        version: ABI_VERSION,
        mode: if rules.enforce {
            MODE_ENFORCE
        } else {
            MODE_OBSERVE
        },
        observe_mask: rules
            .observed
            .iter()
            .map(|name| match Reason::from_name(name) {
                Some(reason) => reason.bit(),
                None => panic!("no reason is named {name}"),
            })
            .fold(0, |mask, bit| mask | bit),
        flags: flag(!rules.overrides.is_empty(), FLAG_OVERRIDES)
            | flag(rules.bans.is_some(), FLAG_BANS)
            | flag(rules.check_tcp_flags, FLAG_SANITY_TCP_FLAGS)
            | flag(rules.check_land, FLAG_SANITY_LAND)
            | flag(rules.check_martians, FLAG_SANITY_MARTIAN),
        source_len_v4: rules.source_bits_v4,
        source_len_v6: rules.source_bits_v6,
        source_mask_v4: leading_ones(rules.source_bits_v4),
        source_mask_v6: leading_ones(rules.source_bits_v6),
        limits: limits(&rules.limits),
        ban: rules.bans.as_ref().map_or(BanPolicy::ZERO, ban_policy),
        ..Policy::ZERO
    }
}

/// Limits as the program takes them.
///
/// # Panics
/// When the bytes' limit isn't one per second.
#[must_use]
pub fn limits(limits: &oracle::Limits) -> Limits {
    let bytes = |rate: oracle::Rate| {
        assert_eq!(rate.seconds, 1, "such a cost would not fit");
        Limit::bytes(rate.units, rate.burst)
    };
    Limits {
        packets: limits.packets.map_or(Limit::OFF, counts),
        bytes: limits.bytes.map_or(Limit::OFF, bytes),
        tcp_new: limits.tcp_new.map_or(Limit::OFF, counts),
    }
}

/// A limit of packets or connections as the program takes it.
#[must_use]
pub fn counts(rate: oracle::Rate) -> Limit {
    if rate.seconds == 1 {
        return Limit::counts(rate.units, rate.burst);
    }
    // Longer than any that a configuration can ask for.
    let cost_ns = (rate.seconds * 1_000_000_000).div_ceil(rate.units);
    Limit {
        cost_fp: cost_ns << Limit::FP_BITS,
        tolerance_ns: rate.burst * cost_ns,
    }
}

/// Strikes and bans as the program takes them.
#[must_use]
pub fn ban_policy(bans: &oracle::Bans) -> BanPolicy {
    BanPolicy {
        strike_interval_ns: bans.strike_interval_ns,
        strike_decay_ns: bans.strike_decay_ns,
        base_ns: bans.base_ns,
        max_ns: bans.max_ns,
        level_decay_ns: bans.level_decay_ns,
        strikes: bans.strikes,
        growth_shift: bans.growth_shift,
    }
}

fn leading_ones<const N: usize>(bits: u8) -> [u8; N] {
    let mut mask = [0; N];
    for bit in 0..usize::from(bits) {
        mask[bit / 8] |= 0x80 >> (bit % 8);
    }
    mask
}
