//! Everybody who comes in a rush, on one thread, and what became of what they asked.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout, timeout_at};

use super::{Rush, Size};
use crate::mitigation::attack_cpu;
use crate::mitigation::services::{question, resolve};
use crate::mitigation::stream::Stream;
use crate::mitigation::topology::{
    DNS_PORT, Family, GAME_PORT, HTTP_PORT, Topology, UDP_PORT, newcomer, on_host,
};
use crate::netns::offload::pin_current_thread;
use crate::netns::serving::Serving;
use crate::traffic::exchange;

/// Open files besides those of a rush.
const OTHER_FILES: u64 = 512;
/// A question is asked again after the first, from the same port, and given up after the second:
/// by every other client as glibc does, by the others as browsers do.
const DNS_PATIENCE: [[Duration; 2]; 2] = [
    [Duration::from_secs(5), Duration::from_secs(2)],
    [Duration::from_secs(1), Duration::from_secs(2)],
];
/// A page that takes longer has failed.
const PAGE_PATIENCE: Duration = Duration::from_secs(5);
/// A page that takes longer needed a second SYN.
const FIRST_SYN: Duration = Duration::from_secs(1);

/// What was asked within a second of the rush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Second {
    pub(super) exchanges: u64,
    pub(super) succeeded: u64,
    /// Of those, without a retry.
    pub(super) at_once: u64,
}

/// Everything so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) seconds: Vec<Second>,
    pub(super) clients: u64,
    pub(super) failed_clients: u64,
    /// Clients that have not come to their end.
    under_way: u64,
    /// Whether all have come.
    complete: bool,
}

impl Tally {
    pub(super) fn is_settled(&self) -> bool {
        self.complete && self.under_way == 0
    }

