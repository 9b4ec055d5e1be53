//! Cells, columns and small curves.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::domain::ClassState;

/// What curves and marks are drawn with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Glyphs {
    /// Eighths of blocks.
    #[default]
    Unicode,
    /// For a terminal or a font without them.
    Ascii,
}

impl Glyphs {
    /// Blocks, where the locale (POSIX: LC_ALL, then LC_CTYPE, then LANG) says UTF-8.
    pub(in crate::cli::top) fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let names = ["LC_ALL", "LC_CTYPE", "LANG"];
        let set = names
            .into_iter()
            .filter_map(variable)
            .find(|value| !value.is_empty());
        let charset = set.unwrap_or_default().to_lowercase().replace('-', "");
        if charset.contains("utf8") {
            Self::Unicode
        } else {
            Self::Ascii
        }
    }

    /// From nothing to the most.
    const fn levels(self) -> [char; 9] {
        match self {
            Self::Unicode => [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
            Self::Ascii => [' ', '.', ':', '-', '=', '+', '*', '%', '#'],
        }
    }

    /// The values as a curve of `width`, the latest to the right, the most of them full height.
    /// What is there never shows as nothing.
    pub(super) fn curve(self, values: &[u64], width: usize) -> String {
        let shown = values
            .get(values.len().saturating_sub(width)..)
            .unwrap_or_default();
        let most = shown.iter().copied().max().unwrap_or(0).max(1);
        let level = |value: &u64| {
            let eighths = (u128::from(*value) * 8).div_ceil(u128::from(most));
            let place = usize::try_from(eighths).unwrap_or(0);
            self.levels().get(place).copied().unwrap_or(' ')
        };
        let blank = " ".repeat(width - shown.len());
        blank + &shown.iter().map(level).collect::<String>()
    }
}

pub(super) const HEADER: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
pub(super) const PLAIN: Style = Style::new();
pub(super) const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const FAINT: Style = Style::new().fg(Color::DarkGray);
pub(super) const GOOD: Style = Style::new().fg(Color::Green);
pub(super) const WARY: Style = Style::new().fg(Color::Yellow);
pub(super) const BAD: Style = Style::new().fg(Color::Red);
pub(super) const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Colour never says what the word doesn't.
pub(super) const fn of_state(state: ClassState) -> Style {
    match state {
        ClassState::Normal => GOOD,
        ClassState::Elevated => WARY,
        ClassState::Attack => BAD.add_modifier(Modifier::BOLD),
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) header: &'static str,
    pub(super) width: usize,
    pub(super) numeric: bool,
}

pub(super) const fn words(header: &'static str, width: usize) -> Column {
    Column {
        header,
        width,
        numeric: false,
    }
}

pub(super) const fn numbers(header: &'static str, width: usize) -> Column {
    Column {
        header,
        width,
        numeric: true,
    }
}

impl Column {
    /// Exactly its width, what doesn't fit cut off.
    fn fit(&self, text: &str) -> String {
        let width = self.width;
        let cut: String = text.chars().take(width).collect();
        if self.numeric {
            format!("{cut:>width$}")
        } else {
            format!("{cut:<width$}")
        }
    }
}

/// Cells in their columns, one blank between.
pub(super) fn row<'l>(cells: impl IntoIterator<Item = (Column, String, Style)>) -> Line<'l> {
    let mut spans = Vec::new();
    for (column, text, style) in cells {
        if !spans.is_empty() {
            spans.push(Span::raw(" "));
        }
        spans.push(Span::styled(column.fit(&text), style));
    }
    Line::from(spans)
}

/// Headers in their columns.
pub(super) fn header<'l>(columns: impl IntoIterator<Item = Column>) -> Line<'l> {
    row(columns
        .into_iter()
        .map(|column| (column, column.header.to_owned(), HEADER)))
}

/// What columns take with the blanks between them.
pub(super) fn width(columns: &[Column]) -> usize {
    columns
        .iter()
        .map(|column| column.width + 1)
        .sum::<usize>()
        .saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_scaled_to_its_most_and_stands_to_the_right() {
        assert_eq!(Glyphs::Unicode.curve(&[0, 1, 400, 800], 6), "   ▁▄█");
        assert_eq!(Glyphs::Ascii.curve(&[9, 0, 400, 800], 3), " =#");
        assert_eq!(Glyphs::Unicode.curve(&[0, 0], 3), "   ");
        assert_eq!(Glyphs::Unicode.curve(&[], 2), "  ");
        assert_eq!(Glyphs::Unicode.curve(&[u64::MAX], 1), "█");
    }

    #[test]
    fn blocks_are_drawn_where_the_locale_has_them() {
        let locale = |set: &'static [(&str, &str)]| {
            Glyphs::of_locale(|name| {
                let found = set.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(locale(&[("LANG", "en_US.UTF-8")]), Glyphs::Unicode);
        assert_eq!(
            locale(&[("LANG", "C.utf8"), ("LC_ALL", "")]),
            Glyphs::Unicode
        );
        assert_eq!(
            locale(&[("LANG", "C.UTF-8"), ("LC_ALL", "C")]),
            Glyphs::Ascii
        );
        assert_eq!(locale(&[]), Glyphs::Ascii);
    }

    #[test]
    fn cells_have_their_width_whatever_is_in_them() {
        let cells = [
            (words("A", 4), "abcdef".to_owned(), PLAIN),
            (numbers("B", 5), "12".to_owned(), PLAIN),
        ];
        assert_eq!(row(cells).to_string(), "abcd    12");
        assert_eq!(width(&[words("A", 4), numbers("B", 5)]), 10);
    }
}
