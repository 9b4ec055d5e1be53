//! The lines above and below the tables.

use jiff::Timestamp;
use ratatui::text::{Line, Span};

use super::text::{BAD, CHOSEN, FAINT, GOOD, Glyphs, HEADER, PLAIN, STRONG, WARY, of_state};
use crate::api::types::InterfaceStatus;
use crate::cli::format;
use crate::cli::top::model::{Link, Model, Side};
use crate::domain::{ClassState, Mode};

const KEYS: [(&str, &str); 10] = [
    ("q", "quit"),
    ("?", "help"),
    ("b", "ban"),
    ("a", "allow"),
    ("e", "explain"),
    ("s", "sort"),
    ("/", "filter"),
    ("p", "pause"),
    ("Tab", "interface"),
    ("1-4", "view"),
];

/// Name, mode, uptime, what is in force and what is wrong.
pub(super) fn title<'l>(model: &Model, now: Timestamp) -> Line<'l> {
    let mut spans = vec![Span::styled("xdp-throttle", STRONG)];
    let Some(status) = &model.status else {
        spans.push(Span::raw("  no answer yet"));
        return Line::from(spans);
    };
    let (mode, style) = match status.mode {
        Mode::Observe => ("OBSERVE", WARY),
        Mode::Enforce => ("ENFORCE", GOOD),
    };
    let mut say = |text: String, style| {
        spans.push(Span::raw("  "));
        spans.push(Span::styled(text, style));
    };
    say(mode.to_owned(), style.patch(STRONG));
    if model.paused {
        say("PAUSED".to_owned(), CHOSEN);
    }
    if let Link::Down { .. } = model.link {
        say("STALE".to_owned(), BAD.patch(CHOSEN));
    }
    let worst = model.worst();
    if worst != ClassState::Normal {
        say(format!("a class: {worst}"), of_state(worst));
    }
    let warnings = status.warnings.len() as u64;
    let style = if warnings == 0 { PLAIN } else { WARY };
    say(format::plural(warnings, "warning", "warnings"), style);
    say(format::plural(status.bans, "ban", "bans"), PLAIN);
    let up = format::seconds_between(status.started, now);
    say(format!("up {}", format::span(up)), PLAIN);
    Line::from(spans)
}

/// Interfaces; the one whose counters are shown stands in brackets.
pub(super) fn tabs<'l>(model: &Model, width: usize) -> Line<'l> {
    let interfaces = model.status.as_ref().map(|status| status.interfaces.iter());
    let mut tabs = vec![("all".to_owned(), model.tab.is_none(), PLAIN)];
    for interface in interfaces.unwrap_or_default() {
        let (how, style) = attachment(interface);
        let name = format::printable(&interface.name);
        let chosen = model.tab.as_ref() == Some(&interface.name);
        tabs.push((format!("{name} {how}"), chosen, style));
    }
    // From the left, as few left out as it takes for the chosen one to be seen.
    let chosen = tabs.iter().position(|(_, chosen, _)| *chosen).unwrap_or(0);
    let mut taken = 0;
    let fits = |tab: &&(String, bool, _)| {
        taken += tab.0.chars().count() + 3;
        taken <= width
    };
    let before = tabs
        .get(..=chosen)
        .unwrap_or_default()
        .iter()
        .rev()
        .take_while(fits)
        .count();
    let first = (chosen + 1).saturating_sub(before.max(1));
    let shown = tabs.into_iter().skip(first);
    Line::from_iter(shown.map(|(text, chosen, style)| match chosen {
        true => Span::styled(format!("[{text}] "), style.patch(STRONG)),
        false => Span::styled(format!(" {text}  "), style),
    }))
}

fn attachment(interface: &InterfaceStatus) -> (&'static str, ratatui::style::Style) {
    match (interface.attached, interface.mode.as_deref()) {
        (true, Some("native")) => ("native", PLAIN),
        (true, Some(_)) => ("generic", WARY),
        (true, None) => ("attached", PLAIN),
        (false, _) if interface.index == 0 => ("absent", BAD),
        (false, _) => ("NOT ATTACHED", BAD),
    }
}

/// What passed and what didn't, with their curves; in observe mode, what wouldn't have.
pub(super) fn totals<'l>(model: &Model, glyphs: Glyphs, width: usize) -> Vec<Line<'l>> {
    let side = |name: &str, side, style| {
        let meter = model.scope().sides.get(&side);
        let rate = meter.map(|meter| meter.rate()).unwrap_or_default();
        let figures = format!(
            "{name:<9}{:>6} pps {:>6}bit/s ",
            format::short(rate.packets),
            format::short(rate.bytes.saturating_mul(8)),
        );
        let left = width.saturating_sub(figures.chars().count());
        let past = meter.map(|meter| meter.past(left)).unwrap_or_default();
        let curve = glyphs.curve(&past, left);
        Line::from_iter([Span::styled(figures, style), Span::styled(curve, style)])
    };
    let mode = model.status.as_ref().map(|status| status.mode);
    let other = match mode.unwrap_or_default() {
        Mode::Observe => side("observed", Side::Observed, WARY),
        Mode::Enforce => side("refused", Side::Refused, BAD),
    };
    vec![side("passed", Side::Passed, GOOD), other]
}

/// What went wrong or was done; else how sources are shown.
pub(super) fn message<'l>(model: &Model) -> Line<'l> {
    if let Some(message) = &model.message {
        let style = if message.is_error { BAD } else { GOOD };
        return Line::styled(one_line(&message.text), style.patch(STRONG));
    }
    if let Link::Down { since, error } = &model.link {
        let since = since.strftime("%H:%M:%S");
        let text = format!(
            "no daemon since {since}Z, trying again: {}",
            one_line(error)
        );
        return Line::styled(text, BAD.patch(STRONG));
    }
    let shown = format::count(model.sources.len() as u64);
    let total = format::plural(model.sources_total, "source", "sources");
    let text = match &model.filter {
        Some(filter) => format!("{shown} of {total} in {filter}; Esc shows all"),
        None => format!("{shown} of {total}"),
    };
    Line::styled(text, FAINT)
}

fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    format::printable(&lines.join(" "))
}

/// The keys that are used most, as many as fit.
pub(super) fn keys<'l>(width: usize) -> Line<'l> {
    let mut taken = 0;
    let shown = KEYS.iter().take_while(|(key, what)| {
        taken += key.len() + what.len() + 2;
        taken <= width + 1
    });
    Line::from_iter(
        shown.flat_map(|(key, what)| [Span::styled(*key, HEADER), Span::raw(format!(" {what} "))]),
    )
}
