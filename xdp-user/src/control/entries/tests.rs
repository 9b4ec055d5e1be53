//! Random changes against two models: a trie like the kernel's, which gives the longest match and
//! nothing else, and the plain rule that a source is blocked while any entry that holds it is in
//! force.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

/// Entries end at a time below this; later nothing changes any more.
const LAST_TIME: u8 = 8;
const LISTS: u32 = 3;
/// All prefixes lie in blocks of 2^BITS addresses, small enough to look at each address.
const BITS: u8 = 5;

/// Time `t` of the model.
fn at(t: u8) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::from(t))
}

/// The prefix of the first `len` of `BITS` bits, in a block of one family.
fn prefix(ipv4: bool, bits: u8, len: u8) -> Prefix {
    let host = bits & (u8::MAX << (BITS - len));
    let (address, outer) = if ipv4 {
        (IpAddr::from(Ipv4Addr::new(192, 0, 2, host)), 32)
    } else {
        let host = u16::from(host);
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host);
        (IpAddr::from(address), 128)
    };
    Prefix::new(address, outer - BITS + len).unwrap()
}

fn addresses() -> impl Iterator<Item = Prefix> {
    [true, false]
        .into_iter()
        .flat_map(|ipv4| (0..1 << BITS).map(move |bits| prefix(ipv4, bits, BITS)))
}

#[derive(Clone, Debug)]
enum Change {
    Put(Prefix, ListId, Option<u8>),
    Take(Prefix, ListId),
}

/// Changes that are settled together.
#[derive(Clone, Debug)]
struct Round {
    changes: Vec<Change>,
    /// What has ended by then is swept before.
    passes: u8,
    sweeps: bool,
}

fn any_prefix() -> impl Strategy<Value = Prefix> {
    // Mostly IPv4, so that entries nest.
    (prop::bool::weighted(0.8), 0..1u8 << BITS, 0..=BITS)
        .prop_map(|(ipv4, bits, len)| prefix(ipv4, bits, len))
}

fn any_change() -> impl Strategy<Value = Change> {
    let put = (
        any_prefix(),
        0..LISTS,
        prop::option::weighted(0.8, 1..LAST_TIME),
    )
        .prop_map(|(prefix, list, ends)| Change::Put(prefix, list, ends));
    let take = (any_prefix(), 0..LISTS).prop_map(|(prefix, list)| Change::Take(prefix, list));
    prop_oneof![3 => put, 1 => take]
}

fn any_round() -> impl Strategy<Value = Round> {
    (
        prop::collection::vec(any_change(), 1..12),
        prop::bool::weighted(0.3),
        any::<bool>(),
    )
        .prop_map(|(changes, passes, sweeps)| Round {
            changes,
            passes: u8::from(passes),
            sweeps,
        })
}

/// What the kernel holds, as plainly as can be.
#[derive(Clone, Default)]
struct Trie(BTreeMap<Prefix, Option<Timestamp>>);

impl Trie {
    fn blocks(&self, address: &Prefix, now: Timestamp) -> bool {
        self.0
            .iter()
            .filter(|(prefix, _)| prefix.covers(address))
            .max_by_key(|(prefix, _)| prefix.prefix_len())
            .is_some_and(|(_, expires)| expires.is_none_or(|at| now < at))
    }
}

/// What the lists say, as plainly as can be.
type Members = BTreeMap<(Prefix, ListId), Option<u8>>;

fn should_block(members: &Members, address: &Prefix, now: u8) -> bool {
    members
        .iter()
        .any(|((prefix, _), ends)| prefix.covers(address) && ends.is_none_or(|ends| now < ends))
}

#[derive(Default)]
struct Model {
    entries: Entries,
    members: Members,
    kernel: Trie,
    now: u8,
}

