//! Who uses the host honestly, all the time, and what became of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::HOST_CPU;
use super::services::{question, resolve};
use super::topology::{
    DNS_PORT, Family, HTTP_PORT, TLS_PORT, Topology, UDP_PORT, newcomer, old_client, on_clients,
    on_host,
};
use crate::traffic::client::{Client, Schedule, Summary};
use crate::traffic::exchange::{self, Connection};
use crate::traffic::latency::Latencies;

/// An exchange that takes longer has failed.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// One that takes longer was slow: a SYN or a datagram was lost and sent again after a second.
const SLOW: Duration = Duration::from_secs(1);
/// Addresses that the old clients of a service share.
const OLD_CLIENTS: u64 = 8;

/// A group of exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Pages over new connections, from addresses that have been there before.
    Http4,
    /// See [`Group::Http4`].
    Http6,
    /// Datagrams to the UDP service, from addresses that have been there before.
    Udp4,
    /// See [`Group::Udp4`].
    Udp6,
    /// The host, or a container behind it, asks its resolver.
    Dns,
    /// It talks over a connection of its own that lasts.
    Outgoing,
    /// Two pages each, from an address that nobody has seen before.
    NewTcp4,
    /// See [`Group::NewTcp4`].
    NewTcp6,
}

impl Group {
    /// Those that are there before the attack.
    pub const OLD: [Self; 6] = [
        Self::Http4,
        Self::Http6,
        Self::Udp4,
        Self::Udp6,
        Self::Dns,
        Self::Outgoing,
    ];
    /// Those that come during the attack over TCP.
    pub const NEW_TCP: [Self; 2] = [Self::NewTcp4, Self::NewTcp6];

    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http4 => "old, HTTP",
            Self::Http6 => "old, HTTP over IPv6",
            Self::Udp4 => "old, UDP service",
            Self::Udp6 => "old, UDP service over IPv6",
            Self::Dns => "host's resolver",
            Self::Outgoing => "host's outgoing TCP",
            Self::NewTcp4 => "newcomers, HTTP",
            Self::NewTcp6 => "newcomers, HTTP over IPv6",
        }
    }

    /// Exchanges per second. Primes: groups in step would wait for each other.
    const fn rate(self) -> u32 {
        match self {
            Self::Http4 => 83,
            Self::Udp4 => 79,
            Self::Dns => 47,
            Self::Outgoing => 43,
            Self::Http6 => 41,
            Self::Udp6 => 37,
            Self::NewTcp4 => 23,
            Self::NewTcp6 => 13,
        }
    }

    fn start(self, topology: &Topology) -> Result<Client> {
        let schedule = Schedule {
            rate: self.rate(),
            timeout: TIMEOUT,
            cpu: Some(HOST_CPU),
        };
        let clients = &topology.clients;
        let pages = |family| {
            let server = on_host(family, HTTP_PORT);
            Client::start(clients, schedule, move |number| {
                let from = old_client(family, number % OLD_CLIENTS);
                exchange::page(server, Some(from))
            })
        };
        let new_pages = |family| {
            let server = on_host(family, HTTP_PORT);
            Client::start(clients, schedule, move |number| async move {
                let from = newcomer(family, number);
                exchange::page(server, Some(from)).await?;
                exchange::page(server, Some(from)).await
            })
        };
        let datagrams = |family| {
            let server = on_host(family, UDP_PORT);
            Client::start(clients, schedule, move |number| {
                let words = format!("datagram {number:>20}").into_bytes();
                let from = old_client(family, OLD_CLIENTS + number % OLD_CLIENTS);
                exchange::datagram(server, Some(from), words.clone(), words)
            })
        };
        match self {
            Self::Http4 => pages(Family::V4),
            Self::Http6 => pages(Family::V6),
            Self::Udp4 => datagrams(Family::V4),
            Self::Udp6 => datagrams(Family::V6),
            Self::Dns => Client::start(topology.asking(), schedule, |number| {
                let asked = question(number);
                let answer = resolve(&asked);
                exchange::datagram(on_clients(DNS_PORT), None, asked, answer)
            }),
            Self::Outgoing => {
                let connection = Arc::new(Connection::new(on_clients(TLS_PORT)));
                Client::start(topology.asking(), schedule, move |_| {
                    let connection = Arc::clone(&connection);
                    async move { connection.exchange().await }
                })
            }
            Self::NewTcp4 => new_pages(Family::V4),
            Self::NewTcp6 => new_pages(Family::V6),
        }
    }
}

