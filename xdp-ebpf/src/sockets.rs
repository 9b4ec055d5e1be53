//! Does a local socket wait for the packet? And SYN cookies of those that listen.

use core::ffi::c_void;

use aya_ebpf::bindings::{bpf_sock, xdp_md};
use aya_ebpf::helpers::{
    bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie,
    bpf_xdp_load_bytes,
};
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::entries;
use xdp_common::packet::{Address, Octets, Packet, Transport};
use xdp_common::verdict::{Cookie, Proof, Word as _};

use crate::map_pointer::{MapWord, Slot};
use crate::maps::{LISTENERS, SCRATCH, constant};
use crate::scratch::{Headers, Tuple, headers, keep_cookie, opaque, packet, tuple};

/// `BPF_F_CURRENT_NETNS` (include/uapi/linux/bpf.h).
const CURRENT_NETNS: u64 = u64::MAX;
/// States of a socket (include/net/tcp_states.h). A connected UDP socket is established too.
const ESTABLISHED: u32 = 1;
const LISTEN: u32 = 10;
const ENOENT: i64 = -2;

/// Sizes of a `bpf_sock_tuple`, which tell the family.
const IPV4_TUPLE: u32 = 12;
const IPV6_TUPLE: u32 = 36;

const IPV4_LEN: u16 = 20;
const IPV6_LEN: u16 = 40;
const TCP_MIN: u64 = 20;
const TCP_MAX: u64 = 60;

/// The kernel takes cookies of a listener for two minutes after it had to make one (`TCP_SYNCOOKIE_VALID`,
/// include/net/tcp.h); for half of that none is asked for again.
const MARK_MS: u64 = 60_000;
const MARK_BITS: u32 = 44;
const MARK_MASK: u64 = (1 << MARK_BITS) - 1;

#[inline(always)]
pub(crate) fn proof(ctx: &XdpContext, packet: &Packet) -> Proof {
    if is_for_many(&packet.destination) {
        return Proof::Unknown;
    }
    let told = match packet.transport {
        Transport::Tcp { .. } => tcp_proof(ctx.ctx),
        Transport::Udp { .. } => udp_proof(ctx.ctx),
        Transport::Icmp { .. } | Transport::Opaque => return Proof::Unknown,
    };
    match told {
        1 => Proof::Nobody,
        2 => Proof::Open,
        3 => Proof::Connected,
        _ => Proof::Unknown,
    }
}

/// Asks for a TCP socket. The numbers are those above.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn tcp_proof(ctx: *mut xdp_md) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Proof::Unknown as u64;
    };
    let packet = packet(scratch);
    let Some(ports) = ports(packet) else {
        return Proof::Unknown as u64;
    };
    let Some(socket) = Socket::tcp(ctx, packet, &ports, tuple(scratch)) else {
        return Proof::Nobody as u64;
    };
    let proof = if socket.state() != LISTEN {
        Proof::Connected
    } else if ports.is_ack && has_cookie(ctx, packet, &socket, headers(scratch)) {
        Proof::Connected
    } else {
        Proof::Open
    };
    socket.release();
    proof as u64
}

/// Asks for a UDP socket. A function of its own: the verifier wants an instruction that reads a socket
/// to read one kind of it only ("same insn cannot be used with different pointers").
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn udp_proof(ctx: *mut xdp_md) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Proof::Unknown as u64;
    };
    let packet = packet(scratch);
    let Some(ports) = ports(packet) else {
        return Proof::Unknown as u64;
    };
    let Some(socket) = Socket::udp(ctx, packet, &ports, tuple(scratch)) else {
        return Proof::Nobody as u64;
    };
    let proof = if socket.state() == ESTABLISHED {
        Proof::Connected
    } else {
        Proof::Open
    };
    socket.release();
    proof as u64
}

struct Ports {
    source: u16,
    destination: u16,
    is_ack: bool,
}

