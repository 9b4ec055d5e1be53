//! From the configuration to what the program is told.

use xdp_common::abi::{
    ABI_VERSION, BanPolicy, FLAG_AGGREGATES, FLAG_BANS, FLAG_CLASSES, FLAG_COARSE_CLOCK,
    FLAG_FLOW_MEMORY, FLAG_OVERRIDES, FLAG_SANITY_LAND, FLAG_SANITY_MARTIAN, FLAG_SANITY_TCP_FLAGS,
    FLAG_SPARE_FLOWS, FLAG_SYN_COOKIES, Limit, Limits, MAX_INTERFACES, MODE_ENFORCE, MODE_OBSERVE,
    Plain, Policy,
};

use super::classes;
use super::samples::{self, Capture};
use crate::config::{self, Config};
use crate::domain::{BitRate, Burst, ByteSize, Mode, PacketRate};

/// What of the host a policy depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Whether the kernel takes SYN cookies.
    pub syn_cookies: bool,
    /// The largest packet that every interface takes.
    pub mtu: u32,
}

impl Surroundings {
    /// The largest segment (RFC 9293, section 3.7.1) behind an IP header of this length.
    fn mss(self, ip_header: u32) -> u16 {
        const TCP_HEADER: u32 = 20;
        let mss = self.mtu.saturating_sub(ip_header + TCP_HEADER);
        u16::try_from(mss.max(SMALLEST_MSS)).unwrap_or(u16::MAX)
    }
}

/// What a peer takes whose segments nothing is known of (RFC 9293, section 3.7.1).
const SMALLEST_MSS: u32 = 536;

/// What a policy holds beside the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live<'a> {
    /// Limits of every source, where they were set at run time.
    pub limits: Option<&'a config::Limits>,
    /// The limits by prefix that are stored.
    pub overrides: &'a [Limits],
    /// Index of the interface in each counter slot, 0 where none.
    pub interfaces: [u32; MAX_INTERFACES],
    /// Counter slots on whose interface classes stand aside for IPv4, a bit each.
    pub aside_v4: u32,
    /// The same for IPv6.
    pub aside_v6: u32,
    /// Whether the flow memory has all that leaves.
    pub flow_memory: bool,
    /// Counter slots whose IPv4 packets the flow memory tells in the sockets' place, a bit each.
    pub forwards_v4: u32,
    /// The same for IPv6.
    pub forwards_v6: u32,
    /// What of the host it depends on.
    pub surroundings: Surroundings,
    /// Samples that are wanted beside the configuration's.
    pub captures: &'a [Capture],
    /// Counts policies.
    pub generation: u64,
    /// The kernel's coarse clock.
    pub clock: CoarseClock,
}

/// What is known of the kernel's timer ticks, which are a clock that stands still between two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoarseClock {
    /// Length of a tick; 0 where it isn't known.
    pub tick_ns: u64,
    /// [`Policy::clock_offset_ns`].
    pub offset_ns: u64,
}

/// Ticks that a limit's tolerance must have for the coarse clock: it then lets through at most a
/// sixteenth of its burst more.
const TICKS: u64 = 16;

impl CoarseClock {
    /// Whether every limit of sources spans many of its ticks.
    pub fn is_fine_for(&self, limits: &Limits, overrides: &[Limits]) -> bool {
        let of = |limits: &Limits| [limits.packets, limits.bytes, limits.tcp_new];
        let all = overrides.iter().flat_map(of).chain(of(limits));
        self.is_fine_for_all(all)
    }

    fn is_fine_for_all(&self, limits: impl IntoIterator<Item = Limit>) -> bool {
        self.tick_ns > 0
            && limits.into_iter().all(|limit| {
                limit.is_off() || limit.tolerance_ns >= self.tick_ns.saturating_mul(TICKS)
            })
    }
}

/// The limits of classes and networks. They are held to the same rule as those of sources: while the
/// clock stands still a burst is all that passes, so a limit with a burst of less than a tick would
/// pass less than its rate. The built-in budgets span a second and more.
fn shared_limits(config: &Config) -> Vec<Limit> {
    let mut all = vec![
        packets(config.aggregate.packets),
        bytes(config.aggregate.bytes),
    ];
    if config.mitigation.enabled {
        let classes = config.classes.iter().filter(|class| class.enabled);
        all.extend(classes.flat_map(classes::limits));
    }
    all
}

/// The stages that a configuration asks for, as flags of [`xdp_common::abi::STAGES`].
pub fn stages(config: &Config) -> u32 {
    let aggregate = &config.aggregate;
    let wanted = [
        (config.ban.enabled, FLAG_BANS),
        (config.sanity.tcp_flags, FLAG_SANITY_TCP_FLAGS),
        (config.sanity.land, FLAG_SANITY_LAND),
        (config.sanity.martian_source, FLAG_SANITY_MARTIAN),
        (config.mitigation.enabled, FLAG_CLASSES),
        (
            aggregate.packets.is_some() || aggregate.bytes.is_some(),
            FLAG_AGGREGATES,
        ),
    ];
    let wanted = wanted.into_iter().filter(|(is_on, _)| *is_on);
    wanted.fold(0, |stages, (_, flag)| stages | flag)
}

