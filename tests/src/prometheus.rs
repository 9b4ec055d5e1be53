//! A real Prometheus in a [`Namespace`], scraping one target every second.

mod answers;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::netns::Namespace;
use crate::wait::wait_for;

pub use answers::{Rule, Series};

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

/// A file of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFile {
    /// Its name, without a directory.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Prometheus {
    /// Starts Prometheus without rules: see [`Prometheus::start_with`].
    ///
    /// # Errors
    /// As there.
    pub fn start(namespace: &Namespace, target: SocketAddr) -> Result<Self> {
        Self::start_with(namespace, target, &[])
    }

    /// Starts Debian's `prometheus` in `namespace` and waits until it has scraped `target`, an
    /// address as seen from there that serves `/metrics`. Rules are evaluated as often as it is scraped.
    ///
    /// # Errors
    /// When it isn't installed, ends, or can't scrape the target; then with its log.
    pub fn start_with(
        namespace: &Namespace,
        target: SocketAddr,
        rules: &[RuleFile],
    ) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("prometheus-")
            .tempdir()
            .context("cannot make a directory for Prometheus")?;
        let address = free_address(namespace)?;
        let config = directory.path().join("prometheus.yml");
        for rule in rules {
            fs::write(directory.path().join(&rule.name), &rule.text)
                .with_context(|| format!("cannot write the rules {}", rule.name))?;
        }
        fs::write(&config, config_text(target, rules))
            .context("cannot write Prometheus' config")?;
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
        let now = now()?;
        self.query_between(expression, now - span.as_secs_f64(), now, 1.0)
    }

    /// A range query from `start` to `end` in seconds since 1970, a value every `step` seconds.
    ///
    /// # Errors
    /// When Prometheus refuses the query; then with its words.
    pub fn query_between(
        &self,
        expression: &str,
        start: f64,
        end: f64,
        step: f64,
    ) -> Result<Vec<Series>> {
        let query = escaped(expression);
        self.ask(&format!(
            "/api/v1/query_range?query={query}&start={start}&end={end}&step={step}"
        ))
        .with_context(|| format!("the query {expression}"))
    }

    /// The values that a label has in the series that a selector chooses.
    ///
    /// # Errors
    /// When Prometheus refuses the selector; then with its words.
    pub fn label_values(&self, label: &str, selector: &str) -> Result<Vec<String>> {
        let data = self.data(&format!(
            "/api/v1/label/{label}/values?match[]={}",
            escaped(selector)
        ))?;
        Ok(serde_json::from_value(data)?)
    }

    /// Every rule, with how its last evaluation went.
    ///
    /// # Errors
    /// When Prometheus doesn't answer.
    pub fn rules(&self) -> Result<Vec<Rule>> {
        answers::rules(&self.data("/api/v1/rules")?)
    }

    fn ask(&self, path: &str) -> Result<Vec<Series>> {
        answers::series(&self.data(path)?)
    }

    fn data(&self, path: &str) -> Result<Value> {
        let body = get(&self.namespace, self.address, path)?;
        let mut answer: Value =
            serde_json::from_str(&body).with_context(|| format!("no JSON: {body}"))?;
        ensure!(
            answer["status"] == "success",
            "refused: {}",
            answer["error"]
        );
        Ok(answer["data"].take())
    }

    /// Where it answers, in its namespace.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Seconds since 1970, as Prometheus counts.
///
/// # Errors
/// When the clock is before that.
pub fn now() -> Result<f64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    Ok(now.as_secs_f64())
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

fn config_text(target: SocketAddr, rules: &[RuleFile]) -> String {
    let interval = SCRAPE_INTERVAL.as_secs();
    let rules: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    format!(
        "global:\n  scrape_interval: {interval}s\n  scrape_timeout: {interval}s\n  \
         evaluation_interval: {interval}s\nrule_files: {rules:?}\n\
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
