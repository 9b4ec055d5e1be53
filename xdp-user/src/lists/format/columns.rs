//! Tables: CSV with an address in a column, first and last address in two columns, DShield's block
//! list, and the decisions of CrowdSec.

use jiff::{SignedDuration, Timestamp};

use crate::lists::address::{self, Address};
use crate::lists::collect::{self, Collector};
use crate::lists::encoding::Lines;
use crate::lists::{Detail, ListError, MAX_LINE_BYTES, Options, RefusalReason};

use super::is_blank_or_comment;

/// Lines that a quoted field may go over.
const MAX_FIELD_LINES: u32 = 100;

/// A line of a table, whose quotes may make it longer than a line of the text.
struct Row {
    text: Vec<u8>,
    fields: Vec<String>,
}

/// Gives every row that isn't blank or a comment to `take`, with whether it is the first.
fn rows(
    lines: &mut Lines<'_>,
    to: &mut Collector,
    split: impl Fn(&[u8]) -> Vec<String>,
    mut take: impl FnMut(&Row, bool, &mut Collector) -> Result<(), ListError>,
) -> Result<(), ListError> {
    let mut is_first = true;
    while let Some((number, line)) = lines.next()? {
        to.at_line(number);
        if line.len() > MAX_LINE_BYTES {
            to.refuse(line, RefusalReason::LineTooLong);
            continue;
        }
        if is_blank_or_comment(line, b"#", to) {
            continue;
        }
        let mut text = line.to_vec();
        let mut more = 0;
        let is_open = |text: &[u8]| text.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
        while is_open(&text) && more < MAX_FIELD_LINES && text.len() <= MAX_LINE_BYTES {
            let Some((_, line)) = lines.next()? else {
                break;
            };
            text.push(b'\n');
            text.extend_from_slice(line);
            more += 1;
        }
        if is_open(&text) {
            to.refuse(&text, RefusalReason::NotAnAddress);
            continue;
        }
        let fields = split(&text);
        take(&Row { text, fields }, is_first, to)?;
        to.at_line(number + u64::from(more));
        is_first = false;
    }
    Ok(())
}

/// The fields of a CSV line; the first comma, semicolon or tab says what parts columns.
fn csv_fields(line: &[u8]) -> Vec<String> {
    let delimiter = line.iter().find(|byte| b",;\t".contains(byte));
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter.copied().unwrap_or(b','))
        .from_reader(line);
    let mut record = csv::ByteRecord::new();
    // What is no line of CSV has no columns.
    match reader.read_byte_record(&mut record) {
        Ok(true) => record
            .iter()
            .map(|field| String::from_utf8_lossy(field).trim().to_owned())
            .collect(),
        Ok(false) | Err(_) => Vec::new(),
    }
}

/// The fields of a line whose columns are parted by commas, semicolons, tabs, or else blanks.
fn any_fields(line: &[u8]) -> Vec<String> {
    match line.iter().any(|byte| b",;\t".contains(byte)) {
        true => csv_fields(line),
        false => String::from_utf8_lossy(line)
            .split_ascii_whitespace()
            .map(|field| super::plain::unquoted(field).to_owned())
            .collect(),
    }
}

fn field(row: &Row, column: usize) -> &str {
    let field = column
        .checked_sub(1)
        .and_then(|index| row.fields.get(index));
    field.map_or("", String::as_str)
}

/// Whether a field of the first row names its column instead of holding an address.
fn is_header(field: &str) -> bool {
    !field.contains(['/', '.', ':']) && field.contains(|c: char| c.is_ascii_alphabetic())
}

/// A value as CrowdSec writes it with its scope.
fn without_scope(field: &str) -> &str {
    let scope = field.split_once(':').filter(|(scope, _)| {
        let known = ["ip", "range"];
        known.iter().any(|name| scope.eq_ignore_ascii_case(name))
    });
    scope.map_or(field, |(_, value)| value)
}

/// Addresses in a column.
pub(super) fn csv(
    lines: &mut Lines<'_>,
    column: usize,
    to: &mut Collector,
) -> Result<(), ListError> {
    rows(lines, to, csv_fields, |row, is_first, to| {
        let value = field(row, column);
        if is_first && is_header(value) {
            return Ok(());
        }
        to.take(address::parse(without_scope(value)), &row.text, None)
    })
}

