use super::*;
use crate::api::types::{
    BanBegan, BanEnded, EventQuery, FrameBytes, ListCause, ListChanged, ListKind, UnbanCause,
};

fn now() -> Timestamp {
    "2026-11-25T05:00:00Z".parse().unwrap()
}

fn ban(source: &str) -> Happening {
    Happening::Ban(BanBegan {
        source: source.parse().unwrap(),
        until: now(),
        level: 0,
        reason: "rate_packets".into(),
    })
}

fn unban(source: &str) -> Happening {
    Happening::Unban(BanEnded {
        source: source.parse().unwrap(),
        cause: UnbanCause::Ended,
    })
}

fn sample(source: &str, reason: &str, action: &str) -> Happening {
    Happening::Sample(Box::new(Sample {
        interface: None,
        reason: reason.into(),
        action: action.into(),
        source: source.parse().ok(),
        list: None,
        class: None,
        stands_for: 1,
        length: 60,
        frame: FrameBytes::default(),
        bare_ip: false,
    }))
}

fn list() -> Happening {
    Happening::List(ListChanged {
        table: ListKind::Block,
        list: Some("manual".into()),
        cause: ListCause::Request,
        added: 1,
        updated: 0,
        removed: 0,
        prefix: None,
    })
}

fn journal(happenings: impl IntoIterator<Item = Happening>) -> Arc<Journal> {
    let journal = Journal::default();
    for what in happenings {
        journal.publish(now(), what);
    }
    Arc::new(journal)
}

fn numbers(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.number).collect()
}

fn filter(kinds: &str, reasons: &str, source: &str) -> Filter {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Filter::of(&EventQuery {
        kinds: given(kinds),
        reasons: given(reasons),
        source: source.parse().ok(),
        ..EventQuery::default()
    })
    .unwrap()
}

#[test]
fn the_past_comes_in_order_and_the_latest_of_it() {
    let journal = journal([ban("192.0.2.1"), list(), ban("192.0.2.2"), list()]);
    let all = Filter::default();
    assert_eq!(numbers(&journal.past(&all, 10)), [1, 2, 3, 4]);
    assert_eq!(numbers(&journal.past(&all, 3)), [2, 3, 4]);
    assert_eq!(numbers(&journal.past(&all, 0)), [] as [u64; 0]);
}

#[test]
fn a_flood_of_bans_pushes_out_no_other_event() {
    let bans = (0..5000).map(|_| ban("192.0.2.1"));
    let journal = journal([list()].into_iter().chain(bans));
    let past = journal.past(&Filter::default(), u64::MAX);
    assert_eq!(past.len(), 1 + 4096);
    assert_eq!(numbers(&past)[..2], [1, 5001 - 4095]);
}

#[test]
fn filters_are_by_kind_reason_and_source() {
    let journal = journal([
        ban("192.0.2.1"),
        unban("192.0.2.1"),
        ban("2001:db8::/64"),
        list(),
        sample("192.0.2.9", "blocklisted", "dropped"),
    ]);
    for (kinds, reasons, source, expected) in [
        ("ban", "", "", vec![1, 3]),
        ("ban, list", "", "", vec![1, 3, 4]),
        ("", "rate_packets", "", vec![1, 3]),
        ("", "rate_packets,blocklisted", "192.0.2.0/24", vec![1, 5]),
        ("", "", "192.0.2.0/29", vec![1, 2]),
        ("", "", "2001:db8::7", vec![3]),
        ("unban", "rate_packets", "", vec![]),
    ] {
        let past = journal.past(&filter(kinds, reasons, source), 10);
        assert_eq!(numbers(&past), expected, "{kinds} {reasons} {source}");
    }
}

#[test]
fn a_mistyped_kind_or_reason_is_named_with_what_is_valid() {
    let refused = |kinds: Option<&str>, reasons: Option<&str>| {
        let query = EventQuery {
            kinds: kinds.map(str::to_owned),
            reasons: reasons.map(str::to_owned),
            ..EventQuery::default()
        };
        Filter::of(&query).unwrap_err().to_string()
    };
    let kind = refused(Some("bans"), None);
    assert!(
        kind.contains("\"bans\"") && kind.contains("unban"),
        "{kind}"
    );
    let reason = refused(None, Some("too_fast"));
    assert!(reason.contains("\"too_fast\""), "{reason}");
}

#[test]
fn packets_that_pass_as_they_should_are_for_captures_alone() {
    let journal = journal([
        sample("192.0.2.1", "accepted", "passed"),
        // As in observe mode.
        sample("192.0.2.1", "blocklisted", "passed"),
    ]);
    assert_eq!(numbers(&journal.past(&Filter::default(), 10)), [2]);
    let source = "192.0.2.0/24".parse().unwrap();
    let samples = journal.samples_of(&source, 10);
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0].1.reason, "blocklisted");
}

#[test]
fn a_sources_last_samples_come_the_latest_first_and_bounded() {
    let journal = journal([
        sample("192.0.2.1", "banned", "dropped"),
        sample("198.51.100.1", "banned", "dropped"),
        sample("192.0.2.1", "rate_bytes", "dropped"),
        sample("192.0.2.1", "land", "dropped"),
    ]);
    let samples = journal.samples_of(&"192.0.2.1".parse().unwrap(), 2);
    let reasons: Vec<&str> = samples.iter().map(|(_, s)| s.reason.as_str()).collect();
    assert_eq!(reasons, ["land", "rate_bytes"]);
}

#[tokio::test]
async fn a_follower_gets_the_past_and_then_what_comes_without_a_gap() {
    let journal = journal([ban("192.0.2.1"), list()]);
    let (past, mut follower) = journal.follow(filter("ban", "", ""), 10).unwrap();
    assert_eq!(numbers(&past), [1]);
    journal.publish(now(), list());
    journal.publish(now(), ban("192.0.2.2"));
    let Some(Followed::Event(event)) = follower.next().await else {
        panic!("no event");
    };
    assert_eq!(event.number, 4);
}

#[tokio::test]
async fn a_slow_follower_is_told_how_much_it_lost_and_it_is_counted() {
    let journal = journal([]);
    let (_, mut follower) = journal.follow(Filter::default(), 0).unwrap();
    let published = BACKLOG as u64 + 300;
    for _ in 0..published {
        journal.publish(now(), list());
    }
    assert_eq!(follower.next().await, Some(Followed::Lost(300)));
    let Some(Followed::Event(event)) = follower.next().await else {
        panic!("no event");
    };
    assert_eq!(event.number, 301);
    let status = journal.status();
    assert_eq!(
        (status.lost[0].name.as_str(), status.lost[0].count),
        (FOLLOWER, 300)
    );
    let lists = status.published.iter().find(|kind| kind.name == "list");
    assert_eq!(lists.unwrap().count, published);
}

#[test]
fn followers_are_bounded_and_make_room_when_they_go() {
    let journal = journal([]);
    let follow = || journal.follow(Filter::default(), 0);
    let mut followers: Vec<_> = (0..MAX_FOLLOWERS).map(|_| follow().unwrap()).collect();
    assert_eq!(follow().err(), Some(TooMany));
    followers.pop();
    follow().unwrap();
}