#[inline(always)]
fn ports(packet: &Packet) -> Option<Ports> {
    use xdp_common::packet::tcp_flags::{ACK, RST, SYN};
    match packet.transport {
        Transport::Tcp {
            source,
            destination,
            flags,
        } => Some(Ports {
            source,
            destination,
            is_ack: flags & (ACK | SYN | RST) == ACK,
        }),
        Transport::Udp {
            source,
            destination,
        } => Some(Ports {
            source,
            destination,
            is_ack: false,
        }),
        Transport::Icmp { .. } | Transport::Opaque => None,
    }
}

/// Multicast and the limited broadcast: whoever wants them takes them.
#[inline(always)]
fn is_for_many(address: &Address) -> bool {
    match &address.octets() {
        Octets::V4([first, .., last]) => *first >> 4 == 14 || (*first == 255 && *last == 255),
        Octets::V6([first, ..]) => *first == 0xff,
    }
}

/// A socket with a reference to it.
struct Socket(*mut bpf_sock);

/// Whose socket: addresses and ports of a packet, as a `bpf_sock_tuple` of the size that is returned.
#[inline(always)]
fn fill(tuple: Tuple, packet: &Packet, ports: &Ports) -> u32 {
    let both = u32::from_ne_bytes([
        (ports.source >> 8) as u8,
        ports.source as u8,
        (ports.destination >> 8) as u8,
        ports.destination as u8,
    ]);
    match (&packet.source.octets(), &packet.destination.octets()) {
        (Octets::V4(from), Octets::V4(to)) => {
            tuple.set(0, u32::from_ne_bytes(*from));
            tuple.set(1, u32::from_ne_bytes(*to));
            tuple.set(2, both);
            IPV4_TUPLE
        }
        (Octets::V6(from), Octets::V6(to)) => {
            for (first, address) in [(0, from), (4, to)] {
                let value = u128::from_ne_bytes(*address);
                for word in 0..4 {
                    tuple.set(first + word, (value >> (32 * word)) as u32);
                }
            }
            tuple.set(8, both);
            IPV6_TUPLE
        }
        _ => 0,
    }
}

impl Socket {
    /// The TCP socket that a packet goes to, as the kernel would look for it (kernel 5.2).
    #[inline(always)]
    fn tcp(ctx: *mut xdp_md, packet: &Packet, ports: &Ports, place: Tuple) -> Option<Self> {
        let size = fill(place, packet, ports);
        let (ctx, tuple) = (ctx.cast(), place.as_ptr());
        // SAFETY: the context is the program's, the tuple has `size` bytes.
        let found = unsafe {
            if size == IPV4_TUPLE {
                bpf_skc_lookup_tcp(ctx, tuple, IPV4_TUPLE, CURRENT_NETNS, 0)
            } else {
                bpf_skc_lookup_tcp(ctx, tuple, IPV6_TUPLE, CURRENT_NETNS, 0)
            }
        };
        if found.is_null() {
            None
        } else {
            Some(Self(found))
        }
    }

    /// The UDP socket, as above (kernel 4.20).
    #[inline(always)]
    fn udp(ctx: *mut xdp_md, packet: &Packet, ports: &Ports, place: Tuple) -> Option<Self> {
        let size = fill(place, packet, ports);
        let (ctx, tuple) = (ctx.cast(), place.as_ptr());
        // SAFETY: the context is the program's, the tuple has `size` bytes.
        let found = unsafe {
            if size == IPV4_TUPLE {
                bpf_sk_lookup_udp(ctx, tuple, IPV4_TUPLE, CURRENT_NETNS, 0)
            } else {
                bpf_sk_lookup_udp(ctx, tuple, IPV6_TUPLE, CURRENT_NETNS, 0)
            }
        };
        if found.is_null() {
            None
        } else {
            Some(Self(found))
        }
    }

