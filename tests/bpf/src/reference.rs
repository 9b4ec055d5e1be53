//! The same job on the kernel's own maps, as today's projects do it: allowlist, blocklist, bans,
//! limits by prefix, packets and bytes per second per source, hits and counters.
//!
//! Two programs, which differ in the lists alone: LPM tries, or hashes that know whole addresses
//! only. Sources are in an LRU hash. Whatever could be left out without changing a verdict is left
//! out (strikes, events, sanity checks), so the references are rather too quick than too slow.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::xdp;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{HashMap, LpmTrie};
use aya_ebpf::programs::XdpContext;

use crate::abi::{Known, Listed, Rules, Verdict};
use crate::frame::{self, Address, Packet};
use crate::maps::{
    COUNTS, HASH_ALLOW_V4, HASH_ALLOW_V6, HASH_BLOCK_V4, HASH_BLOCK_V6, LPM_ALLOW_V4, LPM_ALLOW_V6,
    LPM_BLOCK_V4, LPM_BLOCK_V6, REF_BANS, REF_SOURCES, RULES, RULES_V4, RULES_V6,
};
use crate::word;

#[xdp(frags)]
pub(crate) fn bench_lpm(ctx: XdpContext) -> u32 {
    judge(
        &ctx,
        |address| in_tries(&LPM_ALLOW_V4, &LPM_ALLOW_V6, address),
        |address| in_tries(&LPM_BLOCK_V4, &LPM_BLOCK_V6, address),
    )
}

#[xdp(frags)]
pub(crate) fn bench_hash(ctx: XdpContext) -> u32 {
    judge(
        &ctx,
        |address| in_hashes(&HASH_ALLOW_V4, &HASH_ALLOW_V6, address),
        |address| in_hashes(&HASH_BLOCK_V4, &HASH_BLOCK_V6, address),
    )
}

#[inline(always)]
fn judge(
    ctx: &XdpContext,
    allowed: impl Fn(&Address) -> Option<*mut Listed>,
    blocked: impl Fn(&Address) -> Option<*mut Listed>,
) -> u32 {
    let Some(packet) = frame::parse(ctx) else {
        word::count_here(&COUNTS, Verdict::NotIp as u32, 0);
        return XDP_PASS;
    };
    let Some(verdict) = verdict(&packet, allowed, blocked) else {
        return XDP_ABORTED;
    };
    word::count_here(&COUNTS, verdict as u32, packet.bytes);
    match verdict {
        Verdict::Accepted | Verdict::Allowlisted | Verdict::NotIp => XDP_PASS,
        Verdict::Blocklisted | Verdict::Banned | Verdict::OverLimit => XDP_DROP,
    }
}

#[inline(always)]
fn verdict(
    packet: &Packet,
    allowed: impl Fn(&Address) -> Option<*mut Listed>,
    blocked: impl Fn(&Address) -> Option<*mut Listed>,
) -> Option<Verdict> {
    if allowed(&packet.address).is_some_and(|entry| hits(entry, packet.bytes)) {
        return Some(Verdict::Allowlisted);
    }
    if blocked(&packet.address).is_some_and(|entry| hits(entry, packet.bytes)) {
        return Some(Verdict::Blocklisted);
    }
    let source = source_of(&packet.address);
    let now = now();
    if let Some(until) = REF_BANS.get_ptr(&source)
        && word::load(until) > now
    {
        return Some(Verdict::Banned);
    }
    let rules = in_tries(&RULES_V4, &RULES_V6, &packet.address).map(<*mut Rules>::cast_const);
    let rules = rules.or_else(|| RULES.get_ptr(0))?;
    // SAFETY: a map value that a look-up gave; nobody writes it during a run.
    let rules = unsafe { &*rules };
    let known = known(&source)?;
    Some(within_limits(known, rules, packet.bytes, now))
}

/// Whether the entry counts, and counts the hit.
#[inline(always)]
fn hits(entry: *mut Listed, bytes: u64) -> bool {
    // SAFETY: a field's address inside the map value that a look-up gave.
    let expires_ns = word::load(unsafe { &raw const (*entry).expires_ns });
    if expires_ns != 0 && expires_ns <= now() {
        return false;
    }
    // SAFETY: the same.
    word::count(unsafe { &raw mut (*entry).hits }, bytes);
    true
}

#[inline(always)]
fn known(source: &[u8; 16]) -> Option<*mut Known> {
    if let Some(known) = REF_SOURCES.get_ptr_mut(source) {
        return Some(known);
    }
    // Refused when another CPU was first, which the second look-up finds.
    let _added_or_there = REF_SOURCES.insert(source, &NEW, u64::from(BPF_NOEXIST));
    REF_SOURCES.get_ptr_mut(source)
}

/// Not a constant, which would be put together on the stack byte by byte for each source.
static NEW: Known = Known {
    packets_tat: 0,
    bytes_tat: 0,
    seen: NONE,
    dropped: NONE,
    last_seen_ns: 0,
};
const NONE: crate::abi::Count = crate::abi::Count {
    packets: 0,
    bytes: 0,
};

#[inline(always)]
fn within_limits(known: *mut Known, rules: &Rules, bytes: u64, now: u64) -> Verdict {
    macro_rules! field {
        ($name:ident) => {
            // SAFETY: a field's address inside the map value that a look-up gave.
            unsafe { &raw mut (*known).$name }
        };
    }
    word::count(field!(seen), bytes);
    word::store(field!(last_seen_ns), now);
    let of_bytes = bytes.wrapping_mul(rules.byte_ns_fp) >> 16;
    if conforms(
        field!(packets_tat),
        rules.packet_ns,
        rules.tolerance_ns,
        now,
    ) && conforms(field!(bytes_tat), of_bytes, rules.tolerance_ns, now)
    {
        return Verdict::Accepted;
    }
    word::count(field!(dropped), bytes);
    Verdict::OverLimit
}

/// A GCRA on a shared word. One try: who loses the race counts as over the limit.
#[inline(always)]
fn conforms(tat: *mut u64, cost_ns: u64, tolerance_ns: u64, now: u64) -> bool {
    let stored = word::load(tat);
    let next = if stored < now { now } else { stored } + cost_ns;
    next - now <= tolerance_ns && word::replace(tat, stored, next)
}

#[inline(always)]
fn source_of(address: &Address) -> [u8; 16] {
    match address {
        Address::V4([a, b, c, d]) => [*a, *b, *c, *d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4],
        // A source is a /64.
        Address::V6([a, b, c, d, e, f, g, h, ..]) => {
            [*a, *b, *c, *d, *e, *f, *g, *h, 0, 0, 0, 0, 0, 0, 0, 6]
        }
    }
}

#[inline(always)]
fn in_tries<V>(
    v4: &'static LpmTrie<[u8; 4], V>,
    v6: &'static LpmTrie<[u8; 16], V>,
    address: &Address,
) -> Option<*mut V> {
    let found = match address {
        Address::V4(a) => v4.get(Key::new(32, *a)),
        Address::V6(a) => v6.get(Key::new(128, *a)),
    };
    found.map(|value| core::ptr::from_ref(value).cast_mut())
}

#[inline(always)]
fn in_hashes(
    v4: &'static HashMap<[u8; 4], Listed>,
    v6: &'static HashMap<[u8; 16], Listed>,
    address: &Address,
) -> Option<*mut Listed> {
    match address {
        Address::V4(a) => v4.get_ptr_mut(a),
        Address::V6(a) => v6.get_ptr_mut(a),
    }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no arguments and no preconditions (kernel 5.8).
    unsafe { bpf_ktime_get_boot_ns() }
}
