//! The entries of one list kind as they should be, and what of them the kernel has to hold.
//!
//! Several lists may name the same prefix; it ends when the last of them ends. What a wider entry
//! says already takes no room in the kernel: an entry goes there only if it outlives every wider
//! one, and comes back when that goes.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use prefix_trie::PrefixMap;

use crate::domain::Prefix;

/// Number of a list; see [`super::names::ListNames`].
pub type ListId = u32;

/// One list's word on a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The list.
    pub list: ListId,
    /// When it ends; `None` never.
    pub expires: Option<Timestamp>,
    /// Why it is there.
    pub comment: Option<Box<str>>,
    /// When it was added; `None` for the configuration's own.
    pub added: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    members: Vec<Member>,
    stored: Option<Stored>,
}

/// What the kernel was last told of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// When it ends; `None` never.
    pub expires: Option<Timestamp>,
    /// The list that it is counted under.
    pub list: ListId,
}

/// What the kernel has to be told, in this order: what comes before what goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Entries to store.
    pub put: Vec<(Prefix, Stored)>,
    /// Entries to remove.
    pub remove: Vec<Prefix>,
}

impl Plan {
    /// Brings the steps into an order in which no address that is blocked before and after the
    /// plan gets through in between. Narrow entries are stored before a wider one may shrink, and
    /// wide ones go before the narrower ones in them, which end later.
    pub fn order(&mut self) {
        self.put
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
        self.remove.sort_by_key(Prefix::prefix_len);
    }
}

/// What became of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// New in its list.
    Added,
    /// There already with the same end and comment.
    Unchanged,
    /// There already with another end or comment.
    Updated,
}

/// All entries of one list kind.
#[derive(Default)]
pub struct Entries {
    v4: PrefixMap<Ipv4Net, Node>,
    v6: PrefixMap<Ipv6Net, Node>,
    /// Members with an end, the earliest first.
    ends: BTreeSet<(Timestamp, Prefix, ListId)>,
    /// Members of each list that has any; a scrape asks for them, and can't count a million.
    sizes: BTreeMap<ListId, u64>,
    stored_v4: usize,
    stored_v6: usize,
}

/// The end of an entry, for comparing: never is later than any time.
fn end(expires: Option<Timestamp>) -> Timestamp {
    expires.unwrap_or(Timestamp::MAX)
}

impl Node {
    fn effective(&self) -> Option<Stored> {
        let last = self.members.iter().max_by_key(|m| end(m.expires))?;
        Some(Stored {
            expires: last.expires,
            list: last.list,
        })
    }
}

macro_rules! in_family {
    ($self:ident, $prefix:expr, |$map:ident, $net:ident| $body:expr) => {
        match $prefix.as_ipnet() {
            IpNet::V4($net) => {
                let $map = &$self.v4;
                $body
            }
            IpNet::V6($net) => {
                let $map = &$self.v6;
                $body
            }
        }
    };
    (mut $self:ident, $prefix:expr, |$map:ident, $net:ident| $body:expr) => {
        match $prefix.as_ipnet() {
            IpNet::V4($net) => {
                let $map = &mut $self.v4;
                $body
            }
            IpNet::V6($net) => {
                let $map = &mut $self.v6;
                $body
            }
        }
    };
}

impl Entries {
    /// Adds or changes a list's word on a prefix. The kernel hears of it through [`Self::settle`].
    pub fn put(&mut self, prefix: Prefix, member: Member) -> Outcome {
        let (list, expires) = (member.list, member.expires);
        let members =
            in_family!(mut self, prefix, |map, net| &mut map.entry(net).or_default().members);
        let outcome = match members.iter_mut().find(|m| m.list == list) {
            Some(old) if old.expires == expires && old.comment == member.comment => {
                return Outcome::Unchanged;
            }
            Some(old) => {
                let before = old.expires;
                *old = member;
                if let Some(at) = before {
                    self.ends.remove(&(at, prefix, list));
                }
                Outcome::Updated
            }
            None => {
                members.push(member);
                *self.sizes.entry(list).or_default() += 1;
                Outcome::Added
            }
        };
        if let Some(at) = expires {
            self.ends.insert((at, prefix, list));
        }
        outcome
    }

    /// Takes a list's word on a prefix back.
    pub fn take(&mut self, prefix: &Prefix, list: ListId) -> Option<Member> {
        let member = in_family!(mut self, prefix, |map, net| take_member(map, &net, list))?;
        match self.sizes.get(&list).map_or(0, |size| size - 1) {
            0 => self.sizes.remove(&list),
            left => self.sizes.insert(list, left),
        };
        if let Some(at) = member.expires {
            self.ends.remove(&(at, *prefix, list));
        }
        Some(member)
    }

    /// What the lists say of just this prefix.
    pub fn members(&self, prefix: &Prefix) -> &[Member] {
        in_family!(self, prefix, |map, net| map
            .get(&net)
            .map_or(&[], |node| &node.members[..]))
    }

    /// Whether the kernel holds just this prefix.
    pub fn is_stored(&self, prefix: &Prefix) -> bool {
        in_family!(self, prefix, |map, net| map
            .get(&net)
            .is_some_and(|node| node.stored.is_some()))
    }

