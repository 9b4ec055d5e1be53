//! A group for a key that has got many prefixes, in the table that is in use.

use xdp_common::lists::{ALLOW, BLOCK, LIMITS, TIMED};

use super::super::table::{TooSmall, cells_of};
use super::{
    At, MAX_CHAIN, Memory, SLOTS, Spot, Table, end_place, group_meta, length_of, linked, meta,
    pass_filter, store, walk,
};

/// A prefix's slot, with what it says.
#[derive(Clone, Copy)]
struct Own {
    at: At,
    spot: Spot,
    kind: u8,
    end: u32,
}

/// Gives a prefix's key a group in the place of its slots. First everything is stored where the
/// group and the next level have it, then the group becomes found, then the slots go: a look-up sees
/// the slots, the group or both, or begins anew because something went.
pub(super) fn key_of<M: Memory>(table: &mut Table<M>, spot: Spot) -> Result<(), TooSmall> {
    let Some((number, key)) = spot.key() else {
        return Ok(());
    };
    let own = slots_of(table, &spot);
    for own in &own {
        if let Some(odd) = own.spot.on_odd_level() {
            copy(table, odd, own)?;
        }
    }
    let group = table.groups.take()?;
    let covering = own.iter().filter(|own| own.spot.on_odd_level().is_none());
    let cells = cells_of(covering.map(|own| (own.spot.covered(number), own.kind, own.end)));
    table.paint_cells(group, &cells);
    let place = spot.level.place(&table.head.layout(), spot.high, spot.low);
    let found = walk(table, place, &spot, 0);
    let slot = (group_meta(group), key | u64::from(number));
    store(table, &found, slot, 0)?;
    table.begin_removal();
    // Storing the group may have moved one of them into a spare line.
    for own in slots_of(table, &spot) {
        if !is_on_next_level(table, &own) {
            let (line, index) = own.at;
            table.words().set(line, index * 2, 0);
        }
    }
    Ok(())
}

/// Whether a slot is the next level's as well: where both keys have the same line, one slot does for
/// both, and there is no copy.
fn is_on_next_level<M: Memory>(table: &Table<M>, own: &Own) -> bool {
    own.spot.on_odd_level().is_some_and(|odd| {
        let place = odd.level.place(&table.head.layout(), odd.high, odd.low);
        walk(table, place, &odd, own.kind).same == Some(own.at)
    })
}

/// The slots of a prefix's key.
fn slots_of<M: Memory>(table: &Table<M>, spot: &Spot) -> Vec<Own> {
    let words = table.words();
    let mut own = Vec::new();
    let mut line = spot
        .level
        .place(&table.head.layout(), spot.high, spot.low)
        .line;
    for _ in 0..MAX_CHAIN {
        let (ends, first) = end_place(&table.head.layout(), line);
        let mut next = None;
        for index in 0..SLOTS {
            let (meta, bits) = (words.get(line, index * 2), words.get(line, index * 2 + 1));
            next = next.or(linked(meta));
            let Some(length) = length_of(meta).filter(|_| spot.shares_key(meta, bits)) else {
                continue;
            };
            let flags = [ALLOW, BLOCK, LIMITS].into_iter();
            let timed = meta & u64::from(TIMED) != 0;
            own.push(Own {
                at: (line, index),
                spot: Spot {
                    level: spot.level,
                    high: bits,
                    low: 0,
                    length,
                },
                kind: flags.filter(|flag| meta & u64::from(*flag) != 0).sum(),
                end: if timed {
                    words.half(ends, first + index)
                } else {
                    0
                },
            });
        }
        match next {
            Some(linked) => line = linked,
            None => break,
        }
    }
    own
}

/// Stores what a slot says on the next level too.
fn copy<M: Memory>(table: &mut Table<M>, odd: Spot, own: &Own) -> Result<(), TooSmall> {
    let place = odd.level.place(&table.head.layout(), odd.high, odd.low);
    let found = walk(table, place, &odd, own.kind);
    let timed = if own.end == 0 { 0 } else { TIMED };
    let slot = (meta(place.rest, odd.length, own.kind | timed), odd.bits());
    pass_filter(table, &place);
    store(table, &found, slot, own.end)?;
    table.use_level(odd.level.bit());
    Ok(())
}
