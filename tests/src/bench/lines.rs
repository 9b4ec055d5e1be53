//! How many lines the tables have that a program reads one line of.

use super::cases::{Family, prefix_lengths};
use super::plan::Size;
use super::stand::allowed;
use xdp_user::datapath::lines_for;

/// Bits of a line.
const LINE_BITS: f64 = 512.0;
/// Lines that the program's own list table chooses one of.
pub(super) fn of_own_table(family: Family, size: Size) -> u32 {
    let entries = size.listed + allowed(size.listed);
    lines_for(entries, family == Family::Ipv4)
}

/// Lines that any table has at least which can hold a list of this kind and say of every address whether
/// it is listed: there are so many lists of so many entries, and each must look different. Of n out of
/// 2^w there are more than (2^w / n)^n.
pub(super) fn of_smallest_table(family: Family, size: Size) -> u32 {
    let half = f64::from(size.listed / 2);
    let width = match family {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    };
    let (shortest, count) = prefix_lengths(family);
    let lengths = shortest..shortest + count;
    let hosts = bits(half + f64::from(allowed(size.listed)), width);
    let prefixes: f64 = lengths
        .map(|length| bits(half / f64::from(count), length))
        .sum();
    let lines = ((hosts + prefixes) / LINE_BITS).ceil();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number, far below 2^32"
    )]
    let lines = lines as u32;
    lines.max(1)
}

/// Bits that tell which so many of 2^width it are, at least.
fn bits(entries: f64, width: u8) -> f64 {
    if entries < 1.0 {
        return 0.0;
    }
    entries * (f64::from(width) - entries.log2())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mebibytes(lines: u32) -> f64 {
        f64::from(lines) * 64.0 / f64::from(1 << 20)
    }

    #[test]
    fn no_list_needs_fewer_bits_than_there_are_lists_of_its_kind() {
        // 56 ways to choose 3 of 8, which takes 5.8 bits.
        let ways = 56_f64.log2();
        let least = bits(3.0, 3);
        assert!(least <= ways && least > ways - 3.0 * 1.45, "{least}");
        assert_eq!(bits(0.0, 32), 0.0);
        // Everything is listed: nothing to tell.
        assert_eq!(bits(8.0, 3), 0.0);
    }

    #[test]
    fn the_smallest_table_of_a_million_is_a_fraction_of_our_own() {
        let size = Size {
            listed: 1_000_000,
            slots: 1,
        };
        for (family, smallest, own) in [(Family::Ipv4, 1.6, 7.5), (Family::Ipv6, 10.3, 42.0)] {
            let least = mebibytes(of_smallest_table(family, size));
            assert!((least - smallest).abs() < 0.1, "{family:?}: {least}");
            let ours = mebibytes(of_own_table(family, size));
            assert!((ours - own).abs() < 0.1, "{family:?}: {ours}");
        }
    }
}
