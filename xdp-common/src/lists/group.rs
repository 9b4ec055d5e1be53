//! Groups: one key's 256 cells, each with the flags and ends of all prefixes of the level that
//! cover it.
//!
//! ```text
//! 2 lines    flags, 4 bits a cell
//! 16 lines   when the cell leaves the allowlist, 4 bytes a cell
//! 16 lines   when it leaves the blocklist
//! ```

use super::head::Layout;
use super::{ALLOW, BLOCK, Found, LIMITS, Line, TIMED, Table, ends_by, half};

/// Lines of a group.
pub const LINES: u32 = 34;
/// First of the lines with ends on the allowlist.
pub const ALLOW_ENDS: u32 = 2;
/// First of the lines with ends on the blocklist.
pub const BLOCK_ENDS: u32 = 18;

/// What the shortest prefixes say of the addresses with these upper 16 bits, without what has ended
/// by `now` unless that is 0.
#[inline(always)]
pub fn find_short<T: Table>(table: &T, top: u32, now: u64) -> Found {
    let Some(line) = table.head() else {
        return Found::default();
    };
    let head = Layout(line);
    let found = Found::begin(&head);
    let now = ends_by(&head, now);
    let flags = find(table, &head, top >> 8 & 0xff, top & 0xff, now);
    Found { flags, ..found }.finish(table, &line)
}

/// The flags of a cell, without what has ended by `now` unless that is 0.
#[inline(always)]
pub(super) fn find<T: Table>(
    table: &T,
    head: &Layout<impl Line>,
    group: u32,
    cell: u32,
    now: u32,
) -> u8 {
    let first = head.first_group().wrapping_add(group.wrapping_mul(LINES));
    let Some(line) = table.line(first.wrapping_add(cell >> 7)) else {
        return 0;
    };
    let word = line.word_at((cell >> 4) as usize);
    #[allow(clippy::cast_possible_truncation, reason = "four bits")]
    let flags = (word >> ((cell & 15) << 2)) as u8 & 15;
    if now == 0 || flags & TIMED == 0 {
        return flags;
    }
    let ended = |from: u32| {
        let line = table.line(first.wrapping_add(from).wrapping_add(cell >> 4));
        line.is_some_and(|line| {
            let end = half(&line, (cell & 15) as usize);
            end != 0 && end <= now
        })
    };
    let mut kept = flags & LIMITS;
    if flags & ALLOW != 0 && !ended(ALLOW_ENDS) {
        kept |= ALLOW;
    }
    if flags & BLOCK != 0 && !ended(BLOCK_ENDS) {
        kept |= BLOCK;
    }
    kept
}
