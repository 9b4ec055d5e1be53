//! The dashboards as their panels and queries.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::packaging;
use crate::prometheus::{Prometheus, Series};

/// The directory that provisioning reads.
const DIRECTORY: &str = "grafana/dashboards";

/// One dashboard.
#[derive(Clone, Debug)]
pub struct Board {
    /// Its file's name, without the end.
    pub name: String,
    /// As it is in the file.
    pub json: Value,
    /// All panels but headings.
    pub panels: Vec<Panel>,
    /// The headings, with their places.
    pub headings: Vec<(String, Place)>,
}

/// A panel that isn't a heading.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Its number in the dashboard.
    pub id: u64,
    /// Grafana's name of its kind.
    pub kind: String,
    /// Over it.
    pub title: String,
    /// What it shows.
    pub description: String,
    /// Grafana's name of the unit.
    pub unit: String,
    /// Its data source.
    pub datasource: String,
    /// Whether its series stand on one another.
    pub stacked: bool,
    /// Text and colour of the values 0, 1, 2, ...
    pub states: Vec<(String, String)>,
    /// Where it is.
    pub place: Place,
    /// Its queries.
    pub targets: Vec<Target>,
    /// As it is in the file.
    pub json: Value,
}

/// One query of a panel.
#[derive(Clone, Debug)]
pub struct Target {
    /// In PromQL, with Grafana's variables.
    pub expression: String,
    /// What a series is called.
    pub legend: String,
    /// Its data source.
    pub datasource: String,
    /// As of now; else over the time range.
    pub instant: bool,
}

/// Where a panel is, in columns of 24 and rows.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// From the left.
    pub x: u64,
    /// From the top.
    pub y: u64,
    /// Width.
    pub w: u64,
    /// Height.
    pub h: u64,
}

/// What the variables of a query are replaced with, but those of the data source: they are `.*`.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// Of rates.
    pub rate: Duration,
    /// The dashboard's time range.
    pub range: Duration,
}

impl Place {
    /// Whether one covers the other.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }

    fn of(panel: &Value) -> Result<Self> {
        let side = |side: &str| {
            let number = panel["gridPos"][side].as_u64();
            number.with_context(|| format!("a panel has no place: {panel}"))
        };
        Ok(Self {
            x: side("x")?,
            y: side("y")?,
            w: side("w")?,
            h: side("h")?,
        })
    }
}

/// Every dashboard, by name.
///
/// # Errors
/// When one can't be read, or there is none.
pub fn boards() -> Result<Vec<Board>> {
    let mut boards = Vec::new();
    let directory = packaging(DIRECTORY);
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let json: Value =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        boards.push(Board::read(&name, json).with_context(|| path.display().to_string())?);
    }
    ensure!(
        !boards.is_empty(),
        "no dashboard in {}",
        directory.display()
    );
    boards.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(boards)
}

impl Board {
    fn read(name: &str, json: Value) -> Result<Self> {
        let (mut panels, mut headings) = (Vec::new(), Vec::new());
        for panel in json["panels"].as_array().context("no panels")? {
            if panel["type"] == "row" {
                headings.push((text(&panel["title"]), Place::of(panel)?));
            } else {
                panels.push(Panel::read(panel)?);
            }
        }
        ensure!(!panels.is_empty(), "no panel");
        Ok(Self {
            name: name.to_owned(),
            json,
            panels,
            headings,
        })
    }

    /// Expressions of the annotations that ask Prometheus, by name.
    #[must_use]
    pub fn annotations(&self) -> Vec<(String, String)> {
        let list = self.json["annotations"]["list"].as_array();
        list.into_iter()
            .flatten()
            .filter(|annotation| annotation["datasource"]["type"] == "prometheus")
            .map(|annotation| {
                (
                    text(&annotation["name"]),
                    text(&annotation["target"]["expr"]),
                )
            })
            .collect()
    }

    /// Queries of the variables that ask Prometheus, by name.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let list = self.json["templating"]["list"].as_array();
        list.into_iter()
            .flatten()
            .filter(|variable| variable["type"] == "query")
            .map(|variable| (text(&variable["name"]), text(&variable["query"]["query"])))
            .collect()
    }
}

impl Panel {
    fn read(panel: &Value) -> Result<Self> {
        let defaults = &panel["fieldConfig"]["defaults"];
        let targets = panel["targets"]
            .as_array()
            .context("a panel without queries")?;
        Ok(Self {
            id: panel["id"].as_u64().context("a panel without a number")?,
            kind: text(&panel["type"]),
            title: text(&panel["title"]),
            description: text(&panel["description"]),
            unit: text(&defaults["unit"]),
            datasource: text(&panel["datasource"]["uid"]),
            stacked: defaults["custom"]["stacking"]["mode"] == "normal",
            states: states(&defaults["mappings"][0]["options"]),
            place: Place::of(panel)?,
            targets: targets.iter().map(Target::read).collect(),
            json: panel.clone(),
        })
    }
}

/// Of the values 0, 1, 2, ...
fn states(options: &Value) -> Vec<(String, String)> {
    (0..)
        .map_while(|value: usize| options.get(value.to_string()))
        .map(|option| (text(&option["text"]), text(&option["color"])))
        .collect()
}

impl Target {
    fn read(target: &Value) -> Self {
        Self {
            expression: text(&target["expr"]),
            legend: text(&target["legendFormat"]),
            datasource: text(&target["datasource"]["uid"]),
            instant: target["instant"] == true,
        }
    }

    /// Asks Prometheus as Grafana would: as of now, or over the range up to now.
    ///
    /// # Errors
    /// When Prometheus refuses the query.
    pub fn ask(&self, prometheus: &Prometheus, spans: Spans) -> Result<Vec<Series>> {
        let expression = substituted(&self.expression, spans);
        if self.instant {
            prometheus.query(&expression)
        } else {
            prometheus.query_range(&expression, spans.range)
        }
    }

    /// What a series of it is called.
    #[must_use]
    pub fn name_of(&self, series: &Series) -> String {
        let mut name = self.legend.clone();
        for (label, value) in &series.labels {
            name = name.replace(&format!("{{{{{label}}}}}"), value);
        }
        name
    }
}

/// A query without variables.
#[must_use]
pub fn substituted(expression: &str, spans: Spans) -> String {
    let seconds = |span: Duration| format!("{}s", span.as_secs());
    expression
        .replace("$__rate_interval", &seconds(spans.rate))
        .replace("$__range", &seconds(spans.range))
        .replace("$job", ".*")
        .replace("$instance", ".*")
        .replace("$interface", ".*")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
