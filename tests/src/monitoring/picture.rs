//! A picture of a dashboard: each panel's query as a plot, in the dashboard's grid. Not by Grafana.

mod panel;
mod units;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::boards::{Board, Panel, Place, Spans};
use crate::prometheus::{Prometheus, Series};

/// Pixels of a column and of a row of the grid.
const COLUMN: u64 = 50;
const ROW: u64 = 28;
/// Pixels between panels.
const GAP: u64 = 6;
const COLUMNS: u64 = 24;
/// Under the picture.
const FOOT: u64 = 22;
/// Series in a plot at most, those with the highest values.
const MOST_SERIES: usize = 10;
const BACKGROUND: RGBColor = RGBColor(244, 245, 245);
const INK: RGBColor = RGBColor(36, 41, 46);

/// A panel's series with their names.
type Named = Vec<(String, Series)>;

/// An area to draw in.
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Asks every query of a dashboard and draws the answers, as SVG.
///
/// # Errors
/// When a query is refused, or something can't be drawn.
pub fn picture(board: &Board, prometheus: &Prometheus, spans: Spans) -> Result<String> {
    let answers = board
        .panels
        .iter()
        .map(|panel| answers(panel, prometheus, spans))
        .collect::<Result<Vec<_>>>()?;
    let now = crate::prometheus::now()?;
    let times = (now - spans.range.as_secs_f64(), now);
    let mut text = String::new();
    draw(board, &answers, times, &mut text)
        .map_err(|error| anyhow!("cannot draw {}: {error}", board.name))?;
    Ok(text)
}

/// At a step that makes some hundred points of a line.
fn answers(panel: &Panel, prometheus: &Prometheus, spans: Spans) -> Result<Named> {
    let mut named = Vec::new();
    for target in &panel.targets {
        for series in target.ask(prometheus, spans)? {
            named.push((target.name_of(&series), series));
        }
    }
    let height = |series: &Series| series.max().unwrap_or(f64::MIN);
    if panel.kind == "timeseries" {
        named.sort_by(|(_, a), (_, b)| height(b).total_cmp(&height(a)));
        named.truncate(MOST_SERIES);
    }
    Ok(named)
}

fn draw(
    board: &Board,
    answers: &[Named],
    times: (f64, f64),
    text: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let ends = board
        .panels
        .iter()
        .map(|panel| panel.place.y + panel.place.h);
    let height = ends.max().unwrap_or(0) * ROW + FOOT;
    let size = (
        u32::try_from(COLUMNS * COLUMN + GAP)?,
        u32::try_from(height)?,
    );
    let whole = SVGBackend::with_string(text, size).into_drawing_area();
    whole.fill(&BACKGROUND)?;
    for (heading, place) in &board.headings {
        let area = at(&whole, *place);
        area.draw(&Text::new(heading.as_str(), (4, 6), font(15).color(&INK)))?;
    }
    for (panel, named) in board.panels.iter().zip(answers) {
        panel::draw(panel, named, times, &at(&whole, panel.place))?;
    }
    let foot = "Queries of the dashboard, drawn by the project's tests from a real Prometheus. Grafana's own picture looks otherwise.";
    let below = i32::try_from(height - FOOT)? + 4;
    whole.draw(&Text::new(foot, (6, below), font(12).color(&INK.mix(0.7))))?;
    whole.present()?;
    Ok(())
}

fn at<'a>(whole: &Area<'a>, place: Place) -> Area<'a> {
    let pixels = |cells: u64, size: u64| i32::try_from(cells * size).unwrap_or(i32::MAX);
    let corner = (pixels(place.x, COLUMN) + 6, pixels(place.y, ROW) + 3);
    let size = (
        pixels(place.w, COLUMN).abs_diff(6),
        pixels(place.h, ROW).abs_diff(6),
    );
    whole.clone().shrink(corner, size)
}

fn font(size: i32) -> FontDesc<'static> {
    ("sans-serif", size).into_font()
}
