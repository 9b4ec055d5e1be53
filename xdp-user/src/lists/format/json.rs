//! JSON: strings in named fields of a text of any size, which is never held as a whole.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::domain::{JsonPath, JsonStep, ListFormat};
use crate::lists::address;
use crate::lists::collect::Collector;
use crate::lists::encoding::Text;
use crate::lists::{ListError, Options, RefusalReason};

const AWS: &[&str] = &["prefixes[].ip_prefix", "ipv6_prefixes[].ipv6_prefix"];
const GOOGLE: &[&str] = &["prefixes[].ipv4Prefix", "prefixes[].ipv6Prefix"];
const CLOUDFLARE: &[&str] = &["result.ipv4_cidrs[]", "result.ipv6_cidrs[]"];
/// An array of addresses, and Fastly's.
const ARRAYS: &[&str] = &["[]", "addresses[]", "ipv6_addresses[]"];

/// Fields with addresses that an error names.
const MAX_HINTS: usize = 8;
/// Steps of a field's place that an error names.
const MAX_HINT_STEPS: usize = 16;

/// The fields that are read.
fn paths(format: ListFormat, options: &Options) -> Vec<JsonPath> {
    let ready: &[&[&str]] = match format {
        ListFormat::Aws => &[AWS],
        ListFormat::Google => &[GOOGLE],
        ListFormat::Cloudflare => &[CLOUDFLARE],
        ListFormat::Auto
        | ListFormat::Plain
        | ListFormat::Csv
        | ListFormat::Range
        | ListFormat::Json
        | ListFormat::SpamhausJson
        | ListFormat::Ipset
        | ListFormat::Nft
        | ListFormat::Dshield
        | ListFormat::P2p
        | ListFormat::Ipfilter
        | ListFormat::HostsDeny
        | ListFormat::Cscli => match options.paths.is_empty() {
            true => &[AWS, GOOGLE, CLOUDFLARE, ARRAYS],
            false => return options.paths.clone(),
        },
    };
    let ready = ready.iter().flat_map(|paths| paths.iter());
    ready.filter_map(|path| path.parse().ok()).collect()
}

/// Counts lines as they are read, byte by byte.
struct Counted<'a> {
    text: io::BufReader<Text<'a>>,
    line: Rc<Cell<u64>>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer)?;
        let ends = buffer.iter().take(read).filter(|byte| **byte == b'\n');
        self.line.set(self.line.get() + ends.count() as u64);
        Ok(read)
    }
}

/// What becomes of the strings.
struct Sink<'a> {
    to: &'a mut Collector,
    line: Rc<Cell<u64>>,
    /// Strings in the named fields.
    found: u64,
    /// An array that the named fields are in was there.
    reached: bool,
    /// The place of the value that is being read.
    place: Vec<String>,
    /// Places of addresses in other fields.
    hints: Vec<String>,
    failed: Option<ListError>,
}

pub(super) fn read(
    text: Text<'_>,
    format: ListFormat,
    options: &Options,
    to: &mut Collector,
) -> Result<u64, ListError> {
    let line = Rc::new(Cell::new(1));
    let paths = paths(format, options);
    let mut sink = Sink {
        to,
        line: line.clone(),
        found: 0,
        reached: false,
        place: Vec::new(),
        hints: Vec::new(),
        failed: None,
    };
    let counted = Counted {
        text: io::BufReader::new(text),
        line: line.clone(),
    };
    let mut bytes = Measured {
        inner: counted,
        bytes: 0,
    };
    let mut values = serde_json::Deserializer::from_reader(&mut bytes);
    // One value, or several in a row, as lines of JSON are.
    let mut is_empty = true;
    while values.end().is_err() {
        is_empty = false;
        let node = Node {
            rest: paths.iter().map(JsonPath::steps).collect(),
            sink: &mut sink,
        };
        if let Err(error) = node.deserialize(&mut values) {
            return Err(sink
                .failed
                .take()
                .unwrap_or_else(|| of_serde(error, format)));
        }
    }
    let has_named = !options.paths.is_empty();
    if sink.found == 0 && !is_empty && (!sink.reached || !sink.hints.is_empty()) {
        return Err(nothing_found(&sink.hints, has_named));
    }
    sink.to.at_line(line.get());
    Ok(bytes.bytes)
}

