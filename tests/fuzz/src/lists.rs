//! Texts of lists: every format that is read, packed or not, and exports.

use xdp_user::api::types::ListKind;
use xdp_user::domain::{ListFormat, SkipKind};
use xdp_user::lists::{Bounds, Options, export, read};

/// So many entries fit the bound that the reader is given here.
const MOST_ENTRIES: usize = 10_000;
/// A packed text of a few kilobytes is to stay small.
const MOST_BYTES: u64 = 4 << 20;

/// The first byte chooses the format, the next one what is left out and whether wide prefixes are
/// taken; the rest is the text.
pub fn run(input: &[u8]) {
    let [format, choices, text @ ..] = input else {
        return;
    };
    let formats = ListFormat::ALL;
    let skip = match choices & 2 {
        0 => Vec::new(),
        _ => SkipKind::ALL.to_vec(),
    };
    let options = Options {
        format: formats[usize::from(*format) % formats.len()],
        column: 1 + usize::from(choices >> 6),
        skip,
        ..Options::default()
    };
    let bounds = Bounds {
        max_entries: MOST_ENTRIES,
        max_bytes: MOST_BYTES,
        accept_wide: choices & 1 != 0,
    };
    if let Ok(list) = read(text, &options, bounds) {
        assert!(list.entries.len() <= MOST_ENTRIES);
        assert!(list.bytes <= MOST_BYTES);
        let wide = list.entries.iter().find(|prefix| prefix.is_wide());
        assert!(
            bounds.accept_wide || wide.is_none(),
            "taken unasked: {wide:?}"
        );
        let unknown = list
            .details
            .keys()
            .find(|prefix| !list.entries.contains(prefix));
        assert!(unknown.is_none(), "of no entry: {unknown:?}");
    }
    exported(text);
}

/// An export that is read gives, written again and read again, the same.
fn exported(text: &[u8]) {
    let Ok(first) = export::read(text, ListKind::Block, MOST_ENTRIES, true) else {
        return;
    };
    let mut again = export::head(ListKind::Block);
    for entry in &first.entries {
        let list = first
            .lists
            .get(entry.list)
            .map_or("manual", |name| name.as_str());
        export::write_row(
            &mut again,
            export::Row {
                prefix: entry.prefix,
                list,
                expires: entry.expires,
                comment: entry.comment.as_deref(),
            },
        );
    }
    again.push_str(&export::end(first.entries.len() as u64));
    let second = export::read(again.as_bytes(), ListKind::Block, MOST_ENTRIES, false);
    let Ok(second) = second else {
        panic!("an export isn't read again: {second:?}\n{again}");
    };
    assert_eq!(second.refused, 0, "{again}");
    assert_eq!(first.entries.len(), second.entries.len(), "{again}");
    for (one, other) in first.entries.iter().zip(&second.entries) {
        let names = (first.lists.get(one.list), second.lists.get(other.list));
        assert!(
            names.0 == names.1 || names.0.is_none(),
            "{names:?}\n{again}"
        );
        assert_eq!(
            (one.prefix, one.expires, &one.comment),
            (other.prefix, other.expires, &other.comment),
            "{again}"
        );
    }
}
