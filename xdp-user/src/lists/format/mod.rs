//! The formats: which one a text has, and a reader for each.

mod columns;
mod detect;
mod emule;
mod hosts_deny;
mod ipset;
mod json;
mod nft;
mod nft_json;
mod nft_words;
pub(super) mod plain;
mod sets;

use super::collect::Collector;
use super::encoding::{Lines, Text};
use super::{Bounds, ListError, MAX_LINE_BYTES, Options, ParsedList, RefusalReason};
use crate::domain::ListFormat;

/// Reads a text as the format that the options name, or as the one that it is found to have.
pub(super) fn read(
    text: Text<'_>,
    options: &Options,
    bounds: Bounds,
) -> Result<ParsedList, ListError> {
    let head = text.head();
    detect::refuse_pages(head)?;
    let is_named = options.format != ListFormat::Auto;
    let format = if is_named {
        options.format
    } else if !options.paths.is_empty() {
        // Whoever names fields says that it is JSON.
        ListFormat::Json
    } else {
        detect::format(head, text.is_all_head())?
    };
    if let Some(name) = options.sets.first().filter(|_| !format.takes_set()) {
        return Err(ListError::NoSuchSet {
            name: name.to_string(),
            names: Vec::new(),
        });
    }
    let pairs = match is_named {
        true => plain::Pairs::Take,
        false => detect::pairs(head, text.is_all_head()),
    };
    let is_json = head.trim_ascii_start().starts_with(b"{");
    let mut to = Collector::new(options, bounds);
    let mut lines = match format {
        ListFormat::Json | ListFormat::Aws | ListFormat::Google | ListFormat::Cloudflare => {
            let bytes = json::read(text, format, options, &mut to)?;
            return Ok(to.finish(format, bytes));
        }
        ListFormat::Nft if is_json => {
            let bytes = nft_json::read(text, options, &mut to)?;
            return Ok(to.finish(format, bytes));
        }
        ListFormat::Auto
        | ListFormat::Plain
        | ListFormat::Csv
        | ListFormat::Range
        | ListFormat::SpamhausJson
        | ListFormat::Ipset
        | ListFormat::Nft
        | ListFormat::Dshield
        | ListFormat::P2p
        | ListFormat::Ipfilter
        | ListFormat::HostsDeny
        | ListFormat::Cscli => Lines::new(text),
    };
    match format {
        ListFormat::Plain | ListFormat::Auto => each(&mut lines, &mut to, |line, to| {
            plain::take_line(line, pairs, to)
        })?,
        ListFormat::Csv => columns::csv(&mut lines, options.column, &mut to)?,
        ListFormat::Range => columns::range(&mut lines, options.column, &mut to)?,
        ListFormat::Dshield => columns::dshield(&mut lines, &mut to)?,
        ListFormat::Cscli => columns::cscli(&mut lines, options, &mut to)?,
        ListFormat::P2p => each(&mut lines, &mut to, emule::p2p)?,
        ListFormat::Ipfilter => each(&mut lines, &mut to, emule::ipfilter)?,
        ListFormat::HostsDeny => hosts_deny::read(&mut lines, &mut to)?,
        ListFormat::Ipset => ipset::read(&mut lines, options, &mut to)?,
        ListFormat::Nft => nft::read(&mut lines, options, &mut to)?,
        ListFormat::SpamhausJson => each(&mut lines, &mut to, json::spamhaus)?,
        // Read above.
        ListFormat::Json | ListFormat::Aws | ListFormat::Google | ListFormat::Cloudflare => {}
    }
    Ok(to.finish(format, lines.bytes()))
}

/// Gives every line to a reader of single lines.
fn each(
    lines: &mut Lines<'_>,
    to: &mut Collector,
    mut take: impl FnMut(&[u8], &mut Collector) -> Result<(), ListError>,
) -> Result<(), ListError> {
    while let Some((number, line)) = lines.next()? {
        to.at_line(number);
        match line.len() > MAX_LINE_BYTES {
            true => to.refuse(line, RefusalReason::LineTooLong),
            false => take(line, to)?,
        }
    }
    Ok(())
}

/// Counts a line without content; tells whether it was one.
fn is_blank_or_comment(line: &[u8], marks: &[u8], to: &mut Collector) -> bool {
    match line.trim_ascii().first() {
        None => true,
        Some(first) if marks.contains(first) => {
            to.comment();
            true
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests;
