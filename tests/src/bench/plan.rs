//! Which scenarios there are, and in which order: by the tables that they share.

use super::Length;
use super::cases::{Case, Family, Scenario};
use super::stand::allowed;

/// Sizes of all tables, filled once for several scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Entries of the blocklist.
    pub(super) listed: u32,
    /// Sources that the source tables have room for.
    pub(super) slots: u32,
}

const K1: u32 = 1_000;
const K100: u32 = 100_000;
const M1: u32 = 1_000_000;

/// Twice what the kernel's LRU needs to keep 100,000 sources.
const SLOTS: u32 = 1 << 18;
/// The same for a million.
const MANY_SLOTS: u32 = 1 << 21;

/// Enough for a run that measures nothing.
const FEW_SLOTS: u32 = 1 << 13;

/// What every source's packets may meet, with so many known sources.
const fn of_sources(sources: u32) -> [(Case, u32); 3] {
    [
        (Case::Known, sources),
        (Case::Over, sources),
        (Case::Banned, sources),
    ]
}
const NEW: (Case, u32) = (Case::New, 0);

/// Packets that a flood loses, from few sources and from ever new ones.
const REFUSED: [(Case, u32); 2] = [(Case::Refused, K1), (Case::Refused, 0)];

/// Tables in order, each with what is measured on them.
pub(super) fn plan(length: Length) -> Vec<(Size, Vec<Scenario>)> {
    let on =
        |listed, slots, scenarios: &[Vec<Scenario>]| (Size { listed, slots }, scenarios.concat());
    let one = |listed, cases: &[(Case, u32)]| scenarios(listed, cases, 1);
    if length == Length::Smoke {
        let all = [
            one(K1, &of_sources(K1)),
            one(K1, &[NEW]),
            one(K1, &REFUSED),
            of_lists(K1),
            two_threads(K1, K1),
        ];
        return vec![on(K1, FEW_SLOTS, &all)];
    }
    let many = [
        one(K100, &of_sources(K1)),
        one(K100, &of_sources(K100)),
        one(K100, &[NEW]),
    ];
    let mut plan = vec![
        on(
            0,
            SLOTS,
            &[
                one(0, &[(Case::Known, K1), (Case::Known, K100), NEW]),
                one(0, &REFUSED),
            ],
        ),
        on(
            K1,
            SLOTS,
            &[one(K1, &[(Case::Known, K100), NEW]), of_lists(K1)],
        ),
        on(
            K100,
            SLOTS,
            &[many.concat(), of_lists(K100), two_threads(K100, K100)],
        ),
    ];
    if length == Length::Full {
        let million = one(K100, &[(Case::Known, M1), (Case::Over, M1)]);
        plan.push(on(K100, MANY_SLOTS, &[million]));
        plan.push(on(
            M1,
            SLOTS,
            &[one(M1, &[(Case::Known, K100), NEW]), of_lists(M1)],
        ));
    }
    plan
}

fn scenarios(listed: u32, cases: &[(Case, u32)], threads: usize) -> Vec<Scenario> {
    let scenarios = cases.iter().flat_map(|(case, sources)| {
        Family::ALL.map(|family| Scenario {
            case: *case,
            family,
            listed,
            sources: *sources,
            threads,
        })
    });
    scenarios.collect()
}

/// Packets from all entries of a list.
fn of_lists(listed: u32) -> Vec<Scenario> {
    let cases = [
        (Case::BlockedHost, listed / 2),
        (Case::BlockedPrefix, listed / 2),
        (Case::Allowed, allowed(listed)),
    ];
    scenarios(listed, &cases, 1)
}

fn two_threads(listed: u32, sources: u32) -> Vec<Scenario> {
    let cases = [(Case::Known, sources), NEW, (Case::BlockedHost, listed / 2)];
    scenarios(listed, &cases, 2)
}
