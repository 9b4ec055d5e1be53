//! Service classes: what the controller tells the program of them, and what the program keeps.

use super::plain::Plain;
use super::policy::Limit;

/// Classes at most. A class is known by its number; number 0 takes what no other class names.
pub const MAX_CLASSES: usize = 32;

/// Copies of the class table and of the classes. A new set goes into the copy after the one in use,
/// and takes effect with the policy that names it ([`super::Policy::class_bank`]), so a packet sees the
/// old set or the new one; it would take this many replacements while one packet is in flight to
/// tear it.
pub const CLASS_BANKS: u32 = 4;

/// [`Class::flags`]: a packet must be waited for by a local socket: asked of each newcomer's packet
/// before the budget. For what nobody sends unasked: answers, by source port or flags.
pub const CLASS_SOLICITED: u32 = 1;
/// [`Class::flags`]: over the budget, a packet that a connected local socket waits for passes all the
/// same.
pub const CLASS_PROOF: u32 = 1 << 1;
/// [`Class::flags`]: over the budget, a TCP newcomer is answered with a SYN cookie.
pub const CLASS_SYN_COOKIES: u32 = 1 << 2;
/// [`Class::flags`]: known sources don't count against the budget.
pub const CLASS_KNOWN_FIRST: u32 = 1 << 3;
/// [`Class::flags`]: what the class decides is only counted.
pub const CLASS_OBSERVE: u32 = 1 << 4;
/// [`Class::flags`]: over the budget, a newcomer that comes again in its protocol's time passes, within
/// [`Class::returning`].
pub const CLASS_RETRY: u32 = 1 << 5;

abi_struct! {
    /// A service class.
    pub struct Class: 128 {
        /// Packets of all newcomers together.
        budget: Limit,
        /// The same while the class is under attack.
        attack_budget: Limit,
        /// Packets from one source, in this class.
        packets: Limit,
        /// Bytes from one source, in this class.
        bytes: Limit,
        /// Packets of all flows that began under pressure, while it lasts.
        returning: Limit,
        /// How long sources earn nothing after a newcomer found the budget spent.
        pressure_ns: u64,
        /// How long after its first packet a newcomer's retry counts, at least.
        retry_min_ns: u64,
        /// The same at most.
        retry_max_ns: u64,
        /// `CLASS_*`.
        flags: u32,
        /// Zero.
        reserved: [u8; 20],
    }
}

/// [`ClassState::level`]: within its budget.
pub const LEVEL_NORMAL: u64 = 0;
/// [`ClassState::level`]: newcomers are over the budget.
pub const LEVEL_ELEVATED: u64 = 1;
/// [`ClassState::level`]: far over the budget, for a while: [`Class::attack_budget`] is in force.
pub const LEVEL_ATTACK: u64 = 2;

abi_struct! {
    /// What is going on in a class, a cache line that all CPUs share.
    pub struct ClassState: 64 {
        /// GCRA: theoretical arrival time of the next newcomer's packet.
        tat: u64,
        /// Until when sources earn nothing: the last newcomer over the budget, and
        /// [`Class::pressure_ns`]. Written at most once a millisecond.
        pressure_until_ns: u64,
        /// `LEVEL_*`, set by the controller.
        level: u64,
        /// GCRA: theoretical arrival time of the next packet of a flow that began under pressure.
        returning_tat: u64,
        /// Zero.
        reserved: [u64; 4],
    }
}

abi_struct! {
    /// What a class decided, per CPU. Packets of known sources and such as were not for the class to
    /// decide are in `packets` only.
    pub struct ClassCounter: 128 {
        /// Packets that reached the class.
        packets: u64,
        /// Bytes of those packets.
        bytes: u64,
        /// Newcomers' packets within the budget.
        newcomers: u64,
        /// Newcomers' packets that found the budget spent, whatever became of them.
        over: u64,
        /// Packets that a connected local socket waits for, or whose flow is proven.
        proven: u64,
        /// Packets that no local socket waits for, dropped.
        unsolicited: u64,
        /// Packets dropped because the budget was spent.
        refused: u64,
        /// SYNs answered with a cookie.
        cookies: u64,
        /// Newcomers' packets that were remembered and dropped.
        first_packets: u64,
        /// Packets of remembered newcomers dropped because they came too soon.
        too_soon: u64,
        /// Packets of flows that began under pressure, passed within [`Class::returning`].
        returned: u64,
        /// The same, dropped because that budget was spent.
        over_returning: u64,
        /// Zero.
        reserved: [u64; 4],
    }
}

/// The class table: a byte, the number of a class, for each of these places.
pub mod class_table {
    /// Bytes of a line of the map.
    pub const LINE: usize = 64;

    const PORTS: usize = 1 << 16;
    const TCP_NEW: usize = 0;
    const UDP: usize = TCP_NEW + PORTS;
    const REFLECTION: usize = UDP + PORTS;
    const ICMP: usize = REFLECTION + PORTS;
    const ICMPV6: usize = ICMP + 256;
    const PROTOCOL: usize = ICMPV6 + 256;
    const TCP_FLAGS: usize = PROTOCOL + 256;

    /// Later fragments.
    pub const FRAGMENT: usize = TCP_FLAGS + 64;
    /// Bytes of the table.
    pub const BYTES: usize = FRAGMENT + 64;
    /// Lines of the table.
    #[allow(clippy::cast_possible_truncation, reason = "3,086")]
    pub const LINES: u32 = (BYTES / LINE) as u32;

    /// Segments that ask for a new connection (SYN without ACK), by destination port.
    #[inline(always)]
    pub const fn tcp_new(destination: u16) -> usize {
        TCP_NEW.wrapping_add(destination as usize)
    }

    /// Datagrams by destination port, where [`reflection`] names no class.
    #[inline(always)]
    pub const fn udp(destination: u16) -> usize {
        UDP.wrapping_add(destination as usize)
    }

    /// Datagrams by source port: class 0 stands for none.
    #[inline(always)]
    pub const fn reflection(source: u16) -> usize {
        REFLECTION.wrapping_add(source as usize)
    }

    /// ICMP by type.
    #[inline(always)]
    pub const fn icmp(kind: u8) -> usize {
        ICMP.wrapping_add(kind as usize)
    }

    /// ICMPv6 by type.
    #[inline(always)]
    pub const fn icmpv6(kind: u8) -> usize {
        ICMPV6.wrapping_add(kind as usize)
    }

    /// Other protocols by number.
    #[inline(always)]
    pub const fn protocol(number: u8) -> usize {
        PROTOCOL.wrapping_add(number as usize)
    }

    /// All other TCP segments, by their flags: the lower six bits.
    #[inline(always)]
    pub const fn tcp_flags(flags: u8) -> usize {
        TCP_FLAGS.wrapping_add((flags & 63) as usize)
    }
}

impl Class {
    /// A class that decides nothing.
    pub const OFF: Self = Self::ZERO;
}
