//! Bytes of the frame. The only file that touches raw packet pointers.

use core::arch::asm;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use xdp_common::packet::{Header, PacketView, Window, Words};

use crate::map_pointer;

/// No header that is read starts further into the frame: Ethernet, two tags, IPv6 and the bound on
/// extension headers stay far below.
pub(crate) const MAX_OFFSET: usize = 4096;

/// A first buffer of so many bytes has room for a frame of the usual MTU with two tags. One that is longer
/// may be full, and the rest of the frame behind it.
const ONE_BUFFER: usize = 1536;

/// A frame as an XDP context gives it.
pub(crate) struct XdpView<'a> {
    ctx: &'a XdpContext,
    /// Bytes in the first buffer: nearly always all of them.
    linear: usize,
}

impl<'a> XdpView<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self {
            ctx,
            linear: ctx.data_end() - ctx.data(),
        }
    }

    /// See [`Window::frame_len`].
    #[inline(always)]
    fn len_at_sight(&self, end: usize) -> Option<usize> {
        (end <= self.linear && self.linear <= ONE_BUFFER).then_some(self.linear)
    }
}

impl PacketView for XdpView<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the context is the one the kernel called the program with (kernel 5.18).
        unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) as usize }
    }

    #[inline(always)]
    fn reaches(&self, end: usize) -> bool {
        end <= self.linear || end <= self.len()
    }

    #[inline(always)]
    fn len_around(&self, end: usize) -> usize {
        match self.len_at_sight(end) {
            Some(len) => len,
            None => self.len(),
        }
    }

    #[inline(always)]
    fn read<T: Header>(&self, offset: usize) -> Option<T> {
        match self.read_first(offset) {
            Some(header) => Some(header),
            None if offset > MAX_OFFSET => None,
            None => self.read_fragment(offset),
        }
    }

    /// VERIFIER: 6.18: without it the paths through VLAN tags, options and extension headers
    /// multiply past a million instructions. The verifier doesn't follow that adding and
    /// subtracting the same unknown cancels out, so it forgets the value's range.
    #[inline(always)]
    fn forget(&self, value: usize) -> usize {
        map_pointer::forget(value as u64, self.linear as u64) as usize
    }
}

/// The first buffer of a frame, and no more of it: what goes on behind isn't there. For a parser all of whose
/// offsets are constants, which the verifier follows without a bound.
pub(crate) struct FirstBuffer<'a>(pub(crate) XdpView<'a>);

impl Window for FirstBuffer<'_> {
    type Words<'a>
        = InPacket
    where
        Self: 'a;

    /// `offset` is a constant.
    #[inline(always)]
    fn words<const COUNT: usize>(&self, offset: usize) -> Option<InPacket> {
        let start = self.0.ctx.data() + offset;
        (start + COUNT * 4 <= self.0.ctx.data_end()).then_some(InPacket(start))
    }

    /// Not of a buffer that may be full, and the rest of the frame behind it.
    #[inline(always)]
    fn frame_len(&self, end: usize) -> Option<usize> {
        self.0.len_at_sight(end)
    }
}

/// Words that lie in the packet, by the first one's address.
#[derive(Clone, Copy)]
pub(crate) struct InPacket(usize);

impl Words for InPacket {
    #[inline(always)]
    fn word<const NUMBER: usize>(self) -> u32 {
        let word: u64;
        // SAFETY: the number is below that of the words that were found there; the verifier checks it.
        unsafe {
            asm!(
                "{word} = *(u32 *)({start} + {at})",
                word = out(reg) word,
                start = in(reg) self.0,
                at = const NUMBER * 4,
                options(pure, readonly, nostack, preserves_flags),
            );
            // Or LLVM clears the upper half anew.
            core::hint::assert_unchecked(word >> 32 == 0);
        }
        word as u32
    }
}

