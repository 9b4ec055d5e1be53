//! The text that `export` writes and `import` reads back: every entry with its list, its end and its
//! comment.
//!
//! It is a plain list for every other reader, because what it says besides the prefix stands behind
//! a `;`:
//!
//! ```text
//! # xdp-throttle export v1 block
//! 203.0.113.9
//! 203.0.113.0/24 ;xt list=scans end=2026-12-01T08:00:00Z comment="port 22, \"again\""
//! # end 2
//! ```
//!
//! The grammar is closed: the three fields stand in this order, each at most once, `list` is left out
//! for the list `manual`, and the comment is a string of JSON. A text without its last line was cut
//! off on its way.

use std::fmt::Write;

use jiff::Timestamp;

use super::refused::Refused;
use super::{MAX_LINE_BYTES, RefusalReason};
use crate::api::types::{ListKind, Refusal};
use crate::domain::{ListName, Prefix};

/// How every export begins; the kind follows.
const HEAD: &str = "# xdp-throttle export v1 ";
/// What tells an export of any version.
const ANY_HEAD: &[u8] = b"# xdp-throttle export ";
const END: &str = "# end ";
const MARK: &str = ";xt";
/// The list that needs no name.
const MANUAL: &str = "manual";
/// Refused lines that are spelled out.
const REFUSALS_KEPT: usize = 100;
/// Lists that one text may name; each takes room as long as the daemon runs.
const MAX_LISTS: usize = 1_000;
/// The longest comment, in characters, as for `add`.
const MAX_COMMENT: usize = 200;

/// One entry with what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pub prefix: Prefix,
    pub list: &'a str,
    pub expires: Option<Timestamp>,
    pub comment: Option<&'a str>,
}

/// The first line.
pub fn head(kind: ListKind) -> String {
    format!("{HEAD}{}\n", kind.name())
}

/// The last line.
pub fn end(entries: u64) -> String {
    format!("{END}{entries}\n")
}

/// Appends an entry's line.
pub fn write_row(text: &mut String, row: Row<'_>) {
    // Writing to a string can't fail.
    write!(text, "{}", row.prefix).ok();
    let is_plain = row.list == MANUAL && row.expires.is_none() && row.comment.is_none();
    if !is_plain {
        text.push(' ');
        text.push_str(MARK);
    }
    if row.list != MANUAL {
        write!(text, " list={}", row.list).ok();
    }
    if let Some(end) = row.expires {
        write!(text, " end={end}").ok();
    }
    if let Some(comment) = row.comment {
        text.push_str(" comment=");
        write_string(text, comment);
    }
    text.push('\n');
}

/// A string of JSON on one line, with every character that isn't ASCII escaped: nothing of somebody's
/// comment reaches a terminal.
fn write_string(text: &mut String, comment: &str) {
    text.push('"');
    for character in comment.chars() {
        match character {
            '"' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            ' '..='~' => text.push(character),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    write!(text, "\\u{unit:04x}").ok();
                }
            }
        }
    }
    text.push('"');
}

/// Why a text that says it is an export isn't read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    #[error(
        "it is an export of a version that this one doesn't know: import it with the version that wrote it, or newer"
    )]
    Version,
    #[error("it is an export of the {is}list: `xdp-throttle {is} import` reads it", is = .0.name())]
    WrongKind(ListKind),
    #[error("it was cut off on its way: an export's last line is `# end N`, and it is missing")]
    CutOff,
    #[error("line {line}: more than {max} entries: raise the capacity or split the text")]
    TooManyEntries { line: u64, max: usize },
    #[error("line {line}: more than {MAX_LISTS} lists: give them one name with --list")]
    TooManyLists { line: u64 },
}

/// One entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub prefix: Prefix,
    /// Index into the text's lists.
    pub list: usize,
    pub expires: Option<Timestamp>,
    pub comment: Option<Box<str>>,
}

