//! Lists that keep themselves, from a server that may be anything and from files.

#[path = "kept_lists/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use server::{Answer, Server, list};
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::scene::{HOST_V4, Scene, from_v4, protecting};
use xdp_tests::prometheus::get;
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;
use xdp_user::api::types::{KeptListStatus, KeptLists, ListDiff};

const PATIENCE: Duration = Duration::from_secs(20);
/// What a hostile server may cost at most, over a daemon that holds a good list. The largest text
/// and its unpacked form are allowed 8 MiB each, and neither is to be held in memory.
const MEMORY_BOUND_KIB: u64 = 24 << 10;

fn section(name: &str, source: &str, more: &str) -> String {
    format!(
        "[[list]]\nname = {name:?}\nsource = {source:?}\ntimeout = \"3s\"\nmax_size = \"8MiB\"\n\
         max_unpacked = \"8MiB\"\n{more}\n"
    )
}

fn shown(daemon: &Daemon, name: &str) -> Result<KeptListStatus> {
    let lists: KeptLists = daemon.ask(&["list", "show", name])?;
    lists.lists.into_iter().next().context("no list is shown")
}

fn wait_for_entries(daemon: &Daemon, name: &str, entries: u64) -> Result<()> {
    let what = format!("{name} to have {entries} entries");
    let waited = wait_until(&what, PATIENCE, || {
        shown(daemon, name).is_ok_and(|list| list.entries == entries && !list.running)
    });
    waited.with_context(|| format!("{:?}", shown(daemon, name)))
}

/// Asks now; the answer's exit code tells whether it failed.
fn refresh(daemon: &Daemon, name: &str, more: &[&str]) -> Result<(bool, KeptListStatus)> {
    let output = daemon.cli(&[&["list", "refresh", name], more].concat())?;
    Ok((output.status.success(), shown(daemon, name)?))
}

fn failures(scene: &Scene, daemon: &Daemon, name: &str, cause: &str) -> Result<u64> {
    let series =
        format!("xdp_throttle_list_refresh_failures_total{{list=\"{name}\",failure=\"{cause}\"}} ");
    let text = get(&scene.host, daemon.metrics_address(), "/metrics")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series.as_str()));
    Ok(line.with_context(|| format!("no {series}"))?.parse()?)
}

#[test]
fn a_server_that_hangs_lies_or_sends_anything_else_changes_nothing() -> Result<()> {
    require_kernel!("a_server_that_hangs_lies_or_sends_anything_else_changes_nothing");
    let scene = Scene::new()?;
    let server = Server::start(&scene.host, None)?;
    server.answer(Answer::Good(list(100)));
    let daemon = scene.protect(&section("feed", &server.url(), ""))?;
    wait_for_entries(&daemon, "feed", 100)?;
    let listed = from_v4("198.18.0.8").udp(1, 2).build();
    assert_eq!(scene.passed(std::slice::from_ref(&listed))?, [false]);
    let before = daemon.memory_kib("VmHWM")?;
    let held = shown(&daemon, "feed")?;

    let cut_gzip = {
        let whole = server::packed(list(100).as_bytes())?;
        whole[..whole.len() / 2].to_vec()
    };
    for (cause, answer) in [
        ("timeout", Answer::Hang),
        ("timeout", Answer::Drip),
        ("truncated", Answer::EndEarly),
        ("large_change", Answer::ShortLength(list(100))),
        ("truncated", Answer::Bytes(cut_gzip)),
        ("too_large", Answer::Endless),
        ("too_large", Answer::DeclareGigabyte),
        ("too_large", Answer::Bytes(server::bomb()?)),
        (
            "not_a_list",
            Answer::Bytes(b"<!DOCTYPE html><p>404</p>\n".to_vec()),
        ),
        (
            "too_wide",
            Answer::Bytes(format!("{}0.0.0.0/0\n", list(100)).into_bytes()),
        ),
        ("too_few_entries", Answer::Bytes(Vec::new())),
        ("http_status", Answer::Status("404 Not Found")),
        ("http_status", Answer::Status("500 Internal Server Error")),
        ("redirect", Answer::RedirectTo(server.url())),
        (
            "redirect",
            Answer::RedirectTo("ftp://127.0.0.1/list".into()),
        ),
        ("unreachable", Answer::NoHttp),
        ("large_change", Answer::Bytes(list(40).into_bytes())),
    ] {
        let told = format!("{answer:?}");
        let told = &told[..told.len().min(60)];
        let counted = failures(&scene, &daemon, "feed", cause)?;
        server.answer(answer);
        let (went_well, list) = refresh(&daemon, "feed", &[])?;
        assert!(!went_well, "{told}: {list:?}");
        let error = list.last_error.as_ref().context("no error is shown")?;
        println!("{told}: {}: {}", error.cause, error.text);
        assert_eq!(error.cause, cause, "{told}: {}", error.text);
        assert_eq!((list.entries, &list.sha256), (100, &held.sha256), "{told}");
        assert_eq!(
            failures(&scene, &daemon, "feed", cause)?,
            counted + 1,
            "{told}"
        );
    }
    assert_eq!(scene.passed(&[listed])?, [false]);
    let more = daemon.memory_kib("VmHWM")?.saturating_sub(before);
    println!("peak memory: {before} KiB with a good list, {more} KiB more");
    ensure!(more < MEMORY_BOUND_KIB, "{more} KiB more than {before}");
    let left = fs::read_dir(daemon.directory().join("state/lists"))?.count();
    assert_eq!(left, 2, "texts that were refused are left on disk");
    Ok(())
}

