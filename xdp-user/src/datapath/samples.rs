//! Sampled packets from the program's ring buffer.

use std::net::IpAddr;

use bytes::{Buf, Bytes};
use xdp_common::abi::{
    FAMILY_IPV4, FAMILY_IPV6, SAMPLE_ANSWERED, SAMPLE_BYTES, SAMPLE_DROPPED, SAMPLE_PASSED, Sample,
};
use xdp_common::reason::{Action, Reason};

/// A packet as the program told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// When it was judged, nanoseconds of `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Where it came from, where the parser found that.
    pub source: Option<IpAddr>,
    /// Length of the frame.
    pub length: u32,
    /// Packets that it stands for.
    pub stands_for: u32,
    /// Counter slot of its interface.
    pub slot: usize,
    /// Why.
    pub reason: Reason,
    /// What was done with it.
    pub action: Action,
    /// Its first bytes.
    pub frame: Bytes,
}

/// A sample of this ABI; nothing when the record has another size or numbers that aren't any.
pub fn decode(mut record: Bytes) -> Option<Sampled> {
    if record.len() != size_of::<Sample>() {
        return None;
    }
    let time_ns = record.get_u64_ne();
    let mut addr = [0; 16];
    record.copy_to_slice(&mut addr);
    let (length, captured) = (record.get_u32_ne(), record.get_u32_ne());
    let stands_for = record.get_u32_ne();
    let [slot, reason, action, family] = [(); 4].map(|()| record.get_u8());
    let [a, b, c, d, ..] = addr;
    let captured = usize::try_from(captured).ok()?;
    Some(Sampled {
        time_ns,
        source: match family {
            FAMILY_IPV4 => Some(IpAddr::from([a, b, c, d])),
            FAMILY_IPV6 => Some(IpAddr::from(addr)),
            _ => None,
        },
        length,
        stands_for,
        slot: slot.into(),
        reason: Reason::from_code(reason)?,
        action: match action {
            SAMPLE_PASSED => Action::Pass,
            SAMPLE_DROPPED => Action::Drop,
            SAMPLE_ANSWERED => Action::Answer,
            _ => return None,
        },
        frame: record.slice(..captured.min(SAMPLE_BYTES)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, BytesMut};

    #[test]
    fn a_record_is_read_in_the_order_of_the_layout() {
        let mut record = BytesMut::new();
        record.put_u64_ne(7);
        record.put_slice(&[198, 51, 100, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for word in [1500, 60, 12] {
            record.put_u32_ne(word);
        }
        record.put_slice(&[3, Reason::Blocklisted.code(), SAMPLE_DROPPED, FAMILY_IPV4]);
        record.put_bytes(0xab, SAMPLE_BYTES);
        let whole = record.clone().freeze();
        let sample = decode(whole.clone()).unwrap();
        assert_eq!(sample.source, "198.51.100.9".parse().ok());
        assert_eq!(
            (sample.time_ns, sample.length, sample.stands_for),
            (7, 1500, 12)
        );
        assert_eq!((sample.slot, sample.reason), (3, Reason::Blocklisted));
        assert_eq!(sample.action, Action::Drop);
        assert_eq!(sample.frame, vec![0xab; 60]);

        let changed = |at: usize, value: u8| {
            let mut record = BytesMut::from(&whole[..]);
            record[at] = value;
            decode(record.freeze())
        };
        assert_eq!(changed(39, 0).unwrap().source, None);
        assert_eq!(changed(37, 63), None, "no such reason");
        assert_eq!(changed(38, 9), None, "no such action");
        assert_eq!(
            changed(30, 255).unwrap().frame.len(),
            SAMPLE_BYTES,
            "no longer than it can be"
        );
        assert_eq!(decode(whole.slice(1..)), None, "a cut record is none");
    }
}
