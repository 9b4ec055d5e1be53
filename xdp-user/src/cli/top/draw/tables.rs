//! Reasons, classes and sources.

use jiff::Timestamp;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::text::{
    BAD, CHOSEN, Column, FAINT, GOOD, Glyphs, HEADER, PLAIN, STRONG, WARY, header, numbers,
    of_state, row, width, words,
};
use crate::cli::format;
use crate::cli::top::model::{ClassRow, Model, ReasonRow};
use crate::cli::top::standing::{Sort, SourceRow, Standing};
use crate::domain::ClassState;

/// Narrower than this, a table leaves columns out.
const FULL: usize = 72;

/// Where a table is drawn: columns and rows, the header's among them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub(super) width: usize,
    pub(super) height: usize,
}

pub(super) fn reasons<'l>(model: &Model, glyphs: Glyphs, space: Space) -> Vec<Line<'l>> {
    let rows = model.reasons();
    let mut columns = vec![
        words("REASON", 24),
        words("ACTION", 8),
        numbers("PPS", 6),
        numbers("BIT/S", 6),
    ];
    if space.width >= FULL {
        columns.push(numbers("PACKETS", 7));
    }
    let left = space.width.saturating_sub(width(&columns) + 1);
    columns.push(words("TREND", left));
    let cells = |it: &ReasonRow| {
        let style = of_action(it.action);
        let (rate, total) = (it.meter.rate(), it.meter.total);
        let mut cells = vec![
            (it.reason.to_owned(), PLAIN),
            (it.action.to_owned(), style),
            (format::short(rate.packets), PLAIN),
            (bits(rate.bytes), PLAIN),
        ];
        if space.width >= FULL {
            cells.push((format::short(total.packets), FAINT));
        }
        cells.push((glyphs.curve(&it.meter.past(left), left), style));
        in_columns(&columns, cells)
    };
    let lines = rows.iter().map(cells);
    table(
        &columns,
        lines,
        rows.is_empty().then_some("no packets yet"),
        space,
    )
}

fn of_action(action: &str) -> Style {
    match action {
        "dropped" => BAD,
        "answered" | "observed" => WARY,
        _ => GOOD,
    }
}

pub(super) fn classes<'l>(model: &Model, glyphs: Glyphs, space: Space) -> Vec<Line<'l>> {
    let rows = model.classes();
    let mut columns = vec![
        words("CLASS", 24),
        words("STATE", 8),
        numbers("PPS", 6),
        numbers("LOST/S", 6),
    ];
    if space.width >= FULL {
        columns.push(numbers("BUDGET", 9));
    }
    let left = space.width.saturating_sub(width(&columns) + 1);
    columns.push(words("TREND", left));
    let cells = |it: &ClassRow| {
        let status = &it.class.status;
        let style = of_state(status.state);
        let mut cells = vec![
            (status.name.clone(), PLAIN),
            (status.state.name().to_owned(), style),
            (format::short(it.taken.rate().packets), PLAIN),
            (format::short(it.refused.rate().packets), PLAIN),
        ];
        if space.width >= FULL {
            cells.push((budget(it).to_owned(), FAINT));
        }
        cells.push((glyphs.curve(&it.taken.past(left), left), style));
        in_columns(&columns, cells)
    };
    let none = match model.classes_enabled() {
        Some(false) => Some("service classes are switched off"),
        _ => rows.is_empty().then_some("no service class"),
    };
    table(&columns, rows.iter().map(cells), none, space)
}

/// The one in force.
fn budget<'r>(it: &'r ClassRow) -> &'r str {
    let limits = &it.class.limits;
    match it.class.status.state {
        ClassState::Attack => &limits.attack_budget,
        ClassState::Normal | ClassState::Elevated => &limits.budget,
    }
}

pub(super) fn sources<'l>(model: &Model, now: Timestamp, space: Space) -> Vec<Line<'l>> {
    let columns = source_columns(model.sort, space.width);
    let plain: Vec<Column> = columns.iter().map(|(column, _)| *column).collect();
    let selected = model.selected_row();
    let rows = space.height.saturating_sub(1);
    // The selected one is always seen.
    let first = selected.map_or(0, |at| (at + 1).saturating_sub(rows));
    let shown = model.sources.iter().enumerate().skip(first).take(rows);
    let lines = shown.map(|(at, source)| {
        let cells = columns
            .iter()
            .map(|(_, figure)| cell(*figure, source, now))
            .collect();
        let line = in_columns(&plain, cells);
        let (mark, style) = match selected == Some(at) {
            true => ("> ", CHOSEN),
            false => ("  ", PLAIN),
        };
        let mut spans = vec![Span::raw(mark)];
        spans.extend(line.spans);
        Line::from(spans).style(style)
    });
    let none = model.sources.is_empty().then_some("no sources");
    let mut lines = table(&plain, lines, none, space);
    if let Some(first) = lines.first_mut() {
        *first = source_header(&columns, model.sort);
    }
    lines
}

