//! From a class in the configuration to what the program is told of it, and to words for people.

use xdp_common::abi::{
    self, CLASS_KNOWN_FIRST, CLASS_OBSERVE, CLASS_PROOF, CLASS_RETRY, CLASS_SOLICITED,
    CLASS_SYN_COOKIES, Limit, Plain, class_table,
};
use xdp_common::packet::tcp_flags::{ACK, RST, SYN};

use super::numbers::Numbers;
use crate::api::types::ClassLimits;
use crate::config::{self, Class, Mitigation, Place, Takes, TcpFlags};
use crate::control::policy::{bytes, packets};
use crate::datapath::ClassSet;
use crate::domain::{Burst, ClassState, PacketRate};

/// The classes with the table, each under its number. Numbers that nobody has decide nothing.
pub(super) fn class_set(classes: &[Class], mitigation: &Mitigation, numbers: &Numbers) -> ClassSet {
    let numbered: Vec<(usize, &Class)> = classes
        .iter()
        .filter_map(|class| Some((numbers.of(&class.name)?, class)))
        .collect();
    let last = numbered.iter().map(|(number, _)| *number).max();
    let mut set = ClassSet::default();
    for number in 0..=last.unwrap_or(0) {
        let found = numbered.iter().find(|(held, _)| *held == number);
        let class = found.map_or(abi::Class::OFF, |(_, class)| to_abi(class, mitigation));
        if number == 0 {
            set.set_other(class);
        } else {
            set.add(class);
        }
    }
    // What is named outranks the rest.
    for rest in [true, false] {
        for (number, class) in &numbered {
            if let Ok(number) = u8::try_from(*number) {
                assign(&class.takes, number, rest, &mut set);
            }
        }
    }
    set
}

/// A class as the program takes it.
fn to_abi(class: &Class, mitigation: &Mitigation) -> abi::Class {
    if !class.enabled {
        return abi::Class::OFF;
    }
    let [budget, attack_budget, packets, bytes] = limits(class);
    let flags = [
        (class.solicited, CLASS_SOLICITED),
        (class.proof, CLASS_PROOF),
        (class.syn_cookies, CLASS_SYN_COOKIES),
        (class.known_first, CLASS_KNOWN_FIRST),
        (class.observe, CLASS_OBSERVE),
        (class.returning.is_some(), CLASS_RETRY),
    ];
    let set = flags.into_iter().filter(|(on, _)| *on);
    abi::Class {
        budget,
        attack_budget,
        packets,
        bytes,
        returning: self::packets(class.returning),
        pressure_ns: mitigation.hold.as_nanos(),
        retry_min_ns: mitigation.retry_min.as_nanos(),
        retry_max_ns: mitigation.retry_max.as_nanos(),
        flags: set.fold(0, |flags, (_, flag)| flags | flag),
        ..abi::Class::ZERO
    }
}

/// Budget, budget under attack, packets and bytes of a source. Without a budget for it, an attack
/// leaves the budget as it is: "off" would let everything through.
pub(in crate::control) fn limits(class: &Class) -> [Limit; 4] {
    [
        packets(class.budget),
        packets(class.attack_budget.or(class.budget)),
        packets(class.packets),
        bytes(class.bytes),
    ]
}

type Index = fn(u16) -> Option<usize>;

/// The spaces that are numbers: what is in them, their last number, and their place in the table.
fn spaces(takes: &Takes) -> [(&[Place], u16, Index); 6] {
    [
        (&takes.tcp_ports, u16::MAX, |n| {
            Some(class_table::tcp_new(n))
        }),
        (&takes.udp_ports, u16::MAX, |n| Some(class_table::udp(n))),
        (&takes.reflection_ports, u16::MAX, |n| {
            Some(class_table::reflection(n))
        }),
        (&takes.icmp_types, 255, |n| {
            u8::try_from(n).ok().map(class_table::icmp)
        }),
        (&takes.icmpv6_types, 255, |n| {
            u8::try_from(n).ok().map(class_table::icmpv6)
        }),
        (&takes.protocols, 255, |n| {
            u8::try_from(n).ok().map(class_table::protocol)
        }),
    ]
}

/// Puts what a class takes into the table: the rest, or what it names.
fn assign(takes: &Takes, number: u8, rest: bool, set: &mut ClassSet) {
    for (places, end, index) in spaces(takes) {
        for place in places {
            let (first, last) = match place {
                Place::Rest if rest => (0, end),
                Place::Range { first, last } if !rest => (*first, *last),
                Place::Rest | Place::Range { .. } => continue,
            };
            for place in (first..=last).filter_map(index) {
                set.assign(place, number);
            }
        }
    }
    if rest {
        return;
    }
    for flags in 0..64 {
        if takes.tcp_flags.contains(&kind_of(flags)) {
            set.assign(class_table::tcp_flags(flags), number);
        }
    }
    if takes.fragments {
        set.assign(class_table::FRAGMENT, number);
    }
}

