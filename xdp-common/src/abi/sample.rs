//! Samples: packets that are looked at more closely.

/// Bytes of a frame that a sample holds at most.
pub const SAMPLE_BYTES: usize = 256;

/// [`SampleHead::action`]: the packet went on to the host.
pub const SAMPLE_PASSED: u8 = 0;
/// [`SampleHead::action`]: the packet was dropped.
pub const SAMPLE_DROPPED: u8 = 1;
/// [`SampleHead::action`]: the packet was answered in the host's place.
pub const SAMPLE_ANSWERED: u8 = 2;

abi_struct! {
    /// What is known of a sampled packet.
    pub struct SampleHead: 40 {
        /// When it was judged.
        time_ns: u64,
        /// Where it came from; IPv4 in the first four bytes, zero behind.
        addr: [u8; 16],
        /// Length of the frame.
        length: u32,
        /// Bytes of it that are here.
        captured: u32,
        /// Packets that it stands for: itself, and those that were passed over since the last sample
        /// of its CPU.
        stands_for: u32,
        /// Counter slot of its interface.
        slot: u8,
        /// [`crate::reason::Reason::code`].
        reason: u8,
        /// `SAMPLE_*`.
        action: u8,
        /// [`super::FAMILY_IPV4`], [`super::FAMILY_IPV6`], or 0 where the parser found no source.
        family: u8,
    }
}

abi_struct! {
    /// A sampled packet, on a ring buffer of its own.
    pub struct Sample: 296 {
        /// What is known of it.
        head: SampleHead,
        /// Its first bytes, [`SampleHead::captured`] of them; what is behind means nothing.
        frame: [u8; SAMPLE_BYTES],
    }
}
