//! Records from the program's ring buffers.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use bytes::{Buf, Bytes};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use xdp_common::abi::{Event, Plain, SourceKey};

/// A ring buffer as something to wait for.
pub struct Ring {
    ring: AsyncFd<RingBuf<MapData>>,
}

/// Records that are handed on at once, at most.
const BATCH: usize = 1024;

impl Ring {
    /// Takes the ring buffer; inside an async runtime.
    pub fn new(ring: RingBuf<MapData>) -> std::io::Result<Self> {
        // SAFETY: the ring buffer owns its descriptor and gives the same one until it is dropped.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        Ok(Self { ring })
    }

    /// Waits for the next records, at least one. What isn't one of ours is left out.
    pub async fn next<T>(
        &mut self,
        decode: impl Fn(Bytes) -> Option<T>,
    ) -> std::io::Result<Vec<T>> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            let ring = ready.get_inner_mut();
            let (records, is_empty) = read(ring, &decode);
            if is_empty {
                ready.clear_ready();
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }
}

/// Records that are there now, and whether these were all.
pub fn read<T>(ring: &mut RingBuf<MapData>, decode: impl Fn(Bytes) -> Option<T>) -> (Vec<T>, bool) {
    let mut records = Vec::new();
    for _ in 0..BATCH {
        let Some(item) = ring.next() else {
            return (records, true);
        };
        records.extend(decode(Bytes::copy_from_slice(&item)));
    }
    (records, false)
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// An event of this ABI; nothing when the record has another size.
pub fn decode(mut record: Bytes) -> Option<Event> {
    if record.len() != size_of::<Event>() {
        return None;
    }
    let time_ns = record.get_u64_ne();
    let mut addr = [0; 16];
    record.copy_to_slice(&mut addr);
    let (family, prefix_len) = (record.get_u8(), record.get_u8());
    record.advance(6);
    Some(Event {
        time_ns,
        source: SourceKey {
            addr,
            family,
            prefix_len,
            ..SourceKey::ZERO
        },
        until_ns: record.get_u64_ne(),
        kind: record.get_u32_ne(),
        reason: record.get_u32_ne(),
        level: record.get_u32_ne(),
        reserved: record.get_u32_ne(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use xdp_common::abi::{EVENT_BAN, FAMILY_IPV6};

    #[test]
    fn a_record_is_read_in_the_order_of_the_layout() {
        let mut record = bytes::BytesMut::new();
        record.put_u64_ne(7);
        record.put_slice(&[9; 16]);
        record.put_slice(&[FAMILY_IPV6, 64, 0, 0, 0, 0, 0, 0]);
        record.put_u64_ne(8);
        for word in [EVENT_BAN, 37, 2, 0] {
            record.put_u32_ne(word);
        }
        let event = decode(record.clone().freeze()).unwrap();
        assert_eq!(
            (event.time_ns, event.until_ns, event.kind),
            (7, 8, EVENT_BAN)
        );
        assert_eq!((event.reason, event.level), (37, 2));
        assert_eq!(
            (event.source.family, event.source.prefix_len),
            (FAMILY_IPV6, 64)
        );
        record.truncate(40);
        assert_eq!(decode(record.freeze()), None, "a cut record is none");
    }
}
