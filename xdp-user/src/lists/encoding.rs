//! From bytes to lines: unpacks gzip, refuses other packings and encodings by name, and splits the
//! text at every kind of line end.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::{ListError, MAX_LINE_BYTES};

/// So much of the text is looked at to find its encoding and its format.
pub(super) const HEAD: usize = 8192;
/// How a gzip file starts (RFC 1952, section 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Deflate packs a thousand to one at most, and lists of addresses ten to one.
const MAX_RATIO: u64 = 200;
/// Small texts may be packed as well as they like.
const RATIO_FROM: u64 = 16 << 20;

/// How files of other kinds start, and what to do with them.
const MAGIC: &[(&[u8], &str, &str)] = &[
    (
        b"PK\x03\x04",
        "a zip archive",
        "unpack it first, with `unzip -p FILE`",
    ),
    (
        b"\xfd7zXZ\x00",
        "packed with xz",
        "unpack it first, with `xz -dc`",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "packed with zstd",
        "unpack it first, with `zstd -dc`",
    ),
    (
        b"BZh",
        "packed with bzip2",
        "unpack it first, with `bzip2 -dc`",
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        "a 7z archive",
        "unpack it first, with `7z x -so FILE`",
    ),
    (
        b"\xff\xfe\x00\x00",
        "encoded in UTF-32",
        "convert it first, with `iconv -f utf-32 -t utf-8`",
    ),
    (b"\xff\xfe", UTF16, UTF16_FIX),
    (b"\xfe\xff", UTF16, UTF16_FIX),
    (b"%PDF", "a PDF file", "give the text that it shows"),
    (
        b"SQLite format 3\x00",
        "a database",
        "give the text of its addresses",
    ),
];
const UTF16: &str = "encoded in UTF-16";
const UTF16_FIX: &str = "convert it first, with `iconv -f utf-16 -t utf-8`";

/// What was read so far.
#[derive(Debug, Default)]
struct Counts {
    packed: Cell<u64>,
    unpacked: Cell<u64>,
}

/// Counts what a source of bytes gives.
struct Counted<R> {
    inner: R,
    counts: Rc<Counts>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let packed = &self.counts.packed;
        packed.set(packed.get() + read as u64);
        Ok(read)
    }
}

/// Ends with an error once there is more than a text may have.
struct Bounded<R> {
    inner: R,
    counts: Rc<Counts>,
    max: u64,
    is_packed: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(|error| {
            match self.is_packed && error.kind() != io::ErrorKind::Interrupted {
                true => io::Error::other(ListError::Damaged {
                    why: error.to_string(),
                }),
                false => error,
            }
        })?;
        let unpacked = self.counts.unpacked.get() + read as u64;
        self.counts.unpacked.set(unpacked);
        if unpacked > self.max {
            return Err(io::Error::other(ListError::TooLarge { max: self.max }));
        }
        let ratio = unpacked / self.counts.packed.get().max(1);
        if self.is_packed && unpacked > RATIO_FROM && ratio > MAX_RATIO {
            return Err(io::Error::other(ListError::Ratio { unpacked: ratio }));
        }
        Ok(read)
    }
}

/// What follows the first bytes.
type Rest<'a> = BufReader<Bounded<Box<dyn BufRead + 'a>>>;

/// A text, unpacked, with its first bytes known.
pub(super) struct Text<'a> {
    rest: Chain<Cursor<Vec<u8>>, Rest<'a>>,
    head: Vec<u8>,
    counts: Rc<Counts>,
}