    #[inline(always)]
    fn state(&self) -> u32 {
        // SAFETY: a socket that was found; the verifier makes the load one of the socket's own state.
        unsafe { (&raw const (*self.0).state).read_volatile() }
    }

    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.cast()
    }

    #[inline(always)]
    fn release(self) {
        // SAFETY: the reference that the look-up took, given back once.
        unsafe { bpf_sk_release(self.0.cast()) };
    }
}

/// Copies IP and TCP header into memory of this CPU's own: the length of the TCP header. Nothing for a
/// packet with options or extension headers between the two.
#[inline(always)]
fn copy_headers(ctx: *mut xdp_md, packet: &Packet, to: Headers) -> Option<u64> {
    let expected = match packet.source.octets() {
        Octets::V4(_) => IPV4_LEN,
        Octets::V6(_) => IPV6_LEN,
    };
    let (network, transport) = (packet.network_offset, packet.transport_offset);
    if transport.wrapping_sub(network) != expected {
        return None;
    }
    let (network, transport) = (u32::from(network), u32::from(transport));
    // SAFETY: the buffers are of 40 and 60 bytes; the helper checks the frame's range (kernel 5.18).
    unsafe {
        let ip = match packet.source.octets() {
            Octets::V4(_) => bpf_xdp_load_bytes(ctx, network, to.ip(), 20),
            Octets::V6(_) => bpf_xdp_load_bytes(ctx, network, to.ip(), 40),
        };
        if ip != 0 || bpf_xdp_load_bytes(ctx, transport, to.tcp(), TCP_MIN as u32) != 0 {
            return None;
        }
    }
    let length = opaque(u64::from(to.tcp_byte(12) >> 4) * 4);
    if length < TCP_MIN {
        return None;
    }
    // VERIFIER: 6.12: of both bounds in one comparison, of a difference, it learns neither.
    let length = opaque(length);
    if length > TCP_MAX {
        return None;
    }
    // SAFETY: as above, `length` is at most 60.
    (unsafe { helpers::load_bytes(ctx, transport.into(), to.tcp(), length) } == 0).then_some(length)
}

/// Whether an ACK answers a cookie that the listener takes.
#[inline(always)]
fn has_cookie(ctx: *mut xdp_md, packet: &Packet, socket: &Socket, to: Headers) -> bool {
    if copy_headers(ctx, packet, to).is_none() {
        return false;
    }
    // SAFETY: both headers were copied; a listener's reference is held (kernel 5.2).
    let refused = unsafe {
        match packet.source.octets() {
            Octets::V4(_) => bpf_tcp_check_syncookie(
                socket.as_ptr(),
                to.ip(),
                20,
                to.tcp().cast(),
                TCP_MIN as u32,
            ),
            Octets::V6(_) => bpf_tcp_check_syncookie(
                socket.as_ptr(),
                to.ip(),
                40,
                to.tcp().cast(),
                TCP_MIN as u32,
            ),
        }
    };
    refused == 0
}

#[inline(always)]
pub(crate) fn cookie(ctx: &XdpContext, now: u64) -> Cookie {
    match syn_cookie(ctx.ctx, now) {
        0 => Cookie::Ready,
        1 => Cookie::Room,
        2 => Cookie::NoListener,
        _ => Cookie::Impossible,
    }
}

