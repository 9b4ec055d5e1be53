//! What keys do to the model.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::filter;
use super::model::{Change, Effect, Model, Overlay, View};
use crate::api::types::ListKind;
use crate::domain::Prefix;

/// What each key does, for the help on the screen.
pub(super) const HELP: [(&str, &str); 15] = [
    ("up down PgUp PgDn Home", "select a source (also k and j)"),
    ("b", "ban the selected source for a time, by the blocklist"),
    ("a", "allow the selected source for a time"),
    ("", "  both ask first; + and - change the time, y does it"),
    (
        "e Enter",
        "explain what would happen to a packet of it, and why",
    ),
    ("s S", "sort sources by the next column, the one before"),
    ("/", "show only sources in 10.1, 10.1.0.0/16 or 2001:db8"),
    ("Esc", "show all sources again"),
    (
        "Tab Shift-Tab",
        "reasons of the next interface, the one before, of all",
    ),
    (
        "1 2 3 4",
        "overview, only reasons, only classes, only sources",
    ),
    ("p Space", "pause, go on"),
    ("w", "warnings of the daemon"),
    ("r", "ask the daemon now"),
    ("? h", "this help"),
    ("q Ctrl-C", "quit"),
];

/// For how long a source can be banned or allowed, in seconds.
const LENGTHS: [u64; 7] = [60, 600, 3600, 21_600, 86_400, 604_800, 2_592_000];
const DEFAULT_LENGTH: u64 = 3600;
/// Rows that PgUp and PgDn go.
const PAGE: usize = 10;
/// Longest filter: a full IPv6 address with its prefix length.
const FILTER_LENGTH: usize = 43;

