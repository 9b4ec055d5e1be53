//! What lies over the tables: help, warnings, questions, explanations.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Padding, Paragraph};

use super::text::{BAD, HEADER, PLAIN, STRONG, WARY};
use crate::api::types::ListKind;
use crate::cli::format;
use crate::cli::top::keys::HELP;
use crate::cli::top::model::{Change, Model, Overlay};
use crate::cli::top::standing::{SourceRow, Standing};
use crate::domain::Mode;

pub(super) fn draw(frame: &mut Frame, model: &Model, now: Timestamp) {
    match &model.overlay {
        None => {}
        Some(Overlay::Help) => show(frame, " keys, any of them closes this ", help(), 0),
        Some(Overlay::Warnings) => {
            show(frame, " warnings, any key closes this ", warnings(model), 0);
        }
        Some(Overlay::Filter { text, wrong }) => {
            show(frame, " filter ", filter(text, wrong.as_deref()), 0);
        }
        Some(Overlay::Confirm(change)) => {
            show(frame, " change a list? ", question(change, model, now), 0);
        }
        Some(Overlay::Explained { title, text, line }) => {
            let lines = text
                .lines()
                .map(|line| Line::from(line.to_owned()))
                .collect();
            let title = format!(" {title}: up and down scroll, any other key closes ");
            show(frame, &title, lines, *line);
        }
    }
}

/// A frame around the text in the middle of the screen, as large as it takes.
fn show(frame: &mut Frame, title: &str, lines: Vec<Line>, first: u16) {
    let screen = frame.area();
    let most = usize::from(screen.width.saturating_sub(4));
    let lines: Vec<Line> = lines.iter().flat_map(|line| wrapped(line, most)).collect();
    let widest = lines
        .iter()
        .map(Line::width)
        .max()
        .unwrap_or(0)
        .max(title.chars().count());
    let size = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
    let width = size(widest + 4).min(screen.width);
    let needed = size(lines.len() + 2);
    let height = needed.min(screen.height);
    let area = Rect {
        x: screen.x + (screen.width - width) / 2,
        y: screen.y + (screen.height - height) / 2,
        width,
        height,
    };
    let block = Block::bordered()
        .padding(Padding::horizontal(1))
        .title(Span::styled(title.to_owned(), HEADER));
    let text = Paragraph::new(lines)
        .block(block)
        .scroll((first.min(needed - height), 0));
    frame.render_widget(Clear, area);
    frame.render_widget(text, area);
}

/// In lines of at most `width`, broken at blanks where there are some.
fn wrapped<'l>(line: &Line, width: usize) -> Vec<Line<'l>> {
    let mut rest: Vec<(char, Style)> = line
        .spans
        .iter()
        .flat_map(|span| {
            span.content
                .chars()
                .map(|c| (c, line.style.patch(span.style)))
        })
        .collect();
    let mut lines = Vec::new();
    while rest.len() > width.max(1) {
        let fitting = rest.get(..=width).unwrap_or_default();
        let blank = fitting
            .iter()
            .rposition(|(c, _)| *c == ' ')
            .filter(|at| *at > 0);
        let after = rest.split_off(blank.unwrap_or(width.max(1)));
        lines.push(styled(&rest));
        rest = after
            .into_iter()
            .skip(usize::from(blank.is_some()))
            .collect();
    }
    lines.push(styled(&rest));
    lines
}

fn styled<'l>(text: &[(char, Style)]) -> Line<'l> {
    let runs = text.chunk_by(|(_, one), (_, next)| one == next);
    Line::from_iter(runs.map(|run| {
        let style = run.first().map(|(_, style)| *style).unwrap_or_default();
        Span::styled(run.iter().map(|(c, _)| *c).collect::<String>(), style)
    }))
}

fn help() -> Vec<Line<'static>> {
    let lines = HELP.iter().map(|(keys, what)| {
        Line::from_iter([
            Span::styled(format!("{keys:<22} "), HEADER),
            Span::raw(*what),
        ])
    });
    lines.collect()
}

fn warnings(model: &Model) -> Vec<Line<'static>> {
    let warnings = model
        .status
        .as_ref()
        .map(|status| status.warnings.as_slice());
    let lines: Vec<Line> = warnings
        .unwrap_or_default()
        .iter()
        .map(|warning| Line::from(format!("- {}", format::printable(warning))))
        .collect();
    if lines.is_empty() {
        vec![Line::from("none")]
    } else {
        lines
    }
}

fn filter(text: &str, wrong: Option<&str>) -> Vec<Line<'static>> {
    let mut lines = vec![
        Line::from(format!("sources that begin with: {text}_")),
        Line::from("Enter shows them, Esc changes nothing, an empty line shows all"),
    ];
    if let Some(wrong) = wrong {
        lines.push(Line::styled(wrong.to_owned(), BAD));
    }
    lines
}

/// Names what will be done, and what stands against it.
fn question(change: &Change, model: &Model, now: Timestamp) -> Vec<Line<'static>> {
    let length = format::span(change.length);
    let (title, effect) = match change.kind {
        ListKind::Block => (
            format!("Ban {} for {length}?", change.source),
            "Adds it to the blocklist: every packet of it is dropped.",
        ),
        ListKind::Allow => (
            format!("Allow {} for {length}?", change.source),
            "Adds it to the allowlist: it passes, whatever lists, bans and limits say.",
        ),
    };
    let mut lines = vec![Line::styled(title, STRONG), Line::from(effect)];
    let row = model.sources.iter().find(|row| row.source == change.source);
    if let Some(row) = row {
        let pps = row
            .rate
            .map_or_else(|| "-".to_owned(), |rate| format::short(rate.packets));
        let sent = format::count(row.packets);
        let state = row.words(now);
        lines.push(Line::from(format!(
            "It is {state} now, {pps} pps, {sent} packets in all."
        )));
    }
    let notes = notes(change, row, model);
    lines.extend(notes.into_iter().map(|note| Line::styled(note, WARY)));
    lines.push(Line::default());
    let keys = [
        ("y", "does it  "),
        ("+ -", "longer, shorter  "),
        ("n", "changes nothing"),
    ];
    lines.push(Line::from_iter(keys.iter().flat_map(|(key, what)| {
        [
            Span::styled(*key, HEADER),
            Span::styled(format!(" {what}"), PLAIN),
        ]
    })));
    lines
}

fn notes(change: &Change, row: Option<&SourceRow>, model: &Model) -> Vec<String> {
    let mut notes = Vec::new();
    let is_observed = model
        .status
        .as_ref()
        .is_some_and(|it| it.mode == Mode::Observe);
    if is_observed && change.kind == ListKind::Block {
        notes.push("Observe mode: it is counted, and dropped only once you enforce.".to_owned());
    }
    let is_allowed = row.is_some_and(|row| row.standing == Standing::Allowed);
    if is_allowed && change.kind == ListKind::Block {
        notes.push("The allowlist has it and wins: it will still pass.".to_owned());
    }
    if !change.source.is_host() {
        let length = change.source.prefix_len();
        notes.push(format!(
            "It is all of a /{length}: such addresses count as one source."
        ));
    }
    notes
}
