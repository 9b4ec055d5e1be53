//! Answers that go on: one JSON object a line, for as long as somebody reads.
//!
//! Nothing waits for a slow reader: what it doesn't take in time is lost to it, it is told how much,
//! and it is counted ([`crate::events`]).

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{self, Operation};
use anyhow::{Context, bail};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use xdp_common::reason::{Class, Reason};

use super::refused::{Asked, Refused};
use super::types::{CaptureQuery, Event, EventKind, EventQuery, EventsLost, Happening};
use crate::control::{Capture, Handle};
use crate::domain::{SampleRate, Span};
use crate::events::{DEFAULT_PAST, Filter, Followed, Follower, reasons};

const CONTENT: &str = "application/x-ndjson";

/// An answer of events, a line each.
pub(super) struct Lines(Body);

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, CONTENT)], self.0).into_response()
    }
}

impl OperationOutput for Lines {
    type Inner = Event;

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        let mut responses = Json::<Event>::inferred_responses(context, operation);
        for (_, response) in &mut responses {
            let content = std::mem::take(&mut response.content);
            response.content = content
                .into_values()
                .map(|of| (CONTENT.to_owned(), of))
                .collect();
        }
        responses
    }
}

/// Lines that are sent at once.
const BATCH: usize = 64;

pub(super) async fn events(
    State(control): State<Handle>,
    Asked(query): Asked<EventQuery>,
) -> Result<Lines, Refused> {
    let filter = Filter::of(&query)?;
    let journal = control.journal();
    let past = query.limit.unwrap_or(DEFAULT_PAST);
    if !query.follow {
        return Ok(lines(journal.past(&filter, past), None));
    }
    let (past, follower) = journal.follow(filter, past).map_err(anyhow::Error::new)?;
    Ok(lines(past, Some(follower)))
}

/// Bounds of a capture.
struct Bounds {
    count: u64,
    duration: Duration,
    wanted: Capture,
    filter: Filter,
}

const MAX_COUNT: u64 = 1_000_000;
const DEFAULT_COUNT: u64 = 1_000;
const MAX_DURATION: Duration = Duration::from_secs(3600);
const DEFAULT_DURATION: Duration = Duration::from_secs(30);
const SIZES: RangeInclusive<u16> = 64..=256;
const DEFAULT_SIZE: u16 = 256;
const DEFAULT_RATE: u64 = 1_000;

impl Bounds {
    fn of(query: &CaptureQuery) -> anyhow::Result<Self> {
        let count = query.count.unwrap_or(DEFAULT_COUNT);
        if !(1..=MAX_COUNT).contains(&count) {
            bail!("a capture has 1 to {MAX_COUNT} packets, not {count}");
        }
        let duration = query.duration.map_or(DEFAULT_DURATION, Span::as_duration);
        if duration.is_zero() || duration > MAX_DURATION {
            bail!("a capture takes more than no time and at most an hour");
        }
        let bytes = query.size.unwrap_or(DEFAULT_SIZE);
        if !SIZES.contains(&bytes) {
            bail!("a capture takes 64 to 256 bytes of each packet, not {bytes}");
        }
        let asked = reasons(query.reasons.as_deref())?;
        if query.passed && !asked.is_empty() {
            bail!("reasons and passed exclude each other: passed stands for the reasons that pass");
        }
        let honest = |reason: &Reason| reason.class() == Class::Pass;
        let wanted = Reason::ALL.iter().filter(|reason| match asked.is_empty() {
            true => honest(reason) == query.passed,
            false => asked.contains(reason.name()),
        });
        let wanted: Vec<Reason> = wanted.copied().collect();
        let rate = match query.rate {
            Some(rate) => rate,
            None => SampleRate::new(DEFAULT_RATE)?,
        };
        Ok(Self {
            count,
            duration,
            wanted: Capture {
                reasons: wanted.iter().fold(0, |mask, reason| mask | reason.bit()),
                rate,
                bytes,
            },
            filter: Filter {
                kinds: BTreeSet::from([EventKind::Sample]),
                reasons: wanted.iter().map(|reason| reason.name()).collect(),
                source: query.source,
                honest: true,
            },
        })
    }
}

