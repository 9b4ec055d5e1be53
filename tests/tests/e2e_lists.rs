//! Lists through the command line of the real daemon, judged by packets on a wire.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xdp_common::reason::Reason;
use xdp_tests::daemon::Daemon;
use xdp_tests::daemon::scene::{Scene, from_v4, from_v6};
use xdp_tests::packet::Packet;
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;
use xdp_user::api::types::{ChangeReport, EntryPage};

/// For an end that comes after seconds, on a busy machine.
const END_TIMEOUT: Duration = Duration::from_secs(20);

fn packet(source: &str) -> Packet {
    if source.contains(':') {
        from_v6(source).udp(1, 2)
    } else {
        from_v4(source).udp(1, 2)
    }
}

fn passing(scene: &Scene, sources: &[&str]) -> Result<Vec<bool>> {
    let frames: Vec<Vec<u8>> = sources.iter().map(|s| packet(s).build()).collect();
    scene.passed(&frames)
}

fn block_list(daemon: &Daemon, arguments: &[&str]) -> Result<EntryPage> {
    daemon.ask(&[&["block", "list"], arguments].concat())
}

fn is_listed(daemon: &Daemon, prefix: &str) -> bool {
    let page = block_list(daemon, &["--match", prefix]);
    page.is_ok_and(|page| page.entries.iter().any(|e| e.prefix.to_string() == prefix))
}

#[test]
fn an_entry_acts_at_once_until_it_is_removed() -> Result<()> {
    require_kernel!("an_entry_acts_at_once_until_it_is_removed");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let sources = ["203.0.113.7", "2001:db8::7", "203.0.114.7", "2001:db8:1::7"];
    assert_eq!(passing(&scene, &sources)?, [true; 4]);
    daemon.cli_text(&["block", "add", "203.0.113.0/24", "2001:db8::/48"])?;
    assert_eq!(passing(&scene, &sources)?, [false, false, true, true]);
    daemon.cli_text(&["block", "del", "203.0.113.0/24"])?;
    assert_eq!(passing(&scene, &sources)?, [true, false, true, true]);
    let again = daemon.cli(&["block", "del", "203.0.113.0/24"])?;
    assert_eq!(again.status.code(), Some(0), "it is as it was wanted");
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(text.contains("not there: 203.0.113.0/24"), "{text}");
    Ok(())
}

#[test]
fn an_entry_with_an_end_acts_until_then() -> Result<()> {
    require_kernel!("an_entry_with_an_end_acts_until_then");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let started = Instant::now();
    daemon.cli_text(&["block", "add", "203.0.113.7", "--for", "2s"])?;
    let packet = packet("203.0.113.7");
    let dropped = !scene.passes(&packet)?;
    assert!(dropped || started.elapsed() > Duration::from_secs(2));
    wait_until("the entry to end", END_TIMEOUT, || {
        scene.passes(&packet).is_ok_and(|passes| passes)
    })?;
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2), "it ended after {took:?}");
    wait_until("the entry to be gone", END_TIMEOUT, || {
        !is_listed(&daemon, "203.0.113.7")
    })
}

#[test]
fn overlapping_entries_act_each_by_itself() -> Result<()> {
    require_kernel!("overlapping_entries_act_each_by_itself");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let sources = ["203.0.113.7", "203.0.113.8"];
    let (narrow, wide) = ("203.0.113.7", "203.0.113.0/24");
    for (first, second) in [(narrow, wide), (wide, narrow)] {
        daemon.cli_text(&["block", "add", first])?;
        daemon.cli_text(&["block", "add", second])?;
        assert_eq!(passing(&scene, &sources)?, [false, false]);
        daemon.cli_text(&["block", "del", wide])?;
        assert_eq!(passing(&scene, &sources)?, [false, true]);
        daemon.cli_text(&["block", "add", wide])?;
        daemon.cli_text(&["block", "del", narrow])?;
        assert_eq!(passing(&scene, &sources)?, [false, false]);
        daemon.cli_text(&["block", "del", wide])?;
        assert_eq!(passing(&scene, &sources)?, [true, true]);
    }
    Ok(())
}