impl Model {
    fn change(&mut self, change: &Change) -> Prefix {
        match change {
            Change::Put(prefix, list, ends) => {
                let before = self.members.insert((*prefix, *list), *ends);
                let expected = match before {
                    None => Outcome::Added,
                    Some(before) if before == *ends => Outcome::Unchanged,
                    Some(_) => Outcome::Updated,
                };
                let member = Member {
                    list: *list,
                    expires: ends.map(at),
                    comment: None,
                    added: None,
                };
                assert_eq!(self.entries.put(*prefix, member), expected);
                *prefix
            }
            Change::Take(prefix, list) => {
                let expected = self.members.remove(&(*prefix, *list));
                let taken = self.entries.take(prefix, *list);
                assert_eq!(taken.map(|m| m.expires), expected.map(|ends| ends.map(at)));
                *prefix
            }
        }
    }

    fn sweep(&mut self) -> Vec<Change> {
        let ended = self.entries.ended(at(self.now));
        let expected = self
            .members
            .iter()
            .filter(|(_, ends)| ends.is_some_and(|ends| ends <= self.now))
            .count();
        assert_eq!(ended.len(), expected);
        ended
            .into_iter()
            .map(|(prefix, list)| Change::Take(prefix, list))
            .collect()
    }

    /// Whether each address is blocked, from now on.
    fn verdicts(&self) -> Vec<(Prefix, u8, bool)> {
        let times = self.now..=LAST_TIME;
        addresses()
            .flat_map(|address| times.clone().map(move |t| (address, t)))
            .map(|(address, t)| (address, t, self.kernel.blocks(&address, at(t))))
            .collect()
    }

