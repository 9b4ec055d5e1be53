//! What stands on the screen, row by row.

use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::*;
use crate::cli::samples;
use crate::cli::top::tests::{answer, model, press, type_in};
use crate::domain::Mode;

fn buffer(model: &Model, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let now = samples::now();
    let frame = terminal.draw(|frame| draw(frame, model, Glyphs::Unicode, now));
    frame.unwrap().buffer.clone()
}

fn rows(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width).max(1);
    let row = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(|cell| cell.symbol()).collect();
        text.trim_end().to_owned()
    };
    buffer.content.chunks(width).map(row).collect()
}

fn screen(model: &Model, width: u16, height: u16) -> Vec<String> {
    rows(&buffer(model, width, height))
}

#[test]
fn the_overview_fits_a_terminal_of_80_by_24() {
    let mut model = model();
    press(&mut model, KeyCode::Down);
    assert_eq!(
        screen(&model, 80, 24),
        [
            "xdp-throttle  ENFORCE  a class: attack  1 warning  12 bans  up 3h12m",
            "[all]  eth0 native   eth1 generic   eth9 absent",
            "passed       20 pps  10.2kbit/s                                                █",
            "refused    1.0k pps   512kbit/s                                                █",
            "REASON                   ACTION      PPS  BIT/S PACKETS TREND",
            "blocklisted              dropped    1.0k   512k   92.0k                        █",
            "accepted                 passed       20  10.2k    900k                        █",
            "rate_bytes               observed      0      0   10.0k",
            "CLASS                    STATE       PPS LOST/S    BUDGET TREND",
            "tcp-new                  attack     1.0k    900    100pps                      █",
            "  SOURCE                   STATE        *PPS  BIT/S  DROP/S  PACKETS  DROPPED",
            "> 10.0.0.1                 allowed       700   560k       0     1.4k        0",
            "  203.0.113.9              banned 3m     500   400k     500    21.0k     1.0k",
            "  192.0.2.1                limited       300   240k     250      650      500",
            "  198.51.100.7             passing        40  32.0k       0     900k        0",
            "  2a02:1234:5678:9abc::/64 blocked         0      0       0       77        0",
            "  192.0.2.3                strikes 3       0      0       0        5        0",
            "",
            "",
            "",
            "",
            "",
            "6 of 4,242 sources",
            "q quit ? help b ban a allow e explain s sort / filter p pause Tab interface",
        ]
    );
}

#[test]
fn in_observe_mode_the_second_curve_is_what_would_have_been_refused() {
    let mut model = model();
    let mut next = answer(4);
    next.status.mode = Mode::Observe;
    for count in &mut next.status.reasons {
        if count.reason == "rate_bytes" {
            count.packets += 2 * 30;
        }
    }
    model.polled(Ok(next), samples::now());
    let shown = screen(&model, 80, 24);
    assert!(
        shown[0].starts_with("xdp-throttle  OBSERVE"),
        "{}",
        shown[0]
    );
    assert!(shown[2].starts_with("passed       50 pps"), "{}", shown[2]);
    assert!(shown[3].starts_with("observed     30 pps"), "{}", shown[3]);
}

#[test]
fn colour_only_repeats_what_a_word_says() {
    let drawn = buffer(&model(), 80, 24);
    let style = |y: u16, x: u16| drawn.cell((x, y)).unwrap().style();
    assert_eq!(style(9, 25).fg, Some(Color::Red), "attack");
    assert_eq!(style(5, 25).fg, Some(Color::Red), "dropped");
    assert_eq!(style(6, 25).fg, Some(Color::Green), "passed");
}

#[test]
fn wider_terminals_get_more_columns_and_the_least_one_keeps_the_column_sorted_by() {
    let mut model = model();
    let wide = screen(&model, 120, 30);
    assert!(
        wide[10].ends_with("*PPS  BIT/S  DROP/S  PACKETS  BYTES  DROPPED STRIKES      SEEN"),
        "{}",
        wide[10]
    );
    type_in(&mut model, "sssss");
    let narrow = screen(&model, 60, 16);
    let header = narrow.iter().find(|row| row.contains("SOURCE")).unwrap();
    assert!(
        header.ends_with("STATE         PPS  BIT/S *DROPPED"),
        "{header}"
    );
    assert!(narrow.iter().all(|row| row.chars().count() <= 60));
    assert_eq!(narrow.len(), 16);
    assert!(
        narrow[15].starts_with("q quit ? help b ban"),
        "{}",
        narrow[15]
    );
}

#[test]
fn a_terminal_that_is_too_small_is_told_what_it_takes() {
    for (width, height) in [(59, 24), (80, 15), (20, 3), (1, 1), (0, 0)] {
        let shown = screen(&model(), width, height);
        if width >= 20 {
            assert!(shown.join(" ").contains("top needs 60x16"), "{shown:?}");
        }
    }
}

