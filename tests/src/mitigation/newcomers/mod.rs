//! New UDP clients that come during an attack, each from an address that nobody has seen before,
//! with the retry times of real ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

mod client;
mod profile;

pub use profile::Profile;

use super::HOST_CPU;
use super::topology::Topology;
use crate::netns::offload::pin_current_thread;
use crate::netns::serving::Serving;
use crate::traffic::latency::Latencies;

/// However short an attack is, who comes in its first moments counts.
const LEAST: Duration = Duration::from_secs(1);

/// What became of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    UnderWay,
    /// So long after its first datagram.
    Answered(Duration),
    GaveUp,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    profile: Profile,
    came: Instant,
    /// Datagrams until the answer, or all of them.
    datagrams: u64,
    fate: Fate,
}

type Records = Mutex<Vec<Record>>;

/// What became of the clients of a profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Newcomers {
    /// How they ask.
    pub profile: Profile,
    /// How many came.
    pub clients: usize,
    /// Those that had no answer to any of their own retries.
    pub failed: usize,
    /// Those whose first datagram was answered.
    pub at_once: usize,
    /// Datagrams that all of them sent until they were answered, or gave up.
    pub datagrams: u64,
    /// Seconds to the answer, of those that had one: the median.
    pub median_s: Option<f64>,
    /// The longest.
    pub max_s: Option<f64>,
}

impl Newcomers {
    fn new(profile: Profile, records: &[Record]) -> Self {
        let answered = |record: &Record| match record.fate {
            Fate::Answered(took) => Some(took),
            Fate::UnderWay | Fate::GaveUp => None,
        };
        let times: Latencies = records.iter().filter_map(answered).collect();
        let at_once = |record: &&Record| answered(record).is_some() && record.datagrams <= 1;
        let seconds = |percent| times.percentile(percent).map(|time| time.as_secs_f64());
        Self {
            profile,
            clients: records.len(),
            failed: records.len() - times.count(),
            at_once: records.iter().filter(at_once).count(),
            datagrams: records.iter().map(|record| record.datagrams).sum(),
            median_s: seconds(50),
            max_s: seconds(100),
        }
    }
}

/// Clients that come as long as this lives, all on one thread.
pub(super) struct Coming {
    records: Arc<Records>,
    _serving: Serving,
}

impl Coming {
    /// Lets them come from now on.
    pub(super) fn start(topology: &Topology) -> Result<Self> {
        let records = Arc::new(Records::default());
        let kept = Arc::clone(&records);
        let serving = Serving::start(&topology.clients, "newcomers", async move {
            pin_current_thread(HOST_CPU)?;
            for profile in Profile::ALL {
                tokio::spawn(come(profile, Arc::clone(&kept)));
            }
            std::future::pending().await
        })?;
        Ok(Self {
            records,
            _serving: serving,
        })
    }

    /// Those that came early enough to be under attack in their first retry, too.
    fn of(&self, profile: Profile, from: Instant, to: Instant) -> Vec<Record> {
        let last = to.checked_sub(profile.decisive()).unwrap_or(from);
        let span = from..last.max(from + LEAST);
        let records = lock(&self.records);
        let records = records.iter();
        let of = records.filter(|record| record.profile == profile && span.contains(&record.came));
        of.copied().collect()
    }

    /// Clients of an attack that still wait or will ask again.
    pub(super) fn under_way(&self, from: Instant, to: Instant) -> usize {
        let all = Profile::ALL.map(|profile| {
            let records = self.of(profile, from, to).into_iter();
            records
                .filter(|record| record.fate == Fate::UnderWay)
                .count()
        });
        all.iter().sum()
    }

    /// What became of the clients of an attack.
    pub(super) fn fates(&self, from: Instant, to: Instant) -> Vec<Newcomers> {
        let fates =
            Profile::ALL.map(|profile| Newcomers::new(profile, &self.of(profile, from, to)));
        fates.into()
    }
}

fn lock(records: &Records) -> MutexGuard<'_, Vec<Record>> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One client after another, whatever became of those before.
async fn come(profile: Profile, records: Arc<Records>) {
    let mut ticks = interval(Duration::from_secs(1) / profile.rate());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0.. {
        ticks.tick().await;
        let place = {
            let mut records = lock(&records);
            records.push(Record {
                profile,
                came: Instant::now(),
                datagrams: 0,
                fate: Fate::UnderWay,
            });
            records.len() - 1
        };
        let records = Arc::clone(&records);
        tokio::spawn(async move {
            let (datagrams, fate) = client::of(profile, number).await;
            if let Some(record) = lock(&records).get_mut(place) {
                (record.datagrams, record.fate) = (datagrams, fate);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(datagrams: u64, fate: Fate) -> Record {
        Record {
            profile: Profile::Dns,
            came: Instant::now(),
            datagrams,
            fate,
        }
    }

    #[test]
    fn who_gave_up_has_failed_and_a_retry_is_not_at_once() {
        let after = |ms| Fate::Answered(Duration::from_millis(ms));
        let records = [
            record(1, after(2)),
            record(2, after(5_002)),
            record(1, after(4)),
            record(3, Fate::GaveUp),
        ];
        let newcomers = Newcomers::new(Profile::Dns, &records);
        let expected = Newcomers {
            profile: Profile::Dns,
            clients: 4,
            failed: 1,
            at_once: 2,
            datagrams: 7,
            median_s: Some(0.004),
            max_s: Some(5.002),
        };
        assert_eq!(newcomers, expected);
    }
}
