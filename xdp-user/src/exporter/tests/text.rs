//! What the text says.

use std::collections::BTreeSet;
use std::net::IpAddr;

use xdp_common::abi::{ABI_VERSION, NotIpKind};
use xdp_common::reason::{Class, Reason};

use super::*;
use crate::api::types::{AsideStatus, EventKind, Family, ReasonCount, WaitReason};
use crate::domain::Prefix;
use crate::events::LOSSES;
use crate::exporter::labels::{Label, OUTCOMES, actions};
use crate::exporter::metrics::{METRICS, Metric};
use crate::exporter::reference;
use crate::feeds::FeedCause;

fn count(reason: Reason, action: &str, packets: u64, bytes: u64) -> ReasonCount {
    ReasonCount {
        reason: reason.name().to_owned(),
        action: action.to_owned(),
        packets,
        bytes,
    }
}

#[test]
fn every_series_of_a_fresh_daemon_is_there_and_at_zero() {
    let pairs: usize = Reason::ALL
        .iter()
        .map(|reason| actions(*reason).len())
        .sum();
    let expected = [
        ("xdp_throttle_packets_total", 2 * pairs),
        ("xdp_throttle_bytes_total", 2 * pairs),
        ("xdp_throttle_interface_attached", 2),
        ("xdp_throttle_interface_waiting", 2 * WaitReason::ALL.len()),
        ("xdp_throttle_interface_generic", 2),
        ("xdp_throttle_egress_attached", 2),
        ("xdp_throttle_mode", 2),
        ("xdp_throttle_table_entries", 5),
        ("xdp_throttle_table_capacity", 5),
        ("xdp_throttle_table_memory_bytes", 5),
        ("xdp_throttle_sources_protected", 1),
        ("xdp_throttle_bans", 1),
        ("xdp_throttle_list_entries", 1),
        ("xdp_throttle_list_confirmed_timestamp_seconds", 1),
        ("xdp_throttle_list_stale", 1),
        ("xdp_throttle_list_refresh_failed", 1),
        (
            "xdp_throttle_list_refresh_failures_total",
            FeedCause::ALL.len(),
        ),
        ("xdp_throttle_class_packets_total", 2 * OUTCOMES.len()),
        ("xdp_throttle_class_bytes_total", 2),
        ("xdp_throttle_class_state", 2),
        ("xdp_throttle_class_state_changes_total", 2 * 3),
        ("xdp_throttle_mitigation_aside", 2 * 2),
        ("xdp_throttle_reloads_total", 2),
        ("xdp_throttle_events_lost_total", 1),
        ("xdp_throttle_events_total", EventKind::ALL.len()),
        ("xdp_throttle_event_copies_lost_total", LOSSES.len()),
        ("xdp_throttle_faults_total", 7),
        ("xdp_throttle_not_ip_packets_total", NotIpKind::ALL.len()),
        ("xdp_throttle_interface_up", 2),
        ("xdp_throttle_interface_receive_packets_total", 2),
        (
            "xdp_throttle_interface_receive_lost_total",
            2 * LinkLoss::ALL.len(),
        ),
        ("xdp_throttle_host_lost_total", HostLoss::ALL.len()),
        ("xdp_throttle_host_time_squeezes_total", 1),
        ("xdp_throttle_host_syn_cookies_total", 4),
        ("xdp_throttle_build_info", 1),
        ("xdp_throttle_start_time_seconds", 1),
        ("xdp_throttle_config_loaded_timestamp_seconds", 1),
        ("xdp_throttle_scrape_errors_total", 1),
    ];
    let read = Exposition::of(&fresh());
    let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names, expected.map(|(name, _)| name));
    for (name, number) in expected {
        let series = read.series.iter().filter(|(other, ..)| other == name);
        assert_eq!(series.clone().count(), number, "{name}");
        if read.kinds[name] == "counter" {
            assert!(series.clone().all(|(_, _, value)| *value == 0.0), "{name}");
        }
    }
}