impl<'a> Text<'a> {
    /// Looks at the first bytes; refuses what isn't text.
    pub(super) fn open(input: impl Read + 'a, max: u64) -> Result<Self, ListError> {
        let counts = Rc::new(Counts::default());
        let inner = Counted {
            inner: input,
            counts: counts.clone(),
        };
        let mut packed = BufReader::with_capacity(64 << 10, inner);
        // A source may give its first bytes one by one.
        let start = first_bytes(&mut packed, GZIP.len())?;
        let is_packed = start == GZIP;
        let whole = Cursor::new(start).chain(packed);
        let inner: Box<dyn BufRead> = match is_packed {
            true => Box::new(BufReader::new(MultiGzDecoder::new(whole))),
            false => Box::new(whole),
        };
        let bounded = Bounded {
            inner,
            counts: counts.clone(),
            max,
            is_packed,
        };
        let mut rest = BufReader::with_capacity(64 << 10, bounded);
        let head = first_bytes(&mut rest, HEAD)?;
        check(&head, is_packed)?;
        let mark = match head.starts_with(BYTE_ORDER_MARK) {
            true => BYTE_ORDER_MARK.len(),
            false => 0,
        };
        let text = head.get(mark..).unwrap_or_default().to_vec();
        Ok(Self {
            rest: Cursor::new(text.clone()).chain(rest),
            head: text,
            counts,
        })
    }

    /// The first bytes, at most [`HEAD`].
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether [`Text::head`] is all of it.
    pub(super) fn is_all_head(&self) -> bool {
        self.head.len() + BYTE_ORDER_MARK.len() < HEAD
    }

    /// Bytes that were read so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.counts.unpacked.get()
    }
}

impl Read for Text<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rest.read(buffer)
    }
}

impl BufRead for Text<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.rest.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.rest.consume(count);
    }
}

fn first_bytes(from: &mut impl Read, count: usize) -> Result<Vec<u8>, ListError> {
    let mut bytes = Vec::new();
    from.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check(head: &[u8], is_packed: bool) -> Result<(), ListError> {
    let refuse = |what, fix| Err(ListError::Encoding { what, fix });
    if is_packed && head.starts_with(GZIP) {
        return refuse("packed twice with gzip", "unpack it once, with `gzip -dc`");
    }
    if let Some((_, what, fix)) = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return refuse(what, fix);
    }
    // Plain Latin text in UTF-16 has a zero in every second byte.
    let zeros = |odd: usize| {
        let bytes = head.iter().skip(odd).step_by(2);
        bytes.filter(|byte| **byte == 0).count()
    };
    let (even, odd) = (zeros(0), zeros(1));
    if even + odd == 0 {
        return Ok(());
    }
    let half = head.len() / 2;
    match even.max(odd) > half * 9 / 10 && even.min(odd) <= half / 10 {
        true => refuse(UTF16, UTF16_FIX),
        false => refuse("binary data", "give a text, in UTF-8 or ASCII"),
    }
}

