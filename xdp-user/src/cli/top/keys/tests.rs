//! What keys do, on a model that has answers.

use super::*;
use crate::cli::samples;
use crate::cli::top::standing::Sort;
use crate::cli::top::tests::{answer, model, order, press, said, type_in};
use crate::domain::Span;

#[test]
fn sources_are_sorted_by_every_column_forth_and_back() {
    let mut model = model();
    assert_eq!(order(&model)[..3], ["10.0.0.1", "203.0.113.9", "192.0.2.1"]);
    for (first, second) in [
        ("10.0.0.1", "203.0.113.9"),
        ("203.0.113.9", "192.0.2.1"),
        ("198.51.100.7", "203.0.113.9"),
        ("198.51.100.7", "203.0.113.9"),
        ("203.0.113.9", "192.0.2.1"),
    ] {
        assert_eq!(type_in(&mut model, "s"), Some(Effect::Poll));
        assert_eq!(order(&model)[..2], [first, second], "{:?}", model.sort);
    }
    assert_eq!(model.sort, Sort::Dropped);
    type_in(&mut model, "s");
    assert_eq!(model.sort, Sort::Pps);
    type_in(&mut model, "S");
    assert_eq!(model.sort, Sort::Dropped);
}

#[test]
fn the_selection_stays_with_its_source_when_others_move() {
    let mut model = model();
    press(&mut model, KeyCode::Down);
    press(&mut model, KeyCode::Down);
    assert_eq!(model.selected, "203.0.113.9".parse().ok());
    assert_eq!(model.selected_row(), Some(1));
    type_in(&mut model, "ss");
    assert_eq!(model.selected_row(), Some(0), "first by drops");
    press(&mut model, KeyCode::End);
    press(&mut model, KeyCode::PageDown);
    assert_eq!(model.selected_row(), Some(5));
    press(&mut model, KeyCode::PageUp);
    assert_eq!(model.selected_row(), Some(0));
}

#[test]
fn a_ban_is_asked_for_and_only_a_yes_does_it() {
    let mut model = model();
    assert_eq!(type_in(&mut model, "b"), None);
    assert_eq!(model.overlay, None);
    assert_eq!(
        said(&model),
        ("select a source first, with up and down", true)
    );
    press(&mut model, KeyCode::Down);
    let change = |kind, length| Change {
        kind,
        source: "10.0.0.1".parse().unwrap(),
        length,
    };
    for no in [KeyCode::Char('n'), KeyCode::Esc, KeyCode::Char('q')] {
        assert_eq!(type_in(&mut model, "b"), None);
        let asked = Overlay::Confirm(change(ListKind::Block, 3600));
        assert_eq!(model.overlay, Some(asked.clone()));
        // Neither what says yes elsewhere nor another letter.
        assert_eq!(press(&mut model, KeyCode::Enter), None);
        assert_eq!(type_in(&mut model, "b"), None);
        assert_eq!(model.overlay, Some(asked));
        assert_eq!(press(&mut model, no), None);
        assert_eq!(model.overlay, None);
    }
    type_in(&mut model, "b+");
    let done = type_in(&mut model, "y");
    assert_eq!(done, Some(Effect::Change(change(ListKind::Block, 21_600))));
    let done = type_in(&mut model, "a--------y");
    assert_eq!(done, Some(Effect::Change(change(ListKind::Allow, 60))));
    let request = change(ListKind::Allow, 60).request();
    assert_eq!(request.prefixes, ["10.0.0.1".parse().unwrap()]);
    assert_eq!(request.ttl, Some(Span::from_secs(60)));
    assert!(!request.force);
}

#[test]
fn the_question_names_the_source_that_was_selected_whatever_comes_after() {
    let mut model = model();
    press(&mut model, KeyCode::Down);
    type_in(&mut model, "b");
    let mut next = answer(4);
    next.sources.sources.clear();
    model.polled(Ok(next), samples::now());
    let Some(Effect::Change(change)) = type_in(&mut model, "y") else {
        panic!("nothing done");
    };
    assert_eq!(change.source, "10.0.0.1".parse().unwrap());
}

