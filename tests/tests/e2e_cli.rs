//! The command line from outside: exit codes, messages, privileges, files.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};
use xdp_tests::daemon::scene::{HOST, Scene, from_v4, protecting};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::netns::Namespace;
use xdp_tests::netns::link::Attachment;
use xdp_tests::require_kernel;

/// An ordinary user, nobody.
const NOBODY: &str = "65534";

/// Runs the binary without a daemon, in the namespace of the tests.
fn throttle(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary()?);
    command.args(arguments).stdin(Stdio::null());
    command.output().context("cannot run the binary")
}

fn error_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Verbs that a help text lists under "Commands:".
fn verbs(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // A wrapped description is indented deeper than a verb.
    lines
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect()
}

fn assert_help(verb: &[String], seen: &mut BTreeSet<String>) -> Result<()> {
    let arguments: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
    let output = throttle(&arguments)?;
    let help = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{verb:?}");
    assert!(help.contains("Usage: xdp-throttle"), "{verb:?}: {help}");
    assert!(
        help.lines().all(|line| line.chars().count() <= 100),
        "{verb:?}: {help}"
    );
    seen.insert(verb.join(" "));
    for next in verbs(&help) {
        assert_help(&[verb, &[next]].concat(), seen)?;
    }
    Ok(())
}

#[test]
fn every_verb_has_a_help_text() -> Result<()> {
    let mut seen = BTreeSet::new();
    assert_help(&[], &mut seen)?;
    for verb in [
        "run",
        "check",
        "apply",
        "block import",
        "ban lift",
        "limit set",
        "explain",
    ] {
        assert!(seen.contains(verb), "{verb} isn't among {seen:?}");
    }
    Ok(())
}