#[test]
fn a_new_text_replaces_the_old_one_and_outlives_its_server() -> Result<()> {
    require_kernel!("a_new_text_replaces_the_old_one_and_outlives_its_server");
    let scene = Scene::new()?;
    let server = Server::start(&scene.host, None)?;
    server.answer(Answer::Good(list(100)));
    let mut daemon = scene.protect(&section("feed", &server.url(), ""))?;
    wait_for_entries(&daemon, "feed", 100)?;
    let fetched = shown(&daemon, "feed")?.fetched;

    // The same text isn't sent twice.
    let (went_well, list_now) = refresh(&daemon, "feed", &[])?;
    assert!(went_well && server.not_modified() == 1, "{list_now:?}");
    assert_eq!(list_now.fetched, fetched);
    assert!(list_now.confirmed > fetched);

    // What an operator added stays, whatever the list says of the same address.
    daemon.cli_text(&["block", "add", "198.18.0.198", "--list", "mine"])?;
    server.answer(Answer::Good(list(90)));
    let diff: ListDiff = daemon.ask(&["list", "diff", "feed"])?;
    assert_eq!((diff.entries, diff.added, diff.removed), (100, 0, 10));
    assert_eq!(
        shown(&daemon, "feed")?.entries,
        100,
        "a diff changed something"
    );
    let (went_well, list_now) = refresh(&daemon, "feed", &[])?;
    assert!(went_well && list_now.entries == 90, "{list_now:?}");
    let frames =
        ["198.18.0.198", "198.18.0.196", "198.18.0.8"].map(|it| from_v4(it).udp(1, 2).build());
    assert_eq!(scene.passed(&frames)?, [false, true, false]);
    let refused = daemon.cli(&["block", "add", "192.0.2.1", "--list", "feed"])?;
    assert!(!refused.status.success());

    // A large change only with force.
    server.answer(Answer::Good(list(20)));
    assert!(!refresh(&daemon, "feed", &[])?.0);
    let (went_well, list_now) = refresh(&daemon, "feed", &["--force"])?;
    assert!(went_well && list_now.entries == 20, "{list_now:?}");

    // A restart needs no server.
    daemon.terminate()?;
    drop(server);
    daemon.restart()?;
    let list_now = shown(&daemon, "feed")?;
    assert_eq!(list_now.entries, 20, "{list_now:?}");
    assert!(list_now.fetched.is_some());
    assert_eq!(scene.passed(&frames[2..])?, [false]);
    Ok(())
}

