//! An attack in progress: what it is, what is done against it, and who suffers.

use super::board::Board;
use super::overview::{CLASS_STATES, DROP_SHARE};
use super::panel::Panel;

pub(super) fn board() -> Board {
    Board {
        name: "attack",
        title: "attack in progress",
        description: "What the attack is, what is done against it, and whether honest traffic suffers.",
        span: "now-15m",
        refresh: "5s",
        rows: vec![
            ("Now", now()),
            ("What it is", what_it_is()),
            ("Who gets through", who_gets_through()),
            ("Before and behind the program", losses()),
        ],
    }
}

fn now() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Coming in",
            "Packets per second on the interfaces, as the program sees them.",
        )
        .query(
            "sum(rate(xdp_throttle_packets_total{@port}[@rate]))",
            "packets",
        )
        .unit("pps"),
        Panel::stat(
            "Bandwidth",
            "Bytes per second of those packets: whole frames.",
        )
        .query("sum(rate(xdp_throttle_bytes_total{@port}[@rate]))", "bytes")
        .unit("Bps"),
        Panel::stat(
            "Kept away",
            "Share of all packets that did not reach the host.",
        )
        .query(DROP_SHARE, "drop share")
        .most(1.0)
        .unit("percentunit"),
        Panel::stat("Reaching the host", "Packets per second that passed.")
            .query(
                r#"sum(rate(xdp_throttle_packets_total{@port,action="passed"}[@rate]))"#,
                "passed",
            )
            .unit("pps"),
        Panel::stat(
            "Pressed classes",
            "Service classes over their budget (elevated), and far over it for a while (attack).",
        )
        .query(
            "count(xdp_throttle_class_state{@host} == 1) or vector(0)",
            "elevated",
        )
        .query(
            "count(xdp_throttle_class_state{@host} == 2) or vector(0)",
            "attack",
        )
        .warns("elevated", "yellow")
        .warns("attack", "red")
        .unit("none"),
        Panel::stat(
            "New bans",
            "How many more sources are banned than five minutes ago.",
        )
        .query(
            "clamp_min(round(sum(delta(xdp_throttle_bans{@host}[5m]))), 0)",
            "bans",
        )
        .unit("none"),
    ]
}

fn what_it_is() -> Vec<Panel> {
    vec![
        Panel::stack(
            "Reasons of what is kept away",
            "Packets per second that did not reach the host, by the one reason that each has.",
        )
        .query(
            r#"sum by (reason) (rate(xdp_throttle_packets_total{@port,action=~"dropped|answered"}[@rate])) > 0"#,
            "{{reason}}",
        )
        .unit("pps"),
        Panel::states(
            "States of classes",
            "Which service is pressed, and since when.",
            CLASS_STATES,
        )
        .query(
            "max by (instance, class) (xdp_throttle_class_state{@host})",
            "{{instance}} {{class}}",
        ),
        Panel::stack("Packets by class", "Packets per second of each service class.")
            .query(
                r#"sum by (class) (rate(xdp_throttle_class_packets_total{@host,outcome="all"}[@rate])) > 0"#,
                "{{class}}",
            )
            .unit("pps")
            .size(8, 8),
        Panel::stack(
            "Newcomers over the budget",
            "Packets per second of sources that are not known yet, beyond what their class has a \
             budget for.",
        )
        .query(
            r#"sum by (class) (rate(xdp_throttle_class_packets_total{@host,outcome="over"}[@rate]))"#,
            "{{class}}",
        )
        .unit("pps")
        .size(8, 8),
        Panel::lines(
            "Size of packets",
            "Bytes of an average packet: small ones press the CPUs, large ones the link.",
        )
        .query(
            "sum by (instance, interface) (rate(xdp_throttle_bytes_total{@port}[@rate])) / clamp_min(sum by (instance, interface) (rate(xdp_throttle_packets_total{@port}[@rate])), 0.001)",
            "{{instance}} {{interface}}",
        )
        .unit("bytes")
        .size(8, 8),
        Panel::lines(
            "Class state changes",
            "How often classes came into a state: one that keeps changing has a budget near its load.",
        )
        .query(
            "sum by (class, state) (increase(xdp_throttle_class_state_changes_total{@host}[@rate])) > 0",
            "{{class}} {{state}}",
        )
        .unit("none")
        .size(12, 7),
        Panel::states(
            "Classes stand aside",
            "Interfaces where classes decide nothing, because packets may be for another host.",
            &[("in force", "green"), ("stand aside", "yellow")],
        )
        .query(
            "max by (instance, interface, family) (xdp_throttle_mitigation_aside{@port})",
            "{{instance}} {{interface}} {{family}}",
        )
        .size(12, 7),
    ]
}

fn who_gets_through() -> Vec<Panel> {
    vec![
        Panel::stack(
            "What classes make of packets",
            "Known sources are not in it; newcomers are within the budget or over it, and those over \
             it prove themselves, are answered with a cookie, or are refused.",
        )
        .query(
            r#"sum by (outcome) (rate(xdp_throttle_class_packets_total{@host,outcome=~"proven|unsolicited|refused|cookie"}[@rate]))"#,
            "{{outcome}}",
        )
        .unit("pps"),
        Panel::stack("Passed by reason", "Packets per second that went on to the host.")
            .query(
                r#"sum by (reason) (rate(xdp_throttle_packets_total{@port,action="passed"}[@rate])) > 0"#,
                "{{reason}}",
            )
            .unit("pps"),
        Panel::lines(
            "Turned away at services",
            "Behind the program: connections that found a full accept queue, and datagrams that \
             found a full socket. When these grow, the service itself is too slow.",
        )
        .query(
            r#"sum by (instance, cause) (rate(xdp_throttle_host_lost_total{@host,cause=~"listen_overflow|listen_dropped|syn_queue_full|udp_buffer_full|udp6_buffer_full"}[@rate]))"#,
            "{{instance}} {{cause}}",
        )
        .unit("cps"),
        Panel::lines("SYN cookies of the kernel", "Its own, not the program's.")
            .query(
                "sum by (instance, event) (rate(xdp_throttle_host_syn_cookies_total{@host}[@rate]))",
                "{{instance}} {{event}}",
            )
            .unit("cps"),
    ]
}

fn losses() -> Vec<Panel> {
    vec![
        Panel::lines("Received by the interface", "By its own count; drivers differ in whether dropped ones are in it.")
            .query(
                "sum by (instance, interface) (rate(xdp_throttle_interface_receive_packets_total{@port}[@rate]))",
                "{{instance}} {{interface}}",
            )
            .unit("pps")
            .size(8, 7),
        Panel::lines(
            "Lost by link and driver",
            "Packets per second that no limit of ours is the cause of. Some causes are part of others.",
        )
        .query(
            "sum by (instance, interface, cause) (rate(xdp_throttle_interface_receive_lost_total{@port}[@rate]))",
            "{{instance}} {{interface}} {{cause}}",
        )
        .unit("pps")
        .size(8, 7),
        Panel::lines(
            "Lost by the kernel",
            "Behind the program, per second. Some causes are part of others.",
        )
        .query(
            "sum by (instance, cause) (rate(xdp_throttle_host_lost_total{@host}[@rate]))",
            "{{instance}} {{cause}}",
        )
        .query(
            "sum by (instance) (rate(xdp_throttle_host_time_squeezes_total{@host}[@rate]))",
            "{{instance}} time squeeze",
        )
        .unit("cps")
        .size(8, 7),
    ]
}