#[test]
fn wrong_usage_ends_with_2() -> Result<()> {
    // An altname has 127 bytes at most (ALTIFNAMSIZ, include/uapi/linux/if.h).
    let too_long = "a".repeat(128);
    for arguments in [
        &["blok"][..],
        &["status", "--nonsense"],
        &["block", "add", "203.0.113.300"],
        &["block", "add", "203.0.113.7", "--for", "soon"],
        &["limit", "set", "--packets", "20"],
        &["run", "--iface", "not/a/name"],
        &["run", "--iface", &too_long],
        &["--output", "xml", "status"],
    ] {
        let output = throttle(arguments)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    Ok(())
}

/// The one JSON object on standard error.
fn json_error(output: &Output) -> Result<serde_json::Value> {
    let text = error_text(output);
    let value: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
    let error = &value["error"];
    assert_eq!(error["code"].as_i64(), output.status.code().map(i64::from));
    assert!(error["kind"].is_string(), "{value}");
    let message = error["message"].as_str().context("no message")?;
    assert!(
        !message.is_empty() && !message.starts_with("error:"),
        "{value}"
    );
    Ok(error.clone())
}

/// Every verb with the words that it takes at least.
const VERBS: [&str; 42] = [
    "run --config /nonexistent/c.toml",
    "check /nonexistent/c.toml",
    "doctor --config /nonexistent/c.toml",
    "detach",
    "apply",
    "confirm",
    "rollback",
    "status",
    "sources",
    "classes",
    "top --once",
    "explain 203.0.113.7",
    "events",
    "capture --write /dev/null",
    "replay /nonexistent/f.pcap",
    "suggest /nonexistent/f.pcap",
    "block add 203.0.113.7",
    "block del 203.0.113.7",
    "block list",
    "block test 203.0.113.7",
    "block import /dev/null",
    "block export",
    "block flush --yes",
    "allow add 203.0.113.7",
    "allow del 203.0.113.7",
    "allow list",
    "allow test 203.0.113.7",
    "allow import /dev/null",
    "allow export",
    "allow flush --yes",
    "ban list",
    "ban lift 203.0.113.7",
    "limit show",
    "limit set --reset",
    "list show",
    "list refresh",
    "list diff feed",
    "audit",
    "token add ci --role viewer",
    "token list",
    "token revoke ci",
    "man --dir /dev/null/absent",
];
/// Verbs that need no daemon and no file, or say in their answer that something is amiss.
const WITHOUT_ERRORS: [&str; 2] = ["detach", "completions"];

#[test]
fn under_json_every_verb_says_its_errors_as_one_object() -> Result<()> {
    let mut seen = BTreeSet::new();
    assert_help(&[], &mut seen)?;
    // All that are no group of others.
    let is_group = |verb: &str| {
        seen.iter()
            .any(|other| other.starts_with(&format!("{verb} ")))
    };
    for verb in seen
        .iter()
        .filter(|verb| !verb.is_empty() && !is_group(verb))
    {
        let words: Vec<&str> = verb.split(' ').collect();
        let output = throttle(&[&words[..], &["--nonsense", "--output", "json"]].concat())?;
        assert_eq!(output.status.code(), Some(2), "{verb}");
        let error = json_error(&output).with_context(|| verb.clone())?;
        assert_eq!(error["kind"], "invalid", "{verb}");
        assert!(
            error["message"].to_string().contains("--nonsense"),
            "{verb}: {error}"
        );
        assert!(output.stdout.is_empty(), "{verb}");

        let is_known = VERBS
            .iter()
            .any(|line| line.split(' ').zip(&words).all(|(a, b)| a == *b));
        let is_exempt = WITHOUT_ERRORS.contains(&verb.as_str());
        assert!(is_known || is_exempt, "{verb} is missing in the table");
    }
    for line in VERBS {
        let words: Vec<&str> = line.split(' ').collect();
        let socket = ["--output", "json", "--socket", "/nonexistent/control.sock"];
        let arguments = match words[0] {
            "run" => [&words[..], &["--output", "json"]].concat(),
            _ => [&socket[..], &words].concat(),
        };
        let output = throttle(&arguments)?;
        if output.status.success() && WITHOUT_ERRORS.contains(&words[0]) {
            continue;
        }
        assert_ne!(output.status.code(), Some(0), "{line}");
        json_error(&output).with_context(|| line.to_owned())?;
    }
    Ok(())
}

#[test]
fn check_tells_good_from_bad_with_every_mistake() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let check = |text: &str| -> Result<Output> {
        let path = directory.path().join("config.toml");
        std::fs::write(&path, text)?;
        throttle(&["check", &path.to_string_lossy()])
    };
    let good = check(&protecting(""))?;
    assert_eq!(good.status.code(), Some(0), "{}", error_text(&good));
    let bad = check("[limits]\npackets = \"20\"\n[ban]\nstrikes = 0\nnonsense = 1\n")?;
    assert_eq!(bad.status.code(), Some(2));
    let text = String::from_utf8_lossy(&bad.stdout);
    for part in [
        ":2:11: limits.packets",
        ":4:11: ban.strikes",
        ":5:1:",
        "nonsense",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let absent = throttle(&["check", "/nonexistent/config.toml"])?;
    assert_eq!(absent.status.code(), Some(1));
    Ok(())
}

#[test]
fn without_a_daemon_every_verb_says_so() -> Result<()> {
    for verb in [
        &["status"][..],
        &["block", "list"],
        &["allow", "add", "203.0.113.7"],
        &["apply"],
    ] {
        let output = throttle(&[&["--socket", "/nonexistent/control.sock"], verb].concat())?;
        let text = error_text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("/nonexistent/control.sock"), "{text}");
        assert!(text.contains("xdp-throttle run"), "what to do next: {text}");
    }
    Ok(())
}

#[test]
fn a_missing_capability_ends_with_3_and_is_named() -> Result<()> {
    require_kernel!("a_missing_capability_ends_with_3_and_is_named");
    let scene = Scene::new()?;
    let daemon = Daemon::prepare(&scene.host, &binary()?, &protecting(""))?;
    let config = daemon.config_path();
    let run = ["run", "--config", &config.to_string_lossy()];
    for (without, named) in [
        ("-all", "CAP_NET_ADMIN"),
        ("-bpf,-sys_admin", "CAP_BPF"),
        ("-net_admin", "CAP_NET_ADMIN"),
    ] {
        let bounding = format!("--bounding-set={without}");
        let refusal = daemon.refusal(&["setpriv", "--inh-caps=-all", &bounding], &run)?;
        assert_eq!(refusal.code, Some(3), "{without}: {}", refusal.text);
        assert!(refusal.text.contains(named), "{without}: {}", refusal.text);
    }
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::None);
    Ok(())
}