#[test]
fn the_selected_source_is_always_on_the_screen() {
    let mut model = model();
    press(&mut model, KeyCode::End);
    let shown = screen(&model, 60, 16);
    assert!(
        shown.iter().any(|row| row.starts_with("> 192.0.2.3 ")),
        "{shown:#?}"
    );
    assert!(
        !shown.iter().any(|row| row.contains("10.0.0.1")),
        "{shown:#?}"
    );
}

#[test]
fn a_question_names_the_source_the_time_and_what_speaks_against_it() {
    let mut model = model();
    let mut observing = answer(4);
    observing.status.mode = Mode::Observe;
    model.polled(Ok(observing), samples::now());
    press(&mut model, KeyCode::Down);
    type_in(&mut model, "b+");
    let shown = screen(&model, 80, 24).join("\n");
    for part in [
        "Ban 10.0.0.1 for 6h?",
        "Adds it to the blocklist: every packet of it is dropped.",
        "It is allowed now, 700 pps, 2,810 packets in all.",
        "Observe mode: it is counted",
        "The allowlist has it and wins",
        "y does it  + - longer, shorter  n changes nothing",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    type_in(&mut model, "n");
    for _ in 0..4 {
        press(&mut model, KeyCode::Down);
    }
    type_in(&mut model, "a");
    let shown = screen(&model, 80, 24).join("\n");
    assert!(
        shown.contains("Allow 2a02:1234:5678:9abc::/64 for 6h?"),
        "{shown}"
    );
    assert!(shown.contains("It is all of a /64"), "{shown}");
}

#[test]
fn every_key_is_in_the_help_on_the_smallest_screen_that_has_room() {
    let mut model = model();
    type_in(&mut model, "?");
    let shown = screen(&model, 80, 24).join("\n");
    for (keys, what) in crate::cli::top::keys::HELP {
        assert!(
            shown.contains(keys) && shown.contains(what.trim()),
            "{keys}: {shown}"
        );
    }
}

#[test]
fn a_lost_daemon_a_pause_and_warnings_are_said() {
    let mut model = model();
    type_in(&mut model, "p");
    model.polled(
        Err("no daemon answers on /run/s:\nstart one".into()),
        samples::now(),
    );
    let shown = screen(&model, 80, 24);
    assert!(shown[0].contains("PAUSED  STALE"), "{}", shown[0]);
    assert_eq!(
        shown[22],
        "no daemon since 12:00:00Z, trying again: no daemon answers on /run/s: start one"
    );
    type_in(&mut model, "w");
    let shown = screen(&model, 80, 24).join("\n");
    assert!(
        shown.contains("- eth1 is attached in generic mode"),
        "{shown}"
    );
}

#[test]
fn before_the_first_answer_nothing_is_claimed() {
    let shown = screen(&Model::default(), 80, 24);
    assert_eq!(shown[0], "xdp-throttle  no answer yet");
    assert!(
        shown.iter().any(|row| row == "no packets yet"),
        "{shown:#?}"
    );
}

#[test]
fn an_explanation_longer_than_the_screen_is_broken_and_scrolled() {
    let mut model = model();
    let address = "10.0.0.1".parse().unwrap();
    let text: String = (0..40)
        .map(|n| format!("line {n} {}\n", "word ".repeat(20)))
        .collect();
    model.explained(address, Ok(text));
    let shown = screen(&model, 80, 24);
    assert!(shown[1].contains("line 0 word word"), "{}", shown[1]);
    assert!(
        shown[2].contains("word word") && !shown[2].contains("line"),
        "{}",
        shown[2]
    );
    for _ in 0..200 {
        press(&mut model, KeyCode::PageDown);
    }
    let shown = screen(&model, 80, 24);
    assert!(shown[21].contains("line 39"), "{shown:#?}");
}

#[test]
fn each_table_can_have_the_screen_to_itself() {
    let mut model = model();
    for (key, header, absent) in [
        ("2", "REASON", "SOURCE"),
        ("3", "CLASS", "REASON"),
        ("4", "  SOURCE", "CLASS"),
    ] {
        type_in(&mut model, key);
        let shown = screen(&model, 80, 24);
        assert!(shown[4].starts_with(header), "{}", shown[4]);
        assert!(!shown.iter().any(|row| row.contains(absent)), "{shown:#?}");
    }
}

#[test]
fn the_chosen_tab_is_seen_however_many_interfaces_there_are() {
    let mut model = model();
    let mut many = answer(4);
    let last = many.status.interfaces[0].clone();
    for number in 10..30 {
        let name = format!("ens{number}");
        many.status
            .interfaces
            .push(crate::api::types::InterfaceStatus {
                name,
                ..last.clone()
            });
    }
    model.polled(Ok(many), samples::now());
    press(&mut model, KeyCode::Left);
    let shown = screen(&model, 80, 24);
    assert!(shown[1].ends_with("[ens29 native]"), "{}", shown[1]);
}
