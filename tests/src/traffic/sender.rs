//! A sender of ready frames at a steady rate.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::unistd::Pid;

use super::frames::Frames;
use super::pace::{Pace, Timetable, Timing};
use super::slots::Slots;
use super::socket;
use crate::netns::Namespace;
use crate::netns::offload::{pin_current_thread, run_before_user_space};

/// Frames handed over in one system call. Far below the 256 slots of a veth ring, so that a batch
/// alone doesn't overflow it.
const BATCH: usize = 16;
/// A slow sender sends as soon as a frame is due, a fast one waits for a batch: how many waits a
/// second are few enough.
const WAITS_PER_SECOND: u64 = 2_000;
/// A wait shorter than this is spun through: a sleep takes longer.
const SHORTEST_SLEEP: Duration = Duration::from_micros(200);

/// Longest time in which a stop is not seen.
const LONGEST_SLEEP: Duration = Duration::from_millis(5);

/// What to send, how fast and how long.
#[derive(Clone, Debug)]
pub struct Load {
    /// Frames, sent in turn, over and over.
    pub frames: Arc<Frames>,
    /// Frames per second.
    pub rate: u64,
    /// When each frame is due after the start, in the place of a rate.
    pub times: Option<Arc<[Duration]>>,
    /// Stop after so many frames.
    pub count: u64,
    /// Stop after so much time.
    pub duration: Duration,
    /// Bind the sending thread to this CPU.
    pub cpu: Option<usize>,
    /// Send before all ordinary processes, on a CPU that has others too; nothing is spun through.
    pub before_others: bool,
    /// Count the frames there by their time, too.
    pub slots: Option<Arc<Slots>>,
}

impl Load {
    /// These frames once each, as fast as they go, within a minute.
    #[must_use]
    pub fn once(frames: impl Into<Frames>) -> Self {
        let frames = frames.into();
        Self {
            count: frames.len() as u64,
            frames: Arc::new(frames),
            rate: u64::MAX,
            times: None,
            duration: Duration::from_secs(60),
            cpu: None,
            before_others: false,
            slots: None,
        }
    }

    fn timing(&self) -> Timing {
        match &self.times {
            Some(times) => Timing::Given(Timetable::new(Arc::clone(times))),
            None => Timing::Even(Pace::new(self.rate)),
        }
    }

    /// How many frames are worth a wait.
    fn together(&self) -> usize {
        let frames = usize::try_from(self.rate / WAITS_PER_SECOND).unwrap_or(BATCH);
        match self.times {
            Some(_) => 1,
            None => frames.clamp(1, BATCH),
        }
    }
}

/// What a sender did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames that the interface took.
    pub frames: u64,
    /// Frames that it refused because it had no room (ENOBUFS).
    pub refused: u64,
    /// From the first to the last frame.
    pub elapsed: Duration,
}

/// A sender on a thread of its own. Dropped, it stops.
#[derive(Debug)]
pub struct Sender {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Sent>>>,
}

