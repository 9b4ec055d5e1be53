//! One panel.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::units::shown;
use super::{Area, INK, Named, font};
use crate::monitoring::boards::Panel;
use crate::prometheus::Series;

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Colours of series, in order; those of the palette by Okabe and Ito, which most eyes tell apart.
const PALETTE: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(148, 134, 0),
    RGBColor(90, 90, 90),
];
/// Under the title.
const TOP: i32 = 24;
/// A line of the legend.
const LINE: i32 = 14;
/// Of a letter in the legend, on average.
const LETTER: i32 = 6;

/// Seconds without a value that end a line; there is one for each second.
const GAP: f64 = 2.5;

/// Draws a panel with its title.
pub(super) fn draw(panel: &Panel, named: &Named, times: (f64, f64), area: &Area<'_>) -> Drawn {
    area.fill(&WHITE)?;
    let title = font(14).color(&INK);
    area.draw(&Text::new(panel.title.as_str(), (8, 6), title))?;
    match panel.kind.as_str() {
        "stat" => numbers(panel, named, area),
        "bargauge" => bars(panel, named, area),
        "state-timeline" => bands(panel, named, times, area),
        _ => lines(panel, named, times, area),
    }
}

fn color(number: usize) -> RGBColor {
    PALETTE[number % PALETTE.len()]
}

fn last(series: &Series) -> f64 {
    series.values.last().copied().unwrap_or(f64::NAN)
}

fn numbers(panel: &Panel, named: &Named, area: &Area<'_>) -> Drawn {
    let (width, height) = size(area);
    let count = i32::try_from(named.len().max(1))?;
    let middle = Pos::new(HPos::Center, VPos::Center);
    for (number, (name, series)) in (0..).zip(named) {
        let x = width * (2 * number + 1) / (2 * count);
        let y = TOP + (height - TOP) / 2 - 8;
        let value = font(24).color(&INK).pos(middle);
        let small = font(11).color(&INK.mix(0.7)).pos(middle);
        area.draw(&Text::new(shown(last(series), &panel.unit), (x, y), value))?;
        area.draw(&Text::new(name.as_str(), (x, y + 24), small))?;
    }
    Ok(())
}

fn bars(panel: &Panel, named: &Named, area: &Area<'_>) -> Drawn {
    let (width, height) = size(area);
    let most = panel.json["fieldConfig"]["defaults"]["max"].as_f64();
    let most = most.unwrap_or_else(|| named.iter().map(|(_, s)| last(s)).fold(0.0, f64::max));
    let count = i32::try_from(named.len().max(1))?;
    let step = ((height - TOP - 8) / count).min(28);
    let (left, right) = (150, width - 80);
    for (number, (name, series)) in (0..).zip(named) {
        let y = TOP + 4 + number * step;
        let share = (last(series) / most.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        let end = left + (f64::from(right - left) * share) as i32;
        let bar =
            |to: i32, style: ShapeStyle| Rectangle::new([(left, y), (to, y + step - 5)], style);
        area.draw(&bar(right, INK.mix(0.06).filled()))?;
        area.draw(&bar(end, color(0).filled()))?;
        let small = font(11).color(&INK);
        let before = small.pos(Pos::new(HPos::Right, VPos::Center));
        let behind = small.pos(Pos::new(HPos::Left, VPos::Center));
        let middle = y + (step - 5) / 2;
        area.draw(&Text::new(name.as_str(), (left - 6, middle), before))?;
        let value = shown(last(series), &panel.unit);
        area.draw(&Text::new(value, (right + 6, middle), behind))?;
    }
    Ok(())
}

fn bands(panel: &Panel, named: &Named, times: (f64, f64), area: &Area<'_>) -> Drawn {
    let (width, height) = size(area);
    let count = i32::try_from(named.len().max(1))?;
    let step = ((height - TOP - 6) / count).min(26);
    let (left, right) = (210, width - 10);
    let x = |time: f64| {
        let share = (time - times.0) / (times.1 - times.0);
        left + (f64::from(right - left) * share.clamp(0.0, 1.0)) as i32
    };
    for (number, (name, series)) in (0..).zip(named) {
        let y = TOP + 2 + number * step;
        let before = font(10)
            .color(&INK)
            .pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(name.as_str(), (left - 6, y + step / 2), before))?;
        for (from, to, state) in runs(series) {
            let Some((_, of_state)) = panel.states.get(state) else {
                continue;
            };
            let corners = [(x(from), y), (x(to), y + step - 2)];
            area.draw(&Rectangle::new(
                corners,
                state_color(of_state).mix(0.75).filled(),
            ))?;
        }
    }
    let states = panel
        .states
        .iter()
        .map(|(text, name)| (text.as_str(), state_color(name)));
    let mut at = width - 10;
    for (text, of_state) in states.rev() {
        at -= 16 + LETTER * i32::try_from(text.len())?;
        key(area, (at, 8), text, of_state)?;
    }
    Ok(())
}

