//! `--once`: what the view would show, as text or JSON.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::meters::{Flow, Meter};
use super::model::{Model, Side};
use super::standing::SourceRow;
use crate::cli::format;
use crate::cli::table::{Table, numbers, words};
use crate::domain::{ClassState, Mode};

/// All of it, in the view's order.
#[derive(Debug, Serialize)]
pub(super) struct Snapshot {
    pub(super) at: Timestamp,
    /// Seconds between the two looks that the rates are from.
    pub(super) seconds: f64,
    pub(super) mode: Mode,
    pub(super) started: Timestamp,
    pub(super) interfaces: Vec<Interface>,
    pub(super) warnings: Vec<String>,
    pub(super) passed: Counted,
    /// Of what passed: what wouldn't have but for observe mode.
    pub(super) observed: Counted,
    /// Dropped, or answered in the host's place.
    pub(super) refused: Counted,
    pub(super) reasons: Vec<Reason>,
    pub(super) classes: Vec<Class>,
    pub(super) sources: Vec<SourceRow>,
    pub(super) sources_total: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) attached: bool,
    pub(super) mode: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Counted {
    pub(super) per_second: Flow,
    pub(super) total: Flow,
}

#[derive(Debug, Serialize)]
pub(super) struct Reason {
    pub(super) reason: String,
    pub(super) action: String,
    #[serde(flatten)]
    pub(super) counted: Counted,
}

#[derive(Debug, Serialize)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) state: ClassState,
    #[serde(flatten)]
    pub(super) counted: Counted,
    /// Packets.
    pub(super) refused_per_second: u64,
    pub(super) refused: u64,
}

impl From<&Meter> for Counted {
    fn from(meter: &Meter) -> Self {
        Self {
            per_second: meter.rate(),
            total: meter.total,
        }
    }
}

impl Snapshot {
    /// At most `limit` sources; nothing before the first answer.
    pub(super) fn of(model: &Model, limit: usize) -> Option<Self> {
        let status = model.status.as_ref()?;
        let side = |side| {
            model
                .scope()
                .sides
                .get(&side)
                .map(Counted::from)
                .unwrap_or_default()
        };
        let reasons = model.reasons().into_iter().map(|row| Reason {
            reason: row.reason.to_owned(),
            action: row.action.to_owned(),
            counted: row.meter.into(),
        });
        let classes = model.classes().into_iter().map(|row| Class {
            name: row.class.status.name.clone(),
            state: row.class.status.state,
            counted: row.taken.into(),
            refused_per_second: row.refused.rate().packets,
            refused: row.refused.total.packets,
        });
        Some(Self {
            at: model.at?,
            seconds: model.elapsed.unwrap_or(Duration::ZERO).as_secs_f64(),
            mode: status.mode,
            started: status.started,
            interfaces: status
                .interfaces
                .iter()
                .map(|interface| Interface {
                    name: interface.name.clone(),
                    attached: interface.attached,
                    mode: interface.mode.clone(),
                })
                .collect(),
            warnings: status.warnings.clone(),
            passed: side(Side::Passed),
            observed: side(Side::Observed),
            refused: side(Side::Refused),
            reasons: reasons.collect(),
            classes: classes.collect(),
            sources: model.sources.iter().take(limit).cloned().collect(),
            sources_total: model.sources_total,
        })
    }

    /// For people.
    pub(super) fn render(&self) -> String {
        let up = format::span(format::seconds_between(self.started, self.at));
        let mut text = format!(
            "{} mode, up {up}, rates over {:.1} s\n",
            self.mode, self.seconds
        );
        for warning in &self.warnings {
            text += &format!("warning: {}\n", format::printable(warning));
        }
        for (name, counted) in [
            ("passed", &self.passed),
            ("observed", &self.observed),
            ("refused", &self.refused),
        ] {
            text += &format!(
                "{name:<8} {:>6} pps {:>6}bit/s\n",
                format::short(counted.per_second.packets),
                bits(counted.per_second),
            );
        }
        [
            text,
            self.render_reasons(),
            self.render_classes(),
            self.render_sources(),
        ]
        .join("\n")
    }

    fn render_reasons(&self) -> String {
        let mut table = Table::new([
            words("reason"),
            words("action"),
            numbers("pps"),
            numbers("bit/s"),
            numbers("packets"),
        ]);
        for reason in &self.reasons {
            table.row([
                reason.reason.clone(),
                reason.action.clone(),
                format::short(reason.counted.per_second.packets),
                bits(reason.counted.per_second),
                format::count(reason.counted.total.packets),
            ]);
        }
        table.render()
    }

    fn render_classes(&self) -> String {
        let mut table = Table::new([
            words("class"),
            words("state"),
            numbers("pps"),
            numbers("lost/s"),
            numbers("packets"),
        ]);
        for class in &self.classes {
            table.row([
                class.name.clone(),
                class.state.name().to_owned(),
                format::short(class.counted.per_second.packets),
                format::short(class.refused_per_second),
                format::count(class.counted.total.packets),
            ]);
        }
        table.render()
    }

    fn render_sources(&self) -> String {
        let mut table = Table::new([
            words("source"),
            words("state"),
            numbers("pps"),
            numbers("bit/s"),
            numbers("drop/s"),
            numbers("packets"),
            numbers("bytes"),
            numbers("dropped"),
        ]);
        let known = |rate: Option<u64>| rate.map_or_else(|| "-".to_owned(), format::short);
        for source in &self.sources {
            table.row([
                source.source.to_string(),
                source.words(self.at),
                known(source.rate.map(|rate| rate.packets)),
                source.rate.map_or_else(|| "-".to_owned(), bits),
                known(source.dropped_rate),
                format::count(source.packets),
                format::bytes(source.bytes),
                format::count(source.dropped_packets),
            ]);
        }
        let total = format::plural(self.sources_total, "source", "sources");
        table.render() + &format!("\n{} of {total}\n", self.sources.len())
    }
}

fn bits(flow: Flow) -> String {
    format::short(flow.bytes.saturating_mul(8))
}
