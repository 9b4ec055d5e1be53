//! Packets of capture files, classic and pcapng, one after the other.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use pcap_parser::pcapng::Block;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{PcapBlockOwned, PcapError, create_reader};

pub use pcap_parser::Linktype;

/// Room for a file's longest record.
const BUFFER: usize = 1 << 20;
/// A longer packet is a mistake in the file.
const LONGEST: usize = 1 << 18;
/// More interfaces than any machine has; a file may describe as many as it likes.
const MOST_INTERFACES: usize = 4096;

/// One packet with all of its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Since the first of the file; 0 where the file has no times.
    pub at: Duration,
    /// What its first header is.
    pub link: Linktype,
    /// The packet, zeros in the place of what was not captured.
    pub bytes: Vec<u8>,
    /// Whether there are such.
    pub filled: bool,
}

/// A file's packets. After an error there are no more: what came before is good.
pub struct Packets {
    reader: Box<dyn PcapReaderIterator + Send>,
    reading: Reading,
    ended: bool,
}

impl Packets {
    /// Opens a file.
    ///
    /// # Errors
    /// When it can't be read or is no capture.
    pub fn open(path: &Path) -> Result<Self> {
        let place = || format!("reading {}", path.display());
        let file = File::open(path).with_context(place)?;
        Self::read(file).with_context(place)
    }

    /// Reads from anything.
    ///
    /// # Errors
    /// When it is no capture.
    pub fn read(from: impl Read + Send + 'static) -> Result<Self> {
        Ok(Self {
            reader: create_reader(BUFFER, from).map_err(described)?,
            reading: Reading::default(),
            ended: false,
        })
    }

    fn advance(&mut self) -> Result<Option<Captured>> {
        loop {
            if let Some(packet) = self.reading.packets.pop_front() {
                return Ok(Some(packet));
            }
            match self.reader.next() {
                Ok((length, block)) => {
                    self.reading.take(&block)?;
                    self.reader.consume(length);
                }
                Err(PcapError::Incomplete(_)) => self.refill()?,
                Err(PcapError::Eof) => return Ok(None),
                Err(error) => return Err(described(error)),
            }
        }
    }

    /// A record that the buffer has no room for would be asked for again and again.
    fn refill(&mut self) -> Result<()> {
        let before = self.reader.data().len();
        self.reader.refill().map_err(described)?;
        // At a file's end nothing is left, and the next look says so.
        if before > 0 && self.reader.data().len() == before {
            bail!("ends within a record, or has one of more than {BUFFER} bytes");
        }
        Ok(())
    }
}

impl Iterator for Packets {
    type Item = Result<Captured>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl Captured {
    /// The packet as an Ethernet frame, at least as long as one's header; nothing for a kind of
    /// network that isn't read: see [`is_read`].
    #[must_use]
    pub fn into_frame(self) -> Option<Vec<u8>> {
        let header = header_of(self.link)?;
        let mut frame = match header {
            Header::Ethernet => self.bytes,
            Header::None => {
                let kind: [u8; 2] = match self.bytes.first().map(|byte| byte >> 4) {
                    Some(6) => [0x86, 0xdd],
                    _ => [0x08, 0x00],
                };
                framed(kind, &self.bytes)
            }
            Header::Cooked { kind, length } => {
                let of_network = self.bytes.get(kind..kind + 2)?.try_into().ok()?;
                framed(of_network, self.bytes.get(length..)?)
            }
        };
        frame.resize(frame.len().max(ETHERNET), 0);
        Some(frame)
    }
}

const ETHERNET: usize = 14;

/// What a packet of a file begins with.
#[derive(Clone, Copy)]
enum Header {
    Ethernet,
    /// IP itself.
    None,
    /// Linux's own (LINKTYPE_LINUX_SLL and SLL2): where its EtherType is, and how long it is.
    Cooked {
        kind: usize,
        length: usize,
    },
}

fn header_of(link: Linktype) -> Option<Header> {
    Some(match link {
        Linktype::ETHERNET => Header::Ethernet,
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => Header::None,
        Linktype::LINUX_SLL => Header::Cooked {
            kind: 14,
            length: 16,
        },
        Linktype::LINUX_SLL2 => Header::Cooked {
            kind: 0,
            length: 20,
        },
        _ => return None,
    })
}

/// Whether packets of this kind can be made frames.
#[must_use]
pub fn is_read(link: Linktype) -> bool {
    header_of(link).is_some()
}

fn framed(kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(kind);
    frame.extend(packet);
    frame
}

/// What the records of a file are to be read with.
#[derive(Default)]
struct Reading {
    interfaces: Vec<Interface>,
    /// Of the first packet that has one.
    start: Option<Duration>,
    packets: VecDeque<Captured>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Units of a second.
    resolution: u64,
    /// Seconds.
    offset: i64,
    /// Longest captured part; 0: any.
    most: usize,
}

impl Reading {
    fn take(&mut self, block: &PcapBlockOwned<'_>) -> Result<()> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = match header.is_nanosecond_precision() {
                    true => 1_000_000_000,
                    false => 1_000_000,
                };
                self.interfaces = vec![Interface {
                    link: header.network,
                    resolution,
                    offset: 0,
                    most: 0,
                }];
            }
            PcapBlockOwned::Legacy(packet) => {
                let interface = self.interface(0)?;
                let fraction = u64::from(packet.ts_usec);
                let at = time(packet.ts_sec.into(), fraction, interface.resolution);
                self.push(
                    interface,
                    Some(at),
                    packet.data,
                    packet.caplen,
                    packet.origlen,
                )?;
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                if self.interfaces.len() >= MOST_INTERFACES {
                    bail!("more than {MOST_INTERFACES} interfaces");
                }
                self.interfaces.push(Interface {
                    link: interface.linktype,
                    resolution: interface.ts_resolution().context("an odd unit of time")?,
                    offset: interface.ts_offset(),
                    most: usize::try_from(interface.snaplen)?,
                });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface = self.interface(packet.if_id)?;
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let resolution = interface.resolution.max(1);
                let seconds = (units / resolution).saturating_add_signed(interface.offset);
                let at = time(seconds, units % resolution, resolution);
                self.push(
                    interface,
                    Some(at),
                    packet.data,
                    packet.caplen,
                    packet.origlen,
                )?;
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let interface = self.interface(0)?;
                let captured = match interface.most {
                    0 => packet.origlen,
                    most => packet.origlen.min(u32::try_from(most)?),
                };
                self.push(interface, None, packet.data, captured, packet.origlen)?;
            }
            // Names, statistics, comments.
            PcapBlockOwned::NG(_) => {}
        }
        Ok(())
    }

    fn interface(&self, number: u32) -> Result<Interface> {
        let found = self.interfaces.get(usize::try_from(number)?);
        found
            .copied()
            .with_context(|| format!("a packet of interface {number}, which isn't there"))
    }

    fn push(
        &mut self,
        interface: Interface,
        at: Option<Duration>,
        data: &[u8],
        captured: u32,
        original: u32,
    ) -> Result<()> {
        let captured = usize::try_from(captured)?;
        let mut bytes = data.get(..captured).context("a packet cut short")?.to_vec();
        let original = usize::try_from(original)?;
        if original > LONGEST {
            bail!("a packet of {original} bytes");
        }
        let filled = bytes.len() < original;
        if filled {
            bytes.resize(original, 0);
        }
        let at = at.map_or(Duration::ZERO, |at| {
            at.saturating_sub(*self.start.get_or_insert(at))
        });
        self.packets.push_back(Captured {
            at,
            link: interface.link,
            bytes,
            filled,
        });
        Ok(())
    }
}

