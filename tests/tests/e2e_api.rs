//! The API over TCP: tokens, roles, and requests that are wrong, large, slow or too many.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::remote::{Remote, Reply, ended, reply};
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);
const ADD: &str = r#"{"prefixes": ["198.51.100.9"]}"#;
/// What clients without the right, or with wrong requests, may cost at most: connections at once times
/// what each may hold, and then some.
const MEMORY_BOUND_KIB: u64 = 48 << 10;

fn token(daemon: &Daemon, name: &str, role: &str) -> Result<String> {
    let text = daemon.cli_text(&["token", "add", name, "--role", role])?;
    Ok(text.trim().to_owned())
}

#[track_caller]
fn refused(reply: &Reply, status: u16, why: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let error = body["error"].as_str().unwrap_or_default();
    assert!(error.contains(why), "{why}: {reply:?}");
    assert!(
        reply
            .head
            .to_lowercase()
            .contains("content-type: application/json"),
        "{reply:?}"
    );
}

#[test]
fn a_token_allows_what_its_role_does_until_it_is_revoked() -> Result<()> {
    require_kernel!("a_token_allows_what_its_role_does_until_it_is_revoked");
    let (mut daemon, remote) = Remote::start("", "")?;
    let viewer = token(&daemon, "grafana", "viewer")?;
    let operator = token(&daemon, "ci", "operator")?;
    let admin = token(&daemon, "boss", "admin")?;

    refused(
        &remote.ask("GET", "/v1/status", &[], b"")?,
        401,
        "token add",
    );
    for wrong in [
        "",
        "xdpt_",
        &viewer[..20],
        &viewer.replace("xdpt_", "xdpt_0"),
    ] {
        let reply = remote.ask_as(wrong, "GET", "/v1/status", "")?;
        refused(&reply, 401, "token add");
        assert!(
            reply
                .head
                .to_lowercase()
                .contains("www-authenticate: bearer"),
            "{reply:?}"
        );
    }
    let basic = ["Authorization: Basic YTpi"];
    refused(
        &remote.ask("GET", "/v1/status", &basic, b"")?,
        401,
        "token add",
    );

    assert_eq!(remote.ask_as(&viewer, "GET", "/v1/status", "")?.status, 200);
    refused(
        &remote.ask_as(&viewer, "POST", "/v1/block", ADD)?,
        403,
        "role operator",
    );
    refused(
        &remote.ask_as(&viewer, "GET", "/v1/events", "")?,
        403,
        "role operator",
    );
    assert_eq!(
        remote.ask_as(&operator, "POST", "/v1/block", ADD)?.status,
        200
    );
    refused(
        &remote.ask_as(&operator, "POST", "/v1/apply", "{}")?,
        403,
        "role admin",
    );
    refused(
        &remote.ask_as(&operator, "GET", "/v1/tokens", "")?,
        403,
        "role admin",
    );
    assert_eq!(
        remote.ask_as(&admin, "POST", "/v1/apply", "{}")?.status,
        200
    );

    // Who did it is noted, and what is secret is nowhere.
    wait_until("the change to be in the audit trail", PATIENCE, || {
        let trail = daemon.cli_text(&["audit"]).unwrap_or_default();
        trail.contains("token ci from 127.0.0.1") && trail.contains("refused: no right")
    })?;
    let shown =
        daemon.cli_text(&["token", "list"])? + &daemon.cli_text(&["audit"])? + &daemon.log();
    for one in [&viewer, &operator, &admin] {
        assert!(!shown.contains(&one[20..]), "a secret in {shown}");
    }
    let database = fs::read(daemon.directory().join("state/state.sqlite"))?;
    let wal = fs::read(daemon.directory().join("state/state.sqlite-wal"))?;
    for one in [&viewer, &operator, &admin] {
        let secret = &one.as_bytes()[14..];
        let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!holds(&database) && !holds(&wal), "a secret on disk");
    }

    // The command line speaks the same over TCP.
    let file = daemon.directory().join("token");
    fs::write(&file, format!("{viewer}\n"))?;
    let (url, ca) = (
        remote.url(),
        remote.authorities().to_string_lossy().into_owned(),
    );
    let token_file = file.to_string_lossy().into_owned();
    let there = ["--url", &url, "--token-file", &token_file, "--ca-file", &ca];
    let status = daemon.cli(&[&there[..], &["status"]].concat())?;
    assert!(
        status.status.success(),
        "{}",
        String::from_utf8_lossy(&status.stderr)
    );
    let refused_there = daemon.cli(&[&there[..], &["block", "add", "198.51.100.1"]].concat())?;
    assert_eq!(refused_there.status.code(), Some(3));
    let without_ca = daemon.cli(&[&there[..4], &["status"]].concat())?;
    assert!(
        !without_ca.status.success(),
        "a certificate of nobody's was trusted"
    );

    // Over a restart, and gone at once.
    daemon.terminate()?;
    daemon.restart()?;
    assert_eq!(remote.ask_as(&viewer, "GET", "/v1/status", "")?.status, 200);
    daemon.cli_text(&["token", "revoke", "grafana"])?;
    refused(
        &remote.ask_as(&viewer, "GET", "/v1/status", "")?,
        401,
        "token add",
    );
    assert_eq!(
        remote.ask_as(&operator, "GET", "/v1/status", "")?.status,
        200
    );
    Ok(())
}

