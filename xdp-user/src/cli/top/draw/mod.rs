//! The model on the screen. Draws what it is given and changes nothing.

mod head;
mod overlay;
mod tables;
mod text;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

pub use text::Glyphs;

use super::model::{Model, View};
use tables::Space;

/// The least that everything fits into.
pub(super) const LEAST: (u16, u16) = (60, 16);
/// Title, tabs, passed and dropped; message and keys.
const AROUND: usize = 6;

/// One frame.
pub(super) fn draw(frame: &mut Frame, model: &Model, glyphs: Glyphs, now: Timestamp) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let (width, height) = LEAST;
        let text = format!(
            "this terminal has {}x{},\ntop needs {width}x{height}",
            area.width, area.height
        );
        return frame.render_widget(Paragraph::new(text), area);
    }
    let width = usize::from(area.width);
    let height = usize::from(area.height);
    let mut lines = vec![head::title(model, now), head::tabs(model, width)];
    lines.extend(head::totals(model, glyphs, width));
    lines.extend(body(
        model,
        glyphs,
        now,
        Space {
            width,
            height: height - AROUND,
        },
    ));
    // The last two stand at the bottom.
    lines.resize(height - 2, Line::default());
    lines.push(head::message(model));
    lines.push(head::keys(width));
    for (line, y) in lines.into_iter().zip(area.y..) {
        let row = Rect {
            y,
            height: 1,
            ..area
        };
        let style = line.style;
        frame.render_widget(Paragraph::new(line).style(style), row);
    }
    overlay::draw(frame, model, now);
}

fn body<'l>(model: &Model, glyphs: Glyphs, now: Timestamp, space: Space) -> Vec<Line<'l>> {
    match model.view {
        View::Overview => {
            let [reasons, classes, sources] = shares(model, space.height);
            let of = |height| Space { height, ..space };
            let mut lines = exactly(tables::reasons(model, glyphs, of(reasons)), reasons);
            lines.extend(exactly(
                tables::classes(model, glyphs, of(classes)),
                classes,
            ));
            lines.extend(tables::sources(model, now, of(sources)));
            lines
        }
        View::Reasons => tables::reasons(model, glyphs, space),
        View::Classes => tables::classes(model, glyphs, space),
        View::Sources => tables::sources(model, now, space),
    }
}

/// Rows of each table with its header: half for sources, a third for reasons, the rest for
/// classes; what one doesn't need, sources get.
fn shares(model: &Model, height: usize) -> [usize; 3] {
    let rows = height - 3;
    let reasons = (rows / 3).min(model.reasons().len().max(1));
    let classes = (rows - rows / 2 - rows / 3).min(model.classes().len().max(1));
    let sources = rows - reasons - classes;
    [reasons + 1, classes + 1, sources + 1]
}

fn exactly(mut lines: Vec<Line<'_>>, height: usize) -> Vec<Line<'_>> {
    lines.resize(height, Line::default());
    lines
}

#[cfg(test)]
mod tests;
