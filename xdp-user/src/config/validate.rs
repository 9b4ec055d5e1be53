//! From sections to [`Config`]: what one key alone can't tell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;

use toml::de::DeTable;

use super::classes::classes;
use super::kept::lists;
use super::limits::{Limits, Override, check_burst, check_bytes, paired};
use super::schema::{
    AggregateKeys, AllowKeys, BanKeys, BlockKeys, Capacity, ControlKeys, DaemonKeys, EventKeys,
    General, Interface, LimitKeys, Log, MetricsKeys, Mitigation, OverrideKeys, PinKeys, Sanity,
    Source, StateKeys,
};
use super::table::{Sink, Table};
use super::words::{DropReason, StatusPage};
use super::{
    Aggregate, Ban, Config, Control, ControlTcp, Daemon, Events, MAX_INTERFACES, Metrics, Outlets,
    Pins, Sampling, State,
};
use crate::domain::{IfName, Prefix};
use crate::http::tls;
use xdp_common::reason::Reason;

/// Reads and checks everything; `None` after a mistake. Sections that read well are checked also
/// when others didn't, so that one run shows all that is wrong.
pub(super) fn config(document: &DeTable<'_>, sink: &mut Sink) -> Option<Config> {
    let root = Table::root(document);
    let general = General::read(&root, sink);
    let interfaces = interfaces(&root, sink);
    let source = Source::read(&root.section("source", sink), sink);
    let limits = LimitKeys::read(&root.section("limits", sink), sink)
        .map(|keys| Limits::from_keys(&keys, sink));
    let overrides = overrides(&root, limits.as_ref(), sink);
    let ban = BanKeys::read(&root.section("ban", sink), sink).map(|keys| ban(&keys, sink));
    let sanity = Sanity::read(&root.section("sanity", sink), sink);
    let mitigation = Mitigation::read(&root.section("mitigation", sink), sink);
    let classes = classes(&root, sink);
    let aggregate = AggregateKeys::read(&root.section("aggregate", sink), sink)
        .map(|keys| aggregate(&keys, source.as_ref(), sink));
    let allow = AllowKeys::read(&root.section("allow", sink), sink);
    let allow = allow.map(|keys| distinct(&keys.prefixes, "allow.prefixes", sink));
    let block = BlockKeys::read(&root.section("block", sink), sink);
    let block_given = block.map(|keys| keys.prefixes);
    let block = block_given
        .as_deref()
        .map(|prefixes| distinct(prefixes, "block.prefixes", sink));
    let lists = lists(&root, sink);
    let capacity = Capacity::read(&root.section("capacity", sink), sink);
    let metrics =
        MetricsKeys::read(&root.section("metrics", sink), sink).map(|keys| metrics(&keys, sink));
    let control = ControlKeys::read(&root.section("control", sink), sink);
    let state = StateKeys::read(&root.section("state", sink), sink);
    let pins = PinKeys::read(&root.section("pins", sink), sink);
    let daemon =
        DaemonKeys::read(&root.section("daemon", sink), sink).map(|keys| daemon(keys, sink));
    let log = Log::read(&root.section("log", sink), sink);
    let events =
        EventKeys::read(&root.section("events", sink), sink).map(|keys| self::events(keys, sink));

    if let (Some(allow), Some(block)) = (&allow, &block_given) {
        warn_of_odd_lists(allow, block, sink);
    }
    if let Some(mitigation) = &mitigation
        && mitigation.retry_min >= mitigation.retry_max
    {
        let message = format!(
            "{} is not before retry_max, {}: no retry would count",
            mitigation.retry_min, mitigation.retry_max
        );
        let help = "retries come between a fifth of a second and 15 seconds: make it shorter";
        sink.problem_at("mitigation.retry_min", message, help);
    }
    if let Some(capacity) = &capacity {
        check_capacity(capacity, allow.as_ref(), block.as_ref(), &overrides, sink);
    }
    let general = general?;
    Some(Config {
        mode: general.mode,
        observe_reasons: distinct_reasons(&general.observe_reasons),
        interfaces,
        source: source?,
        limits: limits?,
        overrides,
        ban: ban?,
        sanity: sanity?,
        mitigation: mitigation?,
        classes,
        aggregate: aggregate?,
        allow: allow?.into_iter().collect(),
        block: block?.into_iter().collect(),
        lists,
        capacity: capacity?,
        metrics: metrics?,
        control: self::control(control?, sink),
        state: State {
            directory: state?.directory.0,
        },
        pins: pins.map(|keys| Pins {
            directory: keys.directory.map(|path| path.0),
            on_exit: keys.on_exit,
        })?,
        daemon: daemon?,
        log: log?,
        events: events?,
    })
}

