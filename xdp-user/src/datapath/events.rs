//! Events from the program's ring buffer.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use bytes::{Buf, Bytes};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use xdp_common::abi::{Event, Plain, SourceKey};

/// The ring buffer as something to wait for.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Events {
    /// Takes the ring buffer; inside an async runtime.
    pub fn new(ring: RingBuf<MapData>) -> std::io::Result<Self> {
        // SAFETY: the ring buffer owns its descriptor and gives the same one until it is dropped.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        Ok(Self { ring })
    }

    /// Waits for the next events, at least one.
    pub async fn next(&mut self) -> std::io::Result<Vec<Event>> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            let ring = ready.get_inner_mut();
            let mut events = Vec::new();
            while let Some(item) = ring.next() {
                events.extend(decode(Bytes::copy_from_slice(&item)));
            }
            ready.clear_ready();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// An event of this ABI; nothing when the record has another size.
fn decode(mut record: Bytes) -> Option<Event> {
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
