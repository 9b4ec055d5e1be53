//! Questions and requests to the kernel over a netlink socket, and the frames of its answers (RFC 3549,
//! 2.2).
//!
//! A socket asks the network namespace of the thread that opened it, whatever is mounted on `/sys`.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::TimeVal;

/// The kernel puts no more than this into one answer (net/netlink/af_netlink.c, `netlink_dump`).
const ANSWER: usize = 32 * 1024;
/// Messages of one answer, such as the links of a host.
const MAX_MESSAGES: usize = 65_536;
/// Messages of one answer about routes: four times what a router with every route of the Internet
/// has.
const MAX_ROUTES: usize = 1 << 22;
/// A list that changes while it is read is read again, so often.
const TRIES: usize = 3;
const TIMEOUT: TimeVal = TimeVal::new(2, 0);
const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// Without the flags for nesting and byte order.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

const DONE: u16 = libc::NLMSG_DONE as u16;
const ERROR: u16 = libc::NLMSG_ERROR as u16;
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACKNOWLEDGE: u16 = libc::NLM_F_ACK as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;
const INTERRUPTED: u16 = libc::NLM_F_DUMP_INTR as u16;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// The socket failed, or nothing came in time.
    #[error("the netlink socket failed: {0}")]
    Socket(Errno),
    /// The kernel answered with an error.
    #[error("the kernel refused: {0}")]
    Refused(Errno),
    /// An answer isn't what netlink answers look like.
    #[error("an answer over netlink could not be read")]
    Malformed,
    /// More than this module takes.
    #[error("the kernel's answer has too many parts")]
    TooMuch,
    /// What was listed changed meanwhile, each time.
    #[error("the kernel's answer kept changing while it was read")]
    Unsteady,
}

/// One message or all of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    One,
    /// All, of a kind that a host has few of.
    All,
    /// All, of a kind that a host may have a million of.
    Routes,
}

impl Asked {
    fn limit(self) -> usize {
        match self {
            Self::One | Self::All => MAX_MESSAGES,
            Self::Routes => MAX_ROUTES,
        }
    }
}

#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket for routes, links and addresses.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        Self::of(SockProtocol::NetlinkRoute)
    }

    /// A socket for families that are found by name.
    pub(super) fn generic() -> Result<Self, NetlinkError> {
        Self::of(SockProtocol::NetlinkGeneric)
    }

    /// A socket for questions about other sockets.
    pub(super) fn diagnostics() -> Result<Self, NetlinkError> {
        Self::of(SockProtocol::NetlinkSockDiag)
    }

    fn of(protocol: SockProtocol) -> Result<Self, NetlinkError> {
        let descriptor = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )
        .map_err(NetlinkError::Socket)?;
        setsockopt(&descriptor, ReceiveTimeout, &TIMEOUT).map_err(NetlinkError::Socket)?;
        Ok(Self {
            descriptor,
            sequence: 0,
            buffer: vec![0; ANSWER],
        })
    }

    /// Sends a request of type `kind` and gives the body of each message of the answer to `take`.
    pub(super) fn ask(
        &mut self,
        kind: u16,
        asked: Asked,
        body: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), NetlinkError> {
        let how = match asked {
            Asked::One => ACKNOWLEDGE,
            Asked::All | Asked::Routes => DUMP,
        };
        self.send(kind, how, body)?;
        self.receive(asked, &mut take)
    }

    /// Sends a request that changes something, with flags of its kind, and waits until it is done.
    pub(super) fn change(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
    ) -> Result<(), NetlinkError> {
        self.send(kind, ACKNOWLEDGE | flags, body)?;
        self.receive(Asked::One, &mut |_told| {})
    }

    fn send(&mut self, kind: u16, how: u16, body: &[u8]) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(kind, how, self.sequence, body);
        let fd = self.descriptor.as_raw_fd();
        send(fd, &request, MsgFlags::empty()).map_err(NetlinkError::Socket)?;
        Ok(())
    }

    fn receive(&mut self, asked: Asked, take: &mut dyn FnMut(&[u8])) -> Result<(), NetlinkError> {
        let fd = self.descriptor.as_raw_fd();
        let mut taken = 0;
        let mut steady = true;
        loop {
            let length = match recv(fd, &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Err(Errno::EINTR) => continue,
                other => other.map_err(NetlinkError::Socket)?,
            };
            let answer = self.buffer.get(..length).ok_or(NetlinkError::Malformed)?;
            for message in messages(answer) {
                let message = message?;
                if message.sequence != self.sequence {
                    continue;
                }
                steady &= message.flags & INTERRUPTED == 0;
                if message.kind == ERROR || message.kind == DONE {
                    ended(message.body)?;
                    return if steady {
                        Ok(())
                    } else {
                        Err(NetlinkError::Unsteady)
                    };
                }
                taken += 1;
                if taken > asked.limit() {
                    return Err(NetlinkError::TooMuch);
                }
                take(message.body);
            }
        }
    }
}