/// Counts bytes.
struct Measured<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

fn of_serde(error: serde_json::Error, format: ListFormat) -> ListError {
    let line = error.line() as u64;
    match error.is_io() {
        true => io::Error::from(error).into(),
        false => ListError::Malformed {
            format,
            line,
            why: error.to_string(),
        },
    }
}

fn nothing_found(hints: &[String], has_named: bool) -> ListError {
    let what = match has_named {
        true => "JSON without an address in the fields that `path` names",
        false => "JSON of no known form",
    };
    let fix = match hints.is_empty() {
        true => "it has no address in any field".to_owned(),
        false => format!(
            "addresses stand in {}: name with `path` what you want",
            hints.join(", ")
        ),
    };
    ListError::NotAList { what, fix }
}

impl Sink<'_> {
    fn take(&mut self, text: &str) -> Result<(), ListError> {
        self.found += 1;
        self.to.at_line(self.line.get());
        self.to
            .take(address::parse(text.trim()), text.as_bytes(), None)
    }

    fn hint(&mut self, text: &str) {
        if self.hints.len() >= MAX_HINTS
            || self.place.len() > MAX_HINT_STEPS
            || !address::looks_like_one(text)
        {
            return;
        }
        let place = self.place.concat();
        let place = place.strip_prefix('.').unwrap_or(&place).to_owned();
        if !self.hints.contains(&place) {
            self.hints.push(place);
        }
    }
}

/// A value, and what is left of the paths that lead to it.
struct Node<'p, 's, 'a> {
    rest: Vec<&'p [JsonStep]>,
    sink: &'s mut Sink<'a>,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'p> Node<'p, '_, '_> {
    fn after(&self, matches: impl Fn(&JsonStep) -> bool) -> Vec<&'p [JsonStep]> {
        let split = self.rest.iter().filter_map(|rest| rest.split_first());
        let met = split.filter(|(step, _)| matches(step));
        met.map(|(_, rest)| rest).collect()
    }
}

impl<'de> Visitor<'de> for Node<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.rest.iter().any(|rest| rest.is_empty()) {
            let taken = self.sink.take(text);
            return taken.map_err(|error| {
                let message = error.to_string();
                self.sink.failed = Some(error);
                E::custom(message)
            });
        }
        self.sink.hint(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let rest = self.after(|step| *step == JsonStep::Each);
        self.sink.reached |= !rest.is_empty();
        self.sink.place.push("[]".to_owned());
        loop {
            let node = Node {
                rest: rest.clone(),
                sink: self.sink,
            };
            if elements.next_element_seed(node)?.is_none() {
                self.sink.place.pop();
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            let rest = self.after(|step| match step {
                JsonStep::Key(wanted) => **wanted == *key,
                JsonStep::AnyKey => true,
                JsonStep::Each => false,
            });
            let shown: String = key.chars().filter(|c| !c.is_control()).take(40).collect();
            self.sink.place.push(format!(".{shown}"));
            let sink = &mut *self.sink;
            entries.next_value_seed(Node { rest, sink })?;
            self.sink.place.pop();
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Spamhaus's lines: an object with `cidr` on each, and one that describes the list.
pub(super) fn spamhaus(line: &[u8], to: &mut Collector) -> Result<(), ListError> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
    let text = |key| value.as_ref()?.get(key)?.as_str();
    match (text("cidr"), text("type")) {
        (Some(prefix), _) => to.take(address::parse(prefix), line, None),
        (None, Some("metadata")) => Ok(()),
        (None, _) => {
            to.refuse(line, RefusalReason::NotAnAddress);
            Ok(())
        }
    }
}
