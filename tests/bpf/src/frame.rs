//! Bytes of the frame. The only file that touches raw packet pointers.

use aya_ebpf::programs::XdpContext;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;

/// A source address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address {
    V4([u8; 4]),
    V6([u8; 16]),
}

/// What the references read of a frame.
pub(crate) struct Packet {
    pub(crate) address: Address,
    /// Length of the frame.
    pub(crate) bytes: u64,
}

/// Puts a source address into an IPv4 or IPv6 frame; of IPv6 the upper half, the lower becomes 1.
/// The IPv4 header checksum stays as it was: neither the kernel's test run nor a program under
/// test looks at it. Where the stack will, [`write_checksum`] comes next.
#[inline(always)]
pub(crate) fn write_source(ctx: &XdpContext, family: u32, source: u64) -> bool {
    if family == 4 {
        write(ctx, ETHERNET + 12, (source as u32).to_be())
    } else {
        write(ctx, ETHERNET + 8, source.to_be()) && write(ctx, ETHERNET + 16, 1_u64.to_be())
    }
}

/// Whether an IPv4 frame has this source already.
#[inline(always)]
pub(crate) fn is_from(ctx: &XdpContext, source: u64) -> bool {
    let found: Option<[u8; 4]> = read(ctx, ETHERNET + 12);
    found.is_some_and(|found| u32::from_be_bytes(found) == source as u32)
}

/// Puts the checksum into an IPv4 header whose words, without it and the source, add up to `sum`.
#[inline(always)]
pub(crate) fn write_checksum(ctx: &XdpContext, sum: u32, source: u64) -> bool {
    let source = source as u32;
    let mut sum = sum + (source >> 16) + (source & 0xffff);
    // RFC 1071: twice, because the first fold may carry.
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    write(ctx, ETHERNET + 10, (!sum as u16).to_be())
}

/// Ethernet, IPv4 without options or IPv6, and room for a UDP header.
#[inline(always)]
pub(crate) fn parse(ctx: &XdpContext) -> Option<Packet> {
    let bytes = (ctx.data_end() - ctx.data()) as u64;
    let ether_type: [u8; 2] = read(ctx, 12)?;
    let address = match u16::from_be_bytes(ether_type) {
        0x0800 => {
            let version_and_length: u8 = read(ctx, ETHERNET)?;
            let _transport: [u8; UDP] = read(ctx, ETHERNET + IPV4)?;
            if version_and_length != 0x45 {
                return None;
            }
            Address::V4(read(ctx, ETHERNET + 12)?)
        }
        0x86dd => {
            let version: u8 = read(ctx, ETHERNET)?;
            let _transport: [u8; UDP] = read(ctx, ETHERNET + IPV6)?;
            if version >> 4 != 6 {
                return None;
            }
            Address::V6(read(ctx, ETHERNET + 8)?)
        }
        _ => return None,
    };
    Some(Packet { address, bytes })
}

#[inline(always)]
fn read<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: inside the frame by the check above, and all `T` above are bytes or arrays of them.
    Some(unsafe { core::ptr::read_unaligned(start as *const T) })
}

#[inline(always)]
fn write<T: Copy>(ctx: &XdpContext, offset: usize, value: T) -> bool {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return false;
    }
    // SAFETY: inside the frame by the check above.
    unsafe { core::ptr::write_unaligned(start as *mut T, value) };
    true
}