fn interfaces(root: &Table<'_, '_>, sink: &mut Sink) -> Vec<Interface> {
    let mut seen: BTreeSet<IfName> = BTreeSet::new();
    let mut interfaces = Vec::new();
    for table in root.sections("interface", MAX_INTERFACES, sink) {
        let Some(interface) = Interface::read(&table, sink) else {
            continue;
        };
        if !seen.insert(interface.name.clone()) {
            let message = format!("{} is there twice", interface.name);
            let help = "name each interface once";
            sink.problem_at(&format!("{}.name", table.path()), message, help);
        }
        interfaces.push(interface);
    }
    interfaces
}

fn overrides(root: &Table<'_, '_>, defaults: Option<&Limits>, sink: &mut Sink) -> Vec<Override> {
    let mut owners: BTreeMap<Prefix, String> = BTreeMap::new();
    let mut overrides = Vec::new();
    for table in root.sections("override", 10_000, sink) {
        let Some(keys) = OverrideKeys::read(&table, sink) else {
            continue;
        };
        for (index, prefix) in keys.prefixes.iter().enumerate() {
            let key = format!("{}.prefixes[{index}]", table.path());
            if let Some(owner) = owners.get(prefix) {
                let message = format!("{prefix} has limits already, from {owner}");
                sink.problem_at(&key, message, "name each prefix in one override only");
            } else {
                owners.insert(*prefix, key);
            }
        }
        if let Some(defaults) = defaults {
            overrides.extend(Override::from_keys(keys, defaults, table.path(), sink));
        }
    }
    overrides
}

fn ban(keys: &BanKeys, sink: &mut Sink) -> Ban {
    if keys.duration > keys.max_duration {
        let message = format!(
            "{} is over max_duration, {}",
            keys.duration, keys.max_duration
        );
        sink.problem_at(
            "ban.duration",
            message,
            "raise max_duration or lower duration",
        );
    }
    if keys.strikes > 1 && keys.strike_decay <= keys.strike_interval {
        let message = format!(
            "{} is not over strike_interval, {}: strikes would be forgotten as fast as they come",
            keys.strike_decay, keys.strike_interval
        );
        let help = "several times strike_interval, for example \"30s\" with \"1s\"";
        sink.problem_at("ban.strike_decay", message, help);
    }
    Ban {
        enabled: keys.enabled,
        strikes: keys.strikes,
        strike_interval: keys.strike_interval,
        strike_decay: keys.strike_decay,
        duration: keys.duration,
        max_duration: keys.max_duration,
        growth_shift: keys.growth.trailing_zeros(),
        level_decay: keys.level_decay,
    }
}

fn aggregate(keys: &AggregateKeys, source: Option<&Source>, sink: &mut Sink) -> Aggregate {
    let aggregate = Aggregate {
        ipv4_prefix: keys.ipv4_prefix,
        ipv6_prefix: keys.ipv6_prefix,
        packets: paired(keys.packets, keys.packets_burst),
        bytes: paired(keys.bytes, keys.bytes_burst),
    };
    check_burst(aggregate.packets, "aggregate.packets", sink);
    check_bytes(aggregate.bytes, "aggregate.bytes", sink);
    let in_use = aggregate.packets.is_some() || aggregate.bytes.is_some();
    let Some(source) = source.filter(|_| in_use) else {
        return aggregate;
    };
    for (key, network, source) in [
        ("ipv4_prefix", keys.ipv4_prefix, source.ipv4_prefix),
        ("ipv6_prefix", keys.ipv6_prefix, source.ipv6_prefix),
    ] {
        if network >= source {
            let message = format!("/{network} is no wider than a source, /{source}");
            let help = "fewer bits than in [source], or limit sources in [limits]";
            sink.warning_at(&format!("aggregate.{key}"), message, help);
        }
    }
    aggregate
}

