//! `capture`: sampled packets as a file for Wireshark.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::events::{Wanted, joined};
use super::{Session, format};
use crate::api::types::{CaptureQuery, Happening, Sample};
use crate::domain::{SampleRate, Span};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle capture -w drops.pcapng
  xdp-throttle capture -w - --reason blocklisted --duration 5m | tshark -r -
  xdp-throttle capture -w dns.pcapng --source 203.0.113.0/24 --count 100
  xdp-throttle capture -w passed.pcapng --passed --duration 10s

Each packet's comment says why it was dropped, by which list and in which class. It ends when there
are enough packets, when its time is up, or with Ctrl-C. While it runs the kernel program shows more
packets than the configuration says, up to --rate on each CPU; then as few as before.";

/// Write some of the dropped packets to a file for Wireshark, with the reason of each
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file, in pcapng format; - for standard output
    #[arg(long, short, value_name = "FILE")]
    write: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
    /// Packets that pass, in place of those that are dropped
    #[arg(long, conflicts_with = "reasons", help_heading = "Which")]
    passed: bool,
    /// How many packets at most, up to 1,000,000
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000), help_heading = "Bounds")]
    count: u64,
    /// For how long at most, up to 1h
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        help_heading = "Bounds"
    )]
    duration: Span,
    /// First bytes of each packet, 64 to 256
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u16).range(64..=256), help_heading = "Bounds")]
    size: u16,
    /// Packets a second that each CPU shows at most, up to 10k/s
    #[arg(
        long,
        value_name = "RATE",
        default_value = "1000/s",
        help_heading = "Bounds"
    )]
    rate: SampleRate,
}

/// What became of a capture.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    packets: u64,
    /// Packets that those stand for.
    stand_for: u64,
    lost: u64,
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        // Before a file is made: a daemon that says no leaves none behind.
        let mut samples = session.client.capture(&self.query()).await?;
        let mut file = Capture::new(open(&self.write)?, self.size)?;
        let mut summary = Summary::default();
        let stopped = tokio::signal::ctrl_c();
        tokio::pin!(stopped);
        loop {
            let next = tokio::select! {
                _ = &mut stopped => break,
                next = samples.next() => next?,
            };
            let Some(event) = next else {
                break;
            };
            match event.what {
                Happening::Sample(sample) => {
                    summary.packets += 1;
                    summary.stand_for += sample.stands_for;
                    if !file.add(event.at, &sample)? {
                        break;
                    }
                }
                Happening::Lost(lost) => summary.lost += lost.events,
                Happening::Ban(_)
                | Happening::Unban(_)
                | Happening::Class(_)
                | Happening::List(_)
                | Happening::Reload(_)
                | Happening::Attach(_)
                | Happening::Detach(_) => {}
            }
        }
        eprint!("{}", render(&summary, &self.write));
        Ok(())
    }

    fn query(&self) -> CaptureQuery {
        CaptureQuery {
            reasons: joined(&self.wanted.reasons),
            source: self.wanted.source,
            passed: self.passed,
            count: Some(self.count),
            duration: Some(self.duration),
            size: Some(self.size),
            rate: Some(self.rate),
        }
    }
}

fn render(summary: &Summary, file: &Path) -> String {
    let lost = match summary.lost {
        0 => String::new(),
        lost => format!(", {} lost on the way here", format::count(lost)),
    };
    format!(
        "{} written to {}, of {} of their kind{lost}\n",
        format::plural(summary.packets, "packet", "packets"),
        file.display(),
        format::count(summary.stand_for)
    )
}

fn open(path: &Path) -> Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    // Other people's packets: for nobody else.
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(true).write(true).mode(0o600);
    let file = file
        .open(path)
        .with_context(|| format!("can't write {}", path.display()))?;
    Ok(Box::new(file))
}

/// A pcapng file (draft-ietf-opsawg-pcapng): a section, an interface for each that packets came in
/// on, and packets with comments. Times are in nanoseconds.
struct Capture<W: Write> {
    writer: PcapNgWriter<BufWriter<W>>,
    interfaces: HashMap<(Option<String>, bool), u32>,
    size: u32,
}

/// `if_tsresol`: ten to the minus ninth.
const NANOSECONDS: u8 = 9;

impl<W: Write> Capture<W> {
    fn new(to: W, size: u16) -> Result<Self> {
        let program = concat!("xdp-throttle ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(program))],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(BufWriter::new(to), section);
        Ok(Self {
            writer: writer.context("can't write the file's header")?,
            interfaces: HashMap::new(),
            size: size.into(),
        })
    }

    /// Writes a packet; whether anybody still reads.
    fn add(&mut self, at: Timestamp, sample: &Sample) -> Result<bool> {
        let written = self.write(at, sample);
        match written {
            Err(PcapError::IoError(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(false)
            }
            Err(error) => Err(anyhow!(error).context("can't write a packet")),
            Ok(()) => Ok(true),
        }
    }

    fn write(&mut self, at: Timestamp, sample: &Sample) -> std::result::Result<(), PcapError> {
        let interface_id = self.interface(sample.interface.as_deref(), sample.bare_ip)?;
        let since_1970 = at.duration_since(Timestamp::UNIX_EPOCH);
        self.writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::try_from(since_1970).unwrap_or_default(),
            original_len: sample.length,
            data: Cow::Borrowed(&sample.frame.0),
            options: vec![EnhancedPacketOption::Comment(comment(sample).into())],
        })?;
        // Whoever reads along sees each packet when it comes.
        self.writer.get_mut().flush().map_err(PcapError::IoError)?;
        Ok(())
    }

