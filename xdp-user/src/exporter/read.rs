//! From the daemon's state to the series of each metric.
//!
//! Series come from the closed sets, not from what the state happens to hold, so that each is
//! there from the start, at 0. Only what the host counts itself is told as far as it does.

use jiff::Timestamp;
use xdp_common::abi::{ABI_VERSION, Fault, NotIpKind};
use xdp_common::reason::Reason;

use super::Scrape;
use super::labels::{OK, OUTCOMES, REFUSED, TABLES, actions};
use super::metrics::Sample;
use crate::api::types::{
    ClassStatus, EventKind, Family, InterfaceStatus, KeptListStatus, LinkState, NamedCount,
    ReasonCount, Status, TableStatus, WaitReason,
};
use crate::domain::{AttachMode, ClassState, Mode};
use crate::events::LOSSES;

pub(super) fn packets(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_reason(scrape.status, |count| count.packets)
}

pub(super) fn bytes(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_reason(scrape.status, |count| count.bytes)
}

fn by_reason(status: &Status, number: fn(&ReasonCount) -> u64) -> Vec<Sample> {
    let mut samples = Vec::new();
    for interface in &status.interfaces {
        for reason in Reason::ALL
            .iter()
            .map(|reason| (reason.name(), actions(*reason)))
        {
            let (reason, actions) = reason;
            for action in actions {
                let found = interface
                    .reasons
                    .iter()
                    .find(|count| count.reason == reason && count.action == *action);
                let labels = [interface.name.as_str(), reason, action];
                samples.push(sample(&labels, found.map_or(0, number)));
            }
        }
    }
    samples
}

pub(super) fn interface_attached(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_interface(scrape.status, |interface| interface.attached)
}

pub(super) fn interface_waiting(scrape: &Scrape<'_>) -> Vec<Sample> {
    let interfaces = scrape.status.interfaces.iter();
    let samples = interfaces.flat_map(|interface| {
        WaitReason::ALL.map(|reason| {
            let waits = interface.waiting == Some(reason);
            sample(&[&interface.name, reason.name()], u64::from(waits))
        })
    });
    samples.collect()
}

pub(super) fn interface_generic(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_interface(scrape.status, |interface| {
        interface.attached && interface.mode.as_deref() == Some(AttachMode::Generic.name())
    })
}

pub(super) fn egress_attached(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_interface(scrape.status, |interface| interface.egress.is_some())
}

fn by_interface(status: &Status, holds: fn(&InterfaceStatus) -> bool) -> Vec<Sample> {
    status
        .interfaces
        .iter()
        .map(|interface| sample(&[&interface.name], u64::from(holds(interface))))
        .collect()
}

pub(super) fn mode(scrape: &Scrape<'_>) -> Vec<Sample> {
    Mode::ALL
        .into_iter()
        .map(|mode| sample(&[mode.name()], u64::from(mode == scrape.status.mode)))
        .collect()
}

pub(super) fn table_entries(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_table(scrape.status, |table| table.entries)
}

pub(super) fn table_capacity(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_table(scrape.status, |table| table.capacity)
}

pub(super) fn table_memory(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_table(scrape.status, |table| table.memory_bytes)
}

pub(super) fn sources_protected(scrape: &Scrape<'_>) -> Vec<Sample> {
    vec![sample(&[], scrape.status.protected_sources)]
}

fn by_table(status: &Status, number: fn(&TableStatus) -> u64) -> Vec<Sample> {
    TABLES
        .into_iter()
        .map(|name| {
            let found = status.tables.iter().find(|table| table.name == name);
            sample(&[name], found.map_or(0, number))
        })
        .collect()
}

pub(super) fn bans(scrape: &Scrape<'_>) -> Vec<Sample> {
    vec![sample(&[], scrape.status.bans)]
}

