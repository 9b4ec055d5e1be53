//! What Prometheus answers.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// One series of an answer, with its values in the order of time: one for an instant query.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Labels; none for a scalar.
    pub labels: BTreeMap<String, String>,
    /// When, in seconds since 1970.
    pub times: Vec<f64>,
    /// Values, one for each time.
    pub values: Vec<f64>,
}

impl Series {
    /// The largest value; `None` without one that is a number.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        let numbers = self.values.iter().copied().filter(|value| !value.is_nan());
        numbers.reduce(f64::max)
    }
}

/// A rule as Prometheus has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rule {
    /// Of the alert or the recorded series.
    pub name: String,
    /// `ok`, `err` or `unknown`.
    pub health: String,
    /// Why it isn't well.
    #[serde(default, rename = "lastError")]
    pub last_error: String,
    /// Its expression.
    pub query: String,
}

/// From the answer to a query.
pub(super) fn series(data: &Value) -> Result<Vec<Series>> {
    let result = &data["result"];
    if data["resultType"] == "scalar" {
        let (time, value) = sample(result)?;
        return Ok(vec![Series {
            labels: BTreeMap::new(),
            times: vec![time],
            values: vec![value],
        }]);
    }
    let series = result.as_array().context("the result is no list")?;
    series.iter().map(one_series).collect()
}

/// From the list of groups of rules.
pub(super) fn rules(data: &Value) -> Result<Vec<Rule>> {
    let groups = data["groups"].as_array().context("no groups of rules")?;
    let rules = groups.iter().filter_map(|group| group["rules"].as_array());
    rules
        .flatten()
        .map(|rule| Ok(Rule::deserialize(rule)?))
        .collect()
}

fn one_series(series: &Value) -> Result<Series> {
    let labels = series["metric"].as_object().context("no labels")?;
    let labels = labels
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let samples: Vec<(f64, f64)> = match series["values"].as_array() {
        Some(samples) => samples.iter().map(sample).collect::<Result<_>>()?,
        None => vec![sample(&series["value"])?],
    };
    let (times, values) = samples.into_iter().unzip();
    Ok(Series {
        labels,
        times,
        values,
    })
}

/// `[time, "value"]`
fn sample(sample: &Value) -> Result<(f64, f64)> {
    let time = sample[0]
        .as_f64()
        .with_context(|| format!("no time: {sample}"))?;
    let text = sample[1]
        .as_str()
        .with_context(|| format!("no sample: {sample}"))?;
    let value = text.parse().with_context(|| format!("no number: {text}"))?;
    Ok((time, value))
}