/// In a narrow terminal the last of them are left out.
const BY_NEED: [Sort; 6] = [
    Sort::Pps,
    Sort::Bps,
    Sort::Drops,
    Sort::Packets,
    Sort::Dropped,
    Sort::Bytes,
];

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Source,
    State,
    By(Sort),
    Strikes,
    LastSeen,
}

/// Those that fit; the one that sources are sorted by is always among them.
fn source_columns(sort: Sort, space: usize) -> Vec<(Column, Figure)> {
    let mut columns = vec![
        (words("SOURCE", 24), Figure::Source),
        (words("STATE", 10), Figure::State),
    ];
    let mut left = space.saturating_sub(2 + 24 + 1 + 10);
    let mut wanted = BY_NEED;
    wanted.sort_by_key(|other| *other != sort);
    let mut shown: Vec<Sort> = Vec::new();
    for sort in wanted {
        let width = column_of(sort).width + 1;
        if left >= width {
            left -= width;
            shown.push(sort);
        }
    }
    let shown = Sort::ALL.into_iter().filter(|sort| shown.contains(sort));
    columns.extend(shown.map(|sort| (column_of(sort), Figure::By(sort))));
    for more in [
        (numbers("STRIKES", 7), Figure::Strikes),
        (numbers("SEEN", 9), Figure::LastSeen),
    ] {
        if left > more.0.width {
            left -= more.0.width + 1;
            columns.push(more);
        }
    }
    columns
}

/// With room for the mark of the one that sources are sorted by.
const fn column_of(sort: Sort) -> Column {
    match sort {
        Sort::Pps => numbers("PPS", 6),
        Sort::Bps => numbers("BIT/S", 6),
        Sort::Drops => numbers("DROP/S", 7),
        Sort::Packets => numbers("PACKETS", 8),
        Sort::Bytes => numbers("BYTES", 6),
        Sort::Dropped => numbers("DROPPED", 8),
    }
}

/// The column sorted by is marked with a `*` and not only by its style.
fn source_header<'l>(columns: &[(Column, Figure)], sort: Sort) -> Line<'l> {
    let cells = columns.iter().map(|(column, figure)| {
        if *figure == Figure::By(sort) {
            (*column, format!("*{}", column.header), HEADER.patch(CHOSEN))
        } else {
            (*column, column.header.to_owned(), HEADER)
        }
    });
    let mut line = row(cells);
    line.spans.insert(0, Span::raw("  "));
    line
}

fn cell(figure: Figure, it: &SourceRow, now: Timestamp) -> (String, Style) {
    // Not known is not nothing.
    let known = |rate: Option<u64>| rate.map_or_else(|| "-".to_owned(), format::short);
    let text = match figure {
        Figure::Source => return (it.source.to_string(), STRONG),
        Figure::State => return (it.words(now), of_standing(it.standing)),
        Figure::By(Sort::Pps) => known(it.rate.map(|rate| rate.packets)),
        Figure::By(Sort::Bps) => known(it.rate.map(|rate| rate.bytes.saturating_mul(8))),
        Figure::By(Sort::Drops) => known(it.dropped_rate),
        Figure::By(Sort::Packets) => format::short(it.packets),
        Figure::By(Sort::Bytes) => format::short(it.bytes),
        Figure::By(Sort::Dropped) => format::short(it.dropped_packets),
        Figure::Strikes => format::short(it.strikes),
        Figure::LastSeen => format::span(format::seconds_between(it.last_seen, now)),
    };
    (text, PLAIN)
}

const fn of_standing(standing: Standing) -> Style {
    match standing {
        Standing::Allowed | Standing::Passing => GOOD,
        Standing::Blocked | Standing::Banned | Standing::Limited => BAD,
        Standing::OverLimit | Standing::Struck => WARY,
        Standing::Quiet => FAINT,
    }
}

fn bits(bytes: u64) -> String {
    format::short(bytes.saturating_mul(8))
}

fn in_columns<'l>(columns: &[Column], cells: Vec<(String, Style)>) -> Line<'l> {
    let cells = columns.iter().zip(cells);
    row(cells.map(|(column, (text, style))| (*column, text, style)))
}

/// A header and as many rows as fit, or why there are none.
fn table<'l>(
    columns: &[Column],
    rows: impl Iterator<Item = Line<'l>>,
    none: Option<&'static str>,
    space: Space,
) -> Vec<Line<'l>> {
    let mut lines = vec![header(columns.iter().copied())];
    match none {
        Some(why) => lines.push(Line::styled(why, FAINT)),
        None => lines.extend(rows),
    }
    lines.truncate(space.height);
    lines
}
