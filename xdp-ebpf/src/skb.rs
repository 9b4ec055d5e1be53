//! Bytes of a packet that leaves, as the network stack has it: whole or about to be cut into segments.
//!
//! VLAN tags may be beside the bytes (`skb->vlan_tci`): then there is none in the header, and nothing to
//! skip.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use xdp_common::packet::{Header, PacketView};

use crate::map_pointer;
use crate::view::{MAX_OFFSET, read_between};

/// A packet as a context of traffic control gives it.
pub(crate) struct SkbView<'a> {
    ctx: &'a TcContext,
    /// Bytes that lie in the linear part: the stack puts the headers there.
    linear: usize,
}

impl<'a> SkbView<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a TcContext) -> Self {
        Self {
            ctx,
            linear: ctx.data_end() - ctx.data(),
        }
    }

    /// A header that lies behind the linear part.
    #[inline(always)]
    fn read_behind<T: Header>(&self, offset: usize) -> Option<T> {
        if offset + size_of::<T>() > self.len() {
            return None;
        }
        let mut header = MaybeUninit::<T>::uninit();
        // SAFETY: the buffer is `size_of::<T>()` bytes on the stack, and the helper checks the range of
        // the packet itself (kernel 4.5).
        let error = unsafe {
            bpf_skb_load_bytes(
                self.ctx.skb.skb.cast(),
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

impl PacketView for SkbView<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.ctx.len() as usize
    }

    #[inline(always)]
    fn reaches(&self, end: usize) -> bool {
        end <= self.linear || end <= self.len()
    }

    #[inline(always)]
    fn read<T: Header>(&self, offset: usize) -> Option<T> {
        match read_between(self.ctx.data(), self.ctx.data_end(), offset) {
            Some(header) => Some(header),
            None if offset > MAX_OFFSET => None,
            None => self.read_behind(offset),
        }
    }

    /// See [`crate::view::XdpView`].
    #[inline(always)]
    fn forget(&self, value: usize) -> usize {
        map_pointer::forget(value as u64, self.linear as u64) as usize
    }
}