impl XdpView<'_> {
    /// A header in the first buffer.
    #[inline(always)]
    fn read_first<T: Header>(&self, offset: usize) -> Option<T> {
        read_between(self.ctx.data(), self.ctx.data_end(), offset)
    }

    /// A header that reaches behind the linear part of a multi-buffer frame. Rare: drivers put the
    /// headers into the first buffer.
    #[inline(always)]
    fn read_fragment<T: Header>(&self, offset: usize) -> Option<T> {
        if offset + size_of::<T>() > self.len() {
            return None;
        }
        let mut header = MaybeUninit::<T>::uninit();
        // SAFETY: the buffer is `size_of::<T>()` bytes on the stack, and the helper checks the
        // range of the frame itself (kernel 5.18).
        let error = unsafe {
            bpf_xdp_load_bytes(
                self.ctx.ctx,
                offset as u32,
                header.as_mut_ptr().cast(),
                size_of::<T>() as u32,
            )
        };
        if error != 0 {
            return None;
        }
        // SAFETY: the helper filled the buffer, and `Header` promises that any bytes make a `T`.
        Some(unsafe { header.assume_init() })
    }
}

/// A header at an offset of the bytes from `data` to `end`, which are a context's.
#[inline(always)]
pub(crate) fn read_between<T: Header>(data: usize, end: usize, offset: usize) -> Option<T> {
    let offset = keep(offset);
    if offset > MAX_OFFSET {
        return None;
    }
    let start = data + offset;
    if start + size_of::<T>() > end {
        return None;
    }
    // SAFETY: `start..start + size_of::<T>()` lies inside the packet by the check above, and
    // `Header` promises that any bytes make a `T`.
    Some(unsafe { load(start) })
}

/// Most words of a header: IPv6.
const WORDS: usize = 10;

/// A header at an address, by words: LLVM, which takes no unaligned word for readable, would load byte
/// after byte. The kernel has words of packets read so by everybody
/// (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`, `check_pkt_ptr_alignment` in kernel/bpf/verifier.c).
///
/// # Safety
/// `size_of::<T>()` bytes from there on are readable.
#[inline(always)]
unsafe fn load<T: Header>(start: usize) -> T {
    const {
        assert!(size_of::<T>() <= WORDS * 4, "longer than all headers");
        assert!(size_of::<T>() % 2 == 0, "read by words and half-words");
    }
    let mut words = MaybeUninit::<[u32; WORDS]>::uninit();
    let to = words.as_mut_ptr().cast::<u32>();
    macro_rules! part {
        ($index:literal, $type:ty, $size:literal) => {{
            let part: u64;
            // SAFETY: inside the header by the line above, and inside the buffer.
            unsafe {
                asm!(
                    concat!("{part} = *(", $size, " *)({start} + {at})"),
                    part = out(reg) part,
                    start = in(reg) start,
                    at = const $index * 4,
                    options(pure, readonly, nostack, preserves_flags),
                );
                to.add($index).cast::<$type>().write(part as $type);
            }
        }};
    }
    macro_rules! words {
        ($($index:literal)+) => {$(
            if $index * 4 + 4 <= size_of::<T>() {
                part!($index, u32, "u32");
            } else if $index * 4 + 2 <= size_of::<T>() {
                part!($index, u16, "u16");
            }
        )+};
    }
    words!(0 1 2 3 4 5 6 7 8 9);
    // SAFETY: as many bytes were written, and `Header` promises that any bytes make a `T`.
    unsafe { words.as_ptr().cast::<T>().read() }
}

/// Keeps a value in its register between a bound and its use.
///
/// VERIFIER: 6.18: LLVM may otherwise compute the pointer from another copy of the value, whose
/// bound the verifier has not seen ("math between pkt pointer and register with unbounded value").
/// A move onto itself and not an empty sequence: that would give two line records to one
/// instruction ("Invalid line_info").
#[inline(always)]
fn keep(value: usize) -> usize {
    let mut value = value;
    // SAFETY: moves a register onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