/// Spans in which the value stays the same.
fn runs(series: &Series) -> Vec<(f64, f64, usize)> {
    let mut runs: Vec<(f64, f64, usize)> = Vec::new();
    for (time, value) in series.times.iter().zip(&series.values) {
        let state = value.max(0.0) as usize;
        match runs.last_mut() {
            Some((_, end, before)) if *before == state => *end = *time,
            Some((_, end, _)) => {
                *end = *time;
                runs.push((*time, *time, state));
            }
            None => runs.push((*time, *time, state)),
        }
    }
    runs
}

fn state_color(name: &str) -> RGBColor {
    match name {
        "green" => RGBColor(86, 166, 75),
        "yellow" => RGBColor(234, 184, 57),
        "red" => RGBColor(224, 47, 68),
        _ => RGBColor(140, 140, 140),
    }
}

fn lines(panel: &Panel, named: &Named, times: (f64, f64), area: &Area<'_>) -> Drawn {
    let (width, height) = size(area);
    let rows = i32::try_from(legend_rows(named, width).len())?;
    let plot = height - TOP - rows * LINE - 4;
    let inner = area
        .clone()
        .shrink((0, TOP), (width.unsigned_abs(), plot.unsigned_abs()));
    let most = panel.json["fieldConfig"]["defaults"]["max"].as_f64();
    let most = most.unwrap_or_else(|| highest(panel, named) * 1.1);
    let most = if most > 0.0 { most } else { 1.0 };
    let length = times.1 - times.0;
    let mut chart = ChartBuilder::on(&inner)
        .margin(4)
        .margin_right(12)
        .x_label_area_size(16)
        .y_label_area_size(64)
        .build_cartesian_2d(-length..0.0, 0.0..most)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.1))
        .axis_style(INK.mix(0.3))
        .x_labels(6)
        .y_labels(4)
        .x_label_formatter(&|x| format!("{x:.0} s"))
        .y_label_formatter(&|y| shown(*y, &panel.unit))
        .label_style(font(10).color(&INK))
        .draw()?;
    if panel.stacked {
        // Each covers what is below those before it, so it hides nothing and isn't to be seen through.
        for (number, area) in stacked(named, times.1).into_iter().enumerate().rev() {
            if named[number].1.max() > Some(0.0) {
                let fill = lighter(color(number));
                let series = AreaSeries::new(area, 0.0, fill).border_style(color(number));
                chart.draw_series(series)?;
            }
        }
    } else {
        for (number, (_, series)) in named.iter().enumerate() {
            for piece in pieces(series, times.1) {
                chart.draw_series(LineSeries::new(piece, color(number).stroke_width(1)))?;
            }
        }
    }
    legend(named, width, TOP + plot, area)
}

fn lighter(of: RGBColor) -> RGBColor {
    let half = |part: u8| part / 2 + 127;
    RGBColor(half(of.0), half(of.1), half(of.2))
}

/// A line for each span without a gap, in seconds before `now`.
fn pieces(series: &Series, now: f64) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    for (time, value) in series.times.iter().zip(&series.values) {
        let point = (time - now, *value);
        match pieces.last_mut() {
            _ if !value.is_finite() => {}
            Some(piece) if piece.last().is_some_and(|(at, _)| point.0 - at < GAP) => {
                piece.push(point);
            }
            Some(_) | None => pieces.push(vec![point]),
        }
    }
    pieces
}

