//! All at a glance: what comes in, what is dropped and why.

use super::board::Board;
use super::panel::Panel;

/// Text and colour of a class's state, by its number.
pub(super) const CLASS_STATES: &[(&str, &str)] = &[
    ("normal", "green"),
    ("elevated", "yellow"),
    ("attack", "red"),
];

/// The share of packets that don't reach the host, of all series together.
pub(super) const DROP_SHARE: &str = r#"sum(rate(xdp_throttle_packets_total{@port,action=~"dropped|answered"}[@rate])) / clamp_min(sum(rate(xdp_throttle_packets_total{@port}[@rate])), 0.001)"#;

pub(super) fn board() -> Board {
    Board {
        name: "overview",
        title: "overview",
        description: "What comes in, what is dropped and why, on all hosts.",
        span: "now-1h",
        refresh: "30s",
        rows: vec![
            ("At a glance", at_a_glance()),
            ("Traffic", traffic()),
            ("Drops", drops()),
            ("Service classes", classes()),
        ],
    }
}

fn at_a_glance() -> Vec<Panel> {
    vec![
        Panel::stat("Mode", "Daemons in each mode. In observe mode nothing is dropped.")
            .query("sum by (mode) (xdp_throttle_mode{@host}) > 0", "{{mode}}")
            .unit("none"),
        Panel::stat(
            "Interfaces",
            "Interfaces with the program attached, those of them in generic mode (several times \
             slower than native), and those that are without it.",
        )
        .query("sum(xdp_throttle_interface_attached{@port})", "attached")
        .query("sum(xdp_throttle_interface_generic{@port})", "generic")
        .query(
            "count(xdp_throttle_interface_attached{@port}) - sum(xdp_throttle_interface_attached{@port})",
            "detached",
        )
        .warns("generic", "yellow")
        .warns("detached", "red")
        .unit("none")
        .size(6, 4),
        Panel::stat(
            "Dropped",
            "Packets per second that did not reach the host: dropped, or answered in its place.",
        )
        .query(
            r#"sum(rate(xdp_throttle_packets_total{@port,action=~"dropped|answered"}[@rate]))"#,
            "dropped",
        )
        .unit("pps"),
        Panel::stat("Drop share", "Share of all packets that did not reach the host.")
            .query(DROP_SHARE, "drop share")
            .steps(&[("green", 0.0), ("yellow", 0.2), ("red", 0.8)])
            .most(1.0)
            .unit("percentunit"),
        Panel::stat("Classes under attack", "Service classes in the state attack.")
            .query("count(xdp_throttle_class_state{@host} == 2) or vector(0)", "under attack")
            .steps(&[("green", 0.0), ("red", 1.0)])
            .unit("none")
            .size(3, 4),
        Panel::stat("Bans", "Sources banned now.")
            .query("sum(xdp_throttle_bans{@host})", "bans")
            .unit("none")
            .size(3, 4),
    ]
}

fn traffic() -> Vec<Panel> {
    vec![
        Panel::stack(
            "Packets by action",
            "Packets per second that went on to the host, that were dropped and that were answered \
             in its place.",
        )
        .query(
            "sum by (action) (rate(xdp_throttle_packets_total{@port}[@rate]))",
            "{{action}}",
        )
        .color("passed", "green")
        .color("dropped", "red")
        .unit("pps"),
        Panel::stack("Bytes by action", "The same in bytes per second, of whole frames.")
            .query(
                "sum by (action) (rate(xdp_throttle_bytes_total{@port}[@rate]))",
                "{{action}}",
            )
            .color("passed", "green")
            .color("dropped", "red")
            .unit("Bps"),
        Panel::lines("Packets by interface", "All packets that the program judged.")
            .query(
                "sum by (instance, interface) (rate(xdp_throttle_packets_total{@port}[@rate]))",
                "{{instance}} {{interface}}",
            )
            .unit("pps")
            .size(12, 7),
        Panel::lines(
            "Drop share by interface",
            "Share of an interface's packets that did not reach the host.",
        )
        .query(
            r#"sum by (instance, interface) (rate(xdp_throttle_packets_total{@port,action=~"dropped|answered"}[@rate])) / clamp_min(sum by (instance, interface) (rate(xdp_throttle_packets_total{@port}[@rate])), 0.001)"#,
            "{{instance}} {{interface}}",
        )
        .most(1.0)
        .unit("percentunit")
        .size(12, 7),
    ]
}

fn drops() -> Vec<Panel> {
    vec![
        Panel::stack(
            "Drops by reason",
            "Packets per second that did not reach the host, by the one reason that each has.",
        )
        .query(
            r#"sum by (reason) (rate(xdp_throttle_packets_total{@port,action=~"dropped|answered"}[@rate])) > 0"#,
            "{{reason}}",
        )
        .unit("pps"),
        Panel::stack("Dropped bytes by reason", "The same in bytes per second.")
            .query(
                r#"sum by (reason) (rate(xdp_throttle_bytes_total{@port,action=~"dropped|answered"}[@rate])) > 0"#,
                "{{reason}}",
            )
            .unit("Bps"),
        Panel::bars(
            "Drops in the time range",
            "Packets that did not reach the host, for each reason, in the time range of the \
             dashboard; reasons without any are left out.",
        )
        .query(
            r#"sort_desc(sum by (reason) (increase(xdp_throttle_packets_total{@port,action=~"dropped|answered"}[@range])) > 0)"#,
            "{{reason}}",
        ),
        Panel::lines(
            "Observed only",
            "Packets per second that had a reason to be dropped or answered and passed, because the \
             mode or observe_reasons says so.",
        )
        .query(
            r#"sum by (reason) (rate(xdp_throttle_packets_total{@port,action="passed",reason!~"accepted|allowlisted|not_ip|no_policy|policy_mismatch|source_untracked"}[@rate])) > 0"#,
            "{{reason}}",
        )
        .unit("pps"),
    ]
}

fn classes() -> Vec<Panel> {
    vec![
        Panel::states(
            "Class states",
            "How hard pressed each service class is: over its budget, or far over it for a while.",
            CLASS_STATES,
        )
        .query(
            "max by (instance, class) (xdp_throttle_class_state{@host})",
            "{{instance}} {{class}}",
        )
        .size(12, 10),
        Panel::stack(
            "Bytes by class",
            "Bytes per second of each service class, whatever became of them.",
        )
        .query(
            "sum by (class) (rate(xdp_throttle_class_bytes_total{@host}[@rate])) > 0",
            "{{class}}",
        )
        .unit("Bps")
        .size(12, 10),
    ]
}
