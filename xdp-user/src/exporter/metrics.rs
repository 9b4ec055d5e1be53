//! The table of metrics.

use super::labels::Label;
use super::{Scrape, read};

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up, from 0 when the kernel program is loaded or the daemon starts; the host's own since boot.
    Counter,
    /// Up and down.
    Gauge,
}

impl Kind {
    /// The word for it in the text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name, with its unit.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Labels, in the order of [`Sample::labels`].
    pub labels: &'static [Label],
    /// What it counts, as a sentence.
    pub help: &'static str,
    /// Reads every series of it.
    pub(crate) read: fn(&Scrape<'_>) -> Vec<Sample>,
}

/// One series' value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Values of [`Metric::labels`].
    pub(crate) labels: Vec<String>,
    /// The value, in the unit of the metric's name.
    pub(crate) value: f64,
}

/// Every metric, in the order of the text.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "xdp_throttle_packets_total",
        kind: Kind::Counter,
        labels: &[Label::Interface, Label::Reason, Label::Action],
        help: "Packets by the reason that they passed or were dropped for.",
        read: read::packets,
    },
    Metric {
        name: "xdp_throttle_bytes_total",
        kind: Kind::Counter,
        labels: &[Label::Interface, Label::Reason, Label::Action],
        help: "Bytes of those packets: whole Ethernet frames without their checksum.",
        read: read::bytes,
    },
    Metric {
        name: "xdp_throttle_interface_attached",
        kind: Kind::Gauge,
        labels: &[Label::Interface],
        help: "1 while the program is attached to the interface, else 0.",
        read: read::interface_attached,
    },
    Metric {
        name: "xdp_throttle_interface_waiting",
        kind: Kind::Gauge,
        labels: &[Label::Interface, Label::Waiting],
        help: "1 for what an interface without the program waits for, else 0.",
        read: read::interface_waiting,
    },
    Metric {
        name: "xdp_throttle_interface_generic",
        kind: Kind::Gauge,
        labels: &[Label::Interface],
        help: "1 while the program is attached in generic mode, several times slower than native.",
        read: read::interface_generic,
    },
    Metric {
        name: "xdp_throttle_egress_attached",
        kind: Kind::Gauge,
        labels: &[Label::Interface],
        help: "1 while what leaves by the interface is noted in the flow memory.",
        read: read::egress_attached,
    },
    Metric {
        name: "xdp_throttle_mode",
        kind: Kind::Gauge,
        labels: &[Label::Mode],
        help: "1 for the mode in force, 0 for the other.",
        read: read::mode,
    },
    Metric {
        name: "xdp_throttle_table_entries",
        kind: Kind::Gauge,
        labels: &[Label::Table],
        help: "Entries in a kernel table.",
        read: read::table_entries,
    },
    Metric {
        name: "xdp_throttle_table_capacity",
        kind: Kind::Gauge,
        labels: &[Label::Table],
        help: "Entries that fit into a kernel table.",
        read: read::table_capacity,
    },
    Metric {
        name: "xdp_throttle_table_memory_bytes",
        kind: Kind::Gauge,
        labels: &[Label::Table],
        help: "Memory that a kernel table takes now.",
        read: read::table_memory,
    },
    Metric {
        name: "xdp_throttle_sources_protected",
        kind: Kind::Gauge,
        labels: &[],
        help: "Known sources whose place no newcomer takes, at most five of seven places.",
        read: read::sources_protected,
    },
    Metric {
        name: "xdp_throttle_bans",
        kind: Kind::Gauge,
        labels: &[],
        help: "Bans in force.",
        read: read::bans,
    },
    Metric {
        name: "xdp_throttle_list_entries",
        kind: Kind::Gauge,
        labels: &[Label::Kind, Label::List],
        help: "Entries in a list, those that a wider entry covers included.",
        read: read::list_entries,
    },
    Metric {
        name: "xdp_throttle_list_confirmed_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[Label::List],
        help: "When the source of a list that keeps itself last had the text in force, in seconds since 1970-01-01 UTC; 0 for never.",
        read: read::list_confirmed,
    },
    Metric {
        name: "xdp_throttle_list_stale",
        kind: Kind::Gauge,
        labels: &[Label::List],
        help: "1 while a list that keeps itself was not confirmed for longer than its stale_after.",
        read: read::list_stale,
    },
    Metric {
        name: "xdp_throttle_list_refresh_failed",
        kind: Kind::Gauge,
        labels: &[Label::List],
        help: "1 if the last refresh of a list that keeps itself changed nothing because of a failure.",
        read: read::list_refresh_failed,
    },
    Metric {
        name: "xdp_throttle_list_refresh_failures_total",
        kind: Kind::Counter,
        labels: &[Label::List, Label::Failure],
        help: "Refreshes that changed nothing because of a failure.",
        read: read::list_refresh_failures,
    },
    Metric {
        name: "xdp_throttle_class_packets_total",
        kind: Kind::Counter,
        labels: &[Label::Class, Label::Outcome],
        help: "Packets of a service class, by what it made of them; the outcomes overlap.",
        read: read::class_packets,
    },
    Metric {
        name: "xdp_throttle_class_bytes_total",
        kind: Kind::Counter,
        labels: &[Label::Class],
        help: "Bytes of all packets of a service class.",
        read: read::class_bytes,
    },
    Metric {
        name: "xdp_throttle_class_state",
        kind: Kind::Gauge,
        labels: &[Label::Class],
        help: "How hard pressed a service class is: 0 normal, 1 elevated, 2 under attack.",
        read: read::class_state,
    },
    Metric {
        name: "xdp_throttle_class_state_changes_total",
        kind: Kind::Counter,
        labels: &[Label::Class, Label::State],
        help: "How often a service class came into a state.",
        read: read::class_state_changes,
    },
    Metric {
        name: "xdp_throttle_mitigation_aside",
        kind: Kind::Gauge,
        labels: &[Label::Interface, Label::Family],
        help: "1 while service classes stand aside on the interface, because its packets may be for another host.",
        read: read::mitigation_aside,
    },
    Metric {
        name: "xdp_throttle_reloads_total",
        kind: Kind::Counter,
        labels: &[Label::Result],
        help: "Reloads of the configuration, by how they ended.",
        read: read::reloads,
    },
    Metric {
        name: "xdp_throttle_events_lost_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Events that did not reach the daemon; also a fault, as event_lost.",
        read: read::events_lost,
    },
    Metric {
        name: "xdp_throttle_events_total",
        kind: Kind::Counter,
        labels: &[Label::EventKind],
        help: "Events since the daemon's start, sampled packets included.",
        read: read::events,
    },
    Metric {
        name: "xdp_throttle_event_copies_lost_total",
        kind: Kind::Counter,
        labels: &[Label::Outlet],
        help: "Events that somebody didn't get because they came faster than they were taken.",
        read: read::event_copies_lost,
    },
    Metric {
        name: "xdp_throttle_faults_total",
        kind: Kind::Counter,
        labels: &[Label::Fault],
        help: "Faults of our own in the kernel program.",
        read: read::faults,
    },
    Metric {
        name: "xdp_throttle_not_ip_packets_total",
        kind: Kind::Counter,
        labels: &[Label::NotIp],
        help: "Packets that weren't judged because they are no IP packets: all that passed as not_ip.",
        read: read::not_ip,
    },
    Metric {
        name: "xdp_throttle_interface_up",
        kind: Kind::Gauge,
        labels: &[Label::Interface],
        help: "1 while the interface is switched on and its link carries packets, else 0.",
        read: read::interface_up,
    },
    Metric {
        name: "xdp_throttle_interface_receive_packets_total",
        kind: Kind::Counter,
        labels: &[Label::Interface],
        help: "Packets that the interface received by its own count; whether those are in it that the program dropped differs by driver.",
        read: read::interface_receive_packets,
    },
    Metric {
        name: "xdp_throttle_interface_receive_lost_total",
        kind: Kind::Counter,
        labels: &[Label::Interface, Label::Cause],
        help: "Packets that link or driver lost, before or behind the program. Some causes are part of others: don't sum them.",
        read: read::interface_receive_lost,
    },
    Metric {
        name: "xdp_throttle_host_lost_total",
        kind: Kind::Counter,
        labels: &[Label::Cause],
        help: "Packets and connections that the kernel lost behind the program. Some causes are part of others: don't sum them.",
        read: read::host_lost,
    },
    Metric {
        name: "xdp_throttle_host_time_squeezes_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Times that a CPU of this machine ended its turn at receiving with packets left.",
        read: read::host_time_squeezes,
    },
    Metric {
        name: "xdp_throttle_host_syn_cookies_total",
        kind: Kind::Counter,
        labels: &[Label::Event],
        help: "What the kernel did with SYN cookies of its own, not the program's.",
        read: read::host_syn_cookies,
    },
    Metric {
        name: "xdp_throttle_build_info",
        kind: Kind::Gauge,
        labels: &[Label::Version, Label::Abi],
        help: "Always 1; the labels say what is running.",
        read: read::build_info,
    },
    Metric {
        name: "xdp_throttle_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When the daemon started, in seconds since 1970-01-01 UTC.",
        read: read::start_time,
    },
    Metric {
        name: "xdp_throttle_config_loaded_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When the configuration in force was loaded, in seconds since 1970-01-01 UTC.",
        read: read::config_loaded,
    },
    Metric {
        name: "xdp_throttle_scrape_errors_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Scrapes that had no answer because the daemon's state could not be read.",
        read: read::scrape_errors,
    },
];