fn highest(panel: &Panel, named: &Named) -> f64 {
    let tops: Vec<f64> = match panel.stacked {
        true => {
            let all = stacked(named, 0.0).pop().unwrap_or_default();
            all.into_iter().map(|(_, value)| value).collect()
        }
        false => named
            .iter()
            .filter_map(|(_, series)| series.max())
            .collect(),
    };
    tops.into_iter().fold(0.0, f64::max)
}

/// Every series with those before it under it. A series that isn't there at a time adds nothing.
fn stacked(named: &Named, now: f64) -> Vec<Vec<(f64, f64)>> {
    let millis = |time: f64| (time * 1000.0).round() as i64;
    let mut all: Vec<i64> = named
        .iter()
        .flat_map(|(_, series)| series.times.iter().map(|time| millis(*time)))
        .collect();
    all.sort_unstable();
    all.dedup();
    let mut sums = vec![0.0; all.len()];
    let mut layers = Vec::new();
    for (_, series) in named {
        for (time, value) in series.times.iter().zip(&series.values) {
            if let (Ok(place), true) = (all.binary_search(&millis(*time)), value.is_finite()) {
                sums[place] += value;
            }
        }
        let times = all.iter().map(|time| *time as f64 / 1000.0 - now);
        layers.push(times.zip(sums.iter().copied()).collect());
    }
    layers
}

fn legend_rows(named: &Named, width: i32) -> Vec<Vec<(usize, &str)>> {
    let mut rows: Vec<Vec<(usize, &str)>> = vec![Vec::new()];
    let mut x = 8;
    for (number, (name, _)) in named.iter().enumerate() {
        let length = 20 + LETTER * i32::try_from(name.len()).unwrap_or(0);
        if x + length > width {
            x = 8;
            rows.push(Vec::new());
        }
        x += length;
        if let Some(row) = rows.last_mut() {
            row.push((number, name));
        }
    }
    rows
}

fn legend(named: &Named, width: i32, top: i32, area: &Area<'_>) -> Drawn {
    for (line, row) in (0..).zip(legend_rows(named, width)) {
        let mut x = 8;
        for (number, name) in row {
            key(area, (x, top + line * LINE), name, color(number))?;
            x += 20 + LETTER * i32::try_from(name.len())?;
        }
    }
    Ok(())
}

fn key(area: &Area<'_>, (x, y): (i32, i32), text: &str, of_text: RGBColor) -> Drawn {
    area.draw(&Rectangle::new(
        [(x, y + 3), (x + 8, y + 9)],
        of_text.filled(),
    ))?;
    area.draw(&Text::new(text, (x + 12, y + 1), font(10).color(&INK)))?;
    Ok(())
}

fn size(area: &Area<'_>) -> (i32, i32) {
    let (width, height) = area.dim_in_pixel();
    (
        i32::try_from(width).unwrap_or(i32::MAX),
        i32::try_from(height).unwrap_or(i32::MAX),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn series(samples: &[(f64, f64)]) -> Series {
        let (times, values) = samples.iter().copied().unzip();
        Series {
            labels: BTreeMap::new(),
            times,
            values,
        }
    }

    #[test]
    fn a_state_lasts_until_the_next_one_begins() {
        let series = series(&[(1.0, 0.0), (2.0, 0.0), (3.0, 2.0), (4.0, 2.0)]);
        assert_eq!(runs(&series), [(1.0, 3.0, 0), (3.0, 4.0, 2)]);
    }

    #[test]
    fn a_line_ends_where_values_are_missing() {
        let series = series(&[(1.0, 5.0), (2.0, 6.0), (9.0, 7.0)]);
        assert_eq!(
            pieces(&series, 10.0),
            [vec![(-9.0, 5.0), (-8.0, 6.0)], vec![(-1.0, 7.0)]]
        );
    }

    #[test]
    fn a_series_stands_on_those_before_it_at_the_same_time() {
        let named = vec![
            ("a".to_owned(), series(&[(1.0, 5.0), (2.0, 6.0)])),
            ("b".to_owned(), series(&[(2.0, 1.0)])),
        ];
        assert_eq!(
            stacked(&named, 2.0),
            [vec![(-1.0, 5.0), (0.0, 6.0)], vec![(-1.0, 5.0), (0.0, 7.0)]]
        );
    }
}
