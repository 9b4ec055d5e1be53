//! Every type and name that crosses the kernel border.
//!
//! Types are `u8..u64`, arrays of them and structs of those, `repr(C)`, without padding; the size
//! stands in the definition. Addresses are in network order as byte arrays. Times are nanoseconds
//! of `CLOCK_BOOTTIME`. Closed sets cross as numbers that are never reused.

#[macro_use]
mod plain;
mod class;
mod maps;
mod not_ip;
mod policy;
mod sample;
mod state;

pub use class::{
    CLASS_BANKS, CLASS_KNOWN_FIRST, CLASS_OBSERVE, CLASS_PROOF, CLASS_RETRY, CLASS_SOLICITED,
    CLASS_SYN_COOKIES, Class, ClassCounter, ClassState, LEVEL_ATTACK, LEVEL_ELEVATED, LEVEL_NORMAL,
    MAX_CLASSES, class_table,
};
pub use maps::{EGRESS_PACKET_BYTES, Fault, SCRATCH_BYTES, chunks, constant, entries, hits, map};
pub use not_ip::{NotIp, NotIpKind, OTHER_ETHER_TYPES};
pub use plain::Plain;
pub use policy::{
    BanPolicy, FLAG_AGGREGATES, FLAG_BANS, FLAG_CLASSES, FLAG_COARSE_CLOCK, FLAG_FIXED_CLOCK,
    FLAG_FLOW_MEMORY, FLAG_OVERRIDES, FLAG_SANITY_LAND, FLAG_SANITY_MARTIAN, FLAG_SANITY_TCP_FLAGS,
    FLAG_SPARE_FLOWS, FLAG_SYN_COOKIES, Limit, Limits, MAX_INTERFACES, MODE_ENFORCE, MODE_OBSERVE,
    POLICY_SLOTS, Policy, STAGES,
};
pub use sample::{
    SAMPLE_ANSWERED, SAMPLE_BYTES, SAMPLE_DROPPED, SAMPLE_PASSED, Sample, SampleHead,
};
pub use state::{
    Ban, Counter, EVENT_BAN, EgressCounter, Event, FAMILY_IPV4, FAMILY_IPV6, Hit, HitWriter,
    ListLine, Source, SourceKey, SourceLine, WordLine,
};

/// Version of everything in this module and of the numbers in [`crate::reason`]. A change of the
/// layout without a new version fails the golden layout test.
pub const ABI_VERSION: u32 = 9;
