//! Packets of capture files, classic and pcapng, one after the other.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use pcap_parser::pcapng::{Block, EnhancedPacketBlock, OptionCode, PcapNGOption};
use pcap_parser::traits::{PcapNGPacketBlock as _, PcapReaderIterator};
use pcap_parser::{PcapBlockOwned, PcapError, create_reader};

use super::link::{self, Frame};

pub use pcap_parser::Linktype;

/// Room for a file's longest record.
const BUFFER: usize = 1 << 20;
/// A longer packet is a mistake in the file.
const LONGEST: usize = 1 << 18;
/// More interfaces than any machine has; a file may describe as many as it likes.
const MOST_INTERFACES: usize = 4096;

/// `if_fcslen` and `epb_flags` (draft-ietf-opsawg-pcapng, sections 4.2 and 4.3).
const CHECK_LENGTH: OptionCode = OptionCode(13);
const PACKET_FLAGS: OptionCode = OptionCode(2);

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

/// The type of a section header block, the same in either byte order (draft-ietf-opsawg-pcapng, section
/// 4.1).
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// What tells the byte order, behind its type and length.
const BIG_ENDIAN: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
/// A type and the length twice.
const LEAST_BLOCK: u32 = 12;

/// Checks the lengths of pcapng blocks before the parser sees them, which takes twelve from any.
#[derive(Default)]
struct Blocks {
    big_endian: bool,
}

impl Blocks {
    /// Looks at the block that begins here, as far as it has been read.
    fn check(&mut self, data: &[u8]) -> Result<()> {
        if let Some((head, rest)) = data.split_at_checked(8)
            && head.starts_with(&SECTION)
            && rest.len() >= BIG_ENDIAN.len()
        {
            self.big_endian = rest.starts_with(&BIG_ENDIAN);
        }
        let Some(length) = data.get(4..8).and_then(|bytes| bytes.try_into().ok()) else {
            return Ok(());
        };
        let length = match self.big_endian {
            true => u32::from_be_bytes(length),
            false => u32::from_le_bytes(length),
        };
        ensure!(
            length >= LEAST_BLOCK,
            "has a block of {length} bytes, and none has fewer than {LEAST_BLOCK}"
        );
        Ok(())
    }
}

/// A file's packets. After an error there are no more: what came before is good.
pub struct Packets {
    reader: Box<dyn PcapReaderIterator + Send>,
    /// Of pcapng; none of pcap.
    blocks: Option<Blocks>,
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
    pub fn read(mut from: impl Read + Send + 'static) -> Result<Self> {
        // The parser tells the format by what its first read gives, which of a pipe may be a few bytes.
        let mut start = Vec::new();
        let mut first = from.by_ref().take(BUFFER as u64);
        first.read_to_end(&mut start)?;
        let blocks = start.starts_with(&SECTION).then(Blocks::default);
        let whole = io::Cursor::new(start).chain(from);
        Ok(Self {
            reader: create_reader(BUFFER, whole).map_err(described)?,
            blocks,
            reading: Reading::default(),
            ended: false,
        })
    }

