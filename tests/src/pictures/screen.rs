//! A terminal's screen as SVG.

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Of one character, in pixels.
const WIDTH: usize = 8;
const HEIGHT: usize = 17;
/// From the top of a row to its base line.
const BASE: usize = 13;
const MARGIN: usize = 10;

const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d5d8de";
/// Eighths of a block, from one.
const BLOCKS: &str = "▁▂▃▄▅▆▇█";

/// How a cell looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    text: &'static str,
    behind: Option<&'static str>,
    bold: bool,
}

/// The screen as SVG; `title` says to those who can't see it what it shows.
///
/// Letters keep to their columns in whatever font they are shown in, and blocks are drawn as
/// rectangles, so that it looks the same everywhere.
pub(super) fn svg(screen: &Buffer, title: &str) -> String {
    let (columns, rows) = (
        usize::from(screen.area.width),
        usize::from(screen.area.height),
    );
    let (width, height) = (columns * WIDTH + 2 * MARGIN, rows * HEIGHT + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\">\n<title>{}</title>\n\
         <style>text{{font:13px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;\
         white-space:pre}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n",
        escaped(title)
    );
    for (row, cells) in screen.content.chunks(columns.max(1)).enumerate() {
        let mut column = 0;
        for run in cells.chunk_by(|one, next| (look(one), kind(one)) == (look(next), kind(next))) {
            draw(&mut svg, run, column, row);
            column += run.len();
        }
    }
    svg + "</svg>\n"
}

/// Letters, blanks and blocks are drawn apart.
fn kind(cell: &Cell) -> usize {
    match eighths(cell) {
        Some(_) => 2,
        None if cell.symbol() == " " => 1,
        None => 0,
    }
}

fn eighths(cell: &Cell) -> Option<usize> {
    let place = BLOCKS
        .chars()
        .position(|block| cell.symbol() == block.to_string());
    place.map(|place| place + 1)
}

/// Cells of one look and kind, from a column on.
fn draw(svg: &mut String, run: &[Cell], column: usize, row: usize) {
    let Some(first) = run.first() else { return };
    let look = look(first);
    let (x, y) = (MARGIN + column * WIDTH, MARGIN + row * HEIGHT);
    let width = run.len() * WIDTH;
    if let Some(behind) = look.behind {
        rectangle(svg, [x, y, width, HEIGHT], behind);
    }
    match kind(first) {
        0 => {
            let text: String = run.iter().map(Cell::symbol).collect();
            let weight = if look.bold {
                " font-weight=\"bold\""
            } else {
                ""
            };
            let base = y + BASE;
            *svg += &format!(
                "<text x=\"{x}\" y=\"{base}\" textLength=\"{width}\" \
                 lengthAdjust=\"spacingAndGlyphs\" fill=\"{}\"{weight}>{}</text>\n",
                look.text,
                escaped(&text)
            );
        }
        1 => {}
        _ => {
            for (place, cell) in run.iter().enumerate() {
                let height = eighths(cell).unwrap_or(0) * (HEIGHT - 2) / 8;
                let (x, y) = (x + place * WIDTH, y + HEIGHT - 1 - height);
                rectangle(svg, [x, y, WIDTH, height], look.text);
            }
        }
    }
}

fn rectangle(svg: &mut String, [x, y, width, height]: [usize; 4], fill: &str) {
    *svg += &format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>\n"
    );
}

fn look(cell: &Cell) -> Look {
    let text = colour(cell.fg).unwrap_or(FOREGROUND);
    let behind = colour(cell.bg);
    let bold = cell.modifier.contains(Modifier::BOLD);
    if cell.modifier.contains(Modifier::REVERSED) {
        Look {
            text: behind.unwrap_or(BACKGROUND),
            behind: Some(text),
            bold,
        }
    } else {
        Look { text, behind, bold }
    }
}

/// The colours that the program uses; any other looks like none.
fn colour(colour: Color) -> Option<&'static str> {
    let known = [
        (Color::Red, "#ff6b68"),
        (Color::Green, "#5fd38d"),
        (Color::Yellow, "#f0c25b"),
        (Color::Cyan, "#6cc7e0"),
        (Color::DarkGray, "#9aa0ab"),
    ];
    let found = known.into_iter().find(|(name, _)| *name == colour);
    found.map(|(_, value)| value)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Style;
    use ratatui::text::{Line, Span};
    use ratatui::widgets::Widget;

    #[test]
    fn letters_colours_and_blocks_stand_in_their_columns() {
        let mut screen = Buffer::empty(ratatui::layout::Rect::new(0, 0, 12, 2));
        let line = Line::from_iter([
            Span::styled("a<b", Style::new().red().bold()),
            Span::raw(" ▁█"),
        ]);
        line.render(screen.area, &mut screen);
        screen.set_string(2, 1, "sel", Style::new().reversed());
        let svg = svg(&screen, "x & y");
        for part in [
            "<title>x &amp; y</title>",
            "<text x=\"10\" y=\"23\" textLength=\"24\" lengthAdjust=\"spacingAndGlyphs\" \
             fill=\"#ff6b68\" font-weight=\"bold\">a&lt;b</text>",
            // One eighth and all of 15 pixels, from the bottom of the row.
            "<rect x=\"42\" y=\"25\" width=\"8\" height=\"1\" fill=\"#d5d8de\"/>",
            "<rect x=\"50\" y=\"11\" width=\"8\" height=\"15\" fill=\"#d5d8de\"/>",
            "<rect x=\"26\" y=\"27\" width=\"24\" height=\"17\" fill=\"#d5d8de\"/>",
            "fill=\"#16181d\">sel</text>",
        ] {
            assert!(svg.contains(part), "{part} in\n{svg}");
        }
        assert_eq!(svg.matches("<text").count(), 2, "{svg}");
    }
}
