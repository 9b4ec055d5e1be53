//! The dashboard in packaging/grafana: its form, and each of its queries against a real Prometheus
//! that scrapes the real daemon under real traffic.
//!
//! Grafana itself isn't needed for that: it substitutes the variables and asks Prometheus, and so
//! does this.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it, too")]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use xdp_common::reason::{Class, Reason};
use xdp_tests::daemon::Daemon;
use xdp_tests::netns::Namespace;
use xdp_tests::netns::link::{End, veth_pair};
use xdp_tests::packet::Packet;
use xdp_tests::prometheus::{Prometheus, Series};
use xdp_tests::require_kernel;
use xdp_tests::traffic::sender::{Load, Sender};
use xdp_tests::wait::wait_for;
use xdp_user::exporter::metrics::{METRICS, Metric};

#[path = "grafana/dashboard.rs"]
mod dashboard;

use dashboard::{Panel, Target, dashboard, panels, words};

/// For a figure to show up: several scrapes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

fn metrics_in(text: &str) -> Vec<&str> {
    words(text)
        .filter(|word| word.starts_with("xdp_throttle_"))
        .collect()
}

#[test]
fn it_is_a_dashboard_that_current_grafana_takes() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39));
    assert_eq!(dashboard["uid"], "xdp-throttle-overview");
    // An id would be another Grafana's.
    assert!(dashboard["id"].is_null());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["datasource", "job", "instance", "interface"]);
    assert_eq!(variables[0]["type"], "datasource");
    assert_eq!(variables[0]["query"], "prometheus");
    for variable in &variables[1..] {
        assert_eq!(variable["multi"], true, "{variable}");
        assert_eq!(variable["includeAll"], true, "{variable}");
        assert_eq!(variable["datasource"]["uid"], "${datasource}");
        let query = variable["query"]["query"].as_str().unwrap();
        let named = metrics_in(query);
        assert!(!named.is_empty(), "{query}");
        assert!(named.iter().all(|name| metric(name).is_some()), "{query}");
    }
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit() {
    let mut ids = BTreeSet::new();
    let mut titles = BTreeSet::new();
    for panel in panels() {
        let title = &panel.title;
        assert!(!title.is_empty());
        assert!(titles.insert(title.clone()), "two panels are {title}");
        assert!(ids.insert(panel.id), "{title} has another panel's id");
        assert!(panel.description.ends_with('.'), "{title}: no description");
        assert!(!panel.unit.is_empty(), "{title}: no unit");
        assert_eq!(panel.datasource, "${datasource}", "{title}");
        assert!(!panel.targets.is_empty(), "{title}: no query");
        for target in &panel.targets {
            assert_eq!(target.datasource, "${datasource}", "{title}");
            assert!(!target.legend.is_empty(), "{title}: no legend");
        }
    }
}

#[test]
fn no_panel_covers_another_or_leaves_the_grid() {
    let panels = panels();
    for (index, panel) in panels.iter().enumerate() {
        let place = panel.place;
        assert!(place.x + place.w <= 24, "{}", panel.title);
        for other in &panels[index + 1..] {
            assert!(
                !place.meets(other.place),
                "{} and {}",
                panel.title,
                other.title
            );
        }
    }
}

#[test]
fn queries_and_metrics_name_each_other() {
    let mut shown = BTreeSet::new();
    for panel in panels() {
        for target in &panel.targets {
            for name in metrics_in(&target.expression) {
                assert!(metric(name).is_some(), "{}: no metric {name}", panel.title);
                shown.insert(name.to_owned());
            }
        }
    }
    for metric in METRICS {
        assert!(shown.contains(metric.name), "{} is not shown", metric.name);
    }
}

