//! What the daemon says of itself, typed.

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use xdp_common::reason::Reason;
use xdp_user::api::types::{ReasonCount, Status};

use super::Daemon;
use crate::wait::wait_for;

/// A start that is refused is refused by then.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(30);

impl Daemon {
    /// [`Daemon::cli_json`] as the type that the daemon answered with.
    ///
    /// # Errors
    /// When it fails or prints anything else.
    pub fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let value = self.cli_json(arguments)?;
        serde_json::from_value(value).with_context(|| format!("{arguments:?} answered oddly"))
    }

    /// `status`.
    ///
    /// # Errors
    /// When it isn't answered.
    pub fn status(&self) -> Result<Status> {
        self.ask(&["status"])
    }

    /// Packets dropped for a reason, over all interfaces.
    ///
    /// # Errors
    /// When the daemon doesn't answer or doesn't know the reason.
    pub fn dropped(&self, reason: Reason) -> Result<u64> {
        count(&self.status()?.reasons, reason, "dropped")
    }

    /// Packets answered for a reason, over all interfaces.
    ///
    /// # Errors
    /// When the daemon doesn't answer.
    pub fn answered(&self, reason: Reason) -> Result<u64> {
        count(&self.status()?.reasons, reason, "answered")
    }

    /// Packets passed for a reason, over all interfaces.
    ///
    /// # Errors
    /// When the daemon doesn't answer or doesn't know the reason.
    pub fn passed(&self, reason: Reason) -> Result<u64> {
        count(&self.status()?.reasons, reason, "passed")
    }

    /// Its memory in KiB: `VmRSS`, what it has now, or `VmHWM`, the most that it has had (proc(5)).
    ///
    /// # Errors
    /// When it isn't running.
    pub fn memory_kib(&self, kind: &str) -> Result<u64> {
        let pid = self.pid().context("the daemon isn't running")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(kind));
        let figure = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(figure.with_context(|| format!("no {kind}"))?.parse()?)
    }

    /// Runs a verb with a text on its standard input.
    ///
    /// # Errors
    /// When it can't be started or doesn't take the text.
    pub fn cli_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        let mut child = self
            .namespace
            .command(&self.binary)
            .arg("--socket")
            .arg(self.socket_path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(input)?;
        drop(stdin);
        Ok(child.wait_with_output()?)
    }

    /// Starts the daemon once more, with a start that has to be refused, and returns how.
    ///
    /// # Errors
    /// When it can't be started, or goes on running.
    pub fn refusal(&self, program: &[&str], arguments: &[&str]) -> Result<Refusal> {
        let binary = self.binary.to_string_lossy();
        let all = [program, &[&*binary], arguments].concat();
        let (first, rest) = all.split_first().context("no program")?;
        let mut child = self
            .namespace
            .command(first)
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {first}"))?;
        let ended = wait_for("the start to be refused", REFUSAL_TIMEOUT, || {
            child.try_wait().transpose()
        });
        if ended.is_err() {
            child.kill()?;
        }
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ended.with_context(|| text.clone())??;
        ensure!(
            !output.status.success(),
            "it started and ended well: {text}"
        );
        Ok(Refusal {
            code: output.status.code(),
            text,
        })
    }
}

/// How a start was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it said on standard error.
    pub text: String,
}

/// A figure out of `status`; 0 where a reason without packets is left out.
///
/// # Errors
/// When `action` is none of the reason's.
pub fn count(counts: &[ReasonCount], reason: Reason, action: &str) -> Result<u64> {
    ensure!(
        ["passed", "dropped", "answered"].contains(&action),
        "no action {action}"
    );
    Ok(counts
        .iter()
        .find(|count| count.reason == reason.name() && count.action == action)
        .map_or(0, |count| count.packets))
}