#[test]
fn requests_that_are_wrong_large_or_slow_are_refused_and_cost_little() -> Result<()> {
    require_kernel!("requests_that_are_wrong_large_or_slow_are_refused_and_cost_little");
    let (daemon, remote) = Remote::start("requests_per_second = 10000", "")?;
    let admin = token(&daemon, "boss", "admin")?;
    let before = daemon.memory_kib("VmHWM")?;
    let bearer = format!("Authorization: Bearer {admin}");
    let json = "Content-Type: application/json";

    // Slow: a head that never ends, a body that never comes, a handshake that isn't one.
    let began = Instant::now();
    let mut slow_head = remote.connect()?;
    slow_head.write_all(b"GET /v1/status HTTP/1.1\r\nHost")?;
    slow_head.flush()?;
    let mut slow_body = remote.connect()?;
    write!(
        slow_body,
        "POST /v1/block HTTP/1.1\r\nHost: x\r\n{bearer}\r\n{json}\r\nContent-Length: 100\r\n\
         Connection: close\r\n\r\n{{"
    )?;
    slow_body.flush()?;
    let mut slow_hands = remote.connect_plainly()?;
    slow_hands.write_all(&[22, 3, 1])?;
    let mut silent = remote.connect()?;

    // Malformed.
    let ask = |method, path, headers: &[&str], body: &[u8]| {
        remote.ask(method, path, &[&[bearer.as_str()], headers].concat(), body)
    };
    refused(&ask("POST", "/v1/block", &[json], b"{")?, 400, "JSON");
    refused(
        &ask("POST", "/v1/block", &[], ADD.as_bytes())?,
        415,
        "application/json",
    );
    refused(
        &ask("POST", "/v1/block", &[json], b"{\"prefix\": []}")?,
        422,
        "prefix",
    );
    refused(
        &ask("POST", "/v1/block", &[json], b"{\"prefixes\": [\"x\"]}")?,
        422,
        "x",
    );
    refused(&ask("GET", "/v1/block?page=2", &[], b"")?, 400, "page");
    refused(&ask("GET", "/v1/none-such", &[], b"")?, 404, "openapi.json");
    refused(&ask("DELETE", "/v1/block", &[], b"")?, 405, "openapi.json");
    let deep = format!("{{\"prefixes\": {}", "[".repeat(100_000));
    let deep = ask("POST", "/v1/block", &[json], deep.as_bytes())?;
    refused(&deep, 422, "prefixes");

    // Oversized, in the body and in the head.
    let large = vec![b' '; 5 << 20];
    refused(
        &ask("POST", "/v1/block", &[json], &large)?,
        413,
        "length limit",
    );
    let long = format!("X-Long: {}", "x".repeat(20 << 10));
    let reply_to_long = ask("GET", "/v1/status", &[&long], b"")?;
    assert_eq!(reply_to_long.status, 431, "{reply_to_long:?}");

    // Many who say nothing don't keep out who has a socket, and are put out themselves.
    let idle: Vec<_> = (0..80)
        .map(|_| remote.connect_plainly())
        .collect::<Result<_>>()?;
    daemon.cli_text(&["status"])?;
    wait_until("the idle to be put out", PATIENCE * 2, || {
        remote
            .ask_as(&admin, "GET", "/v1/status", "")
            .is_ok_and(|reply| reply.status == 200)
    })?;
    drop(idle);

    for waiting in [
        &mut slow_head as &mut dyn Read,
        &mut slow_hands,
        &mut silent,
    ] {
        let sent = ended(waiting)?;
        let sent = String::from_utf8_lossy(&sent);
        assert!(!sent.starts_with("HTTP/1.1 200"), "{sent}");
    }
    refused(&reply(&mut slow_body)?, 408, "took over");
    println!("slow requests ended after {:?}", began.elapsed());

    let entries = daemon.cli_json(&["block", "list"])?;
    assert_eq!(entries["total"], 0, "something was added: {entries}");
    let more = daemon.memory_kib("VmHWM")?.saturating_sub(before);
    println!("peak memory: {before} KiB before, {more} KiB more");
    ensure!(more < MEMORY_BOUND_KIB, "{more} KiB more than {before}");
    Ok(())
}