#[test]
fn every_selector_follows_the_variables() {
    for panel in panels() {
        for target in &panel.targets {
            let selectors: Vec<&str> = target.expression.split("xdp_throttle_").skip(1).collect();
            for selector in selectors {
                let (name, rest) = selector.split_once('{').unwrap();
                let (matchers, after) = rest.split_once('}').unwrap();
                let title = &panel.title;
                assert!(matchers.contains(r#"job=~"$job""#), "{title}: {name}");
                let instance = r#"instance=~"$instance""#;
                assert!(matchers.contains(instance), "{title}: {name}");
                let metric = metric(&format!("xdp_throttle_{name}")).unwrap();
                let by_interface = metric
                    .labels
                    .iter()
                    .any(|label| label.name() == "interface");
                let interface = matchers.contains(r#"interface=~"$interface""#);
                assert_eq!(interface, by_interface, "{title}: {name}");
                if let Some(range) = after.strip_prefix('[') {
                    let (range, _) = range.split_once(']').unwrap();
                    assert!(["$__rate_interval", "$__range"].contains(&range), "{title}");
                }
            }
        }
    }
}

/// The two lists of reasons that stand in queries.
#[test]
fn the_reasons_in_queries_are_those_of_the_program() {
    let passing: Vec<&str> = Reason::ALL
        .iter()
        .filter(|reason| reason.class() == Class::Pass)
        .map(|reason| reason.name())
        .collect();
    let observed = one_expression("Observed only");
    assert_eq!(quoted(&observed, "reason!~"), passing);
    let unchecked = one_expression("Passed without a check");
    let expected = [
        Reason::NoPolicy,
        Reason::PolicyMismatch,
        Reason::SourceUntracked,
    ];
    assert_eq!(quoted(&unchecked, "reason=~"), expected.map(Reason::name));
}

fn one_expression(title: &str) -> String {
    let panels = panels();
    let panel = panels.iter().find(|panel| panel.title == title).unwrap();
    assert_eq!(panel.targets.len(), 1, "{title}");
    panel.targets[0].expression.clone()
}

/// The alternatives of the regular expression after `matcher`.
fn quoted<'a>(expression: &'a str, matcher: &str) -> Vec<&'a str> {
    let (_, after) = expression.split_once(matcher).unwrap();
    after.split('"').nth(1).unwrap().split('|').collect()
}

/// Panels whose figures are 0 while all is well, as it is here.
const ZERO_WHEN_WELL: [&str; 11] = [
    "Passed without a check",
    "Faults and lost events",
    "Failed scrapes",
    "Protected sources",
    "Lost by link and driver",
    "Lost by the kernel",
    "SYN cookies of the kernel",
    "Class states",
    "Newcomers over the budget",
    "Class state changes",
    "Classes stand aside",
];

/// A limit that the flood breaks at once, and a ban soon after.
const CONFIG: &str = r#"
observe_reasons = ["land"]

[[interface]]
name = "in0"

[limits]
packets = "200pps"
packets_burst = 200

[ban]
strikes = 3
strike_interval = "500ms"
duration = "10m"

[block]
prefixes = ["203.0.113.66"]
"#;

#[test]
fn every_query_of_every_panel_returns_data_from_the_real_daemon() {
    require_kernel!("every_query_of_every_panel_returns_data_from_the_real_daemon");
    let host = Namespace::new("host").unwrap();
    let world = Namespace::new("world").unwrap();
    veth_pair(End::new(&world, "out0"), End::new(&host, "in0"), 1500).unwrap();
    let daemon = Daemon::start(&host, CONFIG).unwrap();
    // Before the traffic, so that it sees every counter grow from 0.
    let prometheus = Prometheus::start(&host, daemon.metrics_address()).unwrap();

    let _traffic = traffic(&world).unwrap();
    reload_well_and_badly(&daemon, &prometheus);
    until(&prometheus, "xdp_throttle_bans >= 1");
    until(
        &prometheus,
        r#"xdp_throttle_packets_total{reason="banned"} > 0"#,
    );

    for panel in panels() {
        for target in &panel.targets {
            let series = data(&prometheus, &panel, target);
            check_legend(&panel, target, &series);
        }
    }
    for reason in [Reason::Blocklisted, Reason::RatePackets, Reason::Banned] {
        for title in ["Drops by reason", "Dropped bytes by reason"] {
            assert_grew(&prometheus, title, reason);
        }
    }
    assert_grew(&prometheus, "Observed only", Reason::Land);
    let attached = prometheus
        .query("sum(xdp_throttle_interface_attached)")
        .unwrap();
    assert_eq!(attached[0].values, [1.0]);
}

/// An honest source, a blocked one, one that floods, and one whose packets are only observed.
fn traffic(world: &Namespace) -> Result<Vec<Sender>> {
    let host = "198.51.100.1";
    [
        ("192.0.2.10", 50),
        ("203.0.113.66", 100),
        ("198.51.100.77", 2_000),
        (host, 20),
    ]
    .into_iter()
    .map(|(source, rate)| {
        let frame = Packet::v4(source, host).udp(40_000, 9).padded_to(200);
        let load = Load {
            rate,
            count: u64::MAX,
            duration: Duration::from_secs(600),
            ..Load::once(vec![frame.build()])
        };
        Sender::start(world, "out0", load)
    })
    .collect()
}

fn reload_well_and_badly(daemon: &Daemon, prometheus: &Prometheus) {
    daemon.signal(Signal::SIGHUP).unwrap();
    until(
        prometheus,
        r#"xdp_throttle_reloads_total{result="ok"} >= 1"#,
    );
    daemon
        .write_config("[limits]\npackets = \"many\"\n")
        .unwrap();
    daemon.signal(Signal::SIGHUP).unwrap();
    until(
        prometheus,
        r#"xdp_throttle_reloads_total{result="refused"} >= 1"#,
    );
}

fn until(prometheus: &Prometheus, condition: &str) {
    wait_for(condition, PATIENCE, || {
        let series = prometheus.query(condition).unwrap();
        (!series.is_empty()).then_some(())
    })
    .unwrap();
}

/// What a query returns, once it returns something: a series, and a figure over 0 unless the
/// panel is about faults.
fn data(prometheus: &Prometheus, panel: &Panel, target: &Target) -> Vec<Series> {
    let what = format!("data for {}: {}", panel.title, target.expression);
    let zero_is_well = ZERO_WHEN_WELL.contains(&panel.title.as_str())
        || ["generic", "detached"].contains(&target.legend.as_str());
    wait_for(&what, PATIENCE, || {
        let series = ask(prometheus, target).unwrap();
        let grew = series.iter().any(|series| series.max() > Some(0.0));
        let there = series.iter().any(|series| series.max().is_some());
        (grew || zero_is_well && there).then_some(series)
    })
    .unwrap()
}

fn ask(prometheus: &Prometheus, target: &Target) -> Result<Vec<Series>> {
    let expression = target
        .expression
        .replace("$__rate_interval", "5s")
        .replace("$__range", "60s")
        .replace("$job", ".*")
        .replace("$instance", ".*")
        .replace("$interface", ".*");
    assert!(
        !expression.contains('$'),
        "a variable is left: {expression}"
    );
    if target.instant {
        prometheus.query(&expression)
    } else {
        prometheus.query_range(&expression, Duration::from_secs(60))
    }
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

fn assert_grew(prometheus: &Prometheus, title: &str, reason: Reason) {
    let panels = panels();
    let panel = panels.iter().find(|panel| panel.title == title).unwrap();
    let series = ask(prometheus, &panel.targets[0]).unwrap();
    let its = series
        .iter()
        .find(|series| series.labels["reason"] == reason.name());
    let max = its.and_then(Series::max);
    assert!(max > Some(0.0), "{title}, {reason:?}: {series:?}");
}