    /// Whether a wider entry outlives `expires`, so that one for `prefix` would cost no room.
    pub fn is_covered(&self, prefix: &Prefix, expires: Option<Timestamp>) -> bool {
        in_family!(self, prefix, |map, net| covered(map, &net, expires))
    }

    /// Entries that the kernel holds: of IPv4 or of IPv6.
    pub fn stored(&self, ipv4: bool) -> usize {
        if ipv4 { self.stored_v4 } else { self.stored_v6 }
    }

    /// Members that have ended by now.
    pub fn ended(&self, now: Timestamp) -> Vec<(Prefix, ListId)> {
        self.ends
            .iter()
            .take_while(|(at, _, _)| *at <= now)
            .map(|(_, prefix, list)| (*prefix, *list))
            .collect()
    }

    /// How many members each list has, of those that have any.
    pub fn sizes(&self) -> impl Iterator<Item = (ListId, u64)> {
        self.sizes.iter().map(|(list, size)| (*list, *size))
    }

    /// Every prefix with its members, in the order of the prefixes, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &[Member])> {
        let v4 = self
            .v4
            .iter()
            .map(|(net, node)| (Prefix::from(net), &node.members[..]));
        let v6 = self
            .v6
            .iter()
            .map(|(net, node)| (Prefix::from(net), &node.members[..]));
        v4.chain(v6).filter(|(_, members)| !members.is_empty())
    }

    /// The widest to the narrowest entry that covers an address.
    pub fn covering(&self, prefix: &Prefix) -> Vec<(Prefix, &[Member])> {
        in_family!(self, prefix, |map, net| map
            .cover(&net)
            .filter(|(_, node)| !node.members.is_empty())
            .map(|(net, node)| (Prefix::from(net), &node.members[..]))
            .collect())
    }

    /// Brings what the kernel should hold up to date after the members of `prefixes` changed, and
    /// says what it has to be told.
    pub fn settle(&mut self, prefixes: impl IntoIterator<Item = Prefix>) -> Plan {
        let mut plan = Plan::default();
        for prefix in prefixes {
            let (put, removed) =
                in_family!(mut self, prefix, |map, net| settle_below(map, &net, &mut plan));
            let stored = if prefix.is_ipv4() {
                &mut self.stored_v4
            } else {
                &mut self.stored_v6
            };
            *stored = (*stored + put).saturating_sub(removed);
        }
        plan.order();
        plan
    }

    /// Notes that the kernel did not take an entry; the next [`Self::settle`] of it tries again.
    pub fn forget_stored(&mut self, prefix: &Prefix) {
        let was = in_family!(mut self, prefix, |map, net| map
            .get_mut(&net)
            .and_then(|node| node.stored.take())
            .is_some());
        if was {
            let stored = if prefix.is_ipv4() {
                &mut self.stored_v4
            } else {
                &mut self.stored_v6
            };
            *stored = stored.saturating_sub(1);
        }
    }
}

fn take_member<P>(map: &mut PrefixMap<P, Node>, net: &P, list: ListId) -> Option<Member>
where
    P: prefix_trie::Prefix,
{
    let members = &mut map.get_mut(net)?.members;
    let index = members.iter().position(|m| m.list == list)?;
    let member = members.swap_remove(index);
    prune(map, net);
    Some(member)
}

/// Drops a node that says nothing any more.
fn prune<P>(map: &mut PrefixMap<P, Node>, net: &P)
where
    P: prefix_trie::Prefix,
{
    let spent = |node: &Node| node.members.is_empty() && node.stored.is_none();
    if map.get(net).is_some_and(spent) {
        map.remove(net);
    }
}

fn covered<P>(map: &PrefixMap<P, Node>, net: &P, expires: Option<Timestamp>) -> bool
where
    P: prefix_trie::Prefix + PartialEq,
{
    map.cover(net)
        .filter(|(wider, _)| wider != net)
        .filter_map(|(_, node)| node.effective())
        .any(|wider| end(wider.expires) >= end(expires))
}

/// Compares what the kernel holds with what it should hold, for `net` and everything below it.
/// Returns how many entries are new and how many are gone.
fn settle_below<P>(map: &mut PrefixMap<P, Node>, net: &P, plan: &mut Plan) -> (usize, usize)
where
    P: prefix_trie::Prefix + PartialEq + Copy,
    Prefix: From<P>,
{
    let mut changes: Vec<(P, Option<Stored>)> = Vec::new();
    for (child, node) in map.children(net) {
        let wanted = node
            .effective()
            .filter(|e| !covered(map, &child, e.expires));
        if wanted != node.stored {
            changes.push((child, wanted));
        }
    }
    let (mut put, mut removed) = (0, 0);
    for (child, wanted) in changes {
        let Some(node) = map.get_mut(&child) else {
            continue;
        };
        match (node.stored, wanted) {
            (None, Some(stored)) => {
                put += 1;
                plan.put.push((Prefix::from(child), stored));
            }
            (Some(_), Some(stored)) => plan.put.push((Prefix::from(child), stored)),
            (Some(_), None) => {
                removed += 1;
                plan.remove.push(Prefix::from(child));
            }
            (None, None) => {}
        }
        node.stored = wanted;
    }
    prune(map, net);
    (put, removed)
}

#[cfg(test)]
mod tests;
