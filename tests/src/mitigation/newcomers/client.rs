//! One new client, from its first datagram to its answer or to the end of its patience.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::{Fate, Profile};
use crate::mitigation::services::{question, resolve};
use crate::mitigation::stream::Stream;
use crate::mitigation::topology::{DNS_PORT, Family, UDP_PORT, newcomer, on_host};

/// How long a stream lasts.
pub(super) const STREAM: Duration = Duration::from_secs(5);
/// From one datagram of a stream to the next.
const STEP: Duration = Duration::from_millis(20);
/// Addresses of a profile: more than come in the longest attack. Those of newcomers over TCP are
/// before all of them.
const ADDRESSES: u64 = 1 << 10;

/// How many datagrams it sent until its answer, and what became of it.
pub(super) async fn of(profile: Profile, number: u64) -> (u64, Fate) {
    let start = Instant::now();
    let asked = match profile {
        Profile::Stream => stream(number).await,
        Profile::After400ms
        | Profile::After1s
        | Profile::After5s
        | Profile::After15s
        | Profile::Dns
        | Profile::DnsNewPort => ask(profile, number).await,
    };
    // A socket that can't be had is a failure as any other, without a datagram.
    let (datagrams, answered) = asked.unwrap_or((0, None));
    let fate = answered.map_or(Fate::GaveUp, |at| Fate::Answered(at - start));
    (datagrams, fate)
}

fn family(number: u64) -> Family {
    match number % 2 {
        0 => Family::V4,
        _ => Family::V6,
    }
}

/// A socket with a port of its own at the client's address, for one of the host's services.
async fn socket(profile: Profile, number: u64) -> io::Result<UdpSocket> {
    let family = family(number);
    let region = Profile::ALL.iter().position(|other| *other == profile);
    let region = 8 + u64::try_from(region.unwrap_or(0)).unwrap_or(0);
    let from = newcomer(family, region * ADDRESSES + number % ADDRESSES);
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.connect(service(profile, family)).await?;
    Ok(socket)
}

fn service(profile: Profile, family: Family) -> SocketAddr {
    let port = match profile {
        Profile::Dns | Profile::DnsNewPort => DNS_PORT,
        Profile::After400ms
        | Profile::After1s
        | Profile::After5s
        | Profile::After15s
        | Profile::Stream => UDP_PORT,
    };
    on_host(family, port)
}

/// What is asked, the how-manieth time, and the answer to it.
fn words(profile: Profile, number: u64, time: u64) -> (Vec<u8>, Vec<u8>) {
    match profile {
        Profile::Dns | Profile::DnsNewPort => {
            let new = if profile == Profile::DnsNewPort {
                time
            } else {
                0
            };
            let asked = question(number + 0x4000 * new);
            let answer = resolve(&asked);
            (asked, answer)
        }
        Profile::After400ms
        | Profile::After1s
        | Profile::After5s
        | Profile::After15s
        | Profile::Stream => {
            let words = format!("newcomer {number:>20}").into_bytes();
            (words.clone(), words)
        }
    }
}

async fn ask(profile: Profile, number: u64) -> io::Result<(u64, Option<Instant>)> {
    let mut from = socket(profile, number).await?;
    let mut sent = 0;
    let mut until = Instant::now();
    for wait in profile.waits() {
        if profile == Profile::DnsNewPort && sent > 0 {
            from = socket(profile, number).await?;
        }
        let (asked, answer) = words(profile, number, sent);
        // An error is that of an answer to an earlier datagram (ICMP): the client asks again.
        drop(from.send(&asked).await);
        sent += 1;
        until += wait;
        if timeout_at(until, answered(&from, &answer)).await.is_ok() {
            return Ok((sent, Some(Instant::now())));
        }
    }
    Ok((sent, None))
}

async fn answered(socket: &UdpSocket, answer: &[u8]) {
    let mut buffer = [0; 512];
    loop {
        if let Ok(length) = socket.recv(&mut buffer).await
            && buffer.get(..length) == Some(answer)
        {
            return;
        }
    }
}

async fn stream(number: u64) -> io::Result<(u64, Option<Instant>)> {
    let socket = socket(Profile::Stream, number).await?;
    Ok(Stream::run(&socket, STEP, STREAM).await.fate())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_with_a_new_port_asks_with_another_identifier_and_the_other_with_the_same() {
        let times = |profile| (words(profile, 7, 0).0, words(profile, 7, 1).0);
        let (first, again) = times(Profile::Dns);
        assert_eq!(first, again);
        let (first, again) = times(Profile::DnsNewPort);
        assert_ne!(first[..2], again[..2]);
        assert_eq!(first[2..], again[2..]);
    }
}
