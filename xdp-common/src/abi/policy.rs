//! What the controller tells the program: mode, limits, bans, switches.

use super::ABI_VERSION;
use super::plain::Plain;

/// [`Policy::mode`]: verdicts are counted and carried out.
pub const MODE_ENFORCE: u32 = 1;
/// [`Policy::mode`]: verdicts are counted, everything passes.
pub const MODE_OBSERVE: u32 = 2;

/// [`Policy::flags`]: at least one override exists; sources in it are marked in the list table.
pub const FLAG_OVERRIDES: u32 = 1;
/// [`Policy::flags`]: sources over their limit collect strikes and are banned.
pub const FLAG_BANS: u32 = 1 << 1;
/// [`Policy::flags`]: check TCP flag sets.
pub const FLAG_SANITY_TCP_FLAGS: u32 = 1 << 2;
/// [`Policy::flags`]: check for source equal to destination.
pub const FLAG_SANITY_LAND: u32 = 1 << 3;
/// [`Policy::flags`]: check for impossible source addresses.
pub const FLAG_SANITY_MARTIAN: u32 = 1 << 4;

/// [`Policy::flags`]: the time is that of the last timer tick, reckoned from the number of ticks
/// (`bpf_jiffies64`, which the verifier turns into one load: kernel 5.6), where reading the clock takes
/// 20 to 40 ns. The controller sets it when every limit's tolerance is many ticks long: a limit then
/// lets through what it allows in one more tick.
pub const FLAG_COARSE_CLOCK: u32 = 1 << 5;

/// [`Policy::flags`]: look at service classes.
pub const FLAG_CLASSES: u32 = 1 << 6;
/// [`Policy::flags`]: the kernel takes SYN cookies (`net.ipv4.tcp_syncookies` isn't 0).
pub const FLAG_SYN_COOKIES: u32 = 1 << 8;
/// [`Policy::flags`]: look at networks ([`Policy::aggregate`]).
pub const FLAG_AGGREGATES: u32 = 1 << 7;

/// [`Policy::flags`], without [`FLAG_COARSE_CLOCK`]: time stands still at [`Policy::clock_offset_ns`]. No
/// controller sets it: it is for those who compare verdicts at times that they choose.
pub const FLAG_FIXED_CLOCK: u32 = 1 << 9;

/// [`Policy::flags`]: the egress program notes what leaves by every interface that the policy names.
pub const FLAG_FLOW_MEMORY: u32 = 1 << 10;

/// [`Policy::flags`]: the limits of sources are those that the program is shipped with, so what was asked
/// for ([`crate::flows::Flow::was_asked_for`]) may go beyond them, and goes on while its source is banned.
/// Limits that an operator sets hold for everything.
pub const FLAG_SPARE_FLOWS: u32 = 1 << 11;

/// Stages that a program may be without: flags that are off in its policy may be off in the program from
/// the start ([`super::constant::STAGES`]).
pub const STAGES: u32 = FLAG_BANS
    | FLAG_SANITY_TCP_FLAGS
    | FLAG_SANITY_LAND
    | FLAG_SANITY_MARTIAN
    | FLAG_CLASSES
    | FLAG_AGGREGATES;

/// How many interfaces one program can serve with counters of their own. Slot
/// `MAX_INTERFACES - 1` collects every interface that the policy doesn't name.
pub const MAX_INTERFACES: usize = 16;

/// Slots of the policy map. A new policy goes into the slot after the active one and is then made
/// active with one 4-byte write, so a packet sees the old policy or the new one; it would take
/// this many replacements while one packet is in flight to tear it.
pub const POLICY_SLOTS: u32 = 16;

const NS_PER_SECOND: u64 = 1_000_000_000;

abi_struct! {
    /// One rate with its burst, as the parameters of a GCRA (ITU-T I.371 annex A): a unit costs
    /// time, and a source may run ahead of the clock by its tolerance.
    pub struct Limit: 16 {
        /// Nanoseconds that one unit (packet, byte, connection) costs, times 2^16, rounded up.
        /// 0 switches the limit off.
        cost_fp: u64,
        /// Nanoseconds that a source may run ahead: burst times the cost of a unit.
        tolerance_ns: u64,
    }
}

impl Limit {
    /// Binary places of [`Limit::cost_fp`].
    pub const FP_BITS: u32 = 16;
    /// No limit.
    pub const OFF: Self = Self::ZERO;
    /// The longest tolerance that the arithmetic holds: 13 days.
    pub const MAX_TOLERANCE_NS: u64 = 1 << 50;

    /// `rate` packets or connections per second with room for `burst` at once.
    ///
    /// The cost is rounded up to a whole nanosecond, so a burst is exact and a rate errs to the
    /// strict side (0.1 % at 1 Mpps). A rate of 0 is taken as 1.
    pub const fn counts(rate: u64, burst: u64) -> Self {
        let cost_ns = NS_PER_SECOND.div_ceil(if rate == 0 { 1 } else { rate });
        Self::with_cost(cost_ns << Self::FP_BITS, burst)
    }

