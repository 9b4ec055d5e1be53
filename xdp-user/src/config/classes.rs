//! From `[[class]]` sections and the built-in classes to the classes that there are.

use std::collections::BTreeMap;

use xdp_common::abi::MAX_CLASSES;

use super::builtin::{BUILT_IN, BuiltIn, OTHER, RETURNING};
use super::limits::{Limit, check_burst, check_bytes, merged};
use super::places::Place;
use super::schema::ClassKeys;
use super::spaces::{self, Claim};
use super::table::{Sink, Table};
use super::words::TcpFlags;
use crate::domain::{BitRate, Burst, ByteSize, ClassName, PacketRate};

/// The program counts a source's packets in a class on a clock of 1.024 µs, so that a packet at a
/// higher rate would cost nothing.
const MOST_PACKETS_PER_SOURCE: u64 = 900_000;

/// A service class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    pub name: ClassName,
    pub built_in: bool,
    /// Else its packets are in it and it decides nothing.
    pub enabled: bool,
    /// No place is in two classes.
    pub takes: Takes,
    /// Packets of all newcomers together.
    pub budget: Option<Limit<PacketRate, Burst>>,
    /// The same under attack; `None`: the budget.
    pub attack_budget: Option<Limit<PacketRate, Burst>>,
    /// Packets of all flows together that began under pressure, while it lasts; `None`: a newcomer's retry is
    /// refused as its first packet is.
    pub returning: Option<Limit<PacketRate, Burst>>,
    /// Packets from one source.
    pub packets: Option<Limit<PacketRate, Burst>>,
    /// Bytes from one source.
    pub bytes: Option<Limit<BitRate, ByteSize>>,
    pub solicited: bool,
    pub proof: bool,
    pub syn_cookies: bool,
    pub known_first: bool,
    pub observe: bool,
}

/// What is in a class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    pub tcp_ports: Vec<Place>,
    pub udp_ports: Vec<Place>,
    pub reflection_ports: Vec<Place>,
    pub icmp_types: Vec<Place>,
    pub icmpv6_types: Vec<Place>,
    pub protocols: Vec<Place>,
    pub tcp_flags: Vec<TcpFlags>,
    pub fragments: bool,
}

impl Takes {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Class {
    /// Whether it is the class that takes what no class names.
    pub fn is_other(&self) -> bool {
        self.name.as_str() == OTHER
    }

    /// What is in it: `udp 500 4500`, `tcp rest`, `fragments`.
    pub fn takes_in_words(&self) -> Vec<String> {
        if self.is_other() {
            return vec!["all that no class takes".to_owned()];
        }
        let takes = &self.takes;
        let numbers = [
            ("tcp", &takes.tcp_ports),
            ("udp", &takes.udp_ports),
            ("udp from", &takes.reflection_ports),
            ("icmp", &takes.icmp_types),
            ("icmpv6", &takes.icmpv6_types),
            ("protocol", &takes.protocols),
        ];
        let mut words: Vec<String> = numbers
            .into_iter()
            .filter(|(_, places)| !places.is_empty())
            .map(|(what, places)| {
                let places: Vec<String> = places.iter().map(Place::to_string).collect();
                format!("{what} {}", places.join(" "))
            })
            .collect();
        let flags = takes.tcp_flags.iter();
        words.extend(flags.map(|flags| format!("tcp {flags}")));
        words.extend(takes.fragments.then(|| "fragments".to_owned()));
        words
    }

    /// The flags that are set, by their keys in the file.
    pub fn flags(&self) -> Vec<&'static str> {
        let flags = [
            (self.solicited, "solicited"),
            (self.proof, "proof"),
            (self.syn_cookies, "syn_cookies"),
            (self.known_first, "known_first"),
            (self.observe, "observe"),
        ];
        let set = flags.into_iter().filter(|(on, _)| *on);
        set.map(|(_, name)| name).collect()
    }
}

/// What the file says of a class, with the place of its section.
struct Section {
    keys: ClassKeys,
    path: String,
}

/// Every class: the built-in ones in the order of their numbers, then the file's own.
pub(super) fn classes(root: &Table<'_, '_>, sink: &mut Sink) -> Vec<Class> {
    let sections = sections(root, sink);
    let mut classes: Vec<Class> = Vec::new();
    let mut claims: Vec<Claim> = Vec::new();
    for built_in in BUILT_IN {
        let section = sections.get(built_in.name);
        classes.extend(built_in.class(section, sink));
        claims.push(Claim::of(
            section.map(|s| (&s.keys, s.path.as_str())),
            Some(built_in),
        ));
    }
    let mut own: Vec<&Section> = sections
        .values()
        .filter(|section| {
            BUILT_IN
                .iter()
                .all(|one| one.name != section.keys.name.as_str())
        })
        .collect();
    own.sort_by_key(|section| sink.offset_of(&section.path));
    let room = MAX_CLASSES - BUILT_IN.len();
    if let Some(extra) = own.get(room) {
        let message = format!(
            "{} classes beside the built-in ones, the most is {room}",
            own.len()
        );
        let help = "put ports with the same needs into one class";
        sink.problem_at(&extra.path, message, help);
    }
    for section in own.into_iter().take(room) {
        classes.push(merge(&unnamed(&section.keys.name), section, sink));
        claims.push(Claim::of(Some((&section.keys, &section.path)), None));
    }
    spaces::share_out(&claims, &mut classes, sink);
    warn_of_nothing(&classes, &sections, sink);
    classes
}