pub(super) fn list_entries(scrape: &Scrape<'_>) -> Vec<Sample> {
    scrape
        .status
        .lists
        .iter()
        .map(|list| sample(&[list.kind.name(), list.name.as_str()], list.entries))
        .collect()
}

pub(super) fn list_confirmed(scrape: &Scrape<'_>) -> Vec<Sample> {
    let lists = scrape.status.kept_lists.iter();
    let seconds = |at: Timestamp| at.as_millisecond() as f64 / 1000.0;
    lists
        .map(|list| Sample {
            labels: vec![list.name.to_string()],
            value: list.confirmed.map_or(0.0, seconds),
        })
        .collect()
}

pub(super) fn list_stale(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_kept_list(scrape.status, |list| list.stale)
}

pub(super) fn list_refresh_failed(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_kept_list(scrape.status, |list| list.last_error.is_some())
}

fn by_kept_list(status: &Status, holds: fn(&KeptListStatus) -> bool) -> Vec<Sample> {
    let lists = status.kept_lists.iter();
    lists
        .map(|list| sample(&[list.name.as_str()], u64::from(holds(list))))
        .collect()
}

pub(super) fn list_refresh_failures(scrape: &Scrape<'_>) -> Vec<Sample> {
    let lists = scrape.status.kept_lists.iter();
    let causes = |list: &KeptListStatus| -> Vec<Sample> {
        let counts = list.failures.iter();
        counts
            .map(|count| sample(&[list.name.as_str(), &count.name], count.count))
            .collect()
    };
    lists.flat_map(causes).collect()
}

pub(super) fn class_packets(scrape: &Scrape<'_>) -> Vec<Sample> {
    let classes = scrape.status.mitigation.classes.iter();
    let outcomes = |class: &ClassStatus| {
        OUTCOMES.map(|(outcome, count)| sample(&[&class.name, outcome], count(&class.counts)))
    };
    classes.flat_map(outcomes).collect()
}

pub(super) fn class_bytes(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_class(scrape.status, |class| class.counts.bytes)
}

pub(super) fn class_state(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_class(scrape.status, |class| class.state.level())
}

fn by_class(status: &Status, number: fn(&ClassStatus) -> u64) -> Vec<Sample> {
    let classes = status.mitigation.classes.iter();
    classes
        .map(|class| sample(&[&class.name], number(class)))
        .collect()
}

pub(super) fn class_state_changes(scrape: &Scrape<'_>) -> Vec<Sample> {
    let classes = scrape.status.mitigation.classes.iter();
    let states = |class: &ClassStatus| {
        let changes = &class.state_changes;
        ClassState::ALL.map(|state| sample(&[&class.name, state.name()], changes.of(state)))
    };
    classes.flat_map(states).collect()
}

pub(super) fn mitigation_aside(scrape: &Scrape<'_>) -> Vec<Sample> {
    let asides = &scrape.status.mitigation.asides;
    let interfaces = scrape.status.interfaces.iter();
    let families = |interface: &InterfaceStatus| {
        Family::ALL.map(|family| {
            let aside = asides.iter().any(|aside| {
                aside.in_force && aside.interface == interface.name && aside.family == family
            });
            sample(&[&interface.name, family.name()], u64::from(aside))
        })
    };
    interfaces.flat_map(families).collect()
}

pub(super) fn reloads(scrape: &Scrape<'_>) -> Vec<Sample> {
    let config = &scrape.status.config;
    vec![
        sample(&[OK], config.reloads),
        sample(&[REFUSED], config.refused),
    ]
}

pub(super) fn events_lost(scrape: &Scrape<'_>) -> Vec<Sample> {
    vec![sample(&[], fault_count(scrape.status, Fault::EventLost))]
}

pub(super) fn events(scrape: &Scrape<'_>) -> Vec<Sample> {
    let published = &scrape.status.events.published;
    let kinds = EventKind::ALL.map(EventKind::name);
    kinds
        .into_iter()
        .map(|kind| named(published, kind))
        .collect()
}