fn time(seconds: u64, units: u64, resolution: u64) -> Duration {
    let nanoseconds = u128::from(units) * 1_000_000_000 / u128::from(resolution.max(1));
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

fn described<I: std::fmt::Debug>(error: PcapError<I>) -> anyhow::Error {
    anyhow!("not a readable capture: {error:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classic(link: u32, records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(65_535_u32.to_le_bytes());
        bytes.extend(link.to_le_bytes());
        for (second, data) in (0_u32..).zip(records) {
            let length = u32::try_from(data.len()).unwrap();
            for word in [second, 0, length, length] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(*data);
        }
        bytes
    }

    fn read(bytes: Vec<u8>) -> Vec<Result<Captured>> {
        Packets::read(std::io::Cursor::new(bytes))
            .unwrap()
            .collect()
    }

    #[test]
    fn a_file_cut_short_gives_what_is_whole_and_then_one_error() {
        let whole = classic(1, &[&[1; 60], &[2; 60]]);
        for cut in [1, 59, 61, 75] {
            let packets = read(whole[..whole.len() - cut].to_vec());
            assert_eq!(packets.len(), 2, "{cut}: {packets:?}");
            assert!(packets[0].is_ok() && packets[1].is_err(), "{cut}");
        }
        let packets = read(whole[..whole.len() - 76].to_vec());
        assert!(packets.len() == 1 && packets[0].is_ok(), "{packets:?}");
    }

    #[test]
    fn a_record_longer_than_any_packet_ends_it_at_once() {
        let mut bytes = classic(1, &[&[1; 60]]);
        bytes.extend([0; 8]);
        bytes.extend([0xf0, 0xff, 0xff, 0x7f, 0xf0, 0xff, 0xff, 0x7f]);
        bytes.extend(vec![0; 3 << 20]);
        let packets = read(bytes);
        assert!(
            packets.len() == 2 && packets[1].is_err(),
            "{}",
            packets.len()
        );
    }

    #[test]
    fn any_bytes_behind_a_head_end_in_packets_or_one_error() {
        let head = classic(1, &[]);
        let mut state = 7_u64;
        for _ in 0..500 {
            let mut bytes = head.clone();
            for _ in 0..400 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Mostly small numbers, as lengths are.
                let byte = (state >> 56) as u8;
                bytes.push(if state >> 40 & 3 == 0 { byte } else { 0 });
            }
            let packets = read(bytes);
            let errors = packets.iter().filter(|packet| packet.is_err()).count();
            assert!(errors <= 1);
            assert!(packets.iter().rev().skip(1).all(Result::is_ok));
        }
    }

    #[test]
    fn packets_without_ethernet_get_a_header_of_their_family() {
        let frame = |link: i32, bytes: &[u8]| {
            let packet = Captured {
                at: Duration::ZERO,
                link: Linktype(link),
                bytes: bytes.to_vec(),
                filled: false,
            };
            packet.into_frame()
        };
        let kind = |frame: &[u8]| [frame[12], frame[13]];
        let v4 = [0x45, 0, 0, 20];
        assert_eq!(kind(&frame(101, &v4).unwrap()), [0x08, 0]);
        assert_eq!(kind(&frame(101, &[0x60, 0]).unwrap()), [0x86, 0xdd]);
        let mut cooked = vec![0; 14];
        cooked.extend([0x86, 0xdd, 0x60, 1, 2]);
        let of_sll = frame(113, &cooked).unwrap();
        assert_eq!(
            (kind(&of_sll), &of_sll[14..]),
            ([0x86, 0xdd], &[0x60, 1, 2][..])
        );
        assert_eq!(frame(113, &[0; 15]), None);
        assert_eq!(frame(105, &v4), None, "802.11");
        assert_eq!(frame(1, &[]).unwrap().len(), 14);
    }
}