/// What a segment that opens no connection is.
const fn kind_of(flags: u8) -> TcpFlags {
    if flags & RST != 0 {
        TcpFlags::Rst
    } else if flags & (SYN | ACK) == SYN | ACK {
        TcpFlags::SynAck
    } else {
        TcpFlags::Other
    }
}

/// What is switched on in a state, beyond what holds in normal times.
pub(super) fn switched_on(class: &Class, state: ClassState) -> Vec<String> {
    if state == ClassState::Normal || !class.enabled || class.budget.is_none() {
        return Vec::new();
    }
    let mut words: Vec<String> = Vec::new();
    for (on, what) in [
        (class.observe, "only counted"),
        (true, "newcomers earn nothing"),
        (class.solicited, "only answers that were asked for"),
        (class.proof, "connected sockets first"),
        (class.syn_cookies, "SYN cookies"),
        (class.returning.is_some(), "retries get in"),
    ] {
        if on {
            words.push(what.to_owned());
        }
    }
    if let Some(limit) = class.attack_budget
        && state == ClassState::Attack
    {
        words.push(format!("budget {} burst {}", limit.rate, limit.burst));
    }
    words
}

/// Limits as the configuration takes them.
pub(super) fn limit_words(class: &Class) -> ClassLimits {
    let rate = |limit: Option<config::Limit<PacketRate, Burst>>| {
        limit.map_or_else(|| OFF.to_owned(), |limit| limit.rate.to_string())
    };
    let burst = |limit: Option<config::Limit<PacketRate, Burst>>| {
        limit.map(|limit| limit.burst.to_string())
    };
    let attack = class.attack_budget.or(class.budget);
    ClassLimits {
        budget: rate(class.budget),
        budget_burst: burst(class.budget),
        attack_budget: rate(attack),
        attack_budget_burst: burst(attack),
        returning: rate(class.returning),
        returning_burst: burst(class.returning),
        packets: rate(class.packets),
        packets_burst: burst(class.packets),
        bytes: class
            .bytes
            .map_or_else(|| OFF.to_owned(), |limit| limit.rate.to_string()),
        bytes_burst: class.bytes.map(|limit| limit.burst.to_string()),
    }
}

