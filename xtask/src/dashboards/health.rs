//! The throttler itself: is it there, attached, configured, and sound?

use super::board::Board;
use super::panel::Panel;

pub(super) fn board() -> Board {
    Board {
        name: "health",
        title: "health",
        description: "Whether the throttler itself is there, attached, configured and sound.",
        span: "now-6h",
        refresh: "30s",
        rows: vec![
            ("Daemon", daemon()),
            ("Filtering", filtering()),
            ("Faults of its own", faults()),
        ],
    }
}

fn daemon() -> Vec<Panel> {
    vec![
        Panel::stat("Up", "Daemons that answer, and those that don't.")
            .query("sum(up{@host})", "up")
            .query("count(up{@host}) - sum(up{@host})", "down")
            .warns("down", "red")
            .unit("none"),
        Panel::stat("Uptime", "Of the daemon that started last.")
            .query(
                "time() - max(xdp_throttle_start_time_seconds{@host})",
                "uptime",
            )
            .steps(&[("yellow", 0.0), ("text", 300.0)])
            .unit("s"),
        Panel::stat("Build", "What runs where.")
            .query(
                "sum by (instance, version, abi) (xdp_throttle_build_info{@host})",
                "{{instance}}: {{version}}, ABI {{abi}}",
            )
            .unit("none")
            .size(8, 4),
        Panel::stat(
            "Age of the configuration",
            "Time since the configuration in force was loaded.",
        )
        .query(
            "time() - max by (instance) (xdp_throttle_config_loaded_timestamp_seconds{@host})",
            "{{instance}}",
        )
        .unit("s"),
        Panel::stat("Refused reloads", "Since the daemon's start.")
            .query(
                r#"sum(xdp_throttle_reloads_total{@host,result="refused"})"#,
                "refused",
            )
            .steps(&[("green", 0.0), ("yellow", 1.0)])
            .unit("none"),
        Panel::lines(
            "Reloads",
            "Reloads of the configuration, by how they ended.",
        )
        .query(
            "sum by (result) (increase(xdp_throttle_reloads_total{@host}[@rate]))",
            "{{result}}",
        )
        .color("ok", "green")
        .color("refused", "red")
        .size(8, 7),
        Panel::lines(
            "Duration of a scrape",
            "How long the daemon takes to tell its figures.",
        )
        .query(
            "max by (instance) (scrape_duration_seconds{@host})",
            "{{instance}}",
        )
        .unit("s")
        .size(8, 7),
        Panel::lines(
            "Failed scrapes",
            "Scrapes per second that had no answer, by the daemon's own count.",
        )
        .query(
            "sum by (instance) (rate(xdp_throttle_scrape_errors_total{@host}[@rate]))",
            "{{instance}}",
        )
        .unit("reqps")
        .size(8, 7),
    ]
}

fn filtering() -> Vec<Panel> {
    vec![
        Panel::states(
            "Attachment",
            "Whether the program is attached to each interface, and in which mode.",
            &[("detached", "red"), ("native", "green"), ("generic", "yellow")],
        )
        .query(
            "max by (instance, interface) (xdp_throttle_interface_attached{@port} + xdp_throttle_interface_generic{@port})",
            "{{instance}} {{interface}}",
        )
        .size(12, 7),
        Panel::states(
            "Links",
            "Whether anything can come in: down is switched off, or nobody at the other end.",
            &[("down", "red"), ("up", "green")],
        )
        .query(
            "max by (instance, interface) (xdp_throttle_interface_up{@port})",
            "{{instance}} {{interface}}",
        )
        .size(12, 7),
        Panel::states(
            "Flow memory",
            "Whether what leaves by each interface is noted, so that an answer is known to be asked for \
             without a socket.",
            &[("not noted", "yellow"), ("noted", "green")],
        )
        .query(
            "max by (instance, interface) (xdp_throttle_egress_attached{@port})",
            "{{instance}} {{interface}}",
        )
        .size(12, 7),
        Panel::lines(
            "Passed without a check",
            "Packets per second that passed because there was no policy, one of another version, or \
             no place for their source.",
        )
        .query(
            r#"sum by (reason) (rate(xdp_throttle_packets_total{@port,reason=~"no_policy|policy_mismatch|source_untracked"}[@rate]))"#,
            "{{reason}}",
        )
        .unit("pps")
        .size(12, 7),
        Panel::lines(
            "Waiting interfaces",
            "Interfaces of the configuration that can't be attached yet, by what they wait for.",
        )
        .query(
            "sum by (waiting) (xdp_throttle_interface_waiting{@port})",
            "{{waiting}}",
        )
        .unit("none")
        .size(12, 7),
        Panel::lines(
            "Not judged",
            "Packets per second that are no IP and pass unjudged, by what they carry.",
        )
        .query(
            "sum by (carried) (rate(xdp_throttle_not_ip_packets_total{@host}[@rate]))",
            "{{carried}}",
        )
        .unit("pps")
        .size(12, 7),
    ]
}

fn faults() -> Vec<Panel> {
    vec![
        Panel::lines("Faults", "Faults of the program per second, by kind.")
            .query(
                "sum by (fault) (rate(xdp_throttle_faults_total{@host}[@rate]))",
                "{{fault}}",
            )
            .unit("cps"),
        Panel::lines(
            "Lost events",
            "Events per second that did not reach the daemon.",
        )
        .query(
            "sum by (instance) (rate(xdp_throttle_events_lost_total{@host}[@rate]))",
            "{{instance}}",
        )
        .query(
            "sum by (outlet) (rate(xdp_throttle_event_copies_lost_total{@host}[@rate]))",
            "on the way to: {{outlet}}",
        )
        .unit("cps"),
        Panel::lines(
            "Events",
            "Events per second that the daemon told of, by kind; sampled packets are the most.",
        )
        .query(
            "sum by (event_kind) (rate(xdp_throttle_events_total{@host}[@rate]))",
            "{{event_kind}}",
        )
        .unit("cps"),
    ]
}
