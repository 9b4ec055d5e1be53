//! Captures from files, classic and pcapng.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use pcap_parser::pcapng::Block;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};
use xdp_tests::kernel::MIN_FRAME;

/// Room for a file's longest record.
const BUFFER: usize = 1 << 20;

/// A capture's packets, each with all of its length.
pub(crate) struct Capture {
    pub(crate) name: String,
    pub(crate) frames: Vec<Vec<u8>>,
    /// Frames that had to be filled up.
    pub(crate) filled: usize,
}

/// Every capture of a folder, by name.
pub(crate) fn captures(folder: &Path) -> Result<Vec<Capture>> {
    let mut paths = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "pcap")
        {
            paths.push(path);
        }
    }
    ensure!(!paths.is_empty(), "no capture in {}", folder.display());
    paths.sort();
    paths
        .iter()
        .map(|path| read(path).with_context(|| format!("reading {}", path.display())))
        .collect()
}

fn read(path: &Path) -> Result<Capture> {
    let mut reader = create_reader(BUFFER, File::open(path)?).map_err(described)?;
    let mut capture = Capture {
        name: path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into(),
        frames: Vec::new(),
        filled: 0,
    };
    loop {
        match reader.next() {
            Ok((length, block)) => {
                take(&mut capture, &block)?;
                reader.consume(length);
            }
            Err(PcapError::Incomplete(_)) => reader.refill().map_err(described)?,
            Err(PcapError::Eof) => return Ok(capture),
            Err(error) => return Err(described(error)),
        }
    }
}

fn take(capture: &mut Capture, block: &PcapBlockOwned<'_>) -> Result<()> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => only_ethernet(header.network),
        PcapBlockOwned::Legacy(packet) => capture.push(packet.data, packet.caplen, packet.origlen),
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            only_ethernet(interface.linktype)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            capture.push(packet.data, packet.caplen, packet.origlen)
        }
        PcapBlockOwned::NG(Block::SimplePacket(_)) => bail!("packets without a captured length"),
        // Names, statistics, comments.
        PcapBlockOwned::NG(_) => Ok(()),
    }
}

impl Capture {
    fn push(&mut self, data: &[u8], captured: u32, original: u32) -> Result<()> {
        let captured = usize::try_from(captured)?;
        let mut frame = data.get(..captured).context("a packet cut short")?.to_vec();
        let length = usize::try_from(original)?.max(MIN_FRAME);
        if frame.len() < length {
            self.filled += 1;
            frame.resize(length, 0);
        }
        self.frames.push(frame);
        Ok(())
    }
}

fn only_ethernet(kind: Linktype) -> Result<()> {
    ensure!(kind == Linktype::ETHERNET, "{kind} and not Ethernet");
    Ok(())
}

fn described<I: std::fmt::Debug>(error: PcapError<I>) -> anyhow::Error {
    anyhow!("not a readable capture: {error:?}")
}