const OFF: &str = "off";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use xdp_common::abi::MAX_CLASSES;

    const NS: u64 = 1_000_000_000;

    fn built(text: &str) -> (Config, Numbers, ClassSet) {
        let config = Config::parse(text, "test").unwrap().config;
        let mut numbers = Numbers::default();
        numbers.give(&config.classes);
        let set = class_set(&config.classes, &config.mitigation, &numbers);
        (config, numbers, set)
    }

    /// The name of the class at a place of the table.
    fn name_at((config, numbers, set): &(Config, Numbers, ClassSet), place: usize) -> String {
        let number = usize::from(set.class_at(place));
        let found = config
            .classes
            .iter()
            .find(|class| numbers.of(&class.name) == Some(number));
        found.unwrap().name.to_string()
    }

    #[test]
    fn every_kind_of_packet_is_in_the_class_that_the_built_in_table_says() {
        let built = built("");
        let flag = |flags| class_table::tcp_flags(flags);
        for (place, name) in [
            (class_table::tcp_new(0), "tcp-new"),
            (class_table::tcp_new(443), "tcp-new"),
            (class_table::tcp_new(u16::MAX), "tcp-new"),
            (class_table::udp(9), "udp"),
            (class_table::udp(53), "dns"),
            (class_table::udp(123), "ntp"),
            (class_table::udp(443), "quic"),
            (class_table::udp(51820), "wireguard"),
            (class_table::udp(4500), "ipsec"),
            (class_table::udp(68), "dhcp"),
            (class_table::reflection(53), "udp-reflection"),
            (class_table::reflection(11_211), "udp-reflection"),
            (class_table::reflection(40_000), "other"),
            (class_table::icmp(8), "icmp-echo"),
            (class_table::icmp(0), "icmp"),
            (class_table::icmp(3), "icmp-error"),
            (class_table::icmpv6(128), "icmp-echo"),
            (class_table::icmpv6(2), "icmp-error"),
            (class_table::icmpv6(135), "ndp"),
            (class_table::icmpv6(143), "ndp"),
            (class_table::icmpv6(129), "icmp"),
            (class_table::protocol(50), "ipsec"),
            (class_table::protocol(47), "other"),
            (flag(SYN | ACK), "tcp-syn-ack"),
            (flag(RST), "tcp-rst"),
            (flag(RST | ACK), "tcp-rst"),
            (flag(SYN | ACK | RST), "tcp-rst"),
            (flag(ACK), "tcp"),
            (flag(ACK | 1), "tcp"),
            (flag(0), "tcp"),
            (class_table::FRAGMENT, "fragment"),
        ] {
            assert_eq!(name_at(&built, place), name, "{place}");
        }
    }

    #[test]
    fn a_class_is_told_with_its_limits_and_flags() {
        let (_, numbers, set) = built(
            "[mitigation]\nhold = \"5s\"\n[[class]]\nname = \"game\"\nudp_ports = [7]\n\
             budget = \"100pps\"\nbudget_burst = 50\npackets = \"10pps\"\nbytes = \"8kbps\"\n\
             proof = true\nobserve = true\nknown_first = false\n",
        );
        let number = numbers.of(&"game".parse().unwrap()).unwrap();
        let class = set.classes()[number];
        assert_eq!(class.budget, Limit::counts(100, 50));
        assert_eq!(class.attack_budget, class.budget, "not off");
        assert_eq!(class.packets, Limit::counts(10, 10));
        assert_eq!(class.bytes, Limit::bytes(1000, 65_535));
        assert_eq!(class.pressure_ns, 5 * NS);
        assert_eq!(class.flags, CLASS_PROOF | CLASS_OBSERVE | CLASS_RETRY);
        assert_eq!(class.returning, Limit::counts(1000, 1000));
        assert_eq!((class.retry_min_ns, class.retry_max_ns), (NS / 5, 16 * NS));
        let tcp_new = set.classes()[1];
        assert_eq!(
            tcp_new.flags,
            CLASS_SYN_COOKIES | CLASS_KNOWN_FIRST | CLASS_RETRY
        );
        let solicited = numbers.of(&"tcp-syn-ack".parse().unwrap()).unwrap();
        assert_eq!(set.classes()[solicited].flags & CLASS_RETRY, 0);
        assert_eq!(tcp_new.attack_budget, Limit::counts(50, 50));
        let syn_ack = set.classes()[2];
        assert_eq!(syn_ack.flags, CLASS_SOLICITED);
    }

    #[test]
    fn a_class_that_is_not_enabled_keeps_its_packets_and_decides_nothing() {
        let built = built("[[class]]\nname = \"tcp-new\"\nenabled = false\n");
        assert_eq!(name_at(&built, class_table::tcp_new(80)), "tcp-new");
        assert_eq!(built.2.classes()[1], abi::Class::OFF);
        assert_ne!(built.2.classes()[0], abi::Class::OFF);
    }

    #[test]
    fn numbers_that_nobody_has_decide_nothing() {
        let two = "[[class]]\nname = \"a\"\ntcp_ports = [1]\nbudget = \"1pps\"\n\
                   [[class]]\nname = \"b\"\ntcp_ports = [2]\nbudget = \"2pps\"\n";
        let (_, mut numbers, before) = built(two);
        let one = Config::parse("[[class]]\nname = \"b\"\ntcp_ports = [2]\n", "test").unwrap();
        numbers.give(&one.config.classes);
        let after = class_set(&one.config.classes, &one.config.mitigation, &numbers);
        let a = numbers.of(&"a".parse().unwrap()).unwrap();
        assert_eq!(before.classes()[a].budget, Limit::counts(1, 1));
        assert_eq!(after.classes()[a], abi::Class::OFF);
        assert_eq!(usize::from(after.class_at(class_table::tcp_new(2))), a + 1);
        assert_eq!(after.class_at(class_table::tcp_new(1)), 1, "tcp-new has it");
    }

    #[test]
    fn as_many_classes_as_there_can_be_fit() {
        let own: String = (1..=14)
            .map(|n| format!("[[class]]\nname = \"c{n}\"\nudp_ports = [{n}]\n"))
            .collect();
        let (_, _, set) = built(&own);
        assert_eq!(set.classes().len(), MAX_CLASSES);
        assert_eq!(
            usize::from(set.class_at(class_table::udp(14))),
            MAX_CLASSES - 1
        );
    }

    #[test]
    fn what_is_switched_on_depends_on_state_and_flags() {
        let config = Config::default();
        let class = |name: &str| {
            let found = config.classes.iter().find(|c| c.name.as_str() == name);
            found.unwrap()
        };
        let words = |name, state| switched_on(class(name), state).join(", ");
        assert_eq!(words("tcp-new", ClassState::Normal), "");
        assert_eq!(
            words("tcp-new", ClassState::Elevated),
            "newcomers earn nothing, SYN cookies, retries get in"
        );
        assert_eq!(
            words("tcp-new", ClassState::Attack),
            "newcomers earn nothing, SYN cookies, retries get in, budget 50pps burst 50"
        );
        assert_eq!(
            words("tcp-syn-ack", ClassState::Elevated),
            "newcomers earn nothing, only answers that were asked for"
        );
        assert_eq!(
            words("tcp", ClassState::Elevated),
            "newcomers earn nothing, connected sockets first"
        );
    }
}