#[test]
fn an_explanation_is_asked_for_scrolled_and_closed() {
    let mut model = model();
    assert_eq!(type_in(&mut model, "e"), None);
    press(&mut model, KeyCode::Down);
    let address = "10.0.0.1".parse().unwrap();
    assert_eq!(
        press(&mut model, KeyCode::Enter),
        Some(Effect::Explain(address))
    );
    model.explained(address, Ok("one\ntwo\n".into()));
    press(&mut model, KeyCode::Down);
    let Some(Overlay::Explained { line, title, .. }) = &model.overlay else {
        panic!("{:?}", model.overlay);
    };
    assert_eq!((*line, title.as_str()), (1, "a TCP SYN from 10.0.0.1"));
    press(&mut model, KeyCode::Esc);
    assert_eq!(model.overlay, None);
    model.explained(address, Err("no permission".into()));
    assert_eq!(said(&model), ("explain 10.0.0.1: no permission", true));
}

#[test]
fn a_filter_is_typed_corrected_and_taken_back() {
    let mut model = model();
    type_in(&mut model, "/203.0x");
    assert_eq!(press(&mut model, KeyCode::Enter), None);
    let Some(Overlay::Filter {
        text,
        wrong: Some(_),
    }) = &model.overlay
    else {
        panic!("{:?}", model.overlay);
    };
    assert_eq!(text, "203.0x");
    press(&mut model, KeyCode::Backspace);
    assert_eq!(press(&mut model, KeyCode::Enter), Some(Effect::Poll));
    assert_eq!(model.asked().1, "203.0.0.0/16".parse().ok());
    // Esc in the line changes nothing, outside it shows all.
    type_in(&mut model, "/9");
    assert_eq!(press(&mut model, KeyCode::Esc), None);
    assert_eq!(model.filter, "203.0.0.0/16".parse().ok());
    assert_eq!(press(&mut model, KeyCode::Esc), Some(Effect::Poll));
    assert_eq!(model.filter, None);
    type_in(&mut model, &format!("/{}", "1".repeat(500)));
    let Some(Overlay::Filter { text, .. }) = &model.overlay else {
        panic!("{:?}", model.overlay);
    };
    assert_eq!(text.len(), 43);
}

#[test]
fn tabs_go_through_all_interfaces_and_back_to_all() {
    let mut model = model();
    let mut seen = Vec::new();
    for _ in 0..4 {
        press(&mut model, KeyCode::Tab);
        seen.push(model.tab.clone());
    }
    let names = ["eth0", "eth1", "eth9"].map(|name| Some(name.to_owned()));
    assert_eq!(seen[..3], names);
    assert_eq!(seen[3], None);
    press(&mut model, KeyCode::BackTab);
    assert_eq!(model.tab.as_deref(), Some("eth9"));
    press(&mut model, KeyCode::Left);
    press(&mut model, KeyCode::Left);
    let rates: Vec<u64> = model
        .reasons()
        .iter()
        .map(|row| row.meter.rate().packets)
        .collect();
    assert_eq!(rates, [7, 0, 0], "of eth0 alone");
    let mut next = answer(4);
    next.status.interfaces.remove(0);
    model.polled(Ok(next), samples::now());
    assert_eq!(model.tab, None, "its interface is gone");
}

#[test]
fn views_pause_help_and_quit_have_their_keys() {
    let mut model = model();
    for (key, view) in ["2", "3", "4", "1"].into_iter().zip([
        View::Reasons,
        View::Classes,
        View::Sources,
        View::Overview,
    ]) {
        type_in(&mut model, key);
        assert_eq!(model.view, view);
    }
    assert_eq!(type_in(&mut model, "p"), None);
    assert!(model.paused);
    assert_eq!(type_in(&mut model, "s"), None, "paused");
    assert_eq!(type_in(&mut model, "p"), Some(Effect::Poll));
    assert!(!model.paused);
    type_in(&mut model, "?");
    assert_eq!(model.overlay, Some(Overlay::Help));
    assert_eq!(type_in(&mut model, "q"), None, "closes the help only");
    assert_eq!(type_in(&mut model, "q"), Some(Effect::Quit));
    type_in(&mut model, "?");
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(model.pressed(interrupt), Some(Effect::Quit));
}
