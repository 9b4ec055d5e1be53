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
    /// What wasn't judged because it is no IP packet, by kind.
    pub const NOT_IP: &str = "NOT_IP";
    /// Lines of list tables, in chunks.
    pub const LISTS: &str = "LISTS";
    /// Heads of list tables, and which is in force, by family.
    pub const LIST_HEADS: &str = "LIST_HEADS";
    /// Hits of list entries, a ring for each CPU.
    pub const HITS: &str = "HITS";
    /// How each CPU writes its hits.
    pub const HIT_WRITERS: &str = "HIT_WRITERS";
    /// Limits by prefix, IPv4.
    pub const LIMITS_V4: &str = "LIMITS_V4";
    /// Limits by prefix, IPv6.
    pub const LIMITS_V6: &str = "LIMITS_V6";
    /// Limiter state and counters of sources.
    pub const SOURCES: &str = "SOURCES";
    /// Bans.
    pub const BANS: &str = "BANS";
    /// Which class a packet is in: lines of the class table, for each bank.
    pub const CLASS_TABLE: &str = "CLASS_TABLE";
    /// The classes, for each bank.
    pub const CLASSES: &str = "CLASSES";
    /// What is going on in each class.
    pub const CLASS_STATES: &str = "CLASS_STATES";
    /// What each class decided.
    pub const CLASS_COUNTERS: &str = "CLASS_COUNTERS";
    /// Two filters of sources that are known or banned, and which of them is in use.
    pub const KNOWN: &str = "KNOWN";
    /// Limits of networks and of sources in a class: GCRAs.
    pub const METERS: &str = "METERS";
    /// What became of first fragments.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// The flow memory.
    pub const FLOWS: &str = "FLOWS";
    /// What the egress program saw.
    pub const EGRESS: &str = "EGRESS";
    /// The packet that it reads.
    pub const EGRESS_PACKET: &str = "EGRESS_PACKET";
    /// Listeners whose cookies the kernel takes now.
    pub const LISTENERS: &str = "LISTENERS";
    /// The packet that a CPU judges.
    pub const SCRATCH: &str = "SCRATCH";
    /// Events.
    pub const EVENTS: &str = "EVENTS";
    /// Sampled packets.
    pub const SAMPLES: &str = "SAMPLES";
    /// The program's own diagnostics; `aya-log` names it.
    pub const LOGS: &str = "AYA_LOGS";

    /// The program's name in the object.
    pub const PROGRAM: &str = "xdp_throttle";
    /// That of the one for interfaces without an Ethernet header.
    pub const PROGRAM_IP: &str = "xdp_throttle_ip";
    /// That of the one that notes what leaves, and of the same for interfaces without an Ethernet header.
    pub const PROGRAM_EGRESS: &str = "xdp_egress";
    /// See [`PROGRAM_EGRESS`].
    pub const PROGRAM_EGRESS_IP: &str = "xdp_egress_ip";
    /// Where the program's own diagnostics say they come from: its crate.
    pub const DIAGNOSTICS: &str = "xdp_throttle_ebpf";
}

/// Entries of the maps, where neither the configuration nor the machine decides.
pub mod entries {
    use super::super::{CLASS_BANKS, MAX_CLASSES, MAX_INTERFACES, class_table};
    use crate::fragments;
    use crate::reason::Reason;

    #[allow(clippy::cast_possible_truncation, reason = "32")]
    const EACH_CLASS: u32 = MAX_CLASSES as u32;
    #[allow(clippy::cast_possible_truncation, reason = "16")]
    const EACH_INTERFACE: u32 = MAX_INTERFACES as u32;

    /// Of [`super::map::COUNTERS`]: for each reason one of packets that passed, one of the others.
    pub const COUNTERS: u32 = EACH_INTERFACE * Reason::SLOTS * 2;
    /// Of [`super::map::CLASS_TABLE`].
    pub const CLASS_TABLE: u32 = CLASS_BANKS * class_table::LINES;
    /// Of [`super::map::CLASSES`].
    pub const CLASSES: u32 = CLASS_BANKS * EACH_CLASS;
    /// Of [`super::map::CLASS_STATES`].
    pub const CLASS_STATES: u32 = EACH_CLASS;
    /// Of [`super::map::CLASS_COUNTERS`].
    pub const CLASS_COUNTERS: u32 = EACH_CLASS;
    /// Of [`super::map::LISTS`]: two tables for each family.
    pub const LISTS: u32 = 4 * super::chunks::PER_TABLE;
    /// Of [`super::map::LIST_HEADS`]: which tables are in force, and two heads for each family.
    pub const LIST_HEADS: u32 = 5;
    /// Of [`super::map::METERS`], set by the controller: 1 MiB, for 131,072 limits. A power of two.
    pub const METERS: u32 = 1 << 14;
    /// Of [`super::map::FRAGMENTS`].
    pub const FRAGMENTS: u32 = fragments::WORDS;
    /// Of [`super::map::LISTENERS`].
    pub const LISTENERS: u32 = 1024;
}

/// Bytes that the program keeps of its packet, in [`map::SCRATCH`].
pub const SCRATCH_BYTES: usize = 424;

/// Bytes that the egress program keeps of its packet, in [`map::EGRESS_PACKET`].
pub const EGRESS_PACKET_BYTES: usize = 72;

