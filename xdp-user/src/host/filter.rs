//! The egress hook of traffic control before there was tcx (kernel 6.6): a filter of the clsact qdisc.
//!
//! A filter stays with its interface until it is taken away, whoever made it, so it is known again by its
//! name. The qdisc is made where there is none, and is never removed: others may have put filters there.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

use super::netlink::{Asked, NetlinkError, Socket, attributes, number, put_attribute};

/// Messages (linux/rtnetlink.h).
const NEW_QDISC: u16 = 36;
const GET_QDISC: u16 = 38;
const NEW_FILTER: u16 = 44;
const DEL_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
const REPLACE: u16 = libc::NLM_F_REPLACE as u16;

/// `struct tcmsg` (linux/rtnetlink.h): the interface at 4, handle at 8, parent at 12, info at 16.
const HEADER: usize = 20;
/// Attributes (linux/rtnetlink.h, linux/pkt_cls.h).
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_ID: u16 = 11;
/// The program's result is what becomes of the packet (`TCA_BPF_FLAG_ACT_DIRECT`).
const DIRECT_ACTION: u32 = 1;
/// Where clsact hangs, its handle, and the parent of filters for what leaves (linux/pkt_sched.h).
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const EGRESS: u32 = 0xffff_fff3;
/// `ETH_P_ALL` (linux/if_ether.h).
const ALL_PROTOCOLS: u16 = 3;
/// Priorities that are tried in turn: filters of another kind may have the first.
const PRIORITIES: std::ops::RangeInclusive<u32> = 1..=16;

/// A filter that holds a BPF program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    handle: u32,
    /// Priority and protocol, as the kernel has them.
    info: u32,
    /// The kernel's number of its program.
    pub(crate) program: u32,
}

/// Why a filter could not be put in place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// The kernel refused, or didn't answer.
    #[error("{what}: {source}")]
    Netlink {
        /// What was attempted.
        what: &'static str,
        /// What the kernel said.
        source: NetlinkError,
    },
    /// An ingress qdisc has no hook for what leaves, and takes clsact's place.
    #[error(
        "an ingress qdisc takes the place of clsact: replace it with `tc qdisc replace dev DEV clsact`"
    )]
    IngressQdisc,
    /// Filters of other kinds have every priority that is tried.
    #[error("other filters have the priorities 1 to 16 of the clsact qdisc")]
    NoPriority,
}

fn refused(what: &'static str) -> impl Fn(NetlinkError) -> FilterError {
    move |source| FilterError::Netlink { what, source }
}

/// The filter of this name for what leaves by an interface.
///
/// # Errors
/// When the kernel doesn't answer.
pub(crate) fn find(interface: u32, name: &str) -> Result<Option<Filter>, FilterError> {
    let mut found = None;
    let body = message(interface, 0, EGRESS, 0);
    let asked = Socket::open().and_then(|mut socket| {
        socket.ask(GET_FILTER, Asked::All, &body, |message| {
            found = found.or(read(message, interface, name));
        })
    });
    match asked {
        Ok(()) => Ok(found),
        // No clsact, or the interface has gone.
        Err(NetlinkError::Refused(Errno::EINVAL | Errno::ENODEV | Errno::ENOENT)) => Ok(None),
        Err(error) => Err(refused("look at the filters of clsact")(error)),
    }
}

/// Puts a program under this name at an interface, in the place of the one before with one step, else as
/// the first.
///
/// # Errors
/// When the kernel refuses, or the place is taken.
pub(crate) fn put(interface: u32, name: &str, program: BorrowedFd<'_>) -> Result<(), FilterError> {
    let what = "put a filter into the clsact qdisc";
    let mut socket = Socket::open().map_err(refused(what))?;
    if let Some(Filter { handle, info, .. }) = find(interface, name)? {
        let body = filter(interface, handle, info, name, program);
        return socket
            .change(NEW_FILTER, CREATE | REPLACE, &body)
            .map_err(refused("replace the filter in the clsact qdisc"));
    }
    add_clsact(&mut socket, interface)?;
    for priority in PRIORITIES {
        let info = priority << 16 | u32::from(ALL_PROTOCOLS.to_be());
        let body = filter(interface, 0, info, name, program);
        match socket.change(NEW_FILTER, CREATE | EXCLUSIVE, &body) {
            Ok(()) => return Ok(()),
            // A filter of another kind or for one protocol has this priority.
            Err(NetlinkError::Refused(Errno::EINVAL | Errno::EEXIST)) => {}
            Err(error) => return Err(refused(what)(error)),
        }
    }
    Err(FilterError::NoPriority)
}

