//! Single bits without branches: which one is set nobody foresees, and a processor that guessed wrong
//! would wait for the memory behind it before it goes on to the next packet.

/// Numbers of the bits 0, 4, ..., 60 of a word, one of sixteen places each, for [`first_place`]: the place
/// of bit 0 on top.
pub(crate) const IN_ORDER: u64 = 0x0123_4567_89ab_cdef;

/// The place of the lowest bit of a word that has bits 0, 4, ..., 60 only; of any where there is none. The
/// program has no instruction for it.
///
/// The bit, alone, shifts its place's number into the four highest bits of a product (the idea of
/// de Bruijn multiplication: Leiserson, Prokop, Randall 1998).
#[inline(always)]
pub(crate) const fn first_place(bits: u64, numbers: u64) -> usize {
    let lowest = bits & bits.wrapping_neg();
    #[allow(clippy::cast_possible_truncation, reason = "four bits")]
    let place = (lowest.wrapping_mul(numbers) >> 60) as usize;
    place
}

/// The number of the lowest bit that is set, of bits 0 to 6; any below 8 where none is. As [`first_place`],
/// with bits side by side.
#[inline(always)]
pub(crate) const fn first_of_seven(bits: u64) -> u32 {
    // Each three bits of it are others.
    const SEQUENCE: u64 = 0b0001_0111;
    // The bit's number by those three, four bits for each.
    const NUMBERS: u64 = 0x5637_4210;
    let lowest = bits & bits.wrapping_neg();
    let three = lowest.wrapping_mul(SEQUENCE) >> 5 & 7;
    #[allow(clippy::cast_possible_truncation, reason = "three bits")]
    let number = (NUMBERS >> (three << 2)) as u32 & 7;
    number
}

/// 1 if a number is not 0, without a branch. `opaque` gives a number of which a compiler no longer knows
/// what it may be: one that sees what is meant makes a branch of it.
#[inline(always)]
pub(crate) fn is_set(x: u64, opaque: impl FnOnce(u64) -> u64) -> u64 {
    (x | opaque(x.wrapping_neg())) >> 63
}

/// All bits if a number is below a bound, both below 2^63, else none; without a branch.
#[inline(always)]
pub(crate) fn all_if_below(x: u64, bound: u64, opaque: impl FnOnce(u64) -> u64) -> u64 {
    (opaque(x).wrapping_sub(bound).cast_signed() >> 63).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bit_has_the_first_place() {
        for place in 0..16 {
            let others = 0x1111_1111_1111_1111 & u64::MAX << (4 * place);
            assert_eq!(first_place(1 << (4 * place), IN_ORDER), place);
            assert_eq!(first_place(others, IN_ORDER), place, "{others:#x}");
        }
        assert!(first_place(0, IN_ORDER) < 16);
    }

    #[test]
    fn the_lowest_of_seven_bits_has_its_number() {
        for bits in 1_u64..1 << 14 {
            let first = bits.trailing_zeros();
            if first < 7 {
                assert_eq!(first_of_seven(bits), first, "{bits:#b}");
            }
        }
        assert!(first_of_seven(0) < 8);
    }

    #[test]
    fn zero_is_told_from_the_rest() {
        for x in [1, 2, 1 << 63, u64::MAX] {
            assert_eq!(is_set(x, |x| x), 1, "{x}");
        }
        assert_eq!(is_set(0, |x| x), 0);
        for (x, below) in [(0, true), (6, true), (7, false), (u64::MAX >> 1, false)] {
            let all = if below { u64::MAX } else { 0 };
            assert_eq!(all_if_below(x, 7, |x| x), all, "{x}");
        }
    }
}
