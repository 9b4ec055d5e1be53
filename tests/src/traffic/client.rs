//! An honest client: a page every so often, each over a new TCP connection, whether the one
//! before has come or not.
//!
//! The schedule is open: a request is sent when its time has come, and its latency counts from
//! that time. A client that waited for each answer would send little during a stall and so hide
//! it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use super::latency::Latencies;
use super::server::PAGE_LENGTH;
use crate::netns::Namespace;
use crate::netns::offload::pin_current_thread;

/// What to fetch, how often and for how long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The server.
    pub server: SocketAddr,
    /// Requests per second.
    pub rate: u32,
    /// A page that takes longer has failed.
    pub timeout: Duration,
    /// Bind the client's thread to this CPU.
    pub cpu: Option<usize>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
struct Fetch {
    scheduled: Instant,
    /// From the scheduled time to the last byte; `None` when it failed.
    latency: Option<Duration>,
}

/// What a span of time looked like for the client.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Length of the span.
    pub span: Duration,
    /// Requests whose time fell into the span.
    pub scheduled: usize,
    /// Those that got their page in time.
    pub succeeded: usize,
    /// Latencies of those that succeeded; to a resolution of about a millisecond.
    pub latencies: Latencies,
}

impl Summary {
    /// Pages per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.succeeded as f64 / self.span.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Share of the requests that succeeded, in percent; 0 without requests.
    #[must_use]
    pub fn success_percent(&self) -> f64 {
        100.0 * self.succeeded as f64 / self.scheduled.max(1) as f64
    }
}

/// A running client. Dropped, it stops.
#[derive(Debug)]
pub struct Client {
    fetches: Arc<Mutex<Vec<Fetch>>>,
    timeout: Duration,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Client {
    /// Starts to fetch in `namespace`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(namespace: &Namespace, schedule: Schedule) -> Result<Self> {
        let fetches = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&fetches);
        let (stop, stopped) = oneshot::channel();
        let thread = namespace.spawn("client", move || {
            if let Some(cpu) = schedule.cpu {
                pin_current_thread(cpu)?;
            }
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(run(schedule, &kept, stopped));
            Ok(())
        })?;
        Ok(Self {
            fetches,
            timeout: schedule.timeout,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What the requests that were scheduled from `from` to before `to` came to. Requests that
    /// are still under way count as failed: ask a timeout after `to`.
    #[must_use]
    pub fn summary(&self, from: Instant, to: Instant) -> Summary {
        let fetches = lock(&self.fetches);
        let span = || {
            fetches
                .iter()
                .filter(|fetch| (from..to).contains(&fetch.scheduled))
        };
        let latencies: Latencies = span().filter_map(|fetch| fetch.latency).collect();
        Summary {
            span: to - from,
            scheduled: span().count(),
            succeeded: latencies.count(),
            latencies,
        }
    }

    /// When the fate of all requests scheduled before `instant` is known.
    #[must_use]
    pub fn settled(&self, instant: Instant) -> Instant {
        instant + self.timeout + Duration::from_millis(50)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Nobody is left to tell: the owner is gone, often in a panic already.
            drop(thread.join());
        }
    }
}

fn lock(fetches: &Mutex<Vec<Fetch>>) -> MutexGuard<'_, Vec<Fetch>> {
    fetches.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(
    schedule: Schedule,
    fetches: &Arc<Mutex<Vec<Fetch>>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut ticks = interval(Duration::from_secs(1) / schedule.rate.max(1));
    // Late ticks come at once, each with the time it should have come at.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            tick = ticks.tick() => {
                let scheduled = tick.into_std();
                let index = {
                    let mut fetches = lock(fetches);
                    fetches.push(Fetch { scheduled, latency: None });
                    fetches.len() - 1
                };
                let fetches = Arc::clone(fetches);
                tokio::spawn(async move {
                    let deadline = tick + schedule.timeout;
                    if let Ok(Ok(())) = timeout_at(deadline, fetch(schedule.server)).await {
                        // A starved thread may see the page and the deadline at once, and late.
                        let latency = Some(scheduled.elapsed());
                        if let Some(entry) = lock(&fetches).get_mut(index) {
                            entry.latency = latency.filter(|took| *took <= schedule.timeout);
                        }
                    }
                });
            }
        }
    }
}

async fn fetch(server: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: protected\r\nConnection: close\r\n\r\n")
        .await?;
    let mut reply = Vec::with_capacity(2 * PAGE_LENGTH);
    stream.read_to_end(&mut reply).await?;
    let body = reply
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("no end of the header")?
        + 4;
    let whole = reply.starts_with(b"HTTP/1.1 200 ") && reply.len() - body == PAGE_LENGTH;
    whole.then_some(()).context("not the whole page")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require_kernel;
    use crate::wait::wait_until;

    fn schedule(server: SocketAddr) -> Schedule {
        Schedule {
            server,
            rate: 100,
            timeout: Duration::from_millis(500),
            cpu: None,
        }
    }

    #[test]
    fn every_page_comes_from_a_server_at_peace() {
        require_kernel!("every_page_comes_from_a_server_at_peace");
        let namespace = Namespace::new("web").unwrap();
        let server = Server::start(&namespace, "127.0.0.1:0".parse().unwrap(), None).unwrap();
        let started = Instant::now();
        let client = Client::start(&namespace, schedule(server.address())).unwrap();
        wait_until("50 requests", Duration::from_secs(10), || {
            lock(&client.fetches).len() >= 50
        })
        .unwrap();
        let until = Instant::now();
        wait_until("their end", Duration::from_secs(5), || {
            Instant::now() > client.settled(until)
        })
        .unwrap();
        let summary = client.summary(started, until);
        assert_eq!(summary.succeeded, summary.scheduled);
        assert!(summary.scheduled >= 49, "{summary:?}");
        assert!(summary.latencies.percentile(50).unwrap() < Duration::from_millis(500));
    }

    #[test]
    fn a_server_that_says_nothing_costs_every_request_and_slows_down_none() {
        require_kernel!("a_server_that_says_nothing_costs_every_request_and_slows_down_none");
        let namespace = Namespace::new("mute").unwrap();
        let listener = namespace
            .run(|| std::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap()
            .unwrap();
        let started = Instant::now();
        let client = Client::start(&namespace, schedule(listener.local_addr().unwrap())).unwrap();
        wait_until("requests go on", Duration::from_secs(10), || {
            lock(&client.fetches).len() >= 60
        })
        .unwrap();
        let summary = client.summary(started, Instant::now());
        assert_eq!(summary.succeeded, 0);
        assert!(summary.success_percent() < f64::EPSILON);
    }

    use super::super::server::Server;
}