#[test]
fn too_many_requests_are_told_when_to_come_again() -> Result<()> {
    require_kernel!("too_many_requests_are_told_when_to_come_again");
    let (daemon, remote) = Remote::start("requests_per_second = 1", "")?;
    // Root on the socket may ask as often as it likes.
    let viewer = token(&daemon, "grafana", "viewer")?;
    for _ in 0..5 {
        daemon.cli_text(&["status"])?;
    }
    let replies: Vec<Reply> = (0..6)
        .map(|_| remote.ask_as(&viewer, "GET", "/v1/bans", ""))
        .collect::<Result<_>>()?;
    let late = replies.iter().find(|reply| reply.status == 429);
    let late = late.with_context(|| format!("{replies:?}"))?;
    refused(late, 429, "requests_per_second");
    assert!(
        late.head.to_lowercase().contains("retry-after: "),
        "{late:?}"
    );
    assert_eq!(replies[0].status, 200, "{:?}", replies[0]);
    // Wrong tokens are counted as well: nobody guesses faster.
    let guesses: Vec<u16> = (0..6)
        .map(|_| Ok(remote.ask_as("xdpt_wrong", "GET", "/v1/bans", "")?.status))
        .collect::<Result<_>>()?;
    assert!(guesses.contains(&429), "{guesses:?}");
    wait_until("there to be room again", PATIENCE, || {
        remote
            .ask_as(&viewer, "GET", "/v1/bans", "")
            .is_ok_and(|reply| reply.status == 200)
    })
}

#[test]
fn the_document_that_is_served_is_the_one_in_the_repository() -> Result<()> {
    require_kernel!("the_document_that_is_served_is_the_one_in_the_repository");
    let (daemon, remote) = Remote::start("", "")?;
    let viewer = token(&daemon, "grafana", "viewer")?;
    let served = remote.ask_as(&viewer, "GET", "/v1/openapi.json", "")?;
    let there = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json"))?;
    assert_eq!(served.status, 200);
    let [served, there]: [Value; 2] = [
        serde_json::from_str(&served.body)?,
        serde_json::from_str(&there)?,
    ];
    assert_eq!(served, there);
    assert_eq!(served["openapi"], "3.1.0");
    Ok(())
}