/// Lists everything of a kind over a routing socket, again where it changed meanwhile. `parse` gives
/// what a message holds; the order is the kernel's.
pub(super) fn list<T>(
    kind: u16,
    asked: Asked,
    body: &[u8],
    mut parse: impl FnMut(&[u8]) -> Vec<T>,
) -> Result<Vec<T>, NetlinkError> {
    let mut socket = Socket::open()?;
    for _ in 0..TRIES {
        let mut found = Vec::new();
        match socket.ask(kind, asked, body, |message| found.extend(parse(message))) {
            Err(NetlinkError::Unsteady) => {}
            other => return other.map(|()| found),
        }
    }
    Err(NetlinkError::Unsteady)
}

fn request(kind: u16, how: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((REQUEST | how).to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    // The port: the kernel fills it in.
    request.extend(0_u32.to_ne_bytes());
    request.extend(body);
    request
}

/// The end of an answer carries a negative error number, or 0.
fn ended(body: &[u8]) -> Result<(), NetlinkError> {
    match number(body).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(NetlinkError::Refused(Errno::from_raw(
            error.saturating_neg(),
        ))),
        None => Err(NetlinkError::Malformed),
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

fn messages(mut rest: &[u8]) -> impl Iterator<Item = Result<Message<'_>, NetlinkError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = split_message(&mut rest);
        if message.is_none() {
            rest = &[];
        }
        Some(message.ok_or(NetlinkError::Malformed))
    })
}

fn split_message<'a>(rest: &mut &'a [u8]) -> Option<Message<'a>> {
    let length = usize::try_from(u32::from_ne_bytes(number(rest)?)).ok()?;
    let message = rest.get(..length)?;
    let read = Message {
        kind: u16::from_ne_bytes(number(message.get(4..)?)?),
        flags: u16::from_ne_bytes(number(message.get(6..)?)?),
        sequence: u32::from_ne_bytes(number(message.get(8..)?)?),
        body: message.get(HEADER..)?,
    };
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(read)
}

/// The attributes in a body, in order; ends at the first that isn't one.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(number(rest)?));
        let kind = u16::from_ne_bytes(number(rest.get(2..)?)?);
        let value = rest.get(ATTRIBUTE_HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & ATTRIBUTE_TYPE, value))
    })
}

/// Adds an attribute to a body.
pub(super) fn put_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The first bytes, as many as the number has.
pub(super) fn number<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_back_as_they_were_put() {
        let mut body = Vec::new();
        put_attribute(&mut body, 3, b"eth0\0");
        put_attribute(&mut body, 0x8000 | 18, &7_u32.to_ne_bytes());
        assert_eq!(body.len(), 12 + 8);
        let read: Vec<_> = attributes(&body).collect();
        assert_eq!(read, [(3, &b"eth0\0"[..]), (18, &7_u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn attributes_that_lie_about_their_length_end_the_reading() {
        for length in [0_u16, 3, 9, u16::MAX] {
            let mut body = length.to_ne_bytes().to_vec();
            body.extend([1, 0, 1, 2, 3, 4]);
            assert_eq!(attributes(&body).count(), 0, "{length}");
        }
        assert_eq!(attributes(&[4, 0]).count(), 0);
    }

    #[test]
    fn messages_are_split_at_their_lengths() {
        let mut answer = request(16, ACKNOWLEDGE, 5, &[1, 2, 3, 4, 5]);
        answer.resize(24, 0);
        answer.extend(request(DONE, DUMP, 5, &0_i32.to_ne_bytes()));
        let read: Vec<_> = messages(&answer)
            .map(|m| m.map(|m| (m.kind, m.body)))
            .collect();
        assert_eq!(
            read,
            [Ok((16, &[1, 2, 3, 4, 5][..])), Ok((DONE, &[0; 4][..]))]
        );
        let cut: Vec<_> = messages(&answer[..30]).map(|m| m.is_ok()).collect();
        assert_eq!(cut, [true, false]);
        assert!(messages(&[15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).all(|m| m.is_err()));
    }

    #[test]
    fn the_kernels_error_is_told_by_its_name() {
        let refused = ended(&(-(Errno::ENODEV as i32)).to_ne_bytes());
        assert_eq!(refused, Err(NetlinkError::Refused(Errno::ENODEV)));
        assert_eq!(ended(&[0; 4]), Ok(()));
        assert_eq!(ended(&[0; 3]), Err(NetlinkError::Malformed));
    }
}