/// An export that was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// Every list that it names.
    pub lists: Vec<ListName>,
    pub entries: Vec<Restored>,
    /// Lines that are no entry, in all.
    pub refused: u64,
    /// The first of them.
    pub refusals: Vec<Refusal>,
}

/// One line of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A comment, the head or the end.
    Remark,
    /// An entry; the index of its list means nothing.
    Entry(ListName, Restored),
    /// Something else, and why.
    Bad(String),
}

/// Reads one line without its end.
pub fn line(line: &[u8]) -> Line {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Line::Remark;
    }
    match entry(line) {
        Ok((list, entry)) => Line::Entry(list, entry),
        Err(why) => Line::Bad(why),
    }
}

/// Whether a text ends as an export does.
pub fn is_end(text: &[u8]) -> bool {
    let lines = text.trim_ascii_end().rsplit(|byte| *byte == b'\n');
    let last = lines.take(1).next();
    last.is_some_and(|line| line.starts_with(END.as_bytes()))
}

/// Whether the text says that it is an export.
pub fn is_export(text: &[u8]) -> bool {
    text.starts_with(ANY_HEAD)
}

/// Reads an export of the list `kind`. `is_forced` takes one that was cut off, or is of the other kind.
pub fn read(
    text: &[u8],
    kind: ListKind,
    max: usize,
    is_forced: bool,
) -> Result<Export, ExportError> {
    let mut export = Export::default();
    let mut is_whole = false;
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = index as u64 + 1;
        let line = line.trim_ascii();
        if line.starts_with(b"#") || line.is_empty() {
            if line.starts_with(ANY_HEAD) && !is_forced {
                check_head(line, kind)?;
            }
            is_whole |= line.starts_with(END.as_bytes());
            continue;
        }
        is_whole = false;
        match entry(line) {
            Ok(_) if export.entries.len() >= max => {
                return Err(ExportError::TooManyEntries { line: number, max });
            }
            Ok((list, row)) => {
                let list = export.list_index(&list, number)?;
                export.entries.push(Restored { list, ..row });
            }
            Err(why) => export.refuse(number, line, why),
        }
    }
    match is_whole || is_forced {
        true => Ok(export),
        false => Err(ExportError::CutOff),
    }
}

fn check_head(line: &[u8], kind: ListKind) -> Result<(), ExportError> {
    let other = match kind {
        ListKind::Allow => ListKind::Block,
        ListKind::Block => ListKind::Allow,
    };
    let is = |kind: ListKind| line == head(kind).trim_end().as_bytes();
    match (is(kind), is(other)) {
        (true, _) => Ok(()),
        (false, true) => Err(ExportError::WrongKind(other)),
        (false, false) => Err(ExportError::Version),
    }
}

impl Export {
    fn list_index(&mut self, name: &ListName, line: u64) -> Result<usize, ExportError> {
        // Neighbours are mostly of one list, and the lists are few.
        let last = self.entries.last().map(|row| row.list);
        if let Some(last) = last.filter(|last| self.lists.get(*last) == Some(name)) {
            return Ok(last);
        }
        if let Some(index) = self.lists.iter().position(|known| known == name) {
            return Ok(index);
        }
        if self.lists.len() >= MAX_LISTS {
            return Err(ExportError::TooManyLists { line });
        }
        self.lists.push(name.clone());
        Ok(self.lists.len() - 1)
    }

    fn refuse(&mut self, line: u64, text: &[u8], why: String) {
        self.refused += 1;
        if self.refusals.len() < REFUSALS_KEPT {
            let shown = Refused::new(line, text, RefusalReason::NotAnAddress);
            self.refusals.push(Refusal {
                line: Some(line),
                text: shown.text,
                why,
            });
        }
    }
}

