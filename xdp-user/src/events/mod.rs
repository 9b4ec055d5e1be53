//! What happened: the last events, and who follows them.
//!
//! [`Journal::publish`] is the one way in. An event gets its number there, goes into the memory of
//! the last ones, to the log, to the events file, and to every follower. None of it waits: memory
//! forgets the oldest, a slow follower and a slow disk lose events, and what they lose is counted.
//!
//! Events of each [`Shelf`] are kept apart, so that a flood of bans or samples doesn't push out that
//! a class was attacked or that the configuration was changed.

mod file;
mod filter;
mod log;
pub mod mask;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::api::types::{Event, EventKind, EventsStatus, Happening, NamedCount, Sample};
use crate::config::Outlets;
use crate::domain::Prefix;
use file::EventsFile;
pub use filter::{Filter, reasons};

/// Events on the way to one follower; with more it loses the oldest.
const BACKLOG: usize = 2048;
/// Followers at a time, captures included.
pub const MAX_FOLLOWERS: usize = 32;
/// Events of the past that a query gets when it doesn't say how many.
pub const DEFAULT_PAST: u64 = 100;

/// Where the last events of a kind are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shelf {
    /// Rare and important: classes, lists, reloads, interfaces.
    Operations,
    /// As many as there are offenders.
    Bans,
    /// As many as the sampling rate allows, each with its frame: the largest.
    Samples,
}

impl Shelf {
    const ALL: [Self; 3] = [Self::Operations, Self::Bans, Self::Samples];

    const fn of(kind: EventKind) -> Self {
        match kind {
            EventKind::Ban | EventKind::Unban => Self::Bans,
            EventKind::Sample => Self::Samples,
            EventKind::Class
            | EventKind::List
            | EventKind::Reload
            | EventKind::Attach
            | EventKind::Detach => Self::Operations,
        }
    }

    /// How many are kept: about 2 MiB together.
    const fn room(self) -> usize {
        match self {
            Self::Operations => 1024,
            Self::Bans => 4096,
            Self::Samples => 1024,
        }
    }
}

/// The last events, and who follows them.
pub struct Journal {
    kept: Mutex<Kept>,
    live: broadcast::Sender<Arc<Event>>,
    followers: Arc<Semaphore>,
    lost_by_followers: AtomicU64,
    lost_by_control: AtomicU64,
    file: Option<EventsFile>,
}

#[derive(Default)]
struct Kept {
    published: u64,
    counts: [u64; EventKind::ALL.len()],
    shelves: [VecDeque<Arc<Event>>; Shelf::ALL.len()],
}

/// Too many follow already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_FOLLOWERS} clients follow events already: end one of them first")]
pub struct TooMany;

impl Default for Journal {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            live: broadcast::Sender::new(BACKLOG),
            followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            lost_by_followers: AtomicU64::new(0),
            lost_by_control: AtomicU64::new(0),
            file: None,
        }
    }
}

