//! Who has which port, type, protocol: every place is in one class.
//!
//! A class that the file gives a place has it; then the built-in class that names it; then the class
//! that takes the rest. Two sections that claim one place are a mistake.

use std::collections::BTreeMap;

use super::builtin::{BuiltIn, OTHER};
use super::classes::{Class, Takes};
use super::places::Place;
use super::schema::ClassKeys;
use super::table::Sink;
use super::words::TcpFlags;

/// What a class asks for in each space.
pub(super) struct Claim {
    /// Where the file asks; with the claims beside.
    path: Option<String>,
    spaces: [Wanted; SPACES],
}

/// What a class asks for in one space.
enum Wanted {
    Nothing,
    /// Of a built-in class, as it is.
    BuiltIn(Vec<Place>),
    /// Of the file.
    Given(Vec<Place>),
}

const SPACES: usize = 8;

/// The key of each space, and its last number.
const KEYS: [(&str, u16); SPACES] = [
    ("tcp_ports", u16::MAX),
    ("udp_ports", u16::MAX),
    ("reflection_ports", u16::MAX),
    ("icmp_types", 255),
    ("icmpv6_types", 255),
    ("protocols", 255),
    ("tcp_flags", 2),
    ("fragments", 0),
];

impl Claim {
    pub(super) fn of(given: Option<(&ClassKeys, &str)>, built_in: Option<&BuiltIn>) -> Self {
        let keys = given.map(|(keys, _)| keys);
        let file: [Option<Vec<Place>>; SPACES] = [
            keys.and_then(|k| k.tcp_ports.clone()),
            keys.and_then(|k| k.udp_ports.clone()),
            keys.and_then(|k| k.reflection_ports.clone()),
            keys.and_then(|k| k.icmp_types.clone()),
            keys.and_then(|k| k.icmpv6_types.clone()),
            keys.and_then(|k| k.protocols.clone()),
            keys.and_then(|k| k.tcp_flags.as_deref().map(flags)),
            keys.and_then(|k| k.fragments.map(fragments)),
        ];
        let own: [Vec<Place>; SPACES] = match built_in {
            Some(class) => [
                class.tcp_ports.to_vec(),
                class.udp_ports.to_vec(),
                class.reflection_ports.to_vec(),
                class.icmp_types.to_vec(),
                class.icmpv6_types.to_vec(),
                class.protocols.to_vec(),
                flags(class.tcp_flags),
                fragments(class.fragments),
            ],
            None => Default::default(),
        };
        let mut own = own.into_iter();
        Self {
            path: given.map(|(_, path)| path.to_owned()),
            spaces: file.map(|file| match (file, own.next()) {
                (Some(places), _) => Wanted::Given(places),
                (None, Some(places)) => Wanted::BuiltIn(places),
                (None, None) => Wanted::Nothing,
            }),
        }
    }
}

fn flags(flags: &[TcpFlags]) -> Vec<Place> {
    let number = |flag: &TcpFlags| TcpFlags::ALL.iter().position(|one| one == flag);
    let numbers = flags.iter().filter_map(number);
    numbers
        .filter_map(|number| u16::try_from(number).ok().map(Place::one))
        .collect()
}

fn fragments(taken: bool) -> Vec<Place> {
    taken.then(|| Place::one(0)).into_iter().collect()
}

/// Gives every class what it has in the end. `claims` are in the order of `classes`.
pub(super) fn share_out(claims: &[Claim], classes: &mut [Class], sink: &mut Sink) {
    for (class, claim) in classes.iter().zip(claims) {
        refuse_claims_of_other(class, claim, sink);
    }
    for (space, (key, last)) in KEYS.iter().enumerate() {
        let wanted: Vec<(usize, &Wanted)> = claims
            .iter()
            .enumerate()
            .filter_map(|(class, claim)| Some((class, claim.spaces.get(space)?)))
            .collect();
        let mut shares = Shares::default();
        for (class, wanted) in &wanted {
            if let (Wanted::Given(places), Some(path)) = (
                wanted,
                claims.get(*class).and_then(|claim| claim.path.as_ref()),
            ) {
                for (index, place) in places.iter().enumerate() {
                    let Some(other) = shares.claim(*class, *place) else {
                        continue;
                    };
                    // A flag that is true or false has no elements.
                    let key = match *last {
                        0 => format!("{path}.{key}"),
                        _ => format!("{path}.{key}[{index}]"),
                    };
                    let other = classes.get(other).map_or("", |class| class.name.as_str());
                    let message = format!("{place} is in class {other}, too");
                    sink.problem_at(&key, message, "leave it out in one of them");
                }
            }
        }
        shares.file_is_done();
        for (class, wanted) in &wanted {
            if let Wanted::BuiltIn(places) = wanted {
                places.iter().for_each(|place| shares.offer(*class, *place));
            }
        }
        let shared = shares.shared_out(classes.len());
        for (class, places) in classes.iter_mut().zip(shared) {
            set(&mut class.takes, key, places);
        }
    }
}

