//! Texts of lists, in every format that is read.

use xdp_user::lists::{Bounds, parse};

/// So many entries fit the bound that the reader is given here.
const MOST_ENTRIES: usize = 10_000;

/// Whatever a text holds, it is read within its bounds, and every line is an entry, a comment, blank
/// or refused.
pub fn run(input: &[u8]) {
    let bounds = Bounds {
        max_entries: MOST_ENTRIES,
        ..Bounds::default()
    };
    let Ok(list) = parse(input, bounds) else {
        return;
    };
    assert!(list.entries.len() <= MOST_ENTRIES);
}
