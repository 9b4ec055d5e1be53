//! What the bench tells its programs. One file, compiled into both sides of the border.

/// Which source addresses the driver of one CPU writes, and what it calls. 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Aim {
    /// Index of the program to call.
    pub(crate) target: u32,
    /// 4 or 6.
    pub(crate) family: u32,
    /// 1: each packet has any of the sources, by xorshift. 0: one after another.
    pub(crate) random: u32,
    /// Width of the numbers that stand for addresses, at most 32.
    pub(crate) bits: u32,
    /// Where those lie in the address (IPv6: in its upper half).
    pub(crate) shift: u32,
    /// Zero.
    pub(crate) reserved: u32,
    /// The address's other bits.
    pub(crate) base: u64,
    /// Number of the first source.
    pub(crate) first: u64,
    /// How many sources, at most 2^32.
    pub(crate) count: u64,
    /// Sequence: steps done. Random: the generator, never 0. Written by the driver.
    pub(crate) state: u64,
    /// Zero.
    pub(crate) reserved2: u64,
}

impl Aim {
    /// The next packet's address: IPv4, or the upper half of IPv6.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> u64 {
        let step = if self.random != 0 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            (self.state >> 32).wrapping_mul(self.count) >> 32
        } else {
            let step = self.state;
            let next = step.wrapping_add(1);
            self.state = if next >= self.count { 0 } else { next };
            step
        };
        self.address(self.first.wrapping_add(step))
    }

    /// The address of a source by its number; different numbers have different ones.
    #[inline(always)]
    pub(crate) fn address(&self, number: u64) -> u64 {
        self.base | scattered(number, self.bits) << self.shift
    }
}

/// A permutation of the numbers of so many bits, which leaves no order for a table to profit from.
#[inline(always)]
pub(crate) fn scattered(number: u64, bits: u32) -> u64 {
    let mask = (1_u64 << bits).wrapping_sub(1);
    let half = bits / 2;
    let mut x = number & mask;
    // Each line is one to one: an odd factor modulo 2^bits, and a shift that the upper half undoes.
    x = x.wrapping_mul(0x9e37_79b1) & mask;
    x ^= x >> half;
    x = x.wrapping_mul(0x85eb_ca6b) & mask;
    x ^ x >> half
}

/// Where the sender's frames go, and what their checksum is made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Flood {
    /// Index of the interface that they leave by.
    pub(crate) interface: u32,
    /// Sum of the IPv4 header's 16-bit words, without checksum and source.
    pub(crate) sum: u32,
}

/// The references' verdicts; each counts its packets under one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Verdict {
    /// Not IP, or cut short.
    NotIp = 0,
    Accepted = 1,
    Allowlisted = 2,
    Blocklisted = 3,
    Banned = 4,
    OverLimit = 5,
}

/// Size of the table of verdicts.
pub(crate) const VERDICTS: u32 = 8;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Count {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// A list entry with its hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Listed {
    /// Never when 0.
    pub(crate) expires_ns: u64,
    pub(crate) hits: Count,
}

/// The limits of a source as two GCRAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Rules {
    /// Nanoseconds that a packet costs.
    pub(crate) packet_ns: u64,
    /// Nanoseconds that a byte costs, times 2^16.
    pub(crate) byte_ns_fp: u64,
    /// Nanoseconds that a source may run ahead, for both.
    pub(crate) tolerance_ns: u64,
}

/// What is known of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Known {
    pub(crate) packets_tat: u64,
    pub(crate) bytes_tat: u64,
    pub(crate) seen: Count,
    pub(crate) dropped: Count,
    pub(crate) last_seen_ns: u64,
}

/// First bytes of the addresses that honest hosts have in the bench of mitigation, IPv4 and IPv6.
pub(crate) const HONEST_V4: [u8; 2] = [10, 77];
/// See [`HONEST_V4`].
pub(crate) const HONEST_V6: [u8; 2] = [0xfd, 0x77];

/// Length of a slot of arrivals in nanoseconds.
pub(crate) const SLOT_NS: u64 = 10_000_000;
/// How many slots there are. The last one has what comes before the first and after the others.
pub(crate) const SLOTS: u32 = 1 << 14;

/// Packets that came to the stack in one slot, by who sent them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Arrived {
    /// IP packets from any address but those of honest hosts.
    pub(crate) forged: u64,
    /// IP packets from honest hosts.
    pub(crate) honest: u64,
    /// Everything else.
    pub(crate) other: u64,
}