/// The file's sections by name; a second one of a name is a mistake.
fn sections(root: &Table<'_, '_>, sink: &mut Sink) -> BTreeMap<String, Section> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    for table in root.sections("class", 2 * MAX_CLASSES, sink) {
        let Some(keys) = ClassKeys::read(&table, sink) else {
            continue;
        };
        let path = table.path().to_owned();
        let name = keys.name.to_string();
        if let Some(first) = sections.get(&name) {
            let message = format!("{name} is in {}, too", first.path);
            let help = "put the keys of a class into one section";
            sink.problem_at(&format!("{path}.name"), message, help);
            continue;
        }
        sections.insert(name, Section { keys, path });
    }
    sections
}

/// A class of the file's own before its keys.
fn unnamed(name: &ClassName) -> Class {
    Class {
        name: name.clone(),
        built_in: false,
        enabled: true,
        takes: Takes::default(),
        budget: None,
        attack_budget: None,
        returning: limit(RETURNING),
        packets: None,
        bytes: None,
        solicited: false,
        proof: false,
        syn_cookies: false,
        known_first: true,
        observe: false,
    }
}

fn limit((rate, burst): (u64, u64)) -> Option<Limit<PacketRate, Burst>> {
    Some(Limit {
        rate: PacketRate::new(rate).ok()?,
        burst: Burst::new(burst).ok()?,
    })
}

impl BuiltIn {
    /// The class with what the file changes of it; its places come later. A name or a number that
    /// can't be is a mistake of the table above, which a test reads.
    fn class(&self, section: Option<&Section>, sink: &mut Sink) -> Option<Class> {
        let class = Class {
            built_in: true,
            budget: limit(self.budget),
            attack_budget: self.attack_budget.and_then(limit),
            returning: self.returning.and_then(limit),
            solicited: self.solicited,
            proof: self.proof,
            syn_cookies: self.syn_cookies,
            known_first: self.known_first,
            ..unnamed(&self.name.parse().ok()?)
        };
        Some(match section {
            Some(section) => merge(&class, section, sink),
            None => class,
        })
    }
}

/// A class with a section's keys over it.
fn merge(class: &Class, Section { keys, path }: &Section, sink: &mut Sink) -> Class {
    // The attack's budget was chosen for the built-in one.
    let attack_budget = match keys.budget {
        Some(_) => None,
        None => class.attack_budget,
    };
    let merged = Class {
        enabled: keys.enabled.unwrap_or(class.enabled),
        budget: merged(keys.budget, keys.budget_burst, class.budget),
        attack_budget: merged(keys.attack_budget, keys.attack_budget_burst, attack_budget),
        returning: merged(keys.returning, keys.returning_burst, class.returning),
        packets: merged(keys.packets, keys.packets_burst, class.packets),
        bytes: merged(keys.bytes, keys.bytes_burst, class.bytes),
        solicited: keys.solicited.unwrap_or(class.solicited),
        proof: keys.proof.unwrap_or(class.proof),
        syn_cookies: keys.syn_cookies.unwrap_or(class.syn_cookies),
        known_first: keys.known_first.unwrap_or(class.known_first),
        observe: keys.observe.unwrap_or(class.observe),
        ..class.clone()
    };
    check(&merged, path, sink);
    merged
}

fn check(class: &Class, path: &str, sink: &mut Sink) {
    check_burst(class.budget, &format!("{path}.budget"), sink);
    check_burst(class.attack_budget, &format!("{path}.attack_budget"), sink);
    check_burst(class.returning, &format!("{path}.returning"), sink);
    check_burst(class.packets, &format!("{path}.packets"), sink);
    check_bytes(class.bytes, &format!("{path}.bytes"), sink);
    if let Some(limit) = class.packets
        && limit.rate.packets_per_second() > MOST_PACKETS_PER_SOURCE
    {
        let message = format!(
            "{} is over 900kpps: within a class, sources are counted on a clock of 1.024 µs",
            limit.rate
        );
        let help = "lower it, or use [limits] and [[override]], which have no such bound";
        sink.problem_at(&format!("{path}.packets"), message, help);
    }
    let Some(budget) = class.budget else {
        if class.attack_budget.is_some() {
            let message = "has no effect, the budget is off";
            let help = "leave it out, or give a budget";
            sink.warning_at(&format!("{path}.attack_budget"), message, help);
        }
        return;
    };
    if let Some(attack) = class.attack_budget
        && attack.rate > budget.rate
    {
        let message = format!("{} is over the budget, {}", attack.rate, budget.rate);
        let help = "under attack a class is given less, not more";
        sink.warning_at(&format!("{path}.attack_budget"), message, help);
    }
}

/// Sections that do nothing, or nothing in part.
fn warn_of_nothing(classes: &[Class], sections: &BTreeMap<String, Section>, sink: &mut Sink) {
    for class in classes {
        let Some(Section { path, .. }) = sections.get(class.name.as_str()) else {
            continue;
        };
        if class.takes.is_empty() && !class.is_other() {
            let help = "give it ports, types, protocols, flags or fragments";
            sink.warning_at(path, "takes nothing", help);
        }
        if class.syn_cookies && class.takes.tcp_ports.is_empty() && !class.is_other() {
            let help = "they answer new TCP connections: give it tcp_ports";
            sink.warning_at(&format!("{path}.syn_cookies"), "has no effect", help);
        }
    }
}
