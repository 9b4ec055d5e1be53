//! `events`: what happened, and what happens.

use std::net::IpAddr;
use std::ops::ControlFlow;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use jiff::Timestamp;
use xdp_common::packet::{Address, Octets, Packet, Transport, protocol};
use xdp_common::reason::Reason;

use super::output::{Output, print_on};
use super::{Session, format};
use crate::api::client::Lines;
use crate::api::types::{Event, EventKind, EventQuery, Happening, ListChanged, Sample};
use crate::datapath::memory::read;
use crate::domain::Prefix;
use crate::host::framing::Framing;

const EXAMPLES: &str = "\
Examples:
  xdp-throttle events                                the last hundred
  xdp-throttle events --follow --kind ban,unban,class
  xdp-throttle events --kind sample --reason blocklisted --source 203.0.113.0/24
  xdp-throttle events --follow --output json | jq .  one object a line

Samples are some of the dropped packets, as many as `[events]` in the configuration says. The daemon
keeps the last events in memory only; docs/events.md says how many, and how to have a file of them.";

/// Show bans, attacks, changes and sampled packets
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Go on with what happens, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How many of the past to show, the latest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    limit: u64,
    #[command(flatten)]
    wanted: Wanted,
    /// Only these kinds, joined by commas: ban, unban, class, list, reload, attach, detach, sample
    #[arg(
        long = "kind",
        value_name = "KINDS",
        value_enum,
        value_delimiter = ',',
        hide_possible_values = true,
        help_heading = "Which"
    )]
    kinds: Vec<EventKind>,
}

/// Which packets; also for `capture`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which")]
pub(crate) struct Wanted {
    /// Only for these reasons, joined by commas: see docs/reasons.md
    #[arg(
        long = "reason",
        value_name = "REASONS",
        value_parser = reason(),
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub(crate) reasons: Vec<String>,
    /// Only from sources in this prefix
    #[arg(long, value_name = "PREFIX", value_parser = Prefix::parse_strict)]
    pub(crate) source: Option<Prefix>,
}

fn reason() -> impl clap::builder::TypedValueParser<Value = String> {
    PossibleValuesParser::new(Reason::ALL.iter().map(|reason| reason.name())).map(|name| name)
}

/// Words joined by commas; nothing for none.
pub(crate) fn joined(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(","))
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let lines = session.client.events(&self.query()).await?;
        show(lines, session.output).await
    }

    fn query(&self) -> EventQuery {
        let kinds: Vec<String> = self.kinds.iter().map(|kind| kind.name().into()).collect();
        EventQuery {
            follow: self.follow,
            kinds: joined(&kinds),
            reasons: joined(&self.wanted.reasons),
            source: self.wanted.source,
            limit: Some(self.limit),
        }
    }
}

async fn show(mut lines: Lines<Event>, output: Output) -> anyhow::Result<()> {
    while let Some(event) = lines.next().await? {
        let text = match output {
            Output::Table => render(&event),
            Output::Json => serde_json::to_string(&event)? + "\n",
        };
        if !print_on(&text)? {
            return Ok(());
        }
    }
    Ok(())
}

/// One line.
fn render(event: &Event) -> String {
    let kind = event.what.kind().map_or("lost", EventKind::name);
    let text = format!(
        "{:.3}  {kind:<7} {}",
        event.at,
        describe(event.at, &event.what)
    );
    format::printable(&text) + "\n"
}

fn describe(at: Timestamp, what: &Happening) -> String {
    match what {
        Happening::Ban(ban) => format!(
            "{} for {}, until {:.0} ({}), level {}",
            ban.source,
            ban.reason,
            ban.until,
            format::until(Some(ban.until), at),
            ban.level
        ),
        Happening::Unban(ban) => format!("{}: {}", ban.source, ban.cause.name()),
        Happening::Class(class) => {
            let on = if class.switched_on.is_empty() {
                String::new()
            } else {
                format!("; in force: {}", class.switched_on.join(", "))
            };
            format!(
                "{}: {} to {}, {} packets a second over its budget{on}",
                class.class,
                class.from,
                class.to,
                format::count(class.over_per_second)
            )
        }
        Happening::List(list) => list_change(list),
        Happening::Reload(reload) => match &reload.error {
            Some(error) => format!("refused: {}", error.lines().next().unwrap_or_default()),
            None if reload.changes.is_empty() => format!("{}: nothing changed", reload.path),
            None => format!("{}: {}", reload.path, reload.changes.join("; ")),
        },
        Happening::Attach(interface) => format!("{}, {}", interface.interface, interface.mode),
        Happening::Detach(interface) => {
            format!("{}: {}", interface.interface, interface.cause.name())
        }
        Happening::Sample(sample) => describe_sample(sample),
        Happening::Lost(lost) => format!(
            "{} came faster than they were read here",
            format::plural(lost.events, "event", "events")
        ),
    }
}

fn list_change(list: &ListChanged) -> String {
    let mut counts: Vec<String> = Vec::new();
    for (count, what) in [
        (list.added, "added"),
        (list.updated, "updated"),
        (list.removed, "removed"),
    ] {
        if count > 0 {
            counts.push(format!("{} {what}", format::count(count)));
        }
    }
    let which = list
        .prefix
        .map_or_else(String::new, |prefix| format!(" {prefix}"));
    format!(
        "{} {}: {}{which}, by {}",
        list.table.name(),
        list.list.as_deref().unwrap_or("(several)"),
        counts.join(", "),
        list.cause.name()
    )
}

