//! Counts the frames that came through an interface to the stack: after XDP, before everything
//! else.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

use super::socket;
use crate::netns::Namespace;
use crate::wait::wait_until;

/// Longest time in which a stop is not seen.
const POLL_MILLISECONDS: u8 = 20;

/// What a counter saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Incoming frames that the filter wanted.
    pub matched: u64,
    /// All incoming frames.
    pub all: u64,
    /// Frames that came but were lost, as the socket's buffer was full: then the rest is a lower
    /// bound.
    pub lost: u64,
}

/// A counting packet socket with its thread. VLAN tags are put back to where they were: the
/// filter sees the frame as it was on the wire.
#[derive(Debug)]
pub struct Counter {
    stop: Arc<AtomicBool>,
    matched: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Seen>>>,
}

impl Counter {
    /// Starts to count the frames that come into `interface` and that `wanted` says yes to.
    ///
    /// # Errors
    /// When there is no such interface, or no right to open packet sockets.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self> {
        let socket = socket::open(namespace, interface, true)?;
        // Asks for the tag that the kernel has taken out of the frame.
        socket::set_option(&socket, libc::PACKET_AUXDATA, 1)?;
        let stop = Arc::new(AtomicBool::new(false));
        let matched = Arc::new(AtomicU64::new(0));
        let (stop_seen, shown) = (Arc::clone(&stop), Arc::clone(&matched));
        let thread = thread::Builder::new()
            .name("counter".to_owned())
            .spawn(move || count(&socket, &wanted, &stop_seen, &shown))
            .context("cannot start the counter's thread")?;
        Ok(Self {
            stop,
            matched,
            thread: Some(thread),
        })
    }

    /// Wanted frames until now.
    #[must_use]
    pub fn matched_so_far(&self) -> u64 {
        self.matched.load(Ordering::Relaxed)
    }

    /// Waits until at least so many wanted frames came.
    ///
    /// # Errors
    /// After `timeout`.
    pub fn wait_for(&self, frames: u64, timeout: Duration) -> Result<()> {
        wait_until(&format!("{frames} frames to arrive"), timeout, || {
            self.matched_so_far() >= frames
        })
        .with_context(|| format!("{} came", self.matched_so_far()))
    }

    /// Counts what is in the buffer still, and ends.
    ///
    /// # Errors
    /// When receiving failed.
    pub fn stop(mut self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the counter has no thread")?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nobody is left to tell: the owner is gone, often in a panic already.
            drop(thread.join());
        }
    }
}

fn count(
    socket: &OwnedFd,
    wanted: &dyn Fn(&[u8]) -> bool,
    stop: &AtomicBool,
    matched: &AtomicU64,
) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut buffer = vec![0; 65536];
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        while let Some(frame) = receive(socket, &mut buffer)? {
            if frame.outgoing {
                continue;
            }
            seen.all += 1;
            if wanted(&frame.bytes) {
                seen.matched += 1;
                matched.store(seen.matched, Ordering::Relaxed);
            }
        }
        if stopping {
            seen.lost = lost(socket)?;
            return Ok(seen);
        }
        let mut wait = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut wait, PollTimeout::from(POLL_MILLISECONDS)).context("cannot wait for frames")?;
    }
}

struct Frame {
    bytes: Vec<u8>,
    outgoing: bool,
}

/// Takes one frame without waiting; `None` when there is none.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<Frame>> {
    // SAFETY: all zeros is a valid `sockaddr_ll`.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut control = [0_u64; 8];
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all zeros is a valid `msghdr`: null pointers with lengths of 0.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in `message` is to a live local of the length stated beside it.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        let nothing = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
        if nothing.contains(&error.kind()) {
            return Ok(None);
        }
        return Err(error).context("cannot receive a frame");
    };
    let mut bytes = buffer[..length].to_vec();
    if let Some(tag) = vlan_tag(&message) {
        bytes.splice(12..12, tag);
    }
    Ok(Some(Frame {
        bytes,
        outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
    }))
}

/// The outermost VLAN tag, which the kernel keeps beside the frame.
fn vlan_tag(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: the kernel filled `message`, its control buffer is alive and aligned for headers.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: it is null or the first control header, in a buffer that is alive.
    let header = unsafe { header.as_ref() }?;
    if header.cmsg_level != libc::SOL_PACKET || header.cmsg_type != libc::PACKET_AUXDATA {
        return None;
    }
    // SAFETY: `header` is a control header of this message; its data lies right behind it.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: PACKET_AUXDATA's data is one `tpacket_auxdata`, written by the kernel.
    let auxiliary: libc::tpacket_auxdata =
        unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
    if auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let [a, b] = auxiliary.tp_vlan_tpid.to_be_bytes();
    let [c, d] = auxiliary.tp_vlan_tci.to_be_bytes();
    Some([a, b, c, d])
}

/// How many frames the socket had no room for; reading resets it.
fn lost(socket: &OwnedFd) -> Result<u64> {
    let mut statistics = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = size_of::<libc::tpacket_stats>() as u32;
    // SAFETY: the pointers are to a live `tpacket_stats` and its length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error()).context("cannot read the socket's losses");
    }
    Ok(u64::from(statistics.tp_drops))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::link::{End, veth_pair};
    use crate::packet::Packet;
    use crate::require_kernel;
    use crate::traffic::sender::{Load, Sender};

    #[test]
    fn tagged_frames_are_seen_as_they_were_sent() {
        require_kernel!("tagged_frames_are_seen_as_they_were_sent");
        let (from, to) = (
            Namespace::new("from").unwrap(),
            Namespace::new("to").unwrap(),
        );
        veth_pair(End::new(&from, "out0"), End::new(&to, "in0"), 1500).unwrap();
        let base = Packet::v4("10.0.0.1", "10.0.0.2").udp(1, 2).padded_to(80);
        let tagged = base.clone().service_vlan(5).vlan(6).build();
        let same = tagged.clone();
        let counter = Counter::start(&to, "in0", move |frame| frame == same).unwrap();
        let load = Load::once(vec![base.build(), tagged]);
        Sender::start(&from, "out0", load).unwrap().wait().unwrap();
        counter.wait_for(1, Duration::from_secs(5)).unwrap();
        let seen = counter.stop().unwrap();
        assert_eq!((seen.matched, seen.lost), (1, 0));
        assert!(seen.all >= 2, "{seen:?}");
    }
}