impl Sender {
    /// Starts sending from `interface` of `namespace`.
    ///
    /// # Errors
    /// When there is no such interface, no frame, or no right to open packet sockets.
    pub fn start(namespace: &Namespace, interface: &str, load: Load) -> Result<Self> {
        ensure!(!load.frames.is_empty(), "nothing to send on {interface}");
        let socket = socket::open(namespace, interface, false)?;
        // No queueing discipline: a frame goes to the driver or is refused.
        socket::set_option(&socket, libc::PACKET_QDISC_BYPASS, 1)?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (stop_seen, sent_shown) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::Builder::new()
            .name("sender".to_owned())
            .spawn(move || send(&socket, load, &stop_seen, &sent_shown))
            .context("cannot start the sender's thread")?;
        Ok(Self {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// How many frames have been sent until now.
    #[must_use]
    pub fn sent_so_far(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether it has ended, for whatever reason.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Tells the sender to stop, and waits for it.
    ///
    /// # Errors
    /// When sending failed.
    pub fn stop(self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until the count or the time is reached.
    ///
    /// # Errors
    /// When sending failed.
    pub fn wait(mut self) -> Result<Sent> {
        let thread = self.thread.take().context("the sender has no thread")?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nobody is left to tell: the owner is gone, often in a panic already.
            drop(thread.join());
        }
    }
}

fn send(socket: &OwnedFd, load: Load, stop: &AtomicBool, sent: &AtomicU64) -> Result<Sent> {
    if let Some(cpu) = load.cpu {
        pin_current_thread(cpu)?;
    }
    if load.before_others {
        run_before_user_space(Pid::from_raw(0))?;
    }
    let mut batch = Batch::new(&load.frames);
    let mut timing = load.timing();
    let together = load.together();
    let mut total = Sent::default();
    let started = Instant::now();
    loop {
        let elapsed = started.elapsed();
        let left = load.count - total.frames;
        if left == 0 || elapsed >= load.duration || stop.load(Ordering::Relaxed) {
            total.elapsed = elapsed;
            return Ok(total);
        }
        let most = BATCH.min(usize::try_from(left).unwrap_or(BATCH));
        let due = timing.due(elapsed, most);
        if due == 0 {
            let time = timing.until(elapsed, together);
            match load.before_others {
                true => thread::sleep(time.min(LONGEST_SLEEP)),
                false => wait(time),
            }
            continue;
        }
        match batch.send(socket, due) {
            Ok(frames) => {
                total.frames += frames as u64;
                sent.store(total.frames, Ordering::Relaxed);
                timing.sent(frames);
                if let Some(slots) = &load.slots {
                    slots.add(started + elapsed, frames as u64);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                total.refused += 1;
                timing.sent(1);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot send a frame"),
        }
    }
}

/// Sleeps for the greater part, so that a slow sender leaves its CPU to others.
fn wait(time: Duration) {
    if time > SHORTEST_SLEEP {
        thread::sleep((time - SHORTEST_SLEEP / 2).min(LONGEST_SLEEP));
    } else {
        std::hint::spin_loop();
    }
}

/// The next frames as sendmmsg(2) wants to have them described.
struct Batch<'a> {
    frames: &'a Frames,
    next: usize,
    vectors: [libc::iovec; BATCH],
}

impl<'a> Batch<'a> {
    fn new(frames: &'a Frames) -> Self {
        let nothing = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            frames,
            next: 0,
            vectors: [nothing; BATCH],
        }
    }

    /// Sends up to `most` frames and says how many went.
    fn send(&mut self, socket: &OwnedFd, most: usize) -> io::Result<usize> {
        let until = (self.next + most.min(BATCH)).min(self.frames.len());
        let mut count = 0;
        for (vector, number) in self.vectors.iter_mut().zip(self.next..until) {
            let frame = self.frames.get(number);
            vector.iov_base = frame.as_ptr().cast_mut().cast();
            vector.iov_len = frame.len();
            count += 1;
        }
        let mut messages = self.vectors.each_mut().map(message);
        // SAFETY: the first `count` messages point to vectors of `self`, and those to frames that
        // outlive `self`; the kernel reads the frames and writes into the messages only.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        self.next = (self.next + sent) % self.frames.len();
        Ok(sent)
    }
}

fn message(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeros is a valid `mmsghdr`: null pointers with lengths of 0.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = vector;
    message.msg_hdr.msg_iovlen = 1;
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::link::{End, veth_pair};
    use crate::packet::Packet;
    use crate::require_kernel;
    use crate::traffic::counter::Counter;

    fn pair() -> (Namespace, Namespace) {
        let from = Namespace::new("from").unwrap();
        let to = Namespace::new("to").unwrap();
        veth_pair(End::new(&from, "out0"), End::new(&to, "in0"), 1500).unwrap();
        (from, to)
    }

    fn frames(count: u16) -> Vec<Vec<u8>> {
        (0..count)
            .map(|port| Packet::v4("10.0.0.1", "10.0.0.2").udp(port, 9).build())
            .collect()
    }

    #[test]
    fn every_frame_of_a_list_arrives_once() {
        require_kernel!("every_frame_of_a_list_arrives_once");
        let (from, to) = pair();
        let counter = Counter::start(&to, "in0", |frame| frame[12..14] == [8, 0]).unwrap();
        let sender = Sender::start(&from, "out0", Load::once(frames(100))).unwrap();
        let sent = sender.wait().unwrap();
        assert_eq!((sent.frames, sent.refused), (100, 0));
        counter.wait_for(100, Duration::from_secs(5)).unwrap();
        assert_eq!(counter.stop().unwrap().matched, 100);
    }

    #[test]
    fn the_rate_is_kept_and_the_time_ends_it() {
        require_kernel!("the_rate_is_kept_and_the_time_ends_it");
        let (from, _to) = pair();
        let load = Load {
            rate: 2_000,
            count: u64::MAX,
            duration: Duration::from_millis(500),
            ..Load::once(frames(7))
        };
        let sent = Sender::start(&from, "out0", load).unwrap().wait().unwrap();
        // At most the rate at any load of the machine; a busy one may lose a part of it.
        assert!((200..=1_000).contains(&sent.frames), "{sent:?}");
    }

    #[test]
    fn a_sender_told_to_stop_stops() {
        require_kernel!("a_sender_told_to_stop_stops");
        let (from, _to) = pair();
        let load = Load {
            rate: 1_000,
            count: u64::MAX,
            ..Load::once(frames(1))
        };
        let sender = Sender::start(&from, "out0", load).unwrap();
        crate::wait::wait_until("the first frame", Duration::from_secs(5), || {
            sender.sent_so_far() > 0
        })
        .unwrap();
        let sent = sender.stop().unwrap();
        assert!(sent.elapsed < Duration::from_secs(10), "{sent:?}");
    }
}
