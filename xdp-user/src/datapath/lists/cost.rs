//! The memory of list tables.

use xdp_common::abi::chunks;

use super::memory::Publisher;
use super::table::{Size, Table};
use super::{LINE_BYTES, Lists, v4, v6};

/// About what a family's table of so many prefixes takes that are the only ones of their keys.
/// Prefixes that share a key lie in a group where they are many, which can take more or less. Rounded up
/// to whole chunks.
pub(crate) fn bytes_for(entries: u32, ipv4: bool) -> u64 {
    let chunk = u64::from(chunks::LINES);
    let lines = size_for(entries, ipv4).total().map_or(u64::MAX, u64::from);
    lines
        .div_ceil(chunk)
        .saturating_mul(chunk)
        .saturating_mul(LINE_BYTES)
}

/// Cache lines of such a table that a look-up chooses one of.
#[must_use]
pub fn lines_for(entries: u32, ipv4: bool) -> u32 {
    size_for(entries, ipv4).lines
}

fn size_for(entries: u32, ipv4: bool) -> Size {
    if ipv4 {
        v4::size_for(entries as usize, 0, 0, false)
    } else {
        v6::size_for(entries as usize, 0, 0, false)
    }
}

/// Bytes of the tables in force, shared out by the number of prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) allow: u64,
    pub(crate) block: u64,
    pub(crate) limits: u64,
    /// Prefixes with limits of their own, which the controller keeps beside them.
    pub(crate) limited: u64,
}

impl<P: Publisher> Lists<P> {
    /// Bytes of the tables in force.
    pub(crate) fn bytes(&self) -> Shares {
        let shadow = &self.shadow;
        let mut shares = Shares {
            limited: shadow.limits.len() as u64,
            ..Shares::default()
        };
        for (ipv4, table) in [(true, &self.v4), (false, &self.v6)] {
            let bytes = table.as_ref().map_or(0, Table::bytes);
            let limits = shadow.limits.keys().filter(|p| p.is_ipv4() == ipv4).count();
            let (allow, block) = (shadow.allow.len(ipv4), shadow.block.len(ipv4));
            let all = (allow + block + limits).max(1);
            let part = |of: usize| bytes / all as u64 * of as u64;
            shares.allow += part(allow);
            shares.limits += part(limits);
            // With the rest, and with what is left of a list that is gone.
            shares.block += bytes - part(allow) - part(limits);
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::super::{InProcess, NewEntry};
    use super::*;
    use crate::api::types::ListKind;
    use crate::datapath::Capacity;
    use crate::domain::Prefix;

    const ENTRIES: u32 = 20_000;

    fn lists() -> Lists<InProcess> {
        let capacity = Capacity {
            allow: ENTRIES,
            block: ENTRIES,
            overrides: ENTRIES,
            sources: 0,
            bans: 0,
            flows: 0,
        };
        Lists::new(InProcess, capacity)
    }

    /// Hosts that are each in a network of their own.
    fn hosts(count: u32, ipv4: bool) -> Vec<NewEntry> {
        let host = |n: u32| {
            let (high, low) = (n >> 8, n & 0xff);
            if ipv4 {
                format!("198.{high}.{low}.1")
            } else {
                format!("2001:db8:{high:x}:{low:x}::1")
            }
        };
        let entry = |n| NewEntry {
            prefix: host(n).parse::<Prefix>().unwrap(),
            expires_ns: 0,
            list: 0,
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn a_table_takes_what_was_said_of_so_many_entries() {
        for ipv4 in [true, false] {
            let mut lists = lists();
            let refused = lists.change(ListKind::Block, &hosts(ENTRIES, ipv4), &[]);
            assert!(refused.is_empty());
            let bytes = lists.bytes();
            let chunk = u64::from(chunks::LINES) * LINE_BYTES;
            let rounded = bytes.block.div_ceil(chunk) * chunk;
            assert_eq!(rounded, bytes_for(ENTRIES, ipv4), "IPv4: {ipv4}");
            assert_eq!((bytes.allow, bytes.limits), (0, 0));
        }
    }

    #[test]
    fn lists_share_their_tables_by_the_number_of_entries() {
        let mut lists = lists();
        assert_eq!(lists.bytes(), Shares::default());
        lists.change(ListKind::Block, &hosts(3000, true), &[]);
        let alone = lists.bytes().block;
        lists.change(ListKind::Allow, &hosts(1000, true), &[]);
        let Shares { allow, block, .. } = lists.bytes();
        assert!(block.abs_diff(3 * allow) <= 4000, "{allow} {block}");
        assert!(allow + block >= alone);
    }
}
