//! A daemon's state and a strict reader of the text format, for the tests beside.

use std::collections::BTreeMap;

use jiff::Timestamp;
use xdp_common::abi::Fault;

use super::Scrape;
use super::labels::TABLES;
use crate::api::types::{
    ClassCounts, ClassStatus, ConfigStatus, EventsStatus, HostStatus, InterfaceReceived,
    InterfaceStatus, LinkState, ListKind, ListStatus, MitigationStatus, NamedCount, StateChanges,
    Status, TableStatus,
};
use crate::domain::{ClassState, Mode};
use crate::host::lost::{HostLoss, SynCookieEvent};
use crate::host::received::LinkLoss;

mod http;
mod page;
mod text;

/// A daemon that has just started: two interfaces, one list, no packet yet.
fn fresh() -> Status {
    Status {
        version: "1.2.3".to_owned(),
        pid: 1,
        started: Timestamp::from_millisecond(1_700_000_000_500).unwrap(),
        mode: Mode::Enforce,
        observe_reasons: Vec::new(),
        config: ConfigStatus {
            path: "/etc/xdp-throttle/config.toml".to_owned(),
            loaded: Timestamp::from_second(1_700_000_001).unwrap(),
            reloads: 0,
            refused: 0,
            last_error: None,
        },
        kernel: "6.18.0".to_owned(),
        verified_instructions: Some(1500),
        stages: Vec::new(),
        interfaces: ["eth0", "eth1"].map(interface).to_vec(),
        reasons: Vec::new(),
        tables: TABLES.map(table).to_vec(),
        maps: Vec::new(),
        memory_bytes: 0,
        protected_sources: 0,
        kept_lists: vec![crate::cli::samples::kept_list(Timestamp::UNIX_EPOCH)],
        lists: vec![ListStatus {
            name: "manual".parse().unwrap(),
            kind: ListKind::Block,
            entries: 0,
        }],
        bans: 0,
        mitigation: mitigation(),
        flow_memory: crate::api::types::FlowMemoryStatus::default(),
        faults: Fault::ALL
            .iter()
            .map(|fault| NamedCount {
                name: fault.name().to_owned(),
                count: 0,
            })
            .collect(),
        not_ip: Vec::new(),
        reach: crate::api::types::ReachStatus::default(),
        events: events(),
        host: host(),
        privileges: crate::api::types::PrivilegeStatus::default(),
        pins: crate::api::types::PinStatus::default(),
        pending: None,
        warnings: Vec::new(),
    }
}

fn events() -> EventsStatus {
    let named = |name: &str, count| NamedCount {
        name: name.to_owned(),
        count,
    };
    EventsStatus {
        published: vec![named("ban", 0), named("sample", 0)],
        lost: vec![named("follower", 0)],
    }
}

/// A kernel that counts everything.
fn host() -> HostStatus {
    let zero = |name: &str| NamedCount {
        name: name.to_owned(),
        count: 0,
    };
    let interface = |name: &str| InterfaceReceived {
        name: name.to_owned(),
        packets: 0,
        bytes: 0,
        lost: LinkLoss::ALL.map(|loss| zero(loss.name())).to_vec(),
        link: LinkState::Up,
    };
    HostStatus {
        interfaces: ["eth0", "eth1"].map(interface).to_vec(),
        lost: HostLoss::ALL.map(|loss| zero(loss.name())).to_vec(),
        syn_cookies: SynCookieEvent::ALL.map(|event| zero(event.name())).to_vec(),
        time_squeezes: Some(0),
    }
}

fn interface(name: &str) -> InterfaceStatus {
    InterfaceStatus {
        name: name.to_owned(),
        configured: None,
        waiting: None,
        waiting_why: None,
        index: 2,
        attached: true,
        mode: Some("native".to_owned()),
        egress: Some("tcx".to_owned()),
        egress_why: None,
        reasons: Vec::new(),
    }
}

fn mitigation() -> MitigationStatus {
    let class = |name: &str| ClassStatus {
        name: name.to_owned(),
        state: ClassState::Normal,
        since: Timestamp::from_second(1_700_000_001).unwrap(),
        switched_on: Vec::new(),
        counts: ClassCounts::default(),
        state_changes: StateChanges::default(),
    };
    MitigationStatus {
        enabled: true,
        forwarding: "stand-aside".to_owned(),
        classes: ["tcp-new", "game"].map(class).to_vec(),
        asides: Vec::new(),
        changes: Vec::new(),
    }
}

fn table(name: &str) -> TableStatus {
    TableStatus {
        name: name.to_owned(),
        entries: 0,
        capacity: 1000,
        memory_bytes: 0,
        when_full: String::new(),
    }
}

type Labels = BTreeMap<String, String>;

/// The text of a scrape, read back.
#[derive(Debug, Default)]
struct Exposition {
    help: BTreeMap<String, String>,
    kinds: BTreeMap<String, String>,
    series: Vec<(String, Labels, f64)>,
}

impl Exposition {
    fn of(status: &Status) -> Self {
        let scrape = Scrape {
            status,
            scrape_errors: 0,
        };
        Self::read(&super::render::text(&scrape).unwrap())
    }

    /// Reads the text format 0.0.4, and nothing that is only nearly so.
    fn read(text: &str) -> Self {
        let mut read = Self::default();
        assert!(text.ends_with('\n'), "the last line has no end");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(
                    read.help.insert(name.to_owned(), help.to_owned()).is_none(),
                    "{name} has two helps"
                );
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(
                    read.kinds
                        .insert(name.to_owned(), kind.to_owned())
                        .is_none(),
                    "{name} has two types"
                );
            } else {
                read.take_series(line);
            }
        }
        read
    }

    fn take_series(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels_of(labels.strip_suffix('}').unwrap())),
            None => (series, Labels::new()),
        };
        assert!(
            self.kinds.contains_key(name),
            "{name} comes before its type"
        );
        let twin = self.find(name, &labels);
        assert_eq!(twin, None, "{name} {labels:?} is there twice");
        let value = value.parse().unwrap();
        self.series.push((name.to_owned(), labels, value));
    }

    fn find(&self, name: &str, labels: &Labels) -> Option<f64> {
        self.series
            .iter()
            .find(|(other, its, _)| other == name && its == labels)
            .map(|(_, _, value)| *value)
    }

    /// The one series with this name and exactly these labels.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let owned = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.find(name, &owned)
            .unwrap_or_else(|| panic!("no series {name} {labels:?}"))
    }
}

/// `a="b",c="d"`, in values nothing that needs an escape.
fn labels_of(text: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap();
        let (value, after) = after.split_once('"').unwrap();
        assert!(!value.contains('\\'), "an escape in {text}");
        assert!(
            labels.insert(name.to_owned(), value.to_owned()).is_none(),
            "{name} is there twice in {text}"
        );
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    labels
}
