//! Long lists, imported as they are published.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::scene::{Scene, from_v4, from_v6};
use xdp_tests::require_kernel;
use xdp_user::api::types::ChangeReport;

/// Names the folder with the lists.
const CORPUS_VARIABLE: &str = "XDP_THROTTLE_CORPUS";
/// What the import of 120,000 addresses may take in a build that isn't optimized, on a busy
/// machine; the figure is printed.
const IMPORT_BOUND: Duration = Duration::from_secs(20);

fn import(daemon: &Daemon, file: &str, more: &[&str]) -> Result<(ChangeReport, Duration)> {
    let started = Instant::now();
    let report: ChangeReport = daemon.ask(&[&["block", "import", file], more].concat())?;
    Ok((report, started.elapsed()))
}

/// A list of the corpus; `None`, said on standard error, without a corpus.
fn corpus_list(name: &str) -> Result<Option<PathBuf>> {
    let Some(corpus) = std::env::var_os(CORPUS_VARIABLE) else {
        eprintln!("skipped {name}: {CORPUS_VARIABLE} isn't set");
        return Ok(None);
    };
    let path = PathBuf::from(corpus).join("blocklists").join(name);
    ensure!(path.is_file(), "the corpus has no {}", path.display());
    Ok(Some(path))
}

/// Addresses of a list by its own lines, read without the code under test.
fn sample(path: &PathBuf, every: usize) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)?;
    let words = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let sources: Vec<String> = words
        .filter(|word| !word.starts_with(['#', ';']))
        .filter_map(|word| Some(word.split('/').next()?.to_owned()))
        .collect();
    Ok(sources.into_iter().step_by(every).collect())
}

fn frame(source: &str) -> Vec<u8> {
    if source.contains(':') {
        from_v6(source).esp(1, 2).payload([0; 32]).build()
    } else {
        from_v4(source).udp(1, 2).build()
    }
}

#[test]
fn a_list_of_120_000_addresses_is_in_force_when_the_import_returns() -> Result<()> {
    require_kernel!("a_list_of_120_000_addresses_is_in_force_when_the_import_returns");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let mut file = tempfile::NamedTempFile::new()?;
    let address = |n: u32| std::net::Ipv4Addr::from(0x0b00_0000 + n * 137);
    for n in 0..120_000 {
        writeln!(file, "{}", address(n))?;
    }
    file.flush()?;
    let (report, took) = import(&daemon, &file.path().to_string_lossy(), &[])?;
    let frames: Vec<Vec<u8>> = (0..120_000)
        .step_by(2_399)
        .map(|n| frame(&address(n).to_string()))
        .collect();
    assert_eq!(scene.passed(&frames)?, vec![false; frames.len()]);
    println!("imported {} addresses in {took:?}", report.added);
    assert_eq!((report.added, report.refused), (120_000, 0), "{report:?}");
    assert!(took < IMPORT_BOUND, "{took:?}");
    let between = frame(&std::net::Ipv4Addr::from(0x0b00_0000 + 1).to_string());
    assert_eq!(scene.passed(&[between])?, [true]);
    Ok(())
}

#[test]
fn ipsum_is_imported_as_it_is() -> Result<()> {
    require_kernel!("ipsum_is_imported_as_it_is");
    let Some(path) = corpus_list("ipsum-level1.txt")? else {
        return Ok(());
    };
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let file = path.to_string_lossy();
    let (report, took) = import(&daemon, &file, &["--list", "ipsum"])?;
    println!("ipsum-level1: {} added in {took:?}", report.added);
    assert_eq!(
        (report.added, report.refused, report.duplicates),
        (120_430, 0, 0)
    );
    assert!(took < IMPORT_BOUND, "{took:?}");
    // Some listed addresses can't come over a wire to the host at all; none may pass.
    let frames: Vec<Vec<u8>> = sample(&path, 1_201)?.iter().map(|s| frame(s)).collect();
    assert!(frames.len() > 90);
    assert_eq!(scene.passed(&frames)?, vec![false; frames.len()]);

    let (again, _) = import(&daemon, &file, &["--list", "ipsum"])?;
    assert_eq!((again.added, again.unchanged), (0, 120_430));
    let text = daemon.cli_text(&["block", "import", &file, "--list", "ipsum"])?;
    assert!(text.contains("already there 120,430"), "{text}");

    let bytes = std::fs::read(&path)?;
    let piped = [
        "--output", "json", "block", "import", "-", "--list", "piped",
    ];
    let output = daemon.cli_with_input(&piped, &bytes)?;
    let piped: ChangeReport = serde_json::from_slice(&output.stdout)?;
    assert_eq!((piped.added, piped.refused), (120_430, 0));
    Ok(())
}

#[test]
fn spamhaus_is_imported_as_it_is_in_both_families() -> Result<()> {
    require_kernel!("spamhaus_is_imported_as_it_is_in_both_families");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    for name in ["spamhaus-drop.txt", "spamhaus-dropv6.txt"] {
        let Some(path) = corpus_list(name)? else {
            return Ok(());
        };
        let sources = sample(&path, 1)?;
        let (report, took) = import(&daemon, &path.to_string_lossy(), &["--list", "drop"])?;
        println!("{name}: {} added in {took:?}", report.added);
        let read = report.added + report.duplicates;
        assert_eq!(
            (read, report.refused),
            (sources.len() as u64, 0),
            "{report:?}"
        );
        let frames: Vec<Vec<u8>> = sources.iter().step_by(17).map(|s| frame(s)).collect();
        assert_eq!(scene.passed(&frames)?, vec![false; frames.len()]);
    }
    Ok(())
}

#[test]
fn replace_removes_what_the_text_no_longer_has_and_only_in_its_list() -> Result<()> {
    require_kernel!("replace_removes_what_the_text_no_longer_has_and_only_in_its_list");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let first = b"203.0.113.1\n203.0.113.2\n203.0.113.3\n";
    let list = ["block", "import", "-", "--list", "feed"];
    assert!(daemon.cli_with_input(&list, first)?.status.success());
    daemon.cli_text(&["block", "add", "203.0.113.9"])?;
    let replace = [&["--output", "json"], &list[..], &["--replace"]].concat();
    let output = daemon.cli_with_input(&replace, b"203.0.113.3\n203.0.113.4\n")?;
    let report: ChangeReport =
        serde_json::from_slice(&output.stdout).context("no report of the import")?;
    assert_eq!((report.added, report.unchanged, report.removed), (1, 1, 2));
    let sources = [1, 2, 3, 4, 9].map(|n| frame(&format!("203.0.113.{n}")));
    assert_eq!(scene.passed(&sources)?, [true, true, false, false, false]);
    Ok(())
}
