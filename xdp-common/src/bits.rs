//! Single bits without branches: which one is set nobody foresees, and a processor that guessed wrong
//! would wait for the memory behind it before it goes on to the next packet.

/// 1 if a number is 0, without a branch.
#[inline(always)]
pub(crate) const fn is_zero(x: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "one bit")]
    let bit = ((x.wrapping_sub(1) & !x) >> 63) as u32;
    bit
}

/// The same where a compiler sees what is meant and would make a branch of it. `opaque` gives a number of
/// which it no longer knows what it may be.
#[inline(always)]
pub(crate) fn is_zero_unseen(x: u64, opaque: impl FnOnce(u64) -> u64) -> u64 {
    ((x | opaque(x.wrapping_neg())) >> 63) ^ 1
}

/// Number of the lowest of eight bits, 0 where none is set. The program has no instruction for it.
#[inline(always)]
pub(crate) const fn lowest(bits: u32) -> usize {
    let bit = (bits & bits.wrapping_neg()) as u64;
    let zero = is_zero(bit & 0xf0) << 2 | is_zero(bit & 0xcc) << 1 | is_zero(bit & 0xaa);
    (zero ^ 7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bit_is_found_and_zero_told_from_the_rest() {
        for bits in 1..=0xff_u32 {
            assert_eq!(lowest(bits), bits.trailing_zeros() as usize, "{bits:#b}");
        }
        assert_eq!(lowest(0), 0);
        for x in [1, 2, 1 << 63, u64::MAX] {
            assert_eq!(is_zero(x), 0, "{x}");
            assert_eq!(is_zero_unseen(x, |x| x), 0, "{x}");
        }
        assert_eq!((is_zero(0), is_zero_unseen(0, |x| x)), (1, 1));
    }
}