fn control(keys: ControlKeys, sink: &mut Sink) -> Control {
    let nobody = keys.viewers.is_empty() && keys.operators.is_empty() && keys.admins.is_empty();
    if keys.socket_mode.is_open_to_everybody() && nobody {
        let message = "every local user may connect, and none but root may do anything";
        sink.warning_at(
            "control.socket_mode",
            message,
            "name those who may in control.viewers, operators and admins",
        );
    }
    Control {
        tcp: control_tcp(&keys, sink),
        requests_per_second: NonZeroU32::new(keys.requests_per_second).unwrap_or(NonZeroU32::MIN),
        socket: keys.socket.0,
        socket_mode: keys.socket_mode,
        viewers: keys.viewers,
        operators: keys.operators,
        admins: keys.admins,
    }
}

/// Never in the clear.
fn control_tcp(keys: &ControlKeys, sink: &mut Sink) -> Option<ControlTcp> {
    match (keys.listen, &keys.certificate, &keys.key) {
        (Some(listen), Some(certificate), Some(key)) => Some(ControlTcp {
            listen,
            files: tls::Files {
                certificate: certificate.0.clone(),
                key: key.0.clone(),
            },
        }),
        (None, None, None) => None,
        (Some(_), _, _) => {
            let message = "TCP is served with TLS only, and that takes a certificate and its key";
            let help = "certificate = \"/etc/xdp-throttle/cert.pem\" and key = \"/etc/xdp-throttle/key.pem\"";
            sink.problem_at("control.listen", message, help);
            None
        }
        (None, _, _) => {
            let message = "nothing is served over TCP: listen is missing";
            sink.warning_at("control", message, "listen = \"192.0.2.1:9778\"");
            None
        }
    }
}

/// Smaller files would hold few events, and one must hold any.
const MIN_FILE: u64 = 64 * 1024;

fn events(keys: EventKeys, sink: &mut Sink) -> Events {
    if keys.file_size.bytes() < MIN_FILE {
        let message = format!("{} is too small for a file of events", keys.file_size);
        sink.problem_at("events.file_size", message, "at least \"64KiB\"");
    }
    if keys
        .file
        .as_ref()
        .is_some_and(|file| file.0.file_name().is_none())
    {
        let help = "\"/var/log/xdp-throttle/events.jsonl\"";
        sink.problem_at("events.file", "names a directory and no file", help);
    }
    Events {
        sampling: Sampling {
            rate: keys.samples,
            one_in: keys.sample_one_in,
            bytes: keys.sample_bytes,
        },
        outlets: Outlets {
            file: keys.file.map(|file| file.0),
            file_size: keys.file_size,
            file_count: keys.file_count,
            mask_addresses: keys.mask_addresses,
        },
    }
}

fn daemon(keys: DaemonKeys, sink: &mut Sink) -> Daemon {
    const MOST: usize = 64;
    if keys.readable.len() > MOST {
        let message = format!("{} directories, at most {MOST}", keys.readable.len());
        sink.problem_at("daemon.readable", message, "a directory above several");
    }
    Daemon {
        user: keys.user,
        restrict_files: keys.restrict_files,
        readable: keys.readable.into_iter().map(|path| path.0).collect(),
    }
}

fn distinct_reasons(given: &[DropReason]) -> Vec<Reason> {
    let reasons: BTreeSet<Reason> = given.iter().map(|reason| reason.0).collect();
    reasons.into_iter().collect()
}

/// Sorted, with a warning for each that is there twice.
fn distinct(prefixes: &[Prefix], key: &str, sink: &mut Sink) -> BTreeSet<Prefix> {
    let mut seen = BTreeSet::new();
    for (index, prefix) in prefixes.iter().enumerate() {
        if !seen.insert(*prefix) {
            let message = format!("{prefix} is there twice");
            sink.warning_at(&format!("{key}[{index}]"), message, "leave one of them out");
        }
    }
    seen
}