    fn note(&mut self, since: Duration, success: Option<Success>) {
        let second = usize::try_from(since.as_secs()).unwrap_or(usize::MAX);
        if let Some(second) = self.seconds.get_mut(second) {
            second.exchanges += 1;
            second.succeeded += u64::from(success.is_some());
            second.at_once += u64::from(success == Some(Success::AtOnce));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Success {
    AtOnce,
    Later,
}

/// A rush that goes on until it is over or this is dropped.
pub(super) struct Crowd {
    tally: Arc<Mutex<Tally>>,
    _serving: Serving,
}

impl Crowd {
    pub(super) fn start(topology: &Topology, rush: Rush, size: Size) -> Result<Self> {
        allow_open_files(OTHER_FILES + sockets(rush, size))?;
        let seconds = usize::try_from(size.duration.as_secs())? + 1;
        let tally = Arc::new(Mutex::new(Tally {
            seconds: vec![Second::default(); seconds],
            ..Tally::default()
        }));
        let start = Instant::now();
        let crowd = Shared {
            tally: Arc::clone(&tally),
            start,
            end: start + size.duration,
        };
        let serving = Serving::start(&topology.clients, "rush", async move {
            // The host is on another one.
            pin_current_thread(attack_cpu())?;
            match rush {
                Rush::DnsClients => crowd.resolvers(size.of(3000)).await,
                Rush::Players => crowd.players(size.of(200)).await,
                Rush::UdpSessions => crowd.sessions(size.of(20)).await,
                Rush::TcpConnections => crowd.connections(size.of(2000)).await,
            }
            lock(&crowd.tally).complete = true;
            std::future::pending().await
        })?;
        Ok(Self {
            tally,
            _serving: serving,
        })
    }

    pub(super) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many sockets are open when nobody is answered.
fn sockets(rush: Rush, size: Size) -> u64 {
    match rush {
        // Five seconds on the average.
        Rush::DnsClients => 5 * size.of(3000),
        Rush::Players => size.of(200),
        Rush::UdpSessions => 3 * size.of(20),
        // Five seconds, and what the server has accepted.
        Rush::TcpConnections => 6 * size.of(2000),
    }
}

fn allow_open_files(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading the limit of files")?;
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).with_context(|| {
            format!("cannot allow the {needed} open files of this rush: the limit is {hard}")
        })?;
    }
    Ok(())
}

/// Both families in turn, and an address of its own for each client.
fn place(client: u64) -> (Family, IpAddr) {
    let family = match client % 2 {
        0 => Family::V4,
        _ => Family::V6,
    };
    (family, newcomer(family, client))
}

async fn socket(client: u64, port: u16) -> io::Result<UdpSocket> {
    let (family, from) = place(client);
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.connect(on_host(family, port)).await?;
    Ok(socket)
}

#[derive(Clone)]
struct Shared {
    tally: Arc<Mutex<Tally>>,
    start: Instant,
    end: Instant,
}

impl Shared {
    /// Starts what a client does; it says at the end whether it has failed.
    fn come(&self, client: impl Future<Output = bool> + Send + 'static) {
        {
            let mut tally = lock(&self.tally);
            tally.clients += 1;
            tally.under_way += 1;
        }
        let tally = Arc::clone(&self.tally);
        tokio::spawn(async move {
            let failed = client.await;
            let mut tally = lock(&tally);
            tally.failed_clients += u64::from(failed);
            tally.under_way -= 1;
        });
    }

    fn note(&self, at: Instant, success: Option<Success>) {
        lock(&self.tally).note(at - self.start, success);
    }

    /// Clients who ask a question a second from then on, each from a port of its own.
    async fn resolvers(&self, clients: u64) {
        for client in 0..clients {
            let crowd = self.clone();
            let offset = Duration::from_secs(1).mul_f64(client as f64 / clients as f64);
            self.come(async move {
                let mut ticks = interval_at(crowd.start + offset, Duration::from_secs(1));
                let mut questions = tokio::task::JoinSet::new();
                while ticks.tick().await < crowd.end {
                    let (crowd, number) = (crowd.clone(), client + questions.len() as u64);
                    questions.spawn(async move {
                        let at = Instant::now();
                        let success = ask(client, number).await.ok().flatten();
                        crowd.note(at, success);
                        success.is_none()
                    });
                }
                let failed = questions.join_all().await;
                failed.contains(&true)
            });
        }
    }

    /// Players who join one after another within ten seconds and stay.
    async fn players(&self, players: u64) {
        let joining = Duration::from_secs(10).min((self.end - self.start) / 3);
        for client in 0..players {
            let crowd = self.clone();
            let at = self.start + joining.mul_f64(client as f64 / players as f64);
            self.come(async move {
                sleep_until(at).await;
                let stays = crowd.end - at;
                crowd.stream(client, GAME_PORT, 60, stays).await
            });
        }
    }

    /// So many new sessions each second, of two seconds.
    async fn sessions(&self, rate: u64) {
        let mut ticks = self.each(rate);
        for client in 0.. {
            if ticks.tick().await >= self.end {
                return;
            }
            let crowd = self.clone();
            let length = Duration::from_secs(2);
            self.come(async move { crowd.stream(client, UDP_PORT, 50, length).await });
        }
    }

    /// So many pages each second, each from another address.
    async fn connections(&self, rate: u64) {
        let mut ticks = self.each(rate);
        for client in 0.. {
            let at = ticks.tick().await;
            if at >= self.end {
                return;
            }
            let crowd = self.clone();
            self.come(async move {
                let (family, from) = place(client);
                let page = exchange::page(on_host(family, HTTP_PORT), Some(from));
                let fetched = timeout(PAGE_PATIENCE, page).await;
                let success = fetched.is_ok_and(|page| page.is_ok());
                let success = success.then(|| match at.elapsed() < FIRST_SYN {
                    true => Success::AtOnce,
                    false => Success::Later,
                });
                crowd.note(at, success);
                success.is_none()
            });
        }
    }

    fn each(&self, rate: u64) -> tokio::time::Interval {
        let period = Duration::from_secs(1).div_f64(rate.max(1) as f64);
        let mut ticks = interval_at(self.start, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        ticks
    }

    /// A stream of so many datagrams a second, each an exchange. Says whether it has failed.
    async fn stream(&self, client: u64, port: u16, rate: u32, length: Duration) -> bool {
        let Ok(socket) = socket(client, port).await else {
            return true;
        };
        let stream = Stream::run(&socket, Duration::from_secs(1) / rate, length).await;
        for datagram in &stream.sent {
            self.note(datagram.at, datagram.answered.then_some(Success::AtOnce));
        }
        stream.fate().1.is_none()
    }
}

async fn ask(client: u64, number: u64) -> io::Result<Option<Success>> {
    let socket = socket(client, DNS_PORT).await?;
    let asked = question(number);
    let wanted = resolve(&asked);
    let mut until = Instant::now();
    let [seldom, often] = DNS_PATIENCE;
    let patience = if client % 4 < 2 { seldom } else { often };
    for (time, patience) in (0..).zip(patience) {
        // An error is that of an answer to an earlier datagram (ICMP).
        drop(socket.send(&asked).await);
        until += patience;
        if timeout_at(until, answer(&socket, &wanted)).await.is_ok() {
            return Ok(Some(match time {
                0 => Success::AtOnce,
                _ => Success::Later,
            }));
        }
    }
    Ok(None)
}

async fn answer(socket: &UdpSocket, wanted: &[u8]) {
    let mut buffer = [0; 512];
    loop {
        if let Ok(length) = socket.recv(&mut buffer).await
            && buffer.get(..length) == Some(wanted)
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_count_in_the_second_they_were_made_in() {
        let mut tally = Tally {
            seconds: vec![Second::default(); 2],
            ..Tally::default()
        };
        tally.note(Duration::from_millis(999), Some(Success::AtOnce));
        tally.note(Duration::from_millis(1000), None);
        tally.note(Duration::from_millis(1500), Some(Success::Later));
        tally.note(Duration::from_millis(2000), Some(Success::Later));
        let second = |exchanges, succeeded, at_once| Second {
            exchanges,
            succeeded,
            at_once,
        };
        assert_eq!(tally.seconds, [second(1, 1, 1), second(2, 1, 0)]);
    }
}