/// Takes the filter of this name away, if it is there.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn remove(interface: u32, name: &str) -> Result<(), FilterError> {
    let Some(Filter { handle, info, .. }) = find(interface, name)? else {
        return Ok(());
    };
    let mut body = message(interface, handle, EGRESS, info);
    put_attribute(&mut body, KIND, b"bpf\0");
    let removed = Socket::open().and_then(|mut socket| socket.change(DEL_FILTER, 0, &body));
    match removed {
        Ok(()) | Err(NetlinkError::Refused(Errno::ENOENT | Errno::ENODEV)) => Ok(()),
        Err(error) => Err(refused("take the filter out of the clsact qdisc")(error)),
    }
}

/// Adds the clsact qdisc where there is none.
fn add_clsact(socket: &mut Socket, interface: u32) -> Result<(), FilterError> {
    let mut body = message(interface, CLSACT_HANDLE, CLSACT, 0);
    put_attribute(&mut body, KIND, b"clsact\0");
    match socket.change(NEW_QDISC, CREATE | EXCLUSIVE, &body) {
        Ok(()) => return Ok(()),
        Err(NetlinkError::Refused(Errno::EEXIST)) => {}
        Err(error) => return Err(refused("add a clsact qdisc")(error)),
    }
    // An ingress qdisc would take the filter for one of what comes in.
    let mut is_ingress = false;
    let body = message(interface, 0, 0, 0);
    let asked = socket.ask(GET_QDISC, Asked::All, &body, |message| {
        is_ingress |= word(message, 4) == Some(interface)
            && word(message, 12) == Some(CLSACT)
            && kind(message) == Some(b"ingress");
    });
    asked.map_err(refused("look at the qdiscs"))?;
    if is_ingress {
        return Err(FilterError::IngressQdisc);
    }
    Ok(())
}

fn message(interface: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(HEADER);
    for part in [0, interface, handle, parent, info] {
        body.extend(part.to_ne_bytes());
    }
    body
}

fn filter(interface: u32, handle: u32, info: u32, name: &str, program: BorrowedFd<'_>) -> Vec<u8> {
    let mut options = Vec::new();
    put_attribute(&mut options, BPF_FD, &program.as_raw_fd().to_ne_bytes());
    put_attribute(&mut options, BPF_NAME, format!("{name}\0").as_bytes());
    put_attribute(&mut options, BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes());
    let mut body = message(interface, handle, EGRESS, info);
    put_attribute(&mut body, KIND, b"bpf\0");
    put_attribute(&mut body, OPTIONS, &options);
    body
}

/// The filter that a message tells of, if it is this one.
fn read(message: &[u8], interface: u32, name: &str) -> Option<Filter> {
    if word(message, 4) != Some(interface)
        || word(message, 12) != Some(EGRESS)
        || kind(message) != Some(b"bpf")
    {
        return None;
    }
    let options = attribute(message.get(HEADER..)?, OPTIONS)?;
    if text(attribute(options, BPF_NAME)?) != name.as_bytes() {
        return None;
    }
    Some(Filter {
        handle: word(message, 8)?,
        info: word(message, 16)?,
        program: word(attribute(options, BPF_ID)?, 0)?,
    })
}

fn kind(message: &[u8]) -> Option<&[u8]> {
    attribute(message.get(HEADER..)?, KIND).map(text)
}

fn attribute(body: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(body)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

/// A string of the kernel's, without the zero behind it.
fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(&[0]).unwrap_or(value)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..).and_then(number).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel tells of a filter.
    fn told(parent: u32, name: &str) -> Vec<u8> {
        let mut options = Vec::new();
        put_attribute(&mut options, BPF_NAME, format!("{name}\0").as_bytes());
        put_attribute(&mut options, BPF_ID, &77_u32.to_ne_bytes());
        let mut body = message(3, 1, parent, 0x1_0300);
        put_attribute(&mut body, KIND, b"bpf\0");
        put_attribute(&mut body, OPTIONS, &options);
        body
    }

    #[test]
    fn a_filter_is_known_by_its_name_its_interface_and_its_side() {
        let ours = Filter {
            handle: 1,
            info: 0x1_0300,
            program: 77,
        };
        assert_eq!(read(&told(EGRESS, "ours"), 3, "ours"), Some(ours));
        assert_eq!(read(&told(EGRESS, "ours2"), 3, "ours"), None);
        assert_eq!(read(&told(EGRESS, "ours"), 4, "ours"), None);
        assert_eq!(read(&told(EGRESS - 1, "ours"), 3, "ours"), None);
    }

    #[test]
    fn a_message_that_is_cut_short_tells_of_no_filter() {
        let whole = told(EGRESS, "ours");
        for length in 0..whole.len() - 1 {
            assert_eq!(read(&whole[..length], 3, "ours"), None, "{length}");
        }
    }
}