/// Makes a cookie and keeps it. The numbers are those above.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn syn_cookie(ctx: *mut xdp_md, now: u64) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Cookie::Impossible as u64;
    };
    let packet = packet(scratch);
    let to = headers(scratch);
    let Some(ports) = ports(packet) else {
        return Cookie::Impossible as u64;
    };
    let Some(length) = copy_headers(ctx, packet, to) else {
        return Cookie::Impossible as u64;
    };
    let Some(socket) = Socket::tcp(ctx, packet, &ports, tuple(scratch)) else {
        return Cookie::NoListener as u64;
    };
    if socket.state() != LISTEN {
        // A connection that was, or is: the kernel knows best (RFC 9293, section 3.10.7).
        socket.release();
        return Cookie::Room as u64;
    }
    // SAFETY: both headers were copied; a listener's reference is held (kernel 5.3).
    let made = unsafe {
        match packet.source.octets() {
            Octets::V4(_) => helpers::gen_syncookie(socket.as_ptr(), to.ip(), 20, to.tcp(), length),
            Octets::V6(_) => helpers::gen_syncookie(socket.as_ptr(), to.ip(), 40, to.tcp(), length),
        }
    };
    socket.release();
    let (hash, mark) = listener(packet, &ports);
    let time = now >> 20 & MARK_MASK;
    if made > 0 {
        if let Some(mark) = mark {
            mark.store(hash & !MARK_MASK | time);
        }
        keep_cookie(scratch, made as u32);
        return Cookie::Ready as u64;
    }
    if made != ENOENT {
        return Cookie::Impossible as u64;
    }
    // The listener has room again, and still takes cookies.
    let marked = mark.map_or(0, |mark| mark.load());
    let is_marked =
        marked & !MARK_MASK == hash & !MARK_MASK && time.wrapping_sub(marked) & MARK_MASK < MARK_MS;
    if !is_marked {
        return Cookie::Room as u64;
    }
    // SAFETY: both headers were copied (kernel 6.0).
    let made = unsafe {
        match packet.source.octets() {
            Octets::V4(_) => helpers::raw_syncookie_v4(to.ip(), to.tcp(), length),
            Octets::V6(_) => helpers::raw_syncookie_v6(to.ip(), to.tcp(), length),
        }
    };
    if made <= 0 {
        return Cookie::Impossible as u64;
    }
    keep_cookie(scratch, made as u32);
    Cookie::Ready as u64
}

/// Helpers whose lengths are words. The bindings have half words, and to move one of those older
/// verifiers forget its lower bound (6.1: "invalid access to map value, size=0").
mod helpers {
    use core::ffi::c_void;

    use aya_ebpf::bindings::xdp_md;

    macro_rules! helper {
        ($name:ident, $number:literal, ($($argument:ident: $type:ty),+) -> $returns:ty) => {
            /// See bpf-helpers(7), and the bindings for what it asks of its arguments.
            #[inline(always)]
            pub(super) unsafe fn $name($($argument: $type),+) -> $returns {
                // SAFETY: the kernel calls a helper by its number, with five words at most
                // (include/uapi/linux/bpf.h).
                let helper = unsafe {
                    core::mem::transmute::<usize, unsafe extern "C" fn($($type),+) -> $returns>($number)
                };
                // SAFETY: as the caller promises.
                unsafe { helper($($argument),+) }
            }
        };
    }
    helper!(load_bytes, 189, (ctx: *mut xdp_md, offset: u64, to: *mut c_void, length: u64) -> i64);
    helper!(gen_syncookie, 110, (socket: *mut c_void, ip: *mut c_void, ip_len: u64, tcp: *mut c_void, tcp_len: u64) -> i64);
    helper!(raw_syncookie_v4, 204, (ip: *mut c_void, tcp: *mut c_void, tcp_len: u64) -> i64);
    helper!(raw_syncookie_v6, 205, (ip: *mut c_void, tcp: *mut c_void, tcp_len: u64) -> i64);
}

/// A listener's hash, and the word that says since when it makes cookies.
#[inline(always)]
fn listener(packet: &Packet, ports: &Ports) -> (u64, Option<MapWord<'static>>) {
    let [first, second] = constant::source_seeds();
    let destination = &packet.destination;
    let address = if destination.is_v4() {
        destination.v4_bits().into()
    } else {
        let (high, low) = destination.halves();
        high.rotate_left(32) ^ low
    };
    let mut x = address.wrapping_mul(first | 1) ^ u64::from(ports.destination);
    x ^= x >> 32;
    x = x.wrapping_mul(second | 1);
    x ^= x >> 29;
    let index = x as u32 % entries::LISTENERS;
    let word = LISTENERS
        .get_ptr_mut(index)
        .map(|word| Slot::at(word).alone());
    (x, word)
}
