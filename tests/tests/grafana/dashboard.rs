//! The dashboard as its panels and queries.

use serde_json::Value;

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../packaging/grafana/overview.json"
);

/// A panel that isn't a row's heading.
pub(crate) struct Panel {
    pub(crate) id: u64,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) unit: String,
    pub(crate) datasource: String,
    pub(crate) place: Place,
    pub(crate) targets: Vec<Target>,
}

/// One query of a panel.
pub(crate) struct Target {
    pub(crate) expression: String,
    pub(crate) legend: String,
    pub(crate) datasource: String,
    /// As of now; else over the time range.
    pub(crate) instant: bool,
}

/// Where a panel is, in columns of 24 and rows.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) x: u64,
    pub(crate) y: u64,
    pub(crate) w: u64,
    pub(crate) h: u64,
}

impl Place {
    pub(crate) fn meets(self, other: Self) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }
}

pub(crate) fn dashboard() -> Value {
    let text = std::fs::read_to_string(FILE).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every panel, those inside collapsed rows included.
pub(crate) fn panels() -> Vec<Panel> {
    let dashboard = dashboard();
    let top = dashboard["panels"].as_array().unwrap();
    let inside = top.iter().filter_map(|panel| panel["panels"].as_array());
    let panels: Vec<Panel> = top
        .iter()
        .chain(inside.flatten())
        .filter(|panel| panel["type"] != "row")
        .map(panel)
        .collect();
    assert!(!panels.is_empty(), "no panel");
    panels
}

fn panel(panel: &Value) -> Panel {
    let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
    Panel {
        id: panel["id"].as_u64().unwrap(),
        title: text(&panel["title"]),
        description: text(&panel["description"]),
        unit: text(&panel["fieldConfig"]["defaults"]["unit"]),
        datasource: text(&panel["datasource"]["uid"]),
        place: Place {
            x: place("x"),
            y: place("y"),
            w: place("w"),
            h: place("h"),
        },
        targets: panel["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(target)
            .collect(),
    }
}

fn target(target: &Value) -> Target {
    Target {
        expression: text(&target["expr"]),
        legend: text(&target["legendFormat"]),
        datasource: text(&target["datasource"]["uid"]),
        instant: target["instant"].as_bool().unwrap(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The words of a query: names of metrics, labels and functions.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}
