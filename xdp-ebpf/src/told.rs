//! What is read of a packet, as one number: a function of the program's gives it.

use core::ops::ControlFlow;

use xdp_common::reason::Reason;

use crate::scratch::reason;

/// Bits 0 to 7: a reason. 8: there is none, the packet is kept. 9: what the lists say is kept too, and not
/// all. 16 to 19: what they say. 32 to 63: the frame's length.
#[derive(Clone, Copy, Default)]
pub(crate) struct Told(u64);

const PARSED: u64 = 1 << 8;
const MORE_LISTED: u64 = 1 << 9;
const LISTED_SHIFT: u32 = 16;
const LENGTH_SHIFT: u32 = 32;

impl Told {
    /// A frame that is nothing to judge.
    #[inline(always)]
    pub(crate) fn broken(reason: Reason, length: u32) -> Self {
        Self(u64::from(reason.code()) | u64::from(length) << LENGTH_SHIFT)
    }

    /// A packet that is kept, with what the lists say, if that is all they say.
    #[inline(always)]
    pub(crate) fn packet(listed: Option<u8>, length: u32) -> Self {
        let listed = match listed {
            Some(flags) => u64::from(flags) << LISTED_SHIFT,
            None => MORE_LISTED,
        };
        Self(PARSED | listed | u64::from(length) << LENGTH_SHIFT)
    }

    #[inline(always)]
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether there is a packet.
    #[inline(always)]
    pub(crate) fn parsed(self) -> ControlFlow<Reason> {
        if self.0 & PARSED == 0 {
            ControlFlow::Break(reason(self.0 as u8))
        } else {
            ControlFlow::Continue(())
        }
    }

    /// What the lists say, if that is all.
    #[inline(always)]
    pub(crate) fn listed(self) -> Option<u8> {
        (self.0 & MORE_LISTED == 0).then_some((self.0 >> LISTED_SHIFT) as u8)
    }

    /// The frame's length.
    #[inline(always)]
    pub(crate) fn length(self) -> u32 {
        (self.0 >> LENGTH_SHIFT) as u32
    }
}
