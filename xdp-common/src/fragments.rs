//! What became of first fragments, for the later ones of the same packet.
//!
//! An array of words chosen by a hash of both addresses, the protocol and the packet's number; a word
//! is written over by the next one that falls on it. A later fragment that finds nothing of its own is
//! judged by a class of its own.

use crate::packet::{Address, Packet};

/// Words of the map.
pub const WORDS: u32 = 4096;
/// How long a first fragment is remembered: what Linux waits for the rest (`IP_FRAG_TIME`,
/// include/net/ip.h; 60 s by RFC 8200, section 4.5 for IPv6, where 30 do).
const LIFETIME_S: u64 = 30;

const TAG_MASK: u64 = 0xffff_ffff_0000_0000;
const SECOND_SHIFT: u32 = 30;
const TIME_MASK: u64 = 0x7fff_ffff;

/// The hash of a fragment's packet.
#[inline(always)]
pub fn hash(packet: &Packet, seeds: [u64; 2]) -> u64 {
    let [first, second] = seeds;
    let (source, destination) = (folded(&packet.source), folded(&packet.destination));
    let number = u64::from(packet.fragment_id) << 8 | u64::from(packet.protocol);
    let mut x = source.wrapping_mul(first | 1) ^ destination;
    x ^= x >> 32;
    x = x.wrapping_mul(second | 1) ^ number;
    x ^= x >> 29;
    x = x.wrapping_mul(first | 1);
    x ^ x >> 32
}

#[inline(always)]
fn folded(address: &Address) -> u64 {
    if address.is_v4() {
        return address.v4_bits().into();
    }
    let (high, low) = address.halves();
    high.rotate_left(32) ^ low
}

/// Where a hash's word is.
#[inline(always)]
pub const fn index(hash: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the lowest bits")]
    let low = hash as u32;
    low % WORDS
}

/// The word for a first fragment.
#[inline(always)]
pub const fn word(hash: u64, passed: bool, now: u64) -> u64 {
    hash & TAG_MASK | (now >> SECOND_SHIFT & TIME_MASK) << 1 | passed as u64
}

/// Whether the first fragment passed, if the word is about it.
#[inline(always)]
pub const fn read(word: u64, hash: u64, now: u64) -> Option<bool> {
    let age = (now >> SECOND_SHIFT).wrapping_sub(word >> 1) & TIME_MASK;
    if word & TAG_MASK != hash & TAG_MASK || age > LIFETIME_S {
        return None;
    }
    Some(word & 1 != 0)
}
