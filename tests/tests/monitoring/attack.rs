//! Every query of every dashboard and every rule, during an attack.

use std::collections::BTreeSet;
use std::time::Duration;

use xdp_common::reason::Reason;
use xdp_tests::monitoring::boards::{Board, Panel, Spans, Target, boards, substituted};
use xdp_tests::monitoring::rules;
use xdp_tests::monitoring::scene::{FEED, INTERFACE, PATIENCE, Scene};
use xdp_tests::prometheus::Series;
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_for;

/// What a test's variables are replaced with, at a scrape each second.
const SPANS: Spans = Spans {
    rate: Duration::from_secs(5),
    range: Duration::from_secs(120),
};

/// Queries whose figures are 0 while all is well with the throttler and the machine, as it is here:
/// panel and legend. They must return series all the same. Everything else has to show something.
const ZERO_WHEN_WELL: [(&str, &str); 15] = [
    // Neighbours are known: nobody asks for one.
    ("Not judged", "{{carried}}"),
    // Nothing is down, detached, generic or waited for.
    ("Waiting interfaces", "{{waiting}}"),
    ("Up", "down"),
    ("Interfaces", "generic"),
    ("Interfaces", "detached"),
    // No packet passes unjudged, no scrape fails, no event is lost.
    ("Passed without a check", "{{reason}}"),
    ("Failed scrapes", "{{instance}}"),
    ("Lost events", "{{instance}}"),
    ("Lost events", "on the way to: {{outlet}}"),
    // No ring overflows and no CPU runs out of turns on a pair of virtual interfaces.
    (
        "Lost by link and driver",
        "{{instance}} {{interface}} {{cause}}",
    ),
    ("Lost by the kernel", "{{instance}} time squeeze"),
    // The list's file is there.
    (
        "Lists that failed or are stale",
        "{{instance}} {{list}} failed",
    ),
    (
        "Lists that failed or are stale",
        "{{instance}} {{list}} stale",
    ),
    ("Failed refreshes", "{{list}} {{failure}}"),
    // A class is elevated only on its way into the attack and out of it.
    ("Pressed classes", "elevated"),
];

/// Alerts that this attack must raise: a class is flooded, most packets are dropped, the table of
/// bans is full, a configuration was refused, a list lost its entries.
const RAISED: [&str; 6] = [
    "XdpThrottleBansLost",
    "XdpThrottleClassUnderAttack",
    "XdpThrottleConfigRefused",
    "XdpThrottleDropsHigh",
    "XdpThrottleListShrank",
    "XdpThrottleTableFull",
];

/// Alerts that nothing of it may raise: the daemon is there, attached, natively, and judges.
const SILENT: [&str; 10] = [
    "XdpThrottleDown",
    "XdpThrottleEventsLost",
    "XdpThrottleInterfaceGeneric",
    "XdpThrottleInterfaceLoses",
    "XdpThrottleInterfaceNotAttached",
    "XdpThrottleInterfaceWaiting",
    "XdpThrottlePassesUnjudged",
    "XdpThrottleRestarts",
    "XdpThrottleScrapesFail",
    "XdpThrottleSourcesCrowded",
];