/// The lines of a text, that end with a line feed, a carriage return, or both.
pub(super) struct Lines<'a> {
    text: Text<'a>,
    line: Vec<u8>,
    number: u64,
    /// The last line ended with a carriage return: a line feed that follows belongs to it.
    after_return: bool,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: Text<'a>) -> Self {
        Self {
            text,
            line: Vec::new(),
            number: 0,
            after_return: false,
        }
    }

    /// The next line with its number, from 1, without its end. Of a line that is too long, one byte
    /// more than the longest is given.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &[u8])>, ListError> {
        self.line.clear();
        let mut began = false;
        loop {
            let chunk = match self.text.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if self.after_return && !chunk.is_empty() {
                self.after_return = false;
                if chunk.starts_with(b"\n") {
                    self.text.consume(1);
                    continue;
                }
            }
            if chunk.is_empty() {
                break;
            }
            began = true;
            let end = chunk
                .iter()
                .position(|byte| *byte == b'\n' || *byte == b'\r');
            let content = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or(chunk);
            // Three bytes more for a mark at the start.
            let room = (MAX_LINE_BYTES + 4).saturating_sub(self.line.len());
            let kept = content.get(..room).unwrap_or(content);
            self.line.extend_from_slice(kept);
            let taken = content.len();
            match end.and_then(|end| chunk.get(end)).copied() {
                None => self.text.consume(taken),
                Some(byte) => {
                    self.after_return = byte == b'\r';
                    self.text.consume(taken + 1);
                    break;
                }
            }
        }
        if !began {
            return Ok(None);
        }
        self.number += 1;
        // Texts that were put together have marks in the middle.
        let line = match self.line.strip_prefix(BYTE_ORDER_MARK) {
            Some(line) => line,
            None => &self.line,
        };
        Ok(Some((self.number, line)))
    }

    /// Bytes that were read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.text.bytes_read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn lines(text: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(Text::open(text, 1 << 30).unwrap());
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            assert_eq!(number, found.len() as u64 + 1);
            found.push(String::from_utf8_lossy(line).into_owned());
        }
        found
    }

    fn refusal(text: &[u8]) -> String {
        let error = Text::open(text, 1 << 30).err().unwrap();
        error.to_string()
    }

    #[test]
    fn lines_end_in_every_way() {
        for text in [&b"a\nb\n\nc"[..], b"a\r\nb\r\n\r\nc\r\n", b"a\rb\r\rc"] {
            assert_eq!(lines(text), ["a", "b", "", "c"]);
        }
        assert_eq!(lines(b""), Vec::<String>::new());
        assert_eq!(lines(b"\xef\xbb\xbfa\n\xef\xbb\xbfb"), ["a", "b"]);
    }

    #[test]
    fn gzip_is_unpacked_and_concatenated_gzip_as_well() {
        let both = [packed(b"a\n"), packed(b"b\n")].concat();
        assert_eq!(lines(&both), ["a", "b"]);
    }

    #[test]
    fn other_packings_and_encodings_are_refused_by_name() {
        let utf16: Vec<u8> = "192.0.2.1\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let big: Vec<u8> = "192.0.2.1\n"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        for (text, name) in [
            (b"PK\x03\x04xx".to_vec(), "zip"),
            (b"\xfd7zXZ\x00".to_vec(), "xz -dc"),
            (b"\x28\xb5\x2f\xfdxx".to_vec(), "zstd -dc"),
            (b"BZh91AY".to_vec(), "bzip2 -dc"),
            ([b"\xff\xfe", &utf16[..]].concat(), "iconv -f utf-16"),
            ([b"\xfe\xff", &big[..]].concat(), "iconv -f utf-16"),
            (utf16.clone(), "iconv -f utf-16"),
            (big, "iconv -f utf-16"),
            (packed(&utf16), "iconv -f utf-16"),
            (b"\x7fELF\x02\x00\x01\x00\x00\x00\x03".to_vec(), "binary"),
            (packed(&packed(b"192.0.2.1\n")), "packed twice"),
        ] {
            assert!(refusal(&text).contains(name), "{}", refusal(&text));
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let bomb = packed(&vec![b'\n'; 32 << 20]);
        let read = |max| {
            let mut lines = Lines::new(Text::open(&bomb[..], max)?);
            while lines.next()?.is_some() {}
            Ok::<(), ListError>(())
        };
        let error = read(1 << 20).unwrap_err();
        assert!(matches!(error, ListError::TooLarge { .. }), "{error}");
        let error = read(1 << 30).unwrap_err();
        assert!(matches!(error, ListError::Ratio { .. }), "{error}");
        let cut = packed(b"192.0.2.1\n");
        let error = Text::open(&cut[..cut.len() - 6], 100).err().unwrap();
        assert!(matches!(error, ListError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_long_line_is_not_kept_in_memory() {
        let text = vec![b'1'; 3 * MAX_LINE_BYTES];
        let found = lines(&text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].len(), MAX_LINE_BYTES + 4);
    }

    proptest! {
        #[test]
        fn a_source_in_small_pieces_gives_the_same_lines(text in "[ab\r\n]{0,40}") {
            struct Single<'a>(&'a [u8]);
            impl Read for Single<'_> {
                fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                    let one = buffer.len().min(1);
                    self.0.read(&mut buffer[..one])
                }
            }
            let mut single = Lines::new(Text::open(Single(text.as_bytes()), 1 << 20).unwrap());
            let mut found = Vec::new();
            while let Some((_, line)) = single.next().unwrap() {
                found.push(String::from_utf8_lossy(line).into_owned());
            }
            let unified = text.replace("\r\n", "\n").replace('\r', "\n");
            let wanted: Vec<&str> = unified.strip_suffix('\n').unwrap_or(&unified).split('\n').collect();
            match text.is_empty() {
                true => prop_assert!(found.is_empty()),
                false => prop_assert_eq!(found, wanted),
            }
        }
    }
}
