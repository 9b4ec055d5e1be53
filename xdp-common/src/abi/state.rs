//! What the program keeps and reports: entries, sources, bans, counters, events.

/// [`SourceKey::family`] of IPv4.
pub const FAMILY_IPV4: u8 = 4;
/// [`SourceKey::family`] of IPv6.
pub const FAMILY_IPV6: u8 = 6;

abi_struct! {
    /// A line of a list table, a cache line: see [`crate::lists`].
    pub struct ListLine: 64 {
        /// What they mean depends on the line.
        words: [u64; 8],
    }
}

abi_struct! {
    /// A line of the source table, a cache line: see [`crate::sources`].
    pub struct SourceLine: 64 {
        /// What they mean depends on the line.
        words: [u64; 8],
    }
}

abi_struct! {
    /// A line of [`super::map::METERS`] or [`super::map::KNOWN`], a cache line: see [`crate::meters`]
    /// and [`crate::known`].
    pub struct WordLine: 64 {
        /// What they mean depends on the map.
        words: [u64; 8],
    }
}

abi_struct! {
    /// Packets that a list entry decided: one, or a sample that stands for several. The controller
    /// knows which entry an address is in.
    pub struct Hit: 32 {
        /// Where the packet came from; IPv4 in the first four bytes, zero behind.
        addr: [u8; 16],
        /// The packet's bytes, times the packets.
        bytes: u64,
        /// Packets that it stands for.
        packets: u32,
        /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
        family: u8,
        /// [`crate::lists::ALLOW`] or [`crate::lists::BLOCK`].
        list: u8,
        /// Zero.
        reserved: [u8; 2],
    }
}

abi_struct! {
    /// How far one CPU has written its hits, see [`crate::abi::hits`].
    pub struct HitWriter: 8 {
        /// Hits written since the start; the next goes to this number modulo the ring's size.
        written: u64,
    }
}

abi_struct! {
    /// A source: an address cut to the policy's prefix length.
    pub struct SourceKey: 24 {
        /// The address, masked; IPv4 in the first four bytes, zero behind.
        addr: [u8; 16],
        /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
        family: u8,
        /// Leading bits that count.
        prefix_len: u8,
        /// Zero.
        reserved: [u8; 6],
    }
}

impl SourceKey {
    /// Its words as they lie in memory (little-endian, as the only supported architecture is): a program
    /// would move its bytes one by one.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 3] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.addr;
        let [q, r, s, t, u, v] = self.reserved;
        [
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from_le_bytes([i, j, k, l, m, n, o, p]),
            u64::from_le_bytes([self.family, self.prefix_len, q, r, s, t, u, v]),
        ]
    }

    /// From these words.
    #[inline(always)]
    pub const fn from_words(words: [u64; 3]) -> Self {
        let [first, second, third] = words;
        let [family, prefix_len, reserved @ ..] = third.to_le_bytes();
        Self {
            addr: ((second as u128) << 64 | first as u128).to_le_bytes(),
            family,
            prefix_len,
            reserved,
        }
    }
}

abi_struct! {
    /// What is known of a source, put together from its two lines ([`crate::sources`]). Every word is
    /// written atomically; a reader may see words of two neighbouring packets, never of two sources.
    pub struct Source: 80 {
        /// GCRA: theoretical arrival time of the next packet.
        tat_packets: u64,
        /// GCRA: the same for bytes.
        tat_bytes: u64,
        /// GCRA: the same for new TCP connections.
        tat_tcp_new: u64,
        /// Strikes: milliseconds of the last one in the upper 48 bits, their number in the lower 16.
        strikes: u64,
        /// Packets that reached the limit stage.
        packets: u64,
        /// Bytes of those packets.
        bytes: u64,
        /// Packets over a limit (in observe mode: that would have been dropped).
        dropped_packets: u64,
        /// Bytes of those packets.
        dropped_bytes: u64,
        /// When the source was first seen.
        first_seen_ns: u64,
        /// When the source was last seen.
        last_seen_ns: u64,
    }
}

abi_struct! {
    /// A ban, current or remembered for the length of the next one.
    pub struct Ban: 40 {
        /// When the ban ends or ended.
        until_ns: u64,
        /// When it began.
        since_ns: u64,
        /// Packets dropped by bans of this source.
        packets: u64,
        /// Bytes of those packets.
        bytes: u64,
        /// How often the length has grown: 0 for a first ban.
        level: u32,
        /// [`crate::reason::Reason::code`] of the limit that led to it.
        reason: u32,
    }
}

abi_struct! {
    /// Packets and bytes, per CPU.
    pub struct Counter: 16 {
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
    }
}

abi_struct! {
    /// What the egress program saw, per CPU.
    pub struct EgressCounter: 24 {
        /// Packets, each before it is cut into segments.
        packets: u64,
        /// Of those, how many wrote their flow to the flow memory.
        noted: u64,
        /// IP packets that could not be read.
        unread: u64,
    }
}

/// [`Event::kind`]: a ban began.
pub const EVENT_BAN: u32 = 1;

abi_struct! {
    /// Something worth telling the controller, on the ring buffer.
    pub struct Event: 56 {
        /// When.
        time_ns: u64,
        /// Who.
        source: SourceKey,
        /// Until when, for a ban.
        until_ns: u64,
        /// `EVENT_*`.
        kind: u32,
        /// [`crate::reason::Reason::code`].
        reason: u32,
        /// Level of the ban.
        level: u32,
        /// Zero.
        reserved: u32,
    }
}