#[test]
fn a_user_who_may_not_use_the_socket_is_told_with_3() -> Result<()> {
    require_kernel!("a_user_who_may_not_use_the_socket_is_told_with_3");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    // Into the directory, so that it is the socket's own mode that refuses.
    std::fs::set_permissions(daemon.directory(), std::fs::Permissions::from_mode(0o755))?;
    let socket = daemon.socket_path();
    let user = [&format!("--reuid={NOBODY}")[..], "--clear-groups"];
    let arguments = ["--socket", &socket.to_string_lossy(), "status"];
    let refusal = daemon.refusal(&[&["setpriv"], &user[..]].concat(), &arguments)?;
    assert_eq!(refusal.code, Some(3), "{}", refusal.text);
    assert!(
        refusal.text.contains(&*socket.to_string_lossy()),
        "{}",
        refusal.text
    );
    Ok(())
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() -> Result<()> {
    require_kernel!("a_second_daemon_is_refused_and_the_first_goes_on");
    let scene = Scene::new()?;
    let daemon = scene.protect("[block]\nprefixes = [\"203.0.113.7\"]\n")?;
    let config = daemon.config_path();
    let refusal = daemon.refusal(&[], &["run", "--config", &config.to_string_lossy()])?;
    assert_eq!(refusal.code, Some(1), "{}", refusal.text);
    assert!(
        refusal.text.contains("another daemon answers on"),
        "{}",
        refusal.text
    );
    assert!(daemon.socket_path().exists());
    daemon.cli_text(&["block", "add", "203.0.113.8"])?;
    assert!(!scene.passes(&from_v4("203.0.113.8").udp(1, 2))?);
    assert_eq!(daemon.status()?.pid, daemon.pid().context("it ended")?);
    Ok(())
}

#[test]
fn every_verb_that_reads_prints_json_and_text() -> Result<()> {
    require_kernel!("every_verb_that_reads_prints_json_and_text");
    let scene = Scene::new()?;
    let daemon = scene.protect("[block]\nprefixes = [\"203.0.113.0/24\"]\n")?;
    scene.send(vec![from_v4("192.0.2.7").udp(1, 2).build(); 3])?;
    let config = daemon.config_path();
    for (verb, key) in [
        (&["status"][..], "interfaces"),
        (&["sources"], "sources"),
        (&["explain", "203.0.113.7"], "stages"),
        (&["block", "list"], "entries"),
        (&["allow", "list"], "entries"),
        (&["ban", "list"], "bans"),
        (&["limit", "show"], "limits"),
        (&["check", &config.to_string_lossy()], "summary"),
        (&["apply"], "changes"),
    ] {
        let json = daemon.cli_json(verb)?;
        assert!(!json[key].is_null(), "{verb:?}: {json}");
        assert!(!daemon.cli_text(verb)?.trim().is_empty(), "{verb:?}");
    }
    let why = daemon.cli_json(&["explain", "203.0.113.7"])?;
    assert_eq!(
        (&why["reason"], &why["action"]),
        (&"blocklisted".into(), &"drop".into())
    );
    let why = daemon.cli_text(&["explain", "203.0.113.7", "--proto", "udp", "--dport", "53"])?;
    assert!(
        why.contains("203.0.113.0/24") && why.contains("config"),
        "{why}"
    );
    let why = daemon.cli_json(&["explain", "192.0.2.7"])?;
    assert_eq!(why["known"]["packets"], 3);
    Ok(())
}

fn mode(path: &Path) -> Result<u32> {
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(metadata.permissions().mode() & 0o7777)
}

#[test]
fn socket_and_state_are_for_their_owner_only() -> Result<()> {
    require_kernel!("socket_and_state_are_for_their_owner_only");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    daemon.cli_text(&["block", "add", "203.0.113.7"])?;
    assert_eq!(mode(&daemon.socket_path())?, 0o600);
    let state = daemon.directory().join("state");
    assert_eq!(mode(&state)?, 0o700);
    let mut files = 0;
    for file in std::fs::read_dir(&state)? {
        let path = file?.path();
        assert_eq!(mode(&path)?, 0o600, "{}", path.display());
        files += 1;
    }
    assert!(files > 0);
    Ok(())
}

#[test]
fn run_without_anything_to_protect_ends_with_2() -> Result<()> {
    require_kernel!("run_without_anything_to_protect_ends_with_2");
    let namespace = Namespace::new("nothing")?;
    let daemon = Daemon::prepare(&namespace, &binary()?, "")?;
    let config = daemon.config_path();
    let refusal = daemon.refusal(&[], &["run", "--config", &config.to_string_lossy()])?;
    assert_eq!(refusal.code, Some(2), "{}", refusal.text);
    assert!(refusal.text.contains("--iface"), "{}", refusal.text);
    daemon.write_config("nonsense = 1\n[limits]\npackets = \"20\"\n")?;
    let refusal = daemon.refusal(&[], &["run", "--config", &config.to_string_lossy()])?;
    assert_eq!(refusal.code, Some(2), "{}", refusal.text);
    assert!(refusal.text.contains("nonsense"), "{}", refusal.text);
    assert!(refusal.text.contains("limits.packets"), "{}", refusal.text);
    assert!(!daemon.socket_path().exists());
    Ok(())
}
