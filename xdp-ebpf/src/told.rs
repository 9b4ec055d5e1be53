//! What is read of a packet, as one number: a function of the program's gives it.

use core::ops::ControlFlow;

use xdp_common::reason::Reason;

use crate::scratch::reason;

/// Bits 0 to 7: a reason. 8: there is none yet, the packet is kept. 9: it is still to be read. 16 to 23: the
/// list that decided it, if its outcome is to be kept. 32 to 63: the frame's length.
#[derive(Clone, Copy)]
pub(crate) struct Told(u64);

const PARSED: u64 = 1 << 8;
const UNREAD: u64 = 1 << 9;
const LIST_SHIFT: u32 = 16;
const LENGTH_SHIFT: u32 = 32;

impl Told {
    /// A frame that nothing more is asked about.
    #[inline(always)]
    pub(crate) fn decided(reason: Reason, length: u32) -> Self {
        Self(u64::from(reason.code()) | u64::from(length) << LENGTH_SHIFT)
    }

    /// The same, of a packet that a list decided and whose outcome is to be kept.
    #[inline(always)]
    pub(crate) fn by(self, list: u8) -> Self {
        Self(self.0 | u64::from(list) << LIST_SHIFT)
    }

    /// That list.
    #[inline(always)]
    pub(crate) fn list(self) -> Option<u8> {
        match (self.0 >> LIST_SHIFT) as u8 {
            0 => None,
            list => Some(list),
        }
    }

    /// A packet that is kept, with what the lists say of it at first sight and where its source is.
    #[inline(always)]
    pub(crate) fn packet(length: u32) -> Self {
        Self(PARSED | u64::from(length) << LENGTH_SHIFT)
    }

    /// A packet that is still to be read.
    #[inline(always)]
    pub(crate) fn unread() -> Self {
        Self(UNREAD)
    }

    /// Whether it is.
    #[inline(always)]
    pub(crate) fn is_unread(self) -> bool {
        self.0 & UNREAD != 0
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

    /// Whether it is no IP packet.
    #[inline(always)]
    pub(crate) fn is_not_ip(self) -> bool {
        self.0 & (PARSED | 0xff) == Reason::NotIp.code().into()
    }

    /// The frame's length.
    #[inline(always)]
    pub(crate) fn length(self) -> u32 {
        (self.0 >> LENGTH_SHIFT) as u32
    }
}
