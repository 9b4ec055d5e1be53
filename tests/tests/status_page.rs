//! The status page in headless Chromium, served by a real daemon under real traffic.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xdp_common::reason::Reason;
use xdp_tests::browser::{Accessible, Browser, is_here};
use xdp_tests::daemon::scene::{HOST, from_v4};
use xdp_tests::pictures::page::{ATTACKED, BLOCKED, FLOODER, Shown};
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;
use xdp_user::api::types::Status;
use xdp_user::domain::ClassState;

/// For a change to be on the page: several polls on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns early, saying why, where no browser is.
macro_rules! require_browser {
    ($test:expr) => {
        require_kernel!($test);
        if !is_here($test) {
            return Ok(());
        }
    };
}

/// The browser at the page, with figures in it.
fn opened(shown: &Shown) -> Result<Browser> {
    let mut browser = Browser::start(&shown.scene.host)?;
    browser.open(&shown.url())?;
    browser.wait_until("!document.getElementById('main').hidden", PATIENCE)?;
    Ok(browser)
}

/// A cell of a table by the row's key and the column's place, as a script's expression.
fn cell(table: &str, key: &str, column: usize) -> String {
    format!("document.querySelector('#{table} tr[data-key=\"{key}\"]')?.cells[{column}].innerText")
}

/// Sends until the page shows a cell, and then no more.
fn has_shown(browser: &mut Browser, shown: &Shown, cell: &str) -> Result<()> {
    let traffic = shown.traffic()?;
    browser.wait_until(&format!("{cell}?.length > 0"), PATIENCE)?;
    for sender in traffic {
        sender.stop()?;
    }
    Ok(())
}

/// `1234567` as the page writes it.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

fn state(status: &Status) -> Result<ClassState> {
    let mut classes = status.mitigation.classes.iter();
    let class = classes.find(|class| class.name == ATTACKED);
    Ok(class.context("no such class")?.state)
}

#[test]
fn it_shows_what_the_daemon_counts_and_asks_nobody_else() -> Result<()> {
    require_browser!("it_shows_what_the_daemon_counts_and_asks_nobody_else");
    let more = "[mitigation]\nattack_hold = \"3s\"\ncalm_after = \"1s\"\n";
    let shown = Shown::start("sources", more)?;
    let mut browser = opened(&shown)?;
    let others = shown.traffic()?;
    let attack = shown.attack()?;

    let its_state = cell("classes", ATTACKED, 1);
    browser.wait_until(&format!("{its_state} === '● under attack'"), PATIENCE)?;
    assert_eq!(state(&shown.daemon.status()?)?, ClassState::Attack);
    let headline = browser.text("document.getElementById('state').innerText")?;
    assert_eq!(headline, format!("● Under attack: {ATTACKED}"));
    // A screen reader is told, in an element that is announced.
    let notice = "document.querySelector('[role=status]').innerText";
    browser.wait_until(
        &format!("{notice}.includes('{ATTACKED}: under attack')"),
        PATIENCE,
    )?;
    // Rates are of the page's own making, from two answers.
    let rate = cell("reasons", "syn_cookie answered", 2);
    browser.wait_until(
        &format!("parseFloat({rate}?.replace(',', '')) > 1000"),
        PATIENCE,
    )?;

    let flooder = cell("top-dropped", FLOODER, 1);
    browser.wait_until(&format!("{flooder}?.startsWith('banned until')"), PATIENCE)?;
    let banned = cell("reasons", "banned dropped", 4);
    browser.wait_until(&format!("{banned}?.length > 0"), PATIENCE)?;

    attack.stop()?;
    for sender in others {
        sender.stop()?;
    }
    // Everything is through and counted when this one is.
    assert!(shown.scene.passes(&from_v4("192.0.2.99").udp(7, 9))?);
    let daemon = &shown.daemon;
    let counted = [
        ("syn_cookie answered", daemon.answered(Reason::SynCookie)?),
        ("blocklisted dropped", daemon.dropped(Reason::Blocklisted)?),
        ("banned dropped", daemon.dropped(Reason::Banned)?),
        ("rate_packets dropped", daemon.dropped(Reason::RatePackets)?),
    ];
    for (key, packets) in counted {
        assert!(packets > 0, "{key}");
        let shown = cell("reasons", key, 4);
        let expected = grouped(packets);
        browser.wait_until(&format!("{shown} === '{expected}'"), PATIENCE)?;
    }

    browser.wait_until(&format!("{its_state} === '○ normal'"), PATIENCE)?;
    browser.wait_until(
        &format!("{notice}.includes('{ATTACKED}: normal')"),
        PATIENCE,
    )?;
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let (url, requests) = (shown.url(), browser.requests());
    assert!(requests.len() > 3, "{requests:?}");
    let allowed = [
        url.clone(),
        format!("{url}status.json"),
        "data:,".to_owned(),
    ];
    assert!(
        requests.iter().all(|request| allowed.contains(request)),
        "{requests:?}"
    );
    Ok(())
}

