//! What `nft -j list …` prints: an array of objects, among them sets and elements (libnftables-json(5)).

use std::io::Read;

use serde_json::Value;

use super::ipset::after;
use super::sets::{Holds, Sets};
use crate::domain::ListFormat;
use crate::lists::address::{self, Address};
use crate::lists::collect::{self, Collector};
use crate::lists::encoding::Text;
use crate::lists::{Detail, ListError, Options, RefusalReason};

/// Such a text is held in memory as a whole.
const MAX_BYTES: u64 = 64 << 20;

pub(super) fn read(
    mut text: Text<'_>,
    options: &Options,
    to: &mut Collector,
) -> Result<u64, ListError> {
    let mut bytes = Vec::new();
    Read::take(&mut text, MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ListError::TooLarge { max: MAX_BYTES });
    }
    let malformed = |line, why: String| ListError::Malformed {
        format: ListFormat::Nft,
        line,
        why,
    };
    let whole: Value = serde_json::from_slice(&bytes)
        .map_err(|error| malformed(error.line() as u64, error.to_string()))?;
    let Some(objects) = whole.get("nftables").and_then(Value::as_array) else {
        return Err(malformed(1, "the key nftables is missing".to_owned()));
    };
    to.at_line(bytes.iter().filter(|byte| **byte == b'\n').count() as u64);
    let mut sets = Sets::new(to);
    for object in objects {
        // A command wraps what it adds.
        let command = |name: &str| object.get(name).filter(|inner| inner.is_object());
        let object = command("add")
            .or_else(|| command("create"))
            .unwrap_or(object);
        for (kind, holds) in [("set", None), ("map", Some("a map")), ("element", None)] {
            let Some(about) = object.get(kind) else {
                continue;
            };
            take(about, holds, kind == "element", options, &mut sets)?;
        }
    }
    sets.emit(&options.sets, to)?;
    Ok(bytes.len() as u64)
}

fn take(
    about: &Value,
    holds: Option<&str>,
    is_element: bool,
    options: &Options,
    sets: &mut Sets,
) -> Result<(), ListError> {
    let text = |key: &str| about.get(key).and_then(Value::as_str).unwrap_or_default();
    let name = format!("{}/{}/{}", text("family"), text("table"), text("name"));
    let Some(set) = sets.of(&name) else {
        return Ok(());
    };
    if !is_element {
        set.timeout = about.get("timeout").and_then(Value::as_u64).unwrap_or(0);
        set.holds = match (holds, about.get("type")) {
            (Some(holds), _) => Holds::Other(holds.to_owned()),
            (None, Some(Value::String(kind))) if kind == "ipv4_addr" || kind == "ipv6_addr" => {
                Holds::Addresses
            }
            (None, Some(kind)) => Holds::Other(kind.to_string().replace('"', "")),
            (None, None) => Holds::Unknown,
        };
    }
    if matches!(set.holds, Holds::Other(_)) {
        return Ok(());
    }
    let default = set.timeout;
    let elements = about.get("elem").and_then(Value::as_array);
    for element in elements.into_iter().flatten() {
        // Elements with more than a value are wrapped in an object; those of a map are pairs.
        let more = element.get("elem");
        let value = more.and_then(|more| more.get("val")).unwrap_or(element);
        if value.get("concat").is_some() || value.is_array() {
            if let Some(set) = sets.of(&name) {
                set.holds = Holds::Other("addresses with ports or more".to_owned());
            }
            return Ok(());
        }
        let number = |key: &str| more?.get(key)?.as_u64();
        let time = number("expires").or_else(|| number("timeout"));
        let time = time.unwrap_or(default);
        let comment = more.and_then(|more| more.get("comment")?.as_str());
        let detail = Detail {
            expires: (time > 0).then(|| after(options.as_of, time)),
            comment: comment.and_then(collect::comment),
        };
        sets.add(&name, 1, &value.to_string(), address_of(value), detail)?;
    }
    Ok(())
}

fn address_of(value: &Value) -> Result<Address, RefusalReason> {
    let none = RefusalReason::NotAnAddress;
    if let Some(text) = value.as_str() {
        return address::parse(text);
    }
    if let Some(prefix) = value.get("prefix") {
        let addr = prefix.get("addr").and_then(Value::as_str).ok_or(none)?;
        let len = prefix.get("len").and_then(Value::as_u64).ok_or(none)?;
        return address::parse(&format!("{addr}/{len}"));
    }
    let range = value.get("range").and_then(Value::as_array).ok_or(none)?;
    match range.as_slice() {
        [Value::String(first), Value::String(last)] => address::range_of(first, last),
        _other => Err(none),
    }
}