/// Reads `PREFIX` and what stands behind the mark. A comment of another program may follow the prefix.
fn entry(line: &[u8]) -> Result<(ListName, Restored), String> {
    if line.len() > MAX_LINE_BYTES {
        return Err(RefusalReason::LineTooLong.to_string());
    }
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let column = line.find(|c: char| c.is_ascii_whitespace() || c == ';' || c == '#');
    let (prefix, rest) = line.split_at(column.unwrap_or(line.len()));
    let (prefix, _cut) = Prefix::parse_lenient(prefix).map_err(|error| error.to_string())?;
    let mut row = Restored {
        prefix,
        list: 0,
        expires: None,
        comment: None,
    };
    let mut list = MANUAL;
    let rest = rest.trim_start();
    if let Some(fields) = rest.strip_prefix(MARK) {
        let mut rest = fields.trim();
        if let Some(given) = rest.strip_prefix("list=") {
            (list, rest) = word(given);
        }
        if let Some(given) = rest.strip_prefix("end=") {
            let end;
            (end, rest) = word(given);
            let end = end.parse::<Timestamp>();
            row.expires = Some(end.map_err(|_| {
                "end= is no time, write for example end=2026-12-01T08:00:00Z".to_owned()
            })?);
        }
        if let Some(given) = rest.strip_prefix("comment=") {
            row.comment = Some(comment(given)?);
            rest = "";
        }
        if !rest.is_empty() {
            let wanted = "behind ;xt stand list=NAME, end=TIME and comment=\"TEXT\", in this order";
            return Err(wanted.to_owned());
        }
    } else if !rest.is_empty() && !rest.starts_with('#') {
        return Err("behind the prefix stands neither ;xt nor a comment with #".to_owned());
    }
    let list = list
        .parse::<ListName>()
        .map_err(|error| error.to_string())?;
    Ok((list, row))
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(' ').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start())
}

