//! A dashboard: its rows of panels, and what every dashboard has around them.

use serde_json::{Value, json};

use super::panel::{Panel, datasource, expanded};

/// Of the JSON model, as `@grafana/schema` 13.2 has it; Grafana migrates older ones up.
const SCHEMA_VERSION: u64 = 42;
/// The grid's columns.
const COLUMNS: u64 = 24;

/// One dashboard.
pub(crate) struct Board {
    /// Of its file, and at the end of its uid.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    /// The time range that it opens with, back from now.
    pub(crate) span: &'static str,
    pub(crate) refresh: &'static str,
    /// Headings with the panels below them, which flow from left to right.
    pub(crate) rows: Vec<(&'static str, Vec<Panel>)>,
}

impl Board {
    pub(crate) fn json(&self) -> Value {
        json!({
            "uid": format!("xdp-throttle-{}", self.name),
            "title": format!("xdp-throttle: {}", self.title),
            "description": self.description,
            "tags": ["xdp-throttle"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "id": null,
            "editable": true,
            "graphTooltip": 1,
            "fiscalYearStartMonth": 0,
            "liveNow": false,
            "preload": false,
            "refresh": self.refresh,
            "time": {"from": self.span, "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "weekStart": "",
            "links": [link_to_the_others()],
            "annotations": {"list": annotations()},
            "templating": {"list": variables()},
            "panels": self.panels(),
        })
    }

    fn panels(&self) -> Vec<Value> {
        let mut placed = Vec::new();
        let mut y = 0;
        for (heading, panels) in &self.rows {
            placed.push(json!({
                "id": placed.len() + 1,
                "type": "row",
                "title": heading,
                "collapsed": false,
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
                "panels": [],
            }));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in panels {
                let (width, own_height) = panel.size;
                if x + width > COLUMNS {
                    (x, y, height) = (0, y + height, 0);
                }
                placed.push(panel.json(placed.len() + 1, x, y));
                x += width;
                height = height.max(own_height);
            }
            y += height;
        }
        placed
    }
}

fn link_to_the_others() -> Value {
    json!({
        "type": "dashboards",
        "title": "xdp-throttle",
        "tooltip": "",
        "icon": "external link",
        "tags": ["xdp-throttle"],
        "asDropdown": true,
        "includeVars": true,
        "keepTime": true,
        "targetBlank": false,
    })
}

/// What happened and when, over all panels: Grafana's own, and what the counters tell.
fn annotations() -> Vec<Value> {
    let own = json!({
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": true,
        "hide": true,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    });
    let changes = [
        (
            "Class under attack",
            "red",
            r#"sum by (instance, class) (increase(xdp_throttle_class_state_changes_total{@host,state="attack"}[@rate])) > 0"#,
            "{{class}} under attack",
        ),
        (
            "Class back to normal",
            "green",
            r#"sum by (instance, class) (increase(xdp_throttle_class_state_changes_total{@host,state="normal"}[@rate])) > 0"#,
            "{{class}} back to normal",
        ),
        (
            "Configuration loaded",
            "blue",
            r#"sum by (instance) (increase(xdp_throttle_reloads_total{@host,result="ok"}[@rate])) > 0"#,
            "configuration loaded",
        ),
        (
            "Configuration refused",
            "orange",
            r#"sum by (instance) (increase(xdp_throttle_reloads_total{@host,result="refused"}[@rate])) > 0"#,
            "configuration refused",
        ),
        (
            "Daemon started",
            "purple",
            r#"sum by (instance) (changes(xdp_throttle_start_time_seconds{@host}[@rate])) > 0"#,
            "daemon started",
        ),
    ];
    let change = |(name, color, expression, text): (&str, &str, &str, &str)| {
        let expression = expanded(expression);
        json!({
            "name": name,
            "datasource": datasource(),
            "enable": true,
            "hide": false,
            "iconColor": color,
            "expr": expression,
            "target": {"expr": expression, "refId": "Anno", "range": true},
            "titleFormat": text,
            "textFormat": "{{instance}}",
            "tagKeys": "instance",
            "useValueForTime": false,
        })
    };
    [own]
        .into_iter()
        .chain(changes.into_iter().map(change))
        .collect()
}

fn variables() -> Vec<Value> {
    let datasource = json!({
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "options": [],
        "refresh": 1,
        "regex": "",
        "multi": false,
        "includeAll": false,
        "hide": 0,
        "skipUrlSync": false,
    });
    let asked = [
        ("job", "Job", "label_values(xdp_throttle_build_info, job)"),
        (
            "instance",
            "Host",
            r#"label_values(xdp_throttle_build_info{job=~"$job"}, instance)"#,
        ),
        (
            "interface",
            "Interface",
            r#"label_values(xdp_throttle_interface_attached{job=~"$job",instance=~"$instance"}, interface)"#,
        ),
    ];
    [datasource]
        .into_iter()
        .chain(asked.map(|(name, label, query)| variable(name, label, query)))
        .collect()
}

/// Values of a label, any number of which can be chosen.
fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "type": "query",
        "name": name,
        "label": label,
        "datasource": datasource(),
        "query": {"qryType": 1, "query": query, "refId": format!("Variable-{name}")},
        "multi": true,
        "includeAll": true,
        "allValue": ".*",
        "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "hide": 0,
        "skipUrlSync": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_flow_to_the_right_and_then_below_the_highest() {
        let panel = |width, height| Panel::lines("a", "b").size(width, height);
        let board = Board {
            name: "a",
            title: "a",
            description: "a",
            span: "now-1h",
            refresh: "30s",
            rows: vec![
                ("first", vec![panel(12, 8), panel(12, 6), panel(8, 4)]),
                ("second", vec![panel(24, 3)]),
            ],
        };
        let places: Vec<(u64, u64)> = board
            .panels()
            .iter()
            .map(|panel| {
                let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
                (place("x"), place("y"))
            })
            .collect();
        assert_eq!(places, [(0, 0), (0, 1), (12, 1), (0, 9), (0, 13), (0, 14)]);
    }
}
