//! Whole lists, in and out: what guards an import, what an export gives back, and the habits of those
//! who ban with fail2ban and ipset.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Output;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::scene::{Scene, from_v4, from_v6};
use xdp_tests::require_kernel;
use xdp_user::api::types::{ChangeReport, EntryPage, LiftReport, TestReport};

/// How many plain entries are exported and imported again, where this names a number.
const ENTRIES_VARIABLE: &str = "XDP_THROTTLE_EXPORT_ENTRIES";
/// The usual number, for a build that isn't optimized.
const USUAL_ENTRIES: u32 = 100_000;
/// What both ways of so many may take on a busy machine; the figures are printed.
const ROUND_TRIP: Duration = Duration::from_secs(120);

fn passes(scene: &Scene, source: &str) -> Result<bool> {
    let frame = match source.contains(':') {
        true => from_v6(source).esp(1, 2).payload([0; 32]),
        false => from_v4(source).udp(1, 2),
    };
    scene.passes(&frame)
}

fn exported(daemon: &Daemon, kind: &str, more: &[&str]) -> Result<Vec<u8>> {
    let output = daemon.cli(&[&[kind, "export"], more].concat())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{stderr}");
    Ok(output.stdout)
}

fn imported(daemon: &Daemon, kind: &str, text: &[u8], more: &[&str]) -> Result<ChangeReport> {
    let arguments = [&["--output", "json", kind, "import", "-"], more].concat();
    let output = daemon.cli_with_input(&arguments, text)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{stderr}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The error that a command ended with under `--output json`.
fn error_of(output: &Output, code: i32) -> Result<Value> {
    ensure!(output.status.code() == Some(code), "{output:?}");
    let value: Value = serde_json::from_slice(&output.stderr).context("no JSON")?;
    ensure!(value["error"]["code"] == json!(code), "{value}");
    Ok(value["error"].clone())
}

#[test]
fn a_source_that_failed_neither_empties_nor_replaces_a_list() -> Result<()> {
    require_kernel!("a_source_that_failed_neither_empties_nor_replaces_a_list");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let list: String = (0..30).map(|n| format!("203.0.113.{n}\n")).collect();
    for kind in ["block", "allow"] {
        imported(
            &daemon,
            kind,
            list.as_bytes(),
            &["--list", "feed", "--replace"],
        )?;
        let before = exported(&daemon, kind, &[])?;
        let arguments = [
            "--output",
            "json",
            kind,
            "import",
            "-",
            "--list",
            "feed",
            "--replace",
        ];
        for (text, cause) in [
            (&b""[..], "too_few_entries"),
            (b"\n# nothing today\n", "too_few_entries"),
            (b"{\"message\":\"rate limit\"}", "not_a_list"),
            (b"<!doctype html>\n<p>\n198.51.100.7\n</p>\n", "not_a_list"),
            (b"198.51.100.7\n", "large_change"),
        ] {
            let error = error_of(&daemon.cli_with_input(&arguments, text)?, 1)?;
            assert_eq!(error["cause"], cause, "{error}");
            let message = error["message"].as_str().context("no message")?;
            // What is no list stays none by force.
            let forced = message.contains("--force");
            assert_eq!(forced, cause != "not_a_list", "{message}");
            assert_eq!(exported(&daemon, kind, &[])?, before);
        }
        // Mostly unreadable lines are refused without --replace as well, and over the API.
        let arguments = ["--output", "json", kind, "import", "-"];
        let page = b"a page\nof words\n198.51.100.7\n";
        let error = error_of(&daemon.cli_with_input(&arguments, page)?, 1)?;
        let message = error["message"].as_str().context("no message")?;
        assert!(
            message.contains("line 1 is the first of them: a page"),
            "{message}"
        );
        assert_eq!(exported(&daemon, kind, &[])?, before);
    }
    let report = imported(
        &daemon,
        "block",
        b"",
        &["--list", "feed", "--replace", "--force"],
    )?;
    assert_eq!(report.removed, 30);
    Ok(())
}

#[test]
fn plain_entries_are_the_same_after_an_export_and_an_import() -> Result<()> {
    require_kernel!("plain_entries_are_the_same_after_an_export_and_an_import");
    let entries = match std::env::var(ENTRIES_VARIABLE) {
        Ok(number) => number.parse()?,
        Err(_) => USUAL_ENTRIES,
    };
    let scene = Scene::new()?;
    let daemon = scene.protect("[capacity]\nblock = 1_200_000\n")?;
    let mut list = String::new();
    for n in 0..entries {
        let address = std::net::Ipv4Addr::from(0x0b00_0000 + n * 137);
        writeln!(list, "{address}")?;
    }
    let started = Instant::now();
    let report = imported(&daemon, "block", list.as_bytes(), &["--list", "feed"])?;
    println!("{entries} entries imported in {:?}", started.elapsed());
    assert_eq!(report.added, u64::from(entries));
    drop(list);
    let started = Instant::now();
    let first = exported(&daemon, "block", &[])?;
    println!(
        "exported as {} bytes in {:?}",
        first.len(),
        started.elapsed()
    );
    assert_eq!(
        first.iter().filter(|byte| **byte == b'\n').count(),
        entries as usize + 2
    );
    daemon.cli_text(&["block", "flush", "--yes"])?;
    let started = Instant::now();
    let report = imported(&daemon, "block", &first, &[])?;
    println!("the export imported in {:?}", started.elapsed());
    assert_eq!((report.added, report.refused), (u64::from(entries), 0));
    assert!(exported(&daemon, "block", &[])? == first, "another text");
    if entries == USUAL_ENTRIES {
        assert!(started.elapsed() < ROUND_TRIP, "{:?}", started.elapsed());
    }
    assert!(!passes(&scene, "11.0.0.137")?);
    assert!(passes(&scene, "11.0.0.138")?);
    Ok(())
}

/// Comments as people and attackers write them; `n` makes each one different.
fn comment(n: u32) -> Option<String> {
    match n % 7 {
        0 => None,
        1 => Some(format!("number {n}")),
        2 => Some(format!("say \"{n}\" \\ twice")),
        3 => Some(format!("two\nlines\t{n}\r")),
        4 => Some(format!("# {n}; ;xt list=other end=2020-01-01T00:00:00Z")),
        5 => Some(format!("München 😀 \u{202e}{n}\u{0}")),
        _ => Some("x".repeat(200)),
    }
}

#[test]
fn lists_ends_and_comments_are_the_same_after_an_export_and_an_import() -> Result<()> {
    require_kernel!("lists_ends_and_comments_are_the_same_after_an_export_and_an_import");
    let scene = Scene::new()?;
    let daemon = scene.protect("[block]\nprefixes = [\"198.51.100.0/24\"]\n")?;
    let mut wanted = BTreeMap::new();
    let mut text = "# xdp-throttle export v1 block\n".to_owned();
    for n in 0..10_000_u32 {
        let prefix = match n % 3 {
            0 => std::net::Ipv4Addr::from(0x0b00_0000 + n * 911).to_string(),
            1 => format!("{}/28", std::net::Ipv4Addr::from(0x1500_0000 + n * 16)),
            _ => format!("2001:db8:{n:x}::/48"),
        };
        let list = ["manual", "one", "two"][n as usize % 3];
        let (day, minute, part) = (n % 28 + 1, n % 60, n % 89 * 10 + 101);
        let end = (n % 5 != 0).then(|| format!("2090-01-{day:02}T08:{minute:02}:00.{part}Z"));
        write!(text, "{prefix} ;xt")?;
        if list != "manual" {
            write!(text, " list={list}")?;
        }
        if let Some(end) = &end {
            write!(text, " end={end}")?;
        }
        let comment = comment(n);
        if let Some(comment) = &comment {
            write!(text, " comment={}", serde_json::to_string(comment)?)?;
        }
        text.push('\n');
        wanted.insert(prefix, (list.to_owned(), end, comment));
    }
    text += "# end 10000\n";
    let report = imported(&daemon, "block", text.as_bytes(), &[])?;
    assert_eq!((report.added, report.refused), (10_000, 0), "{report:?}");

    let lines = String::from_utf8(exported(&daemon, "block", &["--output", "json"])?)?;
    let mut found = BTreeMap::new();
    for line in lines.lines() {
        let entry: Value = serde_json::from_str(line)?;
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        let prefix = text("prefix").context("no prefix")?;
        let list = text("list").context("no list")?;
        found.insert(prefix, (list, text("expires"), text("comment")));
    }
    assert!(found == wanted, "other entries");

    let first = exported(&daemon, "block", &[])?;
    assert!(first.is_ascii(), "nothing of it moves a cursor");
    daemon.cli_text(&["block", "flush", "--yes"])?;
    let left = exported(&daemon, "block", &["--list", "config"])?;
    assert!(String::from_utf8(left)?.contains("198.51.100.0/24 ;xt list=config\n"));
    let report = imported(&daemon, "block", &first, &[])?;
    assert_eq!((report.added, report.refused), (10_000, 0), "{report:?}");
    assert!(exported(&daemon, "block", &[])? == first, "another text");

    // One that was cut off, or is of the other kind, is refused.
    let cut = &first[..first.len() / 2];
    let arguments = ["--output", "json", "block", "import", "-", "--replace"];
    let error = error_of(&daemon.cli_with_input(&arguments, cut)?, 1)?;
    assert_eq!(error["cause"], "export", "{error}");
    let arguments = ["--output", "json", "allow", "import", "-"];
    let error = error_of(&daemon.cli_with_input(&arguments, &first)?, 1)?;
    assert!(
        error["message"].to_string().contains("block import"),
        "{error}"
    );
    assert!(
        exported(&daemon, "block", &[])? == first,
        "something changed"
    );
    Ok(())
}

#[test]
fn bans_are_taken_and_taken_back_as_fail2ban_and_ipset_do_it() -> Result<()> {
    require_kernel!("bans_are_taken_and_taken_back_as_fail2ban_and_ipset_do_it");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let add = |more: &[&str]| -> Result<(ChangeReport, Option<i64>)> {
        let report: ChangeReport = daemon.ask(&[&["block", "add"], more].concat())?;
        let page: EntryPage = daemon.ask(&["block", "list", "--match", more[0]])?;
        let end = page.entries.last().context("no entry")?.expires;
        let now = i64::try_from(UNIX_EPOCH.elapsed()?.as_secs())?;
        Ok((report, end.map(|end| end.as_second() - now)))
    };
    let (report, left) = add(&["2001:db8:5::1234/64"])?;
    assert_eq!((report.added, left), (1, None));
    assert_eq!(report.host_bits_cut[0].given, "2001:db8:5::1234/64");
    assert!(!passes(&scene, "2001:db8:5::77")? && passes(&scene, "2001:db8:6::77")?);
    let noted = daemon.cli(&["block", "add", "203.0.113.77/24"])?;
    let note = String::from_utf8(noted.stderr)?;
    assert_eq!(noted.status.code(), Some(0));
    assert!(note.starts_with("note: 203.0.113.77/24 has bits") && note.contains("203.0.113.0/24"));
    for (span, seconds) in [
        ("600", Some(600)),
        ("1h30m", Some(5400)),
        ("-1", None),
        ("1d", Some(86_400)),
        ("permanent", None),
        ("0", None),
    ] {
        let (_, left) = add(&["198.51.100.9", "--for", span])?;
        let is_right = match (left, seconds) {
            (Some(left), Some(seconds)) => (seconds - 30..=seconds + 1).contains(&left),
            (left, seconds) => left == seconds,
        };
        assert!(is_right, "{span}: {left:?}");
    }

    // What has ended or never was is as it was wanted.
    for verb in ["block", "allow"] {
        for (more, code) in [(&[][..], 0), (&["--strict"], 1)] {
            let arguments = [&[verb, "del", "192.0.2.55"], more].concat();
            let output = daemon.cli(&arguments)?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
            assert!(text.contains("not there: 192.0.2.55"), "{text}");
        }
    }
    let report: ChangeReport = daemon.ask(&["block", "del", "198.51.100.9", "192.0.2.55"])?;
    assert_eq!((report.removed, report.missing.len()), (1, 1));
    let report: LiftReport = daemon.ask(&["ban", "lift", "192.0.2.55"])?;
    assert_eq!((report.lifted, report.missing.len()), (0, 1));
    let strict = daemon.cli(&["ban", "lift", "192.0.2.55", "--strict"])?;
    assert_eq!(strict.status.code(), Some(1));
    daemon.cli_text(&["limit", "set", "--prefix", "192.0.2.55", "--reset"])?;
    daemon.cli_text(&["limit", "set", "--reset"])?;
    // What was unbanned as it was banned is gone.
    daemon.cli_text(&["block", "del", "2001:db8:5::1234/64"])?;
    assert!(passes(&scene, "2001:db8:5::77")?);
    Ok(())
}

#[test]
fn a_test_and_a_match_tell_by_their_exit_code() -> Result<()> {
    require_kernel!("a_test_and_a_match_tell_by_their_exit_code");
    let scene = Scene::new()?;
    let daemon = scene.protect("[allow]\nprefixes = [\"198.51.100.0/24\"]\n")?;
    daemon.cli_text(&[
        "block",
        "add",
        "203.0.113.0/24",
        "--list",
        "scans",
        "--for",
        "1h",
    ])?;
    let ends_with = |arguments: &[&str], code: i32| -> Result<String> {
        let output = daemon.cli(arguments)?;
        ensure!(
            output.status.code() == Some(code),
            "{arguments:?}: {output:?}"
        );
        Ok(String::from_utf8(output.stdout)?)
    };
    let text = ends_with(&["block", "test", "203.0.113.9"], 0)?;
    for part in ["203.0.113.9: 203.0.113.0/24", "scans", "ends in "] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = ends_with(&["block", "test", "203.0.113.9", "192.0.2.1"], 1)?;
    assert!(
        text.ends_with("192.0.2.1: not on the blocklist\n"),
        "{text}"
    );
    assert_eq!(ends_with(&["block", "test", "-q", "203.0.113.9"], 0)?, "");
    let quiet = daemon.cli(&["block", "test", "-q", "192.0.2.1"])?;
    assert_eq!(quiet.status.code(), Some(1));
    assert!(quiet.stdout.is_empty() && quiet.stderr.is_empty());
    ends_with(&["allow", "test", "198.51.100.7"], 0)?;
    ends_with(&["allow", "test", "203.0.113.9"], 1)?;
    ends_with(&["block", "list", "--match", "203.0.113.9"], 0)?;
    ends_with(&["block", "list", "--match", "192.0.2.1"], 1)?;
    ends_with(&["allow", "list", "--match", "192.0.2.1"], 1)?;
    ends_with(&["block", "list", "--list", "nobody"], 0)?;

    let many: String = (0..250).map(|n| format!("203.0.113.{n}\n")).collect();
    let arguments = ["--output", "json", "block", "test", "-"];
    let output = daemon.cli_with_input(&arguments, many.as_bytes())?;
    assert_eq!(output.status.code(), Some(0));
    let report: TestReport = serde_json::from_slice(&output.stdout)?;
    assert_eq!(report.results.len(), 250);
    assert!(report.results.iter().all(|one| one.matches.len() == 1));
    Ok(())
}

#[test]
fn the_audit_trail_says_what_came_of_a_change() -> Result<()> {
    require_kernel!("the_audit_trail_says_what_came_of_a_change");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let outcome = |arguments: &[&str]| -> Result<String> {
        daemon.cli(arguments)?;
        let trail = daemon.cli_json(&["audit", "--limit", "1"])?;
        let said = trail["changes"][0]["outcome"].as_str();
        Ok(said.context("no outcome")?.to_owned())
    };
    assert_eq!(outcome(&["block", "add", "203.0.113.1"])?, "done");
    let refused = outcome(&["block", "add", "0.0.0.0/1"])?;
    assert!(
        refused.starts_with("refused: 0.0.0.0/1: IPv4 prefixes"),
        "{refused}"
    );
    let partly = outcome(&["block", "add", "203.0.113.2", "0.0.0.0/1"])?;
    assert!(
        partly.starts_with("partly: 1 done, 1 refused: 0.0.0.0/1"),
        "{partly}"
    );
    let absent = outcome(&["block", "del", "192.0.2.1"])?;
    assert_eq!(absent, "nothing to do: 192.0.2.1");
    assert_eq!(
        outcome(&["ban", "lift", "192.0.2.1"])?,
        "nothing to do: 192.0.2.1 is not banned"
    );
    let config = outcome(&["block", "add", "203.0.113.3", "--list", "config"])?;
    assert!(config.starts_with("refused: 400 Bad Request: "), "{config}");
    let import = ["block", "import", "/dev/null", "--replace"];
    let refused = outcome(&import)?;
    assert!(
        refused.starts_with("refused: 409 Conflict: the text was refused"),
        "{refused}"
    );
    Ok(())
}
