//! The alerts in packaging/prometheus: that Prometheus takes them, what they say to known series,
//! and that they name what there is.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the helpers of a test fail it, too"
)]

use std::collections::BTreeSet;
use std::process::Command;

use xdp_common::abi::Fault;
use xdp_common::reason::Reason;
use xdp_user::exporter::labels::{REFUSED, TABLES};
use xdp_user::exporter::metrics::METRICS;
use xdp_user::host::received::LinkLoss;

const RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../packaging/prometheus/alerts.yml"
);
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/alerts.yml");

fn promtool(verb: &str, file: &str) {
    let output = Command::new("promtool")
        .args([verb, "rules", file])
        .output()
        .expect("promtool is part of Prometheus: `cargo xtask setup` installs it");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
}

fn rules() -> String {
    std::fs::read_to_string(RULES).unwrap()
}

/// The text of each alert, with its name.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    let alerts = rules.split("- alert: ").skip(1);
    alerts.map(|text| text.split_once('\n').unwrap()).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// The values that expressions match a label with.
fn matched<'t>(rules: &'t str, label: &str) -> BTreeSet<&'t str> {
    let mut values = BTreeSet::new();
    for operator in ["=\"", "!=\"", "=~\""] {
        let matcher = format!("{label}{operator}");
        let matchers = rules.split(&matcher).skip(1);
        values.extend(matchers.flat_map(|rest| rest.split('"').next().unwrap().split('|')));
    }
    values
}

#[test]
fn prometheus_takes_the_rules() {
    promtool("check", RULES);
}

#[test]
fn alerts_fire_when_something_is_wrong_and_only_then() {
    promtool("test", TESTS);
}

#[test]
fn every_alert_is_tested_and_says_what_it_means_and_what_to_do() {
    let rules = rules();
    let tests = std::fs::read_to_string(TESTS).unwrap();
    let alerts = alerts(&rules);
    assert!(!alerts.is_empty());
    for (name, text) in alerts {
        assert!(tests.contains(&format!("\"{name}\"")), "{name}: no test");
        for part in ["severity: ", "summary: ", "description: ", "Next: "] {
            assert!(text.contains(part), "{name}: no {part}");
        }
    }
}

#[test]
fn every_metric_of_an_alert_is_one_of_the_exporters() {
    let rules = rules();
    let named: BTreeSet<&str> = words(&rules)
        .filter(|word| word.starts_with("xdp_throttle_"))
        .collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        let found = METRICS.iter().any(|metric| metric.name == name);
        assert!(found, "there is no metric {name}");
    }
}

#[test]
fn label_values_of_alerts_are_those_of_the_program() {
    let rules = rules();
    let faults: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    assert_eq!(matched(&rules, "fault"), faults, "an alert for every fault");
    let unjudged = [
        Reason::NoPolicy,
        Reason::PolicyMismatch,
        Reason::SourceUntracked,
    ];
    let unjudged: BTreeSet<&str> = unjudged.map(Reason::name).into();
    assert_eq!(matched(&rules, "reason"), unjudged);
    assert_eq!(matched(&rules, "result"), BTreeSet::from([REFUSED]));
    let causes = matched(&rules, "cause");
    assert!(!causes.is_empty());
    for cause in causes {
        assert!(
            LinkLoss::ALL.iter().any(|loss| loss.name() == cause),
            "{cause}"
        );
    }
    for table in matched(&rules, "table") {
        assert!(TABLES.contains(&table), "{table}");
    }
}
