//! Lists and bans: what they hold, what they hit, and how much room is left.

use super::board::Board;
use super::panel::Panel;

pub(super) fn board() -> Board {
    Board {
        name: "lists",
        title: "lists and bans",
        description: "What lists and bans hold and hit, and how full the kernel's tables are.",
        span: "now-6h",
        refresh: "30s",
        rows: vec![("Lists", lists()), ("Bans", bans()), ("Tables", tables())],
    }
}

fn lists() -> Vec<Panel> {
    vec![
        Panel::bars(
            "List entries",
            "Entries of each list, those that a wider entry covers included.",
        )
        .query(
            "sort_desc(max by (kind, list) (xdp_throttle_list_entries{@host}))",
            "{{kind}} {{list}}",
        ),
        Panel::lines("List entries over time", "A list that falls to nothing has lost its source.")
            .query(
                "max by (kind, list) (xdp_throttle_list_entries{@host})",
                "{{kind}} {{list}}",
            ),
        Panel::lines(
            "Age of lists that keep themselves",
            "Since the source last had the text in force. A list that its source never had isn't shown.",
        )
        .query(
            "max by (instance, list) (time() - (xdp_throttle_list_confirmed_timestamp_seconds{@host} > 0))",
            "{{instance}} {{list}}",
        )
        .unit("s"),
        Panel::lines(
            "Lists that failed or are stale",
            "1 while the last refresh changed nothing because of a failure, or the list is stale.",
        )
        .query(
            "max by (instance, list) (xdp_throttle_list_refresh_failed{@host})",
            "{{instance}} {{list}} failed",
        )
        .query(
            "max by (instance, list) (xdp_throttle_list_stale{@host})",
            "{{instance}} {{list}} stale",
        ),
        Panel::lines("Failed refreshes", "Per second, by why they changed nothing.")
            .query(
                "sum by (list, failure) (rate(xdp_throttle_list_refresh_failures_total{@host}[@rate]))",
                "{{list}} {{failure}}",
            )
            .unit("cps"),
        Panel::lines("Hits of lists", "Packets per second of sources on a blocklist or the allowlist.")
            .query(
                r#"sum by (reason, action) (rate(xdp_throttle_packets_total{@port,reason=~"blocklisted|allowlisted"}[@rate]))"#,
                "{{reason}} {{action}}",
            )
            .unit("pps"),
        Panel::lines("Bytes of listed sources", "The same in bytes per second.")
            .query(
                r#"sum by (reason, action) (rate(xdp_throttle_bytes_total{@port,reason=~"blocklisted|allowlisted"}[@rate]))"#,
                "{{reason}} {{action}}",
            )
            .unit("Bps"),
    ]
}

fn bans() -> Vec<Panel> {
    vec![
        Panel::lines("Bans over time", "Sources banned at each moment.")
            .query("sum by (instance) (xdp_throttle_bans{@host})", "{{instance}}"),
        Panel::lines("Hits of bans", "Packets per second of banned sources.")
            .query(
                r#"sum by (instance, action) (rate(xdp_throttle_packets_total{@port,reason="banned"}[@rate]))"#,
                "{{instance}} {{action}}",
            )
            .unit("pps"),
        Panel::stack(
            "Over the limits",
            "Packets per second over a limit per source, of a class or of a network: what strikes, \
             and bans with them, come from.",
        )
        .query(
            r#"sum by (reason) (rate(xdp_throttle_packets_total{@port,reason=~"rate_.*|class_packets|class_bytes|aggregate_.*"}[@rate]))"#,
            "{{reason}}",
        )
        .unit("pps"),
        Panel::lines("Bans that were not stored", "Per second, because the table of bans is full; the limits hold.")
            .query(
                r#"sum by (instance) (rate(xdp_throttle_faults_total{@host,fault="ban_table_full"}[@rate]))"#,
                "{{instance}}",
            )
            .unit("cps"),
    ]
}

fn tables() -> Vec<Panel> {
    vec![
        Panel::bars(
            "Table fill level",
            "Share of each table that is in use, of the fullest host. A full table of sources is no \
             fault: newcomers take each other's places.",
        )
        .query(
            "max by (table) (xdp_throttle_table_entries{@host} / xdp_throttle_table_capacity{@host})",
            "{{table}}",
        )
        .steps(&[("green", 0.0), ("yellow", 0.8), ("red", 0.95)])
        .most(1.0)
        .unit("percentunit")
        .size(8, 8),
        Panel::lines("Table entries", "Entries in the kernel's tables.")
            .query(
                "sum by (instance, table) (xdp_throttle_table_entries{@host})",
                "{{instance}} {{table}}",
            )
            .size(8, 8),
        Panel::lines("Table memory", "Memory that the kernel's tables take.")
            .query(
                "sum by (instance, table) (xdp_throttle_table_memory_bytes{@host})",
                "{{instance}} {{table}}",
            )
            .unit("bytes")
            .size(8, 8),
        Panel::lines(
            "Protected sources",
            "Share of the source table's places that no newcomer takes.",
        )
        .query(
            r#"sum by (instance) (xdp_throttle_sources_protected{@host}) / sum by (instance) (xdp_throttle_table_capacity{@host,table="sources"})"#,
            "{{instance}}",
        )
        .unit("percentunit")
        .size(12, 7),
    ]
}
