//! The model, by answers.

use std::sync::OnceLock;
use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Change, Effect, Link, Side};
use super::once::Snapshot;
use super::poll::Poll;
use super::standing::Standing;
use super::*;
use crate::api::types::{ChangeReport, ListKind, Refusal, SourceView};
use crate::cli::samples;
use crate::domain::{ClassState, Mode};

/// The answer so many seconds after the first: the attacked class and `blocklisted` go on at
/// 1,000 packets of 64 bytes a second, `accepted` at 20.
pub(super) fn answer(second: u64) -> Poll {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let begin = BEGIN.get_or_init(Instant::now);
    let (mut status, mut classes) = (samples::status(), samples::classes());
    for count in &mut status.reasons {
        let pps = match count.reason.as_str() {
            "blocklisted" => 1000,
            "accepted" => 20,
            _ => 0,
        };
        count.packets += pps * second;
        count.bytes += pps * second * 64;
    }
    let eth0 = &mut status.interfaces[0].reasons[0];
    eth0.packets += 7 * second;
    let attacked = &mut classes.classes[0].status.counts;
    attacked.packets += 1000 * second;
    attacked.cookies += 600 * second;
    attacked.refused += 300 * second;
    let sources = samples_of_sources(second);
    Poll {
        at: samples::now() + Duration::from_secs(second),
        taken: *begin + Duration::from_secs(second),
        status,
        classes,
        sources: crate::api::types::SourceList {
            total: 4242,
            sources,
        },
    }
}

/// One of each kind, with so many packets of 100 bytes per second.
fn samples_of_sources(second: u64) -> Vec<SourceView> {
    let base = samples::sources().sources.remove(0);
    let source = |text: &str, packets, pps: u64, dropped_pps: u64| SourceView {
        source: text.parse().unwrap(),
        packets: packets + pps * second,
        bytes: (packets + pps * second) * 100,
        dropped_packets: dropped_pps * second,
        strikes: 0,
        banned_until: None,
        ..base.clone()
    };
    vec![
        SourceView {
            banned_until: base.banned_until,
            ..source("203.0.113.9", 20_000, 500, 500)
        },
        source("198.51.100.7", 900_000, 40, 0),
        source("192.0.2.1", 50, 300, 250),
        SourceView {
            listed: Some(ListKind::Allow),
            ..source("10.0.0.1", 10, 700, 0)
        },
        SourceView {
            listed: Some(ListKind::Block),
            ..source("2a02:1234:5678:9abc::/64", 77, 0, 0)
        },
        SourceView {
            strikes: 3,
            ..source("192.0.2.3", 5, 0, 0)
        },
    ]
}

/// After two answers, two seconds apart.
pub(super) fn model() -> Model {
    let mut model = Model::default();
    for second in [0, 2] {
        model.polled(Ok(answer(second)), samples::now());
    }
    model
}

pub(super) fn press(model: &mut Model, code: KeyCode) -> Option<Effect> {
    model.pressed(KeyEvent::new(code, KeyModifiers::NONE))
}

pub(super) fn type_in(model: &mut Model, text: &str) -> Option<Effect> {
    let keys: Vec<char> = text.chars().collect();
    keys.into_iter()
        .fold(None, |_, key| press(model, KeyCode::Char(key)))
}

pub(super) fn order(model: &Model) -> Vec<String> {
    model
        .sources
        .iter()
        .map(|row| row.source.to_string())
        .collect()
}

pub(super) fn said(model: &Model) -> (&str, bool) {
    let message = model.message.as_ref().expect("a message");
    (&message.text, message.is_error)
}

#[test]
fn rates_are_what_came_between_two_answers() {
    let model = model();
    let sides = &model.scope().sides;
    assert_eq!(
        sides.get(&Side::Refused).unwrap().rate(),
        meters::Flow::new(1000, 64_000)
    );
    assert_eq!(
        sides.get(&Side::Passed).unwrap().rate(),
        meters::Flow::new(20, 1280)
    );
    let reasons: Vec<_> = model
        .reasons()
        .iter()
        .map(|row| {
            (
                row.reason.to_owned(),
                row.action.to_owned(),
                row.meter.rate().packets,
            )
        })
        .collect();
    let row = |reason: &str, action: &str, pps| (reason.to_owned(), action.to_owned(), pps);
    assert_eq!(
        reasons,
        [
            row("blocklisted", "dropped", 1000),
            row("accepted", "passed", 20),
            row("rate_bytes", "observed", 0),
        ],
        "land was never counted"
    );
    let classes = model.classes();
    assert_eq!(classes.len(), 1, "game isn't enabled");
    assert_eq!(classes[0].taken.rate().packets, 1000);
    assert_eq!(classes[0].refused.rate().packets, 900);
    assert_eq!(model.worst(), ClassState::Attack);
}

#[test]
fn every_source_has_its_rates_and_stands_somewhere() {
    let rows = model().sources;
    let of = |text: &str| {
        rows.iter()
            .find(|row| row.source.to_string() == text)
            .unwrap()
    };
    let now = samples::now();
    for (source, standing, words) in [
        ("203.0.113.9", Standing::Banned, "banned 3m"),
        ("198.51.100.7", Standing::Passing, "passing"),
        ("192.0.2.1", Standing::Limited, "limited"),
        ("10.0.0.1", Standing::Allowed, "allowed"),
        ("2a02:1234:5678:9abc::/64", Standing::Blocked, "blocked"),
        ("192.0.2.3", Standing::Struck, "strikes 3"),
    ] {
        assert_eq!(of(source).standing, standing, "{source}");
        assert_eq!(of(source).words(now), words, "{source}");
    }
    assert_eq!(of("192.0.2.1").rate, Some(meters::Flow::new(300, 30_000)));
    assert_eq!(of("192.0.2.1").dropped_rate, Some(250));
}