fn refuse_claims_of_other(class: &Class, claim: &Claim, sink: &mut Sink) {
    let Some(path) = claim.path.as_ref().filter(|_| class.is_other()) else {
        return;
    };
    for (wanted, (key, _)) in claim.spaces.iter().zip(KEYS) {
        if matches!(wanted, Wanted::Given(places) if !places.is_empty()) {
            let message = format!("{OTHER} takes what no class names");
            sink.problem_at(
                &format!("{path}.{key}"),
                message,
                "make a class of another name",
            );
        }
    }
}

fn set(takes: &mut Takes, key: &str, places: Vec<Place>) {
    match key {
        "tcp_ports" => takes.tcp_ports = places,
        "udp_ports" => takes.udp_ports = places,
        "reflection_ports" => takes.reflection_ports = places,
        "icmp_types" => takes.icmp_types = places,
        "icmpv6_types" => takes.icmpv6_types = places,
        "protocols" => takes.protocols = places,
        "fragments" => takes.fragments = !places.is_empty(),
        _ => {
            let has = |number: u16| places.contains(&Place::one(number));
            let all = (0..).zip(TcpFlags::ALL);
            takes.tcp_flags = all
                .filter(|(n, _)| has(*n))
                .map(|(_, flag)| *flag)
                .collect();
        }
    }
}

/// One space while it is shared out.
#[derive(Default)]
struct Shares {
    /// What is taken: first number to last number and class. Nothing overlaps.
    taken: BTreeMap<u16, (u16, usize)>,
    rest: Option<usize>,
    rest_is_given: bool,
}

impl Shares {
    /// The file's word; tells who has some of it already. Twice in one class is no harm.
    fn claim(&mut self, class: usize, place: Place) -> Option<usize> {
        let holders: Vec<usize> = match place {
            Place::Rest => self.rest.into_iter().collect(),
            Place::Range { first, last } => {
                let held = self.held(first, last);
                held.into_iter().map(|(_, _, class)| class).collect()
            }
        };
        self.offer(class, place);
        holders.into_iter().find(|held| *held != class)
    }

    /// Takes what is free.
    fn offer(&mut self, class: usize, place: Place) {
        let (first, last) = match place {
            Place::Range { first, last } => (first, last),
            Place::Rest => {
                if !self.rest_is_given {
                    self.rest = self.rest.or(Some(class));
                }
                return;
            }
        };
        // Where what isn't looked at yet begins; nowhere after the last number of all.
        let mut next = Some(first);
        for (start, end, _) in self.held(first, last) {
            if let Some(next) = next
                && next < start
            {
                self.taken.insert(next, (start - 1, class));
            }
            next = end.checked_add(1);
        }
        if let Some(next) = next
            && next <= last
        {
            self.taken.insert(next, (last, class));
        }
    }

    fn file_is_done(&mut self) {
        self.rest_is_given = self.rest.is_some();
    }

    /// What of a range is taken, in order: from, to, by which class.
    fn held(&self, first: u16, last: u16) -> Vec<(u16, u16, usize)> {
        let before = self.taken.range(..first).next_back();
        let before = before.filter(|(_, (end, _))| *end >= first);
        let held = before.into_iter().chain(self.taken.range(first..=last));
        held.map(|(start, (end, class))| (*start, *end, *class))
            .collect()
    }

    /// What each of so many classes has, in order, neighbours as one range.
    fn shared_out(&self, classes: usize) -> Vec<Vec<Place>> {
        let mut shares: Vec<Vec<Place>> = vec![Vec::new(); classes];
        for (start, (end, class)) in &self.taken {
            let Some(share) = shares.get_mut(*class) else {
                continue;
            };
            match share.last_mut() {
                Some(Place::Range { last, .. }) if last.checked_add(1) == Some(*start) => {
                    *last = *end;
                }
                Some(Place::Range { .. } | Place::Rest) | None => share.push(Place::Range {
                    first: *start,
                    last: *end,
                }),
            }
        }
        if let Some(share) = self.rest.and_then(|class| shares.get_mut(class)) {
            share.push(Place::Rest);
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> Place {
        Place::Range { first, last }
    }

    #[test]
    fn who_comes_first_has_it_and_the_next_gets_what_is_left() {
        let mut shares = Shares::default();
        assert_eq!(shares.claim(0, range(10, 19)), None);
        assert_eq!(shares.claim(0, range(15, 20)), None, "twice in one class");
        assert_eq!(shares.claim(1, range(0, 10)), Some(0));
        assert_eq!(shares.claim(1, range(20, u16::MAX)), Some(0));
        shares.offer(2, range(0, u16::MAX));
        let shared = shares.shared_out(3);
        assert_eq!(shared[0], [range(10, 20)]);
        assert_eq!(shared[1], [range(0, 9), range(21, u16::MAX)]);
        assert_eq!(shared[2], []);
    }

    #[test]
    fn the_rest_is_the_files_or_else_a_built_in_classs() {
        let mut shares = Shares::default();
        assert_eq!(shares.claim(1, Place::Rest), None);
        assert_eq!(shares.claim(2, Place::Rest), Some(1));
        shares.file_is_done();
        shares.offer(0, Place::Rest);
        assert_eq!(shares.shared_out(3)[1], [Place::Rest]);

        let mut shares = Shares::default();
        shares.file_is_done();
        shares.offer(0, Place::Rest);
        assert_eq!(shares.shared_out(1)[0], [Place::Rest]);
    }
}