#[test]
fn every_query_and_rule_returns_data_during_an_attack_and_the_right_alerts_fire() {
    require_kernel!("every_query_and_rule_returns_data_during_an_attack_and_the_right_alerts_fire");
    let mut scene = Scene::start(&rules::impatient().unwrap()).unwrap();
    // Known before the attack, as an old client is.
    scene.until("xdp_throttle_sources_protected >= 1").unwrap();
    assert_eq!(fired(&scene), BTreeSet::new(), "before the attack");

    scene.attack().unwrap();
    scene
        .until(r#"xdp_throttle_class_state{class="tcp-new"} == 2"#)
        .unwrap();
    scene.until("xdp_throttle_bans >= 16").unwrap();
    scene.reload_well_and_badly().unwrap();
    scene.import(20).unwrap();

    for board in boards().unwrap() {
        for panel in &board.panels {
            for target in &panel.targets {
                let series = data(&scene, panel, target);
                check_legend(panel, target, &series);
            }
        }
        check_variables(&scene, &board);
        check_annotations(&scene, &board);
    }
    check_reasons(&scene);
    check_alerts(&scene);
    check_rules(&scene);
    assert!(scene.honest_go_on());

    scene.calm();
    scene
        .until(r#"increase(xdp_throttle_class_state_changes_total{class="tcp-new",state="normal"}[2m]) > 0"#)
        .unwrap();
    scene
        .until(r#"absent(ALERTS{alertname="XdpThrottleClassUnderAttack"})"#)
        .unwrap();
}

/// What a query returns, once it returns what it should.
fn data(scene: &Scene, panel: &Panel, target: &Target) -> Vec<Series> {
    let what = format!("data for {}: {}", panel.title, target.expression);
    let names = (panel.title.as_str(), target.legend.as_str());
    let zero_is_well = ZERO_WHEN_WELL.contains(&names);
    wait_for(&what, PATIENCE, || {
        let series = target.ask(&scene.prometheus, SPANS).unwrap();
        let grew = series.iter().any(|series| series.max() > Some(0.0));
        let there = series.iter().any(|series| series.max().is_some());
        (grew || zero_is_well && there).then_some(series)
    })
    .unwrap()
}

/// A legend that names a label which the query drops would stay empty.
fn check_legend(panel: &Panel, target: &Target, series: &[Series]) {
    for part in target.legend.split("{{").skip(1) {
        let (label, _) = part.split_once("}}").unwrap();
        for one in series {
            assert!(one.labels.contains_key(label), "{}: {label}", panel.title);
        }
    }
}

/// As Grafana asks for them: `label_values(SELECTOR, LABEL)`.
fn check_variables(scene: &Scene, board: &Board) {
    for (name, query) in board.variables() {
        let query = substituted(&query, SPANS);
        let inner = query.strip_prefix("label_values(").unwrap();
        let (selector, label) = inner.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
        let values = scene.prometheus.label_values(label, selector).unwrap();
        let expected = match name.as_str() {
            "job" => "xdp-throttle".to_owned(),
            "instance" => scene.daemon.metrics_address().to_string(),
            _ => INTERFACE.to_owned(),
        };
        assert_eq!(values, [expected], "{}: {name}", board.name);
    }
}

/// The attack began and the reloads were done; nothing is back to normal, and nothing started anew.
fn check_annotations(scene: &Scene, board: &Board) {
    for (name, expression) in board.annotations() {
        let expression = substituted(&expression, SPANS);
        let series = scene
            .prometheus
            .query_range(&expression, SPANS.range)
            .unwrap();
        let expected = !["Class back to normal", "Daemon started"].contains(&name.as_str());
        assert_eq!(!series.is_empty(), expected, "{}: {name}", board.name);
        if name == "Class under attack" {
            let of_class = |one: &Series| one.labels.get("class").is_some_and(|c| c == "tcp-new");
            assert!(series.iter().any(of_class), "{series:?}");
        }
    }
}

fn check_reasons(scene: &Scene) {
    let boards = boards().unwrap();
    let seen = |board: &str, title: &str| -> BTreeSet<String> {
        let board = boards.iter().find(|found| found.name == board).unwrap();
        let panel = board
            .panels
            .iter()
            .find(|panel| panel.title == title)
            .unwrap();
        let series = panel.targets[0].ask(&scene.prometheus, SPANS).unwrap();
        let grew = series.iter().filter(|series| series.max() > Some(0.0));
        grew.map(|series| series.labels["reason"].clone()).collect()
    };
    let named = |reasons: &[Reason]| -> BTreeSet<String> {
        reasons
            .iter()
            .map(|reason| reason.name().to_owned())
            .collect()
    };
    let dropped = named(&[
        Reason::Blocklisted,
        Reason::RatePackets,
        Reason::Banned,
        Reason::SynCookie,
    ]);
    for (board, title) in [
        ("overview", "Drops by reason"),
        ("overview", "Dropped bytes by reason"),
        ("overview", "Drops in the time range"),
        ("attack", "Reasons of what is kept away"),
    ] {
        let seen = seen(board, title);
        assert!(seen.is_superset(&dropped), "{title}: {seen:?}");
    }
    assert_eq!(seen("overview", "Observed only"), named(&[Reason::Land]));
    let hits = named(&[Reason::Blocklisted, Reason::Allowlisted]);
    assert_eq!(seen("lists", "Hits of lists"), hits);
}

/// Alerts that have fired at any time.
fn fired(scene: &Scene) -> BTreeSet<String> {
    let series = scene
        .prometheus
        .query(r#"max_over_time(ALERTS{alertstate="firing"}[10m])"#)
        .unwrap();
    let names = series
        .into_iter()
        .map(|one| one.labels["alertname"].clone());
    names.collect()
}

fn check_alerts(scene: &Scene) {
    wait_for("the alerts of the attack", PATIENCE, || {
        let fired = fired(scene);
        RAISED
            .iter()
            .all(|name| fired.contains(*name))
            .then_some(())
    })
    .map_err(|error| format!("{error}: {:?}", fired(scene)))
    .unwrap();
    for labels in [
        r#"alertname="XdpThrottleClassUnderAttack",class="tcp-new""#,
        r#"alertname="XdpThrottleTableFull",table="bans""#,
        &format!(r#"alertname="XdpThrottleListShrank",list="{FEED}""#),
    ] {
        let condition = format!(r#"max_over_time(ALERTS{{alertstate="firing",{labels}}}[10m])"#);
        scene.until(&condition).unwrap();
    }
    let fired = fired(scene);
    let wrong: Vec<&&str> = SILENT
        .iter()
        .filter(|name| fired.contains(**name))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Each was evaluated without a mistake, and each asks for series that there are: with comparisons
/// that answer 0 or 1 in the place of nothing or something, it returns a series.
fn check_rules(scene: &Scene) {
    let rules = scene.prometheus.rules().unwrap();
    assert!(rules.len() > 20, "{rules:?}");
    for rule in rules {
        assert_eq!(rule.health, "ok", "{}: {}", rule.name, rule.last_error);
        if RAISED.contains(&rule.name.as_str()) {
            continue;
        }
        let mut expression = rule.query;
        for comparison in [" == ", " >= ", " > ", " < "] {
            let answering = format!("{comparison}bool ");
            expression = expression.replace(comparison, &answering);
        }
        let series = scene.prometheus.query(&expression).unwrap();
        assert!(!series.is_empty(), "{}: {expression}", rule.name);
    }
}
