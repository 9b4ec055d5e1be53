//! Requests made up from the API's own document, by schemathesis, against the real daemon over TCP.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::daemon::remote::Remote;

/// What every answer is checked for: no error of the server's, and no status, content type, header or
/// shape that the document doesn't name; refusals of methods and of callers without a token included.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method,\
                      allow_header_conformance,ignored_auth";
/// Answers that go on for as long as somebody reads.
const ENDLESS: &str = "^/v1/(events|capture)$";
/// What all of it may cost in memory, over what the daemon has at its start.
const MEMORY_BOUND_KIB: u64 = 64 << 10;

/// How much is tried.
#[derive(Clone, Debug)]
pub struct Effort {
    /// The program.
    pub schemathesis: PathBuf,
    /// Requests made up for each operation and phase.
    pub examples: u32,
    /// The same numbers make up the same requests.
    pub seed: u64,
}

/// Runs it all in network namespaces of its own.
///
/// # Errors
/// When an answer is none of the document's, or the daemon is gone or has grown afterwards.
pub fn fuzz(effort: &Effort) -> Result<()> {
    let (daemon, remote) = Remote::start("requests_per_second = 100000", "")?;
    let token = daemon.cli_text(&["token", "add", "fuzz", "--role", "admin"])?;
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let before = daemon.memory_kib("VmRSS")?;
    let reports = tempfile::tempdir()?;
    let mut command = remote.scene().host.command(&effort.schemathesis);
    command
        .current_dir(reports.path())
        .arg("run")
        .arg(document)
        .args(["--url", &remote.url()])
        .args([
            "--header",
            &format!("Authorization: Bearer {}", token.trim()),
        ])
        .arg("--tls-verify")
        .arg(remote.authorities())
        .args(["--checks", CHECKS, "--exclude-path-regex", ENDLESS])
        .args(["--max-examples", &effort.examples.to_string()])
        .args(["--seed", &effort.seed.to_string()])
        .args(["--request-timeout", "40", "--continue-on-failure"])
        .args(["--suppress-health-check", "all", "--warnings", "off"])
        .stdin(Stdio::null());
    let status = command.status().context("cannot run schemathesis")?;
    let after = daemon.memory_kib("VmHWM")?;
    println!("the daemon's memory: {before} KiB at the start, {after} KiB at most");
    ensure!(
        status.success(),
        "schemathesis found answers that the document doesn't have; the daemon's log:\n{}",
        tail(&daemon.log())
    );
    daemon.cli_text(&["status"]).context("after all of it")?;
    ensure!(
        after < before + MEMORY_BOUND_KIB,
        "the daemon grew from {before} to {after} KiB"
    );
    Ok(())
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(30);
    lines.get(from..).unwrap_or_default().join("\n")
}