    /// The number of an interface, which is described before its first packet, with what its packets begin
    /// with: an interface may be replaced by one of the same name and another kind.
    fn interface(
        &mut self,
        name: Option<&str>,
        bare_ip: bool,
    ) -> std::result::Result<u32, PcapError> {
        let key = (name.map(str::to_owned), bare_ip);
        if let Some(number) = self.interfaces.get(&key) {
            return Ok(*number);
        }
        let mut options = vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)];
        options.extend(name.map(|name| InterfaceDescriptionOption::IfName(Cow::Borrowed(name))));
        self.writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: match bare_ip {
                true => DataLink::RAW,
                false => DataLink::ETHERNET,
            },
            snaplen: self.size,
            options,
        })?;
        // At most 16 of each kind: the program knows no more interfaces.
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(key, number);
        Ok(number)
    }
}

/// What a packet's comment says: `blocklisted, dropped, list manual, one of 12`.
fn comment(sample: &Sample) -> String {
    let mut words = vec![sample.reason.clone(), sample.action.clone()];
    for (what, name) in [("list", &sample.list), ("class", &sample.class)] {
        words.extend(name.as_ref().map(|name| format!("{what} {name}")));
    }
    if sample.stands_for > 1 {
        words.push(format!("one of {}", sample.stands_for));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::FrameBytes;
    use pcap_file::pcapng::{Block, PcapNgReader};

    fn sample(interface: Option<&str>, length: u32) -> Sample {
        Sample {
            interface: interface.map(str::to_owned),
            reason: "blocklisted".into(),
            action: "dropped".into(),
            source: None,
            list: Some("manual".into()),
            class: Some("tcp-new".into()),
            stands_for: 12,
            length,
            frame: FrameBytes(vec![7; 61]),
            bare_ip: false,
        }
    }

    #[test]
    fn every_interface_is_described_once_and_before_its_first_packet() {
        let mut bytes = Vec::new();
        let mut capture = Capture::new(&mut bytes, 128).unwrap();
        let at: Timestamp = "2026-11-25T05:00:00.123456789Z".parse().unwrap();
        for interface in [Some("eth0"), None, Some("eth0")] {
            assert!(capture.add(at, &sample(interface, 1500)).unwrap());
        }
        drop(capture);
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            let block = block.unwrap();
            if let Block::EnhancedPacket(packet) = block {
                assert_eq!((packet.original_len, packet.data.len()), (1500, 61));
                assert_eq!(packet.timestamp.subsec_nanos(), 123_456_789);
                let expected = "blocklisted, dropped, list manual, class tcp-new, one of 12";
                assert_eq!(
                    packet.options,
                    [EnhancedPacketOption::Comment(expected.into())]
                );
                seen.push(packet.interface_id.to_string());
            } else {
                assert!(matches!(block, Block::InterfaceDescription(_)), "{block:?}");
                seen.push("interface".to_owned());
            }
        }
        assert_eq!(seen, ["interface", "0", "interface", "1", "0"]);
    }

    #[test]
    fn interfaces_with_and_without_ethernet_have_link_types_of_their_own() {
        let mut bytes = Vec::new();
        let mut capture = Capture::new(&mut bytes, 128).unwrap();
        for (interface, bare_ip) in [("eth0", false), ("tun0", true), ("eth0", false)] {
            let sample = Sample {
                bare_ip,
                ..sample(Some(interface), 61)
            };
            assert!(capture.add(Timestamp::UNIX_EPOCH, &sample).unwrap());
        }
        drop(capture);
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let mut links = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::InterfaceDescription(described) = block.unwrap() {
                links.push(described.linktype);
            }
        }
        assert_eq!(links, [DataLink::ETHERNET, DataLink::RAW]);
    }

    #[test]
    fn a_reader_that_went_away_ends_it_and_a_full_disk_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        let mut capture = Capture::new(writer, 128).unwrap();
        drop(reader);
        assert!(
            !capture
                .add(Timestamp::UNIX_EPOCH, &sample(None, 61))
                .unwrap()
        );
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut capture = Capture::new(full, 128).unwrap();
        capture
            .add(Timestamp::UNIX_EPOCH, &sample(None, 61))
            .unwrap_err();
    }

    #[test]
    fn the_summary_says_how_many_and_of_how_many() {
        let summary = Summary {
            packets: 1,
            stand_for: 1200,
            lost: 3,
        };
        assert_eq!(
            render(&summary, Path::new("f.pcapng")),
            "1 packet written to f.pcapng, of 1,200 of their kind, 3 lost on the way here\n"
        );
    }
}