    /// Carries out a plan step by step; an address that is blocked before and after it must not
    /// get through in between.
    fn carry_out(&mut self, plan: Plan) -> Result<(), TestCaseError> {
        let before = self.verdicts();
        let mut steps = Vec::new();
        for (prefix, stored) in plan.put {
            self.kernel.0.insert(prefix, stored.expires);
            steps.push((format!("put {prefix}"), self.verdicts()));
        }
        for prefix in plan.remove {
            prop_assert!(
                self.kernel.0.remove(&prefix).is_some(),
                "{prefix} was not there"
            );
            steps.push((format!("remove {prefix}"), self.verdicts()));
        }
        let after = self.verdicts();
        for (step, between) in steps {
            for ((old, new), now) in before.iter().zip(&after).zip(between) {
                let (address, t, _) = now;
                prop_assert!(
                    now.2 || !(old.2 && new.2),
                    "{address} gets through at {t} after: {step}"
                );
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (address, t, blocked) in self.verdicts() {
            let expected = should_block(&self.members, &address, t);
            prop_assert_eq!(blocked, expected, "{} at {}", address, t);
        }
        let end_of = |expires: &Option<Timestamp>| expires.unwrap_or(Timestamp::MAX);
        for (prefix, ends) in &self.kernel.0 {
            for (wider, outlives) in &self.kernel.0 {
                prop_assert!(
                    wider == prefix || !wider.covers(prefix) || end_of(outlives) < end_of(ends),
                    "{prefix} does not outlive {wider}, which covers it"
                );
            }
            prop_assert!(self.entries.is_stored(prefix));
        }
        for ipv4 in [true, false] {
            let held = self.kernel.0.keys().filter(|p| p.is_ipv4() == ipv4).count();
            prop_assert_eq!(self.entries.stored(ipv4), held);
        }
        Ok(())
    }

    fn check_words(&self) -> Result<(), TestCaseError> {
        let mut held: Vec<(Prefix, ListId)> = Vec::new();
        for (prefix, members) in self.entries.iter() {
            held.extend(members.iter().map(|m| (prefix, m.list)));
            prop_assert_eq!(self.entries.members(&prefix), members);
        }
        held.sort_unstable();
        let expected: Vec<(Prefix, ListId)> = self.members.keys().copied().collect();
        prop_assert_eq!(held, expected);
        let mut sizes: BTreeMap<ListId, u64> = BTreeMap::new();
        for (_, list) in self.members.keys() {
            *sizes.entry(*list).or_default() += 1;
        }
        prop_assert_eq!(self.entries.sizes().collect::<BTreeMap<_, _>>(), sizes);
        for address in addresses().step_by(7) {
            let covering: Vec<Prefix> = self
                .entries
                .covering(&address)
                .iter()
                .map(|(p, _)| *p)
                .collect();
            let mut expected: Vec<Prefix> = self.members.keys().map(|(p, _)| *p).collect();
            expected.retain(|p| p.covers(&address));
            expected.dedup();
            expected.sort_by_key(Prefix::prefix_len);
            prop_assert_eq!(covering, expected);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_kernel_blocks_whom_the_lists_name_at_every_moment(
        rounds in prop::collection::vec(any_round(), 1..8)
    ) {
        let mut model = Model::default();
        for round in rounds {
            model.now = (model.now + round.passes).min(LAST_TIME);
            let mut changes = if round.sweeps { model.sweep() } else { Vec::new() };
            changes.extend(round.changes);
            let touched: Vec<Prefix> = changes.iter().map(|c| model.change(c)).collect();
            let plan = model.entries.settle(touched);
            model.carry_out(plan)?;
            model.check()?;
            model.check_words()?;
        }
        model.now = LAST_TIME;
        let swept = model.sweep();
        let touched: Vec<Prefix> = swept.iter().map(|c| model.change(c)).collect();
        let plan = model.entries.settle(touched);
        model.carry_out(plan)?;
        model.check()?;
    }

    #[test]
    fn what_the_kernel_refused_comes_with_the_next_try(
        changes in prop::collection::vec(any_change(), 1..30),
        refused: prop::sample::Index,
    ) {
        let mut model = Model::default();
        let touched: Vec<Prefix> = changes.iter().map(|c| model.change(c)).collect();
        let mut plan = model.entries.settle(touched);
        prop_assume!(!plan.put.is_empty());
        let (prefix, _) = plan.put.remove(refused.index(plan.put.len()));
        model.entries.forget_stored(&prefix);
        prop_assert!(!model.entries.is_stored(&prefix));
        model.carry_out(plan)?;
        let again = model.entries.settle([prefix]);
        prop_assert_eq!(again.put.len(), 1);
        model.carry_out(again)?;
        model.check()?;
    }

    #[test]
    fn settling_twice_changes_nothing(changes in prop::collection::vec(any_change(), 1..30)) {
        let mut model = Model::default();
        let touched: Vec<Prefix> = changes.iter().map(|c| model.change(c)).collect();
        model.entries.settle(touched.iter().copied());
        prop_assert_eq!(model.entries.settle(touched), Plan::default());
    }

    #[test]
    fn an_entry_that_a_wider_one_outlives_is_covered(
        wide_ends in prop::option::of(1..LAST_TIME),
        narrow_ends in prop::option::of(1..LAST_TIME),
    ) {
        let (wide, narrow) = (prefix(true, 0, 1), prefix(true, 0, BITS));
        let mut model = Model::default();
        model.change(&Change::Put(wide, 0, wide_ends));
        let outlived = wide_ends.is_none_or(|wide| narrow_ends.is_some_and(|n| n <= wide));
        prop_assert_eq!(model.entries.is_covered(&narrow, narrow_ends.map(at)), outlived);
        prop_assert!(!model.entries.is_covered(&wide, wide_ends.map(at)), "not by itself");
    }
}

#[test]
fn taking_everything_back_leaves_no_trace() {
    let mut entries = Entries::default();
    let (wide, narrow) = (prefix(true, 0, 1), prefix(true, 0, BITS));
    let member = Member {
        list: 0,
        expires: Some(at(1)),
        comment: None,
        added: None,
    };
    for prefix in [wide, narrow] {
        entries.put(prefix, member.clone());
    }
    entries.take(&narrow, 0);
    assert_eq!(
        entries.v4.len(),
        1,
        "a draft taken back leaves no empty node"
    );
    entries.settle([wide, narrow]);
    entries.take(&wide, 0);
    entries.settle([wide]);
    assert_eq!((entries.v4.len(), entries.ends.len()), (0, 0));
    assert_eq!(entries.stored(true), 0);
}
