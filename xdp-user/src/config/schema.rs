//! Every key of the config file, once: its type, its default, and what the reference says.
//!
//! Each `section!` makes the struct that holds the section's values, the function that reads it
//! from a TOML table, and the [`Section`] that reference and example are written from.

use std::net::SocketAddr;

use super::kept::{Checksum, ListSource};
use super::places::{Numbers, Place};
use super::setting::{
    Boolean, Default, Effect, Factor, Integer, Key, List, OneOrMore, Optional, OrOff, Section,
    Setting, SpanWithin, Text,
};
use super::table::{Sink, Table};
use super::words::{
    AbsolutePath, DatapathLog, DropReason, FileMode, Forwarding, LogFormat, LogLevel, OnExit,
    SocketPath, StatusPage, TcpFlags, UserName, Who,
};
use crate::api::types::ListKind;
use crate::domain::{
    AttachMode, BitRate, Burst, ByteSize, ClassName, ConnectionRate, IfName, JsonPath, ListFormat,
    ListName, Mode, PacketRate, Prefix, SampleRate, SetName, SkipKind, Span,
};

/// Every section, in the order of the reference.
pub(super) const SECTIONS: &[&Section] = &[
    &General::SECTION,
    &Interface::SECTION,
    &Source::SECTION,
    &LimitKeys::SECTION,
    &OverrideKeys::SECTION,
    &BanKeys::SECTION,
    &Sanity::SECTION,
    &Mitigation::SECTION,
    &ClassKeys::SECTION,
    &AggregateKeys::SECTION,
    &AllowKeys::SECTION,
    &BlockKeys::SECTION,
    &ListKeys::SECTION,
    &Capacity::SECTION,
    &MetricsKeys::SECTION,
    &ControlKeys::SECTION,
    &StateKeys::SECTION,
    &PinKeys::SECTION,
    &DaemonKeys::SECTION,
    &Log::SECTION,
    &EventKeys::SECTION,
];

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $vis:vis struct $name:ident, $header:literal, repeated: $repeated:literal {
            $(
                $(#[doc = $key_doc:literal])+
                $key:ident: $type:ty as $setting:ty = $default:expr, $effect:ident;
            )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $($(#[doc = $key_doc])+ pub $key: $type,)+
        }

        impl $name {
            pub(super) const SECTION: Section = Section {
                name: $header,
                repeated: $repeated,
                doc: concat!($($doc, "\n"),+),
                keys: &[$(Key {
                    name: stringify!($key),
                    kind: <$setting as Setting>::kind,
                    default: $default,
                    doc: concat!($($key_doc, "\n"),+),
                    effect: Effect::$effect,
                }),+],
            };

            /// Reads every key, also after a mistake; `None` if there was one.
            pub(super) fn read(table: &Table<'_, '_>, sink: &mut Sink) -> Option<Self> {
                $(let $key = table.key::<$setting>(stringify!($key), &$default, sink);)+
                table.refuse_unknown(&Self::SECTION, sink);
                Some(Self { $($key: $key?,)+ })
            }
        }
    };
}

section! {
    /// Keys at the top of the file, before the first section.
    pub(super) struct General, "", repeated: false {
        /// `enforce` drops what the policy refuses. `observe` decides and counts the same and drops nothing: a way to try a policy on live traffic.
        mode: Mode as Text<Mode> = Default::Is("\"enforce\""), Live;
        /// Reasons that are only counted, never dropped for, also in `enforce` mode: a way to try one rule. A packet has one reason, so no later rule looks at one that passes so: with `"banned"` here, a banned source has no limits.
        observe_reasons: Vec<DropReason> as List<Text<DropReason>> = Default::Is("[]"), Live;
    }
}

section! {
    /// An interface to protect; once for each, at most 15. `run --iface` takes the place of all of them.
    pub struct Interface, "interface", repeated: true {
        /// The interface's name. One of its further names (altnames) is taken for the kernel's name, and the log and `status` say so.
        name: IfName as Text<IfName> = Default::Required { example: "\"eth0\"" }, Live;
        /// `native` runs in the driver, before the kernel has spent an allocation on a packet. `generic` runs in the network stack: on every interface, and several times slower. `auto` takes native where the driver has it, else generic with a warning and a gauge.
        attach: AttachMode as Text<AttachMode> = Default::Is("\"auto\""), Restart;
        /// Whether the daemon refuses to start, and a reload that adds it is refused, while this interface can't be attached: it is missing, another XDP program is on it, or its driver lacks the native mode that `attach` asks for. Otherwise it is waited for, and the others are protected meanwhile. A start that is refused leaves everything as it was.
        required: bool as Boolean = Default::Is("false"), Live;
    }
}

section! {
    /// What counts as one source. Limits, strikes and bans are kept per source.
    pub struct Source, "source", repeated: false {
        /// Leading bits of an IPv4 address that make a source. 32 takes every address by itself.
        ipv4_prefix: u8 as Integer<u8, 8, 32> = Default::Is("32"), Live;
        /// Leading bits of an IPv6 address that make a source. One customer commonly holds a whole /64 and can send from any address in it, so longer prefixes are easily evaded.
        ipv6_prefix: u8 as Integer<u8, 16, 128> = Default::Is("64"), Live;
    }
}

section! {
    /// Limits of every source. A source that stays under them never loses a packet; one that goes over loses what is over. The defaults stop floods and let a peer on a gigabit link work at full speed: 81,274 full-size frames, 984 Mbps, in a second. Peers that send more, such as storage, backup or a reverse proxy in front of this host, belong in `[allow]` or in an `[[override]]`.
    pub(super) struct LimitKeys, "limits", repeated: false {
        /// Packets from one source.
        packets: Option<PacketRate> as OrOff<Text<PacketRate>> = Default::Is("\"100kpps\""), Live;
        /// Packets that may come at once after a pause.
        packets_burst: Option<Burst> as Optional<Text<Burst>> = Default::Absent { meaning: "one second at the rate", example: "\"100k\"" }, Live;
        /// Bits from one source, counted over whole Ethernet frames without their checksum.
        bytes: Option<BitRate> as OrOff<Text<BitRate>> = Default::Is("\"1Gbps\""), Live;
        /// Bytes that may come at once after a pause; at least 65535, the largest packet.
        bytes_burst: Option<ByteSize> as Optional<Text<ByteSize>> = Default::Absent { meaning: "one second at the rate, at least 65535", example: "\"125MB\"" }, Live;
        /// New TCP connections (SYN) from one source. A browser opens a few tens for a page; many clients behind one NAT share an address.
        tcp_new: Option<ConnectionRate> as OrOff<Text<ConnectionRate>> = Default::Is("\"200cps\""), Live;
        /// Connections that may come at once after a pause.
        tcp_new_burst: Option<Burst> as Optional<Text<Burst>> = Default::Absent { meaning: "five seconds at the rate", example: "1000" }, Live;
    }
}

section! {
    /// Other limits for sources in some prefixes; any number of these. Where several prefixes hold a source, the longest counts. A key that is left out keeps the value from `[limits]`.
    pub(super) struct OverrideKeys, "override", repeated: true {
        /// For which sources.
        prefixes: Vec<Prefix> as List<Text<Prefix>> = Default::Required { example: "[\"203.0.113.0/24\"]" }, Live;
        /// As in `[limits]`; with `"off"` these sources have no such limit.
        packets: Option<Option<PacketRate>> as Optional<OrOff<Text<PacketRate>>> = Default::Absent { meaning: "as in `[limits]`", example: "\"500kpps\"" }, Live;
        /// As in `[limits]`.
        packets_burst: Option<Burst> as Optional<Text<Burst>> = Default::Absent { meaning: "from the rate, as in `[limits]`", example: "\"500k\"" }, Live;
        /// As in `[limits]`; with `"off"` these sources have no such limit.
        bytes: Option<Option<BitRate>> as Optional<OrOff<Text<BitRate>>> = Default::Absent { meaning: "as in `[limits]`", example: "\"5Gbps\"" }, Live;
        /// As in `[limits]`.
        bytes_burst: Option<ByteSize> as Optional<Text<ByteSize>> = Default::Absent { meaning: "from the rate, as in `[limits]`", example: "\"625MB\"" }, Live;
        /// As in `[limits]`; with `"off"` these sources have no such limit.
        tcp_new: Option<Option<ConnectionRate>> as Optional<OrOff<Text<ConnectionRate>>> = Default::Absent { meaning: "as in `[limits]`", example: "\"off\"" }, Live;
        /// As in `[limits]`.
        tcp_new_burst: Option<Burst> as Optional<Text<Burst>> = Default::Absent { meaning: "from the rate, as in `[limits]`", example: "1000" }, Live;
    }
}

section! {
    /// Bans for sources that keep going over their limits. Every ban is longer than the one before, up to a maximum, and good behaviour is forgiven step by step.
    pub(super) struct BanKeys, "ban", repeated: false {
        /// Without bans a source only ever loses what is over its limits.
        enabled: bool as Boolean = Default::Is("true"), Live;
        /// Strikes that make a ban. A source gets a strike when it goes over a limit.
        strikes: u32 as Integer<u32, 1, 1000> = Default::Is("5"), Live;
        /// At most one strike is counted in this time, however many packets are over the limit.
        strike_interval: Span as SpanWithin<MILLISECOND, HOUR> = Default::Is("\"1s\""), Live;
        /// One strike is forgotten for each such time without another. Longer than `strike_interval`.
        strike_decay: Span as SpanWithin<MILLISECOND, YEAR> = Default::Is("\"30s\""), Live;
        /// Length of the first ban.
        duration: Span as SpanWithin<SECOND, YEAR> = Default::Is("\"1m\""), Live;
        /// No ban is longer than this.
        max_duration: Span as SpanWithin<SECOND, YEAR> = Default::Is("\"1d\""), Live;
        /// Every further ban is this many times as long as the one before.
        growth: u32 as Factor = Default::Is("2"), Live;
        /// After a ban has ended, one step of growth is forgiven for each such time without another.
        level_decay: Span as SpanWithin<SECOND, YEAR> = Default::Is("\"1h\""), Live;
    }
}

section! {
    /// Checks for packets that no honest host sends.
    pub struct Sanity, "sanity", repeated: false {
        /// Drop TCP segments with impossible flags: none at all, SYN with FIN or RST, FIN without ACK or RST.
        tcp_flags: bool as Boolean = Default::Is("true"), Live;
        /// Drop packets whose source address is their destination (land attack).
        land: bool as Boolean = Default::Is("true"), Live;
        /// Drop packets from loopback, multicast and unspecified addresses. Private addresses are not among them.
        martian_source: bool as Boolean = Default::Is("true"), Live;
    }
}

section! {
    /// Service classes: every packet is in one, by what it is for, and each class has a budget for all sources together that aren't known yet. That stops floods whose sources never repeat, which no limit per source sees. What it means and what it costs: docs/mitigation.md.
    pub struct Mitigation, "mitigation", repeated: false {
        /// Whether classes decide anything. Without them no packet is looked at by its class.
        enabled: bool as Boolean = Default::Is("true"), Live;
        /// What classes do on interfaces where this host forwards packets for others. `stand-aside`: nothing there, for what no local socket waits for may be another host's. `flow-memory`: what was seen leaving through the protected interfaces tells what was asked for, so they decide there too, once that is complete; only where answers leave by the way that their questions come in. `ignore`: as everywhere, for a host that forwards but whose own services are what counts.
        forwarding: Forwarding as Text<Forwarding> = Default::Is("\"stand-aside\""), Live;
        /// How long a class counts as pressed after a newcomer found its budget spent. New sources earn nothing in that time, so a flood can't make itself known.
        hold: Span as SpanWithin<MILLISECOND, HOUR> = Default::Is("\"3s\""), Live;
        /// A class is under attack when newcomers exceed its budget by this many times the budget's rate.
        attack_factor: u64 as Integer<u64, 1, 1_000_000> = Default::Is("4"), Live;
        /// How long they have to before that counts.
        attack_after: Span as SpanWithin<MILLISECOND, HOUR> = Default::Is("\"1s\""), Live;
        /// An attack is over when they haven't for this long.
        attack_hold: Span as SpanWithin<MILLISECOND, DAY> = Default::Is("\"30s\""), Live;
        /// A class is back to normal when no newcomer has been over its budget for this long.
        calm_after: Span as SpanWithin<MILLISECOND, DAY> = Default::Is("\"10s\""), Live;
        /// A newcomer that was refused because its class's budget was spent gets in when it sends the same again, within the class's `returning`: not sooner than this after its first packet, for no protocol tries again sooner.
        retry_min: Span as SpanWithin<MILLISECOND, MINUTE> = Default::Is("\"200ms\""), Live;
        /// And not later than this. The longest first retry of a common client is 15 seconds.
        retry_max: Span as SpanWithin<MILLISECOND, MINUTE> = Default::Is("\"16s\""), Live;
    }
}

section! {
    /// A service class; any number of these, at most 32 with the built-in ones. The name of a built-in class changes that one key by key: what is left out stays. Another name makes a class, which takes its ports from the built-in ones. `xdp-throttle classes` shows them all. A packet is in one class: new TCP connections by destination port; UDP by source port where a class has it among its `reflection_ports`, else by destination port; other TCP by flags; ICMP by type; later fragments; all else by protocol number.
    pub(super) struct ClassKeys, "class", repeated: true {
        /// The name: a built-in class's, or another.
        name: ClassName as Text<ClassName> = Default::Required { example: "\"game\"" }, Live;
        /// A class that isn't enabled keeps its packets and decides nothing.
        enabled: Option<bool> as Optional<Boolean> = Default::Absent { meaning: "`true`", example: "true" }, Live;
        /// Destination ports of new TCP connections.
        tcp_ports: Option<Vec<Place>> as Optional<List<Numbers<65_535, true>>> = Default::Absent { meaning: "the built-in class's, else none", example: "[25565]" }, Live;
        /// Destination ports of UDP.
        udp_ports: Option<Vec<Place>> as Optional<List<Numbers<65_535, true>>> = Default::Absent { meaning: "the built-in class's, else none", example: "[\"27000-27100\"]" }, Live;
        /// Source ports of UDP. They outrank destination ports.
        reflection_ports: Option<Vec<Place>> as Optional<List<Numbers<65_535, false>>> = Default::Absent { meaning: "the built-in class's, else none", example: "[30120]" }, Live;
        /// ICMP types.
        icmp_types: Option<Vec<Place>> as Optional<List<Numbers<255, true>>> = Default::Absent { meaning: "the built-in class's, else none", example: "[13]" }, Live;
        /// ICMPv6 types.
        icmpv6_types: Option<Vec<Place>> as Optional<List<Numbers<255, true>>> = Default::Absent { meaning: "the built-in class's, else none", example: "[\"138-139\"]" }, Live;
        /// Protocols by number, beside TCP, UDP, ICMP and ICMPv6.
        protocols: Option<Vec<Place>> as Optional<List<Numbers<255, true>>> = Default::Absent { meaning: "the built-in class's, else none", example: "[132]" }, Live;
        /// TCP segments that open no connection.
        tcp_flags: Option<Vec<TcpFlags>> as Optional<List<Text<TcpFlags>>> = Default::Absent { meaning: "the built-in class's, else none", example: "[]" }, Live;
        /// Fragments but the first, which have no ports.
        fragments: Option<bool> as Optional<Boolean> = Default::Absent { meaning: "the built-in class's, else `false`", example: "false" }, Live;
        /// Packets of all newcomers together.
        budget: Option<Option<PacketRate>> as Optional<OrOff<Text<PacketRate>>> = Default::Absent { meaning: "the built-in class's, else `\"off\"`", example: "\"2kpps\"" }, Live;
        /// Packets of them that may come at once after a pause.
        budget_burst: Option<Burst> as Optional<Text<Burst>> = Default::Absent { meaning: "one second at the rate", example: "\"10k\"" }, Live;
        /// The budget while the class is under attack: less than in normal times, since hardly anything in it is honest then.
        attack_budget: Option<Option<PacketRate>> as Optional<OrOff<Text<PacketRate>>> = Default::Absent { meaning: "the built-in class's where the budget is, too; else the budget", example: "\"500pps\"" }, Live;
        /// Packets that may come at once then.
        attack_budget_burst: Option<Burst> as Optional<Text<Burst>> = Default::Absent { meaning: "one second at the rate", example: "500" }, Live;
        /// Packets of all flows together that began while the class was over its budget, as long as it is: of newcomers that were refused and came again as their protocol does, and of those that the budget under attack let in. `"off"`: coming again makes no difference.
        returning: Option<Option<PacketRate>> as Optional<OrOff<Text<PacketRate>>> = Default::Absent { meaning: "the built-in class's, else `\"1kpps\"`", example: "\"5kpps\"" }, Live;
        /// Packets of them that may come at once.
        returning_burst: Option<Burst> as Optional<Text<Burst>> = Default::Absent { meaning: "one second at the rate", example: "\"5k\"" }, Live;
        /// Packets from one source in this class, beside its `[limits]`; at most 900 kpps.
        packets: Option<Option<PacketRate>> as Optional<OrOff<Text<PacketRate>>> = Default::Absent { meaning: "`\"off\"`", example: "\"500pps\"" }, Live;
        /// Packets that may come at once after a pause.
        packets_burst: Option<Burst> as Optional<Text<Burst>> = Default::Absent { meaning: "one second at the rate", example: "1000" }, Live;
        /// Bits from one source in this class, beside its `[limits]`.
        bytes: Option<Option<BitRate>> as Optional<OrOff<Text<BitRate>>> = Default::Absent { meaning: "`\"off\"`", example: "\"5Mbps\"" }, Live;
        /// Bytes that may come at once after a pause; at least 65535, the largest packet.
        bytes_burst: Option<ByteSize> as Optional<Text<ByteSize>> = Default::Absent { meaning: "one second at the rate, at least 65535", example: "\"1MB\"" }, Live;
        /// For what nobody sends unasked: only packets that no local socket waits for count against the budget.
        solicited: Option<bool> as Optional<Boolean> = Default::Absent { meaning: "the built-in class's, else `false`", example: "false" }, Live;
        /// Over the budget, a packet that a connected local socket waits for passes all the same.
        proof: Option<bool> as Optional<Boolean> = Default::Absent { meaning: "the built-in class's, else `false`", example: "true" }, Live;
        /// Over the budget, new TCP connections are answered with SYN cookies.
        syn_cookies: Option<bool> as Optional<Boolean> = Default::Absent { meaning: "the built-in class's, else `false`", example: "true" }, Live;
        /// Known sources don't count against the budget.
        known_first: Option<bool> as Optional<Boolean> = Default::Absent { meaning: "the built-in class's, else `true`", example: "true" }, Live;
        /// What the class decides is only counted.
        observe: Option<bool> as Optional<Boolean> = Default::Absent { meaning: "`false`", example: "false" }, Live;
    }
}

section! {
    /// Limits for all sources of a network together, for floods from many addresses of a few networks. Off unless set: many people behind one provider's NAT share a network.
    pub(super) struct AggregateKeys, "aggregate", repeated: false {
        /// Leading bits of an IPv4 address that make a network.
        ipv4_prefix: u8 as Integer<u8, 8, 32> = Default::Is("24"), Live;
        /// Leading bits of an IPv6 address that make a network. A provider gives a site a /48 to a /56.
        ipv6_prefix: u8 as Integer<u8, 16, 128> = Default::Is("48"), Live;
        /// Packets from one network; at most 900 kpps.
        packets: Option<PacketRate> as OrOff<Text<PacketRate>> = Default::Is("\"off\""), Live;
        /// Packets that may come at once after a pause.
        packets_burst: Option<Burst> as Optional<Text<Burst>> = Default::Absent { meaning: "one second at the rate", example: "\"100k\"" }, Live;
        /// Bits from one network.
        bytes: Option<BitRate> as OrOff<Text<BitRate>> = Default::Is("\"off\""), Live;
        /// Bytes that may come at once after a pause; at least 65535, the largest packet.
        bytes_burst: Option<ByteSize> as Optional<Text<ByteSize>> = Default::Absent { meaning: "one second at the rate, at least 65535", example: "\"125MB\"" }, Live;
    }
}

section! {
    /// Sources that are never dropped, whatever else is configured: put your own management addresses here before anything else.
    pub(super) struct AllowKeys, "allow", repeated: false {
        /// Addresses and prefixes.
        prefixes: Vec<Prefix> as List<Text<Prefix>> = Default::Is("[]"), Live;
    }
}

section! {
    /// Sources that are always dropped, for every protocol, unless `[allow]` has them. Long lists are better loaded with `xdp-throttle block import`.
    pub(super) struct BlockKeys, "block", repeated: false {
        /// Addresses and prefixes.
        prefixes: Vec<Prefix> as List<Text<Prefix>> = Default::Is("[]"), Live;
    }
}

section! {
    /// A list of addresses that keeps itself: read from a file or over HTTP, checked, and replaced as a whole; at most 64 of them. A text that fails a check changes nothing, and `xdp-throttle list show` says why. See docs/lists.md.
    pub(super) struct ListKeys, "list", repeated: true {
        /// Its name, in metrics and output.
        name: ListName as Text<ListName> = Default::Required { example: "\"spamhaus-drop\"" }, Live;
        /// What happens to the sources in it: `block` drops them, `allow` lets them pass.
        kind: ListKind as Text<ListKind> = Default::Is("\"block\""), Live;
        /// Where it comes from: the path of a file, or an `http://` or `https://` address. Only `https` shows whose list it is.
        source: ListSource as Text<ListSource> = Default::Required { example: "\"https://www.spamhaus.org/drop/drop.txt\"" }, Live;
        /// How it is written. `plain`: addresses, prefixes and ranges; `csv`: an address in a column; `range`: the first and the last address in two columns; `json`: in fields that `path` names; `aws`, `google`, `cloudflare`, `spamhaus-json`: what these publish; `ipset` and `nft`: what `ipset save` and `nft list` print, and scripts; `dshield`, `p2p`, `ipfilter`, `hosts-deny`, `cscli`: see docs/lists.md. `auto` finds out where that is safe, and refuses what it doesn't know. Gzip is unpacked whatever the format.
        format: ListFormat as Text<ListFormat> = Default::Is("\"auto\""), Live;
        /// The column of a `csv` list, or of the first address of a `range` list, from 1.
        column: u32 as Integer<u32, 1, 1000> = Default::Is("1"), Live;
        /// The fields of a `json` list that hold addresses: keys joined by dots, `[]` for every element of an array, `*` for every key. One path, or a list of at most 32.
        path: Option<Vec<JsonPath>> as Optional<OneOrMore<Text<JsonPath>, 32>> = Default::Absent { meaning: "the fields of `aws`, `google` and `cloudflare`, and arrays of addresses", example: "\"prefixes[].ip_prefix\"" }, Live;
        /// The set of an `ipset` or `nft` text to read: its name, alone or with its table (`filter/bad`). One name, or a list of at most 64.
        set: Option<Vec<SetName>> as Optional<OneOrMore<Text<SetName>, 64>> = Default::Absent { meaning: "the only set of addresses; several are refused", example: "\"blocklist\"" }, Live;
        /// Addresses to leave out of the list, as lists of bogons have them: `private`, `loopback`, `link_local`, `multicast`, `reserved`, `documentation`, `own` (addresses that this host must hear from; a blocklist leaves those out anyway). Of a wider entry, only that part is left out.
        skip: Vec<SkipKind> as List<Text<SkipKind>> = Default::Is("[]"), Live;
        /// How often to look, give or take a tenth. After a failure the first retry comes within a minute or so, later ones at twice the time each.
        interval: Span as SpanWithin<{ 10 * SECOND }, { 30 * DAY }> = Default::Is("\"1h\""), Live;
        /// For a whole fetch, the connection included.
        timeout: Span as SpanWithin<{ SECOND }, { HOUR }> = Default::Is("\"60s\""), Live;
        /// Bytes as they come, at most.
        max_size: ByteSize as Text<ByteSize> = Default::Is("\"32MiB\""), Live;
        /// Bytes once unpacked, at most.
        max_unpacked: ByteSize as Text<ByteSize> = Default::Is("\"128MiB\""), Live;
        /// Entries, at most.
        max_entries: u32 as Integer<u32, 1, 10_000_000> = Default::Is("1_000_000"), Live;
        /// Entries, at least: fewer are taken for a broken source.
        min_entries: u32 as Integer<u32, 0, 10_000_000> = Default::Is("1"), Live;
        /// Of the entries now held, so many percent may come and so many may go at once; ten of each always may. More is accepted with `xdp-throttle list refresh NAME --force`.
        max_change: u32 as Integer<u32, 0, 1_000_000> = Default::Is("50"), Live;
        /// Take prefixes wider than /8 (IPv6 /16). Without this, one of them refuses the whole text.
        accept_wide: bool as Boolean = Default::Is("false"), Live;
        /// SHA-256 of the text as it comes: 64 hexadecimal digits, or the address of a file with them, as `sha256sum` writes it.
        sha256: Option<Checksum> as Optional<Text<Checksum>> = Default::Absent { meaning: "not checked", example: "\"https://example.org/list.txt.sha256\"" }, Live;
        /// A PEM file with the only authorities to trust for this list.
        ca_file: Option<AbsolutePath> as Optional<Text<AbsolutePath>> = Default::Absent { meaning: "those of the system", example: "\"/etc/xdp-throttle/ca.pem\"" }, Live;
        /// A list that was not confirmed by its source for so long is shown as stale. Its entries stay in force.
        stale_after: Span as SpanWithin<{ 60 * SECOND }, { YEAR }> = Default::Is("\"3d\""), Live;
    }
}

section! {
    /// How many entries the tables in the kernel hold. Sources and bans take their memory at the start, the others as they fill; `xdp-throttle check` says how much that is, and `xdp-throttle status` how much it is now.
    pub struct Capacity, "capacity", repeated: false {
        /// Allowed prefixes, at most, for IPv4 and IPv6 each. The memory grows with the entries: about 16 bytes for one of IPv4, 57 for one of IPv6. When it is full, new entries are refused.
        allow: u32 as Integer<u32, 1, 1_000_000> = Default::Is("10_000"), Restart;
        /// Blocked prefixes of all lists together, at most, for IPv4 and IPv6 each. Memory as for `allow`. When it is full, new entries are refused.
        block: u32 as Integer<u32, 1, 16_000_000> = Default::Is("1_000_000"), Restart;
        /// Prefixes with limits of their own, at most, for IPv4 and IPv6 each. The memory grows with them: about 190 bytes each, and what a list entry takes. A configuration with more is refused.
        overrides: u32 as Integer<u32, 1, 1_000_000> = Default::Is("10_000"), Restart;
        /// How many sources fit. A table that holds about half as many loses hardly any; 137 bytes each, allocated at start. When there is no room, a new source takes the place of one that has sent least, never of a protected one: one that has sent some packets within its limits over more than a second.
        sources: u32 as Integer<u32, 1024, 16_777_216> = Default::Is("131_072"), Restart;
        /// How many flows the flow memory holds, rounded down to a power of two; 16 bytes each, allocated at start. Who is refused and remembered shares it. When it is full, a new flow takes the place of the one not seen for longest.
        flows: u32 as Integer<u32, 4096, 67_108_864> = Default::Is("1_048_576"), Restart;
        /// Banned sources, those whose ban is over and still counts included. Their memory is allocated at start. When it is full, further bans are not stored and counted as a fault; none is lost, and the sources stay limited.
        bans: u32 as Integer<u32, 16, 16_777_216> = Default::Is("65_536"), Restart;
    }
}

section! {
    /// Figures for Prometheus over HTTP, at `/metrics`, and a status page for people, at `/`.
    pub(super) struct MetricsKeys, "metrics", repeated: false {
        /// Whether they are served.
        enabled: bool as Boolean = Default::Is("true"), Restart;
        /// Where. Without `web_config` there is no password: keep it on loopback or a private network.
        listen: SocketAddr as Text<SocketAddr> = Default::Is("\"127.0.0.1:9777\""), Restart;
        /// A file in the form that Prometheus's exporters share (`--web.config.file`): `tls_server_config` with `cert_file` and `key_file`, and `basic_auth_users` with bcrypt hashes; for example `"/etc/xdp-throttle/web.yml"`. See docs/api.md.
        web_config: Option<AbsolutePath> as OrOff<Text<AbsolutePath>> = Default::Is("\"off\""), Restart;
        /// What the status page shows to whoever reaches the port. `counters`: rates, reasons, classes, sizes, no address. `sources`: the top sources by address, too. `off`: there is no page. See docs/status-page.md.
        page: Option<StatusPage> as Optional<Text<StatusPage>> = Default::Absent { meaning: "`\"counters\"` where `listen` is a loopback address, else `\"off\"`", example: "\"counters\"" }, Restart;
    }
}

section! {
    /// The socket over which the command line talks to the daemon.
    pub(super) struct ControlKeys, "control", repeated: false {
        /// Its path.
        socket: SocketPath as Text<SocketPath> = Default::Is("\"/run/xdp-throttle/control.sock\""), Restart;
        /// Its permissions. Whoever can write to the socket controls the daemon.
        socket_mode: FileMode as Text<FileMode> = Default::Is("\"0600\""), Restart;
        /// Who may look at everything but packets. Root, and the user that the daemon runs as, may do everything; who is named nowhere may do nothing, whatever the socket's mode lets in.
        viewers: Vec<Who> as List<Text<Who>> = Default::Is("[]"), Restart;
        /// Who may also change lists, bans and limits, and see events and packets.
        operators: Vec<Who> as List<Text<Who>> = Default::Is("[]"), Restart;
        /// Who may also put configurations in force, make tokens, and see the audit trail.
        admins: Vec<Who> as List<Text<Who>> = Default::Is("[]"), Restart;
        /// An address and port to serve the same over TCP, for example `"192.0.2.1:9778"`, with TLS and for bearer tokens only (`xdp-throttle token add`). See docs/api.md.
        listen: Option<SocketAddr> as OrOff<Text<SocketAddr>> = Default::Is("\"off\""), Restart;
        /// A PEM file with the certificate for `listen`, its chain behind it, for example `"/etc/xdp-throttle/cert.pem"`. Read again when it changes.
        certificate: Option<AbsolutePath> as OrOff<Text<AbsolutePath>> = Default::Is("\"off\""), Restart;
        /// A PEM file with the certificate's private key.
        key: Option<AbsolutePath> as OrOff<Text<AbsolutePath>> = Default::Is("\"off\""), Restart;
        /// Requests that each user, or each address (IPv6: /64), may make; twice as many at once. Root, and the daemon's own user, may make any number.
        requests_per_second: u32 as Integer<u32, 1, 1_000_000> = Default::Is("50"), Restart;
    }
}

section! {
    /// Where lists and bans are kept over a restart.
    pub(super) struct StateKeys, "state", repeated: false {
        /// A directory; made if it isn't there.
        directory: AbsolutePath as Text<AbsolutePath> = Default::Is("\"/var/lib/xdp-throttle\""), Restart;
    }
}

section! {
    /// What keeps filtering without the daemon: the program's maps and its links to the interfaces are pinned. See docs/continuity.md.
    pub(super) struct PinKeys, "pins", repeated: false {
        /// A directory on a bpffs, made if it isn't there. Where there is no bpffs, nothing is pinned, and the log and `status` say so. `"off"`: nothing is pinned, and what is attached ends with the daemon.
        directory: Option<AbsolutePath> as OrOff<Text<AbsolutePath>> = Default::Is("\"/sys/fs/bpf/xdp-throttle\""), Restart;
        /// What happens when the daemon is told to end. `keep`: the last policy stays in force, and the next start takes over without a gap; `xdp-throttle detach` ends it. `detach`: traffic passes unfiltered from then on. After a crash the policy stays in force in any case.
        on_exit: OnExit as Text<OnExit> = Default::Is("\"keep\""), Restart;
    }
}

section! {
    /// What the daemon may do once it runs. See docs/security.md.
    pub(super) struct DaemonKeys, "daemon", repeated: false {
        /// The user to become at the start, which root has to do; `run --user` takes its place. Directories that are missing or empty are given to that user. `"off"`: it stays whoever started it.
        user: Option<UserName> as OrOff<Text<UserName>> = Default::Is("\"off\""), Restart;
        /// Keep the daemon, with Landlock, from writing anywhere but to its state, its runtime directory and its pins, and from reading anywhere but in system directories, beside its configuration and in `readable`.
        restrict_files: bool as Boolean = Default::Is("true"), Restart;
        /// Further directories to read from, at most 64: for files that a later reload may name.
        readable: Vec<AbsolutePath> as List<Text<AbsolutePath>> = Default::Is("[]"), Restart;
    }
}

section! {
    /// What the daemon writes to standard error.
    pub struct Log, "log", repeated: false {
        /// How much.
        level: LogLevel as Text<LogLevel> = Default::Is("\"info\""), Restart;
        /// `text` for people, `json` for programs: one object on each line.
        format: LogFormat as Text<LogFormat> = Default::Is("\"text\""), Restart;
        /// What the XDP program itself says, from rare paths only. `off` costs nothing per packet.
        datapath: DatapathLog as Text<DatapathLog> = Default::Is("\"off\""), Restart;
    }
}

section! {
    /// What the daemon tells of what happens, beside its log: `xdp-throttle events` shows it, and docs/events.md says what there is. Some of the dropped packets are among it, each with its first bytes.
    pub(super) struct EventKeys, "events", repeated: false {
        /// Dropped packets that each CPU shows at most, on the mean; a second's worth may come at once.
        samples: Option<SampleRate> as OrOff<Text<SampleRate>> = Default::Is("\"10/s\""), Live;
        /// Only one of so many dropped packets is shown, on the mean, also where the rate has room for more.
        sample_one_in: u32 as Integer<u32, 1, 1_000_000> = Default::Is("1"), Live;
        /// First bytes of a packet that are shown. 64 hold the addresses, 128 nearly always all headers; what is behind is somebody's data.
        sample_bytes: u16 as Integer<u16, 64, 256> = Default::Is("128"), Live;
        /// A file that gets every event, one JSON object on each line. Its directory must be there; the systemd unit makes /var/log/xdp-throttle, for example for `"/var/log/xdp-throttle/events.jsonl"`.
        file: Option<AbsolutePath> as OrOff<Text<AbsolutePath>> = Default::Is("\"off\""), Restart;
        /// When the file would become larger, it is renamed to have `.1` at its end, and a new one is begun.
        file_size: ByteSize as Text<ByteSize> = Default::Is("\"10MB\""), Restart;
        /// Files with a number at their end that are kept; the oldest goes first.
        file_count: u32 as Integer<u32, 1, 1000> = Default::Is("5"), Restart;
        /// Shorten addresses in the log and in the events file, IPv4 to /24 and IPv6 to /48, and leave packets' bytes out of the file. The command line, which asks the daemon, shows them whole.
        mask_addresses: bool as Boolean = Default::Is("false"), Restart;
    }
}
