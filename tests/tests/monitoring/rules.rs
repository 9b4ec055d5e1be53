//! The rules: what promtool says of them, and that each alert has its place in the runbook.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use xdp_common::abi::Fault;
use xdp_common::reason::Reason;
use xdp_tests::monitoring::rules::{directory, files};
use xdp_user::exporter::labels::{Label, REFUSED};
use xdp_user::host::received::LinkLoss;

use super::{metric, metrics_in, root};

fn all() -> Vec<Value> {
    let mut all = Vec::new();
    for file in files().unwrap() {
        let yaml: Value = serde_saphyr::from_str(&file.text).unwrap();
        for group in yaml["groups"].as_array().unwrap() {
            all.extend(group["rules"].as_array().unwrap().iter().cloned());
        }
    }
    assert!(all.len() > 20, "{} rules", all.len());
    all
}

fn alerts() -> Vec<Value> {
    let alerts = all().into_iter().filter(|rule| rule["alert"].is_string());
    alerts.collect()
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(directory())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn promtool_takes_the_rules() {
    promtool(&["check", "rules", "recording.yml", "alerts.yml"]);
}

#[test]
fn the_rules_pass_their_own_tests() {
    promtool(&["test", "rules", "rules_test.yml"]);
}

#[test]
fn every_rule_has_a_test() {
    let text = fs::read_to_string(directory().join("rules_test.yml")).unwrap();
    for rule in all() {
        let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap();
        let fires = format!("labels: 'ALERTS{{alertname=\"{name}\"");
        let records = format!("labels: '{name}{{");
        assert!(text.contains(&fires) || text.contains(&records), "{name}");
    }
}

#[test]
fn every_alert_tells_what_is_the_matter_and_what_to_do() {
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "two alerts are {name}");
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        let annotation = |which: &str| alert["annotations"][which].as_str().unwrap().to_owned();
        assert!(
            annotation("summary").contains("{{ $labels.instance }}"),
            "{name}"
        );
        assert!(annotation("description").contains("Next: "), "{name}");
    }
}

/// Anchors are made as GitHub and most others do: in small letters, without what isn't a letter.
#[test]
fn every_alert_has_its_place_in_the_runbook_and_the_runbook_no_others() {
    let text = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let headings: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(str::to_lowercase)
        .collect();
    let mut linked = BTreeSet::new();
    for alert in alerts() {
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        let anchor = url.strip_prefix("docs/runbook.md#").unwrap();
        assert_eq!(anchor, alert["alert"].as_str().unwrap().to_lowercase());
        linked.insert(anchor.to_owned());
    }
    assert_eq!(headings, linked);
    for section in text.split("\n## ").skip(1) {
        for part in ["**Means.**", "**Look.**", "**Do.**"] {
            let name = section.lines().next().unwrap();
            assert!(section.contains(part), "{name} lacks {part}");
        }
    }
}

#[test]
fn rules_name_metrics_labels_and_values_that_there_are() {
    for rule in all() {
        let expression = rule["expr"].as_str().unwrap();
        for name in metrics_in(expression) {
            assert!(metric(name).is_some(), "no metric {name}: {expression}");
        }
        for label in Label::ALL {
            let Some(known) = label.values() else {
                continue;
            };
            for value in values_of(expression, label.name()) {
                assert!(known.contains(&value), "no {} {value}", label.name());
            }
        }
    }
}

#[test]
fn every_fault_and_every_reason_to_pass_unjudged_has_an_alert() {
    let alerts = alerts();
    let compared = |label: &str| -> BTreeSet<&str> {
        let expressions = alerts.iter().map(|alert| alert["expr"].as_str().unwrap());
        let values = expressions.flat_map(|expression| values_of(expression, label));
        values.collect()
    };
    let faults = Fault::ALL.iter().map(|fault| fault.name()).collect();
    assert_eq!(compared("fault"), faults);
    let unjudged = [
        Reason::NoPolicy,
        Reason::PolicyMismatch,
        Reason::SourceUntracked,
    ];
    assert_eq!(
        compared("reason"),
        unjudged.map(Reason::name).into_iter().collect()
    );
    assert_eq!(compared("result"), BTreeSet::from([REFUSED]));
    let losses: Vec<&str> = LinkLoss::ALL.iter().map(|loss| loss.name()).collect();
    let causes = compared("cause");
    assert!(!causes.is_empty() && causes.iter().all(|cause| losses.contains(cause)));
}

/// The values that a label is compared with in an expression.
fn values_of<'a>(expression: &'a str, label: &str) -> Vec<&'a str> {
    let mut values = Vec::new();
    for (at, _) in expression.match_indices(label) {
        let before = expression[..at].chars().next_back();
        let after = &expression[at + label.len()..];
        let matcher = after.trim_start_matches(['=', '~', '!']);
        if !matches!(before, Some('{' | ',')) || !matcher.starts_with('"') || matcher == after {
            continue;
        }
        values.extend(matcher.split('"').nth(1).unwrap().split('|'));
    }
    values
}

#[test]
fn values_are_found_behind_every_matcher() {
    let expression = r#"a{cause=~"missed|fifo",table!="sources"} / b{job="x"}"#;
    assert_eq!(values_of(expression, "cause"), ["missed", "fifo"]);
    assert_eq!(values_of(expression, "table"), ["sources"]);
    assert!(values_of(expression, "state").is_empty());
}
