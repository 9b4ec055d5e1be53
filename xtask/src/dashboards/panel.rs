//! A panel: what it shows, and how Grafana is told.

use serde_json::{Map, Value, json};

/// What kind of picture it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A number for each series, as of now.
    Stat,
    /// Lines over time.
    Lines,
    /// Areas over time, one on top of the other.
    Stack,
    /// A bar for each series, as of now.
    Bars,
    /// A coloured band for each series, over time.
    States,
}

/// One panel of a dashboard.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    kind: Kind,
    title: &'static str,
    description: &'static str,
    unit: &'static str,
    queries: Vec<(String, &'static str)>,
    /// In columns of 24, and rows of the grid.
    pub(crate) size: (u64, u64),
    /// The first holds from the lowest value on.
    steps: Vec<(&'static str, f64)>,
    /// Text and colour of the values 0, 1, 2, ...
    states: &'static [(&'static str, &'static str)],
    /// Series of these names have a colour of their own,
    colors: Vec<(&'static str, &'static str)>,
    /// or, from 1 on, turn into it.
    warns: Vec<(&'static str, &'static str)>,
    most: Option<f64>,
}

impl Panel {
    fn new(kind: Kind, title: &'static str, description: &'static str) -> Self {
        Self {
            kind,
            title,
            description,
            unit: "short",
            queries: Vec::new(),
            size: (12, 8),
            steps: vec![("text", 0.0)],
            states: &[],
            colors: Vec::new(),
            warns: Vec::new(),
            most: None,
        }
    }

    /// Numbers as of now.
    pub(crate) fn stat(title: &'static str, description: &'static str) -> Self {
        let panel = Self::new(Kind::Stat, title, description);
        panel.size(4, 4)
    }

    /// Lines over time.
    pub(crate) fn lines(title: &'static str, description: &'static str) -> Self {
        Self::new(Kind::Lines, title, description)
    }

    /// Areas over time, one on top of the other.
    pub(crate) fn stack(title: &'static str, description: &'static str) -> Self {
        Self::new(Kind::Stack, title, description)
    }

    /// Bars as of now.
    pub(crate) fn bars(title: &'static str, description: &'static str) -> Self {
        Self::new(Kind::Bars, title, description)
    }

    /// Bands over time, with text and colour of the values 0, 1, 2, ...
    pub(crate) fn states(
        title: &'static str,
        description: &'static str,
        states: &'static [(&'static str, &'static str)],
    ) -> Self {
        let panel = Self::new(Kind::States, title, description);
        Self { states, ..panel }.unit("none")
    }

    /// Adds a query, with the short selectors of this module, and its legend.
    pub(crate) fn query(mut self, expression: &str, legend: &'static str) -> Self {
        self.queries.push((expanded(expression), legend));
        self
    }

    /// One of Grafana's units.
    pub(crate) fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// Width in columns of 24, height in rows.
    pub(crate) fn size(self, width: u64, height: u64) -> Self {
        let size = (width, height);
        Self { size, ..self }
    }

    /// Colours from these values on; the first from the lowest.
    pub(crate) fn steps(self, steps: &[(&'static str, f64)]) -> Self {
        let steps = steps.to_vec();
        Self { steps, ..self }
    }

    /// A series' own colour.
    pub(crate) fn color(mut self, series: &'static str, color: &'static str) -> Self {
        self.colors.push((series, color));
        self
    }

    /// A series' colour from 1 on.
    pub(crate) fn warns(mut self, series: &'static str, color: &'static str) -> Self {
        self.warns.push((series, color));
        self
    }

    /// The end of the scale.
    pub(crate) fn most(self, most: f64) -> Self {
        let most = Some(most);
        Self { most, ..self }
    }

    /// As Grafana has it.
    pub(crate) fn json(&self, id: usize, x: u64, y: u64) -> Value {
        let (w, h) = self.size;
        json!({
            "id": id,
            "type": self.kind.name(),
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "targets": self.targets(),
            "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
            "options": self.kind.options(),
            "gridPos": {"x": x, "y": y, "w": w, "h": h},
        })
    }

    fn targets(&self) -> Vec<Value> {
        let now = self.kind.is_of_now();
        let target = |((expression, legend), letter): (&(String, &str), char)| {
            json!({
                "datasource": datasource(),
                "editorMode": "code",
                "expr": expression,
                "format": "time_series",
                "instant": now,
                "range": !now,
                "legendFormat": legend,
                "refId": letter.to_string(),
            })
        };
        self.queries.iter().zip('A'..='Z').map(target).collect()
    }

    fn defaults(&self) -> Value {
        let mut defaults = Map::new();
        let color = match self.kind {
            Kind::Lines | Kind::Stack => "palette-classic",
            Kind::Stat | Kind::Bars | Kind::States => "thresholds",
        };
        defaults.insert("unit".into(), json!(self.unit));
        defaults.insert("color".into(), json!({"mode": color}));
        defaults.insert("thresholds".into(), thresholds(&self.steps));
        defaults.insert("mappings".into(), mappings(self.states));
        if matches!(self.kind, Kind::Lines | Kind::Stack | Kind::Bars) {
            defaults.insert("min".into(), json!(0));
        }
        if let Some(most) = self.most {
            defaults.insert("max".into(), json!(most));
        }
        if let Some(custom) = self.kind.custom() {
            defaults.insert("custom".into(), custom);
        }
        defaults.into()
    }

    fn overrides(&self) -> Vec<Value> {
        let of = |series: &str, id: &str, value: Value| {
            json!({
                "matcher": {"id": "byName", "options": series},
                "properties": [{"id": id, "value": value}],
            })
        };
        let colors = self.colors.iter().map(|(series, color)| {
            let value = json!({"mode": "fixed", "fixedColor": color});
            of(series, "color", value)
        });
        let warns = self.warns.iter().map(|(series, color)| {
            let steps = [("text", 0.0), (*color, 1.0)];
            of(series, "thresholds", thresholds(&steps))
        });
        colors.chain(warns).collect()
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Lines | Self::Stack => "timeseries",
            Self::Bars => "bargauge",
            Self::States => "state-timeline",
        }
    }

    const fn is_of_now(self) -> bool {
        matches!(self, Self::Stat | Self::Bars)
    }

    fn custom(self) -> Option<Value> {
        let lines = |stacking: &str, fill: u8| {
            json!({
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": fill,
                "gradientMode": "none",
                "showPoints": "never",
                "spanNulls": false,
                "stacking": {"mode": stacking, "group": "A"},
                "axisPlacement": "auto",
                "axisSoftMin": 0,
            })
        };
        match self {
            Self::Stat | Self::Bars => None,
            Self::Lines => Some(lines("none", 10)),
            Self::Stack => Some(lines("normal", 25)),
            Self::States => Some(json!({"fillOpacity": 70, "lineWidth": 0})),
        }
    }

    fn options(self) -> Value {
        let legend = |show: bool| {
            json!({
                "showLegend": show,
                "displayMode": "list",
                "placement": "bottom",
                "calcs": [],
            })
        };
        let last = json!({"values": false, "calcs": ["lastNotNull"], "fields": ""});
        match self {
            Self::Stat => json!({
                "reduceOptions": last,
                "orientation": "auto",
                "textMode": "value_and_name",
                "wideLayout": true,
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "percentChangeColorMode": "standard",
                "showPercentChange": false,
            }),
            Self::Lines | Self::Stack => json!({
                "legend": legend(true),
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            Self::Bars => json!({
                "reduceOptions": last,
                "orientation": "horizontal",
                "displayMode": "gradient",
                "valueMode": "color",
                "namePlacement": "auto",
                "showUnfilled": true,
                "sizing": "auto",
                "minVizWidth": 8,
                "minVizHeight": 16,
                "maxVizHeight": 300,
                "legend": legend(false),
            }),
            Self::States => json!({
                "mergeValues": true,
                "showValue": "auto",
                "alignValue": "left",
                "rowHeight": 0.8,
                "legend": legend(true),
                "tooltip": {"mode": "single", "sort": "none"},
            }),
        }
    }
}

/// The data source that the variable names.
pub(crate) fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn thresholds(steps: &[(&str, f64)]) -> Value {
    let step = |(number, (color, from)): (usize, &(&str, f64))| {
        let value = match number {
            0 => Value::Null,
            _ => json!(from),
        };
        json!({"color": color, "value": value})
    };
    let steps: Vec<Value> = steps.iter().enumerate().map(step).collect();
    json!({"mode": "absolute", "steps": steps})
}

fn mappings(states: &[(&str, &str)]) -> Value {
    let option = |(value, (text, color)): (usize, &(&str, &str))| {
        let shown = json!({"text": text, "color": color, "index": value});
        (value.to_string(), shown)
    };
    let options: Map<String, Value> = states.iter().enumerate().map(option).collect();
    match options.is_empty() {
        true => json!([]),
        false => json!([{"type": "value", "options": options}]),
    }
}

/// A query with its selectors and spans as Grafana's variables.
pub(crate) fn expanded(expression: &str) -> String {
    let host = r#"job=~"$job",instance=~"$instance""#;
    expression
        .replace("@host", host)
        .replace("@port", &format!(r#"{host},interface=~"$interface""#))
        .replace("@rate", "$__rate_interval")
        .replace("@range", "$__range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_follows_the_variables() {
        assert_eq!(
            expanded(r#"rate(a{@port,b="c"}[@rate]) / d{@host}"#),
            r#"rate(a{job=~"$job",instance=~"$instance",interface=~"$interface",b="c"}[$__rate_interval]) / d{job=~"$job",instance=~"$instance"}"#
        );
    }

    #[test]
    fn the_first_colour_holds_from_the_lowest_value_on() {
        let steps = thresholds(&[("green", 0.0), ("red", 0.5)]);
        assert_eq!(steps["steps"][0]["value"], Value::Null);
        assert_eq!(steps["steps"][1]["value"], json!(0.5));
    }
}
