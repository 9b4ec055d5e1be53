//! How the parsers get at bytes: over an XDP context in the kernel, over a slice elsewhere.

use network_types::eth::EthHdr;
use network_types::vlan::VlanHdr;

/// A header that may be copied out of a frame byte for byte.
///
/// # Safety
///
/// Any bytes of the type's size are a value of it, and it has no padding.
pub unsafe trait Header: Copy {}

macro_rules! headers {
    ($($t:ty)+) => {$(
        // SAFETY: `repr(C)` of byte arrays and integers (network-types 0.2), no padding, no
        // invalid bit pattern.
        unsafe impl Header for $t {}
    )+};
}
headers!(EthHdr VlanHdr [u8; 4]);
// By the words that a header's standard draws, in network order: what a BPF program takes apart with
// shifts it would otherwise load byte by byte.
headers!([u32; 1] [u32; 2] [u32; 3] [u32; 5] [u32; 10]);

/// A frame from its Ethernet header on.
pub trait PacketView {
    /// Length of the frame in bytes.
    fn len(&self) -> usize;

    /// Whether the frame has this many bytes.
    #[inline(always)]
    fn reaches(&self, end: usize) -> bool {
        end <= self.len()
    }

    /// Length of a frame that [`Self::reaches`] `end`, the end of its IP packet. A frame in several
    /// buffers, whose packet ends in the first and short one, may count without the others: asking for
    /// their length costs every packet more than it tells.
    #[inline(always)]
    fn len_around(&self, end: usize) -> usize {
        let _ = end;
        self.len()
    }

    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The header at `offset`, or nothing when the frame ends before its last byte. Offsets are
    /// below 64 KiB.
    fn read<T: Header>(&self, offset: usize) -> Option<T>;

    /// The same value, of which a verifier no longer knows where it came from. Called where many
    /// paths meet with values that only the verifier tells apart; it then follows one path on.
    #[inline(always)]
    fn forget(&self, value: usize) -> usize {
        value
    }
}

/// A view some of whose bytes lie side by side, so that each word is read where it is used and not before: a
/// program has few registers.
pub trait Window {
    /// Words that are there.
    type Words<'a>: Words
    where
        Self: 'a;

    /// So many words from `offset` on, or nothing when the frame ends before.
    fn words<const COUNT: usize>(&self, offset: usize) -> Option<Self::Words<'_>>;

    /// Length of the frame where a look tells it, and that the frame reaches `end`. Nothing else: it may all
    /// the same.
    fn frame_len(&self, end: usize) -> Option<usize>;
}

/// Words of a frame, in network order.
pub trait Words: Copy {
    /// A word by its number, below the number of words asked for.
    fn word<const NUMBER: usize>(self) -> u32;
}

impl Window for [u8] {
    type Words<'a> = &'a [u8];

    fn words<const COUNT: usize>(&self, offset: usize) -> Option<&[u8]> {
        self.get(offset..offset.checked_add(COUNT.checked_mul(4)?)?)
    }

    fn frame_len(&self, end: usize) -> Option<usize> {
        self.reaches(end).then_some(self.len())
    }
}

impl Words for &[u8] {
    fn word<const NUMBER: usize>(self) -> u32 {
        self.read(NUMBER.saturating_mul(4))
            .map_or(0, |[word]: [u32; 1]| word)
    }
}

impl PacketView for [u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn read<T: Header>(&self, offset: usize) -> Option<T> {
        let end = offset.checked_add(size_of::<T>())?;
        let bytes = self.get(offset..end)?;
        // SAFETY: `bytes` has exactly the size of `T` by the line above, and `Header` promises
        // that any bytes make a `T`.
        Some(unsafe { core::ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
    }
}

impl<V: PacketView + ?Sized> PacketView for &V {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn read<T: Header>(&self, offset: usize) -> Option<T> {
        (**self).read(offset)
    }

    fn reaches(&self, end: usize) -> bool {
        (**self).reaches(end)
    }

    fn len_around(&self, end: usize) -> usize {
        (**self).len_around(end)
    }

    fn forget(&self, value: usize) -> usize {
        (**self).forget(value)
    }
}
