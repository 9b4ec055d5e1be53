//! An honest client: an exchange every so often, whether the one before has come to its end or not.
//!
//! The schedule is open: a request is sent when its time has come, and its latency counts from
//! that time, or from its start where the timer was late by its own tick only. A client that waited for each answer would send little during a stall and so hide
//! it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use super::latency::Latencies;
use crate::netns::Namespace;
use crate::netns::offload::pin_current_thread;

/// A timer of tokio comes up to a millisecond late, and epoll(7) rounds another one up.
const TIMER_LATENESS: Duration = Duration::from_millis(2);

/// How often, and for how long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Requests per second.
    pub rate: u32,
    /// An exchange that takes longer has failed.
    pub timeout: Duration,
    /// Bind the client's thread to this CPU.
    pub cpu: Option<usize>,
}

/// One exchange.
#[derive(Clone, Copy, Debug)]
struct Entry {
    scheduled: Instant,
    /// To the last byte; `None` when it failed.
    latency: Option<Duration>,
}

/// What a span of time looked like for the client.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Length of the span.
    pub span: Duration,
    /// Requests whose time fell into the span.
    pub scheduled: usize,
    /// Those that were answered in time.
    pub succeeded: usize,
    /// Latencies of those that succeeded.
    pub latencies: Latencies,
}

impl Summary {
    /// Answers per second.
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
    entries: Arc<Mutex<Vec<Entry>>>,
    timeout: Duration,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Client {
    /// Starts in `namespace`; `exchange` is told the number of each request from 0.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start<F>(
        namespace: &Namespace,
        schedule: Schedule,
        exchange: impl Fn(u64) -> F + Send + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let entries = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&entries);
        let (stop, stopped) = oneshot::channel();
        let thread = namespace.spawn("client", move || {
            if let Some(cpu) = schedule.cpu {
                pin_current_thread(cpu)?;
            }
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(run(schedule, exchange, &kept, stopped));
            Ok(())
        })?;
        Ok(Self {
            entries,
            timeout: schedule.timeout,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What the requests that were scheduled from `from` to before `to` came to. Requests that
    /// are still under way count as failed: ask a timeout after `to`.
    #[must_use]
    pub fn summary(&self, from: Instant, to: Instant) -> Summary {
        let entries = lock(&self.entries);
        let span = || {
            entries
                .iter()
                .filter(|entry| (from..to).contains(&entry.scheduled))
        };
        let latencies: Latencies = span().filter_map(|entry| entry.latency).collect();
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

fn lock(entries: &Mutex<Vec<Entry>>) -> MutexGuard<'_, Vec<Entry>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run<F>(
    schedule: Schedule,
    exchange: impl Fn(u64) -> F,
    entries: &Arc<Mutex<Vec<Entry>>>,
    mut stopped: oneshot::Receiver<()>,
) where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut ticks = interval(Duration::from_secs(1) / schedule.rate.max(1));
    // Late ticks come at once, each with the time it should have come at.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            tick = ticks.tick() => {
                let scheduled = tick.into_std();
                let index = {
                    let mut entries = lock(entries);
                    entries.push(Entry { scheduled, latency: None });
                    entries.len() - 1
                };
                let entries = Arc::clone(entries);
                let exchange = exchange(index as u64);
                tokio::spawn(async move {
                    let deadline = tick + schedule.timeout;
                    let now = Instant::now();
                    let from = if now - scheduled < TIMER_LATENESS { now } else { scheduled };
                    if let Ok(Ok(())) = timeout_at(deadline, exchange).await {
                        // A starved thread may see the answer and the deadline at once, and late.
                        let latency = Some(from.elapsed());
                        if let Some(entry) = lock(&entries).get_mut(index) {
                            entry.latency = latency.filter(|took| *took <= schedule.timeout);
                        }
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require_kernel;
    use crate::traffic::exchange::{self, Connection};
    use crate::traffic::server::{Server, Service};
    use crate::wait::wait_until;
    use std::net::SocketAddr;
    use std::pin::Pin;

    type BoxedExchange = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn schedule() -> Schedule {
        Schedule {
            rate: 100,
            timeout: Duration::from_millis(500),
            cpu: None,
        }
    }

    fn pages(server: SocketAddr) -> impl Fn(u64) -> BoxedExchange {
        move |_| Box::pin(exchange::page(server, None))
    }

    fn serve(namespace: &Namespace, service: Service) -> Server {
        let any = "127.0.0.1:0".parse().unwrap();
        Server::start(namespace, any, None, service).unwrap()
    }

    #[test]
    fn every_page_comes_from_a_server_at_peace() {
        require_kernel!("every_page_comes_from_a_server_at_peace");
        let namespace = Namespace::new("web").unwrap();
        let server = serve(&namespace, Service::Page);
        let started = Instant::now();
        let client = Client::start(&namespace, schedule(), pages(server.address())).unwrap();
        wait_until("50 requests", Duration::from_secs(10), || {
            lock(&client.entries).len() >= 50
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

    fn answered(client: &Client, least: usize) {
        wait_until("exchanges", Duration::from_secs(10), || {
            lock(&client.entries)
                .iter()
                .filter(|entry| entry.latency.is_some())
                .count()
                >= least
        })
        .unwrap();
    }

    #[test]
    fn datagrams_and_records_come_back() {
        require_kernel!("datagrams_and_records_come_back");
        let namespace = Namespace::new("others").unwrap();
        let echo = serve(&namespace, Service::Datagrams(<[u8]>::to_vec));
        let (to, from) = (echo.address(), "127.7.7.7".parse().ok());
        let client = Client::start(&namespace, schedule(), move |number| {
            let question = number.to_be_bytes().to_vec();
            exchange::datagram(to, from, question.clone(), question)
        });
        answered(&client.unwrap(), 10);
        let records = serve(&namespace, Service::Records);
        let connection = Arc::new(Connection::new(records.address()));
        let client = Client::start(&namespace, schedule(), move |_| {
            let connection = Arc::clone(&connection);
            async move { connection.exchange().await }
        });
        answered(&client.unwrap(), 10);
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
        let address = listener.local_addr().unwrap();
        let client = Client::start(&namespace, schedule(), pages(address)).unwrap();
        wait_until("requests go on", Duration::from_secs(10), || {
            lock(&client.entries).len() >= 60
        })
        .unwrap();
        let summary = client.summary(started, Instant::now());
        assert_eq!(summary.succeeded, 0);
        assert!(summary.success_percent() < f64::EPSILON);
    }
}