    fn advance(&mut self) -> Result<Option<Captured>> {
        loop {
            if let Some(packet) = self.reading.packets.pop_front() {
                return Ok(Some(packet));
            }
            if let Some(blocks) = &mut self.blocks {
                blocks.check(self.reader.data())?;
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
    /// The packet as an interface hands it over; nothing for a kind of network that isn't read
    /// ([`super::link::is_read`]), nor for what its header says to be no IP.
    #[must_use]
    pub fn into_frame(self) -> Option<Frame> {
        link::frame(self.link, self.bytes)
    }
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
    /// Bytes of check sequence at a packet's end.
    check: usize,
}

impl Reading {
    fn take(&mut self, block: &PcapBlockOwned<'_>) -> Result<()> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = match header.is_nanosecond_precision() {
                    true => 1_000_000_000,
                    false => 1_000_000,
                };
                let (link, check) = link::from_header(header.network);
                self.interfaces = vec![Interface {
                    link,
                    resolution,
                    offset: 0,
                    most: 0,
                    check,
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
                    check: option(&interface.options, CHECK_LENGTH)
                        .and_then(|value| value.first())
                        .map_or(0, |stated| link::check_bytes(*stated)),
                });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let mut interface = self.interface(packet.if_id)?;
                if let Some(check) = check_in_flags(packet) {
                    interface.check = check;
                }
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
        let original = usize::try_from(original)?.saturating_sub(interface.check);
        bytes.truncate(original);
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

/// Of an option of pcapng, if it is there.
fn option<'a>(options: &'a [PcapNGOption<'_>], code: OptionCode) -> Option<&'a [u8]> {
    let found = options.iter().find(|option| option.code == code);
    found.and_then(|option| option.as_bytes().ok())
}

/// Bytes of check sequence that a packet says to have for itself: bits 5 to 8 of its flags
/// (draft-ietf-opsawg-pcapng, section 4.3.1), in this machine's order as the reader has it.
fn check_in_flags(packet: &EnhancedPacketBlock<'_>) -> Option<usize> {
    let flags: [u8; 4] = option(&packet.options, PACKET_FLAGS)?.try_into().ok()?;
    let flags = match packet.big_endian() {
        true => u32::from_be_bytes(flags),
        false => u32::from_le_bytes(flags),
    };
    match flags >> 5 & 0xf {
        0 => None,
        bytes => usize::try_from(bytes).ok(),
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

    /// Gives one byte at each read, as a pipe may.
    struct Drip(std::io::Cursor<Vec<u8>>);

    impl Read for Drip {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(1);
            self.0.read(&mut into[..most])
        }
    }

    #[test]
    fn a_file_that_comes_byte_by_byte_is_read_like_one_that_comes_at_once() {
        let drip = Drip(std::io::Cursor::new(classic(1, &[&[1; 60], &[2; 60]])));
        let packets: Vec<_> = Packets::read(drip).unwrap().map(Result::unwrap).collect();
        let bytes: Vec<_> = packets.iter().map(|packet| &packet.bytes[..]).collect();
        assert_eq!(bytes, [[1; 60], [2; 60]]);
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
    fn a_check_sequence_that_the_header_tells_of_is_no_part_of_the_packet() {
        let frame: Vec<u8> = (0..64).collect();
        let packets = read(classic(0x2400_0001, &[&frame]));
        let packet = packets.into_iter().next().unwrap().unwrap();
        assert_eq!((packet.link, packet.filled), (Linktype::ETHERNET, false));
        assert_eq!(packet.bytes, frame[..60]);
        let mut longer = classic(0x2400_0001, &[]);
        // 50 bytes of a packet of 64 with its check sequence.
        for word in [0_u32, 0, 50, 64] {
            longer.extend(word.to_le_bytes());
        }
        longer.extend(&frame[..50]);
        let packet = read(longer).into_iter().next().unwrap().unwrap();
        assert_eq!((packet.bytes.len(), packet.filled), (60, true));
        let short = read(classic(0xf400_0001, &[&[1, 2, 3]]));
        assert_eq!(short.into_iter().next().unwrap().unwrap().bytes, [0_u8; 0]);
    }

    /// A block of pcapng.
    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = (u32::try_from(body.len()).unwrap() + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    }

    #[test]
    fn each_interface_of_pcapng_has_its_own_link_type_and_check_sequence() {
        let section = [
            &0x1a2b_3c4d_u32.to_le_bytes()[..],
            &[1, 0, 0, 0],
            &[0xff; 8],
        ]
        .concat();
        let interface = |link: u8, options: &[u8]| {
            let body = [&[link, 0, 0, 0, 0, 0, 1, 0][..], options].concat();
            block(1, &body)
        };
        let packet = |interface: u8, options: &[u8]| {
            let mut body = vec![interface, 0, 0, 0];
            body.extend([0; 8]);
            body.extend([64, 0, 0, 0, 64, 0, 0, 0]);
            body.extend([7; 64]);
            body.extend(options);
            block(6, &body)
        };
        let bits = [13, 0, 1, 0, 32, 0, 0, 0, 0, 0, 0, 0];
        let bytes = [13, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0];
        let flags = [2, 0, 4, 0, 2 << 5, 0, 0, 0, 0, 0, 0, 0];
        let file = [
            block(0x0a0d_0d0a, &section),
            interface(1, &bits),
            interface(101, &[]),
            interface(1, &bytes),
            packet(0, &[]),
            packet(1, &[]),
            packet(2, &[]),
            packet(1, &flags),
        ]
        .concat();
        let read: Vec<(i32, usize)> = read(file)
            .into_iter()
            .map(|packet| packet.unwrap())
            .map(|packet| (packet.link.0, packet.bytes.len()))
            .collect();
        assert_eq!(read, [(1, 60), (101, 64), (1, 60), (101, 62)]);
    }
}