fn comment(given: &str) -> Result<Box<str>, String> {
    let text: String = serde_json::from_str(given)
        .map_err(|error| format!("comment= is no string of JSON: {error}"))?;
    if text.chars().count() > MAX_COMMENT {
        return Err(format!(
            "the comment is longer than {MAX_COMMENT} characters"
        ));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row<'a>(
        prefix: &str,
        list: &'a str,
        end: Option<&str>,
        comment: Option<&'a str>,
    ) -> Row<'a> {
        Row {
            prefix: prefix.parse().unwrap(),
            list,
            expires: end.map(|end| end.parse().unwrap()),
            comment,
        }
    }

    fn written(rows: &[Row<'_>]) -> String {
        let mut text = head(ListKind::Block);
        rows.iter().for_each(|row| write_row(&mut text, *row));
        text + &end(rows.len() as u64)
    }

    fn reread(text: &str) -> Export {
        read(text.as_bytes(), ListKind::Block, 100, false).unwrap()
    }

    fn written_again(export: &Export) -> String {
        let rows: Vec<Row<'_>> = export
            .entries
            .iter()
            .map(|entry| Row {
                prefix: entry.prefix,
                list: export.lists[entry.list].as_str(),
                expires: entry.expires,
                comment: entry.comment.as_deref(),
            })
            .collect();
        written(&rows)
    }

    #[test]
    fn what_is_written_is_read_and_plain_lines_stay_plain() {
        let hostile = "a \"quoted\" \\ line\nwith # and ; and ;xt list=x \u{1b}[2J \u{202e} 😀";
        let text = written(&[
            row("192.0.2.1", "manual", None, None),
            row(
                "192.0.2.0/24",
                "feed",
                Some("2026-12-01T08:00:00.123Z"),
                None,
            ),
            row("2001:db8::/32", "manual", None, Some(hostile)),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "192.0.2.1");
        assert_eq!(
            lines[2],
            "192.0.2.0/24 ;xt list=feed end=2026-12-01T08:00:00.123Z"
        );
        assert!(
            lines[3].starts_with("2001:db8::/32 ;xt comment=\"a \\\"quoted"),
            "{text}"
        );
        assert_eq!(lines[4..], ["# end 3"], "a line for each");
        assert!(text.is_ascii());
        let export = reread(&text);
        assert_eq!(export.entries[2].comment.as_deref(), Some(hostile));
        assert_eq!(written_again(&export), text);
    }

    #[test]
    fn other_readers_take_it_for_a_plain_list() {
        let text = written(&[
            row("192.0.2.1", "manual", None, None),
            row("192.0.2.0/24", "feed", None, Some("1.2.3.4")),
        ]);
        let parsed = crate::lists::parse(text.as_bytes(), crate::lists::Bounds::default()).unwrap();
        let entries: Vec<String> = parsed.entries.iter().map(Prefix::to_string).collect();
        assert_eq!(entries, ["192.0.2.1", "192.0.2.0/24"]);
        assert_eq!(parsed.refused_count(), 0);
    }

    #[test]
    fn what_is_no_line_of_an_export_is_refused_with_its_number() {
        for (line, why) in [
            ("nonsense", "not an IP address"),
            ("192.0.2.1 mine", "neither"),
            ("192.0.2.1 ;xt end=soon", "no time"),
            ("192.0.2.1 ;xt comment=bare", "JSON"),
            ("192.0.2.1 ;xt comment=\"x\" list=y", "JSON"),
            ("192.0.2.1 ;xt comment=\"x\" ;", "JSON"),
            (
                "192.0.2.1 ;xt end=2026-12-01T08:00:00Z list=y",
                "in this order",
            ),
            ("192.0.2.1 ;xt until=2026-12-01T08:00:00Z", "in this order"),
            ("192.0.2.1 ;xt list=Not/a/name", "list"),
        ] {
            let text = format!("{}192.0.2.9\n{line}\n{}", head(ListKind::Block), end(2));
            let export = reread(&text);
            assert_eq!((export.entries.len(), export.refused), (1, 1), "{line}");
            assert_eq!(export.refusals[0].line, Some(3));
            assert!(
                export.refusals[0].why.contains(why),
                "{:?}",
                export.refusals
            );
        }
        let noted = format!("{}192.0.2.9 # ours\n\n{}", head(ListKind::Block), end(1));
        assert_eq!(reread(&noted).entries.len(), 1);
    }

    #[test]
    fn what_was_cut_off_or_is_of_the_other_kind_is_refused_as_a_whole() {
        let text = written(&[row("192.0.2.1", "manual", None, None)]);
        let cut = text.strip_suffix("# end 1\n").unwrap();
        let of = |text: &str, kind, forced| read(text.as_bytes(), kind, 100, forced);
        assert_eq!(of(cut, ListKind::Block, false), Err(ExportError::CutOff));
        of(cut, ListKind::Block, true).unwrap();
        let wrong = of(&text, ListKind::Allow, false).unwrap_err();
        assert_eq!(wrong, ExportError::WrongKind(ListKind::Block));
        assert!(wrong.to_string().contains("block import"), "{wrong}");
        let newer = text.replace("v1", "v2");
        assert_eq!(
            of(&newer, ListKind::Block, false),
            Err(ExportError::Version)
        );
        let bound = read(text.as_bytes(), ListKind::Block, 0, false);
        assert_eq!(bound, Err(ExportError::TooManyEntries { line: 2, max: 0 }));
    }

    proptest! {
        #[test]
        fn every_comment_round_trips(comment in "\\PC{0,60}|[\\x00-\\x1f\"\\\\#;]{0,60}") {
            let text = written(&[row("192.0.2.1", "feed", None, Some(&comment))]);
            prop_assert_eq!(text.lines().count(), 3);
            let export = reread(&text);
            prop_assert_eq!(export.entries[0].comment.as_deref(), Some(&*comment));
        }

        #[test]
        fn any_bytes_are_read_without_a_fault(bytes: Vec<u8>) {
            let text = [head(ListKind::Block).as_bytes(), &bytes].concat();
            read(&text, ListKind::Block, 10, true).ok();
        }
    }
}