#[test]
fn counters_alone_name_nobody() -> Result<()> {
    require_browser!("counters_alone_name_nobody");
    let shown = Shown::start("counters", "")?;
    let mut browser = opened(&shown)?;
    has_shown(&mut browser, &shown, &cell("reasons", "banned dropped", 4))?;
    let page = browser.text("document.documentElement.outerHTML")?;
    let state = browser.text("fetch('status.json').then((answer) => answer.text())")?;
    for address in [FLOODER, BLOCKED, "192.0.2.10", "203.0.113.0"] {
        assert!(!page.contains(address), "{address} on the page");
        assert!(!state.contains(address), "{address} in {state}");
    }
    assert!(state.contains("banned") && page.contains("banned"));
    let state: Value = serde_json::from_str(&state)?;
    assert!(state.get("sources").is_none(), "{state}");
    assert_eq!(
        browser.evaluate("document.getElementById('sources').hidden")?,
        true
    );
    Ok(())
}

#[test]
fn a_keyboard_reaches_the_pause_button_which_holds_the_figures() -> Result<()> {
    require_browser!("a_keyboard_reaches_the_pause_button_which_holds_the_figures");
    let shown = Shown::start("counters", "")?;
    let mut browser = opened(&shown)?;
    let focused = "document.activeElement.innerText";
    browser.press("Tab")?;
    assert_eq!(browser.text(focused)?, "Skip to the figures");
    let visible = "document.activeElement.getBoundingClientRect().left >= 0";
    assert_eq!(browser.evaluate(visible)?, true);
    browser.press("Tab")?;
    assert_eq!(browser.text(focused)?, "Pause");
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.text(outline)?, "solid");

    browser.press("Space")?;
    browser.wait_until(
        "document.activeElement.getAttribute('aria-pressed') === 'true'",
        PATIENCE,
    )?;
    let asked = |browser: &Browser| browser.requests().len();
    let sender = shown.traffic()?;
    // One answer may have been under way.
    let before = asked(&browser);
    let reason = cell("reasons", "blocklisted dropped", 4);
    wait_until("the daemon to count for seconds", PATIENCE, || {
        let dropped = shown.daemon.dropped(Reason::Blocklisted);
        dropped.is_ok_and(|dropped| dropped > 1_500)
    })?;
    assert_eq!(browser.evaluate(&format!("{reason} === undefined"))?, true);
    assert!(asked(&browser) <= before + 1, "asked while paused");
    let headline = browser.text("document.getElementById('state').innerText")?;
    assert!(headline.starts_with("Paused"), "{headline}");

    browser.press("Enter")?;
    browser.wait_until(&format!("{reason}?.length > 0"), PATIENCE)?;
    drop(sender);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_screen_reader_finds_landmarks_headings_and_named_tables() -> Result<()> {
    require_browser!("a_screen_reader_finds_landmarks_headings_and_named_tables");
    let shown = Shown::start("sources", "")?;
    let mut browser = opened(&shown)?;
    has_shown(&mut browser, &shown, &cell("top-dropped", FLOODER, 1))?;
    let tree = browser.accessibility()?;
    let names = |role: &str| -> Vec<&str> {
        let of_role = tree.iter().filter(|node| node.role == role);
        of_role.map(|node| node.name.as_str()).collect()
    };
    for role in ["banner", "main", "contentinfo", "status"] {
        assert_eq!(names(role).len(), 1, "{role}: {tree:?}");
    }
    assert_eq!(names("button"), ["Pause"]);
    let headings = names("heading");
    for heading in [
        "xdp-throttle",
        "Now",
        "Reasons",
        "Service classes",
        "Top sources",
    ] {
        assert!(headings.contains(&heading), "{heading}: {headings:?}");
    }
    let tables = names("table");
    assert_eq!(tables.len(), 8, "{tables:?}");
    assert!(tables.contains(&"Packets by reason, refused ones first"));
    let is_nameless = |node: &&Accessible| {
        let named = [
            "table",
            "region",
            "button",
            "link",
            "columnheader",
            "rowheader",
        ];
        named.contains(&node.role.as_str()) && node.name.trim().is_empty()
    };
    assert_eq!(tree.iter().find(is_nameless), None);
    let rows = names("rowheader");
    assert!(
        rows.iter().any(|name| name.starts_with("blocklisted")),
        "{rows:?}"
    );
    assert!(rows.contains(&HOST), "{rows:?}");
    // The curves say nothing that isn't in a cell beside them.
    let pictures = ["image", "img", "SvgRoot", "graphics-document"];
    assert!(
        pictures.iter().all(|role| names(role).is_empty()),
        "{tree:?}"
    );
    Ok(())
}