#[test]
fn in_observe_mode_nothing_is_said_to_be_limited() {
    let mut model = model();
    let mut next = answer(4);
    next.status.mode = Mode::Observe;
    model.polled(Ok(next), samples::now());
    let row = model
        .sources
        .iter()
        .find(|row| row.source.to_string() == "192.0.2.1")
        .unwrap();
    assert_eq!(row.words(samples::now()), "over limit");
}

#[test]
fn a_source_first_seen_between_two_answers_has_a_rate_and_an_old_one_has_none() {
    let mut model = model();
    let mut next = answer(4);
    let new = |text: &str, first_seen| SourceView {
        source: text.parse().unwrap(),
        first_seen,
        ..next.sources.sources[2].clone()
    };
    let late = new("192.0.2.50", samples::now() + Duration::from_secs(3));
    let old = new("192.0.2.51", samples::now() - Duration::from_secs(3));
    next.sources.sources.extend([late, old]);
    model.polled(Ok(next), samples::now());
    let rate = |text: &str| {
        let row = model
            .sources
            .iter()
            .find(|row| row.source.to_string() == text)
            .unwrap();
        row.rate.map(|rate| rate.packets)
    };
    assert_eq!(rate("192.0.2.50"), Some((50 + 300 * 4) / 2));
    assert_eq!(rate("192.0.2.51"), None);
}

#[test]
fn a_daemon_started_anew_begins_anew() {
    let mut model = model();
    let mut next = answer(4);
    next.status.pid += 1;
    model.polled(Ok(next), samples::now());
    assert_eq!(
        model
            .scope()
            .sides
            .get(&Side::Refused)
            .unwrap()
            .rate()
            .packets,
        0
    );
    assert!(model.sources.iter().all(|row| row.rate.is_none()));
}

#[test]
fn a_daemon_that_is_gone_is_said_so_until_it_answers() {
    let mut model = model();
    let later = samples::now() + Duration::from_secs(9);
    model.polled(Err("no daemon answers on s".into()), samples::now());
    model.polled(Err("no daemon answers on s".into()), later);
    let Link::Down { since, .. } = &model.link else {
        panic!("{:?}", model.link);
    };
    assert_eq!(*since, samples::now());
    assert_eq!(model.sources.len(), 6, "what was known is kept");
    model.polled(Ok(answer(9)), later);
    assert_eq!(model.link, Link::Up);
    assert_eq!(said(&model), ("the daemon answers again", false));
}

#[test]
fn what_became_of_a_change_is_said_with_the_way_back() {
    let mut model = model();
    let change = Change {
        kind: ListKind::Block,
        source: "192.0.2.1".parse().unwrap(),
        length: 3600,
    };
    model.changed(change, Ok(ChangeReport::default()));
    let undo = "192.0.2.1 is blocked for 1h; undo: xdp-throttle block del 192.0.2.1";
    assert_eq!(said(&model), (undo, false));
    let report = ChangeReport {
        refused: 1,
        refusals: vec![Refusal {
            line: None,
            text: "192.0.2.1".into(),
            why: "it is this host's own".into(),
        }],
        ..ChangeReport::default()
    };
    model.changed(change, Ok(report));
    assert_eq!(
        said(&model),
        ("block 192.0.2.1: it is this host's own", true)
    );
    model.changed(change, Err("disk full".into()));
    assert_eq!(said(&model), ("block 192.0.2.1: disk full", true));
    press(&mut model, KeyCode::Down);
    assert_eq!(model.message, None, "the next key has read it");
}

#[test]
fn a_snapshot_has_the_rates_as_text_and_as_json() {
    let snapshot = Snapshot::of(&model(), 2).unwrap();
    let text = snapshot.render();
    let line = |word: &str| text.lines().find(|line| line.starts_with(word)).unwrap();
    assert!(
        text.starts_with("enforce mode, up 3h12m, rates over 2.0 s\n"),
        "{text}"
    );
    assert_eq!(line("observed"), "observed      0 pps      0bit/s");
    assert_eq!(line("refused"), "refused    1.0k pps   512kbit/s");
    assert!(
        line("blocklisted").contains("dropped   1.0k   512k   92,000"),
        "{text}"
    );
    assert!(line("tcp-new").contains("attack  1.0k     900"), "{text}");
    assert!(line("203.0.113.9").contains("banned 2m"), "{text}");
    assert!(text.ends_with("\n2 of 4,242 sources\n"), "{text}");
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(json["seconds"], 2.0);
    assert_eq!(json["refused"]["per_second"]["packets"], 1000);
    assert_eq!(json["reasons"][0]["reason"], "blocklisted");
    assert_eq!(json["classes"][0]["refused_per_second"], 900);
    assert_eq!(json["sources"][1]["source"], "203.0.113.9");
    assert_eq!(json["sources"][1]["standing"], "banned");
    assert_eq!(json["sources"][1]["per_second"]["bytes"], 50_000);
    assert!(Snapshot::of(&Model::default(), 2).is_none());
}

#[test]
fn an_interval_has_bounds() {
    assert_eq!(interval("500ms"), Ok(Span::from_millis(500)));
    for bad in ["199ms", "2h", "1", "x"] {
        interval(bad).unwrap_err();
    }
}
