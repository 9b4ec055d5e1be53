use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xdp_user::api::types::{SourceList, SourceQuery, Status};
use xdp_user::config::StatusPage;
use xdp_user::exporter::{Guard, SnapshotSource, serve};

use super::*;
use crate::require_kernel;
use xdp_common::abi::Fault;

/// Blocks one more packet of 100 bytes at each scrape.
struct Growing(AtomicU64);

impl SnapshotSource for Growing {
    async fn snapshot(&self) -> Result<Arc<Status>> {
        let packets = self.0.fetch_add(1, Ordering::Relaxed);
        let status = serde_json::json!({
            "version": "1.2.3", "pid": 1, "started": "2026-01-01T00:00:00Z",
            "mode": "enforce", "observe_reasons": [], "kernel": "6.18",
            "config": {"path": "c", "loaded": "2026-01-01T00:00:00Z", "reloads": 0,
                "refused": 0},
            "interfaces": [{"name": "eth0", "index": 2, "attached": true, "mode": "native",
                "reasons": [{"reason": "blocklisted", "action": "dropped",
                    "packets": packets, "bytes": packets * 100}]}],
            "reasons": [], "tables": [], "memory_bytes": 0, "protected_sources": 0,
            "lists": [], "bans": 0, "faults": [], "warnings": [],
            "mitigation": {"enabled": true, "forwarding": "stand-aside", "asides": [],
                "changes": [], "classes": [{"name": "tcp-new", "state": "normal",
                    "since": "2026-01-01T00:00:00Z", "switched_on": [],
                    "state_changes": {"normal": 0, "elevated": 0, "attack": 0},
                    "counts": {"packets": packets, "bytes": packets * 100, "newcomers": 0,
                        "over": 0, "proven": 0, "unsolicited": 0, "refused": 0,
                        "cookies": 0}}]}
        });
        Ok(Arc::new(serde_json::from_value(status)?))
    }

    async fn sources(&self, _: SourceQuery) -> Result<SourceList> {
        bail!("a scrape asks for no sources")
    }
}

/// Serves in a namespace as long as the sender lives.
fn exporter(namespace: &Namespace) -> (SocketAddr, tokio::sync::oneshot::Sender<()>) {
    let listener = namespace
        .run(|| TcpListener::bind(("127.0.0.1", 0)))
        .unwrap()
        .unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let shutdown = async { stopped.await.unwrap_or_default() };
            serve(
                listener,
                Guard::default(),
                StatusPage::Off,
                Growing(AtomicU64::new(0)),
                shutdown,
            )
            .await
            .unwrap();
        });
    });
    (address, stop)
}

#[test]
fn a_real_prometheus_scrapes_the_exporter_and_answers_queries() {
    require_kernel!("a_real_prometheus_scrapes_the_exporter_and_answers_queries");
    let namespace = Namespace::new("prometheus").unwrap();
    let (target, _running) = exporter(&namespace);
    let prometheus = Prometheus::start(&namespace, target).unwrap();

    let dropped = "xdp_throttle_packets_total{reason=\"blocklisted\",action=\"dropped\"}";
    let one = |expression: &str| {
        let series = prometheus.query(expression).unwrap();
        assert_eq!(series.len(), 1, "{expression}: {series:?}");
        series[0].clone()
    };
    wait_for("three scrapes", START_TIMEOUT, || {
        (one(dropped).values[0] >= 3.0).then_some(())
    })
    .unwrap();
    assert_eq!(one(dropped).labels["interface"], "eth0");
    let faults = Fault::ALL.len() as f64;
    assert_eq!(one("count(xdp_throttle_faults_total)").values, [faults]);
    assert_eq!(one("scalar(sum(xdp_throttle_mode))").values, [1.0]);

    let range = prometheus
        .query_range(dropped, Duration::from_secs(60))
        .unwrap();
    assert_eq!(range.len(), 1);
    assert!(range[0].values.len() > 1, "{range:?}");
    assert!(range[0].max() >= Some(3.0), "{range:?}");

    let refused = prometheus.query("sum(").unwrap_err();
    assert!(
        format!("{refused:#}").contains("parse error"),
        "{refused:#}"
    );
}

#[test]
fn promtool_finds_nothing_to_say_about_the_exporters_text() {
    require_kernel!("promtool_finds_nothing_to_say_about_the_exporters_text");
    let namespace = Namespace::new("promtool").unwrap();
    let (target, _running) = exporter(&namespace);
    let text = get(&namespace, target, "/metrics").unwrap();
    let mut promtool = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "");
}

#[test]
fn a_target_that_is_not_there_is_told() {
    require_kernel!("a_target_that_is_not_there_is_told");
    let namespace = Namespace::new("nobody").unwrap();
    let absent = free_address(&namespace).unwrap();
    assert!(get(&namespace, absent, "/metrics").is_err());
}

#[test]
fn a_query_is_escaped_for_the_address_line() {
    assert_eq!(escaped("up{a=\"b\"}"), "up%7Ba%3D%22b%22%7D");
}
