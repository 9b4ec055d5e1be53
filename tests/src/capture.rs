//! Captures from files, classic and pcapng.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use pcap_parser::pcapng::Block;
use pcap_parser::{PcapBlockOwned, PcapError, create_reader};

pub use pcap_parser::Linktype;

/// Room for a file's longest record.
const BUFFER: usize = 1 << 20;
/// How names of captures end.
const EXTENSIONS: [&str; 3] = ["pcap", "pcapng", "cap"];
/// A longer packet is a mistake in the file.
const LONGEST: usize = 1 << 18;

/// A file's packets, in order.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// The file's name without its end.
    pub name: String,
    /// Its packets.
    pub packets: Vec<Captured>,
}

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

/// Every capture of a folder, by name.
///
/// # Errors
/// When the folder can't be read or has none.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            paths.push(path);
        }
    }
    ensure!(!paths.is_empty(), "no capture in {}", folder.display());
    paths.sort();
    Ok(paths)
}

impl Capture {
    /// Reads a whole file.
    ///
    /// # Errors
    /// When it can't be read or is no capture.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_file(path).with_context(|| format!("reading {}", path.display()))
    }

    fn read_file(path: &Path) -> Result<Self> {
        let mut reader = create_reader(BUFFER, File::open(path)?).map_err(described)?;
        let mut reading = Reading::default();
        loop {
            match reader.next() {
                Ok((length, block)) => {
                    reading.take(&block)?;
                    reader.consume(length);
                }
                Err(PcapError::Incomplete(_)) => reader.refill().map_err(described)?,
                Err(PcapError::Eof) => break,
                Err(error) => return Err(described(error)),
            }
        }
        let name = path.file_stem().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into(),
            packets: reading.packets,
        })
    }
}

/// What the records of a file are to be read with.
#[derive(Default)]
struct Reading {
    interfaces: Vec<Interface>,
    /// Of the first packet that has one.
    start: Option<Duration>,
    packets: Vec<Captured>,
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
        self.packets.push(Captured {
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

    fn read(bytes: &[u8]) -> Result<Capture> {
        let file = tempfile::Builder::new().suffix(".pcap").tempfile().unwrap();
        fs::write(file.path(), bytes).unwrap();
        Capture::read(file.path())
    }

    fn classic(magic: u32, link: u32, records: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
        let mut bytes = magic.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(65_535_u32.to_le_bytes());
        bytes.extend(link.to_le_bytes());
        for (seconds, fraction, data, original) in records {
            for word in [*seconds, *fraction, data.len() as u32, *original] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(*data);
        }
        bytes
    }

    /// A block of pcapng: its type, its body padded to words, its length on both sides.
    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_classic_file_has_times_and_cut_packets_are_filled_up() {
        let records: [(u32, u32, &[u8], u32); 2] = [(100, 900_000, &[1, 2], 2), (101, 0, &[3], 4)];
        let capture = read(&classic(0xa1b2_c3d4, 1, &records)).unwrap();
        let [first, second] = &capture.packets[..] else {
            panic!("{capture:?}");
        };
        assert_eq!((&first.bytes[..], first.filled), (&[1, 2][..], false));
        assert_eq!(
            (&second.bytes[..], second.filled),
            (&[3, 0, 0, 0][..], true)
        );
        assert_eq!(second.at - first.at, Duration::from_millis(100));
        assert_eq!(first.link, Linktype::ETHERNET);
    }

    #[test]
    fn a_classic_file_may_count_nanoseconds() {
        let records: [(u32, u32, &[u8], u32); 2] = [(1, 5, &[1], 1), (1, 12, &[1], 1)];
        let capture = read(&classic(0xa1b2_3c4d, 101, &records)).unwrap();
        assert_eq!(capture.packets[1].at, Duration::from_nanos(7));
        assert_eq!(capture.packets[1].link, Linktype::RAW);
    }

    #[test]
    fn a_pcapng_file_has_interfaces_of_their_own_kind_and_unit() {
        let mut bytes = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
        bytes.extend(block(1, &words(&[113, 0])));
        // if_tsresol (9) of 10^-9.
        bytes.extend(block(1, &words(&[1, 0, 9 | 1 << 16, 9, 0])));
        let enhanced = |interface, low, data: &[u8]| {
            let head = words(&[interface, 0, low, data.len() as u32, data.len() as u32]);
            block(6, &[&head, data].concat())
        };
        bytes.extend(enhanced(0, 2_000_000, &[1, 2, 3]));
        bytes.extend(enhanced(1, 2_000_000_007, &[4]));
        bytes.extend(block(3, &[&words(&[2])[..], &[5, 6]].concat()));
        let packets = read(&bytes).unwrap().packets;
        let seen: Vec<_> = packets
            .iter()
            .map(|packet| (packet.link.0, packet.at.as_nanos(), &packet.bytes[..]))
            .collect();
        assert_eq!(
            seen,
            [
                (113, 0, &[1, 2, 3][..]),
                (1, 7, &[4][..]),
                (113, 0, &[5, 6][..])
            ]
        );
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        assert!(read(b"GIF89a").is_err());
        let longest: [(u32, u32, &[u8], u32); 1] = [(0, 0, &[1], u32::MAX)];
        assert!(read(&classic(0xa1b2_c3d4, 1, &longest)).is_err());
    }
}