#[test]
fn of_overlapping_entries_the_one_that_lasts_goes_on_acting() -> Result<()> {
    require_kernel!("of_overlapping_entries_the_one_that_lasts_goes_on_acting");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    // A narrow one that ends in a wide one that doesn't, and the other way round.
    daemon.cli_text(&["block", "add", "203.0.113.0/24", "198.51.100.7"])?;
    daemon.cli_text(&[
        "block",
        "add",
        "203.0.113.7",
        "198.51.100.0/24",
        "--for",
        "1s",
    ])?;
    wait_until("both to end", END_TIMEOUT, || {
        !is_listed(&daemon, "203.0.113.7") && !is_listed(&daemon, "198.51.100.0/24")
    })?;
    let sources = ["203.0.113.7", "203.0.113.8", "198.51.100.7", "198.51.100.8"];
    assert_eq!(passing(&scene, &sources)?, [false, false, false, true]);
    Ok(())
}

#[test]
fn the_allowlist_wins_over_the_blocklist() -> Result<()> {
    require_kernel!("the_allowlist_wins_over_the_blocklist");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let sources = [
        "203.0.113.7",
        "203.0.113.8",
        "2001:db8::7",
        "2001:db8:0:1::7",
    ];
    daemon.cli_text(&[
        "block",
        "add",
        "203.0.113.7",
        "203.0.113.8",
        "2001:db8::/32",
    ])?;
    assert_eq!(passing(&scene, &sources)?, [false; 4]);
    // Wider than what is blocked, and narrower.
    daemon.cli_text(&["allow", "add", "203.0.113.0/24", "2001:db8::/64"])?;
    assert_eq!(passing(&scene, &sources)?, [true, true, true, false]);
    assert_eq!(daemon.passed(Reason::Allowlisted)?, 3);
    daemon.cli_text(&["allow", "del", "203.0.113.0/24", "2001:db8::/64"])?;
    assert_eq!(passing(&scene, &sources)?, [false; 4]);
    Ok(())
}

#[test]
fn a_full_table_refuses_what_is_more_and_says_so() -> Result<()> {
    require_kernel!("a_full_table_refuses_what_is_more_and_says_so");
    let scene = Scene::new()?;
    let daemon = scene.protect("[capacity]\nblock = 100\n")?;
    let list: String = (0..150).map(|n| format!("203.0.113.{n}\n")).collect();
    let output = daemon.cli_with_input(&["block", "import", "-"], list.as_bytes())?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("added         100\n"), "{text}");
    assert!(text.contains("refused       50\n"), "{text}");
    assert!(
        text.contains("full at 100 entries: raise capacity.block"),
        "{text}"
    );
    let sources = ["203.0.113.0", "203.0.113.99", "203.0.113.100"];
    assert_eq!(passing(&scene, &sources)?, [false, false, true]);

    let refused = daemon.cli(&["block", "add", "203.0.113.100"])?;
    assert_eq!(refused.status.code(), Some(1));
    // IPv6 has a table of its own.
    daemon.cli_text(&["block", "add", "2001:db8::7"])?;
    daemon.cli_text(&["block", "del", "203.0.113.0"])?;
    daemon.cli_text(&["block", "add", "203.0.113.100"])?;
    assert_eq!(passing(&scene, &sources)?, [true, false, false]);
    Ok(())
}

#[test]
fn flush_empties_lists_but_not_the_configurations() -> Result<()> {
    require_kernel!("flush_empties_lists_but_not_the_configurations");
    let scene = Scene::new()?;
    let daemon = scene.protect("[block]\nprefixes = [\"192.0.2.1\"]\n")?;
    daemon.cli_text(&["block", "add", "203.0.113.1", "--list", "one"])?;
    daemon.cli_text(&["block", "add", "203.0.113.2", "2001:db8::2"])?;
    let sources = ["192.0.2.1", "203.0.113.1", "203.0.113.2", "2001:db8::2"];
    assert_eq!(passing(&scene, &sources)?, [false; 4]);
    assert_eq!(daemon.cli(&["block", "flush"])?.status.code(), Some(2));
    daemon.cli_text(&["block", "flush", "--list", "one", "--yes"])?;
    assert_eq!(passing(&scene, &sources)?, [false, true, false, false]);
    daemon.cli_text(&["block", "flush", "--yes"])?;
    assert_eq!(passing(&scene, &sources)?, [false, true, true, true]);
    assert_eq!(block_list(&daemon, &[])?.total, 1);
    Ok(())
}