impl Journal {
    /// One that also writes a file, where the configuration names one.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn open(outlets: &Outlets) -> anyhow::Result<Self> {
        let file = outlets.file.as_ref();
        let file = file
            .map(|path| EventsFile::open(path, outlets))
            .transpose()?;
        Ok(Self {
            file,
            ..Self::default()
        })
    }

    /// Waits until the file has everything.
    pub fn close(&self) {
        if let Some(file) = &self.file {
            file.close();
        }
    }

    /// Counts samples that nobody had time to look at.
    pub fn lost_by_control(&self, samples: u64) {
        self.lost_by_control.fetch_add(samples, Ordering::Relaxed);
    }

    /// Takes note of what happened at a time.
    pub fn publish(&self, at: Timestamp, what: Happening) {
        let event = {
            let mut kept = self.kept();
            kept.published += 1;
            let event = Arc::new(Event {
                number: kept.published,
                at,
                what,
            });
            kept.keep(&event);
            // Under the lock, so that followers see events in the order of their numbers. Nobody
            // there to take it is no error.
            drop(self.live.send(event.clone()));
            if let Some(file) = &self.file
                && !is_for_captures_alone(&event)
            {
                file.write(&event);
            }
            event
        };
        log::tell(&event);
    }

    /// The last events that a filter lets through, the oldest first.
    pub fn past(&self, filter: &Filter, limit: u64) -> Vec<Arc<Event>> {
        self.kept().past(filter, limit)
    }

    /// The last samples of packets from a prefix, the latest first.
    pub fn samples_of(&self, source: &Prefix, limit: usize) -> Vec<(Timestamp, Sample)> {
        let kept = self.kept();
        let samples = kept.shelves[Shelf::Samples as usize].iter().rev();
        samples
            .filter_map(|event| {
                let Happening::Sample(sample) = &event.what else {
                    return None;
                };
                Some((event.at, sample))
            })
            .filter(|(_, sample)| sample.source.is_some_and(|from| source.contains(from)))
            .take(limit)
            .map(|(at, sample)| (at, Sample::clone(sample)))
            .collect()
    }

    /// The past as [`Journal::past`], and all that follows without a gap or a repetition.
    ///
    /// # Errors
    /// When [`MAX_FOLLOWERS`] are there already.
    pub fn follow(
        self: &Arc<Self>,
        filter: Filter,
        past: u64,
    ) -> Result<(Vec<Arc<Event>>, Follower), TooMany> {
        let place = self.followers.clone();
        let place = place.try_acquire_owned().map_err(|_full| TooMany)?;
        let kept = self.kept();
        let follower = Follower {
            events: self.live.subscribe(),
            filter,
            journal: self.clone(),
            _place: place,
        };
        Ok((kept.past(&follower.filter, past), follower))
    }

    /// How many there were of each kind, and how many got lost on the way out.
    pub fn status(&self) -> EventsStatus {
        let counts = self.kept().counts;
        let named = |(kind, count): (EventKind, u64)| NamedCount {
            name: kind.name().to_owned(),
            count,
        };
        EventsStatus {
            published: EventKind::ALL.into_iter().zip(counts).map(named).collect(),
            lost: [
                (FOLLOWER, self.lost_by_followers.load(Ordering::Relaxed)),
                (CONTROL, self.lost_by_control.load(Ordering::Relaxed)),
                (FILE, self.file.as_ref().map_or(0, EventsFile::lost)),
            ]
            .into_iter()
            .map(|(name, count)| NamedCount {
                name: name.to_owned(),
                count,
            })
            .collect(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing in here panics half way through a change.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where events can get lost on their way out: a follower that is too slow.
pub const FOLLOWER: &str = "follower";
/// The control task, which was too busy to look at samples.
pub const CONTROL: &str = "control";
/// The events file.
pub const FILE: &str = "file";
/// Every such place.
pub const LOSSES: [&str; 3] = [FOLLOWER, CONTROL, FILE];

impl Kept {
    fn keep(&mut self, event: &Arc<Event>) {
        let Some(kind) = event.what.kind() else {
            return;
        };
        self.counts[kind as usize] += 1;
        if is_for_captures_alone(event) {
            return;
        }
        let shelf = Shelf::of(kind);
        let events = &mut self.shelves[shelf as usize];
        if events.len() >= shelf.room() {
            events.pop_front();
        }
        events.push_back(event.clone());
    }

    /// Goes from the latest back, shelf by shelf, so that a small answer costs little.
    fn past(&self, filter: &Filter, limit: u64) -> Vec<Arc<Event>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut events: Vec<Arc<Event>> = self
            .shelves
            .iter()
            .flat_map(|shelf| {
                let matching = shelf.iter().rev().filter(|event| filter.matches(event));
                matching.take(limit).cloned()
            })
            .collect();
        events.sort_by_key(|event| event.number);
        let surplus = events.len().saturating_sub(limit);
        events.drain(..surplus);
        events
    }
}

/// Packets that pass are looked at for a capture that asks for them, and are nobody else's business.
pub(crate) fn is_for_captures_alone(event: &Event) -> bool {
    matches!(&event.what, Happening::Sample(sample) if sample.is_of_honest_traffic())
}

/// One who follows events.
pub struct Follower {
    events: broadcast::Receiver<Arc<Event>>,
    filter: Filter,
    journal: Arc<Journal>,
    _place: OwnedSemaphorePermit,
}

/// What a follower gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The next event that its filter lets through.
    Event(Arc<Event>),
    /// It was too slow, and so many events are lost to it.
    Lost(u64),
}

impl Follower {
    /// Waits for the next event; nothing when there will be none.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            match self.events.recv().await {
                Ok(event) if self.filter.matches(&event) => return Some(Followed::Event(event)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    self.journal
                        .lost_by_followers
                        .fetch_add(lost, Ordering::Relaxed);
                    return Some(Followed::Lost(lost));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