#[test]
fn a_state_that_lacks_tables_and_faults_still_has_their_series() {
    let bare = Status {
        tables: Vec::new(),
        faults: Vec::new(),
        ..fresh()
    };
    let read = Exposition::of(&bare);
    for table in TABLES {
        let labels = [("table", table)];
        assert_eq!(read.value("xdp_throttle_table_entries", &labels), 0.0);
        assert_eq!(read.value("xdp_throttle_table_memory_bytes", &labels), 0.0);
    }
    for fault in Fault::ALL {
        let labels = [("fault", fault.name())];
        assert_eq!(read.value("xdp_throttle_faults_total", &labels), 0.0);
    }
}

#[test]
fn a_pass_reason_never_drops_and_a_drop_reason_does_both() {
    for reason in Reason::ALL {
        let expected: &[&str] = match reason.class() {
            Class::Pass => &["passed"],
            Class::Drop => &["dropped", "passed"],
            Class::Answer => &["answered", "passed"],
        };
        assert_eq!(actions(*reason), expected, "{reason:?}");
    }
}

#[test]
fn counts_land_in_the_series_of_their_interface_reason_and_action() {
    let mut status = fresh();
    status.interfaces[1].reasons = vec![
        count(Reason::Banned, "dropped", 7, 448),
        count(Reason::Banned, "passed", 2, 128),
        count(Reason::Accepted, "passed", 11, 16_500),
    ];
    let read = Exposition::of(&status);
    let value = |name, interface, reason, action| {
        let labels = [
            ("interface", interface),
            ("reason", reason),
            ("action", action),
        ];
        read.value(name, &labels)
    };
    let packets = "xdp_throttle_packets_total";
    let bytes = "xdp_throttle_bytes_total";
    assert_eq!(value(packets, "eth1", "banned", "dropped"), 7.0);
    assert_eq!(value(packets, "eth1", "banned", "passed"), 2.0);
    assert_eq!(value(bytes, "eth1", "accepted", "passed"), 16_500.0);
    assert_eq!(value(packets, "eth0", "banned", "dropped"), 0.0);
}

#[test]
fn losses_of_the_host_are_told_by_their_cause_and_left_out_where_they_are_not_counted() {
    let mut status = fresh();
    let host = &mut status.host;
    host.interfaces[0].packets = 9;
    host.interfaces[0].lost[0].count = 5;
    host.lost[3].count = 7;
    host.syn_cookies[1].count = 8;
    host.time_squeezes = Some(6);
    let read = Exposition::of(&status);
    let eth0 = ("interface", "eth0");
    let received = "xdp_throttle_interface_receive_packets_total";
    let lost = "xdp_throttle_interface_receive_lost_total";
    let cookies = "xdp_throttle_host_syn_cookies_total";
    assert_eq!(read.value(received, &[eth0]), 9.0);
    assert_eq!(read.value(lost, &[eth0, ("cause", "missed")]), 5.0);
    let overflow = [("cause", "listen_overflow")];
    assert_eq!(read.value("xdp_throttle_host_lost_total", &overflow), 7.0);
    assert_eq!(read.value(cookies, &[("event", "sent")]), 8.0);
    assert_eq!(
        read.value("xdp_throttle_host_time_squeezes_total", &[]),
        6.0
    );

    let uncounted = Status {
        events: EventsStatus::default(),
        host: HostStatus::default(),
        ..status
    };
    let read = Exposition::of(&uncounted);
    assert!(!read.kinds.keys().any(|name| name.contains("_host_")));
    assert_eq!(read.value("xdp_throttle_bans", &[]), 0.0);
}

