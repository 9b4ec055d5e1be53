//! Captures from files, whole.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xdp_user::replay::file::Packets;

pub use xdp_user::replay::file::{Captured, Linktype};

/// How names of captures end.
const EXTENSIONS: [&str; 3] = ["pcap", "pcapng", "cap"];

/// A file's packets, in order.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// The file's name without its end.
    pub name: String,
    /// Its packets.
    pub packets: Vec<Captured>,
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
        let packets = Packets::open(path)?.collect::<Result<_>>();
        let name = path.file_stem().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into(),
            packets: packets.with_context(|| format!("reading {}", path.display()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
