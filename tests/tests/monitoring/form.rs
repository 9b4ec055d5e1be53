//! The dashboards' form: what Grafana takes, and what every panel must have.

use std::collections::BTreeSet;

use serde_json::Value;
use xdp_common::reason::{Class, Reason};
use xdp_tests::monitoring::boards::{Board, Panel, boards};
use xdp_user::exporter::labels::Label;
use xdp_user::exporter::metrics::METRICS;

use super::{metric, metrics_in};

/// See the README beside it.
const SCHEMA: &str = include_str!("schema/grafana-13.2.3.json");

fn panels() -> Vec<(String, Panel)> {
    let boards = boards().unwrap();
    let all = boards.into_iter().flat_map(|board| {
        let name = board.name;
        board
            .panels
            .into_iter()
            .map(move |panel| (name.clone(), panel))
    });
    all.collect()
}

fn valid(what: &str, schema: &Value, json: &Value) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(json)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

#[test]
fn every_dashboard_is_one_by_grafanas_own_types() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for board in boards().unwrap() {
        valid(&board.name, &schema["dashboard"], &board.json);
        for panel in &board.panels {
            let what = format!("{}: {}", board.name, panel.title);
            let options = &schema["options"][&panel.kind];
            assert!(options.is_object(), "{what}: no schema of {}", panel.kind);
            valid(&what, options, &panel.json["options"]);
            let custom = &panel.json["fieldConfig"]["defaults"]["custom"];
            match schema["custom"].get(&panel.kind) {
                None => assert!(custom.is_null(), "{what}: {custom}"),
                Some(schema) => valid(&what, schema, custom),
            }
        }
    }
}

/// So that the test above can fail.
#[test]
fn a_dashboard_with_a_wrong_field_is_refused_by_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema["dashboard"]).unwrap();
    let mut json = boards().unwrap().remove(0).json;
    assert!(validator.is_valid(&json));
    json["panels"][1]["gridPos"]["width"] = 3.into();
    assert!(!validator.is_valid(&json));
}

#[test]
fn dashboards_have_names_of_their_own_and_no_grafanas_number() {
    let boards = boards().unwrap();
    let names: Vec<&str> = boards.iter().map(|board| board.name.as_str()).collect();
    assert_eq!(names, ["attack", "health", "lists", "overview"]);
    for board in &boards {
        assert_eq!(board.json["uid"], format!("xdp-throttle-{}", board.name));
        assert!(board.json["id"].is_null());
        assert_eq!(board.json["schemaVersion"], 42);
    }
}

#[test]
fn variables_choose_data_source_host_and_interface() {
    for Board { name, json, .. } in boards().unwrap() {
        let variables = json["templating"]["list"].as_array().unwrap();
        let names: Vec<&str> = variables
            .iter()
            .map(|variable| variable["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["datasource", "job", "instance", "interface"],
            "{name}"
        );
        assert_eq!(variables[0]["type"], "datasource");
        assert_eq!(variables[0]["query"], "prometheus");
        for variable in &variables[1..] {
            assert_eq!(variable["multi"], true, "{variable}");
            assert_eq!(variable["includeAll"], true, "{variable}");
            assert_eq!(variable["datasource"]["uid"], "${datasource}");
        }
    }
}

#[test]
fn annotations_show_states_reloads_and_starts() {
    for board in boards().unwrap() {
        let names: Vec<String> = board
            .annotations()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            names,
            [
                "Class under attack",
                "Class back to normal",
                "Configuration loaded",
                "Configuration refused",
                "Daemon started"
            ]
        );
        for annotation in board.json["annotations"]["list"].as_array().unwrap() {
            if annotation["datasource"]["type"] == "prometheus" {
                assert_eq!(annotation["expr"], annotation["target"]["expr"]);
            }
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit() {
    let mut ids = BTreeSet::new();
    let mut titles = BTreeSet::new();
    for (board, panel) in panels() {
        let title = &panel.title;
        assert!(!title.is_empty());
        let in_board = (board.clone(), title.clone());
        assert!(titles.insert(in_board), "{board}: two panels are {title}");
        assert!(ids.insert((board, panel.id)), "{title} has another's id");
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
    for board in boards().unwrap() {
        let own = board.panels.iter().map(|panel| (&panel.title, panel.place));
        let headings = board.headings.iter().map(|(title, place)| (title, *place));
        let all: Vec<_> = own.chain(headings).collect();
        for (index, (title, place)) in all.iter().enumerate() {
            assert!(place.x + place.w <= 24, "{title}");
            for (other, of_other) in &all[index + 1..] {
                assert!(!place.meets(*of_other), "{title} and {other}");
            }
        }
    }
}

#[test]
fn queries_and_metrics_name_each_other() {
    let mut shown = BTreeSet::new();
    for (_, panel) in panels() {
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
    let mut expressions: Vec<(String, String)> = Vec::new();
    for (_, panel) in panels() {
        let own = panel.targets.into_iter().map(|target| target.expression);
        expressions.extend(own.map(|expression| (panel.title.clone(), expression)));
    }
    for board in boards().unwrap() {
        expressions.extend(board.annotations());
    }
    for (title, expression) in &expressions {
        for selector in expression.split("xdp_throttle_").skip(1) {
            let (name, rest) = selector.split_once('{').unwrap();
            let (matchers, after) = rest.split_once('}').unwrap();
            assert!(matchers.contains(r#"job=~"$job""#), "{title}: {name}");
            let instance = r#"instance=~"$instance""#;
            assert!(matchers.contains(instance), "{title}: {name}");
            let metric = metric(&format!("xdp_throttle_{name}")).unwrap();
            let by_interface = metric.labels.contains(&Label::Interface);
            let interface = matchers.contains(r#"interface=~"$interface""#);
            assert_eq!(interface, by_interface, "{title}: {name}");
            if let Some(range) = after.strip_prefix('[') {
                let (range, _) = range.split_once(']').unwrap();
                let known = ["$__rate_interval", "$__range", "5m"];
                assert!(known.contains(&range), "{title}: {range}");
            }
        }
    }
}

/// An address as a label would make a series for every attacker.
#[test]
fn legends_name_labels_that_the_metrics_have() {
    let known: BTreeSet<&str> = Label::ALL
        .into_iter()
        .map(Label::name)
        .chain(["instance", "job"])
        .collect();
    for (_, panel) in panels() {
        for target in &panel.targets {
            for part in target.legend.split("{{").skip(1) {
                let (label, _) = part.split_once("}}").unwrap();
                assert!(known.contains(label), "{}: {label}", panel.title);
            }
        }
    }
}

/// The lists of reasons that stand in queries.
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
    let listed = [Reason::Blocklisted, Reason::Allowlisted].map(Reason::name);
    let hits = one_expression("Hits of lists");
    assert_eq!(quoted(&hits, "reason=~"), listed);
}

fn one_expression(title: &str) -> String {
    let panels = panels();
    let mut found = panels.iter().filter(|(_, panel)| panel.title == title);
    let (_, panel) = found.next().unwrap();
    assert_eq!((panel.targets.len(), found.count()), (1, 0), "{title}");
    panel.targets[0].expression.clone()
}

/// The alternatives of the regular expression after `matcher`.
fn quoted<'a>(expression: &'a str, matcher: &str) -> Vec<&'a str> {
    let (_, after) = expression.split_once(matcher).unwrap();
    after.split('"').nth(1).unwrap().split('|').collect()
}