/// Constants of the program that the controller sets before it loads it.
pub mod constant {
    /// Buckets of the source table, `u32`.
    pub const SOURCE_BUCKETS: &str = "SOURCE_BUCKETS";
    /// Seeds of its hash, `[u64; 2]`.
    pub const SOURCE_SEEDS: &str = "SOURCE_SEEDS";
    /// Bits of a filter of [`super::map::KNOWN`], less one; `u32`.
    pub const KNOWN_MASK: &str = "KNOWN_MASK";
    /// Lines of [`super::map::METERS`], less one; `u32`.
    pub const METER_MASK: &str = "METER_MASK";
    /// Lines of [`super::map::FLOWS`], less one; `u32`.
    pub const FLOW_MASK: &str = "FLOW_MASK";
    /// Timer ticks are shifted by this to periods of about a second, `u32`.
    pub const PERIOD_SHIFT: &str = "PERIOD_SHIFT";
    /// Flags of a policy that the program looks at, `u32`: the verifier takes out what is behind the
    /// others ("dead code", kernel 5.2).
    pub const STAGES: &str = "STAGES";
}

/// List tables in [`map::LISTS`] and [`map::LIST_HEADS`]: each family has two places for one, so that a
/// table is complete before it is in force.
///
/// A table's lines lie in *chunks*, maps of one size that the outer map holds one behind the other. The
/// verifier knows their size, and so turns a look-up of a line into a few instructions; for maps of any
/// size it leaves a call, which on a processor that guards its returns (SRSO) takes longer than the line.
pub mod chunks {
    /// Lines of a chunk are 2 to this power: 1 MiB.
    pub const SHIFT: u32 = 14;
    /// Lines of a chunk.
    pub const LINES: u32 = 1 << SHIFT;

    /// First of the words in line 0 of [`super::map::LIST_HEADS`] that say for each family which table is
    /// in force ([`in_force`]). Those before are 0, so that the line reads as a head of a table without
    /// levels.
    pub const IN_FORCE: usize = 4;
    /// The word there that goes up after every change: of an entry, of the table or of the policy in force.
    /// Who reads it before all else, and later again, knows whether a packet would be decided as it was.
    pub const CHANGES: usize = 6;

    /// Number of a head's line.
    pub const fn head(family: u32, place: u32) -> u32 {
        family.wrapping_mul(2).wrapping_add(place).wrapping_add(1)
    }

    /// Most chunks of a table: 4 GiB.
    pub const PER_TABLE: u32 = 4096;

    /// A table's first chunk in [`super::map::LISTS`].
    pub const fn first(family: u32, place: u32) -> u32 {
        family
            .wrapping_mul(2)
            .wrapping_add(place)
            .wrapping_mul(PER_TABLE)
    }

    /// What the family's word in line 0 says: the head's line, above it how many chunks the table has and
    /// which is the first of them. 0 where there is no table.
    pub const fn in_force(head: u32, first: u32, count: u32) -> u64 {
        (head & 0xffff) as u64 | (count as u64 & 0xffff) << 16 | (first as u64) << 32
    }

    /// The head's line in that word.
    #[inline(always)]
    pub const fn head_of(in_force: u64) -> u32 {
        (in_force & 0xffff) as u32
    }

    /// The first chunk in that word.
    #[inline(always)]
    pub const fn first_of(in_force: u64) -> u32 {
        (in_force >> 32) as u32
    }

    /// The first chunk in that word, and how many there are.
    pub const fn of(in_force: u64) -> (u32, u32) {
        (first_of(in_force), (in_force >> 16 & 0xffff) as u32)
    }
}

/// Hits of list entries: exact as long as a CPU has fewer than [`hits::EXACT`] in a period of about
/// a second, then one of two, four, eight on the mean, each for as many again
/// ([`crate::hit_sampler`]). What an entry has is then an estimate, and the counters by reason stay
/// exact.
pub mod hits {
    /// Hits of a CPU's ring: the controller reads it once a second, and a period writes fewer even
    /// at 20 million packets a second.
    pub const RING: u32 = 8192;
    /// Hits that are written until those that follow are thinned out further.
    pub const EXACT: u32 = 512;
    /// The most that are passed over for one that is written, on the mean.
    pub const MAX_GAP: u32 = 0xffff;
}

/// A fault of our own, counted per CPU under its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    /// A ban could not be stored because the ban table is full; the limit still holds.
    BanTableFull = 0,
    /// A source could not be stored because others kept changing its bucket; the packet passes
    /// without a limit.
    SourceTableFull = 1,
    /// The ring buffer was full: an event is lost.
    EventLost = 2,
    /// Too many CPUs raced for one source's limiter; the packet counted as over the limit.
    LimiterContended = 3,
    /// A hit of a list entry was written over before the controller read it: the entry's hits are
    /// too few. Counted by the controller.
    HitMissed = 4,
    /// A SYN that was to be answered with a cookie had no room for the answer: dropped.
    AnswerLost = 5,
    /// The ring buffer of samples was full: a sample is lost.
    SampleLost = 6,
}

impl Fault {
    /// Every fault, by number.
    pub const ALL: &'static [Self] = &[
        Self::BanTableFull,
        Self::SourceTableFull,
        Self::EventLost,
        Self::LimiterContended,
        Self::HitMissed,
        Self::AnswerLost,
        Self::SampleLost,
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
            Self::HitMissed => "hit_missed",
            Self::AnswerLost => "answer_lost",
            Self::SampleLost => "sample_lost",
        }
    }
}
