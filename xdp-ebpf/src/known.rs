//! The filter of known sources, over its map.

use xdp_common::known::{Bit, bit};
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
    let bit = bit(tag, constant::known_mask(), filter);
    word(&bit).is_some_and(|word| word.load() & bit.mask != 0)
}

/// Something is known of the source from now on.
#[inline(always)]
pub(crate) fn add(tag: u64) {
    for filter in 0..2 {
        let bit = bit(tag, constant::known_mask(), filter);
        if let Some(word) = word(&bit) {
            word.or(bit.mask);
        }
    }
}

#[inline(always)]
fn word(bit: &Bit) -> Option<MapWord<'static>> {
    let line = KNOWN.get_ptr_mut(bit.line)?;
    Some(Slot::at(line).word_of_line(bit.word as usize))
}