#[test]
fn the_gauges_say_what_the_state_says() {
    let mut status = fresh();
    status.mode = Mode::Observe;
    status.bans = 9;
    status.interfaces[0].mode = Some("generic".to_owned());
    status.interfaces[1].attached = false;
    status.interfaces[1].mode = None;
    status.tables[1].entries = 12;
    status.tables[1].memory_bytes = 4096;
    status.protected_sources = 14;
    status.lists[0].entries = 13;
    status.config.reloads = 3;
    status.config.refused = 1;
    status.faults[2].count = 5;
    status.events.published[0].count = 12;
    status.events.lost[0].count = 7;
    let read = Exposition::of(&status);
    let abi = ABI_VERSION.to_string();
    type Expected<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);
    let expected: &[Expected<'_>] = &[
        ("xdp_throttle_mode", &[("mode", "observe")], 1.0),
        ("xdp_throttle_mode", &[("mode", "enforce")], 0.0),
        ("xdp_throttle_bans", &[], 9.0),
        (
            "xdp_throttle_interface_generic",
            &[("interface", "eth0")],
            1.0,
        ),
        (
            "xdp_throttle_interface_attached",
            &[("interface", "eth0")],
            1.0,
        ),
        (
            "xdp_throttle_interface_attached",
            &[("interface", "eth1")],
            0.0,
        ),
        (
            "xdp_throttle_interface_generic",
            &[("interface", "eth1")],
            0.0,
        ),
        ("xdp_throttle_table_entries", &[("table", "block")], 12.0),
        ("xdp_throttle_table_capacity", &[("table", "block")], 1000.0),
        (
            "xdp_throttle_table_memory_bytes",
            &[("table", "block")],
            4096.0,
        ),
        ("xdp_throttle_sources_protected", &[], 14.0),
        (
            "xdp_throttle_list_entries",
            &[("kind", "block"), ("list", "manual")],
            13.0,
        ),
        ("xdp_throttle_reloads_total", &[("result", "ok")], 3.0),
        ("xdp_throttle_reloads_total", &[("result", "refused")], 1.0),
        ("xdp_throttle_events_lost_total", &[], 5.0),
        ("xdp_throttle_events_total", &[("event_kind", "ban")], 12.0),
        ("xdp_throttle_events_total", &[("event_kind", "class")], 0.0),
        (
            "xdp_throttle_event_copies_lost_total",
            &[("outlet", "follower")],
            7.0,
        ),
        ("xdp_throttle_faults_total", &[("fault", "event_lost")], 5.0),
        (
            "xdp_throttle_build_info",
            &[("version", "1.2.3"), ("abi", &abi)],
            1.0,
        ),
        ("xdp_throttle_start_time_seconds", &[], 1_700_000_000.5),
        (
            "xdp_throttle_config_loaded_timestamp_seconds",
            &[],
            1_700_000_001.0,
        ),
    ];
    for (name, labels, value) in expected {
        assert_eq!(read.value(name, labels), *value, "{name} {labels:?}");
    }
}

#[test]
fn classes_tell_what_they_made_of_packets_and_how_they_are() {
    let mut status = fresh();
    let mitigation = &mut status.mitigation;
    let class = &mut mitigation.classes[0];
    class.state = ClassState::Attack;
    class.state_changes.attack = 3;
    class.counts = ClassCounts {
        packets: 100,
        bytes: 6400,
        newcomers: 1,
        over: 2,
        proven: 3,
        unsolicited: 4,
        refused: 5,
        cookies: 6,
        first_packets: 7,
        too_soon: 8,
        returned: 9,
        over_returning: 10,
    };
    let aside = |interface: &str, in_force| AsideStatus {
        interface: interface.to_owned(),
        family: Family::Ipv6,
        reason: "it forwards".to_owned(),
        in_force,
        told_by_flows: false,
    };
    mitigation.asides = vec![aside("eth0", true), aside("eth1", false)];
    let read = Exposition::of(&status);
    let packets = "xdp_throttle_class_packets_total";
    for (outcome, value) in [
        ("all", 100.0),
        ("newcomer", 1.0),
        ("over", 2.0),
        ("proven", 3.0),
        ("unsolicited", 4.0),
        ("refused", 23.0),
        ("cookie", 6.0),
        ("first_packet", 7.0),
        ("returned", 9.0),
    ] {
        let labels = [("class", "tcp-new"), ("outcome", outcome)];
        assert_eq!(read.value(packets, &labels), value, "{outcome}");
        let other = [("class", "game"), ("outcome", outcome)];
        assert_eq!(read.value(packets, &other), 0.0);
    }
    let class = [("class", "tcp-new")];
    assert_eq!(read.value("xdp_throttle_class_bytes_total", &class), 6400.0);
    assert_eq!(read.value("xdp_throttle_class_state", &class), 2.0);
    let changes = [("class", "tcp-new"), ("state", "attack")];
    let name = "xdp_throttle_class_state_changes_total";
    assert_eq!(read.value(name, &changes), 3.0);
    for (interface, family, value) in [
        ("eth0", "ipv6", 1.0),
        ("eth0", "ipv4", 0.0),
        ("eth1", "ipv6", 0.0),
    ] {
        let labels = [("interface", interface), ("family", family)];
        assert_eq!(read.value("xdp_throttle_mitigation_aside", &labels), value);
    }
}

