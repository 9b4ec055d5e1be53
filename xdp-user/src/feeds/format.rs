//! From the text of a list, in any of its formats, to entries.

use std::io::{self, BufRead, BufReader, Read};
use std::net::IpAddr;

use flate2::bufread::MultiGzDecoder;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::{FeedCause, FeedError};
use crate::config::{KeptList, ListFormat};
use crate::lists::{Bounds, ListError, MAX_LINE_BYTES, ParsedList, Parser, RefusalReason};

/// How a gzip file starts (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// So much of the text is looked at to find its format.
const HEAD: usize = 4096;
/// An nft set may stand on one line; an element of it may not be longer than a line.
const MAX_ELEMENT: usize = MAX_LINE_BYTES;
/// A range is written as prefixes; more than this many is no range that a list means.
const MAX_SUBNETS: usize = 256;

/// A text that was read to its end.
pub(super) struct Text {
    pub(super) list: ParsedList,
    pub(super) format: ListFormat,
}

/// Reads a text, unpacked if need be, within the list's bounds.
pub(super) fn read(list: &KeptList, file: impl Read) -> Result<Text, FeedError> {
    let mut packed = BufReader::new(file);
    let is_packed = packed.fill_buf().map_err(unreadable)?.starts_with(&GZIP);
    let text: Box<dyn Read> = match is_packed {
        true => Box::new(MultiGzDecoder::new(packed)),
        false => Box::new(packed),
    };
    let bound = list.max_unpacked.bytes();
    let mut text = BufReader::with_capacity(64 << 10, text.take(bound.saturating_add(1)));
    let head = head(&mut text)?;
    let format = match list.format {
        ListFormat::Auto => detect(&head)?,
        named @ (ListFormat::Plain
        | ListFormat::Csv
        | ListFormat::SpamhausJson
        | ListFormat::Ipset
        | ListFormat::Nft) => named,
    };
    let mut reader = Reader {
        parser: Parser::new(Bounds {
            max_entries: list.max_entries as usize,
            max_bytes: bound,
            accept_wide: list.accept_wide,
        }),
        column: list.column as usize - 1,
        line: 0,
        in_elements: false,
    };
    let mut total = 0u64;
    let mut text = io::Cursor::new(head).chain(text);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        // A text without line ends is read in pieces, so that none is long.
        let until = if format == ListFormat::Nft {
            b','
        } else {
            b'\n'
        };
        let read = read_piece(&mut text, until, &mut buffer).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        total += read;
        if total > bound {
            let message = format!("larger than max_unpacked = {}", list.max_unpacked);
            return Err(FeedError::new(FeedCause::TooLarge, message));
        }
        reader.piece(format, &buffer).map_err(refused)?;
    }
    let parsed = reader.parser.finish().map_err(refused)?;
    check(&parsed, format)?;
    Ok(Text {
        list: parsed,
        format,
    })
}

fn head(text: &mut impl Read) -> Result<Vec<u8>, FeedError> {
    let mut head = Vec::with_capacity(HEAD);
    text.take(HEAD as u64)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    Ok(head)
}

/// As `read_until`, but what goes beyond the longest line is read and not kept.
fn read_piece(text: &mut impl BufRead, until: u8, kept: &mut Vec<u8>) -> io::Result<u64> {
    let mut read = 0u64;
    loop {
        let chunk = match text.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            return Ok(read);
        }
        let end = chunk
            .iter()
            .position(|byte| *byte == until || *byte == b'\n');
        let taken = end.map_or(chunk.len(), |end| end + 1);
        let room = (MAX_ELEMENT + 2).saturating_sub(kept.len()).min(taken);
        kept.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
        text.consume(taken);
        read += taken as u64;
        if end.is_some() {
            return Ok(read);
        }
    }
}

fn detect(head: &[u8]) -> Result<ListFormat, FeedError> {
    let text = String::from_utf8_lossy(head);
    let start = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    let mut lines = start.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let first = first.unwrap_or_default();
    if first.starts_with('<') {
        return Err(not_a_list("it is an HTML or XML page"));
    }
    Ok(if first.starts_with('{') {
        ListFormat::SpamhausJson
    } else if first.starts_with("create ") || first.starts_with("add ") && !first.contains('{') {
        ListFormat::Ipset
    } else if ["table ", "add element ", "set "]
        .iter()
        .any(|word| first.starts_with(word))
    {
        ListFormat::Nft
    } else {
        ListFormat::Plain
    })
}

struct Reader {
    parser: Parser,
    column: usize,
    line: u64,
    /// Between the braces of an nft set's elements.
    in_elements: bool,
}

impl Reader {
    fn piece(&mut self, format: ListFormat, piece: &[u8]) -> Result<(), ListError> {
        if format == ListFormat::Nft {
            return self.nft(piece);
        }
        self.line += 1;
        let line = piece.strip_suffix(b"\n").unwrap_or(piece);
        let line = if self.line == 1 {
            line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
        } else {
            line
        };
        match format {
            ListFormat::Auto | ListFormat::Plain | ListFormat::Nft => self.take(line),
            ListFormat::Csv => self.csv(line),
            ListFormat::SpamhausJson => self.json(line),
            ListFormat::Ipset => self.ipset(line),
        }
    }

    /// An address, a prefix or a range.
    fn take(&mut self, text: &[u8]) -> Result<(), ListError> {
        if let Some(subnets) = range(text) {
            for net in subnets {
                self.parser
                    .take_line_at(self.line, net.to_string().as_bytes())?;
            }
            return Ok(());
        }
        self.parser.take_line_at(self.line, text)
    }