#[test]
fn an_entry_in_two_lists_acts_until_it_is_in_none() -> Result<()> {
    require_kernel!("an_entry_in_two_lists_acts_until_it_is_in_none");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    for list in ["one", "two"] {
        daemon.cli_text(&["block", "add", "203.0.113.7", "--list", list])?;
    }
    assert_eq!(block_list(&daemon, &[])?.total, 2);
    daemon.cli_text(&["block", "del", "203.0.113.7", "--list", "one"])?;
    assert_eq!(passing(&scene, &["203.0.113.7"])?, [false]);
    daemon.cli_text(&["block", "del", "203.0.113.7", "--list", "two"])?;
    assert_eq!(passing(&scene, &["203.0.113.7"])?, [true]);
    Ok(())
}

#[test]
fn a_list_is_shown_in_pages_with_its_hits() -> Result<()> {
    require_kernel!("a_list_is_shown_in_pages_with_its_hits");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let list: String = (0..250).map(|n| format!("203.0.113.{n}\n")).collect();
    let import = ["block", "import", "-", "--list", "big"];
    assert!(
        daemon
            .cli_with_input(&import, list.as_bytes())?
            .status
            .success()
    );
    let frame = packet("203.0.113.100").padded_to(100);
    scene.send(vec![frame.build(); 5])?;
    assert!(!scene.passes(&frame.clone().vlan(3))?);

    let page = block_list(
        &daemon,
        &["--list", "big", "--limit", "100", "--offset", "50"],
    )?;
    assert_eq!((page.entries.len(), page.total), (100, 250));
    let prefixes: Vec<String> = page.entries.iter().map(|e| e.prefix.to_string()).collect();
    let expected: Vec<String> = (50..150).map(|n| format!("203.0.113.{n}")).collect();
    assert_eq!(prefixes, expected);
    let hit = page.entries.get(50).context("no such entry")?;
    assert_eq!((hit.packets, hit.bytes), (Some(6), Some(604)));
    assert_eq!(page.entries[49].packets, Some(0));
    let past = block_list(&daemon, &["--offset", "250"])?;
    assert_eq!((past.entries.len(), past.total), (0, 250));
    let text = daemon.cli_text(&["block", "list", "--limit", "10"])?;
    assert!(text.contains("1 to 10 of 250 entries"), "{text}");
    Ok(())
}

#[test]
fn refused_lines_are_reported_with_their_number_and_why() -> Result<()> {
    require_kernel!("refused_lines_are_reported_with_their_number_and_why");
    let scene = Scene::new()?;
    let daemon = scene.protect("")?;
    let list = b"# ours\n203.0.113.7\nnonsense\n0.0.0.0/0\n203.0.113.7\n203.0.113.8/33\n";
    let import = ["--output", "json", "block", "import", "-"];
    let output = daemon.cli_with_input(&import, list)?;
    assert_eq!(output.status.code(), Some(0));
    let report: ChangeReport = serde_json::from_slice(&output.stdout)?;
    assert_eq!((report.added, report.duplicates, report.refused), (1, 1, 3));
    let places: Vec<(Option<u64>, &str)> = report
        .refusals
        .iter()
        .map(|refusal| (refusal.line, &*refusal.text))
        .collect();
    assert_eq!(
        places,
        [
            (Some(3), "nonsense"),
            (Some(4), "0.0.0.0/0"),
            (Some(6), "203.0.113.8/33"),
        ]
    );
    assert!(
        report
            .refusals
            .iter()
            .all(|refusal| !refusal.why.is_empty())
    );
    assert_eq!(
        passing(&scene, &["203.0.113.7", "203.0.113.8"])?,
        [false, true]
    );

    let nothing = daemon.cli_with_input(&["block", "import", "-"], b"nonsense\n")?;
    assert_eq!(nothing.status.code(), Some(1));
    Ok(())
}