/// Stages by the names that `status` has for them.
pub fn stage_names(stages: u32) -> Vec<String> {
    let named = [
        (FLAG_BANS, "bans"),
        (FLAG_SANITY_TCP_FLAGS, "tcp_flags"),
        (FLAG_SANITY_LAND, "land"),
        (FLAG_SANITY_MARTIAN, "martian_source"),
        (FLAG_CLASSES, "classes"),
        (FLAG_AGGREGATES, "aggregates"),
    ];
    let there = named.into_iter().filter(|(flag, _)| stages & flag != 0);
    there.map(|(_, name)| name.to_owned()).collect()
}

/// Whether nobody has chosen what one source may send.
fn are_as_shipped(limits: &config::Limits) -> bool {
    *limits == Config::default().limits
}

/// The policy of a configuration.
pub fn build(config: &Config, live: Live<'_>) -> Policy {
    let limits = limits(live.limits.unwrap_or(&config.limits));
    let aggregate = &config.aggregate;
    let samples = samples::told(&config.events.sampling, live.captures);
    let mut flags = stages(config);
    for (on, flag) in [
        (!live.overrides.is_empty(), FLAG_OVERRIDES),
        (
            live.clock.is_fine_for(&limits, live.overrides)
                && live.clock.is_fine_for_all(shared_limits(config)),
            FLAG_COARSE_CLOCK,
        ),
        (live.surroundings.syn_cookies, FLAG_SYN_COOKIES),
        (
            are_as_shipped(live.limits.unwrap_or(&config.limits)),
            FLAG_SPARE_FLOWS,
        ),
        (live.flow_memory, FLAG_FLOW_MEMORY),
    ] {
        if on {
            flags |= flag;
        }
    }
    Policy {
        version: ABI_VERSION,
        mode: match config.mode {
            Mode::Enforce => MODE_ENFORCE,
            Mode::Observe => MODE_OBSERVE,
        },
        observe_mask: config
            .observe_reasons
            .iter()
            .fold(0, |mask, reason| mask | reason.bit()),
        sample_mask: samples.reasons,
        flags,
        source_len_v4: config.source.ipv4_prefix,
        source_len_v6: config.source.ipv6_prefix,
        source_mask_v4: mask_v4(config.source.ipv4_prefix),
        sample_bytes: samples.bytes,
        source_mask_v6: mask_v6(config.source.ipv6_prefix),
        sample_every: samples.every,
        limits,
        ban: ban(&config.ban),
        interfaces: live.interfaces,
        generation: live.generation,
        clock_offset_ns: live.clock.offset_ns,
        tick_ns: u32::try_from(live.clock.tick_ns).unwrap_or(0),
        aside_v4: live.aside_v4,
        aside_v6: live.aside_v6,
        forwards_v4: live.forwards_v4,
        forwards_v6: live.forwards_v6,
        mss_v4: live.surroundings.mss(20),
        mss_v6: live.surroundings.mss(40),
        aggregate_mask_v4: mask_v4(aggregate.ipv4_prefix),
        aggregate_mask_v6: mask_v6(aggregate.ipv6_prefix),
        aggregate_packets: packets(aggregate.packets),
        aggregate_bytes: bytes(aggregate.bytes),
        sample_limit: samples.limit,
        ..Policy::ZERO
    }
}

fn mask_v4(len: u8) -> [u8; 4] {
    let zeros = 32 - u32::from(len).min(32);
    u32::MAX.checked_shl(zeros).unwrap_or(0).to_be_bytes()
}

fn mask_v6(len: u8) -> [u8; 16] {
    let zeros = 128 - u32::from(len).min(128);
    u128::MAX.checked_shl(zeros).unwrap_or(0).to_be_bytes()
}

/// Limits as the program takes them.
pub fn limits(limits: &config::Limits) -> Limits {
    Limits {
        packets: packets(limits.packets),
        bytes: bytes(limits.bytes),
        tcp_new: limits.tcp_new.map_or(Limit::OFF, |l| {
            Limit::counts(l.rate.connections_per_second(), l.burst.get())
        }),
    }
}

/// A limit in packets.
pub(super) fn packets(limit: Option<config::Limit<PacketRate, Burst>>) -> Limit {
    limit.map_or(Limit::OFF, |l| {
        Limit::counts(l.rate.packets_per_second(), l.burst.get())
    })
}

/// A limit in bytes.
pub(super) fn bytes(limit: Option<config::Limit<BitRate, ByteSize>>) -> Limit {
    limit.map_or(Limit::OFF, |l| {
        Limit::bytes(l.rate.bytes_per_second(), l.burst.bytes())
    })
}

