//! A real Prometheus in a [`Namespace`], scraping one target every second.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::netns::Namespace;
use crate::wait::wait_for;

/// From the start of the process to the first scrape, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// For one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The job's name, so the value of the label `job`.
pub const JOB: &str = "xdp-throttle";
/// Between two scrapes.
pub const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// A running Prometheus with a directory of its own. Dropped, it is killed and its directory
/// removed.
#[derive(Debug)]
pub struct Prometheus {
    namespace: Namespace,
    address: SocketAddr,
    directory: TempDir,
    child: Child,
}

/// One series of an answer, with its values in the order of time: one for an instant query.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Labels; none for a scalar.
    pub labels: BTreeMap<String, String>,
    /// Values.
    pub values: Vec<f64>,
}

impl Series {
    /// The largest value; `None` without one that is a number.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        let numbers = self.values.iter().copied().filter(|value| !value.is_nan());
        numbers.reduce(f64::max)
    }
}

impl Prometheus {
    /// Starts Debian's `prometheus` in `namespace` and waits until it has scraped `target`, an
    /// address as seen from there that serves `/metrics`.
    ///
    /// # Errors
    /// When it isn't installed, ends, or can't scrape the target; then with its log.
    pub fn start(namespace: &Namespace, target: SocketAddr) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("prometheus-")
            .tempdir()
            .context("cannot make a directory for Prometheus")?;
        let address = free_address(namespace)?;
        let config = directory.path().join("prometheus.yml");
        fs::write(&config, config_text(target)).context("cannot write Prometheus' config")?;
        let log = fs::File::create(directory.path().join("log"))?;
        let child = namespace
            .command("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start prometheus: `cargo xtask setup` installs it")?;
        let mut prometheus = Self {
            namespace: namespace.clone(),
            address,
            directory,
            child,
        };
        prometheus
            .wait_for_the_first_scrape()
            .with_context(|| format!("the log of Prometheus:\n{}", prometheus.log()))?;
        Ok(prometheus)
    }

    fn wait_for_the_first_scrape(&mut self) -> Result<()> {
        let query = format!("up{{job=\"{JOB}\"}} == 1");
        let ended = wait_for("Prometheus to scrape its target", START_TIMEOUT, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Some(status));
            }
            let up = self.query(&query).is_ok_and(|series| !series.is_empty());
            up.then_some(None)
        })?;
        match ended {
            None => Ok(()),
            Some(status) => bail!("Prometheus ended at its start, {status}"),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// An instant query, as of now.
    ///
    /// # Errors
    /// When Prometheus refuses the query; then with its words.
    pub fn query(&self, expression: &str) -> Result<Vec<Series>> {
        self.ask(&format!("/api/v1/query?query={}", escaped(expression)))
            .with_context(|| format!("the query {expression}"))
    }

    /// A range query over the last `span` up to now, a value for each second.
    ///
    /// # Errors
    /// When Prometheus refuses the query; then with its words.
    pub fn query_range(&self, expression: &str, span: Duration) -> Result<Vec<Series>> {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .context("the clock is before 1970")?;
        let (start, end) = (now.saturating_sub(span).as_secs_f64(), now.as_secs_f64());
        let expression_escaped = escaped(expression);
        self.ask(&format!(
            "/api/v1/query_range?query={expression_escaped}&start={start}&end={end}&step=1"
        ))
        .with_context(|| format!("the query {expression}"))
    }

    fn ask(&self, path: &str) -> Result<Vec<Series>> {
        let body = get(&self.namespace, self.address, path)?;
        let answer: Value =
            serde_json::from_str(&body).with_context(|| format!("no JSON: {body}"))?;
        ensure!(
            answer["status"] == "success",
            "refused: {}",
            answer["error"]
        );
        let result = &answer["data"]["result"];
        if answer["data"]["resultType"] == "scalar" {
            return Ok(vec![Series {
                labels: BTreeMap::new(),
                values: vec![sample(result)?],
            }]);
        }
        let series = result.as_array().context("the result is no list")?;
        series.iter().map(one_series).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// The body of `http://ADDRESS/PATH`, fetched in `namespace`, whatever the status.
///
/// # Errors
/// When nobody answers there.
pub fn get(namespace: &Namespace, address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = namespace
        .run(|| TcpStream::connect_timeout(&address, ANSWER_TIMEOUT))?
        .with_context(|| format!("cannot connect to {address} in {}", namespace.name()))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    // HTTP/1.0: the answer comes whole and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("no answer from {address}"))?;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("no HTTP from {address}: {answer}"))?;
    Ok(body.to_owned())
}

/// A free address on loopback. The namespace is the caller's own, so nobody else takes it.
fn free_address(namespace: &Namespace) -> Result<SocketAddr> {
    let listener = namespace
        .run(|| TcpListener::bind(("127.0.0.1", 0)))?
        .context("no free port on loopback")?;
    Ok(listener.local_addr()?)
}

fn config_text(target: SocketAddr) -> String {
    let interval = SCRAPE_INTERVAL.as_secs();
    format!(
        "global:\n  scrape_interval: {interval}s\n  scrape_timeout: {interval}s\n\
         scrape_configs:\n  - job_name: {JOB}\n    static_configs:\n      \
         - targets: [\"{target}\"]\n"
    )
}

/// Percent-encoded for a query string (RFC 3986, section 2.1).
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn one_series(series: &Value) -> Result<Series> {
    let labels = series["metric"].as_object().context("no labels")?;
    let labels = labels
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let values = match series["values"].as_array() {
        Some(samples) => samples.iter().map(sample).collect::<Result<_>>()?,
        None => vec![sample(&series["value"])?],
    };
    Ok(Series { labels, values })
}

/// `[time, "value"]`
fn sample(sample: &Value) -> Result<f64> {
    let text = sample[1]
        .as_str()
        .with_context(|| format!("no sample: {sample}"))?;
    text.parse().with_context(|| format!("no number: {text}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use xdp_user::api::types::{SourceList, SourceQuery, Status};
    use xdp_user::config::StatusPage;
    use xdp_user::exporter::{SnapshotSource, serve};

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
}
