//! The filter of known sources, over its map.

use xdp_common::known::{Bits, bits};
use xdp_common::verdict::Word as _;

use crate::map_pointer::{MapWord, Slot};
use crate::maps::{KNOWN, constant};

/// Whether the source may be known.
#[inline(always)]
pub(crate) fn may_be(tag: u64) -> bool {
    let Some(first) = KNOWN.get_ptr_mut(0) else {
        return false;
    };
    let filter = Slot::at(first).word_of_line(0).load() as u32;
    let bits = bits(tag, constant::known_mask(), filter);
    word(&bits).is_some_and(|word| bits.are_in(word.load()))
}

/// Something is known of the source from now on.
#[inline(always)]
pub(crate) fn add(tag: u64) {
    for filter in 0..2 {
        let bits = bits(tag, constant::known_mask(), filter);
        if let Some(word) = word(&bits)
            && !bits.are_in(word.load())
        {
            word.or(bits.mask);
        }
    }
}

#[inline(always)]
fn word(bits: &Bits) -> Option<MapWord<'static>> {
    let line = KNOWN.get_ptr_mut(bits.line)?;
    Some(Slot::at(line).word_of_line(bits.word as usize))
}