#[test]
fn metrics_are_kept_behind_tls_and_a_password_by_prometheus_own_file() -> Result<()> {
    require_kernel!("metrics_are_kept_behind_tls_and_a_password_by_prometheus_own_file");
    let (mut daemon, remote) = Remote::start("", "")?;
    let web = daemon.directory().join("web.yml");
    let hash = bcrypt::hash("right", 4)?;
    fs::write(
        &web,
        format!(
            "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n\
             basic_auth_users:\n  prometheus: {hash}\n"
        ),
    )?;
    // The file is one of theirs.
    let checked = Command::new("promtool")
        .args(["check", "web-config"])
        .arg(&web)
        .output()?;
    ensure!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    let config = fs::read_to_string(daemon.config_path())?;
    let guarded = format!("[metrics]\nweb_config = {web:?}\n");
    fs::write(
        daemon.config_path(),
        config.replace("[metrics]\n", &guarded),
    )?;
    daemon.terminate()?;
    daemon.restart()?;

    let metrics = remote.at(daemon.metrics_address());
    let scrape = |headers: &[&str]| metrics.ask("GET", "/metrics", headers, b"");
    // "prometheus:wrong" and "prometheus:right" (RFC 7617).
    for wrong in [&[][..], &["Authorization: Basic cHJvbWV0aGV1czp3cm9uZw=="]] {
        let refused = scrape(wrong)?;
        assert_eq!(refused.status, 401, "{refused:?}");
        assert!(
            refused
                .head
                .to_lowercase()
                .contains("www-authenticate: basic"),
            "{refused:?}"
        );
        assert!(!refused.body.contains("xdp_throttle_"), "{refused:?}");
    }
    for _first_and_from_memory in 0..2 {
        let scraped = scrape(&["Authorization: Basic cHJvbWV0aGV1czpyaWdodA=="])?;
        assert_eq!(scraped.status, 200, "{scraped:?}");
        assert!(
            scraped.body.contains("xdp_throttle_packets_total{"),
            "{}",
            scraped.head
        );
    }
    // In the clear there is nothing.
    let mut plain = metrics.connect_plainly()?;
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let sent = ended(&mut plain)?;
    assert!(!String::from_utf8_lossy(&sent).contains("xdp_throttle_"));
    Ok(())
}

/// A caller that goes away doesn't wait for an answer, and what it asked for may be done all the same; or
/// not, where the daemon sees that it is gone before it has read what it wants.
#[test]
fn a_change_is_noted_though_its_caller_went_away() -> Result<()> {
    require_kernel!("a_change_is_noted_though_its_caller_went_away");
    /// Changes that must be made, and callers that come and go at a time.
    const CHANGES: usize = 10;
    const CALLERS: usize = 5;
    let (daemon, _remote) = Remote::start("", "")?;
    let mut addresses = (0..=u8::MAX).flat_map(|a| (0..=u8::MAX).map(move |b| (a, b)));
    let mut come_and_go = || -> Result<()> {
        for (a, b) in addresses.by_ref().take(CALLERS) {
            let body = format!(r#"{{"prefixes": ["198.51.{a}.{b}"]}}"#);
            let mut caller = UnixStream::connect(daemon.socket_path())?;
            write!(
                caller,
                "POST /v1/block HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
        Ok(())
    };
    let count = |verb: &[&str], list: &str| -> Result<usize> {
        let answer = daemon.cli_json(verb)?;
        let rows = answer[list].as_array().context("no rows")?;
        Ok(rows
            .iter()
            .filter(|row| row.to_string().contains("198.51."))
            .count())
    };
    wait_until("enough changes to be made", PATIENCE, || {
        come_and_go().is_ok()
            && count(&["block", "list"], "entries").is_ok_and(|made| made >= CHANGES)
    })?;
    let mut seen = (0, 0);
    wait_until("every change to be noted", PATIENCE, || {
        let both = || -> Result<(usize, usize)> {
            let noted = count(&["audit", "--limit", "1000"], "changes")?;
            Ok((count(&["block", "list"], "entries")?, noted))
        };
        seen = both().unwrap_or_default();
        seen.0 > 0 && seen.0 == seen.1
    })
    .with_context(|| format!("{seen:?} entries and notes"))
}