pub(super) fn event_copies_lost(scrape: &Scrape<'_>) -> Vec<Sample> {
    let lost = &scrape.status.events.lost;
    LOSSES
        .into_iter()
        .map(|outlet| named(lost, outlet))
        .collect()
}

/// The count of a name, 0 where it isn't there.
fn named(counts: &[NamedCount], name: &str) -> Sample {
    let found = counts.iter().find(|count| count.name == name);
    sample(&[name], found.map_or(0, |count| count.count))
}

pub(super) fn faults(scrape: &Scrape<'_>) -> Vec<Sample> {
    Fault::ALL
        .iter()
        .map(|fault| sample(&[fault.name()], fault_count(scrape.status, *fault)))
        .collect()
}

pub(super) fn not_ip(scrape: &Scrape<'_>) -> Vec<Sample> {
    let of = |kind: &NotIpKind| {
        let rows = scrape.status.not_ip.iter();
        let rows = rows.filter(|row| row.kind == kind.name());
        sample(&[kind.name()], rows.map(|row| row.packets).sum())
    };
    NotIpKind::ALL.iter().map(of).collect()
}

fn fault_count(status: &Status, fault: Fault) -> u64 {
    let found = status
        .faults
        .iter()
        .find(|count| count.name == fault.name());
    found.map_or(0, |count| count.count)
}

pub(super) fn interface_up(scrape: &Scrape<'_>) -> Vec<Sample> {
    let interfaces = scrape.status.host.interfaces.iter();
    interfaces
        .map(|one| sample(&[&one.name], u64::from(one.link == LinkState::Up)))
        .collect()
}

pub(super) fn interface_receive_packets(scrape: &Scrape<'_>) -> Vec<Sample> {
    let interfaces = scrape.status.host.interfaces.iter();
    interfaces
        .map(|interface| sample(&[&interface.name], interface.packets))
        .collect()
}

pub(super) fn interface_receive_lost(scrape: &Scrape<'_>) -> Vec<Sample> {
    let interfaces = scrape.status.host.interfaces.iter();
    interfaces
        .flat_map(|interface| {
            let lost = interface.lost.iter();
            lost.map(|lost| sample(&[&interface.name, &lost.name], lost.count))
        })
        .collect()
}

pub(super) fn host_lost(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_name(&scrape.status.host.lost)
}

pub(super) fn host_time_squeezes(scrape: &Scrape<'_>) -> Vec<Sample> {
    let squeezes = scrape.status.host.time_squeezes.into_iter();
    squeezes.map(|number| sample(&[], number)).collect()
}

pub(super) fn host_syn_cookies(scrape: &Scrape<'_>) -> Vec<Sample> {
    by_name(&scrape.status.host.syn_cookies)
}

fn by_name(counts: &[NamedCount]) -> Vec<Sample> {
    let counts = counts.iter();
    counts.map(|one| sample(&[&one.name], one.count)).collect()
}

pub(super) fn build_info(scrape: &Scrape<'_>) -> Vec<Sample> {
    vec![sample(
        &[&scrape.status.version, &ABI_VERSION.to_string()],
        1,
    )]
}

pub(super) fn start_time(scrape: &Scrape<'_>) -> Vec<Sample> {
    vec![time(scrape.status.started)]
}

pub(super) fn config_loaded(scrape: &Scrape<'_>) -> Vec<Sample> {
    vec![time(scrape.status.config.loaded)]
}

pub(super) fn scrape_errors(scrape: &Scrape<'_>) -> Vec<Sample> {
    vec![sample(&[], scrape.scrape_errors)]
}

/// Counts over 2^53 lose their last digits, as everywhere in Prometheus.
fn sample(labels: &[&str], value: u64) -> Sample {
    Sample {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        value: value as f64,
    }
}

fn time(at: Timestamp) -> Sample {
    Sample {
        labels: Vec::new(),
        value: at.as_millisecond() as f64 / 1000.0,
    }
}