    /// `rate` bytes per second with room for `burst` bytes at once.
    ///
    /// Each packet's cost is rounded up to a whole nanosecond. A rate of 0 is taken as 1.
    pub const fn bytes(rate: u64, burst: u64) -> Self {
        let rate = if rate == 0 { 1 } else { rate };
        Self::with_cost((NS_PER_SECOND << Self::FP_BITS).div_ceil(rate), burst)
    }

    const fn with_cost(cost_fp: u64, burst: u64) -> Self {
        let exact = (burst as u128).saturating_mul(cost_fp as u128) >> Self::FP_BITS;
        let max = Self::MAX_TOLERANCE_NS as u128;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "bounded by MAX_TOLERANCE_NS"
        )]
        let tolerance_ns = (if exact > max { max } else { exact }) as u64;
        Self {
            cost_fp,
            tolerance_ns,
        }
    }

    /// Whether the limit is off.
    #[inline(always)]
    pub const fn is_off(&self) -> bool {
        self.cost_fp == 0
    }
}

abi_struct! {
    /// The limits of one source.
    pub struct Limits: 48 {
        /// Packets per second.
        packets: Limit,
        /// Bytes per second, whole Ethernet frames without their checksum.
        bytes: Limit,
        /// New TCP connections per second: segments with SYN and without ACK.
        tcp_new: Limit,
    }
}

abi_struct! {
    /// How strikes lead to bans.
    pub struct BanPolicy: 48 {
        /// At most one strike is counted in this time.
        strike_interval_ns: u64,
        /// One strike is forgotten for each such time without another.
        strike_decay_ns: u64,
        /// Length of the first ban.
        base_ns: u64,
        /// No ban is longer.
        max_ns: u64,
        /// One level of a ban is forgotten for each such time after it ended.
        level_decay_ns: u64,
        /// Strikes that make a ban; at least 1.
        strikes: u32,
        /// Each level is `2^growth_shift` times as long as the one before.
        growth_shift: u32,
    }
}

abi_struct! {
    /// Everything that the program is told, replaced as a whole.
    pub struct Policy: 328 {
        /// [`ABI_VERSION`] of the controller that wrote it; 0 in a slot never written.
        version: u32,
        /// [`MODE_ENFORCE`] or [`MODE_OBSERVE`]; anything else drops nothing.
        mode: u32,
        /// Reasons, by [`crate::reason::Reason::bit`], that are only counted.
        observe_mask: u64,
        /// Reasons, by [`crate::reason::Reason::bit`], some of whose packets are sampled; 0 for none.
        sample_mask: u64,
        /// `FLAG_*`.
        flags: u32,
        /// Leading bits that make an IPv4 source, with the mask of them below.
        source_len_v4: u8,
        /// Leading bits that make an IPv6 source, with the mask of them below.
        source_len_v6: u8,
        /// Bytes of a frame that a sample takes, at most [`super::SAMPLE_BYTES`].
        sample_bytes: u16,
        /// Mask of an IPv4 source, network order.
        source_mask_v4: [u8; 4],
        /// One packet in so many becomes a sample, on the mean; 0 counts as 1.
        sample_every: u32,
        /// Mask of an IPv6 source, network order. By words, as the program reads it.
        source_mask_v6: [u8; 16],
        /// Limits of every source without an override.
        limits: Limits,
        /// Strikes and bans.
        ban: BanPolicy,
        /// Index of the interface in each counter slot, 0 where none.
        interfaces: [u32; MAX_INTERFACES],
        /// Counts replacements, for `status` and for tests.
        generation: u64,
        /// What `CLOCK_BOOTTIME` is ahead of the ticks that were counted, modulo 2^64: they don't count
        /// from 0, nor on in suspend. With [`FLAG_FIXED_CLOCK`]: the time.
        clock_offset_ns: u64,
        /// Which copy of the class table and the classes is in force, below
        /// [`super::CLASS_BANKS`].
        class_bank: u32,
        /// Counter slots, a bit each, on whose interface classes stand aside for IPv4: the host
        /// forwards there, so what no local socket waits for may be another host's.
        aside_v4: u32,
        /// The same for IPv6.
        aside_v6: u32,
        /// The largest segment (MSS) that a SYN cookie's answer asks for, IPv4.
        mss_v4: u16,
        /// The same for IPv6.
        mss_v6: u16,
        /// Mask of an IPv4 network, network order.
        aggregate_mask_v4: [u8; 4],
        /// Nanoseconds of a timer tick (`TICK_NSEC`).
        tick_ns: u32,
        /// Mask of an IPv6 network, network order.
        aggregate_mask_v6: [u8; 16],
        /// Packets of a network's sources together.
        aggregate_packets: Limit,
        /// Bytes of a network's sources together.
        aggregate_bytes: Limit,
        /// Samples that each CPU takes at most.
        sample_limit: Limit,
        /// Counter slots, a bit each, on whose interface IPv4 packets may be for others than this host's
        /// sockets, and are told by the flow memory ([`FLAG_FLOW_MEMORY`]): that no socket waits for one
        /// says nothing there.
        forwards_v4: u32,
        /// The same for IPv6.
        forwards_v6: u32,
    }
}

impl Policy {
    /// Whether the program may act on this policy.
    #[inline(always)]
    pub const fn is_current(&self) -> bool {
        self.version == ABI_VERSION
    }
}
