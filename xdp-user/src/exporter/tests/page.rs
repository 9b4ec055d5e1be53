//! The status page, over real connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use xdp_common::reason::Reason;

use super::http::{BOUNDS, Server, Source};
use super::*;
use crate::api::types::{
    PageStatus, ReasonCount, SourceList, SourceQuery, SourceSort, SourceView, StateChange,
};
use crate::config::StatusPage;
use crate::exporter::page::snapshot;

/// Twelve sources that sent much, eight of which much was dropped.
pub(super) fn sources(query: &SourceQuery) -> SourceList {
    let source = |text: &str, packets, dropped_packets| SourceView {
        source: text.parse().unwrap(),
        packets,
        bytes: packets * 100,
        dropped_packets,
        dropped_bytes: dropped_packets * 100,
        first_seen: Timestamp::UNIX_EPOCH,
        last_seen: Timestamp::UNIX_EPOCH,
        strikes: 0,
        banned_until: None,
        listed: None,
    };
    assert_eq!((query.limit, query.each), (Some(10), true));
    assert_eq!(query.sort, Some(SourceSort::Dropped));
    let flooding = (1..=8).map(|last| source(&format!("203.0.113.{last}"), 500, 400 + last));
    let busy = (1..=12).map(|last| source(&format!("192.0.2.{last}"), 1000 + last, 0));
    SourceList {
        sources: flooding.chain(busy).collect(),
        total: 20,
    }
}

async fn server(page: StatusPage, source: Source) -> Server {
    Server::with_page("127.0.0.1:0", BOUNDS, page, source).await
}