fn ban(ban: &config::Ban) -> BanPolicy {
    BanPolicy {
        strike_interval_ns: ban.strike_interval.as_nanos(),
        strike_decay_ns: ban.strike_decay.as_nanos(),
        base_ns: ban.duration.as_nanos(),
        max_ns: ban.max_duration.as_nanos(),
        level_decay_ns: ban.level_decay.as_nanos(),
        strikes: ban.strikes,
        growth_shift: ban.growth_shift,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        build(
            &Config::parse(text, "test").unwrap().config,
            Live::default(),
        )
    }

    #[test]
    fn source_prefixes_become_masks() {
        let default = policy("");
        assert_eq!(default.source_mask_v4, [255; 4]);
        assert_eq!(default.source_mask_v6[..8], [255; 8]);
        assert_eq!(default.source_mask_v6[8..], [0; 8]);
        let wide = policy("[source]\nipv4_prefix = 20\nipv6_prefix = 128\n");
        assert_eq!(wide.source_mask_v4, [255, 255, 0xf0, 0]);
        assert_eq!(wide.source_mask_v6, [255; 16]);
    }

    #[test]
    fn times_of_bans_become_nanoseconds() {
        let ban = policy(
            "[ban]\nstrikes = 3\nstrike_interval = \"2s\"\nstrike_decay = \"10s\"\n\
             duration = \"1m\"\nmax_duration = \"1h\"\nlevel_decay = \"30m\"\ngrowth = 4\n",
        )
        .ban;
        let second = 1_000_000_000;
        assert_eq!((ban.strikes, ban.growth_shift), (3, 2));
        assert_eq!(ban.strike_interval_ns, 2 * second);
        assert_eq!(ban.strike_decay_ns, 10 * second);
        assert_eq!((ban.base_ns, ban.max_ns), (60 * second, 3600 * second));
        assert_eq!(ban.level_decay_ns, 1800 * second);
    }

    #[test]
    fn switches_become_flags_and_a_limit_that_is_off_costs_nothing() {
        let all = policy("");
        assert_eq!(
            all.flags,
            FLAG_BANS
                | FLAG_SANITY_TCP_FLAGS
                | FLAG_SANITY_LAND
                | FLAG_SANITY_MARTIAN
                | FLAG_CLASSES
                | FLAG_SPARE_FLOWS
        );
        assert_eq!(
            policy("[limits]\nbytes = \"2Gbps\"\n").flags & FLAG_SPARE_FLOWS,
            0
        );
        let none = policy(
            "mode = \"observe\"\n[ban]\nenabled = false\n[sanity]\ntcp_flags = false\nland = false\nmartian_source = false\n[mitigation]\nenabled = false\n[limits]\npackets = \"off\"\n",
        );
        assert_eq!(none.flags, 0);
        assert_eq!(none.mode, MODE_OBSERVE);
        assert!(none.limits.packets.is_off());
        assert!(!none.limits.bytes.is_off());
    }

    #[test]
    fn networks_have_masks_and_limits() {
        let off = policy("");
        assert_eq!(off.aggregate_mask_v4, [255, 255, 255, 0]);
        assert_eq!(off.aggregate_mask_v6[..6], [255; 6]);
        assert_eq!(off.aggregate_mask_v6[6..], [0; 10]);
        assert!(off.aggregate_packets.is_off() && off.aggregate_bytes.is_off());
        let on = policy("[aggregate]\nipv4_prefix = 16\nbytes = \"8Mbps\"\n");
        assert_eq!(on.flags & FLAG_AGGREGATES, FLAG_AGGREGATES);
        assert_eq!(on.aggregate_mask_v4, [255, 255, 0, 0]);
        assert_eq!(on.aggregate_bytes, Limit::bytes(1_000_000, 1_000_000));
    }

    #[test]
    fn the_coarse_clock_is_read_where_every_limit_spans_many_ticks() {
        let clock = CoarseClock {
            tick_ns: 4_000_000,
            offset_ns: 7,
        };
        let build_with = |text: &str, overrides: &[Limits]| {
            let config = Config::parse(text, "test").unwrap().config;
            let live = Live {
                clock,
                overrides,
                ..Live::default()
            };
            build(&config, live)
        };
        let coarse = |policy: Policy| policy.flags & FLAG_COARSE_CLOCK != 0;
        assert!(coarse(build_with("", &[])));
        let built = build_with("", &[]);
        assert_eq!((built.clock_offset_ns, built.tick_ns), (7, 4_000_000));
        let text = "[limits]\npackets = \"1kpps\"\npackets_burst = \"10\"\n";
        assert!(!coarse(build_with(text, &[])), "ten packets are 10 ms");
        let tight = Limits {
            packets: Limit::counts(1_000, 63),
            ..Limits::ZERO
        };
        assert!(!coarse(build_with("", &[tight])));
        let wide = Limits {
            packets: Limit::counts(1_000, 64),
            ..Limits::ZERO
        };
        assert!(coarse(build_with("", &[wide])));
        assert!(!coarse(policy("")), "without a known tick");
        let text = "[[class]]\nname = \"dns\"\nbudget = \"1kpps\"\nbudget_burst = 10\n";
        assert!(!coarse(build_with(text, &[])), "a budget, too");
        let without = format!("{text}[mitigation]\nenabled = false\n");
        assert!(coarse(build_with(&without, &[])), "that nobody looks at");
        let text = "[aggregate]\npackets = \"1kpps\"\npackets_burst = 10\n";
        assert!(!coarse(build_with(text, &[])), "and a network's limit");
    }
}