/// What became of a group's exchanges.
#[derive(Clone, Debug, Serialize)]
pub struct Served {
    /// Whose.
    pub group: Group,
    /// How many there were.
    pub exchanges: usize,
    /// Those that weren't answered within five seconds.
    pub failed: usize,
    /// Those that were, after more than a second.
    pub slow: usize,
    /// Of those that were answered.
    #[serde(flatten)]
    pub latency: Latency,
}

impl Served {
    fn new(group: Group, quiet: Option<&Summary>, attacked: &Summary) -> Self {
        let quiet = quiet.map(|quiet| &quiet.latencies);
        Self {
            group,
            exchanges: attacked.scheduled,
            failed: attacked.scheduled - attacked.succeeded,
            slow: attacked.latencies.longer_than(SLOW),
            latency: Latency::new(quiet, &attacked.latencies),
        }
    }
}

/// Latencies under attack beside those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Median before.
    pub quiet_p50_ms: Option<f64>,
    /// 99th percentile before.
    pub quiet_p99_ms: Option<f64>,
}

impl Latency {
    fn new(quiet: Option<&Latencies>, attacked: &Latencies) -> Self {
        let ms = |latencies: &Latencies, percent| {
            let latency = latencies.percentile(percent);
            latency.map(|latency| latency.as_secs_f64() * 1e3)
        };
        Self {
            p50_ms: ms(attacked, 50),
            p99_ms: ms(attacked, 99),
            quiet_p50_ms: quiet.and_then(|quiet| ms(quiet, 50)),
            quiet_p99_ms: quiet.and_then(|quiet| ms(quiet, 99)),
        }
    }

    /// Median under attack over the median before.
    #[must_use]
    pub fn slowed(self) -> Option<f64> {
        Some(self.p50_ms? / self.quiet_p50_ms?)
    }
}

/// From when to when.
pub(super) type Span = (Instant, Instant);

/// Running clients.
pub(super) struct Clients(Vec<(Group, Client)>);

impl Clients {
    pub(super) fn start(topology: &Topology, groups: &[Group]) -> Result<Self> {
        let started = groups
            .iter()
            .map(|group| Ok((*group, group.start(topology)?)));
        started.collect::<Result<_>>().map(Self)
    }

    pub(super) fn join(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Exchanges scheduled from `from` on that have not been answered yet.
    pub(super) fn under_way(&self, from: Instant, to: Instant) -> usize {
        let summaries = self.0.iter().map(|(_, client)| client.summary(from, to));
        summaries
            .map(|summary| summary.scheduled - summary.succeeded)
            .sum()
    }

    /// What became of the exchanges under attack, each group beside its own before.
    pub(super) fn served(&self, quiet: Span, attacked: Span) -> Vec<Served> {
        let served = self.0.iter().map(|(group, client)| {
            let is_old = Group::OLD.contains(group);
            let before = is_old.then(|| client.summary(quiet.0, quiet.1));
            let under = client.summary(attacked.0, attacked.1);
            Served::new(*group, before.as_ref(), &under)
        });
        served.collect()
    }

    /// The old clients, all exchanges together.
    pub(super) fn old(&self, quiet: Span, attacked: Span) -> Latency {
        let pooled = |(from, to): Span| -> Latencies {
            let clients = self.0.iter();
            let old = clients.filter(|(group, _)| Group::OLD.contains(group));
            old.flat_map(|(_, client)| client.summary(from, to).latencies)
                .collect()
        };
        Latency::new(Some(&pooled(quiet)), &pooled(attacked))
    }
}
