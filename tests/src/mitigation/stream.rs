//! A client that sends steadily, whether it is answered or not, and what became of its datagrams.

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// The last answers are there by then.
const LATEST_ANSWER: Duration = Duration::from_millis(500);
/// A stream has succeeded when so much of its last second is answered.
const LAST_ANSWERED_PERCENT: usize = 90;
/// Bytes of a datagram: 20 ms of telephony, or what a player does.
const LENGTH: usize = 160;

/// What became of a stream's datagrams.
#[derive(Debug)]
pub(super) struct Stream {
    period: Duration,
    /// In order.
    pub(super) sent: Vec<Datagram>,
    /// When the first answer came, and how many had been sent by then.
    first: Option<(u64, Instant)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    pub(super) at: Instant,
    pub(super) answered: bool,
}

impl Stream {
    /// Sends through a connected socket for so long.
    pub(super) async fn run(socket: &UdpSocket, period: Duration, length: Duration) -> Self {
        let mut ticks = interval(period);
        // What is late is not made up for: others would find the network busy.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let end = Instant::now() + length;
        let mut stream = Self::new(period);
        let mut buffer = [0; LENGTH];
        let over = sleep_until(end + LATEST_ANSWER);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return stream,
                _ = ticks.tick(), if Instant::now() < end => {
                    let datagram = stream.next(Instant::now());
                    // An error is that of an answer to an earlier datagram (ICMP).
                    drop(socket.send(&datagram).await);
                }
                received = socket.recv(&mut buffer) => if let Ok(length) = received {
                    stream.note(buffer.get(..length).unwrap_or_default());
                }
            }
        }
    }

    fn new(period: Duration) -> Self {
        Self {
            period,
            sent: Vec::new(),
            first: None,
        }
    }

    fn next(&mut self, at: Instant) -> [u8; LENGTH] {
        let mut datagram = [0; LENGTH];
        let number = self.sent.len() as u64;
        for (place, byte) in datagram.iter_mut().zip(number.to_be_bytes()) {
            *place = byte;
        }
        let answered = false;
        self.sent.push(Datagram { at, answered });
        datagram
    }

    fn note(&mut self, answer: &[u8]) {
        let number = answer.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let number = number.and_then(|number| usize::try_from(number).ok());
        if let Some(datagram) = number.and_then(|number| self.sent.get_mut(number)) {
            datagram.answered = true;
            let sent = self.sent.len() as u64;
            self.first.get_or_insert((sent, Instant::now()));
        }
    }

    /// When its first answer came, with how many datagrams it had sent by then, if it was answered
    /// from some point on until its end; else only how many it sent.
    pub(super) fn fate(&self) -> (u64, Option<Instant>) {
        let second = Duration::from_secs(1).as_nanos() / self.period.as_nanos().max(1);
        let second = usize::try_from(second).unwrap_or(usize::MAX);
        let last = self.sent.len().min(second);
        let answered = self.sent.iter().rev().take(last);
        let answered = answered.filter(|datagram| datagram.answered).count();
        match self.first {
            Some((sent, at)) if 100 * answered >= LAST_ANSWERED_PERCENT * last => (sent, Some(at)),
            Some(_) | None => (self.sent.len() as u64, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streamed(answered: impl Fn(u64) -> bool) -> (u64, bool) {
        let mut stream = Stream::new(Duration::from_millis(20));
        for number in 0..250 {
            let datagram = stream.next(Instant::now());
            if answered(number) {
                stream.note(&datagram);
            }
        }
        let (sent, at) = stream.fate();
        (sent, at.is_some())
    }

    #[test]
    fn a_stream_succeeds_when_it_is_answered_from_some_point_on() {
        assert_eq!(streamed(|number| number >= 30), (31, true));
        assert_eq!(streamed(|_| true), (1, true));
        assert_eq!(streamed(|number| number < 190), (250, false));
        assert_eq!(streamed(|number| number % 2 == 0), (250, false));
        assert_eq!(streamed(|_| false), (250, false));
    }
}