#[test]
fn a_text_with_another_checksum_or_from_an_unknown_authority_is_refused() -> Result<()> {
    require_kernel!("a_text_with_another_checksum_or_from_an_unknown_authority_is_refused");
    let scene = Scene::new()?;
    let directory = tempfile::tempdir()?;
    let pair = server::certificate()?;
    let authority = directory.path().join("ca.pem");
    fs::write(&authority, pair.cert.pem())?;
    let plain = Server::start(&scene.host, None)?;
    let secure = Server::start(&scene.host, Some(&pair))?;
    plain.answer(Answer::Good(list(30)));
    secure.answer(Answer::Good(list(30)));
    let wrong = format!("sha256 = {:?}", "0".repeat(64));
    let trusted = format!("ca_file = {authority:?}");
    let config = [
        section("summed", &plain.url(), &wrong),
        section("strange", &secure.url(), ""),
        section("trusted", &secure.url(), &trusted),
    ];
    let daemon = scene.protect(&config.concat())?;
    wait_for_entries(&daemon, "trusted", 30)?;
    for (name, cause) in [("summed", "checksum"), ("strange", "unreachable")] {
        wait_until("the failure to be counted", PATIENCE, || {
            failures(&scene, &daemon, name, cause).is_ok_and(|count| count >= 1)
        })?;
        let shown = shown(&daemon, name)?;
        let error = shown.last_error.context("no error is shown")?;
        println!("{name}: {}", error.text);
        assert_eq!((error.cause.as_str(), shown.entries), (cause, 0));
        assert!(
            cause != "unreachable" || error.text.contains("ertificate"),
            "{}",
            error.text
        );
    }
    Ok(())
}

#[test]
fn lists_from_files_come_change_and_go_with_the_configuration() -> Result<()> {
    require_kernel!("lists_from_files_come_change_and_go_with_the_configuration");
    let scene = Scene::new()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("list.txt");
    // The host's own network, and an address that is allowed, are left out.
    fs::write(&path, format!("198.18.0.8\n198.18.1.8\n{HOST_V4}/24\n"))?;
    let text = |path: &Path, more: &str| section("file", &path.to_string_lossy(), more);
    let allow = "[allow]\nprefixes = [\"198.18.1.0/24\"]\n";
    let daemon = scene.protect(&format!("{allow}{}", text(&path, "")))?;
    wait_for_entries(&daemon, "file", 1)?;
    assert_eq!(shown(&daemon, "file")?.left_out, 2);
    let frame = [from_v4("198.18.0.8").udp(1, 2).build()];
    assert_eq!(scene.passed(&frame)?, [false]);

    // Changed, and asked at once.
    fs::write(&path, "ip,who\n198.18.0.8,a\n198.18.2.8,b\n")?;
    daemon.write_config(&protecting(&text(&path, "format = \"csv\"")))?;
    daemon.cli_text(&["apply", &daemon.config_path().to_string_lossy()])?;
    wait_for_entries(&daemon, "file", 2)?;

    // What an allowlist has is left out, and comes back with the next refresh once it is gone.
    daemon.cli_text(&["allow", "add", "198.18.2.8"])?;
    fs::write(&path, "ip,who\n198.18.0.8,a\n198.18.2.8,b\n198.18.4.8,c\n")?;
    let (_, list) = refresh(&daemon, "file", &[])?;
    assert_eq!((list.entries, list.left_out), (2, 1), "{list:?}");
    daemon.cli_text(&["allow", "del", "198.18.2.8"])?;
    let (_, list) = refresh(&daemon, "file", &[])?;
    assert_eq!((list.entries, list.left_out), (3, 0), "{list:?}");

    // Gone, with its copy.
    let copy = daemon.directory().join("state/lists/file.list");
    wait_until("the copy", PATIENCE, || copy.exists())?;
    daemon.write_config(&protecting(""))?;
    daemon.cli_text(&["apply", &daemon.config_path().to_string_lossy()])?;
    assert_eq!(scene.passed(&frame)?, [true]);
    assert!(!copy.exists());
    let lists: KeptLists = daemon.ask(&["list", "show"])?;
    assert!(lists.lists.is_empty(), "{lists:?}");
    Ok(())
}