pub(super) async fn capture(
    State(control): State<Handle>,
    Asked(query): Asked<CaptureQuery>,
) -> Result<Lines, Refused> {
    let bounds = Bounds::of(&query)?;
    let wanted = bounds.wanted;
    // Dropped with the answer, however that ends: the program shows as few packets as before then.
    let token = control.call(move |c| c.start_capture(wanted)).await?;
    let follower = control.journal().follow(bounds.filter, 0);
    let (_nothing, follower) = follower.map_err(anyhow::Error::new)?;
    // What is on its way yet was shown to fewer bytes, perhaps, or for other reasons.
    let begun = Timestamp::now();
    let end = Instant::now() + bounds.duration;
    let first = (follower, token, bounds.count);
    let body = stream::unfold(first, move |(mut follower, token, left)| async move {
        if left == 0 {
            return None;
        }
        let next = loop {
            let next = timeout_at(end, follower.next()).await.ok()??;
            let is_early = matches!(&next, Followed::Event(event) if event.at < begun);
            if !is_early {
                break next;
            }
        };
        let left = match &next {
            Followed::Event(_) => left - 1,
            Followed::Lost(_) => left,
        };
        Some((
            Ok::<_, Infallible>(Bytes::from(followed(&next))),
            (follower, token, left),
        ))
    });
    Ok(Lines(Body::from_stream(body)))
}

/// The past, and then what a follower gets.
fn lines(past: Vec<Arc<Event>>, follower: Option<Follower>) -> Lines {
    let first = (VecDeque::from(past), follower);
    let body = stream::unfold(first, |(mut past, mut follower)| async move {
        let text = if past.is_empty() {
            followed(&follower.as_mut()?.next().await?)
        } else {
            let batch = past.drain(..past.len().min(BATCH));
            batch.map(|event| line(&*event)).collect()
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), (past, follower)))
    });
    Lines(Body::from_stream(body))
}

fn followed(next: &Followed) -> String {
    match next {
        Followed::Event(event) => line(&**event),
        Followed::Lost(events) => line(&lost(*events)),
    }
}

/// What tells a follower of its losses: no event of the daemon's, so it has no number.
fn lost(events: u64) -> Event {
    Event {
        number: 0,
        at: Timestamp::now(),
        what: Happening::Lost(EventsLost { events }),
    }
}

/// One line of JSON.
fn line(value: &impl Serialize) -> String {
    match serde_json::to_string(value).context("could not write an event as JSON") {
        Ok(text) => text + "\n",
        Err(error) => {
            tracing::error!("{error:#}");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(query: CaptureQuery) -> Bounds {
        Bounds::of(&query).unwrap()
    }

    #[test]
    fn a_capture_is_of_drops_or_of_passes_or_of_what_was_named() {
        let has = |bounds: &Bounds, reason: Reason| {
            let asked = bounds.wanted.reasons & reason.bit() != 0;
            assert_eq!(asked, bounds.filter.reasons.contains(reason.name()));
            asked
        };
        let drops = bounds(CaptureQuery::default());
        assert!(has(&drops, Reason::Blocklisted) && has(&drops, Reason::SynCookie));
        assert!(!has(&drops, Reason::Accepted) && !has(&drops, Reason::Allowlisted));
        let passes = bounds(CaptureQuery {
            passed: true,
            ..CaptureQuery::default()
        });
        assert!(has(&passes, Reason::Accepted) && !has(&passes, Reason::Blocklisted));
        let named = bounds(CaptureQuery {
            reasons: Some("accepted,land".into()),
            ..CaptureQuery::default()
        });
        assert!(has(&named, Reason::Accepted) && has(&named, Reason::Land));
        assert!(!has(&named, Reason::Blocklisted));
    }

    #[test]
    fn a_capture_without_bounds_has_some_and_none_is_larger() {
        let usual = bounds(CaptureQuery::default());
        assert_eq!((usual.count, usual.wanted.bytes), (1000, 256));
        assert_eq!(usual.duration, Duration::from_secs(30));
        let refused = |change: fn(&mut CaptureQuery)| {
            let mut query = CaptureQuery::default();
            change(&mut query);
            Bounds::of(&query).err().unwrap().to_string()
        };
        for (change, place) in [
            ((|q| q.count = Some(0)) as fn(&mut CaptureQuery), "1000000"),
            (|q| q.count = Some(1_000_001), "1000000"),
            (|q| q.duration = "61m".parse().ok(), "an hour"),
            (|q| q.duration = "0s".parse().ok(), "no time"),
            (|q| q.size = Some(257), "257"),
            (|q| q.reasons = Some("nonsense".into()), "nonsense"),
            (
                |q| (q.passed, q.reasons) = (true, Some("land".into())),
                "exclude",
            ),
        ] {
            let text = refused(change);
            assert!(text.contains(place), "{text}");
        }
    }
}