async fn get(server: &Server, path: &str, host: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let answer = server.ask(&request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {head}"))
}

#[tokio::test]
async fn the_page_is_html_that_may_load_nothing_from_elsewhere() {
    let server = server(StatusPage::Counters, Source::Good).await;
    let (head, body) = get(&server, "/", "127.0.0.1").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(header(&head, "content-type"), "text/html; charset=utf-8");
    assert!(body.starts_with("<!doctype html>") && body.contains("xdp-throttle status"));
    assert_eq!(header(&head, "x-content-type-options"), "nosniff");
    assert_eq!(header(&head, "referrer-policy"), "no-referrer");
    assert_eq!(header(&head, "cache-control"), "no-store");
    assert!(!head.contains("access-control-"), "{head}");
    let policy = header(&head, "content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    ] {
        assert!(policy.contains(part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn the_state_is_json_with_every_reason_class_and_fault() {
    let server = server(StatusPage::Counters, Source::Good).await;
    let (head, body) = get(&server, "/status.json", "localhost:8080").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(header(&head, "content-type"), "application/json");
    assert_eq!(header(&head, "x-content-type-options"), "nosniff");
    let page: PageStatus = serde_json::from_str(&body).unwrap();
    assert_eq!((page.mode, page.version.as_str()), (Mode::Enforce, "1.2.3"));
    assert_eq!(page.interfaces.len(), 2);
    assert_eq!(page.mitigation.classes[0].name, "tcp-new");
    assert_eq!(page.faults.len(), Fault::ALL.len());
    assert!(page.sources.is_none());
    // Neither are in it.
    assert!(!body.contains("/etc/") && !body.contains("203.0.113"));
}

#[tokio::test]
async fn sources_are_shown_only_where_the_configuration_says_so() {
    let server = server(StatusPage::Sources, Source::Good).await;
    let (_, body) = get(&server, "/status.json", "127.0.0.1").await;
    let page: PageStatus = serde_json::from_str(&body).unwrap();
    let sources = page.sources.unwrap();
    assert_eq!(sources.known, 20);
    let names = |those: &[SourceView]| -> Vec<String> {
        those.iter().map(|one| one.source.to_string()).collect()
    };
    let most_first = |net: &str, lasts: std::ops::RangeInclusive<u8>| -> Vec<String> {
        let lasts = lasts.rev();
        lasts.map(|last| format!("{net}.{last}")).collect()
    };
    // Of the others nothing was dropped.
    assert_eq!(names(&sources.dropped), most_first("203.0.113", 1..=8));
    assert_eq!(names(&sources.packets), most_first("192.0.2", 3..=12));
}

#[tokio::test]
async fn a_loopback_listener_answers_only_to_loopbacks_names() {
    let server = server(StatusPage::Sources, Source::Good).await;
    for path in ["/", "/status.json"] {
        let (head, body) = get(&server, path, "rebound.example:9777").await;
        assert!(head.starts_with("http/1.1 421 "), "{path}: {head}");
        assert!(body.contains("localhost"), "{body}");
        assert!(!body.contains("203.0.113"), "{body}");
    }
    // Prometheus may know the host by any name.
    let (head, _) = get(&server, "/metrics", "rebound.example").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[tokio::test]
async fn beyond_loopback_any_name_will_do() {
    let page = StatusPage::Counters;
    let server = Server::with_page("0.0.0.0:0", BOUNDS, page, Source::Good).await;
    let (head, _) = get(&server, "/", "host.example").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[tokio::test]
async fn the_page_is_read_only() {
    let server = server(StatusPage::Sources, Source::Good).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in ["/", "/status.json"] {
            let request = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
            let answer = server.ask(&request).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_flood_of_requests_reads_the_state_once() {
    let (states, read) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let source = Source::Counted(Arc::clone(&states), Arc::clone(&read));
    let server = server(StatusPage::Sources, source).await;
    for _ in 0..100 {
        // One that goes away at once, and one that waits.
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = b"GET /status.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        stream.write_all(request).await.unwrap();
        drop(stream);
        let (head, _) = get(&server, "/status.json", "127.0.0.1").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
    }
    assert_eq!(states.load(Ordering::Relaxed), 1);
    assert_eq!(read.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_an_error_for_a_while_and_then_asked_for_again() {
    let bounds = super::http::BOUNDS;
    let bounds = crate::exporter::server::Bounds {
        page_age: Duration::ZERO,
        ..bounds
    };
    let source = Source::FailingOnce(AtomicBool::new(false));
    let server = Server::with_page("127.0.0.1:0", bounds, StatusPage::Counters, source).await;
    let (head, body) = get(&server, "/status.json", "127.0.0.1").await;
    assert!(head.starts_with("http/1.1 500 "), "{head}");
    assert!(body.contains("the control task is busy"), "{body}");
    let (head, _) = get(&server, "/status.json", "127.0.0.1").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[test]
fn what_an_operator_names_and_what_happens_is_bounded() {
    let mut status = fresh();
    let list = status.lists[0].clone();
    status.lists = vec![list; 150];
    let change = StateChange {
        at: Timestamp::UNIX_EPOCH,
        class: "dns".into(),
        from: ClassState::Normal,
        to: ClassState::Attack,
        over_per_second: 0,
    };
    status.mitigation.changes = (0..30)
        .map(|second| StateChange {
            at: Timestamp::from_second(second).unwrap(),
            ..change.clone()
        })
        .collect();
    status.warnings = vec!["x".repeat(1000); 40];
    let page = snapshot::of(&status, None, Timestamp::UNIX_EPOCH);
    assert_eq!((page.lists.len(), page.lists_left_out), (100, 50));
    let seconds = page.mitigation.changes.iter().map(|one| one.at.as_second());
    assert_eq!(
        seconds.collect::<Vec<_>>(),
        (20..30).collect::<Vec<_>>(),
        "the last"
    );
    assert_eq!(page.warnings.len(), 20);
    assert_eq!(page.warnings[0].chars().count(), 300);
}

#[test]
fn warnings_name_no_address_unless_sources_are_shown() {
    let mut status = fresh();
    status.warnings =
        vec!["ignored: (203.0.113.0/24): over 5, 2001:db8::1: and \"192.0.2.1\".".into()];
    let page = snapshot::of(&status, None, Timestamp::UNIX_EPOCH);
    assert_eq!(
        page.warnings,
        ["ignored: ((address)): over 5, (address): and \"(address)\"."]
    );
    let sources = crate::api::types::PageSources {
        at: Timestamp::UNIX_EPOCH,
        known: 0,
        dropped: Vec::new(),
        packets: Vec::new(),
    };
    let page = snapshot::of(&status, Some(sources), Timestamp::UNIX_EPOCH);
    assert_eq!(page.warnings, status.warnings);
}

#[test]
fn a_packet_that_passed_for_a_reason_to_drop_was_only_observed() {
    let mut status = fresh();
    let count = |reason: &str, action: &str, packets| ReasonCount {
        reason: reason.into(),
        action: action.into(),
        packets,
        bytes: packets * 60,
    };
    let counts = vec![
        count("accepted", "passed", 1),
        count("land", "passed", 2),
        count("land", "dropped", 4),
        count("syn_cookie", "answered", 8),
    ];
    status.reasons = counts.clone();
    status.interfaces[0].reasons = counts;
    let page = snapshot::of(&status, None, Timestamp::UNIX_EPOCH);
    let actions: Vec<&str> = page.reasons.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["passed", "observed", "dropped", "answered"]);
    assert_eq!(
        page.reasons[2].about,
        Reason::Land.description().trim(),
        "as people read it"
    );
    let eth0 = &page.interfaces[0];
    assert_eq!((eth0.packets, eth0.bytes, eth0.refused), (15, 900, 12));
}