/// "dropped blocklisted eth0 203.0.113.9:4711 > 192.0.2.1:443 TCP SYN, 60 bytes (list manual)".
pub(crate) fn describe_sample(sample: &Sample) -> String {
    let mut why: Vec<String> = Vec::new();
    for (what, name) in [("list", &sample.list), ("class", &sample.class)] {
        why.extend(name.as_ref().map(|name| format!("{what} {name}")));
    }
    if sample.stands_for > 1 {
        why.push(format!("one of {}", format::count(sample.stands_for)));
    }
    let why = match why.join(", ") {
        none if none.is_empty() => none,
        some => format!(" ({some})"),
    };
    format!(
        "{} {} {} {}, {} bytes{why}",
        sample.action,
        sample.reason,
        sample.interface.as_deref().unwrap_or("-"),
        headers(sample),
        sample.length
    )
}

/// Who to whom, as far as the frame's first bytes say.
fn headers(sample: &Sample) -> String {
    let framing = match sample.bare_ip {
        true => Framing::Bare,
        false => Framing::Ethernet,
    };
    match read(framing, &sample.frame.0) {
        ControlFlow::Continue(packet) => flow(&packet),
        ControlFlow::Break(_) => sample
            .source
            .map_or_else(|| "unreadable".to_owned(), |source| source.to_string()),
    }
}

fn flow(packet: &Packet) -> String {
    let address = |address: &Address| match address.octets() {
        Octets::V4(octets) => IpAddr::from(octets),
        Octets::V6(octets) => IpAddr::from(octets),
    };
    let (from, to) = (address(&packet.source), address(&packet.destination));
    let at = |address: IpAddr, port: u16| std::net::SocketAddr::new(address, port);
    match packet.transport {
        Transport::Tcp {
            source,
            destination,
            flags,
        } => format!(
            "{} > {} TCP {}",
            at(from, source),
            at(to, destination),
            tcp_flags(flags)
        ),
        Transport::Udp {
            source,
            destination,
        } => format!("{} > {} UDP", at(from, source), at(to, destination)),
        Transport::Icmp { kind, .. } => {
            let name = match packet.protocol {
                protocol::ICMP => "ICMP",
                _ => "ICMPv6",
            };
            format!("{from} > {to} {name} type {kind}")
        }
        Transport::Opaque => format!("{from} > {to} protocol {}", packet.protocol),
    }
}

fn tcp_flags(flags: u8) -> String {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| flags >> bit & 1 != 0);
    let names: Vec<&str> = set.map(|(_, name)| *name).collect();
    if names.is_empty() {
        "no flags".to_owned()
    } else {
        names.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{
        BanBegan, ClassChanged, EventsLost, FrameBytes, ListCause, ListKind, Reloaded,
    };
    use crate::domain::ClassState;

    fn line(what: Happening) -> String {
        render(&Event {
            number: 1,
            at: "2026-11-22T12:00:00.123456Z".parse().unwrap(),
            what,
        })
    }

    #[test]
    fn every_event_is_one_line_with_what_matters() {
        let ban = line(Happening::Ban(BanBegan {
            source: "203.0.113.9".parse().unwrap(),
            until: "2026-11-22T12:01:00Z".parse().unwrap(),
            level: 2,
            reason: "rate_packets".into(),
        }));
        assert_eq!(
            ban,
            "2026-11-22T12:00:00.123Z  ban     203.0.113.9 for rate_packets, until \
             2026-11-22T12:01:00Z (in 1m), level 2\n"
        );
        let class = line(Happening::Class(ClassChanged {
            class: "tcp-new".into(),
            from: ClassState::Normal,
            to: ClassState::Attack,
            over_per_second: 91_000,
            switched_on: vec!["SYN cookies".into()],
        }));
        assert!(
            class.ends_with(
                "tcp-new: normal to attack, 91,000 packets a second over its budget; in force: \
                 SYN cookies\n"
            ),
            "{class}"
        );
        let list = line(Happening::List(ListChanged {
            table: ListKind::Block,
            list: Some("bad".into()),
            cause: ListCause::Import,
            added: 1200,
            updated: 0,
            removed: 3,
            prefix: None,
        }));
        assert!(
            list.ends_with("block bad: 1,200 added, 3 removed, by import\n"),
            "{list}"
        );
        let refused = line(Happening::Reload(Reloaded {
            path: "c.toml".into(),
            changes: Vec::new(),
            error: Some("c.toml:1:1: wrong\n  help: right".into()),
        }));
        assert!(
            refused.ends_with("refused: c.toml:1:1: wrong\n"),
            "{refused}"
        );
        let lost = line(Happening::Lost(EventsLost { events: 7 }));
        assert!(lost.contains("lost    7 events"), "{lost}");
    }

    #[test]
    fn a_sample_says_who_sent_what_to_whom_and_why_it_went() {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend([203, 0, 113, 9, 192, 0, 2, 1]);
        frame.extend([
            0x12, 0x67, 0x01, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0,
        ]);
        let sample = |frame: &[u8]| Sample {
            interface: Some("eth0".into()),
            reason: "blocklisted".into(),
            action: "dropped".into(),
            source: "203.0.113.9".parse().ok(),
            list: Some("manual".into()),
            class: Some("tcp-new".into()),
            stands_for: 1200,
            length: 54,
            frame: FrameBytes(frame.to_vec()),
            bare_ip: false,
        };
        assert_eq!(
            describe_sample(&sample(&frame)),
            "dropped blocklisted eth0 203.0.113.9:4711 > 192.0.2.1:443 TCP SYN, 54 bytes \
             (list manual, class tcp-new, one of 1,200)"
        );
        let cut = describe_sample(&sample(&frame[..20]));
        assert!(
            cut.starts_with("dropped blocklisted eth0 203.0.113.9, 54 bytes"),
            "{cut}"
        );
    }
}
