//! The text of a scrape.

use anyhow::{Context, Result};
use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Series, MetricFamily, MetricType};

use super::Scrape;
use super::metrics::{Kind, METRICS, Metric, Sample};

/// The text of a scrape, in Prometheus' text format 0.0.4.
///
/// # Errors
/// When the encoder refuses a metric of ours, which would be a mistake in the table.
pub(super) fn text(scrape: &Scrape<'_>) -> Result<String> {
    let families: Vec<MetricFamily> = METRICS
        .iter()
        .map(|metric| family(metric, scrape))
        // The encoder refuses a metric without series: one by interface, and there is none.
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    TextEncoder::new()
        .encode_to_string(&families)
        .context("cannot write the metrics as text")
}

fn family(metric: &Metric, scrape: &Scrape<'_>) -> MetricFamily {
    let samples = (metric.read)(scrape);
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
    });
    family.set_metric(
        samples
            .into_iter()
            .map(|sample| series(metric, sample))
            .collect(),
    );
    family
}

fn series(metric: &Metric, sample: Sample) -> Series {
    let mut series = Series::from_label(
        metric
            .labels
            .iter()
            .zip(sample.labels)
            .map(|(label, value)| {
                let mut pair = LabelPair::default();
                pair.set_name(label.name().to_owned());
                pair.set_value(value);
                pair
            })
            .collect(),
    );
    match metric.kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(sample.value);
            series.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(sample.value);
            series.set_gauge(gauge);
        }
    }
    series
}