/// Texts whose contrast with their ground is below 4.5 (WCAG 2.2, 1.4.3), with the ratio.
const FAINT: &str = r#"
(() => {
  const parts = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if (parts(color)[3] !== 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("body *")]
    .filter((node) => [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim()))
    .filter((node) => node.checkVisibility() && !["SCRIPT", "NOSCRIPT"].includes(node.tagName))
    .map((node) => {
      const [a, b] = [light(getComputedStyle(node).color), light(ground(node))];
      return [node.innerText.slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    })
    .filter(([, ratio]) => ratio < 4.5);
})()
"#;

#[test]
fn it_reads_well_in_the_light_in_the_dark_and_on_a_small_screen() -> Result<()> {
    require_browser!("it_reads_well_in_the_light_in_the_dark_and_on_a_small_screen");
    let shown = Shown::start("sources", "")?;
    let mut browser = opened(&shown)?;
    has_shown(&mut browser, &shown, &cell("top-dropped", FLOODER, 1))?;
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer("prefers-color-scheme", scheme)?;
        grounds.push(browser.text("getComputedStyle(document.body).backgroundColor")?);
        assert_eq!(
            browser.evaluate(FAINT)?,
            Value::Array(Vec::new()),
            "{scheme}"
        );
    }
    assert_ne!(grounds[0], grounds[1]);
    browser.resize(320, 640)?;
    // Tables scroll within their own frames; the page doesn't, sideways.
    let width = browser.evaluate("document.documentElement.scrollWidth")?;
    assert_eq!(width, 320);
    let target = browser.evaluate("document.getElementById('pause').offsetHeight >= 44")?;
    assert_eq!(target, true, "WCAG 2.2, 2.5.5");
    Ok(())
}

#[test]
fn without_scripts_it_says_where_the_same_is() -> Result<()> {
    require_browser!("without_scripts_it_says_where_the_same_is");
    let shown = Shown::start("counters", "")?;
    let mut browser = Browser::start(&shown.scene.host)?;
    let off = serde_json::json!({"value": true});
    browser.call("Emulation.setScriptExecutionDisabled", off)?;
    browser.open(&shown.url())?;
    // The footer names the command, too, so what stands in the script's place is looked at alone.
    let said = browser.text("document.querySelector('noscript').innerText")?;
    ensure!(
        said.contains("xdp-throttle status") && said.contains("status.json"),
        "no way out is named: {said}"
    );
    let tree = browser.accessibility()?;
    let roles: Vec<&str> = tree.iter().map(|node| node.role.as_str()).collect();
    assert!(
        tree.iter()
            .any(|node| said.contains(&node.name) && node.name.len() > 40),
        "{tree:?}"
    );
    assert!(
        !roles.contains(&"button"),
        "one that does nothing: {tree:?}"
    );
    assert!(!roles.contains(&"table"), "empty ones: {tree:?}");
    Ok(())
}
