//! The Internet checksum (RFC 1071) and SCTP's CRC32c (RFC 9260, appendix A).

/// A ones' complement sum in the making, not folded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds bytes as big-endian 16-bit words, an odd one at the end padded with zero.
    pub(crate) fn add(mut self, bytes: &[u8]) -> Self {
        for word in bytes.chunks(2) {
            let low = word.get(1).copied().unwrap_or(0);
            self.0 += u64::from(u16::from_be_bytes([word[0], low]));
        }
        self
    }

    pub(crate) fn add_number(mut self, number: usize) -> Self {
        self.0 += number as u64;
        self
    }

    pub(crate) fn checksum(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let polynomial = if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            crc = (crc >> 1) ^ polynomial;
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_rfc_1071_section_3() {
        let sum = Sum::default().add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.checksum(), !0xddf2);
    }

    #[test]
    fn the_crc_is_that_of_rfc_3720_appendix_b_4() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