#[test]
fn every_series_has_the_labels_of_the_table_with_values_of_their_sets() {
    let read = Exposition::of(&fresh());
    for (name, labels, _) in &read.series {
        let metric = METRICS.iter().find(|metric| metric.name == name).unwrap();
        let names: BTreeSet<&str> = metric.labels.iter().map(|label| label.name()).collect();
        assert_eq!(names, labels.keys().map(String::as_str).collect(), "{name}");
        for label in metric.labels {
            let value = labels[label.name()].as_str();
            if let Some(values) = label.values() {
                assert!(values.contains(&value), "{name} {value}");
            }
        }
    }
}

/// Only what the operator or the build names is open; anything that a packet holds is not.
#[test]
fn no_label_can_hold_an_address() {
    let open: Vec<&str> = Label::ALL
        .into_iter()
        .filter(|label| label.values().is_none())
        .map(Label::name)
        .collect();
    assert_eq!(open, ["interface", "list", "class", "version", "abi"]);
    for (name, labels, _) in Exposition::of(&fresh()).series {
        for value in labels.values() {
            assert!(value.parse::<IpAddr>().is_err(), "{name} {value}");
            assert!(value.parse::<Prefix>().is_err(), "{name} {value}");
        }
    }
}

#[test]
fn names_follow_the_conventions() {
    let counter = |metric: &Metric| metric.kind.name() == "counter";
    for metric in METRICS {
        let name = metric.name;
        assert!(name.starts_with("xdp_throttle_"), "{name}");
        assert_eq!(name.ends_with("_total"), counter(metric), "{name}");
        assert!(metric.help.ends_with('.'), "{name}");
    }
}

#[test]
fn a_daemon_without_interfaces_and_lists_leaves_their_metrics_out() {
    let empty = Status {
        interfaces: Vec::new(),
        lists: Vec::new(),
        ..fresh()
    };
    let read = Exposition::of(&empty);
    assert!(!read.kinds.contains_key("xdp_throttle_packets_total"));
    assert!(!read.kinds.contains_key("xdp_throttle_list_entries"));
    assert_eq!(read.value("xdp_throttle_bans", &[]), 0.0);
}

#[test]
fn the_reference_names_every_metric_label_reason_and_fault() {
    let page = reference::markdown();
    let metrics = METRICS.iter().map(|metric| (metric.name, metric.help));
    let labels = Label::ALL.map(|label| (label.name(), label.description()));
    let reasons = Reason::ALL
        .iter()
        .map(|reason| (reason.name(), reason.description().trim()));
    for (name, meaning) in metrics.chain(labels).chain(reasons) {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")) && line.contains(meaning));
        assert!(row.is_some(), "{name}");
    }
    for fault in Fault::ALL {
        assert!(page.contains(&format!("\n| `{}` |", fault.name())));
    }
    let causes = Label::Cause.values().unwrap();
    for name in causes.iter().chain(&Label::Event.values().unwrap()) {
        assert!(page.contains(&format!("\n| `{name}` |")), "{name}");
    }
    assert!(!page.contains("\n\n\n"), "two empty lines");
}