fn warn_of_odd_lists(allow: &BTreeSet<Prefix>, block: &[Prefix], sink: &mut Sink) {
    if let Some(all) = allow.iter().find(|prefix| prefix.prefix_len() == 0) {
        let message = format!("{all} allows every source: nothing of its family is ever dropped");
        let help = "name only sources that must never be dropped";
        sink.warning_at("allow.prefixes", message, help);
    }
    for (index, prefix) in block.iter().enumerate() {
        let key = format!("block.prefixes[{index}]");
        if let Some(allowed) = covering(allow, prefix) {
            let message = format!("{prefix} has no effect, [allow] has {allowed}");
            sink.warning_at(&key, message, "the allowlist wins; leave one of them out");
        }
        if prefix.prefix_len() < if prefix.is_ipv4() { 8 } else { 16 } {
            let message = format!("{prefix} blocks a large part of the internet");
            let help = "make sure that [allow] has the addresses you manage this host from";
            sink.warning_at(&key, message, help);
        }
    }
}

/// The narrowest of `set` that holds all of `prefix`.
fn covering(set: &BTreeSet<Prefix>, prefix: &Prefix) -> Option<Prefix> {
    (0..=prefix.prefix_len())
        .rev()
        .filter_map(|len| Prefix::new(prefix.network(), len))
        .find(|wider| set.contains(wider))
}

fn check_capacity(
    capacity: &Capacity,
    allow: Option<&BTreeSet<Prefix>>,
    block: Option<&BTreeSet<Prefix>>,
    overrides: &[Override],
    sink: &mut Sink,
) {
    let overridden = overrides.iter().flat_map(|one| &one.prefixes);
    let needs = [
        (
            "capacity.allow",
            capacity.allow,
            most_of_a_family(allow.into_iter().flatten()),
        ),
        (
            "capacity.block",
            capacity.block,
            most_of_a_family(block.into_iter().flatten()),
        ),
        (
            "capacity.overrides",
            capacity.overrides,
            most_of_a_family(overridden),
        ),
    ];
    for (key, holds, needed) in needs {
        if needed > holds as usize {
            let message = format!("{holds} entries, but this file names {needed} prefixes");
            sink.problem_at(key, message, &format!("at least {needed}"));
        }
    }
}

/// IPv4 and IPv6 have tables of their own, of the same size.
fn most_of_a_family<'p>(prefixes: impl Iterator<Item = &'p Prefix>) -> usize {
    let (ipv4, ipv6): (Vec<&Prefix>, Vec<&Prefix>) = prefixes.partition(|prefix| prefix.is_ipv4());
    ipv4.len().max(ipv6.len())
}

fn metrics(keys: &MetricsKeys, sink: &mut Sink) -> Metrics {
    let is_private = keys.listen.ip().to_canonical().is_loopback();
    let page = keys.page.unwrap_or(match is_private {
        true => StatusPage::Counters,
        false => StatusPage::Off,
    });
    if keys.enabled && !is_private && keys.web_config.is_none() {
        warn_of_open_metrics(keys.listen, page, sink);
    }
    if !keys.enabled && keys.page.is_some_and(|page| page != StatusPage::Off) {
        let message = "no page is served: metrics.enabled is false";
        let help = "enabled = true, or leave page out";
        sink.warning_at("metrics.page", message, help);
    }
    Metrics {
        enabled: keys.enabled,
        listen: keys.listen,
        web_config: keys.web_config.as_ref().map(|path| path.0.clone()),
        page,
    }
}

fn warn_of_open_metrics(listen: SocketAddr, page: StatusPage, sink: &mut Sink) {
    let message = format!("{listen} can be reached from other hosts");
    let help = "\"127.0.0.1:9777\", or make sure that only your Prometheus reaches it";
    sink.warning_at("metrics.listen", message, help);
    let shown = match page {
        StatusPage::Off => return,
        StatusPage::Counters => "its counters",
        StatusPage::Sources => "addresses of sources",
    };
    let message =
        format!("whoever reaches {listen} reads {shown} on the status page, without a password");
    let help = "\"off\", or \"127.0.0.1:9777\" for metrics.listen and a tunnel: ssh -L 9777:127.0.0.1:9777 HOST";
    sink.warning_at("metrics.page", message, help);
}