    fn csv(&mut self, line: &[u8]) -> Result<(), ListError> {
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            return self.take(line);
        }
        let field = column(line, self.column);
        let field = field.trim();
        // A header is no mistake.
        if self.line == 1 && field.parse::<IpAddr>().is_err() && !field.contains(['/', '.', ':']) {
            return Ok(());
        }
        self.take(field.as_bytes())
    }

    fn json(&mut self, line: &[u8]) -> Result<(), ListError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
        let text = |key| value.as_ref()?.get(key)?.as_str();
        match (text("cidr"), text("type")) {
            (Some(prefix), _) => self.take(prefix.as_bytes()),
            (None, Some("metadata")) => Ok(()),
            (None, _) => self.take(line),
        }
    }

    /// `add SET ELEMENT …`; anything else that `ipset save` prints says nothing about entries.
    fn ipset(&mut self, line: &[u8]) -> Result<(), ListError> {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace();
        match words.next() {
            Some("add") if !text.ends_with(" nomatch") => {
                let element = words.nth(1).unwrap_or_default();
                self.take(element.as_bytes())
            }
            None | Some("create" | "add" | "flush" | "destroy" | "COMMIT") => Ok(()),
            Some(word) if word.starts_with('#') => Ok(()),
            Some(_) => self.take(line),
        }
    }

    /// A piece that ends at a comma or a line's end. Elements stand in the braces after `elements =`
    /// or `add element … `.
    fn nft(&mut self, piece: &[u8]) -> Result<(), ListError> {
        let ends_line = piece.ends_with(b"\n");
        let text = String::from_utf8_lossy(piece);
        let text = text.split('#').next().unwrap_or_default();
        let mut rest = text.trim_end_matches(['\n', '\r', ',']);
        self.line += u64::from(self.line == 0);
        if !self.in_elements
            && let Some((before, after)) = rest.split_once('{')
        {
            let words: Vec<&str> = before.split_ascii_whitespace().collect();
            self.in_elements = words.ends_with(&["elements", "="]) || words.contains(&"element");
            rest = after;
        }
        if self.in_elements {
            let (element, ended) = match rest.split_once('}') {
                Some((element, _)) => (element, true),
                None => (rest, false),
            };
            // What follows an element is a timeout, a counter or a comment.
            if let Some(element) = element.split_ascii_whitespace().next() {
                self.take(element.as_bytes())?;
            }
            self.in_elements = !ended;
        }
        self.line += u64::from(ends_line);
        Ok(())
    }
}

/// A field of a CSV line; the first comma, semicolon or tab says what parts columns.
fn column(line: &[u8], wanted: usize) -> String {
    let delimiter = line.iter().find(|byte| b",;\t".contains(byte));
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter.copied().unwrap_or(b','))
        .from_reader(line);
    let mut record = csv::ByteRecord::new();
    // What is no line of CSV has no such column.
    match reader.read_byte_record(&mut record) {
        Ok(true) => String::from_utf8_lossy(record.get(wanted).unwrap_or_default()).into_owned(),
        Ok(false) | Err(_) => String::new(),
    }
}

/// `192.0.2.1-192.0.2.9`, as prefixes.
fn range(text: &[u8]) -> Option<Vec<IpNet>> {
    let text = std::str::from_utf8(text).ok()?;
    let word = text.split([' ', '\t', '\r', '#', ';', ',']).next()?;
    let (first, last) = word.split_once('-')?;
    let nets: Vec<IpNet> = match (first.parse().ok()?, last.parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => return None,
    };
    (nets.len() <= MAX_SUBNETS).then_some(nets)
}

fn check(parsed: &ParsedList, format: ListFormat) -> Result<(), FeedError> {
    let of = |reason| parsed.refused_by_reason.get(&reason).copied().unwrap_or(0);
    if let Some(wide) = parsed
        .refused
        .iter()
        .find(|one| one.reason == RefusalReason::TooWide)
    {
        let message = format!(
            "line {}: {} is wider than /8 (IPv4) or /16 (IPv6): if the list means it, set \
             accept_wide = true",
            wide.line, wide.text
        );
        return Err(FeedError::new(FeedCause::TooWide, message));
    }
    if of(RefusalReason::TooWide) > 0 {
        return Err(FeedError::new(
            FeedCause::TooWide,
            "a prefix is wider than /8 (IPv6 /16)",
        ));
    }
    let refused = parsed.refused_count();
    if refused <= parsed.entries.len() as u64 {
        return Ok(());
    }
    let first = parsed.refused.first();
    let first = first.map_or(String::new(), |one| {
        format!(", line {}: {}", one.line, one.text)
    });
    let entries = parsed.entries.len();
    Err(not_a_list(&format!(
        "read as {format}, {refused} lines are no addresses and {entries} are{first}"
    )))
}

fn not_a_list(why: &str) -> FeedError {
    let text = format!("not a list of addresses: {why}; see `format` and `source`");
    FeedError::new(FeedCause::NotAList, text)
}

fn unreadable(error: io::Error) -> FeedError {
    FeedError::new(
        FeedCause::Truncated,
        format!("the text can't be unpacked: {error}"),
    )
}

fn refused(error: ListError) -> FeedError {
    let cause = match error {
        ListError::TooManyEntries { .. } => FeedCause::TooManyEntries,
        ListError::TooLarge { .. } => FeedCause::TooLarge,
        ListError::Read(_) => FeedCause::Truncated,
    };
    FeedError::new(cause, error.to_string())
}

#[cfg(test)]
mod tests;