/// The first address in a column, the last one in the next.
pub(super) fn range(
    lines: &mut Lines<'_>,
    column: usize,
    to: &mut Collector,
) -> Result<(), ListError> {
    rows(lines, to, any_fields, |row, is_first, to| {
        let (first, last) = (field(row, column), field(row, column + 1));
        if is_first && is_header(first) {
            return Ok(());
        }
        // `a - b` with blanks is the same in three columns.
        let last = match last {
            "-" => field(row, column + 2),
            last => last,
        };
        let address = match last.is_empty() {
            true => address::parse(first),
            false => ends(first, last),
        };
        to.take(address, &row.text, None)
    })
}

/// A range of two whole addresses: a number in the second column is none.
fn ends(first: &str, last: &str) -> Result<Address, RefusalReason> {
    match last.contains(['.', ':']) {
        true => address::range_of(first, last),
        false => Err(RefusalReason::NotAnAddress),
    }
}

/// DShield's block list: the first address, the last one, the prefix length, and more.
pub(super) fn dshield(lines: &mut Lines<'_>, to: &mut Collector) -> Result<(), ListError> {
    rows(lines, to, any_fields, |row, is_first, to| {
        let (first, last, length) = (field(row, 1), field(row, 2), field(row, 3));
        if is_first && is_header(first) {
            return Ok(());
        }
        let address = ends(first, last);
        let address = match length.parse::<u8>() {
            Ok(length) => address.and_then(|range| agreed(range, length)),
            Err(_) if length.is_empty() => address,
            Err(_) => Err(RefusalReason::BadPrefixLength),
        };
        to.take(address, &row.text, None)
    })
}

/// A range, unless it isn't the prefix that the line says it is.
fn agreed(range: Address, length: u8) -> Result<Address, RefusalReason> {
    match &range {
        Address::Prefix { prefix, .. } if prefix.prefix_len() == length => Ok(range),
        Address::Prefix { .. } | Address::Range(_) => Err(RefusalReason::BadPrefixLength),
    }
}

/// Where the columns of CrowdSec's decisions stand.
struct Decisions {
    value: usize,
    reason: Option<usize>,
    action: Option<usize>,
    expiration: Option<usize>,
    simulated: Option<usize>,
}

impl Decisions {
    /// By the names in the first row.
    fn of(row: &Row) -> Option<Self> {
        let at = |names: &[&str]| {
            let named = |field: &String| names.contains(&field.to_ascii_lowercase().as_str());
            row.fields.iter().position(named).map(|index| index + 1)
        };
        Some(Self {
            value: at(&["ip", "value"])?,
            reason: at(&["reason", "scenario"]),
            action: at(&["action", "type"]),
            expiration: at(&["expiration", "duration"]),
            simulated: at(&["simulated"]),
        })
    }

    /// `id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id`.
    fn usual() -> Self {
        Self {
            value: 3,
            reason: Some(4),
            action: Some(5),
            expiration: Some(9),
            simulated: Some(10),
        }
    }
}

/// What `cscli decisions list -o raw` prints. Only bans of addresses are taken.
pub(super) fn cscli(
    lines: &mut Lines<'_>,
    options: &Options,
    to: &mut Collector,
) -> Result<(), ListError> {
    let mut at = Decisions::usual();
    rows(lines, to, csv_fields, |row, is_first, to| {
        if is_first && let Some(named) = Decisions::of(row) {
            at = named;
            return Ok(());
        }
        let given = |column: Option<usize>| column.map_or("", |column| field(row, column));
        let (action, simulated) = (given(at.action), given(at.simulated));
        let is_ban = action.is_empty() || action.eq_ignore_ascii_case("ban");
        if !is_ban || simulated.eq_ignore_ascii_case("true") {
            to.except();
            return Ok(());
        }
        let value = field(row, at.value);
        let expires = match given(at.expiration) {
            "" => None,
            text => match remaining(text, options.as_of) {
                Some(end) => Some(end),
                None => {
                    to.refuse(&row.text, RefusalReason::Conditional);
                    return Ok(());
                }
            },
        };
        let detail = Detail {
            expires,
            comment: collect::comment(given(at.reason)),
        };
        to.take(
            address::parse(without_scope(value)),
            &row.text,
            Some(&detail),
        )
    })
}

/// The end of a remaining time as Go writes it: `3h59m12.5s`, `-2m`.
fn remaining(text: &str, as_of: Timestamp) -> Option<Timestamp> {
    let (text, sign) = match text.strip_prefix('-') {
        Some(text) => (text, -1),
        None => (text, 1),
    };
    let seconds = super::nft_words::seconds(text)?;
    let seconds = i64::try_from(seconds).ok()?;
    as_of
        .checked_add(SignedDuration::from_secs(seconds.checked_mul(sign)?))
        .ok()
}
