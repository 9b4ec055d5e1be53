//! Limits by hash, over their map.

use xdp_common::abi::Limit;
use xdp_common::meters::{Charge, conforms, line_of};

use crate::map_pointer::Slot;
use crate::maps::{METERS, constant};

/// Takes room from the limit that is kept for a hash.
#[inline(always)]
pub(crate) fn take(hash: u64, limit: &Limit, units: u64, now: u64) -> bool {
    let Charge { cost, tolerance } = Charge::of(limit, units);
    meter(hash, cost, tolerance, now) != 0
}

/// 1 if there was room. See [`crate::sources`] for why it is a function of its own.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn meter(hash: u64, cost: u64, tolerance: u64, now: u64) -> u64 {
    let Some(line) = METERS.get_ptr_mut(line_of(hash, constant::meter_mask())) else {
        return 1;
    };
    let line = Slot::at(line);
    conforms(
        |word| line.word_of_line(word),
        hash,
        Charge { cost, tolerance },
        now,
    )
    .into()
}
