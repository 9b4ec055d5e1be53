//! Names and default sizes of the maps, and the faults that the program counts.

/// Names of the maps, at most 15 bytes (`BPF_OBJ_NAME_LEN`, include/uapi/linux/bpf.h).
pub mod map {
    /// Slots of the policy.
    pub const POLICY: &str = "POLICY";
    /// Which policy slot is active.
    pub const ACTIVE: &str = "ACTIVE";
    /// Packets and bytes by interface slot, reason and action.
    pub const COUNTERS: &str = "COUNTERS";
    /// Our own faults.
    pub const FAULTS: &str = "FAULTS";
    /// Allowlist, IPv4.
    pub const ALLOW_V4: &str = "ALLOW_V4";
    /// Allowlist, IPv6.
    pub const ALLOW_V6: &str = "ALLOW_V6";
    /// Blocklist, IPv4.
    pub const BLOCK_V4: &str = "BLOCK_V4";
    /// Blocklist, IPv6.
    pub const BLOCK_V6: &str = "BLOCK_V6";
    /// Limits by prefix, IPv4.
    pub const LIMITS_V4: &str = "LIMITS_V4";
    /// Limits by prefix, IPv6.
    pub const LIMITS_V6: &str = "LIMITS_V6";
    /// Limiter state and counters of sources.
    pub const SOURCES: &str = "SOURCES";
    /// Bans.
    pub const BANS: &str = "BANS";
    /// Events.
    pub const EVENTS: &str = "EVENTS";

    /// The program's name in the object.
    pub const PROGRAM: &str = "xdp_throttle";
    /// Where the program's own diagnostics say they come from: its crate.
    pub const DIAGNOSTICS: &str = "xdp_throttle_ebpf";
}

/// A fault of our own, counted per CPU under its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    /// A ban could not be stored because the ban table is full; the limit still holds.
    BanTableFull = 0,
    /// A source could not be stored; its packets pass without a limit.
    SourceTableFull = 1,
    /// The ring buffer was full: an event is lost.
    EventLost = 2,
    /// Too many CPUs raced for one source's limiter; the packet counted as over the limit.
    LimiterContended = 3,
}

impl Fault {
    /// Every fault, by number.
    pub const ALL: &'static [Self] = &[
        Self::BanTableFull,
        Self::SourceTableFull,
        Self::EventLost,
        Self::LimiterContended,
    ];

    /// Size of the fault table.
    pub const SLOTS: u32 = 8;

    /// The number that crosses the border.
    #[inline(always)]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The name in metrics and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BanTableFull => "ban_table_full",
            Self::SourceTableFull => "source_table_full",
            Self::EventLost => "event_lost",
            Self::LimiterContended => "limiter_contended",
        }
    }
}