impl Model {
    /// A key was pressed; what has to be done outside.
    pub(super) fn pressed(&mut self, key: KeyEvent) -> Option<Effect> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Effect::Quit);
        }
        match self.overlay.take() {
            None => self.pressed_in_view(key.code),
            Some(Overlay::Confirm(change)) => self.pressed_in_question(change, key.code),
            Some(Overlay::Filter { text, .. }) => self.pressed_in_filter(text, key.code),
            Some(Overlay::Explained { title, text, line }) => {
                self.overlay =
                    scrolled(line, key.code).map(|line| Overlay::Explained { title, text, line });
                None
            }
            // Any key closes these.
            Some(Overlay::Help | Overlay::Warnings) => None,
        }
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "any other key means nothing here"
    )]
    fn pressed_in_view(&mut self, code: KeyCode) -> Option<Effect> {
        match code {
            KeyCode::Char('q') => return Some(Effect::Quit),
            KeyCode::Char('r') => return Some(Effect::Poll),
            KeyCode::Char('?' | 'h') => self.overlay = Some(Overlay::Help),
            KeyCode::Char('w') => self.overlay = Some(Overlay::Warnings),
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused;
                return (!self.paused).then_some(Effect::Poll);
            }
            KeyCode::Char('s') => return self.next_sort(false),
            KeyCode::Char('S') => return self.next_sort(true),
            KeyCode::Char('/') => self.overlay = Some(self.filter_line()),
            KeyCode::Esc => return self.filter.take().map(|_| Effect::Poll),
            KeyCode::Tab | KeyCode::Right => self.next_tab(false),
            KeyCode::BackTab | KeyCode::Left => self.next_tab(true),
            KeyCode::Char(digit @ '1'..='4') => self.view = view_of(digit),
            KeyCode::Up | KeyCode::Char('k') => self.select(|row| row.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(|row| row + 1),
            KeyCode::PageUp => self.select(|row| row.saturating_sub(PAGE)),
            KeyCode::PageDown => self.select(|row| row + PAGE),
            KeyCode::Home => self.select_row(0),
            KeyCode::End => self.select_row(usize::MAX),
            KeyCode::Char('b') => self.ask(ListKind::Block),
            KeyCode::Char('a') => self.ask(ListKind::Allow),
            KeyCode::Char('e') | KeyCode::Enter => {
                let selected = self.chosen()?;
                return Some(Effect::Explain(selected.network()));
            }
            _ => {}
        }
        None
    }

    /// Only a `y` is a yes; what isn't known leaves the question.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "any other key means nothing here"
    )]
    fn pressed_in_question(&mut self, change: Change, code: KeyCode) -> Option<Effect> {
        let place = LENGTHS.iter().position(|length| *length == change.length);
        let place = place.unwrap_or(0);
        let another = match code {
            KeyCode::Char('y' | 'Y') => return Some(Effect::Change(change)),
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                self.say("nothing changed".to_owned());
                return None;
            }
            KeyCode::Char('+' | '=') | KeyCode::Up | KeyCode::Right => place + 1,
            KeyCode::Char('-') | KeyCode::Down | KeyCode::Left => place.saturating_sub(1),
            _ => place,
        };
        let length = LENGTHS.get(another).copied().unwrap_or(change.length);
        self.length = length;
        self.overlay = Some(Overlay::Confirm(Change { length, ..change }));
        None
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "any other key means nothing here"
    )]
    fn pressed_in_filter(&mut self, mut text: String, code: KeyCode) -> Option<Effect> {
        let mut wrong = None;
        match code {
            KeyCode::Esc => return None,
            KeyCode::Enter if text.trim().is_empty() => {
                self.filter = None;
                return Some(Effect::Poll);
            }
            KeyCode::Enter => match filter::parse(&text) {
                Ok(prefix) => {
                    self.filter = Some(prefix);
                    self.selected = None;
                    return Some(Effect::Poll);
                }
                Err(refused) => wrong = Some(refused),
            },
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(typed) if text.len() < FILTER_LENGTH && typed.is_ascii_graphic() => {
                text.push(typed);
            }
            _ => {}
        }
        self.overlay = Some(Overlay::Filter { text, wrong });
        None
    }

    fn filter_line(&self) -> Overlay {
        let text = self.filter.map(|prefix| prefix.to_string());
        Overlay::Filter {
            text: text.unwrap_or_default(),
            wrong: None,
        }
    }

    /// The daemon is asked anew: by another order it names other sources.
    fn next_sort(&mut self, back: bool) -> Option<Effect> {
        self.sort_by(self.sort.next(back));
        (!self.paused).then_some(Effect::Poll)
    }

    /// All interfaces, then each, then all.
    fn next_tab(&mut self, back: bool) {
        let status = self.status.as_ref();
        let interfaces = status
            .map(|status| status.interfaces.iter())
            .unwrap_or_default();
        let tabs: Vec<Option<String>> = std::iter::once(None)
            .chain(interfaces.map(|interface| Some(interface.name.clone())))
            .collect();
        let place = tabs.iter().position(|tab| *tab == self.tab).unwrap_or(0);
        let step = if back { tabs.len() - 1 } else { 1 };
        self.tab = tabs.into_iter().cycle().nth(place + step).flatten();
    }

    /// Selects another row, from the row selected; the first if none was.
    fn select(&mut self, row: impl FnOnce(usize) -> usize) {
        self.select_row(self.selected_row().map_or(0, row));
    }

    /// The last, if there aren't so many.
    fn select_row(&mut self, row: usize) {
        let row = row.min(self.sources.len().saturating_sub(1));
        self.selected = self.sources.get(row).map(|row| row.source);
    }

    /// The selected source, if it is still shown; else says what to do.
    fn chosen(&mut self) -> Option<Prefix> {
        let chosen = self.selected_row().and(self.selected);
        if chosen.is_none() {
            self.complain("select a source first, with up and down".to_owned());
        }
        chosen
    }

    fn ask(&mut self, kind: ListKind) {
        let length = if self.length == 0 {
            DEFAULT_LENGTH
        } else {
            self.length
        };
        self.overlay = self.chosen().map(|source| {
            Overlay::Confirm(Change {
                kind,
                source,
                length,
            })
        });
    }
}

fn view_of(digit: char) -> View {
    let place = digit.to_digit(10).unwrap_or(1).saturating_sub(1);
    let place = usize::try_from(place).unwrap_or(0);
    View::ALL.get(place).copied().unwrap_or_default()
}

/// The first line shown after a key; none closes the text.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "any other key means nothing here"
)]
fn scrolled(line: u16, code: KeyCode) -> Option<u16> {
    match code {
        KeyCode::Down | KeyCode::Char('j') => Some(line.saturating_add(1)),
        KeyCode::Up | KeyCode::Char('k') => Some(line.saturating_sub(1)),
        KeyCode::PageDown | KeyCode::Char(' ') => Some(line.saturating_add(10)),
        KeyCode::PageUp => Some(line.saturating_sub(10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
